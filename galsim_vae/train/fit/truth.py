"""What is known of a synthetic galaxy beside its image: true structure, power, colours and size.

Where the data do not say at which place there is structure, the mean of all that is possible is the
best answer to the likelihood of pixels: too smooth a galaxy. That there is structure, and how much,
is known; a network that is asked for it as well puts it somewhere. And colours and sizes, a few
numbers beside thousands of pixels, weigh little in that likelihood until all structure is right.
Arms outside the bright centre are below the noise of most images, and their truth is not.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from galsim_vae.bands import BANDS, REFERENCE
from galsim_vae.model.rings import ring_means
from galsim_vae.shapes import elliptical_radius, measure

from . import constants

__all__ = ["colour_misfit", "power_misfit", "size_misfit", "structure_misfit"]

# Middle and neighbours of the pyramid's lowpass filter along each axis.
_INNER, _OUTER = 0.5, 0.25


def structure_misfit(stamps: Tensor, truth: Tensor) -> Tensor:
    """Logarithm of the mean squared difference of structure, sum over the scales of a pyramid.

    Bands of unit flux are stretched by asinh, so that it is relative brightness that counts, down
    to `constants.FAINT`, and split by scale (Burt & Adelson 1983, IEEE Trans. Commun. 31, 532).
    The logarithm asks as much of scales and of galaxies on which there is little structure.

    Parameters
    ----------
    stamps, truth : Tensor
        Tensors (n, bands, size, size), decoded and true, without PSF and noise.

    Returns
    -------
    tensor (n,)
    """
    with torch.autocast(stamps.device.type, enabled=False):
        difference = _stretched(stamps.float()) - _stretched(truth.float())
        square = [level.square().mean((1, 2, 3)) for level in _laplacian(difference)]
        return torch.log(torch.stack(square) + constants.STRUCTURE_FLOOR**2).sum(0)


def _stretched(stamps: Tensor) -> Tensor:
    return torch.asinh(stamps / (constants.FAINT * stamps.sum((2, 3), keepdim=True)))


def _laplacian(images: Tensor) -> list[Tensor]:
    """Parts of images (n, bands, size, size) on scales of 1, 2 and 4 pixels, each at its size."""
    levels = []
    for _ in range(constants.STRUCTURE_LEVELS):
        half = F.avg_pool2d(_blurred(images), 2)
        levels.append(images - F.interpolate(half, scale_factor=2, mode="bilinear"))
        images = half
    return levels


def _blurred(images: Tensor) -> Tensor:
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = _OUTER * (padded[..., :-2] + padded[..., 2:]) + _INNER * padded[..., 1:-1]
    return _OUTER * (rows[..., :-2, :] + rows[..., 2:, :]) + _INNER * rows[..., 1:-1, :]


def power_misfit(stamps: Tensor, truth: Tensor) -> Tensor:
    """Squared difference of the logarithms of the power in each ring, mean over rings and bands.

    Parameters
    ----------
    stamps, truth : Tensor
        Tensors (n, bands, size, size), decoded and true, without PSF and noise.

    Returns
    -------
    tensor (n,)
    """
    return (_log_power(stamps) - _log_power(truth)).square().mean((1, 2))


def colour_misfit(stamps: Tensor, truth: Tensor, noise: Tensor, observed: Tensor) -> Tensor:
    """Difference of the logarithms of each band's flux, in units of what it can be known to.

    Squared where small, the distance itself (pseudo-Huber) where large.

    Parameters
    ----------
    stamps, truth : Tensor
        Tensors (n, bands, size, size), decoded and true, without PSF and noise.
    noise : tensor (n, bands)
        Rms per pixel of the image that was encoded.
    observed : Tensor
        Bool tensor (n, bands); other bands do not count.

    Returns
    -------
    tensor (n,), sum over bands
    """
    true = truth.sum((2, 3))
    variance = constants.FLUX_FLOOR**2 + (constants.FLUX_NOISE * noise / true).square()
    error = torch.log(stamps.sum((2, 3)) / true).square() / variance
    return (_pseudo_huber(error) * observed).sum(1)


def size_misfit(stamps: Tensor, truth: Tensor) -> Tensor:
    """Errors of a galaxy's adaptive size and of its flux in the true half-light ellipse.

    Both are weighted means of the F814W stamp, with the true galaxy's weights; in units of about
    1 % of the adaptive size and 0.5 % of the half-light radius, the sum of what `colour_misfit`
    makes of errors.

    Parameters
    ----------
    stamps, truth : Tensor
        Tensors (n, bands, size, size), decoded and true, without PSF and noise.

    Returns
    -------
    tensor (n,); 0 where the true galaxy cannot be measured.
    """
    with torch.autocast(stamps.device.type, enabled=False):  # moments need full precision
        image, true = (values[:, BANDS.index(REFERENCE)].float() for values in (stamps, truth))
        return _size_misfit(image, true)


def _size_misfit(image: Tensor, true: Tensor) -> Tensor:
    with torch.no_grad():
        moments, radius, good = measure(true)
        distance = elliptical_radius(true, moments)
        # Moments may settle on a single bright pixel, outside of whose weight there is nothing.
        good = good & (moments.sigma > constants.LEAST_SIGMA) & radius.isfinite()
        good = good & distance.isfinite().all(2).all(1)
        distance = torch.where(good[:, None, None], distance, 1.0)
        sigma = torch.where(good, moments.sigma, 1.0)
        moment = (distance / sigma[:, None, None]).square()
        weight = torch.exp(-0.5 * moment)
        inside = torch.sigmoid(
            (radius.nan_to_num()[:, None, None] - distance) / constants.SOFT_EDGE
        )

    def measured(values: Tensor) -> tuple[Tensor, Tensor]:
        weighted = weight * values
        second = (weighted * moment).sum((1, 2)) / weighted.sum((1, 2))
        half = (inside * values).sum((1, 2)) / values.sum((1, 2))
        return second / constants.MOMENT_FLOOR, half / constants.HALF_FLOOR

    errors = torch.stack(measured(image)) - torch.stack(measured(true))
    return _pseudo_huber(torch.where(good, errors, 0.0).square()).sum(0)


def _pseudo_huber(square: Tensor) -> Tensor:
    """Half of `square`, the square of an error, where small; the error itself where large."""
    return (1 + square).sqrt() - 1


def _log_power(stamps: Tensor) -> Tensor:
    """Logarithm of the mean power of stamps of unit flux in each ring, (n, bands, rings).

    Under a window: a galaxy cut off at the stamp's ends has power there that is not its own.
    """
    unit = _window(stamps) * stamps / stamps.sum((2, 3), keepdim=True)
    power = torch.fft.rfft2(unit).abs().square()
    first, last = constants.RINGS
    with torch.autocast(stamps.device.type, enabled=False):  # powers span eight decades
        return torch.log(ring_means(power, range(first, last + 1)) + constants.POWER_FLOOR)


def _window(stamps: Tensor) -> Tensor:
    """1 in the inner half of a stamp, falling nearly to zero at its ends as a squared cosine."""
    size = stamps.shape[-1]
    axis = (torch.arange(size, device=stamps.device, dtype=stamps.dtype) - (size - 1) / 2).abs()
    window = torch.cos(torch.pi * (2 * axis / size - 0.5).clamp(min=0)).square()
    return window[:, None] * window
