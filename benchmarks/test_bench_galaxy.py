"""Building and drawing a VAEGalaxy, next to a plain InterpolatedImage, and a chromatic one."""

import galsim
import numpy as np
import pytest

from galsim_vae import Stamps
from galsim_vae.conditions import Conditions
from galsim_vae.filters import find_bandpass
from galsim_vae.galaxy import VAEGalaxy

JACOBIAN = 0.07 * np.array([[0.83, -0.56], [0.56, 0.83]])  # arcsec per canonical pixel
OFFSET = np.array([0.1, -0.2])  # canonical pixels
FLUX = 1e5
PSF = galsim.Kolmogorov(fwhm=0.7)


def stamp() -> np.ndarray:
    """A galaxy in the canonical frame, float32 of shape (64, 64) and of unit sum."""
    profile = galsim.Exponential(half_light_radius=6.0).shear(g1=0.3)
    array = profile.drawImage(nx=64, ny=64, scale=1.0, method="no_pixel").array
    return (array / array.sum()).astype(np.float32)


def plain(array: np.ndarray) -> galsim.GSObject:
    """The same galaxy out of GalSim's own classes."""
    image = galsim.Image(array, scale=1.0)
    profile = galsim.InterpolatedImage(
        image, x_interpolant="quintic", pad_factor=4, flux=FLUX, offset=OFFSET
    )
    dudx, dudy, dvdx, dvdy = JACOBIAN.ravel()
    return profile.transform(dudx, dudy, dvdx, dvdy) / abs(np.linalg.det(JACOBIAN))


def ours(array: np.ndarray) -> galsim.GSObject:
    return VAEGalaxy(array, JACOBIAN, OFFSET, FLUX)


def draw(build, array: np.ndarray) -> galsim.Image:
    profile = galsim.Convolve(build(array), PSF)
    return profile.drawImage(nx=64, ny=64, scale=0.2)


def test_both_draw_the_same_galaxy():
    a, b = draw(plain, stamp()).array, draw(ours, stamp()).array
    np.testing.assert_allclose(a, b, atol=1e-4 * a.max())


@pytest.mark.benchmark(group="build and draw one galaxy")
@pytest.mark.parametrize("build", [plain, ours], ids=["InterpolatedImage", "VAEGalaxy"])
def test_build_and_draw(benchmark, build):
    array = stamp()
    benchmark.pedantic(draw, args=(build, array), rounds=100, warmup_rounds=10)


def chromatic_stamps() -> Stamps:
    """One galaxy, with the same stamp in five bands."""
    values = Conditions(np.array([[22.0, 0.5, 0.3, 0.8]]), np.zeros(1), np.arange(1))
    array = np.stack([stamp() * flux for flux in (0.3, 0.6, 1.0, 1.4, 1.6)])
    return Stamps(array[None], values, JACOBIAN[None], OFFSET[None])


@pytest.mark.benchmark(group="build and draw one chromatic galaxy through LSST i")
@pytest.mark.parametrize("one", [False, True], ids=["five profiles", "one profile"])
def test_build_and_draw_chromatic(benchmark, one):
    stamps, bandpass = chromatic_stamps(), find_bandpass("LSST_i")

    def draw_chromatic():
        galaxy = stamps.chromatic(0, bandpass=bandpass if one else None)
        galsim.Convolve(galaxy, PSF).drawImage(bandpass, nx=64, ny=64, scale=0.2)

    benchmark.pedantic(draw_chromatic, rounds=50, warmup_rounds=5)
