"""Four galaxies on a small mosaic in one or two bands, with maps as surveys have them."""

from collections.abc import Callable
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from galsim_vae.train.ingest import galaxy_row
from galsim_vae.train.readers import MosaicReader

SCALE, RMS, ZEROPOINT, SIDE, FLUX = 0.06, 0.004, 25.947, 420, 45.0
PLACES = [(109, 109), (309, 109), (109, 309), (309, 309)]  # 0-based pixels
MAGNITUDE = ZEROPOINT - 2.5 * np.log10(FLUX)
# Calibration of HST that gives the zero-point.
PHOTPLAM = 8045.0
PHOTFLAM = 10 ** (-0.4 * (ZEROPOINT + 5 * np.log10(PHOTPLAM) + 2.408))


def psf(fwhm: float = 0.09) -> galsim.GSObject:
    """PSF of the field."""
    return galsim.Convolve(galsim.Gaussian(fwhm=fwhm), galsim.Pixel(SCALE))


def psf_config(fwhm: float = 0.09) -> dict:
    """PSF of the field as a configuration has it."""
    pixel = {"type": "Pixel", "scale": SCALE}
    return {"type": "Convolve", "items": [{"type": "Gaussian", "fwhm": fwhm}, pixel]}


def arrays(fwhm: float = 0.09, seed: int = 1) -> tuple[NDArray, NDArray]:
    """Image and rms map (420, 420)."""
    image = galsim.ImageD(SIDE, SIDE)
    for k, (x, y) in enumerate(PLACES):
        galaxy = galsim.Exponential(half_light_radius=0.4, flux=FLUX).shear(g1=0.2, g2=0.05 * k)
        stamp = galsim.Convolve(galaxy, psf(fwhm)).drawImage(
            nx=181, ny=181, scale=SCALE, method="no_pixel", center=galsim.PositionI(x + 1, y + 1)
        )
        bounds = stamp.bounds & image.bounds
        image[bounds] += stamp[bounds]
    noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE))
    return image.array + RMS * noise, np.full((SIDE, SIDE), RMS)


def header(**keys) -> fits.Header:
    """Header of the field with some keywords changed, or left out where None."""
    step = SCALE / 3600
    values = {
        "ZPT_AB": ZEROPOINT, "BUNIT": "ELECTRONS/S", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
        "CRVAL1": 53.1, "CRVAL2": -27.8, "CRPIX1": 210.0, "CRPIX2": 210.0,
        "CD1_1": -step, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": step,
    } | keys  # fmt: skip
    made = fits.Header()
    for key, value in values.items():
        if value is not None:
            made[key] = value
    return made


def band(
    folder: Path,
    name: str = "f814w",
    fwhm: float = 0.09,
    seed: int = 1,
    edit: Callable | None = None,
    noise_map: str = "rms",
    noise_keys: dict | None = None,
    **keys,
) -> dict:
    """Write one band and return its part of a configuration.

    Parameters
    ----------
    edit : function of image and noise map that returns both as they are written.
    noise_map : "rms" or "weight".
    noise_keys : keywords of the noise map's header; those of the image if absent.
    """
    image, noise = arrays(fwhm, seed)
    if noise_map == "weight":
        noise = noise**-2
    if edit:
        image, noise = edit(image, noise)
    made = header(**keys)
    theirs = made if noise_keys is None else header(**(keys | noise_keys))
    path = folder / f"{name}.fits"
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(np.asarray(image).astype("f4"), made, "SCI"),
        fits.ImageHDU(np.asarray(noise).astype("f4"), theirs, "NOISE"),
    ]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return {"image": f"{path}[SCI]", noise_map: f"{path}[NOISE]", "psf": psf_config(fwhm)}


def read(bands: dict, catalogue: dict | None = None):
    """Return all sources of a field, and of each its row of the training file and the reason."""
    reader = MosaicReader("field", bands, catalogue)
    reader.check()
    found = [source for chunk in range(len(reader)) for source in reader.read(chunk)]
    return found, [galaxy_row(source, 1) for source in found]


def taken(bands: dict, catalogue: dict | None = None) -> list[dict]:
    """Return the rows of the galaxies that are taken."""
    return [row for row, _ in read(bands, catalogue)[1] if row is not None]
