"""The five HST bands: constants, model PSFs, depths, throughputs.

The step from these bands to any other filter is `galsim_vae.filters`. This module does not import
torch.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import galsim
import numpy as np
from galsim.errors import GalSimValueError

__all__ = [
    "BANDS",
    "CANDELS_DEPTH",
    "CANDELS_NOISE",
    "CANDELS_PIXEL_SCALE",
    "FILTER_PIVOT",
    "HALF_LIGHT_PIXELS",
    "MAX_BAND_DISTANCE",
    "PIVOT",
    "REFERENCE",
    "STAMP_SIZE",
    "ZEROPOINTS",
    "band_map",
    "hst_bandpass",
    "hst_psf",
]

BANDS = ("F435W", "F606W", "F814W", "F125W", "F160W")
#: Band in which magnitude, half-light radius and ellipticity are defined.
REFERENCE = "F814W"
#: Width and height of a canonical stamp, pixels.
STAMP_SIZE = 64
#: Half-light radius (sqrt(ab) of the half-light ellipse) in a canonical stamp, pixels.
HALF_LIGHT_PIXELS = 6.0

#: AB magnitude of 1 e-/s: the values in the headers of the CANDELS GOODS-S mosaics (ACS after
#: the 2009 servicing mission; WFC3/IR of 2010), Koekemoer et al. 2011, ApJS 197, 36.
ZEROPOINTS = {
    "F435W": 25.673,
    "F606W": 26.493,
    "F814W": 25.947,
    "F125W": 26.230,
    "F160W": 25.946,
}

#: Pivot wavelength sqrt(int T lambda dlambda / int T dlambda/lambda), nm, of GalSim's own
#: throughput files (a test recomputes them).
PIVOT = {"F435W": 432.72, "F606W": 591.94, "F814W": 805.97, "F125W": 1248.61, "F160W": 1536.85}

#: Pivot wavelengths, nm, of filters that other surveys have galaxies in (SVO filter profile
#: service, rounded). The letters are SDSS's and VISTA's; those of KiDS, DES and HSC are less than
#: 3 % off.
FILTER_PIVOT = PIVOT | {
    "F475W": 474.7, "F555W": 536.1, "F775W": 769.3, "F850LP": 903.3,
    "F098M": 986.4, "F105W": 1055.0, "F110W": 1153.4, "F140W": 1392.3,
    "F070W": 703.9, "F090W": 902.2, "F115W": 1154.3, "F150W": 1500.7, "F200W": 1988.6,
    "F162M": 1627.2, "F182M": 1845.2, "F210M": 2095.5, "F250M": 2503.2,
    "F277W": 2776.2, "F300M": 2989.1, "F335M": 3362.1, "F356W": 3567.6,
    "F410M": 4082.1, "F444W": 4402.7,
    "u": 355.7, "g": 470.2, "r": 617.6, "i": 749.0, "z": 894.7,
    "Z": 877.0, "Y": 1020.0, "J": 1252.0, "H": 1645.0, "Ks": 2147.0,
}  # fmt: skip

#: A filter stands for a band of ours if their pivots are this close in ln(wavelength): about half
#: the distance of our two closest bands.
MAX_BAND_DISTANCE = 0.12

#: Pixel scale of the CANDELS mosaics, arcsec.
CANDELS_PIXEL_SCALE = 0.06

#: 5-sigma AB depth in an aperture of radius 0.17" (Guo et al. 2013, ApJS 207, 24, Table 1:
#: GOODS-S, the "wide" value where WFC3/IR has several).
CANDELS_DEPTH = {"F435W": 28.95, "F606W": 29.35, "F814W": 28.84, "F125W": 27.66, "F160W": 27.36}
_DEPTH_RADIUS = 0.17

#: Noise rms in one 0.06" pixel, e-/s: the aperture's flux error spread over its pixels as white
#: noise, 10^(-0.4 (depth - zeropoint)) / 5 / sqrt(pi 0.17^2 / 0.06^2). Sky photons alone give
#: the same within 30 % for exposures of 2,000 s (IR) to 25,000 s (F814W). True mosaics have
#: a smaller rms in one pixel and neighbouring pixels that are correlated by drizzling; white
#: noise of this rms has the published depth over a galaxy.
CANDELS_NOISE = {
    band: 10 ** (-0.4 * (depth - ZEROPOINTS[band]))
    / 5
    / np.sqrt(np.pi * (_DEPTH_RADIUS / CANDELS_PIXEL_SCALE) ** 2)
    for band, depth in CANDELS_DEPTH.items()
}

_FILES = {
    "F435W": "ACS_wfc_F435W.dat",
    "F606W": "ACS_wfc_F606W.dat",
    "F814W": "ACS_wfc_F814W.dat",
    "F125W": "WFC3_ir_F125W.dat",
    "F160W": "WFC3_ir_F160W.dat",
}

# Detector pixel (arcsec) and Gaussian blur (rms in detector pixels: charge diffusion and, in the
# infrared, inter-pixel capacitance). The blur is set so that the FWHM agrees with empirical PSFs.
_ACS, _WFC3 = 0.05, 0.128
_DETECTOR = {
    "F435W": (_ACS, 0.45),
    "F606W": (_ACS, 0.20),
    "F814W": (_ACS, 0.30),
    "F125W": (_WFC3, 0.20),
    "F160W": (_WFC3, 0.20),
}
_PIXFRAC = 0.8


@functools.lru_cache(maxsize=32)
def hst_psf(band: str, gsparams: galsim.GSParams | None = None) -> galsim.GSObject:
    """Model of the effective PSF of an HST band in a mosaic of 0.06" pixels.

    The diffraction pattern of a 2.4 m telescope (central obscuration 0.33, four vanes) at the
    pivot wavelength, convolved with the detector pixel (ACS 0.05", WFC3/IR 0.128"), a Gaussian
    for charge diffusion, the drizzle drop (pixfrac 0.8) and the 0.06" output pixel. Draw it, and
    galaxies convolved with it, with ``method="no_pixel"``: the pixel is already in it.

    ====== =========== ===================================================================
    band   FWHM model  empirical FWHM (images at 0.06", Lanczos interpolated)
    ====== =========== ===================================================================
    F435W  0.096"      0.102"  (EGG's PSF)
    F606W  0.085"      0.086"  (EGG's PSF)
    F814W  0.096"      0.09"   (native, 0.0125" sampling: 0.088" before drizzling)
    F125W  0.176"      none at hand; CANDELS quotes 0.16" to 0.19"
    F160W  0.186"      0.188"  (EGG's PSF)
    ====== =========== ===================================================================

    Parameters
    ----------
    band : str
        One of `BANDS`.
    gsparams : galsim.GSParams, optional
        Passed to every part.

    Returns
    -------
    galsim.GSObject
        Unit flux, centred.

    Raises
    ------
    galsim.GalSimValueError
        If the band is not one of the five.
    """
    _check_band(band)
    pixel, blur = _DETECTOR[band]
    optics = galsim.OpticalPSF(
        lam=PIVOT[band],
        diam=2.4,
        obscuration=0.33,
        nstruts=4,
        strut_thick=0.011,
        strut_angle=45 * galsim.degrees,
        gsparams=gsparams,
    )
    return galsim.Convolve(
        optics,
        galsim.Pixel(pixel),
        galsim.Gaussian(sigma=blur * pixel),
        galsim.Pixel(_PIXFRAC * pixel),
        galsim.Pixel(CANDELS_PIXEL_SCALE),
        gsparams=gsparams,
    )


@functools.cache
def hst_bandpass(band: str) -> galsim.Bandpass:
    """Total throughput of an HST band (GalSim's file), with GalSim's AB zero-point.

    Parameters
    ----------
    band : str
        One of `BANDS`.

    Returns
    -------
    galsim.Bandpass

    Raises
    ------
    galsim.GalSimValueError
        If the band is not one of the five.
    """
    _check_band(band)
    return galsim.Bandpass(_FILES[band], wave_type="nm").withZeropoint("AB")


def band_map(filters: Mapping[str, float], structure_only: bool = False) -> dict[str, str]:
    """Decide which filter of a survey stands for which of the five bands.

    The distance is that of the pivots in ln(wavelength). The closest pair is taken first, then the
    closest of the filters and bands left, up to `MAX_BAND_DISTANCE`. So no band gets two filters,
    and no colour is taken between filters that are far from the bands they stand for.

    Parameters
    ----------
    filters : mapping of str to float
        Name and pivot wavelength, nm, of each filter.
    structure_only : bool
        The galaxy counts for its structure in one band, not for its colour: where no filter is
        near, the nearest stands for the band nearest to it, whatever the distance.

    Returns
    -------
    dict of str to str
        Filter to band; the filters left out stand for none.
    """
    pairs = sorted(
        (abs(float(np.log(pivot / PIVOT[band]))), name, band)
        for name, pivot in filters.items()
        for band in BANDS
    )
    chosen: dict[str, str] = {}
    for distance, name, band in pairs:
        if name not in chosen and band not in chosen.values() and distance <= MAX_BAND_DISTANCE:
            chosen[name] = band
    if not chosen and structure_only and pairs:
        _, name, band = pairs[0]
        chosen[name] = band
    return chosen


def _check_band(band: str) -> None:
    if band not in BANDS:
        raise GalSimValueError("Unknown HST band", band, BANDS)
