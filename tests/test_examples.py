"""The demos run, in Python and in YAML."""

import importlib
import subprocess
import sys
from pathlib import Path

import galsim
import numpy as np
import pytest
from astropy.table import Table
from places import ROOT

EXAMPLES = ROOT / "examples"
OUTPUT = Path("examples", "output")
BANDS = ("g", "r", "i", "vis")


def run_yaml(name: str, folder: Path, *settings: str) -> None:
    """Run ``galsim examples/<name>.yaml`` in ``folder``, with config items set to others."""
    command = [sys.executable, "-m", "galsim", "-x", str(EXAMPLES / f"{name}.yaml"), *settings]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Import a Python demo by its name, made small, to run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)

    def load(name, nobjects):
        module = importlib.reload(importlib.import_module(name))
        monkeypatch.setattr(module, "NOBJECTS", nobjects)
        return module

    return load


def check_image(path: Path) -> None:
    """Check that a FITS image has finite pixels, and galaxies that stand out of the noise."""
    array = galsim.fits.read(str(path)).array
    assert np.all(np.isfinite(array))
    assert np.all(array.std(axis=0) > 0)
    noise = 1.4826 * np.median(np.abs(array - np.median(array)))
    assert array.max() - np.median(array) > 6 * noise


def test_every_demo_is_a_pair():
    scripts = {path.stem for path in EXAMPLES.glob("demo[0-9]*.py")}
    assert scripts
    assert scripts == {path.stem for path in EXAMPLES.glob("demo[0-9]*.yaml")}


def test_demo1_yaml(tmp_path):
    run_yaml("demo1", tmp_path, "image.nobjects=10")
    check_image(tmp_path / OUTPUT / "demo1.fits")


def test_demo1_python(tmp_path, demo):
    demo("demo1", 10).main()
    check_image(tmp_path / OUTPUT / "demo1_py.fits")


def test_demo2_yaml(tmp_path):
    run_yaml("demo2", tmp_path, "input.vae_catalog.nobjects=30")
    for band in BANDS:
        check_image(tmp_path / OUTPUT / f"demo2_{band}.fits")
    truth = {band: Table.read(tmp_path / OUTPUT / f"demo2_{band}_truth.fits") for band in BANDS}
    scale = {"g": 0.2, "r": 0.2, "i": 0.2, "vis": 0.1}
    for band in BANDS:
        assert len(truth[band]) > 0
        for column in ("index", "magnitude", "half_light_radius", "g1", "g2", "redshift"):
            np.testing.assert_array_equal(truth[band][column], truth["g"][column])
        for axis in ("x", "y"):  # the centre of the field is that of the image
            sky = [(truth[b][axis] - (60 / scale[b] + 1) / 2) * scale[b] for b in (band, "g")]
            np.testing.assert_allclose(*sky, atol=1e-6)


def test_demo2_python(tmp_path, demo):
    demo("demo2", 30).main()
    for band in BANDS:
        check_image(tmp_path / OUTPUT / f"demo2_py_{band}.fits")
    for name in ("demo2_py.png", "demo2_py_vis.png"):
        assert (tmp_path / OUTPUT / name).stat().st_size > 0


def test_demo_gradient_finds_the_shear(tmp_path, demo):
    module = demo("demo_gradient", 12)
    found, error = module.main()
    assert (np.abs(found - module.SHEAR) < 4 * error).all() and (error < 0.01).all()
    assert (tmp_path / OUTPUT / "demo_gradient.png").stat().st_size > 0


def test_plot_demo_wants_one_image_or_three(tmp_path):
    command = [sys.executable, str(EXAMPLES / "plot_demo.py"), "out.png", "a.fits", "b.fits"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert "give 1 image, or 3 (red, green, blue); got 2" in result.stderr
