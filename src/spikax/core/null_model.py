"""The model without features: where fits start, and what they are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from spikax.core.objective import Objective, sample_curvature, sample_hessian
from spikax.core.samples import Samples

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float


class Null(NamedTuple):
    """The model without features.

    Attributes
    ----------
    intercept
        Intercepts, (n_neurons,); several predictors are in front.
    curvature
        Second derivatives of the objective in these, shaped likewise.
    hessian
        All second derivatives in several intercepts, (n_predictors, n_predictors, n_neurons).
    precision
        Log-likelihood, in nats, per unit of the objective, (n_neurons,).
    at_bound
        Whether a neuron is silent, or always on, (n_neurons,).

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X, y = np.arange(4.0).reshape(-1, 1), np.array([[0, 1], [0, 2], [0, 0], [0, 1]])
    >>> objective, samples, *_ = nmo.glm.PopulationGLM().assemble(X, y)
    >>> null = nmo.core.null_model(objective, samples)
    >>> null.at_bound.tolist(), null.precision.tolist()
    ([True, False], [4.0, 4.0])
    """

    intercept: Float[Array, "*predictor neuron"]
    curvature: Float[Array, "*predictor neuron"]
    hessian: Float[Array, "predictor predictor neuron"]
    precision: Float[Array, " neuron"]
    at_bound: Bool[Array, " neuron"]


def null_model(objective: Objective, samples: Samples) -> Null:
    """Fit the intercepts alone.

    Parameters
    ----------
    objective, samples
        What to fit, and to what.

    Returns
    -------
    Null
        Intercepts, and the curvature there.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X, y = np.arange(4.0).reshape(-1, 1), np.array([[1.0], [3.0], [3.0], [1.0]])
    >>> objective, samples, *_ = nmo.glm.PopulationGLM().assemble(X, y)
    >>> bool(np.isclose(nmo.core.null_model(objective, samples).intercept[0], np.log(2)))
    True
    """
    family, n = objective.likelihood.family, samples.total_weight
    statistics = samples.sum(Partial(_total_statistics, objective)) / n[None]
    parameters = family.start(statistics)
    bounds = np.moveaxis(np.asarray(family.parameter_bounds, float)[..., None], -2, 0)
    low, high = (np.broadcast_to(bound, parameters.shape).astype(n.dtype) for bound in bounds)
    # A neuron whose mean is at a bound (silent, or always on) starts where the bound is at most
    # a small part of a nat away, and stays finite.
    digits = 4 * jnp.finfo(n.dtype).eps * np.where(np.isfinite(high), high, 0)
    room = jnp.maximum(_like(1e-4 / n, parameters), digits)
    inside = jnp.clip(parameters, low + room, high - room)
    at_bound = jnp.any((inside != parameters).reshape(-1, n.size), axis=0)
    free = objective.mask[-objective.n_predictors :].reshape(inside.shape)
    intercept = free * family.predictor(inside, objective.likelihood.link)
    dispersion = _null_dispersion(objective, samples, inside)
    precision = objective.normaliser * objective.likelihood.precision(dispersion)
    precision = jnp.broadcast_to(precision, n.shape)
    if samples.offset is None and family.linear_in_y:
        hessian = _expected_hessian(objective, intercept, inside)
        hessian = hessian * _like(n / objective.normaliser, hessian)
    else:
        intercept, hessian = _newton(objective, samples, intercept, free)
    curvature = jnp.diagonal(hessian).T.reshape(intercept.shape)
    return Null(intercept, _positive(curvature), hessian, precision, at_bound)


def null_parameters(objective: Objective, null: Null) -> Float[Array, "parameter neuron"]:
    """Give the parameters of the null model.

    Parameters
    ----------
    objective
        What was fitted.
    null
        From `null_model`.

    Returns
    -------
    array
        Zeros and the intercepts, shaped as `Objective` says: where a solver may start.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X, y = np.arange(4.0).reshape(-1, 1), np.ones((4, 1))
    >>> objective, samples, *_ = nmo.glm.PopulationGLM().assemble(X, y)
    >>> null = nmo.core.null_model(objective, samples)
    >>> nmo.core.null_parameters(objective, null).tolist()
    [[0.0], [0.0]]
    """
    intercept = null.intercept.reshape(objective.n_predictors, -1)
    return jnp.zeros_like(objective.mask).at[-objective.n_predictors :].set(intercept)


def _like(per_neuron: jax.Array, array: jax.Array) -> jax.Array:
    """Give what neurons have the axes in front that an array of predictors has."""
    return per_neuron.reshape((1,) * (array.ndim - 1) + (-1,))


def _total_statistics(objective, X, y, weights, offset) -> Float[Array, "statistic neuron"]:
    return jnp.sum(weights[None] * objective.likelihood.family.statistics(y), axis=2)


def _null_dispersion(objective: Objective, samples: Samples, mean: jax.Array) -> jax.Array | None:
    if not objective.likelihood.by_moments:
        return None
    statistic = samples.sum(Partial(_pearson_about, objective, mean))
    return jnp.maximum(statistic / samples.total_weight, jnp.finfo(statistic.dtype).tiny)


def _pearson_about(objective, mean, X, y, weights, offset) -> Float[Array, " neuron"]:
    squared = objective.likelihood.squared_residual(y, mean[:, None])
    return jnp.sum(weights * squared, axis=1)


def _expected_hessian(
    objective: Objective, intercept: jax.Array, mean: jax.Array
) -> Float[Array, "predictor predictor neuron"]:
    """Second derivatives of the mean loss, which is linear in y, in the intercepts."""
    eta = intercept[..., None]
    if objective.n_predictors == 1:
        return _positive(sample_curvature(objective, eta, mean[:, None]).T[None])
    # The curvature of classes is that of any observation.
    return sample_hessian(objective, eta, jnp.zeros_like(eta[0]))[..., 0]


def _newton(
    objective: Objective, samples: Samples, intercept: jax.Array, free: jax.Array
) -> tuple[jax.Array, Float[Array, "predictor predictor neuron"]]:
    """Newton's method for the intercepts, and the second derivatives there."""
    eps = jnp.finfo(intercept.dtype).eps

    def derivatives(intercept):
        sums = samples.sum(Partial(_intercept_derivatives, objective, intercept))
        loss, slope, hessian = (a / _like(objective.normaliser, a) for a in sums)
        return loss, free * slope, _convex(hessian, free)

    def largest(array):
        return jnp.abs(array).reshape(-1, intercept.shape[-1]).max(axis=0)

    def newton(state):
        n_steps, trial, intercept, found, length = state
        tried, (loss, slope, _) = derivatives(trial), found
        # Near the optimum the slope still tells what the loss does not.
        level = tried[0] <= loss + jnp.sqrt(eps) * (1 + jnp.abs(loss))
        better = (tried[0] < loss) | ((largest(tried[1]) <= largest(slope) / 2) & level)
        better |= n_steps == 0
        intercept, found = jax.tree.map(
            lambda new, old: jnp.where(_like(better, new), new, old),
            (trial, tried),
            (intercept, found),
        )
        _, slope, hessian = found
        step = jnp.clip(_solve(hessian, slope), -4.0, 4.0)
        length = jnp.where(better, 1.0, length / 2)
        return n_steps + 1, intercept - _like(length, step) * step, intercept, found, length

    def unfinished(state):
        n_steps, _, intercept, (_, slope, hessian), length = state
        moves = length * largest(_solve(hessian, slope)) > eps * (1 + largest(intercept))
        return (n_steps == 0) | ((n_steps <= 30) & jnp.any(moves))

    # One body for the start too: the derivatives are most of the program.
    ones, n = jnp.ones_like(objective.normaliser), objective.n_predictors
    shape = (n, n, ones.size)
    none = ones * jnp.inf, jnp.zeros_like(intercept), jnp.ones(shape, intercept.dtype)
    start = (jnp.asarray(0), intercept, intercept, none, ones)
    _, _, intercept, (_, _, hessian), _ = samples.control.while_loop(unfinished, newton, start)
    return intercept, hessian


