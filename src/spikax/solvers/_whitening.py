"""Coordinates in which the curvature of every neuron's loss is close to the identity.

With `G` the Gram matrix of the features that a group of neurons shares, `c` a neuron's curvature
and `t S` its ridge term, `c G + t S` is factored for all neurons at once: `B = G + S = C C'`, and
`C^-1 G C^-T = Q diag(share) Q'` give `c G + t S = C Q diag(c share + t (1 - share)) Q' C'`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from spikax.problem import Problem, gram, linear_predictor, sample_curvature


class Whitening(NamedTuple):
    """Linear maps from whitened coordinates to parameters, one for each neuron."""

    factor: jax.Array  # (n_groups, p + 1, p + 1)
    group: jax.Array | None  # index of each neuron's factor, None if each has its own
    scale: jax.Array  # (p + 1, n_neurons) or (1, n_neurons)

    def to_parameters(self, whitened: jax.Array) -> jax.Array:
        """Map a step from whitened coordinates to parameters."""
        return _by_group(self.factor, self.group, self.scale * whitened)

    def pull_back(self, gradient: jax.Array) -> jax.Array:
        """Map a gradient from parameters to whitened coordinates."""
        transposed = jnp.swapaxes(self.factor, 1, 2)
        return self.scale * _by_group(transposed, self.group, gradient)

    def by_neuron(self) -> "Whitening":
        """Give each neuron a factor of its own."""
        factor = self.factor[self.group] * self.scale.T[:, None, :]
        return Whitening(factor, None, jnp.ones_like(self.scale[:1]))


def _by_group(matrices: jax.Array, group: jax.Array | None, columns: jax.Array) -> jax.Array:
    if group is None:
        return jnp.einsum("npq,qn->pn", matrices, columns)
    if matrices.shape[0] == 1:
        return matrices[0] @ columns

    def add(total, item):
        index, matrix = item
        return total + matrix @ jnp.where((group == index)[None], columns, 0), None

    items = (jnp.arange(matrices.shape[0]), matrices)
    return jax.lax.scan(add, jnp.zeros_like(columns), items)[0]


def shared_whitening(problem: Problem, intercept: jax.Array, curvature: jax.Array) -> Whitening:
    """Whiten with the Gram matrix that all neurons share."""
    weight = jnp.mean(problem.total_weight)

    def sample_weights(y, weights, offset):
        if offset is not None:
            eta = jnp.broadcast_to(intercept[None] + offset, y.shape)
            weights = weights * sample_curvature(problem, eta, y) / curvature[None]
        return jnp.mean(weights, axis=1, keepdims=True) / weight

    moments = gram(problem, sample_weights)
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
        if problem.regularizer.curvature(problem.strength) is None:
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
    return Whitening(factors, problem.group, jax.lax.rsqrt(whitened_curvature))


def own_whitening(problem: Problem, theta: jax.Array, n_rows: int) -> Whitening:
    """Whiten each neuron with its own Hessian at `theta`, estimated from some of its rows.

    Half of the rows stand at equal steps of the neuron's cumulated curvature, half at equal steps
    of time: few rows of a sharply tuned neuron carry its curvature, and the others must not be
    forgotten (Roosta-Khorasani & Mahoney 2019, "Sub-sampled Newton methods", section 2).
    """
    T = problem.X.shape[0]
    ridge = _ridge(problem)

    def column(a, neuron):
        return a[:, 0] if a.shape[1] == 1 else a[:, neuron]

    def factor(neuron):
        w = column(problem.weights, neuron)
        y = problem.y[:, neuron]
        offset = None if problem.offset is None else column(problem.offset, neuron)[:, None]
        eta = linear_predictor(theta[:, neuron, None], problem.X, offset)[:, 0]
        v = w * sample_curvature(problem, eta, y) / problem.total_weight[neuron]
        if n_rows >= T:
            X, v = problem.X, v
        else:
            density = v / jnp.maximum(v.sum(), jnp.finfo(v.dtype).tiny) + w / w.sum()
            edges = jnp.cumsum(density)
            at = (jnp.arange(n_rows) + 0.5) / n_rows * edges[-1]
            rows = jnp.minimum(jnp.searchsorted(edges, at), T - 1)
            X = problem.X[rows]
            v = v[rows] * edges[-1] / (n_rows * jnp.maximum(density[rows], 1e-30))
        weighted = v[:, None] * X
        border = weighted.sum(axis=0)
        hessian = jnp.block([[X.T @ weighted, border[:, None]], [border[None], v.sum()]])
        mask = problem.mask[:, neuron]
        hessian = hessian * jnp.outer(mask, mask)
        # A free parameter without curvature is as flat as the smallest that precision can tell.
        level = jnp.trace(hessian) / jnp.maximum(mask.sum(), 1)
        hessian = hessian + jnp.diag((1 - mask) * level + mask * column(ridge, neuron))
        return _inverse_factor(hessian)

    n_neurons = problem.y.shape[1]
    factors = jax.lax.map(factor, jnp.arange(n_neurons))
    return Whitening(factors, None, jnp.ones((1, n_neurons), theta.dtype))


def _ridge(problem: Problem) -> jax.Array:
    """Second derivative of the penalty, the intercept's included, (p + 1, n_neurons)."""
    curvature = problem.regularizer.curvature(problem.strength)
    shape = (problem.X.shape[1], problem.y.shape[1])
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
