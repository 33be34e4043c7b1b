"""What training knows of synthetic galaxies, against changes whose effect is known."""

import numpy as np
import pytest
import torch

from galsim_vae.train.fit import constants, truth

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


def rippled(cycles, amplitude):
    """A flat galaxy with a pattern of so many cycles a stamp, and one without, (1, 1, 64, 64)."""
    phase = 2 * torch.pi * cycles * (torch.arange(SIZE, dtype=torch.float64) + 0.25) / SIZE
    pattern = amplitude * (torch.cos(phase)[:, None] + torch.cos(phase))
    flat = torch.ones(1, 1, SIZE, SIZE, dtype=torch.float64)
    return flat * (1 + pattern), flat


def test_structure_counts_by_relative_size_and_by_scale(monkeypatch):
    def misfit(levels, cycles, amplitude):
        monkeypatch.setattr(constants, "STRUCTURE_LEVELS", levels)
        return truth.structure_misfit(*rippled(cycles, amplitude)).item()

    # A checkerboard is on the finest scale, and its size is that of the relative difference.
    assert misfit(1, 32, 0.2) - misfit(1, 32, 0.02) == pytest.approx(2 * np.log(10), abs=0.1)
    for scale, cycles in enumerate((32, 8, 3)):
        scales = np.diff([0, *(misfit(levels, cycles, 0.2) for levels in (1, 2, 3))])
        assert scales.argmax() == scale


def test_structure_is_where_it_is_and_flux_does_not_count(points):
    stamps = gaussians([4.0, 6.0]).double()
    none = 3 * np.log(constants.STRUCTURE_FLOOR**2)
    assert truth.structure_misfit(7 * stamps, stamps).numpy() == pytest.approx(none)
    moved = truth.structure_misfit(stamps.roll(1, 3), stamps)
    farther = truth.structure_misfit(stamps.roll(3, 3), stamps)
    assert (moved > none + 5).all() and (moved < farther).all()


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


def gaussians(sigma, g=0.3):
    """Elliptical Gaussians, (n, 5, 64, 64), off the centre and at an angle."""
    axis = torch.arange(SIZE) - (SIZE - 1) / 2
    x, y = axis - 1.3, axis[:, None] + 0.4
    u, v = 0.8 * x + 0.6 * y, 0.8 * y - 0.6 * x
    ratio = (1 - g) / (1 + g)
    square = (u.square() * ratio + v.square() / ratio) / torch.as_tensor(sigma)[:, None, None] ** 2
    image = torch.exp(-0.5 * square)
    return image[:, None].expand(-1, 5, -1, -1)


def test_a_larger_galaxy_counts_by_its_moment_and_its_half_light():
    true = gaussians([5.0, 6.0, 7.0])
    assert truth.size_misfit(3 * true, true).abs().max() < 1e-5
    square = 1.02**2
    errors = np.array([(2 * square / (1 + square) - 1) / 0.01, (0.5 ** (1 / square) - 0.5) / 0.003])
    expected = (np.hypot(1, errors) - 1).sum()
    found = truth.size_misfit(gaussians([5.1, 6.12, 7.14]), true)
    assert found.numpy() == pytest.approx(expected, rel=0.04)


def test_galaxies_that_cannot_be_measured_do_not_count():
    true = gaussians([5.0, 5.0])
    true = torch.cat([true[:1], torch.zeros_like(true[1:])])
    stamps = gaussians([5.2, 5.0]).clone().requires_grad_(True)
    misfit = truth.size_misfit(stamps, true)
    assert misfit[0] > 1 and misfit[1] == 0
    misfit.sum().backward()
    assert stamps.grad is not None and bool(torch.isfinite(stamps.grad).all())


def test_half_precision_around_it_does_not_matter():
    true, stamps = gaussians([5.0, 6.0]), gaussians([5.2, 6.1])
    with torch.autocast("cpu", torch.bfloat16):
        found = truth.size_misfit(stamps, true)
    assert torch.equal(found, truth.size_misfit(stamps, true))


def test_a_galaxy_that_cannot_be_measured_has_no_size(monkeypatch):
    """Its moments settle on one pixel, or are no numbers; its neighbours count as ever."""
    stamps = gaussians([4.0, 6.0, 5.0]).clone()
    wide = gaussians([4.2, 6.3, 5.2]).clone().requires_grad_(True)
    alone = truth.size_misfit(wide, stamps)
    measure = truth.measure

    def spoilt(images):
        found = measure(images)
        sigma, radius = found[0].sigma.clone(), found[1].clone()
        sigma[0], radius[1] = 1e-3, torch.nan
        return found._replace(moments=found[0]._replace(sigma=sigma), radius=radius)

    monkeypatch.setattr(truth, "measure", spoilt)
    misfit = truth.size_misfit(wide, stamps)
    assert misfit[:2].tolist() == [0, 0] and misfit[2] == alone[2] > 0
    misfit.sum().backward()
    assert wide.grad is not None and bool(wide.grad.isfinite().all())
