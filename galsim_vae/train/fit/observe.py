"""Synthetic galaxies seen through HST: its PSFs, in all widths that telescopes have, and noise."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from galsim_vae.bands import BANDS, REFERENCE, STAMP_SIZE
from galsim_vae.model.likelihood import convolve

from . import constants
from .batch import APERTURE_AREA, Batch

__all__ = ["RadialPSFTable", "draw_signal_to_noise", "observe"]


@dataclass(frozen=True)
class RadialPSFTable:
    """Transforms of round PSFs, the azimuthal averages of HST's, on a grid of wave numbers.

    Attributes
    ----------
    k : tensor (m,)
        Evenly spaced from 0 [1/arcsec].
    otf : tensor (bands, m)
    """

    k: Tensor
    otf: Tensor

    @classmethod
    def hst(cls) -> "RadialPSFTable":
        """Tabulate the models of `galsim_vae.bands` (needs GalSim)."""
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

    def to(self, device: torch.device | str) -> "RadialPSFTable":
        """Return the table on another device."""
        return RadialPSFTable(self.k.to(device), self.otf.to(device))

    def canonical(
        self, pixel_scale: Tensor, size: int = STAMP_SIZE, frame_g: Tensor | None = None,
        lies: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return the transforms of PSF and canonical pixel on the stamp's grid.

        Parameters
        ----------
        pixel_scale : tensor (n,)
            Canonical pixel, in units of the arcsec of the table.
        size : int
            Side of the stamp [pixel].
        frame_g : tensor (n,), optional
            Shear along +x that the frame takes out; none if absent.
        lies : tensor (n, 2, 2), optional
            Orthogonal, from the frame to the stamps; these are the frame if absent.

        Returns
        -------
        tensor (n, bands, size, size // 2 + 1), real
        """
        ky, kx = _wave_numbers(size, pixel_scale)
        g = torch.zeros_like(pixel_scale) if frame_g is None else frame_g
        ratio = torch.sqrt((1 + g) / (1 - g))[:, None, None]
        along, across = kx, ky
        if lies is not None:
            along, across = (
                lies[:, 0, i, None, None] * kx + lies[:, 1, i, None, None] * ky for i in (0, 1)
            )
        step = pixel_scale[:, None, None] * self.k[1]
        position = torch.hypot(along / ratio, across * ratio) / step
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


def draw_signal_to_noise(n: int, generator: torch.Generator) -> Tensor:
    """Draw signal-to-noise ratios of the reference band, tensor (n,)."""
    low, high = (float(np.log(s)) for s in constants.SIGNAL_TO_NOISE)
    return torch.exp(_uniform((n,), low, high, generator))


def observe(
    stamps: Tensor,
    pixel_scale: Tensor,
    psfs: RadialPSFTable,
    generator: torch.Generator,
    signal_to_noise: Tensor | None = None,
    complete: bool = False,
    psf_scale: Tensor | None = None,
    frame_g: Tensor | None = None,
    lies: Tensor | None = None,
) -> Batch:
    """Look at PSF-free canonical galaxies through HST-like PSFs and noise.

    Parameters
    ----------
    stamps : tensor (n, bands, size, size)
        F814W flux 1.
    pixel_scale : tensor (n,)
        Canonical pixel [arcsec].
    psfs : RadialPSFTable
    generator : torch.Generator
    signal_to_noise : tensor (n,), optional
        Drawn with `draw_signal_to_noise` if absent.
    complete : bool
        Keep all bands and pixels (otherwise some are dropped at random).
    psf_scale : tensor (n,), optional
        Width of each galaxy's PSFs relative to the models'; random if absent.
    frame_g : tensor (n,), optional
        Shear along +x that the frame takes out of each galaxy; none if absent.
    lies : tensor (n, 2, 2), optional
        Orthogonal, from the frame to the stamps; these are the frame if absent.

    Returns
    -------
    Batch
    """
    n, bands = stamps.shape[:2]
    if psf_scale is None:
        psf_scale = _psf_scale(n, generator)
    otf = psfs.canonical(pixel_scale / psf_scale, frame_g=frame_g, lies=lies)
    seen = convolve(stamps, otf)
    if signal_to_noise is None:
        signal_to_noise = draw_signal_to_noise(n, generator)
    scatter = torch.randn((n, bands), generator=generator, device=generator.device)
    noise = torch.exp(0.5 * scatter) / (signal_to_noise[:, None] * APERTURE_AREA**0.5)
    noise[:, BANDS.index(REFERENCE)] = 1 / (signal_to_noise * APERTURE_AREA**0.5)
    image = seen + noise[:, :, None, None] * torch.randn(
        seen.shape, generator=generator, device=generator.device
    )
    mask = torch.ones_like(image, dtype=torch.bool)
    if not complete:
        mask = _random_mask(seen, noise, generator)
    return Batch(image, otf, noise, torch.ones_like(noise), mask)


def _psf_scale(n: int, generator: torch.Generator) -> Tensor:
    """Width of each galaxy's PSF relative to HST's: half of them sharper, a quarter wider.

    The sharp ones teach structure that HST would blur away in small galaxies; the wide ones what
    other telescopes see.
    """
    share = _uniform((n,), 0, 1, generator)
    sharper = _uniform((n,), constants.SHARPEST, 1, generator)
    wider = _uniform((n,), 1, constants.WIDEST, generator)
    own = torch.exp(0.2 * torch.randn(n, generator=generator, device=generator.device))
    return torch.where(share < 0.5, sharper, torch.where(share < 0.75, wider, own))


def _random_mask(seen: Tensor, noise: Tensor, generator: torch.Generator) -> Tensor:
    n, bands = noise.shape
    kept = _uniform((n, bands), 0, 1, generator) > constants.DROP_BAND
    always = torch.randint(bands, (n,), generator=generator, device=generator.device)
    kept[torch.arange(n), always] = True
    segment = (seen / noise[:, :, None, None]).amax(1, keepdim=True) > 1.0
    whole = _uniform((n, 1, 1, 1), 0, 1, generator) > constants.SEGMENT_ONLY
    return kept[:, :, None, None] & (segment | whole)
