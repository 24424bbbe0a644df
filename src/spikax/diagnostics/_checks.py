"""Observations, predicted means and scales, checked."""

from functools import partial
from typing import Any

import numpy as np

from spikax import _inputs
from spikax._time_series import check_times
from spikax._values import check_support, column_of, finite_rows
from spikax.observation_models import Dispersion, Observations


def aligned(y: Any, predicted_rate: Any, model: Observations | None = None):
    """Check observations and predictions; both (n_samples, n_neurons)."""
    check_times({"y": y, "predicted_rate": predicted_rate})
    observed, rate = (
        np.asarray(_inputs.as_float_array(a, name), float)
        for a, name in ((y, "y"), (predicted_rate, "predicted_rate"))
    )
    if observed.ndim not in (1, 2) or observed.shape != rate.shape:
        raise ValueError(
            "y and predicted_rate must have the same shape, (n_samples,) or (n_samples, "
            f"n_neurons), got {observed.shape} and {rate.shape}."
        )
    observed, rate = (a.reshape(len(a), -1) for a in (observed, rate))
    for array, name in ((observed, "y"), (rate, "predicted_rate")):
        finite_rows(array, partial(column_of, name, array.shape[1]))
    if model is not None:
        if model.n_predictors > 1:
            raise ValueError(
                f"Diagnostics are of observations with one mean, and {model.name} "
                "observations have one for each class: look at the indicators of single classes, "
                "which are Bernoulli, or use the model's score."
            )
        check_support(observed, model, single=False)
        check_means(rate, model, "predicted_rate", "pass what predict returns")
    return observed, rate


def check_means(rate: np.ndarray, model: Observations, name: str, remedy: str) -> None:
    """Refuse means that the observation model cannot have."""
    low, high = model.mean_bounds
    wrong = (rate < low) | (rate > high)
    if wrong.any():
        row, neuron = np.argwhere(wrong)[0]
        raise ValueError(
            f"{name} is {rate[row, neuron]:g} in row {row} of neuron {neuron}, but means of "
            f"{model.name} observations lie between {low:g} and {high:g}: {remedy}."
        )


def check_scale(scale: Any, model: Observations, n_neurons: int) -> np.ndarray:
    """Check a scale, (1, n_neurons); a dispersion that the family knows is the one that counts."""
    if model.dispersion is Dispersion.KNOWN:
        scale = model.scale
    if scale is None:
        if model.dispersion is Dispersion.ESTIMATED:
            raise ValueError(
                f"The dispersion of {model.name} observations is to be estimated: pass "
                "that of the model, scale=model.scale_."
            )
        scale = 1.0
    array = _inputs.as_float_array(scale, "scale")
    if array.shape not in ((), (n_neurons,)):
        raise ValueError(
            f"scale must be a scalar or have shape ({n_neurons},), got {array.shape}."
        )
    wrong = (array < 0) | np.isinf(array)
    if wrong.any():
        raise ValueError(f"scale must be finite and at least zero, got {array[wrong].flat[0]:g}.")
    return np.broadcast_to(array.astype(float), n_neurons)[None]


def neuron_names(y: Any, n_neurons: int) -> np.ndarray:
    """Name neurons by the columns of `y`, else number them."""
    return np.asarray(getattr(y, "columns", np.arange(n_neurons)))
