"""demo1: a Rubin-like field of 100 galaxies, through the Python API.

The Python twin of demo1.yaml: the same telescope, noise and shear, and galaxies of the same kind.

- Draw galaxies from the population that the weights learnt, and keep 100 of F814W 18.5 to 24.5.
- Decode all of them at once.
- Shear, convolve and draw each with GalSim, as any other profile.
- Add the noise of the photons of the galaxies and of the sky.

Run it from the top of the repository:   python examples/demo1.py
It writes examples/output/demo1_py.fits.
"""

import logging
import math
import os
import sys

import galsim

import galsim_vae

SEED = 1234
NOBJECTS = 100
IMAGE_SIZE = 540  # pixels
PIXEL_SCALE = 0.2  # arcsec
PSF_FWHM = 0.7  # arcsec
EXPOSURE = 5520.0  # s: ten years of LSST r
ZEROPOINT = 28.13 + 2.5 * math.log10(EXPOSURE)  # AB magnitude of one electron
SKY = 21.2  # AB magnitudes per square arcsec
OUTPUT = os.path.join("examples", "output", "demo1_py.fits")


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    logger = logging.getLogger("demo1")

    rng = galsim.BaseDeviate(SEED)
    generator = galsim_vae.GalaxyGenerator("candels")
    population = generator.sample_conditions(50 * NOBJECTS, rng)
    magnitude = population["magnitude"]
    table = population[(magnitude > 18.5) & (magnitude < 24.5)][:NOBJECTS]
    stamps = generator.sample(table, rng)
    logger.info("Decoded %d galaxies", len(stamps))

    psf = galsim.Kolmogorov(fwhm=PSF_FWHM)
    image = galsim.ImageF(IMAGE_SIZE, IMAGE_SIZE, scale=PIXEL_SCALE)
    uniform = galsim.UniformDeviate(rng)
    for i in range(len(stamps)):
        galaxy = stamps.galaxy(i, band="LSST_r", zeropoint=ZEROPOINT).shear(g1=0.02, g2=0.01)
        position = galsim.PositionD(1 + uniform() * IMAGE_SIZE, 1 + uniform() * IMAGE_SIZE)
        stamp = galsim.Convolve(galaxy, psf).drawImage(center=position, scale=PIXEL_SCALE)
        overlap = stamp.bounds & image.bounds
        if overlap.isDefined():
            image[overlap] += stamp[overlap]

    sky_level = 10 ** (0.4 * (ZEROPOINT - SKY)) * PIXEL_SCALE**2  # electrons per pixel
    image.addNoise(galsim.PoissonNoise(rng, sky_level=sky_level))

    os.makedirs(os.path.dirname(OUTPUT), exist_ok=True)
    image.write(OUTPUT)
    logger.info("Wrote %s", OUTPUT)


if __name__ == "__main__":
    main()
