"""The likelihood of observed stamps given decoded, PSF-free ones."""

import math

import torch
from torch import Tensor

__all__ = [
    "convolve",
    "degrees_of_freedom",
    "fit_amplitude",
    "half_chi_square",
    "inverse_variance",
    "kl_divergence",
    "magnitude_error",
    "misfit",
    "sample_posterior",
]

_POGSON = 2.5 / math.log(10)  # magnitudes in a factor of e


def convolve(stamps: Tensor, otf: Tensor) -> Tensor:
    """Convolve PSF-free stamps with PSFs given in Fourier space.

    Parameters
    ----------
    stamps : tensor (n, bands, size, size)
    otf : tensor (n, bands, size, size // 2 + 1)
        `rfft2` of PSFs whose centre is at index [0, 0].

    Returns
    -------
    tensor (n, bands, size, size)
    """
    return torch.fft.irfft2(torch.fft.rfft2(stamps) * otf, s=stamps.shape[-2:])


def inverse_variance(noise: Tensor, noise_area: Tensor, mask: Tensor) -> Tensor:
    """Weight of every pixel, with correlated noise counted for what it tells.

    Resampled noise is correlated over `noise_area` pixels, so that many pixels carry the
    information of one; dividing their weight by the area gives the likelihood of structure larger
    than the correlation length its right width.

    Parameters
    ----------
    noise : tensor (n, bands)
        Rms per pixel.
    noise_area : tensor (n, bands)
        Sum of the noise correlation coefficients [pixel].
    mask : Tensor
        Bool tensor (n, bands, size, size).

    Returns
    -------
    tensor (n, bands, size, size)
    """
    weight = 1 / (noise.square() * noise_area).clamp(min=1e-20)
    return weight[:, :, None, None] * mask


def fit_amplitude(data: Tensor, model: Tensor, weight: Tensor) -> Tensor:
    """Best flux of each galaxy, one number for all its bands.

    Decoded stamps have unit flux in F814W; a galaxy that was not observed there, or whose
    magnitude is unknown, has no flux to be held to, so the flux is solved for.

    Returns
    -------
    tensor (n,), not negative
    """
    top = (weight * data * model).sum((1, 2, 3))
    return (top / (weight * model.square()).sum((1, 2, 3)).clamp(min=1e-20)).clamp(min=0)


def magnitude_error(
    data: Tensor, model: Tensor, weight: Tensor, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """Magnitude that the bands shown predict for a hidden one, less that observed.

    Parameters
    ----------
    data, model, weight : Tensor
        Tensors (n, bands, size, size), as for `fit_amplitude`; all bands.
    hidden : Tensor
        Bool tensor (n, bands), one band each.

    Returns
    -------
    magnitude : tensor (n,), positive if predicted too faint; without meaning if none is hidden.
    error : tensor (n,), its rms from the noise of the hidden band and of those shown.
    """
    band = hidden[:, :, None, None]
    variance = torch.zeros(len(data), device=data.device)
    fluxes = []
    for part in (weight * band, weight * ~band):
        flux = fit_amplitude(data, model, part).clamp(min=1e-9)
        signal_to_noise = flux * (part * model.square()).sum((1, 2, 3)).sqrt()
        variance = variance + 1 / signal_to_noise.clamp(min=1e-9).square()
        fluxes.append(flux)
    observed, expected = fluxes
    return _POGSON * torch.log(observed / expected), _POGSON * variance.sqrt()


def half_chi_square(data: Tensor, model: Tensor, weight: Tensor) -> Tensor:
    """Noise-weighted squared residual over two, at the best amplitude.

    Parameters
    ----------
    data, model : Tensor
        Tensors (n, bands, size, size); `model` is convolved already.
    weight : tensor (n, bands, size, size)
        From `inverse_variance`.

    Returns
    -------
    tensor (n,); its floor is half the number of pixels with weight.
    """
    amplitude = fit_amplitude(data, model, weight)
    residual = data - amplitude[:, None, None, None] * model
    return 0.5 * (weight * residual.square()).sum((1, 2, 3))


def degrees_of_freedom(noise_area: Tensor, mask: Tensor) -> Tensor:
    """Number of independent pixels of each galaxy, tensor (n,)."""
    return (mask.sum((2, 3)) / noise_area).sum(1).clamp(min=1.0)


def misfit(half_chi: Tensor, dof: Tensor) -> Tensor:
    """Negative log-likelihood when the noise is known up to one factor, at its best value.

    dof / 2 (ln(chi^2 / dof) + 1): equal to half chi-square, in value and slope, for a perfect
    model, but only logarithmic far from it, so that a few bright galaxies do not drown the rest
    (Rybkin et al. 2021, arXiv:2006.13202, section 3.1, the "optimal sigma").

    Parameters
    ----------
    half_chi : tensor (n,)
        From `half_chi_square`.
    dof : tensor (n,)
        From `degrees_of_freedom`.
    """
    return 0.5 * dof * (torch.log((2 * half_chi / dof).clamp(min=1e-3)) + 1)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, variance) from N(0, 1) [nat], tensor (n,).

    Kingma & Welling 2014 (arXiv:1312.6114), appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def sample_posterior(mean: Tensor, log_variance: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one latent vector for each posterior, tensor (n, latent)."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + noise * torch.exp(0.5 * log_variance)
