"""The batched renderer against GalSim and against a direct Fourier sum, and its noise."""

import dataclasses

import galsim
import numpy as np
import pytest
import torch
from direct_sum import direct_sum
from drawings import ACCURACY, DEVICES, SCENES, TIGHT, galaxies, galsim_image, transforms
from scipy import stats

from galsim_vae.bands import hst_psf
from galsim_vae.conditions import Conditions
from galsim_vae.render import fourier, pixelnoise
from galsim_vae.render.batch import render
from galsim_vae.render.psf_table import sample_psf


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", SCENES)
def test_agrees_with_a_direct_sum(name, device):
    psf, scale, nx, ny, period = SCENES[name]
    stamps = galaxies(1, seed=len(name))
    moves = transforms(1, seed=len(name))
    truth = direct_sum(
        stamps, 0, psf(), nx, ny, scale, period, **{k: v[0] for k, v in moves.items()}
    )
    for dtype, accuracy in ACCURACY.items():
        image = render(stamps, psf(), nx, ny, scale, **moves, device=device, dtype=dtype)[0, 0]
        assert image.dtype == getattr(torch, dtype)
        error = np.abs(image.cpu().numpy() - truth).max() / truth.max()
        assert error < accuracy, (dtype, error)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["Moffat", "Kolmogorov", "image", "fine"])
def test_agrees_with_galsim(name, device):
    psf, scale, nx, ny, _ = SCENES[name]
    n = 3
    stamps, moves = galaxies(n, seed=7), transforms(n)
    images = {
        dtype: render(stamps, psf(), nx, ny, scale, **moves, device=device, dtype=dtype)[:, 0]
        for dtype in ACCURACY
    }
    tight = psf().withGSParams(**TIGHT)
    for i in range(n):
        one = {key: value[i] for key, value in moves.items()}
        truth = galsim_image(stamps, i, tight, nx, ny, scale, **one)
        for dtype, accuracy in ACCURACY.items():
            error = np.abs(images[dtype][i].cpu().numpy() - truth).max() / truth.max()
            assert error < accuracy, (dtype, error)


@pytest.mark.parametrize("device", DEVICES)
def test_agrees_with_galsim_through_an_effective_psf_of_hst(device):
    """As ``galsim-vae draw renderer=batch`` does; the pixel is in the PSF already.

    The galaxy is exact, the PSF as it is: an OpticalPSF of other GSParams is another PSF.
    """
    stamps, psf, size = galaxies(1, seed=4, low=0.15, high=0.2), hst_psf("F814W"), 64
    tight = galsim.GSParams(**TIGHT)
    wcs = galsim.JacobianWCS(*stamps.jacobian[0].ravel())
    galaxy = galsim.InterpolatedImage(
        galsim.Image(stamps.array[0, 2].astype(float), wcs=wcs), flux=stamps.galaxy(0).flux,
        offset=galsim.PositionD(*stamps.offset[0]), gsparams=tight, pad_factor=16,
        calculate_maxk=False,
    )  # fmt: skip
    both = galsim.Convolve(galaxy, psf, gsparams=tight, propagate_gsparams=False)
    truth = both.drawImage(nx=size, ny=size, scale=0.06, method="no_pixel", dtype=float).array
    for dtype, accuracy in ACCURACY.items():
        image = render(stamps, psf, size, size, 0.06, method="no_pixel", dtype=dtype, device=device)
        error = np.abs(image[0, 0].cpu().numpy() - truth).max() / truth.max()
        assert error < accuracy, (dtype, error)


@pytest.mark.parametrize("device", DEVICES)
def test_agrees_with_vaegalaxy_through_galsim(device):
    stamps, moves = galaxies(2, seed=2, low=0.2), transforms(2)
    psf, band = galsim.Kolmogorov(fwhm=0.7), "LSST_r"
    images = render(
        stamps, psf, 48, 48, 0.2, **moves, bands=["F606W", band], zeropoint=27.0, device=device
    )
    for i in range(2):
        for k, name in enumerate(["F606W", band]):
            galaxy = stamps.galaxy(i, name, 27.0).rotate(moves["rotation"][i] * galsim.radians)
            g1, g2 = moves["shear"][i]
            galaxy = galaxy.shear(g1=g1, g2=g2).shift(*moves["shift"][i])
            truth = galsim.Convolve(galaxy, psf).drawImage(nx=48, ny=48, scale=0.2).array
            # GalSim's own default accuracy.
            np.testing.assert_allclose(images[i, k].cpu(), truth, rtol=0, atol=5e-5 * truth.max())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ACCURACY)
