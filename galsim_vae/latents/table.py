"""The table of latents that ``galsim-vae encode`` writes, and what learners take from it."""

import os
from pathlib import Path

import numpy as np
from astropy.table import MaskedColumn, QTable, Table
from galsim.errors import GalSimValueError
from numpy.typing import NDArray

from galsim_vae.files import input_file, write_whole

__all__ = [
    "column_of", "features", "is_label", "key_of", "labels_of", "read_latents", "write_latents",
]  # fmt: skip

_NEEDED = ("mean", "width", "moments")
#: Columns that may name the rows, the first that does so is taken.
_KEYS = ("name", "identifier", "row")


def write_latents(path: str | os.PathLike, table: QTable) -> None:
    """Write a table of latents as FITS; it appears under `path` only when complete."""
    table = table.copy()
    for name in table.colnames:
        if getattr(table[name], "dtype", None) == np.int8:
            table[name] = table[name].astype(np.int16)  # FITS would make true and false of it
    write_whole(path, table.write)


def read_latents(path: str | os.PathLike, *more: str) -> QTable:
    """Read a table of latents.

    Parameters
    ----------
    path : str or path
        The file.
    *more : str
        Columns that are needed beside the latents.

    Raises
    ------
    OSError
        No such file, or not a table.
    galsim.GalSimValueError
        A column of latents, or another that is needed, is missing.
    """
    path = input_file(path)
    try:
        table = QTable.read(path, format="fits")
    except Exception as error:
        raise OSError(f"{path} is not a table of latents: {error}") from error
    table.convert_bytestring_to_unicode()
    missing = [name for name in (*_NEEDED, *more) if name not in table.colnames]
    if missing:
        raise GalSimValueError(
            f"{path} is not from galsim-vae encode: it has no {', '.join(missing)}",
            table.colnames,
        )
    return table


def features(table: QTable) -> NDArray:
    """Latents and moments of each row side by side, (n, count)."""
    return np.concatenate([np.asarray(table[name], float) for name in ("mean", "moments")], 1)


def column_of(table: Table, name: str) -> NDArray:
    """Return a column of numbers or texts, one a row; masked numbers are NaN, texts empty.

    Raises
    ------
    galsim.GalSimValueError
        There is none of this name, or it has more than one number a row.
    """
    if name not in table.colnames:
        single = [n for n in table.colnames if getattr(table[n], "ndim", 1) == 1]
        raise GalSimValueError("There is no column of this name", name, single)
    column = table[name]
    if getattr(column, "ndim", 1) != 1:
        raise GalSimValueError("This column has more than one number a row", name)
    if isinstance(column, MaskedColumn):
        text = np.asarray(column.data).dtype.kind in "UO"
        return np.asarray(column.filled("") if text else column.astype(float).filled(np.nan))
    return np.asarray(getattr(column, "value", column))


def labels_of(table: Table, labels: str | os.PathLike, column: str) -> tuple[NDArray, NDArray]:
    """Find the rows of a table of latents that a user's table has labels of.

    Both are matched by the first of ``name``, ``identifier`` and ``row`` that both have and that
    names each row of the latents: no two alike, none empty.

    Parameters
    ----------
    table : Table
        Of latents.
    labels : str or path
        Table, .csv, .ecsv or .fits.
    column : str
        The labels' name in it.

    Returns
    -------
    rows : ndarray (m,) int
        Of the latents.
    values : ndarray (m,)
        The label of each; rows without one (empty, NaN, masked) are left out.

    Raises
    ------
    OSError
        No such table.
    galsim.GalSimValueError
        A column is missing, a label of a galaxy that the latents do not have, or two of one.
    """
    path = input_file(Path(labels))
    try:
        given = _read_csv(path, table) if path.suffix == ".csv" else Table.read(path)
    except Exception as error:
        raise OSError(f"{path} is not a table (.csv, .ecsv, .fits): {error}") from error
    given.convert_bytestring_to_unicode()  # as FITS has it
    keys = _keys(table)
    key = next((k for k in keys if k in given.colnames), None)
    if key is None:
        raise GalSimValueError(
            f"{path} must name its galaxies as the latents do, by a column", given.colnames, keys
        )
    values = column_of(given, column)
    named = np.array(_texts(given[key]))
    if len(set(named)) < len(named):
        twice = next(n for k, n in enumerate(named) if n in set(named[:k].tolist()))
        raise GalSimValueError(f"{path} has two labels of one galaxy: {key}", twice)
    places = {name: row for row, name in enumerate(_texts(table[key]))}
    unknown = [name for name in named if name not in places]
    if unknown:
        raise GalSimValueError(
            f"{path} has labels of {len(unknown)} galaxies that are not among the latents. The "
            f"first is {key}", unknown[0],
        )  # fmt: skip
    kept = np.array([is_label(value) for value in values], bool)
    rows = np.array([places[name] for name in named], int)
    return rows[kept], values[kept]


def key_of(table: Table) -> str:
    """Return the column that names the rows of a table of latents.

    The first of ``name``, ``identifier`` and ``row`` of which no two are alike and none is empty.

    Raises
    ------
    galsim.GalSimValueError
        There is none.
    """
    keys = _keys(table)
    if not keys:
        raise GalSimValueError(
            "The latents need a column of which no two are alike and none is empty",
            [k for k in _KEYS if k in table.colnames], _KEYS,
        )  # fmt: skip
    return keys[0]


def _keys(table: Table) -> list[str]:
    return [k for k in _KEYS if k in table.colnames and _names_each(_texts(table[k]))]


def _names_each(texts: list[str]) -> bool:
    return all(texts) and len(set(texts)) == len(texts)


def _texts(column) -> list[str]:
    """Entries as texts, empty where masked."""
    return ["" if k is np.ma.masked else str(k).strip() for k in column]


def _read_csv(path: Path, table: Table) -> Table:
    """Read .csv; what is text in the latents is not made a number: 0001 is not 1."""
    text = {k: str for k in _KEYS if k in table.colnames and table[k].dtype.kind in "UO"}
    return Table.read(path, format="ascii.csv", converters=text)


def is_label(value) -> bool:
    """Tell whether an entry of a column is a label: neither NaN nor an empty text."""
    return value == value and str(value).strip() != ""
