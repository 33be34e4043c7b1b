"""The flows, against autograd and zuko."""

import math

import pytest
import torch

from galsim_vae.conditions import DEFAULT_RANGES
from galsim_vae.model.flow import CouplingFlow, FlowConfig, Flows
from galsim_vae.model.traits import TRAITS

SMALL = FlowConfig(layers=3, hidden=16, bins=5)


@pytest.fixture(scope="module")
def flow():
    torch.manual_seed(4)
    flow = CouplingFlow(4, 2, SMALL)
    for p in flow.parameters():
        p.data += 0.3 * torch.randn_like(p)
    correlated = torch.randn(100, 4) @ torch.randn(4, 4) * torch.tensor([1.0, 2.0, 0.5, 3.0]) + 1
    flow.fit_axes(correlated)
    return flow.eval().requires_grad_(False)


def test_inverse_undoes_forward(flow):
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(50, 4, generator=generator)
    context = torch.randn(50, 2, generator=generator)
    values = flow.from_noise(noise, context)
    mean, log_width = flow._base(context)
    unit = (values - flow.mean) @ torch.linalg.inv(flow.root)
    unit = (unit - mean) * torch.exp(-log_width)
    back, _ = flow.transform(unit, context)
    assert torch.allclose(back, noise, atol=1e-3)
    assert log_width.abs().max() > 0.1 and mean.abs().max() > 0.1


@pytest.mark.parametrize("first", [0, 2])
def test_axes_whiten(first):
    sample = torch.randn(500, 4) @ torch.randn(4, 4) + 3
    flow = CouplingFlow(4, 2, SMALL)
    flow.fit_axes(sample, first)
    unit = (sample - flow.mean) @ torch.linalg.inv(flow.root)
    assert torch.allclose(torch.cov(unit.T), torch.eye(4), atol=1e-4)
    changed = sample.clone()
    changed[:, first:] += 1
    assert torch.allclose(flow.standardise(changed)[:, :first], unit[:, :first], atol=1e-4)


