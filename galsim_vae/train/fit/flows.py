"""Training of the two flows, once the VAE is fixed."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from galsim_vae.bands import BANDS, REFERENCE
from galsim_vae.conditions import NAMES
from galsim_vae.devices import half_precision
from galsim_vae.geometry import sheared_shape
from galsim_vae.model import likelihood
from galsim_vae.model.flow import CouplingFlow, FlowConfig, Flows
from galsim_vae.model.vae import VAE, Decoder
from galsim_vae.shapes import measure
from galsim_vae.train.synthetic.galaxies import canonical_pixel_scale, fresh_conditions, sample

from . import constants, critic, flow_constants
from .autoencoder import Sources
from .batch import Batch
from .checkpoint import Collected, RandomState, WorkFolder, digest
from .descent import Descent
from .fill import NEARBY_MAGNITUDE, fill_missing, is_nearby, lend
from .observe import observe
from .posed import Pose, find_pose, lay, matrix

__all__ = ["Encoded", "FlowTraining", "encode", "encode_real", "encode_synthetic", "train"]

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


class Encoded(NamedTuple):
    """Latents (n, latent) and conditions (n, 4) measured on their decoded stamps.

    `turn` (n,) brings these back to the frame (`galsim_vae.model.pose`), NaN where it need not.
    `pixels` (n,) is the radius measured, in pixels; `from_population` (n,) tells which galaxies
    were drawn from the population as it is.
    """

    latents: Tensor
    conditions: Tensor
    turn: Tensor
    pixels: Tensor
    from_population: Tensor


@torch.inference_mode()
def encode(
    vae: VAE,
    batch: Batch,
    conditions: Tensor,
    pixel_scale: Tensor,
    frame_g: Tensor,
    turn: Tensor,
    generator: torch.Generator,
) -> Encoded:
    """Draw a latent for each observed galaxy and measure its decoded stamp.

    Parameters
    ----------
    vae : VAE
    batch : Batch
    conditions : tensor (n, 4)
        In the order of `NAMES`, radius in arcsec, NaN where missing; radius and |g| are replaced
        by what is measured.
    pixel_scale : tensor (n,)
        arcsec. NaN: the radius stays missing.
    frame_g : tensor (n,)
        Shear along +x that the frame has taken out: with what is measured in it, the shape.
    turn : tensor (n,)
        From the stamp to the frame [radian]; NaN: it is not turned.
    generator : torch.Generator

    Returns
    -------
    Encoded
        Of those that can be measured.
    """
    mean, log_variance = _means(vae, batch)
    latents = likelihood.sample_posterior(mean, log_variance, generator)
    image = vae.decoder(latents)[:, BANDS.index(REFERENCE)]
    moments, pixels, keep = measure(image)
    back = torch.polar(torch.ones_like(turn), 2 * turn.nan_to_num())
    g = sheared_shape(torch.complex(moments.g1, moments.g2) * back, frame_g).abs()
    labels = torch.stack([conditions[:, 0], pixels * pixel_scale, g, conditions[:, 3]], 1)
    every = torch.ones(int(keep.sum()), dtype=torch.bool, device=latents.device)
    return Encoded(latents[keep], labels[keep], turn[keep], pixels[keep], every)


def _means(vae: VAE, batch: Batch) -> tuple[Tensor, Tensor]:
    with half_precision(batch.image.device):
        return vae.encode(batch.image, batch.otf, batch.noise, batch.mask)


def _some_unturned(pose: Pose, share: float, generator: torch.Generator) -> Pose:
    """Let a share of the galaxies lie as they do."""
    lie = _rand(pose.turn.shape, generator) < share
    return pose._replace(turn=torch.where(lie, torch.nan, pose.turn))


def encode_synthetic(vae: VAE, sources: Sources, config: FlowTraining, work: WorkFolder) -> Encoded:
    """Encode fresh synthetic galaxies, alternately from the population and spread widely.

    They are seen almost without PSF: their latents then hold structure that HST would blur away.
    """
    n = flow_constants.ENCODED_BATCH

    def part(number: int, generator: torch.Generator) -> Encoded:
        wide = number % 2 == 1
        conditions = fresh_conditions(n, generator, wide)
        made = sample(
            conditions, generator, sources.colours, frame=sources.frame, device=sources.device
        )
        scale, taken = canonical_pixel_scale(conditions), sources.frame.shear(conditions[:, 2])
        level = scale.new_full((n,), flow_constants.ENCODED_SIGNAL_TO_NOISE)
        sharp = scale.new_full((n,), constants.SHARPEST)
        pose = _some_unturned(find_pose(made.stamps, conditions[:, 2]), config.drop, generator)
        lies = matrix(pose)
        batch = observe(
            made.laid(lies), scale, sources.psfs, generator, level, True, sharp, taken, lies
        )
        found = encode(vae, batch, conditions, scale, taken, pose.turn, generator)
        return found._replace(from_population=found.from_population & (not wide))

    return _in_parts(part, config.galaxies, sources, config.seed, "encoded", work)


def encode_real(vae: VAE, sources: Sources, config: FlowTraining, work: WorkFolder) -> Encoded:
    """Encode varied and re-noised copies of the real training galaxies."""
    real = sources.real
    assert real is not None
    count = flow_constants.ENCODED_BATCH
    weight = torch.where(is_nearby(real.conditions), config.nearby, 1.0)

    def part(_, generator: torch.Generator) -> Encoded:
        index = torch.multinomial(weight, count, replacement=True, generator=generator)
        level = weight.new_full((count,), flow_constants.ENCODED_SIGNAL_TO_NOISE)
        batch = real.batch(index, generator, level)
        taken = real.frame_g[index]
        with torch.inference_mode():
            looks = vae.decoder(_means(vae, batch)[0].float())
        pose = _some_unturned(find_pose(looks, taken), config.drop, generator)
        found = encode(
            vae, lay(batch, pose), real.conditions[index], real.pixel_scale[index], taken,
            pose.turn, generator,
        )  # fmt: skip
        return found._replace(from_population=torch.zeros_like(found.from_population))

    n = int(config.real * config.galaxies)
    return _in_parts(part, n, sources, config.seed + 1, "encoded_real", work)


def _in_parts(
    part: Callable[[int, torch.Generator], Encoded], n: int, sources: Sources, seed: int, name: str,
    work: WorkFolder,
) -> Encoded:  # fmt: skip
    """Encode n galaxies part by part; a checkpoint holds those that are done."""
    generator = torch.Generator(sources.device).manual_seed(seed)
    encoded = Collected(Encoded._fields, sources.device)
    checkpoint = work.checkpoint(name, encoded=encoded, generator=RandomState(generator))
    for number in checkpoint.steps(-(-n // flow_constants.ENCODED_BATCH), name.replace("_", " ")):
        encoded.append(part(number, generator))
    return Encoded(*encoded.joined())


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
    made = encode_synthetic(vae, sources, config, work)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        flows = Flows(vae.config.latent, ranges, flow).to(made.latents.device)
    population = _within(made.conditions, ranges)[made.from_population]
    flows.half_light_pixels.copy_(made.pixels[made.from_population].median())
    _fit_population(flows, population[torch.isfinite(population).all(1)], config, work)
    rows = _Rows(made.latents, _within(made.conditions, ranges), made.turn, len(made.latents))
    if sources.real is not None and config.real > 0:
        rows = _with_real(rows, encode_real(vae, sources, config, work), ranges)
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
