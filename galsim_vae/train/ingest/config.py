"""The configuration of ``galsim-vae ingest``: which readers, with which parameters.

For example::

    output: real.h5
    data: ../shared/data
    inputs:
      xdf:
        type: mosaic
        bands: { F606W: { image: "{data}/f606w.fits[SCI]", rms: ..., psf: HST } }

In every string ``{key}`` stands for a value of the top level.
"""

import inspect
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import galsim
import yaml

from galsim_vae.cli.call import Call
from galsim_vae.train.readers import SegmentReader, StampReader
from galsim_vae.train.readers.cosmos import CosmosReader
from galsim_vae.train.readers.mosaic import MosaicReader
from galsim_vae.train.readers.source import Reader

from .report import write_report
from .run import ingest

__all__ = ["TYPES", "build", "command", "load"]

logger = logging.getLogger(__name__)

TYPES: dict[str, Any] = {
    "mosaic": MosaicReader,
    "cosmos": CosmosReader,
    "stamps": StampReader,
    "segments": SegmentReader,
}
SEED = 20240229


def load(path, variables: Mapping[str, Any] | None = None, file_type: str | None = None) -> dict:
    """Read a configuration file and fill in ``{key}``.

    Parameters
    ----------
    path : YAML or JSON.
    variables : set after reading; ``a.b`` is ``b`` in the table ``a``.
    file_type : "yaml" or "json"; by the file's name if absent.

    Raises
    ------
    OSError : no such file.
    galsim.GalSimConfigError : it cannot be parsed, or is not a table.
    """
    text = Path(path).read_text()
    kind = file_type or ("json" if Path(path).suffix == ".json" else "yaml")
    try:
        config = json.loads(text) if kind == "json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise galsim.GalSimConfigError(f"{path} is not {kind}: {error}") from error
    if not isinstance(config, dict):
        raise galsim.GalSimConfigError(f"{path} must be a table of keys and values")
    for key, value in (variables or {}).items():
        *parents, last = key.split(".")
        table = config
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise galsim.GalSimConfigError(f"{key}: {parent} is not a table")
        table[last] = value
    words = {key: str(value) for key, value in config.items() if not isinstance(value, dict | list)}
    return _fill(config, words)


def _fill(value: Any, words: dict[str, str]) -> Any:
    """Replace ``{key}`` in every string of nested tables and lists."""
    if isinstance(value, dict):
        return {key: _fill(part, words) for key, part in value.items()}
    if isinstance(value, list):
        return [_fill(part, words) for part in value]
    if isinstance(value, str):
        for key, word in words.items():
            value = value.replace("{" + key + "}", word)
    return value


def build(inputs: Mapping[str, Mapping[str, Any]]) -> list[Reader]:
    """Make the readers of the table ``inputs``: name to ``type`` and its parameters.

    Raises
    ------
    OSError : a file is missing.
    galsim.GalSimConfigError : an unknown type or parameter, or one that is missing.
    """
    if not isinstance(inputs, Mapping) or not inputs:
        raise galsim.GalSimConfigError("The configuration has no inputs")
    readers = []
    for name, spec in inputs.items():
        if spec is None:  # `inputs.xdf=null` on the command line leaves one out
            continue
        parameters = dict(spec)
        kind = parameters.pop("type", None)
        if kind not in TYPES:
            raise galsim.GalSimConfigValueError(f"Type of input {name}", kind, list(TYPES))
        signature = inspect.signature(TYPES[kind])
        allowed = [p for p in signature.parameters if p != "name"]
        for key in parameters:
            if key not in allowed:
                raise galsim.GalSimConfigValueError(f"Unknown key of input {name}", key, allowed)
        for key, parameter in signature.parameters.items():
            required = parameter.default is inspect.Parameter.empty
            if required and key != "name" and key not in parameters:
                raise galsim.GalSimConfigError(f"Input {name} ({kind}) needs {key}")
        readers.append(TYPES[kind](name=name, **parameters))
    return readers


def command(call: Call) -> None:
    """Run ``galsim-vae ingest CONFIG [key=value ...]``."""
    if len(call.files) != 1:
        raise galsim.GalSimConfigError(f"Give one configuration file, not {call.files}")
    config = load(call.files[0], call.variables, call.file_type)
    output = config.get("output")
    if not output:
        raise galsim.GalSimConfigError("Give output=TRAINING_FILE")
    inputs = config.get("inputs", {})
    counts = ingest(build(inputs), output, config.get("seed", SEED), _recipe(inputs))
    for source in dict.fromkeys(name for name, _ in counts):
        taken = counts[source, ""]
        logger.info(
            "%s: %d of %d", source, taken, sum(n for (s, _), n in counts.items() if s == source)
        )
    print(f"{output}: {sum(n for (_, reason), n in counts.items() if not reason)} galaxies")
    folder = config.get("report") or f"{Path(output).with_suffix('')}_report"
    print(f"report: {write_report(output, folder)}")


def _recipe(inputs) -> str:
    """Text that tells one set of inputs from another: parts of an unfinished run depend on it."""
    return json.dumps(inputs, sort_keys=True, default=str)
