"""PSF, pixels and noise of a survey's filter, from surveycodex.

Images are in nJy (`ZEROPOINT`). Their noise is that of the sky, Gaussian and the same in +g, -g and
twins, so that it cancels in differences; galaxies have no photon noise of their own.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import galsim
import numpy as np
import surveycodex
from galsim.errors import GalSimConfigValueError, GalSimValueError
from scipy.optimize import brentq
from scipy.special import j0

from galsim_vae.filters import find_filter, within_reach
from galsim_vae.filters.names import canonical_filter

__all__ = ["ZEROPOINT", "SurveyView", "survey_view"]

#: AB magnitude of 1 nJy.
ZEROPOINT = 31.4


class SurveyView(NamedTuple):
    """How a survey sees galaxies through one filter.

    Attributes
    ----------
    band : str or galsim.Bandpass
        As in `galsim_vae.Stamps.galaxy`.
    psf : galsim.GSObject
        Without the pixel; lengths in arcsec.
    scale : float
        Width of a pixel, arcsec.
    fwhm : float
        Of the PSF, arcsec.
    noise : float
        Standard deviation of a pixel, nJy.
    """

    band: str | galsim.Bandpass
    psf: galsim.GSObject
    scale: float
    fwhm: float
    noise: float


def survey_view(
    survey: str,
    band: str,
    depth: float = 1.0,
    psf_fwhm: float | None = None,
    psf_shear: tuple[float, float] = (0.0, 0.0),
) -> SurveyView:
    """Return the PSF, pixels and noise of a survey's filter.

    Parameters
    ----------
    survey, band : str
        As in surveycodex: ``"LSST"``, ``"i"``.
    depth : float
        Exposure time over surveycodex's ``full_exposure_time`` (LSST: ten years).
    psf_fwhm : float, optional
        Arcsec, in the place of surveycodex's.
    psf_shear : (2,)
        (g1, g2) of the PSF.

    Returns
    -------
    SurveyView

    Raises
    ------
    galsim.GalSimConfigValueError
        An unknown survey or filter.
    galsim.GalSimValueError
        A filter that the HST bands do not reach.

    Notes
    -----
    From the ground the PSF is a Kolmogorov of surveycodex's FWHM. From space it is the Airy pattern
    of the mirror at the effective wavelength, convolved with the Gaussian (jitter, detector) that
    brings it to that FWHM, if it is narrower.
    """
    known, bandpass = _look_up(survey, band)
    filt = known.get_filter(band)
    scale = known.pixel_scale.to_value("arcsec")
    fwhm = filt.psf_fwhm.to_value("arcsec") if psf_fwhm is None else float(psf_fwhm)
    seconds = depth * filt.full_exposure_time.to_value("s")
    brightness = filt.sky_brightness.to_value("mag / arcsec2")
    zeropoint = filt.zeropoint.to_value("mag")
    sky = 10 ** (-0.4 * (brightness - zeropoint)) * seconds * scale**2
    electron = 10 ** (-0.4 * (zeropoint - ZEROPOINT)) / seconds
    psf = _round_psf(known, filt, fwhm).shear(g1=psf_shear[0], g2=psf_shear[1])
    return SurveyView(bandpass, psf, scale, fwhm, float(electron * np.sqrt(sky)))


def _look_up(survey: str, band: str) -> tuple[surveycodex.survey.Survey, str | galsim.Bandpass]:
    """Return a survey and the bandpass of its filter, or raise as `survey_view` does."""
    try:
        survey, band = canonical_filter(survey, band)
    except GalSimValueError as error:
        raise GalSimConfigValueError(f"{error}. Asked for", (survey, band)) from None
    known = surveycodex.get_survey(survey)
    bandpass = find_filter(survey, band)
    if not within_reach(bandpass, False):
        raise GalSimValueError(f"The HST bands do not reach this filter of {survey}", band)
    return known, bandpass


def _round_psf(survey: surveycodex.survey.Survey, filt: surveycodex.filter.Filter, fwhm: float):
    """Return the PSF of a FWHM in arcsec: a Kolmogorov on the ground, an Airy pattern in space."""
    if survey.zeropoint_airmass.value > 0:
        return galsim.Kolmogorov(fwhm=fwhm)
    wavelength = filt.effective_wavelength.to_value("nm")
    mirror = survey.mirror_diameter.to_value("m")
    return _space_psf(fwhm, wavelength, mirror, float(np.sqrt(survey.obscuration.value)))


@functools.cache
def _space_psf(fwhm: float, wavelength: float, mirror: float, obscuration: float):
    """Return an Airy pattern widened to a FWHM, arcsec; lengths in nm and m.

    GalSim has no FWHM of a pattern with an obscuration. The profile at r is the integral of
    k F(k) J0(k r), and F ends at a finite k.
    """
    airy = galsim.Airy(lam=wavelength, diam=mirror, obscuration=obscuration)
    k = np.linspace(0, airy.maxk, 2001)
    power = k * np.array([airy.kValue(value, 0).real for value in k])
    half = 2 * j0(0.5 * fwhm * k) - 1

    def excess(sigma: float) -> float:
        """Twice the profile at half the FWHM, less its peak, after a Gaussian of this sigma."""
        return float(np.sum(power * np.exp(-0.5 * (sigma * k) ** 2) * half))

    if excess(0.0) >= 0:
        return airy
    sigma = brentq(excess, 0.0, fwhm)
    return galsim.Convolve(airy, galsim.Gaussian(sigma=sigma))
