"""Conditions: tables to arrays and back, units, and every kind of bad input."""

import importlib.util

import galsim
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from galsim_vae import from_table, to_table
from galsim_vae.conditions import DEFAULT_RANGES, NAMES, one_row
from galsim_vae.tables import read_table

GOOD = {"magnitude": 24.0, "half_light_radius": 0.4, "g1": 0.1, "g2": -0.2, "redshift": 0.8}


def in_range(name):
    return st.floats(*DEFAULT_RANGES[name])


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(in_range("magnitude"), in_range("half_light_radius"), in_range("redshift")),
    st.floats(0, 0.79),
    st.floats(-np.pi / 2, np.pi / 2),
)
def test_round_trip(values, g, angle):
    shear = galsim.Shear(g=g, beta=angle * galsim.radians)
    table = dict(zip(("magnitude", "half_light_radius", "redshift"), values, strict=True))
    table |= {"g1": shear.g1, "g2": shear.g2, "id": 7, "mag_F606W": 25.0}
    conditions = from_table({name: [value] for name, value in table.items()})
    back = to_table(conditions)
    for name, value in table.items():
        got = back[name][0]
        assert getattr(got, "value", got) == pytest.approx(value, rel=1e-12, abs=1e-12)
    again = from_table(back)
    np.testing.assert_allclose(again.values, conditions.values, rtol=1e-12)


def test_shear_convention():
    """g1, g2 are galsim.Shear's, the angle that of the major axis."""
    shear = galsim.Shear(q=0.5, beta=30 * galsim.degrees)
    conditions = from_table({"g1": [shear.g1], "g2": [shear.g2]})
    assert conditions.values[0, NAMES.index("g")] == pytest.approx((1 - 0.5) / (1 + 0.5))
    assert conditions.angle[0] == pytest.approx(np.pi / 6)


def test_a_round_galaxy_has_no_orientation():
    conditions = from_table({"g1": [0.0], "g2": [0.0]})
    assert conditions.values[0, NAMES.index("g")] == 0
    assert np.isnan(conditions.angle[0])
    assert to_table(conditions)["g1"][0] == 0


def test_absent_columns_are_missing():
    conditions = from_table({"magnitude": [24.0, 25.0]})
    assert np.isnan(conditions.values[:, 1:]).all()
    assert np.isnan(conditions.angle).all()
    np.testing.assert_array_equal(conditions.id, [0, 1])
    assert len(from_table({"id": [9, 8, 7]})) == 3


def test_masked_entries_are_missing():
    table = Table({"magnitude": MaskedColumn([24.0, np.nan], mask=[False, True])})
    np.testing.assert_array_equal(from_table(table).values[:, 0], [24.0, np.nan])


def test_units_are_honoured():
    columns = {"magnitude": [24.0] * u.ABmag, "half_light_radius": [400.0] * u.mas}
    for table in (QTable(columns), columns, Table({"half_light_radius": [400.0] * u.mas})):
        assert from_table(table).values[0, 1] == pytest.approx(0.4)


def test_one_galaxy_may_be_given_with_units():
    row = one_row(half_light_radius=30 * u.arcsec / 60, magnitude=21 * u.ABmag)
    assert from_table(row).values[0, :2].tolist() == [21.0, 0.5]
    with pytest.raises(galsim.GalSimValueError, match="half_light_radius has a wrong unit"):
        from_table(one_row(half_light_radius=1 * u.kg))


