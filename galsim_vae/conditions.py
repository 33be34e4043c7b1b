"""What can be asked of a galaxy: names, units, valid ranges, and tables to and from arrays.

A table has any of the columns

=================== ============================================================
magnitude           AB magnitude in F814W
half_light_radius   sqrt(ab) of the half-light ellipse, arcsec
g1, g2              ellipticity as a `galsim.Shear`, |g| = (a - b) / (a + b)
redshift            true redshift
id                  integer; names the galaxy: its noise depends on (seed, id) only
mag_<filter>        AB magnitude in another filter (``mag_F606W``, ``mag_LSST_r``)
=================== ============================================================

A column that is absent, or masked in a row, is left to be drawn from the population.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy import units
from astropy.table import QTable, Table
from galsim import Shear
from galsim.errors import (
    GalSimIncompatibleValuesError,
    GalSimRangeError,
    GalSimValueError,
    galsim_warn,
)

from .bands import BANDS, REFERENCE

__all__ = [
    "DEFAULT_RANGES",
    "LABELS",
    "NAMES",
    "POSE",
    "Conditions",
    "as_columns",
    "check_magnitude",
    "from_table",
    "of_row",
    "one_row",
    "surface_density",
    "to_table",
    "with_magnitude",
]

#: The conditions, in the order of the columns of `Conditions.values`.
NAMES = ("magnitude", "half_light_radius", "g", "redshift")

#: Columns that tell how a galaxy lies in its stamp (`galsim_vae.model.pose`), and what they are
#: where they are missing.
POSE = {"turn": np.nan, "hand": 1.0}

#: Ranges used where no weights file gives its own.
DEFAULT_RANGES: dict[str, tuple[float, float]] = {
    "magnitude": (18.0, 26.5),
    "half_light_radius": (0.05, 3.0),
    "g": (0.0, 0.8),
    "redshift": (0.02, 5.0),
}

_LARGEST_ID = 2**63 - 1
# Outside these there is no galaxy, whatever a network would make of it. Exclusive at |g| = 1.
_PHYSICAL = {
    "magnitude": (-np.inf, np.inf),
    "half_light_radius": (1e-6, np.inf),
    "g": (0.0, np.nextafter(1, 0)),
    "redshift": (0.0, np.inf),
}
# mag beyond the trained range that may follow from other filters' magnitudes.
_SLACK = 0.05
_UNITS = {"half_light_radius": units.arcsec}
#: What errors call the conditions: nobody is asked for g.
LABELS = {name: name for name in NAMES} | {"g": "ellipticity |g|"}


@dataclass(frozen=True)
class Conditions:
    """Conditions of n galaxies; what is missing is NaN.

    Attributes
    ----------
    values : ndarray (n, 4) float64
        magnitude, half_light_radius [arcsec], g = |g|, redshift: the order of `NAMES`.
    angle : ndarray (n,) float64
        Position angle of the major axis from +x, radians. NaN where no ellipticity is given, and
        where it is exactly round: a round galaxy has a random orientation.
    id : ndarray (n,) int64
        Names of the galaxies.
    band_magnitudes : dict of str to (n,) float64
        AB magnitudes asked for in other bands than the reference, and in filters; by name.
    """

    values: np.ndarray
    angle: np.ndarray
    id: np.ndarray
    band_magnitudes: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice | np.ndarray) -> Conditions:
        """Some of the rows (a slice, a boolean mask or an array of indices)."""
        return Conditions(
            self.values[rows],
            self.angle[rows],
            self.id[rows],
            {band: mag[rows] for band, mag in self.band_magnitudes.items()},
        )


def from_table(
    table: Table | Mapping[str, Any],
    ranges: Mapping[str, tuple[float, float]] = DEFAULT_RANGES,
    *,
    extrapolate: bool = False,
    bands: Iterable[str] = BANDS,
    check_filter: Callable[[str], None] | None = None,
) -> Conditions:
    """Read and check a table of conditions.

    Parameters
    ----------
    table : astropy Table or QTable, mapping of names to arrays, structured array or DataFrame
        Columns as in the module's docstring; at least one. Units are converted; numbers without
        a unit are arcsec or magnitudes. Masked entries are missing.
    ranges : mapping of str to (low, high)
        Valid range of each of `NAMES`.
    extrapolate : bool
        Warn (`galsim.GalSimWarning`, once) instead of raising where values are out of range.
    bands : iterable of str
        Bands for which a ``mag_<BAND>`` column may be given (the reference band's is
        ``magnitude``).
    check_filter : callable, optional
        Takes what follows ``mag_`` in any other column, and raises if it is no filter to be asked
        for; without it there is none.

    Returns
    -------
    Conditions
        Missing ones are NaN.

    Raises
    ------
    galsim.GalSimRangeError
        A value, or an id, is outside its range: the message names column, row, value and range.
    galsim.GalSimValueError
        An unknown column, a wrong unit, NaN or infinity, an id that is not an integer.
    galsim.GalSimIncompatibleValuesError
        Only one of g1 and g2, columns of different lengths, or no columns at all.
    """
    table = as_columns(table)
    mag_columns = {f"mag_{band}": band for band in bands if band != REFERENCE}
    if check_filter is not None:
        for name in table:
            if name.startswith("mag_") and name not in (*mag_columns, f"mag_{REFERENCE}"):
                check_filter(name.removeprefix("mag_"))
                mag_columns[name] = name.removeprefix("mag_")
    _check_names(list(table), mag_columns)
    columns = {name: _column(column, name) for name, column in table.items()}
    n = _common_length(columns)

    values = np.full((n, len(NAMES)), np.nan)
    for name in ("magnitude", "half_light_radius", "redshift"):
        if name in columns:
            values[:, NAMES.index(name)] = columns[name]
    angle = np.full(n, np.nan)
    if "g1" in columns:
        g1, g2 = columns["g1"], columns["g2"]
        values[:, NAMES.index("g")] = np.hypot(g1, g2)
        shaped = (g1 != 0) | (g2 != 0)  # True where missing too, but then NaN is what comes out
        angle[shaped] = 0.5 * np.arctan2(g2[shaped], g1[shaped])
    _check_ranges(values, ranges, extrapolate)
    ident = columns.get("id", np.arange(n))
    band_magnitudes = {band: columns[name] for name, band in mag_columns.items() if name in columns}
    return Conditions(values, angle, ident, band_magnitudes)


def as_columns(table: Any) -> dict[str, Any]:
    """Take apart what may be a table: astropy's, a mapping, a structured array or a DataFrame.

    Parameters
    ----------
    table : Table, QTable, Mapping, numpy.ndarray with fields, or pandas.DataFrame and the like
        A DataFrame is known by its ``columns``. Entries that are NA are masked; NaN stays NaN.

    Returns
    -------
    dict of str to array_like
        The columns in their order.

    Raises
    ------
    galsim.GalSimValueError
        It is none of these.
    """
    if isinstance(table, Mapping):
        return dict(table)
    if isinstance(table, Table):
        return {name: table[name] for name in table.colnames}
    if isinstance(table, np.ndarray):
        if table.dtype.names:
            return {name: table[name] for name in table.dtype.names}
    elif hasattr(table, "columns") and hasattr(table, "__getitem__"):
        return {str(name): _series(table[name]) for name in table.columns}
    raise GalSimValueError(
        "A table of conditions must be an astropy Table, a mapping of names to arrays, a NumPy "
        "array with named fields or a pandas DataFrame, and not",
        type(table),
    )


def _series(column: Any) -> np.ndarray:
    """A column of a DataFrame; where it may hold NA, masked."""
    values = np.asarray(column)
    if values.dtype != object or not hasattr(column, "isna"):
        return values
    missing = np.asarray(column.isna(), dtype=bool)
    present = values[~missing].tolist()
    filled = np.zeros(len(values), np.asarray(present).dtype if present else float)
    filled[~missing] = present
    return np.ma.MaskedArray(filled, missing)


def one_row(
    magnitude: float | None = None,
    half_light_radius: float | None = None,
    ellipticity: Shear | None = None,
    redshift: float | None = None,
) -> dict[str, Any]:
    """Make the table of one galaxy from the conditions that are not None.

    Raises
    ------
    galsim.GalSimValueError
        ``ellipticity`` is no `galsim.Shear`; another one is not one number.
    """
    for name, value in (
        ("magnitude", magnitude), ("half_light_radius", half_light_radius), ("redshift", redshift),
    ):  # fmt: skip
        if value is not None and np.ndim(value) != 0:
            raise GalSimValueError(f"{name} must be one number; sample() draws many", value)
    if not isinstance(ellipticity, Shear | None):
        raise GalSimValueError("ellipticity must be a galsim.Shear", ellipticity)
    table = {
        "id": 0,  # makes it a row if nothing else is given
        "magnitude": magnitude,
        "half_light_radius": half_light_radius,
        "g1": None if ellipticity is None else ellipticity.g1,
        "g2": None if ellipticity is None else ellipticity.g2,
        "redshift": redshift,
    }
    # Quantities keep their unit.
    return {name: np.atleast_1d(value) for name, value in table.items() if value is not None}


def with_magnitude(conditions: Conditions, magnitude: np.ndarray) -> Conditions:
    """Return the same conditions with other F814W magnitudes (n,)."""
    values = conditions.values.copy()
    values[:, NAMES.index("magnitude")] = magnitude
    return Conditions(values, conditions.angle, conditions.id, conditions.band_magnitudes)


def check_magnitude(
    magnitude: np.ndarray, trained: tuple[float, float], rows: np.ndarray
) -> None:
    """Check F814W magnitudes that follow from others.

    Parameters
    ----------
    magnitude : ndarray (n,)
    trained : (low, high)
        Trained range. Where the networks were given its end, the galaxy may be a little beyond.
    rows : ndarray (n,) bool
        Which to check.

    Raises
    ------
    galsim.GalSimRangeError
        One of them is out of the range.
    """
    low, high = trained
    outside = rows & ((magnitude < low - _SLACK) | (magnitude > high + _SLACK))
    if outside.any():
        row = int(np.argmax(outside))
        raise GalSimRangeError(
            f"The F814W magnitude that follows from the mag_<filter>{of_row(row, outside)} is out "
            "of range. extrapolate=True allows values outside the trained range.",
            float(magnitude[row]), low, high,
        )  # fmt: skip


def of_row(row: int, bad: np.ndarray) -> str:
    """Return where in a table something is wrong; nothing for a galaxy by itself.

    Parameters
    ----------
    row : int
        The first that is wrong.
    bad : ndarray (n,) bool
        All that are.
    """
    return f" of row {row} ({int(bad.sum())} of {len(bad)} rows)" if len(bad) > 1 else ""


def surface_density(magnitude: float) -> float:
    """Return the number of galaxies per square arcmin down to a magnitude in F814W.

    46 * 10^(0.31 (i - 25)): LSST Science Book (2009, arXiv:0912.0201), section 3.7.
    """
    return 46 * 10 ** (0.31 * (magnitude - 25))


def to_table(conditions: Conditions) -> QTable:
    """Return the table of some conditions, the inverse of `from_table`.

    Parameters
    ----------
    conditions : Conditions
        Missing values become NaN.

    Returns
    -------
    astropy.table.QTable
        Columns magnitude, half_light_radius [arcsec], g1, g2, redshift, id, and mag_<BAND> where
        given.
    """
    magnitude, half_light_radius, g, redshift = conditions.values.T
    # A round galaxy may have no angle.
    angle = np.where(g == 0, 0.0, conditions.angle)
    table = QTable(
        {
            "magnitude": magnitude,
            "half_light_radius": half_light_radius * units.arcsec,
            "g1": g * np.cos(2 * angle),
            "g2": g * np.sin(2 * angle),
            "redshift": redshift,
            "id": conditions.id,
        }
    )
    for band, mag in conditions.band_magnitudes.items():
        table[f"mag_{band}"] = mag
    return table


def _check_names(names: list[str], mag_columns: Iterable[str]) -> None:
    known = ("magnitude", "half_light_radius", "g1", "g2", "redshift", "id", *mag_columns)
    if not names:
        raise GalSimIncompatibleValuesError(
            f"The table has no columns. Give one or more of {known}", {}
        )
    for name in names:
        if name == f"mag_{REFERENCE}":
            raise GalSimValueError(f"Unknown column: {REFERENCE} is called magnitude", name, known)
        if name not in known:
            raise GalSimValueError("Unknown column", name, known)
    if ("g1" in names) != ("g2" in names):
        raise GalSimIncompatibleValuesError(
            "Give both g1 and g2, or neither to have the ellipticity drawn", names=names
        )


def _column(column: Any, name: str) -> np.ndarray:
    """Plain values (n,) of a column in its own unit: int64 for id, else float64, masked = NaN."""
    mask = np.atleast_1d(np.ma.getmaskarray(column) if hasattr(column, "mask") else False)
    values = np.atleast_1d(np.asarray(_without_unit(column, name)))
    if values.ndim != 1:
        raise GalSimValueError(f"{name} must have one value a row; its shape", values.shape)
    if name == "id":
        if values.dtype.kind not in "iu" or mask.any():
            raise GalSimValueError("id must hold an integer in every row", values.dtype)
        bad = (values < 0) | (values > _LARGEST_ID)
        if bad.any():
            row = int(np.argmax(bad))
            raise GalSimRangeError(
                f"id{of_row(row, bad)} is out of range.", int(values[row]), 0, _LARGEST_ID
            )
        return values.astype(np.int64)
    if values.dtype.kind in "SU":
        raise GalSimValueError(f"{name} must hold numbers", values.dtype)
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError):
        raise GalSimValueError(f"{name} must hold numbers", values.dtype) from None
    bad = ~np.isfinite(values) & ~mask
    if bad.any():
        row = int(np.argmax(bad))
        raise GalSimValueError(
            f"{name}{of_row(row, bad)} must be a finite number; leave it out (or mask it) to have "
            "it drawn.",
            float(values[row]),
        )
    return np.where(mask, np.nan, values)


def _without_unit(column: Any, name: str) -> Any:
    """Values of a Quantity or Column in the unit that the name implies."""
    unit = getattr(column, "unit", None)
    values = getattr(column, "unmasked", column)  # astropy's Masked Quantity
    if isinstance(values, np.ma.MaskedArray):
        values = values.data
    if unit is None or unit == units.dimensionless_unscaled:
        return getattr(values, "value", values)
    wanted = _UNITS.get(name)
    if wanted is not None:
        try:
            return units.Quantity(getattr(values, "value", values), unit).to_value(wanted)
        except units.UnitConversionError:
            raise GalSimValueError(
                f"{name} has a wrong unit; it must convert to", str(unit), (str(wanted),)
            ) from None
    if name.startswith("mag") and unit in (units.mag, units.ABmag):
        return getattr(values, "value", values)
    allowed = ("mag", "mag(AB)", "none") if name.startswith("mag") else ("none",)
    raise GalSimValueError(f"{name} has a wrong unit", str(unit), allowed)


def _common_length(columns: Mapping[str, np.ndarray]) -> int:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise GalSimIncompatibleValuesError("Columns differ in length", lengths)
    return next(iter(lengths.values()))


def _check_ranges(
    values: np.ndarray, ranges: Mapping[str, tuple[float, float]], extrapolate: bool
) -> None:
    """Raise at the first value outside, or warn of all; NaN, missing, is never outside."""
    outside = np.zeros(len(values), bool)
    texts = []
    for name, column in zip(NAMES, values.T, strict=True):
        low, high = _PHYSICAL[name]
        trained = ranges[name]
        if not extrapolate:
            low, high = max(low, trained[0]), min(high, trained[1])
        _raise_outside(name, column, low, high)
        beyond = (column < trained[0]) | (column > trained[1])
        if beyond.any():
            outside |= beyond
            ends = sorted({f"{end:g}" for end in (column[beyond].min(), column[beyond].max())})
            allowed = f"(trained: {trained[0]:g} to {trained[1]:g})"
            texts.append(f"{LABELS[name]} {' to '.join(ends)} {allowed}")
    if texts:
        galsim_warn(
            f"{outside.sum()} of {len(values)} galaxies outside the trained ranges: "
            f"{', '.join(texts)}. Such a galaxy may not look like one"
        )


def _raise_outside(name: str, column: np.ndarray, low: float, high: float) -> None:
    outside = (column < low) | (column > high)
    if outside.any():
        row = int(np.argmax(outside))
        physical = _PHYSICAL[name]
        possible = (low, high) != physical and physical[0] <= column[row] <= physical[1]
        hint = ". extrapolate=True allows values outside the trained range" if possible else ""
        raise GalSimRangeError(
            f"{LABELS[name]}{of_row(row, outside)} is out of range{hint}.",
            float(column[row]),
            *(float(f"{b:.6g}") for b in (low, high)),
        )
