"""How frequent each class is in a survey.

What two surveys differ in must not be taken for a difference in how they see galaxies if it is one
in which galaxies they hold. While surveys are aligned their classes are given the same weights;
afterwards the answers for a survey tell how frequent each class is there.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["even_chances", "even_weights", "likely_shares", "weighted"]

_ROUNDS = 100


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


def likely_shares(even: NDArray) -> NDArray:
    """Return how frequent each class is among galaxies, as far as the answers for them tell.

    The expectation maximisation of Saerens et al. 2002 (Neural Computation 14, 21), equation 2.9.
    As many galaxies again, evenly of all classes, are added: answers that doubt too little or too
    much would else let rare classes die out.

    Parameters
    ----------
    even : ndarray (n, classes)
        Probabilities as if all classes were equally frequent.

    Returns
    -------
    ndarray (classes,)
        Their sum is 1.
    """
    classes = even.shape[1]
    share = np.full(classes, 1 / classes)
    for _ in range(_ROUNDS):
        share = (weighted(even, share).mean(0) + 1 / classes) / 2
    return share


def weighted(even: NDArray, share: NDArray) -> NDArray:
    """Return probabilities (n, classes) where classes have shares (classes,), of even ones."""
    product = even * share
    return product / product.sum(1, keepdims=True)
