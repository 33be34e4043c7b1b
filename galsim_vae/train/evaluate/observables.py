"""What is kept of a sample of observed galaxies."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae.bands import BANDS, REFERENCE, STAMP_SIZE
from galsim_vae.model.rings import ring_means

from . import noise
from .features import FEATURES, measure_features

__all__ = [
    "Observing", "add_noise", "edge_flux", "observed_features", "power_rings", "stretched_images",
]  # fmt: skip

_EDGE = 2  # pixels of a stamp's margin
_SOFTENING = 3.0  # of the stretch of kept images, in units of the noise
_WAVES = range(1, STAMP_SIZE // 2 + 1)  # cycles a stamp
_CUTOFF = 0.05  # of the PSF's transform: power beyond is not compared


class Observing(NamedTuple):
    """How some galaxies are observed.

    Attributes
    ----------
    otf : Tensor
        PSFs, as `galsim_vae.train.evaluate.frame.see` takes them.
    noise : tensor (n, bands)
        Rms per pixel.
    mask : Tensor
        Bool tensor (n, bands, 64, 64), True where usable.
    band : tensor (n,) of int
        The band that structure is measured in.
    pixel_scale : tensor (n,)
        The unit of sizes over pixels.
    area : tensor (n, bands), optional
        Correlation area of a share of the noise, as `noise.add_noise` takes it.
    """

    otf: Tensor
    noise: Tensor
    mask: Tensor
    band: Tensor
    pixel_scale: Tensor
    area: Tensor | None = None


def add_noise(seen: Tensor, observing: Observing, generator: torch.Generator) -> Tensor:
    """Add to stamps seen through the PSF the noise with which they are observed."""
    return noise.add_noise(seen, observing.noise, observing.area, generator)


def observed_features(image: Tensor, observing: Observing) -> NDArray:
    """`FEATURES` of observed stamps, sizes times the pixel scale."""
    values = measure_features(image, observing.noise, observing.mask, observing.band)
    values[:, FEATURES.index("size")] *= observing.pixel_scale
    return values.numpy()


def edge_flux(stamps: Tensor) -> NDArray:
    """Share of the F814W flux of PSF-free stamps in their outer two pixels, (n,)."""
    image = stamps[:, BANDS.index(REFERENCE)]
    inner = image[:, _EDGE:-_EDGE, _EDGE:-_EDGE].sum((1, 2))
    return (1 - inner / image.sum((1, 2))).numpy()


def power_rings(seen: Tensor, observing: Observing, noisy: bool = False) -> NDArray:
    """Power in rings of 1, 2, ... 32 cycles a stamp, flux 1: (n, 32).

    NaN where the PSF lets less than a twentieth of the amplitude through. If the images are
    `noisy`, the power of the noise is taken off, and the rings from the first one on that has no
    more than that are NaN. This favours galaxies of more power: compare noisy images with others
    that are as noisy.
    """
    rows = torch.arange(len(seen))
    mask = observing.mask[rows, observing.band]
    image = seen[rows, observing.band] * mask
    rings = ring_means(torch.fft.rfft2(image).abs().square(), _WAVES)
    otf = observing.otf[rows, observing.band].abs()
    known = ring_means(otf, _WAVES, STAMP_SIZE) > _CUTOFF
    if noisy:
        sky = _sky_power(observing, mask.sum((1, 2)))
        rings = rings - sky
        known &= (rings > sky).cummin(1).values
    rings = rings / image.sum((1, 2)).square()[:, None]
    return torch.where(known, rings, torch.nan).numpy()


def _sky_power(observing: Observing, pixels: Tensor) -> Tensor:
    """Power of the noise of so many pixels (n,), in the rings of `power_rings`: (n, 32)."""
    rows = torch.arange(len(pixels))
    white = (observing.noise[rows, observing.band].square() * pixels)[:, None]
    if observing.area is None:
        return white.expand(-1, len(_WAVES))
    power = noise.noise_power(observing.area[rows, observing.band], STAMP_SIZE)
    return white * ring_means(power, _WAVES)


def stretched_images(image: Tensor, observing: Observing) -> NDArray:
    """The band of structure over its noise, arcsinh-stretched: (n, 64, 64) float16."""
    rows = torch.arange(len(image))
    one = image[rows, observing.band] * observing.mask[rows, observing.band]
    rms = observing.noise[rows, observing.band, None, None].clamp_min(1e-9)
    return torch.asinh(one / (_SOFTENING * rms)).numpy().astype(np.float16)
