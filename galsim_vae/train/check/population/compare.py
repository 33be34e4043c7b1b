"""Hold the synthetic population against catalogues, model and data side by side.

``galsim-vae check population`` writes population.ecsv (a row a relation, sample and interval:
medians of data and model, their distance, its error) and five pictures. Model galaxies are drawn at
the magnitudes of the data, so every comparison but that of the counts is one at fixed magnitude.
"""

from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.stats import ks_2samp, wasserstein_distance

from galsim_vae.files import write_whole
from galsim_vae.train.statistics import bootstrap_error

from .catalogues import ILBERT, Catalogues
from .figures import FIGURES
from .model import COLOURS, LIMITS, SEED, DrawnPopulation, between

__all__ = ["compare", "write"]

REDSHIFT_EDGES = (0.1, 0.4, 0.7, 1.1, 1.6, 2.5, 3.5)
# By relation: what "distance" is, and the most that is asked for.
DISTANCES = {
    "counts": ("Kolmogorov-Smirnov", np.nan),
    "size": ("median ratio - 1", 0.10),
    "ellipticity": ("Wasserstein", 0.03),
    "redshift": ("median ratio - 1", 0.10),
    "colour": ("median difference", np.nan),
}


def _error(values: NDArray, statistic) -> float:
    """Standard deviation of a statistic of the data, by bootstrap."""
    return float(bootstrap_error(statistic, values, random=np.random.default_rng(SEED)))


def _row(relation, sample, by, low, high, data, model) -> tuple:
    """One line of the table; `data` and `model` are values of galaxies."""
    kind, required = DISTANCES[relation.split()[0]]
    middle, ours = float(np.median(data)), float(np.median(model))
    if kind == "Wasserstein":
        distance = float(wasserstein_distance(data, model))
        # What galaxies of the model itself, as many as in the data, would give.
        random = np.random.default_rng(SEED)
        draws = [wasserstein_distance(random.choice(model, len(data)), model) for _ in range(30)]
        error = float(np.mean(draws))
    elif kind == "median ratio - 1":
        distance, error = ours / middle - 1, _error(data, np.median) / middle
    else:
        distance, error = ours - middle, _error(data, np.median)
    return relation, sample, by, low, high, len(data), middle, ours, kind, distance, error, required


def _at_magnitudes(relation, sample, table, column, edges, model: DrawnPopulation) -> list[tuple]:
    """Rows of a relation at fixed magnitude, one an interval."""
    rows = []
    for low, high in edges:
        part = table[between(table["magnitude"], low, high)]
        if table is model.like:
            drawn = model.apparent(part, column)
        else:
            drawn = model.at(np.asarray(part["magnitude"]))[column]
        data = np.asarray(part[column])
        rows.append(_row(relation, sample, "magnitude", low, high, data, drawn))
    return rows


def _counts(sample: str, magnitude, low: float, high: float, model: DrawnPopulation) -> tuple:
    data = np.asarray(magnitude)[between(magnitude, low, high)]
    ours = model.field[between(model.field[:, 0], low, high), 0]
    test = ks_2samp(data, ours)
    # Kolmogorov's distribution has mean 0.869 / sqrt(n).
    error = 0.869 / np.sqrt(len(data))
    kind, required = DISTANCES["counts"]
    medians = float(np.median(data)), float(np.median(ours))
    return ("counts", sample, "magnitude", low, high, len(data), *medians, kind,
            float(test.statistic), error, required)  # fmt: skip


def _steps(low: float, high: float, step: float) -> list[tuple[float, float]]:
    return _intervals(np.arange(low, high + step / 2, step).tolist())


def _intervals(edges) -> list[tuple[float, float]]:
    return list(zip(edges[:-1], edges[1:], strict=True))


