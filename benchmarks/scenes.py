"""The galaxies, PSFs and images that the benchmarks of the renderer share."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import NamedTuple

import galsim
import numpy as np

import galsim_vae


class Scene(NamedTuple):
    """A PSF, a band with its zero-point, a pixel scale [arcsec] and an image's size."""

    psf: galsim.GSObject
    band: str
    zeropoint: float
    scale: float
    size: int


SCENES = {
    "LSST": Scene(galsim.Kolmogorov(fwhm=0.7), "LSST_i", 28.0, 0.2, 64),
    "Euclid VIS": Scene(galsim.Airy(lam=700, diam=1.2, obscuration=0.3), "F814W", 25.5, 0.1, 64),
}


def population(n: int, seed: int = 1) -> galsim_vae.Stamps:
    """Galaxies of the shipped weights' own population."""
    generator = galsim_vae.GalaxyGenerator("candels")
    rng = galsim.BaseDeviate(seed)
    return generator.sample(generator.sample_conditions(n, rng), rng)


def moves(n: int, seed: int = 2) -> dict[str, np.ndarray]:
    """A rotation, a shear and a dither for each galaxy."""
    rng = np.random.default_rng(seed)
    return {
        "rotation": rng.uniform(0, 2 * np.pi, n),
        "shear": rng.uniform(-0.05, 0.05, (n, 2)),
        "shift": rng.uniform(-0.1, 0.1, (n, 2)),
    }


def processor() -> str:
    """What the machine calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
