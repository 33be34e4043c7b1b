"""Power in rings, against the whole plane of frequencies."""

import numpy as np
import pytest
import torch

from galsim_vae.model.rings import ring_means


@pytest.mark.parametrize("size", [24, 25])
def test_ring_means_are_those_of_the_whole_plane(size):
    images = torch.from_numpy(np.random.default_rng(5).normal(size=(2, 3, size, size)))
    found = ring_means(torch.fft.rfft2(images).abs().square(), range(size // 2 + 1))
    power = np.abs(np.fft.fft2(images.numpy())) ** 2
    k = np.fft.fftfreq(size) * size
    ring = np.hypot(k[:, None], k).round()
    for i in range(size // 2 + 1):
        np.testing.assert_allclose(found[..., i], power[..., ring == i].mean(-1))


def test_rings_of_a_padded_image_are_counted_in_cycles_a_stamp():
    size, stamp, sigma = 96, 64, 1.3
    ky, kx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)
    otf = torch.from_numpy(np.exp(-2 * (np.pi * sigma) ** 2 * (kx**2 + ky**2)))
    rings = np.arange(1, 20)
    found = ring_means(otf, rings.tolist(), stamp)
    known = np.exp(-2 * (np.pi * sigma * rings / stamp) ** 2)
    np.testing.assert_allclose(found, known, rtol=0.02)
