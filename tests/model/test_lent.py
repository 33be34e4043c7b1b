"""Colours of bands that were not observed."""

import copy

import pytest
import torch

from galsim_vae.bands import BANDS, REFERENCE
from galsim_vae.model.lent import LentColours
from galsim_vae.model.vae import VAE, VAEConfig

N, SIZE = 6, 64
K = BANDS.index(REFERENCE)
TINY = VAEConfig(latent=8, widths=(8, 8), fine_widths=(4, 4), encoder_widths=(8, 8),
                 look_widths=(8, 8))  # fmt: skip


@pytest.fixture(scope="module")
def vae():
    """A network whose lender says something of its own."""
    torch.manual_seed(3)
    network = VAE(TINY).eval()
    last = network.lent.layers[-1]
    torch.nn.init.normal_(last.weight, std=0.1)
    torch.nn.init.normal_(last.bias, std=0.3)
    return network


@pytest.fixture(scope="module")
def seen():
    """Images, otf, noise and a mask by which each galaxy lacks other bands; the last lacks none."""
    generator = torch.Generator().manual_seed(5)
    image = torch.rand((N, len(BANDS), SIZE, SIZE), generator=generator)
    otf = torch.ones((N, len(BANDS), SIZE, SIZE // 2 + 1), dtype=torch.complex64)
    mask = torch.ones(image.shape, dtype=torch.bool)
    for row, bands in enumerate(([0], [K], [1, 3], [0, 1, 3, 4], [4])):
        mask[row, bands] = False
    return image, otf, torch.full((N, len(BANDS)), 0.01), mask


def test_before_training_a_galaxy_is_grey():
    flux = torch.tensor([[1.0, 2.0, 9.0], [3.0, 9.0, 9.0]])
    observed = torch.tensor([[True, True, False], [True, False, False]])
    assert LentColours(3)(flux, observed).tolist() == [[1.0, 2.0, 1.5], [3.0, 3.0, 3.0]]


def test_what_is_not_observed_does_not_matter_nor_does_the_unit():
    torch.manual_seed(1)
    lent = LentColours(4)
    torch.nn.init.normal_(lent.layers[-1].weight)
    flux, observed = torch.randn(50, 4), torch.rand(50, 4) > 0.5
    observed[0] = False
    found = lent(flux, observed)
    assert torch.equal(found[observed], flux[observed])
    other = torch.where(observed, flux, 77.0)
    assert torch.equal(lent(other, observed), found)
    some = observed.any(1)
    assert torch.allclose(lent(flux + 5, observed)[some], found[some] + 5, atol=1e-5)
    assert torch.isfinite(found).all() and not some.all()


def test_encoded_galaxies_have_the_colours_that_are_lent(vae, seen):
    mask = seen[3]
    with torch.no_grad():
        before, width = vae.infer(*seen)
        after, same = vae.encode(*seen)
        told, found = vae.decoder.colours(before), vae.decoder.colours(after)
        wanted = vae.lent(told, mask.flatten(2).any(2))
    assert torch.equal(width, same)
    wanted = wanted - wanted[:, K, None]
    assert found.numpy() == pytest.approx(wanted.numpy(), abs=0.01)
    assert (found - told)[:5].abs().amax(1).min() > 0.05
    assert torch.equal(after[:, len(BANDS) - 1 :], before[:, len(BANDS) - 1 :])
    assert torch.equal(after[-1], before[-1])


def test_latents_of_given_colours_do_not_depend_on_the_place_in_a_batch(vae):
    random = torch.Generator().manual_seed(6)
    count, n = len(BANDS) - 1, 300
    latent = torch.randn(n, TINY.latent, generator=random)
    first, rest = latent[:, :count], latent[:, count:]
    wanted = torch.randn(n, len(BANDS), generator=random)
    with torch.no_grad():
        found = vae.decoder.recoloured(first, rest, wanted)
        for move in (1, 7, 150):
            there = (value.roll(move, 0) for value in (first, rest, wanted))
            assert torch.equal(vae.decoder.recoloured(*there).roll(-move, 0), found)


def test_a_latent_that_colours_nothing_stays(vae):
    still = copy.deepcopy(vae)
    torch.nn.init.zeros_(still.decoder.colour.weight)
    with torch.no_grad():
        found = still.decoder.recoloured(torch.ones(2, 4), torch.ones(2, 4), torch.rand(2, 5))
    assert torch.equal(found, torch.ones(2, 8))
