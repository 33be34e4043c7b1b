"""Every command answers a mistake by one line that names the place."""

import pytest
import yaml

from galsim_vae import cli
from galsim_vae.cli.check import CHECKS
from galsim_vae.cli.main import COMMANDS

RECIPE = {"work": "w", "output": "o.safetensors", "training_file": "nothere.h5", "vae": {}}
INGEST = {"output": "o.h5", "inputs": {"m": {"type": "stamps", "file_name": "nothere.npz"}}}
CALIBRATION = {"output": "out", "galaxies": 2, "estimators": ["regauss"]}

# Commands that read a file of settings: its values, an unknown key of a table in it, a key of
# another type, and the key of what is written.
WITH_FILE = {
    "ingest": (INGEST, "inputs.m.nosuch", "seed", "output"),
    "train": (RECIPE, "vae.nosuch", "vae_training.steps", "output"),
    "choices": (RECIPE, "flow_training.nosuch", "flow.layers", "work"),
    "calibrate": (CALIBRATION, None, "galaxies", "output"),
    "check reconstruction": (INGEST, "inputs.m.nosuch", "seed", None),
    "check pairs": (INGEST, "inputs.m.nosuch", "seed", None),
}
# Other commands: what goes before their keys, and a key of another type.
WITHOUT_FILE = {
    "sample": ("output=x.ecsv", "n=many"),
    "draw": ("output=x.png", "magnitude=bright"),
    "info": ("candels", "a=b"),
    "evaluate": ("candels", "galaxies=many"),
    "clean": ("a.h5", "worst=many"),
    "classify": ("column=kind", "labels=[1]"),
    "map": ("colour=kind", "seed=many"),
    "hunt": ("labels=mine.csv", "count=many"),
    "encode": ("output=x.fits", "weights=3"),
    **{f"check {name}": ("a.h5", "weights=3") for name in CHECKS
       if f"check {name}" not in WITH_FILE},
}


