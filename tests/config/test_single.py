"""Galaxies asked for one by one are decoded ahead, and nobody can tell but by the clock."""

import copy
import logging
import warnings

import galsim
import numpy as np
import pytest
import yaml

import galsim_vae.config.single
from galsim_vae.config.ahead import Span
from galsim_vae.config.foresee import can_foresee, following

CONFIG = """
modules: [galsim_vae]
image:
  type: Scattered
  nobjects: 7
  size: 96
  stamp_size: 32
  pixel_scale: 0.2
  random_seed: 1234
psf: {type: Gaussian, fwhm: {type: RandomGaussian, mean: 0.7, sigma: 0.01}}
gal:
  type: VAEGalaxy
  magnitude: {type: Random, min: 22, max: 24}
  half_light_radius: $0.3 + 0.01 * obj_num
  zeropoint: 30
  shear: {type: G1G2, g1: 0.02, g2: 0}
"""


def config(**updates):
    """The config with items of some fields changed."""
    fields = yaml.safe_load(CONFIG)
    for name, update in updates.items():
        fields[name] = {**fields.get(name, {}), **copy.deepcopy(update)}
    return fields


def drawn(fields):
    galsim.config.ImportModules(fields)
    return galsim.config.BuildImage(fields).array


def one_by_one(fields, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(galsim_vae.config.single, "can_foresee", lambda base: False)
        return drawn(fields)


FORESEEN = {
    "as it is": {},
    "nothing asked for": {"gal": {"magnitude": 23}},
    "catalog": {"gal": {"redshift": {"type": "List", "items": [0.3, 0.5, 0.9, 1.1]}}},
    "skipped ones": {"stamp": {"skip": {"type": "Random", "p": 0.4}}},
    "a PSF that is skipped": {"psf": {"skip": {"type": "Random", "p": 0.3}}},
    "two seeds": {"image": {"random_seed": [5, 6]}, "gal": {"rng_num": 1}},
    "tiles": {"image": {"type": "Tiled", "nx_tiles": 3, "ny_tiles": 3}},
    "size drawn": {"image": {"nobjects": {"type": "Random", "min": 5, "max": 9}}},
    "rejected": {"stamp": {"reject": {"type": "Random", "p": 0.5}, "retry_failures": 30}},
    "sizes of stamps": {"stamp": {"size": {"type": "Random", "min": 20, "max": 40}}},
    "the image's deviate": {"gal": {"magnitude": {
        "type": "Random", "min": 22, "max": 24, "rng_index_key": "image_num"}}},
    "a field of the user's": {
        "_extra": {"mag": {"type": "Random", "min": 22, "max": 24}},
        "gal": {"magnitude": "@_extra.mag"},
    },
}  # fmt: skip


def fields_of(name):
    fields = config(**FORESEEN[name])
    if fields["image"]["type"] == "Tiled":
        del fields["image"]["nobjects"], fields["image"]["size"]
    if "size" in fields.get("stamp", {}):
        fields["image"].pop("stamp_size")
    return fields


@pytest.mark.parametrize("name", FORESEEN)
def test_pixels_are_those_of_one_by_one(name, generator, monkeypatch):
    expected = one_by_one(fields_of(name), monkeypatch)
    assert set(generator.sizes) == {1}
    generator.sizes.clear()
    np.testing.assert_array_equal(drawn(fields_of(name)), expected)
    assert max(generator.sizes) > 1


@pytest.mark.parametrize("nproc", [2, 3])
def test_pixels_do_not_depend_on_processes(nproc, generator):
    expected = drawn(config())
    np.testing.assert_array_equal(drawn(config(image={"nproc": nproc})), expected)


def files(folder, kind, **image):
    """Pixels of two files, each of seven images that have one galaxy each."""
    fields = config(
        image={"type": "Single", **image},
        gal={"redshift": {"type": "Random", "min": 0.2, "max": 1, "rng_index_key": "image_num"}},
        output={"type": kind, "nimages": 7, "nfiles": 2, "dir": str(folder),
                "file_name": "$f'{file_num}.fits'"},
    )  # fmt: skip
    del fields["image"]["nobjects"], fields["image"]["stamp_size"]
    galsim.config.Process(fields, except_abort=True)
    read = galsim.fits.readCube if kind == "DataCube" else galsim.fits.readMulti
    return [[image.array for image in read(str(folder / f"{k}.fits"))] for k in range(2)]


@pytest.mark.parametrize(("kind", "nproc"), [("MultiFits", 1), ("MultiFits", 2), ("DataCube", 1)])
def test_galaxies_of_the_next_images_are_foreseen(kind, nproc, generator, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(galsim_vae.config.single, "can_foresee", lambda base: False)
        expected = files(tmp_path, kind)
    assert generator.sizes == [1] * 14
    generator.sizes.clear()
    np.testing.assert_array_equal(files(tmp_path, kind, nproc=nproc), expected)
    if nproc == 1 and kind == "MultiFits":
        assert generator.sizes == [2, 4, 1] * 2


def test_blocks_grow_and_end_with_the_image(generator):
    drawn(config())
    assert generator.sizes == [2, 4, 1]


def test_what_is_foreseen_comes(generator):
    """Every galaxy that was decoded is drawn: conditions and seeds were foreseen to the bit."""
    fields = config(image={"nobjects": 30})
    drawn(fields)
    assert generator.sizes == [2, 4, 8, 16]


def test_blocks_that_are_not_used_are_given_up(generator):
    """A deviate that belongs to the image has moved on by the time that the next object is made."""
    drawn(config(**FORESEEN["the image's deviate"], image={"nobjects": 12}))
    assert sum(generator.sizes) < 2 * 12


def test_what_was_drawn_in_a_field_of_the_user_is_kept(generator, monkeypatch, tmp_path):
    """A truth column reads what the galaxy had, and not what a later one will have."""
    fields = config(
        _extra={
            "mag": {"type": "Random", "min": 22, "max": 24},
            "shears": [{"type": "G1G2", "g1": {"type": "Random", "min": 0, "max": 0.1}, "g2": 0}],
        },
        gal={"magnitude": "@_extra.mag", "shear": "@_extra.shears.0"},
        output={
            "dir": str(tmp_path), "file_name": "a.fits",
            "truth": {"file_name": "truth.fits", "columns": {
                "mag": "@_extra.mag", "g1": "$(@_extra.shears.0).g1"}},
        },
    )  # fmt: skip
    fields["image"] |= {"type": "Tiled", "nx_tiles": 4, "ny_tiles": 3}
    del fields["image"]["nobjects"], fields["image"]["size"]

    def process():
        galsim.config.Process(copy.deepcopy(fields))
        truth = galsim.Catalog(str(tmp_path / "truth.fits")).data
        return galsim.fits.read(str(tmp_path / "a.fits")).array, np.array(truth)

    with monkeypatch.context() as patch:
        patch.setattr(galsim_vae.config.single, "can_foresee", lambda base: False)
        pixels, truth = process()
    generator.sizes.clear()
    found = process()
    assert max(generator.sizes) > 1
    np.testing.assert_array_equal(found[0], pixels)
    np.testing.assert_array_equal(found[1], truth)


def test_warnings_of_others_do_not_end_the_run(generator, monkeypatch):
    sample_each = generator.sample_each

    def warned(*args, **kwargs):
        warnings.warn("a driver is old", UserWarning, stacklevel=1)
        return sample_each(*args, **kwargs)

    monkeypatch.setattr(generator, "sample_each", warned)
    with pytest.warns(UserWarning, match="a driver is old"):
        drawn(config())
    assert generator.sizes == [2, 4, 1]


def test_a_warning_at_the_loading_does_not_undo_the_block(generator, monkeypatch):
    loaded = []

    def load(*_):
        if not loaded:
            loaded.append(True)
            warnings.warn("weights of old", galsim.GalSimWarning, stacklevel=1)
        return generator

    monkeypatch.setattr(galsim_vae.config.generator, "load_generator", load)
    with pytest.warns(galsim.GalSimWarning, match="weights of old"):
        drawn(config())
    assert generator.sizes == [2, 4, 1]


STATEFUL = {
    "no seed": {"image": {"random_seed": None}},
    "global random numbers": {"gal": {"redshift": "$np.random.uniform(0.5, 1)"}},
    "a ring": {"stamp": {"type": "Ring", "num": 2}},
    "another module": {"modules": ["galsim_vae", "wave"]},
    "a type of the user's": {"gal": {"redshift": {"type": "Counted"}}},
    "the same in another field": {
        "_extra": {"z": {"type": "Counted"}}, "gal": {"redshift": "@_extra.z"},
    },
}


@pytest.mark.parametrize("name", STATEFUL)
def test_what_may_have_a_state_is_not_read_ahead(name, generator):
    calls = []

    def counted(config, base, value_type):
        calls.append(base["obj_num"])
        return 0.5 + 0.01 * len(calls), False

    galsim.config.RegisterValueType("Counted", counted, [float])
    updates = {key: value for key, value in STATEFUL[name].items() if key != "modules"}
    fields = config(**updates)
    fields["modules"] = STATEFUL[name].get("modules", fields["modules"])
    if name == "no seed":
        del fields["image"]["random_seed"]
    drawn(fields)
    assert set(generator.sizes) == {1}
    assert calls == sorted(set(calls))


def test_an_error_comes_with_its_own_object(generator):
    """Galaxies before the one out of range are drawn, and the message is that of a single one."""
    gal = {"magnitude": {"type": "List", "items": [23, 23, 23, 23, 99]}}
    fields = config(gal=gal)
    galsim.config.ImportModules(fields)
    galsim.config.SetupConfigImageNum(fields, 0, 0)
    for number in range(4):
        galsim.config.BuildStamp(fields, obj_num=number)
    with pytest.raises(galsim.GalSimRangeError, match=r"magnitude.* 99") as error:
        galsim.config.BuildStamp(fields, obj_num=4)
    assert "row" not in str(error.value)


def test_galaxies_that_are_warned_of_are_decoded_alone(generator, monkeypatch, caplog):
    gal = {"magnitude": {"type": "List", "items": [23, 99, 23, 23]}}
    settings = {"vae_generator": {"extrapolate": True}}
    logger = logging.getLogger("test")
    expected = one_by_one(config(gal=gal, input=settings), monkeypatch)
    fields = config(gal=gal, input=settings)
    galsim.config.ImportModules(fields)
    with caplog.at_level(logging.WARNING, "test"):
        found = galsim.config.BuildImage(fields, logger=logger).array
    np.testing.assert_array_equal(found, expected)
    said = [line for line in caplog.messages if "magnitude" in line and "99" in line]
    assert len(said) == 1


def test_nothing_of_the_config_is_moved(generator):
    fields = config()
    galsim.config.ImportModules(fields)
    galsim.config.SetupConfigImageNum(fields, 0, 0)
    galsim.config.BuildStamp(fields, obj_num=0)
    rng = fields["rng"].duplicate()
    before = {"image": fields["image_num_rng"].duplicate(), "current": fields["gal"]["current"]}
    assert can_foresee(fields)
    assert len(following(fields, Span(7, one_an_image=False), 4)) == 4
    assert fields["rng"] == rng and fields["obj_num"] == 0
    assert fields["image_num_rng"] == before["image"]
    assert fields["gal"]["current"] is before["current"]
