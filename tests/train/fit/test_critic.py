"""The critic of the latent flow: what it minimises, what it looks at, and that the flow learns."""

import pytest
import torch
from torch import nn

from galsim_vae.conditions import DEFAULT_RANGES
from galsim_vae.model.flow import FlowConfig, Flows
from galsim_vae.model.traits import TRAITS
from galsim_vae.train.fit import flow_constants
from galsim_vae.train.fit.checkpoint import WorkFolder
from galsim_vae.train.fit.critic import Critic, refine, visibility
from galsim_vae.train.fit.rows import Galaxies, Rows

LATENT = 4


@pytest.fixture
def flows():
    torch.manual_seed(1)
    return Flows(LATENT, DEFAULT_RANGES, FlowConfig(2, 8))


def decoder(latents):
    """Stamps of two bands in which the first two latents show, the second twice as much."""
    light = torch.stack([1 + 0 * latents[:, 0], latents[:, 0], 2 * latents[:, 1]], 1)
    return light[:, None, None].expand(-1, 2, 1, -1)


def conditions(n):
    return torch.tensor([[23.0, 0.4, 0.3, 1.0]]).expand(n, -1)


def test_the_loss_of_a_linear_critic():
    critic = Critic(torch.ones(LATENT), 2)
    weight = torch.tensor([[0.5, -1.0, 0.0, 2.0, 0.3, 0.1]])
    critic.network = nn.Sequential(nn.Linear(6, 1))
    critic.load_state_dict({"network.0.weight": weight}, strict=False)
    generator = torch.Generator().manual_seed(1)
    real, drawn = (torch.randn(50, LATENT, generator=generator) for _ in range(2))
    found = critic.loss(real, drawn, torch.randn(50, 2, generator=generator))
    errors = torch.log1p(torch.exp((drawn - real) @ weight[0, :LATENT])).mean()
    slope = weight[0, :LATENT].square().sum()  # at both, hence halved and doubled
    assert found.item() == pytest.approx(
        (errors + flow_constants.CRITIC_PENALTY * slope).item(), rel=1e-6
    )


def test_what_shows(flows):
    latents = torch.zeros(3, LATENT)
    shown = visibility(flows.latent, decoder, latents)
    assert shown.tolist() == pytest.approx([1.0, 4.0, 0.0, 0.0])


def test_the_critic_looks_at_components_by_how_much_they_show_and_not_far_out(flows):
    critic = Critic(torch.tensor([1.0, 2.0, 0.5, 0.0]), 2)
    seen = critic.seen(flows.latent, torch.tensor([[1.0, 1.0, -100.0, 3.0]]))
    assert seen.tolist() == [[1.0, 2.0, -0.5 * flow_constants.CRITIC_FARTHEST, 0.0]]


def test_the_flow_draws_what_the_critic_is_shown(flows, tmp_path, monkeypatch):
    """The likelihood has no weight here, so it is the critic that teaches."""
    for name, value in (("CRITIC_ALONE", 10), ("CRITIC_WIDTH", 16), ("JUDGED_RATE", 5e-3),
                        ("CRITIC_RATE", 5e-3), ("LIKELIHOOD_WEIGHT", 0.0)):  # fmt: skip
        monkeypatch.setattr(flow_constants, name, value)
    mean = torch.tensor([1.5, -1.0, 0.0, 0.0])

    traits = torch.zeros(4096, len(TRAITS))

    def galaxies(count, seed):
        generator = torch.Generator().manual_seed(seed)
        latents = mean + torch.randn(count, LATENT, generator=generator)
        return Galaxies(latents, conditions(count), torch.zeros(count), traits[:count])

    def off():
        """How far the mean of drawn latents, in those that show, is from the galaxies'."""
        noise = torch.randn(2000, LATENT, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            told = flows.latent_context(conditions(2000), torch.zeros(2000), traits[:2000])
            return (flows.latent.from_noise(noise, told).mean(0) - mean)[:2].abs()

    assert off().amin() > 0.8
    rows = Rows(galaxies(128, 2), galaxies(4096, 4), 4096)
    refine(flows, decoder, rows, 240, 5, WorkFolder(tmp_path, {}))
    assert off().amax() < 0.2
