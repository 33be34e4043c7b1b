"""What is told of traits is stretched until drawn galaxies have them."""

import pytest
import torch

from galsim_vae.conditions import DEFAULT_RANGES
from galsim_vae.model.flow import FlowConfig, Flows
from galsim_vae.model.traits import FINEST, STEPS, TRAITS
from galsim_vae.train.fit import calibrate as module
from galsim_vae.train.fit import flow_constants
from galsim_vae.train.fit.calibrate import calibrate, levels, lost
from galsim_vae.train.fit.rows import Galaxies

N = len(TRAITS)
FREE = [column for column, name in enumerate(TRAITS) if name not in STEPS]


def test_levels_are_those_of_a_normal_distribution():
    sample = 3 + 2 * torch.randn(100_000, 2, generator=torch.Generator().manual_seed(1))
    middle, width = levels(sample)
    assert middle.tolist() == pytest.approx([3, 3], abs=0.03)
    assert width.tolist() == pytest.approx([2, 2], rel=0.02)


def test_what_is_lost(monkeypatch):
    monkeypatch.setattr(module, "measure_traits", lambda stamps: stamps)
    generator = torch.Generator().manual_seed(2)
    true = torch.randn(3000, N, generator=generator)
    found = lost((part, 0.5 * part - 1) for part in true.split(1000))
    for name, value in zip(TRAITS, found.tolist(), strict=True):
        assert value == pytest.approx(0 if name in FINEST else 1, abs=0.05), name


def test_a_flow_that_follows_by_halves_is_told_more(monkeypatch):
    """Latents are the traits told, the decoder takes some of each, and all comes out right."""
    torch.manual_seed(3)
    flows = Flows(N, DEFAULT_RANGES, FlowConfig(2, 8)).requires_grad_(False)
    monkeypatch.setattr(flows.trait, "from_noise", lambda noise, posed: 0.3 + 2 * noise)
    monkeypatch.setattr(flows, "sample_latents", lambda noise, conditions, turn: (
        flows.trait_context.stretched(
            flows.trait.from_noise(noise[:, N:], flows.posed_context(conditions, turn))
        )
    ))  # fmt: skip
    monkeypatch.setattr(module, "measure_traits", lambda latents: 0.8 * latents - 0.1)
    for name, value in (("CALIBRATIONS", 6), ("MOST_GAIN", 10.0)):
        monkeypatch.setattr(flow_constants, name, value)
    generator = torch.Generator().manual_seed(4)
    n = 10_000
    shown = Galaxies(
        torch.zeros(n, N), torch.tensor([[23.0, 0.4, 0.3, 1.0]]).expand(n, -1), torch.zeros(n),
        1 + 1.2 * torch.randn(n, N, generator=generator),
    )  # fmt: skip
    calibrate(flows, lambda latents: latents, shown, torch.full((N,), 0.3), 5)
    # 0.8 (gain (0.3 + 2 x) + shift) - 0.1 is to have the median 1.3 and the width 1.2.
    gain, shift = flows.trait_context.gain, flows.trait_context.shift
    torch.testing.assert_close(gain[FREE], torch.full((len(FREE),), 0.75), atol=0.05, rtol=0)
    torch.testing.assert_close(shift[FREE], torch.full((len(FREE),), 1.525), atol=0.1, rtol=0)
    for name in STEPS:
        column = TRAITS.index(name)
        assert (gain[column], shift[column]) == (1, 0)


def test_no_trait_is_stretched_beyond_measure(monkeypatch):
    flows = Flows(N, DEFAULT_RANGES, FlowConfig(2, 8)).requires_grad_(False)
    monkeypatch.setattr(module, "measure_traits", lambda latents: 0 * latents)
    n = 300
    shown = Galaxies(torch.zeros(n, N), torch.tensor([[23.0, 0.4, 0.3, 1.0]]).expand(n, -1),
                     torch.zeros(n), torch.randn(n, N))  # fmt: skip
    calibrate(flows, lambda latents: latents, shown, torch.zeros(N), 5)
    gain = flows.trait_context.gain
    assert torch.isfinite(gain).all() and gain.max() == flow_constants.MOST_GAIN
