"""Surveys' filters."""

import numpy as np
import surveycodex
from surveycodex.utilities import mean_sky_level

from galsim_vae.shear.survey import survey_view


def test_observations_are_those_of_surveycodex():
    view = survey_view("LSST", "i")
    sky = mean_sky_level("LSST", "i").value
    filt = surveycodex.get_survey("LSST").get_filter("i")
    electrons = 10 ** (0.4 * (filt.zeropoint.value - 31.4)) * filt.full_exposure_time.value
    np.testing.assert_allclose(view.noise, np.sqrt(sky) / electrons, rtol=1e-4)
    np.testing.assert_allclose(survey_view("LSST", "i", depth=0.25).noise, 2 * view.noise)
    for survey, band in [("LSST", "r"), ("Euclid_VIS", "IE"), ("Roman_WFI", "F158")]:
        view = survey_view(survey, band, psf_shear=(0.1, 0.0))
        image = view.psf.drawImage(nx=61, ny=61, scale=view.fwhm / 15, method="no_pixel")
        assert abs(image.FindAdaptiveMom().observed_shape.g1 - 0.1) < 5e-3
        psf = survey_view(survey, band).psf
        image = psf.drawImage(nx=61, ny=61, scale=view.fwhm / 15, method="no_pixel")
        np.testing.assert_allclose(image.calculateFWHM(), view.fwhm, rtol=0.01)
