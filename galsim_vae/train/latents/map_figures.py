"""Pictures of a map of galaxies: the map itself, and latents against their prior."""

import os

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from galsim_vae.files import write_whole

from .map import apart

__all__ = ["draw_map", "draw_prior"]

_THUMBNAILS = 22  # that have room side by side
_CLASSES = 20  # that colours can tell apart
_GREY = to_rgba("0.75")
_REACH = 5.0  # of histograms of latents; what lies beyond counts in the last bins


def draw_map(
    places: NDArray, thumbnails: NDArray, path: str | os.PathLike, values: NDArray | None = None,
    name: str = "",
) -> None:  # fmt: skip
    """Draw a point for each galaxy, and thumbnails of as many as have room.

    Parameters
    ----------
    places : ndarray (n, 2)
        From `galsim_vae.train.latents.map.place`.
    thumbnails : ndarray (n, side, side, 3) uint8
        The first row is on top.
    path : str or path
        Of the PNG.
    values : ndarray (n,), optional
        Numbers or texts that colour points and frames, from `galsim_vae.train.latents.map.colour`;
        galaxies without a value are grey, and all are if absent.
    name : str
        Of the values.
    """
    figure = Figure(figsize=(10, 9), layout="constrained")
    axes = figure.subplots()
    colours = np.tile(_GREY, (len(places), 1))
    if values is not None:
        numbers = values.dtype.kind == "f"
        known = np.isfinite(values) if numbers else values != ""
        paint = _paint_numbers if numbers else _paint_classes
        title = name if known.all() else f"{name} (grey: no value)"
        colours[known] = paint(axes, values[known], title)
    low, high = places.min(0), places.max(0)
    side = float(np.max(high - low)) / _THUMBNAILS or 1.0
    axes.scatter(*places.T, s=6, c=colours, linewidths=0)
    for row in apart(places, 1.15 * side):  # room for the frame
        x, y = places[row] - side / 2
        axes.imshow(thumbnails[row], extent=(x, x + side, y, y + side), zorder=2)
        frame = Rectangle((x, y), side, side, fill=False, color=colours[row], lw=1.5, zorder=3)
        axes.add_patch(frame)
    limits = np.transpose([low - side, high + side])
    axes.set(xlim=limits[0], ylim=limits[1], xticks=[], yticks=[], aspect="equal")
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=140, bbox_inches="tight"))


def _paint_numbers(axes: Axes, values: NDArray, title: str) -> NDArray:
    """Colours (n, 4) of numbers, from percentiles on: one wild number is not to rule them."""
    colours = ScalarMappable(Normalize(*np.percentile(values, (1, 99))), "viridis")
    axes.figure.colorbar(colours, ax=axes, label=title, extend="both", shrink=0.7)
    return colours.to_rgba(values)


def _paint_classes(axes: Axes, values: NDArray, title: str) -> NDArray:
    """Colours (n, 4) of texts, with a legend, most frequent first; the rarest may share one."""
    classes, index, count = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(-count, kind="stable")
    colour = np.argsort(order)[index]
    labels = [f"{classes[k]} ({count[k]})" for k in order]
    last = _CLASSES - 1
    if len(labels) > _CLASSES:
        colour = np.minimum(colour, last)
        labels[last:] = [f"{len(order) - last} others ({count[order[last:]].sum()})"]
    chosen = colormaps["tab10" if len(labels) <= 10 else "tab20"]
    marks = [
        Line2D([], [], color=chosen(k), marker="o", linestyle="", label=label)
        for k, label in enumerate(labels)
    ]
    axes.figure.legend(handles=marks, title=title, loc="outside right upper")
    return chosen(colour)


def draw_prior(drawn: NDArray, width: NDArray, path: str | os.PathLike) -> None:
    """Draw histograms of latents against the normal prior.

    Of the latent that the encoder knows best, of the one it knows least, and of all.

    Parameters
    ----------
    drawn : ndarray (n, latent)
        From `galsim_vae.train.latents.map.samples`.
    width : ndarray (n, latent)
        Standard deviations of the encoder.
    path : str or path
        Of the PNG.
    """
    mean = width.mean(0)
    panels = [(f"latent {k}: width {mean[k]:.2g}", drawn[:, k]) for k in
              (int(mean.argmin()), int(mean.argmax()))]  # fmt: skip
    figure = Figure(figsize=(10.5, 3.2), layout="constrained")
    x = np.linspace(-_REACH, _REACH, 61)
    normal = np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
    for axes, (title, values) in zip(
        figure.subplots(1, 3), [*panels, ("all latents", drawn.ravel())], strict=True
    ):
        axes.hist(np.clip(values, -_REACH, _REACH), x, density=True, color="tab:blue", alpha=0.6,
                  label="galaxies")  # fmt: skip
        axes.plot(x, normal, color="black", label="prior")
        axes.set(title=f"{title}, rms {np.sqrt(np.mean(values**2)):.2f}", xlabel="value", yticks=[])
    figure.axes[0].legend(fontsize=8)
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=110))
