"""The config types, through YAML: what a user of `galsim file.yaml` gets."""

import copy
import logging
import warnings

import galsim
import numpy as np
import pytest
import yaml
from astropy.table import Table

import galsim_vae
from galsim_vae.bands import BANDS, ZEROPOINTS, hst_bandpass

IMAGE = """
modules: [galsim_vae]
image:
  type: Tiled
  nx_tiles: 3
  ny_tiles: 2
  stamp_size: 32
  pixel_scale: 0.2
  random_seed: 1234
psf: {type: Gaussian, fwhm: 0.7}
gal:
  type: VAEGalaxy
"""
ASKED = {
    "magnitude": 23.0,
    "half_light_radius": 0.5,
    "ellipticity": {"type": "G1G2", "g1": 0.2, "g2": -0.1},
    "redshift": 0.8,
}
GIVEN = {"type": "VAEGalaxy", **ASKED, "zeropoint": 30.0}
CATALOG = {"input": {"vae_catalog": {"nobjects": 6}}}

pytestmark = pytest.mark.usefixtures("generator")


def config(*updates, **gal):
    """A config dict from YAML text with some top-level fields and some of gal updated."""
    fields = yaml.safe_load(IMAGE)
    fields["gal"].update(copy.deepcopy(gal))
    for update in updates:
        for key, value in copy.deepcopy(update).items():
            if isinstance(fields.get(key), dict) and key != "gal":
                fields[key].update(value)
            else:
                fields[key] = value
    return fields


def stamps_of(fields):
    """The six stamps of the image, (6, 32, 32)."""
    galsim.config.ImportModules(fields)
    image = galsim.config.BuildImage(fields).array
    return image.reshape(2, 32, 3, 32).swapaxes(1, 2).reshape(6, 32, 32)


def one_galaxy(fields, obj_num=0):
    """The GSObject that a config gives, without its transformation into pixels."""
    galsim.config.ImportModules(fields)
    fields["rng"] = galsim.BaseDeviate(7)
    galsim.config.ProcessInput(fields)
    fields["rng"] = galsim.BaseDeviate(77 + obj_num)
    fields["obj_num"] = fields["obj_num_in_file"] = obj_num
    return galsim.config.BuildGSObject(fields, "gal")[0]


@pytest.fixture(params=["generator", "catalog"])
def fields(request):
    """The two modes, each with nothing more asked for than six galaxies."""
    return config(CATALOG) if request.param == "catalog" else config(**ASKED, zeropoint=30.0)


def test_pixels_do_not_depend_on_processes(fields):
    images = []
    for nproc in (1, 2, 4):
        run = copy.deepcopy(fields)
        run["image"]["nproc"] = nproc
        images.append(stamps_of(run))
    assert images[0].any()
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(images[0], images[2])


def test_pixels_do_not_depend_on_processes_for_files(fields, tmp_path):
    """output.nproc: each file is built in a worker."""
    result = {}
    for nproc in (1, 2):
        run = copy.deepcopy(fields)
        run["output"] = {
            "dir": str(tmp_path / str(nproc)),
            "file_name": {"type": "NumberedFile", "root": "im", "digits": 1},
            "nfiles": 2,
            "nproc": nproc,
        }
        galsim.config.Process(run, except_abort=True)
        result[nproc] = [galsim.fits.read(str(tmp_path / str(nproc) / f"im{i}.fits")).array
                         for i in range(2)]  # fmt: skip
    np.testing.assert_array_equal(result[1], result[2])
    assert not np.array_equal(result[1][0], result[1][1])


def test_seed(fields):
    again, other = copy.deepcopy(fields), copy.deepcopy(fields)
    other["image"]["random_seed"] = 4321
    first = stamps_of(fields)
    np.testing.assert_array_equal(first, stamps_of(again))
    assert not np.array_equal(first, stamps_of(other))


def test_a_different_galaxy_in_every_stamp(fields):
    """Constant keys included: GalSim must not take the object to be safe to reuse."""
    stamps = stamps_of(fields)
    for i in range(1, len(stamps)):
        assert np.abs(stamps[i] - stamps[0]).max() > 1e-3 * stamps[0].max()


