"""The canonical frame: there, back, and what happens to noise, PSFs and masks on the way."""

from dataclasses import replace

import galsim
import numpy as np
import pytest
from made_observation import BAND, PSF, galaxy, observe, stamp_of

from galsim_vae.bands import BANDS, hst_psf
from galsim_vae.frame import canonical as frame
from galsim_vae.frame.frames import find_frame


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.parametrize("wcs", [None, galsim.JacobianWCS(0.05, 0.01, -0.012, 0.055)])
def test_measure_recovers_an_analytic_galaxy(wcs):
    profile = galaxy()
    geometry = frame.measure(observe(profile, wcs=wcs))
    assert np.allclose(geometry.centroid, (0.021, -0.034), atol=2e-3)
    assert geometry.g == pytest.approx(0.3, abs=0.01)
    assert geometry.angle == pytest.approx(np.radians(35), abs=0.01)
    round_profile = galaxy(0.0)
    expected = round_profile.shift(-0.021, 0.034).calculateHLR()
    assert geometry.half_light_radius == pytest.approx(expected, rel=0.03)
    assert geometry.flux[BAND] == pytest.approx(100, rel=0.03)


@pytest.mark.parametrize("name", ["round", "upright"])
def test_canonical_image_is_the_stamp_convolved_with_the_canonical_psf(name):
    profile = galaxy()
    observation = observe(profile)
    geometry = frame.measure(observation, frame=find_frame(name))
    canonical = frame.to_canonical(observation, geometry)
    i = BANDS.index(BAND)
    otf = np.fft.rfft2(np.fft.ifftshift(canonical.psf[i].astype(float)))
    model = np.fft.irfft2(np.fft.rfft2(stamp_of(profile, geometry)[i]) * otf, s=(64, 64))
    assert relative(canonical.image[i], model) < 2e-3
    assert canonical.psf[i].sum() == pytest.approx(1, abs=1e-5)
    y, x = np.indices((64, 64))
    assert np.sum(canonical.psf[i] * x) == pytest.approx(32, abs=1e-3)
    assert np.sum(canonical.psf[i] * y) == pytest.approx(32, abs=1e-3)
    # The major axis lies along x or is as long as the minor one, and the flux inside the stamp is
    # the native one.
    weights = canonical.image[i] / canonical.image[i].sum()
    ratio = np.sum(weights * (x - 31.5) ** 2) / np.sum(weights * (y - 31.5) ** 2)
    assert ratio == pytest.approx(1, abs=0.03) if name == "round" else ratio > 1.5
    assert canonical.image[i].sum() == pytest.approx(observation.image[BAND].sum(), rel=5e-3)
    others = [j for j in range(len(BANDS)) if j != i]
    assert not canonical.image[others].any() and not canonical.mask[others].any()


@pytest.mark.parametrize("wcs", [None, galsim.JacobianWCS(0.05, 0.01, -0.012, 0.055)])
def test_stamp_drawn_on_native_pixels_equals_galsim(wcs):
    profile = galaxy()
    observation = observe(profile, wcs=wcs)
    geometry = frame.measure(observation)
    native = frame.to_native(stamp_of(profile, geometry), geometry, observation)
    assert relative(native[BAND], observation.image[BAND]) < 2e-3


def test_round_trip_of_an_observed_image_with_an_off_centre_galaxy():
    observation = observe(galaxy().shift(0.3, 0.2), centre={BAND: (69.0, 62.0)})
    geometry = frame.measure(observation)
    canonical = frame.to_canonical(observation, geometry)
    native = frame.to_native(canonical.image, geometry, observation, observed=True)
    assert relative(native[BAND], observation.image[BAND]) < 1e-2


def test_bands_with_different_pixels_meet_in_one_frame():
    profile = galaxy()
    fine, coarse = observe(profile), observe(profile, ("F160W",), (70, 71), 0.1)
    both = frame.Observation(
        fine.image | coarse.image, fine.wcs | coarse.wcs, fine.psf | coarse.psf
    )
    geometry = frame.measure(both)
    assert geometry.band == BAND
    canonical = frame.to_canonical(both, geometry)
    assert relative(canonical.image[2], canonical.image[4]) < 5e-3


@pytest.mark.parametrize("radius", [0.2, 0.6])
def test_noise_after_resampling_is_as_stated(radius):
    observation = observe(galaxy(radius=radius), noise={BAND: 0.5})
    geometry = frame.measure(observation)
    rms, area = frame.resampled_noise(BAND, geometry, observation)
    canonical = frame.to_canonical(observation, geometry)
    assert canonical.noise[2] == pytest.approx(0.5 * rms)
    # Independent fields: the rms, and the variance of the sum of a block, which sees the area.
    rng = np.random.default_rng(2)
    side = 24
    values, sums = [], []
    for _ in range(24):
        noise = rng.normal(size=observation.image[BAND].shape)
        image = frame.resample(noise, BAND, geometry, observation)[20 : 20 + side, 20 : 20 + side]
        values.append(np.mean(image**2))
        sums.append(image.sum())
    assert rms == pytest.approx(np.sqrt(np.mean(values)), rel=0.05)
    measured = np.mean(np.square(sums)) / (side**2 * np.mean(values))
    # The block's own edge takes part of the correlation; 24 blocks give 29 %.
    assert 0.35 * area < measured < 1.8 * area


def test_mask_excludes_what_bad_pixels_touched_and_fill_mirrors():
    clean = observe(galaxy())
    bad = np.ones(clean.image[BAND].shape, dtype=bool)
    bad[70:76, 80:86] = False
    image = np.where(bad, clean.image[BAND], 1e3)
    observation = replace(clean, image={BAND: image}, mask={BAND: bad})
    geometry = frame.measure(observation)
    canonical = frame.to_canonical(observation, geometry)
    truth = frame.to_canonical(clean, geometry)
    used = canonical.mask[2]
    assert 0 < np.sum(truth.mask[2] & ~used) < 200
    assert relative(canonical.image[2][used], truth.image[2][used]) < 1e-3
    assert canonical.image[2].max() < 1.01 * truth.image[2].max()


def test_pixels_outside_the_native_stamp_are_not_used():
    observation = observe(galaxy(radius=0.8), size=(60, 60))
    geometry = frame.measure(observation)
    canonical = frame.to_canonical(observation, geometry)
    assert canonical.mask[2][31, 31] and not canonical.mask[2][0, 0]


@pytest.mark.parametrize(
    "change",
    [
        {"image": {}},
        {"image": {"F555W": np.zeros((9, 9))}},
        {"image": {BAND: np.full((9, 9), np.nan)}},
        {"psf": {}},
        {"mask": {BAND: np.ones((3, 3), dtype=bool)}},
    ],
)
def test_bad_observations_are_refused(change):
    good = {"image": {BAND: np.zeros((9, 9))}, "wcs": {BAND: 0.06}, "psf": {BAND: PSF}}
    with pytest.raises((galsim.GalSimValueError, galsim.GalSimIncompatibleValuesError)):
        frame.Observation(**{**good, **change})


def test_an_empty_image_cannot_be_measured():
    observation = frame.Observation({BAND: np.zeros((40, 40))}, {BAND: 0.06}, {BAND: PSF})
    with pytest.raises(galsim.GalSimError):
        frame.measure(observation)


def test_hst_psf_fits_the_canonical_stamp():
    observation = observe(galaxy(), psf=hst_psf("F160W"))
    geometry = frame.measure(observation)
    psf = frame.to_canonical(observation, geometry).psf[2]
    assert psf.argmax() == 32 * 64 + 32
