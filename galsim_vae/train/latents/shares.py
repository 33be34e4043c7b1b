"""Classes given the same weight, however frequent each is in a survey.

What two surveys differ in must not be taken for a difference in how they see galaxies if it is one
in which galaxies they hold.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["even_chances", "even_weights"]


def even_weights(probability: NDArray) -> NDArray:
    """Return weights of galaxies with which all classes weigh the same.

    Parameters
    ----------
    probability : ndarray (n, classes)
        Of the classes of each galaxy.

    Returns
    -------
    ndarray (n,)
        Their sum is 1.
    """
    weight = (probability / np.maximum(probability.sum(0), 1e-6)).sum(1)
    return weight / weight.sum()


def even_chances(probability: Any, share: Any) -> Any:
    """Return probabilities as if all classes were equally frequent.

    Saerens et al. 2002 (Neural Computation 14, 21), equation 2.4.

    Parameters
    ----------
    probability : ndarray or tensor (n, classes)
        From a learner.
    share : ndarray or tensor (classes,)
        Of each class among the galaxies that it was taught.

    Returns
    -------
    ndarray or tensor (n, classes)
        The sum of each row is 1.
    """
    even = probability / share
    return even / even.sum(1)[:, None]
