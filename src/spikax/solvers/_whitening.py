"""Coordinates in which the curvature of every neuron's loss is close to the identity.

With `G` the Gram matrix of the features that a group of neurons shares, `c` a neuron's curvature
and `t S` its ridge term, `c G + t S` is factored for all neurons at once: `B = G + S = C C'`, and
`C^-1 G C^-T = Q diag(share) Q'` give `c G + t S = C Q diag(c share + t (1 - share)) Q' C'`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from spikax.problem import (
    Problem,
    along,
    border_moments,
    gram,
    linear_predictor,
    penalty_curvature,
    sample_curvature,
)


class OwnWhitening(NamedTuple):
    """A linear map from whitened coordinates to parameters for each neuron."""

    factor: jax.Array  # (n_neurons, p + 1, p + 1)

    def to_parameters(self, whitened: jax.Array) -> jax.Array:
        """Map a step from whitened coordinates to parameters."""
        return jnp.einsum("npq,qn->pn", self.factor, whitened)

    def pull_back(self, gradient: jax.Array) -> jax.Array:
        """Map a gradient from parameters to whitened coordinates."""
        return jnp.einsum("nqp,qn->pn", self.factor, gradient)


class SharedWhitening(NamedTuple):
    """Such maps, equal up to a scale for the neurons of a group."""

    factor: jax.Array  # (n_groups, p + 1, p + 1)
    group: jax.Array  # index of each neuron's factor, (n_neurons,)
    scale: jax.Array  # of the whitened coordinates, (p + 1, n_neurons)

    def to_parameters(self, whitened: jax.Array) -> jax.Array:
        """Map a step from whitened coordinates to parameters."""
        return _by_group(self.factor, self.group, self.scale * whitened)

    def pull_back(self, gradient: jax.Array) -> jax.Array:
        """Map a gradient from parameters to whitened coordinates."""
        return self.scale * _by_group(jnp.swapaxes(self.factor, 1, 2), self.group, gradient)

    def neurons(self, index: jax.Array) -> OwnWhitening:
        """Give some neurons maps of their own."""
        return OwnWhitening(self.factor[self.group[index]] * self.scale.T[index, None, :])


def _by_group(matrices: jax.Array, group: jax.Array, columns: jax.Array) -> jax.Array:
    if matrices.shape[0] == 1:
        return matrices[0] @ columns

    def add(total, item):
        index, matrix = item
        return total + matrix @ jnp.where((group == index)[None], columns, 0), None

    items = (jnp.arange(matrices.shape[0]), matrices)
    return jax.lax.scan(add, jnp.zeros_like(columns), items)[0]


def shared_whitening(
    problem: Problem, intercept: jax.Array, curvature: jax.Array
) -> SharedWhitening:
    """Whiten with the Gram matrix that all neurons share."""
    moments = _shared_moments(problem, intercept, curvature)
    ridge = _ridge(problem)
    representative = problem.representative
    amplitude = jnp.max(ridge, axis=0)
    ratio = amplitude / curvature
    by_group = jax.ops.segment_sum(
        jnp.stack([ratio, jnp.ones_like(ratio)], 1), problem.group, representative.size
    )
    typical = by_group[:, 0] / by_group[:, 1]

    def factor(neuron, ratio):
        mask = problem.mask[:, neuron]
        profile = ridge[:, neuron] / jnp.where(amplitude[neuron] > 0, amplitude[neuron], 1)
        masked = moments * jnp.outer(mask, mask) + jnp.diag(1 - mask)
        inverse = _inverse_factor(masked + jnp.diag(ratio * profile * mask))
        if problem.penalty.curvature is None:
            return inverse, jnp.ones_like(mask)
        share, rotation = jnp.linalg.eigh(inverse.T @ masked @ inverse)
        # A masked parameter moves by nothing, not by the rounding of a rotation.
        return mask[:, None] * (inverse @ rotation), jnp.clip(share, 0, 1)

    if representative.size == 1:
        factors, share = jax.tree.map(lambda a: a[None], factor(representative[0], typical[0]))
    else:
        factors, share = jax.lax.map(lambda item: factor(*item), (representative, typical))
    share = share[problem.group].T
    relative = ratio / jnp.where(typical > 0, typical, 1)[problem.group]
    whitened_curvature = curvature[None] * (share + relative[None] * (1 - share))
    return SharedWhitening(factors, problem.group, jax.lax.rsqrt(whitened_curvature))


def _shared_moments(problem: Problem, intercept: jax.Array, curvature: jax.Array) -> jax.Array:
    """Average the neurons' Hessians at these intercepts, each divided by its curvature."""
    weight = jnp.mean(problem.total_weight)

    def sample_weights(X, y, weights, offset):
        if offset is not None:
            eta = jnp.broadcast_to(intercept[:, None] + offset, y.shape)
            weights = weights * sample_curvature(problem, eta, y) / curvature[:, None]
        return jnp.mean(weights, axis=0, keepdims=True) / weight

    return gram(problem, sample_weights)


class SharedCurvature(NamedTuple):
    """Hessians of the loss, equal up to a scale and the neurons' masks."""

    moments: jax.Array  # (p + 1, p + 1)
    scale: jax.Array  # (n_neurons,)
    mask: jax.Array  # (p + 1, n_neurons)

    def neurons(self, index: jax.Array) -> jax.Array:
        """Give some neurons Hessians of their own, (n, p + 1, p + 1)."""
        return jax.vmap(_masked, (0, 1))(
            self.scale[index][:, None, None] * self.moments[None], self.mask[:, index]
        )


