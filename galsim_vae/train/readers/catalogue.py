"""Catalogues of a field: positions on its mosaic, and what they say of each galaxy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import galsim
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

__all__ = ["Catalogue", "Row", "column", "finite", "read_table"]

# Names under which CANDELS, 3D-HST, COSMOS and SExtractor catalogues have a column, best first.
NAMES = {
    "id": ("id", "ID", "NUMBER", "IDENT", "PHOT_ID"),
    "x": ("x", "x_image", "XWIN_IMAGE"),
    "y": ("y", "y_image", "YWIN_IMAGE"),
    "ra": ("ra", "ALPHA_J2000", "ALPHAWIN_J2000", "ra_j2000", "RAdeg"),
    "dec": ("dec", "DELTA_J2000", "DELTAWIN_J2000", "dec_j2000", "DEdeg"),
    "redshift": (
        "z_best",
        "z_spec",
        "zbest",
        "z_peak",
        "z_phot",
        "zphot",
        "photo_z",
        "z",
        "redshift",
    ),
    "star": ("star_flag", "is_star"),
    "class_star": ("class_star",),
    "use": ("use_phot",),
}
MISSING = 90.0  # larger magnitudes and redshifts stand for none
STAR_CLASS = 0.9  # SExtractor's CLASS_STAR above which an object is a star


@dataclass
class Row:
    """What a catalogue says of one galaxy; `reason` is why it rejects it, or ''."""

    identifier: str
    redshift: float = math.nan
    columns: dict[str, float] = field(default_factory=dict)
    reason: str = ""


class Catalogue:
    """A catalogue with pixel positions (1-based, as SExtractor's) or sky positions [degree].

    Parameters
    ----------
    file_name : any table that astropy reads.
    columns : dict of what (a key of `NAMES`) to the name of its column, where it is not one of
        `NAMES`.
    keep : further columns to copy into the training file.
    """

    def __init__(self, file_name: str, columns: Mapping[str, str] | None = None,
                 keep: Sequence[str] = ()):  # fmt: skip
        self.path, self.given, self.keep = file_name, dict(columns or {}), list(keep)
        for key in self.given:
            if key not in NAMES:
                raise galsim.GalSimConfigValueError("Unknown column key", key, list(NAMES))

    @cached_property
    def table(self) -> Table:
        """The catalogue as it is."""
        return read_table(self.path)

    @cached_property
    def _columns(self) -> dict[str, NDArray]:
        found = {}
        for key, names in NAMES.items():
            name = self.given.get(key) or _find(self.table, names)
            if name is not None:
                found[key] = column(self.table, name, self.path)
        for name in self.keep:
            found["keep." + name] = column(self.table, name, self.path).astype(float)
        return found

    def check(self) -> None:
        """Raise if the table cannot be read or a column that was named is not there."""
        _ = self._columns

    def redshift(self) -> NDArray | None:
        """Redshifts as the catalogue has them, or None."""
        values = self._columns.get("redshift")
        return None if values is None else values.astype(float)

    def pixels(self, wcs: galsim.BaseWCS | None) -> NDArray:
        """Positions (n, 2), 0-based (x, y) [pixel]; NaN where the catalogue has none.

        Raises
        ------
        galsim.GalSimKeyError : neither x and y nor ra and dec are there.
        galsim.GalSimValueError : only ra and dec are there, but the mosaic has no celestial WCS.
        """
        c = self._columns
        if "x" in c and "y" in c:
            return np.stack([c["x"], c["y"]], 1).astype(float) - 1
        if "ra" not in c or "dec" not in c:
            raise galsim.GalSimKeyError(
                f"{self.path} has neither x, y nor ra, dec (see columns=); it has "
                f"{', '.join(self.table.colnames)}",
                "x",
            )
        if wcs is None or not wcs.isCelestial():
            raise galsim.GalSimValueError(
                f"{self.path} has sky positions only, but the mosaic has no celestial WCS", wcs
            )
        ra, dec = (np.radians(c[name].astype(float)) for name in ("ra", "dec"))
        x, y = wcs.radecToxy(ra, dec, "rad")
        return np.stack([x, y], 1) - 1

    def row(self, i: int) -> Row:
        """Everything but the position of row `i`."""
        c = self._columns
        row = Row(str(c["id"][i]) if "id" in c else str(i))
        if "redshift" in c:
            row.redshift = finite(c["redshift"][i], low=0.0)
        for name in ("ra", "dec"):
            if name in c:
                row.columns[name] = float(c[name][i])
        row.columns |= {name: float(c["keep." + name][i]) for name in self.keep}
        if "star" in c and c["star"][i] == 1:
            row.reason = "star in the catalogue"
        elif "class_star" in c and c["class_star"][i] > STAR_CLASS:
            row.reason = "star in the catalogue"
        elif "use" in c and c["use"][i] == 0:
            row.reason = "flagged in the catalogue"
        return row


def read_table(path) -> Table:
    """Read a catalogue in any format that astropy recognises (FITS, ECSV, SExtractor, text).

    Raises
    ------
    OSError : no such file, or not a table.
    """
    try:
        return Table.read(path)
    except OSError:
        raise
    except Exception as error:  # astropy's readers raise whatever they stumble on
        try:
            return Table.read(path, format="ascii")
        except Exception:
            raise OSError(f"{path} is not a table that astropy can read: {error}") from error


def _find(table: Table, names: Sequence[str]) -> str | None:
    """Return the first of `names` that the table has, upper or lower case, or None."""
    lower = {name.lower(): name for name in table.colnames}
    return next((lower[name.lower()] for name in names if name.lower() in lower), None)


def column(table: Table, name: str, path) -> np.ndarray:
    """Return a column that must be there.

    Raises
    ------
    galsim.GalSimKeyError : it is not; the message names the file and the columns there are.
    """
    found = _find(table, [name])
    if found is None:
        raise galsim.GalSimKeyError(
            f"{path} has no column {name}; it has {', '.join(table.colnames)}", name
        )
    values = table[found]
    if hasattr(values, "filled") and values.dtype.kind == "f":
        values = values.filled(np.nan)
    return np.asarray(values)


def finite(value, low: float = -math.inf) -> float:
    """Return a number, or NaN if it is missing: masked, not finite, at most `low`, or 90 and more.

    Catalogues mark what is missing by -99, -1, 99 or NaN.
    """
    if np.ma.is_masked(value):
        return math.nan
    value = float(value)
    return value if low < value < MISSING else math.nan