@pytest.mark.parametrize("name", ["Kolmogorov", "fine"])
def test_shear_response(name, dtype, device):
    """The response of weighted moments to a shear, against that in GalSim's exact images."""
    psf, scale, *_ = SCENES[name]
    size, g, tight = 49, 0.05, psf().withGSParams(**TIGHT)
    stamps = galaxies(1, seed=11, low=0.25, high=0.3)
    y, x = scale * (np.mgrid[:size, :size] - (size - 1) / 2)
    weight = np.exp(-(x**2 + y**2) / (2 * 0.5**2))

    def ellipticity(image):
        xx, yy, xy = (np.sum(weight * image * a) for a in (x * x, y * y, x * y))
        return np.array([xx - yy, 2 * xy]) / (xx + yy)

    truth, drawn = [], []
    for sign in (1, -1):
        moves = {"shear": (sign * g, -sign * g), "shift": (0.05, 0.02), "rotation": 0.4}
        exact = galsim_image(stamps, 0, tight, size, size, scale, **moves)
        moves["rotation"] = np.array([0.4])
        image = render(stamps, psf(), size, size, scale, **moves, dtype=dtype, device=device)
        truth.append(ellipticity(exact))
        drawn.append(ellipticity(image[0, 0].double().cpu().numpy()))
    response, wanted = drawn[0] - drawn[1], truth[0] - truth[1]
    assert (np.abs(wanted) > 0.02).all()
    np.testing.assert_allclose(response / wanted, 1, atol=2e-5)


def test_a_wide_image_through_the_sharpest_psf_of_hst():
    """A convolution's maxk is the least of its parts': the whole may end well before.

    Against GalSim with its usual parameters: others make another PSF of an `OpticalPSF`.
    """
    stamps, size = galaxies(1, low=2.9, high=3.0), 540
    moves = {"shear": (0.05, 0.02), "shift": (0.3, -0.2), "rotation": [0.4]}
    # A new object each, as one that GalSim has drawn keeps the maxk of that.
    image = render(stamps, hst_psf("F435W"), size, size, 0.06, **moves, dtype="float64")[0, 0]
    galaxy = stamps.galaxy(0).rotate(0.4 * galsim.radians).shear(g1=0.05, g2=0.02).shift(0.3, -0.2)
    observed = galsim.Convolve(galaxy, hst_psf("F435W"))
    exact = observed.drawImage(nx=size, ny=size, scale=0.06, dtype=float).array
    np.testing.assert_allclose(image.cpu(), exact, rtol=0, atol=1e-5 * exact.max())


KOLMOGOROV = galsim.Kolmogorov(fwhm=0.7)
NOISE = {
    "none": None,
    "Gaussian": galsim.GaussianNoise(sigma=2.0),
    "Poisson": galsim.PoissonNoise(sky_level=5.0),
}


