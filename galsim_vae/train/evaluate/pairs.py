"""Held-out galaxies and those that are held against them, column by column of the scorecard."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from galsim_vae.train.statistics import bootstrap_error

from . import distances
from .rows import COMPARED, Estimate

__all__ = ["REPEATS", "Pairs", "estimate", "few_repeats"]

#: How often the held-out galaxies are halved at random for the floor.
REPEATS = 50
# Of what takes long for so many galaxies.
_MANY, _FEW_REPEATS = 1000, 5
_KNOWN = 0.9  # share of the held-out galaxies that a feature must be known of to be a coordinate

_Pair = tuple[NDArray, NDArray]


class Pairs:
    """Rows of the held-out galaxies and of a sample, for each column of the scorecard.

    Parameters
    ----------
    measured : dict of str to ndarray
        Arrays of `compare`, joined; rows of samples not made are NaN.
    random : numpy.random.Generator
        Halves the held-out galaxies.

    Attributes
    ----------
    columns : list of str
        Of `COMPARED`, those that there are.
    splits : list of pairs of ndarray of int
        Rows of the two halves, `REPEATS` times.
    """

    def __init__(self, measured: dict[str, NDArray], random: np.random.Generator):
        self.measured = measured
        n = len(measured["conditions"])
        half = n // 2
        orders = [random.permutation(n) for _ in range(REPEATS)]
        self.splits = [(np.sort(o[:half]), np.sort(o[half : 2 * half])) for o in orders]
        self.columns = [
            name for name in COMPARED if name == "floor" or f"features/{name}" in measured
        ]

    def __len__(self) -> int:
        """Count the held-out galaxies."""
        return len(self.measured["conditions"])

    def of(self, kind: str, name: str) -> _Pair | None:
        """Values of the held-out galaxies and of a sample, (n, ...) each; None if not known.

        For the floor, both are the held-out galaxies.
        """
        reference = self.measured.get(f"{kind}/held_out")
        other = self.measured.get(f"{kind}/{'held_out' if name == 'floor' else name}")
        if reference is None or other is None:
            return None
        rows = self.made("held_out" if name == "floor" else name)
        return reference[rows], other[rows]

    def made(self, name: str) -> NDArray:
        """Numbers of the rows that a sample was made of; all of the held-out galaxies."""
        if name == "held_out":
            return np.arange(len(self))
        return np.flatnonzero(np.isfinite(self.measured[f"features/{name}"]).any(1))

    def halves(self, values: NDArray, repeats: int = REPEATS) -> Iterator[_Pair]:
        """Yield two random halves of the held-out galaxies' values, so many times."""
        for first, second in self.splits[:repeats]:
            yield values[first], values[second]

    def estimates(
        self,
        kind: str,
        statistic: Callable[[NDArray, NDArray], ArrayLike],
        random: np.random.Generator,
        halved: Callable[[NDArray, NDArray], ArrayLike] | None = None,
    ) -> dict[str, _Pair]:
        """Return a statistic of each column and its error, each (...).

        Parameters
        ----------
        kind : str
            What it is a statistic of.
        statistic : callable
            Of the values of held-out galaxies and of as many others.
        random : numpy.random.Generator
            Of bootstraps.
        halved : callable, optional
            The statistic for halves of the held-out galaxies, where it is another one.
        """
        found = {}
        for name in self.columns:
            pair = self.of(kind, name)
            if pair is None:
                continue
            if name == "floor":
                draws = [(halved or statistic)(*halves) for halves in self.halves(pair[0])]
                found[name] = _mean_and_scatter(np.array(draws))
            else:
                error = bootstrap_error(statistic, *pair, random=random)
                found[name] = np.asarray(statistic(*pair)), np.asarray(error)
        return found

    def complete(self, name: str) -> _Pair:
        """Standardised features that are known of nearly all galaxies, of rows where all are."""
        found = self.of("features", name)
        assert found is not None
        everything, column = self._coordinates()
        _, *pair = distances.standardise(everything[:, column], *(v[:, column] for v in found))
        good = np.isfinite(pair[0]).all(1) & np.isfinite(pair[1]).all(1)
        return pair[0][good], pair[1][good]

    def complete_halves(self, repeats: int = REPEATS) -> Iterator[_Pair]:
        """Yield the same of two random halves of the held-out galaxies."""
        everything, column = self._coordinates()
        values = distances.standardise(everything[:, column])[0]
        for halves in self.halves(values, repeats):
            first, second = (half[np.isfinite(half).all(1)] for half in halves)
            n = min(len(first), len(second))
            yield first[:n], second[:n]

    def training(self) -> NDArray | None:
        """Standardised features of training galaxies."""
        values = self.measured.get("features/training")
        if values is None:
            return None
        everything, column = self._coordinates()
        _, values = distances.standardise(everything[:, column], values[:, column])
        return values[np.isfinite(values).all(1)]

    def _coordinates(self) -> tuple[NDArray, NDArray]:
        """Features of the held-out galaxies, and which of them nearly all have."""
        everything = self.measured["features/held_out"]
        return everything, np.isfinite(everything).mean(0) > _KNOWN


def _mean_and_scatter(draws: NDArray) -> _Pair:
    """Mean of halvings and their standard deviation; NaN is left out where it is the exception."""
    rare = np.isfinite(draws).mean(0) > 0.5
    draws = np.where(rare, draws, 0.0)
    mean, scatter = np.nanmean(draws, 0), np.nanstd(draws, 0, ddof=1)
    return np.where(rare, mean, np.nan), np.where(rare, scatter, np.nan)


def few_repeats(n: int) -> int:
    """Return how often so many galaxies are halved for a statistic that takes long."""
    return REPEATS if n <= _MANY else _FEW_REPEATS


def estimate(values: ArrayLike) -> Estimate:
    """Return the mean and scatter of a statistic of halved galaxies."""
    mean, scatter = _mean_and_scatter(np.asarray(values, dtype=float))
    return Estimate(float(mean), float(scatter))
