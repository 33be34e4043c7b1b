"""Training of the two flows, once the VAE is fixed."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from galsim_vae.conditions import NAMES
from galsim_vae.devices import half_precision
from galsim_vae.model.flow import CouplingFlow, FlowConfig, Flows
from galsim_vae.model.vae import VAE, Decoder

from . import critic, flow_constants
from .autoencoder import Sources
from .checkpoint import RandomState, WorkFolder, digest
from .descent import Descent
from .encoded import Encoded, encode_real, encode_synthetic
from .fill import NEARBY_MAGNITUDE, fill_missing, lend

__all__ = ["FlowTraining", "train"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FlowTraining:
    """How the flows are trained.

    Attributes
    ----------
    galaxies : int
        Synthetic galaxies encoded, half from the population, half spread over the ranges.
    real : float
        Real galaxies among the latent flow's training rows, over synthetic ones.
    nearby : float
        How often a real galaxy of a nearby survey, of which only structure is known, is taken, over
        how often another is: most are spirals.
    steps, batch : int
        Of the optimiser, for each flow.
    learning_rate, population_learning_rate : float
        Of the latents' flow, and of the conditions'.
    drop : float
        Share of galaxies that are not turned (`galsim_vae.model.pose`), and of which each condition
        is hidden from the latent flow with probability 1/2. What is drawn is turned, and has all
        conditions; the anomaly score has none.
    critic_steps : int
        Steps of the latent flow beside a critic, when the others are done; see
        `galsim_vae.train.fit.critic`.
    seed : int
        Of every random number.
    """

    galaxies: int = 96_000
    real: float = 0.25
    nearby: float = 0.2
    steps: int = 4000
    batch: int = 256
    learning_rate: float = 1e-2
    population_learning_rate: float = 2e-3
    drop: float = 0.1
    critic_steps: int = 0
    seed: int = 2


class _Rows(NamedTuple):
    """What the latent flow is trained on.

    Attributes
    ----------
    latents : tensor (n, latent)
        The synthetic galaxies first.
    conditions : tensor (n, 4)
        NaN where missing.
    turn : tensor (n,)
        NaN where not turned.
    synthetic : int
        Number of synthetic galaxies; what the others lack is filled in. Real galaxies, most of
        them seen in one to three bands, are given the colours of a synthetic one like them: what
        the encoder makes of bands that it has not seen is too uncertain to be learnt.
    """

    latents: Tensor
    conditions: Tensor
    turn: Tensor
    synthetic: int


def train(
    vae: VAE, sources: Sources, ranges: dict, flow: FlowConfig, config: FlowTraining, folder: Path
) -> Flows:
    """Train both flows on the latents of a VAE, or go on training.

    An interrupted run ends like one that was not (to the bit, on a CPU with the same number of
    threads).

    Parameters
    ----------
    vae : VAE
    sources : Sources
        On the device to train on.
    ranges : dict of str to (low, high)
        Of each of `NAMES`.
    flow : FlowConfig
        Sizes of the latent flow.
    config : FlowTraining
    folder : Path
        Of the checkpoints: ``encoded.ckpt``, ``population_flow.ckpt``, ``encoded_real.ckpt``,
        ``latent_flow.ckpt`` and ``critic.ckpt``, in the order in which they come.

    Returns
    -------
    Flows

    Raises
    ------
    galsim.GalSimValueError
        A checkpoint is of other settings, or of another VAE.
    FloatingPointError
        The loss is not finite.
    """
    vae = vae.eval().requires_grad_(False)
    work = WorkFolder(folder, _settings(vae, ranges, flow, config) | sources.settings())
    made = encode_synthetic(vae, sources, config.galaxies, config.drop, config.seed, work)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        flows = Flows(vae.config.latent, ranges, flow).to(made.latents.device)
    population = _within(made.conditions, ranges)[made.from_population]
    flows.half_light_pixels.copy_(made.pixels[made.from_population].median())
    _fit_population(flows, population[torch.isfinite(population).all(1)], config, work)
    rows = _Rows(made.latents, _within(made.conditions, ranges), made.turn, len(made.latents))
    if sources.real is not None and config.real > 0:
        real = encode_real(
            vae, sources, int(config.real * config.galaxies), config.drop, config.nearby,
            config.seed + 1, work,
        )  # fmt: skip
        rows = _with_real(rows, real, ranges)
    flows.turns.fit(rows.turn, rows.conditions[:, NAMES.index("g")])
    flows.latent.fit_axes(made.latents, vae.config.bands - 1)
    source = _source(flows, rows, vae.decoder)
    _fit_latent(flows, source, config, work)
    if config.critic_steps:
        critic.refine(flows, vae.decoder, source.draw, rows.latents, config.critic_steps,
                      config.seed + 4, work)  # fmt: skip
    return flows.eval().requires_grad_(False)


def _settings(vae: VAE, ranges: dict, flow: FlowConfig, config: FlowTraining) -> dict[str, dict]:
    return {
        "vae": {"weights": digest(vae.state_dict())},
        "ranges": ranges,
        "flow": flow.to_dict(),
        "flow_training": asdict(config),
        "flow_constants": flow_constants.recorded(),
    }


def _within(conditions: Tensor, ranges: dict) -> Tensor:
    """Hide labels outside the ranges: they are not ones that can be asked for."""
    return torch.where(_outside(conditions, ranges), torch.nan, conditions)


def _outside(conditions: Tensor, ranges: dict) -> Tensor:
    limits = conditions.new_tensor([ranges[name] for name in NAMES]).T
    return (conditions < limits[0]) | (conditions > limits[1])


def _with_real(rows: _Rows, real: Encoded, ranges: dict) -> _Rows:
    """Add real galaxies, but for those outside the ranges: a label hidden would be filled in."""
    keep = ~_outside(real.conditions, ranges).any(1)
    return rows._replace(
        latents=torch.cat([rows.latents, real.latents[keep]]),
        conditions=torch.cat([rows.conditions, real.conditions[keep]]),
        turn=torch.cat([rows.turn, real.turn[keep]]),
    )


class _Source(NamedTuple):
    """Where the latent flow's training finds galaxies.

    Attributes
    ----------
    kept : (tensor, tensor, tensor)
        Latents, conditions and turns of galaxies that no step sees: they give the radius of noise.
    rows : int
        Number of the others.
    at : callable
        The same of these by number (n,); what real ones lack is drawn.
    """

    kept: tuple[Tensor, Tensor, Tensor]
    rows: int
    at: Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor, Tensor]]

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Latents, conditions and turns of the galaxies of a step beside a critic."""
        size = (flow_constants.JUDGED_BATCH,)
        index = torch.randint(self.rows, size, generator=generator, device=generator.device)
        return self.at(index, generator)


