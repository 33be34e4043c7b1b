"""Synthetic galaxies drawn turned and mirrored."""

import math

import pytest
import torch

from galsim_vae.train.fit.observe import RadialPSFTable
from galsim_vae.train.fit.posed import Pose, matrix
from galsim_vae.train.synthetic.colours import colour_table
from galsim_vae.train.synthetic.galaxies import fresh_conditions, sample


@pytest.fixture(scope="module")
def made():
    generator = torch.Generator().manual_seed(4)
    return sample(fresh_conditions(24, generator), generator, colour_table())


def lies(turn, hand, n):
    return matrix(Pose(torch.full((n,), turn), torch.full((n,), hand)))


@pytest.mark.parametrize(
    ("turn", "hand", "expected"),
    [
        (0.0, 1.0, lambda v: v),
        (math.pi, 1.0, lambda v: v.flip(2, 3)),
        (-math.pi / 2, 1.0, lambda v: v.flip(2).transpose(2, 3)),
        (0.0, -1.0, lambda v: v.flip(2)),
        (-math.pi / 2, -1.0, lambda v: v.transpose(2, 3)),
    ],
)
def test_quarter_turns_and_mirror_images_are_those_of_the_pixels(made, turn, hand, expected):
    laid = made.laid(lies(turn, hand, 24))
    torch.testing.assert_close(laid, expected(made.stamps), rtol=1e-4, atol=2e-6)
    psfs = RadialPSFTable.hst()
    g = torch.linspace(0, 0.6, 24)
    scale = torch.full((24,), 0.05)
    straight = torch.fft.irfft2(psfs.canonical(scale, frame_g=g))
    turned = torch.fft.irfft2(psfs.canonical(scale, frame_g=g, lies=lies(turn, hand, 24)))
    # The PSF's centre is pixel [0, 0]: a mirror image moves the others by one.
    grown = torch.roll(straight, (32, 32), (2, 3))[:, :, 1:, 1:]
    found = torch.roll(turned, (32, 32), (2, 3))[:, :, 1:, 1:]
    torch.testing.assert_close(found, expected(grown), rtol=1e-3, atol=2e-5)


def test_a_turn_keeps_the_power_at_all_scales(made):
    laid = made.laid(lies(0.4, 1.0, 24))
    power = [torch.fft.fft2(v[:, 2]).abs().square() for v in (made.stamps, laid)]
    k = torch.fft.fftfreq(64) * 64
    ring = torch.hypot(k[:, None], k)
    for low in (4, 8, 12, 16):
        rows = (ring >= low) & (ring < low + 4)
        ratio = power[1][:, rows].sum(1) / power[0][:, rows].sum(1)
        # Which waves are in a ring depends on the direction.
        assert abs(ratio.median() - 1) < 0.01
        assert (ratio - 1).abs().max() < 0.2
