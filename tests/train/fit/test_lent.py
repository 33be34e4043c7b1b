"""How what lends colours is trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from galsim_vae.frame import ROUND
from galsim_vae.model.vae import VAE, VAEConfig
from galsim_vae.train.clean import planted
from galsim_vae.train.fit import lent
from galsim_vae.train.fit.autoencoder import Sources
from galsim_vae.train.fit.observe import RadialPSFTable
from galsim_vae.train.fit.real import RealGalaxies
from galsim_vae.train.synthetic.colours import colour_table

TINY = VAEConfig(latent=8, widths=(8, 8), fine_widths=(4, 4), encoder_widths=(8, 8),
                 look_widths=(8, 8))  # fmt: skip


@pytest.fixture(scope="module")
def sources():
    return Sources(colour_table(), RadialPSFTable.hst())


@pytest.fixture
def shorter(monkeypatch):
    for name, value in {"LENT_GALAXIES": 512, "LENT_STEPS": 400, "LENT_BATCH": 128}.items():
        monkeypatch.setattr(lent, name, value)


def test_bands_are_hidden_but_never_all():
    generator = torch.Generator().manual_seed(1)
    known = torch.rand(500, 5, generator=generator) > 0.3
    known[:, 2] = True
    shown = lent.hide_bands(known, generator)
    assert not (shown & ~known).any() and shown.any(1).all()
    share = (known & ~shown).sum() / known.sum()
    assert 0.2 < share < 0.6


def test_real_galaxies_have_the_colours_that_they_are_seen_with(sources, shorter, tmp_path):
    data = planted.synthetic_file(20, seed=5, frame=ROUND)
    data.mask[:5, [0, 4]] = False
    data.mask[5:8, 1:] = False
    real = RealGalaxies(data, np.ones(len(data), bool))
    vae, both = VAE(TINY), replace(sources, real=real)
    found = lent.real_colours(vae, both)
    known = torch.isfinite(real.log_flux)
    assert len(found) == (known.sum(1) > 1).sum() < len(data)
    assert torch.equal(torch.isfinite(found), known[known.sum(1) > 1])
    lent.train(vae, both, 4, tmp_path)
    assert all(torch.isfinite(value).all() for value in vae.lent.state_dict().values())


def test_colours_of_synthetic_galaxies_are_learnt(sources, shorter, tmp_path):
    vae = VAE(TINY)
    made = lent.made_colours(sources, torch.Generator().manual_seed(8))
    shown = torch.ones(made.shape, dtype=torch.bool)
    shown[:, 3] = False

    def error():
        with torch.no_grad():
            return (vae.lent(made, shown) - made)[:, 3].abs().median().item()

    grey = error()
    lent.train(vae, sources, 4, tmp_path)
    first = {name: value.clone() for name, value in vae.lent.state_dict().items()}
    assert error() < 0.12 < 0.3 < grey
    lent.train(vae, sources, 4, tmp_path)  # done already
    assert all(torch.equal(value, first[name]) for name, value in vae.lent.state_dict().items())
    numbers = lent.recorded()
    assert numbers["LENT_STEPS"] == 400 and all(type(v) in (int, float) for v in numbers.values())
