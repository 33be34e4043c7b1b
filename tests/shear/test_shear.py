"""Shear calibration: the estimate of m and c, estimators, twins, drawing, configurations."""

import importlib
import sys

import galsim
import numpy as np
import pytest
import surveycodex
import torch
from astropy.table import Table
from direct_sum import direct_sum
from places import ROOT
from stub_generator import StubGenerator
from surveycodex.utilities import mean_sky_level

import galsim_vae
from galsim_vae import cli, shapes, shear
from galsim_vae.cli.main import module_of
from galsim_vae.render import sersic
from galsim_vae.shear import calibration
from galsim_vae.shear import chunk as shear_chunk
from galsim_vae.shear.bias import Sums, bias, make_table
from galsim_vae.shear.chunk import run_chunk
from galsim_vae.shear.estimators import cut_out, detect, psf_image
from galsim_vae.shear.scenes import compose, draw_stamps
from galsim_vae.shear.store import ChunkStore
from galsim_vae.shear.survey import survey_view
from galsim_vae.shear.twins import in_one_band, sersic_twins
from galsim_vae.shear.workers import Forecast, run_missing

SETUPS = {"LSST": ("LSST", "i"), "Euclid": ("Euclid_VIS", "IE")}


def config(**changes):
    values = {"output": "out", "galaxies": 12, "chunk": 12, "max_magnitude": 24.0}
    return shear.CalibrationConfig.from_dict(values | changes)


@pytest.fixture
def stub(monkeypatch):
    """Analytic galaxies in the place of decoded ones."""
    made = StubGenerator()
    made.sha256 = "stub"
    monkeypatch.setattr(shear_chunk, "load_generator", lambda weights, device: made)
    return made


def galaxies(n, low=0.25, high=0.6, seed=3):
    rng = np.random.default_rng(seed)
    g, angle = rng.uniform(0.1, 0.4, n), rng.uniform(0, 2 * np.pi, n)
    table = {
        "magnitude": np.full(n, 22.0), "half_light_radius": rng.uniform(low, high, n),
        "g1": g * np.cos(angle), "g2": g * np.sin(angle), "redshift": rng.uniform(0.2, 2, n),
    }  # fmt: skip
    return StubGenerator().sample(table, galsim.BaseDeviate(seed))


# The estimate of m and c


def made_shapes(n, m, c, g, seed=1, noise=0.0, nangles=2):
    """Shapes of galaxies with a given bias; the response scatters."""
    rng = np.random.default_rng(seed)
    r = rng.uniform(0.5, 1.5, (n, 1, 1, 2)) * np.ones((n, nangles, 2, 2))
    intrinsic = 0.3 * rng.standard_normal((n, 1, 2)) * np.array([1, -1][:nangles])[:, None]
    signs = np.array([1, -1])[:, None] * np.array(g)
    e = intrinsic[:, :, None] + r * ((1 + m) * signs + c)
    return e + noise * rng.standard_normal(e.shape), r


def test_bias_is_found_exactly_where_there_is_no_noise():
    g, m, c = (0.02, -0.01), np.array([0.05, -0.03]), np.array([1e-3, -2e-3])
    found = bias(Sums.of(*made_shapes(500, m, c, g)), g)
    np.testing.assert_allclose(found.m, m, atol=1e-12)
    np.testing.assert_allclose(found.c, c, atol=1e-14)
    np.testing.assert_allclose(found.m_err, 0, atol=1e-12)


def test_errors_are_the_scatter_of_repetitions():
    g = (0.02, 0.02)
    runs = [bias(Sums.of(*made_shapes(400, 0, 0, g, s, 0.05)), g) for s in range(200)]
    for name in ("m", "c"):
        scatter = np.std([getattr(run, name) for run in runs], axis=0)
        error = np.mean([getattr(run, f"{name}_err") for run in runs], axis=0)
        np.testing.assert_allclose(error, scatter, rtol=0.15)


