"""Catalogues as pipelines have them: further columns, names, cuts, areas, formats."""

import copy
import logging

import galsim
import h5py
import numpy as np
import pytest
import yaml
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table

from galsim_vae.bands import BANDS
from galsim_vae.conditions import surface_density

IMAGE = """
modules: [galsim_vae]
image: {type: Tiled, nx_tiles: 2, ny_tiles: 2, stamp_size: 32, pixel_scale: 0.2, random_seed: 1234}
psf: {type: Gaussian, fwhm: 0.7}
gal: {type: VAEGalaxy, zeropoint: 30}
output: {file_name: image.fits, truth: {file_name: truth.fits, columns: {}}}
"""
FAINT = 26.5
SKY = Table(
    {
        "galaxy_id": np.arange(100, 106),
        "mag_i": [22.0, 22.5, 23.0, 23.5, 24.0, 24.5],
        "size_true": [0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
        "redshift": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
        "ra": 55 + np.arange(6) / 3600,
        "dec": -30 + np.arange(6) / 3600,
        "shear_1": [0.01, -0.02, 0.03, 0.0, 0.02, 0.01],
        "shear_2": [0.0, 0.01, -0.01, 0.02, 0.0, 0.0],
        "star": [False, True] * 3,
        "kind": ["red", "blue"] * 3,
    }
)
COLUMNS = {"magnitude": "mag_i", "half_light_radius": "size_true", "id": "galaxy_id"}

pytestmark = pytest.mark.usefixtures("generator")


def config(catalog, gal=None, **updates):
    fields = yaml.safe_load(IMAGE)
    fields["input"] = {"vae_catalog": copy.deepcopy(catalog)}
    fields["gal"].update(gal or {})
    for key, value in updates.items():
        fields[key].update(value)
    galsim.config.ImportModules(fields)
    return fields


def value(key, kind=None, **index):
    return {"type": "VAEValue" if kind is None else f"VAEValue_{kind}", "key": key, **index}


def truth(fields, tmp_path, **columns):
    fields["output"]["dir"] = str(tmp_path)
    fields["output"]["truth"]["columns"] = columns
    galsim.config.Process(fields, except_abort=True)
    return Table.read(tmp_path / "truth.fits")


def catalog_of(fields):
    galsim.config.ProcessInput(fields)
    return fields["_input_objs"]["vae_catalog"][0]


@pytest.fixture
def sky(tmp_path):
    SKY.write(tmp_path / "sky.fits")
    return {"file_name": "sky.fits", "dir": str(tmp_path), "columns": COLUMNS, "seed": 5}


def test_columns_pass_through(sky, tmp_path):
    index = {"type": "List", "items": [5, 0, 3, 2]}
    keys = ("magnitude", "id", "half_light_radius", "redshift", "ra", "shear_1", "star", "kind")
    table = truth(config(sky, {"index": index}), tmp_path, **{key: value(key) for key in keys})
    for key in keys:
        source = SKY[COLUMNS.get(key, key)][[5, 0, 3, 2]]
        np.testing.assert_array_equal(table[key], source)


@pytest.mark.parametrize("index", [None, {"type": "Random"}, 3])
def test_shear_and_position_are_those_of_the_galaxy(sky, index, tmp_path):
    """Before the galaxy is built, VAEValue reads the row that it will have."""
    shear = {"type": "G1G2", "g1": value("shear_1"), "g2": value("shear_2")}
    fields = config(sky, {"shear": shear})
    if index is not None:
        fields["gal"]["index"] = index
    fields["image"] = {
        "type": "Scattered", "nobjects": 4, "size": 64, "random_seed": 8,
        "world_pos": {"type": "RADec", "ra": value("ra"), "dec": value("dec")},
        "wcs": {"type": "Tan", "dudx": 0.2, "dudy": 0, "dvdx": 0, "dvdy": 0.2,
                "ra": "55 deg", "dec": "-30 deg"},
    }  # fmt: skip
    ra = {"type": "Eval", "str": "world_pos.ra / galsim.degrees"}
    table = truth(
        fields, tmp_path, id=value("id"), ra=ra, g1="$(@gal.shear).g1", row=value("dec")
    )
    rows = np.asarray(table["id"]) - 100
    np.testing.assert_allclose(table["ra"], SKY["ra"][rows], rtol=0, atol=1e-9)
    np.testing.assert_allclose(table["g1"], SKY["shear_1"][rows], atol=1e-12)
    np.testing.assert_array_equal(table["row"], SKY["dec"][rows])


def test_types_of_values(tmp_path):
    path = str(tmp_path / "a.ecsv")
    QTable({"id": [4], "angle": [90.0] * u.deg, "hour": [6.0] * u.hourangle, "n": [3],
            "x": [2.5], "name": ["12"], "size": [1.0] * u.m}).write(path)  # fmt: skip
    fields = config({"file_name": path})
    catalog_of(fields)
    for key, kind, expected in (
        ("angle", galsim.Angle, 90 * galsim.degrees), ("hour", galsim.Angle, 90 * galsim.degrees),
        ("x", galsim.Angle, 2.5 * galsim.degrees), ("n", int, 3), ("n", float, 3.0),
        ("x", float, 2.5), ("name", str, "12"), ("n", bool, True), ("angle", float, 90.0),
    ):  # fmt: skip
        fields["v"] = value(key, index=0)
        found = galsim.config.ParseValue(fields, "v", fields, kind)[0]
        assert type(found) is kind
        assert found == expected or abs((found - expected).rad) < 1e-14
    fields["v"] = value("size", index=0)
    with pytest.raises(galsim.GalSimConfigError, match="an angle is wanted.* m"):
        galsim.config.ParseValue(fields, "v", fields, galsim.Angle)
    fields["v"] = value("name", index=0)
    fields["w"] = value("siz", index=0)
    with pytest.raises(galsim.GalSimConfigError, match="siz.*magnitude.*hour"):
        galsim.config.ParseValue(fields, "w", fields, float)


def test_a_masked_entry_has_no_value(tmp_path):
    path = str(tmp_path / "a.ecsv")
    Table({"id": [1, 2], "kappa": MaskedColumn([0.1, 0.2], mask=[False, True])}).write(path)
    fields = config({"file_name": path})
    catalog_of(fields)
    fields["v"] = value("kappa", index=1)
    with pytest.raises(galsim.GalSimConfigError, match="row 1.*masked"):
        galsim.config.ParseValue(fields, "v", fields, float)


@pytest.mark.parametrize("name", ["sky.parquet", "sky.hdf5", "sky.ecsv"])
def test_formats_make_the_same_galaxies(name, sky, tmp_path):
    expected = galsim.config.BuildImage(config(sky)).array
    path = str(tmp_path / name)
    if name.endswith("parquet"):
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(pa.table({key: np.asarray(SKY[key]) for key in SKY.colnames}), path)
    elif name.endswith("hdf5"):
        with h5py.File(path, "w") as file:
            for key in SKY.colnames:
                column = np.asarray(SKY[key])
                file[f"truth/{key}"] = column.astype("S") if column.dtype.kind == "U" else column
    else:
        SKY.write(path)
    run = sky | {"file_name": name} | ({"hdu": "truth"} if name.endswith("hdf5") else {})
    np.testing.assert_array_equal(galsim.config.BuildImage(config(run)).array, expected)


@pytest.mark.parametrize(
    ("catalog", "error", "message"),
    [
        ({"columns": {"magnitude": "mag_j"}}, galsim.GalSimConfigError, "columns.magnitude.*mag_i"),
        ({"columns": {"magnitude": 3}}, galsim.GalSimConfigError, "no column"),
        ({"columns": COLUMNS | {"ellipticity": "shear_1"}}, galsim.GalSimConfigError, "Shear"),
        ({"columns": COLUMNS | {"g1": "shear_1"}}, galsim.GalSimIncompatibleValuesError, "g2"),
        ({"columns": COLUMNS | {"magnitude": "kind"}}, galsim.GalSimValueError, "numbers"),
        ({"hdu": "7"}, OSError, "sky.fits.*hdu=7"),
        ({"dir": "/nowhere"}, OSError, "/nowhere/sky.fits"),
        ({"density": 3}, galsim.GalSimConfigError, "density is for galaxies on an area"),
        ({"max_magnitude": 3}, galsim.GalSimConfigError, "max_magnitude.*select the rows"),
        ({"colums": {}}, galsim.GalSimConfigError, "colums"),
    ],
)
def test_mistakes_with_files(catalog, error, message, sky):
    with pytest.raises(error, match=message):
        galsim.config.BuildImage(config(sky | catalog))


def test_what_may_be_a_mistake_is_logged(tmp_path, caplog):
    path = str(tmp_path / "a.fits")
    Table({"magnitud": [22.0], "redshift": [1.0], "mag_i": [21.0], "ra": [3.0]}).write(path)
    logger = logging.getLogger("test_catalog")
    with caplog.at_level(logging.INFO, logger="test_catalog"):
        galsim.config.BuildImage(config({"file_name": path}), logger=logger)
    lines = [r.getMessage() for r in caplog.records]
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("conditions: redshift; further columns: magnitud, mag_i, ra" in s for s in lines)
    assert any("magnitud is not magnitude" in s for s in warnings)
    assert any("mag_i names no filter" in s for s in warnings)
    assert not any("column ra" in s for s in warnings)


def test_an_empty_table(tmp_path):
    path = str(tmp_path / "a.fits")
    Table({"magnitude": np.zeros(0)}).write(path)
    with pytest.raises(galsim.GalSimConfigError, match="no rows"):
        galsim.config.BuildImage(config({"file_name": path}))


# The population.


def test_cuts_choose_among_the_same_galaxies():
    free = catalog_of(config({"nobjects": 400, "seed": 3}))
    cuts = {"max_magnitude": 24, "min_redshift": 1, "max_ellipticity": 0.5,
            "min_half_light_radius": 0.3}  # fmt: skip
    cut = catalog_of(config({"nobjects": 10, "seed": 3, **cuts}))
    table, other = free.stamps(), cut.stamps()
    values = table.conditions.values
    magnitude, radius, g, redshift = values.T
    keep = (magnitude <= 24) & (redshift >= 1) & (g <= 0.5) & (radius >= 0.3)
    rows = np.flatnonzero(keep)[:10]
    np.testing.assert_array_equal(other.conditions.id, rows)
    np.testing.assert_array_equal(other.conditions.values, values[rows])
    np.testing.assert_array_equal(other.array, table.array[rows])
    assert cut.getNObjects() == 10


def test_the_surface_density_that_remains(caplog):
    logger = logging.getLogger("test_catalog")
    fields = config({"nobjects": 4, "seed": 3, "max_magnitude": 22.25})
    with caplog.at_level(logging.INFO, logger="test_catalog"):
        galsim.config.BuildImage(fields, logger=logger)
    catalog = fields["_input_objs"]["vae_catalog"][0]
    share = (22.25 - 18) / (FAINT - 18)  # the stand-in draws magnitudes evenly
    expected = share * surface_density(FAINT)
    assert catalog.surface_density == pytest.approx(expected, rel=0.06)
    fields["v"] = value("surface_density")
    found = galsim.config.ParseValue(fields, "v", fields, float)[0]
    assert found == catalog.surface_density
    assert any("per square arcmin" in record.getMessage() for record in caplog.records)
    whole = catalog_of(config({"nobjects": 4, "seed": 3}))
    assert whole.surface_density == pytest.approx(surface_density(FAINT))


def test_galaxies_on_an_area(tmp_path):
    area = 4.0
    catalog = catalog_of(config({"area": area, "seed": 3}))
    expected = area * surface_density(FAINT)
    assert abs(catalog.getNObjects() - expected) < 4 * np.sqrt(expected)
    assert catalog.getNObjects() != round(expected)
    for key in "xy":
        place = catalog.contents[key]
        assert place.unit == u.arcsec
        assert np.abs(place.value).max() <= 60
        assert np.std(place.value) == pytest.approx(120 / np.sqrt(12), rel=0.1)
    again = catalog_of(config({"area": area, "seed": 3, "max_magnitude": 22.25}))
    share = again.getNObjects() / catalog.getNObjects()
    assert share == pytest.approx(0.5, abs=0.1)
    ids = np.asarray(again.contents["id"])
    np.testing.assert_array_equal(again.contents["x"], catalog.contents["x"][ids])
    fixed = catalog_of(config({"area": 1.0, "density": 50, "seed": 3, "min_redshift": 2}))
    assert abs(fixed.getNObjects() - 50) < 4 * np.sqrt(50)


@pytest.mark.parametrize(
    "more",
    [{}, {"max_magnitude": 24}, {"density": 5}, {"density": 5, "max_magnitude": 24},
     {"center": {"type": "RADec", "ra": "30 deg", "dec": "60 deg"}}],
)  # fmt: skip
@pytest.mark.parametrize("nproc", [1, 2])
def test_an_area_without_a_galaxy(more, nproc, tmp_path):
    fields = config({"area": 1e-9, "seed": 3, **more})
    fields["image"] = {
        "type": "Scattered", "size": 16, "pixel_scale": 0.2, "random_seed": 1, "nproc": nproc
    }  # fmt: skip
    fields["eval_variables"] = {"igalaxies": value("nobjects")}
    catalog = catalog_of(copy.deepcopy(fields))
    assert catalog.getNObjects() == catalog.getApproxNObjects() == 0
    assert set("xy" if "center" not in more else ("ra", "dec")) <= set(catalog.contents)
    assert catalog.surface_density > 0
    assert len(catalog.contents.chosen([])["magnitude"]) == 0
    assert len(truth(fields, tmp_path, id="$galaxies")) == 0
    assert not galsim.fits.read(str(tmp_path / "image.fits")).array.any()


def test_an_area_whose_galaxies_are_all_cut():
    """Whoever passes is rarer than the field is large, and there is one in a large sample."""
    cuts = {"min_magnitude": 18, "max_magnitude": 18.02}
    catalog = catalog_of(config({"area": 0.1, "seed": 3, **cuts}))
    assert catalog.getNObjects() == 0
    share = 0.02 / (FAINT - 18)  # the stand-in draws magnitudes evenly
    assert 0 < catalog.surface_density < 3 * share * surface_density(FAINT)


def test_the_next_file_begins_after_the_galaxies_of_this():
    """GalSim numbers the objects of several files by the approximate number."""
    fields = config({"area": 2, "max_magnitude": 18.5, "seed": 3})
    fields["image"] = {"type": "Scattered", "size": 16, "pixel_scale": 0.2, "random_seed": 1}
    (about,) = galsim.config.GetNObjForFile(fields, 0, 0, approx=True)
    (count,) = galsim.config.GetNObjForFile(fields, 0, 0)
    assert 0 < about == count < 0.2 * 2 * surface_density(FAINT)
    # The catalogue's seed is set later: no two files may have objects of the same number.
    del fields["input"]["vae_catalog"]["seed"]
    fields = galsim.config.CopyConfig({k: v for k, v in fields.items() if k[0] != "_"})
    fields["input"]["vae_catalog"].pop("current", None)
    (most,) = galsim.config.GetNObjForFile(fields, 0, 0, approx=True)
    assert most >= 2 * surface_density(FAINT)


def test_the_number_of_galaxies_for_objects_beside_them():
    fields = config({"area": 0.2, "seed": 3}, {"index": 0})
    fields["eval_variables"] = {"igalaxies": value("nobjects")}
    fields["image"] = {"type": "Scattered", "size": 64, "nobjects": "$galaxies + 2"}
    galsim.config.ProcessInput(fields)
    number = fields["_input_objs"]["vae_catalog"][0].getNObjects()
    assert galsim.config.GetNObjForImage(fields, 0) == number + 2


def test_an_area_on_the_sky():
    center = galsim.CelestialCoord(30 * galsim.degrees, 60 * galsim.degrees)
    there = {"type": "RADec", "ra": "30 deg", "dec": "60 deg"}
    catalog = catalog_of(config({"area": 1.0, "seed": 3, "center": there}))
    flat = catalog_of(config({"area": 1.0, "seed": 3}))
    for i in range(5):
        place = galsim.CelestialCoord(
            *(float(catalog.contents[key][i].value) * galsim.degrees for key in ("ra", "dec"))
        )
        x, y = center.project(place)
        assert x / galsim.arcsec == pytest.approx(flat.contents["x"][i].value, abs=1e-6)
        assert y / galsim.arcsec == pytest.approx(flat.contents["y"][i].value, abs=1e-6)


@pytest.mark.parametrize(
    ("catalog", "error", "message"),
    [
        ({"nobjects": 4, "area": 1}, galsim.GalSimConfigError, "area"),
        ({"area": -1}, galsim.GalSimRangeError, "area must be positive"),
        ({"area": 1, "density": 0}, galsim.GalSimRangeError, "density must be positive"),
        ({"nobjects": 4, "density": 3}, galsim.GalSimConfigError, "density.*give area"),
        ({"nobjects": 4, "hdu": 1}, galsim.GalSimConfigError, "hdu is for a file"),
        ({"nobjects": 4, "max_magnitude": 17}, galsim.GalSimConfigError, "none of .* passes"),
        (
            {"nobjects": 4, "max_magnitude": 20, "min_magnitude": 21},
            galsim.GalSimRangeError, "above",
        ),
        ({"nobjects": 4, "min_redshift": "inf"}, galsim.GalSimConfigError, "finite"),
        ({"area": 1, "seed": 3, "max_magnitude": 17}, galsim.GalSimConfigError, "none of .* pass"),
        # A Tiled image has its number of stamps, whatever the catalogue.
        ({"area": 1e-9, "seed": 3}, galsim.GalSimConfigError, "no galaxies.*larger area"),
    ],
)
def test_mistakes_with_the_population(catalog, error, message):
    fields = config(catalog)
    with pytest.raises(error, match=message):
        galsim.config.Process(fields, except_abort=True)


def test_bands_are_all_there(sky):
    assert catalog_of(config(sky)).stamps().bands == BANDS
