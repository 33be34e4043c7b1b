"""The search for a magnitude from which the same magnitude comes out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["fixed_points"]

# Trials, how near to each other what goes in and what comes out are to be [mag], and how what comes
# out may change with what goes in.
_SECANTS, _NEAR, _SLOPES = 5, 0.02, (-2.0, 0.7)
# Then, where the answer lies between two trials: halvings, and how near these are to lead.
_HALVINGS, _NEARER = 12, 0.001


def fixed_points(
    comes_out: Callable[[NDArray, NDArray], NDArray], guess: NDArray, low: float, high: float
) -> NDArray:
    """Find the magnitude of each galaxy that comes out as it goes in.

    By the secant method. Where that has not come to rest, since the galaxy's colour jumps within a
    few hundredths of a magnitude and a secant steps over it to and fro, the two nearest trials that
    the answer lies between are halved (Press et al. 2007, Numerical Recipes, 9.1).

    Parameters
    ----------
    comes_out : callable
        Of rows (k,) and what goes in (k,) [mag], what comes out (k,) [mag].
    guess : ndarray (n,)
        Where to begin [mag].
    low, high : float
        Range of what goes in [mag].

    Returns
    -------
    ndarray (n,)
        mag. A galaxy that has no such magnitude within the range has the last that was tried.
    """
    values = np.clip(guess, low, high).astype(float)
    sides = np.tile([-np.inf, np.inf], (len(values), 1))
    rows, slope = np.arange(len(values)), np.zeros(len(values))
    before = None
    for number in range(_SECANTS + _HALVINGS):
        now = values[rows]
        found = comes_out(rows, now)
        sides[rows, np.where(found > now, 0, 1)] = now
        if before is not None:
            moved = now - before[0]
            slope = (found - before[1]) / np.where(moved == 0, 1.0, moved)
            slope = np.clip(slope, *_SLOPES)
        secant = np.clip(now + (found - now) / (1 - slope), low, high)
        middle = sides[rows].mean(axis=1)
        halving = number >= _SECANTS - 1
        far = np.abs(found - now) > (_NEARER if number >= _SECANTS else _NEAR)
        step = np.where(far & np.isfinite(middle) & halving, middle, secant)
        values[rows] = np.where(far | (number < _SECANTS), step, now)
        far &= values[rows] != now
        rows, slope, before = rows[far], slope[far], (now[far], found[far])
        if len(rows) == 0:
            break
    return values
