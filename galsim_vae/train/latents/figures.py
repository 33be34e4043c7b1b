"""Pictures of what was learnt: confusion matrix, calibration, numbers against the truth."""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from galsim_vae.files import write_whole

__all__ = ["draw_classes", "draw_numbers"]


def draw_classes(
    labels: NDArray, probability: NDArray, names: Sequence[str], path: str | os.PathLike
) -> None:
    """Draw the confusion matrix and the calibration.

    Parameters
    ----------
    labels : ndarray (n,) int
        The true classes.
    probability : ndarray (n, classes)
        Of each class, of galaxies that were held out.
    names : sequence of str
        Of the classes.
    path : str or path
        Of the PNG.
    """
    from matplotlib.figure import Figure

    count = len(names)
    side = max(3.5, 0.55 * count + 1.5)
    figure = Figure(figsize=(side + 4.6, side), layout="constrained")
    left, right = figure.subplots(1, 2)
    table = np.zeros((count, count), int)
    np.add.at(table, (labels, probability.argmax(1)), 1)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    left.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), number in np.ndenumerate(table):
        dark = share[row, column] > 0.5
        left.text(column, row, str(number), ha="center", va="center", fontsize=8,
                  color="white" if dark else "black")  # fmt: skip
    left.set_xticks(range(count), [str(name) for name in names], rotation=45, ha="right")
    left.set_yticks(range(count), [str(name) for name in names])
    left.set(xlabel="answered", ylabel="true", title="galaxies")
    stated, correct = probability.max(1), probability.argmax(1) == labels
    edges = np.linspace(0, 1, 11)
    place = np.clip(np.digitize(stated, edges) - 1, 0, 9)
    right.plot([0, 1], [0, 1], color="0.7")
    for k in np.unique(place):
        inside = place == k
        mean, n = correct[inside].mean(), inside.sum()
        error = np.sqrt(max(mean * (1 - mean), 1 / n) / n)
        right.errorbar(stated[inside].mean(), mean, error, fmt="o", color="tab:blue")
    right.set(xlabel="stated probability", ylabel="share of right answers", title="calibration",
              xlim=(0, 1.02), ylim=(0, 1.02))  # fmt: skip
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=110))


def draw_numbers(
    truth: NDArray, found: NDArray, name: str, path: str | os.PathLike, error: str
) -> None:
    """Draw predicted numbers against the true ones.

    Parameters
    ----------
    truth, found : ndarray (n,)
        The numbers, and what was predicted of galaxies that were held out.
    name : str
        What they are.
    path : str or path
        Of the PNG.
    error : str
        The scores, as the title.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(truth, found, ".", markersize=4, alpha=0.5)
    low, high = float(np.min(truth)), float(np.max(truth))
    axes.plot([low, high], [low, high], color="0.5")
    axes.set(xlabel=name, ylabel=f"{name}, predicted")
    axes.set_title(error, fontsize=9)
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=110))
