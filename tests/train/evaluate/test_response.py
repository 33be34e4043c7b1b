"""Shear response of galaxies for which it is known, and what is left at the ends of stamps."""

from dataclasses import replace

import galsim
import numpy as np
import pytest
import torch
from made_weights import untrained

import galsim_vae
from galsim_vae.conditions import Conditions
from galsim_vae.frame import ROUND
from galsim_vae.shear import SurveyView
from galsim_vae.stamps import Stamps
from galsim_vae.train.evaluate import ends, response, shear_samples
from galsim_vae.train.evaluate.observables import Observing

VIEW = SurveyView("F814W", galsim.Gaussian(fwhm=0.7), 0.2, 0.7, 1.0)
SCALE = 0.1


def gaussians(sigma: list[float], g: float = 0.0) -> Stamps:
    """Gaussian galaxies of some widths [arcsec], as stamps of one band."""
    images = [
        galsim.Gaussian(sigma=s).shear(g1=g).drawImage(
            nx=64, ny=64, scale=SCALE, method="no_pixel", dtype=float
        ).array
        for s in sigma
    ]  # fmt: skip
    n = len(sigma)
    conditions = Conditions(np.tile([23.0, 0.5, g, 0.7], (n, 1)), np.zeros(n), np.arange(n), {})
    jacobian = np.tile(SCALE * np.eye(2), (n, 1, 1))
    array = np.array(images, np.float32)[:, None]
    return Stamps(array, conditions, jacobian, np.zeros((n, 2)), ("F814W",))


@pytest.mark.parametrize("g", [0.0, 0.3])
def test_responses_of_gaussians_are_known(g):
    found = response.measure(gaussians([0.4, 0.6], g), VIEW, "LSST i")
    regauss, moments = (found[f"LSST i/{name}"] for name in ("REGAUSS", "second moments"))
    # REGAUSS is exact for Gaussians, but for the second order of the shear and the pixels.
    assert regauss[:, 0] / regauss[:, 1] == pytest.approx([1, 1], abs=6e-3)
    if g:
        return
    # Covariances of galaxy, of galaxy and PSF (and pixel), and of the weight.
    galaxy = np.array([0.4, 0.6]) ** 2
    sigma = 0.7 / np.sqrt(8 * np.log(2))
    total, weight = galaxy + sigma**2 + 0.2**2 / 12, (1.5 * sigma) ** 2
    seen = weight / (total + weight)
    known = 2 * galaxy * seen**2 / (total * seen)
    assert moments[:, 0] / moments[:, 1] == pytest.approx(known, rel=5e-3)


def test_moments_over_a_given_flux_grow_with_the_light():
    found = []
    for brightness in (1.0, 3.0):
        galaxies = gaussians([0.4])
        light = replace(galaxies, array=(brightness * galaxies.array).astype(np.float32))
        found.append(response.measure(light, VIEW, "LSST i", flux=1.0)["LSST i/second moments"])
    assert found[1] == pytest.approx(3 * found[0], rel=1e-5)


def test_what_is_observed_counts_alike_whatever_its_magnitude():
    image = torch.from_numpy(gaussians([0.6]).array).expand(2, 5, -1, -1)
    seen = Observing(
        torch.empty(0), torch.zeros(2, 5), torch.ones(2, 5, 64, 64, dtype=torch.bool),
        torch.full((2,), 2), torch.ones(2),
    )  # fmt: skip
    values = np.array([[20.0, 0.5, 0.0, 0.7], [25.0, 0.5, 0.0, 0.7]])
    conditions = Conditions(values, np.zeros(2), np.arange(2), {})
    stamps = shear_samples.as_observed(image, seen, torch.full((2,), SCALE), conditions)
    one, other = response.measure(stamps, VIEW, "LSST i", 1.0)["LSST i/second moments"]
    assert one == pytest.approx(other, rel=1e-6)


def test_the_relative_response_is_that_of_sums():
    reference = np.array([[1.0, 2.0], [3.0, 2.0], [np.nan, 1.0]])
    other = np.array([[1.1, 2.0], [3.3, 2.0], [5.0, 1.0]])
    assert response.relative(reference, other) == pytest.approx(0.1)
    # Those that are no pairs are not matched row by row.
    assert response.relative_of_halves(reference, other) == pytest.approx(9.4 / 5 - 1)


def test_ends_are_those_of_a_ring():
    stamps = np.zeros((2, 5, 64, 64))
    stamps[:, 2, 32, 32] = 2
    y, x = np.indices((64, 64)) - 31.5
    stamps[0, 2][np.hypot(x, y) > 26.5] = 1  # beyond the ring
    stamps[1, 2, 32, 57] = 0.1  # 25.5 px from the middle
    assert ends.end_brightness(stamps) == pytest.approx([0, 0.05])


def test_bright_galaxies_are_shown_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(ends, "DRAWS", 30)
    generator = galsim_vae.GalaxyGenerator(untrained(tmp_path, ROUND), device="cpu")
    found = ends.population_ends(generator, 3)
    assert found["ends/model"].shape == (30,) and found["bright/model"].shape == (16, 160, 160)
    pictures = found["bright/model"]
    assert np.allclose(pictures.max((1, 2)), 1)
    border = np.concatenate([pictures[:, 0], pictures[:, -1], pictures[:, :, 0]], 1)
    assert np.abs(border).max() < 1e-4
    again = ends.population_ends(generator, 3)
    assert np.array_equal(again["bright/model"], pictures)
