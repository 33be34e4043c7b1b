"""The scorecard: every metric, of the model and of what it is compared with, with errors."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from galsim_vae.train.statistics import bootstrap, bootstrap_error, wasserstein

from . import distances
from .features import COLOURS, FEATURES
from .rows import COMPARED, Estimate, Row

__all__ = ["IMAGES", "power_ratio", "scorecard"]

_KERNEL_ROWS = 2000  # galaxies in an MMD
IMAGES = 3000  # pairs that the network sees
_FEW = 0.2  # share of galaxies whose PSF must reach a wave number for it to count
_RINGS = (4, 8, 12, 16, 20)  # cycles a stamp that have a row of their own
_G, _SIZE = FEATURES.index("g"), FEATURES.index("size")

_Measured = dict[str, NDArray]


def scorecard(measured: _Measured, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """Score a comparison.

    Parameters
    ----------
    measured : dict of str to ndarray
        Arrays of `compare`, joined; rows of samples not made are NaN.
    seed : int
        Of bootstraps, permutations, folds and networks.
    progress : callable
        Called with the name of what is being computed.
    """
    random = np.random.default_rng(seed)
    pairs = _Pairs(measured, random)
    rows: list[Row] = []
    for part in (_shifts, _means, _mmd, _classifier, _network, _power, _copies, _sky, _coverage):
        progress(part.__name__.strip("_"))
        rows += part(pairs, random, seed)
    return sorted(rows, key=lambda row: row.number)


class _Pairs:
    """Rows of the held-out galaxies and of a sample, for each column of the scorecard."""

    def __init__(self, measured: _Measured, random: np.random.Generator):
        self.measured = measured
        self.n = len(measured["conditions"])
        order = random.permutation(self.n)
        self.halves = np.sort(order[: self.n // 2]), np.sort(order[self.n // 2 : self.n // 2 * 2])
        self.columns = [name for name in COMPARED if name == "floor" or self._has(name)]

    def _has(self, name: str) -> bool:
        return f"features/{name}" in self.measured

    def of(self, kind: str, name: str) -> tuple[NDArray, NDArray] | None:
        """Values of the held-out galaxies and of a sample, (n, ...) each; None if not known."""
        reference = self.measured.get(f"{kind}/held_out")
        if reference is None:
            return None
        if name == "floor":
            return reference[self.halves[0]], reference[self.halves[1]]
        other = self.measured.get(f"{kind}/{name}")
        if other is None:
            return None
        rows = self.made(name)
        return reference[rows], other[rows]

    def made(self, name: str) -> NDArray:
        """Numbers of the rows that a sample was made of."""
        return np.flatnonzero(np.isfinite(self.measured[f"features/{name}"]).any(1))

    def complete(self, name: str) -> tuple[NDArray, NDArray]:
        """Standardised features that are known of nearly all galaxies, of rows where all are."""
        reference, other = self._known("floor" if name == "floor" else name)
        good = np.isfinite(reference).all(1) & np.isfinite(other).all(1)
        return reference[good], other[good]

    def _known(self, name: str) -> tuple[NDArray, NDArray]:
        everything = self.measured["features/held_out"]
        column = np.isfinite(everything).mean(0) > 0.9
        found = self.of("features", name)
        assert found is not None
        reference, other = found
        _, reference, other = distances.standardise(
            everything[:, column], reference[:, column], other[:, column]
        )
        return reference, other

    def training(self) -> NDArray | None:
        """Standardised features of training galaxies."""
        values = self.measured.get("features/training")
        if values is None:
            return None
        everything = self.measured["features/held_out"]
        column = np.isfinite(everything).mean(0) > 0.9
        _, values = distances.standardise(everything[:, column], values[:, column])
        return values[np.isfinite(values).all(1)]


def _shifts(pairs: _Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """1: W1 over sigma68 of each feature, and their mean."""
    results: dict[str, dict[str, Estimate]] = {name: {} for name in (*FEATURES, "mean")}
    for name in pairs.columns:
        found = pairs.of("features", name)
        assert found is not None
        values, errors = [], []
        for k, feature in enumerate(FEATURES):
            a, b = (v[:, k] for v in found)
            if min(np.isfinite(a).sum(), np.isfinite(b).sum()) < 10:
                results[feature][name] = Estimate(np.nan)
                continue
            result = _estimate(wasserstein, a, b, random=random)
            results[feature][name] = result
            values.append(result.value)
            errors.append(result.error)
        error = float(np.sqrt(np.mean(np.square(errors)) / len(errors)))
        results["mean"][name] = Estimate(float(np.mean(values)), error)
    for feature, values in results.items():
        yield Row(1, f"W1/sigma68 {feature}", values, 0.03 if feature == "mean" else 0.05)


def _estimate(statistic, *samples: NDArray, random: np.random.Generator) -> Estimate:
    """A statistic and its standard error."""
    error = bootstrap_error(statistic, *samples, random=random)
    return Estimate(float(statistic(*samples)), float(error))


def _mean_less(reference: NDArray, other: NDArray) -> float:
    return float(other.mean() - reference.mean())


def _mean_over(reference: NDArray, other: NDArray) -> float:
    return float(other.mean() / reference.mean() - 1)


def _means(pairs: _Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """2: mean |g| and mean size."""
    shapes, sizes = {}, {}
    for name in pairs.columns:
        found = pairs.of("features", name)
        assert found is not None
        good = np.isfinite(found[0][:, _G]) & np.isfinite(found[1][:, _G])
        reference, other = (v[good][:, [_G, _SIZE]] for v in found)

        shapes[name] = _estimate(_mean_less, reference[:, 0], other[:, 0], random=random)
        sizes[name] = _estimate(_mean_over, reference[:, 1], other[:, 1], random=random)
    yield Row(2, "mean |g|, less that of held-out", shapes, 0.003)
    yield Row(2, "mean size over that of held-out, less 1", sizes, 0.005)


def _mmd(pairs: _Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """3: MMD, its permutation p, and its ratio to that of Sersic profiles."""
    kernels = {}
    for name in pairs.columns:
        reference, other = pairs.complete(name)
        rows = random.permutation(len(reference))[:_KERNEL_ROWS]
        kernels[name] = distances.mmd_kernel(reference[rows], other[rows])
    squares, chances, draws = {}, {}, {}
    for name, h in kernels.items():
        draws[name] = bootstrap(
            lambda rows, h=h: distances.mmd_squared(h, rows), np.arange(len(h)), random=random
        )
        squares[name] = Estimate(distances.mmd_squared(h), float(draws[name].std()))
        chances[name] = Estimate(distances.permutation_p(h, random))
    yield Row(3, "MMD^2", squares)
    if "sersic" in kernels and squares["sersic"].value > 0:
        unit = squares["sersic"].value
        ratios = {
            name: Estimate(value.value / unit, float((draws[name] / draws["sersic"]).std()))
            for name, value in squares.items()
        }
        yield Row(3, "MMD^2 over Sersic's", ratios, 0.25)
    yield Row(3, "MMD permutation p", chances)


def _classifier(pairs: _Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """4: gradient boosting on features and conditions; also on structure and on colours alone."""
    conditions = pairs.measured["conditions"]
    colours = [FEATURES.index(name) for name in COLOURS]
    structure = [k for k, name in enumerate(FEATURES) if name not in (*COLOURS, "gradient")]
    kinds = {"": list(range(len(FEATURES))), " of structure": structure, " of colours": colours}
    for kind, columns in kinds.items():
        values = {}
        for name in pairs.columns:
            found = pairs.of("features", name)
            assert found is not None
            rows = pairs.halves if name == "floor" else (pairs.made(name),) * 2
            first, second = (
                np.column_stack([v[:, columns], conditions[r]])
                for v, r in zip(found, rows, strict=True)
            )
            accuracy = distances.classifier_accuracy(first, second, seed)
            values[name] = _accuracy(accuracy, 2 * len(first))
        limit = None if kind else 0.55
        yield Row(4, f"accuracy, gradient boosting{kind}", values, limit)


def _accuracy(value: float, tested: int) -> Estimate:
    return Estimate(value, float(np.sqrt(0.25 / tested)))


def _network(pairs: _Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """4: convolutional network on noisy stamps; the rows of images are their own."""
    reference = pairs.measured.get("images/held_out")
    if reference is None:
        return
    reference = reference[:IMAGES]
    half = len(reference) // 2
    others = {"floor": (reference[:half], reference[half : 2 * half])}
    for name in ("model", "sersic"):
        if f"images/{name}" in pairs.measured:
            others[name] = reference, pairs.measured[f"images/{name}"][:IMAGES]
    values = {}
    for name, (first, second) in others.items():
        tested = 2 * (len(first) - 2 * len(first) // 3)
        values[name] = _accuracy(distances.network_accuracy(first, second, seed), tested)
    yield Row(4, "accuracy, network on stamps", values, 0.55)


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
    """`power_ratio` less 1: the largest of its absolute values, and those at `_RINGS`."""
    excess = power_ratio(reference, other) - 1
    return np.array([np.nanmax(np.abs(excess)), *(excess[k - 1] for k in _RINGS)])


def _power(pairs: _Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """5: power spectra up to the PSF's cut-off."""
    results = {kind: {} for kind in ("largest", *(f"at {k} cycles" for k in _RINGS))}
    for name in pairs.columns:
        found = pairs.of("power", name)
        if found is None:
            continue
        errors = bootstrap_error(_excess, *found, random=random)
        for kind, value, error in zip(results, _excess(*found), errors, strict=True):
            results[kind][name] = Estimate(float(value), float(error))
    for kind, values in results.items():
        limit = 0.05 if kind == "largest" else None
        yield Row(5, f"power over held-out, less 1: {kind}", values, limit)


