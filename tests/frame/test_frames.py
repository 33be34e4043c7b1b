"""The two frames: what they take out, how stamps end, how PSFs are described."""


import galsim
import numpy as np
import pytest
import torch
from made_observation import BAND, galaxy, observe
from made_weights import TINY, untrained

import galsim_vae
from galsim_vae import shapes
from galsim_vae.frame import ROUND, UPRIGHT, canonical
from galsim_vae.frame.frames import find_frame
from galsim_vae.frame.psf_shape import psf_shape
from galsim_vae.geometry import rotation_matrix, sheared_shape
from galsim_vae.model.vae import VAE, VAEConfig


def transform(psf):
    """`rfft2` of a PSF drawn on pixels, its centre at [32, 32]."""
    image = psf.shift(0.5, 0.5).drawImage(nx=64, ny=64, scale=1.0, method="no_pixel").array
    return torch.fft.rfft2(torch.fft.ifftshift(torch.from_numpy(image / image.sum())))


def test_names():
    assert find_frame("round") is ROUND and find_frame("upright") is UPRIGHT
    with pytest.raises(galsim.GalSimValueError, match="Unknown frame"):
        VAEConfig(frame="square")


def test_what_is_taken_out_and_what_is_left():
    g = np.array([0.0, 0.3, 0.6, 0.7, np.nan])
    np.testing.assert_allclose(ROUND.shear(g), [0, 0.3, 0.6, 0.6, np.nan])
    np.testing.assert_array_equal(UPRIGHT.shear(g)[:4], 0)
    np.testing.assert_array_equal(UPRIGHT.rest(g), g)
    for frame in (ROUND, UPRIGHT):
        np.testing.assert_allclose(sheared_shape(frame.rest(g), frame.shear(g)), g, atol=1e-15)
        assert torch.equal(frame.shear(torch.tensor([0.9])), torch.tensor([frame.cap]))


def test_tapers():
    y, x = np.indices((64, 64)) - 31.5
    radius, window = np.hypot(x, y), ROUND.taper(64).numpy()
    assert (window[radius < 26] == 1).all() and (window[radius >= 32] == 0).all()
    np.testing.assert_allclose(window, window.T)
    np.testing.assert_allclose(
        window[31, 61], np.cos(np.pi / 2 * (np.hypot(0.5, 29.5) - 26) / 6) ** 2, rtol=1e-4
    )
    square = UPRIGHT.taper(64)
    assert (square[7:-7, 7:-7] == 1).all() and square.min() < 1e-3


@pytest.mark.parametrize("shear", [(0.0, 0.0), (0.2, 0.0), (0.1, -0.25)])
def test_moments_of_a_gaussian_psf(shear):
    shear = galsim.Shear(g1=shear[0], g2=shear[1])
    size, e1, e2 = psf_shape(transform(galsim.Gaussian(sigma=2.2).shear(shear)))
    assert size.item() == pytest.approx(np.log(2.2), abs=1e-3)
    assert (e1.item(), e2.item()) == pytest.approx((shear.e1, shear.e2), abs=2e-3)
    nothing = psf_shape(torch.zeros(2, 64, 33))
    assert all(torch.isfinite(value).all() for value in nothing)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return galsim_vae.GalaxyGenerator(untrained(tmp_path_factory.mktemp("w"), ROUND), device="cpu")


def asked(n=12):
    g, angle = np.linspace(0, 0.7, n), np.linspace(0, 3, n)
    return {
        "magnitude": np.full(n, 23.0), "half_light_radius": np.linspace(0.3, 0.8, n),
        "g1": g * np.cos(2 * angle), "g2": g * np.sin(2 * angle), "redshift": np.full(n, 0.7),
    }  # fmt: skip


def test_truth_is_exact_in_the_round_frame(generator):
    """Flux, radius and ellipticity on the sky, to |g| = 0.7."""
    table = asked()
    assert generator.frame == ROUND
    stamps = generator.sample(table, galsim.BaseDeviate(4), exact=True)
    measured = shapes.measure(torch.from_numpy(stamps.array[:, 2]))
    for i in range(len(stamps)):
        # The ellipse of the stamp, mapped to the sky.
        m = measured.moments
        form = galsim.Shear(g1=m.g1[i].item(), g2=m.g2[i].item()).getMatrix()
        ellipse = stamps.jacobian[i] @ form @ form @ stamps.jacobian[i].T
        area = np.sqrt(np.linalg.det(ellipse))
        e1, e2 = (ellipse[0, 0] - ellipse[1, 1], 2 * ellipse[0, 1]) / np.trace(ellipse)
        found = galsim.Shear(e1=e1, e2=e2)
        assert abs(complex(found.g1 - table["g1"][i], found.g2 - table["g2"][i])) < 1e-5
        radius = measured.radius[i].item() * np.sqrt(area)
        assert radius == pytest.approx(table["half_light_radius"][i], rel=1e-4)
        galaxy = stamps.galaxy(i, zeropoint=25.0)
        assert galaxy.flux == pytest.approx(10 ** (0.4 * (25.0 - 23.0)), rel=1e-6)


