"""Tables in files: each format, its columns one by one, and files that are broken."""

import bz2
import gzip
import lzma
import os
import sys

import galsim
import h5py
import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table

from galsim_vae import from_table
from galsim_vae.tables import open_table, read_table

N = 3000
RNG = np.random.default_rng(5)
COLUMNS = {
    "magnitude": RNG.uniform(20, 26, N),
    "half_light_radius": RNG.uniform(0.1, 1, N).astype(np.float32),
    "id": np.arange(N)[::-1],
    "star": np.arange(N) % 3 == 0,
    "name": np.array([f"galaxy {i}" for i in range(N)]),
}


def write_parquet(path, columns=COLUMNS, **kwargs):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, row_group_size=64, **kwargs)


def write_groups(path, columns=COLUMNS):
    with h5py.File(path, "w") as file:
        group = file.create_group("sky/truth")
        for name, column in columns.items():
            group[name] = column.astype("S") if column.dtype.kind == "U" else column


def write_records(path):
    with h5py.File(path, "w") as file:
        columns = {k: v.astype("S") if v.dtype.kind == "U" else v for k, v in COLUMNS.items()}
        file["truth"] = Table(columns).as_array()


def write_astropy(path):
    options = {"path": "truth", "serialize_meta": True} if path.endswith(".hdf5") else {}
    Table(COLUMNS).write(path, **options)


def write_packed(path, pack):
    write_astropy(path + ".fits")
    with open(path, "wb") as file, open(path + ".fits", "rb") as plain:
        file.write(pack(plain.read()))


WRITERS = {
    "a.fits": write_astropy,
    "a.fits.gz": write_astropy,
    "a.fits.bz2": lambda path: write_packed(path, bz2.compress),
    "a.fits.xz": lambda path: write_packed(path, lzma.compress),
    "a.cat": lambda path: write_packed(path, bytes),
    "a.ecsv": write_astropy,
    "a.hdf5": write_astropy,
    "groups.h5": write_groups,
    "records.h5": write_records,
    "plain.parquet": write_parquet,
    "a.parquet": lambda path: (pytest.importorskip("pyarrow"), write_astropy(path)),
}


@pytest.fixture(params=WRITERS.items(), ids=WRITERS)
def path(request, tmp_path):
    name, write = request.param
    path = str(tmp_path / name)
    write(path)
    return path


def test_every_format(path):
    table = open_table(path)
    assert table.rows == N
    assert set(table) == set(COLUMNS)
    for name, column in COLUMNS.items():
        found = np.asarray(table[name])
        np.testing.assert_array_equal(found.astype(column.dtype), column)
    with pytest.raises(KeyError):
        table["magnitud"]
    asked = ("magnitude", "half_light_radius", "id")
    conditions = from_table({name: table[name] for name in asked})
    np.testing.assert_array_equal(conditions.values[:, 0], COLUMNS["magnitude"])
    np.testing.assert_array_equal(conditions.id, COLUMNS["id"])
    assert len(read_table(path)) == N


def test_a_file_that_ends_half_way(path, tmp_path):
    whole = open(path, "rb").read()
    for share in (0.02, 0.5, 0.9):
        cut = str(tmp_path / ("cut_" + os.path.basename(path)))
        with open(cut, "wb") as file:
            file.write(whole[: int(share * len(whole)) - 7])
        if path.endswith(".ecsv"):  # a text: what is there reads well, but for the last line
            continue
        with pytest.raises(OSError, match=os.path.basename(cut)):
            table = open_table(cut)
            for name in table:
                np.asarray(table[name])
        with pytest.raises(OSError, match=os.path.basename(cut)):
            read_table(cut)


def test_a_line_that_ends_half_way(tmp_path):
    path = tmp_path / "a.ecsv"
    write_astropy(str(path))
    path.write_text(path.read_text()[:-25])
    with pytest.raises(OSError, match="a.ecsv"):
        open_table(path)


@pytest.mark.parametrize("name", ["a.fits", "groups.h5", "plain.parquet"])
def test_a_file_that_changes(name, tmp_path):
    path = str(tmp_path / name)
    WRITERS[name](path)
    table = open_table(path)
    first = np.array(table["magnitude"])
    os.utime(path, (1, 1))
    np.testing.assert_array_equal(table["magnitude"], first)  # it has been read
    with pytest.raises(OSError, match="changed since"):
        table["id"]


@pytest.mark.parametrize("name", ["b.fits", "b.parquet", "b.h5", "b.txt"])
def test_no_table(name, tmp_path):
    path = tmp_path / name
    with pytest.raises(FileNotFoundError, match=name):
        open_table(path)
    path.write_text("nonsense, but long enough to have a header " * 20)
    with pytest.raises(OSError, match=name):
        open_table(path)
    with pytest.raises(OSError, match=name):
        read_table(path)


