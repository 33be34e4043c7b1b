"""Rows of a vae_catalog are decoded in blocks as they are needed: same bits, little memory."""

import copy

import galsim
import numpy as np
import pytest
import yaml
from astropy.table import Table

import galsim_vae.config.blocks as blocks
import galsim_vae.config.catalog as catalog
from galsim_vae.config.cache import BYTES_A_GALAXY, StampCache, parse_size

IMAGE = """
modules: [galsim_vae]
input: {vae_catalog: {nobjects: 40}}
image: {type: Scattered, nobjects: 12, size: 96, stamp_size: 32, pixel_scale: 0.2,
        random_seed: 1234}
psf: {type: Gaussian, fwhm: 0.7}
gal: {type: VAEGalaxy, band: LSST_r, zeropoint: 30}
"""
RANDOM = {"type": "Random"}
INDICES = {
    "in turn": None,
    "Sequence": {"type": "Sequence", "first": 39, "step": -3},
    "List": {"type": "List", "items": [3, 1, 4, 1, 5, 9, 2, 6]},
    "Random": RANDOM,
    "Eval": "$(7 * obj_num + 3) % 40",
    "Eval of Random": {
        "type": "Eval", "str": "int(x) // 2", "fx": {"type": "Random", "min": 0, "max": 79},
    },
}

pytestmark = pytest.mark.usefixtures("generator")


def config(index=None, nproc=1, **updates):
    fields = yaml.safe_load(IMAGE)
    for key, value in copy.deepcopy(updates).items():
        fields[key].update(value)
    if index is not None:
        fields["gal"]["index"] = copy.deepcopy(index)
    if nproc != 1:
        fields["image"]["nproc"] = nproc
    galsim.config.ImportModules(fields)
    return fields


def draw(*args, **kwargs):
    return galsim.config.BuildImage(config(*args, **kwargs)).array


@pytest.fixture
def reference():
    """The image with every row decoded by itself, in one process."""

    def build(monkeypatch, *args, **kwargs):
        with monkeypatch.context() as patch:
            patch.setattr(blocks, "BLOCK", 1)
            return draw(*args, **kwargs)

    return build


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_bits_do_not_depend_on_blocks_and_processes(index, reference, monkeypatch):
    expected = reference(monkeypatch, index)
    assert expected.any()
    for size in (5, 1024):
        monkeypatch.setattr(blocks, "BLOCK", size)
        np.testing.assert_array_equal(draw(index), expected)
    for nproc in (2, 4) if index == RANDOM else (2,):
        np.testing.assert_array_equal(draw(index, nproc), expected)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_what_can_be_foreseen_is_decoded_at_once(index, generator):
    draw(index)
    assert len(generator.sizes) == 1
    assert generator.sizes[0] <= 12


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_what_workers_will_need_is_decoded_before_they_start(index, generator):
    draw(index, 2)
    assert len(generator.sizes) == 1  # those of the workers' would not be seen here
    assert 6 < generator.sizes[0] <= 12


def test_the_index_is_that_of_the_galaxy_after_all_other_draws(generator):
    """The rng has been used for the position, the psf and skip before the index."""
    fields = {
        "psf": {"fwhm": {"type": "Random", "min": 0.6, "max": 0.8}},
        "gal": {"skip": {"type": "RandomBinomial", "p": 0.2}},
    }
    for nproc in (1, 2):
        generator.sizes.clear()
        draw(RANDOM, nproc, **fields)
        assert len(generator.sizes) == 1


@pytest.mark.parametrize("seeds", [[7, 8], [7, {"type": "Sequence", "first": 3}]])
def test_the_rng_of_another_seed(seeds, generator):
    draw(RANDOM | {"rng_num": 1}, image={"random_seed": seeds})
    assert len(generator.sizes) == 1


def test_what_cannot_be_foreseen_costs_one_galaxy_at_a_time(generator):
    fields = config(RANDOM)
    del fields["image"]["random_seed"]
    galsim.config.BuildImage(fields)
    assert generator.sizes == [1] * len(generator.sizes)
    assert len(generator.sizes) > 6


def test_a_wrong_guess_is_given_up(generator, monkeypatch):
    """An index that depends on the place, which is known for the present object only."""
    index = "$int(image_pos.x) % 40"
    expected = draw(index)
    assert generator.sizes.count(1) >= len(generator.sizes) - 1
    monkeypatch.setattr(blocks, "BLOCK", 1)
    np.testing.assert_array_equal(draw(index), expected)


def test_no_rng_is_disturbed():
    """Positions and noise are those of a run that foresees nothing."""
    noise = {"image": {"noise": {"type": "Gaussian", "sigma": 3.0}}}
    expected = draw(RANDOM, **noise)
    fields = config(RANDOM, **noise)
    fields["input"]["vae_catalog"]["cache"] = "1 MB"
    np.testing.assert_array_equal(galsim.config.BuildImage(fields).array, expected)


