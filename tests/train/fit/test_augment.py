"""Mirrored and stretched copies of real galaxies."""

import itertools

import galsim
import numpy as np
import pytest
import torch

from galsim_vae.frame.frames import ROUND, UPRIGHT
from galsim_vae.model import likelihood
from galsim_vae.train.fit import augment, constants
from galsim_vae.train.fit.turn import largest_turn, turn

SIZE = 64


def transform(psf):
    return torch.fft.rfft2(torch.fft.ifftshift(psf, dim=(-2, -1)))


def draw(profile, centre=0.0):
    """Draw on a stamp whose centre is between pixels, or on pixel 32 with centre=0.5."""
    image = profile.shift(centre, centre).drawImage(nx=SIZE, ny=SIZE, scale=1.0, method="no_pixel")
    return torch.from_numpy(image.array.astype(np.float32))[None, None]


def test_flipping_keeps_image_and_psf_together():
    generator = torch.Generator().manual_seed(5)
    stamp = torch.rand(1, 5, SIZE, SIZE, generator=generator)
    psf = torch.rand(1, 5, SIZE, SIZE, generator=generator)
    seen = likelihood.convolve(stamp, transform(psf))
    mask = torch.ones_like(seen, dtype=torch.bool)
    for which in itertools.product((False, True), repeat=3):
        chosen = (torch.tensor([flip]) for flip in which)
        image, _, flipped = augment.flip(seen, mask, psf, *chosen)
        axes = [axis for axis, flip in zip((-1, -2), which, strict=False) if flip]
        own = stamp.flip(axes)
        own = own.transpose(-1, -2) if which[2] else own
        assert torch.allclose(likelihood.convolve(own, transform(flipped)), image, atol=1e-3)


@pytest.mark.parametrize("degrees", [-45, -20, 0, 10, 33])
def test_turned_image_and_psf_are_galsim_s(degrees):
    bulge_and_knot = galsim.Sersic(1.5, half_light_radius=6.0).shear(g1=0.2)
    bulge_and_knot += galsim.Gaussian(sigma=1.5, flux=0.2).shift(9, 3)
    psf = galsim.Gaussian(sigma=1.2).shear(g1=0.1, g2=0.2)
    seen, angle = galsim.Convolve(bulge_and_knot, psf), degrees * galsim.degrees
    mask = torch.ones(1, 1, SIZE, SIZE, dtype=torch.bool)
    ours, good, mine = turn(draw(seen), mask, draw(psf, 0.5), torch.tensor([angle.rad]).float())
    expected, turned = draw(seen.rotate(angle)), draw(psf.rotate(angle), 0.5)
    assert (ours - expected)[good].abs().max() < 6e-3 * expected.max()
    # A Lanczos kernel of order 4 is good to about 1 % for so sharp a PSF; here are three.
    assert (mine - turned).abs().max() < 2e-2 * turned.max()
    assert good[..., 3:-3, 32].all() and good.float().mean() > 0.8


def test_masked_pixels_do_not_turn_into_good_ones():
    image = draw(galsim.Gaussian(sigma=4.0))
    whole = torch.ones_like(image, dtype=torch.bool)
    mask = whole.clone()
    mask[..., 40:44, 30:34] = False
    psf, angle = draw(galsim.Gaussian(sigma=1.2), 0.5), torch.tensor([0.5])
    clean, every, _ = turn(image, whole, psf, angle)
    ours, good, _ = turn(torch.where(mask, image, 1e3), mask, psf, angle)
    assert (ours[~good] == 0).all() and 16 < (every & ~good).sum() < 100
    assert (ours - clean)[good].abs().max() < 0.02 * clean.max()


def test_only_what_has_no_direction_is_turned():
    g = torch.tensor([0.0, 0.14, 0.16, 0.29, 0.31, 0.8])
    assert torch.rad2deg(largest_turn(g, ROUND)).tolist() == pytest.approx([45, 45, 20, 20, 0, 0])
    assert not largest_turn(g, UPRIGHT).any()


