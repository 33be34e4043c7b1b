"""Rows that tell two samples apart as wholes: distances, tests, neighbours."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from galsim_vae.train.statistics import bootstrap, bootstrap_error

from . import distances
from .features import COLOURS, FEATURES
from .pairs import REPEATS, Pairs, estimate, few_repeats
from .rows import Estimate, Row

__all__ = ["IMAGES", "classifier", "copies", "coverage", "discrepancy", "network"]

_KERNEL_ROWS = 2000  # galaxies in an MMD
IMAGES = 3000  # pairs that the network sees


def discrepancy(pairs: Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """Yield the MMD, its permutation p, and its ratio to that of Sersic profiles."""

    def kernel(reference: NDArray, other: NDArray) -> NDArray:
        rows = random.permutation(len(reference))[:_KERNEL_ROWS]
        return distances.mmd_kernel(reference[rows], other[rows])

    squares, chances, draws = {}, {}, {}
    for name in pairs.columns:
        if name == "floor":
            repeats = few_repeats(len(pairs))
            floor = [distances.mmd_squared(kernel(*h)) for h in pairs.complete_halves(repeats)]
            squares[name] = estimate(floor)
            continue
        h = kernel(*pairs.complete(name))
        draws[name] = bootstrap(
            lambda rows, h=h: distances.mmd_squared(h, rows), np.arange(len(h)), random=random
        )
        squares[name] = Estimate(distances.mmd_squared(h), float(draws[name].std()))
        chances[name] = Estimate(distances.permutation_p(h, random))
    yield Row(5, "MMD^2", squares)
    if "sersic" in draws and squares["sersic"].value > 0:
        unit = squares["sersic"].value
        ratios = {
            name: Estimate(squares[name].value / unit, float((d / draws["sersic"]).std()))
            for name, d in draws.items()
        }
        ratios["floor"] = Estimate(*(v / unit for v in squares["floor"]))
        yield Row(5, "MMD^2 over Sersic's", ratios, 0.25)
    yield Row(5, "permutation p", chances)


def classifier(pairs: Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """Yield the accuracy of gradient boosting on features and conditions, and on some features."""
    conditions, features = pairs.measured["conditions"], pairs.measured["features/held_out"]
    colours = [FEATURES.index(name) for name in COLOURS]
    structure = [k for k, name in enumerate(FEATURES) if name not in (*COLOURS, "gradient")]
    kinds = {"": list(range(len(FEATURES))), ", structure": structure, ", colours": colours}
    for kind, columns in kinds.items():
        values = {}
        for name in pairs.columns:
            if name == "floor":
                known = np.column_stack([features[:, columns], conditions])
                halves = pairs.halves(known, few_repeats(len(pairs)))
                values[name] = estimate([distances.classifier_accuracy(*h, seed) for h in halves])
                continue
            found, made = pairs.of("features", name), conditions[pairs.made(name)]
            assert found is not None
            first, second = (np.column_stack([v[:, columns], made]) for v in found)
            accuracy = distances.classifier_accuracy(first, second, seed)
            values[name] = _accuracy(accuracy, 2 * len(first))
        yield Row(6, f"gradient boosting{kind}", values, None if kind else 0.55)


def _accuracy(value: float, tested: int) -> Estimate:
    return Estimate(value, float(np.sqrt(0.25 / tested)))


def network(pairs: Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """Yield that of a convolutional network on noisy stamps; the rows of images are their own."""
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
    yield Row(6, "network on stamps", values, 0.55)


def copies(pairs: Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """Yield the distance to the nearest training galaxy, over that of held-out galaxies."""
    training = pairs.training()
    if training is None or len(training) < 2:
        return

    def nearer(held_out: NDArray, other: NDArray) -> float:
        return float(np.median(other) / np.median(held_out))

    values = {}
    for name in pairs.columns:
        near = [distances.nearest_distance(training, v) for v in pairs.complete(name)]
        if name == "floor":
            order = (random.permutation(near[0]) for _ in range(REPEATS))
            half = len(near[0]) // 2
            values[name] = estimate([nearer(v[:half], v[half:]) for v in order])
            continue
        error = bootstrap_error(nearer, *near, random=random)
        values[name] = Estimate(nearer(*near), float(error))
    yield Row(8, "median", values, 0.9, at_least=True)


def coverage(pairs: Pairs, random: np.random.Generator, seed: int) -> Iterable[Row]:
    """Yield precision and recall, among as many galaxies for every column."""
    sets = {name: pairs.complete(name) for name in pairs.columns if name != "floor"}
    n = min([len(pairs) // 2, *(len(reference) for reference, _ in sets.values())])

    def shares(reference: NDArray, other: NDArray) -> tuple[float, float]:
        chosen = random.permutation(len(reference))[:n], random.permutation(len(other))[:n]
        return distances.precision_recall(reference[chosen[0]], other[chosen[1]])

    found = {name: shares(*pair) for name, pair in sets.items()}
    floor = [shares(*halves) for halves in pairs.complete_halves(few_repeats(len(pairs)))]
    for k, metric in enumerate(("precision", "recall")):
        values = {
            name: Estimate(share[k], float(np.sqrt(share[k] * (1 - share[k]) / n)))
            for name, share in found.items()
        }
        values["floor"] = estimate([share[k] for share in floor])
        yield Row(10, metric, values, 0.95, at_least=True)
