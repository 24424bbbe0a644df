"""A fitted model and its data, as the problem that was solved and the point that was reached."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax._assemble import Problem
from spikax._inputs import Data
from spikax._layout import Layout, Outputs
from spikax._model import FittedModel
from spikax.core.objective import Objective, linear_predictor
from spikax.core.samples import Samples
from spikax.glm._prediction import null_scores


class Fitted(NamedTuple):
    """What inference reads of a fitted model.

    Parameters are the coefficients, then the intercept; those of all classes for a feature lie
    together.
    """

    problem: Problem  # in float64
    data: Data
    outputs: Outputs
    regularizer: str  # what its class is called
    theta: np.ndarray  # parameters of the standardised features, (n_all, n_neurons)
    own: np.ndarray  # indices of the parameters among all: each predictor has its own features
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
        return self.data.divides_scale(self.objective.likelihood.family)

    @property
    def precision(self) -> np.ndarray:
        """Nats of each neuron per unit of its loss, at mean weight, (n_neurons,)."""
        positive = np.maximum(self.scale, np.finfo(float).tiny)
        precision = self.objective.likelihood.precision(positive)
        return np.broadcast_to(np.asarray(precision, float), self.scale.shape)

    @property
    def penalised(self) -> bool:
        """Whether a penalty costs anything."""
        return any(np.any(np.asarray(a) != 0) for a in jax.tree.leaves(self.objective.penalty))

    @property
    def free(self) -> np.ndarray:
        """Which of all parameters were fitted, (n_neurons, n_all)."""
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
    likelihood = problem.objective.likelihood
    if likelihood.dispersion is not None:
        likelihood = likelihood.at(scale[:, None])
        problem = problem._replace(objective=replace(problem.objective, likelihood=likelihood))
    coef = outputs.join(jax.tree.leaves(at.coef), data.layout).astype(float)
    intercept = outputs.columns(np.asarray(at.intercept, float))
    theta = problem.standardisation.from_user(coef, intercept[0]).reshape(-1, scale.size)
    names, groups = _names(model, data, outputs)
    own = _own(data.layout, outputs)
    return Fitted(
        problem,
        data,
        outputs,
        type(spec.regularizer).__name__,
        theta,
        own,
        np.vstack([coef, intercept]).reshape(theta.shape).T[:, own],
        scale / data.mean_weight if data.divides_scale(likelihood.family) else scale,
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


class GoodnessOfFit(NamedTuple):
    """How well a fit predicts the samples it was fitted to, each (n_neurons,)."""

    log_likelihood: np.ndarray  # at some scale, in nats
    deviance: np.ndarray  # at a scale of one


def likelihood(fit: Fitted, scale: np.ndarray) -> GoodnessOfFit:
    """Judge a fit at a scale, which is that of a sample of mean weight, (n_neurons,)."""
    log_likelihood, deviance = (
        np.asarray(a)
        for a in _likelihood(fit.objective, fit.samples, fit.theta, scale, fit.scaled_by_weights)
    )
    return GoodnessOfFit(fit.repeats * log_likelihood, fit.data.mean_weight * deviance)


@partial(jax.jit, static_argnames="scaled_by_weights")
def _likelihood(
    objective: Objective,
    samples: Samples,
    theta: jax.Array,
    scale: jax.Array,
    scaled_by_weights: bool,
):
    likelihood = objective.likelihood

    def block(X, y, weights, offset):
        eta = linear_predictor(theta, X, offset)
        of_sample, repeats = scale[:, None], weights
        if scaled_by_weights:
            # A density of scale phi / w, not the w-th power of one of scale phi.
            of_sample, repeats = of_sample / jnp.where(weights > 0, weights, 1), weights > 0
        # A dispersion in the loss is that of the fit.
        at = likelihood.at(of_sample) if likelihood.by_moments else likelihood
        log_prob = at.log_prob(eta, y)
        deviance = 2 * likelihood.half_deviance(eta, y)
        return jnp.sum(repeats * log_prob, axis=1), jnp.sum(weights * deviance, axis=1)

    return samples.sum(block)


def null_deviance(fit: Fitted) -> np.ndarray:
    """Deviance of the model without features, (n_neurons,)."""
    likelihood = fit.model.spec.likelihood
    scale = np.ones_like(fit.scale) if likelihood.by_moments else fit.scale
    _, deviance = null_scores(likelihood, fit.data, scale, own_scale=False)
    return np.nansum(fit.data.weight * deviance, axis=0)


def _own(layout: Layout, outputs: Outputs) -> np.ndarray:
    """Index the parameters of each predictor's own features, and the intercepts, among all."""
    K, p = outputs.n_predictors, layout.n_features
    if layout.predictors is None:
        return np.arange(K * (p + 1))
    predictor = np.repeat(layout.predictors, layout.widths)
    return np.append(K * np.arange(p) + predictor, K * p + np.arange(K))


def _names(model: Any, data: Data, outputs: Outputs) -> tuple[tuple[str, ...], dict[str, slice]]:
    """Name the parameters, and what holds several of them."""
    features, entries = _feature_names(model, data)
    if data.classes is None:
        if outputs.n_predictors == 1:
            return features, entries
        if data.layout.names == ("X",):
            features = tuple(f"{outputs.predictors[0]}.{name}" for name in features)
        return (*features[:-1], *(f"{name}.intercept" for name in outputs.predictors)), entries
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
