"""Synthetic galaxies: a population of conditions, and PSF-free stamps that have them."""

from .galaxies import Synthetic, sample

__all__ = ["Synthetic", "sample"]
