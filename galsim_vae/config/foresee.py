"""What GalSim will ask for next: the keys of the objects to come, read from a copy of the config.

With a fixed ``random_seed`` they are known beforehand. The copy has deviates of its own, and the
reading of an object ends where its galaxy would be made.
"""

from __future__ import annotations

import time
import warnings
from typing import Any, NamedTuple

import galsim.config
from galsim.config.gsobject import SkipThisObject, valid_gsobject_types
from galsim.config.value import valid_value_types

from .ahead import Span
from .copies import copy_config, fields_of_user
from .generator import GeneratorInput
from .rehearsal import rehearse

__all__ = ["Asked", "can_foresee", "following", "only_foreseen"]

_KEY = "_vae_foresight"
# Packages whose types have no state that reading ahead would disturb.
_STATELESS = ("galsim", "galsim_vae")
# Longest that it may take to foresee a galaxy, in seconds of the processor: a PSF may be slow.
_SLOW = 2e-3


class Asked(NamedTuple):
    """A galaxy that is asked for: its conditions by name, its seed, and the input it is from."""

    conditions: dict[str, Any]
    seed: int
    source: GeneratorInput

    @property
    def key(self) -> tuple:
        """What the galaxy depends on."""
        return (*self.conditions.items(), self.seed, self.source.settings)


class _Foreseen(Exception):
    """Ends the reading of an object's keys at its VAEGalaxy."""

    def __init__(self, asked: Asked | None):
        super().__init__()
        self.asked = asked


def only_foreseen(base: dict, asked: Asked | None) -> None:
    """Go no further where the config is a copy, in which galaxies are only foreseen.

    None is for a galaxy that is not to be decoded from its conditions.
    """
    if _KEY in base:
        raise _Foreseen(asked)


def following(base: dict, span: Span, count: int) -> list[Asked | None]:
    """Return what the objects after the present one will ask for.

    Parameters
    ----------
    base : dict
        The config.
    span : Span
        Where to end.
    count : int
        Objects at most.

    Returns
    -------
    list
        An object's entry is None if it makes no new VAEGalaxy. Fewer than `count` where the span
        ends, where reading takes long, and before an object that cannot be read.
    """
    found: list[Asked | None] = []
    present, image = base.get("obj_num", 0), base.get("image_num", 0)
    numbers = range(present + 1, min(present + 1 + count, span.stop))
    if not numbers:
        return found
    start = time.thread_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            copy = _copied(base)
            for number in numbers:
                if span.one_an_image:
                    galsim.config.SetupConfigImageNum(copy, image + number - present, number)
                found.append(_foresee(copy, number))
                if time.thread_time() - start > _SLOW * (len(found) + 2):
                    break
        except Exception:  # GalSim will find it, and say so, when it comes to that object
            pass
    return found


def _copied(base: dict) -> dict:
    """A config to read in, which writes nothing."""
    copy = copy_config(base)
    copy[_KEY] = True
    copy.pop("gd", None)
    copy["output"] = {}
    return copy


def _foresee(copy: dict, number: int) -> Asked | None:
    """Read an object's keys up to its galaxy."""
    try:
        rehearse(copy, number)
    except SkipThisObject:
        return None
    except _Foreseen as foreseen:
        return foreseen.asked
    return None


def can_foresee(base: dict) -> bool:
    """Return whether all that is read is GalSim's or this package's, and follows from the seed.

    Other code may have a state of its own, which reading ahead would disturb.
    """
    fields = [base.get(name) for name in ("stamp", "image", "psf", "gal", "eval_variables")]
    fields += fields_of_user(base).values()  # any may refer to them by @
    return (
        "random_seed" in base.get("image", {})
        and ("input" not in base or "_input_objs" in base)
        and base.get("stamp", {}).get("type") == "Basic"
        and all(_is_known(field, base) for field in fields)
    )


def _is_known(field: Any, base: dict) -> bool:
    if isinstance(field, list):
        return all(_is_known(item, base) for item in field)
    if isinstance(field, str) and field.startswith("$"):
        return _is_pure(field, base)
    if not isinstance(field, dict):
        return True
    name = str(field.get("type"))
    builders = [
        entry[0] if isinstance(entry, tuple) else entry
        for entry in (valid_value_types.get(name), valid_gsobject_types.get(name))
        if entry is not None
    ]
    return (
        all(builder.__module__.partition(".")[0] in _STATELESS for builder in builders)
        and (name != "Eval" or _is_pure(str(field.get("str")), base))
        and all(
            _is_known(value, base)
            for key, value in field.items()
            if key != "current" and not str(key).startswith("_")
        )
    )


def _is_pure(expression: str, base: dict) -> bool:
    """Whether an expression cannot move a state that another reading of it would find moved."""
    modules = base.get("modules", [])
    return "random" not in expression and all(
        str(module).partition(".")[0] in _STATELESS for module in modules
    )
