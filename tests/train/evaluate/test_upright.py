"""Real galaxies of the round frame, brought to that in which galaxies are compared."""

from dataclasses import replace

import galsim
import numpy as np
import pytest
import torch
from made_observation import BAND, observe

from galsim_vae.bands import BANDS
from galsim_vae.frame import ROUND, UPRIGHT, canonical
from galsim_vae.train.evaluate import frame
from galsim_vae.train.evaluate.space import from_space
from galsim_vae.train.evaluate.upright import noise_ratio, upright
from galsim_vae.train.training_file import Dataset

K = BANDS.index(BAND)
# Sampled by the long sides of the round frame's pixels, too.
PSF = galsim.Convolve(galsim.Gaussian(sigma=0.13), galsim.Pixel(0.06))


def in_both(shear: float, mask=None) -> tuple[Dataset, Dataset]:
    """A galaxy as ingest brings it to the round and to the upright frame."""
    profile = galsim.Exponential(half_light_radius=0.4).shear(g1=shear, g2=0.1)
    observed = observe(profile, psf=PSF)
    if mask is not None:
        observed = replace(observed, mask={BAND: mask(observed.image[BAND].shape)})
    found = []
    for where in (ROUND, UPRIGHT):
        seen = canonical.to_canonical(observed, canonical.measure(observed, frame=where))
        one = {
            name: np.array([getattr(seen, name)])
            for name in ("image", "psf", "mask", "noise", "noise_area", "pixel_scale", "frame_g",
                         "angle")
        }  # fmt: skip
        nan = np.full(1, np.nan)
        found.append(Dataset(
            **one, magnitude=nan, half_light_radius=nan, g=nan, redshift=nan, flux_scale=nan,
            source=np.array(["made"]), source_index=np.array([0]), valid=np.array([True]),
            frame=where,
        ))  # fmt: skip
    return found[0], found[1]


def psf_with_pixel_of(made: Dataset, known: Dataset):
    """The PSF in the upright frame, the round frame's pixel in it, by GalSim."""
    turned = PSF.rotate(-float(known.angle[0]) * galsim.radians)
    pixel = galsim.Pixel(float(known.pixel_scale[0])).shear(g1=float(made.frame_g[0]))
    return galsim.Convolve(turned, pixel).drawImage(
        nx=64, ny=64, scale=float(known.pixel_scale[0]), method="no_pixel", offset=(0.5, 0.5)
    ).array  # fmt: skip


@pytest.mark.parametrize("shear", [0.15, 0.45])
def test_a_galaxy_is_the_one_that_the_upright_frame_would_have(shear):
    made, known = in_both(shear)
    found = upright(made)
    assert found.frame == UPRIGHT and np.all(found.frame_g == 0) and made.frame_g[0] > 0.1
    inside = found.mask[0, K]
    peak = known.image[0, K].max()
    assert np.abs(found.image - known.image)[0, K][inside].max() < 0.01 * peak
    psf = psf_with_pixel_of(made, known)
    np.testing.assert_allclose(found.psf[0, K], psf, atol=0.005 * psf.max())
    assert found.psf[0, K].sum() == pytest.approx(1, abs=1e-5)
    # The round stamp ends nearer along y, by (1 + g) / (1 - g) of its square's half side.
    g = made.frame_g[0]
    reach = np.abs(np.flatnonzero(inside[:, 31]) - 31.5).max()
    assert reach == pytest.approx(32 * np.sqrt((1 - g) / (1 + g)), abs=1.5)
    assert upright(known) is known


def test_a_masked_corner_stays_masked_and_nothing_rings():
    def half(shape):
        mask = np.ones(shape, bool)
        mask[:, : shape[1] // 3] = False
        return mask

    made, known = in_both(0.4, half)
    assert 0.1 < made.mask[0, K].mean() < 0.95
    found = upright(made).mask[0, K]
    beyond = found & ~known.mask[0, K]
    assert beyond.mean() < 0.01
    assert np.all(upright(made).image[0, K][~found] == 0)


@pytest.mark.parametrize("g", [0.2, 0.6])
@pytest.mark.parametrize("width", [0.0, 0.6, 1.5])
def test_noise_is_what_becomes_of_it(g, width):
    """Noise that is isotropic on the sky, made in the round frame and brought back."""
    n, stretch = 200, np.sqrt((1 + g) / (1 - g))
    k = 2 * np.pi * torch.fft.fftfreq(64)
    power = torch.exp(-(width**2) * ((k / stretch) ** 2 + (k[:, None] * stretch) ** 2))
    white = torch.randn(n, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    noise = torch.fft.ifft2(torch.fft.fft2(white) * power.sqrt()).real
    back = frame.put_back(noise, torch.full((n,), g))[..., 26:38, 26:38]
    known = float(back.std() / noise.std())
    area = np.array([[1 / float(power.mean())]])
    assert noise_ratio(area, np.array([g]))[0, 0] == pytest.approx(known, rel=0.02)
    assert noise_ratio(area, np.array([0.0]))[0, 0] == 1


def test_filters_tell_what_was_seen_from_space():
    names = ["F814W", "F115W", "F410M", "F444W", "VIS", "r", "J", "H", "g", "", "x", "F1"]
    assert from_space(np.array(names)).tolist() == [True] * 5 + [False] * 7