def test_networks_in_half_precision_leave_the_splines_whole(flow):
    layer = flow.transform._transforms[1]
    generator = torch.Generator().manual_seed(3)
    parameters = torch.randn(50, 2, 3 * SMALL.bins - 1, generator=generator).bfloat16()
    values = torch.randn(50, 2, generator=generator)
    expected = layer._piecewise_cdf(values, parameters.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = layer._piecewise_cdf(values, parameters)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_density_is_that_of_the_change_of_variables(flow):
    context = torch.tensor([[0.3, -0.7]])
    noise = torch.tensor([[0.2, -0.4, 0.9, 0.1]])
    jacobian = torch.autograd.functional.jacobian(
        lambda z: flow.from_noise(z[None], context)[0], noise[0]
    )
    expected = -0.5 * (noise**2 + math.log(2 * math.pi)).sum() - torch.linalg.slogdet(jacobian)[1]
    value = flow.log_prob(flow.from_noise(noise, context), context)
    assert value.item() == pytest.approx(expected.item(), abs=2e-3)


def test_noise_far_out_gives_finite_values(flow):
    noise = torch.tensor([[8.0, -8.0, 7.5, -30.0], [4.99, -4.999, 4.9999, -4.9]])
    assert torch.isfinite(flow.from_noise(noise, torch.zeros(2, 2))).all()


def test_what_is_not_finite_stays_with_its_row(flow):
    noise = torch.randn(16, 4, generator=torch.Generator().manual_seed(7))
    context = torch.zeros(16, 2)
    expected = flow.from_noise(noise, context)
    noise[0, 1] = torch.nan
    values = flow.from_noise(noise, context)
    assert torch.isnan(values[0]).any()
    assert torch.equal(values[1:], expected[1:])


def test_missing_conditions_do_not_reach_the_network():
    flows = Flows(6, DEFAULT_RANGES, SMALL)
    context = flows.context(torch.tensor([[24.0, torch.nan, 0.3, torch.nan]]))
    assert context[0, [1, 3]].tolist() == [0, 0]
    assert context[0, 4:8].tolist() == [1, 0, 1, 0]
    bumps = context[0, 8:].reshape(4, -1)
    assert (bumps[[1, 3]] == 0).all() and (bumps[[0, 2]].amax(1) > 0.8).all()


def test_a_latent_that_follows_redshift_is_learnt_soon():
    """A few of many dimensions, up and down with redshift as colours are."""
    generator = torch.Generator().manual_seed(5)
    n = 4096
    low, high = (torch.tensor(v) for v in zip(*DEFAULT_RANGES.values(), strict=True))
    conditions = low + (high - low) * torch.rand(n, 4, generator=generator)
    latents = torch.randn(n, 32, generator=generator)
    curve = torch.sin(4 * torch.log1p(conditions[:, 3]))
    latents[:, :3] = curve[:, None] + 0.3 * latents[:, :3]
    torch.manual_seed(6)
    flows = Flows(32, DEFAULT_RANGES, FlowConfig(layers=2, hidden=16, bins=4))
    flows.latent.fit_scale(latents)
    optimizer = torch.optim.Adam(flows.latent.parameters(), lr=5e-3)
    for _ in range(150):
        rows = torch.randint(n, (256,), generator=generator)
        loss = -flows.latent_log_prob(latents[rows], conditions[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        noise = torch.randn(n, 32, generator=generator)
        drawn = flows.latent.from_noise(noise, flows.latent_context(conditions))
    for part in range(5):
        among = (curve > -1 + 0.4 * part) & (curve < -0.6 + 0.4 * part)
        expected = latents[among, :3].mean()
        assert drawn[among, :3].mean() == pytest.approx(expected.item(), abs=0.12)


def test_latents_are_made_of_noise_and_noise_of_latents():
    torch.manual_seed(3)
    flows = Flows(6, DEFAULT_RANGES, SMALL)
    for flow in (flows.trait, flows.latent):
        for parameter in flow.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    flows.trait_context.shift += torch.linspace(-0.5, 0.5, len(TRAITS))
    flows.trait_context.shift[1] += 0.3
    conditions = torch.tensor([[23.0, 0.4, 0.3, 1.0]]).repeat(40, 1)
    conditions[:, 0] += torch.linspace(-4, 3, 40)
    turn = torch.linspace(0, 3, 40)
    noise = torch.randn(40, flows.noise_size)
    latents = flows.sample_latents(noise, conditions, turn)
    traits = flows.sample_told(noise[:, 6:], conditions, turn)
    found = flows.latent_noise(latents, traits, conditions, turn)
    torch.testing.assert_close(found, noise, atol=2e-3, rtol=2e-3)
    # Of other traits other noise makes the same latents.
    other = flows.latent_noise(latents, traits.roll(1, 0), conditions, turn)
    assert (other - noise).abs().max() > 0.1
    again = flows.sample_latents(other, conditions, turn)
    torch.testing.assert_close(again, latents, atol=2e-3, rtol=2e-3)
    changed = noise.clone()
    changed[:, 6:] += 1
    assert (flows.sample_latents(changed, conditions, turn) - latents).abs().max() > 0.01


def test_given_conditions_come_back_and_drawn_ones_are_in_range():
    torch.manual_seed(0)
    flows = Flows(6, DEFAULT_RANGES, SMALL)
    asked = torch.full((200, 4), torch.nan)
    asked[:, 0] = 23.25
    out = flows.sample_conditions(3 * torch.randn(200, 4), asked)
    assert (out[:, 0] == 23.25).all()
    for column, (low, high) in enumerate(DEFAULT_RANGES.values()):
        assert (out[:, column] >= low * 0.999).all() and (out[:, column] <= high * 1.001).all()
