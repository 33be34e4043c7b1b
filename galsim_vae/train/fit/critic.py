"""The latent flow's last steps: a critic tells what it draws from galaxies, until it cannot.

A flow of maximum likelihood that cannot follow how galaxies are distributed lays some density
between them, where there is none: a few nats in its loss, but blotches among what is drawn. A
second network is shown what galaxies have and what the flow draws for the same conditions, and the
flow learns to be told from galaxies no more, while the likelihood still counts, so that no kind of
galaxy is given up (Grover, Dhar & Ermon 2018, AAAI 32, 3069, arXiv:1705.08868).

The two are compared pair by pair (Jolicoeur-Martineau 2019, arXiv:1807.00734), and the critic's
slope is kept small at both (Huang et al. 2024, arXiv:2501.05441, equation 7).
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from galsim_vae.model.flow import CouplingFlow, Flows

from . import flow_constants
from .checkpoint import RandomState, WorkFolder
from .descent import Descent
from .rows import Rows

__all__ = ["Critic", "refine", "visibility"]


class Critic(nn.Module):
    """A number for each galaxy, higher for those that look real.

    Parameters
    ----------
    scale : tensor (latent,)
        Of the components, by how much they show.
    context : int
        Size of the conditions as networks see them.
    """

    scale: Tensor

    def __init__(self, scale: Tensor, context: int):
        super().__init__()
        self.register_buffer("scale", scale)
        hidden = [flow_constants.CRITIC_WIDTH] * flow_constants.CRITIC_LAYERS
        sizes = [len(scale) + context, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.SiLU()]
        self.network = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def seen(self, flow: CouplingFlow, latents: Tensor) -> Tensor:
        """Latents (n, latent) as the critic is shown them."""
        far = flow_constants.CRITIC_FARTHEST
        return flow.standardise(latents).clamp(-far, far) * self.scale

    def forward(self, seen: Tensor, context: Tensor) -> Tensor:
        """Judge what is `seen` (n, latent) given `context`; tensor (n,)."""
        return self.network(torch.cat([seen, context], 1))[:, 0]

    def loss(self, real: Tensor, drawn: Tensor, context: Tensor) -> Tensor:
        """What the critic minimises: its errors over pairs, and its squared slope at both."""
        both = [part.detach().requires_grad_(True) for part in (real, drawn)]
        judged = [self(part, context) for part in both]
        slopes = [
            torch.autograd.grad(value.sum(), part, create_graph=True)[0]
            for value, part in zip(judged, both, strict=True)
        ]
        steep = sum(slope.square().sum(1).mean() for slope in slopes)
        return F.softplus(judged[1] - judged[0]).mean() + flow_constants.CRITIC_PENALTY / 2 * steep


class _Shown(NamedTuple):
    """Galaxies of a step: latents, what is seen of them and of drawn ones, and their context."""

    latents: Tensor
    real: Tensor
    drawn: Tensor
    context: Tensor


class _Contest:
    """The flow and its critic, each with its optimiser.

    Parameters
    ----------
    flows, rows, steps : Flows, Rows, int
        As for `refine`.
    critic : Critic
    generator : torch.Generator
    """

    def __init__(
        self, flows: Flows, critic: Critic, rows: Rows, steps: int, generator: torch.Generator
    ):
        self.flows, self.critic, self._rows, self.generator = flows, critic, rows, generator
        betas = (0.0, 0.99)
        self.judging = torch.optim.AdamW(
            critic.network.parameters(), flow_constants.CRITIC_RATE, betas, weight_decay=1e-3
        )
        self.optimizer = torch.optim.AdamW(flows.latent.parameters(), betas=betas,
                                           weight_decay=1e-3)  # fmt: skip
        self.descent = Descent(
            flows.latent, self.optimizer, name="critic", rate=flow_constants.JUDGED_RATE,
            steps=steps, clip=flow_constants.FLOW_GRADIENT_CLIP, decay=flow_constants.FLOW_AVERAGE,
        )  # fmt: skip

    def _shown(self) -> _Shown:
        flow = self.flows.latent
        latents, *known = self._rows.draw(flow_constants.JUDGED_BATCH, self.generator)
        context = self.flows.latent_context(*known)
        noise = torch.randn(latents.shape, generator=self.generator, device=latents.device)
        drawn = flow.from_noise(noise, context)
        seen = self.critic.seen(flow, latents), self.critic.seen(flow, drawn)
        return _Shown(latents, *seen, context)

    def teach_critic(self) -> Tensor:
        """Take a step of the critic; returns its loss."""
        with torch.no_grad():
            shown = self._shown()
        error = self.critic.loss(shown.real, shown.drawn, shown.context)
        self.judging.zero_grad(set_to_none=True)
        error.backward()
        self.judging.step()
        return error

    def teach_flow(self, step: int) -> tuple[Tensor, Tensor]:
        """Take a step of the flow; returns how well it is told, and -ln density of galaxies."""
        shown, critic = self._shown(), self.critic
        critic.requires_grad_(False)
        gap = critic(shown.real, shown.context) - critic(shown.drawn, shown.context)
        told = F.softplus(gap).mean()
        density = -self.flows.latent.log_prob(shown.latents, shown.context).mean()
        self.descent.step(step, told + flow_constants.LIKELIHOOD_WEIGHT * density)
        critic.requires_grad_(True)
        return told, density


def refine(
    flows: Flows, decoder: Callable[[Tensor], Tensor], rows: Rows, steps: int, seed: int,
    work: WorkFolder,
) -> None:  # fmt: skip
    """Go on training the latent flow, beside a critic; on one that was interrupted, go on there.

    Parameters
    ----------
    flows : Flows
        Trained; the latent flow is changed.
    decoder : callable
        Stamps (n, bands, size, size) of latents; tells which components show.
    rows : Rows
        Galaxies to learn from; of those kept some are looked at for what shows.
    steps : int
        Of the flow. The critic has some more, before.
    seed : int
        Of every random number.
    work : WorkFolder
        Of the checkpoint, ``critic.ckpt``.

    Raises
    ------
    galsim.GalSimValueError
        The checkpoint is of other settings.
    FloatingPointError
        The loss is not finite.
    """
    flow = flows.latent
    device = flow.mean.device
    generator = torch.Generator(device).manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        context = flows.latent_context(*rows.kept.at(slice(1))[1:])
        critic = Critic(torch.ones_like(flow.mean), context.shape[1]).to(device)
    contest = _Contest(flows, critic, rows, steps, generator)
    checkpoint = work.checkpoint(
        "critic", network=flow, average=contest.descent.average, optimizer=contest.optimizer,
        critic=critic, judging=contest.judging, generator=RandomState(generator),
    )  # fmt: skip
    if checkpoint.step == 0:
        latents = rows.kept.latents[: flow_constants.SEEN_GALAXIES]
        scale = visibility(flow, decoder, latents).pow(0.25)
        critic.scale.copy_(scale / scale.square().mean().sqrt())
    bar = checkpoint.steps(flow_constants.CRITIC_ALONE + steps, "latent flow, judged")
    for step in bar:
        error = contest.teach_critic()
        if step < flow_constants.CRITIC_ALONE:
            continue
        told, density = contest.teach_flow(step - flow_constants.CRITIC_ALONE)
        if step % 20 == 0:
            bar.set_postfix_str(
                f"critic {error.item():.3f}, flow {told.item():.3f}, "
                f"-ln density {density.item():.1f}", refresh=False,
            )  # fmt: skip
    flow.load_state_dict(contest.descent.average.state_dict())


@torch.no_grad()
def visibility(
    flow: CouplingFlow, decoder: Callable[[Tensor], Tensor], latents: Tensor
) -> Tensor:
    """How much the stamps of galaxies change with each component of their latents, (latent,).

    The change of power in a band over that of the stamp, a mean over bands and galaxies. Half of
    the components hardly show, and a critic would look for errors there.

    Parameters
    ----------
    flow : CouplingFlow
        Of the components.
    decoder : callable
        Stamps (n, bands, size, size) of latents.
    latents : tensor (n, latent)
        Of galaxies.
    """
    unit, step = flow.standardise(latents), flow_constants.SEEN_STEP
    stamps = decoder(latents)
    power = stamps.square().sum((2, 3))

    def change(component: int) -> Tensor:
        moved = unit.clone()
        moved[:, component] += step
        difference = decoder(flow.restore(moved)) - stamps
        return (difference.square().sum((2, 3)) / power).mean() / step**2

    return torch.stack([change(component) for component in range(unit.shape[1])])
