"""The canonical frame: an observed galaxy, its moments, and the stamp that the networks see."""

from .canonical import Canonical, Geometry, to_canonical, to_native
from .moments import Ellipse, adaptive_moments
from .observation import Observation

__all__ = [
    "Canonical",
    "Ellipse",
    "Geometry",
    "Observation",
    "adaptive_moments",
    "to_canonical",
    "to_native",
]
