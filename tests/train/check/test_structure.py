"""Structure of the synthetic population beside that of real galaxies."""

import galsim
import numpy as np
import pytest

from galsim_vae.bands import BANDS, REFERENCE
from galsim_vae.frame import ROUND
from galsim_vae.train.check.population import structure
from galsim_vae.train.clean import planted


@pytest.fixture(scope="module")
def galaxies():
    """Galaxies of the population itself, as a training file has those of HST."""
    data = planted.synthetic_file(90, seed=5, frame=ROUND)
    random = np.random.default_rng(2)
    noise = data.noise[:, :, None, None] * random.normal(size=data.image.shape)
    data.image[:] = (data.image + noise) * data.mask
    seen = data.mask.any((2, 3))
    data.filters = np.where(seen, np.array(BANDS), "")
    return data[structure.chosen(data).source_index]


@pytest.fixture(scope="module")
def found(galaxies):
    return structure.measure(structure.chosen(galaxies), seed=3, repeats=2)


def lines(found):
    table = structure.compare(found)
    whole = table[(table["low"] == 20) & (table["high"] == 25)]
    return {row["quantity"]: row for row in whole}


def test_galaxies_of_the_population_are_like_the_population(found):
    rows = lines(found)
    assert {"gini", "m20", "C", "A", "S", "F814W-F125W", "power at 8 cycles"} <= set(rows)
    # The model's own scatter adds to the error of the data: twice as many galaxies.
    excess = [abs(row["difference"]) / (1.3 * row["error"]) for row in rows.values()]
    assert np.mean(excess) < 1.5 and np.max(excess) < 4
    assert all(row["n"] <= len(found.magnitude) for row in rows.values())


def test_a_colour_and_structure_that_differ_are_found(galaxies, found):
    changed = structure.chosen(galaxies)
    changed.image[:, BANDS.index("F125W")] *= 1.3
    x = np.arange(64) - 31.5
    lumps = 1 + 0.5 * np.cos(2 * np.pi * x / 8)  # 8 cycles a stamp
    changed.image[:, BANDS.index(REFERENCE)] *= lumps
    before, after = lines(found), lines(structure.measure(changed, seed=3, repeats=2))
    colour, power = (
        after[name]["difference"] - before[name]["difference"]
        for name in ("F814W-F125W", "power at 8 cycles")
    )
    assert colour == pytest.approx(-2.5 * np.log10(1.3), abs=0.1)
    assert power < -0.15
    assert after["A"]["real"] > before["A"]["real"] - 0.02


def test_a_file_and_a_picture_are_written(found, tmp_path):
    structure.write(tmp_path, structure.compare(found), found)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"population_structure.ecsv", "population_structure.png"}


def test_a_file_without_hst_galaxies_is_refused(galaxies):
    galaxies = galaxies[np.arange(len(galaxies))]
    galaxies.filters[:] = "r"
    with pytest.raises(galsim.GalSimValueError, match="at least 10 HST galaxies"):
        structure.chosen(galaxies)
