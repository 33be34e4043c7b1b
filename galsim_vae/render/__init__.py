"""Drawing many galaxies at once, on a CPU or a GPU. This imports torch."""

from .batch import render

__all__ = ["render"]
