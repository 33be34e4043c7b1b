"""The search for a magnitude from which the same magnitude comes out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["fixed_points"]

# How near to each other what goes in and what comes out are to be [mag]; trials by the secant
# method, in which what comes out may change so much with what goes in; and then halvings.
_NEAR = 0.002
_SECANTS, _SLOPES = 5, (-2.0, 0.7)
_HALVINGS = 12


def fixed_points(
    comes_out: Callable[[NDArray, NDArray], NDArray], guess: NDArray, low: float, high: float
) -> NDArray:
    """Find the magnitude of each galaxy that comes out as it goes in, to 0.002 mag.

    By the secant method. Where that has not come to rest, since the galaxy's colour jumps within a
    few hundredths of a magnitude and a secant steps over it to and fro, the interval between the
    last trial that came out fainter than it went in and the last that did not is halved (Press et
    al. 2007, Numerical Recipes, 9.1).

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
        mag. A galaxy for which none is found has the trial after which it was given up.
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
        between = np.isfinite(middle)
        halving = number >= _SECANTS - 1
        step = np.where(halving & between, middle, secant)
        # A trial that is good enough stays: a step from there, near a jump, would lead away.
        far = (np.abs(found - now) > _NEAR) & (step != now) & (between | (not halving))
        last = number == _SECANTS + _HALVINGS - 1
        values[rows] = np.where(far & (not last), step, now)
        rows, slope, before = rows[far], slope[far], (now[far], found[far])
        if len(rows) == 0:
            break
    return values
