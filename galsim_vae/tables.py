"""Tables in files: FITS, ECSV and what else astropy reads, Parquet, HDF5.

The columns of `open_table` are read one by one when they are asked for, or mapped into memory, so
that a table of a survey costs what is used of it. `read_table` reads all.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import h5py
import numpy as np
from astropy.io.registry import IORegistryError
from astropy.table import QTable, Table
from astropy.utils.exceptions import AstropyDeprecationWarning, AstropyUserWarning
from galsim.errors import GalSimError, GalSimValueError

from .settings import how_to_install

__all__ = ["TableFile", "open_table", "read_table"]

_PARQUET = (".parquet", ".parq", ".pq")
_HDF5 = (".h5", ".hdf5", ".hdf", ".he5")
# What astropy leaves in its own files of these formats: units, masks.
_HDF5_META, _PARQUET_META = ".__table_column_meta__", b"table_meta_yaml"
# How a FITS file begins, whatever its name, and one that is compressed.
_FITS = b"SIMPLE  ="
_COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


def open_table(path: str | os.PathLike, hdu: str | int | None = None) -> TableFile:
    """Open a table.

    Parameters
    ----------
    path : str or path
        The file. Its ending tells the format, but for FITS, also in gzip, bzip2 or xz, which is
        known by how it begins. ``~`` is the home folder.
    hdu : int or str, optional
        Of a FITS file, number or name of the HDU; of an HDF5 file, the table or the group that
        holds the columns. By default the only, or in FITS the first, table.

    Returns
    -------
    TableFile

    Raises
    ------
    OSError
        There is no such file, or it is no table, or it is cut off.
    galsim.GalSimValueError
        An HDF5 file has several tables, or not this one; ``hdu`` for another format.
    galsim.GalSimError
        The package that reads Parquet is not installed.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no file {path!r}")
    ending = path.lower()
    with _errors_named(path):
        if ending.endswith(_PARQUET):
            _refuse_hdu(path, hdu)
            return _open_parquet(path)
        if ending.endswith(_HDF5):
            return _open_hdf5(path, hdu)
        return _Astropy(path, _read_astropy(path, Table, hdu))


def read_table(path: str | os.PathLike, kind: type = QTable, hdu: str | int | None = None) -> Any:
    """Read a whole table.

    Parameters
    ----------
    path : str or path
        As in `open_table`, which raises the same errors.
    kind : type
        astropy.table.QTable or Table.
    hdu : int or str, optional
        As there.

    Returns
    -------
    QTable or Table
        A NaN in a FITS file stays one, and `galsim_vae.from_table` refuses it like any other.
    """
    path = os.path.expanduser(path)
    if os.path.isfile(path) and not path.lower().endswith(_PARQUET + _HDF5):
        with _errors_named(path):
            return _read_astropy(path, kind, hdu)
    return kind(dict(open_table(path, hdu)))


class TableFile(Mapping[str, Any]):
    """The columns of a file by their names; each is read once, when it is asked for.

    Attributes
    ----------
    path : str
        The file.
    rows : int
        Number of rows.
    """

    def __init__(self, path: str, names: list[str], rows: int):
        self.path, self.rows = path, rows
        self._names = names
        self._read: dict[str, Any] = {}
        self._state = _state(path)

    def __getitem__(self, name: str) -> Any:
        """Return a column (rows,): an array, masked where entries are missing.

        Raises
        ------
        KeyError
            There is no such column.
        OSError
            It cannot be read, or the file has changed since it was opened.
        """
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            if _state(self.path) != self._state:
                raise OSError(
                    f"{self.path!r} has changed since it was opened; its column {name!r} is not "
                    "read. Start again with the file complete"
                )
            with _errors_named(self.path):
                column = self.column(name)
            if len(column) != self.rows:
                raise OSError(
                    f"{self.path!r} is broken: {len(column)} of {self.rows} entries of {name!r}"
                )
            self._read[name] = column
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def column(self, name: str) -> Any:
        """Read a column from the file."""
        raise NotImplementedError


class _Astropy(TableFile):
    """A table that astropy has read; of a FITS file it is mapped into memory."""

    def __init__(self, path: str, table: Table):
        super().__init__(path, list(table.colnames), len(table))
        self._table = table

    def column(self, name: str) -> Any:
        return self._table[name]


class _Parquet(TableFile):
    def column(self, name: str) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path, memory_map=True) as file:
            column = file.read(columns=[name]).column(0)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_nested(column.type):
            raise GalSimValueError(
                f"column {name} of {self.path!r} must have one value a row", str(column.type)
            )
        if not column.null_count:
            return column.to_numpy()
        missing = column.is_null().to_numpy()
        present = column.drop_null().to_numpy()
        filled = np.zeros(len(column), present.dtype)
        filled[~missing] = present
        return np.ma.MaskedArray(filled, missing)


def _open_parquet(path: str) -> TableFile:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise GalSimError(f"{path!r} is a Parquet file, and {how_to_install('pyarrow')}") from None
    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    if _PARQUET_META in (schema.metadata or {}):
        return _Astropy(path, Table.read(path, format="parquet"))
    return _Parquet(path, list(schema.names), rows)


