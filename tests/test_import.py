"""Importing the package: quick, without torch, and with the config types registered."""

import importlib.resources
import json
import subprocess
import sys

import galsim
import pytest

import galsim_vae


def modules_after_import() -> set[str]:
    """Names of the modules that a fresh Python has loaded after ``import galsim_vae``."""
    code = "import galsim_vae, json, sys; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return set(json.loads(result.stdout))


def test_import_leaves_heavy_modules_alone():
    loaded = modules_after_import()
    assert "galsim_vae" in loaded
    heavy = {"torch", "nflows", "safetensors", "h5py", "matplotlib", "btk", "scipy.fft"}
    heavy |= {"galsim_vae.train"}
    assert not heavy & loaded


def test_import_registers_config_types():
    assert {"vae_generator", "vae_catalog"} <= set(galsim.config.valid_input_types)
    assert "VAEGalaxy" in galsim.config.valid_gsobject_types
    assert "VAEValue" in galsim.config.valid_value_types


@pytest.mark.parametrize("name", galsim_vae.__all__)
def test_public_names_resolve(name):
    assert getattr(galsim_vae, name) is not None
    assert name in dir(galsim_vae)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NoSuchThing"):
        galsim_vae.NoSuchThing  # noqa: B018


def test_weights_are_package_data():
    names = {path.name for path in importlib.resources.files("galsim_vae.weights").iterdir()}
    assert {"candels.safetensors", "candels.md"} <= names
