"""Turning real galaxies in the round frame, with their masks and PSFs.

There a galaxy that is seen nearly face-on has no direction of its own: turned by any angle it is
another galaxy that might be. Turning is three shears (Paeth 1986, Proc. Graphics Interface, p. 77),
each a shift of rows or columns by a Lanczos kernel, the same for galaxy and PSF, so that what it
blurs is in the PSF as well.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from galsim_vae.frame.frames import Frame

from . import constants

__all__ = ["largest_turn", "turn"]

_LANCZOS = 4
_PAD = 4  # so that no shear by up to 45 degrees takes what is less than 33 pixels from the centre
_FARTHEST = 33.0  # [pixel]
_SPOILT = 5  # side of the square about a bad pixel that is not used after turning


def largest_turn(g: Tensor, frame: Frame) -> Tensor:
    """Return the angle [radian] by which galaxies of |g| (n,) may be turned either way.

    45 degrees, which with mirrors and transposition are all, if they are nearly face-on; none in a
    frame in which a galaxy's major axis shows.
    """
    few = torch.where(g < constants.INCLINED, constants.FEW_DEGREES, 0.0)
    degrees = torch.where(g < constants.FACE_ON, 45.0, few)
    return torch.deg2rad(degrees if frame.cap > 0 else torch.zeros_like(degrees))


def turn(image: Tensor, mask: Tensor, psf: Tensor, angle: Tensor):
    """Turn galaxies counterclockwise about the centre of the stamp.

    Parameters
    ----------
    image, mask : Tensor
        Tensors (n, bands, size, size); masked pixels are not read.
    psf : Tensor
        Like `image`, centred at index [size // 2, size // 2].
    angle : tensor (n,)
        At most 45 degrees either way [radian].

    Returns
    -------
    image, mask, psf : Tensor
        As given, turned.
    """
    size = image.shape[-1]
    middle = (size - 1) / 2
    good = _turned_mask(mask, angle)
    return _turned(image * mask, angle, middle) * good, good, _turned(psf, angle, size // 2)


def _turned_mask(mask: Tensor, angle: Tensor) -> Tensor:
    """Pixels that are made of good ones, by the nearest."""
    size = mask.shape[-1]
    spoilt = F.max_pool2d((~mask).float(), _SPOILT, stride=1, padding=_SPOILT // 2)
    cosine, sine, none = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    back = torch.stack([cosine, sine, none, -sine, cosine, none], 1).reshape(-1, 2, 3)
    grid = F.affine_grid(back, list(mask.shape), align_corners=False)
    good = F.grid_sample(1 - spoilt, grid, mode="nearest", align_corners=False) > 0.5
    axis = torch.arange(size, device=mask.device) - (size - 1) / 2
    return good & (torch.hypot(axis[:, None], axis) < _FARTHEST)


def _turned(values: Tensor, angle: Tensor, centre: float) -> Tensor:
    along_x, along_y = -torch.tan(angle / 2), torch.sin(angle)
    padded, middle = F.pad(values, (_PAD,) * 4), centre + _PAD
    once = _sheared(padded, along_x, middle)
    twice = _sheared(once.transpose(-1, -2), along_y, middle).transpose(-1, -2)
    return _sheared(twice, along_x, middle)[..., _PAD:-_PAD, _PAD:-_PAD]


def _sheared(values: Tensor, factor: Tensor, centre: float) -> Tensor:
    """Move each row to the right by `factor`, tensor (n,), times its distance above the centre."""
    n, bands, rows, columns = values.shape
    row = torch.arange(rows, dtype=values.dtype, device=values.device) - centre
    shift = factor[:, None] * row
    whole = shift.floor()
    reach = int(factor.abs().max().item() * rows / 2) + _LANCZOS + 1
    padded = F.pad(values, (reach, reach))
    start = torch.arange(columns, device=values.device) + reach - whole.long()[..., None]
    total, sheared = torch.zeros_like(shift), torch.zeros_like(values)
    for tap in range(1 - _LANCZOS, _LANCZOS + 1):
        distance = tap - (shift - whole)
        weight = torch.sinc(distance) * torch.sinc(distance / _LANCZOS)
        index = (start - tap)[:, None].expand(n, bands, rows, columns)
        sheared = sheared + weight[:, None, :, None] * padded.gather(-1, index)
        total = total + weight
    return sheared / total[:, None, :, None]
