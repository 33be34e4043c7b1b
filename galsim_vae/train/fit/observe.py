"""Training batches: synthetic galaxies seen through HST, and real ones, in the same form."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, REFERENCE, STAMP_SIZE
from galsim_vae.model.vae import psf_width
from galsim_vae.train.training_file import Dataset

from . import augment
from .likelihood import convolve

__all__ = ["SIGNAL_TO_NOISE", "Batch", "PSFTable", "RealGalaxies", "aperture", "join", "observe"]

# Signal-to-noise ratio of the reference band (flux over noise in an aperture of twice the
# half-light radius), drawn log-uniformly; real galaxies are re-noised into the same range.
SIGNAL_TO_NOISE = (20.0, 600.0)
# Width of the narrowest and the widest PSFs in training, relative to HST's.
SHARPEST, WIDEST = 0.1, 3.0
_APERTURE_AREA = np.pi * (2 * HALF_LIGHT_PIXELS) ** 2
_DETECTED = 5.0  # signal-to-noise ratio from which a flux has a colour
_DROP_BAND = 0.3  # probability that a synthetic galaxy lacks a given band
_SEGMENT_ONLY = 0.3  # probability that only the detected segment of one was kept


class Batch(NamedTuple):
    """Observed galaxies of a training step.

    image, mask : (n, bands, size, size); otf : (n, bands, size, size // 2 + 1);
    psf_width, noise, noise_area : (n, bands).
    """

    image: Tensor
    otf: Tensor
    psf_width: Tensor
    noise: Tensor
    noise_area: Tensor
    mask: Tensor


@dataclass(frozen=True)
class PSFTable:
    """Transforms of the HST PSF models: `k` (m,) [1/arcsec], `otf` (bands, m)."""

    k: Tensor
    otf: Tensor

    @classmethod
    def hst(cls) -> "PSFTable":
        """Tabulate the azimuthally averaged models of `galsim_vae.bands` (needs GalSim)."""
        from galsim_vae.bands import hst_psf

        k = np.linspace(0, 170, 681)
        angles = np.arange(8) * np.pi / 8
        rows = []
        for band in BANDS:
            psf = hst_psf(band)
            rows.append(
                [
                    np.mean([psf.kValue(q * np.cos(a), q * np.sin(a)).real for a in angles])
                    for q in k
                ]
            )
        return cls(torch.tensor(k, dtype=torch.float32), torch.tensor(rows, dtype=torch.float32))

    def to(self, device: torch.device | str) -> "PSFTable":
        """Return the table on another device."""
        return PSFTable(self.k.to(device), self.otf.to(device))

    def canonical(self, pixel_scale: Tensor, size: int = STAMP_SIZE) -> Tensor:
        """Transform of PSF and canonical pixel on the stamp's grid.

        Parameters
        ----------
        pixel_scale : tensor (n,), canonical pixel in units of the arcsec of the table.

        Returns
        -------
        tensor (n, bands, size, size // 2 + 1), real
        """
        ky, kx = _wave_numbers(size, pixel_scale)
        position = torch.hypot(kx, ky)[None] / (pixel_scale[:, None, None] * self.k[1])
        position = position.clamp(max=len(self.k) - 1.001)
        low = position.long()
        share = (position - low)[:, None]
        low = low.flatten()
        shape = (len(BANDS), *position.shape)
        below, above = (self.otf[:, i].reshape(shape).transpose(0, 1) for i in (low, low + 1))
        pixel = torch.sinc(kx / (2 * np.pi)) * torch.sinc(ky / (2 * np.pi))
        return (below + share * (above - below)) * pixel


def _wave_numbers(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    ky = 2 * np.pi * torch.fft.fftfreq(size, device=like.device, dtype=like.dtype)
    kx = 2 * np.pi * torch.fft.rfftfreq(size, device=like.device, dtype=like.dtype)
    return ky[:, None], kx[None, :]


def _uniform(shape, low: float, high: float, generator: torch.Generator) -> Tensor:
    values = torch.rand(shape, generator=generator, device=generator.device)
    return low + (high - low) * values


def _signal_to_noise(n: int, generator: torch.Generator) -> Tensor:
    low, high = (float(np.log(s)) for s in SIGNAL_TO_NOISE)
    return torch.exp(_uniform((n,), low, high, generator))


def observe(
    stamps: Tensor,
    pixel_scale: Tensor,
    psfs: PSFTable,
    generator: torch.Generator,
    signal_to_noise: Tensor | None = None,
    complete: bool = False,
    psf_scale: Tensor | None = None,
) -> Batch:
    """Look at PSF-free canonical galaxies through HST-like PSFs and noise.

    Parameters
    ----------
    stamps : tensor (n, bands, size, size), F814W flux 1.
    pixel_scale : tensor (n,), canonical pixel [arcsec].
    psfs : the PSF models.
    signal_to_noise : tensor (n,); drawn from `SIGNAL_TO_NOISE` if absent.
    complete : keep all bands and pixels (otherwise some are dropped at random).
    psf_scale : tensor (n,), width of each galaxy's PSFs relative to the models'; random if absent.
    """
    n, bands = stamps.shape[:2]
    if psf_scale is None:
        psf_scale = _psf_scale(n, generator)
    otf = psfs.canonical(pixel_scale / psf_scale)
    seen = convolve(stamps, otf)
    if signal_to_noise is None:
        signal_to_noise = _signal_to_noise(n, generator)
    scatter = torch.randn((n, bands), generator=generator, device=generator.device)
    noise = torch.exp(0.5 * scatter) / (signal_to_noise[:, None] * _APERTURE_AREA**0.5)
    noise[:, BANDS.index(REFERENCE)] = 1 / (signal_to_noise * _APERTURE_AREA**0.5)
    image = seen + noise[:, :, None, None] * torch.randn(
        seen.shape, generator=generator, device=generator.device
    )
    mask = torch.ones_like(image, dtype=torch.bool)
    if not complete:
        mask = _random_mask(seen, noise, generator)
    return Batch(image, otf, psf_width(otf), noise, torch.ones_like(noise), mask)


def _psf_scale(n: int, generator: torch.Generator) -> Tensor:
    """Width of each galaxy's PSF relative to HST's: half of them sharper, a quarter wider.

    The sharp ones teach structure that HST would blur away in small galaxies; the wide ones what
    other telescopes see.
    """
    share = _uniform((n,), 0, 1, generator)
    sharper = _uniform((n,), SHARPEST, 1, generator)
    wider = _uniform((n,), 1, WIDEST, generator)
    own = torch.exp(0.2 * torch.randn(n, generator=generator, device=generator.device))
    return torch.where(share < 0.5, sharper, torch.where(share < 0.75, wider, own))


def _random_mask(seen: Tensor, noise: Tensor, generator: torch.Generator) -> Tensor:
    n, bands = noise.shape
    kept = _uniform((n, bands), 0, 1, generator) > _DROP_BAND
    always = torch.randint(bands, (n,), generator=generator, device=generator.device)
    kept[torch.arange(n), always] = True
    segment = (seen / noise[:, :, None, None]).amax(1, keepdim=True) > 1.0
    segment = segment | (_uniform((n, 1, 1, 1), 0, 1, generator) > _SEGMENT_ONLY)
    return kept[:, :, None, None] & segment


class RealGalaxies:
    """The real galaxies of one training file, as tensors ready to be re-noised."""

    def __init__(self, data: Dataset, keep: np.ndarray):
        image, noise, psf, mask = (
            torch.from_numpy(np.ascontiguousarray(getattr(data, name)[keep]))
            for name in ("image", "noise", "psf", "mask")
        )
        flux = (image * mask).sum((2, 3)).amax(1)
        self.image = image / flux[:, None, None, None]
        self.noise = noise / flux[:, None]
        self.noise_area = torch.from_numpy(data.noise_area[keep]).clamp(min=1.0)
        self.mask = mask
        self.log_flux = _log_flux(self.image, self.noise, self.noise_area, mask)
        _, survey = np.unique(data.source[keep], return_inverse=True)
        self.survey = torch.from_numpy(survey)
        self.otf = torch.fft.rfft2(torch.fft.ifftshift(psf, dim=(-2, -1)))
        self.psf_width = psf_width(self.otf)
        # magnitude, ln half_light_radius, |g|, redshift; NaN where missing
        radius = np.log(data.half_light_radius)
        table = np.stack([data.magnitude, radius, data.g, data.redshift], 1)
        self.conditions = torch.from_numpy(table[keep].astype(np.float32))
        size = np.where(np.isfinite(radius), data.pixel_scale, np.nan)
        self.pixel_scale = torch.from_numpy(size[keep].astype(np.float32))

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device | str) -> "RealGalaxies":
        """Move every tensor to another device, in place, and return self."""
        for name, value in vars(self).items():
            setattr(self, name, value.to(device))
        return self

    def batch(
        self,
        index: Tensor,
        generator: torch.Generator,
        signal_to_noise: Tensor | None = None,
        exchange: bool = False,
    ) -> Batch:
        """Mirror and stretch at random, add white noise down to a drawn signal-to-noise ratio.

        Noise already there is never taken away: a galaxy that is noisier than the ratio drawn
        stays as it is.

        Parameters
        ----------
        index : tensor (n,), the galaxies wanted.
        signal_to_noise : tensor (n,); drawn from `SIGNAL_TO_NOISE` if absent.
        exchange : give most of them the colours of others (`augment.exchange_colours`).
        """
        n, bands = len(index), self.noise.shape[1]
        image, mask, otf = self.image[index], self.mask[index], self.otf[index]
        own_noise = self.noise[index]
        if exchange:
            factor = augment.exchange_colours(self.log_flux, self.survey, index, generator)
            factor = factor / (image * mask).sum((2, 3)).mul(factor).amax(1, keepdim=True)
            image, own_noise = image * factor[:, :, None, None], own_noise * factor
        image, mask, otf, stretched = augment.vary(image, mask, otf, generator)
        if signal_to_noise is None:
            signal_to_noise = _signal_to_noise(n, generator)
        target = 1 / (signal_to_noise * _APERTURE_AREA**0.5)
        target = target[:, None] * torch.exp(
            0.3 * torch.randn((n, bands), generator=generator, device=generator.device)
        )
        # Stretched by an area, noise of the same power per sky area is fainter per pixel.
        own = own_noise / stretched.sqrt()[:, None]
        area = self.noise_area[index]
        added = (target.square() - own.square() * area).clamp(min=0).sqrt()
        added = torch.maximum(added, 0.02 * target)
        image = image + added[:, :, None, None] * torch.randn(
            image.shape, generator=generator, device=generator.device
        )
        variance = own.square() + added.square()
        effective = own.square() * area + added.square()
        return Batch(image * mask, otf, psf_width(otf), variance.sqrt(), effective / variance, mask)


def aperture() -> Tensor:
    """Pixels within two half-light radii of the centre, bool tensor (size, size)."""
    axis = torch.arange(STAMP_SIZE) - (STAMP_SIZE - 1) / 2
    return torch.hypot(axis[:, None], axis) < 2 * HALF_LIGHT_PIXELS


def _log_flux(image: Tensor, noise: Tensor, noise_area: Tensor, mask: Tensor) -> Tensor:
    """ln flux in a circle of two half-light radii, (n, bands); NaN where not detected."""
    inside = aperture()
    flux = (image * mask * inside).sum((2, 3))
    error = noise * (noise_area * (mask & inside).sum((2, 3))).sqrt()
    return torch.where(flux > _DETECTED * error, flux, torch.nan).log()


def join(first: Batch, second: Batch) -> Batch:
    """Put two batches together."""
    pairs = zip(first, second, strict=True)
    return Batch(*(torch.cat([a.to(b.dtype) if b.is_complex() else a, b]) for a, b in pairs))