def test_a_difference_keeps_what_is_in_common_out_of_its_error():
    g = (0.02, 0.01)
    e, r = made_shapes(1000, 0.0, 0.0, g, noise=0.1)
    extra = 2e-4 * np.random.default_rng(5).standard_normal(e.shape)
    one, other = Sums.of(e * 1.01 + extra, r), Sums.of(e, r)
    alone, less = bias(one, g), bias(one, g, other)
    np.testing.assert_allclose(less.m, bias(one, g).m - bias(other, g).m)
    assert (less.m_err < alone.m_err / 20).all()
    # An error that is right: e is 1.01 times as large, noise and all.
    assert (np.abs(less.m - 0.01 * (1 + bias(other, g).m)) < 4 * less.m_err + 1e-4).all()


def test_m_of_a_component_without_shear_is_nan():
    found = bias(Sums.of(*made_shapes(50, 0, 0, (0.02, 0))), (0.02, 0.0))
    assert np.isfinite(found.m).tolist() == [True, False] and np.isfinite(found.c).all()
    alone = bias(Sums.of(*made_shapes(1, 0, 0, (0.02, 0))), (0.02, 0.0))
    assert np.isnan(alone.m_err).all()


# The plugin adds no bias of its own


def weighted_shape(image, view, width):
    """Distortion of an image of an odd width by moments with a round Gaussian weight."""
    y, x = view.scale * (np.mgrid[: len(image), : len(image)] - len(image) // 2)
    weight = np.exp(-(x**2 + y**2) / (2 * width**2))
    xx, yy, xy = (np.sum(weight * image * a) for a in (x * x, y * y, x * y))
    return np.array([xx - yy, 2 * xy]) / (xx + yy)


@pytest.mark.parametrize("survey", SETUPS)
def test_drawn_galaxies_respond_to_shear_as_the_exact_transform_does(survey):
    """|delta m| <= 1e-4, for decoded galaxies, through GalSim and through the batches."""
    generator = galsim_vae.GalaxyGenerator("candels", device="cpu")
    radii, g, size = np.array([0.2, 0.4]), 0.05, 49
    table = {"magnitude": np.full(2, 22.0), "half_light_radius": radii}
    view = survey_view(*SETUPS[survey])
    stamps = in_one_band(generator.sample(table, galsim.BaseDeviate(4)), view.band)
    # The direct sum wants five bands, and draws the reference.
    five = np.repeat(stamps.array, 5, axis=1)
    five = galsim_vae.Stamps(five, stamps.conditions, stamps.jacobian, stamps.offset)
    for i, radius in enumerate(radii):
        width = np.hypot(radius, 0.5 * view.fwhm)
        responses = []
        for name in ("exact", "galsim", "batch"):
            shapes_of_signs = []
            for push in (np.array([g, -g]), np.array([-g, g])):
                if name == "exact":
                    # In a shorter period the wings of an Airy pattern wrap round: 1e-4 at 3 images.
                    psf, period = survey_view(*SETUPS[survey]).psf, 6 * size * view.scale
                    image = direct_sum(
                        five, i, psf, size, size, view.scale, period, push, (0, 0), 0.0
                    )
                else:
                    one, here = stamps[np.array([i])], np.zeros((1, 2))
                    image = draw_stamps(one, view, size, push[None], 0.0, here, name)[0]
                    image = image.astype(float)
                shapes_of_signs.append(weighted_shape(image, view, width))
            responses.append(shapes_of_signs[0] - shapes_of_signs[1])
        assert (np.abs(responses[0]) > 0.02).all()
        delta = np.array(responses[1:]) / responses[0] - 1
        assert np.abs(delta).max() <= 1e-4, (i, delta)


def test_renderers_agree():
    view, stamps = survey_view("LSST", "i", psf_shear=(0.02, 0.01)), galaxies(3)
    one, rng = in_one_band(stamps, view.band), np.random.default_rng(2)
    place, push = rng.uniform(-0.1, 0.1, (3, 2)), rng.uniform(-0.05, 0.05, (3, 2))
    drawn = [draw_stamps(one, view, 48, push, 0.7, place, name) for name in ("batch", "galsim")]
    for batch, plain in zip(*drawn, strict=True):
        np.testing.assert_allclose(batch, plain, rtol=0, atol=1e-4 * plain.max())
    flux = 10 ** (-0.4 * (stamps.magnitude(view.band) - shear.ZEROPOINT))
    np.testing.assert_allclose(drawn[0].sum(axis=(1, 2)), flux, rtol=0.01)


def test_galaxies_lie_at_the_pixel_that_estimators_measure():
    view, one = survey_view("LSST", "i"), in_one_band(galaxies(2), "F814W")
    nothing = np.zeros((2, 2))
    for size in (40, 41):
        images = draw_stamps(one, view, size, nothing, 0.0, nothing)
        for image in [*images, psf_image(view, size)]:
            found = galsim.hsm.FindAdaptiveMom(galsim.Image(np.array(image), xmin=0, ymin=0))
            centroid = found.moments_centroid
            assert np.hypot(centroid.x - size // 2, centroid.y - size // 2) < 0.1


# Runs without noise


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


# Scenes


def test_scenes_are_drawn_detected_and_measured(stub):
    made = config(
        layout="blended", galaxies=2, chunk=2, scene_size=160, stamp_size=48, density=60,
        depth=10, estimators=["anacal", "regauss"], twins=False,
    )  # fmt: skip
    arrays, seconds = run_chunk(made, 0)
    assert "detect" in seconds
    for name in made.estimators:
        assert arrays[f"vae/{name}/e"].shape == (2, 2, 2, 2)
        assert arrays[f"vae/{name}/count"].sum() > 2
    assert set(make_table(made, arrays)["property"]) == {"all"}


def test_scenes_hold_the_light_of_their_galaxies_where_it_belongs():
    images = np.arange(1, 4, dtype=np.float32)[:, None, None] * np.ones((3, 4, 4), np.float32)
    pixel, scene = np.array([[0, 0], [5, -3], [-9, 9]]), np.array([0, 1, 1])
    fields = compose(images, scene, pixel, 2, 20)
    assert fields.shape == (2, 20, 20)
    assert fields[0].sum() == 16 and fields[0, 8:12, 8:12].all()
    assert (fields[1, 5:9, 13:17] == 2).all() and (fields[1, 17:20, 0:3] == 3).all()
    found = cut_out(fields[1], x=np.array([15]), y=np.array([7]), size=4)
    assert (found == 2).all()


def test_the_detector_finds_a_galaxy_at_its_pixel():
    view, one = survey_view("LSST", "i"), in_one_band(galaxies(1), "F814W")
    nothing = np.zeros((1, 2))
    image = np.zeros((160, 160), np.float32)
    stamp = draw_stamps(one, view, 48, nothing, 0.0, nothing)[0]
    image[60 - 24 : 60 + 24, 90 - 24 : 90 + 24] = stamp
    found = detect(image, np.zeros_like(image), view, 48)
    assert isinstance(found, shear.Detections)
    bright = found.weight > 0.5
    assert (found.x[bright], found.y[bright]) == (90, 60)


# Twins


def test_twins_have_the_flux_size_shape_and_place_of_their_galaxies():
    one = in_one_band(galaxies(5), "F814W")
    twins = sersic_twins(one)
    assert twins.good.all() and len(twins.stamps) == 5
    np.testing.assert_array_equal(
        twins.stamps.magnitude("F814W").round(5), one.magnitude("F814W").round(5)
    )
    assert (0.01 < twins.residual).all() and (twins.residual < 0.1).all()
    measured = []
    for stamps in (one, twins.stamps):
        images = torch.from_numpy(stamps.array[:, 0])
        moments = shapes.adaptive_moments(images)
        radius = shapes.half_light_radius(images, moments).numpy()
        size = radius * np.sqrt(np.linalg.det(stamps.jacobian))
        centre = np.stack([moments.x.numpy(), moments.y.numpy()], axis=1) - stamps.offset
        place = np.einsum("nij,nj->ni", stamps.jacobian, centre)
        view = [
            galsim.Convolve(stamps.galaxy(i, "F814W", 30.0), galsim.Gaussian(sigma=0.02))
            .drawImage(nx=200, ny=200, scale=0.02, method="no_pixel").FindAdaptiveMom()
            for i in range(5)
        ]  # fmt: skip
        shape = [(s.observed_shape.g1, s.observed_shape.g2) for s in view]
        measured.append((size, place, np.array(shape)))
    for galaxy, twin, error in zip(*measured, (2e-3, 1e-3, 5e-3), strict=True):
        np.testing.assert_allclose(twin, galaxy, rtol=0, atol=error)


def test_the_twin_of_a_sersic_galaxy_is_itself():
    index = torch.tensor([0.6, 1.0, 2.0, 3.5])
    ellipse = torch.tensor([np.log(6.0), 0.2, -0.1, 0.3, -0.4]).float().repeat(4, 1)
    images = sersic.stamps(torch.cat([index.log()[:, None], ellipse], 1))
    images = images / images.sum((1, 2), keepdim=True)
    stamps = galaxies(4)
    made = galsim_vae.Stamps(
        images.numpy()[:, None], stamps.conditions, stamps.jacobian, stamps.offset, ("F814W",)
    )
    twins = sersic_twins(made)
    # Its half-light radius is that of the light in the stamp, which is all only at a low index.
    assert (twins.residual < [0.002, 0.002, 0.03, 0.06]).all()
    np.testing.assert_allclose(twins.index[:3], index[:3], rtol=0.1)


# Surveys


def test_observations_are_those_of_surveycodex():
    view = survey_view("LSST", "i")
    sky = mean_sky_level("LSST", "i").value
    filt = surveycodex.get_survey("LSST").get_filter("i")
    electrons = 10 ** (0.4 * (filt.zeropoint.value - 31.4)) * filt.full_exposure_time.value
    np.testing.assert_allclose(view.noise, np.sqrt(sky) / electrons, rtol=1e-4)
    np.testing.assert_allclose(survey_view("LSST", "i", depth=0.25).noise, 2 * view.noise)
    for survey, band in [("LSST", "r"), ("Euclid_VIS", "IE"), ("Roman_WFI", "F158")]:
        view = survey_view(survey, band, psf_shear=(0.1, 0.0))
        image = view.psf.drawImage(nx=61, ny=61, scale=view.fwhm / 15, method="no_pixel")
        assert abs(image.FindAdaptiveMom().observed_shape.g1 - 0.1) < 5e-3
        psf = survey_view(survey, band).psf
        image = psf.drawImage(nx=61, ny=61, scale=view.fwhm / 15, method="no_pixel")
        np.testing.assert_allclose(image.calculateFWHM(), view.fwhm, rtol=0.01)


# Configurations


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"galaxies": None}, galsim.GalSimConfigValueError, "galaxies must be a whole number"),
        ({"galaxies": 0}, galsim.GalSimRangeError, "galaxies is out of range"),
        ({"galaxys": 3}, galsim.GalSimConfigValueError, "Unknown key"),
        ({"estimators": ["lensfit"]}, galsim.GalSimConfigValueError, "Unknown estimator"),
        ({"estimators": []}, galsim.GalSimConfigValueError, "estimators must name"),
        ({"estimators": ["ngmix"]}, galsim.GalSimConfigError, "not on PyPI"),
        ({"estimators": ["metadetect"]}, galsim.GalSimConfigError, "esheldon/metadetect"),
        ({"psf_fwhm": 5.0}, galsim.GalSimRangeError, "The PSF is too wide for stamps of 64 pixels"),
        ({"shear": [0.3, 0.0]}, galsim.GalSimRangeError, "|shear| is out of range"),
        ({"shear": 0.02}, galsim.GalSimConfigValueError, "shear must be a list of 2"),
        ({"shear": ["a", 0]}, galsim.GalSimConfigValueError, "shear.0 must be a number"),
        ({"psf_shear": [0.9, 0.0]}, galsim.GalSimRangeError, "|psf_shear|"),
        ({"weights": "nothere"}, OSError, "nothere"),
        ({"survey": "KiDS"}, galsim.GalSimConfigValueError, "Unknown survey"),
        ({"band": "IE"}, galsim.GalSimConfigValueError, "LSST has no filter"),
        ({"band": "u"}, galsim.GalSimValueError, "do not reach"),
        ({"layout": "grid"}, galsim.GalSimConfigValueError, "Unknown layout"),
        ({"renderer": "gpu"}, galsim.GalSimConfigValueError, "Unknown renderer"),
        ({"redshift": [2, 1]}, galsim.GalSimValueError, "0 <= low < high"),
        ({"ring": "yes"}, galsim.GalSimConfigValueError, "ring must be true or false"),
        ({"max_magnitude": 40}, galsim.GalSimRangeError, "trained range"),
        ({"depth": float("nan")}, galsim.GalSimRangeError, "depth is out of range"),
        ({"layout": "blended", "scene_size": 80}, galsim.GalSimRangeError, "two stamps"),
        ({"survey": "Roman_WFI", "band": "F158"}, galsim.GalSimValueError, "measure this PSF"),
    ],
)
def test_bad_configurations_stop_before_any_work(changes, error, message, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "run_missing", lambda *args: pytest.fail("work was begun"))
    for name in ("ngmix", "metadetect"):
        monkeypatch.setitem(sys.modules, name, None)
    values = {"output": str(tmp_path / "out"), "galaxies": 4} | changes
    with pytest.raises(error) as caught:
        shear.calibrate(values)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_keys_and_the_fingerprint():
    with pytest.raises(galsim.GalSimConfigError, match="galaxies is missing"):
        shear.CalibrationConfig.from_dict({"output": "x"})
    same = config(output="elsewhere", bins=7, target_error=1e-2)
    assert same.fingerprint() == config().fingerprint()
    for changes in ({"seed": 5}, {"depth": 0.5}, {"galaxies": 13}, {"renderer": "galsim"}):
        assert config(**changes).fingerprint() != config().fingerprint()
    assert config(depth="1e2").depth == 100  # YAML takes 1e2 for a string.


