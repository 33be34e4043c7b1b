"""Bands: constants, PSFs, noise, and the step to other filters."""

import galsim
import galsim.roman
import numpy as np
import pytest

from galsim_vae import bands
from galsim_vae.bands import BANDS

# FWHM (arcsec) of the empirical PSFs, see the docstring of hst_psf.
EMPIRICAL_FWHM = {"F435W": 0.102, "F606W": 0.086, "F814W": 0.09, "F160W": 0.188}


def ab_magnitudes(sed, filters=BANDS):
    return np.array([sed.calculateMagnitude(bands.find_bandpass(f)) for f in filters])


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


@pytest.mark.parametrize("band", BANDS)
def test_weights_of_an_hst_band_are_its_own(band):
    unit = np.eye(len(BANDS))[BANDS.index(band)]
    np.testing.assert_allclose(bands.band_weights(bands.hst_bandpass(band)), unit, atol=1e-9)


@pytest.mark.parametrize(
    "name", ["LSST_g", "LSST_r", "LSST_i", "LSST_z", "LSST_y", "WFC3_ir_F105W"]
)
@pytest.mark.parametrize("slope", [-0.5, 0.0, 1.0])
def test_weights_reproduce_a_smooth_spectrum(name, slope):
    """f_nu = nu^-slope comes out within 3 %; a flat spectrum exactly."""
    sed = galsim.SED(lambda wave: (wave / 800) ** slope, "nm", "fnu")
    flux = 10 ** (-0.4 * (ab_magnitudes(sed) - ab_magnitudes(sed, ["F814W"])))
    truth = 10 ** (-0.4 * (ab_magnitudes(sed, [name]) - ab_magnitudes(sed, ["F814W"])))
    weights = bands.band_weights(bands.find_bandpass(name))
    assert weights.sum() == pytest.approx(1, abs=1e-9)
    assert weights @ flux == pytest.approx(truth[0], rel=0.03 if slope else 1e-4)


@pytest.mark.parametrize("name", ["LSST_u", "WFC3_uvis_F275W", "WFC3_uvis_F336W"])
def test_filter_out_of_reach_names_filter_and_range(name):
    with pytest.raises(galsim.GalSimRangeError, match=rf"{name} .*\[330.0, 1800.0\]"):
        bands.band_weights(bands.find_bandpass(name))


def test_roman_and_euclid_filters():
    roman = galsim.roman.getBandpasses()
    for name in ("Y106", "J129", "H158"):
        assert bands.band_weights(roman[name]).sum() == pytest.approx(1)
    vis = galsim.Bandpass("0.7", "nm", blue_limit=550, red_limit=900)
    assert bands.band_weights(vis).sum() == pytest.approx(1)
    nisp_h = galsim.Bandpass("0.7", "nm", blue_limit=1522, red_limit=2021)
    with pytest.raises(galsim.GalSimRangeError, match="wavelength 17.. nm"):
        bands.band_weights(nisp_h)


def test_find_bandpass():
    bandpass = galsim.Bandpass("1", "nm", blue_limit=500, red_limit=600)
    assert bands.find_bandpass(bandpass) is bandpass
    assert bands.find_bandpass("LSST_r") == bands.find_bandpass("LSST_r.dat")
    assert bands.find_bandpass("F606W") == bands.hst_bandpass("F606W")


@pytest.mark.parametrize("call", [bands.hst_psf, bands.hst_bandpass, bands.find_bandpass])
def test_unknown_band_names_the_known_ones(call):
    with pytest.raises(galsim.GalSimValueError, match="F999W.*F435W"):
        call("F999W")


@pytest.mark.parametrize("redshift", [0.0, 0.7, 4.0])
def test_spectral_basis_is_one_band_each_and_stays_put(redshift):
    basis = bands.spectral_basis(redshift)
    for own, sed in zip(BANDS, basis, strict=True):
        assert sed.redshift == redshift
        assert sed.atRedshift(redshift) is sed
        flux = [10 ** (-0.4 * bands.ab_zeropoint(bands.hst_bandpass(b))) for b in BANDS]
        got = [sed.calculateFlux(bands.hst_bandpass(b)) for b in BANDS]
        np.testing.assert_allclose(np.multiply(got, flux), np.eye(5)[BANDS.index(own)], atol=1e-4)


def test_spectral_basis_at_another_redshift_moves_from_its_own():
    """A source of z = 1 moved to z = 2 is as if its spectrum were stretched by 3/2."""
    sed = bands.spectral_basis(1.0)[2]
    moved = sed.atRedshift(2.0)
    assert moved(1200.0) == pytest.approx(sed(800.0), rel=1e-6)


def test_basis_and_weights_agree():
    """The spectrum integrated through a filter is the weighted sum of the band fluxes."""
    flux = np.array([0.3, 0.7, 1.0, 1.5, 1.8])
    sed = bands.spectral_basis(0.5)[0] * float(flux[0])
    for basis, f in zip(bands.spectral_basis(0.5)[1:], flux[1:], strict=True):
        sed = sed + basis * float(f)
    for name in ("LSST_g", "LSST_i", "LSST_y"):
        bandpass = bands.find_bandpass(name)
        magnitude = sed.calculateMagnitude(bandpass)
        assert bands.band_weights(bandpass) @ flux == pytest.approx(
            10 ** (-0.4 * magnitude), rel=1e-4
        )
