"""Columns of other people's catalogues: found by name, checked, never guessed."""

import math
from collections.abc import Sequence

import galsim
import numpy as np
from astropy.table import Table

__all__ = ["column", "find", "finite", "read_table"]


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


def find(table: Table, names: Sequence[str]) -> str | None:
    """Return the first of `names` that the table has, upper or lower case, or None."""
    lower = {name.lower(): name for name in table.colnames}
    return next((lower[name.lower()] for name in names if name.lower() in lower), None)


def column(table: Table, name: str, path) -> np.ndarray:
    """Return a column that must be there.

    Raises
    ------
    galsim.GalSimKeyError : it is not; the message names the file and the columns there are.
    """
    found = find(table, [name])
    if found is None:
        raise galsim.GalSimKeyError(
            f"{path} has no column {name}; it has {', '.join(table.colnames)}", name
        )
    values = table[found]
    if hasattr(values, "filled") and values.dtype.kind == "f":
        values = values.filled(np.nan)
    return np.asarray(values)


def finite(value, low: float = -math.inf, high: float = 90.0) -> float:
    """Return a number, or NaN if it is missing: masked, not finite, below `low` or above `high`.

    Catalogues mark what is missing by -99, -1, 99 or NaN.
    """
    if np.ma.is_masked(value):
        return math.nan
    value = float(value)
    return value if math.isfinite(value) and low < value < high else math.nan
