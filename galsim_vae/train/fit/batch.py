"""What networks are shown: galaxies at unit flux, with their PSFs, noise and masks."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from galsim_vae.bands import HALF_LIGHT_PIXELS, STAMP_SIZE
from galsim_vae.train.training_file import Dataset

__all__ = ["APERTURE_AREA", "AS_STATED", "INFERENCE", "Batch", "Floors", "aperture", "join"]

#: Area of a circle of two half-light radii [pixel^2]. Signal-to-noise ratios are those in it.
APERTURE_AREA = math.pi * (2 * HALF_LIGHT_PIXELS) ** 2


class Floors(NamedTuple):
    """What keeps the numbers of a batch within reason.

    Attributes
    ----------
    faintest : float
        Signal-to-noise ratio of the flux, in its best band, below which an image is divided by so
        many times the noise of the flux and not by the flux: noise has no flux to be divided by.
    best : float
        Better than this signal-to-noise ratio no galaxy is taken to be: white noise of that level
        is stated, but not added. Infinite: noise is stated as it is, also where it is none.
    """

    faintest: float
    best: float


#: For training, which adds noise of its own to each galaxy.
AS_STATED = Floors(faintest=3.0, best=math.inf)
#: For whatever weighs pixels with the noise: images without noise would have infinite weight.
INFERENCE = Floors(faintest=3.0, best=20_000.0)


class Batch(NamedTuple):
    """Observed galaxies in the canonical frame.

    Attributes
    ----------
    image : tensor (n, bands, size, size)
        Zero where masked.
    otf : tensor (n, bands, size, size // 2 + 1)
        `rfft2` of the PSFs, their centres at index [0, 0].
    noise : tensor (n, bands)
        Rms per pixel.
    noise_area : tensor (n, bands)
        Correlation area of the noise [pixel^2], at least 1.
    mask : bool tensor (n, bands, size, size)
        True where a pixel was observed and is clean.
    """

    image: Tensor
    otf: Tensor
    noise: Tensor
    noise_area: Tensor
    mask: Tensor

    @classmethod
    def from_training_file(cls, data: Dataset, floors: Floors) -> "Batch":
        """Bring galaxies of a training file to unit flux, see `from_arrays`."""
        return cls.from_arrays(
            data.image, data.psf, data.noise, data.noise_area, data.mask, floors
        )  # fmt: skip

    @classmethod
    def from_arrays(
        cls,
        image: ArrayLike,
        psf: ArrayLike,
        noise: ArrayLike,
        noise_area: ArrayLike,
        mask: ArrayLike,
        floors: Floors,
    ) -> "Batch":
        """Bring galaxies to unit flux in their brightest band.

        Parameters
        ----------
        image, psf : ndarray (n, bands, size, size)
            As in `galsim_vae.train.training_file.Dataset`.
        noise, noise_area : ndarray (n, bands)
            As there.
        mask : ndarray (n, bands, size, size)
            As there.
        floors : Floors

        Returns
        -------
        Batch
        """
        clean = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.bool_))
        pixels, kernel, rms, area = (
            torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
            for values in (np.where(mask, image, 0), psf, noise, noise_area)
        )
        area = area.clamp(min=1.0)
        flux = _unit(pixels, rms, area, clean, floors.faintest)
        otf = torch.fft.rfft2(torch.fft.ifftshift(kernel, dim=(-2, -1)))
        pixels, rms = pixels / flux[:, None, None, None], rms / flux[:, None]
        return cls(pixels, otf, rms, area, clean).no_better_than(floors.best)

    def no_better_than(self, signal_to_noise: float) -> "Batch":
        """State white noise of a signal-to-noise ratio beside each galaxy's own, adding none."""
        if math.isinf(signal_to_noise):
            return self
        allowed = 1 / (signal_to_noise**2 * APERTURE_AREA)
        own = self.noise.square()
        variance = own + allowed
        area = (own * self.noise_area + allowed) / variance
        return self._replace(noise=variance.sqrt(), noise_area=area)


def _unit(image: Tensor, noise: Tensor, area: Tensor, mask: Tensor, faintest: float) -> Tensor:
    """What images are divided by, tensor (n,): the flux of the brightest band, or its noise."""
    observed = mask.any(3).any(2)
    error = torch.where(observed, noise * (area * APERTURE_AREA).sqrt(), torch.inf)
    least = faintest * error.amin(1)
    # Where nothing was observed there is no noise either.
    least = torch.where(least.isfinite(), least, 1.0)
    flux = torch.maximum(image.sum((2, 3)).amax(1), least)
    return torch.where(flux > 0, flux, 1.0)


def aperture() -> Tensor:
    """Return the pixels within two half-light radii of the centre, bool tensor (size, size)."""
    axis = torch.arange(STAMP_SIZE) - (STAMP_SIZE - 1) / 2
    return torch.hypot(axis[:, None], axis) < 2 * HALF_LIGHT_PIXELS


def join(first: Batch, second: Batch) -> Batch:
    """Return the galaxies of two batches as one."""
    pairs = zip(first, second, strict=True)
    return Batch(*(torch.cat([a.to(b.dtype) if b.is_complex() else a, b]) for a, b in pairs))
