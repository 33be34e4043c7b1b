"""What carries noise to latents: there and back, alone and among others, and into a ring."""

import math
from dataclasses import replace

import pytest
import torch

from galsim_vae.model.packed import pack
from galsim_vae.model.transport import Transport, TransportConfig

FROM_NOISE = TransportConfig(width=32, blocks=2, begin=0.0, steps=4)
FROM_A_DRAFT = TransportConfig(width=32, blocks=2, begin=0.5, steps=2)


def untrained(config, seed=1):
    torch.manual_seed(seed)
    transport = Transport(6, 3, config).requires_grad_(False)
    for parameter in transport.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    transport.scale.copy_(torch.linspace(0.5, 1.5, 6))
    return transport


def rand(*shape, seed=2):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("begin", [0.0, 0.3, 0.7])
def test_untrained_it_keeps_what_is_normal(begin):
    """The draft has its share, noise has the rest, and their sum is as wide as each of them."""
    config = TransportConfig(width=32, blocks=2, begin=begin, steps=64)
    transport = Transport(6, 3, config).requires_grad_(False)
    draft, noise = rand(4000, 6, seed=9), rand(4000, 6)
    values = transport.refined(draft, noise, torch.zeros(4000, 3))
    expected = begin * draft + (1 - begin) * noise
    expected = expected / math.hypot(begin, 1 - begin)
    torch.testing.assert_close(values, expected, rtol=1e-3, atol=1e-4)
    assert values.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("config", [FROM_NOISE, FROM_A_DRAFT])
def test_there_and_back(config):
    transport, values, context = untrained(config), rand(40, 6), rand(40, 3, seed=3)
    noise = transport.noise_of(values, context)
    assert (values - noise).abs().median() > 0.1
    torch.testing.assert_close(transport.refined(values, noise, context), values, rtol=0, atol=1e-4)


@pytest.mark.parametrize("config", [FROM_NOISE, FROM_A_DRAFT])
def test_the_error_of_a_step_falls_as_that_of_a_midpoint_rule(config):
    transport, noise, context = untrained(config), rand(40, 6), rand(40, 3, seed=3)
    draft = rand(40, 6, seed=4)

    def end(steps):
        transport.config = replace(config, steps=steps)
        return transport.refined(draft, noise, context)

    exact = end(512)
    errors = [(end(steps) - exact).norm() for steps in (16, 32, 64)]
    assert errors[0] > 3.5 * errors[1] > 3.5**2 * errors[2]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_galaxy_has_the_same_bits_alone_and_among_others(count):
    transport, noise, context = untrained(FROM_A_DRAFT), rand(64, 6), rand(64, 3, seed=3)
    draft = rand(64, 6, seed=4)
    pack(transport)
    whole = transport.refined(draft, noise, context)
    few = transport.refined(draft[:count], noise[:count], context[:count])
    assert torch.equal(few[0], whole[0])


def test_a_ring_is_learnt_that_turns_by_what_is_told():
    """Half of a ring, the half that is told: what arms of any position angle are."""
    torch.manual_seed(4)
    transport = Transport(2, 1, TransportConfig(width=64, blocks=2, begin=0.0, steps=8))
    optimizer = torch.optim.AdamW(transport.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(5)
    for _ in range(800):
        side = torch.randint(2, (256, 1), generator=generator).float()
        angle = math.pi * (torch.rand(256, 1, generator=generator) + side)
        ring = math.sqrt(2) * torch.cat([angle.cos(), angle.sin()], 1)
        noise = torch.randn(256, 2, generator=generator)
        time = torch.rand(256, 1, generator=generator)
        loss = transport.misfit(ring, noise, time, 2 * side - 1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    side = (torch.arange(2000) % 2).float()[:, None]
    with torch.no_grad():
        noise = rand(2000, 2, seed=6)
        drawn = transport.refined(torch.zeros_like(noise), noise, 2 * side - 1)
    radius = drawn.norm(dim=1)
    assert radius.median() == pytest.approx(math.sqrt(2), rel=0.05)
    assert (radius / math.sqrt(2) - 1).abs().quantile(0.8) < 0.15
    assert ((drawn[:, 1] < 0) == (side[:, 0] > 0)).float().mean() > 0.9
