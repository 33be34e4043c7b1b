"""Variants of real galaxies: mirrored, turned, stretched a little, or with another one's colours.

In the canonical frame the major axis lies along x, so a stretch of x against y is a shear that
changes |g|, and a common stretch is a dilation. Labels need no correction: radius and |g| are
measured on the decoded stamp.
"""

import math

import torch
from torch import Tensor

from . import constants
from .turn import turn

__all__ = ["exchange_colours", "flip", "stretch", "vary"]

_LANCZOS = 4
_ANY_ANGLE = 0.99 * math.pi / 4  # turned so far either way, and mirrored across, is any angle
_CLEAN = 0.95  # share of the kernel's weight on good pixels that keeps a pixel good


def vary(
    image: Tensor, mask: Tensor, otf: Tensor, most: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mirror, turn and stretch each galaxy at random.

    Parameters
    ----------
    image, mask : Tensor
        Tensors (n, bands, size, size).
    otf : tensor (n, bands, size, size // 2 + 1)
        `rfft2` of the PSFs.
    most : tensor (n,)
        Largest angle of turning, from `galsim_vae.train.fit.turn.largest_turn` [radian].
    generator : torch.Generator

    Returns
    -------
    image, mask, otf : Tensor
        As given, flux unchanged.
    area : tensor (n,)
        Area of the stretched galaxy over that of the original.
    """
    n, size = len(image), image.shape[-1]
    psf = torch.fft.fftshift(torch.fft.irfft2(otf, s=(size, size)), dim=(-2, -1))
    shear, dilation, angle = 2 * torch.rand((3, n), generator=generator, device=otf.device) - 1
    in_x, in_y, across = torch.rand((3, n), generator=generator, device=otf.device) < 0.5
    image, mask, psf = flip(image, mask, psf, in_x, in_y, across & (most >= _ANY_ANGLE))
    chosen = torch.nonzero(most > 0)[:, 0]
    if len(chosen) > 0:
        turned = turn(image[chosen], mask[chosen], psf[chosen], (angle * most)[chosen])
        image, mask, psf = (
            values.index_copy(0, chosen, new)
            for values, new in zip((image, mask, psf), turned, strict=True)
        )
    shear, dilation = constants.MAX_SHEAR * shear, 1 + constants.MAX_DILATION * dilation
    ratio = torch.sqrt((1 + shear) / (1 - shear))
    image, mask, psf, area = stretch(image, mask, psf, dilation * ratio, dilation / ratio)
    return image, mask, torch.fft.rfft2(torch.fft.ifftshift(psf, dim=(-2, -1))), area


def exchange_colours(
    log_flux: Tensor, survey: Tensor, index: Tensor, generator: torch.Generator
) -> Tensor:
    """Factors of every band's flux that give galaxies the colours of others of their survey.

    What a band's flux tells about another's is then learnt as that, and not for each of a few
    galaxies that are known by their looks.

    Parameters
    ----------
    log_flux : tensor (m, bands)
        ln flux of all galaxies, NaN where not measured.
    survey : Tensor
        Integer tensor (m,), who observed each.
    index : tensor (n,)
        The galaxies wanted.

    Returns
    -------
    tensor (n, bands); 1 for galaxies that keep their colours. A band that only one of the two has
    keeps its ratio to the mean of the others.
    """

    def rand(*shape):
        return torch.rand(shape, generator=generator, device=generator.device)

    alike = survey[index, None] == survey
    other = torch.multinomial(alike.float(), 1, generator=generator)[:, 0]
    change = log_flux[other] - log_flux[index]
    change = (change - change.nanmean(1, keepdim=True)).nan_to_num()
    noise = torch.randn(change.shape, generator=generator, device=generator.device)
    change = change + constants.COLOUR_SCATTER * noise
    return torch.where(rand(len(index), 1) < constants.EXCHANGED, change, 0.0).exp()


def flip(
    image: Tensor, mask: Tensor, psf: Tensor, in_x: Tensor, in_y: Tensor, across: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror the chosen galaxies, bool tensors (n,): in x, in y, and across the diagonal.

    Parameters
    ----------
    image, mask : Tensor
        Tensors (n, bands, size, size).
    psf : Tensor
        Like `image`, centred at index [size // 2, size // 2].
    in_x, in_y, across : Tensor
        Which of them.

    Returns
    -------
    image, mask, psf : Tensor
        As given, mirrored.
    """

    def chosen(values: Tensor, mirrored: Tensor, which: Tensor) -> Tensor:
        return torch.where(which[:, None, None, None], mirrored, values)

    for axis, which in ((-1, in_x), (-2, in_y)):
        image, mask = (chosen(v, v.flip(axis), which) for v in (image, mask))
        # The PSF's centre is half a pixel off that of the stamp.
        psf = chosen(psf, torch.roll(psf.flip(axis), 1, dims=axis), which)
    image, mask, psf = (chosen(v, v.transpose(-1, -2), across) for v in (image, mask, psf))
    return image, mask, psf


def stretch(image: Tensor, mask: Tensor, psf: Tensor, in_x: Tensor, in_y: Tensor):
    """Stretch galaxies and their PSFs by factors, tensors (n,), along x and y.

    Both are resampled with the same kernel, so that what it blurs is in the PSF as well.

    Parameters
    ----------
    image, mask : Tensor
        Tensors (n, bands, size, size).
    psf : Tensor
        Like `image`, centred at index [size // 2, size // 2].
    in_x, in_y : Tensor
        The factors.

    Returns
    -------
    image, mask, psf : Tensor
        As given, stretched.
    area : tensor (n,)
        The change of area, in_x * in_y.
    """
    size = image.shape[-1]
    area = in_x * in_y
    along_x, along_y = (_resampling(size, (size - 1) / 2, s) for s in (in_x, in_y))
    stretched = _apply(along_y, image * mask, along_x)
    good = _apply(along_y.abs(), mask.to(image.dtype), along_x.abs())
    whole = _apply(along_y.abs(), torch.ones_like(image), along_x.abs())
    mask = mask.any(-1).any(-1)[..., None, None] & (good > _CLEAN * whole)
    psf = _apply(_resampling(size, size // 2, in_y), psf, _resampling(size, size // 2, in_x))
    psf = psf / psf.sum((2, 3), keepdim=True).clamp(min=1e-6)
    return stretched / area[:, None, None, None] * mask, mask, psf, area


def _apply(rows: Tensor, image: Tensor, columns: Tensor) -> Tensor:
    """Resample (n, bands, size, size) with matrices (n, size, size) along y and x."""
    return rows[:, None] @ image @ columns[:, None].transpose(-1, -2)


def _resampling(size: int, centre: float, factor: Tensor) -> Tensor:
    """Lanczos matrices (n, size, size) that stretch by `factor` (n,) about `centre` [pixel]."""
    pixel = torch.arange(size, dtype=factor.dtype, device=factor.device)
    source = centre + (pixel - centre) / factor[:, None]
    distance = source[:, :, None] - pixel
    kernel = torch.sinc(distance) * torch.sinc(distance / _LANCZOS)
    kernel = torch.where(distance.abs() < _LANCZOS, kernel, 0.0)
    # Rows sum to 1 where the source is inside; at the ends the missing part is sky.
    inside = (source > -0.5) & (source < size - 0.5)
    total = kernel.sum(-1, keepdim=True)
    return torch.where(inside[..., None], kernel / total.clamp(min=0.5), 0.0)
