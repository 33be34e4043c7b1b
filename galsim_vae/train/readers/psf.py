"""PSFs of a survey: built from what the user gives, centred, summed over blocks of pixels."""

import copy
import math
from collections.abc import Mapping

import galsim
import numpy as np

from galsim_vae.bands import hst_psf
from galsim_vae.frame import moments as estimate

from .mosaic_image import MosaicImage

__all__ = ["block_psf", "build_psf"]

# PSFs are held as images with so many samples per native pixel, on so many of these.
_SAMPLING, _SIDE = 4, 321


def build_psf(spec, filter_name: str, wcs: float | galsim.BaseWCS) -> galsim.GSObject:
    """Build an effective PSF (native pixel in it), centred on its own adaptive moments.

    Parameters
    ----------
    spec : str, ndarray or dict
        ``"HST"`` for `bands.hst_psf`; a FITS image, ``"file.fits[HDU]"``; an array, sampled at
        the survey's pixels; or a GalSim config object such as ``{type: Moffat, fwhm: 1.1, beta:
        3}``. An image is sampled as its own header says (PIXSCALE, or a WCS), or else at the
        survey's pixels, and lies along the survey's axes if it has no WCS.
    wcs : float or galsim.BaseWCS
        Of the survey, uniform, or its pixel scale [arcsec].

    Raises
    ------
    OSError
        No such file.
    galsim.GalSimError
        GalSim cannot build it, it is not finite, or it has no centre.
    """
    grid = galsim.PixelScale(float(wcs)) if isinstance(wcs, int | float) else wcs
    if isinstance(spec, str) and spec == "HST":
        psf = hst_psf(filter_name)
    elif isinstance(spec, Mapping):
        psf, _ = galsim.config.BuildGSObject({"psf": copy.deepcopy(dict(spec))}, "psf")
    else:
        psf = _sampled(spec, grid)
    try:
        return _centred(psf.withFlux(1.0), math.sqrt(grid.pixelArea()))
    except galsim.GalSimError as error:
        raise galsim.GalSimValueError(
            f"PSF of {filter_name} cannot be used ({error})", spec if isinstance(spec, str) else ""
        ) from error


def _sampled(spec, wcs: galsim.BaseWCS) -> galsim.GSObject:
    """PSF of a FITS image or an array."""
    if isinstance(spec, str):
        image = MosaicImage(spec)
        array, wcs = image.cut((slice(None), slice(None))), _own_wcs(image, wcs)
    else:
        array = np.array(spec)
    array = array.astype(float)
    if array.ndim != 2 or not np.all(np.isfinite(array)) or not array.sum() > 0:
        raise galsim.GalSimValueError(
            "A PSF must be a 2D image of finite numbers and positive flux",
            spec if isinstance(spec, str) else array.shape,
        )
    return galsim.InterpolatedImage(galsim.ImageD(array), wcs=wcs, flux=1.0)


def _own_wcs(image: MosaicImage, survey: galsim.BaseWCS) -> galsim.BaseWCS:
    """Uniform WCS of the image of a PSF."""
    own = image.wcs()
    if own is not None and own.isCelestial():
        middle = galsim.PositionD((image.shape[1] + 1) / 2, (image.shape[0] + 1) / 2)
        return own.local(image_pos=middle)
    scale = image.pixel_scale()
    if math.isnan(scale):
        return survey
    if not scale > 0:
        raise galsim.GalSimValueError(f"{image.spec}: pixel scale of a PSF", scale)
    jacobian, finer = survey.jacobian(), scale / math.sqrt(survey.pixelArea())
    parts = (jacobian.dudx, jacobian.dudy, jacobian.dvdx, jacobian.dvdy)
    return galsim.JacobianWCS(*(finer * part for part in parts))


def _centred(psf: galsim.GSObject, pixel_scale: float) -> galsim.GSObject:
    """Sample a PSF four times per pixel, its adaptive moments centred on the origin.

    One image draws up to 25 times faster than diffraction patterns convolved with pixels, and is
    the same to 1e-3 of the peak.
    """
    scale = pixel_scale / _SAMPLING
    draw = {"nx": _SIDE, "ny": _SIDE, "scale": scale, "method": "no_pixel", "dtype": float}
    image = psf.drawImage(**draw).array
    middle = (_SIDE - 1) / 2
    x, y, _ = estimate.adaptive_moments(image, (middle, middle))
    image = psf.shift((middle - x) * scale, (middle - y) * scale).drawImage(**draw)
    return galsim.InterpolatedImage(image, scale=scale, flux=1.0)


def block_psf(psf: galsim.GSObject, pixel_scale: float, rebin: int) -> galsim.GSObject:
    """Effective PSF of native pixels summed in blocks of `rebin` x `rebin`."""
    if rebin == 1:
        return psf
    # A sum of rebin^2 shifted profiles is slow to draw: they are summed as one fine image, in which
    # all shifts are whole pixels, since _SAMPLING is even.
    scale = pixel_scale / _SAMPLING
    side = _SIDE + _SAMPLING * rebin
    fine = psf.drawImage(nx=side, ny=side, scale=scale, method="no_pixel", dtype=float).array
    half = _SAMPLING * (rebin - 1) // 2
    shifts = range(-half, half + 1, _SAMPLING)
    blocks = sum(np.roll(fine, (dy, dx), (0, 1)) for dy in shifts for dx in shifts)
    return galsim.InterpolatedImage(galsim.ImageD(blocks), scale=scale, flux=1.0)
