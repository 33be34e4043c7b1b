"""Training on pictures: it learns, goes on where it was, and leaves held-out rows alone."""

import json

import numpy as np
import pytest
import torch
from galsim.errors import GalSimValueError
from made_pictures import pictures

from galsim_vae import settings
from galsim_vae.latents.pictures import stretch
from galsim_vae.model.pictures import PictureConfig, PictureVAE
from galsim_vae.train.fit import pictures as fit

TINY = {
    "vae": {"latent": 6, "encoder_widths": [8, 8], "decoder_widths": [8, 8]},
    "flow": {"layers": 2, "hidden": 8},
    "training": {"steps": 60, "batch": 8, "flow_steps": 5},
}


@pytest.fixture
def recipe(tmp_path):
    array, kind = pictures(24)
    np.savez(tmp_path / "a.npz", img=array, kind=kind)

    def make(**changes):
        values = {**TINY, "pictures": [str(tmp_path / "a.npz")], "work": str(tmp_path / "w"),
                  "output": str(tmp_path / "o.safetensors")}  # fmt: skip
        return settings.build(fit.PictureRecipe, settings.override(values, changes))

    return make


def test_it_learns_and_is_written(recipe, tmp_path):
    model = fit.train_pictures(recipe(), progress=False)
    images = torch.from_numpy(stretch(pictures(24)[0], 64, 3))
    mean, _ = model.vae.encoder(images)
    rms = (model.vae.decoder(mean) - images).square().mean().sqrt()
    assert rms < 0.9 * images.std()
    assert (tmp_path / "o.safetensors").exists()
    assert json.loads(model.provenance["pictures"]) == {"a": 24}


def test_held_out_rows_are_not_seen(recipe, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(fit, "_fit_vae", lambda recipe, data, device: seen.append(data) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit.train_pictures(recipe(hold_out=[1, 3]), progress=False)
    expected = stretch(pictures(24)[0][::2], 64, 3)
    np.testing.assert_array_equal(seen[0].numpy(), expected)
    with pytest.raises(GalSimValueError, match="must leave a fold"):
        fit.train_pictures(recipe(hold_out=[0, 1, 2, 3]), progress=False)


def test_an_interrupted_run_ends_like_one_that_was_not(recipe, monkeypatch, tmp_path):
    whole = fit.train_pictures(recipe(**{"training.steps": 6}), progress=False)
    calls = []

    def stop(pictures, generator, grey=0.25):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fit_augmented(pictures, generator, grey)

    fit_augmented = fit.augmented
    monkeypatch.setattr("galsim_vae.train.fit.checkpoint.SAVE_EVERY", 0.0)
    monkeypatch.setattr(fit, "augmented", stop)
    again = recipe(**{"training.steps": 6, "work": str(tmp_path / "w2")})
    with pytest.raises(KeyboardInterrupt):
        fit.train_pictures(again, progress=False)
    resumed = fit.train_pictures(again, progress=False)
    for name, value in whole.vae.state_dict().items():
        assert torch.equal(value, resumed.vae.state_dict()[name]), name


def test_augmented_pictures_keep_their_light():
    images = torch.from_numpy(stretch(pictures(12)[0], 64, 3))
    turned = fit.augmented(images, torch.Generator().manual_seed(1), grey=0.5)
    grey = (turned[:, 0] - turned[:, 1]).abs().amax((1, 2)) == 0
    assert 2 <= grey.sum() <= 10
    np.testing.assert_allclose(turned.sum((1, 2, 3)), images.sum((1, 2, 3)), rtol=0.4)
    assert (turned - images).abs().amax((1, 2, 3)).min() > 0.05


def test_latents_begin_as_principal_components():
    """Pictures that it never saw are known again before the first step."""
    config = PictureConfig(latent=24, encoder_widths=(8, 8), decoder_widths=(8, 8))
    data, others = (torch.from_numpy(stretch(pictures(60, seed=k)[0], 64, 3)) for k in (1, 2))
    model = fit.beginning(config, 3, data)
    with torch.no_grad():
        mean, log_variance = model.encoder(others)
        rebuilt, middle = model.decoder(mean), model.decoder(0 * mean)
    assert 0.5 < mean.std() < 2 and log_variance.exp().mean().sqrt() < 0.2
    assert correlation(rebuilt - middle, others - middle).median() > 0.8
    torch.manual_seed(3)
    with torch.no_grad():
        without = PictureVAE(config).decoder(mean)
    assert correlation(without, others - middle).median().abs() < 0.3


def test_the_beginning_follows_its_seed():
    config = PictureConfig(latent=6, encoder_widths=(8, 8), decoder_widths=(8, 8))
    data = torch.from_numpy(stretch(pictures(24)[0], 64, 3))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, same, other = (fit.beginning(config, seed, data).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    for name in ("encoder.stem.weight", "encoder.straight.weight"):
        assert not torch.equal(one[name], other[name])


def correlation(a, b):
    a, b = a.flatten(1), b.flatten(1)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-12)
