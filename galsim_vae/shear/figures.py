"""Figures of a shear calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from galsim_vae.files import write_whole

from .bias import DIFFERENCE

__all__ = ["draw_figures", "shown"]

_LABELS = {
    "snr": "S/N", "half_light_radius": "half-light radius [arcsec]", "magnitude": "magnitude",
    "ellipticity": "|g| of the galaxy", "redshift": "redshift",
    "sersic_index": "Sersic index of the twin", "residual": "light unlike the twin's",
}  # fmt: skip
# Colour, marker and its size: galaxies and twins often lie on each other.
_STYLES = {"vae": ("C0", "o", 8), "sersic": ("C1", "s", 4), DIFFERENCE: ("k", "D", 4)}
# Bins of which less could be measured are not shown: their errors would fill the panel.
_LEAST = 0.05
_LOGARITHMIC = ("snr", "half_light_radius", "sersic_index")


def draw_figures(table: Table, folder: Path) -> list[Path]:
    """Draw m and c against each property, one row an estimator.

    Parameters
    ----------
    table : Table
        As `galsim_vae.shear.calibrate` gives it.
    folder : Path
        Where ``m.png`` and ``c.png`` go; m is left out where nothing was sheared.

    Returns
    -------
    list of Path
    """
    names = shown(table)
    sheared = ~np.ma.getmaskarray(table["m"])
    component = int(table["component"][sheared][0]) if "m" in names else 1
    table = table[table["component"] == component]
    return [_draw(table, name, component, folder / f"{name}.png") for name in names]


def shown(table: Table) -> list[str]:
    """Return the biases that have a figure: no ``m`` where nothing was sheared.

    Parameters
    ----------
    table : Table
        As `galsim_vae.shear.calibrate` gives it.
    """
    return ["c"] if np.ma.getmaskarray(table["m"]).all() else ["m", "c"]


def _draw(table: Table, name: str, component: int, path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    properties = [p for p in _LABELS if p in set(table["property"])] or ["all"]
    estimators = list(dict.fromkeys(table["estimator"]))
    figure = Figure(
        figsize=(2.6 * len(properties) + 1, 2.6 * len(estimators) + 0.6), layout="constrained"
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(estimators), len(properties), squeeze=False, sharey="row")
    for line, estimator in zip(panels, estimators, strict=True):
        for panel, prop in zip(line, properties, strict=True):
            rows = table[(table["estimator"] == estimator) & (table["property"] == prop)]
            _panel(panel, rows, name, prop)
        line[0].set_ylabel(f"{estimator}\n{name}{component}")
    for panel, prop in zip(panels[-1], properties, strict=True):
        panel.set_xlabel(_LABELS.get(prop, ""))
    panels[0, 0].legend(fontsize="small")
    write_whole(
        path, lambda p: figure.savefig(p, dpi=110, format="png", metadata={"Software": None})
    )
    return path


def _panel(panel, rows: Table, name: str, prop: str) -> None:
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullFormatter

    panel.axhline(0, color="0.7", lw=1)
    for population in dict.fromkeys(rows["population"]):
        some = rows[(rows["population"] == population) & (rows["fraction"] >= _LEAST)]
        colour, marker, size = _STYLES[population]
        x = np.arange(len(some)) if prop == "all" else some["mean"]
        panel.errorbar(
            x, some[name], some[f"{name}_err"], fmt=marker, ms=size, lw=1, capsize=2,
            color=colour, label=population, fillstyle="none" if size > 4 else "full",
        )  # fmt: skip
    if prop in _LOGARITHMIC:
        panel.set_xscale("log")
        # Not LogLocator, which has many more ticks where there is less than a decade.
        ticks = [first * 10.0**power for power in range(-3, 6) for first in (1, 2, 5)]
        panel.xaxis.set_major_locator(FixedLocator(ticks))
        panel.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        panel.xaxis.set_minor_formatter(NullFormatter())
