"""Weights files: find, read, verify and write. Safetensors, never pickle."""

import copy
import functools
import hashlib
import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from galsim.errors import GalSimValueError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from galsim_vae.bands import BANDS, STAMP_SIZE
from galsim_vae.conditions import NAMES
from galsim_vae.devices import pinned_torch
from galsim_vae.files import write_whole

from .flow import FlowConfig, Flows
from .vae import VAE, VAEConfig

__all__ = [
    "FORMAT_VERSION",
    "KIND",
    "Model",
    "digest",
    "find",
    "kind",
    "read",
    "read_parts",
    "shipped",
    "verify",
    "write",
    "write_parts",
]

FORMAT_VERSION = 11
#: Of weights of pictures, as their header states it (`galsim_vae.model.picture_file`).
KIND = "pictures"
_SUFFIX = ".safetensors"
_FIELDS = ("format_version", "bands", "stamp_size", "vae", "flow", "ranges", "units", "provenance")
_UNITS = {"magnitude": "AB mag (F814W)", "half_light_radius": "arcsec", "g": "", "redshift": ""}


@dataclass
class Model:
    """A trained model.

    Attributes
    ----------
    vae : VAE
    flows : Flows
    ranges : dict of str to (low, high)
        Of each condition, what the model was trained for.
    provenance : dict of str to str
        Data, versions, seeds.
    flow_config : FlowConfig
        Sizes of the latent flow.
    sha256 : str
        Digest of header and weights, as the file states it ("" before it is written).
    """

    vae: VAE
    flows: Flows
    ranges: dict[str, tuple[float, float]]
    provenance: dict[str, str]
    flow_config: FlowConfig
    sha256: str = ""


def shipped() -> list[str]:
    """Return the names of the weights that come with the package."""
    folder = resources.files("galsim_vae.weights")
    names = (path.name for path in folder.iterdir())
    return sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))


def find(weights: str | os.PathLike) -> Path:
    """Return the path of a weights file given by shipped name or by path.

    Raises
    ------
    OSError
        There is no such file.
    """
    text = os.fspath(weights)
    if text in shipped():
        return Path(str(resources.files("galsim_vae.weights") / (text + _SUFFIX)))
    path = Path(text).expanduser()
    if path.is_file():
        return path
    raise OSError(
        f"weights {text!r}: neither a file nor a shipped name ({', '.join(shipped()) or 'none'}). "
        "Give one of these names or the path of a .safetensors file"
    )


def write(path: str | os.PathLike, model: Model) -> None:
    """Write a weights file; it appears under `path` only when complete."""
    header = {
        "format_version": str(FORMAT_VERSION),
        "bands": json.dumps(list(BANDS)),
        "stamp_size": str(STAMP_SIZE),
        "vae": json.dumps(model.vae.config.to_dict()),
        "flow": json.dumps(model.flow_config.to_dict()),
        "ranges": json.dumps(model.ranges),
        "units": json.dumps(_UNITS),
        "provenance": json.dumps(model.provenance, sort_keys=True),
    }
    write_parts(path, header, _networks(model))


def write_parts(
    path: str | os.PathLike, header: dict[str, str], networks: dict[str, torch.nn.Module]
) -> None:
    """Write a header and the weights of networks, with the digest that `verify` looks at.

    Parameters
    ----------
    path : str or path
        The file, which appears under its name only when complete.
    header : dict of str to str
        All of its fields, in the order in which `digest` takes them.
    networks : dict of str to Module
        By what the names of their weights begin with.
    """
    tensors = {
        prefix + name: value.detach().cpu().contiguous()
        for prefix, network in networks.items()
        for name, value in network.state_dict().items()
    }
    header = {**header, "sha256": digest(header, tensors, tuple(header))}

    def save(temporary: Path) -> None:
        save_file(tensors, temporary, metadata=header)
        os.chmod(temporary, 0o644)  # safetensors lets nobody else read it

    write_whole(path, save)


@pinned_torch()
def read(path: str | os.PathLike) -> Model:
    """Read and verify a weights file, once for each process and state of the file.

    Returns
    -------
    Model
        A copy of its own for each call, on the CPU.

    Raises
    ------
    OSError
        Not a safetensors file, truncated, or not one of galsim_vae.
    galsim.GalSimValueError
        Wrong format version, bands or stamp size; tensors missing, unexpected or of the wrong
        shape; a digest that does not match.
    """
    path = Path(path).resolve()
    state = path.stat()
    return copy.deepcopy(_read(path, state.st_size, state.st_mtime_ns))


@functools.lru_cache(maxsize=4)
def _read(path: Path, size: int, changed: int) -> Model:
    """Read and verify a file that has this size and was changed at this time."""
    header, tensors = read_parts(path, _FIELDS)
    _check_header(path, header)
    verify(path, header, tensors, _FIELDS)
    # Networks begin with random numbers, which are not to be those of the host program.
    with torch.random.fork_rng(devices=[]):
        return _build(path, header, tensors)


