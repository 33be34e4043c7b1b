"""Finding training galaxies that are not galaxies: blends, artefacts, empty stamps."""

from .anomaly import measure

__all__ = ["measure"]
