"""Statistics of samples of galaxies: errors, widths and distances, Gini."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor

__all__ = ["bootstrap", "bootstrap_error", "gini", "sigma68", "wasserstein"]

_DRAWS = 200  # of a bootstrap: an error is then good to 1 / sqrt(2 * 200) = 5 %


def bootstrap(
    statistic: Callable[..., ArrayLike], *samples: NDArray, random: np.random.Generator
) -> NDArray:
    """Return a statistic of rows drawn with replacement, many times (Efron 1979, Ann. Stat. 7, 1).

    The same rows are drawn of all samples. Of pairs of galaxies this keeps what the two have in
    common; of samples that have nothing in common it is as right as drawing each on its own.

    Parameters
    ----------
    statistic : callable
        Of as many arrays as there are samples; gives a number or an array.
    *samples : ndarray (n, ...)
    random : numpy.random.Generator

    Returns
    -------
    array (draws, ...)
    """
    n = len(samples[0])
    rows = (random.integers(n, size=n) for _ in range(_DRAWS))
    return np.array([statistic(*(sample[row] for sample in samples)) for row in rows])


def bootstrap_error(
    statistic: Callable[..., ArrayLike], *samples: NDArray, random: np.random.Generator
) -> NDArray:
    """Return the standard error of a statistic, by `bootstrap`.

    Parameters
    ----------
    statistic : callable
        As in `bootstrap`.
    *samples : ndarray (n, ...)
        As in `bootstrap`.
    random : numpy.random.Generator
        As in `bootstrap`.

    Returns
    -------
    ndarray (...)
        Of the statistic's shape; NaN of fewer than two rows.
    """
    if len(samples[0]) < 2:
        return np.full(np.shape(statistic(*samples)), np.nan)
    return np.std(bootstrap(statistic, *samples, random=random), axis=0, ddof=1)


def sigma68(values: NDArray) -> float:
    """Return half the distance from the 16th to the 84th percentile; NaN is left out."""
    low, high = np.nanpercentile(values, (16, 84))
    return float(high - low) / 2


def wasserstein(
    reference: NDArray, other: NDArray, reach: float = np.inf, least: float = 0.0
) -> float:
    """Return the W1 distance of two samples in units of the reference's `sigma68`.

    Parameters
    ----------
    reference, other : ndarray (n,)
        (m,). NaN is left out.
    reach : float
        What is farther from the reference's median than so many units counts as just so far, so
        that no outlier rules the distance.
    least : float
        The unit is at least this.
    """
    reference, other = (values[np.isfinite(values)] for values in (reference, other))
    unit, centre = max(sigma68(reference), least), np.median(reference)
    if np.isfinite(reach):
        limits = centre - reach * unit, centre + reach * unit
        reference, other = (np.clip(values, *limits) for values in (reference, other))
    return float(wasserstein_distance(reference, other)) / unit


def gini(values: Tensor, inside: Tensor) -> Tensor:
    """Return the Gini coefficient of each image's pixels (Lotz et al. 2004, AJ 128, 163, eq. 6).

    0 where all are equal, 1 where one pixel has all of the light.

    Parameters
    ----------
    values : tensor (n, pixels)
        Surface brightness; its absolute value counts.
    inside : bool tensor (n, pixels)
        Pixels that belong to the galaxy.

    Returns
    -------
    tensor (n,)
    """
    count = inside.sum(1).clamp_min(2)[:, None]
    # Pixels outside come first, as zeros.
    ranked = torch.where(inside, values.abs(), -1.0).sort(1).values.clamp_min(0)
    rank = torch.arange(1, values.shape[1] + 1, device=values.device) - (values.shape[1] - count)
    return ((2 * rank - count - 1) * ranked).sum(1) / ((count[:, 0] - 1) * ranked.sum(1))