def test_opposite_shears_have_the_same_galaxies(fields):
    """shear: +-g with one seed; what undoes the shear gives the same object."""
    plus, minus = copy.deepcopy(fields), copy.deepcopy(fields)
    plus["gal"]["shear"] = {"type": "G1G2", "g1": 0.02, "g2": 0}
    minus["gal"]["shear"] = {"type": "G1G2", "g1": -0.02, "g2": 0}
    for i in range(3):
        a, b, c = (one_galaxy(copy.deepcopy(f), i) for f in (plus, minus, fields))
        assert a.original == b.original == c
        assert a != b


@pytest.mark.parametrize("mode", ["generator", "catalog"])
def test_no_keys_at_all(mode):
    gal = one_galaxy(config(CATALOG) if mode == "catalog" else config())
    assert gal.flux > 0
    assert 0.02 <= gal.redshift <= 5


def test_conditions_reach_the_galaxy():
    gal = one_galaxy(config({"gal": GIVEN}))
    assert gal.flux == pytest.approx(10 ** (-0.4 * (23 - 30)), rel=1e-6)
    assert gal.redshift == 0.8
    scale = np.sqrt(np.linalg.det(gal.jacobian))
    assert scale == pytest.approx(0.5 / 6)
    angle = np.arctan2(gal.jacobian[1, 0], gal.jacobian[0, 0])
    assert np.exp(2j * angle) == pytest.approx((0.2 - 0.1j) / abs(0.2 - 0.1j))


@pytest.mark.parametrize(
    "ellipticity",
    [
        {"type": "QBeta", "q": 0.6, "beta": "40 deg"},
        {"type": "EBeta", "e": 0.4, "beta": "40 deg"},
        {"type": "GBeta", "g": 0.25, "beta": {"type": "Random"}},
        {"type": "E1E2", "e1": 0.3, "e2": 0.1},
        {"type": "G1G2", "g1": {"type": "Random", "min": 0, "max": 0.3}, "g2": 0.1},
        "$galsim.Shear(g1=0.1, g2=0.2)",
    ],
    ids=lambda e: e["type"] if isinstance(e, dict) else "Eval",
)
def test_any_ellipticity(ellipticity):
    fields = config(ellipticity=ellipticity)
    gal = one_galaxy(fields)
    asked = galsim.config.GetCurrentValue("gal.ellipticity", fields, galsim.Shear)
    angle = np.arctan2(gal.jacobian[1, 0], gal.jacobian[0, 0])
    assert np.exp(2j * angle) == pytest.approx(asked.shear / abs(asked.shear))


@pytest.mark.parametrize("band", [*BANDS, "LSST_r"])
def test_band_and_zeropoint(band):
    zeropoint = {} if band in BANDS else {"zeropoint": 28.0}
    fields = config(**ASKED, band=band, **zeropoint)
    reference = one_galaxy(config(**ASKED))
    gal = one_galaxy(fields)
    assert gal.redshift == 0.8
    if band == "F814W":
        assert gal == reference
        assert gal.flux == pytest.approx(10 ** (-0.4 * (23 - ZEROPOINTS[band])), rel=1e-6)
    else:
        assert gal.flux != reference.flux
        np.testing.assert_array_equal(gal.jacobian, reference.jacobian)


def test_gsparams():
    gal = one_galaxy(config(gsparams={"folding_threshold": 1e-3}))
    assert gal.gsparams == galsim.GSParams(folding_threshold=1e-3)


def test_galsims_own_keys_are_left_to_galsim():
    plain = one_galaxy(config(**ASKED))
    gal = one_galaxy(
        config(**ASKED, flux=7.0, dilate=1.2, rotate="30 deg", shift={"type": "XY", "x": 1, "y": 0})
    )
    assert gal.flux == pytest.approx(7)
    expected = plain.withFlux(7.0).dilate(1.2).rotate(30 * galsim.degrees).shift(1.0, 0.0)
    np.testing.assert_allclose(
        gal.drawImage(nx=32, ny=32, scale=0.2).array,
        expected.drawImage(nx=32, ny=32, scale=0.2).array,
        rtol=1e-6,
    )


def test_size_from_resolution():
    fields = config(resolution=1.5)
    galsim.config.ImportModules(fields)
    fields["rng"] = galsim.BaseDeviate(4)
    psf = galsim.config.BuildGSObject(fields, "psf")[0]
    gal = galsim.config.BuildGSObject(fields, "gal")[0]
    size = 6 * np.sqrt(np.linalg.det(gal.jacobian))
    assert size == pytest.approx(1.5 * psf.half_light_radius)


