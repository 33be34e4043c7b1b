"""``galsim-vae info``: what weights files and training files hold."""

import json
from importlib.metadata import version

import galsim

from galsim_vae.files import input_file
from galsim_vae.model import file as modelfile

from .call import Call

__all__ = ["run"]

_UNITS = {"magnitude": " AB in F814W", "half_light_radius": " arcsec"}
#: What a provenance calls its parts.
_WORDS = {"LoopConfig": "training", "FlowTraining": "training of the flows",
          "vae": "training of the autoencoder"}  # fmt: skip


def run(call: Call) -> None:
    """Print what files hold, or what is installed."""
    call.no_key()
    if not call.files:
        print(f"galsim_vae {version('galsim_vae')}, GalSim {galsim.__version__}")
        print("weights:", ", ".join(modelfile.shipped()) or "none")
    for name in call.files:
        if name.endswith((".h5", ".hdf5")):
            _describe_training_file(name)
        else:
            _describe_weights(name)


def _describe_weights(name: str) -> None:
    path = modelfile.find(name)
    model = modelfile.read(path)
    print(f"{path}\nsha256: {model.sha256}\ntrained for:")
    for condition, (low, high) in model.ranges.items():
        print(f"  {condition}: {low:g} to {high:g}{_UNITS.get(condition, '')}")
    print("made from:")
    _print_facts(model.provenance)


def _describe_training_file(name: str) -> None:
    from galsim_vae.train import training_file
    from galsim_vae.train.ingest import report

    path = input_file(name)
    galaxies, header = training_file.read(path), training_file.read_header(path)
    print(f"{path}: {len(galaxies)} galaxies, {int(galaxies.valid.sum())} of them held out")
    for line in report.summary(galaxies, training_file.read_rejected(path)):
        print(f"  {line}")
    print("made from:")
    _print_facts(header)


def _print_facts(facts: dict[str, str]) -> None:
    for key, text in facts.items():
        print(f"  {_WORDS.get(key, key.replace('_', ' '))}: {_readable(text)}")


def _readable(text: str) -> str:
    """Show a table that was stored as JSON as ``key value, key value``."""
    try:
        values = json.loads(text)
    except ValueError:
        return text
    if not isinstance(values, dict):
        return text
    return ", ".join(f"{key} {_plain(value)}" for key, value in values.items())


def _plain(value) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {_plain(part)}" for key, part in value.items()) + ")"
    if not isinstance(value, int | float):
        return str(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