@pytest.fixture
def failed(tmp_path, monkeypatch, capsys):
    """Run a command that must fail, in an empty folder, and return what it says."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, v="1"):
        before = sorted(tmp_path.rglob("*"))
        assert cli.main([*arguments, "-v", v]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"galsim-vae {arguments[0]}: ")
        assert len(error.splitlines()) == 1 and "Traceback" not in error
        assert sorted(tmp_path.rglob("*")) == before, "something was written"
        return error

    return run


def written(path, values, **changes):
    path.write_text(yaml.safe_dump(values | changes))
    return path.name


def test_no_command_is_left_out():
    names = {name.split()[0] for name in [*WITH_FILE, *WITHOUT_FILE]}
    assert names == set(COMMANDS)


@pytest.mark.parametrize("name", WITH_FILE)
def test_a_file_of_settings(name, failed, tmp_path):
    values, inner, wrong, _ = WITH_FILE[name]
    command, path = name.split(), tmp_path / "a.yaml"
    path.write_text("output: [\n")
    assert "a.yaml, line 2, column 1: not YAML" in failed(*command, "a.yaml", v="2")
    path.write_text("{'output': 1,}")
    assert "a.yaml, line 1, column 2: not JSON" in failed(*command, "a.yaml", "-f", "json")
    path.write_text("- a\n")
    assert "a.yaml must be a table" in failed(*command, "a.yaml")
    path.write_bytes(b"\x89HDF\xff")
    assert "a.yaml is not a text file" in failed(*command, "a.yaml")
    file = written(path, values, nosuch=1)
    assert "Unknown key nosuch" in failed(*command, file)
    file = written(path, values)
    if inner is not None:
        assert f"Unknown key {inner}" in failed(*command, file, f"{inner}=1")
    assert f"{wrong} must be a whole number" in failed(*command, file, f"{wrong}=many")
    assert f"{wrong}.deep" in failed(*command, file, f"{wrong}=1", f"{wrong}.deep=1")
    assert f"{wrong}=[: the value is not YAML" in failed(*command, file, f"{wrong}=[")
    assert "nothere.yaml: No such file" in failed(*command, "nothere.yaml")
    assert f"{tmp_path}: Is a directory" in failed(*command, str(tmp_path))
    assert "Give one" in failed(*command)
    assert "Give one" in failed(*command, file, file)


@pytest.mark.parametrize("name", [name for name, spec in WITH_FILE.items() if spec[3]])
def test_an_output_that_cannot_be_written(name, failed, tmp_path):
    values, _, _, key = WITH_FILE[name]
    (tmp_path / "file").touch()
    file = written(tmp_path / "a.yaml", values)
    changes = [f"{key}=file/x"] + (["work=file/w"] if key == "output" and "work" in values else [])
    assert "file" in (error := failed(*name.split(), file, *changes))
    assert "Not a directory" in error


@pytest.mark.parametrize("name", WITHOUT_FILE)
def test_keys(name, failed):
    first, wrong = WITHOUT_FILE[name]
    command = [*name.split(), first]
    if name == "info":
        assert "takes no keys" in failed(*command, wrong)
        return
    key = wrong.partition("=")[0]
    assert "Unknown key nosuch" in failed(*command, "nosuch=1")
    assert f"Unknown key {key}s (did you mean {key}?)" in failed(*command, f"{key}s=1")
    assert f"{key} must be" in failed(*command, wrong)
    assert f"{key} must be" in failed(*command, f"{key}.deep=1")
    assert f"{key}=[: the value is not YAML" in failed(*command, f"{key}=[")


@pytest.mark.parametrize("name", ["clean", "check hidden-band", "check beside-real",
                                  "check planted", "evaluate", "info"])  # fmt: skip
def test_a_training_file(name, failed, tmp_path):
    (tmp_path / "a.h5").write_text("not HDF5")

    def fails(file, *keys):
        given = ["candels", f"data={file}"] if name == "evaluate" else [file]
        return failed(*name.split(), *given, *keys)

    assert "nothere.h5: No such file" in fails("nothere.h5")
    (tmp_path / "folder.h5").mkdir()
    assert "folder.h5: Is a directory" in fails("folder.h5")
    if name in ("info", "evaluate"):
        assert "a.h5 is not a training file" in fails("a.h5")
    else:
        assert "Not a directory" in fails("a.h5", "output=a.h5/x")


@pytest.mark.parametrize("name", ["check psf-freeness", "check population", "evaluate"])
def test_weights_and_folders(name, failed, tmp_path):
    (tmp_path / "a").touch()
    assert "nothere" in failed(*name.split(), "nothere")
    if name != "check population":
        assert "not a complete safetensors file" in failed(*name.split(), "a")
        assert "Not a directory" in failed(*name.split(), "candels", "output=a/x")


@pytest.mark.parametrize("command", ["sample", "draw"])
def test_an_output_file(command, failed, tmp_path):
    (tmp_path / "folder.fits").mkdir()
    (tmp_path / "file").touch()
    assert "folder.fits: Is a directory" in failed(command, "output=folder.fits")
    assert "there is no folder nothere" in failed(command, "output=nothere/x.fits")
    assert "there is no folder file" in failed(command, "output=file/x.fits")


def test_a_fault_of_our_own_is_one_line_too(failed, monkeypatch):
    monkeypatch.setattr("galsim_vae.cli.info.run", lambda call: {}["no"])
    assert "KeyError: 'no' (-v 3 shows where)" in failed("info")
    with pytest.raises(KeyError):
        cli.main(["info", "-v", "3"])


def test_a_missing_library_is_named(failed, monkeypatch):
    monkeypatch.setattr("galsim_vae.cli.info.run", lambda call: __import__("sep.nothere"))
    monkeypatch.setitem(__import__("sys").modules, "sep", None)
    assert "pip install '.[train]'" in failed("info")
