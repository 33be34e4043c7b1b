"""What is true of a galaxy, through YAML: VAEValue, truth catalogs, lensing, ellip."""

import copy
import logging

import galsim
import numpy as np
import pytest
import yaml
from astropy.table import Table

CONDITIONS = {"magnitude": 23.0, "half_light_radius": 0.5, "redshift": 0.8}
KEYS = ("magnitude", "half_light_radius", "g1", "g2", "redshift", "mag_LSST_r", "mag_F160W")

IMAGE = """
modules: [galsim_vae]
image: {type: Tiled, nx_tiles: 3, ny_tiles: 2, stamp_size: 32, pixel_scale: 0.2, random_seed: 1234}
psf: {type: Gaussian, fwhm: 0.7}
gal: {type: VAEGalaxy, zeropoint: 30}
"""

pytestmark = pytest.mark.usefixtures("generator")


def config(gal=None, **updates):
    fields = yaml.safe_load(IMAGE)
    fields["gal"].update(gal or {})
    return copy.deepcopy(fields | updates)


MODES = {
    "drawn": config(),
    "asked": config(CONDITIONS),
    "catalog": config(input={"vae_catalog": {"nobjects": 6}}),
    "catalog at random": config(
        {"index": {"type": "Random", "min": 0, "max": 5}}, input={"vae_catalog": {"nobjects": 6}}
    ),
}


def truth_of(fields, tmp_path, columns=None, **output):
    """Run a config and read its truth catalog: by default one column for each of KEYS."""
    if columns is None:
        columns = {key: {"type": "VAEValue", "key": key} for key in KEYS}
    fields = copy.deepcopy(fields)
    fields["output"] = {
        "dir": str(tmp_path), "file_name": "image.fits",
        "truth": {"file_name": "truth.fits", "columns": columns},
    } | output  # fmt: skip
    galsim.config.Process(fields, except_abort=True)
    return Table.read(tmp_path / "truth.fits")


def built(monkeypatch):
    """The stamps and rows that the galaxies of a run in this process are made of."""
    import galsim_vae.config.galaxy as module

    seen, remember = [], module.remember
    monkeypatch.setattr(
        module, "remember", lambda base, found: seen.append(found.truth) or remember(base, found)
    )
    return seen


@pytest.mark.parametrize("fields", MODES.values(), ids=MODES)
def test_a_truth_catalog_describes_what_was_drawn(fields, tmp_path, monkeypatch):
    seen = built(monkeypatch)
    table = truth_of(fields, tmp_path)
    assert len(table) == len(seen) == 6
    for row, truth in zip(table, seen, strict=True):
        assert row["magnitude"] == truth.magnitude
        assert row["half_light_radius"] == truth.half_light_radius
        assert (row["g1"], row["g2"]) == (truth.ellipticity.g1, truth.ellipticity.g2)
        assert row["redshift"] == truth.redshift > 0
        assert row["mag_LSST_r"] == truth.magnitude_in("LSST_r")
        assert row["mag_F160W"] == truth.magnitude_in("F160W")
    assert len(set(table["g1"])) > 1


@pytest.mark.parametrize("fields", MODES.values(), ids=MODES)
@pytest.mark.parametrize("given", [False, True])
def test_the_drawn_redshift_is_gals(fields, given, tmp_path):
    fields = copy.deepcopy(fields)
    if given and "redshift" not in fields["gal"]:
        fields["gal"]["redshift"] = {"type": "VAEValue", "key": "redshift"}
    columns = {"a": "gal.redshift", "b": {"type": "VAEValue", "key": "redshift"}}
    table = truth_of(fields, tmp_path, columns)
    np.testing.assert_array_equal(table["a"], table["b"])
    assert (table["a"] > 0).all()


@pytest.mark.parametrize("mode", ["drawn", "catalog"])
def test_truth_does_not_depend_on_processes(mode, tmp_path):
    tables = []
    for nproc in (1, 2):
        fields = copy.deepcopy(MODES[mode])
        fields["image"]["nproc"] = nproc
        tables.append(truth_of(fields, tmp_path))
    np.testing.assert_array_equal(tables[0].as_array(), tables[1].as_array())


