"""The noise that galaxies get which stand beside real ones."""

import numpy as np
import pytest
import torch

from galsim_vae.model.rings import ring_means
from galsim_vae.train.evaluate import noise

SIZE = 64
RMS, AREA = torch.tensor([[0.5, 2.0]]), torch.tensor([[6.0, 12.0]])


@pytest.fixture(scope="module")
def made():
    """Noise of two kinds: (500, 2, 64, 64)."""
    empty = torch.zeros(500, 2, SIZE, SIZE)
    generator = torch.Generator().manual_seed(4)
    return noise.add_noise(empty, RMS.expand(500, 2), AREA.expand(500, 2), generator)


def test_noise_has_the_rms_and_the_correlation_area_that_are_asked_for(made):
    assert made.std((0, 2, 3)).numpy() == pytest.approx(RMS[0].numpy(), rel=0.01)
    power = torch.fft.fft2(made).abs().square().mean(0)
    low = power[:, 0, 1:3].mean(1) + power[:, 1:3, 0].mean(1)
    area = 0.5 * low / power.mean((1, 2))
    known = 1 - noise.OWN + noise.OWN * AREA[0]
    assert area.numpy() == pytest.approx(known.numpy(), rel=0.15)


def test_power_is_that_of_the_noise(made):
    found = ring_means(torch.fft.rfft2(made).abs().square().mean(0), range(1, 33))
    known = ring_means(noise.noise_power(AREA[0], SIZE), range(1, 33))
    ratio = found / (known * RMS[0, :, None].square() * SIZE**2)
    assert ratio[:, 2:].numpy() == pytest.approx(1, abs=0.06)


def test_noise_whose_area_is_a_pixel_or_not_known_is_white():
    area = torch.tensor([0.3, 1.0, torch.nan])
    power = noise.noise_power(area, SIZE)
    assert power.numpy() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("stretch", [1.0, 1.7])
def test_a_width_has_the_area_that_it_was_found_for(stretch):
    area = np.array([1.5, 4.0, 30.0])
    width = noise.correlation_width(area, stretch)
    share = noise.gaussian_share(width / stretch) * noise.gaussian_share(width * stretch)
    assert 1 / share == pytest.approx(area, rel=1e-6)
