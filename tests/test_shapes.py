"""Batched moments and half-light radii, against GalSim's own."""

import galsim
import numpy as np
import pytest
import torch

from galsim_vae import shapes


def draw(profile, dx=0.0, dy=0.0):
    image = profile.shift(dx, dy).drawImage(nx=64, ny=64, scale=1.0, method="no_pixel")
    return image


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(8)
    out = []
    for n in np.linspace(0.5, 3, 24):
        g, angle = rng.uniform(0, 0.7), rng.uniform(0, 180) * galsim.degrees
        sersic = galsim.Sersic(n, half_light_radius=5).shear(g=g, beta=angle)
        smooth = galsim.Convolve(sersic, galsim.Gaussian(sigma=0.65))
        out.append(draw(smooth, *rng.uniform(-1, 1, 2)))
    return out


def test_moments_agree_with_hsm(images):
    moments = shapes.adaptive_moments(torch.from_numpy(np.array([i.array for i in images])))
    assert moments.converged.all()
    for k, image in enumerate(images):
        hsm = galsim.hsm.FindAdaptiveMom(image)
        assert moments.g1[k] == pytest.approx(hsm.observed_shape.g1, abs=2e-5)
        assert moments.g2[k] == pytest.approx(hsm.observed_shape.g2, abs=2e-5)
        assert moments.sigma[k] == pytest.approx(hsm.moments_sigma, rel=1e-4)
        assert moments.x[k] == pytest.approx(hsm.moments_centroid.x - 32.5, abs=2e-5)
        assert moments.y[k] == pytest.approx(hsm.moments_centroid.y - 32.5, abs=2e-5)