def test_a_flat_galaxy_drawn_on_the_sky_has_its_shape(generator):
    """Through GalSim, finely: |dg| below 0.003 at |g| = 0.7."""
    stamps = generator.sample(asked(), galsim.BaseDeviate(4), exact=True)
    table = asked()
    for i in (6, 11):
        scale = table["half_light_radius"][i] / 30
        image = stamps.galaxy(i).drawImage(
            nx=512, ny=512, scale=scale, method="no_pixel", dtype=float
        )
        start = torch.from_numpy(image.array)[None]
        moments = shapes.adaptive_moments(start, sigma=20.0, tolerance=1e-5)
        found = complex(moments.g1.item(), moments.g2.item())
        assert abs(found - complex(table["g1"][i], table["g2"][i])) < 3e-3


def test_without_exact_the_asked_shear_is_applied(generator):
    table = asked()
    stamps = generator.sample(table, galsim.BaseDeviate(4), exact=False)
    g, angle = np.hypot(table["g1"], table["g2"]), stamps.conditions.angle
    turned = rotation_matrix(-angle) @ stamps.jacobian
    size = np.sqrt(np.linalg.det(turned))
    shear = np.minimum(g, 0.6)
    # The stamp's own turn comes first, and is not seen in this product.
    ellipse = turned @ turned.transpose(0, 2, 1)
    np.testing.assert_allclose(ellipse[:, 0, 0] / size**2, (1 + shear) / (1 - shear))
    np.testing.assert_allclose(ellipse[:, 0, 1], 0, atol=1e-12)


def test_stamps_end_as_circles(generator):
    stamps = generator.sample(asked(), galsim.BaseDeviate(4))
    y, x = np.indices((64, 64)) - 31.5
    assert (stamps.array[..., np.hypot(x, y) >= 32] == 0).all()


def test_encoders_see_the_shape_of_psfs(generator):
    rng = np.random.default_rng(2)
    images = np.abs(rng.normal(size=(1, 5, 64, 64))).astype(np.float32)
    psf = galsim.Gaussian(sigma=2.0)

    def encoded(g2):
        image = psf.shear(g1=0, g2=g2).shift(0.5, 0.5).drawImage(nx=64, ny=64, scale=1.0).array
        psfs = np.broadcast_to(image / image.sum(), (1, 5, 64, 64))
        return generator.encode(images, psfs, np.full((1, 5), 0.1))[0]

    assert not np.allclose(encoded(0.3), encoded(-0.3), atol=1e-6)


def test_faint_structure_of_deep_images_reaches_the_encoder():
    """Arms at a thousandth of the peak, far above the noise of a deep image."""
    x = torch.arange(64) - 31.5
    round_disc = torch.exp(-torch.hypot(x[:, None], x) / 4).expand(1, 5, 64, 64)
    arms = 1e-3 * round_disc.amax() * torch.cos(x / 2)[:, None] * (x.abs() > 16)
    otf = torch.ones(1, 5, 64, 33)
    mask = torch.ones(1, 5, 64, 64, dtype=torch.bool)
    shift = []
    for noise in (1e-5, 1e-2):
        level = torch.full((1, 5), noise)
        first, second = (
            _trunk_input(VAE(TINY), image, otf, level, mask)
            for image in (round_disc, round_disc + arms)
        )
        shift.append((first - second).abs().max().item())
    assert shift[0] > 0.2 and shift[1] < 0.02


def _trunk_input(vae, *observed):
    """What the encoder's convolutions are given."""
    seen = []
    hook = vae.encoder.trunk.register_forward_pre_hook(lambda _, values: seen.append(values[0]))
    with torch.no_grad():
        vae.encoder(*observed)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("shear", [0.2, 0.55])
def test_an_observed_galaxy_is_round_in_the_round_frame(shear):
    """Shapes of stamp, frame and sky go together; upright, the ellipticity stays in the stamp."""
    observation = observe(galaxy(shear=shear))
    for frame in (ROUND, UPRIGHT):
        geometry = canonical.measure(observation, frame=frame)
        found = canonical.to_canonical(observation, geometry)
        assert found.frame_g == pytest.approx(frame.shear(np.array(geometry.g)))
        assert found.angle == geometry.angle
        index = galsim_vae.bands.BANDS.index(BAND)
        moments = shapes.adaptive_moments(torch.from_numpy(found.image[index])[None])
        left = complex(moments.g1.item(), moments.g2.item())
        if frame is ROUND:
            assert abs(left) < 0.05
        else:
            assert left.real > 0.7 * shear
