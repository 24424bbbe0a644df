"""The sums over samples that inference needs: information, scores, and the slope of the loss."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax._labels import is_missing
from spikax._time_series import check_times, raw
from spikax.core.hessians import interleaved, second_moments
from spikax.core.objective import (
    Objective,
    expected_curvature,
    linear_predictor,
    penalty_value,
    sample_gradient,
    second_derivative,
    value_and_grad,
)
from spikax.core.samples import Samples
from spikax.inference._fitted import Fitted

BUCKET = 64


class Clusters(NamedTuple):
    """Which samples belong together."""

    of_sample: np.ndarray  # index of each sample's cluster, laid out as the samples are
    n_clusters: int
    n_of: np.ndarray  # clusters with samples that count, (n_neurons,)


class Sums(NamedTuple):
    """Sums over the samples of a bucket's neurons, in nats."""

    information: np.ndarray  # with the penalty's, (n_neurons, n_parameters, n_parameters)
    scores: np.ndarray | None  # second moments of the scores, of the same shape
    gradient: np.ndarray  # of the penalised loss, (n_neurons, n_parameters)
    reach: np.ndarray  # largest size of each standardised feature, (n_parameters,)


def clusters(groups: Any, fit: Fitted) -> Clusters:
    """Check the groups of samples, and lay them out."""
    check_times({"X": fit.data.layout.series, "groups": groups})
    labels = np.asarray(raw(groups, "groups"))
    n_samples = len(fit.data.y)
    if labels.shape != (n_samples,):
        raise ValueError(
            f"groups must have shape ({n_samples},), one label for each sample, got "
            f"{labels.shape}."
        )
    missing = is_missing(labels)
    if missing.any():
        raise ValueError(
            f"groups is None or NaN in row {int(np.argmax(missing))}: give each sample the label "
            "of its group. Samples are left out by sample_weight=0."
        )
    names, index = np.unique(labels, return_inverse=True)
    weight = np.broadcast_to(fit.data.weight, fit.data.y.shape)
    counted = np.zeros((len(names), weight.shape[1]))
    np.add.at(counted, index, weight > 0)
    n_of = np.count_nonzero(counted, axis=0)
    if n_of.min() < 2:
        neuron = fit.neurons[np.argmin(n_of)]
        raise ValueError(
            f"groups must tell at least two groups of samples apart, and the samples of neuron "
            f"{neuron} are of {n_of.min()}: what a single group varies by cannot be known. Use "
            "shorter blocks of time, or kind='sandwich' without groups."
        )
    n_blocks, _, block = fit.samples.y.shape
    laid = np.zeros(n_blocks * block, np.int32)
    laid[:n_samples] = index
    return Clusters(laid.reshape(n_blocks, block), len(names), n_of)


def sums(fit: Fitted, neurons: np.ndarray, kind: str, groups: Clusters | None) -> Sums:
    """Sum over the samples of some neurons, a bucket of them or less."""
    # All buckets are of one size, to share one program.
    n_neurons, n_predictors = fit.neurons.size, fit.objective.n_predictors
    bucket = np.arange(neurons[0], neurons[0] + min(BUCKET, n_neurons)) % n_neurons
    index, n_clusters = (None, 0) if groups is None else groups[:2]
    repeated = fit.data.weight_type == "frequency"
    some = fit.objective.neurons(bucket), fit.samples.neurons(bucket), fit.theta[:, bucket]
    *found, reach = _sums(*some, index, kind == "sandwich", n_clusters, repeated)
    information, scores, gradient, cost = jax.tree.map(
        lambda a: np.asarray(a)[: neurons.size], found
    )
    precision = fit.precision[neurons]
    total = precision * np.asarray(fit.objective.normaliser)[neurons]
    information = precision[:, None, None] * information + total[:, None, None] * cost
    if scores is not None:
        scores = precision[:, None, None] ** 2 * scores
    return Sums(
        information, scores, total[:, None] * gradient, np.repeat(np.asarray(reach), n_predictors)
    )


@partial(jax.jit, static_argnames=("sandwich", "n_clusters", "repeated"))
def _sums(
    objective: Objective,
    samples: Samples,
    theta: jax.Array,
    cluster: jax.Array | None,
    sandwich: bool,
    n_clusters: int,
    repeated: bool,
):
    def of_neuron(neuron):
        of_one = objective.neurons(neuron[None]), samples.neurons(neuron[None])
        at = theta[:, neuron][:, None]

        def cost(theta):
            return penalty_value(of_one[0], theta[:, None])[0]

        scores = None
        if sandwich and cluster is None:
            scores = _squares(*of_one, at, repeated)
        elif cluster is not None:
            totals = _totals(*of_one, at, cluster, n_clusters)
            scores = totals.T @ totals
        information = _information(*of_one, at, observed=sandwich)
        return information, scores, jax.hessian(cost)(at[:, 0])

    information, scores, costs = jax.lax.map(of_neuron, jnp.arange(objective.n_neurons))

    def largest(X, y, weights, offset):
        return jnp.max(jnp.abs(X) * jnp.any(weights > 0, axis=0)[None], axis=1)

    gradient = value_and_grad(objective, samples, theta)[1].T
    reach = jnp.append(samples.sum(largest, jnp.maximum), 1)
    return information, scores, gradient, costs, reach


def _information(one: Objective, samples: Samples, theta: jax.Array, observed: bool) -> jax.Array:
    """Sum the second derivatives of one neuron's loss, or what is expected of them."""

    def curvature(X, y, weights, offset):
        eta = linear_predictor(theta, X, offset)
        if one.n_predictors > 1:
            return weights[None] * _pairs(expected_curvature(one, eta, y))
        if not observed:
            return weights * expected_curvature(one, eta, y)
        return weights * second_derivative(one, eta, y, jnp.ones_like(eta))

    return interleaved(second_moments(samples, curvature))


def _squares(one: Objective, samples: Samples, theta: jax.Array, repeated: bool) -> jax.Array:
    """Sum the squares of the samples' scores, which weights multiply or repeat."""

    def squares(X, y, weights, offset):
        slope = sample_gradient(one, linear_predictor(theta, X, offset), y)
        squared = weights if repeated else weights**2
        if slope.ndim == 2:
            return squared * slope**2
        return squared[None] * _pairs(slope[:, None] * slope[None])

    return interleaved(second_moments(samples, squares))


def _totals(
    one: Objective, samples: Samples, theta: jax.Array, cluster: jax.Array, n_clusters: int
) -> jax.Array:
    """Sum the scores within each cluster, (n_clusters, n_parameters)."""

    def block(X, y, weights, offset, cluster):
        slope = sample_gradient(one, linear_predictor(theta, X, offset), y)
        rows = weights * jnp.concatenate([X, jnp.ones((1, X.shape[1]), X.dtype)])
        scores = rows[:, None] * slope.reshape(1, -1, X.shape[1])
        return jax.ops.segment_sum(scores.reshape(len(theta), -1).T, cluster, n_clusters)

    return samples.sum(block, more=(cluster,))


def _pairs(blocks: jax.Array) -> jax.Array:
    """Put pairs of predictors on one axis, (K^2, 1, n_samples)."""
    return blocks.reshape(-1, *blocks.shape[-2:])
