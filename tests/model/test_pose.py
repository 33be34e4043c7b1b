"""How galaxies lie in their stamps."""

import math

import torch

from galsim_vae.model.pose import FLATTEST, Turns, told


def counted(n=40_000):
    """Turns of galaxies that prefer 30 degrees where they are flat, and how flat they are."""
    generator = torch.Generator().manual_seed(3)
    g = FLATTEST * torch.rand(n, generator=generator)
    any_angle = 2 * math.pi * torch.rand(n, generator=generator) - math.pi
    preferred = math.pi / 6 + 0.05 * torch.randn(n, generator=generator)
    return torch.where(g > FLATTEST / 2, preferred, any_angle), g


def test_angles_are_drawn_as_often_as_they_were_counted_and_half_a_turn_later():
    turns = Turns(shapes=2, angles=36)
    turns.fit(*counted())
    uniform = (torch.arange(50_000, dtype=torch.float64) + 0.5) / 50_000
    flat = turns.draw(uniform, torch.full((50_000,), 0.9 * FLATTEST, dtype=torch.float64))
    assert (flat.diff() >= 0).all()
    assert flat.min() >= 0
    assert flat.max() <= 2 * math.pi
    near = (torch.remainder(flat, math.pi) - math.pi / 6).abs() < 0.2
    assert near.double().mean() > 0.98
    assert abs((flat > math.pi).double().mean() - 0.5) < 1e-3
    round_ones = turns.draw(uniform, torch.full((50_000,), 0.1 * FLATTEST, dtype=torch.float64))
    count = torch.histc(round_ones, 12, 0, 2 * math.pi) / 50_000
    assert (count - 1 / 12).abs().max() < 0.01


def test_flat_galaxies_and_those_that_lie_as_they_do_are_not_turned_or_counted():
    turns = Turns()
    before = turns.share.clone()
    lying = torch.tensor([torch.nan, 1.0])
    turns.fit(lying, torch.tensor([0.2, 0.7]))
    torch.testing.assert_close(turns.share, before)
    drawn = turns.draw(torch.tensor([0.7], dtype=torch.float64), torch.tensor([FLATTEST]))
    assert drawn.tolist() == [0.0]


def test_networks_are_told_the_direction_in_which_the_frame_stretches():
    turn = torch.tensor([0.0, math.pi / 2, math.pi / 4, torch.nan])
    g = torch.tensor([0.5, 0.5, 0.5, 0.5])
    seen = told(turn, g)
    expected = [[1, 0.5, 0], [1, -0.5, 0], [1, 0, -0.5], [0, 0, 0]]
    torch.testing.assert_close(seen, torch.tensor(expected), atol=1e-6, rtol=0)
    assert torch.isfinite(told(turn, torch.full((4,), torch.nan))).all()
