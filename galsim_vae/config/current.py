"""The galaxy that GalSim is about: what was built last, for the values that describe it."""

from __future__ import annotations

from typing import Any, NamedTuple

import galsim
import galsim.config

from galsim_vae.filters import Truth

from .generator import GeneratorInput

__all__ = ["Current", "current", "place", "remember"]

_KEY = "_vae_current"


class Current(NamedTuple):
    """A galaxy that has been built: what is true of it, the input that it is from, and its row."""

    truth: Truth
    source: GeneratorInput
    row: int | None = None


def remember(base: dict, found: Current) -> None:
    """Note the galaxy of this object, and of those that GalSim will make of the same one."""
    base[_KEY] = (place(base), found)


def current(base: dict) -> Current | None:
    """Return the VAEGalaxy that was built last for this object; None if there is none yet."""
    where, found = base.get(_KEY, (None, None))
    if found is None or where != place(base):
        return None
    step = _in_ring(base)
    if step:
        stamp = _field(base, "stamp")
        turn = _parsed(stamp, "full_rotation", galsim.Angle, base) * (step / _number(stamp, base))
        shape = found.truth.ellipticity
        turned = galsim.Shear(g=shape.g, beta=shape.beta + turn)
        found = found._replace(truth=found.truth._replace(ellipticity=turned))
    return found


def place(base: dict) -> tuple[int, int]:
    """Return the file, and the object for which GalSim builds the galaxy that this object has."""
    number = base.get("obj_num", 0)
    gal = _field(base, "gal")
    if "repeat" in gal:
        number -= number % _parsed(gal, "repeat", int, base)
    return base.get("file_num", 0), number - _in_ring(base)


def _in_ring(base: dict) -> int:
    """How many places of a Ring stamp this object is behind the one that was built."""
    stamp = _field(base, "stamp")
    if stamp.get("type") != "Ring" or "index" not in stamp:
        return 0
    return _parsed(stamp, "index", int, base) % _number(stamp, base)


def _field(base: dict, name: str) -> dict:
    """A field of the config; empty where it is not written out (``gal: @other``)."""
    field = base.get(name)
    return field if isinstance(field, dict) else {}


def _number(stamp: dict, base: dict) -> int:
    return _parsed(stamp, "num", int, base)


def _parsed(field: dict, key: str, kind: type, base: dict) -> Any:
    return galsim.config.ParseValue(field, key, base, kind)[0]
