"""Pictures of the population beside the catalogues, one a relation."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .catalogues import ILBERT, Catalogues
from .model import COLOURS, LIMITS, DrawnPopulation

__all__ = ["FIGURES"]

MODEL, DATA, OTHER, THIRD = "tab:orange", "black", "tab:blue", "tab:green"


def _figure(columns: int, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(3.7 * columns + 0.4, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def _percentiles(x, y, edges) -> tuple[NDArray, NDArray]:
    """Middles of the intervals of x with 5 or more galaxies; 16, 50, 84 % of y in them (m, 3)."""
    x, y = np.asarray(x), np.asarray(y)
    places, values = [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        part = y[(x >= low) & (x < high)]
        if len(part) >= 5:
            places.append(0.5 * (low + high))
            values.append(np.percentile(part, [16, 50, 84]))
    return np.array(places), np.array(values).reshape(-1, 3)


def _band(axis: Axes, x, y, edges, label: str = "model") -> None:
    place, value = _percentiles(x, y, edges)
    axis.fill_between(place, value[:, 0], value[:, 2], color=MODEL, alpha=0.25, lw=0)
    axis.plot(place, value[:, 1], color=MODEL, lw=2, label=label)


def _points(axis: Axes, x, y, edges, label: str, colour: str, marker: str = "o") -> None:
    """Median, its error (thick) and the 16 to 84 % range (thin)."""
    x = np.asarray(x)
    place, value = _percentiles(x, y, edges)
    if not len(place):
        return
    counts = np.array(
        [np.sum((x >= low) & (x < high)) for low, high in zip(edges[:-1], edges[1:], strict=True)]
    )
    counts = counts[counts >= 5]
    half = 0.5 * (value[:, 2] - value[:, 0])
    spread = [value[:, 1] - value[:, 0], value[:, 2] - value[:, 1]]
    axis.errorbar(place, value[:, 1], spread, fmt="none", color=colour, lw=0.7)
    error = 1.25 * half / np.sqrt(counts)
    axis.errorbar(place, value[:, 1], error, fmt=marker, ms=4, color=colour, lw=2, label=label)


def counts(data: Catalogues, model: DrawnPopulation) -> Figure:
    """Counts per 0.5 mag, model scaled to the total of each sample."""
    figure, axes = _figure(2)
    samples = (
        ("COSMOS (GREAT3 sample)", data.cosmos_shapes, (18.0, 23.5), 23.0),
        ("HDF-N", data.hubble_deep_field, (20.0, 26.5), 25.5),
    )
    for axis, (name, table, (low, high), complete) in zip(axes, samples, strict=True):
        edges = np.arange(low, high + 0.25, 0.5)
        middle = 0.5 * (edges[1:] + edges[:-1])
        number = np.histogram(table["magnitude"], edges)[0]
        ours = np.histogram(model.field[:, 0], edges)[0].astype(float)
        inside = middle < complete
        ours *= number[inside].sum() / ours[inside].sum()
        axis.step(edges, np.append(ours, ours[-1]), where="post", color=MODEL, lw=2, label="model")
        axis.errorbar(middle, number, np.sqrt(number), fmt="o", ms=4, color=DATA, label=name)
        axis.set(yscale="log", xlabel="F814W [AB]", ylabel="galaxies per 0.5 mag")
        axis.legend(fontsize=8)
    return figure


def _imitate(axis: Axes, table, model: DrawnPopulation, edges) -> None:
    """The model's sizes, measured as those of the table, interval by interval."""
    place, values = [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        part = table[(table["magnitude"] >= low) & (table["magnitude"] < high)]
        place.append(0.5 * (low + high))
        values.append(np.percentile(model.apparent(part, "half_light_radius"), [16, 50, 84]))
    low, middle, high = np.transpose(values)
    axis.fill_between(place, low, high, color=MODEL, alpha=0.25, lw=0)
    axis.plot(place, middle, color=MODEL, lw=2, label="model, measured alike")


def sizes(data: Catalogues, model: DrawnPopulation) -> Figure:
    """Half-light radius against magnitude."""
    figure, (left, right) = _figure(2)
    table = data.measured
    for name, colour in (("CANDELS", DATA), ("COSMOS", OTHER), ("COSMOS cutouts", THIRD)):
        part = table[table["sample"] == name]
        left.plot(part["magnitude"], part["half_light_radius"], ".", color=colour, label=name)
    edges = np.arange(19.0, 26.6, 0.5)
    _band(left, model.field[:, 0], model.field[:, 1], edges, "model")
    edges = np.arange(20.0, 25.1, 1.0)
    part = table[(table["magnitude"] >= edges[0]) & (table["magnitude"] < edges[-1])]
    _imitate(right, part, model, edges)
    inside = table["magnitude"] < edges[-1]
    _points(right, table["magnitude"][inside], table["half_light_radius"][inside], edges,
            "all samples", DATA)  # fmt: skip
    for axis in (left, right):
        axis.set(yscale="log", xlabel="F814W [AB]", ylabel="half-light radius sqrt(ab) [arcsec]")
        axis.set(xlim=(19, 26.5), ylim=(0.04, 3))
    for axis in (left, right):
        axis.legend(fontsize=8)
    return figure


def ellipticities(data: Catalogues, model: DrawnPopulation) -> Figure:
    """|g| in intervals of magnitude."""
    figure, axes = _figure(3, 3.2)
    steps = ((20.0, 21.5), (21.5, 22.5), (22.5, 23.5))
    table, other = data.cosmos_shapes, data.measured
    edges = np.linspace(0, 0.9, 31).tolist()
    for axis, (low, high) in zip(axes, steps, strict=True):
        part = table[(table["magnitude"] >= low) & (table["magnitude"] < high)]
        ours = model.at(np.asarray(part["magnitude"])[:20000])["g"]
        axis.hist(ours, edges, density=True, color=MODEL, alpha=0.4, label="model")
        axis.hist(part["g"], edges, density=True, histtype="step", color=DATA,
                  label=f"COSMOS fits, {len(part)}")  # fmt: skip
        few = other[(other["magnitude"] >= low) & (other["magnitude"] < high)]
        axis.hist(few["g"], edges[::3], density=True, histtype="step", color=OTHER, ls="--",
                  label=f"moments of stamps, {len(few)}")  # fmt: skip
        axis.set(xlabel="|g|", ylabel="density", title=f"F814W {low} to {high}")
        axis.legend(fontsize=7)
    return figure


def redshifts(data: Catalogues, model: DrawnPopulation) -> Figure:
    """Redshift against magnitude."""
    figure, (left, right) = _figure(2)
    spectra, hdf, sizes_ = data.zcosmos, data.hubble_deep_field, data.measured
    _band(left, model.field[:, 0], model.field[:, 3], np.arange(18.0, 26.6, 0.5))
    _points(left, spectra["magnitude"], spectra["redshift"], np.arange(18, 22.6, 0.5),
            "zCOSMOS", DATA)  # fmt: skip
    _points(left, hdf["magnitude"], hdf["redshift"], np.arange(20.6, 26.7, 1.0), "HDF-N", OTHER)
    known = sizes_[np.asarray(sizes_["redshift"]) > 0]
    _points(left, known["magnitude"], known["redshift"], np.arange(23.1, 26.2, 1.0),
            "COSMOS stamps", THIRD, "s")  # fmt: skip
    for i, (low, high, value) in enumerate(ILBERT):
        label = "" if i else "median, Ilbert et al. 2009"
        left.plot(0.5 * (low + high), value, "*", ms=11, color="tab:red", label=label)
    left.set(xlabel="F814W [AB]", ylabel="redshift", xlim=(18, 26.5), ylim=(0, 4))
    left.legend(fontsize=8)
    steps = ((spectra, 21.5, 22.5, "zCOSMOS", DATA), (hdf, 24.0, 25.0, "HDF-N", OTHER))
    for table, low, high, name, colour in steps:
        part = table[(table["magnitude"] >= low) & (table["magnitude"] < high)]
        ours = model.at(np.asarray(part["magnitude"]))["redshift"]
        edges = np.linspace(0, 4, 41 if len(part) > 1000 else 17).tolist()
        right.hist(part["redshift"], edges, density=True, histtype="step", color=colour,
                   label=f"{name} {low} to {high}")  # fmt: skip
        style = "-" if table is spectra else "--"
        smooth = np.linspace(0, 4, 41)
        density = np.histogram(ours, smooth, density=True)[0]
        right.plot(0.5 * (smooth[1:] + smooth[:-1]), density, style, color=MODEL, lw=2,
                   label=f"model {low} to {high}")  # fmt: skip
    right.set(xlabel="redshift", ylabel="density", xlim=(0, 4))
    right.legend(fontsize=8)
    return figure


def colours(data: Catalogues, model: DrawnPopulation) -> Figure:
    """Integrated colours against redshift (above) and magnitude (below)."""
    figure = Figure(figsize=(15, 6.6), layout="constrained")
    axes = figure.subplots(2, len(COLOURS))
    samples = (
        ("HDF-N", data.hubble_deep_field, DATA, "o"), ("CANDELS", data.candels, OTHER, "s"),
        ("3D-HST", data.three_d_hst, THIRD, "^"), ("FIGS", data.figs, "tab:red", "v"),
    )  # fmt: skip
    edges = np.array([0.1, 0.3, 0.5, 0.7, 0.9, 1.2, 1.6, 2.0, 2.5, 3.0, 3.5])
    steps = np.arange(20.0, 25.6, 0.5)
    for column, name in enumerate(COLOURS):
        faint = 24.0 if name == "F814W-F125W" else LIMITS[1]
        ours = model.natural[model.conditions[model.natural, 0] < faint]
        upper, lower = axes[:, column]
        _band(upper, model.conditions[ours, 3], model.colours[name][ours], edges)
        _band(lower, model.conditions[:, 0], model.colours[name], steps)
        for label, table, colour, marker in samples:
            if name not in table.colnames:
                continue
            bright = (table["magnitude"] >= LIMITS[0]) & (table["magnitude"] < faint)
            part = table[bright & np.isfinite(table[name])]
            if "redshift" in table.colnames:
                _points(upper, part["redshift"], part[name], edges, label, colour, marker)
            _points(lower, part["magnitude"], part[name], np.arange(20, faint + 0.1, 1.0), label,
                    colour, marker)  # fmt: skip
        upper.set(xlabel="redshift", ylabel=f"{name} [AB]", xlim=(0, 3.6), ylim=(-0.6, 2.4))
        lower.set(xlabel="F814W [AB]", ylabel=f"{name} [AB]", xlim=(20, 25.5), ylim=(-0.4, 2))
        lower.legend(fontsize=8)
    return figure


FIGURES = {
    "population_counts": counts,
    "population_size": sizes,
    "population_ellipticity": ellipticities,
    "population_redshift": redshifts,
    "population_colours": colours,
}
