"""From a YAML recipe to a weights file: VAE, then flows.

    galsim-vae train weights/candels.yaml training_file=real.h5 work=run

Interrupted anywhere, it goes on and ends as if it had not been; at most five minutes of work are
lost. The work folder holds

====================== ===========================================================================
vae.ckpt               the autoencoder: network, its moving average, optimiser, random state, step
colours.ckpt           what lends colours to bands that were not observed, as vae.ckpt
encoded.ckpt           synthetic galaxies encoded for the flows, as many as are done
population_flow.ckpt   the flow of the conditions, as vae.ckpt
encoded_real.ckpt      real galaxies encoded
traits.ckpt            traits of all encoded galaxies, as many as are done
trait_flow.ckpt        the flow of the traits, as vae.ckpt
latent_flow.ckpt       the flow of the latents, as vae.ckpt
critic.ckpt            the same in its last steps, with the critic that judges it, as vae.ckpt
tensorboard/           curves of the autoencoder's training
contact_sheet.png      galaxies, data and model, drawn whenever vae.ckpt is written
====================== ===========================================================================

A checkpoint states all that it depends on (recipe, data, `constants`, kind of device, for the flows
the autoencoder), and is refused where any of these is another.
"""

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.table import Table

from galsim_vae import settings
from galsim_vae.conditions import DEFAULT_RANGES
from galsim_vae.devices import find_device, pinned_torch
from galsim_vae.files import output_file, output_folder
from galsim_vae.frame.frames import DEFAULT, Frame
from galsim_vae.model import file as modelfile
from galsim_vae.model.flow import FlowConfig, Flows
from galsim_vae.model.vae import VAE, VAEConfig
from galsim_vae.tables import read_table
from galsim_vae.train.synthetic.colours import colour_table
from galsim_vae.train.training_file import Dataset, check_frame, read

from . import autoencoder as loop
from . import constants, flow_constants, lent, monitor
from . import flows as fitflows
from .checkpoint import read_runs
from .observe import RadialPSFTable
from .real import RealGalaxies

__all__ = [
    "Recipe",
    "load",
    "provenance",
    "read_start",
    "sources",
    "train",
    "training_settings",
    "without",
]

_STAGES = (
    *("vae", "colours", "encoded", "population_flow", "encoded_real"),
    *("traits", "trait_flow", "latent_flow", "critic"),
)


@dataclass(frozen=True)
class Recipe:
    """Everything that a weights file is made from.

    Attributes
    ----------
    work : Path
        Folder of checkpoints, tensorboard log and contact sheets.
    output : Path
        Weights file to write.
    training_file : Path, optional
        Real galaxies, from ``galsim-vae ingest``; None trains on synthetic ones only.
    exclude : Path, optional
        Table (ECSV) of galaxies to leave out, with columns source and source_index.
    start : str, optional
        Weights whose VAE is trained further, a shipped name or a path; the sizes of `vae` must be
        theirs. None starts from random numbers.
    device : str
        "cpu", "cuda" or "auto" (CUDA if there is one).
    vae : VAEConfig
        Sizes of the autoencoder.
    flow : FlowConfig
        Sizes of the flows.
    vae_training : LoopConfig
        How the autoencoder is trained.
    flow_training : FlowTraining
        How the flows are trained.
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

        Parameters
        ----------
        values : dict
            The keys of a recipe file and their values.

        Returns
        -------
        Recipe
            With defaults where a key is absent.

        Raises
        ------
        galsim.GalSimConfigError
            An unknown or missing key, or a value of the wrong type.
        """
        return settings.build(cls, values)