def test_a_small_batch_is_not_filled_up(monkeypatch):
    """On a CPU one galaxy costs what one galaxy needs."""
    draw, sizes = fourier.draw, []
    monkeypatch.setattr(
        fourier, "draw", lambda images, *args: sizes.append(len(images)) or draw(images, *args)
    )
    render(galaxies(3), KOLMOGOROV, 32, 32, 0.2, device="cpu")
    assert sum(sizes) == 3


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_same_pixels_for_any_split_order_and_threads(device, noise):
    n = 24
    stamps, moves = galaxies(n, high=1.2), transforms(n)

    def draw(rows, **kwargs):
        part = {key: value[rows] for key, value in moves.items()}
        settings = {"noise": noise, "seed": 8, "device": device} | kwargs
        return render(stamps[rows], KOLMOGOROV, 32, 32, 0.2, **part, **settings).cpu().numpy()

    whole = draw(slice(None))
    order = np.random.default_rng(1).permutation(n)
    split = np.empty_like(whole)
    for rows in np.array_split(order, 3):
        split[rows] = draw(rows)
    np.testing.assert_array_equal(split, whole)
    for size in (1, 5):
        parts = [draw(slice(start, start + size)) for start in range(0, n, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(draw(slice(None), device=[device, device]), whole)
    threads = torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            np.testing.assert_array_equal(draw(slice(None)), whole)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("device", DEVICES)
def test_devices_agree(device):
    stamps, moves = galaxies(8), transforms(8)
    settings = {"noise": galsim.GaussianNoise(sigma=0.1), "seed": 3, **moves}
    here, there = (
        render(stamps, KOLMOGOROV, 32, 32, 0.2, device=one, **settings).cpu()
        for one in ("cpu", device)
    )
    assert (here - there).abs().max() < 3e-5 * here.max()


@pytest.mark.parametrize("device", DEVICES)
def test_out_of_memory_halves_the_batch(device, monkeypatch):
    stamps = galaxies(5)
    whole = render(stamps, KOLMOGOROV, 32, 32, 0.2, device=device)
    draw, sizes = fourier.draw, []

    def greedy(images, *args):
        if len(images) > 2:
            raise torch.OutOfMemoryError("pretended")
        sizes.append(len(images))
        return draw(images, *args)

    monkeypatch.setattr(fourier, "draw", greedy)
    again = render(stamps, KOLMOGOROV, 32, 32, 0.2, device=device)
    assert sizes and max(sizes) <= 2
    np.testing.assert_allclose(again.cpu(), whole.cpu(), atol=1e-6 * float(whole.max()))
    monkeypatch.setattr(fourier, "draw", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(torch.OutOfMemoryError):
        render(stamps, KOLMOGOROV, 32, 32, 0.2, device=device)


def test_one_psf_a_galaxy():
    stamps = galaxies(4)
    psfs = [galsim.Moffat(beta=3, fwhm=fwhm) for fwhm in (0.6, 0.8, 0.6, 0.7)]
    images = render(stamps, psfs, 32, 32, 0.2, dtype="float64")
    for i, psf in enumerate(psfs):
        one = render(stamps[i : i + 1], psf, 32, 32, 0.2, dtype="float64")[0]
        np.testing.assert_allclose(images[i], one, atol=1e-6 * float(one.max()))


def test_bands_share_nothing_but_the_galaxy():
    """A band's image and noise are the same drawn alone and with others."""
    stamps = galaxies(3)
    settings = {"noise": galsim.GaussianNoise(sigma=1.0), "seed": 4}
    both = stamps.render(KOLMOGOROV, 32, 24, 0.2, bands=["F606W", "F814W"], **settings)
    assert both.shape == (3, 2, 24, 32) and both.dtype == np.float32
    alone = stamps.render(KOLMOGOROV, 32, 24, 0.2, **settings)
    np.testing.assert_array_equal(both[:, 1:], alone)
    clean = stamps.render(KOLMOGOROV, 32, 24, 0.2, bands=["F606W", "F814W"])
    noise = both - clean
    assert abs(np.corrcoef(noise[:, 0].ravel(), noise[:, 1].ravel())[0, 1]) < 0.1


def test_a_psf_that_has_the_pixel_in_it():
    stamps, moves = galaxies(2), transforms(2)
    effective = galsim.Convolve(KOLMOGOROV, galsim.Pixel(0.2))
    a = render(stamps, effective, 32, 32, 0.2, **moves, method="no_pixel", dtype="float64")
    b = render(stamps, KOLMOGOROV, 32, 32, 0.2, **moves, dtype="float64")
    np.testing.assert_allclose(a, b, rtol=0, atol=ACCURACY["float64"] * float(b.max()))


def test_weights_are_those_of_galaxy():
    stamps = galaxies(3)
    for band, zeropoint in (("F435W", None), ("LSST_i", 28.0)):
        images = np.einsum("nb,nbyx->nyx", stamps.weights(band, zeropoint), stamps.array)
        for i, image in enumerate(images):
            galaxy = stamps.galaxy(i, band, zeropoint)
            assert image.sum() == pytest.approx(galaxy.flux, rel=1e-6)
            array = galaxy.image.array * galaxy.flux / galaxy.image.array.sum()
            np.testing.assert_allclose(image, array, rtol=1e-5, atol=1e-6 * image.max())


def test_no_galaxies_and_galsim_arguments():
    assert render(galaxies(2)[:0], KOLMOGOROV, 8, 8, 0.2).shape == (0, 1, 8, 8)
    stamps = galaxies(2)
    a = render(
        stamps, KOLMOGOROV, 32, 32, 0.2, shear=galsim.Shear(g1=0.1),
        rotation=30 * galsim.degrees, shift=galsim.PositionD(0.1, 0.2),
        noise=NOISE["Gaussian"], seed=galsim.BaseDeviate(3),
    )  # fmt: skip
    b = render(
        stamps, KOLMOGOROV, 32, 32, 0.2, shear=(0.1, 0), rotation=[np.pi / 6] * 2,
        shift=[(0.1, 0.2)] * 2, noise=NOISE["Gaussian"], seed=galsim.BaseDeviate(3),
    )  # fmt: skip
    np.testing.assert_allclose(a, b, atol=1e-5 * float(a.max()))


def test_rotations_are_angles_or_radians():
    stamps = galaxies(2)
    drawn = [
        render(stamps, KOLMOGOROV, 32, 32, 0.2, rotation=rotation, dtype="float64")
        for rotation in (
            [0.5 * galsim.radians, np.pi / 6 * galsim.radians],
            np.array([np.degrees(0.5) * galsim.degrees, 390 * galsim.degrees]),
            np.array([0.5, np.pi / 6]),
            [np.float32(0.5), np.pi / 6 * galsim.radians],
        )
    ]
    for other in drawn[1:]:
        np.testing.assert_allclose(other, drawn[0], atol=1e-12 * float(drawn[0].max()))


def test_flux_ratio_and_other_stamps():
    stamps, ratio = galaxies(3), np.array([0.5, 2.0, 3.0])
    plain = render(stamps, KOLMOGOROV, 32, 32, 0.2)
    np.testing.assert_allclose(
        render(stamps, KOLMOGOROV, 32, 32, 0.2, flux_ratio=ratio),
        plain * torch.tensor(ratio)[:, None, None, None], rtol=1e-6,
    )  # fmt: skip
    for array in (stamps.array[::-1].copy(), torch.from_numpy(stamps.array[::-1].copy())):
        swapped = dataclasses.replace(stamps, array=stamps.array[::-1])
        np.testing.assert_array_equal(
            render(stamps, KOLMOGOROV, 32, 32, 0.2, array=array),
            render(swapped, KOLMOGOROV, 32, 32, 0.2),
        )


@pytest.mark.parametrize(
    "kwargs, error, words",
    [
        ({"nx": 0}, galsim.GalSimRangeError, "nx must be positive"),
        ({"scale": -0.2}, galsim.GalSimRangeError, "scale must be positive"),
        ({"shear": (0.8, 0.7)}, galsim.GalSimRangeError, "shear"),
        ({"shear": np.zeros((3, 2))}, galsim.GalSimValueError, "shear must have the shape"),
        ({"shift": (np.nan, 0)}, galsim.GalSimValueError, "shift must be finite"),
        ({"rotation": 90}, galsim.GalSimRangeError, r"90 \* galsim.degrees"),
        ({"rotation": [0.1, -45.0]}, galsim.GalSimRangeError, "radians"),
        ({"flux_ratio": [1, 2, 3]}, galsim.GalSimValueError, "flux_ratio must have the shape"),
        ({"array": np.zeros((2, 5, 32, 32))}, galsim.GalSimValueError, "shape of the stamps"),
        ({"scale": None}, galsim.GalSimIncompatibleValuesError, "scale or a wcs"),
        ({"wcs": galsim.PixelScale(0.2)}, galsim.GalSimIncompatibleValuesError, "scale, or a wcs"),
        ({"scale": galsim.PixelScale(0.2)}, TypeError, "wcs="),
        ({"psf": [KOLMOGOROV] * 3}, galsim.GalSimValueError, "one PSF"),
        ({"psf": "Kolmogorov"}, TypeError, "GSObject"),
        ({"psf": galsim.Gaussian(sigma=1e-4)}, galsim.GalSimRangeError, "too fine"),
        ({"bands": "LSST_r"}, galsim.GalSimIncompatibleValuesError, "zeropoint"),
        ({"bands": "nonsense"}, galsim.GalSimError, "nonsense"),
        ({"zeropoint": np.nan}, galsim.GalSimValueError, "zeropoint must be a finite"),
        ({"psf": 0.7}, TypeError, "GSObject"),
        ({"bands": ["F606W"], "zeropoint": [1, 2]}, galsim.GalSimValueError, "zeropoint"),
        ({"noise": galsim.GaussianNoise()}, galsim.GalSimIncompatibleValuesError, "seed"),
        ({"noise": galsim.VariableGaussianNoise(None, galsim.Image(16, 16)), "seed": 1},
         galsim.GalSimValueError, "noise"),
        ({"method": "phot"}, galsim.GalSimValueError, "method"),
        ({"device": "abacus"}, galsim.GalSimValueError, "device"),
        ({"dtype": "float16"}, galsim.GalSimValueError, "dtype"),
        ({"out": torch.empty(1)}, galsim.GalSimValueError, "out must be"),
    ],
)
def test_bad_input(kwargs, error, words):
    settings = {"psf": KOLMOGOROV, "nx": 16, "ny": 16, "scale": 0.2} | kwargs
    with pytest.raises(error, match=words):
        render(galaxies(2), **settings)


def test_philox_known_answers():
    """The vectors of Random123's own tests (kat_vectors, philox4x32-10)."""
    for words, key, wanted in (
        ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), 0x299F31D0A4093822,
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ):  # fmt: skip
        counter = tuple(torch.tensor([word]) for word in words)
        assert tuple(int(word) for word in pixelnoise.philox(counter, key)) == wanted


def test_normal_deviates():
    ids = torch.arange(50)
    values = pixelnoise.normal_deviates(1, ids, 2, 2001)
    assert values.shape == (50, 2001)
    assert stats.kstest(values.numpy().ravel(), "norm").pvalue > 1e-3
    part = pixelnoise.normal_deviates(1, ids[7:9], 2, 2001)
    np.testing.assert_array_equal(part, values[7:9])
    for other in ((2, 2), (1, 3)):  # another seed, another stream
        different = pixelnoise.normal_deviates(other[0], ids, other[1], 2001)
        assert abs(np.corrcoef(different.ravel(), values.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("mean", [0.3, 4.0, 9.99, 10.0, 40.0, 1000.0])
def test_poisson(mean):
    n = 400_000
    normal = pixelnoise.normal_deviates(5, torch.arange(1), 0, n)
    values = pixelnoise.poisson(torch.full((1, n), mean), normal).numpy().ravel()
    assert (values == np.floor(values)).all() and values.min() >= 0
    low, high = stats.poisson.ppf([1e-3, 1 - 1e-3], mean).astype(int)
    edges = np.arange(low, high + 2)
    expected = n * np.diff(stats.poisson.cdf(edges - 1, mean))
    observed, _ = np.histogram(values, edges - 0.5)
    chi2 = np.sum((observed - expected) ** 2 / expected)
    assert stats.chi2.sf(chi2, len(expected)) > 1e-4


def test_poisson_leaves_what_is_not_positive():
    mean = torch.tensor([[-1.5, 0.0]])
    np.testing.assert_array_equal(pixelnoise.poisson(mean, torch.zeros(1, 2)), mean)


def test_a_psf_that_was_drawn_before():
    """GalSim keeps the maxk of a drawn, transformed profile when its GSParams change."""
    fresh, drawn = (galsim.Moffat(beta=2.5, fwhm=0.7).shear(g1=0.03, g2=0.02) for _ in range(2))
    galsim.Convolve(drawn, galsim.Gaussian(sigma=0.1)).drawImage(nx=8, ny=8, scale=0.2)
    stamps = galaxies(1, low=0.1, high=0.11)
    waves, images = [], []
    for psf in (drawn, fresh):
        sample_psf.cache_clear()  # They are equal for GalSim.
        waves.append(sample_psf(psf, period=16.0, scale=0.26).waves)
        images.append(render(stamps, psf, 32, 32, 0.26, dtype="float64"))
    assert waves[0] >= 0.95 * waves[1]
    assert (images[0] - images[1]).abs().max() < 3e-6 * images[1].max()


def test_the_psf_is_sampled_once():
    sample_psf.cache_clear()
    stamps = galaxies(30, low=0.3, high=0.31)
    for _ in range(2):
        render(stamps, KOLMOGOROV, 32, 32, 0.2)
    assert sample_psf.cache_info().misses <= 2  # periods, not calls nor batches


class Disc:
    """No `Stamps`: the five things that the renderer needs."""

    def __init__(self, n: int):
        profile = galsim.Exponential(half_light_radius=6)
        array = profile.drawImage(nx=64, ny=64, scale=1, method="no_pixel").array
        self.array = np.tile(array.astype(np.float32), (n, 1, 1, 1))
        self.conditions = Conditions(np.zeros((n, 4)), np.zeros(n), np.arange(n))
        self.jacobian = np.tile(0.05 * np.eye(2), (n, 1, 1))
        self.offset = np.zeros((n, 2))

    def weights(self, band, zeropoint, extrapolate=False):
        return np.full((len(self.array), 1), 10.0)


def test_draws_whatever_has_what_it_needs():
    images = render(Disc(3), KOLMOGOROV, 48, 48, 0.2, noise=NOISE["Gaussian"], seed=1)
    clean = render(Disc(3), KOLMOGOROV, 48, 48, 0.2)
    assert clean.sum(dim=(1, 2, 3)).numpy() == pytest.approx(10 * Disc(1).array.sum(), rel=0.02)
    assert float((images - clean).std()) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("threshold", [1e-2, 1e-3, 1e-5])
def test_maxk_is_that_of_galsim(threshold):
    """VAEGalaxy finds it with one small FFT; further out where a corner of the square counts."""
    stamps, gsparams = galaxies(6), galsim.GSParams(maxk_threshold=threshold)
    for i in range(len(stamps)):
        ours = stamps.galaxy(i, gsparams=gsparams)
        wcs = galsim.JacobianWCS(*stamps.jacobian[i].ravel())
        image = galsim.Image(stamps.array[i, 2].astype(float), wcs=wcs)
        plain = galsim.InterpolatedImage(image, gsparams=gsparams)
        step = np.pi / 64 / wcs._maxScale()
        assert plain.maxk - 1e-9 * step <= ours.maxk <= np.sqrt(2) * (plain.maxk + step)
        assert ours.stepk == pytest.approx(plain.stepk)
        assert ours.withGSParams(maxk_threshold=1e-4).maxk == pytest.approx(
            stamps.galaxy(i, gsparams=galsim.GSParams(maxk_threshold=1e-4)).maxk
        )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["Kolmogorov", "fine"])
def test_agrees_with_a_direct_sum_at_an_axis_ratio_of_one_to_nine(name, device):
    """Pixels of the stamp nine times as long as wide on the sky."""
    psf, scale, nx, ny, period = SCENES[name]
    stamps, moves = galaxies(1, seed=8, low=0.2, high=0.3), transforms(1, seed=8)
    ratio = galsim.Shear(g1=0.8).getMatrix()
    stamps = dataclasses.replace(stamps, jacobian=stamps.jacobian @ ratio)
    truth = direct_sum(
        stamps, 0, psf(), nx, ny, scale, period, **{k: v[0] for k, v in moves.items()}
    )
    for dtype, accuracy in ACCURACY.items():
        image = render(stamps, psf(), nx, ny, scale, **moves, device=device, dtype=dtype)[0, 0]
        error = np.abs(image.cpu().numpy() - truth).max() / truth.max()
        assert error < accuracy, (dtype, error)


@pytest.mark.parametrize("name", ["Kolmogorov", "fine"])
@pytest.mark.parametrize("g", [0.35, 0.6, 0.8])
def test_agrees_with_galsim_where_pixels_of_the_stamp_are_long(name, g):
    """As in the round frame; GalSim's own maxk would cut the minor axis (2e-2 of the peak)."""
    psf, scale, nx, ny, _ = SCENES[name]
    stamps, moves = galaxies(2, seed=9, low=0.2, high=0.4), transforms(2, seed=9)
    stamps = dataclasses.replace(
        stamps, jacobian=stamps.jacobian @ galsim.Shear(g1=g).getMatrix()
    )
    tight = psf().withGSParams(**TIGHT)
    images = {
        dtype: render(stamps, psf(), nx, ny, scale, **moves, dtype=dtype)[:, 0]
        for dtype in ACCURACY
    }
    for i in range(2):
        one = {key: value[i] for key, value in moves.items()}
        sides = np.linalg.svd(stamps.jacobian[i])[1]
        forced = {
            "_force_maxk": 2 * np.pi / sides.min(), "_force_stepk": np.pi / 67 / sides.max() / 2
        }
        truth = galsim_image(stamps, i, tight, nx, ny, scale, **one, **forced)
        for dtype, accuracy in ACCURACY.items():
            error = np.abs(images[dtype][i].numpy() - truth).max() / truth.max()
            assert error < accuracy, (dtype, error)
