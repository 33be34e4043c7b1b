"""Training the autoencoder and the flows, from one recipe."""

from .recipe import Recipe, run

__all__ = ["Recipe", "run"]
