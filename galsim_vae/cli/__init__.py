"""The command ``galsim-vae``."""

from .main import main

__all__ = ["main"]
