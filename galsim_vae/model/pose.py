"""How galaxies lie in their stamps: the angle by which each is turned, and its hand.

Turned by any angle, or seen in a mirror, a galaxy in the round frame is another of the same kind.
The latent flow draws galaxies whose strongest arm crosses +x and winds one way; the angle and the
hand are drawn apart, and laid on the stamp as a whole. So it learns of arms what they have in
common, and not every angle anew: among latents these would be rings, which coupling layers make
blotches of.
"""

import math

import torch
from torch import Tensor, nn

__all__ = ["FLATTEST", "TOLD", "Turns", "told"]

#: |g| beyond which galaxies are not turned: in the frame, what is round in them is a streak
#: along x, and their arms are hidden anyway.
FLATTEST = 0.4
#: Numbers that `told` returns for a galaxy.
TOLD = 3
_FEWEST = 1.0  # galaxies that each angle is given beside those counted


def told(turn: Tensor, g: Tensor) -> Tensor:
    """Pose as networks see it: that it is known, and along what direction the frame stretches.

    Parameters
    ----------
    turn : tensor (n,)
        Counterclockwise from the stamp to the frame [radian]; NaN: the stamp is as the frame.
    g : tensor (n,)
        |g|; NaN where missing.

    Returns
    -------
    tensor (n, 3)
    """
    known = torch.isfinite(turn)
    angle, size = turn.nan_to_num(), torch.where(known, g.nan_to_num(), 0.0)
    return torch.stack(
        [known.to(g.dtype), size * torch.cos(2 * angle), -size * torch.sin(2 * angle)], 1
    )


class Turns(nn.Module):
    """How often galaxies of each |g| are turned by each angle.

    Half a turn is as likely as none, whatever the galaxy: the sky has no direction.

    Parameters
    ----------
    shapes, angles : int
        Bins of |g| from 0 to `FLATTEST`, and of the angle from 0 to pi.
    """

    share: Tensor

    def __init__(self, shapes: int = 6, angles: int = 24):
        super().__init__()
        self.register_buffer("share", torch.full((shapes, angles), 1 / angles))

    def fit(self, turn: Tensor, g: Tensor) -> None:
        """Count galaxies, tensors (n,); those that are not turned do not count."""
        shapes, angles = self.share.shape
        counted = torch.isfinite(turn) & (g < FLATTEST)
        turn, g = turn[counted], g[counted]
        column = (torch.remainder(turn, math.pi) * (angles / math.pi)).long().clamp(max=angles - 1)
        index = self._row(g) * angles + column
        count = torch.bincount(index, minlength=shapes * angles).reshape(shapes, angles)
        count = count.to(self.share) + _FEWEST
        self.share.copy_(count / count.sum(1, keepdim=True))

    def draw(self, uniform: Tensor, g: Tensor) -> Tensor:
        """Angles (n,) of galaxies of |g| (n,), from numbers uniform between 0 and 1.

        In double precision on any device, none for flat ones.
        """
        half, rest = torch.floor(2 * uniform), torch.remainder(2 * uniform, 1.0)
        share = self.share.double()[self._row(g)]
        above = share.cumsum(1)
        column = torch.searchsorted(above, rest[:, None], right=True).clamp(max=share.shape[1] - 1)
        high, width = (v.gather(1, column)[:, 0] for v in (above, share))
        place = (column[:, 0] + 1 + ((rest - high) / width).clamp(-1, 0)) / share.shape[1]
        return torch.where(g < FLATTEST, math.pi * (half + place), 0.0)

    def _row(self, g: Tensor) -> Tensor:
        shapes = len(self.share)
        return (g * (shapes / FLATTEST)).long().clamp(0, shapes - 1)
