"""Galaxies that the flows are trained on: joined, completed, measured."""

import pytest
import torch

from galsim_vae.conditions import DEFAULT_RANGES, NAMES
from galsim_vae.model.flow import FlowConfig, Flows
from galsim_vae.model.spirals import WINDING_STEP
from galsim_vae.model.traits import TRAITS, measure_traits
from galsim_vae.model.vae import VAE, VAEConfig
from galsim_vae.train.fit.checkpoint import WorkFolder
from galsim_vae.train.fit.encoded import Encoded
from galsim_vae.train.fit.flow_constants import HIDE
from galsim_vae.train.fit.rows import Galaxies, Rows, hide, join, with_traits

SIZE = 8
USUAL = torch.tensor([22.5, 0.4, 0.3, 1.0])


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(3)
    config = VAEConfig(latent=SIZE, widths=(8, 8), fine_widths=(8, 4), encoder_widths=(8, 8))
    return VAE(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def flows():
    torch.manual_seed(4)
    return Flows(SIZE, DEFAULT_RANGES, FlowConfig(2, 8)).eval().requires_grad_(False)


def encoded(n, seed):
    generator = torch.Generator().manual_seed(seed)
    conditions = USUAL + 0.05 * torch.randn(n, 4, generator=generator)
    conditions[::4, 0] -= 2.0  # some that are bright
    return Encoded(
        torch.randn(n, SIZE, generator=generator), conditions, torch.zeros(n),
        torch.full((n,), 6.0), torch.ones(n, dtype=torch.bool),
    )  # fmt: skip


def test_real_galaxies_are_completed_and_those_outside_left_out(vae, flows):
    made, real = encoded(600, 1), encoded(300, 2)
    real.conditions[:50, NAMES.index("redshift")] = torch.nan
    real.conditions[50:60, NAMES.index("magnitude")] = 99.0
    made.conditions[3, NAMES.index("magnitude")] = 99.0
    found = join(flows, vae.decoder, made, real, DEFAULT_RANGES, 5)
    assert len(found.latents) == 890
    # Synthetic ones are as they were, but that a label outside is hidden.
    assert torch.equal(found.latents[:600], made.latents)
    assert found.conditions[:600].isnan().sum() == 1 and found.conditions[3, 0].isnan()
    # Real ones keep what is known, and their structure; their colours are lent.
    known = torch.cat([real.conditions[:50], real.conditions[60:]])
    given = found.conditions[600:]
    assert torch.isfinite(given).all()
    assert torch.equal(given[known.isfinite()], known[known.isfinite()])
    kept = torch.cat([real.latents[:50], real.latents[60:]])
    colours = vae.config.bands - 1
    assert torch.equal(found.latents[600:, colours:], kept[:, colours:])
    again = join(flows, vae.decoder, made, real, DEFAULT_RANGES, 5)
    assert torch.equal(again.conditions[600:], found.conditions[600:])
    assert join(flows, vae.decoder, made, None, DEFAULT_RANGES, 5).latents is made.latents


def test_traits_are_those_of_what_is_decoded(vae, tmp_path):
    made = encoded(600, 1)
    rows = with_traits(vae.decoder, made, 480, 6, WorkFolder(tmp_path, {}))
    assert (len(rows.kept.turn), len(rows.shown.turn), rows.synthetic) == (60, 540, 420)
    measured = measure_traits(vae.decoder(made.latents))
    found = torch.cat([rows.kept.traits, rows.shown.traits])
    for column, name in enumerate(TRAITS):
        step = {"winding": WINDING_STEP, "arms": 1.0}.get(name, 0.0)
        apart = (found - measured)[:, column].abs()
        assert apart.amax() <= step / 2 + 1e-3, name
        assert apart.amax() >= 0.3 * step, name


def test_galaxies_of_a_step_keep_together():
    n = 50
    number = torch.arange(n, dtype=torch.float)
    shown = Galaxies(*(number[:, None].expand(n, k) for k in (SIZE, 4)), number,
                     number[:, None].expand(n, len(TRAITS)))  # fmt: skip
    step = Rows(shown.at(slice(5)), shown, 30).draw(20, torch.Generator().manual_seed(1))
    for value in step:
        assert len(value) == 20 and torch.equal(value.reshape(20, -1)[:, 0], step.turn)
    assert step.turn.unique().numel() > 10


def test_conditions_and_traits_are_hidden_of_galaxies_that_lie():
    n = 4000
    turn = torch.where(torch.arange(n) % 2 == 0, torch.nan, 0.5)
    galaxies = Galaxies(torch.zeros(n, SIZE), USUAL.expand(n, 4), turn, torch.ones(n, len(TRAITS)))
    found = hide(galaxies, torch.Generator().manual_seed(7))
    assert torch.equal(found.latents, galaxies.latents)
    assert torch.isfinite(found.conditions[1::2]).all() and (found.traits[1::2] == 1).all()
    hidden = torch.cat([found.conditions, found.traits[:, :1]], 1)[::2].isnan().float()
    assert hidden.mean(0).tolist() == pytest.approx([HIDE] * 5, abs=0.04)
    # Each on its own: all five are hidden of one in 32.
    assert hidden.all(1).float().mean().item() == pytest.approx(HIDE**5, abs=0.015)
    assert (found.traits.isnan().any(1) == found.traits.isnan().all(1)).all()
