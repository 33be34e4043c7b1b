"""What carries noise to latents: there and back, alone and among others, and into a ring."""

import math

import pytest
import torch

from galsim_vae.model.packed import pack
from galsim_vae.model.transport import Transport, TransportConfig

SMALL = TransportConfig(width=32, blocks=2, steps=4)


def untrained(seed=1):
    torch.manual_seed(seed)
    transport = Transport(6, 3, SMALL).requires_grad_(False)
    for parameter in transport.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    return transport


def rand(*shape, seed=2):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_it_begins_without_moving_anything():
    transport = Transport(6, 3, SMALL)
    noise = rand(5, 6)
    assert torch.equal(transport.from_noise(noise, rand(5, 3)), noise)


def test_there_and_back():
    transport, noise, context = untrained(), rand(40, 6), rand(40, 3, seed=3)
    values = transport.from_noise(noise, context)
    assert (values - noise).abs().median() > 0.1
    torch.testing.assert_close(transport.to_noise(values, context), noise, rtol=0, atol=1e-4)


def test_the_error_of_a_step_falls_as_that_of_a_midpoint_rule():
    transport, noise, context = untrained(), rand(40, 6), rand(40, 3, seed=3)

    def end(steps):
        transport.config = TransportConfig(width=32, blocks=2, steps=steps)
        return transport.from_noise(noise, context)

    exact = end(512)
    errors = [(end(steps) - exact).norm() for steps in (16, 32, 64)]
    assert errors[0] > 3.5 * errors[1] > 3.5**2 * errors[2]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_galaxy_has_the_same_bits_alone_and_among_others(count):
    transport, noise, context = untrained(), rand(64, 6), rand(64, 3, seed=3)
    pack(transport)
    whole = transport.from_noise(noise, context)
    assert torch.equal(transport.from_noise(noise[:count], context[:count])[0], whole[0])


def test_a_ring_is_learnt_that_turns_by_what_is_told():
    """Half of a ring, the half that is told: what arms of any position angle are."""
    torch.manual_seed(4)
    transport = Transport(2, 1, TransportConfig(width=64, blocks=2, steps=8))
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
        drawn = transport.from_noise(rand(2000, 2, seed=6), 2 * side - 1)
    radius = drawn.norm(dim=1)
    assert radius.median() == pytest.approx(math.sqrt(2), rel=0.05)
    assert (radius / math.sqrt(2) - 1).abs().quantile(0.8) < 0.15
    assert ((drawn[:, 1] < 0) == (side[:, 0] > 0)).float().mean() > 0.9
