"""From observed galaxies to a training file."""

from .run import galaxy_row, ingest

__all__ = ["galaxy_row", "ingest"]
