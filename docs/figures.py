"""Draw the pictures of the documentation, docs/_static/*.png, with the shipped weights.

Run it from anywhere: ``make figures``. Running it again gives the same pictures.
"""

from pathlib import Path

import galsim
import matplotlib
import numpy as np
from astropy.table import QTable
from astropy.visualization import make_lupton_rgb

import galsim_vae
from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, REFERENCE, STAMP_SIZE
from galsim_vae.latents import Drawn, sequence
from galsim_vae.model import file as modelfile
from galsim_vae.plots import colour_image, contact_sheet
from galsim_vae.train.check import compression

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.patches import Ellipse  # noqa: E402

STATIC = Path(__file__).parent / "_static"
SEED = 20
CENTRE = (STAMP_SIZE - 1) / 2  # index of the middle of a canonical stamp


def stretch(array: np.ndarray, softening: float = 0.02) -> np.ndarray:
    """Return an arcsinh stretch of an image to its own peak."""
    peak = np.max(array)
    return np.arcsinh(array / (softening * peak)) / np.arcsinh(1 / softening)


def show(axes, array: np.ndarray, title: str = "") -> None:
    """Show one image without ticks, dark on light."""
    axes.imshow(stretch(array), origin="lower", cmap="gray_r", vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=9)


def save(figure, name: str) -> None:
    figure.savefig(STATIC / name, dpi=110, bbox_inches="tight")
    plt.close(figure)


def draw_canonical(stamps: galsim_vae.Stamps, i: int, g: float) -> None:
    """One galaxy in the canonical frame, in which it has |g|, with its half-light ellipse."""
    figure, axes = plt.subplots(1, len(BANDS), figsize=(11, 2.5), layout="constrained")
    stretching = np.sqrt((1 + g) / (1 - g))  # a / r and r / b of an ellipse with r = sqrt(a b)
    for axis, band, array in zip(axes, BANDS, stamps.array[i], strict=True):
        show(axis, array, band)
        if band == REFERENCE:
            width, height = 2 * HALF_LIGHT_PIXELS * np.array([stretching, 1 / stretching])
            middle = (CENTRE + stamps.offset[i, 0], CENTRE + stamps.offset[i, 1])
            axis.add_patch(Ellipse(middle, width, height, fill=False, color="tab:red"))
    save(figure, "canonical.png")


def draw_on_the_sky(generator: galsim_vae.GalaxyGenerator, galaxy: dict, seed: int) -> None:
    """One galaxy with other sizes and position angles, and then through a PSF."""
    rows = [(0.6, 0.0), (0.6, 45.0), (1.0, 45.0), (1.0, 110.0)]  # arcsec, degrees
    table = QTable(
        {
            "magnitude": [galaxy["magnitude"]] * len(rows),
            "half_light_radius": [size for size, _ in rows],
            "g1": [galaxy["g"] * np.cos(2 * np.radians(angle)) for _, angle in rows],
            "g2": [galaxy["g"] * np.sin(2 * np.radians(angle)) for _, angle in rows],
            "redshift": [galaxy["redshift"]] * len(rows),
            "id": [galaxy["id"]] * len(rows),
        }
    )
    stamps = generator.sample(table, galsim.BaseDeviate(seed))
    figure, axes = plt.subplots(2, len(rows), figsize=(9, 4.8), layout="constrained")
    psf = galsim.Kolmogorov(fwhm=0.7)
    for i, (size, angle) in enumerate(rows):
        profile = stamps.galaxy(i)
        sharp = profile.drawImage(nx=200, ny=200, scale=0.04).array
        blurred = galsim.Convolve(profile, psf).drawImage(nx=40, ny=40, scale=0.2).array
        show(axes[0, i], sharp, f"{size} arcsec, {angle:.0f} degrees")
        show(axes[1, i], blurred)
    axes[0, 0].set_ylabel('no PSF, 0.04"', fontsize=9)
    axes[1, 0].set_ylabel('0.7" PSF, 0.2"', fontsize=9)
    save(figure, "on_the_sky.png")