@pytest.mark.parametrize("mode", ["drawn", "catalog"])
@pytest.mark.parametrize("bandpass", [False, True])
def test_an_nfw_halo_lenses_by_the_drawn_redshift(mode, bandpass, tmp_path):
    """The shear is the halo's at the galaxy's place and redshift."""
    halo = {"mass": 1e15, "conc": 4, "redshift": 0.01}
    fields = copy.deepcopy(MODES[mode])
    fields.setdefault("input", {})["nfw_halo"] = halo
    fields["gal"]["shear"] = {"type": "NFWHaloShear"}
    if bandpass:
        fields["image"]["bandpass"] = {"file_name": "LSST_r.dat", "wave_type": "nm"}
    columns = {"z": "gal.redshift", "g1": "$(@gal.shear).g1", "x": "$world_pos.x",
               "y": "$world_pos.y"}  # fmt: skip
    table = truth_of(fields, tmp_path, columns)
    assert len(set(table["z"])) == 6
    for row in table:
        expected = galsim.NFWHalo(**halo).getShear((row["x"], row["y"]), row["z"])[0]
        assert row["g1"] == pytest.approx(expected, rel=1e-9)
    assert (table["g1"] != 0).sum() > 3


def test_repeated_and_listed_and_summed_galaxies(tmp_path):
    fields = config({"repeat": 3})
    magnitude = truth_of(fields, tmp_path)["magnitude"]
    assert len(set(magnitude[:3])) == len(set(magnitude[3:])) == 1 < len(set(magnitude))
    listed = config()
    listed["gal"] = {
        "type": "List", "items": [{"type": "VAEGalaxy", "zeropoint": 30, "magnitude": 20 + i}
                                  for i in range(3)],
    }  # fmt: skip
    np.testing.assert_array_equal(
        truth_of(listed, tmp_path)["magnitude"], [20, 21, 22, 20, 21, 22]
    )
    summed = config()
    summed["gal"] = {"type": "Sum", "items": [
        {"type": "VAEGalaxy", "zeropoint": 30, "magnitude": 20 + i} for i in range(2)]}  # fmt: skip
    assert set(truth_of(summed, tmp_path)["magnitude"]) == {21}  # the last of them


@pytest.mark.parametrize("mode", ["drawn", "catalog"])
def test_a_ring_turns_the_first_galaxy(mode, tmp_path):
    fields = copy.deepcopy(MODES[mode])
    fields["stamp"] = {"type": "Ring", "num": 2}
    table = truth_of(fields, tmp_path)
    for first, second in zip(table[::2], table[1::2], strict=True):
        assert first["magnitude"] == second["magnitude"]
        assert second["g1"] == pytest.approx(-first["g1"])
        assert second["g2"] == pytest.approx(-first["g2"])
    assert len(set(table["magnitude"])) == 3


def test_ellipticity_is_a_shear():
    fields = MODES["asked"] | {"rng": galsim.BaseDeviate(3)}
    fields = copy.deepcopy(fields)
    galsim.config.ImportModules(fields)
    galaxy, _ = galsim.config.BuildGSObject(fields, "gal")
    fields["x"] = {"type": "VAEValue", "key": "ellipticity"}
    assert galsim.config.ParseValue(fields, "x", fields, galsim.Shear)[0] == galaxy.ellipticity
    assert galaxy.magnitude == 23


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("colour", galsim.GalSimConfigError, "colour.*magnitude.*mag_<filter>"),
        ("mag_Rommn_H158", galsim.GalSimValueError, "near names.*Roman_H158"),
        ("mag_LSST_u", galsim.GalSimRangeError, "LSST_u.*extrapolate"),
        ("mag_F275W", galsim.GalSimRangeError, "F275W"),
    ],
)
def test_values_that_are_none(key, error, message, tmp_path):
    with pytest.raises(error, match=message):
        truth_of(MODES["drawn"], tmp_path, {"x": {"type": "VAEValue", "key": key}})