@pytest.mark.parametrize("in_x, in_y", [(1.05, 1.05), (1.1, 0.92), (0.93, 0.97)])
def test_stretched_image_and_psf_are_galsim_s(in_x, in_y):
    """The image is that of the transformed galaxy through the transformed PSF."""
    galaxy = galsim.Sersic(1.5, half_light_radius=6.0).shear(g1=0.2)
    psf = galsim.Gaussian(sigma=1.5).shear(g1=0.1, g2=0.2)
    stretched = {"dudx": in_x, "dudy": 0.0, "dvdx": 0.0, "dvdy": in_y}
    expected = draw(galsim.Convolve(galaxy, psf).transform(**stretched) / (in_x * in_y))
    image = draw(galsim.Convolve(galaxy, psf))
    mask = torch.ones_like(image, dtype=torch.bool)
    factors = torch.tensor([in_x]), torch.tensor([in_y])
    ours, mask, mine, area = augment.stretch(image, mask, draw(psf, 0.5), *factors)
    assert area.item() == pytest.approx(in_x * in_y)
    inner = slice(6, -6)
    difference = (ours - expected)[..., inner, inner].abs().max()
    assert difference < 3e-3 * expected.max()
    turned = draw(psf.transform(**stretched) / (in_x * in_y), 0.5)
    # A Lanczos kernel of order 4 is good to about 1 % for so sharp a PSF.
    assert (mine - turned).abs().max() < 1e-2 * turned.max()


def test_masked_pixels_do_not_leak():
    image = draw(galsim.Gaussian(sigma=4.0))
    mask = torch.ones_like(image, dtype=torch.bool)
    mask[..., 40:44, 30:34] = False
    spoilt = torch.where(mask, image, 1e3)
    psf = draw(galsim.Gaussian(sigma=1.2), 0.5)
    factors = torch.tensor([1.04]), torch.tensor([0.97])
    clean, _, _, _ = augment.stretch(image, torch.ones_like(mask), psf, *factors)
    ours, good, _, _ = augment.stretch(spoilt, mask, psf, *factors)
    assert (ours[~good] == 0).all() and good.float().mean() > 0.9
    assert (ours - clean)[good].abs().max() < 0.02 * clean.max()


def test_bands_that_were_not_observed_stay_so():
    most = torch.tensor([torch.pi / 4, 0.1])
    image = torch.zeros(2, 5, SIZE, SIZE)
    mask = torch.zeros_like(image, dtype=torch.bool)
    image[:, 1], mask[:, 1] = draw(galsim.Gaussian(sigma=4.0))[0, 0], True
    otf = torch.zeros(2, 5, SIZE, SIZE // 2 + 1, dtype=torch.complex64)
    otf[:, 1] = transform(draw(galsim.Gaussian(sigma=1.2), 0.5))[0, 0]
    out, seen, turned, _ = augment.vary(image, mask, otf, most, torch.Generator().manual_seed(1))
    assert not seen[:, [0, 2, 3, 4]].any() and seen[:, 1].any()
    assert (turned[:, 0] == 0).all() and torch.isfinite(out).all()
    assert out[:, 1].sum((-1, -2)).numpy() == pytest.approx(image[:, 1].sum((-1, -2)), rel=2e-3)


def test_exchanged_colours_are_those_of_another_of_the_survey(monkeypatch):
    monkeypatch.setattr(constants, "COLOUR_SCATTER", 0.0)
    nan = torch.nan
    log_flux = torch.tensor([[0.0, 1, 3, 3], [1, 1, 1, 4], [5, 2, 2, 9], [2, nan, 1, 0]])
    survey = torch.tensor([0, 0, 1, 0])
    index = torch.arange(3).repeat(2000)
    factor = augment.exchange_colours(log_flux, survey, index, torch.Generator().manual_seed(1))
    flux = log_flux[index] + factor.log()
    assert torch.allclose(flux.mean(1), log_flux[index].mean(1), atol=1e-5)
    assert torch.equal(factor[2::3], torch.ones(2000, 4))  # the only one of its survey
    first = flux[::3] - flux[::3, :1]
    kept, second, third = (
        (first - first.new_tensor(colours)).abs().amax(1) < 1e-5
        for colours in ([0, 1, 3, 3], [0, 0, 0, 3], [0, -2, -1, -2])
    )
    # The third lacks a band, which moves with the mean of the others.
    assert (kept | second | third).all()
    share = [chosen.float().mean().item() for chosen in (kept, second, third)]
    assert share == pytest.approx([0.3 + 0.7 / 3, 0.7 / 3, 0.7 / 3], abs=0.04)
