"""Catalogues of a field: positions on its mosaic, and what they say of each galaxy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import astropy.units as u
import galsim
import numpy as np
from astropy.coordinates import Angle, SkyCoord
from astropy.table import Table
from numpy.typing import NDArray

from .mosaic_image import MosaicImage
from .source import Source

__all__ = ["Catalogue", "Row", "column", "finite", "numbers"]

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

    def describe(self, source: Source) -> Source:
        """Return the source with what the row says of it, but for its reason."""
        source.redshift, source.identifier = self.redshift, self.identifier
        source.catalogue |= self.columns
        return source


class Catalogue:
    """A catalogue with pixel positions (1-based, as SExtractor's) or sky positions (ICRS).

    Sky positions are in the unit of their columns, degrees if it has none; text is sexagesimal
    (hours and degrees) or degrees.

    Parameters
    ----------
    file_name : any table that astropy reads
    columns : dict of what (a key of `NAMES`) to the name of its column, where it is not one of
        `NAMES`.
    keep : sequence of str, optional
        Further columns to copy into the training file.
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
        return _read_table(self.path)

    @cached_property
    def _columns(self) -> dict[str, NDArray]:
        found = {}
        for key, names in NAMES.items():
            name = self.given.get(key) or _find(self.table, names)
            if name is None:
                continue
            if key in ("ra", "dec"):
                found[key] = _degrees(self.table, name, self.path, key)
            elif key == "id":
                found[key] = _texts(self.table, name, self.path)
            else:
                found[key] = numbers(self.table, name, self.path)
        for name in self.keep:
            found["keep." + name] = numbers(self.table, name, self.path)
        return found

    def __len__(self) -> int:
        return len(self.table)

    def check(self) -> None:
        """Raise if the table cannot be read or a column that was named is not there."""
        _ = self._columns

    def redshift(self) -> NDArray | None:
        """Redshifts as the catalogue has them, or None."""
        return self._columns.get("redshift")

    def pixels(self, image: MosaicImage | None) -> NDArray:
        """Positions (n, 2), 0-based (x, y) [pixel]; NaN where the catalogue has none.

        Parameters
        ----------
        image : MosaicImage, optional
            One of the mosaic's that has a celestial WCS, or None.

        Raises
        ------
        galsim.GalSimKeyError
            Neither x and y nor ra and dec are there.
        galsim.GalSimConfigError
            Only ra and dec are there, but the mosaic has no celestial WCS.
        """
        c = self._columns
        if "x" in c and "y" in c:
            return np.stack([c["x"], c["y"]], 1) - 1
        if "ra" not in c or "dec" not in c:
            raise galsim.GalSimKeyError(
                f"{self.path} has neither x, y nor ra, dec (see columns=); it has "
                f"{', '.join(self.table.colnames)}",
                "x",
            )
        if image is None:
            raise galsim.GalSimConfigError(
                f"{self.path} has sky positions only, but the mosaic has no celestial WCS"
            )
        ra, dec = c["ra"], c["dec"]
        # Numbers such as -99 stand for no position.
        known = (np.abs(dec) <= 90) & (np.abs(ra) <= 360)
        places = np.full((len(ra), 2), np.nan)
        if known.any():
            places[known] = image.pixels(SkyCoord(ra[known], dec[known], unit="deg"))
        return places

    def source(self, name: str, i: int, reason: str) -> Source:
        """Row `i` as a source of the reader `name` that has no pixels, and why."""
        return self.row(i).describe(Source(name, i, None, reason=reason))

    def row(self, i: int) -> Row:
        """Everything but the position of row `i`."""
        c = self._columns
        row = Row(str(c["id"][i]) if "id" in c and c["id"][i] else str(i))
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


def _read_table(path) -> Table:
    """Read a catalogue in any format that astropy recognises (FITS, ECSV, SExtractor, text).

    Raises
    ------
    OSError
        No such file, or not a table.
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


def column(table: Table, name: str, path) -> NDArray:
    """Return a column that must be there: masked numbers are NaN, masked text is empty.

    Raises
    ------
    galsim.GalSimKeyError
        It is not; the message names the file and the columns there are.
    """
    found = _find(table, [name])
    if found is None:
        raise galsim.GalSimKeyError(
            f"{path} has no column {name}; it has {', '.join(table.colnames)}", name
        )
    values = table[found]
    masked = np.asarray(getattr(values, "mask", False))
    array = np.ma.getdata(np.asanyarray(values))
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if not masked.any():
        return np.asarray(array)
    if array.dtype.kind in "iubf":
        return np.where(masked, np.nan, array.astype(float))
    return np.where(masked, "", array.astype(str))


def numbers(table: Table, name: str, path) -> NDArray:
    """Return a column of numbers as float, NaN where masked or empty.

    Raises
    ------
    galsim.GalSimKeyError
        It is not there.
    galsim.GalSimValueError
        It holds something else.
    """
    values = column(table, name, path)
    try:
        if values.dtype.kind in "UO":
            return np.array([float(v) if str(v).strip() else np.nan for v in values.tolist()])
        return values.astype(float)
    except (TypeError, ValueError):
        raise galsim.GalSimValueError(
            f"{path}: column {name} must hold numbers; its first rows", values[:3].tolist()
        ) from None


def _texts(table: Table, name: str, path) -> NDArray:
    """Return a column as text, empty where masked."""
    values = column(table, name, path)
    masked = np.ma.getmaskarray(np.ma.asanyarray(table[_find(table, [name])]))
    if values.dtype.kind == "f" and masked.any():  # integers, of which some are masked
        values = np.ma.getdata(np.asanyarray(table[_find(table, [name])]))
    return np.where(masked, "", values.astype(str))


def _degrees(table: Table, name: str, path, key: str) -> NDArray:
    """Return a column of ra or dec in degrees, NaN where there is none."""
    values = column(table, name, path)
    unit = table[_find(table, [name])].unit
    if values.dtype.kind not in "UO":
        if unit is None or not u.Unit(unit, parse_strict="silent").is_equivalent(u.deg):
            unit = u.hourangle if str(unit) in ("h", "hour", "hourangle") else u.deg
        return u.Quantity(values.astype(float), unit).to_value(u.deg)
    texts = [str(value).strip() for value in values.tolist()]
    hours = key == "ra" and str(unit) not in ("deg", "degree", "degrees")
    degrees = np.array([_angle(text, u.hourangle if hours else u.deg) for text in texts])
    if len(degrees) and not np.isfinite(degrees).any():
        raise galsim.GalSimValueError(
            f"{path}: column {name} holds no positions (degrees, or sexagesimal); its first rows",
            texts[:3],
        )
    return degrees


def _angle(text: str, unit: u.UnitBase) -> float:
    """Degrees of a number, or of sexagesimal text in `unit` unless it names its own."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(Angle(text, unit=unit).deg)
    except (ValueError, TypeError, u.UnitsError):
        return math.nan


def finite(value, low: float = -math.inf) -> float:
    """Return a number, or NaN if it is missing: masked, not finite, at most `low`, or 90 and more.

    Catalogues mark what is missing by -99, -1, 99 or NaN.
    """
    if np.ma.is_masked(value):
        return math.nan
    value = float(value)
    return value if low < value < MISSING else math.nan
