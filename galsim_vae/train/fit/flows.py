"""Training of the three flows, once the VAE is fixed."""

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
from galsim_vae.model.vae import VAE

from . import critic, flow_constants
from .autoencoder import Sources, trained
from .calibrate import calibrate, lost
from .checkpoint import RandomState, WorkFolder
from .descent import Descent
from .encoded import encode_real, encode_synthetic, true_and_decoded
from .rows import Rows, hide, join, with_traits, within

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
    learning_rate, population_learning_rate, trait_learning_rate : float
        Of the latents' flow, of the conditions', and of the traits'.
    drop : float
        Share of galaxies that are not turned (`galsim_vae.model.pose`), and of which each condition
        and the traits are hidden from the latent flow with probability 1/2. What is drawn is
        turned, and has all conditions and traits; the anomaly score has none.
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
    trait_learning_rate: float = 3e-3
    drop: float = 0.1
    critic_steps: int = 0
    seed: int = 2


def train(
    vae: VAE, sources: Sources, ranges: dict, flow: FlowConfig, config: FlowTraining, folder: Path
) -> Flows:
    """Train the flows on the latents of a VAE, or go on training.

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
        ``traits.ckpt``, ``trait_flow.ckpt``, ``latent_flow.ckpt`` and ``critic.ckpt``, in the order
        in which they come.

    Returns
    -------
    Flows

    Raises
    ------
    galsim.GalSimValueError
        A checkpoint is of other settings, or of another VAE.
    FloatingPointError
        The loss, or a trait of drawn galaxies, is not finite.
    """
    vae = vae.eval().requires_grad_(False)
    data = {"vae": {"weights": trained(vae)}} | sources.settings()
    encodings = WorkFolder(folder, data)
    work = WorkFolder(folder, data | _settings(ranges, flow, config))
    made = encode_synthetic(vae, sources, config.galaxies, config.drop, config.seed, encodings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        flows = Flows(vae.config.latent, ranges, flow).to(made.latents.device)
    population = within(made.conditions, ranges)[made.from_population]
    flows.half_light_pixels.copy_(made.pixels[made.from_population].median())
    _fit_population(flows, population[torch.isfinite(population).all(1)], config, work)
    real = None
    if sources.real is not None and config.real > 0:
        real = encode_real(
            vae, sources, int(config.real * config.galaxies), config.drop, config.nearby,
            config.seed + 1, encodings,
        )  # fmt: skip
    all_of_them = join(flows, vae.decoder, made, real, ranges, config.seed + 5)
    rows = with_traits(vae.decoder, all_of_them, len(made.latents), config.seed + 6, work)
    _fit_fixed(flows, rows, made.latents, vae.config.bands - 1)
    _fit_traits(flows, rows, config, work)
    _fit_latent(flows, rows, config, work)
    if config.critic_steps:
        critic.refine(flows, vae.decoder, rows, config.critic_steps, config.seed + 4, work)
    synthetic = rows.shown.at(slice(rows.synthetic))
    # Also those spread over the ranges: the population has few bright ones.
    complete = torch.isfinite(synthetic.turn) & torch.isfinite(synthetic.conditions).all(1)
    compared = min(flow_constants.COMPARED, config.galaxies)
    missing = lost(true_and_decoded(vae, sources, compared, config.seed + 8))
    calibrate(flows, vae.decoder, synthetic.at(complete), missing, config.seed + 9)
    return flows.eval().requires_grad_(False)


def _settings(ranges: dict, flow: FlowConfig, config: FlowTraining) -> dict[str, dict]:
    return {
        "ranges": ranges,
        "flow": flow.to_dict(),
        "flow_training": asdict(config),
        "flow_constants": flow_constants.recorded(),
    }


def _fit_fixed(flows: Flows, rows: Rows, synthetic: Tensor, colours: int) -> None:
    """Set what is counted and not trained: turns, ranges of traits, axes of traits and latents."""
    shown = rows.shown
    flows.turns.fit(shown.turn, shown.conditions[:, NAMES.index("g")])
    flows.trait_context.fit(shown.traits)
    flows.trait.fit_axes(shown.traits[: rows.synthetic])
    flows.latent.fit_axes(synthetic, colours)


def _fit_traits(flows: Flows, rows: Rows, config: FlowTraining, work: WorkFolder) -> None:
    """Fit the distribution of traits, of synthetic galaxies alone.

    What real ones are encoded to is smoother than they are, as noise hides structure. How often
    structure is found was put right in the population that synthetic ones come from, by what is
    observed of both.
    """

    def loss(index: Tensor, generator: torch.Generator) -> Tensor:
        galaxies = rows.shown.at(index)
        return -flows.trait_log_prob(galaxies.traits, galaxies.conditions, galaxies.turn).mean()

    task = _Task("trait_flow", rows.synthetic, config.trait_learning_rate, config.seed + 7)
    _minimise(flows.trait, loss, task, config, work)


def _fit_latent(flows: Flows, rows: Rows, config: FlowTraining, work: WorkFolder) -> None:
    def loss(index: Tensor, generator: torch.Generator) -> Tensor:
        latents, *known = hide(rows.shown.at(index), generator)
        with half_precision(latents.device):
            return -flows.latent_log_prob(latents, *known).mean()

    task = _Task("latent_flow", len(rows.shown.turn), config.learning_rate, config.seed + 2)
    _minimise(flows.latent, loss, task, config, work)
    kept = rows.kept
    context = flows.latent_context(kept.conditions, kept.turn, kept.traits)
    flows.latent.fit_radius(kept.latents, context)


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
