"""ngmix and metadetect against what theory says, with the packages or with stand-ins for them."""

import importlib.util
import sys

import galsim
import numpy as np
import pytest
from metacal_stand_in import make_modules

from galsim_vae import shear
from galsim_vae.shear.bias import Sums, bias
from galsim_vae.shear.chunk import run_chunk
from galsim_vae.shear.estimators import METACAL_STEP, make_estimator

INSTALLED = {name: importlib.util.find_spec(name) is not None for name in make_modules()}
SCALE, PSF_FWHM, SIGMA, NOISE = 0.2, 0.8, 0.4, 1e-4


@pytest.fixture
def stand_in(monkeypatch):
    for name, module in make_modules().items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture(params=["stand-in"] + ["ngmix"] * INSTALLED["ngmix"])
def ngmix(request):
    request.param == "stand-in" and request.getfixturevalue("stand_in")


@pytest.fixture(params=["stand-in"] + ["metadetect"] * INSTALLED["metadetect"])
def metadetect(request):
    request.param == "stand-in" and request.getfixturevalue("stand_in")


def gaussian_view(psf_shear=(0.0, 0.0)):
    psf = galsim.Gaussian(fwhm=PSF_FWHM).shear(g1=psf_shear[0], g2=psf_shear[1])
    return shear.SurveyView("F814W", psf, SCALE, PSF_FWHM, noise=NOISE)


def noise_like(images):
    """Noise that is the same in all images, so that it cancels in pairs."""
    rng = np.random.default_rng(1)
    noise = rng.normal(scale=NOISE, size=images.shape[-2:]).astype(np.float32)
    return np.broadcast_to(noise, images.shape)


