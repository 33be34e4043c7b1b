"""The training loop of the VAE: resumable, on fresh synthetic galaxies mixed with real ones."""

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from galsim_vae.devices import half_precision
from galsim_vae.frame.frames import DEFAULT, Frame
from galsim_vae.model import likelihood
from galsim_vae.model.vae import VAE, VAEConfig
from galsim_vae.train.synthetic.colours import ColourTable
from galsim_vae.train.synthetic.galaxies import (
    canonical_pixel_scale,
    fresh_conditions,
    fresh_galaxies,
    sample,
)

from . import constants, truth
from .batch import Batch, join
from .checkpoint import Checkpoint, RandomState, digest
from .descent import Descent, paced
from .observe import RadialPSFTable, observe
from .posed import any_pose, matrix
from .real import RealGalaxies

__all__ = [
    "LoopConfig",
    "Losses",
    "Sources",
    "Watcher",
    "beginning",
    "draw_batch",
    "hidden_misfit",
    "hide_band",
    "losses",
    "train",
    "trained",
]

logger = logging.getLogger(__name__)

_PART = 64  # galaxies made at a time


@dataclass(frozen=True)
class LoopConfig:
    """How long and how the VAE is trained.

    Attributes
    ----------
    steps : int
        Number of optimiser steps.
    batch : int
        Synthetic galaxies a step.
    real : int
        Real galaxies a step.
    beta : float
        Weight of the KL term; it rises over the first tenth of the steps, unless a trained network
        is the start.
    last_beta : float
        What that weight falls to, exponentially, in the second half of the steps.
    learning_rate : float
        Peak of the schedule (linear warm-up over 2 %, cosine decay to 1 %).
    average : float
        Decay of the moving average of the weights that is kept.
    seed : int
        Of the network's start and of every random number in training.
    power, colour, size, structure : float
        Weights of the misfits of synthetic galaxies' power spectra, colours, sizes and structure;
        see `galsim_vae.train.fit.truth`.
    hidden : float
        Weight of the error of the magnitude that is predicted for a hidden band.
    """

    steps: int = 20_000
    batch: int = 24
    real: int = 16
    beta: float = 0.15
    last_beta: float = 0.15
    learning_rate: float = 4e-4
    average: float = 0.999
    seed: int = 1
    power: float = 2000.0
    colour: float = 100.0
    size: float = 10.0
    structure: float = 2500.0
    hidden: float = 2000.0


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
    """What galaxies are drawn from: SED colours, PSF models and, if any, real galaxies.

    All are in one canonical frame.
    """

    colours: ColourTable
    psfs: RadialPSFTable
    real: RealGalaxies | None = None
    frame: Frame = DEFAULT

    @property
    def device(self) -> torch.device:
        """Where galaxies are made."""
        return self.psfs.k.device

    def settings(self) -> dict[str, Any]:
        """Return what a checkpoint's result depends on beside configurations."""
        data = None if self.real is None else self.real.digest()
        facts = {"real": data, "device": self.device.type, "frame": self.frame.name}
        return {"data": facts,
                "constants": constants.recorded()}  # fmt: skip


def draw_batch(
    config: LoopConfig, sources: Sources, generator: torch.Generator
) -> tuple[Batch, Tensor]:
    """Make the galaxies of one step, the synthetic ones first, and these without PSF and noise."""
    frame = sources.frame
    conditions = fresh_conditions(config.batch, generator)
    lies = matrix(any_pose(conditions[:, 2], generator))
    made = sample(
        conditions, generator, sources.colours, frame=frame, device=generator.device, lies=lies
    )
    stamps = made.stamps
    scale, taken = canonical_pixel_scale(conditions), frame.shear(conditions[:, 2])
    batch = observe(stamps, scale, sources.psfs, generator, frame_g=taken, lies=lies)
    if sources.real is not None and config.real > 0:
        device = generator.device
        index = torch.randint(len(sources.real), (config.real,), generator=generator, device=device)
        real = sources.real.batch(index, generator, exchange=True, any_turn=True)
        batch = join(batch, real)
    return batch, stamps