def _source(flows: Flows, rows: _Rows, decoder: Decoder) -> _Source:
    """Keep some synthetic galaxies, and complete the others as they are looked up."""
    latents, conditions, turn, synthetic = rows
    magnitude = conditions[:synthetic, NAMES.index("magnitude")]
    bright = magnitude[magnitude < NEARBY_MAGNITUDE]
    made = latents[:synthetic], conditions[:synthetic]
    kept = min(flow_constants.RADIUS_GALAXIES, synthetic // 8)

    def at(index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        index = kept + index
        asked, real = conditions[index], index >= synthetic
        asked[real] = fill_missing(flows, asked[real], bright, generator)
        target = latents[index]
        target[real] = lend(target[real], asked[real], made, decoder, generator)
        return target, asked, turn[index]

    first = slice(kept)
    own = (latents[first], conditions[first], turn[first])
    return _Source(own, len(latents) - kept, at)


def _fit_latent(flows: Flows, source: _Source, config: FlowTraining, work: WorkFolder) -> None:
    def loss(index: Tensor, generator: torch.Generator) -> Tensor:
        target, asked, turn = source.at(index, generator)
        hide = _rand(asked.shape, generator) < flow_constants.HIDE_CONDITION
        hide = hide & torch.isnan(turn)[:, None]
        asked = torch.where(hide, torch.nan, asked)
        with half_precision(target.device):
            return -flows.latent_log_prob(target, asked, turn).mean()

    task = _Task("latent_flow", source.rows, config.learning_rate, config.seed + 2)
    _minimise(flows.latent, loss, task, config, work)
    latents, *known = source.kept
    flows.latent.fit_radius(latents, flows.latent_context(*known))


def _fit_population(
    flows: Flows, conditions: Tensor, config: FlowTraining, work: WorkFolder
) -> None:
    """Fit the distribution of missing conditions given those present, for any that are present.

    The values of given conditions are replaced by noise: the flow then learns the density of the
    missing ones times a normal distribution that is thrown away when sampling.
    """
    values = flows.population_values(conditions)
    flows.population.fit_scale(values)
    mean, scale = flows.population.mean, flows.population.root.diagonal()

    def loss(index: Tensor, generator: torch.Generator) -> Tensor:
        asked, target = conditions[index], values[index]
        all_missing = _rand((len(index), 1), generator) < flow_constants.GIVEN_NOTHING
        given = (_rand(asked.shape, generator) < flow_constants.GIVEN) & ~all_missing
        noise = torch.randn(target.shape, generator=generator, device=generator.device)
        noise = noise * scale + mean
        target = torch.where(given, noise, target)
        asked = torch.where(given, asked, torch.nan)
        return -flows.population_log_prob(target, asked).mean()

    rate = config.population_learning_rate
    task = _Task("population_flow", len(conditions), rate, config.seed + 3)
    _minimise(flows.population, loss, task, config, work)


def _rand(shape, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


class _Task(NamedTuple):
    """A minimisation: its name, number of rows, peak of the learning rate, and seed."""

    name: str
    rows: int
    rate: float
    seed: int


def _minimise(
    network: CouplingFlow,
    loss: Callable[[Tensor, torch.Generator], Tensor],
    task: _Task,
    config: FlowTraining,
    work: WorkFolder,
) -> None:
    """Minimise loss(rows, generator) over random batches; keeps a moving average of weights."""
    device = network.mean.device
    generator = torch.Generator(device).manual_seed(task.seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=task.rate, weight_decay=1e-3)
    descent = Descent(
        network, optimizer, name=task.name, rate=task.rate, steps=config.steps,
        clip=flow_constants.FLOW_GRADIENT_CLIP, decay=flow_constants.FLOW_AVERAGE,
    )  # fmt: skip
    checkpoint = work.checkpoint(
        task.name, network=network, average=descent.average, optimizer=optimizer,
        generator=RandomState(generator),
    )  # fmt: skip
    bar = checkpoint.steps(config.steps, task.name.replace("_", " "))
    for step in bar:
        index = torch.randint(task.rows, (config.batch,), generator=generator, device=device)
        value = loss(index, generator)
        descent.step(step, value)
        if step % 100 == 0:
            bar.set_postfix_str(f"loss {value.item():.3f}", refresh=False)
            logger.info("%s step %d loss %.3f", task.name, step, value.item())
    network.load_state_dict(descent.average.state_dict())
