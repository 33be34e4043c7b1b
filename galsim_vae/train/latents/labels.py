"""What a user's labels are: classes, or numbers."""

import numpy as np
from astropy.table import Table
from galsim.errors import GalSimValueError
from numpy.typing import NDArray

from galsim_vae.latents.table import column_of, is_label

__all__ = ["are_numbers", "classes_of", "labelled", "texts_of"]

_MOST_CLASSES = 50


def are_numbers(values: NDArray) -> bool:
    """Tell whether labels are numbers to be regressed: of a type with a point, not all whole."""
    return values.dtype.kind == "f" and bool(np.any(values != np.rint(values)))


def texts_of(values: NDArray) -> NDArray:
    """Return labels as texts, 1 and 1.0 alike: a table with gaps has whole numbers as floats."""
    return (values.astype(int) if values.dtype.kind == "f" else values).astype(str)


def classes_of(values: NDArray, column: str) -> tuple[NDArray, NDArray]:
    """Return the names of the classes (k,), sorted, and the number of each label's (n,).

    Raises
    ------
    galsim.GalSimValueError
        One class only, or more than 50.
    """
    names, labels = np.unique(texts_of(values), return_inverse=True)
    if len(names) < 2:
        raise GalSimValueError(f"{column} has one class only: label at least two", names.tolist())
    if len(names) > _MOST_CLASSES:
        raise GalSimValueError(
            f"{column} has more than {_MOST_CLASSES} classes. Is it a name?", len(names)
        )
    return names, labels


def labelled(table: Table, column: str) -> tuple[NDArray, NDArray]:
    """Return the rows of a table of latents that have a label in one of its columns, and these.

    A label is no empty text, no NaN, and no negative whole number: sets without a class say -1.
    """
    values = column_of(table, column)
    kept = np.array([is_label(value) for value in values], bool)
    if values.dtype.kind in "if" and not are_numbers(values[kept]):
        kept[kept] = values[kept] >= 0
    return np.flatnonzero(kept), values[kept]
