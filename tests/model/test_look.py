"""Looking again at what a reconstruction lacks."""

from dataclasses import replace

import pytest
import torch

from galsim_vae.frame.frames import DEFAULT
from galsim_vae.model import likelihood
from galsim_vae.model.vae import VAEConfig
from galsim_vae.train.fit import autoencoder
from galsim_vae.train.fit.observe import RadialPSFTable, observe
from galsim_vae.train.synthetic.colours import colour_table
from galsim_vae.train.synthetic.galaxies import canonical_pixel_scale, fresh_galaxies

SMALL = VAEConfig(
    latent=68, widths=(8, 8), fine_widths=(8, 4), encoder_widths=(8, 8), look_widths=(8, 8)
)


@pytest.fixture(scope="module")
def sources():
    return autoencoder.Sources(colour_table(), RadialPSFTable.hst())


@pytest.fixture(scope="module")
def batch(sources):
    random = torch.Generator().manual_seed(5)
    conditions, stamps = fresh_galaxies(24, sources.colours, random)
    scale, taken = canonical_pixel_scale(conditions), DEFAULT.shear(conditions[:, 2])
    level, sharp = scale.new_full((24,), 500.0), scale.new_full((24,), 0.1)
    return observe(stamps, scale, sources.psfs, random, level, True, sharp, taken)


@pytest.fixture
def begun(sources):
    """A network whose looks are the principal components of what is missing."""
    return autoencoder.beginning(SMALL, 3, sources, None).requires_grad_(False)


def _encoded(vae, batch, looks, **changes):
    vae.config = replace(vae.config, looks=looks)
    batch = batch._replace(**changes)
    return vae.encode(batch.image, batch.otf, batch.noise, batch.mask)[0]


def test_each_look_improves_the_fit(begun, batch):
    weight = likelihood.inverse_variance(batch.noise, batch.noise_area, batch.mask)

    def misfit(looks):
        model = likelihood.convolve(begun.decoder(_encoded(begun, batch, looks)), batch.otf)
        return likelihood.half_chi_square(batch.image, model, weight).log().mean()

    first, second, third = (misfit(looks) for looks in (0, 1, 2))
    assert second < first - 0.1 and third < second


def test_without_looks_the_encoder_s_mean_is_kept(begun, batch):
    _, mean, _ = begun.encoder(batch.image, batch.otf, batch.noise, batch.mask)
    assert torch.equal(_encoded(begun, batch, 0), mean)


def test_the_unit_of_the_images_does_not_matter(begun, batch):
    once = _encoded(begun, batch, 2)
    again = _encoded(begun, batch, 2, image=batch.image * 1e4, noise=batch.noise * 1e4)
    assert torch.allclose(once, again, atol=2e-4)


def test_pixels_that_are_masked_are_not_looked_at(begun, batch):
    mask = batch.mask.clone()
    mask[:, 1] = False
    mask[:, :, 20:24, 40:] = False
    once = _encoded(begun, batch, 2, mask=mask)
    spoilt = torch.where(mask, batch.image, 3.0)
    assert torch.equal(once, _encoded(begun, batch, 2, image=spoilt, mask=mask))


def test_reconstructions_are_not_followed_in_training(sources, batch):
    """Only the last decoding has a slope; encoder and look both learn from it."""
    vae = autoencoder.beginning(SMALL, 3, sources, None)
    mean, _ = vae.encode(batch.image, batch.otf, batch.noise, batch.mask)
    mean.square().sum().backward()
    assert all(parameter.grad is None for parameter in vae.decoder.parameters())
    for part in (vae.look.straight, vae.look.structure, vae.look.colour, vae.encoder.head):
        assert part.weight.grad.norm() > 0
