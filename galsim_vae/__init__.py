"""Realistic galaxies for GalSim from a variational autoencoder trained on HST images.

Importing this package registers the types for GalSim's config files: inputs ``vae_generator`` and
``vae_catalog``, object ``VAEGalaxy`` and value ``VAEValue``. torch is imported only when
`GalaxyGenerator` is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import bands, config
from .conditions import Conditions, from_table, to_table
from .galaxy import VAEGalaxy
from .stamps import Stamps

if TYPE_CHECKING:
    from .generator import GalaxyGenerator

__version__ = "0.1.0"

__all__ = [
    "Conditions",
    "GalaxyGenerator",
    "Stamps",
    "VAEGalaxy",
    "bands",
    "config",
    "from_table",
    "to_table",
]

# Names that need torch, and the module that each is in.
_LAZY = {"GalaxyGenerator": "generator"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
