"""Variants of real galaxies: mirrored, stretched a little, or with the colours of another one.

In the canonical frame the major axis lies along x, so a stretch of x against y is a shear that
changes |g|, and a common stretch is a dilation. Labels need no correction: radius and |g| are
measured on the decoded stamp.
"""

import torch
from torch import Tensor

from . import constants

__all__ = ["exchange_colours", "mirror", "stretch", "vary"]

_LANCZOS = 4
_CLEAN = 0.95  # share of the kernel's weight on good pixels that keeps a pixel good


def vary(
    image: Tensor, mask: Tensor, otf: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mirror and stretch each galaxy at random.

    Parameters
    ----------
    image, mask : Tensor
        Tensors (n, bands, size, size).
    otf : tensor (n, bands, size, size // 2 + 1)
        `rfft2` of the PSFs.

    Returns
    -------
    image, mask, otf : Tensor
        As given, flux unchanged.
    area : tensor (n,)
        Area of the stretched galaxy over that of the original.
    """
    n = len(image)
    shear, dilation = (
        limit * (2 * torch.rand(n, generator=generator, device=generator.device) - 1)
        for limit in (constants.MAX_SHEAR, constants.MAX_DILATION)
    )
    flips = torch.rand((2, n), generator=generator, device=generator.device) < 0.5
    ratio = torch.sqrt((1 + shear) / (1 - shear))
    image, mask, otf = mirror(image, mask, otf, *flips)
    return stretch(image, mask, otf, (1 + dilation) * ratio, (1 + dilation) / ratio)


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


def mirror(image: Tensor, mask: Tensor, otf: Tensor, in_x: Tensor, in_y: Tensor):
    """Mirror the chosen galaxies, bool tensors (n,), in x and in y, and their PSFs with them."""
    for axis, chosen in ((-1, in_x), (-2, in_y)):
        flip = chosen[:, None, None, None]
        image = torch.where(flip, image.flip(axis), image)
        mask = torch.where(flip, mask.flip(axis), mask)
        # Mirroring y maps k_y to -k_y; mirroring x is that and a complex conjugation.
        mirrored = torch.roll(otf.flip(-2), 1, dims=-2)
        otf = torch.where(flip, mirrored.conj() if axis == -1 else mirrored, otf)
    return image, mask, otf


def stretch(image: Tensor, mask: Tensor, otf: Tensor, in_x: Tensor, in_y: Tensor):
    """Stretch galaxies and their PSFs by factors, tensors (n,), along x and y.

    Both are resampled with the same kernel, so that what it blurs is in the PSF as well.

    Returns
    -------
    image, mask, otf : Tensor
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
    psf = torch.fft.fftshift(torch.fft.irfft2(otf, s=(size, size)), dim=(-2, -1))
    psf = _apply(_resampling(size, size // 2, in_y), psf, _resampling(size, size // 2, in_x))
    psf = psf / psf.sum((2, 3), keepdim=True).clamp(min=1e-6)
    otf = torch.fft.rfft2(torch.fft.ifftshift(psf, dim=(-2, -1)))
    return stretched / area[:, None, None, None] * mask, mask, otf, area


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
