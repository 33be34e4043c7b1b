"""Hold the synthetic population against catalogues, model and data side by side.

    python -m galsim_vae.train.check.population.compare --shared ../shared/data \
        --output docs/_static

writes population.ecsv (a row a relation, sample and interval: medians of data and model, their
distance, its error) and five pictures. Model galaxies are drawn at the magnitudes of the data, so
every comparison but that of the counts is one at fixed magnitude.
"""

import argparse
from pathlib import Path

import galsim
import numpy as np
import torch
from astropy.table import Table
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import ks_2samp, wasserstein_distance

from galsim_vae.bands import HALF_LIGHT_PIXELS
from galsim_vae.files import write_whole
from galsim_vae.frame.observation import Observation
from galsim_vae.train.statistics import bootstrap_error
from galsim_vae.train.synthetic import galaxies as synthetic
from galsim_vae.train.synthetic import population
from galsim_vae.train.synthetic.colours import colour_table

from . import catalogues as population_data
from .catalogues import Catalogues

__all__ = ["COLOURS", "ILBERT", "LIMITS", "Model", "compare", "main", "write"]

SEED = 814
REPEATS = 20  # model galaxies for one of the data, at least
MODEL_GALAXIES = 20_000
COLOUR_GALAXIES = 3000
IMITATIONS = 2  # of each measured stamp, and for each of them
DRAWS = 500  # of the population
LIMITS = (20.0, 25.0)  # F814W, of the project's acceptance criteria
# Median redshifts of COSMOS by photometric redshifts in 30 bands: magnitudes from, to, median.
# Ilbert et al. 2009 (ApJ 690, 1236), abstract.
ILBERT = ((22.0, 22.5, 0.66), (24.5, 25.0, 1.06))
# F450W lies between F435W and F606W: log-linear in wavelength, its colour is this share of theirs.
F450W_SHARE = np.log(592 / 456) / np.log(592 / 433)
COLOURS = {"F450W-F606W": (0, 1), "F606W-F814W": (1, 2), "F814W-F125W": (2, 3)}
REDSHIFT_EDGES = (0.1, 0.4, 0.7, 1.1, 1.6, 2.5, 3.5)
# By relation: what "distance" is, and the most that is asked for.
DISTANCES = {
    "counts": ("Kolmogorov-Smirnov", np.nan),
    "size": ("median ratio - 1", 0.10),
    "ellipticity": ("Wasserstein", 0.03),
    "redshift": ("median ratio - 1", 0.10),
    "colour": ("median difference", np.nan),
}


