"""What is told of traits is shifted until drawn galaxies have them."""

import pytest
import torch

from galsim_vae.conditions import DEFAULT_RANGES
from galsim_vae.model.flow import FlowConfig, Flows
from galsim_vae.model.traits import FINEST, NEARLY, TRAITS
from galsim_vae.train.fit import calibrate as module
from galsim_vae.train.fit import flow_constants
from galsim_vae.train.fit.calibrate import calibrate, lost
from galsim_vae.train.fit.rows import Galaxies

N = len(TRAITS)


def test_what_is_lost(monkeypatch):
    monkeypatch.setattr(module, "measure_traits", lambda stamps: stamps)
    generator = torch.Generator().manual_seed(2)
    true = torch.randn(3000, N, generator=generator)
    found = lost((part, 0.5 * part - 1) for part in true.split(1000))
    for name, value in zip(TRAITS, found.tolist(), strict=True):
        assert value == pytest.approx(0 if name in FINEST else 1, abs=0.05), name


def test_a_flow_that_follows_nearly_is_told_more(monkeypatch):
    """Latents are the traits told, the decoder takes some of each, and all comes out right."""
    flows = Flows(N, DEFAULT_RANGES, FlowConfig(2, 8)).requires_grad_(False)
    monkeypatch.setattr(flows.trait, "from_noise", lambda noise, posed: 0.3 + noise)
    monkeypatch.setattr(
        flows, "sample_latents", lambda noise, *known: flows.sample_told(noise[:, N:], *known)
    )
    monkeypatch.setattr(module, "measure_traits", lambda latents: 0.8 * latents - 0.1)
    monkeypatch.setattr(flow_constants, "CALIBRATIONS", 6)
    generator = torch.Generator().manual_seed(4)
    n = 10_000
    traits = 1 + 1.2 * torch.randn(n, N, generator=generator)
    conditions = torch.tensor([[22.4, 0.4, 0.3, 1.0]]).repeat(n, 1)
    conditions[: n // 5, 0] = 20.0
    traits[: n // 5] -= 2
    shown = Galaxies(torch.zeros(n, N), conditions, torch.zeros(n), traits)
    calibrate(flows, lambda latents: latents, shown, torch.full((N,), 0.3), 5)
    # 0.8 (0.3 + x + shift) - 0.1 is to have the median 1.3, that of bright ones -0.7.
    for magnitude, expected in ((22.4, 1.45), (20.0, -1.05)):
        shift = flows.trait_context.shift_at(torch.tensor([magnitude]))[0]
        for name, value in zip(TRAITS, shift.tolist(), strict=True):
            assert value == pytest.approx(expected if name in NEARLY else 0, abs=0.15), name
