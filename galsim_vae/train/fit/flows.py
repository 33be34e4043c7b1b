"""Training of the two flows, once the VAE is fixed."""

import copy
import logging
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from galsim_vae.bands import BANDS, REFERENCE
from galsim_vae.conditions import NAMES
from galsim_vae.model.flow import FlowConfig, Flows
from galsim_vae.model.vae import VAE
from galsim_vae.shapes import adaptive_moments, half_light_radius
from galsim_vae.train.synthetic.galaxies import canonical_pixel_scale, fresh_galaxies

from . import likelihood
from .autoencoder import Sources, moving_average, schedule
from .observe import SHARPEST, Batch, observe

__all__ = [
    "SIGNAL_TO_NOISE",
    "Encoded",
    "FlowTraining",
    "encode",
    "encode_real",
    "encode_synthetic",
    "train",
]

logger = logging.getLogger(__name__)

# Signal-to-noise ratio at which galaxies are encoded for the flow: high, so that latents carry
# the structure and not the uncertainty about it.
SIGNAL_TO_NOISE = 500.0
_BATCH = 64


@dataclass(frozen=True)
class FlowTraining:
    """How the flows are trained.

    Attributes
    ----------
    galaxies : synthetic galaxies encoded, half from the population, half spread over the ranges.
    real : share of real galaxies among the latent flow's training rows.
    steps, batch : of the optimiser, for each flow.
    learning_rate, population_learning_rate : of the latents' flow, and of the conditions'.
    drop : share of galaxies of which each condition is hidden from the latent flow with
        probability 1/2. What is drawn has all of them; the anomaly score has none.
    seed : of every random number.
    """

    galaxies: int = 96_000
    real: float = 0.05
    steps: int = 4000
    batch: int = 256
    learning_rate: float = 1e-2
    population_learning_rate: float = 2e-3
    drop: float = 0.1
    seed: int = 2


class Encoded(NamedTuple):
    """Latents (n, latent) and conditions (n, 4) measured on their decoded stamps.

    `pixels` (n,) is the radius measured, in pixels; `from_population` (n,) tells which galaxies
    were drawn from the population as it is.
    """

    latents: Tensor
    conditions: Tensor
    pixels: Tensor
    from_population: Tensor


@torch.inference_mode()
def encode(vae: VAE, batch: Batch, conditions: Tensor, pixel_scale: Tensor, generator) -> Encoded:
    """Draw a latent for each observed galaxy and measure its decoded stamp.

    Parameters
    ----------
    conditions : tensor (n, 4), in the order of `NAMES`, radius in arcsec, NaN where missing;
        radius and |g| are replaced by what is measured, at `pixel_scale` (n,) [arcsec] (NaN: the
        radius stays missing).
    """
    mean, log_variance = vae.encoder(batch.image, batch.psf_width, batch.noise, batch.mask)
    latents = likelihood.sample_posterior(mean, log_variance, generator)
    image = vae.decoder(latents)[:, BANDS.index(REFERENCE)]
    moments = adaptive_moments(image)
    pixels = half_light_radius(image, moments)
    g = torch.hypot(moments.g1, moments.g2)
    labels = torch.stack([conditions[:, 0], pixels * pixel_scale, g, conditions[:, 3]], 1)
    keep = moments.converged
    every = torch.ones(int(keep.sum()), dtype=torch.bool, device=latents.device)
    return Encoded(latents[keep], labels[keep], pixels[keep], every)