def test_signal_to_noise_and_noise():
    fields = config(**ASKED, signal_to_noise=50)
    fields["image"]["noise"] = {"type": "Gaussian", "sigma": 1.0}
    stamps = stamps_of(fields)
    assert 0.7 < stamps[:, :3, :].std() < 1.3


def test_photon_shooting():
    fields = config(**ASKED, flux=20000.0)
    fields["image"]["draw_method"] = "phot"
    stamps = stamps_of(fields)
    assert stamps.sum(axis=(1, 2)) == pytest.approx(20000, rel=0.1)


def test_in_a_list_of_objects():
    disc = {"type": "Exponential", "half_light_radius": 1}
    fields = config({"gal": {"type": "List", "items": [disc, GIVEN]}})
    stamps = stamps_of(fields)
    assert not np.array_equal(stamps[1], stamps[3])
    np.testing.assert_array_equal(stamps[0], stamps[2])


def test_random_conditions_vary():
    fields = config(magnitude={"type": "Random", "min": 20, "max": 26})
    flux = stamps_of(fields).sum(axis=(1, 2))
    assert flux.max() > 1.5 * flux.min()


def test_generator_input(generator):
    fields = config({"input": {"vae_generator": {"extrapolate": True, "exact": False}}},
                    magnitude=29.0)  # fmt: skip
    with pytest.warns(galsim.GalSimWarning, match="magnitude 29"):
        assert one_galaxy(fields).flux > 0


# Catalogs.


def test_catalog_is_decoded_once(generator):
    fields = config(CATALOG)
    stamps_of(fields)
    assert generator.calls == 1


def test_catalog_sets_the_number_of_objects():
    fields = config({"input": {"vae_catalog": {"nobjects": 3}}})
    fields["image"] = {"type": "Scattered", "size": 64, "pixel_scale": 0.2, "random_seed": 5,
                       "stamp_size": 32, "image_pos": {"type": "XY", "x": 32, "y": 32}}  # fmt: skip
    galsim.config.ImportModules(fields)
    galsim.config.BuildImage(fields)
    assert galsim.config.ProcessInputNObjects(fields) == 3


@pytest.mark.parametrize("suffix", ["fits", "ecsv"])
def test_catalog_from_a_file(suffix, tmp_path):
    path = tmp_path / f"catalog.{suffix}"
    magnitudes = [22.0, 23.0, 24.0]
    Table({"magnitude": magnitudes, "redshift": [0.5, 1.0, 1.5], "id": [5, 6, 7]}).write(path)
    catalog = {"input": {"vae_catalog": {"file_name": str(path)}}}
    for i, magnitude in enumerate(magnitudes):
        gal = one_galaxy(config(catalog, zeropoint=30.0, index=i))
        assert gal.flux == pytest.approx(10 ** (-0.4 * (magnitude - 30)), rel=1e-6)
        assert gal.redshift == (i + 1) / 2


def test_catalog_galaxy_is_the_same_wherever_its_row(tmp_path):
    """With ids, a catalog in another order has the same galaxies."""
    table = Table({"magnitude": [22.0, 23.0, 24.0], "id": [5, 6, 7]})
    gals = []
    for name, order in (("a", [0, 1, 2]), ("b", [2, 0, 1])):
        path = str(tmp_path / f"{name}.fits")
        table[order].write(path)
        inp = {"input": {"vae_catalog": {"file_name": path, "seed": 9}}}
        gals.append([one_galaxy(config(inp, index=i)) for i in range(3)])
    assert [gals[0][i] for i in (2, 0, 1)] == gals[1]


def test_catalog_indices():
    """Rows in order by default, as GalSim does for its catalogs; or as asked."""
    inp = {"input": {"vae_catalog": {"nobjects": 6, "seed": 3}}}
    in_order = stamps_of(config(inp))
    backwards = stamps_of(config(inp, index={"type": "Sequence", "first": 5, "step": -1}))
    np.testing.assert_array_equal(in_order, backwards[::-1])
    fixed = stamps_of(config(inp, index=2))
    np.testing.assert_array_equal(fixed, np.repeat(in_order[2:3], 6, axis=0))


