"""Runs of one chunk, mostly without noise."""

import galsim
import numpy as np
import pytest
from shear_setup import config

from galsim_vae import shear
from galsim_vae.shear import chunk as shear_chunk
from galsim_vae.shear.bias import make_table
from galsim_vae.shear.chunk import run_chunk
from galsim_vae.shear.workers import Forecast


def deep_run(stub, **changes):
    values = {"depth": 1e4, "psf_shear": [0.02, -0.01], "stamp_size": 48, "bins": 1} | changes
    made = config(**values)
    arrays, seconds = run_chunk(made, 0)
    assert {"conditions", "decode", "draw", "noise"} < set(seconds)
    return made, arrays, make_table(made, arrays)


def test_anacal_has_no_bias_but_for_g_squared(stub):
    m = {}
    for g in (0.02, 0.08, 0.16):
        _, _, table = deep_run(stub, estimators=["anacal"], shear=[g, 0.0], twins=False)
        assert len(table) == 2 and table["component"].tolist() == [1, 2]
        m[g] = table["m"][0]
    assert abs(m[0.02]) < 5e-4
    slopes = [(m[g] - m[0.02]) / (g**2 - 0.02**2) for g in (0.08, 0.16)]
    assert 0.2 < slopes[0] < 1 and abs(slopes[1] / slopes[0] - 1) < 0.25


def test_regauss_and_the_difference_of_twins(stub):
    made, arrays, table = deep_run(stub, estimators=["regauss"], max_magnitude=None)
    assert table["population"].tolist()[::2] == ["vae", "sersic", shear.DIFFERENCE]
    first = table[table["component"] == 1]
    assert (np.abs(first["m"]) < 0.1).all()
    np.testing.assert_allclose(first["m"][2], first["m"][0] - first["m"][1], atol=1e-12)
    assert first["m_err"][2] < first["m_err_unpaired"][2]
    assert first["pairs"][0] == 2 * first["used"][0] <= 24
    assert {f"truth/{name}" for name in shear_chunk.PROPERTIES} < set(arrays)


def test_ring_partners_cancel_the_shapes_of_galaxies(stub):
    e = {}
    for ring in (True, False):
        _, arrays, table = deep_run(
            stub, estimators=["anacal"], ring=ring, shear=[0, 0], psf_shear=[0, 0], twins=False
        )
        assert table["m"].mask.all() and np.isfinite(table["c"]).all()
        e[ring] = arrays["vae/anacal/e"].mean(axis=1)[:, 0]
    assert np.abs(e[True]).mean() < 0.02 * np.abs(e[False]).mean()


def test_only_the_slice_in_redshift_is_sheared(stub):
    made, arrays, table = deep_run(
        stub, estimators=["anacal"], redshift=[1.0, 3.0], twins=False, ring=False
    )
    redshift = arrays["truth/redshift"]
    inside = (redshift >= 1) & (redshift < 3)
    e = arrays["vae/anacal/e"]
    change = np.abs(e[:, 0, 0] - e[:, 0, 1])[:, 0]
    assert 0 < inside.sum() < len(inside)
    assert (change[~inside] == 0).all() and (change[inside] > 1e-3).all()
    assert table["used"][0] == inside.sum()


def test_bins_hold_equal_numbers(stub):
    made = config(galaxies=12, estimators=["anacal"], twins=False, bins=3, stamp_size=32)
    table = make_table(made, run_chunk(made, 0)[0])
    binned = table[(table["property"] == "magnitude") & (table["component"] == 1)]
    assert binned["used"].tolist() == [4, 4, 4] and np.all(np.diff(binned["mean"]) > 0)
    assert "sersic_index" not in table["property"]


def test_an_estimator_that_measured_nothing_is_told_of(stub):
    made = config(galaxies=2, estimators=["anacal", "regauss"], twins=False, stamp_size=32)
    arrays, _ = run_chunk(made, 0)
    arrays["vae/regauss/ok"][:] = False
    with pytest.warns(galsim.GalSimWarning, match="regauss measured no galaxy"):
        table = make_table(made, arrays)
    assert set(table["estimator"]) == {"anacal"}
    assert Forecast(config(estimators=["regauss"]), 0).add(arrays) == ""


def test_a_chunk_is_a_function_of_its_number_and_the_seed(stub):
    made = config(galaxies=6, chunk=2, estimators=["regauss"], twins=False, stamp_size=32)
    first, again, other = (run_chunk(made, number)[0] for number in (1, 1, 2))
    key = "vae/regauss/e"
    np.testing.assert_array_equal(first[key], again[key])
    assert not np.array_equal(first[key], other[key])
    with pytest.raises(galsim.GalSimValueError, match="weights of this worker"):
        run_chunk(made, 0, "another")


def test_a_galaxy_that_cannot_be_drawn_does_not_end_the_run(stub, monkeypatch):
    made = config(galaxies=2, estimators=["regauss"], stamp_size=32)
    sample, failures = stub.sample, []

    def failing(table, rng):
        if len(failures) < 2:
            failures.append(1)
            raise galsim.GalSimError("no usable stamp")
        return sample(table, rng)

    monkeypatch.setattr(stub, "sample", failing)
    assert len(run_chunk(made, 0)[0]["vae/regauss/ok"]) == 2
    monkeypatch.setattr(stub, "sample", lambda table, rng: failing_always())
    with pytest.raises(galsim.GalSimError, match="no usable stamp"):
        run_chunk(made, 0)


def failing_always():
    raise galsim.GalSimError("no usable stamp")


class Peaks(shear.Estimator):
    """An estimator of a user: the light left and right of the middle."""

    def stamps(self, images, renoise):
        half = images[:, :, : self.size // 2].sum(axis=(1, 2)) / images.sum(axis=(1, 2))
        e = np.stack([half, 1 - half], axis=1)
        return shear.Shapes.of(e, np.ones_like(e), half > 0)


def test_an_estimator_of_a_user_is_known_by_its_name(stub, monkeypatch):
    monkeypatch.setitem(shear.ESTIMATORS, "peaks", Peaks)
    made = config(galaxies=2, estimators=["peaks", "regauss"], twins=False, stamp_size=32)
    arrays, seconds = run_chunk(made, 0)
    np.testing.assert_allclose(arrays["vae/peaks/e"].sum(axis=-1), 1)
    assert "measure peaks" in seconds and "peaks" in make_table(made, arrays)["estimator"]
