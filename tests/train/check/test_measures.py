"""The measures that choices are made by, on cases with a known answer."""

import numpy as np
import pytest
import torch
from made_training_file import training_file

from galsim_vae.bands import BANDS
from galsim_vae.model import likelihood
from galsim_vae.train.check import choices, hidden_band, psf_freeness


def test_power_of_a_wave_is_at_its_wave_number():
    x = torch.arange(64.0)
    stamps = torch.cos(2 * np.pi * 9 * x / 64).expand(2, 5, 64, 64)
    power = choices.power_spectrum(stamps)
    first = 2  # cycles a stamp
    assert power.argmax() == 9 - first
    assert power[9 - first] > 1e3 * np.delete(power, 9 - first).max()


def test_features_of_simple_images():
    flat = torch.ones(1, 5, 64, 64) / 4096
    point = torch.zeros(1, 5, 64, 64)
    point[..., 10, 40] = 1.0
    point[:, 1] *= 0.5
    _, gini, asymmetry, colour, _ = choices.features(flat)[0]
    assert gini == pytest.approx(0, abs=1e-4) and asymmetry == pytest.approx(0, abs=1e-5)
    assert colour == pytest.approx(0, abs=1e-5)
    peak, gini, asymmetry, colour, _ = choices.features(point)[0]
    assert peak == pytest.approx(0) and gini == pytest.approx(1, abs=1e-3)
    assert asymmetry == pytest.approx(1) and colour == pytest.approx(np.log(0.5), abs=1e-5)


def test_distance_of_equal_and_shifted_samples():
    sample = np.random.default_rng(1).normal(size=(4000, 3))
    assert choices.distance(sample, sample) == 0
    assert choices.distance(sample, sample + 0.5) == pytest.approx(0.5, rel=0.05)


def test_truth_fits_what_is_seen_through_each_psf():
    galaxies = psf_freeness.profiles(4, seed=1)
    truth = torch.stack([psf_freeness.canonical_stamp(galaxy) for galaxy in galaxies])
    stamps = truth[:, None] * torch.tensor(psf_freeness.COLOURS)[:, None, None]
    for fwhm in psf_freeness.PSF_FWHM:
        noise = torch.Generator().manual_seed(2)
        batch = psf_freeness.see_through_moffat(galaxies, 6 * fwhm, noise)
        weight = likelihood.inverse_variance(batch.noise, batch.noise_area, batch.mask)
        model = likelihood.convolve(stamps, batch.otf)
        half = likelihood.half_chi_square(batch.image, model, weight)
        assert (2 * half / model[0].numel()).numpy() == pytest.approx(1.0, abs=0.05)


def test_guess_is_right_for_galaxies_of_one_colour(tmp_path):
    data = training_file(tmp_path / "real.h5")
    f606w, f814w = BANDS.index("F606W"), BANDS.index("F814W")
    data.image[:, f606w], data.mask[:, f606w] = 0.4 * data.image[:, f814w], True
    flux = hidden_band.aperture_fluxes(data)
    assert np.isnan(flux[:, 0]).all()
    assert flux[:, f606w] / flux[:, f814w] == pytest.approx(0.4, rel=1e-5)
    rows = np.flatnonzero(data.valid)
    errors = hidden_band.colour_guess(data, flux, rows, f606w)
    assert errors == pytest.approx(0, abs=1e-4)
    flux[rows, f606w] *= 10**0.4  # a magnitude brighter than the guess
    assert hidden_band.colour_guess(data, flux, rows, f606w) == pytest.approx(1, abs=1e-4)


def test_flux_of_a_hidden_band_against_its_prediction():
    generator = torch.Generator().manual_seed(4)
    n, noise = 1000, torch.tensor([0.05, 0.02, 0.4])
    x = torch.arange(16.0) - 7.5
    model = torch.exp(-0.5 * (x[:, None] ** 2 + x**2) / 4).expand(n, 3, 16, 16)
    data = 7 * model * torch.tensor([1.0, 1.0, 1.5])[:, None, None]
    data = data + noise[:, None, None] * torch.randn(data.shape, generator=generator)
    mask = torch.ones_like(data, dtype=torch.bool)
    weight = likelihood.inverse_variance(noise.expand(n, 3), torch.ones(n, 3), mask)
    hidden = torch.tensor([False, False, True]).expand(n, 3)
    magnitude, error = likelihood.magnitude_error(data, model, weight, hidden)
    expected = 2.5 * np.log10(1.5)
    total = (model[0, 2] ** 2).sum().item()
    shown = 1 / np.sqrt(total * (0.05**-2 + 0.02**-2)) / 7
    sigma = 1.0857 * np.hypot(0.4 / (10.5 * np.sqrt(total)), shown)
    assert magnitude.mean().item() == pytest.approx(expected, abs=0.1 * sigma)
    assert magnitude.std().item() == pytest.approx(sigma, rel=0.1)
    assert error.numpy() == pytest.approx(sigma, rel=0.1)
