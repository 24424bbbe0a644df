"""Second moments of the features, and Hessians of the losses: shared, or of each neuron.

With the intercept's ones among the features, the Hessian of neuron j's loss is
`sum_t w_tj loss''_tj x_t x_t' / normaliser_j`. Where all samples had one curvature `c_j` it would
be `c_j G`, with `G` the Gram matrix that all neurons share.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from spikax.core.null_model import Null, null_model
from spikax.core.objective import (
    Objective,
    convex_hessian,
    linear_predictor,
    sample_curvature,
)
from spikax.core.samples import Samples

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int


# --- Weighted second moments.


def second_moments(samples: Samples, sample_weights: Callable) -> Float[Array, "*matrix row row"]:
    """Weighted second moments of the features and the intercept's ones, (p + 1, p + 1).

    `sample_weights(X, y, weights, offset)` are those of a block: (1, n_samples) gives one matrix,
    (m, 1, n_samples) gives m of them.
    """
    return bordered(*samples.sum(Partial(_moments_of_block, sample_weights)))


def _moments_of_block(sample_weights, X, y, weights, offset) -> tuple:
    return block_moments(X, sample_weights(X, y, weights, offset))


def block_moments(X: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Weighted second moments of a block's features, their sums, and that of the weights."""
    if weights.ndim == 3:
        return jax.lax.map(lambda some: block_moments(X, some), weights)
    # With the sums in the product, the weighted features are gone over once.
    found = X @ jnp.concatenate([weights * X, weights]).T
    return found[:, :-1], found[:, -1], weights.sum()


def bordered(features: jax.Array, border: jax.Array, corner: jax.Array) -> jax.Array:
    """Add the moments of the intercept's ones to those of the features."""
    top = jnp.concatenate([features, border[..., None]], axis=-1)
    bottom = jnp.concatenate([border, corner[..., None]], axis=-1)
    return jnp.concatenate([top, bottom[..., None, :]], axis=-2)


def interleaved(blocks: Float[Array, "*pair row row"]) -> Float[Array, "parameter parameter"]:
    """Make one matrix of blocks of pairs of predictors, (K^2, p + 1, p + 1), as `theta` lies."""
    if blocks.ndim == 2:
        return blocks
    n_predictors, n_rows = math.isqrt(len(blocks)), blocks.shape[1]
    blocks = blocks.reshape(n_predictors, n_predictors, n_rows, n_rows)
    return jnp.transpose(blocks, (2, 0, 3, 1)).reshape(n_predictors * n_rows, -1)


# --- What neurons share.


class Groups(NamedTuple):
    """Groups of predictors that share their mask, and their strengths up to a factor.

    Attributes
    ----------
    of_predictor
        The group of each predictor of each neuron, (n_predictors n_neurons,).
    representative
        One predictor of each group, (n_groups,).

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> model = nmo.glm.PopulationGLM(feature_mask=np.array([[1, 0, 1]]))
    >>> X, y = np.arange(4.0).reshape(-1, 1), np.ones((4, 3))
    >>> model.assemble(X, y).precomputed.groups.of_predictor.tolist()
    [1, 0, 1]
    """

    of_predictor: Int[Array, " predictor"]
    representative: Int[Array, " group"]


class Precomputed(NamedTuple):
    """What is computed once for several fits to the same samples.

    Attributes
    ----------
    groups
        Neurons that share their mask, and with it a preconditioner.
    gram
        Second moments of the features and the intercept's ones, (n_features + 1, n_features + 1);
        None (default) if they are not known yet.
    hessians
        Hessians of the losses at an earlier solution, (n_parameters, n_parameters, n_neurons);
        None (default) if there are none, or none are wanted back in `Outcome.hessians`.
    null
        The model without features; None (default) if it is not known yet.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X, y = np.arange(4.0).reshape(-1, 1), np.ones((4, 3))
    >>> precomputed = nmo.glm.PopulationGLM().assemble(X, y).precomputed
    >>> precomputed.gram is None
    True
    """

    groups: Groups
    gram: Float[Array, "row row"] | None = None
    hessians: Float[Array, "parameter parameter neuron"] | None = None
    null: Null | None = None

    def null_model(self, objective: Objective, samples: Samples) -> Null:
        """Fit the model without features, if it is not known.

        Parameters
        ----------
        objective, samples
            What to fit, and to what.

        Returns
        -------
        Null
            As `spikax.core.null_model` gives it.
        """
        return null_model(objective, samples) if self.null is None else self.null


