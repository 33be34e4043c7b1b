"""Power in rings of spatial frequency."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["ring_means"]


def ring_means(spectrum: Tensor, rings: Sequence[int], stamp: int | None = None) -> Tensor:
    """Return the mean of a real image's spectrum in rings of whole cycles a stamp.

    Parameters
    ----------
    spectrum : tensor (..., size, size // 2 + 1)
        Power or amplitude as `torch.fft.rfft2` lays it out. What that leaves out is the same as
        what it has, so all columns count twice but those that have no counterpart.
    rings : sequence of int
        Cycles a stamp, to the nearest whole number.
    stamp : int, optional
        Side of the stamp [pixel]; if absent, that of the transformed image, which may be larger.

    Returns
    -------
    tensor (..., rings)
    """
    size = spectrum.shape[-2]
    shares = _ring_shares(size, stamp or size, tuple(rings))
    return spectrum.flatten(-2) @ torch.from_numpy(shares).to(spectrum)


@lru_cache(maxsize=8)
def _ring_shares(size: int, stamp: int, rings: tuple[int, ...]) -> NDArray:
    """What each mode of a half plane counts in the mean of each ring: (modes, rings)."""
    ky, kx = np.fft.fftfreq(size) * stamp, np.fft.rfftfreq(size) * stamp
    count = np.full(len(kx), 2.0)
    count[0] = 1
    if size % 2 == 0:
        count[-1] = 1
    inside = np.hypot(ky[:, None], kx).round()[..., None] == np.array(rings)
    weight = (inside * count[:, None]).reshape(-1, len(rings))
    return weight / weight.sum(0)
