"""Noise of the batched renderer: GalSim's models, and what the noise is a function of."""

import galsim
import numpy as np
import pytest
from drawings import DEVICES, galaxies
from scipy import stats

from galsim_vae.filters.names import find_bandpass
from galsim_vae.render import render

PSF = galsim.Kolmogorov(fwhm=0.7)
PIXELS = galsim.PixelScale(0.2)
# Noise of white pixels of 0.2", seen through something of 0.5", and something longer than wide.
SMOOTH = galsim.UncorrelatedNoise(4.0, wcs=PIXELS).convolvedWith(galsim.Gaussian(fwhm=0.5))
LONG = SMOOTH.shear(g1=0.4, g2=0.2)
CORRELATED = {"smooth": SMOOTH, "long": LONG, "white": galsim.UncorrelatedNoise(4.0, wcs=PIXELS)}


def noise_of(noise, n=400, size=(20, 26), **kwargs):
    """Noise without galaxies, (n, ny, nx), of float64 images."""
    stamps = galaxies(n)
    settings = {"scale": 0.2, "noise": noise, "seed": 4, "dtype": "float64"} | kwargs
    return render(
        stamps, PSF, size[1], size[0], flux_ratio=np.zeros(n), **settings
    )[:, 0].cpu().numpy()  # fmt: skip


def correlation(images, dy, dx):
    """Mean product of pixels that are (dy, dx) apart, and its error from image to image."""
    ny, nx = images.shape[1:]
    first = images[:, max(0, -dy) : ny - max(0, dy), max(0, -dx) : nx - max(0, dx)]
    second = images[:, max(0, dy) : ny + min(0, dy), max(0, dx) : nx + min(0, dx)]
    each = (first * second).mean((1, 2))
    return each.mean(), each.std() / np.sqrt(len(each))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CORRELATED)
def test_correlated_noise_has_its_correlation(name, device):
    noise, images = CORRELATED[name], noise_of(CORRELATED[name], device=device)
    drawn = galsim.ImageD(21, 21, scale=0.2)
    wanted = noise.drawImage(drawn).array
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1), (1, -1), (0, 3), (3, 2), (6, -6)):
        found, error = correlation(images, dy, dx)
        assert abs(found - wanted[10 + dy, 10 + dx]) < 4.5 * error, (dy, dx)
    # GalSim's own is periodic in the image; this one is not.
    across = (images[:, :, 0] * images[:, :, -1]).mean(axis=1)
    assert abs(across.mean()) < 4.5 * across.std() / np.sqrt(len(across))


def test_correlated_noise_in_skew_pixels():
    wcs = galsim.JacobianWCS(0.18, 0.06, -0.05, 0.22)
    images = noise_of(LONG, scale=None, wcs=wcs)
    wanted = LONG.drawImage(galsim.ImageD(21, 21, wcs=wcs)).array
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1), (1, -1), (2, 2)):
        found, error = correlation(images, dy, dx)
        assert abs(found - wanted[10 + dy, 10 + dx]) < 4.5 * error, (dy, dx)


def test_correlated_noise_longer_than_the_image():
    """The periodic grid is then many times larger than the image."""
    noise = galsim.UncorrelatedNoise(4.0, wcs=PIXELS).convolvedWith(galsim.Gaussian(fwhm=4))
    images = noise_of(noise, n=3000, size=(9, 8))
    wanted = noise.drawImage(galsim.ImageD(21, 21, scale=0.2)).array
    for dy, dx in ((0, 0), (0, 1), (4, 2)):
        found, error = correlation(images, dy, dx)
        assert abs(found - wanted[10 + dy, 10 + dx]) < 4.5 * error, (dy, dx)


@pytest.mark.parametrize(
    "noise",
    [
        galsim.CCDNoise(sky_level=40.0, gain=2.5, read_noise=6.0),
        galsim.CCDNoise(sky_level=1.5, gain=0.5, read_noise=0.0),
        galsim.CCDNoise(sky_level=40.0, gain=0.0, read_noise=3.0),
    ],
)
def test_ccd_noise_is_that_of_galsim(noise):
    ours = noise_of(noise).ravel()
    image = galsim.ImageD(400, 520)
    image.addNoise(noise.copy(galsim.BaseDeviate(5)))
    theirs = image.array.ravel()
    assert ours.mean() == pytest.approx(0, abs=4.5 * ours.std() / np.sqrt(len(ours)))
    assert ours.var() == pytest.approx(noise.getVariance(), rel=0.015)
    values = np.unique(theirs)
    if len(values) < 100:  # without read noise there are few values, and the test wants none alike
        assert set(np.round(ours, 9)) >= set(np.round(values[(values > -1) & (values < 5)], 9))
    else:
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-3