def test_catalog_seed_of_its_own():
    """The same galaxies whatever random_seed is."""
    inp = {"input": {"vae_catalog": {"nobjects": 6, "seed": 3}}}
    other = {"image": {"random_seed": 99}}
    np.testing.assert_array_equal(stamps_of(config(inp)), stamps_of(config(inp, other)))


def test_catalog_seed_of_nothing_is_refused():
    """GalSim draws a seed from the time for 0: two bands would get different galaxies."""
    with pytest.raises(galsim.GalSimError, match="seed of its own for 0"):
        stamps_of(config({"input": {"vae_catalog": {"nobjects": 6, "seed": 0}}}))


def test_catalog_values():
    """VAEValue reads the row of the current galaxy: its redshift places it, here."""
    fields = config(CATALOG, redshift={"type": "VAEValue", "key": "redshift"}, index=2)
    fields["gal"]["redshift"]["index"] = 2
    gal = one_galaxy(fields)
    table = fields["_input_objs"]["vae_catalog"][0].stamps().table
    assert gal.redshift == table["redshift"][2]
    for key in ("magnitude", "half_light_radius", "g1", "id"):
        fields["x"] = {"type": "VAEValue", "key": key, "index": 4}
        value = galsim.config.ParseValue(fields, "x", fields, int if key == "id" else float)[0]
        assert value == getattr(table[key][4], "value", table[key][4])


def test_catalog_values_follow_the_sequence(tmp_path):
    """Stamp by stamp, VAEValue and VAEGalaxy are at the same row."""
    fields = config(CATALOG)
    fields["output"] = {
        "dir": str(tmp_path),
        "file_name": "image.fits",
        "truth": {
            "file_name": "truth.fits",
            "columns": {
                "z": "gal.redshift",
                "zc": {"type": "VAEValue_float", "key": "redshift"},
                "id": {"type": "VAEValue_int", "key": "id"},
            },
        },
    }
    fields["gal"]["redshift"] = {"type": "VAEValue", "key": "redshift"}
    galsim.config.Process(fields)
    truth = Table.read(tmp_path / "truth.fits")
    assert len(set(truth["z"])) == 6
    np.testing.assert_array_equal(truth["z"], truth["zc"])
    np.testing.assert_array_equal(truth["id"], np.arange(6))


def test_catalog_value_without_a_type():
    """GalSim gives None for a truth column: the value as it is in the table."""
    fields = config(CATALOG)
    one_galaxy(fields)
    table = fields["_input_objs"]["vae_catalog"][0].stamps().table
    for key in ("redshift", "half_light_radius", "id"):
        value, _ = galsim_vae.config.build_value({"key": key, "index": 3}, fields, None)
        assert value == getattr(table[key][3], "value", table[key][3])
        assert type(value) is (int if key == "id" else float)


# Chromatic.


def chromatic(band="F606W", update=CATALOG, **gal):
    fields = config(update, **gal)
    fields["image"]["bandpass"] = hst_bandpass(band)
    return fields


@pytest.mark.parametrize("band", BANDS)
def test_chromatic_counts_follow_the_zeropoint(band):
    """Through an HST band with that band's zero-point: its own flux, and nearly its image."""
    got = stamps_of(chromatic(band, zeropoint=ZEROPOINTS[band]))
    flat = stamps_of(config(CATALOG, band=band))
    np.testing.assert_allclose(got.sum(axis=(1, 2)), flat.sum(axis=(1, 2)), rtol=2e-3)
    difference = np.abs(got - flat).max(axis=(1, 2)) / flat.max(axis=(1, 2))
    assert difference.max() < 1e-2


def test_chromatic_without_a_zeropoint_is_absolute():
    bandpass = hst_bandpass("F606W")
    fields = chromatic()
    fields["bandpass"] = bandpass
    gal = one_galaxy(fields)
    stamps = fields["_input_objs"]["vae_catalog"][0].stamps()
    magnitude = gal.calculateMagnitude(bandpass)
    assert magnitude == pytest.approx(stamps.magnitude("F606W")[0], abs=1e-3)


def test_chromatic_same_pixels_for_any_nproc():
    images = []
    for nproc in (1, 2):
        fields = chromatic(update={}, **ASKED)
        fields["image"]["nproc"] = nproc
        images.append(stamps_of(fields))
    np.testing.assert_array_equal(*images)