def colour(stamps: galsim_vae.Stamps, i: int) -> np.ndarray:
    """Return a galaxy on the sky in F125W, F814W and F606W, 64 pixels of a sixth of its radius."""
    pixel = stamps.conditions.values[i, 1] / HALF_LIGHT_PIXELS
    red, green, blue = (
        stamps.galaxy(i, band).drawImage(nx=STAMP_SIZE, ny=STAMP_SIZE, scale=pixel).array
        for band in ("F125W", "F814W", "F606W")
    )
    scale = np.max(green)
    return make_lupton_rgb(0.6 * red / scale, green / scale, 1.6 * blue / scale, stretch=0.15, Q=6)


def draw_population(stamps: galsim_vae.Stamps, nrows: int = 5, ncols: int = 12) -> None:
    """Galaxies of the population on the sky, bright ones first."""
    tiles = [colour(stamps, i) for i in range(nrows * ncols)]
    rows = [np.hstack(tiles[r * ncols : (r + 1) * ncols]) for r in range(nrows)]
    sheet = np.vstack(rows[::-1])
    plt.imsave(STATIC / "population.png", sheet, origin="lower")


def draw_candels(stamps: galsim_vae.Stamps, rng: galsim.BaseDeviate) -> None:
    """Some galaxies as CANDELS would have seen them, one galaxy a row."""
    native = stamps.as_candels(rng)
    size = (8, 1.7 * len(native))
    figure, axes = plt.subplots(len(native), len(BANDS), figsize=size, layout="constrained")
    for band, axis in zip(BANDS, axes[0], strict=True):
        axis.set_title(band, fontsize=9)
    for row, galaxy in zip(axes, native, strict=True):
        for axis, array in zip(row, galaxy, strict=True):
            noise = 1.4826 * np.median(np.abs(array - np.median(array)))
            axis.imshow(np.arcsinh(array / (2 * noise)), origin="lower", cmap="gray_r", vmin=-1)
            axis.set_xticks([])
            axis.set_yticks([])
    save(figure, "candels.png")


def draw_between(generator: galsim_vae.GalaxyGenerator) -> None:
    """Two galaxies and what lies between, and one galaxy from redshift 0.1 to 3."""
    row = {"magnitude": 20.5, "half_light_radius": 0.9, "g1": 0.1, "g2": 0.1, "redshift": 0.5}
    a, b = Drawn(3, 19, row), Drawn(3, 12, {**row, "g1": -0.1})
    z = np.expm1(np.linspace(np.log1p(0.1), np.log1p(3), 8))
    rows = [
        [colour_image(stamp) for stamp in stamps.array]
        for stamps in (
            generator.interpolate(a, b, 8), generator.interpolate(a, b, 8, "latent"),
            sequence(generator, a, z), sequence(generator, a, z, "population"),
        )
    ]  # fmt: skip
    contact_sheet(rows, STATIC / "latents_between.png")


def draw_compression() -> None:
    """Latents as an archive, beside other ways to keep a galaxy."""
    vae = modelfile.read(modelfile.find("candels")).vae
    compression.draw(compression.compare(vae), STATIC / "latents_compression.png")


def main() -> None:
    STATIC.mkdir(exist_ok=True)
    generator = galsim_vae.GalaxyGenerator("candels", device="cpu")
    table = generator.sample_conditions(3000, galsim.BaseDeviate(SEED))
    bright = table[table["magnitude"] < 22.5]
    bright = bright[np.argsort(bright["magnitude"])][:60]
    stamps = generator.sample(bright, galsim.BaseDeviate(SEED + 1))

    # Face on enough to show structure; the other pictures have galaxies as they come.
    size, elongation = stamps.conditions.values[:, 1:3].T
    large = int(np.argmax(np.where(elongation < 0.4, size, 0)))
    magnitude, _, g, redshift = stamps.conditions.values[large]
    galaxy = {"magnitude": magnitude, "g": g, "redshift": redshift, "id": bright["id"][large]}
    draw_canonical(stamps, large, float(generator.frame.rest(g)))
    draw_on_the_sky(generator, galaxy, SEED + 1)
    draw_population(stamps)
    draw_between(generator)
    draw_compression()
    shapes = [int(np.argmin(np.abs(elongation - asked))) for asked in (0.1, 0.3, 0.5, 0.7)]
    draw_candels(stamps[np.array(shapes)], galsim.BaseDeviate(SEED + 2))


if __name__ == "__main__":
    main()
