"""A fitted model and its data, as the problem that was solved and the point that was reached."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax._assemble import Problem
from spikax._inputs import Data, Outputs
from spikax._model import FittedModel
from spikax.core.objective import Objective, linear_predictor, sample_loss
from spikax.core.samples import Samples
from spikax.glm._prediction import null_scores
from spikax.observation_models import with_scale


class Fitted(NamedTuple):
    """What inference reads of a fitted model.

    Parameters are the coefficients, then the intercept; those of all classes for a feature lie
    together.
    """

    problem: Problem  # in float64
    data: Data
    outputs: Outputs
    regularizer: str  # what its class is called
    theta: np.ndarray  # parameters of the standardised features, (n_parameters, n_neurons)
    estimate: np.ndarray  # parameters of the raw features, (n_neurons, n_parameters)
    scale: np.ndarray  # of a sample of mean weight, (n_neurons,)
    names: tuple[str, ...]  # of the parameters
    groups: dict[str, slice]  # parameters of each entry of a container, of each feature's classes
    neurons: np.ndarray  # labels, (n_neurons,)
    model: FittedModel

    @property
    def objective(self) -> Objective:
        """What was minimised."""
        return self.problem.objective

    @property
    def samples(self) -> Samples:
        """The samples that it was fitted to."""
        return self.problem.samples

    @property
    def repeats(self) -> np.ndarray:
        """How often a sample of mean weight counts in the likelihood, (n_neurons,)."""
        return np.ones(self.scale.shape) if self.scaled_by_weights else self.data.mean_weight

    @property
    def scaled_by_weights(self) -> bool:
        """Whether weights divide a scale; they count repetitions otherwise."""
        return self.data.divides_scale(self.objective.family)

    @property
    def precision(self) -> np.ndarray:
        """Nats of each neuron per unit of its loss, at mean weight, (n_neurons,)."""
        positive = np.maximum(self.scale, np.finfo(float).tiny)
        precision = self.objective.family.precision(positive)
        return np.broadcast_to(np.asarray(precision, float), self.scale.shape)

    @property
    def penalised(self) -> bool:
        """Whether a penalty costs anything."""
        return any(np.any(np.asarray(a) != 0) for a in jax.tree.leaves(self.objective.penalty))

    @property
    def free(self) -> np.ndarray:
        """Which parameters were fitted, (n_neurons, n_parameters)."""
        return np.asarray(self.objective.mask).T > 0


def fitted(model: Any, X: Any, y: Any, sample_weight: Any, offset: Any) -> Fitted:
    """Bring a fitted model and its data together; to be called, and used, in 64 bits."""
    at: FittedModel = model.fitted()
    spec, outputs, scale = at.spec, at.outputs, at.scale
    at.features(X)
    data = spec.check(X, y, sample_weight, offset)
    at.check_neurons(data.y.shape[1], ": pass the neurons of the fit, in its order")
    if not spec.regularizer.smooth:
        raise ValueError(
            "Standard errors and tests are not defined after "
            f"{type(spec.regularizer).__name__}: it chose the features by looking at y, which "
            "they would not account for. Refit the features that it kept without a penalty, "
            "feature_mask=(coef_ != 0), on samples that were not used to choose them; or use "
            "Ridge."
        )
    problem = spec.assemble(data)
    family = with_scale(problem.objective.family, scale[:, None])
    problem = problem._replace(objective=replace(problem.objective, family=family))
    coef = outputs.columns(np.concatenate(jax.tree.leaves(at.coef)).astype(float))
    intercept = outputs.columns(np.asarray(at.intercept, float))
    theta = problem.standardisation.from_user(coef, intercept[0]).reshape(-1, scale.size)
    names, groups = _names(model, data)
    return Fitted(
        problem,
        data,
        outputs,
        type(spec.regularizer).__name__,
        theta,
        np.vstack([coef, intercept]).reshape(theta.shape).T,
        scale / data.mean_weight if data.divides_scale(family) else scale,
        names,
        groups,
        _labels(at, y),
        at,
    )


def _labels(model: FittedModel, y: Any) -> np.ndarray:
    """Labels of the neurons: the columns of `y`, or those of the fit, or numbers."""
    columns = getattr(y, "columns", None)
    columns = model.neurons if columns is None else columns
    n_neurons = model.scale.size
    return np.asarray(columns) if len(columns) == n_neurons else np.arange(n_neurons)


class Likelihood(NamedTuple):
    """How well a fit predicts the samples it was fitted to, each (n_neurons,)."""

    log_likelihood: np.ndarray  # at some scale, in nats
    deviance: np.ndarray  # at a scale of one


def likelihood(fit: Fitted, scale: np.ndarray) -> Likelihood:
    """Judge a fit at a scale, which is that of a sample of mean weight, (n_neurons,)."""
    log_likelihood, deviance = (
        np.asarray(a)
        for a in _likelihood(fit.objective, fit.samples, fit.theta, scale, fit.scaled_by_weights)
    )
    return Likelihood(fit.repeats * log_likelihood, fit.data.mean_weight * deviance)


@partial(jax.jit, static_argnames="scaled_by_weights")
def _likelihood(
    objective: Objective,
    samples: Samples,
    theta: jax.Array,
    scale: jax.Array,
    scaled_by_weights: bool,
):
    family = objective.family

    def block(X, y, weights, offset):
        loss = sample_loss(objective, linear_predictor(theta, X, offset), y)
        of_sample, repeats = scale[:, None], weights
        if scaled_by_weights:
            # A density of scale phi / w, not the w-th power of one of scale phi.
            of_sample, repeats = of_sample / jnp.where(weights > 0, weights, 1), weights > 0
        normalizer = jnp.sum(repeats * family.log_normalizer(y, of_sample), axis=1)
        parts = loss, loss - family.saturated(y)
        return *(jnp.sum(weights * part, axis=1) for part in parts), normalizer

    loss, deviance, normalizer = samples.sum(block)
    unit = 2 * family.precision(jnp.ones_like(scale))
    return -family.precision(scale) * loss - normalizer, unit * deviance


def null_deviance(fit: Fitted) -> np.ndarray:
    """Deviance of the model without features, (n_neurons,)."""
    family = jax.tree.map(lambda leaf: np.asarray(leaf)[:, 0], fit.objective.family)
    scale = np.ones_like(fit.scale) if family.has_scale else fit.scale
    _, deviance = null_scores(family, fit.objective.link, fit.data, scale, own_scale=False)
    return np.nansum(fit.data.weight * deviance, axis=0)


def _names(model: Any, data: Data) -> tuple[tuple[str, ...], dict[str, slice]]:
    """Name the parameters, and what holds several of them."""
    features, entries = _feature_names(model, data)
    if data.classes is None:
        return features, entries
    n_classes = len(data.classes)
    groups = {
        entry: slice(n_classes * columns.start, n_classes * columns.stop)
        for entry, columns in entries.items()
    }
    for i, feature in enumerate(features):
        groups.setdefault(feature, slice(n_classes * i, n_classes * (i + 1)))
    return tuple(f"{name} ({label})" for name in features for label in data.classes), groups


def _feature_names(model: Any, data: Data) -> tuple[tuple[str, ...], dict[str, slice]]:
    """Name the features as the user would: columns of a frame, entries of a container."""
    layout = data.layout
    if layout.names == ("X",):
        columns = getattr(model, "feature_names_in_", layout.columns[0])
        if columns is None:
            columns = [f"x{i}" for i in range(layout.n_features)]
        return (*map(str, columns), "intercept"), {}
    names: list[str] = []
    groups = {}
    for label, width, columns in zip(layout.labels, layout.widths, layout.columns, strict=True):
        groups[label] = slice(len(names), len(names) + width)
        names += [f"{label}[{column}]" for column in columns or range(width)]
    return (*names, "intercept"), groups