def _masked(matrix: jax.Array, mask: jax.Array) -> jax.Array:
    """Leave only what a mask keeps, positive definite even where the data are flat."""
    level = jnp.trace(matrix) / jnp.maximum(mask.sum(), 1)
    return matrix * jnp.outer(mask, mask) + jnp.diag(level * (1 - mask))


def shared_curvature(problem: Problem, intercept: jax.Array, curvature: jax.Array):
    """Curvature from the Gram matrix that all neurons share."""
    moments = _shared_moments(problem, intercept, curvature)
    return SharedCurvature(moments, curvature, problem.mask)


def own_curvature(problem: Problem, theta: jax.Array, n_rows: int, wanted: jax.Array) -> jax.Array:
    """Hessian of each wanted neuron's loss at `theta`, from so many rows, (n, p + 1, p + 1)."""
    some = n_rows < problem.n_samples
    hessian = _hessian_of_some(problem, theta, n_rows) if some else _hessian_of_all(problem, theta)

    def one(item):
        neuron, wanted = item
        none = jnp.zeros((len(theta), len(theta)), theta.dtype)
        found = jax.lax.cond(wanted, hessian, lambda _: none, neuron)
        return _masked(found / problem.total_weight[neuron], problem.mask[:, neuron])

    return jax.lax.map(one, (jnp.arange(problem.n_neurons), wanted))


def own_whitening(
    problem: Problem, theta: jax.Array, n_rows: int, wanted: jax.Array
) -> OwnWhitening:
    """Whiten each wanted neuron with its own Hessian at `theta`, from so many of its rows."""
    ridge = _ridge(problem)
    some = n_rows < problem.n_samples
    hessian = _hessian_of_some(problem, theta, n_rows) if some else _hessian_of_all(problem, theta)

    def factor(neuron):
        mask = problem.mask[:, neuron]
        moments = hessian(neuron) / problem.total_weight[neuron] * jnp.outer(mask, mask)
        # A free parameter without curvature is as flat as the smallest that precision can tell.
        level = jnp.trace(moments) / jnp.maximum(mask.sum(), 1)
        moments = moments + jnp.diag((1 - mask) * level + mask * ridge[:, neuron])
        return _inverse_factor(moments)

    def factor_if_wanted(item):
        neuron, wanted = item
        none = jnp.zeros((len(theta), len(theta)), theta.dtype)
        return jax.lax.cond(wanted, factor, lambda _: none, neuron)

    neurons = jnp.arange(problem.n_neurons)
    return OwnWhitening(jax.lax.map(factor_if_wanted, (neurons, wanted)))


def _curvature_at(problem: Problem, theta: jax.Array) -> Callable:
    def curvature(X, y, weights, offset):
        return weights * sample_curvature(problem, linear_predictor(theta, X, offset), y)

    return curvature


def _hessian_of_all(problem: Problem, theta: jax.Array) -> Callable:
    def hessian(neuron):
        curvature = _curvature_at(problem, theta[:, neuron][:, None])
        return gram(problem.neurons(neuron[None]), curvature)

    return hessian


def _hessian_of_some(problem: Problem, theta: jax.Array, n_rows: int) -> Callable:
    """Estimate a neuron's Hessian from some rows.

    Half of the rows stand at equal steps of the neuron's cumulated curvature, half at equal steps
    of time: few rows of a sharply tuned neuron carry its curvature, and the others must not be
    forgotten (Roosta-Khorasani & Mahoney 2019, "Sub-sampled Newton methods", section 2).
    """
    block = problem.X.shape[2]
    curvature = along(problem, _curvature_at(problem, theta))
    weights = along(problem, lambda X, y, weights, offset: weights)

    def hessian(neuron):
        v, w = curvature[neuron], weights[jnp.minimum(neuron, len(weights) - 1)]
        density = v / jnp.maximum(v.sum(), jnp.finfo(v.dtype).tiny) + w / w.sum()
        edges = jnp.cumsum(density)
        at = (jnp.arange(n_rows) + 0.5) / n_rows * edges[-1]
        rows = jnp.minimum(jnp.searchsorted(edges, at), v.size - 1)
        X = problem.X[rows // block, :, rows % block]
        v = v[rows] * edges[-1] / (n_rows * jnp.maximum(density[rows], 1e-30))
        weighted = v[:, None] * X
        return border_moments(X.T @ weighted, weighted.sum(axis=0), v.sum())

    return hessian


def _ridge(problem: Problem) -> jax.Array:
    """Second derivative of the penalty, the intercept's included, (p + 1, n_neurons)."""
    curvature = penalty_curvature(problem)
    shape = (problem.n_features, problem.n_neurons)
    if curvature is None:
        return jnp.zeros((shape[0] + 1, shape[1]), problem.X.dtype)
    return jnp.pad(jnp.broadcast_to(curvature, shape), ((0, 1), (0, 0)))


def _inverse_factor(matrix: jax.Array) -> jax.Array:
    """Inverse transposed Cholesky factor of a matrix that may be singular, by least jitter."""
    eye = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    level = jnp.trace(matrix) / matrix.shape[0]
    start = 1e-6 if matrix.dtype == jnp.float32 else 1e-12

    def factor(carry):
        jitter = 10 * carry[0]
        return jitter, jnp.linalg.cholesky(matrix + jitter * level * eye)

    def failed(carry):
        jitter, factor = carry
        return ~jnp.all(jnp.isfinite(factor)) & (jitter < 1)

    _, lower = jax.lax.while_loop(failed, factor, (start / 10, jnp.full_like(matrix, jnp.nan)))
    return solve_triangular(lower, eye, lower=True).T