def kind(path: str | os.PathLike) -> str:
    """Return what a weights file is of: `KIND`, or "galaxies".

    Raises
    ------
    OSError
        Not a complete safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("kind", "galaxies")
    except SafetensorError as error:
        raise _not_complete(path, error) from error


def read_parts(
    path: str | os.PathLike, fields: tuple[str, ...]
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read header and tensors of a weights file.

    Parameters
    ----------
    path : str or path
        The file.
    fields : tuple of str
        What its header must have.

    Returns
    -------
    header : dict of str to str
        With the ``sha256``.
    tensors : dict of str to tensor
        The weights.

    Raises
    ------
    OSError
        Not a safetensors file, truncated, or not one of galsim_vae.
    galsim.GalSimValueError
        Weights of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise _not_complete(path, error) from error
    if ("kind" in fields) != (header.get("kind") == KIND):
        other = "galaxies; give weights of pictures" if "kind" in fields else (
            "pictures, which galsim-vae encode, map, hunt and classify use: it draws no galaxies"
        )
        raise GalSimValueError(f"{path}: weights of {other}", header.get("kind"))
    missing = [name for name in (*fields, "sha256") if name not in header]
    if missing:
        raise OSError(f"{path}: not a galsim_vae weights file; its header lacks {missing}")
    return header, tensors


def verify(
    path: str | os.PathLike,
    header: dict[str, str],
    tensors: dict[str, Tensor],
    fields: tuple[str, ...],
) -> None:
    """Raise galsim.GalSimValueError if what `read_parts` gave is not what was written."""
    if digest(header, tensors, fields) != header["sha256"]:
        raise GalSimValueError(
            f"{path}: contents do not match their sha256; the file was changed or damaged. "
            "Copy it again",
            header["sha256"],
        )


def _not_complete(path, error: Exception) -> OSError:
    return OSError(f"{path}: not a complete safetensors file ({error}). Copy or download it again")


def _check_header(path, header: dict[str, str]) -> None:
    expected = {
        "bands": json.dumps(list(BANDS)),
        "stamp_size": str(STAMP_SIZE),
        "units": json.dumps(_UNITS),
        "format_version": str(FORMAT_VERSION),
    }
    for name, value in expected.items():
        if header[name] != value:
            raise GalSimValueError(
                f"{path}: {name} does not fit this version of galsim_vae, which needs {value}. "
                "Use weights made for it",
                header[name],
            )


def _build(path, header: dict[str, str], tensors: dict[str, Tensor]) -> Model:
    stray = [name for name in tensors if not name.startswith(("vae.", "flows."))]
    if stray:
        raise GalSimValueError(f"{path}: unexpected tensors", stray)
    try:
        vae = VAE(VAEConfig.from_dict(json.loads(header["vae"])))
        ranges = {name: (low, high) for name, (low, high) in json.loads(header["ranges"]).items()}
        if set(ranges) != set(NAMES) or any(not low < high for low, high in ranges.values()):
            raise ValueError(f"ranges {ranges}")
        flow_config = FlowConfig(**json.loads(header["flow"]))
        flows = Flows(vae.config.latent, ranges, flow_config)
        facts = json.loads(header["provenance"])
    except (ValueError, KeyError, TypeError) as error:
        raise GalSimValueError(f"{path}: header that cannot be read", str(error)) from error
    model = Model(vae, flows, ranges, facts, flow_config, header["sha256"])
    for prefix, network in _networks(model).items():
        part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        try:
            for name, value in network.state_dict().items():
                if name in part and part[name].dtype != value.dtype:
                    raise RuntimeError(f"{name} is {part[name].dtype}, not {value.dtype}")
            network.load_state_dict(part, strict=True)
        except RuntimeError as error:
            raise GalSimValueError(
                f"{path}: tensors do not fit the network: {error}", prefix
            ) from error
        network.requires_grad_(False).eval()
    return model


def _networks(model: Model) -> dict[str, torch.nn.Module]:
    return {"vae.": model.vae, "flows.": model.flows}


def digest(
    header: dict[str, str], tensors: dict[str, Tensor], fields: tuple[str, ...] = _FIELDS
) -> str:
    """Return the sha256 of header and tensors, whatever their order in the file.

    Parameters
    ----------
    header : dict
        Of the file; its own ``sha256`` does not count.
    tensors : dict of str to tensor
        The weights.
    fields : tuple of str
        Of the header, that are covered.
    """
    found = hashlib.sha256()
    for name in fields:
        found.update(f"{name}={header[name]}\n".encode())
    for name in sorted(tensors):
        value = tensors[name]
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
