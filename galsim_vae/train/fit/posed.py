"""Galaxies turned so that their strongest arm crosses +x, and mirrored so that it winds one way."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from galsim_vae.bands import BANDS, REFERENCE
from galsim_vae.model.pose import FLATTEST
from galsim_vae.model.spirals import strongest

from .augment import flip
from .batch import Batch
from .turn import turn

__all__ = ["Pose", "any_pose", "find_pose", "lay", "matrix"]


class Pose(NamedTuple):
    """How galaxies lie in the frame.

    Attributes
    ----------
    turn : tensor (n,)
        From the turned stamp to the frame, counterclockwise [radian]. NaN: it is not turned.
    hand : tensor (n,)
        -1 where the frame's stamp is then mirrored in y, else 1.
    """

    turn: Tensor
    hand: Tensor


def find_pose(stamps: Tensor, g: Tensor) -> Pose:
    """Look for the strongest arm of each galaxy.

    Of as many crests as there are arms, the one nearest to the side on which there is more light
    is to cross +x at the half-light radius.

    Parameters
    ----------
    stamps : tensor (n, bands, size, size)
        Without noise, in the frame.
    g : tensor (n,)
        |g| of the galaxies: flat ones are not turned.
    """
    found = strongest(stamps[:, BANDS.index(REFERENCE)])
    hand = torch.where(found.winding < 0, -1.0, 1.0)
    crest, brighter = -hand * found.phase / found.arms, hand * found.brighter
    apart = 2 * math.pi / found.arms
    angle = crest + apart * torch.round((brighter - crest) / apart)
    return Pose(torch.where(g < FLATTEST, angle, 0.0), hand)


def any_pose(g: Tensor, generator: torch.Generator) -> Pose:
    """Draw poses, all as likely, for galaxies of |g| (n,): flat ones are only mirrored."""
    angle, side = torch.rand((2, len(g)), generator=generator, device=generator.device)
    turn = torch.where(g < FLATTEST, 2 * math.pi * angle, 0.0)
    return Pose(turn, torch.where(side < 0.5, -1.0, 1.0))


def matrix(pose: Pose) -> Tensor:
    """Return the maps (n, 2, 2) from the frame to the stamps; the identity where not turned."""
    moved = torch.isfinite(pose.turn)
    angle = pose.turn.nan_to_num()
    c, s, hand = torch.cos(angle), torch.sin(angle), torch.where(moved, pose.hand, 1.0)
    return torch.stack([c, s * hand, -s, c * hand], 1).reshape(-1, 2, 2)


def lay(batch: Batch, pose: Pose) -> Batch:
    """Turn and mirror galaxies from the frame, with PSFs and masks; NaN leaves one as it is."""
    moved = torch.isfinite(pose.turn)
    size = batch.image.shape[-1]
    quarters = torch.round(-pose.turn.nan_to_num() / (math.pi / 2))
    rest = -pose.turn.nan_to_num() - quarters * (math.pi / 2)
    quarter = torch.remainder(quarters, 4).long()
    mirrored = moved & (pose.hand < 0)
    psf = torch.fft.fftshift(torch.fft.irfft2(batch.otf, s=(size, size)), dim=(-2, -1))
    image, mask, psf = flip(
        batch.image, batch.mask, psf, in_x=quarter >= 2,
        in_y=((quarter == 1) | (quarter == 2)) ^ mirrored, across=quarter % 2 == 1,
    )  # fmt: skip
    image, mask, psf = turn(image, mask, psf, rest)
    otf = torch.fft.rfft2(torch.fft.ifftshift(psf, dim=(-2, -1)))
    which = moved[:, None, None, None]
    return batch._replace(
        image=torch.where(which, image, batch.image),
        mask=torch.where(which, mask, batch.mask),
        otf=torch.where(which, otf, batch.otf.to(otf.dtype)),
    )
