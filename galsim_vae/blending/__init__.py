"""Blends for BlendingToolKit: a catalogue and a generator of galaxies with structure."""

from .catalog import VAECatalog
from .generator import VAEGenerator

__all__ = ["VAECatalog", "VAEGenerator"]
