"""What a ``vae_catalog`` holds: conditions of its galaxies, and columns of the user's."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import galsim
import numpy as np
from astropy import units
from galsim.errors import GalSimConfigError, GalSimConfigValueError, GalSimError

from galsim_vae.bands import REFERENCE
from galsim_vae.filters import find_band

__all__ = ["TRUTHS", "Contents", "contents_of_file", "entry"]

_NAMES = ("magnitude", "half_light_radius", "g1", "g2", "redshift", "id")
#: What is true of a galaxy, whatever columns there are.
TRUTHS = (*_NAMES, "ellipticity")


class Contents(Mapping[str, Any]):
    """Columns by the names that they have here.

    Parameters
    ----------
    columns : Mapping of str to array (n,)
        By the names of the file.
    names : dict of str to str
        The name here, and in the file.
    rows : int
        n.

    Attributes
    ----------
    conditions : dict of str to array (n,)
        Those that ask for a galaxy.
    further : list of str
        The names of all others.
    """

    def __init__(self, columns: Mapping[str, Any], names: Mapping[str, str], rows: int):
        self._columns, self._names, self.rows = columns, names, rows
        self.conditions = {name: columns[names[name]] for name in names if _asks(name)}
        self.further = [name for name in names if name not in self.conditions]

    def __getitem__(self, name: str) -> Any:
        return self._columns[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def chosen(self, rows: list[int] | np.ndarray) -> dict[str, Any]:
        """Return the conditions of some rows, each with its id."""
        rows = np.asarray(rows, int)
        return {"id": rows} | {name: column[rows] for name, column in self.conditions.items()}

    def describe(self) -> str:
        """Say what is taken for what."""
        asked = ", ".join(self.conditions) or "none"
        return f"conditions: {asked}; further columns: {', '.join(self.further) or 'none'}"

    def doubts(self) -> list[str]:
        """Return what looks like a condition and is none: spelling, or a filter without survey."""
        found = []
        for name in self.further:
            near = difflib.get_close_matches(name.lower(), _NAMES[:-1], n=1, cutoff=0.8)
            if name.startswith("mag_"):
                found.append(f"{name} names no filter, and fixes no magnitude")
            elif near and near[0] not in self.conditions:
                found.append(f"{name} is not {near[0]}, which is drawn from the population")
        return found


def contents_of_file(
    file_name: str,
    folder: str | None = None,
    hdu: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Contents:
    """Open the table of a file.

    Parameters
    ----------
    file_name : str
        As in `galsim_vae.tables.open_table`.
    folder : str, optional
        Where it is.
    hdu : str, optional
        As there.
    columns : mapping of str to str, optional
        The name here, and in the file. A column that is renamed has its new names only.

    Raises
    ------
    OSError
        There is no such file, or it is no table, or one that is cut off.
    galsim.GalSimConfigError
        No rows; a column that is not there, or has a name that stands for something else.
    """
    from galsim_vae.tables import open_table  # here, as h5py is not needed by all

    table = open_table(os.path.join(os.path.expanduser(folder or ""), file_name), hdu)
    if table.rows == 0:
        raise GalSimConfigError(f"vae_catalog: {table.path!r} has no rows")
    renamed = dict(columns or {})
    for name, source in renamed.items():
        if not isinstance(source, str) or source not in table:
            near = difflib.get_close_matches(str(source), list(table), n=5) or list(table)
            raise GalSimConfigValueError(
                f"vae_catalog.columns.{name}: {table.path!r} has no column", source, near
            )
    taken = set(renamed.values())
    names = {name: name for name in table if name not in taken} | renamed
    if "ellipticity" in names:
        raise GalSimConfigError(
            f"vae_catalog: a column of {table.path!r} is called ellipticity, and here this is the "
            "galaxy's galsim.Shear. Give it another name with columns: {another_name: ellipticity}"
        )
    return Contents(table, names, table.rows)


def _asks(name: str) -> bool:
    """Whether a column asks for something: a condition, or a magnitude in a known filter."""
    if name in _NAMES or name == f"mag_{REFERENCE}":
        return True
    if not name.startswith("mag_"):
        return False
    try:
        find_band(name.removeprefix("mag_"))
    except GalSimError:
        return False
    return True


def entry(column: Any, row: int, kind: type | None = None) -> Any:
    """Return an entry of a column, in the column's own unit.

    Parameters
    ----------
    column : array (n,)
    row : int
    kind : type, optional
        Of what is wanted. A `galsim.Angle` is made of a number in the column's unit, or in degrees
        if it has none.

    Raises
    ------
    galsim.GalSimConfigError
        It is missing, or has a unit that is no angle's where one is wanted.
    """
    value = column[row]
    if value is np.ma.masked or np.any(getattr(value, "mask", False)):
        raise GalSimConfigError(f"there is no value in row {row}: the entry is masked")
    value = getattr(value, "value", value)
    value = value.item() if hasattr(value, "item") else value
    value = value.decode() if isinstance(value, bytes) else value
    if kind is not galsim.Angle:
        return value
    unit = getattr(column, "unit", None) or units.deg
    try:
        return galsim.Angle(units.Quantity(value, unit).to_value(units.rad), galsim.radians)
    except (units.UnitsError, TypeError):
        raise GalSimConfigValueError(
            f"an angle is wanted; row {row} is in units of {unit}", value
        ) from None
