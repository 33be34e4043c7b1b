"""From observed galaxies to a training file."""

from .run import ingest

__all__ = ["ingest"]
