"""The catalogue for descwl-shear-sims keeps that package's contract, which is written down here."""

import sys
import types
import warnings

import galsim
import numpy as np
import pytest
from astropy.table import QTable, Table
from stub_generator import StubGenerator

from galsim_vae.descwl import VAEGalaxyCatalog

ZEROPOINT = 30.0


class Layout:
    """What make_sim's catalogues use of descwl_shear_sims.layout.Layout."""

    def __init__(self, *arguments, **keys):
        self.arguments, self.keys = arguments, keys

    def get_shifts(self, *, rng, density=None, sep=None):
        n = 5 if density is None else int(density)
        shifts = np.zeros(n, dtype=[("dx", "f8"), ("dy", "f8")])
        shifts["dx"], shifts["dy"] = rng.uniform(-20, 20, (2, n))
        return shifts


class BasicSurvey:
    """As descwl_shear_sims.surveys.BasicSurvey, by which 'varying' galaxies are drawn."""

    noise, pixel_scale = 1.0, 0.2

    def __init__(self, band):
        self.band = self.filter_band = band

    def get_flux(self, magnitude):
        return 10 ** (0.4 * (ZEROPOINT - magnitude))


def catalog(seed=1, **keys):
    keys = {"rng": np.random.RandomState(seed), "generator": StubGenerator(),  # noqa: NPY002
            "layout": Layout(), "survey_name": "LSST"} | keys  # fmt: skip
    return VAEGalaxyCatalog(**keys)


def test_get_objlist_has_what_make_sim_unpacks():
    made = catalog()
    found = made.get_objlist(survey=BasicSurvey("i"))
    assert set(found) == {"objlist", "shifts", "redshifts", "indexes"}
    assert {len(values) for values in found.values()} == {len(made)} == {5}
    assert made.gal_type == "varying" and made.layout is not None
    for galaxy, shift, place in zip(
        found["objlist"], found["shifts"], made.shifts_array, strict=True
    ):
        assert isinstance(galaxy, galsim.GSObject) and isinstance(shift, galsim.PositionD)
        assert (shift.x, shift.y) == (place["dx"], place["dy"])
    # What make_sim does with them: rotate, shear, shift, convolve, draw.
    galaxy = found["objlist"][0].rotate(0.3 * galsim.radians).shear(galsim.Shear(g1=0.02))
    image = galsim.Convolve(galaxy, galsim.Moffat(beta=2.5, fwhm=0.8)).drawImage(scale=0.2)
    assert image.array.sum() > 0.9 * galaxy.flux


def test_flux_and_redshift_are_the_survey_s_and_the_table_s():
    made = catalog()
    found = made.get_objlist(survey=BasicSurvey("r"))
    magnitude = np.array([galaxy.magnitude_in("LSST_r") for galaxy in found["objlist"]])
    flux = [galaxy.flux for galaxy in found["objlist"]]
    np.testing.assert_allclose(flux, 10 ** (0.4 * (ZEROPOINT - magnitude)), rtol=1e-6)
    np.testing.assert_allclose(found["redshifts"], made.table["redshift"])


def test_the_same_galaxies_each_time_and_in_each_band():
    made, again = catalog(), catalog()
    first, second = (c.get_objlist(survey=BasicSurvey("r"))["objlist"] for c in (made, again))
    assert first == second == made.get_objlist(survey=BasicSurvey("r"))["objlist"]
    other = made.get_objlist(survey=BasicSurvey("z"))["objlist"]
    for red, blue in zip(other, first, strict=True):
        np.testing.assert_array_equal(red.jacobian, blue.jacobian)
    assert catalog(seed=2).get_objlist(survey=BasicSurvey("r"))["objlist"] != first


def test_own_conditions_and_density():
    table = {"magnitude": [22.0, 23.0], "half_light_radius": [0.5, 0.4]}
    made = catalog(table=table, density=3)
    assert len(made) == 3
    np.testing.assert_array_equal(np.asarray(made.table["magnitude"]), [22, 23, 22])
    first, _, third = made.get_objlist(survey=BasicSurvey("i"))["objlist"]
    assert not np.array_equal(first.image.array, third.image.array)