def test_missing_entries(tmp_path):
    values = MaskedColumn([21.0, 22.0, 23.0], mask=[False, True, False])
    QTable({"magnitude": values}).write(tmp_path / "a.hdf5", path="t", serialize_meta=True)
    paths = [tmp_path / "a.hdf5"]
    pa = pytest.importorskip("pyarrow")
    write_parquet(tmp_path / "b.parquet", {"magnitude": pa.array([21.0, None, 23.0])})
    paths.append(tmp_path / "b.parquet")
    for path in paths:
        for table in (open_table(path), read_table(path)):
            found = from_table({"magnitude": table["magnitude"]}).values[:, 0]
            np.testing.assert_array_equal(found, [21.0, np.nan, 23.0])


def test_nan_is_not_missing(tmp_path):
    write_parquet(tmp_path / "a.parquet", {"magnitude": np.array([21.0, np.nan])})
    with pytest.raises(galsim.GalSimValueError, match="magnitude of row 1"):
        from_table(open_table(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    "name", ["a.fits", "a.cat", "a.FTS", "a.csv", "a.fits.gz", "a.cat.gz", "a.fits.bz2", "a.xz"]
)
def test_fits_of_any_name(name, tmp_path):
    """NaN stays one, and the HDU may be named."""
    from astropy.io import fits

    one, two = Table({"magnitude": [21.0, np.nan]}), Table({"magnitude": [22.0]})
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(one), fits.BinTableHDU(two, name="LDAC_OBJECTS")]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    data = (tmp_path / "a.fits").read_bytes()
    packs = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    (tmp_path / name).write_bytes(packs.get(os.path.splitext(name)[1], bytes)(data))
    for read in (open_table, lambda path, hdu=None: read_table(path, hdu=hdu)):
        with pytest.raises(galsim.GalSimValueError, match="magnitude of row 1"):
            from_table({"magnitude": read(tmp_path / name)["magnitude"]})
        assert read(tmp_path / name, hdu="LDAC_OBJECTS")["magnitude"][0] == 22
        assert read(tmp_path / name, hdu="2")["magnitude"][0] == 22


def test_units(tmp_path):
    """Arcmin in the file are arcsec here, in each format that knows units."""
    table = QTable({"half_light_radius": [0.01] * u.arcmin})
    table.write(tmp_path / "a.fits")
    table.write(tmp_path / "a.hdf5", path="t", serialize_meta=True)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["half_light_radius"] = [0.01]
        file["half_light_radius"].attrs["units"] = "arcmin"
    for name in ("a.fits", "a.hdf5", "b.h5"):
        found = from_table(open_table(tmp_path / name)).values[0, 1]
        assert found == pytest.approx(0.6), name


def test_which_table(tmp_path):
    path = str(tmp_path / "two.fits")
    one, two = Table({"magnitude": [21.0]}), Table({"magnitude": [22.0]})
    from astropy.io import fits

    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(one, name="ONE"), fits.BinTableHDU(two, name="TWO")]
    fits.HDUList(hdus).writeto(path)
    for hdu, value in ((None, 21), ("1", 21), (2, 22), ("TWO", 22)):
        assert open_table(path, hdu)["magnitude"][0] == value
    with pytest.raises(OSError, match="two.fits"):
        open_table(path, 5)

    path = str(tmp_path / "two.h5")
    with h5py.File(path, "w") as file:
        file["a/magnitude"], file["b/magnitude"], file["b/wrong"] = [21.0], [22.0], [1.0, 2.0]
    assert open_table(path, "a")["magnitude"][0] == 21
    with pytest.raises(galsim.GalSimValueError, match="several tables.*a.*b"):
        open_table(path)
    with pytest.raises(galsim.GalSimValueError, match="no such table"):
        open_table(path, "c")
    with pytest.raises(galsim.GalSimValueError, match="differ in length"):
        open_table(path, "b")
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["image"] = np.zeros((3, 3))
    with pytest.raises(OSError, match="no table"):
        open_table(tmp_path / "none.h5")

    write_parquet(tmp_path / "a.parquet")
    with pytest.raises(galsim.GalSimValueError, match="hdu is for FITS and HDF5"):
        open_table(tmp_path / "a.parquet", 1)


def test_parquet_of_odd_types(tmp_path):
    pa = pytest.importorskip("pyarrow")
    columns = {
        "kind": pa.array(["a", "b"]).dictionary_encode(),
        "list": pa.array([[1.0], [2.0]]),
        "magnitude": pa.array([21, 22], pa.int16()),
    }
    write_parquet(tmp_path / "a.parquet", columns)
    table = open_table(tmp_path / "a.parquet")
    assert list(table["kind"]) == ["a", "b"]
    assert from_table({"magnitude": table["magnitude"]}).values[1, 0] == 22
    with pytest.raises(galsim.GalSimValueError, match="one value a row"):
        table["list"]


def test_parquet_without_its_package(tmp_path, monkeypatch):
    write_parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(galsim.GalSimError, match=r"pyarrow is not installed.*pip install"):
        open_table(tmp_path / "a.parquet")
