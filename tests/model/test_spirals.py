"""Spiral arms are found, and nothing else is taken for them."""

import math

import pytest
import torch

from galsim_vae.model.spirals import has_arms, strongest

AXIS = torch.arange(64) - 31.5
RADIUS = torch.hypot(AXIS, AXIS[:, None]).clamp(min=0.5)
THETA = torch.atan2(AXIS[:, None].expand(64, 64), AXIS.expand(64, 64))


def disc(contrast):
    stamp = torch.exp(-RADIUS / 3.6) * (1 + contrast)
    return (stamp / stamp.sum())[None]


@pytest.mark.parametrize("arms", [2, 3, 4, 5])
@pytest.mark.parametrize("winding", [-8.0, -3.0, 3.0, 8.0])
def test_a_spiral_is_found(arms, winding):
    found = strongest(disc(0.3 * torch.cos(arms * (THETA - 0.2) + winding * (RADIUS / 6).log())))
    assert found.arms.item() == arms
    assert found.winding.item() == pytest.approx(winding, abs=1.0)
    assert math.remainder(found.phase.item() + 0.2 * arms, 2 * math.pi) == pytest.approx(0, abs=0.2)
    assert found.amplitude.item() == pytest.approx(0.3, rel=0.2)
    assert found.share.item() > 0.7
    assert has_arms(found).all()


def test_no_arms():
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(64, 64, generator=generator)
    for contrast in (torch.zeros(64, 64), 0.5 * torch.cos(2 * THETA), 0.5 * noise,
                     0.05 * torch.cos(2 * THETA + 5 * RADIUS.log())):  # fmt: skip
        assert not has_arms(strongest(disc(contrast))).any()


def test_the_brighter_side():
    found = strongest(disc(0.2 * torch.cos(THETA - 0.7)))
    assert found.brighter.item() == pytest.approx(0.7, abs=0.05)
