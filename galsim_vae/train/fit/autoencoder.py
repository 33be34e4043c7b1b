"""The training loop of the VAE: resumable, on fresh synthetic galaxies mixed with real ones."""

import copy
import logging
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from galsim_vae.files import write_whole
from galsim_vae.model.vae import VAE, VAEConfig
from galsim_vae.train.synthetic.colours import ColourTable
from galsim_vae.train.synthetic.galaxies import canonical_pixel_scale, fresh_galaxies

from . import likelihood, truth
from .observe import Batch, PSFTable, RealGalaxies, join, observe

__all__ = [
    "LoopConfig",
    "Sources",
    "Watcher",
    "draw_batch",
    "hide_band",
    "losses",
    "moving_average",
    "schedule",
    "train",
]

logger = logging.getLogger(__name__)

GRADIENT_CLIP = 1.0
# Probability that a band is hidden, which the encoder must then predict: of real galaxies more
# often, as the colours of synthetic ones are not quite theirs.
_HIDE_SYNTHETIC, _HIDE_REAL = 0.1, 0.6


@dataclass(frozen=True)
class LoopConfig:
    """How long and how the VAE is trained.

    Attributes
    ----------
    steps : number of optimiser steps.
    batch : synthetic galaxies a step.
    real : real galaxies a step.
    beta : final weight of the KL term; it rises over the first tenth of the steps, unless a
        trained network is the start.
    learning_rate : peak of the schedule (linear warm-up over 2 %, cosine decay to 1 %).
    average : decay of the moving average of the weights that is kept.
    seed : of the network's start and of every random number in training.
    power, colour, size : weights of the misfits of synthetic galaxies' power spectra, colours and
        sizes; see `galsim_vae.train.fit.truth`.
    hidden : weight of the error of the magnitude that is predicted for a hidden band.
    psf : compare with the data through each galaxy's PSF; False only to show what it is for.
    """

    steps: int = 20_000
    batch: int = 24
    real: int = 16
    beta: float = 0.15
    learning_rate: float = 1e-3
    average: float = 0.999
    seed: int = 1
    power: float = 2000.0
    colour: float = 100.0
    size: float = 10.0
    hidden: float = 2000.0
    psf: bool = True


class Watcher(Protocol):
    """Whoever looks at a run while it goes on; see `galsim_vae.train.fit.monitor.Monitor`."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Take the numbers of a step."""
        ...

    def sheet(self, model: VAE) -> None:
        """Look at the averaged network."""
        ...


@dataclass
class Sources:
    """What galaxies are drawn from: SED colours, PSF models and, if any, real galaxies."""

    colours: ColourTable
    psfs: PSFTable
    real: RealGalaxies | None = None


def draw_batch(
    config: LoopConfig, sources: Sources, generator: torch.Generator
) -> tuple[Batch, Tensor]:
    """Make the galaxies of one step, the synthetic ones first, and these without PSF and noise."""
    conditions, stamps = fresh_galaxies(config.batch, sources.colours, generator)
    batch = observe(stamps, canonical_pixel_scale(conditions), sources.psfs, generator)
    if sources.real is not None and config.real > 0:
        device = generator.device
        index = torch.randint(len(sources.real), (config.real,), generator=generator, device=device)
        batch = join(batch, sources.real.batch(index, generator, exchange=True))
    if not config.psf:
        batch = batch._replace(otf=torch.ones_like(batch.otf))
    return batch, stamps


def hide_band(mask: Tensor, synthetic: int, generator: torch.Generator) -> Tensor:
    """Hide one observed band of some galaxies, never their only one.

    Parameters
    ----------
    mask : bool tensor (n, bands, size, size), True where a pixel was observed and is clean.
    synthetic : number of synthetic galaxies, which come first.
    """

    def rand(*shape):
        return torch.rand(shape, generator=generator, device=generator.device)

    observed = mask.flatten(2).any(2)
    band = torch.where(observed, rand(*observed.shape), -1.0).argmax(1)
    galaxy = torch.arange(len(mask), device=mask.device)
    chance = torch.where(galaxy < synthetic, _HIDE_SYNTHETIC, _HIDE_REAL)
    hide = (rand(len(mask)) < chance) & (observed.sum(1) > 1)
    shown = torch.ones_like(observed)
    shown[galaxy, band] = ~hide
    return mask & shown[:, :, None, None]