def test_redshift_is_applied_once():
    """With and without the key, chromatic and not: the same galaxy and the true redshift."""
    for bandpass in (None, hst_bandpass("F606W")):
        gals = []
        for update in ({}, {"redshift": {"type": "VAEValue", "key": "redshift", "index": 0}}):
            fields = config(CATALOG, index=0, **update)
            if bandpass is not None:
                fields["bandpass"] = bandpass
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                gals.append(one_galaxy(fields))
        redshift = fields["_input_objs"]["vae_catalog"][0].stamps().table["redshift"][0]
        assert gals[0].redshift == gals[1].redshift == redshift
        if bandpass is not None:
            assert gals[0].calculateFlux(bandpass) == gals[1].calculateFlux(bandpass)


def test_redshift_asked_for_is_applied_once():
    flux = []
    for redshift in (0.3, 3.0):
        fields = config(**(ASKED | {"redshift": redshift}))
        fields["bandpass"] = hst_bandpass("F814W")
        gal = one_galaxy(fields)
        assert gal.redshift == redshift
        flux.append(gal.calculateMagnitude(fields["bandpass"]))
    assert flux == pytest.approx([23, 23], abs=1e-3)


def test_chromatic_flux_shear_and_sed():
    shear = {"type": "G1G2", "g1": 0.05, "g2": 0}
    fields = chromatic(update={}, **ASKED, flux=500.0, shear=shear)
    assert stamps_of(fields).sum(axis=(1, 2)) == pytest.approx(500, rel=0.1)
    fields = chromatic(sed={"file_name": "CWW_Sbc_ext.sed", "wave_type": "Ang",
                            "flux_type": "flambda", "norm_flux_density": 1.0,
                            "norm_wavelength": 600})  # fmt: skip
    assert stamps_of(fields).any()


def test_chromatic_band_is_reported(caplog):
    logger = logging.getLogger("test_chromatic_band")
    fields = chromatic(band="F606W")
    fields["gal"]["band"] = "F814W"
    galsim.config.ImportModules(fields)
    with caplog.at_level(logging.WARNING):
        galsim.config.BuildImage(fields, logger=logger)
    assert sum("band = F814W has no effect" in r.getMessage() for r in caplog.records) == 1


# Bad input.


def fails(error, message, fields):
    with pytest.raises(error, match=message):
        stamps_of(fields)


@pytest.mark.parametrize(
    ("gal", "error", "message"),
    [
        ({"magnitude": 12}, galsim.GalSimRangeError, r"magnitude .*12.0 .*\[18.0, 26.5\]"),
        ({"half_light_radius": -1}, galsim.GalSimRangeError, "half_light_radius .*-1.0"),
        ({"redshift": 7}, galsim.GalSimRangeError, "redshift"),
        ({"magnitude": float("nan")}, galsim.GalSimValueError, "magnitude.*finite"),
        ({"ellipticity": {"type": "QBeta", "q": 0.05, "beta": "0 deg"}},
         galsim.GalSimRangeError, r"ellipticity \|g\| is out"),
        ({"magnitude": "bright"}, galsim.GalSimConfigError, "magnitude|bright"),
        ({"ellipticity": 0.3}, galsim.GalSimConfigError, "0.3"),
        ({"hlr": 0.3}, galsim.GalSimConfigError, "hlr"),
        ({"band": "F999W"}, galsim.GalSimValueError, "F999W.*F435W"),
        ({"band": "LSST_r"}, galsim.GalSimIncompatibleValuesError, "zeropoint"),
        ({"band": "LSST_u", "zeropoint": 27}, galsim.GalSimRangeError, "LSST_u"),
        ({"index": 3}, galsim.GalSimConfigError, "No input vae_catalog"),
        ({"index": 3, "magnitude": 24}, galsim.GalSimConfigError, "index"),
        ({"resolution": 1.2, "half_light_radius": 0.4}, galsim.GalSimConfigError, "resolution"),
    ],
)  # fmt: skip
def test_bad_keys(gal, error, message):
    fields = config(**gal)
    fields["gal"] = {"type": "VAEGalaxy", **gal}
    fails(error, message, fields)