def compare(data: Catalogues, model: DrawnPopulation) -> Table:
    """Distances between model and data.

    Returns
    -------
    Table
        relation, sample, by (magnitude or redshift), low, high, n (galaxies of the data),
        data, model (medians), distance_kind, distance, error (one standard deviation that the
        data's number alone gives the distance; its expectation for Wasserstein and
        Kolmogorov-Smirnov), required (NaN where nothing was asked for).
    """
    shapes, spectra, sizes, goods, hdf = data[:5]
    known = sizes[np.asarray(sizes["redshift"]) > 0]
    rows = [
        _counts("COSMOS", shapes["magnitude"], 20.0, 23.4, model),
        _counts("HDF-N", hdf["magnitude"], 21.0, 25.5, model),
    ]
    size = "half_light_radius"
    rows += _at_magnitudes("size", "all", sizes, size, _steps(*LIMITS, 1.0), model)
    bright = (20.0, 23.5)
    steps = [bright, *_steps(20.0, 22.0, 1.0), *_steps(22.0, 23.5, 0.5)]
    rows += _at_magnitudes("ellipticity", "COSMOS", shapes, "g", steps, model)
    measured = "CANDELS, COSMOS stamps"
    rows += _at_magnitudes("ellipticity", measured, sizes, "g", [bright, (23.5, 25.0)], model)
    steps = _steps(20.0, 22.5, 0.5)
    rows += _at_magnitudes("redshift", "zCOSMOS", spectra, "redshift", steps, model)
    steps = _steps(22.0, 25.0, 1.0)
    rows += _at_magnitudes("redshift", "HDF-N", hdf, "redshift", steps, model)
    rows += _at_magnitudes("redshift", "COSMOS stamps", known, "redshift", [(23.0, 25.0)], model)
    rows += [_published(low, high, median, model) for low, high, median in ILBERT]
    rows += _colours("HDF-N", hdf, "redshift", _intervals(REDSHIFT_EDGES), model)
    rows += _colours("HDF-N", hdf, "magnitude", _steps(*LIMITS, 1.0), model)
    rows += _colours("CANDELS", goods, "magnitude", _steps(21.0, 24.0, 1.0), model)
    for name, table in (("3D-HST", data.three_d_hst), ("FIGS", data.figs)):
        rows += _colours(name, table, "redshift", _intervals(REDSHIFT_EDGES), model)
        rows += _colours(name, table, "magnitude", _steps(*LIMITS, 1.0), model)
    names = ("relation", "sample", "by", "low", "high", "n", "data", "model", "distance_kind",
             "distance", "error", "required")  # fmt: skip
    table = Table(rows=rows, names=names)
    for name in ("data", "model", "distance", "error"):
        table[name].info.format = ".3f"
    return table


def _published(low: float, high: float, median: float, model: DrawnPopulation) -> tuple:
    """Row for a published median redshift, between two magnitudes."""
    ours = model.field[between(model.field[:, 0], low, high), 3]
    kind, required = DISTANCES["redshift"]
    value = float(np.median(ours))
    return ("redshift", "Ilbert et al. 2009", "magnitude", low, high, 0, median, value, kind,
            value / median - 1, np.nan, required)  # fmt: skip


def _colours(sample, table, by, edges, model: DrawnPopulation) -> list[tuple]:
    """Rows of every colour in intervals of redshift or magnitude."""
    m, z = model.conditions[model.natural][:, [0, 3]].T
    rows = []
    for name in COLOURS:
        if name not in table.colnames:
            continue
        # Ground-based J is too noisy for faint galaxies.
        faint = 24.0 if (sample, name) == ("HDF-N", "F814W-F125W") else LIMITS[1]
        for low, high in edges:
            good = np.isfinite(table[name]) & between(table["magnitude"], LIMITS[0], faint)
            part = table[good & between(table[by], low, high)]
            ours = between(z if by == "redshift" else m, low, high) & between(m, LIMITS[0], faint)
            if len(part) < 5 or not ours.any():
                continue
            drawn = model.colours[name][model.natural][ours]
            data = np.asarray(part[name])
            rows.append(_row(f"colour {name}", sample, by, low, high, data, drawn))
    return rows


def write(output: Path, table: Table, data: Catalogues, model: DrawnPopulation) -> None:
    """Write the table as population.ecsv, and the pictures."""
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / "population.ecsv", lambda path: table.write(path, format="ascii.ecsv"))
    for name, draw in FIGURES.items():
        figure = draw(data, model)
        write_whole(output / f"{name}.png", lambda path, f=figure: f.savefig(path, dpi=110))
