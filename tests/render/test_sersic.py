"""Sersic profiles, drawn and fitted, against GalSim's."""

import math

import galsim
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from galsim_vae.render import sersic  # noqa: E402


@pytest.mark.parametrize("n", [0.32, 0.7, 1.0, 2.5, 4.0, 5.0])
def test_sersic_matches_galsim(n):
    """Profiles equal GalSim's, drawn the same way, to 1e-3 of the peak."""
    centre, beta = (0.3, -0.7), 0.5
    turn = np.array([[math.cos(beta), -math.sin(beta)], [math.sin(beta), math.cos(beta)]])
    for q in (1.0, 0.2):
        profile = galsim.Sersic(n, half_light_radius=6).shear(q=q, beta=beta * galsim.radians)
        smooth = galsim.Gaussian(sigma=sersic.SMOOTHING)
        params = galsim.GSParams(folding_threshold=2e-3, maxk_threshold=5e-4)
        expected = galsim.Convolve(profile, smooth, gsparams=params).shift(*centre)
        expected = expected.drawImage(nx=64, ny=64, scale=1, method="no_pixel").array
        matrix = torch.tensor(turn @ np.diag([6 / math.sqrt(q), 6 * math.sqrt(q)])).float()
        image = sersic.render(
            torch.tensor([n]), matrix[None], torch.tensor([centre])
        )
        assert np.abs(image[0].numpy() - expected).max() < 1e-3 * expected.max()


def test_small_bulge_matches_galsim():
    """Also where the profile is hardly larger than the smoothing (half-light radius 1 px)."""
    smooth = galsim.Gaussian(sigma=sersic.SMOOTHING)
    expected = galsim.Convolve(galsim.Sersic(4, half_light_radius=1), smooth)
    expected = expected.drawImage(nx=64, ny=64, scale=1, method="no_pixel").array
    image = sersic.render(
        torch.tensor([4.0]), torch.eye(2)[None], torch.zeros(1, 2)
    )
    assert np.abs(image[0].numpy() - expected).max() < 1e-3 * expected.max()


def test_every_second_pixel():
    index, matrix = torch.tensor([2.0]), 5 * torch.eye(2)[None]
    full = sersic.render(index, matrix, torch.zeros(1, 2))
    # Pixels of step 2 lie at odd offsets from the centre, between those of step 1.
    half = sersic.render(index, matrix, torch.full((1, 2), 0.5), step=2)
    torch.testing.assert_close(half, full[:, ::2, ::2], atol=2e-6, rtol=0)


def galsim_stamps(psf: galsim.GSObject, index, ellipse: dict) -> "torch.Tensor":
    """GalSim's profiles of flux 2 through a PSF, sampled at pixel centres: (n, 64, 64)."""
    images = []
    for n in index:
        galaxy = galsim.Sersic(n, half_light_radius=ellipse["radius"], flux=2.0)
        galaxy = galaxy.shear(g1=ellipse["g1"], g2=ellipse["g2"])
        image = galsim.Convolve(galaxy.shift(ellipse["x"], ellipse["y"]), psf).drawImage(
            nx=64, ny=64, scale=1.0, method="no_pixel"
        )
        images.append(image.array)
    return torch.from_numpy(np.stack(images))


ELLIPSE = {"radius": 5.0, "g1": 0.25, "g2": -0.15, "x": 0.4, "y": -0.3}


@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_a_fit_finds_the_sersic_profiles_of_galsim(sigma):
    """Also through a PSF, which ``see`` puts on the profiles that are tried."""
    index = [0.4, 1.0, 2.5, 4.0]
    # The profiles are smoothed themselves; their PSF adds to that.
    psf = galsim.Gaussian(sigma=math.hypot(sersic.SMOOTHING, sigma))
    k = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64))
    otf = torch.exp(-2 * (math.pi * sigma * k) ** 2)

    def see(stamps):
        return torch.fft.irfft2(torch.fft.rfft2(stamps) * otf)

    found = sersic.fit(galsim_stamps(psf, index, ELLIPSE), see)
    np.testing.assert_allclose(found[:, 0].exp(), index, rtol=0.03)
    np.testing.assert_allclose(found[:, 1].exp(), 5.0, rtol=0.02)
    np.testing.assert_allclose(found[:, 2:4], [[0.25, -0.15]] * 4, atol=2e-3)
    np.testing.assert_allclose(found[:, 4:], [[0.4, -0.3]] * 4, atol=5e-3)


def test_what_is_not_free_stays():
    images = galsim_stamps(galsim.Gaussian(sigma=sersic.SMOOTHING), [0.5, 1.0, 3.0], ELLIPSE)
    start = torch.tensor([[0.0, math.log(5.0), 0.25, -0.15, 0.4, -0.3]]).repeat(3, 1)
    found = sersic.fit(images, start=start, free=("ln index",))
    assert torch.equal(found[:, 1:], start[:, 1:])
    np.testing.assert_allclose(found[:, 0].exp(), [0.5, 1.0, 3.0], rtol=0.02)


def test_a_batch_does_not_change_a_fit():
    images = galsim_stamps(galsim.Gaussian(sigma=sersic.SMOOTHING), [0.5, 1.0, 3.0], ELLIPSE)
    together, alone = sersic.fit(images), sersic.fit(images[1:2])
    np.testing.assert_allclose(together[1], alone[0], atol=1e-4)
