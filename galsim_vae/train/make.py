"""The recipe of the shipped weights, from training file to weights file.

    python -m galsim_vae.train.make --real real.h5 --work run/ --output weights/candels.safetensors

Interrupted, it goes on from the last checkpoint in the work folder.
"""

import argparse
import json
import logging
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from galsim_vae import modelfile
from galsim_vae.conditions import NAMES
from galsim_vae.flow import FlowConfig
from galsim_vae.train import fitflows, loop, population
from galsim_vae.train.colours import colour_table
from galsim_vae.train.dataset import Dataset, read
from galsim_vae.train.observe import PSFTable, RealGalaxies
from galsim_vae.vae import VAEConfig


def sources(real: Dataset | None) -> loop.Sources:
    """Tables for synthetic galaxies, and the training part of the real ones."""
    galaxies = None if real is None else RealGalaxies(real, ~real.valid)
    return loop.Sources(colour_table(), PSFTable.hst(), galaxies)


def provenance(real: Dataset | None, *configs) -> dict[str, str]:
    """Describe what a model was made of."""
    facts = {"synthetic": "galsim_vae.train.synthetic, galaxies of galsim_vae.train.population"}
    if real is not None:
        for name, rows in (("real_training", ~real.valid), ("real_held_out", real.valid)):
            facts[name] = json.dumps(dict(Counter(np.asarray(real.source)[rows].tolist())))
    facts |= {type(c).__name__: json.dumps(asdict(c)) for c in configs}
    return facts | {name: version(name) for name in ("galsim", "torch", "nflows")}


def make(real: Path | None, work: Path, output: Path, config: loop.LoopConfig) -> modelfile.Model:
    """Train VAE and flows and write the weights file."""
    data = None if real is None else read(real)
    galaxies = sources(data)
    flow, fit = FlowConfig(), fitflows.FlowTraining()
    vae = loop.train(VAEConfig(), config, galaxies, work / "vae.ckpt")
    ranges = {name: population.RANGES[name] for name in NAMES}
    flows = fitflows.train(vae, galaxies, ranges, flow, fit)
    model = modelfile.Model(vae, flows, ranges, provenance(data, config, fit), flow)
    modelfile.write(output, model)
    return model


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the weights that ship.")
    parser.add_argument("--real", type=Path, help="training file of galsim_vae.train.real")
    parser.add_argument("--work", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--output", type=Path, required=True, help="weights file to write")
    parser.add_argument("--steps", type=int, default=loop.LoopConfig.steps)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_flush_denormal(True)
    options.work.mkdir(parents=True, exist_ok=True)
    make(options.real, options.work, options.output, loop.LoopConfig(steps=options.steps))


if __name__ == "__main__":
    main()
