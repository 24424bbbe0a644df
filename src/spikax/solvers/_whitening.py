"""Coordinates in which the curvature of every neuron's loss is close to the identity.

With `G` the Gram matrix of the features that a group of neurons shares, `c` a neuron's curvature
and `t S` its ridge term, `c G + t S` is factored for all neurons at once: `B = G + S = C C'`, and
`C^-1 S C^-T = Q diag(share) Q'` give `c G + t S = C Q diag(c (1 - share) + t share) Q' C'`.
The jitter that `B` needs where columns are collinear counts as curvature of the data.
Of a neuron with several outputs each is whitened as a neuron would be, and its own Hessian is that
of all together.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from spikax.problem import (
    Null,
    Problem,
    along,
    border_moments,
    centered,
    gram,
    linear_predictor,
    moments,
    penalty,
    penalty_curvature,
    sample_curvature,
    sample_hessian,
)


class OwnWhitening(NamedTuple):
    """A linear map from whitened coordinates to parameters for each neuron."""

    factor: jax.Array  # (n_neurons, p + 1, p + 1)
    n_flat: jax.Array  # directions whose curvature is no more than jitter, (n_neurons,)

    def to_parameters(self, whitened: jax.Array) -> jax.Array:
        """Map a step from whitened coordinates to parameters."""
        return jnp.einsum("npq,qn->pn", self.factor, whitened)

    def pull_back(self, gradient: jax.Array) -> jax.Array:
        """Map a gradient from parameters to whitened coordinates."""
        return jnp.einsum("nqp,qn->pn", self.factor, gradient)


class SharedWhitening(NamedTuple):
    """Such maps, equal up to a scale for the outputs of a group."""

    factor: jax.Array  # (n_groups, p + 1, p + 1)
    group: jax.Array  # index of each output's factor, (n_outputs n_neurons,)
    scale: jax.Array  # of the whitened coordinates, (p + 1, n_outputs n_neurons)
    n_flat: jax.Array  # directions whose curvature is no more than jitter, (n_groups,)

    def to_parameters(self, whitened: jax.Array) -> jax.Array:
        """Map a step from whitened coordinates to parameters."""
        by_output = self.scale * whitened.reshape(self.scale.shape)
        return _by_group(self.factor, self.group, by_output).reshape(whitened.shape)

    def pull_back(self, gradient: jax.Array) -> jax.Array:
        """Map a gradient from parameters to whitened coordinates."""
        by_output = gradient.reshape(self.scale.shape)
        by_output = _by_group(jnp.swapaxes(self.factor, 1, 2), self.group, by_output)
        return (self.scale * by_output).reshape(gradient.shape)

    def neurons(self, problem: Problem, index: jax.Array) -> OwnWhitening:
        """Give some neurons, whose problem is `problem`, maps of their own."""
        n_outputs = problem.n_outputs
        if n_outputs == 1:
            group = self.group[index]
            factor = self.factor[group] * self.scale.T[index, None, :]
            return OwnWhitening(factor, self.n_flat[group])
        output = jnp.arange(n_outputs)
        at = output[:, None] * (self.group.size // n_outputs) + index[None]
        blocks = self.factor[self.group[at]] * self.scale.T[at][:, :, None, :]
        shape = (index.size, len(self.scale), n_outputs, len(self.scale), n_outputs)
        # Indices with a slice between them put their axis, the output, first.
        factor = jnp.zeros(shape, blocks.dtype).at[:, :, output, :, output].set(blocks)
        factor = factor.reshape(index.size, n_outputs * len(self.scale), -1)
        project = jax.vmap(lambda columns: centered(problem, columns), in_axes=2, out_axes=2)
        factor = jnp.swapaxes(project(jnp.swapaxes(factor, 0, 1)), 0, 1)
        return OwnWhitening(factor, self.n_flat[self.group[at]].sum(axis=0))


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
    moments = shared_moments(problem, intercept, curvature)
    # From here on, what is said of a neuron is said of each of its outputs.
    curvature = curvature.reshape(-1)
    free, ridge = (a.reshape(problem.n_features + 1, -1) for a in (problem.mask, _ridge(problem)))
    representative = problem.representative
    amplitude = jnp.max(ridge, axis=0)
    ratio = amplitude / curvature
    by_group = jax.ops.segment_sum(
        jnp.stack([ratio, jnp.ones_like(ratio)], 1), problem.group, representative.size
    )
    typical = by_group[:, 0] / by_group[:, 1]
    # A neuron of a group may have no ridge term, and the others of that group one.
    profile = (ridge / jnp.where(amplitude > 0, amplitude, 1)[None]).T
    profile = jax.ops.segment_max(profile, problem.group, representative.size)

    def factor(neuron, ratio, profile):
        mask = free[:, neuron]
        masked = moments * jnp.outer(mask, mask) + jnp.diag(1 - mask)
        level = jnp.trace(masked) / len(masked)
        term = ratio * profile * mask
        inverse = _inverse_factor(masked + jnp.diag(term), level)
        n_flat = _count_flat(inverse, level)
        if problem.penalty.curvature is None:
            return inverse, jnp.zeros_like(mask), n_flat
        share, rotation = jnp.linalg.eigh(inverse.T @ (term[:, None] * inverse))
        # A masked parameter moves by nothing, not by the rounding of a rotation.
        return mask[:, None] * (inverse @ rotation), jnp.clip(share, 0, 1), n_flat

    groups = representative, typical, profile
    if representative.size == 1:
        only = factor(*(array[0] for array in groups))
        factors, share, n_flat = jax.tree.map(lambda a: a[None], only)
    else:
        factors, share, n_flat = jax.lax.map(lambda item: factor(*item), groups)
    share = share[problem.group].T
    relative = ratio / jnp.where(typical > 0, typical, 1)[problem.group]
    of_data = jnp.maximum(1 - share, jnp.finfo(share.dtype).eps)
    whitened_curvature = curvature[None] * (of_data + relative[None] * share)
    scale = jax.lax.rsqrt(whitened_curvature)
    return SharedWhitening(factors, problem.group, scale, n_flat)


def shared_moments(problem: Problem, intercept: jax.Array, curvature: jax.Array) -> jax.Array:
    """Average the neurons' Hessians at these intercepts, each divided by its curvature."""
    if problem.moments is not None:
        return problem.moments
    weight = jnp.mean(problem.total_weight)

    def sample_weights(X, y, weights, offset):
        if offset is not None:
            eta = jnp.broadcast_to(intercept[..., None] + offset, (*intercept.shape, X.shape[1]))
            share = sample_curvature(problem, eta, y) / curvature[..., None]
            weights = weights * (share if share.ndim == 2 else share.mean(axis=0))
        return jnp.mean(weights, axis=0, keepdims=True) / weight

    return gram(problem, sample_weights)