@pytest.mark.parametrize(
    ("catalog", "error", "message"),
    [
        ({}, galsim.GalSimConfigError, "file_name.*nobjects"),
        ({"nobjects": 3, "file_name": "x"}, galsim.GalSimConfigError, "Only one"),
        ({"nobjects": 0}, galsim.GalSimRangeError, "nobjects"),
        ({"nobjects": 3, "colour": "red"}, galsim.GalSimConfigError, "colour"),
        ({"file_name": "/no/such/file.fits"}, OSError, "no file '/no/such/file.fits'"),
        ({"nobjects": 5}, galsim.GalSimConfigError, "index=5 .*5 galaxies"),
    ],
)
def test_bad_catalogs(catalog, error, message):
    index = {"type": "Sequence", "first": 0, "last": 10}
    fails(error, message, config({"input": {"vae_catalog": catalog}}, index=index))


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"magnitude": [24.0, np.nan]}, galsim.GalSimValueError, "magnitude of row 1"),
        ({"magnitude": [40.0]}, galsim.GalSimRangeError, "magnitude"),
    ],
)
def test_bad_catalog_files(table, error, message, tmp_path):
    path = str(tmp_path / "bad.fits")
    Table(table).write(path)
    fails(error, message, config({"input": {"vae_catalog": {"file_name": path}}}))


def test_a_file_that_is_no_table(tmp_path):
    path = tmp_path / "bad.fits"
    path.write_text("nothing of the kind")
    fails(OSError, "bad.fits", config({"input": {"vae_catalog": {"file_name": str(path)}}}))


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"key": "colour"}, galsim.GalSimConfigError, "colour.*magnitude"),
        ({}, galsim.GalSimConfigError, "key"),
        ({"key": "magnitude", "index": 77}, galsim.GalSimConfigError, "index=77"),
        ({"key": "magnitude", "index": -1}, galsim.GalSimConfigError, "index=-1"),
    ],
)
def test_bad_values(value, error, message):
    fields = config(CATALOG, shift={"type": "XY", "x": {"type": "VAEValue", **value}, "y": 0})
    fails(error, message, fields)


def test_catalog_galaxy_at_another_redshift():
    fails(galsim.GalSimConfigError, "another redshift", config(CATALOG, redshift=0.123))


def test_bandpass_out_of_reach():
    fields = config(CATALOG)
    fields["image"]["bandpass"] = {"file_name": "LSST_u.dat", "wave_type": "nm"}
    fails(galsim.GalSimRangeError, "LSST_u", fields)


def test_unknown_weights(monkeypatch):
    """The true generator's error comes through."""
    monkeypatch.undo()
    fields = config({"input": {"vae_generator": {"weights": "no-such-weights"}}})
    fails(OSError, "no-such-weights", fields)


def test_version():
    assert galsim_vae.__version__


CHROMATIC_PSF = {"type": "ChromaticOpticalPSF", "lam": 600.0, "diam": 1.2}


@pytest.mark.parametrize(
    ("psf", "stamp", "parts"),
    [
        ({"type": "Kolmogorov", "fwhm": 0.7}, {}, 1),
        (CHROMATIC_PSF, {}, 5),
        ({"type": "Kolmogorov", "fwhm": 0.7}, {"draw_method": "phot"}, 5),
    ],
)
def test_chromatic_galaxy_is_one_profile_where_that_is_the_same(
    generator, monkeypatch, psf, stamp, parts
):
    """And its image is that of the five."""

    def draw():
        config = {
            "gal": {"type": "VAEGalaxy", "magnitude": 22, "half_light_radius": 0.5, "flux": 1e3},
            "psf": psf, "stamp": stamp, "modules": ["galsim_vae"],
            "image": {"type": "Single", "size": 48, "pixel_scale": 0.2, "random_seed": 7,
                      "bandpass": galsim.Bandpass("1", "nm", blue_limit=640, red_limit=650)},
        }  # fmt: skip
        return galsim.config.BuildImage(config).array

    seen, chromatic = [], galsim_vae.Stamps.chromatic
    monkeypatch.setattr(
        galsim_vae.Stamps, "chromatic", lambda *args: seen.append(chromatic(*args)) or seen[-1]
    )
    image = draw()
    assert [len(galaxy.obj_list) for galaxy in seen] == [parts]
    if parts == 1:
        monkeypatch.setattr(
            galsim_vae.Stamps, "chromatic", lambda self, i, params, *_: chromatic(self, i, params)
        )
        np.testing.assert_allclose(image, draw(), rtol=0, atol=1e-6 * image.max())
