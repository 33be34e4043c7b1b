"""What is a label, and which labels are numbers."""

import numpy as np
from astropy.table import Table

from galsim_vae.train.latents.labels import are_numbers, labelled


def test_numbers_are_not_all_whole():
    assert are_numbers(np.array([0.5, 1.0])) and not are_numbers(np.array([1.0, 2.0]))


def test_what_is_a_label():
    rows, values = labelled(Table({"x": [0, -1, 2]}), "x")
    assert list(rows) == [0, 2] and list(values) == [0, 2]
    assert list(labelled(Table({"x": [0.5, np.nan, -1.0]}), "x")[0]) == [0, 2]
    assert list(labelled(Table({"x": [0.0, -1.0, np.nan, 2.0]}), "x")[0]) == [0, 3]
    assert list(labelled(Table({"x": ["a", " ", ""]}), "x")[0]) == [0]
