"""The configuration of an ingest: which readers, with which parameters.

For example::

    output: real.h5
    data: ../shared/data
    inputs:
      xdf:
        type: mosaic
        bands: { F606W: { image: "{data}/f606w.fits[SCI]", rms: ..., psf: HST } }

With ``include: other.yaml`` all that the other file says holds, but for what this one says
otherwise. In every string ``{key}`` stands for a value of the top level. A key of the top level
that is not an attribute of `IngestConfig` must be used in this way, or begin with an underscore.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from galsim.errors import GalSimConfigError, GalSimConfigValueError

from galsim_vae.frame.frames import DEFAULT, find_frame
from galsim_vae.settings import build, load
from galsim_vae.train.readers import SegmentReader, StampReader
from galsim_vae.train.readers.cosmos import CosmosReader
from galsim_vae.train.readers.mosaic import MosaicReader
from galsim_vae.train.readers.source import Reader

__all__ = ["TYPES", "IngestConfig", "build_readers"]

#: What can be an input, by its ``type``.
TYPES: dict[str, Any] = {
    "mosaic": MosaicReader,
    "cosmos": CosmosReader,
    "stamps": StampReader,
    "segments": SegmentReader,
}


@dataclass(frozen=True)
class IngestConfig:
    """What `galsim_vae.train.ingest.ingest` is to do.

    Attributes
    ----------
    output : Path
        Training file to write.
    inputs : mapping
        The ``type`` and parameters of each reader by its name; None leaves one out.
    seed : int
        Names a run: parts made with another one are refused.
    report : Path or None
        Folder of the report; None for one beside the output.
    same : Path or None
        Table of stamps that show one galaxy, which no positions tell of; see `same.read_pairs`.
    frame : str
        Canonical frame, "upright" or "round": that of the weights which are to be trained.
    """

    output: Path
    inputs: Mapping[str, Any]
    seed: int = 20240229
    report: Path | None = None
    same: Path | None = None
    frame: str = DEFAULT.name

    def __post_init__(self):
        find_frame(self.frame)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> IngestConfig:
        """Read what is included, fill in ``{key}`` and check the keys of the top level.

        Raises
        ------
        OSError
            The included file cannot be read.
        galsim.GalSimConfigError
            A key is missing.
        galsim.GalSimConfigValueError
            An unknown key, or a value of another type.
        """
        values = _with_included(values)
        words = {k: str(v) for k, v in values.items() if not isinstance(v, dict | list | None)}
        used: set[str] = set()
        filled = _fill(dict(values), words, used)
        own = [field.name for field in fields(cls)]
        spare = {name for name in filled if name in used or str(name).startswith("_")} - set(own)
        return build(cls, {name: value for name, value in filled.items() if name not in spare})

    def readers(self) -> list[Reader]:
        """Make the readers; see `build_readers`."""
        return build_readers(self.inputs)

    def recipe(self) -> str:
        """Return a text that tells one set of inputs from another.

        Parts of an unfinished run depend on it.
        """
        return json.dumps(self.inputs, sort_keys=True, default=str)


def _with_included(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a configuration with those of the file that it includes."""
    own = dict(values)
    if (path := own.pop("include", None)) is None:
        return own
    if not isinstance(path, str):
        raise GalSimConfigValueError("include must be the path of a configuration file.", path)
    base = load(path)
    if "include" in base:
        raise GalSimConfigValueError(f"{path} is included, and cannot include", base["include"])
    return _merged(base, own)


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of both tables; in those of both, `own` goes first."""
    both = {
        key: _merged(base[key], own[key])
        for key in base.keys() & own.keys()
        if isinstance(base[key], dict) and isinstance(own[key], dict)
    }
    return {**base, **own, **both}


def _fill(value: Any, words: Mapping[str, str], used: set[str]) -> Any:
    """Replace ``{key}`` in every string of nested tables and lists, and note the keys."""
    if isinstance(value, dict):
        return {key: _fill(part, words, used) for key, part in value.items()}
    if isinstance(value, list):
        return [_fill(part, words, used) for part in value]
    if isinstance(value, str):
        for key, word in words.items():
            if "{" + key + "}" in value:
                used.add(key)
                value = value.replace("{" + key + "}", word)
    return value


def build_readers(inputs: Mapping[str, Mapping[str, Any] | None]) -> list[Reader]:
    """Make the readers of a table: name to ``type`` and its parameters.

    Raises
    ------
    OSError
        A file is missing.
    galsim.GalSimConfigError
        No input, or a parameter is missing.
    galsim.GalSimConfigValueError
        An unknown type or parameter, or a value of another type.
    """
    readers = []
    for name, spec in inputs.items():
        if spec is None:  # `inputs.xdf=null` on the command line leaves one out
            continue
        place = f"inputs.{name}"
        if not isinstance(spec, Mapping):
            raise GalSimConfigValueError(f"{place} must be a table of keys and values.", spec)
        parameters = dict(spec)
        kind = parameters.pop("type", None)
        if kind not in TYPES:
            raise GalSimConfigValueError(f"{place}.type is unknown.", kind, list(TYPES))
        readers.append(build(TYPES[kind], parameters, place, name=str(name)))
    if not readers:
        raise GalSimConfigError("The configuration has no inputs")
    return readers