def test_a_value_before_its_galaxy():
    fields = config({"magnitude": {"type": "VAEValue", "key": "magnitude"}})
    galsim.config.ImportModules(fields)
    with pytest.raises(galsim.GalSimConfigError, match="none has been built yet"):
        galsim.config.BuildImage(fields)


# ellip.

ELLIP = {"ellip": {"type": "G1G2", "g1": 0.3, "g2": 0.0}}


def nested(kind):
    item = {"type": "VAEGalaxy", "zeropoint": 30}
    items = [item, {"type": "Exponential", "half_light_radius": 1, "flux": 10}]
    fields = config()
    fields["gal"] = {"type": kind, "items": items} | ELLIP
    return fields


@pytest.mark.parametrize(
    "fields",
    [
        config(CONDITIONS | ELLIP),
        config(ELLIP),
        config(ELLIP, input={"vae_catalog": {"nobjects": 6}}),
        nested("List"),
        nested("Sum"),
    ],
    ids=["asked", "drawn", "catalog", "in a List", "in a Sum"],
)
def test_ellip_on_top_of_a_drawn_ellipticity_is_refused(fields):
    galsim.config.ImportModules(fields)
    words = "vae_catalog the columns g1 and g2" if "input" in fields else "write `ellipticity:`"
    with pytest.raises(galsim.GalSimConfigError, match=f"(?s)drawn|draws.*{words}"):
        galsim.config.BuildImage(fields)


def test_ellip_where_the_ellipticity_was_given(tmp_path):
    """Nothing is drawn there: it is a shear by another name."""
    given = {"ellipticity": {"type": "G1G2", "g1": 0.1, "g2": 0.0}}
    fields = [config(CONDITIONS | given | ELLIP)]
    path = str(tmp_path / "catalog.fits")
    table = Table({"g1": [0.1] * 6, "g2": [0.0] * 6})
    table.write(path)
    fields.append(config(ELLIP, input={"vae_catalog": {"file_name": path}}))
    for run in fields:
        galsim.config.ImportModules(run)
        assert galsim.config.BuildImage(run).array.any()
    masked = str(tmp_path / "masked.ecsv")
    table = Table(table, masked=True)
    table["g1"].mask[4] = table["g2"].mask[4] = True
    table.write(masked)
    run = config(ELLIP, input={"vae_catalog": {"file_name": masked}})
    with pytest.raises(galsim.GalSimConfigError, match="columns g1 and g2"):
        galsim.config.BuildImage(run)


# u filters, and what warns.


def logged(fields, caplog, level=logging.WARNING):
    """The lines that a run logs."""
    logger = logging.getLogger("test_config")
    galsim.config.ImportModules(fields)
    with caplog.at_level(level, logger="test_config"):
        image = galsim.config.BuildImage(fields, logger=logger)
    return image, [record.getMessage() for record in caplog.records]


U = {"band": "LSST_u", "magnitude": 22}
EXTRAPOLATE = {"vae_generator": {"extrapolate": True}}
BANDPASS = {"file_name": "LSST_u.dat", "wave_type": "nm"}


def in_u(how, **updates):
    fields = config(U if how == "band" else {"magnitude": 22}, **updates)
    if "catalog" in how:
        fields = config({"band": "LSST_u"}, **updates)
        settings = fields.get("input", {}).get("vae_generator", {})
        fields["input"] = {"vae_catalog": {"nobjects": 6} | settings}
    if how == "bandpass":
        fields["image"]["bandpass"] = BANDPASS
    if how == "chromatic PSF":
        fields["image"]["bandpass"] = BANDPASS
        fields["psf"] = {"type": "ChromaticAtmosphere", "base_profile": fields["psf"],
                         "base_wavelength": 500, "zenith_angle": "0 deg"}  # fmt: skip
    return fields


