"""Pictures of galaxies."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .bands import BANDS
from .files import write_whole

__all__ = ["colour_image", "contact_sheet"]

# Bands shown as red, green and blue, and what each is multiplied by (a typical galaxy is grey).
_RGB = (("F125W", 0.55), ("F814W", 1.0), ("F606W", 1.8))
# Surface brightness at which the stretch turns from linear to logarithmic, over the peak.
_SOFTENING = 0.02


def colour_image(stamp: NDArray, peak: float | None = None) -> NDArray:
    """Show five bands as one picture, with an arcsinh stretch that keeps the colours.

    Lupton et al. 2004, PASP 116, 133.

    Parameters
    ----------
    stamp : ndarray (5, ny, nx)
        Bands in the order of `BANDS`, proportional to f_nu. Bands that are zero throughout are
        taken as not observed; with one band only the picture is grey.
    peak : float, optional
        Surface brightness shown as white; the 99.8th percentile if absent.

    Returns
    -------
    ndarray (ny, nx, 3) float64
        In [0, 1].
    """
    rgb = np.stack([weight * stamp[BANDS.index(band)] for band, weight in _RGB], -1)
    seen = np.abs(rgb).max((0, 1)) > 0
    if not seen.any():
        rgb = np.repeat(stamp.sum(0)[..., None], 3, -1)
    elif not seen.all():
        rgb[..., ~seen] = rgb[..., seen].mean(-1, keepdims=True)
    intensity = rgb.mean(-1, keepdims=True)
    peak = float(np.percentile(intensity, 99.8)) if peak is None else peak
    if not peak > 0:
        return np.zeros_like(rgb)
    x = intensity / (_SOFTENING * peak)
    small = np.abs(x) < 1e-6
    gain = np.where(small, 1.0, np.arcsinh(x) / np.where(small, 1.0, x))
    return np.clip(rgb * gain / (_SOFTENING * peak * np.arcsinh(1 / _SOFTENING)), 0, 1)


def contact_sheet(
    rows: Sequence[Sequence[NDArray]],
    path: str | os.PathLike,
    titles: Sequence[str] | None = None,
    panel: float = 1.1,
    captions: Sequence[str] | None = None,
) -> None:
    """Draw pictures in rows and columns and save them as one PNG.

    Parameters
    ----------
    rows : sequence of sequences of (ny, nx) or (ny, nx, 3)
        Pictures, of values in [0, 1].
    path : str or path
        Of the PNG.
    titles : sequence of str, optional
        Of the columns.
    panel : float
        Side of a picture [inch].
    captions : sequence of str, optional
        Of the pictures, one after the other, written into them.
    """
    from matplotlib.figure import Figure

    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(panel * columns, panel * len(rows) + (0.25 if titles else 0)))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, picture in zip(line, row, strict=False):
            axis.imshow(picture, origin="lower", cmap="gray", vmin=0, vmax=1)
    shown = [axis for line, row in zip(axes, rows, strict=True) for axis in line[: len(row)]]
    for axis, caption in zip(shown, captions or (), strict=False):
        axis.text(0.03, 0.03, caption, transform=axis.transAxes, fontsize=6, color="white")
    for axis, title in zip(axes[0], titles or (), strict=False):
        axis.set_title(title, fontsize=8)
    top = 1 - (0.25 / (panel * len(rows) + 0.25) if titles else 0)
    figure.subplots_adjust(0, 0, 1, top, 0.03, 0.03)
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=100))