class SharedCurvature(NamedTuple):
    """Hessians of the losses: one matrix, times that of each neuron's outputs."""

    moments: jax.Array  # (p + 1, p + 1)
    outputs: jax.Array  # second derivatives of the loss in the outputs, (K, K, n_neurons)

    def neurons(self, problem: Problem, index: jax.Array) -> jax.Array:
        """Give some neurons, whose problem is `problem`, Hessians of their own."""

        def one(outputs, mask):
            return _masked(jnp.kron(self.moments, outputs), mask)

        return jax.vmap(one, (2, 1))(self.outputs[:, :, index], problem.mask)


def shared_curvature(problem: Problem, null: Null) -> SharedCurvature:
    """Take the curvature from the Gram matrix that all neurons share."""
    moments = shared_moments(problem, null.intercept, null.curvature)
    if problem.n_outputs == 1:
        return SharedCurvature(moments, null.curvature[None, None])
    # The curvature of classes is that of any observation.
    any_class = jnp.zeros_like(null.nats)[:, None]
    return SharedCurvature(
        moments, sample_hessian(problem, null.intercept[..., None], any_class)[..., 0]
    )


def _masked(matrix: jax.Array, mask: jax.Array) -> jax.Array:
    """Leave only what a mask keeps, with any curvature for the rest."""
    level = jnp.trace(matrix) / jnp.maximum(mask.sum(), 1)
    return matrix * jnp.outer(mask, mask) + jnp.diag(level * (1 - mask))


