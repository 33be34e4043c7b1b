"""Bands: constants, PSFs, noise, throughputs."""

import galsim
import numpy as np
import pytest

from galsim_vae import bands
from galsim_vae.bands import BANDS

# FWHM (arcsec) of the empirical PSFs, see the docstring of hst_psf.
EMPIRICAL_FWHM = {"F435W": 0.102, "F606W": 0.086, "F814W": 0.09, "F160W": 0.188}


@pytest.mark.parametrize("band", BANDS)
def test_pivot_is_that_of_galsims_throughput(band):
    bandpass = bands.hst_bandpass(band)
    wave = np.linspace(bandpass.blue_limit, bandpass.red_limit, 20001)
    throughput = bandpass(wave)
    pivot = np.sqrt((throughput * wave).sum() / (throughput / wave).sum())
    assert bands.PIVOT[band] == pytest.approx(pivot, rel=1e-4)


@pytest.mark.parametrize("band", BANDS)
def test_psf_is_normalised_and_centred(band):
    psf = bands.hst_psf(band)
    assert psf.flux == pytest.approx(1, rel=1e-6)
    assert np.hypot(psf.centroid.x, psf.centroid.y) < 1e-3
    assert bands.hst_psf(band, galsim.GSParams(folding_threshold=0.01)).gsparams == galsim.GSParams(
        folding_threshold=0.01
    )


@pytest.mark.parametrize("band", EMPIRICAL_FWHM)
def test_psf_is_as_wide_as_the_empirical_one(band):
    fwhm = bands.hst_psf(band).calculateFWHM()
    assert fwhm == pytest.approx(EMPIRICAL_FWHM[band], rel=0.1)


def test_psf_widens_with_wavelength_on_each_camera():
    fwhm = {band: bands.hst_psf(band).calculateFWHM() for band in BANDS}
    assert fwhm["F606W"] < fwhm["F814W"] < fwhm["F125W"] < fwhm["F160W"]


@pytest.mark.parametrize("band", BANDS)
def test_noise_gives_the_published_depth(band):
    npix = np.pi * (0.17 / 0.06) ** 2
    limit = 5 * bands.CANDELS_NOISE[band] * np.sqrt(npix)
    depth = bands.ZEROPOINTS[band] - 2.5 * np.log10(limit)
    assert depth == pytest.approx(bands.CANDELS_DEPTH[band], abs=1e-6)


@pytest.mark.parametrize("call", [bands.hst_psf, bands.hst_bandpass])
def test_unknown_band_names_the_known_ones(call):
    with pytest.raises(galsim.GalSimValueError, match="F999W.*F435W"):
        call("F999W")
