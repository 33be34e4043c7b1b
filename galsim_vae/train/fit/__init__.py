"""Training the autoencoder and the flows, from one recipe."""

from .recipe import Recipe, train

__all__ = ["Recipe", "train"]