def load(path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    path : str or Path
        YAML file with the attributes of `Recipe`.
    overrides : dict, optional
        Values by ``key`` or ``section.key``, that go before the file's.

    Raises
    ------
    OSError
        The file cannot be read.
    galsim.GalSimConfigError
        It is not YAML, or says what no recipe can.
    """
    return Recipe.from_dict(settings.load(path, overrides))


@contextlib.contextmanager
def training_settings() -> Iterator[None]:
    """Put torch's settings to those of training, and then back.

    Those that galaxies are defined with (`galsim_vae.devices.pinned_torch`), but for denormal
    numbers, with which a processor is slow: they are flushed.
    """
    with pinned_torch():
        torch.set_flush_denormal(True)
        try:
            yield
        finally:
            torch.set_flush_denormal(False)


def sources(
    real: Dataset | None, device: torch.device | str = "cpu", frame: Frame = DEFAULT
) -> loop.Sources:
    """Tables for synthetic galaxies, and the training part of the real ones.

    Raises
    ------
    galsim.GalSimValueError : the real galaxies are in another frame.
    """
    galaxies = None
    if real is not None:
        check_frame(real, frame)
        galaxies = RealGalaxies(real, ~real.valid).to(device)
    psfs = RadialPSFTable.hst().to(device)
    return loop.Sources(colour_table().to(device), psfs, galaxies, frame)


def without(data: Dataset, excluded: Path) -> Dataset:
    """Drop the galaxies that a table lists.

    Raises
    ------
    ValueError
        A column is missing, or a galaxy listed is not in the file.
    """
    table = read_table(os.fspath(excluded), Table)
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
    OSError
        No such weights.
    ValueError
        They are not weights, or of other sizes than the recipe's.
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


def provenance(recipe: Recipe, real: Dataset | None) -> dict[str, str]:
    """Describe what a model was made of, when all of it is done.

    Parameters
    ----------
    recipe : Recipe
    real : Dataset, optional
        The galaxies that the recipe takes.

    Returns
    -------
    dict of str to str
        Among others ``recipe``, every value of it; ``training_file_sha256``; and for each stage the
        steps, hours, machine and code of its runs (`circumstances`).
    """
    facts = {"synthetic": "galsim_vae.train.synthetic"}
    if real is not None and recipe.training_file is not None:
        with open(recipe.training_file, "rb") as file:
            facts["training_file_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        for name, rows in (("real_training", ~real.valid), ("real_held_out", real.valid)):
            facts[name] = json.dumps(dict(Counter(np.asarray(real.source)[rows].tolist())))
    facts["recipe"] = json.dumps(_flat(asdict(recipe)))
    for stage in _STAGES:
        path = recipe.work / f"{stage}.ckpt"
        if path.exists():
            facts[stage] = json.dumps(_runs(path))
    numbers = constants.recorded() | lent.recorded() | flow_constants.recorded()
    facts["constants"] = json.dumps(numbers)
    return facts | {name: version(name) for name in ("galsim", "torch", "nflows")}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a table of ``section.key``; of paths the names, since folders are a machine's own."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[prefix + key] = value.name if isinstance(value, Path) else value
    return flat


def _runs(path: Path) -> dict[str, Any]:
    """Return the runs of a stage by number, with hours in place of seconds."""
    runs = [dict(run) for run in read_runs(path)]
    for run in runs:
        run["hours"] = round(run.pop("seconds") / 3600, 3)
    return {str(number): run for number, run in enumerate(runs, 1)}


def train(recipe: Recipe) -> modelfile.Model:
    """Train VAE and flows and write the weights file.

    Parameters
    ----------
    recipe : Recipe
        What to train, and where to write.

    Returns
    -------
    Model
        What the weights file holds.

    Raises
    ------
    OSError, ValueError
        The training file, the list of excluded galaxies or the device cannot be used, which is
        found before any work; or a checkpoint is of another recipe.
    """
    device = find_device(recipe.device)
    output_folder(recipe.work)
    output_folder(recipe.output.parent)
    output = output_file(recipe.output)
    data = None if recipe.training_file is None else read(recipe.training_file)
    if data is not None:
        check_frame(data, recipe.vae.canonical_frame)
    if data is not None and recipe.exclude is not None:
        data = without(data, recipe.exclude)
    start = read_start(recipe)
    with training_settings():
        vae, flows = _networks(recipe, sources(data, device, recipe.vae.canonical_frame), start)
    facts = provenance(recipe, data)
    if start is not None:
        facts["start"] = start.sha256
    ranges = dict(DEFAULT_RANGES)
    model = modelfile.Model(vae.cpu(), flows.cpu(), ranges, facts, recipe.flow)
    modelfile.write(output, model)
    return model


def _networks(
    recipe: Recipe, galaxies: loop.Sources, start: modelfile.Model | None
) -> tuple[VAE, Flows]:
    """Train the autoencoder and then the flows."""
    with monitor.Monitor(recipe.work, galaxies) as watch:
        vae = loop.train(
            recipe.vae, recipe.vae_training, galaxies, recipe.work,
            watch=watch, start=None if start is None else start.vae,
        )  # fmt: skip
    lent.train(vae, galaxies, recipe.vae_training.seed, recipe.work)
    flows = fitflows.train(
        vae, galaxies, DEFAULT_RANGES, recipe.flow, recipe.flow_training, recipe.work
    )
    return vae, flows
