"""The scorecard: every metric, of the model and of what it is compared with, with errors."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from galsim_vae.train.statistics import bootstrap_error, wasserstein

from . import response
from .features import COLOURS, FEATURES
from .pairs import Pairs
from .rows import Estimate, Row
from .two_samples import classifier, copies, coverage, discrepancy, network

__all__ = ["power_ratio", "scorecard", "shifts"]

_FEW = 0.2  # share of galaxies whose PSF must reach a wave number for it to count
_FEWEST = 10  # galaxies that must have a feature
_RINGS = (4, 8, 12, 16, 20)  # cycles a stamp that have a row of their own
# Values farther from the median than so many sigma68 count as just so far.
_REACH = 5.0
# Least sigma68 of a colour and of the gradient: what photometry is good to [mag].
_LEAST_COLOUR = 0.05
_G, _SIZE = FEATURES.index("g"), FEATURES.index("size")
# From, to cycles a stamp: of drawn galaxies, and of those encoded and decoded; and the most there.
_WIDE, _LARGEST = ((2, 20), (2, 16)), 0.1


def scorecard(
    measured: dict[str, NDArray], seed: int, progress: Callable[[str], None]
) -> list[Row]:
    """Score a comparison.

    Parameters
    ----------
    measured : dict of str to ndarray
        Arrays of `compare`, joined; rows of samples not made are NaN.
    seed : int
        Of halves, bootstraps, permutations, folds and networks.
    progress : callable
        Called with the name of what is being computed.
    """
    random = np.random.default_rng(seed)
    pairs = Pairs(measured, random)
    rows: list[Row] = []
    for part in (_response, _ends, shifts, _means, _power, _sky, discrepancy, classifier, network,
                 copies, coverage, _arms):  # fmt: skip
        progress(part.__name__.strip("_"))
        rows += part(pairs, random, seed)
    return sorted(rows, key=lambda row: row.number)


def _response(pairs: Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """1: shear response through surveys' PSFs."""
    for kind, label in response.KINDS.items():
        found = pairs.estimates(
            f"response/{kind}", response.relative, random, response.relative_of_halves
        )
        values = {name: _scalar(*pair) for name, pair in found.items()}
        sersic = values.get("sersic", Estimate(np.nan)).value
        limit = 0.5 * abs(sersic) if np.isfinite(sersic) else None
        if values:
            yield Row(1, label, values, limit)


def _scalar(value: NDArray, error: NDArray) -> Estimate:
    return Estimate(float(value), float(error))


