"""Shear calibration: the bias of an estimator on these galaxies and on Sersic twins of them."""

from .bias import DIFFERENCE
from .calibration import calibrate
from .config import CalibrationConfig
from .estimators import ESTIMATORS, Detections, Estimator, SceneSums, Shapes
from .survey import ZEROPOINT, SurveyView, survey_view

__all__ = [
    "DIFFERENCE", "ESTIMATORS", "ZEROPOINT", "CalibrationConfig", "Detections", "Estimator",
    "SceneSums", "Shapes", "SurveyView", "calibrate", "survey_view",
]  # fmt: skip
