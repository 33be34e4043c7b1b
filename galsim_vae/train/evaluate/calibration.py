"""Is what comes out what was asked for, by bins of the asked value, without corrections?"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict

from galsim_vae.bands import BANDS
from galsim_vae.conditions import NAMES
from galsim_vae.train.statistics import bootstrap_error, sigma68

from .features import COLOURS, FEATURES

__all__ = ["Bin", "as_table", "calibration"]

_EDGES = {
    "magnitude": (18.0, 21.0, 22.0, 23.0, 24.0, 24.6, 25.2),
    "half_light_radius": (0.1, 0.13, 0.18, 0.26, 0.4, 0.6, 1.0),
    "g": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8),
    "redshift": (0.02, 0.4, 0.8, 1.2, 1.8, 2.5, 5.0),
}
_FEWEST = 20  # galaxies that make a bin


class Bin(NamedTuple):
    """Asked value from `low` to `high`: bias, its error and scatter, and the targets of both."""

    quantity: str
    asked: str
    low: float
    high: float
    galaxies: int
    bias: float
    error: float
    scatter: float
    bias_limit: float
    scatter_limit: float

    @property
    def met(self) -> bool:
        """Whether bias and scatter are within their limits (NaN is none)."""
        return not (abs(self.bias) > self.bias_limit or self.scatter > self.scatter_limit)


def calibration(measured: dict[str, NDArray], seed: int) -> list[Bin]:
    """Calibrate the sample ``free``, that is exact=False.

    Parameters
    ----------
    measured : dict of str to ndarray
        Arrays of `compare`, joined.
    seed : int
        Of bootstraps and folds.
    """
    asked: dict[str, NDArray] = dict(zip(NAMES, measured["conditions"].T, strict=True))
    radius, g = measured["drawn"].T
    nan = float("nan")
    magnitude = measured["sky/free"][:, 2] - asked["magnitude"]
    bins = [*_binned("magnitude [mag]", "magnitude", magnitude, asked, seed, 0.01, 0.02)]
    size = np.log(radius / asked["half_light_radius"])
    bins += _binned("ln half_light_radius", "half_light_radius", size, asked, seed, 0.02, 0.08)
    bins += _binned("|g|", "g", g - asked["g"], asked, seed, nan, nan)
    bins.append(_slope(asked["g"], g, seed))
    if "fluxes/held_out" in measured:
        made, held_out = (
            -2.5 * np.log10(np.maximum(measured[f"fluxes/{name}"], 1e-9))
            for name in ("free", "held_out")
        )
        for name, pair in COLOURS.items():
            a, b = (BANDS.index(band) for band in pair)
            bins += _medians(name, made[:, a] - made[:, b], held_out[:, a] - held_out[:, b],
                             asked, seed)  # fmt: skip
        bins += _regressed(measured, asked, seed)
    return bins


def _inside(name: str, asked: dict[str, NDArray], value: NDArray) -> Iterable[tuple]:
    for low, high in zip(_EDGES[name][:-1], _EDGES[name][1:], strict=True):
        rows = (asked[name] >= low) & (asked[name] < high) & np.isfinite(value)
        if rows.sum() >= _FEWEST:
            yield low, high, rows


def _error_of_median(values: NDArray, seed: int) -> float:
    return float(bootstrap_error(np.median, values, random=np.random.default_rng(seed)))


def _binned(
    quantity: str, name: str, value: NDArray, asked: dict[str, NDArray], seed: int,
    bias_limit: float, scatter_limit: float,
) -> Iterable[Bin]:  # fmt: skip
    """Median and half the 16th-to-84th range of a difference."""
    for low, high, rows in _inside(name, asked, value):
        part = value[rows]
        yield Bin(
            quantity, name, low, high, len(part), float(np.median(part)),
            _error_of_median(part, seed), sigma68(part), bias_limit, scatter_limit,
        )  # fmt: skip


def _slope(asked: NDArray, found: NDArray, seed: int) -> Bin:
    """Slope of a straight line through found against asked |g|, less 1."""
    good = np.isfinite(found)
    asked, found = asked[good], found[good]
    slope, intercept = np.polyfit(asked, found, 1)
    random = np.random.default_rng(seed)
    error = bootstrap_error(lambda x, y: np.polyfit(x, y, 1)[0], asked, found, random=random)
    scatter = sigma68(found - slope * asked - intercept)
    edges = _EDGES["g"]
    return Bin(
        "slope of |g|, less 1", "g", edges[0], edges[-1], len(asked), float(slope - 1),
        float(error), scatter, 0.02, float("nan"),
    )  # fmt: skip


def _medians(
    name: str, made: NDArray, held_out: NDArray, asked: dict[str, NDArray], seed: int
) -> Iterable[Bin]:
    """Difference of median colours at fixed redshift; the scatter is that of the generated."""
    for low, high, rows in _inside("redshift", asked, made + held_out):
        bias = float(np.median(made[rows]) - np.median(held_out[rows]))
        error = np.hypot(_error_of_median(made[rows], seed), _error_of_median(held_out[rows], seed))
        yield Bin(
            f"median {name} [mag]", "redshift", low, high, int(rows.sum()), bias, float(error),
            sigma68(made[rows]), 0.03, float("nan"),
        )  # fmt: skip


def _regressed(measured: dict[str, NDArray], asked: dict[str, NDArray], seed: int) -> Iterable[Bin]:
    """Redshift regressed from colours and magnitude, of generated less of held-out galaxies.

    The regression learns from observed held-out galaxies; each is predicted by a fit to others.
    """
    columns = [FEATURES.index(name) for name in COLOURS]
    magnitude = asked["magnitude"][:, None]
    held_out, made = (
        np.hstack([measured[f"features/{name}"][:, columns], magnitude])
        for name in ("held_out", "free")
    )
    target = np.log1p(asked["redshift"])
    model = HistGradientBoostingRegressor(random_state=seed)
    folds = KFold(4, shuffle=True, random_state=seed)
    predicted = cross_val_predict(model, held_out, target, cv=folds)
    found = np.empty_like(target)
    # Pairs share their conditions: a generated galaxy is predicted without its counterpart, too.
    for train, test in folds.split(held_out):
        found[test] = model.fit(held_out[train], target[train]).predict(made[test])
    for low, high, rows in _inside("redshift", asked, found):
        difference = (found - predicted)[rows]
        yield Bin(
            "ln(1 + z) from colours, less held-out", "redshift", low, high, int(rows.sum()),
            float(np.median(found[rows]) - np.median(predicted[rows])),
            _error_of_median(difference, seed), sigma68((found - target)[rows]),
            float("nan"), float("nan"),
        )  # fmt: skip


def as_table(bins: list[Bin]) -> Table:
    """One line a bin."""
    table = Table(rows=[tuple(b) for b in bins], names=Bin._fields)
    limited = np.isfinite(table["bias_limit"])
    table["met"] = [
        "" if not some else "yes" if b.met else "no" for some, b in zip(limited, bins, strict=True)
    ]
    return table
