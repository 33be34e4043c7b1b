"""What training knows of synthetic galaxies, against changes whose effect is known."""

import numpy as np
import pytest
import torch

from galsim_vae.train import truth

SIZE, SIGMA = 64, 0.5


def smoothed(stamps):
    ky = 2 * np.pi * torch.fft.fftfreq(SIZE, dtype=stamps.dtype)[:, None]
    kx = 2 * np.pi * torch.fft.rfftfreq(SIZE, dtype=stamps.dtype)
    gaussian = torch.exp(-0.5 * SIGMA**2 * (kx**2 + ky**2))
    return torch.fft.irfft2(torch.fft.rfft2(stamps) * gaussian, s=(SIZE, SIZE))


@pytest.fixture
def points():
    """Sources without size: power far above the floor at every frequency."""
    stamps = torch.zeros(3, 2, SIZE, SIZE, dtype=torch.float64)
    stamps[:, :, 32, 32] = 1.0
    return stamps


def test_smoothing_counts_as_the_power_it_takes(points):
    k = 2 * np.pi * np.arange(4, 29) / SIZE
    expected = np.mean((SIGMA * k) ** 4)  # log power falls by sigma^2 k^2
    found = truth.power_misfit(smoothed(points), points)
    assert found.shape == (3,)
    assert found.numpy() == pytest.approx(expected, rel=0.03)


def test_flux_and_place_do_not_count(points):
    moved = 7 * points.roll((5, -3), (2, 3))
    assert truth.power_misfit(moved, points).abs().max() < 1e-20


def test_gradient_restores_power(points):
    soft = smoothed(points).clamp(min=1e-8).requires_grad_(True)
    truth.power_misfit(soft, points).sum().backward()
    assert soft.grad is not None and bool((soft.grad[:, :, 32, 32] < 0).all())


def test_colours_count_in_units_of_their_noise(points):
    redder = points * torch.tensor([1.0, 1.5])[:, None, None]
    noise = torch.full((3, 2), 0.01, dtype=torch.float64)
    every = torch.ones(3, 2, dtype=torch.bool)
    sigma = np.hypot(0.02, 0.4)
    expected = np.hypot(1, np.log(1.5) / sigma) - 1
    found = truth.colour_misfit(redder, points, noise, every)
    assert found.numpy() == pytest.approx(expected, rel=1e-6)
    first = torch.tensor([[True, False]]).expand(3, 2)
    assert bool((truth.colour_misfit(redder, points, noise, first) == 0).all())