def losses(
    model: VAE, batch: Batch, true: Tensor, config: LoopConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean loss [nat a galaxy]; KL divergence [nat] and reduced chi-square of each galaxy, (n,).

    Parameters
    ----------
    batch : observed galaxies, the synthetic ones first.
    true : tensor (m <= n, bands, size, size), the synthetic ones without PSF and noise.
    """
    m = len(true)
    shown = hide_band(batch.mask, m, generator)
    mean, log_variance = model.encoder(batch.image, batch.psf_width, batch.noise, shown)
    stamps = model.decoder(likelihood.sample_posterior(mean, log_variance, generator))
    # Of a hidden band the magnitude counts, of every galaxy as much: in the likelihood a few bright
    # ones would rule what is learnt of everyone's colours.
    weight = likelihood.inverse_variance(batch.noise, batch.noise_area, shown)
    model_image = likelihood.convolve(stamps, batch.otf)
    half_chi = likelihood.half_chi_square(batch.image, model_image, weight)
    dof = likelihood.degrees_of_freedom(batch.noise_area, shown)
    kl = likelihood.kl_divergence(mean, log_variance)
    observed = shown[:m].flatten(2).any(2)
    power = truth.power_misfit(stamps[:m], true).sum()
    colour = truth.colour_misfit(stamps[:m], true, batch.noise[:m], observed).sum()
    loss = (likelihood.misfit(half_chi, dof) + config.beta * kl).sum()
    loss = loss + config.power * power + config.colour * colour
    loss = loss + config.size * truth.size_misfit(stamps[:m], true).sum()
    loss = loss + config.hidden * _hidden_misfit(batch, model_image, shown)
    return loss / len(kl), kl.detach(), (2 * half_chi / dof).detach()


def _hidden_misfit(batch: Batch, model: Tensor, shown: Tensor) -> Tensor:
    """Sum of the errors of predicted magnitudes that noise lets be known to `likelihood.KNOWN`.

    The distance itself and not its square, so that the median is learnt: a galaxy's colour may be
    far from what its others tell.
    """
    hidden = (batch.mask & ~shown).flatten(2).any(2)
    weight = likelihood.inverse_variance(batch.noise, batch.noise_area, batch.mask)
    magnitude, error = likelihood.magnitude_error(batch.image, model, weight, hidden)
    counts = hidden.any(1) & (error.detach() < likelihood.KNOWN)
    return torch.where(counts, magnitude, 0.0).abs().sum()


def train(
    vae_config: VAEConfig,
    config: LoopConfig,
    sources: Sources,
    checkpoint: Path,
    save_every: int = 250,
    watch: Watcher | None = None,
    start: VAE | None = None,
) -> VAE:
    """Train, or go on training from `checkpoint`, and return the averaged network.

    A network to `start` from is trained further, with the whole weight of the KL term from the
    first step. The random state is part of the checkpoint, so an interrupted run ends like one
    that was not (to the bit, on a CPU with the same number of threads).

    Raises
    ------
    ValueError : the checkpoint is of other sizes or settings, or past the last step.
    FloatingPointError : the loss is not finite.
    """
    device = sources.psfs.k.device
    torch.manual_seed(config.seed)
    model = VAE(vae_config).to(device)
    if start is not None:
        model.load_state_dict(start.state_dict())
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=1e-3,
        fused=True,
    )  # fmt: skip
    generator = torch.Generator(device).manual_seed(config.seed)
    settings = {"vae": vae_config.to_dict(), "training": asdict(config)}
    first = 0
    if checkpoint.exists():
        first = _load(checkpoint, settings, model, average, optimizer, generator)
        logger.info("going on from step %d of %s", first, checkpoint)
    bar = tqdm(range(first, config.steps), initial=first, total=config.steps, mininterval=10)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(step / config.steps)
        batch, true = draw_batch(config, sources, generator)
        rise = 1.0 if start is not None else min(1.0, 0.1 + 10 * step / config.steps)
        risen = replace(config, beta=config.beta * rise)
        with torch.autocast(device.type, torch.bfloat16):
            loss, kl, reduced = losses(model, batch, true, risen, generator)
        loss = loss / 1000
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss is {loss.item()} at step {step}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
        optimizer.step()
        moving_average(average, model, min(config.average, (step + 1) / (step + 10)))
        if step % 50 == 0:
            _report(bar, step, _numbers(loss, kl, reduced, config.batch), watch)
        if (step + 1) % save_every == 0 or step + 1 == config.steps:
            _save(checkpoint, settings, step + 1, model, average, optimizer, generator)
            if watch is not None:
                watch.sheet(average)
    return average


def schedule(progress: float) -> float:
    """Learning rate relative to its peak after a share of the steps."""
    if progress < 0.02:
        return (progress + 1e-4) / 0.02
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - 0.02) / 0.98))


def _numbers(loss: Tensor, kl: Tensor, reduced: Tensor, synthetic_count: int) -> dict[str, float]:
    numbers = {
        "loss": loss.item(),
        "KL": kl.mean().item(),
        "chi2/dof synthetic": reduced[:synthetic_count].median().item(),
    }
    if len(reduced) > synthetic_count:
        numbers["chi2/dof real"] = reduced[synthetic_count:].median().item()
    return numbers


def _report(bar, step: int, numbers: dict[str, float], watch: Watcher | None) -> None:
    text = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
    bar.set_postfix_str(text, refresh=False)
    if watch is not None:
        watch.scalars(step, numbers)
    if step % 250 == 0:
        logger.info("step %d %s", step, text)


@torch.no_grad()
def moving_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move every parameter of `average` towards that of `model` by 1 - decay."""
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


def _save(path: Path, settings: dict, step: int, model, average, optimizer, generator) -> None:
    state = {
        "settings": settings,
        "step": step,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
    }
    write_whole(path, lambda temporary: torch.save(state, temporary))


def _load(path: Path, settings: dict, model, average, optimizer, generator) -> int:
    state = torch.load(path, weights_only=True, map_location="cpu")
    for section, values in settings.items():
        for name, value in values.items():
            other = state["settings"][section].get(name)
            if other != value:
                raise ValueError(
                    f"{path} was made with {section}.{name} = {other}, not {value}: "
                    "restore the recipe, or give another work folder"
                )
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    generator.set_state(state["generator"])
    return state["step"]
