"""What a model makes of data, for those who look at it from outside."""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.dtypes import canonicalize_dtype
from sklearn.utils.validation import check_is_fitted

from spikax._assemble import Problem
from spikax._inputs import Data, Outputs
from spikax.core.standardise import Standardisation
from spikax.observation_models import with_scale
from spikax.regularizer import Regularizer


class Posed(NamedTuple):
    """The problem that a model poses with some data."""

    problem: Problem
    data: Data
    outputs: Outputs
    regularizer: Regularizer


class Fitted(NamedTuple):
    """The problem that a fitted model poses, and the point that it has reached."""

    posed: Posed  # with the scale and the strength of the fit
    theta: np.ndarray  # shaped as `Objective` says
    parameters: np.ndarray  # of the raw features, the intercepts last, (n_features + 1, n_columns)
    scale: np.ndarray  # (n_neurons,)
    neurons: np.ndarray  # labels, (n_neurons,)


def outputs_of(model: Any, n_neurons: int) -> Outputs:
    """Tell how the linear predictors of so many neurons lie in a model's arrays."""
    return model._outputs(n_neurons)


def regularizer_of(model: Any) -> Regularizer:
    """Tell what a model's regularizer stands for."""
    return model._parts().regularizer


def checked(model: Any, X: Any, y: Any, sample_weight: Any, offset: Any) -> Data:
    """Check data as a model's `fit` does, with its warning of samples that are ignored."""
    return model._data(X, y, model._parts(), sample_weight, offset, afresh=True)


def posed(model: Any, X: Any, y: Any, sample_weight: Any, offset: Any) -> Posed:
    """Check data as a model's `fit` does, and pose its problem, at the strength it was given."""
    return _posed(model, model._parts()._replace(chosen=None), X, y, sample_weight, offset)


def _posed(model: Any, parts: Any, X: Any, y: Any, sample_weight: Any, offset: Any) -> Posed:
    data = model._data(X, y, parts, sample_weight, offset)
    problem = model._problem(data, parts)
    return Posed(problem, data, outputs_of(model, data.y.shape[1]), parts.regularizer)


def fitted(model: Any, X: Any, y: Any, sample_weight: Any, offset: Any) -> Fitted:
    """Bring a fitted model and the data of its fit together."""
    check_is_fitted(model, "coef_")
    model._features(X)
    found = _posed(model, model._parts(), X, y, sample_weight, offset)
    outputs = found.outputs
    scale = np.atleast_1d(np.asarray(model.scale_, float))
    if outputs.n_neurons != scale.size:
        raise ValueError(
            f"y has {outputs.n_neurons} neurons, the model was fitted to {scale.size}: pass the "
            "neurons of the fit, in its order."
        )
    problem = found.problem
    family = with_scale(problem.objective.family, scale[:, None])
    problem = problem._replace(objective=replace(problem.objective, family=family))
    coef = outputs.columns(np.concatenate(jax.tree.leaves(model.coef_)).astype(float))
    intercept = outputs.columns(np.asarray(model.intercept_, float))
    theta = problem.standardisation.from_user(coef, intercept[0]).reshape(-1, scale.size)
    return Fitted(
        found._replace(problem=problem),
        theta,
        np.vstack([coef, intercept]),
        scale,
        _labels(model, y, scale.size),
    )


def shaped(
    theta: Any, standardisation: Standardisation, data: Data, outputs: Outputs
) -> tuple[Any, np.ndarray]:
    """Bring a problem's parameters to the user's units and shapes."""
    columns = np.asarray(theta, float).reshape(data.layout.n_features + 1, -1)
    coef, intercept = standardisation.to_user(columns)
    # As precise as the features, for nearly collinear ones need every digit, and as the solution.
    dtype = np.result_type(data.X.dtype, theta.dtype, canonicalize_dtype(float))
    coef = outputs.restored(coef.astype(dtype))
    intercept = outputs.restored(intercept[None].astype(dtype)).reshape(outputs.intercept)
    return data.layout.split(coef), intercept


def _labels(model: Any, y: Any, n_neurons: int) -> np.ndarray:
    """Labels of the neurons: the columns of `y`, or its numbers."""
    columns = getattr(y, "columns", None)
    if columns is None and model._columns is not None:
        columns = model._columns[0]
    if columns is None or len(columns) != n_neurons:
        return np.arange(n_neurons)
    return np.asarray(columns)
