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

_THUMBNAILS = 26  # that have room side by side
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
        colours[known] = paint(axes, values[known], name)
    middle = (places.max(0) + places.min(0)) / 2
    width = float(np.ptp(places, axis=0).max()) or 1.0
    side = width / _THUMBNAILS
    axes.scatter(*places.T, s=6, c=colours, linewidths=0)
    for row in apart(places, 1.15 * side):  # room for the frame
        x, y = places[row] - side / 2
        axes.imshow(thumbnails[row], extent=(x, x + side, y, y + side), zorder=2)
        frame = Rectangle((x, y), side, side, fill=False, color=colours[row], lw=1.5, zorder=3)
        axes.add_patch(frame)
    reach = width / 2 + side
    axes.set(xlim=middle[0] + np.array([-reach, reach]), ylim=middle[1] + np.array([-reach, reach]),
             xticks=[], yticks=[], aspect="equal")  # fmt: skip
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=140))


def _paint_numbers(axes: Axes, values: NDArray, name: str) -> NDArray:
    """Colours (n, 4) of numbers; their ends are percentiles, so that one wild number is one."""
    colours = ScalarMappable(Normalize(*np.percentile(values, (1, 99))), "viridis")
    axes.figure.colorbar(colours, ax=axes, label=name, extend="both", shrink=0.7)
    return colours.to_rgba(values)


def _paint_classes(axes: Axes, values: NDArray, name: str) -> NDArray:
    """Colours (n, 4) of texts, with a legend."""
    classes, index, count = np.unique(values, return_inverse=True, return_counts=True)
    chosen = colormaps["tab10" if len(classes) <= 10 else "tab20"]
    marks = [
        Line2D([], [], color=chosen(k), marker="o", linestyle="", label=f"{text} ({n})")
        for k, (text, n) in enumerate(zip(classes, count, strict=True))
    ]
    axes.figure.legend(handles=marks, title=name, loc="outside right upper")
    return chosen(index)


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