def own_curvature(problem: Problem, theta: jax.Array, n_rows: int, wanted: jax.Array) -> jax.Array:
    """Hessian of each wanted neuron's loss at `theta`, from so many rows, (n, p + 1, p + 1)."""
    some = n_rows < problem.n_samples
    hessian = _hessian_of_some(problem, theta, n_rows) if some else _hessian_of_all(problem, theta)

    def one(item):
        neuron, wanted = item
        none = jnp.zeros((len(theta), len(theta)), theta.dtype)
        found = jax.lax.cond(wanted, lambda j: arranged(hessian(j)), lambda _: none, neuron)
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
        moments = arranged(hessian(neuron)) / problem.total_weight[neuron] * jnp.outer(mask, mask)
        # A free parameter without curvature is as flat as the smallest that precision can tell.
        level = jnp.trace(moments) / jnp.maximum(mask.sum(), 1)
        moments = moments + jnp.diag((1 - mask) * level + mask * ridge[:, neuron])
        if problem.penalty.curvature is None and jax.tree.leaves(problem.penalty):
            moments = moments + _bend_of_penalty(problem, theta, neuron) * jnp.outer(mask, mask)
        if problem.balanced is not None:
            # No gradient leads where all classes change alike: any curvature will do but none.
            even = jnp.full((problem.n_outputs,) * 2, level / problem.n_outputs)
            moments = moments + jnp.kron(jnp.diag(problem.balanced[:, neuron]), even)
        # A feature whose samples have all but lost their curvature is known as well as the others.
        least = jnp.finfo(level.dtype).eps ** 2 * level
        unit = jnp.sqrt(jnp.maximum(jnp.diag(moments), least))
        inverse = _inverse_factor(moments / jnp.outer(unit, unit), jnp.ones_like(level))
        return inverse / unit[:, None], _count_flat(inverse, jnp.ones_like(level))

    def factor_if_wanted(item):
        neuron, wanted = item
        none = jnp.zeros((len(theta), len(theta)), theta.dtype), jnp.asarray(0)
        return jax.lax.cond(wanted, factor, lambda _: none, neuron)

    neurons = jnp.arange(problem.n_neurons)
    return OwnWhitening(*jax.lax.map(factor_if_wanted, (neurons, wanted)))


def arranged(blocks: jax.Array) -> jax.Array:
    """Make one matrix of the blocks of pairs of outputs, (K^2, p + 1, p + 1), as `theta` lies."""
    if blocks.ndim == 2:
        return blocks
    n_outputs, n_rows = math.isqrt(len(blocks)), blocks.shape[1]
    blocks = blocks.reshape(n_outputs, n_outputs, n_rows, n_rows)
    return jnp.transpose(blocks, (2, 0, 3, 1)).reshape(n_outputs * n_rows, -1)


def _curvature(problem: Problem, eta: jax.Array, y: jax.Array) -> jax.Array:
    """Weights of one neuron's samples in its Hessian, (1, n_samples) or (K^2, 1, n_samples)."""
    if problem.n_outputs == 1:
        return sample_curvature(problem, eta, y)
    return sample_hessian(problem, eta, y).reshape(-1, *y.shape)


def _hessian_of_all(problem: Problem, theta: jax.Array) -> Callable:
    def hessian(neuron):
        one, own = problem.neurons(neuron[None]), theta[:, neuron][:, None]

        def weights(X, y, weights, offset):
            v = _curvature(one, linear_predictor(own, X, offset), y)
            return weights * v if v.ndim == 2 else weights[None] * v

        return gram(one, weights)

    return hessian