@pytest.mark.parametrize("g", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("n", [0.5, 1.0])
def test_half_light_radius_is_that_of_the_sheared_profile(g, n):
    profile = galsim.Sersic(n, half_light_radius=5).shear(g=g, beta=25 * galsim.degrees)
    array = torch.from_numpy(draw(profile).array)[None]
    moments = shapes.adaptive_moments(array)
    # The aperture counts the flux in the stamp; an exponential loses a little outside it.
    inside = float(array.sum())
    expected = galsim.Sersic(n, half_light_radius=5).calculateHLR(size=64, scale=0.25)
    assert inside > 0.97
    tolerance = 0.003 + 1.2 * (1 - inside)
    assert shapes.half_light_radius(array, moments).item() == pytest.approx(expected, rel=tolerance)


def test_a_shear_changes_the_shape_and_not_the_size():
    base = galsim.Sersic(1.0, half_light_radius=4, trunc=20) + 0.1 * galsim.Gaussian(
        sigma=1.0
    ).shift(3, 1)
    base = galsim.Convolve(base, galsim.Gaussian(sigma=0.8))
    shear = galsim.Shear(g1=0.15, g2=-0.1)
    arrays = torch.from_numpy(np.array([draw(base).array, draw(base.shear(shear)).array]))
    moments = shapes.adaptive_moments(arrays)
    before = galsim.Shear(g1=moments.g1[0].item(), g2=moments.g2[0].item())
    after = shear + before
    assert moments.g1[1] == pytest.approx(after.g1, abs=1e-4)
    assert moments.g2[1] == pytest.approx(after.g2, abs=1e-4)
    radius = shapes.half_light_radius(arrays, moments)
    assert radius[1] == pytest.approx(radius[0].item(), rel=2e-3)


def test_a_result_does_not_depend_on_the_rest_of_the_batch(images):
    arrays = torch.from_numpy(np.array([i.array for i in images[:16]]))
    hard = torch.cat([arrays[:8], arrays[8:].roll(3, 2)])
    a, b = shapes.adaptive_moments(arrays), shapes.adaptive_moments(hard)
    assert torch.equal(a.g1[:8], b.g1[:8])


def test_the_slope_found_on_the_way_to_a_radius_does_not_depend_on_the_batch(images):
    """It is where the search on the finer grid starts, whose last bits would differ."""
    batch = torch.from_numpy(np.array([image.array for image in images]))
    moments = shapes.adaptive_moments(batch)

    # Bad guesses take longer.
    moments = moments._replace(sigma=moments.sigma * torch.linspace(0.2, 4, len(batch)))
    together = shapes.half_light_radius(batch, moments)
    for k in range(len(batch)):
        alone = shapes.Moments(*(v[k : k + 1] for v in moments))
        assert shapes.half_light_radius(batch[k : k + 1], alone) == together[k]


def test_what_is_measured_is_what_galsim_draws():
    """A flat core of a pixel's width is rounder than its samples say."""
    core = galsim.Gaussian(sigma=1.2).shear(g=0.4, beta=25 * galsim.degrees)
    samples = draw(0.3 * core + 0.7 * galsim.Gaussian(sigma=6).shear(g1=0.1)).array
    seen = galsim.InterpolatedImage(galsim.Image(samples, scale=1.0))
    fine = seen.drawImage(nx=512, ny=512, scale=0.125, method="no_pixel", dtype=float)
    hsm = galsim.hsm.FindAdaptiveMom(fine, guess_sig=10)
    images = torch.from_numpy(samples)[None]
    moments = shapes.measure(images).moments
    assert moments.g1[0] == pytest.approx(hsm.observed_shape.g1, abs=5e-5)
    assert moments.g2[0] == pytest.approx(hsm.observed_shape.g2, abs=5e-5)
    assert moments.sigma[0] == pytest.approx(hsm.moments_sigma / 8, rel=1e-4)
    assert shapes.measure(images, drawn=False).moments.g1[0] > hsm.observed_shape.g1 + 0.005


def test_a_galaxy_is_measured_from_another_start_if_the_first_leads_nowhere(images, monkeypatch):
    stamps, moments = torch.from_numpy(np.array([i.array for i in images])), shapes.adaptive_moments
    usual = shapes.measure(stamps)

    def lost(stamps, sigma=5.0, **settings):
        found = moments(stamps, sigma, **settings)
        if sigma == 5.0:
            found.x[1], found.converged[1] = torch.nan, False
        return found

    monkeypatch.setattr(shapes, "adaptive_moments", lost)
    found = shapes.measure(stamps)
    assert found.good.all()
    torch.testing.assert_close(found.radius, usual.radius, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.moments, usual.moments, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.radius[2:], usual.radius[2:])


def test_an_image_without_a_galaxy_is_told_apart():
    arrays = torch.zeros(2, 64, 64)
    arrays[1] = torch.from_numpy(draw(galsim.Gaussian(sigma=4)).array)
    assert shapes.adaptive_moments(arrays).converged.tolist() == [False, True]


def test_a_few_steps_suffice(images):
    """Newton's method: each step about squares the error, so float32 has what float64 has."""
    arrays = torch.from_numpy(np.array([i.array for i in images]))
    few = shapes.adaptive_moments(arrays, iterations=12)
    many = shapes.adaptive_moments(arrays.double(), tolerance=1e-10)
    assert few.converged.all() and many.converged.all()
    for a, b in zip(few[:5], many[:5], strict=True):
        assert torch.allclose(a.double(), b, rtol=2e-6, atol=5e-6)


def test_moments_of_a_lumpy_noisy_galaxy_are_those_of_hsm():
    """Far from the solution Newton's step may lead away from it; a plain step is then taken."""
    rng = np.random.default_rng(4)
    found = 0
    for _ in range(40):
        g, angle = rng.uniform(0, 0.8), rng.uniform(0, 180) * galsim.degrees
        profile = galsim.Sersic(rng.uniform(0.5, 4), half_light_radius=rng.uniform(3, 9))
        profile = profile.shear(g=g, beta=angle)
        for _ in range(3):
            lump = galsim.Gaussian(sigma=rng.uniform(0.8, 2), flux=rng.uniform(0, 0.15))
            profile = profile + lump.shift(*rng.normal(0, 5, 2))
        image = draw(galsim.Convolve(profile, galsim.Gaussian(sigma=0.7)), *rng.uniform(-3, 3, 2))
        image.addNoise(galsim.GaussianNoise(galsim.BaseDeviate(7), sigma=image.array.sum() / 2e4))
        moments = shapes.adaptive_moments(torch.from_numpy(image.array)[None])
        assert moments.converged.all()
        hsm = galsim.hsm.FindAdaptiveMom(
            image, guess_centroid=galsim.PositionD(32.5, 32.5), strict=False
        )
        if not hsm.error_message:
            found += abs(moments.sigma[0].item() / hsm.moments_sigma - 1) < 1e-3
            found += abs(moments.g1[0].item() - hsm.observed_shape.g1) < 1e-3
    assert found >= 70


def test_the_finer_grid_is_band_limited_interpolation():
    x = torch.arange(128, dtype=torch.float64) / 2
    kx, ky = 2 * np.pi * 5 / 64, 2 * np.pi * 29 / 64
    image = torch.sin(kx * x) * torch.cos(ky * x + 0.3)[:, None] + 0.2
    assert torch.allclose(shapes.upsample(image[None, ::2, ::2], 2)[0], image, atol=1e-9)