# The command and the chunks on disk


def test_the_command_writes_table_and_figures_and_goes_on(stub, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("galsim_vae.shear.workers.run_chunk", lambda c, k, sha: run_chunk(c, k))
    path = tmp_path / "run.yaml"
    path.write_text(
        f"output: {tmp_path / 'out'}\ngalaxies: 6\nchunk: 2\nstamp_size: 32\nbins: 2\n"
        "max_magnitude: 24\nestimators: anacal\n"
    )
    assert cli.main(["calibrate", str(path), "seed=3"]) == 0
    printed = capsys.readouterr().out
    assert "vae - sersic" in printed and "nan" not in printed
    assert printed.count("not sheared") == 3
    for name in ("calibration.ecsv", "throughput.ecsv", "m.png", "c.png"):
        assert f"wrote {tmp_path / 'out' / name}" in printed
    assert "nan" not in (tmp_path / "out" / "calibration.ecsv").read_text()
    table = Table.read(tmp_path / "out" / "calibration.ecsv")
    unsheared = table["component"] == 2
    assert table["m"].mask[unsheared].all() and not table["m"].mask[~unsheared].any()
    assert table["mean"].mask[table["property"] == "all"].all()
    assert table.meta["config"]["seed"] == 3 and len(table.meta["weights_sha256"]) == 64
    assert {"galsim_vae", "GalSim", "anacal", "torch"} < set(table.meta["versions"])
    for name in ("m.png", "c.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    steps = Table.read(tmp_path / "out" / "throughput.ecsv")["step"].tolist()
    assert {"conditions", "decode", "draw", "measure anacal"} < set(steps)
    # Again: nothing is done again but what is not there, and the table is the same.
    before = (tmp_path / "out" / "calibration.ecsv").read_bytes()
    chunks = sorted((tmp_path / "out").glob("chunks-*/*.h5"))
    assert len(chunks) == 3
    chunks[1].write_bytes(b"half a file")
    times = [chunk.stat().st_mtime_ns for chunk in chunks]
    assert cli.main(["calibrate", str(path), "-v", "0", "seed=3"]) == 0
    assert [c.stat().st_mtime_ns == t for c, t in zip(chunks, times, strict=True)] == [
        True, False, True
    ]  # fmt: skip
    assert (tmp_path / "out" / "calibration.ecsv").read_bytes() == before


def test_an_interrupted_run_keeps_its_chunks(stub, tmp_path, monkeypatch):
    made = config(galaxies=3, chunk=1, output=str(tmp_path), stamp_size=32, estimators="regauss",
                  twins=False)  # fmt: skip
    store = ChunkStore(made.output, made.fingerprint())

    def stopped(config, number, sha):
        if number == 1:
            raise KeyboardInterrupt
        return run_chunk(config, number)

    monkeypatch.setattr("galsim_vae.shear.workers.run_chunk", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_missing(made, store, progress=False)
    assert store.missing(3) == [1, 2]
    other = ChunkStore(made.output, "another")
    assert other.missing(3) == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give one configuration"),
        (["{config}", "estimators=[lensfit]"], "Unknown estimator"),
        (["{config}", "weights=nothere"], "nothere"),
        (["{config}", "workers=0"], "workers must be at least 1"),
        (["{config}", "workers=two"], "workers must be a whole number"),
        (["{text}"], "must be a table"),
    ],
)
def test_mistakes_are_said_in_one_line(arguments, message, tmp_path, capsys):
    files = {"config": tmp_path / "a.yaml", "text": tmp_path / "b.yaml"}
    files["config"].write_text(f"output: {tmp_path}\ngalaxies: 2\n")
    files["text"].write_text("nothing")
    arguments = [argument.format(**files) for argument in arguments]
    assert cli.main(["calibrate", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_run_without_shear_of_one_galaxy_has_neither_m_nor_errors(stub, tmp_path):
    made = config(galaxies=1, output=str(tmp_path), estimators="regauss", shear=[0, 0], bins=1,
                  max_magnitude=22.0, twins=False)  # fmt: skip
    arrays, seconds = run_chunk(made, 0)
    ChunkStore(made.output, made.fingerprint()).write(0, arrays, seconds)
    table = shear.calibrate(made, progress=False)
    assert table["m"].mask.all() and table["c_err"].mask.all() and np.isfinite(table["c"]).all()
    assert "nan" not in "".join(calibration.summary(table))
    names = [path.name for path in calibration.written_files(table, tmp_path)]
    assert names == ["calibration.ecsv", "throughput.ecsv", "c.png"]
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == set(names)


def test_the_scheduler_is_an_option(monkeypatch, tmp_path):
    asked, empty = [], Table(names=("property", "m"), dtype=(str, float))
    module = module_of("calibrate")
    monkeypatch.setattr(module, "calibrate", lambda *args: asked.append(args) or empty)
    (tmp_path / "a.yaml").write_text("output: x\ngalaxies: 2\n")
    for given in (["--scheduler", "tcp://a:1"], ["scheduler=tcp://a:1"]):
        cli.main(["calibrate", str(tmp_path / "a.yaml"), *given])
    assert [call[2] for call in asked] == ["tcp://a:1"] * 2


def test_the_demo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    demo = importlib.import_module("demo_shear")
    monkeypatch.setattr(demo, "NOBJECTS", 4)
    monkeypatch.setattr(demo, "SHOWN", 2)
    demo.main()
    assert (tmp_path / demo.OUTPUT).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "examples" / "output" / "demo_shear" / "calibration.ecsv").exists()