class _HDF5Table(TableFile):
    """A data set with fields, or a group of data sets, one a column."""

    def __init__(self, path: str, place: str):
        with h5py.File(path) as file:
            found = file[place]
            self._group = isinstance(found, h5py.Group)
            if self._group:
                lengths = {name: len(found[name]) for name in _columns_of(found)}
            else:
                lengths = dict.fromkeys(found.dtype.names, len(found))
        if len(set(lengths.values())) > 1:
            raise GalSimValueError(
                f"the columns of {place!r} in {path!r} differ in length", lengths
            )
        super().__init__(path, list(lengths), next(iter(lengths.values())))
        self._place = place

    def column(self, name: str) -> Any:
        with h5py.File(self.path) as file:
            found = file[self._place]
            data = found[name] if self._group else found.fields(name)  # type: ignore[union-attr]
            values = data[:]  # type: ignore[index]
            unit = data.attrs.get("unit", data.attrs.get("units")) if self._group else None
        if values.dtype.kind == "O":  # text of any length
            values = np.array([v.decode() if isinstance(v, bytes) else v for v in values])
        if unit is None or not len(str(unit)):
            return values
        unit = unit.decode() if isinstance(unit, bytes) else str(unit)
        return Table({name: values}, units={name: unit})[name]


def _open_hdf5(path: str, place: str | int | None) -> TableFile:
    with h5py.File(path) as file:
        places = _tables_of(file)
        if place is None and len(places) == 1:
            place = places[0]
        wanted = None if place is None else str(place).strip("/") or "/"
        if wanted not in places:
            if not places:
                raise OSError(f"there is no table in {path!r}")
            raise GalSimValueError(
                f"{path!r} has several tables: name one with hdu" if place is None
                else f"{path!r} has no such table", place, places,
            )  # fmt: skip
        by_astropy = f"{wanted}{_HDF5_META}" in file
    if by_astropy:
        return _Astropy(path, Table.read(path, format="hdf5", path=wanted))
    return _HDF5Table(path, wanted)


def _tables_of(file: h5py.File) -> list[str]:
    """The data sets with fields, and the groups that hold columns."""
    found: list[str] = []
    if _columns_of(file):
        found.append("/")

    def visit(name: str, item: Any) -> None:
        if _is_table(item) if isinstance(item, h5py.Dataset) else _columns_of(item):
            found.append(name)

    file.visititems(visit)
    return found


def _is_table(item: Any) -> bool:
    return bool(item.dtype.names) and item.ndim == 1


def _columns_of(group: h5py.Group) -> list[str]:
    """The data sets of a group that may be columns."""
    return [
        name for name, item in group.items()
        if isinstance(item, h5py.Dataset) and item.ndim == 1 and not item.dtype.names
        and not name.endswith(_HDF5_META)
    ]  # fmt: skip


def _read_astropy(path: str, kind: type, hdu: str | int | None) -> Any:
    opener = _opener(path)
    with opener(path) as file:
        if file.read(len(_FITS)) != _FITS:
            _refuse_hdu(path, hdu)
            return _read_other(path, kind)
        file.seek(0)
        options: dict[str, Any] = {} if hdu is None else {"hdu": _number_or_name(hdu)}
        with warnings.catch_warnings():
            # A file that is cut off raises by itself, or lacks no more than its filling.
            warnings.filterwarnings("ignore", "File may have been truncated", AstropyUserWarning)
            # Else the first table is read instead.
            warnings.filterwarnings("error", "Specified hdu=", AstropyDeprecationWarning)
            plain = opener is _plain
            return kind.read(
                path if plain else file, format="fits", mask_invalid=False, memmap=plain, **options
            )


def _number_or_name(hdu: str | int) -> str | int:
    return int(hdu) if str(hdu).isdigit() else hdu


def _read_other(path: str, kind: type) -> Any:
    try:
        return kind.read(path)
    except IORegistryError as error:
        # Its message is a list of forty formats.
        raise OSError(
            f"{path!r} is not a table that astropy recognises: give a FITS (.fits), ECSV (.ecsv), "
            "Parquet (.parquet) or HDF5 (.hdf5) file"
        ) from error


def _plain(path: str) -> BinaryIO:
    return open(path, "rb")


def _opener(path: str) -> Callable[[str], Any]:
    """What opens a file, by how it begins."""
    with _plain(path) as file:
        magic = file.read(max(map(len, _COMPRESSED)))
    return next((o for begin, o in _COMPRESSED.items() if magic.startswith(begin)), _plain)


def _refuse_hdu(path: str, hdu: str | int | None) -> None:
    if hdu is not None:
        raise GalSimValueError(f"hdu is for FITS and HDF5 files, and not for {path!r}", hdu)


def _state(path: str) -> tuple[int, int]:
    """What changes when a file is written to."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def _errors_named(path: str) -> Iterator[None]:
    """Make what a reader raises of a bad file an OSError that names the file."""
    try:
        yield
    except GalSimError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and path in str(error):
            raise
        raise OSError(f"cannot read a table from {path!r}: {error}") from error
