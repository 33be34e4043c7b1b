"""A table of latents leads back to the pictures that were encoded, and to labels of classes."""

import numpy as np
import pytest
from galsim.errors import GalSimValueError

from galsim_vae.train.latents.tasks import pictures_of, tasks_of


def test_pictures_of_a_table_that_was_cut(table):
    whole, cut = pictures_of(table)[1], pictures_of(table[5:9])[1]
    np.testing.assert_array_equal(cut, whole[5:9])
    table["row"] = table["row"] + 1
    with pytest.raises(GalSimValueError, match="others than those that were encoded"):
        pictures_of(table)


def test_tasks_of_what_cannot_be_taught_along(table):
    digest = table.meta["SHA256"]
    with pytest.raises(GalSimValueError, match="only classes are taught along"):
        tasks_of({"other.fits": (table, ["slope"])}, digest)
    with pytest.raises(GalSimValueError, match="other.fits: one has one class only"):
        tasks_of({"other.fits": (table, ["one"])}, digest)
    with pytest.raises(GalSimValueError, match="no column of this name"):
        tasks_of({"other.fits": (table, ["colour"])}, digest)
    with pytest.raises(GalSimValueError, match="other.fits was encoded by other weights"):
        tasks_of({"other.fits": (table, ["kind"])}, "b" * 64)
