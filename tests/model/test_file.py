"""Weights files: what is written comes back, and nothing else is accepted."""

import json

import pytest
import torch
from galsim.errors import GalSimValueError
from safetensors import safe_open
from safetensors.torch import save_file

from galsim_vae import GalaxyGenerator
from galsim_vae.conditions import DEFAULT_RANGES
from galsim_vae.model import file as modelfile
from galsim_vae.model.flow import FlowConfig, Flows
from galsim_vae.model.vae import VAE, VAEConfig

TINY = VAEConfig(latent=4, widths=(8, 8), fine_widths=(8, 4), encoder_widths=(8, 8))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(2)
    flow = FlowConfig(layers=2, hidden=8)
    flows = Flows(TINY.latent, DEFAULT_RANGES, flow)
    return modelfile.Model(VAE(TINY), flows, DEFAULT_RANGES, {"data": "none"}, flow)


@pytest.fixture
def path(model, tmp_path):
    path = tmp_path / "tiny.safetensors"
    modelfile.write(path, model)
    return path


def contents(path):
    with safe_open(path, framework="pt") as file:
        return {k: file.get_tensor(k) for k in file.keys()}, file.metadata()  # noqa: SIM118


def test_round_trip(model, path):
    back = modelfile.read(path)
    assert back.ranges == model.ranges and back.provenance == model.provenance
    assert len(back.sha256) == 64
    latent = torch.randn(3, TINY.latent)
    assert torch.equal(back.vae.decoder(latent), model.vae.decoder(latent))


def test_nothing_is_left_behind_when_writing_fails(model, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(modelfile, "save_file", full)
    with pytest.raises(OSError, match="disk full"):
        modelfile.write(tmp_path / "x.safetensors", model)
    assert list(tmp_path.iterdir()) == []


def test_truncated(path):
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(OSError, match="not a complete safetensors file"):
        modelfile.read(path)


def test_not_weights(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"hello, this is no weights file")
    with pytest.raises(OSError, match="not a complete safetensors file"):
        modelfile.read(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(OSError, match="not a galsim_vae weights file"):
        modelfile.read(path)


@pytest.mark.parametrize("part", ["tensor", "ranges"])
def test_tampered(path, part):
    tensors, header = contents(path)
    if part == "tensor":
        name = next(iter(tensors))
        tensors[name] = tensors[name] + 1e-3
    else:
        ranges = json.loads(header["ranges"])
        header["ranges"] = json.dumps(ranges | {"magnitude": [0, 40]})
    save_file(tensors, path, metadata=header)
    with pytest.raises(GalSimValueError, match="sha256"):
        modelfile.read(path)


@pytest.mark.parametrize(
    "change", [{"format_version": "99"}, {"bands": '["g", "r"]'}, {"stamp_size": "32"}]
)
def test_other_format(path, change):
    tensors, header = contents(path)
    save_file(tensors, path, metadata=header | change)
    with pytest.raises(GalSimValueError, match=next(iter(change))):
        modelfile.read(path)


def test_tensors_that_do_not_fit(path):
    tensors, header = contents(path)
    tensors.pop("vae.decoder.out.bias")
    header["sha256"] = modelfile.digest(header, tensors)
    save_file(tensors, path, metadata=header)
    with pytest.raises(GalSimValueError, match="decoder.out.bias"):
        modelfile.read(path)


def test_missing_file_names_the_shipped_ones():
    with pytest.raises(OSError, match=r"'nowhere'.*candels"):
        modelfile.find("nowhere")


def test_generator_refuses_what_the_file_check_refuses(path):
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(OSError, match="not a complete"):
        GalaxyGenerator(path)


def test_a_file_is_checked_once_and_again_when_it_has_changed(model, path, monkeypatch):
    checked = []
    digest = modelfile.digest
    monkeypatch.setattr(modelfile, "digest", lambda *a: checked.append(1) or digest(*a))
    first, second = modelfile.read(path), modelfile.read(str(path))
    assert len(checked) == 1
    # Nobody's changes are another's.
    next(first.vae.parameters()).zero_()
    assert next(second.vae.parameters()).any() and next(modelfile.read(path).vae.parameters()).any()
    checked.clear()
    modelfile.write(path, modelfile.Model(model.vae, model.flows, model.ranges, {"data": "other"},
                                          model.flow_config))  # fmt: skip
    checked.clear()
    assert modelfile.read(path).provenance == {"data": "other"}
    assert len(checked) == 1