def test_tables_of_files(tmp_path, monkeypatch):
    """NaN of a FITS file is refused, masked entries of an ECSV file are drawn; ~ is home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    table = QTable({"magnitude": [21.0, np.nan]})
    table.write(tmp_path / "a.fits")
    with pytest.raises(galsim.GalSimValueError, match="magnitude of row 1"):
        from_table(read_table("~/a.fits"))
    QTable({"magnitude": MaskedColumn([21.0, 22.0], mask=[False, True])}).write(tmp_path / "a.ecsv")
    assert np.isnan(from_table(read_table(tmp_path / "a.ecsv")).values[1, 0])
    (tmp_path / "b.fits").write_text("nonsense")
    with pytest.raises(OSError, match="not a table that astropy recognises"):
        read_table(tmp_path / "b.fits")
    with pytest.raises(FileNotFoundError, match="no file"):
        read_table(tmp_path / "c.fits")


def test_scalars_make_one_row():
    assert from_table(GOOD).values.shape == (1, 4)


def test_slices():
    conditions = from_table({"magnitude": [24.0, 25.0, 26.0], "mag_F606W": [25.0, 26.0, 27.0]})
    part = conditions[1:]
    assert len(part) == 2
    np.testing.assert_array_equal(part.id, [1, 2])
    np.testing.assert_array_equal(part.band_magnitudes["F606W"], [26.0, 27.0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("magnitude", 12.0),
        ("magnitude", 30.0),
        ("half_light_radius", 0.001),
        ("half_light_radius", 10.0),
        ("g1", 0.85),
        ("redshift", 9.0),
    ],
)
def test_out_of_the_trained_range(name, value):
    """An error that names column, row, value and range; a warning with extrapolate."""
    table = {"g2": [0.0, 0.0]} if name == "g1" else {}
    table[name] = [GOOD[name], value]
    label = r"ellipticity \|g\|" if name == "g1" else name
    low, high = DEFAULT_RANGES["g" if name == "g1" else name]
    with pytest.raises(galsim.GalSimRangeError, match=rf"{label} of row 1 .*{value}") as error:
        from_table(table)
    assert (error.value.value, error.value.min, error.value.max) == (value, low, high)
    with pytest.warns(galsim.GalSimWarning, match=rf"1 of 2 galaxies .*{label} {value:g} \(trai"):
        assert len(from_table(table, extrapolate=True)) == 2


def test_extrapolation_is_warned_of_once_with_the_count():
    table = {"magnitude": [24.0, 28.0, 29.0, 24.0], "redshift": [1.0, 1.0, 9.0, 7.0]}
    with pytest.warns(galsim.GalSimWarning) as caught:
        from_table(table, extrapolate=True)
    (warning,) = caught
    text = str(warning.message)
    assert "3 of 4 galaxies" in text
    assert "magnitude 28 to 29 (trained: 18 to 26.5), redshift 7 to 9" in text


@pytest.mark.parametrize("name", ["magnitude", "half_light_radius", "redshift"])
def test_one_galaxy_has_one_of_each(name):
    with pytest.raises(galsim.GalSimValueError, match=f"{name} must be one number"):
        one_row(**{name: [1.0, 2.0]})


@pytest.mark.parametrize(
    "table",
    [
        {"half_light_radius": [-0.4]},
        {"half_light_radius": [0.0]},
        {"redshift": [-0.1]},
        {"g1": [0.8], "g2": [0.8]},
    ],
)
@pytest.mark.parametrize("extrapolate", [False, True])
def test_what_no_galaxy_can_have_is_an_error_always(table, extrapolate):
    with pytest.raises(galsim.GalSimRangeError) as error:
        from_table(table, extrapolate=extrapolate)
    assert "extrapolate" not in str(error.value)  # it would not help


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [*GOOD, "mag_F606W"])
def test_a_given_value_must_be_finite(name, value):
    table = {key: [v, v] for key, v in GOOD.items()} | {"mag_F606W": [25.0, 25.0]}
    table[name] = [table[name][0], value]
    with pytest.raises(galsim.GalSimValueError, match=f"{name} of row 1 .* finite"):
        from_table(table)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"magnitud": [24.0]}, galsim.GalSimValueError, "magnitud not in .*half_light_radius"),
        ({"mag_F999W": [24.0]}, galsim.GalSimValueError, "mag_F999W"),
        ({"mag_F814W": [24.0]}, galsim.GalSimValueError, "called magnitude"),
        ({"g1": [0.1]}, galsim.GalSimIncompatibleValuesError, "both g1 and g2"),
        ({}, galsim.GalSimIncompatibleValuesError, "no columns"),
        (
            {"magnitude": [24.0], "redshift": [1.0, 2.0]},
            galsim.GalSimIncompatibleValuesError,
            "length",
        ),
        ({"half_light_radius": [1] * u.kg}, galsim.GalSimValueError, "wrong unit.*kg.*arcsec"),
        ({"magnitude": [1] * u.s}, galsim.GalSimValueError, "magnitude has a wrong unit"),
        ({"redshift": [1] * u.m}, galsim.GalSimValueError, "redshift has a wrong unit"),
        ({"magnitude": ["bright"]}, galsim.GalSimValueError, "magnitude must hold numbers"),
        ({"magnitude": ["21"]}, galsim.GalSimValueError, "magnitude must hold numbers"),
        ({"magnitude": [[24.0]]}, galsim.GalSimValueError, "one value a row"),
        ({"id": [0.5]}, galsim.GalSimValueError, "id must hold an integer"),
        ({"id": [3, -1]}, galsim.GalSimRangeError, r"id of row 1 \(1 of 2 rows\).*-1"),
        ({"id": np.array([2**63], np.uint64)}, galsim.GalSimRangeError, "9223372036854775808"),
    ],
)
def test_bad_tables(table, error, message):
    with pytest.raises(error, match=message):
        from_table(table)


def test_ranges_are_those_given():
    with pytest.raises(galsim.GalSimRangeError, match=r"\[20.0, 22.0\]"):
        from_table({"magnitude": [24.0]}, DEFAULT_RANGES | {"magnitude": (20.0, 22.0)})


class Series(np.ndarray):
    """A column of a DataFrame, as far as it is used."""

    def isna(self):
        return np.array([value is None or value != value for value in self])


class DataFrame:
    """What pandas.DataFrame is known by: ``columns``, and a column for each of their names."""

    def __init__(self, columns):
        self._columns = columns

    columns = property(lambda self: list(self._columns))

    def __getitem__(self, name):
        return np.asarray(self._columns[name]).view(Series)


def as_fits_rec(table):
    return fits.BinTableHDU(Table(table)).data


TABLES = {
    "dict": dict,
    "Table": Table,
    "QTable": QTable,
    "structured": lambda table: Table(table).as_array(),
    "recarray": lambda table: Table(table).as_array().view(np.recarray),
    "FITS_rec": as_fits_rec,
    "DataFrame": DataFrame,
}
if importlib.util.find_spec("pandas"):
    import pandas  # type: ignore[reportMissingImports]

    TABLES["pandas"] = pandas.DataFrame


@pytest.mark.parametrize("kind", TABLES.values(), ids=TABLES)
def test_any_kind_of_table(kind):
    table = {name: [value, value] for name, value in GOOD.items()} | {"id": [4, 9]}
    wanted, got = from_table(table), from_table(kind(table))
    np.testing.assert_array_equal(got.values, wanted.values)
    np.testing.assert_array_equal(got.id, [4, 9])
    with pytest.raises(galsim.GalSimValueError, match="colour"):
        from_table(kind(table | {"colour": [1.0, 2.0]}))
    with pytest.raises(galsim.GalSimValueError, match="magnitude of row 1"):
        from_table(kind(table | {"magnitude": [24.0, np.nan]}))


def test_missing_entries_of_a_dataframe_are_drawn():
    frame = DataFrame({"magnitude": np.array([24.0, None], object)})
    np.testing.assert_array_equal(from_table(frame).values[:, 0], [24.0, np.nan])


@pytest.mark.parametrize("table", [[1.0, 2.0], np.ones(3), "table.fits", 3, None])
def test_what_is_no_table_is_named(table):
    with pytest.raises(galsim.GalSimValueError, match="pandas DataFrame.*class"):
        from_table(table)
