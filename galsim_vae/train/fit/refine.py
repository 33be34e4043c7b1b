"""Latents of observed galaxies, better than the encoder's first guess."""

import torch
from torch import Tensor
from tqdm import tqdm

from galsim_vae.model import likelihood
from galsim_vae.model.vae import VAE

from .autoencoder import LoopConfig
from .batch import Batch

__all__ = ["refine"]


def refine(
    vae: VAE,
    batch: Batch,
    steps: int = 100,
    prior: float = LoopConfig.beta,
    learning_rate: float = 0.05,
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
    bar : str, optional
        Name of a bar to show.

    Returns
    -------
    tensor (n, latent)
    """
    weight = likelihood.inverse_variance(batch.noise, batch.noise_area, batch.mask)
    with torch.no_grad():
        mean, _ = vae.encode(batch.image, batch.otf, batch.noise, batch.mask)
    latent = mean.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([latent], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in tqdm(range(steps), bar, unit="step", disable=bar is None):
        model = likelihood.convolve(vae.decoder(latent), batch.otf)
        misfit = likelihood.half_chi_square(batch.image, model, weight)
        loss = (misfit + 0.5 * prior * latent.square().sum(1)).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return latent.detach()