def hide_band(mask: Tensor, synthetic: int, generator: torch.Generator) -> Tensor:
    """Hide one observed band of some galaxies, never their only one.

    Parameters
    ----------
    mask : Tensor
        Bool tensor (n, bands, size, size), True where a pixel was observed and is clean.
    synthetic : int
        Number of synthetic galaxies, which come first.
    """

    def rand(*shape):
        return torch.rand(shape, generator=generator, device=generator.device)

    observed = mask.flatten(2).any(2)
    band = torch.where(observed, rand(*observed.shape), -1.0).argmax(1)
    galaxy = torch.arange(len(mask), device=mask.device)
    chance = torch.where(galaxy < synthetic, constants.HIDE_SYNTHETIC, constants.HIDE_REAL)
    hide = (rand(len(mask)) < chance) & (observed.sum(1) > 1)
    shown = torch.ones_like(observed)
    shown[galaxy, band] = ~hide
    return mask & shown[:, :, None, None]


class Losses(NamedTuple):
    """What a step's galaxies cost.

    Attributes
    ----------
    loss : tensor ()
        Mean over galaxies [nat].
    kl : tensor (n,)
        KL divergence of each [nat].
    reduced : tensor (n,)
        Reduced chi-square of each.
    """

    loss: Tensor
    kl: Tensor
    reduced: Tensor


def losses(
    model: VAE, batch: Batch, true: Tensor, config: LoopConfig, generator: torch.Generator
) -> Losses:
    """Encode and decode galaxies and weigh all that is asked of the result.

    Parameters
    ----------
    model : VAE
    batch : Batch
        Observed galaxies, the synthetic ones first.
    true : Tensor
        (m <= n, bands, size, size). The synthetic ones without PSF and noise.
    config : LoopConfig
    generator : torch.Generator

    Returns
    -------
    Losses
    """
    shown = hide_band(batch.mask, len(true), generator)
    mean, log_variance = model.infer(batch.image, batch.otf, batch.noise, shown)
    stamps = model.decoder(likelihood.sample_posterior(mean, log_variance, generator))
    # Of a hidden band the magnitude counts, of every galaxy as much: in the likelihood a few bright
    # ones would rule what is learnt of everyone's colours.
    weight = likelihood.inverse_variance(batch.noise, batch.noise_area, shown)
    model_image = likelihood.convolve(stamps, batch.otf)
    half_chi = likelihood.half_chi_square(batch.image, model_image, weight)
    dof = likelihood.degrees_of_freedom(batch.noise_area, shown)
    kl = likelihood.kl_divergence(mean, log_variance)
    loss = (likelihood.misfit(half_chi, dof) + config.beta * kl).sum()
    loss = loss + _truth_misfit(stamps, true, batch.noise, shown, config)
    loss = loss + config.hidden * hidden_misfit(batch, model_image, shown)
    return Losses(loss / len(kl), kl.detach(), (2 * half_chi / dof).detach())


def _truth_misfit(
    stamps: Tensor, true: Tensor, noise: Tensor, shown: Tensor, config: LoopConfig
) -> Tensor:
    """Sum of what is known of the synthetic galaxies beside their pixels, weighted."""
    m = len(true)
    observed = shown[:m].flatten(2).any(2)
    power = truth.power_misfit(stamps[:m], true).sum()
    colour = truth.colour_misfit(stamps[:m], true, noise[:m], observed).sum()
    size = truth.size_misfit(stamps[:m], true).sum()
    structure = truth.structure_misfit(stamps[:m], true).sum()
    return (
        config.power * power
        + config.colour * colour
        + config.size * size
        + config.structure * structure
    )


def hidden_misfit(batch: Batch, model: Tensor, shown: Tensor) -> Tensor:
    """Sum of the errors of predicted magnitudes that noise lets be known to `constants.KNOWN`.

    The distance itself and not its square, so that the median is learnt: a galaxy's colour may be
    far from what its others tell.

    Parameters
    ----------
    batch : Batch
    model : tensor (n, bands, size, size)
        Decoded and convolved.
    shown : bool tensor (n, bands, size, size)
        What the encoder saw of `batch.mask`.

    Returns
    -------
    tensor ()
    """
    hidden = (batch.mask & ~shown).flatten(2).any(2)
    weight = likelihood.inverse_variance(batch.noise, batch.noise_area, batch.mask)
    magnitude, error = likelihood.magnitude_error(batch.image, model, weight, hidden)
    counts = hidden.any(1) & (error.detach() < constants.KNOWN)
    return torch.where(counts, magnitude, 0.0).abs().sum()


