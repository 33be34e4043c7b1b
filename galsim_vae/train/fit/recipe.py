"""From a YAML recipe to a weights file: VAE, then flows.

    galsim-vae train weights/candels-small.yaml training_file=real.h5 work=run

Interrupted, it goes on from the last checkpoint in the work folder and ends as if it had not been.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from galsim_vae.conditions import DEFAULT_RANGES
from galsim_vae.model import file as modelfile
from galsim_vae.model.flow import FlowConfig
from galsim_vae.model.vae import VAEConfig
from galsim_vae.train.synthetic.colours import colour_table
from galsim_vae.train.training_file import Dataset, read

from . import autoencoder as loop
from . import flows as fitflows
from . import monitor
from .observe import PSFTable, RealGalaxies

if TYPE_CHECKING:
    from galsim_vae.cli.call import Call

__all__ = [
    "Recipe",
    "command",
    "find_device",
    "load",
    "provenance",
    "read_start",
    "run",
    "sources",
    "without",
]

logger = logging.getLogger(__name__)

_SECTIONS: dict[str, Any] = {
    "vae": VAEConfig,
    "vae_training": loop.LoopConfig,
    "flow": FlowConfig,
    "flow_training": fitflows.FlowTraining,
}


@dataclass(frozen=True)
class Recipe:
    """Everything that a weights file is made from.

    Attributes
    ----------
    work : folder of checkpoints, tensorboard log and contact sheets.
    output : weights file to write.
    training_file : real galaxies, from ``galsim-vae ingest``; None trains on synthetic ones only.
    exclude : table (ECSV) of galaxies to leave out, with columns source and source_index.
    start : weights whose VAE is trained further, a shipped name or a path; the sizes of `vae` must
        be theirs. None starts from random numbers.
    device : "cpu", "cuda" or "auto" (CUDA if there is one).
    vae, flow : sizes of the networks.
    vae_training, flow_training : how they are trained.
    """

    work: Path
    output: Path
    training_file: Path | None = None
    exclude: Path | None = None
    start: str | None = None
    device: str = "auto"
    vae: VAEConfig = field(default_factory=VAEConfig)
    vae_training: loop.LoopConfig = field(default_factory=loop.LoopConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    flow_training: fitflows.FlowTraining = field(default_factory=fitflows.FlowTraining)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Check every key and build the recipe.

        Raises
        ------
        ValueError : an unknown or missing key, or a value of the wrong type.
        """
        values = dict(values)
        _check_names("recipe", values, cls)
        for name in ("work", "output"):
            if values.get(name) is None:
                raise ValueError(f"The recipe has no {name!r}: add it, or give {name}=... ")
        for name in ("work", "output", "training_file", "exclude"):
            if values.get(name) is not None:
                values[name] = Path(values[name])
        for name, section in _SECTIONS.items():
            values[name] = _section(name, section, values.get(name) or {})
        return cls(**values)


def _check_names(where: str, values: Mapping[str, Any], section: Any) -> None:
    allowed = [f.name for f in fields(section)]
    for name in values:
        if name not in allowed:
            raise ValueError(f"Unknown key {name!r} in {where}; it takes {', '.join(allowed)}")


def _section(where: str, section: Any, values: Any):
    """Build one section's dataclass, each value of the type of its default."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a table of keys and values, not {values!r}")
    _check_names(where, values, section)
    default = section()
    checked = {}
    for name, value in values.items():
        like = getattr(default, name)
        checked[name] = tuple(value) if isinstance(like, tuple) else value
        if isinstance(like, float) and isinstance(value, int) and not isinstance(value, bool):
            checked[name] = float(value)
        if type(checked[name]) is not type(like):
            raise ValueError(f"{where}.{name} is {value!r}; it must be like {like!r}")
    return section(**checked)


def load(path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    path : YAML file with the attributes of `Recipe`.
    overrides : values by ``key`` or ``section.key``, that go before the file's.

    Raises
    ------
    OSError : the file cannot be read.
    ValueError : it is not YAML, or says what no recipe can.
    """
    try:
        values = yaml.safe_load(Path(path).read_text()) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold keys and values, not {type(values).__name__}")
    for key, value in (overrides or {}).items():
        *section, name = key.split(".")
        table = values
        for part in section:
            table = table.setdefault(part, {})
        table[name] = value
    return Recipe.from_dict(values)


