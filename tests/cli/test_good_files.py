"""Commands that train or judge, each with a small good file."""

import re

import made_survey
import numpy as np
import pytest
import yaml
from astropy.table import Table
from made_training_file import training_file
from made_weights import untrained

from galsim_vae import cli
from galsim_vae.frame import ROUND
from galsim_vae.model import file as modelfile
from galsim_vae.train import training_file as dataset
from galsim_vae.train.check import choices, psf_freeness
from galsim_vae.train.check.population import catalogues, compare, model
from galsim_vae.train.clean import planted
from galsim_vae.train.fit.autoencoder import LoopConfig
from galsim_vae.train.fit.flows import FlowTraining

TINY = {
    "vae": {"latent": 4, "widths": [8, 8], "fine_widths": [8, 4], "encoder_widths": [8, 8]},
    "vae_training": {"steps": 2, "batch": 2, "real": 2},
    "flow": {"layers": 2, "hidden": 16},
    "flow_training": {"galaxies": 128, "steps": 2, "batch": 32},
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder, and return what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        assert cli.main([*arguments, "-v", "3"]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def two_bands(tmp_path):
    """A training file of galaxies that were observed in two bands."""
    galaxies = training_file(tmp_path / "one.h5", 20)
    for array in (galaxies.image, galaxies.psf, galaxies.mask, galaxies.noise):
        array[:, 1] = array[:, 2]
    dataset.write(tmp_path / "real.h5", galaxies, band_maps={}, provenance="made up")
    return "real.h5"


def test_train(run, tmp_path):
    recipe = {**TINY, "work": "~/work", "output": "tiny.safetensors", "device": "cpu"}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(recipe))
    assert "wrote tiny.safetensors" in run("train", "a.yaml", f"work={tmp_path / 'w'}")
    assert modelfile.read(tmp_path / "tiny.safetensors").vae.config.latent == 4
    described = run("info", "tiny.safetensors")
    assert "vae_training.steps 2, vae_training.batch 2" in described
    assert re.search(r"training of the autoencoder: 1 \(code [0-9a-f]{64}, .* steps 2, ", described)


def test_choices(run, tmp_path, two_bands, monkeypatch):
    monkeypatch.setattr(choices, "TRAINING", LoopConfig(steps=1, batch=2, real=2))
    monkeypatch.setattr(choices, "FLOW", FlowTraining(galaxies=128, steps=1, batch=32))
    recipe = {**TINY, "work": "w", "output": "o", "training_file": two_bands}
    (tmp_path / "a.json").write_text(yaml.safe_dump(recipe, default_flow_style=True))
    base = choices.variants
    monkeypatch.setattr(choices, "variants", lambda vae: {"base": base(vae)["base"]})
    assert "wrote w/choices.ecsv" in run("choices", "a.json", "-f", "yaml")
    assert Table.read(tmp_path / "w" / "choices.ecsv")["variant"].tolist() == ["base"]


def test_map(run, tmp_path):
    training_file(tmp_path / "a.h5", 5)
    run("encode", "a.h5", "output=l.fits", f"weights={untrained(tmp_path, ROUND)}")
    assert "wrote map-traversals.png" in run("map", "l.fits", "method=pca", "colour=valid")
    assert Table.read(tmp_path / "map.ecsv")["row"].tolist() == [0, 1, 2, 3, 4]


def test_check_hidden_band(run, tmp_path, two_bands):
    assert "wrote checks/hidden_band.ecsv" in run("check", "hidden-band", two_bands)
    assert set(Table.read(tmp_path / "checks" / "hidden_band.ecsv")["band"]) == {"F606W"}
    # A file without what is needed is named, too.
    assert cli.main(["check", "hidden-band", "one.h5"]) == 1


def test_check_beside_real(run, tmp_path, two_bands):
    assert "wrote out/beside_real.png" in run("check", "beside-real", two_bands, "output=out")
    assert (tmp_path / "out" / "beside_real.png").read_bytes().startswith(b"\x89PNG")


def test_check_planted(run, tmp_path, monkeypatch):
    galaxies = planted.synthetic_file(21, seed=5, frame=ROUND)
    galaxies.valid[:] = True
    dataset.write(tmp_path / "real.h5", galaxies, band_maps={}, provenance="made up")
    monkeypatch.setattr(planted, "SYNTHETIC", 21)
    monkeypatch.setattr(planted, "measure_kinds", _measured_kinds)
    assert "wrote checks/roc.png" in run("check", "planted", "real.h5")
    assert len(Table.read(tmp_path / "checks" / "auc.ecsv")) == 4


def _measured_kinds(model, data, seed, noisy):
    random, n = np.random.default_rng(seed), len(data)

    def measured(shift):
        values = {name: random.normal(shift, 1, n) for name in planted.anomaly.REASONS}
        return values | {"signal_to_noise": np.full(n, 50.0), "source": np.full(n, "x")}

    return measured(0), {"a": measured(1), "b": measured(3)}


@pytest.mark.parametrize("given", [["candels"], ["weights=candels"], []])
def test_check_psf_freeness(run, tmp_path, monkeypatch, given):
    table = Table({"fwhm": [0.5], "ratio": [1.0]})
    monkeypatch.setattr(psf_freeness, "second_moment_ratios", lambda *args, **kwargs: table)
    assert "wrote checks/psf_freeness.ecsv" in run("check", "psf-freeness", *given)
    assert Table.read(tmp_path / "checks" / "psf_freeness.ecsv")["ratio"] == [1.0]


def test_check_population(run, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(catalogues, "read", lambda folder: asked.append(folder))
    monkeypatch.setattr(model, "DrawnPopulation", lambda data: None)
    monkeypatch.setattr(compare, "compare", lambda data, drawn: Table({"n": [1]}))
    monkeypatch.setattr(compare, "write", lambda folder, *args: asked.append(folder))
    assert "wrote there/population.ecsv" in run("check", "population", "~/data", "output=there")
    assert [str(path) for path in asked][1] == "there" and "~" not in str(asked[0])


def test_check_reconstruction(run, tmp_path):
    path = made_survey.stamps(tmp_path, n=5)
    spec = {"type": "stamps", "file_name": str(path), "psf": made_survey.PSF_CONFIGS["F160W"],
            "structure_only": True, "provenance": "{data}"}  # fmt: skip
    config = made_survey.config(tmp_path, tmp_path / "real.h5", near=spec)
    printed = run("check", "reconstruction", str(config), "data=made up", "output=r")
    assert "wrote r/reconstruction_sn50.ecsv" in printed
    assert len(Table.read(tmp_path / "r" / "reconstruction_native.ecsv"))


def test_check_pairs(run, tmp_path):
    places = {"ra": 150 + np.arange(4) / 60, "dec": np.full(4, 2.0)}
    path = made_survey.stamps(tmp_path, n=4, **places)
    spec = {"type": "stamps", "file_name": str(path), "psf": made_survey.PSF_CONFIGS["F160W"],
            "structure_only": True}  # fmt: skip
    config = made_survey.config(tmp_path, tmp_path / "real.h5", one=spec, other=spec)
    assert "wrote p/pairs.png" in run("check", "pairs", str(config), "output=p")
    table = Table.read(tmp_path / "p" / "pairs.ecsv")
    assert set(table["pairs"]) == {4} and (table["latents_ratio"] < 1e-3).all()