@pytest.mark.parametrize("how", ["band", "catalog", "bandpass", "chromatic PSF"])
def test_u_is_refused_and_extrapolated_with_one_warning(how, caplog, recwarn):
    fields = in_u(how)
    galsim.config.ImportModules(fields)
    with pytest.raises(galsim.GalSimRangeError, match="LSST_u.*extrapolate"):
        galsim.config.BuildImage(fields)
    image, lines = logged(in_u(how, input=EXTRAPOLATE), caplog)
    assert image.array.sum() > 0
    assert sum("blueward of F435W" in line for line in lines) == 1
    assert not [w for w in recwarn if issubclass(w.category, galsim.GalSimWarning)
                and not issubclass(w.category, galsim.GalSimDeprecationWarning)]  # fmt: skip


def test_u_has_the_flux_of_its_magnitude_by_band_and_by_bandpass(tmp_path):
    columns = {"u": {"type": "VAEValue", "key": "mag_LSST_u"}}
    fluxes = []
    for how in ("band", "bandpass", "chromatic PSF"):
        fields = in_u(how, input=EXTRAPOLATE)
        fields["gal"]["half_light_radius"] = 0.3
        fields["image"]["stamp_size"] = 64
        table = truth_of(fields, tmp_path, columns)
        stamps = galsim.fits.read(str(tmp_path / "image.fits")).array
        stamps = stamps.reshape(2, 64, 3, 64).sum(axis=(1, 3)).ravel()
        np.testing.assert_allclose(stamps, 10 ** (-0.4 * (table["u"] - 30)), rtol=0.01)
        fluxes.append(stamps)
    np.testing.assert_allclose(fluxes[0], fluxes[1], rtol=2e-3)
    np.testing.assert_allclose(fluxes[1], fluxes[2], rtol=2e-3)


def test_conditions_out_of_range_are_logged_once_and_not_at_verbosity_0(caplog, recwarn):
    fields = config({"magnitude": 29}, input=EXTRAPOLATE)
    _, lines = logged(copy.deepcopy(fields), caplog)
    assert sum("magnitude" in line for line in lines) == 1
    caplog.clear()
    logger = logging.getLogger("silent")
    logger.setLevel(logging.CRITICAL)  # galsim -v 0
    galsim.config.BuildImage(copy.deepcopy(fields), logger=logger)
    assert not caplog.records
    assert not [w for w in recwarn if w.category is galsim.GalSimWarning]


def test_a_galaxy_that_is_referred_to():
    fields = config()
    fields["disc_gal"], fields["gal"] = fields["gal"] | {"magnitude": 22}, "@disc_gal"
    fields["rng"] = galsim.BaseDeviate(3)
    galsim.config.ImportModules(fields)
    galaxy, _ = galsim.config.BuildGSObject(fields, "disc_gal")
    fields["x"] = {"type": "VAEValue", "key": "magnitude"}
    assert galsim.config.ParseValue(fields, "x", fields, float)[0] == galaxy.magnitude == 22


# Sums by photons.


def test_a_sum_by_photons_has_the_flux_of_its_items():
    """A galaxy of flux 3981 and a star of flux 2000: 5981, to the noise of the photons."""
    fields = config(psf={"type": "Gaussian", "fwhm": 0.7}, stamp={"draw_method": "phot"})
    fields["gal"] = {"type": "Sum", "items": [
        {"type": "VAEGalaxy", "zeropoint": 30, "magnitude": 21, "half_light_radius": 0.7},
        {"type": "DeltaFunction", "flux": 2000},
    ]}  # fmt: skip
    fields["image"] = {"type": "Single", "size": 128, "pixel_scale": 0.2, "random_seed": 5}
    galsim.config.ImportModules(fields)
    flux = 10 ** (-0.4 * (21 - 30)) + 2000
    image = galsim.config.BuildImage(fields)
    assert image.array.sum() == pytest.approx(flux, abs=5 * np.sqrt(flux))