def gram_matrix(objective: Objective, samples: Samples, null: Null) -> Float[Array, "row row"]:
    """Average the neurons' Hessians at the null model, each divided by its curvature.

    Without an offset that is the Gram matrix, weighted by the samples' mean weights.
    """
    gram = second_moments(samples, Partial(_mean_weights, objective, null))
    return gram / jnp.mean(samples.total_weight)


def _mean_weights(objective, null, X, y, weights, offset) -> Float[Array, "1 sample"]:
    if offset is not None:
        shape = (*null.intercept.shape, X.shape[1])
        eta = jnp.broadcast_to(null.intercept[..., None] + offset, shape)
        share = sample_curvature(objective, eta, y) / null.curvature[..., None]
        weights = weights * (share if share.ndim == 2 else share.mean(axis=0))
    return jnp.mean(weights, axis=0, keepdims=True)


class SharedHessian(NamedTuple):
    """Hessians of the losses: one matrix, times that of each neuron's predictors."""

    gram: Float[Array, "row row"]
    predictors: Float[Array, "predictor predictor neuron"]  # second derivatives in these

    def neurons(
        self, objective: Objective, index: jax.Array
    ) -> Float[Array, "chosen parameter parameter"]:
        """Give some neurons, whose objective is `objective`, Hessians of their own."""

        def one(predictors, mask):
            return _masked(jnp.kron(self.gram, predictors), mask)

        return jax.vmap(one, (2, 1))(self.predictors[:, :, index], objective.mask)


def shared_hessian(
    objective: Objective, samples: Samples, null: Null, gram: jax.Array | None
) -> SharedHessian:
    """Take the Hessians from the Gram matrix that all neurons share."""
    gram = gram_matrix(objective, samples, null) if gram is None else gram
    return SharedHessian(gram, null.hessian)


def _masked(matrix: jax.Array, mask: jax.Array) -> jax.Array:
    """Leave only what a mask keeps, with any curvature for the rest."""
    level = jnp.trace(matrix) / jnp.maximum(mask.sum(), 1)
    return matrix * jnp.outer(mask, mask) + jnp.diag(level * (1 - mask))


# --- Of each neuron.


def own_hessians(
    objective: Objective,
    samples: Samples,
    theta: jax.Array,
    n_rows: int,
    wanted: Bool[Array, " neuron"],
) -> Float[Array, "neuron parameter parameter"]:
    """Hessian of each wanted neuron's loss at `theta`, from so many rows."""
    hessian = hessian_of_neuron(objective, samples, theta, n_rows, wanted)

    def one(item):
        neuron, wanted = item
        none = jnp.zeros((len(theta), len(theta)), theta.dtype)
        found = samples.control.cond(wanted, hessian, lambda _: none, neuron)
        return _masked(found, objective.mask[:, neuron])

    return samples.control.map(one, (jnp.arange(objective.n_neurons), wanted))


def hessian_of_neuron(
    objective: Objective,
    samples: Samples,
    theta: jax.Array,
    n_rows: int,
    wanted: Bool[Array, " neuron"],
) -> Callable:
    """Make a function of a wanted neuron's index to the Hessian of its loss, from so many rows."""
    if not samples.at_hand:
        hessian = _together(objective, samples, theta, wanted)
    else:
        kind = _subsampled if n_rows < samples.n_samples else _exact
        hessian = kind(objective, samples, theta, n_rows)
    return lambda neuron: interleaved(hessian(neuron)) / objective.normaliser[neuron]


def _curvature(objective, theta, X, y, weights, offset) -> Float[Array, "*pair 1 sample"]:
    """Weights of one neuron's samples in its Hessian, (1, n_samples) or (K^2, 1, n_samples)."""
    eta = linear_predictor(theta, X, offset)
    if objective.n_predictors == 1:
        return weights * sample_curvature(objective, eta, y)
    return weights[None] * convex_hessian(objective, eta, y).reshape(-1, *y.shape)


