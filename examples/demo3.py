"""demo3: a Rubin-like focal plane behind a cluster of galaxies, through the Python API.

The Python twin of demo3.yaml. It draws the same objects and the same noise.

- The population down to F814W = 25 on a field of the sky: the input field of the YAML file is a
  class, which lays it out.
- Nine small CCDs in a raft of three by three. All have the same TAN projection about the middle of
  the raft, each with its own place in the focal plane.
- An NFW halo at redshift 0.3 shears and magnifies each galaxy behind it by its true redshift.
- Stars are added. What falls on the edge of a CCD is on both sides of the gap.

Run it from the top of the repository:   python examples/demo3.py [galaxies per square arcmin]
It writes examples/output/demo3_py_S{00,01,02,10,11,12,20,21,22}.fits, with a truth catalogue of
each, and demo3_py.png.
"""

import logging
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import galsim
from astropy.table import Table
from plot_demo import plot_mosaic
from tqdm import tqdm

from galsim_vae.config.catalog import CatalogInput

SEED = 1234  # of the noise
SEED_GALAXIES, SEED_STARS = 5678, 91011
CENTER = galsim.CelestialCoord(55 * galsim.degrees, -30 * galsim.degrees)
FIELD = 240.0  # arcsec, a side of the field, which holds the focal plane
NSTARS = 60
HALO = galsim.NFWHalo(mass=2e14, conc=4, redshift=0.3)  # solar masses / h
IMAGE_SIZE, GAP = 256, 24  # pixels
PIXEL_SCALE = 0.2  # arcsec
TURN = 20 * galsim.degrees  # of the focal plane
MARGIN = 100  # pixels: what is further from a CCD is not drawn on it
PSF_FWHM = 0.79  # arcsec
ZEROPOINT = 27.81 + 2.5 * math.log10(5520)  # AB magnitude of one electron: ten years of LSST i
SKY = 20.48  # AB magnitudes per square arcsec
# What is true of a star
NOTHING = dict.fromkeys(("half_light_radius", "g1", "g2", "redshift", "shear1", "shear2"), 0.0)
OUTPUT = os.path.join("examples", "output")


@dataclass(frozen=True)
class Thing:
    """A galaxy or a star as it is drawn, and what is true of it."""

    profile: galsim.GSObject
    position: galsim.CelestialCoord
    truth: Mapping[str, float]


def lens(position: galsim.CelestialCoord, redshift: float) -> tuple[galsim.Shear, float]:
    """The halo's reduced shear and magnification, with the limits of GalSim's config files."""
    if redshift <= HALO.z:
        return galsim.Shear(), 1.0
    u, v = CENTER.project(position)
    place = galsim.PositionD(u / galsim.arcsec, v / galsim.arcsec)
    g1, g2 = HALO.getShear(place, redshift)
    magnification = HALO.getMagnification(place, redshift)
    shear = galsim.Shear(g1=g1, g2=g2) if math.hypot(g1, g2) < 1 else galsim.Shear()
    return shear, magnification if 0 <= magnification <= 25 else 25.0


def make_galaxies(density: float | None) -> list[Thing]:
    """The galaxies of the field; by default as many as the population has."""
    catalog = CatalogInput(
        area=(FIELD / 60) ** 2, density=density, center=CENTER, max_magnitude=25.0,
        seed=SEED_GALAXIES,
    )  # fmt: skip
    stamps = catalog.stamps()
    places = zip(catalog.contents["ra"], catalog.contents["dec"], strict=True)
    found = []
    for i, (ra, dec) in enumerate(places):
        galaxy = stamps.galaxy(i, band="LSST_i", zeropoint=ZEROPOINT)
        position = galsim.CelestialCoord(ra.value * galsim.degrees, dec.value * galsim.degrees)
        shear, magnification = lens(position, galaxy.redshift)
        truth = {
            "magnitude": galaxy.magnitude_in("LSST_i"),
            "half_light_radius": galaxy.half_light_radius,
            "g1": galaxy.ellipticity.g1,
            "g2": galaxy.ellipticity.g2,
            "redshift": galaxy.redshift,
            "shear1": shear.g1,
            "shear2": shear.g2,
            "magnification": magnification,
        }
        lensed = galaxy.lens(shear.g1, shear.g2, magnification)
        found.append(Thing(lensed, position, {"star": False} | truth))
    return found