def test_ccd_noise_without_a_ccd_is_poisson_noise():
    sky = 7.0
    plain = noise_of(galsim.PoissonNoise(sky_level=sky))
    ccd = noise_of(galsim.CCDNoise(sky_level=sky, gain=1.0, read_noise=0.0))
    np.testing.assert_array_equal(ccd, plain)


def test_read_noise_and_photon_noise_are_not_alike():
    both = noise_of(galsim.CCDNoise(sky_level=100.0, gain=1.0, read_noise=10.0))
    photons = noise_of(galsim.CCDNoise(sky_level=100.0, gain=1.0, read_noise=0.0))
    read = both - photons
    assert read.std() == pytest.approx(10, rel=0.01)
    assert abs(np.corrcoef(read.ravel(), photons.ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "noise", [LONG, galsim.CCDNoise(sky_level=9.0, gain=2.0, read_noise=3.0)], ids=["long", "CCD"]
)
def test_same_pixels_for_any_split_and_order(noise, device):
    n, stamps = 24, galaxies(24, high=1.2)

    def draw(rows):
        settings = {"noise": noise, "seed": 8, "device": device}
        return render(stamps[rows], PSF, 31, 33, 0.2, **settings).cpu().numpy()

    whole = draw(slice(None))
    order = np.random.default_rng(1).permutation(n)
    for rows in (*np.array_split(order, 3), order[:1], np.arange(7)):
        np.testing.assert_array_equal(draw(rows), whole[rows])


@pytest.mark.parametrize(
    "noise", [*CORRELATED.values(), galsim.GaussianNoise(sigma=2.0),
              galsim.CCDNoise(gain=0.0, read_noise=2.0)]
)  # fmt: skip
def test_noise_is_added_to_the_galaxy_once(noise):
    """Of the same seed, noise without galaxies is what an image has more than one without noise."""
    settings = {"scale": 0.2, "seed": 4, "dtype": "float64"}
    clean, noisy = (
        render(galaxies(5), PSF, 26, 20, noise=some, **settings)[:, 0].cpu().numpy()
        for some in (None, noise)
    )
    assert noisy - clean == pytest.approx(noise_of(noise, 5), abs=1e-9)
    assert clean.sum() > 10


def test_the_deviate_of_the_noise_is_not_touched():
    rng = galsim.BaseDeviate(9)
    noise_of(galsim.CCDNoise(rng, sky_level=9.0, read_noise=1.0), n=3)
    noise_of(SMOOTH.copy(rng), n=3)
    assert rng == galsim.BaseDeviate(9)


@pytest.mark.parametrize("name", ["lsst_r", "LSST-r", "rubin_r"])
def test_a_filter_has_the_same_noise_whatever_it_is_called(name):
    settings = {"noise": galsim.GaussianNoise(sigma=1.0), "zeropoint": 28.0}
    wanted = noise_of(bands="LSST_r", n=2, **settings)
    np.testing.assert_array_equal(noise_of(bands=name, n=2, **settings), wanted)
    np.testing.assert_array_equal(
        noise_of(bands=find_bandpass(name), n=2, **settings), wanted
    )
    assert (noise_of(bands="LSST_i", n=2, **settings) != wanted).all()


@pytest.mark.parametrize(
    ("seed", "error"),
    [(1.7, galsim.GalSimValueError), ("5", galsim.GalSimValueError),
     (-5, galsim.GalSimRangeError), (2**64, galsim.GalSimRangeError)],
)  # fmt: skip
def test_a_seed_that_is_none_is_refused(seed, error):
    with pytest.raises(error, match="seed of noise"):
        noise_of(galsim.GaussianNoise(sigma=1.0), n=1, seed=seed)


def test_noise_without_variance_is_refused():
    with pytest.raises(galsim.GalSimError, match="variance"):
        noise_of(SMOOTH - SMOOTH, n=1)
