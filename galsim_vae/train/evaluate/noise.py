"""The noise of observed stamps: white, but for the share that a survey's own pixels correlate.

The power of that share is taken for an isotropic Gaussian, which drizzled and resampled noise
resembles: P(k) = exp(-width^2 k^2), with its correlation area P(0) over the mean of P.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erf
from torch import Tensor

__all__ = ["OWN", "add_noise", "correlation_width", "gaussian_share", "noise_power"]

#: Share of the variance that is correlated, where an area is given.
OWN = 0.25
_STEPS = 40  # of the bisection for the width


def add_noise(seen: Tensor, rms: Tensor, area: Tensor | None, generator: torch.Generator) -> Tensor:
    """Add noise to stamps.

    Parameters
    ----------
    seen : tensor (n, bands, size, size)
    rms : tensor (n, bands)
        Of the noise, per pixel.
    area : tensor (n, bands) or None
        Correlation area of the share `OWN` of it [pixel^2]; None is white noise.
    generator : torch.Generator

    Returns
    -------
    tensor (n, bands, size, size)
    """
    white = torch.randn(seen.shape, generator=generator)
    if area is None:
        return seen + rms[:, :, None, None] * white
    own = torch.randn(seen.shape, generator=generator)
    amplitude = _power(area, seen.shape[-1]).sqrt()
    own = torch.fft.irfft2(torch.fft.rfft2(own) * amplitude, s=seen.shape[-2:])
    return seen + rms[:, :, None, None] * ((1 - OWN) ** 0.5 * white + OWN**0.5 * own)


def noise_power(area: Tensor, size: int) -> Tensor:
    """Return the power of noise of variance 1, over that of white noise.

    Parameters
    ----------
    area : tensor (...)
        Correlation area of the share `OWN` [pixel^2].
    size : int
        Width of the stamps.

    Returns
    -------
    tensor (..., size, size // 2 + 1)
        As `torch.fft.rfft2` lays it out.
    """
    return 1 - OWN + OWN * _power(area, size)


def _power(area: Tensor, size: int) -> Tensor:
    """Power of the correlated share, whose mean over all waves is 1."""
    width = torch.from_numpy(correlation_width(area.numpy())).to(area)[..., None, None]
    ky, kx = torch.fft.fftfreq(size)[:, None], torch.fft.fftfreq(size)
    power = torch.exp(-((2 * torch.pi * width) ** 2) * (kx**2 + ky**2))
    power = power / power.mean((-2, -1), keepdim=True)
    return power[..., : size // 2 + 1]


def correlation_width(area: NDArray, stretch: NDArray | float = 1.0) -> NDArray:
    """Return the width [pixel] of the Gaussian power whose noise has a correlation area.

    Parameters
    ----------
    area : ndarray
        Correlation area [pixel^2]; less than 1 counts as 1, and what is not finite too.
    stretch : ndarray or float
        By which pixels are narrower along x and wider along y than those that the width is in.

    Returns
    -------
    ndarray
    """
    area = np.asarray(area, dtype=float)
    wanted = 1 / np.maximum(np.where(np.isfinite(area), area, 1.0), 1)
    low, high = np.zeros_like(wanted), np.full_like(wanted, 64.0)
    for _ in range(_STEPS):
        width = 0.5 * (low + high)
        more = gaussian_share(width / stretch) * gaussian_share(width * stretch) > wanted
        low, high = np.where(more, width, low), np.where(more, high, width)
    return 0.5 * (low + high)


def gaussian_share(width: NDArray, end: NDArray | float = 1.0) -> NDArray:
    """Return the integral of exp(-width^2 k^2) from -pi to pi times ``end``, over 2 pi.

    Parameters
    ----------
    width : ndarray
        Pixels.
    end : ndarray or float
        Where the integral ends.
    """
    width = np.maximum(width, 1e-6)
    return erf(np.pi * width * end) / (2 * np.sqrt(np.pi) * width)
