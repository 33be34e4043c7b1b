"""Which galaxies of a training file were seen from space."""

import re

import numpy as np
from numpy.typing import NDArray

__all__ = ["from_space"]

# Filters of HST and JWST (F814W, F444W, F350LP), and of Euclid's VIS.
_SPACE = re.compile(r"F\d{3}(W|M|N|X|LP|W2)|VIS|IE", re.IGNORECASE)


def from_space(filters: NDArray) -> NDArray:
    """Tell which filters are those of HST, JWST or Euclid VIS.

    The resolution of the others, ground-based ones, is that of large galaxies only. Euclid's
    near-infrared filters are not among them: their names are those of ground-based ones, and
    their pixels are as large.

    Parameters
    ----------
    filters : ndarray (n,) of str
        A survey's filters, as a training file has them.

    Returns
    -------
    ndarray (n,) bool
    """
    names = np.asarray(filters).tolist()
    return np.array([_SPACE.fullmatch(name) is not None for name in names], dtype=bool)