def test_surveys_of_weaklensingdeblending_and_roman():
    inner = types.SimpleNamespace(survey_name="HSC")
    survey = BasicSurvey("i")
    survey.descwl_survey = inner
    hsc = catalog().get_objlist(survey=survey)["objlist"]
    lsst = catalog().get_objlist(survey=BasicSurvey("i"))["objlist"]
    assert 0 < abs(hsc[0].flux / lsst[0].flux - 1) < 0.05
    same = catalog(survey_name="HSC").get_objlist(survey=BasicSurvey("i"))["objlist"]
    assert [galaxy.flux for galaxy in same] == [galaxy.flux for galaxy in hsc]
    roman = BasicSurvey("H158")
    roman.name = "roman"
    assert catalog().get_objlist(survey=roman)["objlist"][0].flux > 0
    euclid = types.SimpleNamespace(survey_name="Euclid", filter_band="i")
    for band in ("i", "VIS"):
        survey = BasicSurvey(band)
        survey.descwl_survey = euclid
        assert catalog().get_objlist(survey=survey)["objlist"][0].flux > 0


@pytest.mark.parametrize(
    ("survey_name", "band", "message"),
    [
        (None, "H158", 'gal_type="wldeblend".*survey_name.*H158'),
        ("HSC", "u", "HSC has no filter.*HSC_g"),
        ("KiDS", "r", "Unknown survey.*KiDS.*LSST"),
    ],
)
def test_a_filter_that_the_survey_has_not(survey_name, band, message):
    survey = BasicSurvey(band)
    if survey_name:
        survey.name = survey_name
    with pytest.raises(galsim.GalSimValueError, match=f"(?s){message}"):
        catalog().get_objlist(survey=survey)


def test_a_survey_that_does_not_say_whose_it_is_warns_once(recwarn):
    made = catalog(survey_name=None)
    for band in "iirz":
        made.get_objlist(survey=BasicSurvey(band))
    assert len(recwarn) == 1
    assert "survey_name" in str(recwarn[0].message) and "wldeblend" in str(recwarn[0].message)
    catalog(survey_name="LSST").get_objlist(survey=BasicSurvey("i"))
    assert len(recwarn) == 1


def test_u_is_refused_and_extrapolated_with_one_warning():
    with pytest.raises(galsim.GalSimRangeError, match=r"LSST_u.*extrapolate=True"):
        catalog().get_objlist(survey=BasicSurvey("u"))
    made = catalog(extrapolate=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = made.get_objlist(survey=BasicSurvey("u"))
    assert ["blueward of F435W" in str(warning.message) for warning in caught] == [True]
    for galaxy in found["objlist"]:
        magnitude = galaxy.magnitude_in("LSST_u", extrapolate=True)
        assert galaxy.flux == pytest.approx(10 ** (0.4 * (ZEROPOINT - magnitude)), rel=1e-6)
    assert made.get_objlist(survey=BasicSurvey("i"))["objlist"][0].flux > 0


@pytest.mark.parametrize("kind", [dict, QTable, Table, Table.as_array])
def test_any_table_of_conditions(kind):
    table = {"magnitude": [22.0, 23.0], "half_light_radius": [0.5, 0.4]}
    made = catalog(table=kind(Table(table) if kind is Table.as_array else table))
    assert made.table["magnitude"].tolist() == [22, 23, 22, 23, 22]


def test_a_layout_by_its_name_needs_descwl_shear_sims(monkeypatch):
    monkeypatch.setitem(sys.modules, "descwl_shear_sims", None)
    with pytest.raises(ModuleNotFoundError, match="not on PyPI"):
        catalog(layout="random", coadd_dim=300)
    package = types.ModuleType("descwl_shear_sims")
    layout = types.ModuleType("descwl_shear_sims.layout")
    layout.Layout = Layout
    monkeypatch.setitem(sys.modules, "descwl_shear_sims", package)
    monkeypatch.setitem(sys.modules, "descwl_shear_sims.layout", layout)
    made = catalog(layout="random", coadd_dim=300, buff=20)
    assert made.layout.arguments == ("random", 300, 20, 0.2)
    assert made.layout.keys == {"simple_coadd_bbox": False}
