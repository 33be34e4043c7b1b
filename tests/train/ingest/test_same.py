"""Stamps of one galaxy are on one side of the split."""

import galsim
import numpy as np
import pytest
from astropy.table import Table
from made_reader import Made
from places import ROOT

from galsim_vae.train import training_file
from galsim_vae.train.ingest.run import ingest
from galsim_vae.train.ingest.same import RADIUS, held_out, near_pairs, read_pairs

ARCSEC = 1 / 3600
UNKNOWN = np.full(6, np.nan)


def test_near_positions_are_found_at_all_declinations_and_across_zero():
    dec = np.array([0.0, 0.0, 80.0, 80.0, -30.0, 10.0, 10.0])
    step = 0.9 * RADIUS * ARCSEC / np.cos(np.radians(dec))
    ra = np.array([0.0, 360.0, 150.0, 150.0, 20.0, np.nan, 5.0])
    ra[1] -= step[1]
    ra[3] += step[3]
    assert sorted(map(tuple, near_pairs(ra, dec).tolist())) == [(0, 1), (2, 3)]
    ra[3] += 0.2 * step[3]
    assert near_pairs(ra, dec).tolist() == [[0, 1]]
    assert near_pairs(UNKNOWN, UNKNOWN).shape == (0, 2)


def test_every_stamp_of_a_held_out_galaxy_is_held_out():
    source = np.array(["a", "a", "b", "b", "c", "c"])
    index = np.array([4, 5, 0, 4, 1, 2])
    ra, dec = UNKNOWN.copy(), UNKNOWN.copy()
    assert held_out(source, index, ra, dec).tolist() == [True, False, False, True, False, False]
    # a 4 is b 0 on the sky, which the table says is c 1; c 2 is a 5, and neither is held out.
    ra[[0, 2]], dec[[0, 2]] = 10.0, [20.0, 20.0 + 0.5 * ARCSEC]
    pairs = [(("c", 1), ("b", 0)), (("c", 2), ("a", 5)), (("c", 2), ("nowhere", 4))]
    valid = held_out(source, index, ra, dec, pairs)
    assert valid.tolist() == [True, False, True, True, True, False]


class Placed(Made):
    """Galaxies at one position, 10 arcsec from each other, and the next reader's the same."""

    def __init__(self, name, first=0):
        super().__init__(name, chunks=2)
        self.first = first

    def read(self, chunk):
        for source in super().read(chunk):
            place = source.index + self.first
            source.catalogue = {"ra": 10.0, "dec": place * 10 * ARCSEC}
            yield source


def test_training_file_holds_out_second_stamps(tmp_path):
    path = tmp_path / "real.h5"
    ingest([Placed("one"), Placed("two", first=3), Made("three", 1)], path,
           same=[(("three", 1), ("one", 4))])  # fmt: skip
    galaxies = training_file.read(path)
    names = zip(galaxies.source.tolist(), galaxies.source_index.tolist(), strict=True)
    chosen = {galaxy for galaxy, valid in zip(names, galaxies.valid, strict=True) if valid}
    # Number 4 of each is held out. Number 1 of the second is number 4 of the first.
    assert chosen == {("one", 4), ("two", 1), ("two", 4), ("three", 1)}


def test_table_of_pairs_is_read_and_refused_without_a_column(tmp_path):
    pairs = read_pairs(ROOT / "weights" / "real-more-same.ecsv")
    assert (("cosmosweb_f444w", 1), ("cosmosweb_2band", 4)) in pairs
    path = tmp_path / "pairs.ecsv"
    Table({"source": ["a"], "source_index": [1]}).write(path)
    with pytest.raises(galsim.GalSimKeyError, match="no column same_source"):
        read_pairs(path)
    with pytest.raises(OSError, match="nothere"):
        read_pairs(tmp_path / "nothere.ecsv")