def gaussian_stamps(view, size, shears, at=(0.0, 0.0)):
    """Draw Gaussian galaxies in the pixel ``[size // 2]``, moved by a part of a pixel."""
    images = np.zeros((len(shears), size, size), np.float32)
    for image, (g1, g2) in zip(images, shears, strict=True):
        galaxy = galsim.Gaussian(sigma=SIGMA, flux=100).shear(g1=g1, g2=g2)
        place = (size // 2 - (size - 1) / 2 + np.array(at)) * SCALE
        made = galsim.Convolve(galaxy.shift(*place), view.psf)
        made.drawImage(galsim.Image(image, scale=SCALE, copy=False))
    return images


def known_response():
    """The response of the moments of a round Gaussian, to first order.

    The image has the variance C = s^2 + p^2 on each axis, s of the galaxy and p of the PSF that
    metacalibration puts in, and moments under a weight of the variance w^2 are (1/C + 1/w^2)^-1.
    A shear g changes C by +- 2 s^2 g on the two axes.
    """
    fwhm_over_sigma = np.sqrt(8 * np.log(2))
    point = (PSF_FWHM / fwhm_over_sigma) ** 2 + SCALE**2 / 12  # The pixel is in the PSF.
    variance = SIGMA**2 + point * (1 + 2 * METACAL_STEP) ** 2
    weight = (max(1.2, 1.5 * PSF_FWHM) / fwhm_over_sigma) ** 2
    return 2 * SIGMA**2 / (variance * (1 + variance / weight))


@pytest.mark.parametrize("size", [48, 49])
def test_ngmix_has_no_preferred_direction_and_the_known_response(ngmix, size):
    """A round galaxy is round, whatever the PSF, wherever in its pixel: c is zero."""
    view, nothing = gaussian_view(psf_shear=(0.05, -0.03)), [(0.0, 0.0)]
    estimator = make_estimator("ngmix", view, size)
    for at in ((0.0, 0.0), (0.4, -0.3)):
        images = gaussian_stamps(view, size, nothing, at)
        found = estimator.stamps(images, noise_like(images))
        assert found.ok.all()
        # Off the centre of its pixel it is off the centre of the weight: a term of second order.
        np.testing.assert_allclose(found.e / found.r, 0, atol=1e-3 if at == (0.0, 0.0) else 0.03)
    view = gaussian_view()
    images = gaussian_stamps(view, size, nothing)
    found = make_estimator("ngmix", view, size).stamps(images, noise_like(images))
    np.testing.assert_allclose(found.r[0], known_response(), rtol=0.01)


def test_ngmix_measures_a_shear(ngmix):
    view, g = gaussian_view(psf_shear=(0.03, 0.03)), np.array([0.02, -0.015])
    images = gaussian_stamps(view, 48, [g, -g])
    found = make_estimator("ngmix", view, 48).stamps(images, noise_like(images))
    e, r = (values[None, None] for values in (found.e, found.r))
    made = bias(Sums.of(e, r), tuple(g))
    assert (np.abs(made.m) < 3e-3).all() and (np.abs(made.c) < 1e-3).all()


def test_ngmix_leaves_out_what_it_could_not_measure(stand_in, monkeypatch):
    view = gaussian_view()
    images = gaussian_stamps(view, 48, [(0.0, 0.0)] * 2)
    go, calls = sys.modules["ngmix"].metacal.MetacalBootstrapper.go, []

    def fails_at_first(self, observation):
        calls.append(1)
        found, images = go(self, observation)
        found["2m"]["flags"] = int(len(calls) == 1)
        return found, images

    monkeypatch.setattr(sys.modules["ngmix"].metacal.MetacalBootstrapper, "go", fails_at_first)
    found = make_estimator("ngmix", view, 48).stamps(images, noise_like(images))
    assert found.ok.tolist() == [False, True]
    assert (found.e[0] == 0).all() and (found.r[0] == 0).all() and (found.r[1] > 0).all()


def gaussian_scene(view, g, width=160, step=40):
    """Draw nine galaxies on a grid, sheared together with their positions."""
    one = galsim.Gaussian(sigma=SIGMA, flux=100)
    places = SCALE * step * (np.mgrid[:3, :3].reshape(2, 9).T - 1) + np.array([0.03, -0.05])
    scene = galsim.Sum([one.shift(*place) for place in places]).shear(g1=g[0], g2=g[1])
    image = galsim.Convolve(scene, view.psf).drawImage(nx=width, ny=width, scale=SCALE)
    return image.array.astype(np.float32)


def test_metadetect_finds_and_measures_a_scene(metadetect):
    round_view, nothing = gaussian_view(), np.zeros(2)
    image = gaussian_scene(round_view, nothing)
    found = make_estimator("metadetect", round_view, 48).scene(image, noise_like(image), None)
    np.testing.assert_allclose(found.r / 9, known_response(), rtol=0.01)
    view, g = gaussian_view(psf_shear=(0.03, -0.02)), np.array([0.02, -0.015])
    estimator = make_estimator("metadetect", view, 48)
    found = []
    for sign in (1, -1):
        image = gaussian_scene(view, sign * g)
        found.append(estimator.scene(image, noise_like(image), None))
    assert [one.count for one in found] == [9, 9]
    e, r = (np.array([getattr(one, name) for one in found])[None, None] for name in "er")
    made = bias(Sums.of(e, r), tuple(g))
    assert (np.abs(made.m) < 5e-3).all() and (np.abs(made.c) < 1e-3).all()


def test_metadetect_of_an_empty_scene_and_of_stamps(metadetect):
    view = gaussian_view()
    estimator = make_estimator("metadetect", view, 48)
    galaxy = gaussian_stamps(view, 48, [(0.0, 0.0)])
    images = np.concatenate([galaxy, noise_like(galaxy)])
    nothing = estimator.scene(images[1], noise_like(images[1]), None)
    assert nothing.count == 0 and (nothing.e == 0).all() and (nothing.r == 0).all()
    found = estimator.stamps(images, noise_like(images))
    assert found.ok.all() and (found.r[0] > 0.1).all() and (found.r[1] == 0).all()


def test_metadetect_cuts_the_faint_and_the_small(stand_in, monkeypatch):
    view = gaussian_view()
    table = np.zeros(5, [("wmom_flags", "i4"), ("wmom_s2n", "f8"), ("wmom_T_ratio", "f8"),
                         ("wmom_g", "f8", 2)])  # fmt: skip
    table["wmom_s2n"], table["wmom_T_ratio"], table["wmom_g"] = 20, 2, 0.1
    table["wmom_flags"][0], table["wmom_s2n"][1], table["wmom_T_ratio"][2] = 1, 9, 1.1
    table["wmom_g"][:3] = np.nan
    results = {"noshear": table, "1p": table, "1m": None, "2p": table, "2m": table}
    monkeypatch.setattr(sys.modules["metadetect"], "do_metadetect", lambda *given: results)
    image = np.zeros((48, 48), np.float32)
    found = make_estimator("metadetect", view, 48).scene(image, image, None)
    assert found.count == 2
    np.testing.assert_allclose(found.e, [0.2, 0.2])
    np.testing.assert_allclose(found.r, [0.2 / (2 * METACAL_STEP), 0])


def test_a_blended_calibration_by_metadetect_needs_no_other_detector(stand_in, stub, monkeypatch):
    monkeypatch.setitem(sys.modules, "anacal", None)
    values = {"output": "out", "galaxies": 1, "layout": "blended", "scene_size": 160, "ring": False,
              "stamp_size": 48, "density": 200, "depth": 1e4, "twins": False}  # fmt: skip
    made = shear.CalibrationConfig.from_dict(values | {"estimators": "metadetect"})
    arrays, seconds = run_chunk(made, 0)
    assert arrays["vae/metadetect/count"] > 2 and "detect" not in seconds
    response = arrays["vae/metadetect/r"]
    assert response.shape == (1, 1, 2, 2) and np.isfinite(response).all() and response.any()
    assert made.identity()["versions"]["metadetect"] == "stand-in"
    with pytest.raises(galsim.GalSimConfigError, match="detection of blended galaxies"):
        shear.CalibrationConfig.from_dict(values | {"estimators": ["metadetect", "regauss"]})


def test_ngmix_measures_isolated_galaxies_only(stand_in):
    with pytest.raises(galsim.GalSimConfigValueError, match="ngmix cannot measure this layout"):
        shear.CalibrationConfig.from_dict(
            {"output": "out", "galaxies": 1, "layout": "blended", "estimators": "ngmix"}
        )