def _hessian_of_some(problem: Problem, theta: jax.Array, n_rows: int) -> Callable:
    """Estimate a neuron's Hessian from some rows.

    A third of the rows stand at equal steps of the neuron's cumulated curvature, a third at equal
    steps of the rows' squared lengths, and a third at equal steps of time: few rows of a sharply
    tuned neuron carry its curvature, few rows tell of a feature that is seldom anything but zero,
    and the others must not be forgotten (Roosta-Khorasani & Mahoney 2019, "Sub-sampled Newton
    methods", section 2).
    """
    block = problem.y.shape[2]

    def total_curvature(X, y, weights, offset):
        v = sample_curvature(problem, linear_predictor(theta, X, offset), y)
        return weights * (v if v.ndim == 2 else v.sum(axis=0))

    curvature = along(problem, total_curvature)
    weights = along(problem, lambda X, y, weights, offset: weights)
    squares = along(problem, lambda X, y, weights, offset: jnp.sum(X**2, axis=0, keepdims=True))[0]

    def hessian(neuron):
        v, w = curvature[neuron], weights[jnp.minimum(neuron, len(weights) - 1)]
        density = _shares(v) + _shares(w) + _shares(w * squares)
        edges = jnp.cumsum(density)
        at = (jnp.arange(n_rows) + 0.5) / n_rows * edges[-1]
        rows = jnp.minimum(jnp.searchsorted(edges, at), v.size - 1)
        X = problem.X.rows(rows)
        stands_for = edges[-1] / (n_rows * jnp.maximum(density[rows], 1e-30))
        if problem.n_outputs == 1:
            v = v[rows] * stands_for
            weighted = v[:, None] * X
            return border_moments(X.T @ weighted, weighted.sum(axis=0), v.sum())
        one = problem.neurons(neuron[None])
        offset = one.offset if one.offset is None else one.offset[rows // block, ..., rows % block]
        offset = offset if offset is None else jnp.moveaxis(offset, 0, -1)
        eta = linear_predictor(theta[:, neuron][:, None], X.T, offset)
        v = _curvature(one, eta, one.y[rows // block, :, rows % block].T)
        return border_moments(*moments(X.T, v * (w[rows] * stands_for)[None, None]))

    return hessian


def _shares(part: jax.Array) -> jax.Array:
    return part / jnp.maximum(part.sum(), jnp.finfo(part.dtype).tiny)


def _ridge(problem: Problem) -> jax.Array:
    """Second derivative of the penalty, the intercept's included, shaped like `theta`."""
    curvature = penalty_curvature(problem)
    n_outputs, shape = problem.n_outputs, problem.mask.shape
    if curvature is None:
        return jnp.zeros(shape, problem.mask.dtype)
    curvature = jnp.broadcast_to(curvature, (shape[0] - n_outputs, shape[1]))
    return jnp.pad(curvature, ((0, n_outputs), (0, 0)))


def _bend_of_penalty(problem: Problem, theta: jax.Array, neuron: jax.Array) -> jax.Array:
    """Second derivatives of a neuron's penalty that are not constant, without negative ones."""
    one = problem.neurons(neuron[None])

    def cost(column):
        return penalty(one, column[:, None])[0]

    bends, directions = jnp.linalg.eigh(jax.hessian(cost)(theta[:, neuron]))
    return (directions * jnp.maximum(bends, 0)[None]) @ directions.T


def _inverse_factor(matrix: jax.Array, level: jax.Array) -> jax.Array:
    """Inverse transposed Cholesky factor of a matrix that may be singular."""
    eye = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    return solve_triangular(cholesky_factor(matrix, level), eye, lower=True).T


def _count_flat(inverse: jax.Array, level: jax.Array) -> jax.Array:
    """Count the directions that have little more curvature than the jitter of their factor."""
    return jnp.sum(jnp.diag(inverse) ** -2 < 10 * _jitter(inverse) * level)


def _jitter(matrix: jax.Array) -> float:
    return 1e-6 if matrix.dtype == jnp.float32 else 1e-12


def cholesky_factor(matrix: jax.Array, level: jax.Array) -> jax.Array:
    """Lower Cholesky factor of a matrix that may be singular, by least jitter.

    Jitter is relative to the `level` of the data's curvature: a penalty that is huge for one
    parameter does not blur the others.
    """
    level = jnp.where(level > 0, level, jnp.trace(matrix) / matrix.shape[0])
    diagonal = jnp.diag_indices(matrix.shape[0])
    start = _jitter(matrix)

    def factor(carry):
        jitter = 10 * carry[0]
        raised = matrix.at[diagonal].add(jitter * level)
        return jitter, jax.lax.linalg.cholesky(raised, symmetrize_input=False)

    def failed(carry):
        jitter, factor = carry
        return ~jnp.all(jnp.isfinite(factor)) & (jitter < 1)

    return jax.lax.while_loop(failed, factor, (start / 10, jnp.full_like(matrix, jnp.nan)))[1]
