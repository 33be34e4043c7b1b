"""The pictures and labels behind tables of latents, which encoders are trained along with."""

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import Table
from galsim.errors import GalSimValueError
from numpy.typing import NDArray

from galsim_vae.latents.pictures import read_pictures, stretch
from galsim_vae.model import picture_file

from .finetune import Task
from .labels import are_numbers, classes_of, labelled

__all__ = ["check_are_pictures", "pictures_of", "tasks_of"]


def check_are_pictures(table: Table) -> None:
    """Raise galsim.GalSimValueError if a table of latents is not of pictures."""
    if table.meta.get("KIND") != "pictures":
        raise GalSimValueError("Only encoders of pictures are trained along, and the latents are "
                               "of", table.meta.get("KIND"))  # fmt: skip


def pictures_of(table: Table, progress: bool = False) -> tuple[picture_file.PictureModel, NDArray]:
    """Read the weights and the stretched pictures that a table of latents was made of.

    The table may have lost rows: its column ``row`` says which pictures are left.

    Raises
    ------
    OSError
        They are no longer there.
    galsim.GalSimValueError
        The latents are not of pictures, or the files have changed.
    """
    check_are_pictures(table)
    model = picture_file.read(table.meta["WEIGHTS"])
    pictures, row = read_pictures(table.meta["INPUT"], progress), np.asarray(table["row"], int)
    there = row.max(initial=-1) < len(pictures.names)
    same = there and list(np.asarray(pictures.names)[row]) == list(table["name"])
    if model.sha256 != table.meta["SHA256"] or not same:
        raise GalSimValueError(
            "The weights or pictures are others than those that were encoded: run galsim-vae "
            "encode again", (table.meta["WEIGHTS"], table.meta["INPUT"]),
        )  # fmt: skip
    config = model.vae.config
    return model, stretch(pictures[row].array, config.size, len(config.bands))


def tasks_of(
    also: Mapping[str, tuple[Table, Sequence[str]]], sha256: str, progress: bool = False
) -> dict[str, Task]:
    """Make tasks of columns of classes in tables of latents of pictures.

    Parameters
    ----------
    also : mapping of str to (Table, list of str)
        Tables and their columns, by names of the tables. Rows without a label, see `labelled`, are
        left out.
    sha256 : str
        Digest of the weights that all tables must be of.
    progress : bool
        Show bars.

    Raises
    ------
    OSError
        The pictures are no longer there.
    galsim.GalSimValueError
        Another digest, no such column, one class only, more than 50, or labels that are numbers.
    """
    tasks = {}
    for name, (table, columns) in also.items():
        if table.meta.get("SHA256") != sha256:
            raise GalSimValueError(
                f"{name} was encoded by other weights: encode both by the same",
                table.meta.get("SHA256"), [sha256],
            )  # fmt: skip
        pictures = pictures_of(table, progress)[1]
        for column in columns:
            rows, values = labelled(table, column)
            if are_numbers(values):
                raise GalSimValueError(f"{name}: only classes are taught along, and these are "
                                       "numbers", column)  # fmt: skip
            labels = classes_of(values, f"{name}: {column}")[1]
            tasks[f"also {len(tasks)}"] = Task(pictures[rows], labels)
    return tasks
