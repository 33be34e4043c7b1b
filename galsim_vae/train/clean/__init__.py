"""Finding training galaxies that are not galaxies: blends, artefacts, empty stamps."""

from .anomaly import calibrate, oddness, table
from .measures import measure_oddities

__all__ = ["calibrate", "measure_oddities", "oddness", "table"]
