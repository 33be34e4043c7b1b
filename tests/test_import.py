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
    heavy |= {"galsim_vae.train", "scipy.special"}
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


HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "{name}":
            raise ModuleNotFoundError(f"No module named {{name}}", name=name)

sys.meta_path.insert(0, Hidden())
import galsim_vae.blending
"""


@pytest.mark.parametrize("hidden", ["btk", "surveycodex", None])
def test_blending_without_blending_toolkit_says_what_to_install(tmp_path, hidden):
    """Also where the btk that is there is the other package of that name."""
    (tmp_path / "btk").mkdir()
    (tmp_path / "btk" / "__init__.py").touch()
    other = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import galsim_vae.blending"
    code = HIDE.format(name=hidden) if hidden else other
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: galsim_vae.blending needs BlendingToolKit")
    assert "pip install '.[btk]'" in last


def test_weights_are_package_data():
    names = {path.name for path in importlib.resources.files("galsim_vae.weights").iterdir()}
    assert {"candels.safetensors", "candels.md"} <= names