def _intercept_derivatives(objective, intercept, X, y, weights, offset) -> tuple:
    """Sum the losses of a block, and their derivatives in the intercepts."""
    added = 0.0 if offset is None else offset
    eta = jnp.broadcast_to(intercept[..., None] + added, (*intercept.shape, X.shape[1]))
    loss, pull = jax.vjp(lambda e: objective.likelihood.loss(e, y), eta)
    (slope,) = pull(jnp.broadcast_to(weights, loss.shape))
    if objective.n_predictors == 1:
        hessian = sample_curvature(objective, eta, y)[None, None]
    else:
        hessian = sample_hessian(objective, eta, y)
    hessian = jnp.sum(weights[None, None] * hessian, axis=-1)
    return jnp.sum(weights * loss, axis=-1), slope.sum(axis=-1), hessian


def _convex(
    hessian: Float[Array, "predictor predictor neuron"], free: jax.Array
) -> Float[Array, "predictor predictor neuron"]:
    """Take the sizes of eigenvalues for them, and at least a part of the diagonal's.

    So a step leads down where the loss is not convex (Nocedal & Wright 2006, section 3.4).
    """
    if len(hessian) == 1:
        return _positive(hessian)
    free = free[None] * free[:, None]
    hessian = hessian * free + jnp.eye(len(hessian))[..., None] * (1 - free)
    unit = jnp.sqrt(_positive(jnp.abs(jnp.diagonal(hessian).T)))
    both = unit[None] * unit[:, None]
    size, axes = jnp.linalg.eigh(jnp.moveaxis(hessian / both, -1, 0))
    size = jnp.maximum(jnp.abs(size), 1e-4)
    return jnp.moveaxis((axes * size[:, None, :]) @ axes.mT, 0, -1) * both


def _solve(
    hessian: Float[Array, "predictor predictor neuron"], slope: jax.Array
) -> Float[Array, "*predictor neuron"]:
    if len(hessian) == 1:
        return slope / hessian.reshape(slope.shape)
    matrices, columns = jnp.moveaxis(hessian, -1, 0), jnp.moveaxis(slope, -1, 0)
    return jnp.linalg.solve(matrices, columns[..., None])[..., 0].T


def _positive(curvature: jax.Array) -> jax.Array:
    return jnp.maximum(curvature, jnp.sqrt(jnp.finfo(curvature.dtype).tiny))