def make_stars(first: int) -> list[Thing]:
    """Stars anywhere in the field; ``first`` is the number of objects before them."""
    found = []
    gsparams = galsim.GSParams(folding_threshold=1e-3)  # bright ones are not cut off
    for number in range(first, first + NSTARS):
        uniform = galsim.UniformDeviate(SEED_STARS + number + 1)
        x, y = (-FIELD / 2 + FIELD * uniform() for _ in range(2))
        magnitude = 18 + 6 * uniform()
        star = galsim.DeltaFunction(flux=10 ** (0.4 * (ZEROPOINT - magnitude)), gsparams=gsparams)
        truth = {"star": True, "magnitude": magnitude, "magnification": 1.0, **NOTHING}
        position = CENTER.deproject(x * galsim.arcsec, y * galsim.arcsec)
        found.append(Thing(star, position, truth))
    return found


def make_wcs(row: int, column: int) -> galsim.TanWCS:
    """The projection of a CCD: that of the focal plane, seen from its own pixels."""
    step = IMAGE_SIZE + GAP
    middle = galsim.PositionD(
        (IMAGE_SIZE + 1) / 2 - (column - 1) * step, (IMAGE_SIZE + 1) / 2 - (row - 1) * step
    )
    sine, cosine = TURN.sincos()
    affine = galsim.AffineTransform(
        PIXEL_SCALE * cosine, -PIXEL_SCALE * sine, PIXEL_SCALE * sine, PIXEL_SCALE * cosine, middle
    )
    return galsim.TanWCS(affine, CENTER)


def draw_ccd(
    things: list[Thing], wcs: galsim.TanWCS, rng: galsim.BaseDeviate
) -> tuple[galsim.Image, Table]:
    """Draw what falls on a CCD, with noise; return its truth catalogue too."""
    image = galsim.ImageF(IMAGE_SIZE, IMAGE_SIZE, wcs=wcs)
    psf = galsim.Kolmogorov(fwhm=PSF_FWHM)
    rows = []
    for number, thing in enumerate(things):
        center = wcs.toImage(thing.position)
        distance = max(abs(center.x - IMAGE_SIZE / 2), abs(center.y - IMAGE_SIZE / 2))
        if distance > IMAGE_SIZE / 2 + MARGIN:
            continue
        place = {
            "number": number,
            "ra": thing.position.ra / galsim.degrees,
            "dec": thing.position.dec / galsim.degrees,
            "x": center.x,
            "y": center.y,
        }
        stamp = galsim.Convolve(thing.profile, psf).drawImage(center=center, wcs=wcs.local(center))
        overlap = stamp.bounds & image.bounds
        if overlap.isDefined():
            image[overlap] += stamp[overlap]
            rows.append(place | dict(thing.truth))
    sky = galsim.Image(image.bounds, wcs=wcs)
    wcs.makeSkyImage(sky, 10 ** (0.4 * (ZEROPOINT - SKY)))  # electrons per square arcsec
    image += sky
    image.addNoise(galsim.PoissonNoise(rng))
    image -= sky
    return image, Table(rows)


def main(density: float | None = None) -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    logger = logging.getLogger("demo3")
    os.makedirs(OUTPUT, exist_ok=True)

    things = make_galaxies(density)
    logger.info("Decoded %d galaxies", len(things))
    things += make_stars(len(things))

    # GalSim gives the noise of the nth file the seed of its first object.
    first = galsim.BaseDeviate(SEED).raw()
    names = []
    for k in tqdm(range(9), desc="CCDs", disable=None):
        rng = galsim.BaseDeviate(first + k * len(things))
        image, truth = draw_ccd(things, make_wcs(k // 3, k % 3), rng)
        names.append(os.path.join(OUTPUT, f"demo3_py_S{k // 3}{k % 3}.fits"))
        image.write(names[-1])
        truth.write(names[-1].replace(".fits", "_truth.fits"), overwrite=True)
    logger.info("Wrote %s to %s", names[0], os.path.basename(names[-1]))

    plot_mosaic(os.path.join(OUTPUT, "demo3_py.png"), names, columns=3, gap=GAP)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
