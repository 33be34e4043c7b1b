"""The latent space as a tool: interpolate, follow a galaxy in redshift, encode."""

from .interpolation import Drawn, Known, interpolate, sequence

__all__ = ["Drawn", "Known", "interpolate", "sequence"]