class Model:
    """Draws of the population, all from one seed.

    Parameters
    ----------
    data : Catalogues
        The stamps of `data.measured` are imitated.
    seed : int
    colours : int
        Number of galaxies whose images are made to find their colours.
    """

    def __init__(self, data: Catalogues, seed: int = SEED, colours: int = COLOUR_GALAXIES):
        self.generator = torch.Generator().manual_seed(seed)
        self.field = population.sample(10 * MODEL_GALAXIES, self.generator).numpy()
        self.conditions, self.colours = self._colours(colours)
        self.natural = self._natural()
        self.like = data.measured
        self.measured = self._measured(data)

    def at(self, magnitude: NDArray, repeats: int | None = None) -> dict[str, NDArray]:
        """Draw size, |g| and redshift at given magnitudes, several for each."""
        repeats = repeats or max(REPEATS, MODEL_GALAXIES // len(magnitude))
        low, high = population.RANGES["magnitude"]
        m = torch.tensor(np.repeat(magnitude, repeats), dtype=torch.float32).clamp(low, high)
        _, size, g, redshift = self._conditions(m).numpy().T
        return {"half_light_radius": np.exp(size), "g": g, "redshift": redshift}

    def _measured(self, data: Catalogues) -> Table:
        """Synthetic galaxies like `data.measured`: same magnitudes, PSFs and measurement."""
        inside = _between(data.measured["magnitude"], LIMITS[0], LIMITS[1] + 0.5)
        magnitude = np.repeat(data.measured["magnitude"][inside], IMITATIONS)
        sample = np.repeat(data.measured["sample"][inside], IMITATIONS)
        conditions = self._conditions(torch.tensor(magnitude, dtype=torch.float32))
        stamps = self._stamps(conditions)[:, synthetic.REFERENCE].numpy()
        radius, g = np.exp(conditions[:, 1].numpy()), conditions[:, 2].numpy()
        rows = []
        for i in range(len(stamps)):
            psf, scale = data.instruments[sample[i]]
            geometry = population_data.measure(_observe(stamps[i], float(radius[i]), psf, scale))
            if geometry is not None:
                size = geometry.half_light_radius
                rows.append((sample[i], magnitude[i], radius[i], g[i], size, geometry.g))
        names = (
            "sample",
            "magnitude",
            "true_half_light_radius",
            "true_g",
            "half_light_radius",
            "g",
        )
        return Table(rows=rows, names=names)

    def apparent(self, like: Table, column: str) -> NDArray:
        """Draw half-light radii or |g| as measured through the PSFs of galaxies like these.

        True values times the measurement's bias, a parabola in ln(radius) through
        `Model.measured`: far less noisy than the distribution of those few galaxies.
        """
        drawn = []
        for sample in np.unique(like["sample"]):
            # The ratio of small |g| is all scatter.
            known = self.measured[self.measured["true_g"] > 0.1]
            known = known[known["sample"] == sample]
            size, bias = (
                np.log(known["true_half_light_radius"]),
                known[column] / known["true_" + column],
            )
            parabola = np.polyfit(size, np.log(bias), 2)
            magnitude = np.asarray(like["magnitude"])[like["sample"] == sample]
            true = self.at(magnitude, DRAWS)
            place = np.clip(np.log(true["half_light_radius"]), size.min(), size.max())
            drawn.append(true[column] * np.exp(np.polyval(parabola, place)))
        return np.concatenate(drawn)

    def _conditions(self, magnitude: torch.Tensor) -> torch.Tensor:
        """Conditions of galaxies at given magnitudes: (n, 4)."""
        redshift = population.redshifts(magnitude, self.generator)
        size = population.half_light_radii(magnitude, redshift, self.generator).log()
        g = population.ellipticities(magnitude, self.generator)
        return torch.stack((magnitude, size, g, redshift), 1)

    def _stamps(self, conditions: torch.Tensor) -> torch.Tensor:
        """Canonical stamps of galaxies with these conditions: (n, bands, 64, 64)."""
        table = colour_table()
        parts = conditions.split(250)
        return torch.cat([synthetic.sample(c, self.generator, table).stamps for c in parts])

    def _natural(self) -> NDArray:
        """Indices of galaxies with colours, with the population's magnitudes."""
        count, edges = np.histogram(self.field[:, 0], bins=40)
        m = self.conditions[:, 0]
        weight = np.interp(m, 0.5 * (edges[1:] + edges[:-1]), count)
        return np.random.default_rng(SEED).choice(len(m), 4 * len(m), p=weight / weight.sum())

    def _colours(self, n: int) -> tuple[NDArray, dict[str, NDArray]]:
        """Integrated colours of synthetic galaxies, magnitudes even within `LIMITS` + 0.5."""
        u = torch.rand(n, generator=self.generator)
        conditions = self._conditions(LIMITS[0] + (LIMITS[1] + 0.5 - LIMITS[0]) * u)
        flux = self._stamps(conditions).sum((2, 3))
        magnitude = -2.5 * np.log10(flux.numpy())
        colours = {k: magnitude[:, a] - magnitude[:, b] for k, (a, b) in COLOURS.items()}
        colours["F450W-F606W"] = colours["F450W-F606W"] * F450W_SHARE
        return conditions.numpy(), colours


def _observe(stamp: NDArray, radius: float, psf: galsim.GSObject, scale: float) -> Observation:
    """A canonical stamp of some half-light radius [arcsec] through a PSF, without noise."""
    image = galsim.Image(np.ascontiguousarray(stamp), dtype=np.float32)
    galaxy = galsim.InterpolatedImage(image, scale=radius / HALF_LIGHT_PIXELS)
    size = 2 * int(np.clip(5.5 * radius / scale + 20, 20, 180)) + 1
    drawn = galsim.Convolve(galaxy, psf).drawImage(
        nx=size, ny=size, scale=scale, method="no_pixel", dtype=float
    )
    return Observation({"F814W": drawn.array}, {"F814W": scale}, {"F814W": psf})


def _between(values, low: float, high: float) -> NDArray:
    values = np.asarray(values)
    return (values >= low) & (values < high)


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


def _at_magnitudes(relation, sample, table, column, edges, model: Model) -> list[tuple]:
    """Rows of a relation at fixed magnitude, one an interval."""
    rows = []
    for low, high in edges:
        part = table[_between(table["magnitude"], low, high)]
        if table is model.like:
            drawn = model.apparent(part, column)
        else:
            drawn = model.at(np.asarray(part["magnitude"]))[column]
        data = np.asarray(part[column])
        rows.append(_row(relation, sample, "magnitude", low, high, data, drawn))
    return rows


def _counts(sample: str, magnitude, low: float, high: float, model: Model) -> tuple:
    data = np.asarray(magnitude)[_between(magnitude, low, high)]
    ours = model.field[_between(model.field[:, 0], low, high), 0]
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


def compare(data: Catalogues, model: Model) -> Table:
    """Distances between model and data.

    Returns
    -------
    Table
        relation, sample, by (magnitude or redshift), low, high, n (galaxies of the data),
        data, model (medians), distance_kind, distance, error (one standard deviation that the
        data's number alone gives the distance; its expectation for Wasserstein and
        Kolmogorov-Smirnov), required (NaN where nothing was asked for).
    """
    shapes, spectra, sizes, goods, hdf, _ = data
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
    names = ("relation", "sample", "by", "low", "high", "n", "data", "model", "distance_kind",
             "distance", "error", "required")  # fmt: skip
    table = Table(rows=rows, names=names)
    for name in ("data", "model", "distance", "error"):
        table[name].info.format = ".3f"
    return table


def _published(low: float, high: float, median: float, model: Model) -> tuple:
    """Row for a published median redshift, between two magnitudes."""
    ours = model.field[_between(model.field[:, 0], low, high), 3]
    kind, required = DISTANCES["redshift"]
    value = float(np.median(ours))
    return ("redshift", "Ilbert et al. 2009", "magnitude", low, high, 0, median, value, kind,
            value / median - 1, np.nan, required)  # fmt: skip


def _colours(sample, table, by, edges, model: Model) -> list[tuple]:
    """Rows of every colour in intervals of redshift or magnitude."""
    m, z = model.conditions[model.natural][:, [0, 3]].T
    rows = []
    for name in COLOURS:
        if name not in table.colnames:
            continue
        # Ground-based J is too noisy for faint galaxies.
        faint = 24.0 if (sample, name) == ("HDF-N", "F814W-F125W") else LIMITS[1]
        for low, high in edges:
            good = np.isfinite(table[name]) & _between(table["magnitude"], LIMITS[0], faint)
            part = table[good & _between(table[by], low, high)]
            ours = _between(z if by == "redshift" else m, low, high) & _between(m, LIMITS[0], faint)
            if len(part) < 5 or not ours.any():
                continue
            drawn = model.colours[name][model.natural][ours]
            data = np.asarray(part[name])
            rows.append(_row(f"colour {name}", sample, by, low, high, data, drawn))
    return rows


def write(output: Path, table: Table, data: Catalogues, model: Model) -> None:
    """Write the table as population.ecsv, and the pictures."""
    from . import figures as population_figures  # here, as the figures need this module's constants

    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / "population.ecsv", lambda path: table.write(path, format="ascii.ecsv"))
    for name, draw in population_figures.FIGURES.items():
        figure: Figure = draw(data, model)
        write_whole(output / f"{name}.png", lambda path, f=figure: f.savefig(path, dpi=110))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Hold the population against catalogues.")
    parser.add_argument("--shared", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--output", type=Path, required=True, help="folder for table and pictures")
    options = parser.parse_args(arguments)
    data = population_data.read(options.shared)
    model = Model(data)
    table = compare(data, model)
    write(options.output, table, data, model)
    table.pprint_all()


if __name__ == "__main__":
    main()
