"""Figures of fitted models: each function draws on one Axes, and returns it."""

from spikax.plotting._models import (
    calibration,
    convergence,
    coupling_filters,
    coupling_matrix,
    ks,
    path,
    tuning,
)
from spikax.plotting._states import (
    dwell_times,
    psychometric,
    restarts,
    state_selection,
    state_weights,
    states,
    transition_matrix,
)

__all__ = [
    "calibration",
    "convergence",
    "coupling_filters",
    "coupling_matrix",
    "dwell_times",
    "ks",
    "path",
    "psychometric",
    "restarts",
    "state_selection",
    "state_weights",
    "states",
    "transition_matrix",
    "tuning",
]
