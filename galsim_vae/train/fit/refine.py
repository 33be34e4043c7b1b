"""Latents of observed galaxies, better than the encoder's first guess."""

import torch
from torch import Tensor
from tqdm import tqdm

from galsim_vae.model import likelihood
from galsim_vae.model.flow import CouplingFlow
from galsim_vae.model.vae import VAE

from .autoencoder import LoopConfig
from .batch import Batch

__all__ = ["refine"]

_WIDEST = 4.0  # standard deviations that a start may be from the mean


def refine(
    vae: VAE,
    batch: Batch,
    steps: int = 100,
    prior: float = LoopConfig.beta,
    learning_rate: float = 0.05,
    known: CouplingFlow | None = None,
    bar: str | None = None,
) -> Tensor:
    """Maximise the posterior of each galaxy's latent, starting from the encoder's mean.

    An encoder is one function for all galaxies and PSFs; what it misses of one galaxy is made up
    by following the gradient of that galaxy's own likelihood (Kim et al. 2018, arXiv:1802.02550,
    semi-amortised inference).

    Parameters
    ----------
    batch : Batch
        Observed galaxies in the canonical frame.
    steps : int
        Steps of Adam.
    prior : float
        Weight of the normal prior; that of the KL term in training.
    learning_rate : float
        Of Adam at the first step; it falls to zero at the last.
    known : CouplingFlow, optional
        The flow of the latents of known galaxies: the prior has their mean and covariance, and
        steps are along their principal axes, in units of the width. If absent it is standard.
    bar : str, optional
        Name of a bar to show.

    Returns
    -------
    tensor (n, latent)
    """
    weight = likelihood.inverse_variance(batch.noise, batch.noise_area, batch.mask)
    with torch.no_grad():
        mean, _ = vae.encode(batch.image, batch.otf, batch.noise, batch.mask)
    unit = mean.clone()
    if known is not None:
        # The axes of a flow need not be the principal ones, along which Adam's steps are best.
        turn = torch.linalg.svd(known.root).U
        # Along narrow axes a small error of the encoder is far out.
        unit = (known.standardise(mean) @ turn).clamp(-_WIDEST, _WIDEST)
    unit.requires_grad_(True)

    def latents() -> Tensor:
        return unit if known is None else known.restore(unit @ turn.T)

    optimizer = torch.optim.Adam([unit], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in tqdm(range(steps), bar, unit="step", disable=bar is None):
        model = likelihood.convolve(vae.decoder(latents()), batch.otf)
        misfit = likelihood.half_chi_square(batch.image, model, weight)
        loss = (misfit + 0.5 * prior * unit.square().sum(1)).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return latents().detach()
