"""The synthetic population beside the catalogues."""

import galsim
import numpy as np
import pytest
from astropy.table import Table
from places import SHARED

from galsim_vae.train.check.population import compare as population_check
from galsim_vae.train.check.population.catalogues import read
from galsim_vae.train.check.population.model import DrawnPopulation


def test_wrong_folder_is_named(tmp_path):
    with pytest.raises(galsim.GalSimValueError, match="catalogues/"):
        read(tmp_path)


needs_data = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")


@pytest.fixture(scope="module")
def catalogues():
    return read(SHARED)


@pytest.fixture(scope="module")
def model(catalogues):
    return DrawnPopulation(catalogues, colours=400)


@pytest.fixture(scope="module")
def report(catalogues, model):
    return population_check.compare(catalogues, model)


@needs_data
def test_catalogues_mean_what_they_should(catalogues):
    shapes, spectra, stamps, goods, hdf = catalogues[:5]
    assert (len(catalogues.three_d_hst), len(catalogues.figs)) > (3000, 2000)
    assert (len(shapes), len(goods), len(hdf)) == (54_236, 150, 1067)
    # Axis ratios of the flattest discs, not needles: e1, e2 are distortions.
    flattest = np.percentile(shapes["g"], 99)
    assert 0.1 < (1 - flattest) / (1 + flattest) < 0.2
    assert len(spectra) > 15_000 and spectra["redshift"].max() < 5
    assert 250 < len(stamps) < 278
    # Counts to 25 mag tell the zero-point: 46 galaxies per square arcmin.
    assert np.sum(hdf["magnitude"] < 25) / 5.05 == pytest.approx(46, rel=0.15)


@needs_data
def test_photometric_redshifts(catalogues):
    hdf = catalogues.hubble_deep_field[catalogues.hubble_deep_field["spectroscopic"]]
    error = (hdf["photometric_redshift"] - hdf["redshift"]) / (1 + hdf["redshift"])
    assert abs(np.median(error)) < 0.03
    assert np.mean(np.abs(error) > 0.15) < 0.15


@needs_data
def test_population_agrees_with_catalogues(report):
    """Within what was asked for, wherever the data can tell: their own error is smaller."""
    asked = report[np.isfinite(report["required"])]
    error = np.nan_to_num(np.asarray(asked["error"]))
    decisive = asked[error < asked["required"]]
    for relation, least in (("size", 4), ("ellipticity", 8), ("redshift", 8)):
        rows = decisive[decisive["relation"] == relation]
        assert len(rows) >= least
        assert np.all(np.abs(rows["distance"]) <= rows["required"]), rows
    # And nothing is more than two errors beyond.
    assert np.all(np.abs(asked["distance"]) <= asked["required"] + 2 * error)


@needs_data
def test_check_can_fail(catalogues, model):
    """The check notices redshifts 15 % too high and |g| 15 % too large."""
    spectra, shapes = catalogues.zcosmos.copy(), catalogues.cosmos_shapes.copy()
    spectra["redshift"] /= 1.15
    shapes["g"] /= 1.15
    table = population_check.compare(
        catalogues._replace(zcosmos=spectra, cosmos_shapes=shapes), model
    )
    for sample in ("zCOSMOS", "COSMOS"):
        rows = table[(table["sample"] == sample) & np.isfinite(table["required"])]
        assert np.any(np.abs(rows["distance"]) > rows["required"])


@needs_data
def test_report_is_written(catalogues, model, report, tmp_path):
    population_check.write(tmp_path / "new", report, catalogues, model)
    names = {path.name for path in (tmp_path / "new").iterdir()}
    kinds = ("counts", "size", "ellipticity", "redshift", "colours")
    assert names == {"population.ecsv", *(f"population_{kind}.png" for kind in kinds)}
    assert len(Table.read(tmp_path / "new" / "population.ecsv")) == len(report) > 40
