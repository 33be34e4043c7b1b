"""The canonical frame: an observed galaxy, its moments, and the stamp that the networks see."""

from .canonical import Canonical, Geometry, measure, to_canonical, to_native
from .frames import ROUND, UPRIGHT, Frame
from .moments import Ellipse, adaptive_moments
from .observation import Observation

__all__ = [
    "ROUND", "UPRIGHT", "Canonical", "Ellipse", "Frame", "Geometry", "Observation",
    "adaptive_moments", "measure", "to_canonical", "to_native",
]  # fmt: skip
