"""demo4: the same galaxies through Euclid VIS and Roman Y106, J129 and H158, in Python.

The Python twin of demo4.yaml. It draws the same galaxies and the same noise.

- Draw galaxies from the population that the weights learnt, and keep those brighter than
  F814W = 26.
- Make a chromatic object of each. Since only one bandpass sees it, with a PSF that does not depend
  on the wavelength, its bands are added up before, which costs a quarter and gives the same image.
- Bandpasses, PSF, sky and detectors of Roman are those of galsim.roman. The PSF of Euclid VIS is
  the one that BlendingToolKit has, or an image of your own.

Run it from the top of the repository:   python examples/demo4.py
It writes examples/output/demo4_py_{vis,Y106,J129,H158}.fits, demo4_py_vis.png and
demo4_py_roman.png. `python examples/demo4.py --help` names the options.
"""

import argparse
import logging
import math
import os
import sys
from dataclasses import dataclass

import galsim
import galsim.roman
from plot_demo import plot

import galsim_vae
from galsim_vae.filters import find_bandpass

NOBJECTS = 60
SEED, SEED_POSITIONS = 5678, 91011
SEED_VIS, SEED_ROMAN = 21, 22  # of the noise
FIELD = 44.0  # arcsec, a side of the field
OUTPUT = os.path.join("examples", "output")


@dataclass(frozen=True)
class Telescope:
    """One band of one telescope."""

    name: str
    bandpass: galsim.Bandpass
    psf: galsim.GSObject
    pixel_scale: float  # arcsec
    electrons: float  # for each photon/s/cm^2, the unit of a chromatic object
    noise: galsim.BaseNoise  # with the sky, in electrons


def vis(psf: galsim.GSObject | None) -> Telescope:
    """Euclid VIS: four exposures of 565 s.

    Zero-point (AB magnitude of one electron per second), sky (AB magnitudes per square arcsec) and
    the numbers of the PSF are those of surveycodex (github.com/LSSTDESC/surveycodex).
    """
    zeropoint, sky, scale = 25.92 + 2.5 * math.log10(4 * 565), 22.32, 0.1
    if psf is None:
        optics = galsim.Airy(lam=750.637, diam=1.2, obscuration=math.sqrt(0.13))
        psf = galsim.Convolve(galsim.Kolmogorov(fwhm=0.17), optics)
    bandpass = find_bandpass("Euclid_VIS")
    electrons = 10 ** (0.4 * (zeropoint - bandpass.withZeropoint("AB").zeropoint))
    sky_level = 10 ** (0.4 * (zeropoint - sky)) * scale**2
    rng = galsim.BaseDeviate(galsim.BaseDeviate(SEED_VIS).raw())
    noise = galsim.PoissonNoise(rng, sky_level=sky_level)
    return Telescope("vis", bandpass, psf, scale, electrons, noise)


def roman(name: str, rng: galsim.BaseDeviate) -> Telescope:
    """One filter of Roman: the sum of the exposures that it has."""
    bandpass = galsim.roman.getBandpass(name)
    scale, exposures = galsim.roman.pixel_scale, galsim.roman.n_dithers
    time = exposures * galsim.roman.exptime  # s
    psf = galsim.roman.getPSF(
        SCA=1, bandpass=name, pupil_bin=8, wavelength=bandpass.effective_wavelength,
        wcs=galsim.PixelScale(scale),
    )  # fmt: skip
    zodiacal = galsim.roman.getSkyLevel(bandpass, exptime=time)  # electrons per square arcsec
    sky = zodiacal * (1 + galsim.roman.stray_light_fraction)
    dark = (galsim.roman.thermal_backgrounds[name] + galsim.roman.dark_current) * time
    noise = galsim.CCDNoise(
        rng, sky_level=sky * scale**2 + dark,
        read_noise=galsim.roman.read_noise * math.sqrt(exposures),
    )  # fmt: skip
    return Telescope(name, bandpass, psf, scale, galsim.roman.collecting_area * time, noise)


def telescopes(nobjects: int, vis_psf: galsim.GSObject | None) -> list[Telescope]:
    """Euclid's band and Roman's."""
    # GalSim gives the noise of the nth file the seed of its first object.
    first = galsim.BaseDeviate(SEED_ROMAN).raw()
    filters = ("Y106", "J129", "H158")
    return [
        vis(vis_psf),
        *(roman(name, galsim.BaseDeviate(first + k * nobjects)) for k, name in enumerate(filters)),
    ]


def position(number: int) -> galsim.PositionD:
    """Where a galaxy is, in arcsec from the middle of the field."""
    uniform = galsim.UniformDeviate(SEED_POSITIONS + number + 1)
    x, y = (-0.45 * FIELD + uniform() * 0.9 * FIELD for _ in range(2))
    return galsim.PositionD(x, y)


def draw_field(stamps: galsim_vae.Stamps, telescope: Telescope) -> galsim.Image:
    """Draw all galaxies in one band, with noise."""
    size = round(FIELD / telescope.pixel_scale)
    image = galsim.ImageF(size, size, scale=telescope.pixel_scale)
    for number in range(len(stamps)):
        galaxy = stamps.chromatic(number, bandpass=telescope.bandpass)
        profile = galsim.Convolve(galaxy * telescope.electrons, telescope.psf)
        center = image.true_center + position(number) / telescope.pixel_scale
        stamp = profile.drawImage(telescope.bandpass, center=center, scale=telescope.pixel_scale)
        overlap = stamp.bounds & image.bounds
        if overlap.isDefined():
            image[overlap] += stamp[overlap]
    image.addNoise(telescope.noise)
    return image


def main(nobjects: int = NOBJECTS, vis_psf: galsim.GSObject | None = None) -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    logger = logging.getLogger("demo4")
    os.makedirs(OUTPUT, exist_ok=True)

    rng = galsim.BaseDeviate(SEED)
    generator = galsim_vae.GalaxyGenerator("candels")
    population = generator.sample_conditions(10 * nobjects, rng)
    stamps = generator.sample(population[population["magnitude"] < 26][:nobjects], rng)
    logger.info("Decoded %d galaxies", len(stamps))

    names = {}
    for telescope in telescopes(nobjects, vis_psf):
        names[telescope.name] = os.path.join(OUTPUT, f"demo4_py_{telescope.name}.fits")
        draw_field(stamps, telescope).write(names[telescope.name])
        logger.info("Wrote %s", names[telescope.name])
    plot(os.path.join(OUTPUT, "demo4_py_vis.png"), [names["vis"]])
    bands = [names[name] for name in ("H158", "J129", "Y106")]
    plot(os.path.join(OUTPUT, "demo4_py_roman.png"), bands)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Galaxies through Euclid VIS and Roman.")
    parser.add_argument("--nobjects", type=int, default=NOBJECTS, help="number of galaxies")
    parser.add_argument("--vis-psf", help="a FITS image of the PSF of Euclid VIS")
    parser.add_argument("--vis-psf-scale", type=float, help="its pixel scale, arcsec")
    args = parser.parse_args()
    own = args.vis_psf and galsim.InterpolatedImage(args.vis_psf, scale=args.vis_psf_scale, flux=1)
    main(args.nobjects, own)
