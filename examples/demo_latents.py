"""demo_latents: the latent space as a tool, on galaxies that this script draws.

- Draw galaxies as CANDELS would see them; satellites cross every tenth picture.
- Encode them: a latent vector of each, and numbers that describe its picture.
- Map: lay them out by their latents; latents against the prior; traversals of single latents.
- Between: from one galaxy to another, through the flow's noise and along the latent line.
- Sequence: galaxies at redshifts from 0.1 to 3.
- Hunt: find the trails, with this script saying yes and no in the place of a person.
- Classify: learn from labels of half of the galaxies whether one is near; regress redshifts.
- Compress: latents as an archive, beside other ways to keep a galaxy.

Run it from the top of the repository:   python examples/demo_latents.py
It needs pip install '.[train]', takes some minutes, and writes tables and pictures to
examples/output/latents. Lines that begin with $ are what one would type for the same.
"""

from pathlib import Path

import astropy.units as u
import galsim
import matplotlib

matplotlib.use("Agg")

import numpy as np
from astropy.io import fits
from astropy.table import Table

import galsim_vae
from galsim_vae.cli.main import main as command
from galsim_vae.latents import Drawn
from galsim_vae.model import file as modelfile
from galsim_vae.plots import colour_image, contact_sheet
from galsim_vae.train.check import compression

OUTPUT = Path("examples", "output", "latents")
NOBJECTS = 200
ROUNDS, LOOKED_AT = 4, 15  # of the hunt
NCOMPRESSED = 20


def run(*words):
    """Run a command of galsim-vae as a shell would."""
    print("$ galsim-vae", *words, flush=True)
    if command([str(word) for word in words]):
        raise SystemExit(1)


def draw(generator):
    """Bright galaxies of up to 0.5", and a trail across every tenth of them; returns which."""
    table = generator.sample_conditions(40 * NOBJECTS, galsim.BaseDeviate(1))
    small = table["half_light_radius"] < 0.5 * u.arcsec  # large stamps take long to encode
    bright = table[small & (table["magnitude"] < 23.5)][:NOBJECTS]
    bright.write(OUTPUT / "galaxies.ecsv", overwrite=True)
    run("draw", OUTPUT / "galaxies.ecsv", f"output={OUTPUT / 'drawn.fits'}", "overwrite=true")
    crossed = np.arange(len(bright)) % 10 == 3
    with fits.open(OUTPUT / "drawn.fits") as hdus:
        cross([hdu.data for hdu in hdus if "PIXSCALE" in hdu.header], np.flatnonzero(crossed))
        hdus.writeto(OUTPUT / "seen.fits", overwrite=True)
    return crossed


def cross(bands, rows):
    """Add to some galaxies, in all bands (n, m, m), a trail ten times as bright as the noise."""
    rng = np.random.default_rng(7)
    side = bands[0].shape[-1]
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    for row in rows:
        angle, distance = rng.uniform(0, np.pi), rng.uniform(3, 9)
        away = x * np.sin(angle) - y * np.cos(angle) - distance  # [pixel]
        for images in bands:
            noise = 1.4826 * np.median(np.abs(images[row]))
            images[row] += 10 * noise * np.exp(-0.5 * (away / 1.2) ** 2)


def between(generator):
    """Two galaxies and what lies between them: through the noise, and along the latent line."""
    row = {"magnitude": 20.5, "half_light_radius": 0.9, "g1": 0.1, "g2": 0.1, "redshift": 0.5}
    a, b = Drawn(3, 10, row), Drawn(3, 18, row)
    ways = [generator.interpolate(a, b, 8, way).array for way in ("noise", "latent")]
    pictures = [[colour_image(stamp) for stamp in stamps] for stamps in ways]
    contact_sheet(pictures, OUTPUT / "between.png")


def hunt(latents, crossed):
    """Say yes or no to what is proposed, round after round; returns how many were found."""
    labels = OUTPUT / "yes_and_no.csv"
    labels.unlink(missing_ok=True)
    words = ("hunt", latents, f"labels={labels}", f"count={LOOKED_AT}",
             f"output={OUTPUT / 'hunt.png'}")  # fmt: skip
    for _ in range(ROUNDS):
        run(*words)
        given = Table.read(labels)
        given["label"] = np.where(crossed[given["row"]], "yes", "no")
        given.write(labels, overwrite=True)
    found, looked_at = int((given["label"] == "yes").sum()), len(given)
    print(f"{found} of {crossed.sum()} trails are among the {looked_at} looked at; "
          f"chance finds {looked_at * crossed.mean():.0f}")  # fmt: skip
    return found


def classify(latents):
    """Near and far from labels of every other galaxy, and redshifts from the latents' own."""
    table = Table.read(latents)
    labels = table["row", "redshift"][::2]
    labels["place"] = np.where(labels["redshift"] < 0.8, "near", "far")
    labels["row", "place"].write(OUTPUT / "places.csv", overwrite=True)
    run("classify", latents, f"labels={OUTPUT / 'places.csv'}", "column=place",
        f"output={OUTPUT / 'places'}")  # fmt: skip
    run("classify", latents, "column=redshift", f"output={OUTPUT / 'redshifts'}")


def compress():
    """Latents beside principal components, JPEG 2000 and FITS's Rice compression."""
    vae = modelfile.read(modelfile.find("candels")).vae
    table = compression.compare(vae, NCOMPRESSED)
    table.pprint_all()
    compression.draw(table, OUTPUT / "compression.png")


def main():
    """Go through the page on the latent space."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    generator = galsim_vae.GalaxyGenerator("candels", device="cpu")
    crossed = draw(generator)
    latents = OUTPUT / "latents.fits"
    run("encode", OUTPUT / "seen.fits", f"output={latents}", "overwrite=true")
    run("map", latents, "colour=redshift", f"output={OUTPUT / 'map.png'}", "overwrite=true")
    between(generator)
    run("draw", "n=6", "magnitude=21", "sequence=redshift", f"output={OUTPUT / 'sequence.png'}",
        "overwrite=true")  # fmt: skip
    found = hunt(latents, crossed)
    classify(latents)
    compress()
    print(f"Pictures are in {OUTPUT}.")
    return found, crossed


if __name__ == "__main__":
    main()
