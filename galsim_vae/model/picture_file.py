"""Weights files of pictures: read, verify and write. Safetensors, never pickle."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from galsim.errors import GalSimValueError

from galsim_vae.devices import pinned_torch

from .file import KIND, read_parts, verify, write_parts
from .flow import CouplingFlow, FlowConfig
from .pictures import PictureConfig, PictureVAE, picture_flow

__all__ = ["PictureModel", "read", "write"]

_VERSION = "2"
_FIELDS = ("kind", "format_version", "vae", "flow", "provenance")


@dataclass
class PictureModel:
    """A trained autoencoder of pictures.

    Attributes
    ----------
    vae : PictureVAE
        Its configuration has the bands.
    flow : CouplingFlow
        Of the latents, without conditions.
    provenance : dict of str to str
        Data, held-out rows, settings.
    flow_config : FlowConfig
        Sizes of the flow.
    sha256 : str
        Digest of header and weights, as the file states it ("" before it is written).
    """

    vae: PictureVAE
    flow: CouplingFlow
    provenance: dict[str, str]
    flow_config: FlowConfig
    sha256: str = ""


def write(path: str | os.PathLike, model: PictureModel) -> None:
    """Write a weights file; it appears under `path` only when complete."""
    header = {
        "kind": KIND,
        "format_version": _VERSION,
        "vae": json.dumps(model.vae.config.to_dict()),
        "flow": json.dumps(model.flow_config.to_dict()),
        "provenance": json.dumps(model.provenance, sort_keys=True),
    }
    write_parts(path, header, {"vae.": model.vae, "flow.": model.flow})


@pinned_torch()
def read(path: str | os.PathLike) -> PictureModel:
    """Read and verify a weights file of pictures.

    Raises
    ------
    OSError
        Not a safetensors file, truncated, or not one of galsim_vae.
    galsim.GalSimValueError
        Another kind or version; tensors that do not fit; a digest that does not match.
    """
    path = Path(path)
    header, tensors = read_parts(path, _FIELDS)
    for name, value in (("kind", KIND), ("format_version", _VERSION)):
        if header[name] != value:
            raise GalSimValueError(f"{path}: {name} must be {value}", header[name])
    verify(path, header, tensors, _FIELDS)
    try:
        flow_config = FlowConfig(**json.loads(header["flow"]))
        with torch.random.fork_rng(devices=[]):
            vae = PictureVAE(PictureConfig.from_dict(json.loads(header["vae"])))
            flow = picture_flow(vae.config.latent, flow_config)
        for prefix, network in (("vae.", vae), ("flow.", flow)):
            part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            network.load_state_dict(part, strict=True)
            network.requires_grad_(False).eval()
        facts = json.loads(header["provenance"])
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise GalSimValueError(f"{path}: not a network that can be built", str(error)) from error
    return PictureModel(vae, flow, facts, flow_config, header["sha256"])