def _copies(pairs: _Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """6: distance to the nearest training galaxy, over that of held-out galaxies."""
    training = pairs.training()
    if training is None or len(training) < 2:
        return
    values = {}
    for name in pairs.columns:
        near = (distances.nearest_distance(training, v) for v in pairs.complete(name))
        values[name] = _estimate(lambda a, b: np.median(b) / np.median(a), *near, random=random)
    yield Row(6, "distance to training set over held-out's", values, 0.9, at_least=True)


def _sky(pairs: _Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """7: mean ellipticity, and flux at the edge; the floor's edge is the held-out galaxies'."""
    shapes = pairs.measured["sky/model"][:, :2]
    shapes = shapes[np.isfinite(shapes).all(1)]
    error = shapes.std(0) / np.sqrt(len(shapes))
    for k in (0, 1):
        sigmas = float(shapes[:, k].mean() / error[k])
        yield Row(7, f"mean g{k + 1}, in sigma", {"model": Estimate(sigmas, 1.0)}, 2.0)
    values = {}
    for name in pairs.columns:
        column = pairs.measured.get("edges/" + ("held_out" if name == "floor" else name))
        if column is not None:
            column = column[np.isfinite(column)]
            values[name] = Estimate(
                float(column.mean()), float(column.std() / np.sqrt(len(column)))
            )
    yield Row(7, "flux in the outer 2 px (under floor: that of held-out galaxies)", values, 1e-3)


def _coverage(pairs: _Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """8: precision and recall, among as many galaxies for every column."""
    precision, recall = {}, {}
    sets = {name: pairs.complete(name) for name in pairs.columns}
    n = min(min(map(len, pair)) for pair in sets.values())
    for name, (reference, other) in sets.items():
        chosen = random.permutation(len(reference))[:n], random.permutation(len(other))[:n]
        shares = distances.precision_recall(reference[chosen[0]], other[chosen[1]])
        for result, share in zip((precision, recall), shares, strict=True):
            result[name] = Estimate(share, float(np.sqrt(share * (1 - share) / n)))
    yield Row(8, "precision", precision, 0.9, at_least=True)
    yield Row(8, "recall", recall, 0.9, at_least=True)
