"""GalSim's models of noise for whole batches: a function of (seed, galaxy, band, pixel) alone."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import galsim
import numpy as np
import torch
from galsim.errors import GalSimIncompatibleValuesError, GalSimValueError
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae.deviates import checked_noise_seed, draw_seed
from galsim_vae.filters.names import canonical_name

from . import pixelnoise

__all__ = ["MODELS", "Noise", "add_noise", "amplitude", "make_noise"]

#: What can be added.
MODELS = ("GaussianNoise", "PoissonNoise", "CCDNoise", "BaseCorrelatedNoise")
# What is below this of the variance is no correlation.
_UNCORRELATED = 1e-5
# A correlation that is longer than this many images is cut.
_WIDEST = 16


class Noise(NamedTuple):
    """Noise of the pixels.

    Attributes
    ----------
    model : galsim.GaussianNoise, PoissonNoise, CCDNoise or BaseCorrelatedNoise
        Its settings are in counts.
    seed : int
        Of the whole set.
    streams : list of int
        One a drawn band.
    amplitude : ndarray (ny', nx' // 2 + 1) or None
        Of correlated noise, see `amplitude`.
    """

    model: galsim.BaseNoise | galsim.BaseCorrelatedNoise
    seed: int
    streams: list[int]
    amplitude: NDArray | None


def make_noise(
    noise: galsim.BaseNoise | galsim.BaseCorrelatedNoise | None,
    seed: int | galsim.BaseDeviate | None,
    bands: list[str | galsim.Bandpass],
    shape: tuple[int, int],
    wcs: galsim.BaseWCS,
    differentiable: bool = False,
) -> Noise | None:
    """Return the noise, if there is any.

    Parameters
    ----------
    noise : galsim.BaseNoise or galsim.BaseCorrelatedNoise, optional
        As in `galsim_vae.render.render`.
    seed : int or galsim.BaseDeviate, optional
        As there.
    bands : list of str or galsim.Bandpass
        To be drawn.
    shape : tuple of (int, int)
        (ny, nx) of the images.
    wcs : galsim.BaseWCS
        Of the images, a local one.
    differentiable : bool
        Whether the images are to have gradients.

    Raises
    ------
    galsim.GalSimValueError
        Noise of another kind than `MODELS`; a seed that is not a whole number.
    galsim.GalSimRangeError
        A seed that is not from 0 to 2^64 - 1.
    galsim.GalSimIncompatibleValuesError
        Noise without a seed; noise that has no gradient where there is to be one.
    """
    if noise is None:
        return None
    if not isinstance(noise, tuple(getattr(galsim, name) for name in MODELS)):
        raise GalSimValueError("Unknown noise; add others to the images", noise, MODELS)
    if seed is None:
        raise GalSimIncompatibleValuesError("Noise needs a seed", noise=noise, seed=seed)
    if differentiable and isinstance(noise, galsim.PoissonNoise | galsim.CCDNoise):
        raise GalSimIncompatibleValuesError(
            "Numbers of photons have no gradient: give GaussianNoise or correlated noise, or draw "
            "without noise", noise=noise, differentiable=True,
        )  # fmt: skip
    deviate = isinstance(seed, galsim.BaseDeviate)
    seed = draw_seed(seed) if deviate else checked_noise_seed(seed)
    streams = [zlib.crc32(canonical_name(band).encode()) for band in bands]
    correlated = isinstance(noise, galsim.BaseCorrelatedNoise)
    return Noise(noise, seed, streams, amplitude(noise, shape, wcs) if correlated else None)


def amplitude(
    noise: galsim.BaseCorrelatedNoise, shape: tuple[int, int], wcs: galsim.BaseWCS
) -> NDArray:
    """Return the square root of the power of correlated noise, on a grid larger than the images.

    Images cut out of a periodic grid that is longer than they are by the reach of the correlation
    have this correlation up to their edges, and none across (Dietrich & Newsam 1997, SIAM J. Sci.
    Comput. 18, 1088). GalSim's own noise is periodic in the image.

    Parameters
    ----------
    noise : galsim.BaseCorrelatedNoise
    shape : tuple of (int, int)
        (ny, nx) of the images.
    wcs : galsim.BaseWCS
        Of the images, a local one.

    Returns
    -------
    ndarray (ny', nx' // 2 + 1) float64
        As `numpy.fft.rfft2` orders it, nx' even. White noise of unit variance times it has the
        variance of the noise, also where a correlation that no noise can have is cut.

    Raises
    ------
    galsim.GalSimValueError
        Noise without variance.
    """
    correlation = _draw_correlation(noise, shape, wcs)
    variance = correlation[0, 0]
    far = np.abs(correlation) > _UNCORRELATED * variance
    for axis, size in enumerate(shape):
        have = correlation.shape[axis]
        reach = int(_lags(have)[far.any(axis=1 - axis)].max())
        keep = min(have, 2 * -(-max(size + reach, 2 * reach + 1) // 2))
        near = (np.arange(keep) + keep // 2) % keep - keep // 2
        correlation = np.take(correlation, near, axis=axis, mode="wrap")
    power = np.maximum(np.fft.rfft2(correlation).real, 0)
    root = np.sqrt(power)
    whole = np.fft.irfft2(power, correlation.shape)[0, 0]
    return root * np.sqrt(variance / whole)


def _draw_correlation(
    noise: galsim.BaseCorrelatedNoise, shape: tuple[int, int], wcs: galsim.BaseWCS
) -> NDArray:
    """The correlation of pixels by their distance, as `numpy.fft` orders it, as far as it goes."""
    times = 2
    while True:
        wide = galsim.Image(times * shape[1], times * shape[0], wcs=wcs, dtype=float)
        drawn = np.fft.ifftshift(noise.drawImage(wide).array)
        if not drawn[0, 0] > 0:
            raise GalSimValueError("Correlated noise must have a variance above 0", drawn[0, 0])
        edges = drawn[drawn.shape[0] // 2], drawn[:, drawn.shape[1] // 2]
        small = max(np.abs(edge).max() for edge in edges) <= _UNCORRELATED * drawn[0, 0]
        if small or times >= _WIDEST:
            return drawn
        times *= 2


def _lags(size: int) -> NDArray:
    """Distances from the first pixel on a periodic axis, pixels."""
    index = np.arange(size)
    return np.minimum(index, size - index)


def add_noise(noise: Noise, images: Tensor, ids: Tensor, band: int) -> Tensor:
    """Return images with noise.

    Parameters
    ----------
    noise : Noise
        As `make_noise` returns it.
    images : tensor (n, ny, nx)
        Counts.
    ids : tensor (n,) int64
        Of the galaxies, on the images' device.
    band : int
        Which of the drawn bands.
    """
    model, seed, stream = noise.model, noise.seed, noise.streams[band]
    count = images.shape[1] * images.shape[2]
    if noise.amplitude is not None:
        return images + _correlated(noise.amplitude, images, seed, ids, stream)
    if isinstance(model, galsim.CCDNoise):
        both = pixelnoise.normal_deviates(seed, ids, stream, 2 * count)
        first, second = (half.view_as(images) for half in (both[:, :count], both[:, count:]))
        return _as_read(model, images, first, second)
    normal = pixelnoise.normal_deviates(seed, ids, stream, count).view_as(images)
    if isinstance(model, galsim.GaussianNoise):
        return images + model.sigma * normal
    sky = model.sky_level
    return (pixelnoise.poisson(images + sky, normal) - sky).to(images.dtype)


def _as_read(model: galsim.CCDNoise, images: Tensor, photon: Tensor, read: Tensor) -> Tensor:
    """Photon and read noise; GalSim's gain is in electrons a count, 0 for read noise alone."""
    sky, gain = model.sky_level, model.gain
    if gain <= 0:
        return images + model.read_noise * read
    mean = ((images.double() + sky) * gain).clamp_(min=0)
    electrons = pixelnoise.poisson(mean, photon) + model.read_noise * read
    return (electrons / gain - sky).to(images.dtype)


def _correlated(root: NDArray, images: Tensor, seed: int, ids: Tensor, stream: int) -> Tensor:
    """Noise of images' size, in their type: white noise filtered by the root of its power."""
    ny, nx = len(root), 2 * (root.shape[1] - 1)
    white = pixelnoise.normal_deviates(seed, ids, stream, ny * nx).view(-1, ny, nx)
    factor = torch.from_numpy(root).to(images)

    def filtered(some: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(some.to(factor)) * factor, (ny, nx))

    # One by one where rounding may depend on the number of transforms.
    noise = torch.cat([filtered(one) for one in white.split(1)]) if len(ids) else white
    return noise[:, : images.shape[1], : images.shape[2]]
