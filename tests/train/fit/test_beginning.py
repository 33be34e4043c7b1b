"""Where training begins: galaxies keep their structure before the first step."""


import torch

from galsim_vae.frame.frames import DEFAULT
from galsim_vae.model.vae import VAE, VAEConfig
from galsim_vae.train.fit import autoencoder
from galsim_vae.train.fit.observe import RadialPSFTable, observe
from galsim_vae.train.synthetic.colours import colour_table
from galsim_vae.train.synthetic.galaxies import canonical_pixel_scale, fresh_galaxies

SMALL = VAEConfig(latent=68, widths=(8, 8), fine_widths=(8, 4), encoder_widths=(8, 8))
REFERENCE = SMALL.reference


def test_latents_begin_as_principal_components():
    """Turned by half a turn and subtracted, what is left of a galaxy is structure alone."""
    sources = autoencoder.Sources(colour_table(), RadialPSFTable.hst())
    model = autoencoder.beginning(SMALL, 3, sources, None)
    random = torch.Generator().manual_seed(5)
    conditions, true = fresh_galaxies(48, sources.colours, random)
    scale, taken = canonical_pixel_scale(conditions), DEFAULT.shear(conditions[:, 2])
    level, sharp = scale.new_full((48,), 1000.0), scale.new_full((48,), 0.1)
    batch = observe(true, scale, sources.psfs, random, level, True, sharp, taken)
    with torch.no_grad():
        mean, _ = model.encode(batch.image, batch.otf, batch.noise, batch.mask)
        rebuilt, mean_galaxy = model.decoder(mean), model.decoder(0 * mean)
    assert mean[:, 4:].std() < 2
    assert _odd(mean_galaxy).abs().amax() < 0.2 * _odd(true).abs().amax()
    assert _correlation(_odd(rebuilt), _odd(true)).median() > 0.6
    torch.manual_seed(3)
    untrained = VAE(SMALL)
    with torch.no_grad():
        without = untrained.decoder(mean)
    assert _correlation(_odd(without), _odd(true)).median().abs() < 0.3


def _odd(stamps):
    image = stamps[:, REFERENCE]
    return image - image.flip(-1, -2)


def _correlation(a, b):
    a, b = a.flatten(1), b.flatten(1)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