def _together(objective: Objective, samples: Samples, theta: jax.Array, wanted: Any) -> Callable:
    """Sum the Hessians of all wanted neurons in as few passes as there is room for."""
    chosen = np.flatnonzero(wanted)
    at_once = max(1, samples.n_factors(len(theta)))
    found: dict[int, jax.Array] = {}
    for start in range(0, len(chosen), at_once):
        index = jnp.asarray(chosen[start : start + at_once])
        of_these = Partial(_curvature_of_each, objective.neurons(index), theta[:, index])
        moments = second_moments(samples.neurons(index), of_these)
        moments = moments.reshape(len(index), -1, *moments.shape[-2:])
        pairs = moments[:, 0] if objective.n_predictors == 1 else moments
        found |= dict(zip(index.tolist(), pairs, strict=True))
    return lambda neuron: found[int(neuron)]


def _curvature_of_each(objective, theta, X, y, weights, offset) -> Float[Array, "item 1 sample"]:
    """Weights of the samples in each neuron's Hessian, for each pair of its predictors."""
    found = _curvature(objective, theta, X, y, weights, offset)
    by_neuron = found if found.ndim == 2 else jnp.moveaxis(found, 1, 0)
    return by_neuron.reshape(-1, 1, y.shape[1])


def _exact(objective: Objective, samples: Samples, theta: jax.Array, n_rows: int) -> Callable:
    def hessian(neuron):
        one, own = objective.neurons(neuron[None]), theta[:, neuron][:, None]
        return second_moments(samples.neurons(neuron[None]), Partial(_curvature, one, own))

    return hessian


def _subsampled(objective: Objective, samples: Samples, theta: jax.Array, n_rows: int) -> Callable:
    """Estimate a neuron's Hessian from some rows.

    A third of the rows stand at equal steps of the neuron's cumulated curvature, a third at equal
    steps of the rows' squared lengths, and a third at equal steps of time: few rows of a sharply
    tuned neuron carry its curvature, few rows tell of a feature that is seldom anything but zero,
    and the others must not be forgotten (Roosta-Khorasani & Mahoney 2019, "Sub-sampled Newton
    methods", section 2).
    """
    curvature = samples.map(Partial(_total_curvature, objective, theta))
    weights, squares = samples.map(_weights), samples.map(_squared_length)[0]

    def hessian(neuron):
        v, w = curvature[neuron], weights[jnp.minimum(neuron, len(weights) - 1)]
        density = _shares(v) + _shares(w) + _shares(w * squares)
        edges = jnp.cumsum(density)
        at = (jnp.arange(n_rows) + 0.5) / n_rows * edges[-1]
        rows = jnp.minimum(jnp.searchsorted(edges, at), v.size - 1)
        stands_for = edges[-1] / (n_rows * jnp.maximum(density[rows], 1e-30))
        if objective.n_predictors == 1:
            X = samples.X.rows(rows)
            v = v[rows] * stands_for
            weighted = v[:, None] * X
            return bordered(X.T @ weighted, weighted.sum(axis=0), v.sum())
        one, some = objective.neurons(neuron[None]), samples.neurons(neuron[None]).take(rows)

        some = replace(some, weights=some.weights * stands_for[None, None])
        return second_moments(some, Partial(_curvature, one, theta[:, neuron][:, None]))

    return hessian


def _total_curvature(objective, theta, X, y, weights, offset) -> Float[Array, "neuron sample"]:
    v = sample_curvature(objective, linear_predictor(theta, X, offset), y)
    return weights * (v if v.ndim == 2 else v.sum(axis=0))


def _weights(X, y, weights, offset) -> Float[Array, "#neuron sample"]:
    return weights


def _squared_length(X, y, weights, offset) -> Float[Array, "1 sample"]:
    return jnp.sum(X**2, axis=0, keepdims=True)


def _shares(part: jax.Array) -> jax.Array:
    return part / jnp.maximum(part.sum(), jnp.finfo(part.dtype).tiny)