def encode_synthetic(vae: VAE, sources: Sources, config: FlowTraining) -> Encoded:
    """Encode fresh synthetic galaxies, alternately from the population and spread widely.

    They are seen almost without PSF: their latents then hold structure that HST would blur away.
    """
    device = sources.psfs.k.device
    generator = torch.Generator(device).manual_seed(config.seed)
    parts = []
    for number in tqdm(range(-(-config.galaxies // _BATCH)), desc="encoding", mininterval=10):
        wide = number % 2 == 1
        conditions, stamps = fresh_galaxies(_BATCH, sources.colours, generator, wide)
        scale = canonical_pixel_scale(conditions)
        level = scale.new_full((_BATCH,), SIGNAL_TO_NOISE)
        sharp = scale.new_full((_BATCH,), SHARPEST)
        batch = observe(stamps, scale, sources.psfs, generator, level, True, sharp)
        part = encode(vae, batch, conditions, scale, generator)
        parts.append(part._replace(from_population=part.from_population & (not wide)))
    return Encoded(*(torch.cat(values) for values in zip(*parts, strict=True)))


def encode_real(vae: VAE, sources: Sources, n: int, seed: int) -> Encoded:
    """Encode n mirrored and re-noised copies of the real training galaxies."""
    real = sources.real
    assert real is not None
    device = real.image.device
    generator = torch.Generator(device).manual_seed(seed)
    parts = []
    for _ in range(0, n, _BATCH):
        index = torch.randint(len(real), (_BATCH,), generator=generator, device=device)
        level = torch.full((_BATCH,), SIGNAL_TO_NOISE, device=device)
        batch = real.batch(index, generator, level)
        scale = real.pixel_scale[index]
        parts.append(encode(vae, batch, real.conditions[index], scale, generator))
    joined = Encoded(*(torch.cat(values) for values in zip(*parts, strict=True)))
    return joined._replace(from_population=torch.zeros_like(joined.from_population))


def train(vae: VAE, sources: Sources, ranges: dict, flow: FlowConfig, config: FlowTraining):
    """Train both flows on the latents of `vae` and return them.

    Returns
    -------
    Flows
    """
    torch.manual_seed(config.seed)
    vae = vae.eval().requires_grad_(False)
    made = encode_synthetic(vae, sources, config)
    flows = Flows(vae.config.latent, ranges, flow).to(made.latents.device)
    latents, conditions = made.latents, made.conditions
    if sources.real is not None and config.real > 0:
        extra = encode_real(vae, sources, int(config.real * len(latents)), config.seed + 1)
        latents = torch.cat([latents, extra.latents])
        conditions = torch.cat([conditions, extra.conditions])
    # A label outside the ranges is not one that can be asked for: it counts as missing.
    limits = conditions.new_tensor([ranges[name] for name in NAMES]).T
    outside = (conditions < limits[0]) | (conditions > limits[1])
    conditions = torch.where(outside, torch.nan, conditions)
    population = conditions[: len(made.latents)][made.from_population]
    flows.half_light_pixels.copy_(made.pixels[made.from_population].nanmedian())
    flows.latent.fit_axes(latents, vae.config.bands - 1)
    _fit_latent(flows, latents, conditions, config)
    _fit_population(flows, population[torch.isfinite(population).all(1)], config)
    return flows.eval().requires_grad_(False)


def _fit_latent(flows: Flows, latents: Tensor, conditions: Tensor, config: FlowTraining) -> None:
    def loss(index: Tensor, generator: torch.Generator) -> Tensor:
        asked = conditions[index]
        hide = _rand((len(asked), 1), generator) < config.drop
        hide = hide & (_rand(asked.shape, generator) < 0.5)
        asked = torch.where(hide, torch.nan, asked)
        with torch.autocast(latents.device.type, torch.bfloat16):
            return -flows.latent_log_prob(latents[index], asked).mean()

    rate = config.learning_rate
    _minimise(flows.latent, loss, len(latents), config, rate, "latent flow", config.seed + 2)


def _fit_population(flows: Flows, conditions: Tensor, config: FlowTraining) -> None:
    """Fit the distribution of missing conditions given those present, for any that are present.

    The values of given conditions are replaced by noise: the flow then learns the density of the
    missing ones times a normal distribution that is thrown away when sampling.
    """
    values = flows.population_values(conditions)
    flows.population.fit_scale(values)
    mean, scale = flows.population.mean, flows.population.root.diagonal()

    def loss(index: Tensor, generator: torch.Generator) -> Tensor:
        asked, target = conditions[index], values[index]
        all_missing = _rand((len(index), 1), generator) < 0.4
        given = (_rand(asked.shape, generator) < 0.5) & ~all_missing
        noise = torch.randn(target.shape, generator=generator, device=generator.device)
        noise = noise * scale + mean
        target = torch.where(given, noise, target)
        asked = torch.where(given, asked, torch.nan)
        return -flows.population_log_prob(target, asked).mean()

    n, rate = len(conditions), config.population_learning_rate
    _minimise(flows.population, loss, n, config, rate, "population flow", config.seed + 3)


def _rand(shape, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _minimise(
    network, loss, n: int, config: FlowTraining, rate: float, name: str, seed: int
) -> None:
    """Minimise loss(index, generator) over random batches; keeps a moving average of weights."""
    device = next(network.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
    average = copy.deepcopy(network)
    bar = tqdm(range(config.steps), desc=name, mininterval=10)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = rate * schedule(step / config.steps)
        index = torch.randint(n, (config.batch,), generator=generator, device=device)
        value = loss(index, generator)
        if not torch.isfinite(value):
            raise FloatingPointError(f"{name}: loss is {value.item()} at step {step}")
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        moving_average(average, network, min(0.998, (step + 1) / (step + 10)))
        if step % 100 == 0:
            bar.set_postfix_str(f"loss {value.item():.3f}", refresh=False)
            logger.info("%s step %d loss %.3f", name, step, value.item())
    network.load_state_dict(average.state_dict())