def find_device(name: str) -> torch.device:
    """Return a torch device.

    Raises
    ------
    ValueError : no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda") and not name.startswith("cuda:"):
        raise ValueError(f"device is {name!r}; it must be 'auto', 'cpu', 'cuda' or 'cuda:N'")
    if name != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but torch finds no CUDA device: use 'cpu' or 'auto'")
    return torch.device(name)


def sources(real: Dataset | None, device: torch.device | str = "cpu") -> loop.Sources:
    """Tables for synthetic galaxies, and the training part of the real ones."""
    galaxies = None if real is None else RealGalaxies(real, ~real.valid).to(device)
    return loop.Sources(colour_table().to(device), PSFTable.hst().to(device), galaxies)


def without(data: Dataset, excluded: Path) -> Dataset:
    """Drop the galaxies that a table lists.

    Raises
    ------
    ValueError : a column is missing, or a galaxy listed is not in the file.
    """
    from astropy.table import Table

    table = Table.read(excluded)
    for name in ("source", "source_index"):
        if name not in table.colnames:
            raise ValueError(f"{excluded} has no column {name!r}; it has {table.colnames}")
    listed = set(zip(map(str, table["source"]), map(int, table["source_index"]), strict=True))
    present = list(zip(map(str, data.source), map(int, data.source_index), strict=True))
    unknown = sorted(listed - set(present))
    if unknown:
        raise ValueError(f"{excluded} lists {unknown[0]}, which is not in the training file")
    return data[np.array([galaxy not in listed for galaxy in present])]


def read_start(recipe: Recipe) -> modelfile.Model | None:
    """Read the weights that a recipe starts from.

    Raises
    ------
    OSError : no such weights.
    ValueError : they are not weights, or of other sizes than the recipe's.
    """
    if recipe.start is None:
        return None
    model = modelfile.read(modelfile.find(recipe.start))
    if model.vae.config != recipe.vae:
        raise ValueError(
            f"start: {recipe.start} has a VAE of other sizes than the recipe: {model.vae.config}; "
            "give these under 'vae', or no start"
        )
    return model


def provenance(real: Dataset | None, *configs) -> dict[str, str]:
    """Describe what a model was made of."""
    facts = {"synthetic": "galsim_vae.train.synthetic"}
    if real is not None:
        for name, rows in (("real_training", ~real.valid), ("real_held_out", real.valid)):
            facts[name] = json.dumps(dict(Counter(np.asarray(real.source)[rows].tolist())))
    facts |= {type(c).__name__: json.dumps(asdict(c)) for c in configs}
    return facts | {name: version(name) for name in ("galsim", "torch", "nflows")}


def run(recipe: Recipe) -> modelfile.Model:
    """Train VAE and flows and write the weights file.

    Raises
    ------
    OSError, ValueError : the training file, the list of excluded galaxies, the device or a
        checkpoint of another recipe cannot be used; found before any work.
    """
    device = find_device(recipe.device)
    recipe.output.parent.mkdir(parents=True, exist_ok=True)
    recipe.work.mkdir(parents=True, exist_ok=True)
    data = None if recipe.training_file is None else read(recipe.training_file)
    if data is not None and recipe.exclude is not None:
        data = without(data, recipe.exclude)
    start = read_start(recipe)
    galaxies = sources(data, device)
    torch.set_flush_denormal(True)
    with monitor.Monitor(recipe.work, galaxies) as watch:
        vae = loop.train(
            recipe.vae, recipe.vae_training, galaxies, recipe.work / "vae.ckpt",
            watch=watch, start=None if start is None else start.vae,
        )  # fmt: skip
    ranges = dict(DEFAULT_RANGES)
    flows = fitflows.train(vae, galaxies, ranges, recipe.flow, recipe.flow_training)
    facts = provenance(data, recipe.vae_training, recipe.flow_training)
    if start is not None:
        facts["start"] = start.sha256
    model = modelfile.Model(vae.cpu(), flows.cpu(), ranges, facts, recipe.flow)
    modelfile.write(recipe.output, model)
    logger.info("wrote %s", recipe.output)
    return model


def command(call: "Call") -> None:
    """``galsim-vae train RECIPE [key=value ...]``"""
    if len(call.files) != 1:
        raise ValueError(f"Give one recipe, such as weights/candels-small.yaml; not {call.files}")
    run(load(call.files[0], call.variables))
