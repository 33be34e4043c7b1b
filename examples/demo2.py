"""demo2: the same galaxies through LSST g, r, i and Euclid VIS, through the Python API.

The Python twin of demo2.yaml, with the same telescopes and noise and galaxies of the same kind.

- Draw galaxies from the population that the weights learnt, and decode at once those brighter than
  F814W = 25.
- Make a chromatic object of each: it draws through any galsim.Bandpass.
- Draw each in four bands at the same place on the sky, and make colour pictures.

Run it from the top of the repository:   python examples/demo2.py
It writes examples/output/demo2_py_{g,r,i,vis}.fits, demo2_py.png and demo2_py_vis.png.
"""

import logging
import math
import os
import sys
from dataclasses import dataclass

import galsim
from plot_demo import plot

import galsim_vae

SEED = 5678
NOBJECTS = 200
FIELD = 60.0  # arcsec, a side of the field
OUTPUT = os.path.join("examples", "output")


@dataclass(frozen=True)
class Survey:
    """One band of one survey.

    The exposure times, the zero-points (AB magnitude of one electron per second) and the sky (AB
    magnitudes per square arcsec) are those of surveycodex (github.com/LSSTDESC/surveycodex).
    """

    name: str
    bandpass: galsim.Bandpass
    psf: galsim.GSObject
    pixel_scale: float  # arcsec
    exposure: float  # s
    electron: float  # AB magnitude of one electron per second
    sky: float

    @property
    def zeropoint(self) -> float:
        """AB magnitude of one electron in the whole exposure."""
        return self.electron + 2.5 * math.log10(self.exposure)

    @property
    def electrons(self) -> float:
        """Electrons for each photon/s/cm^2, the unit of a chromatic object."""
        return 10 ** (0.4 * (self.zeropoint - self.bandpass.withZeropoint("AB").zeropoint))

    @property
    def sky_level(self) -> float:
        """Electrons per pixel from the sky."""
        return 10 ** (0.4 * (self.zeropoint - self.sky)) * self.pixel_scale**2


def lsst(band: str, fwhm: float, exposure: float, electron: float, sky: float) -> Survey:
    """Ten years of LSST in ``band``."""
    bandpass = galsim.Bandpass(f"LSST_{band}.dat", "nm")
    return Survey(band, bandpass, galsim.Kolmogorov(fwhm=fwhm), 0.2, exposure, electron, sky)


def surveys() -> list[Survey]:
    """LSST g, r and i, and Euclid VIS with a top hat from 550 to 900 nm for its bandpass."""
    vis = galsim.Bandpass("0.7", "nm", blue_limit=550, red_limit=900)
    airy = galsim.Airy(lam=725, diam=1.2, obscuration=0.36)
    return [
        lsst("g", fwhm=0.86, exposure=2400, electron=28.29, sky=22.26),
        lsst("r", fwhm=0.81, exposure=5520, electron=28.13, sky=21.20),
        lsst("i", fwhm=0.79, exposure=5520, electron=27.81, sky=20.48),
        Survey("vis", vis, airy, 0.1, 2260, 25.92, 22.32),
    ]


def draw_field(
    galaxies: list[galsim.ChromaticObject],
    positions: list[galsim.PositionD],
    survey: Survey,
    rng: galsim.BaseDeviate,
) -> galsim.Image:
    """Draw galaxies at positions (arcsec from the centre of the field), with noise."""
    size = round(FIELD / survey.pixel_scale)
    image = galsim.ImageF(size, size, scale=survey.pixel_scale)
    for galaxy, position in zip(galaxies, positions, strict=True):
        profile = galsim.Convolve(galaxy * survey.electrons, survey.psf)
        center = image.true_center + position / survey.pixel_scale
        stamp = profile.drawImage(survey.bandpass, center=center, scale=survey.pixel_scale)
        overlap = stamp.bounds & image.bounds
        if overlap.isDefined():
            image[overlap] += stamp[overlap]
    image.addNoise(galsim.PoissonNoise(rng, sky_level=survey.sky_level))
    return image


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    logger = logging.getLogger("demo2")
    os.makedirs(OUTPUT, exist_ok=True)

    rng = galsim.BaseDeviate(SEED)
    generator = galsim_vae.GalaxyGenerator("candels")
    population = generator.sample_conditions(NOBJECTS, rng)
    stamps = generator.sample(population[population["magnitude"] < 25], rng)
    galaxies = [stamps.chromatic(i) for i in range(len(stamps))]
    logger.info("Decoded %d galaxies", len(stamps))

    uniform = galsim.UniformDeviate(rng)
    positions = [
        galsim.PositionD((0.9 * uniform() - 0.45) * FIELD, (0.9 * uniform() - 0.45) * FIELD)
        for _ in galaxies
    ]
    names = {}
    for survey in surveys():
        names[survey.name] = os.path.join(OUTPUT, f"demo2_py_{survey.name}.fits")
        draw_field(galaxies, positions, survey, rng).write(names[survey.name])
        logger.info("Wrote %s", names[survey.name])

    plot(os.path.join(OUTPUT, "demo2_py.png"), [names["i"], names["r"], names["g"]])
    plot(os.path.join(OUTPUT, "demo2_py_vis.png"), [names["vis"]])


if __name__ == "__main__":
    main()
