"""The model without features: where fits start, and what they are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from spikax.core.objective import Objective, sample_curvature, sample_loss
from spikax.core.samples import Samples

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float


class Null(NamedTuple):
    """The model without features.

    Attributes
    ----------
    intercept
        Intercepts, (n_neurons,); several outputs are in front.
    curvature
        Second derivatives of the objective in these, shaped likewise.
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

    intercept: Float[Array, "*output neuron"]
    curvature: Float[Array, "*output neuron"]
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
    n = samples.total_weight
    mean = _mean_observation(objective, samples)
    low, high = objective.family.mean_bounds
    # A neuron whose mean is at a bound (silent, or always on) starts where the bound is at most
    # a small part of a nat away, and stays finite.
    room = jnp.maximum(1e-4 / n, 4 * jnp.finfo(n.dtype).eps if high < jnp.inf else 0)
    inside = jnp.clip(mean, low + _like(room, mean), high - _like(room, mean))
    at_bound = jnp.any((inside != mean).reshape(-1, n.size), axis=0)
    free = objective.mask[-objective.n_outputs :].reshape(mean.shape)
    intercept = free * objective.link.predictor(inside)
    dispersion = _null_dispersion(objective, samples, inside)
    precision = objective.normaliser * objective.family.precision(dispersion)
    precision = jnp.broadcast_to(precision, n.shape)
    if samples.offset is None:
        # The curvature of classes is that of any observation.
        y = inside[:, None] if inside.ndim == 1 else jnp.zeros_like(n)[:, None]
        curvature = sample_curvature(objective, intercept[..., None], y)[..., 0]
        curvature = curvature * _like(n / objective.normaliser, curvature)
    else:
        intercept, curvature = _null_with_offset(objective, samples, intercept, free)
    return Null(intercept, _positive(curvature), precision, at_bound)


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
    intercept = null.intercept.reshape(objective.n_outputs, -1)
    return jnp.zeros_like(objective.mask).at[-objective.n_outputs :].set(intercept)


def _like(per_neuron: jax.Array, array: jax.Array) -> jax.Array:
    """Give what neurons have the axes in front that an array of outputs has."""
    return per_neuron.reshape((1,) * (array.ndim - 1) + (-1,))


def _mean_observation(objective: Objective, samples: Samples) -> Float[Array, "*output neuron"]:
    """Mean of each neuron's observations, or the share of each class."""
    total = samples.sum(Partial(_total_observation, objective))
    return total / _like(samples.total_weight, total)


def _total_observation(objective, X, y, weights, offset) -> Float[Array, "*output neuron"]:
    if objective.n_outputs == 1:
        return jnp.sum(weights * y, axis=1)
    chosen = jax.nn.one_hot(y.astype(int), objective.n_outputs, axis=0, dtype=y.dtype)
    return jnp.sum(weights[None] * chosen, axis=2)


def _null_dispersion(objective: Objective, samples: Samples, mean: jax.Array) -> jax.Array | float:
    if not objective.family.has_scale:
        return 1.0
    statistic = samples.sum(Partial(_pearson_about, objective, mean))
    return jnp.maximum(statistic / samples.total_weight, jnp.finfo(statistic.dtype).tiny)


def _pearson_about(objective, mean, X, y, weights, offset) -> Float[Array, " neuron"]:
    squared = (y - mean[:, None]) ** 2 / objective.family.variance(mean[:, None])
    return jnp.sum(weights * squared, axis=1)


def _null_with_offset(
    objective: Objective, samples: Samples, intercept: jax.Array, free: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Newton's method for the intercepts, and the second derivative there."""
    several = intercept.ndim - 1
    eps = jnp.finfo(intercept.dtype).eps

    def derivatives(intercept):
        n = objective.normaliser
        loss, *both = samples.sum(Partial(_intercept_derivatives, objective, intercept))
        slope, curvature = (a / _like(n, a) for a in both)
        return loss / n, free * slope, _positive(curvature)

    def largest(array):
        return jnp.abs(array).reshape(-1, intercept.shape[-1]).max(axis=0)

    def newton(state):
        n_steps, intercept, found, length = state
        loss, slope, curvature = found
        # Classes that step each by itself go up to twice as far together.
        step = jnp.clip(slope / curvature / (1 + several), -4.0, 4.0)
        trial = intercept - _like(length, step) * step
        tried = derivatives(trial)
        # Near the optimum the slope still tells what the loss does not.
        level = tried[0] <= loss + jnp.sqrt(eps) * (1 + jnp.abs(loss))
        better = (tried[0] < loss) | ((largest(tried[1]) <= largest(slope) / 2) & level)
        kept = jax.tree.map(
            lambda new, old: jnp.where(_like(better, new), new, old),
            (trial, tried),
            (intercept, found),
        )
        return n_steps + 1, *kept, jnp.where(better, 1.0, length / 2)

    def unfinished(state):
        n_steps, intercept, (_, slope, curvature), length = state
        size = 1 + largest(intercept)
        return (n_steps < 30) & jnp.any(length * largest(slope / curvature) > eps * size)

    ones = jnp.ones_like(objective.normaliser)
    start = (jnp.asarray(0), intercept, derivatives(intercept), ones)
    _, intercept, (_, _, curvature), _ = samples.control.while_loop(unfinished, newton, start)
    return intercept, curvature


def _intercept_derivatives(objective, intercept, X, y, weights, offset) -> tuple:
    """Sum the losses of a block, and their derivatives in the intercepts."""
    eta = jnp.broadcast_to(intercept[..., None] + offset, (*intercept.shape, X.shape[1]))
    loss, pull = jax.vjp(lambda e: sample_loss(objective, e, y), eta)
    (slope,) = pull(jnp.broadcast_to(weights, loss.shape))
    weighed = weights.reshape((1,) * (intercept.ndim - 1) + weights.shape)
    curvature = weighed * sample_curvature(objective, eta, y)
    return jnp.sum(weights * loss, axis=-1), slope.sum(axis=-1), curvature.sum(axis=-1)


def _positive(curvature: jax.Array) -> jax.Array:
    return jnp.maximum(curvature, jnp.sqrt(jnp.finfo(curvature.dtype).tiny))
