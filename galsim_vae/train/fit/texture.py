"""Training of the texture, once autoencoder and flows are fixed.

Each step draws two textures for the latents of fresh synthetic galaxies and asks for the fair
score of both: it is least where draws are distributed as the true galaxies of like latents are
(Shen & Meinshausen 2024, arXiv:2307.00835; Alet et al. 2025, arXiv:2506.10772).
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from galsim_vae.model.texture import Texture, TexturedDecoder, texture_shape
from galsim_vae.model.vae import VAE
from galsim_vae.train.synthetic.galaxies import canonical_pixel_scale, fresh_galaxies

from . import constants, flow_constants, texture_constants, truth
from .autoencoder import Sources
from .checkpoint import RandomState, WorkFolder, digest
from .descent import Descent
from .observe import observe

__all__ = ["TextureTraining", "fair_score", "train"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextureTraining:
    """How the texture is trained.

    Attributes
    ----------
    steps, batch : int
        Of the optimiser.
    learning_rate : float
        Its peak.
    seed : int
        Of every random number.
    """

    steps: int = 4000
    batch: int = 32
    learning_rate: float = 2e-3
    seed: int = 3


def fair_score(first: Tensor, second: Tensor, true: Tensor) -> Tensor:
    """Return an unbiased estimate of the CRPS from two draws, elementwise.

    Its mean is least where draws are distributed as the truth (Gneiting & Raftery 2007, J. Am.
    Stat. Assoc. 102, 359, section 4.2; Ferro 2014, Q. J. R. Meteorol. Soc. 140, 1917).

    Parameters
    ----------
    first, second, true : tensor (...)
    """
    error = (first - true).abs() + (second - true).abs()
    return 0.5 * (error - (first - second).abs())


def losses(first: Tensor, second: Tensor, true: Tensor) -> Tensor:
    """Score of two draws (n, bands, size, size) for each galaxy: structure by scale, and power."""
    pixels = [_scales(stamps) for stamps in (first, second, true)]
    scores = [fair_score(*level).mean((1, 2, 3)) / level[2].std() for level in zip(*pixels, strict=True)]
    power = [truth.log_power(stamps) for stamps in (first, second, true)]
    score = fair_score(*power).mean((1, 2))
    return torch.stack(scores).sum(0) + texture_constants.TEXTURE_POWER * score


def _scales(stamps: Tensor) -> list[Tensor]:
    return truth.laplacian(truth.stretched(stamps))


def train(vae: VAE, sources: Sources, config: TextureTraining, folder: Path) -> Texture:
    """Train the texture of a VAE's decoder, or go on training.

    An interrupted run ends like one that was not (to the bit, on a CPU with the same number of
    threads).

    Parameters
    ----------
    vae : VAE
    sources : Sources
        On the device to train on.
    config : TextureTraining
    folder : Path
        Of the checkpoint, ``texture.ckpt``.

    Returns
    -------
    Texture

    Raises
    ------
    galsim.GalSimValueError
        The checkpoint is of other settings, or of another VAE.
    FloatingPointError
        The loss is not finite.
    """
    vae = vae.eval().requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        texture = Texture(vae.config).to(sources.device)
    decoder = TexturedDecoder(vae.decoder, texture)
    generator = torch.Generator(sources.device).manual_seed(config.seed)
    optimizer = torch.optim.AdamW(texture.parameters(), lr=config.learning_rate, weight_decay=1e-4)
    descent = Descent(
        texture, optimizer, name="texture", rate=config.learning_rate, steps=config.steps,
        clip=texture_constants.TEXTURE_GRADIENT_CLIP, decay=texture_constants.TEXTURE_AVERAGE,
    )  # fmt: skip
    settings = {
        "vae": {"weights": digest(vae.state_dict())},
        "texture_training": asdict(config),
        "texture_constants": texture_constants.recorded(),
    }
    work = WorkFolder(folder, settings | sources.settings())
    checkpoint = work.checkpoint(
        "texture", network=texture, average=descent.average, optimizer=optimizer,
        generator=RandomState(generator),
    )  # fmt: skip
    bar = checkpoint.steps(config.steps, "texture")
    for step in bar:
        with torch.autocast(generator.device.type, torch.bfloat16):
            latent, true = _galaxies(vae, sources, config.batch, generator)
            first, second = (decoder(latent, _noise(vae, latent, generator)) for _ in range(2))
            value = losses(first, second, true).mean()
        descent.step(step, value)
        if step % 100 == 0:
            bar.set_postfix_str(f"loss {value.item():.3f}", refresh=False)
            logger.info("texture step %d loss %.3f", step, value.item())
    return descent.average.eval().requires_grad_(False)


def _noise(vae: VAE, latent: Tensor, generator: torch.Generator) -> Tensor:
    shape = (len(latent), *texture_shape(vae.config))
    return torch.randn(shape, generator=generator, device=generator.device)


@torch.no_grad()
def _galaxies(
    vae: VAE, sources: Sources, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Make synthetic galaxies and their latents, as the flow's training sees them."""
    conditions, stamps = fresh_galaxies(n, sources.colours, generator, frame=sources.frame)
    scale, taken = canonical_pixel_scale(conditions), sources.frame.shear(conditions[:, 2])
    level = scale.new_full((n,), flow_constants.ENCODED_SIGNAL_TO_NOISE)
    sharp = scale.new_full((n,), constants.SHARPEST)
    batch = observe(stamps, scale, sources.psfs, generator, level, True, sharp, taken)
    mean, log_variance = vae.encoder(batch.image, batch.otf, batch.noise, batch.mask)
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    return mean + noise * torch.exp(0.5 * log_variance), stamps
