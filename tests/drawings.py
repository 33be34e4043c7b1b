"""What the tests of the renderer share: galaxies, moves, PSFs, and GalSim's exact images."""

import galsim
import numpy as np
import torch
from stub_generator import StubGenerator

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
# What the documentation promises, of the peak.
ACCURACY = {"float64": 1e-5, "float32": 3e-5}
TIGHT = {"maxk_threshold": 1e-6, "kvalue_accuracy": 1e-7, "folding_threshold": 1e-3}

# PSF, pixel scale [arcsec], nx, ny, and the period of the direct sum [arcsec]. The PSFs are made
# afresh for each use: one that has been drawn keeps its old maxk whatever GSParams it is given.
SCENES = {
    "Moffat": (lambda: galsim.Moffat(beta=2.5, fwhm=0.7).shear(g1=0.03, g2=0.02), 0.26, 36, 41, 40),
    "Kolmogorov": (lambda: galsim.Kolmogorov(fwhm=0.7), 0.2, 40, 33, 40),
    "struts": (
        lambda: galsim.OpticalPSF(
            lam=700, diam=1.2, obscuration=0.3, nstruts=3, strut_thick=0.05
        ),
        0.1, 32, 32, 20,
    ),
    "image": (
        lambda: galsim.InterpolatedImage(
            galsim.Moffat(beta=3, fwhm=0.6).shear(g1=0.05, g2=-0.02)
            .drawImage(nx=48, ny=48, scale=0.1), flux=1,
        ),
        0.2, 32, 32, 32,
    ),
    "fine": (lambda: galsim.Moffat(beta=3, fwhm=0.2, trunc=2), 0.05, 48, 48, 12),
}  # fmt: skip


def galaxies(n, seed=3, low=0.1, high=0.6):
    rng = np.random.default_rng(seed)
    table = {
        "magnitude": np.full(n, 22.0),
        "half_light_radius": rng.uniform(low, high, n),
        "g1": rng.uniform(-0.4, 0.4, n),
        "g2": rng.uniform(-0.4, 0.4, n),
        "redshift": np.full(n, 0.5),
        "id": 100 + np.arange(n),
    }
    return StubGenerator().sample(table, galsim.BaseDeviate(seed))


def transforms(n, seed=5):
    rng = np.random.default_rng(seed)
    return {
        "shear": rng.uniform(-0.07, 0.07, (n, 2)),
        "shift": rng.uniform(-0.3, 0.3, (n, 2)),
        "rotation": rng.uniform(0, 2 * np.pi, n),
    }


def galsim_image(stamps, i, psf, nx, ny, scale, shear, shift, rotation, wcs=None, **forced):
    """What GalSim draws exactly: with tight GSParams, 16 times padded, no k left out.

    ``forced`` has the maxk and stepk of an `InterpolatedImage` of elongated pixels.
    """
    array = stamps.array[i, 2].astype(float)
    jacobian = stamps.jacobian[i]
    galaxy = galsim.InterpolatedImage(
        galsim.Image(array, wcs=galsim.JacobianWCS(*jacobian.ravel())),
        flux=array.sum() * stamps.weights()[i, 2],
        offset=galsim.PositionD(*stamps.offset[i]),
        gsparams=galsim.GSParams(**TIGHT),
        pad_factor=16, calculate_maxk=False, **forced,
    )  # fmt: skip
    galaxy = galaxy.rotate(rotation * galsim.radians).shear(g1=shear[0], g2=shear[1]).shift(*shift)
    whole = galsim.Convolve(galaxy, psf)
    return whole.drawImage(nx=nx, ny=ny, scale=scale, wcs=wcs, dtype=float).array
