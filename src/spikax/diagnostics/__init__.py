"""Goodness of fit: how well predicted means agree with what was observed."""

from spikax.diagnostics._calibration import Calibration, calibration
from spikax.diagnostics._comparison import bits_per_spike, deviance_explained
from spikax.diagnostics._cross_validated import cross_validated_scores
from spikax.diagnostics._residuals import residuals
from spikax.diagnostics._states import PredictiveCheck, predictive_check
from spikax.diagnostics._time_rescaling import TimeRescaling, time_rescaling

__all__ = [
    "Calibration",
    "PredictiveCheck",
    "TimeRescaling",
    "bits_per_spike",
    "calibration",
    "cross_validated_scores",
    "deviance_explained",
    "predictive_check",
    "residuals",
    "time_rescaling",
]
