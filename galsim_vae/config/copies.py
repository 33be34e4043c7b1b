"""Copies of a config in which values may be read ahead: the config itself is not changed by it."""

from __future__ import annotations

from typing import Any

import galsim.config
from galsim.config.process import rng_fields, top_level_fields

__all__ = ["copy_config", "fields_of_user"]

# What GalSim keeps beside the fields. Reading values changes none of it.
_STATE = {"_input_objs", "_input_manager", "_eval_gdict", "_skipped_obj_nums"}


def copy_config(base: dict) -> dict:
    """Return a config that has values and deviates of its own, and shares its inputs.

    `galsim.config.CopyConfig` copies GalSim's own fields only. Here the user's are copied too
    (``_extra: {x: {type: Random}}``, used as ``'@_extra.x'``), as each keeps its last value.
    """
    ours = galsim.config.CopyConfig(base)
    ours.update({name: _copied(field) for name, field in fields_of_user(base).items()})
    if "_input_objs" in ours:
        ours["_input_objs"] = {key: list(found) for key, found in ours["_input_objs"].items()}
    return ours


def fields_of_user(base: dict) -> dict[str, Any]:
    """Return the fields that are neither GalSim's own nor a state of GalSim or this package."""
    own = {*top_level_fields, *rng_fields, *_STATE}
    return {
        name: field for name, field in base.items()
        if name not in own and not str(name).startswith("_vae_")
    }  # fmt: skip


def _copied(field: Any) -> Any:
    """Copy dicts and lists, without what GalSim has stored in them under a leading underscore."""
    if isinstance(field, dict):
        return {
            key: _copied(value) for key, value in field.items() if not str(key).startswith("_")
        }
    return [_copied(value) for value in field] if isinstance(field, list) else field
