"""From recipe to weights file."""

import hashlib
import json

import pytest
import torch
import yaml
from astropy.table import Table
from made_training_file import training_file

from galsim_vae import cli
from galsim_vae.model import file as modelfile
from galsim_vae.train.fit import flow_constants, recipe
from galsim_vae.train.fit.circumstances import code_digest

TINY = {
    "vae": {
        "latent": 4,
        "widths": [8, 8], "fine_widths": [8, 4], "encoder_widths": [8, 8],
    },
    "vae_training": {"steps": 3, "batch": 2, "real": 2},
    "flow": {"layers": 2, "hidden": 16},
    "flow_training": {"galaxies": 128, "steps": 3, "batch": 32, "critic_steps": 2},
}  # fmt: skip


def write(path, **values):
    path.write_text(yaml.safe_dump({**TINY, **values}))
    return path


def test_a_recipe_makes_a_weights_file(tmp_path, monkeypatch):
    monkeypatch.setattr(flow_constants, "CRITIC_ALONE", 2)
    training_file(tmp_path / "real.h5")
    Table({"source": ["x"], "source_index": [0]}).write(tmp_path / "bad.ecsv")
    path = write(tmp_path / "tiny.yaml", work=str(tmp_path / "work"))
    output = tmp_path / "tiny.safetensors"
    settings = recipe.load(
        path,
        {"output": output, "training_file": tmp_path / "real.h5",
         "exclude": tmp_path / "bad.ecsv", "vae_training.seed": 5, "device": "cpu"},
    )  # fmt: skip
    assert settings.vae_training.seed == 5
    made = recipe.train(settings)
    read = modelfile.read(output)
    assert read.provenance["real_training"] == '{"x": 7}'
    said = json.loads(read.provenance["recipe"])
    assert said["vae_training.seed"] == 5 and said["training_file"] == "real.h5"
    data = (tmp_path / "real.h5").read_bytes()
    assert read.provenance["training_file_sha256"] == hashlib.sha256(data).hexdigest()
    for stage in ("vae", "encoded", "population_flow", "encoded_real", "latent_flow", "critic"):
        run = json.loads(read.provenance[stage])["1"]
        assert run["steps"] > 0 and run["hours"] >= 0 and run["code"] == code_digest()
    latent = torch.zeros(2, 4)
    assert torch.equal(read.vae.decoder(latent), made.vae.decoder(latent))
    assert (tmp_path / "work" / "contact_sheet.png").exists()
    assert list((tmp_path / "work" / "tensorboard").iterdir())
    again = recipe.train(settings)  # from the checkpoint
    for a, b in zip(again.flows.parameters(), made.flows.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_host_s_settings_are_left_as_they_were():
    denormal = torch.tensor(2e-38)
    assert denormal / 8 != 0
    with pytest.raises(KeyError), recipe.training_settings():
        assert denormal / 8 == 0
        raise KeyError
    assert denormal / 8 != 0


@pytest.mark.parametrize(
    "values, message",
    [
        ({"epochs": 3}, "Unknown key epochs.*'work'"),
        ({"vae": {"latents": 3}}, "Unknown key vae.latents"),
        ({"vae_training": {"steps": "many"}}, "vae_training.steps must be a whole number.*many"),
        ({"flow": 3}, "flow must be a table"),
        ({"work": None}, "work must be a path"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path, values, message):
    values = {"work": "w", "output": "o", **values}
    with pytest.raises(ValueError, match=message):
        recipe.load(write(tmp_path / "x.yaml", **values))


def test_what_cannot_be_read_is_refused(tmp_path, capsys):
    with pytest.raises(OSError):
        recipe.load(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [")
    with pytest.raises(ValueError, match="not YAML"):
        recipe.load(bad)
    assert cli.main(["train", str(bad)]) == 1
    assert "not YAML" in capsys.readouterr().err
    elsewhere = recipe.load(write(bad, work=str(tmp_path), output="o", device="tpu"))
    with pytest.raises(ValueError, match="Use 'auto'"):
        recipe.train(elsewhere)
    missing = recipe.load(write(bad, work=str(tmp_path), output="o", training_file="no.h5"))
    with pytest.raises(OSError, match="no.h5"):
        recipe.train(missing)


def test_excluded_galaxies_must_exist(tmp_path):
    data = training_file(tmp_path / "real.h5")
    listed = tmp_path / "bad.ecsv"
    Table({"source": ["x", "x"], "source_index": [2, 3]}).write(listed)
    assert recipe.without(data, listed).source_index.tolist() == [0, 1, 4, 5, 6, 7, 8, 9]
    Table({"source": ["x"], "source_index": [99]}).write(listed, overwrite=True)
    with pytest.raises(ValueError, match="99"):
        recipe.without(data, listed)
    Table({"galaxy": [1]}).write(listed, overwrite=True)
    with pytest.raises(ValueError, match="no column 'source'"):
        recipe.without(data, listed)


def test_training_goes_on_from_given_weights(tmp_path):
    path = write(tmp_path / "tiny.yaml", work=str(tmp_path / "first"), device="cpu")
    first = recipe.train(recipe.load(path, {"output": tmp_path / "first.safetensors"}))
    further = {
        "output": tmp_path / "second.safetensors",
        "work": tmp_path / "second",
        "start": str(tmp_path / "first.safetensors"),
        "vae_training.learning_rate": 1e-9,
    }
    second = recipe.train(recipe.load(path, further))
    for a, b in zip(first.vae.parameters(), second.vae.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    read = modelfile.read(tmp_path / "second.safetensors")
    assert read.provenance["start"] == modelfile.read(tmp_path / "first.safetensors").sha256
    with pytest.raises(ValueError, match="VAE of other sizes"):
        recipe.train(recipe.load(path, {**further, "vae.latent": 5}))
    with pytest.raises(OSError, match="nowhere"):
        recipe.train(recipe.load(path, {**further, "start": "nowhere"}))
