"""Shear calibration: the bias of an estimator on these galaxies and on Sersic twins of them."""

from .bias import DIFFERENCE, Bias, Sums, bias
from .calibration import calibrate
from .config import ESTIMATORS, CalibrationConfig
from .estimators import Detections, Estimator, Shapes, make_estimator
from .survey import ZEROPOINT, Observation, observation

__all__ = [
    "DIFFERENCE",
    "ESTIMATORS",
    "ZEROPOINT",
    "Bias",
    "CalibrationConfig",
    "Detections",
    "Estimator",
    "Observation",
    "Shapes",
    "Sums",
    "bias",
    "calibrate",
    "make_estimator",
    "observation",
]