@pytest.mark.parametrize("nproc", [1, 2])
def test_what_was_drawn_in_a_field_of_the_user_is_kept(nproc, generator, monkeypatch, tmp_path):
    """A truth column reads the index that the galaxy had, and not that of a later one."""
    fields = config("@_extra.u", nproc)
    fields["_extra"] = {"u": {"type": "Random", "min": 0, "max": 39}}
    fields["output"] = {
        "dir": str(tmp_path), "file_name": "a.fits",
        "truth": {"file_name": "truth.fits", "columns": {"u": "@_extra.u"}},
    }  # fmt: skip

    def process():
        galsim.config.Process(copy.deepcopy(fields))
        truth = galsim.Catalog(str(tmp_path / "truth.fits")).data
        return galsim.fits.read(str(tmp_path / "a.fits")).array, np.array(truth)

    pixels, truth = process()
    assert len(generator.sizes) == 1  # all are foreseen
    monkeypatch.setattr(catalog, "coming_rows", lambda *_: iter(()))
    monkeypatch.setattr(catalog, "first_galaxy", lambda base, span: None)
    found = process()
    np.testing.assert_array_equal(pixels, found[0])
    np.testing.assert_array_equal(truth, found[1])


def test_galaxies_that_are_shown_again_are_not_decoded_again(generator):
    fields = config()
    fields["stamp"] = {"type": "Ring", "num": 2}
    galsim.config.BuildImage(fields)
    assert generator.sizes == [6]
    generator.sizes.clear()
    draw(gal={"repeat": 3})
    assert generator.sizes == [4]


BY_IMAGE = {"type": "Random", "min": 0, "max": 39, "rng_index_key": "image_num"}


@pytest.mark.parametrize("index", [None, BY_IMAGE])
def test_one_image_an_object(index, tmp_path, generator):
    """Postage stamps in a cube: the coming images are foreseen."""
    fields = config(index)
    fields["image"] = {"size": 32, "pixel_scale": 0.2, "random_seed": 3}
    fields["output"] = {"type": "DataCube", "nimages": 8, "file_name": str(tmp_path / "a.fits")}
    galsim.config.Process(copy.deepcopy(fields))
    assert generator.sizes == [8]
    one = galsim.fits.readCube(str(tmp_path / "a.fits"))
    for name, nproc in (("image", 2), ("output", 1)):
        run = copy.deepcopy(fields)
        run[name]["nproc"] = nproc
        galsim.config.Process(run)
        for a, b in zip(one, galsim.fits.readCube(str(tmp_path / "a.fits")), strict=True):
            np.testing.assert_array_equal(a.array, b.array)


def test_the_cache_is_bounded(generator, monkeypatch):
    """Twelve of twenty-four fit: rows are decoded again, with the same bits."""
    monkeypatch.setattr(blocks, "BLOCK", 4)
    many = {"image": {"nobjects": 36}, "input": {"vae_catalog": {"nobjects": 24, "seed": 5}}}
    whole = draw(**many)
    assert sum(generator.sizes) == 24
    generator.sizes.clear()
    many["input"]["vae_catalog"]["cache"] = f"{12.5 * BYTES_A_GALAXY} byte"
    np.testing.assert_array_equal(draw(**many), whole)
    assert sum(generator.sizes) == 36


def test_cache_lets_the_oldest_block_go(stamps):
    cache = StampCache(2.5 * BYTES_A_GALAXY)
    cache.add([7], stamps[:1])
    cache.add([9], stamps[1:2])
    assert cache.get(7)[1] == 0
    cache.add([3], stamps[2:3])
    assert 9 not in cache
    assert 7 in cache
    assert len(cache) == 2
    cache.add([1, 2, 4, 5], stamps)  # more than there is room for is kept once
    assert len(cache) == 4
    found, i = cache.get(4)
    np.testing.assert_array_equal(found.array[i], stamps.array[2])


@pytest.mark.parametrize(
    ("text", "size"),
    [(512, 512e6), ("512", 512e6), ("512 MB", 512e6), ("2 GiB", 2**31), ("1e3 kB", 1e6)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", [0, -1, "much", "", "512 m", True, None, float("nan"), float("inf"), "1 kB", [3]]
)
def test_sizes_that_are_none(text):
    with pytest.raises(galsim.GalSimConfigError, match="512 MB"):
        parse_size(text)


def test_a_size_that_is_none_in_yaml():
    with pytest.raises(galsim.GalSimConfigError, match="512 MB"):
        draw(input={"vae_catalog": {"nobjects": 4, "cache": "a lot"}})


def test_with_a_gpu_all_is_decoded_before_the_workers_start(generator, monkeypatch):
    """One process may use it."""
    import galsim_vae.config.generator as module

    expected = draw(RANDOM)
    monkeypatch.setattr(module.GeneratorInput, "on_gpu", lambda self: True)
    generator.sizes.clear()
    np.testing.assert_array_equal(draw(RANDOM, 2), expected)
    assert sum(generator.sizes) == 40
    generator.sizes.clear()
    np.testing.assert_array_equal(draw(RANDOM), expected)
    assert sum(generator.sizes) <= 12


def test_a_row_that_is_skipped_is_not_decoded(generator, tmp_path):
    """Its magnitude is in the table."""
    path = str(tmp_path / "a.fits")
    Table({"magnitude": np.linspace(20, 26, 12), "half_light_radius": [0.5] * 12, "g1": [0.0] * 12,
           "g2": [0.0] * 12, "redshift": [1.0] * 12}).write(path)  # fmt: skip
    fields = config()
    fields["input"] = {"vae_catalog": {"file_name": path, "cache": "1 MB"}}
    fields["eval_variables"] = {"fm": {"type": "VAEValue", "key": "magnitude"}}
    fields["gal"]["skip"] = "$m > 19"
    galsim.config.BuildImage(fields)
    assert not generator.sizes