def train(
    vae_config: VAEConfig,
    config: LoopConfig,
    sources: Sources,
    work: Path,
    watch: Watcher | None = None,
    start: VAE | None = None,
) -> VAE:
    """Train, or go on training, and return the averaged network.

    An interrupted run ends like one that was not (to the bit, on a CPU with the same number of
    threads).

    Parameters
    ----------
    vae_config : VAEConfig
    config : LoopConfig
    sources : Sources
        On the device to train on.
    work : Path
        Folder of the checkpoint, ``vae.ckpt``.
    watch : Watcher, optional
    start : VAE, optional
        A network that is trained further, with the whole weight of the KL term from the first
        step.

    Returns
    -------
    VAE

    Raises
    ------
    galsim.GalSimValueError
        The checkpoint is of other settings.
    FloatingPointError
        The loss is not finite.
    """
    model = beginning(vae_config, config.seed, sources, start)
    model.lent.requires_grad_(False)  # trained by itself, afterwards
    optimizer = torch.optim.AdamW(
        paced(model, [part.straight for part in (model.encoder, model.look, model.decoder)]),
        lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=1e-3, fused=True,
    )  # fmt: skip
    descent = Descent(
        model, optimizer, name="autoencoder", rate=config.learning_rate, steps=config.steps,
        clip=constants.GRADIENT_CLIP, decay=config.average,
    )  # fmt: skip
    generator = torch.Generator(sources.device).manual_seed(config.seed)
    began = None if start is None else digest(start.state_dict())
    settings = {"vae": vae_config.to_dict(), "training": asdict(config) | {"start": began}}
    parts = {"model": model, "average": descent.average, "optimizer": optimizer,
             "generator": RandomState(generator)}  # fmt: skip
    checkpoint = Checkpoint(
        work / "vae.ckpt", settings | sources.settings(), parts,
        None if watch is None else lambda: watch.sheet(descent.average),
    )  # fmt: skip
    bar = checkpoint.steps(config.steps, "autoencoder")
    for step in bar:
        risen = replace(config, beta=_beta(config, step / config.steps, start is not None))
        found = _losses_of_step(model, risen, sources, generator)
        descent.step(step, found.loss)
        if step % 50 == 0:
            _report(bar, step, _numbers(found, config.batch), watch)
    return descent.average


def trained(vae: VAE) -> str:
    """Return digests of what `train` trains of a network."""
    parts = (vae.encoder, vae.look, vae.decoder)
    return " ".join(digest(part.state_dict()) for part in parts)


def beginning(config: VAEConfig, seed: int, sources: Sources, start: VAE | None) -> VAE:
    """Make a network that begins with principal components, or a copy of `start`.

    Parameters
    ----------
    config : VAEConfig
    seed : int
        Of its random weights and of the galaxies whose components these are.
    sources : Sources
        What these galaxies are drawn from; the network is made on their device.
    start : VAE, optional

    Returns
    -------
    VAE
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VAE(config).to(sources.device)
    if start is not None:
        model.load_state_dict(start.state_dict())
        return model
    generator = torch.Generator(sources.device).manual_seed(seed)
    parts = [
        fresh_galaxies(_PART, sources.colours, generator, frame=sources.frame)[1]
        for _ in range(-(-constants.COMPONENT_GALAXIES * config.latent // _PART))
    ]
    model.begin_with_components(torch.cat([part[:, config.reference] for part in parts]))
    return model


def _losses_of_step(
    model: VAE, config: LoopConfig, sources: Sources, generator: torch.Generator
) -> Losses:
    """What fresh galaxies cost; the loss over `constants.LOSS_UNIT`."""
    batch, true = draw_batch(config, sources, generator)
    with half_precision(generator.device):
        found = losses(model, batch, true, config, generator)
    return found._replace(loss=found.loss / constants.LOSS_UNIT)


def _beta(config: LoopConfig, progress: float, trained: bool) -> float:
    """Weight of the KL term after a share of the steps."""
    rise = 1.0 if trained else min(1.0, 0.1 + 10 * progress)
    fall = (config.last_beta / config.beta) ** max(0.0, 2 * progress - 1)
    return config.beta * rise * fall


def _numbers(found: Losses, synthetic_count: int) -> dict[str, float]:
    numbers = {
        "loss": found.loss.item(),
        "KL": found.kl.mean().item(),
        "chi2/dof synthetic": found.reduced[:synthetic_count].median().item(),
    }
    if len(found.reduced) > synthetic_count:
        numbers["chi2/dof real"] = found.reduced[synthetic_count:].median().item()
    return numbers


def _report(bar: tqdm, step: int, numbers: dict[str, float], watch: Watcher | None) -> None:
    text = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
    bar.set_postfix_str(text, refresh=False)
    if watch is not None:
        watch.scalars(step, numbers)
    if step % 250 == 0:
        logger.info("step %d %s", step, text)