def _ends(pairs: Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """2: brightness at the end of the stamp; the floor is that of the held-out galaxies."""
    drawn, held_out = (pairs.measured.get(f"ends/{name}") for name in ("model", "held_out"))
    if drawn is None:
        return
    columns = {"model": drawn} if held_out is None else {"model": drawn, "floor": held_out}
    kinds = {"median": (50, 1.5e-3), "99th percentile": (99, 2e-2)}
    for kind, (percentile, limit) in kinds.items():
        values = {}
        for name, column in columns.items():
            def statistic(v, p=percentile):
                return np.percentile(v, p)

            error = bootstrap_error(statistic, column, random=random)
            values[name] = _scalar(statistic(column), error)
        yield Row(2, f"{kind} (under floor: that of held-out)", values, limit)


def _shift(reference: NDArray, other: NDArray) -> NDArray:
    """Return W1 over sigma68 of each feature (n, features); NaN of those that few galaxies have."""
    result = np.full(len(FEATURES), np.nan)
    for k, (name, a, b) in enumerate(zip(FEATURES, reference.T, other.T, strict=True)):
        if min(np.isfinite(a).sum(), np.isfinite(b).sum()) >= _FEWEST:
            least = _LEAST_COLOUR if name in (*COLOURS, "gradient") else 0.0
            result[k] = wasserstein(a, b, _REACH, least)
    return np.append(result, np.nanmean(result) if np.isfinite(result).any() else np.nan)


def shifts(pairs: Pairs, random: np.random.Generator, seed: int = 0) -> Iterable[Row]:
    """Yield W1 over sigma68 of each feature, their mean, and how many are near the floor.

    Parameters
    ----------
    pairs : Pairs
    random : numpy.random.Generator
        Of bootstraps.
    seed : int
        Not used; other parts need it.
    """
    found = pairs.estimates("features", _shift, random)
    for k, feature in enumerate((*FEATURES, "mean")):
        values = {name: _scalar(v[k], e[k]) for name, (v, e) in found.items()}
        yield Row(3, feature, values, 0.03 if feature == "mean" else 0.05)
    floor, scatter = (column[:-1] for column in found["floor"])
    near = {}
    for name, (value, error) in found.items():
        excess = (value[:-1] - floor) / np.hypot(error[:-1], scatter)
        known = np.isfinite(excess)
        if name != "floor" and known.any():
            near[name] = Estimate(float(np.mean(excess[known] < 2)))
    yield Row(3, "share of these within two errors of the floor", near, at_least=True)


def _means(pairs: Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """4: mean |g| and median size."""

    def both(reference: NDArray, other: NDArray) -> NDArray:
        good = np.isfinite(reference[:, _G]) & np.isfinite(other[:, _G])
        if not good.any():
            return np.full(2, np.nan)
        reference, other = reference[good], other[good]
        size = np.median(other[:, _SIZE]) / np.median(reference[:, _SIZE])
        return np.array([other[:, _G].mean() - reference[:, _G].mean(), size - 1])

    found = pairs.estimates("features", both, random)
    kinds = (("mean |g|, less held-out's", 0.003), ("median size over held-out's, less 1", 0.005))
    for k, (metric, limit) in enumerate(kinds):
        values = {name: _scalar(v[k], e[k]) for name, (v, e) in found.items()}
        yield Row(4, metric, values, limit)


def power_ratio(reference: NDArray, other: NDArray) -> NDArray:
    """Median power of a sample over that of the held-out galaxies, by wave number; NaN if of few.

    Medians, because a mean is that of the few galaxies with the brightest cores.
    """
    known = np.isfinite(reference) & np.isfinite(other)
    ratio = np.full(known.shape[1], np.nan)
    for k in np.flatnonzero(known.mean(0) > _FEW):
        rows = known[:, k]
        ratio[k] = np.median(other[rows, k]) / np.median(reference[rows, k])
    return ratio


def _excess(reference: NDArray, other: NDArray) -> NDArray:
    """`power_ratio` less 1: the largest of its absolute values over `_WIDE`, and at `_RINGS`."""
    excess = power_ratio(reference, other) - 1
    largest = []
    for low, high in _WIDE:
        part = np.abs(excess[low - 1 : high])
        largest.append(np.nanmax(part) if np.isfinite(part).any() else np.nan)
    return np.array([*largest, *(excess[k - 1] for k in _RINGS)])


def _power(pairs: Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """7: power spectra up to the PSF's cut-off, also in the frame of the networks."""
    for kind, where in (("power", ""), ("frame_power", ", in the frame of the networks")):
        found = pairs.estimates(kind, _excess, random)
        names = [f"largest of {low} to {high} cycles" for low, high in _WIDE]
        names += [f"at {k} cycles" for k in _RINGS]
        for k, name in enumerate(names if found else ()):
            values = {column: _scalar(v[k], e[k]) for column, (v, e) in found.items()}
            limit = _LARGEST if k < len(_WIDE) and not where else None
            if k == 1:  # what is not encoded cannot be drawn
                if "rebuilt" in values:
                    yield Row(7, f"{name}, rebuilt{where}", values, limit, judged="rebuilt")
                continue
            yield Row(7, name + where, values, limit)


def _arms(pairs: Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """11: how many galaxies have clear arms."""

    def ratio(reference: NDArray, other: NDArray) -> NDArray:
        return np.asarray(other.mean() / reference.mean() if reference.any() else np.nan)

    found = pairs.estimates("arms", ratio, random)
    if found:
        yield Row(11, "in the frame of the networks",
                  {name: _scalar(*pair) for name, pair in found.items()})  # fmt: skip


def _sky(pairs: Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """9: mean ellipticity, and flux at the edge; the floor's edge is the held-out galaxies'."""
    shapes = pairs.measured["sky/model"][:, :2]
    shapes = shapes[np.isfinite(shapes).all(1)]
    error = shapes.std(0) / np.sqrt(len(shapes))
    for k in (0, 1):
        sigmas = float(shapes[:, k].mean() / error[k])
        yield Row(9, f"mean g{k + 1}, in sigma", {"model": Estimate(sigmas, 1.0)}, 2.0)
    values = {}
    for name in pairs.columns:
        column = pairs.measured.get("edges/" + ("held_out" if name == "floor" else name))
        if column is not None:
            column = column[np.isfinite(column)]
            values[name] = Estimate(
                float(column.mean()), float(column.std() / np.sqrt(len(column)))
            )
    known = values.get("floor")  # of a real galaxy, what a stamp without PSF has there is not
    limit = None if known is None else known.value + 2 * known.error
    yield Row(9, "flux in the outer 2 px (under floor: that of held-out)", values, limit)
