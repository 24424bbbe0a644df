"""Preconditioners: coordinates in which every neuron's Hessian is close to the identity.

With `G` the Gram matrix of the features that a group of neurons shares, `c` a neuron's curvature
and `t S` its ridge term, `c G + t S` is factored for all neurons at once: `B = G + S = C C'`, and
`C^-1 S C^-T = Q diag(share) Q'` give `c G + t S = C Q diag(c (1 - share) + t share) Q' C'`.
The jitter that `B` needs where columns are collinear counts as curvature of the data.
Of a neuron with several predictors each is whitened as a neuron would be, and its own Hessian is
that of all together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from spikax.core.hessians import Precomputed, gram_matrix, hessian_of_neuron
from spikax.core.null_model import Null
from spikax.core.objective import Objective, penalty_value, project, ridge
from spikax.core.samples import Samples

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int


class OwnWhitening(NamedTuple):
    """A linear map from whitened coordinates to parameters for each neuron."""

    factor: Float[Array, "neuron parameter parameter"]
    n_flat: Int[Array, " neuron"]  # directions whose curvature is no more than jitter

    def to_parameters(self, whitened: jax.Array) -> jax.Array:
        """Map a step from whitened coordinates to parameters."""
        return jnp.einsum("npq,qn->pn", self.factor, whitened)

    def pull_back(self, gradient: jax.Array) -> jax.Array:
        """Map a gradient from parameters to whitened coordinates."""
        return jnp.einsum("nqp,qn->pn", self.factor, gradient)


class SharedWhitening(NamedTuple):
    """Such maps, equal up to a scale for the predictors of a group."""

    factor: Float[Array, "group row row"]
    group: Int[Array, " predictor"]  # index of each predictor's factor
    scale: Float[Array, "row predictor"]  # of the whitened coordinates
    n_flat: Int[Array, " group"]  # directions whose curvature is no more than jitter

    def to_parameters(self, whitened: jax.Array) -> jax.Array:
        """Map a step from whitened coordinates to parameters."""
        by_predictor = self.scale * whitened.reshape(self.scale.shape)
        return _by_group(self.factor, self.group, by_predictor).reshape(whitened.shape)

    def pull_back(self, gradient: jax.Array) -> jax.Array:
        """Map a gradient from parameters to whitened coordinates."""
        by_predictor = gradient.reshape(self.scale.shape)
        by_predictor = _by_group(jnp.swapaxes(self.factor, 1, 2), self.group, by_predictor)
        return (self.scale * by_predictor).reshape(gradient.shape)

    def restricted(self, index: jax.Array, n_predictors: int) -> SharedWhitening:
        """Restrict the maps to some neurons."""
        group = self.group.reshape(n_predictors, -1)[:, index].reshape(-1)
        scale = self.scale.reshape(len(self.scale), n_predictors, -1)[:, :, index]
        return self._replace(group=group, scale=scale.reshape(len(self.scale), -1))

    def neurons(self, objective: Objective, index: jax.Array) -> OwnWhitening:
        """Give some neurons, whose objective is `objective`, maps of their own."""
        n_predictors = objective.n_predictors
        if n_predictors == 1:
            group = self.group[index]
            factor = self.factor[group] * self.scale.T[index, None, :]
            return OwnWhitening(factor, self.n_flat[group])
        predictor = jnp.arange(n_predictors)
        at = predictor[:, None] * (self.group.size // n_predictors) + index[None]
        blocks = self.factor[self.group[at]] * self.scale.T[at][:, :, None, :]
        shape = (index.size, len(self.scale), n_predictors, len(self.scale), n_predictors)
        # Indices with a slice between them put their axis, the predictor, first.
        factor = jnp.zeros(shape, blocks.dtype).at[:, :, predictor, :, predictor].set(blocks)
        factor = factor.reshape(index.size, n_predictors * len(self.scale), -1)
        columns = jax.vmap(lambda theta: project(objective, theta), in_axes=2, out_axes=2)
        factor = jnp.swapaxes(columns(jnp.swapaxes(factor, 0, 1)), 0, 1)
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
    objective: Objective, samples: Samples, null: Null, precomputed: Precomputed
) -> SharedWhitening:
    """Whiten with the Gram matrix that all neurons share."""
    gram, (group, representative) = precomputed.gram, precomputed.groups
    gram = gram_matrix(objective, samples, null) if gram is None else gram
    # From here on, what is said of a neuron is said of each of its outputs.
    curvature = null.curvature.reshape(-1)
    free, penalty = (a.reshape(len(gram), -1) for a in (objective.mask, ridge(objective)))
    amplitude = jnp.max(penalty, axis=0)
    ratio = amplitude / curvature
    n_groups = representative.size
    by_group = jax.ops.segment_sum(jnp.stack([ratio, jnp.ones_like(ratio)], 1), group, n_groups)
    typical = by_group[:, 0] / by_group[:, 1]
    # A neuron of a group may have no ridge term, and the others of that group one.
    profile = (penalty / jnp.where(amplitude > 0, amplitude, 1)[None]).T
    profile = jax.ops.segment_max(profile, group, n_groups)

    def factor(predictor, ratio, profile):
        mask = free[:, predictor]
        masked = gram * jnp.outer(mask, mask) + jnp.diag(1 - mask)
        level = jnp.trace(masked) / len(masked)
        term = ratio * profile * mask
        inverse = _inverse_factor(masked + jnp.diag(term), level)
        n_flat = _count_flat(inverse, level)
        if objective.penalty.curvature is None:
            return inverse, jnp.zeros_like(mask), n_flat
        share, rotation = jnp.linalg.eigh(inverse.T @ (term[:, None] * inverse))
        # A masked parameter moves by nothing, not by the rounding of a rotation.
        return mask[:, None] * (inverse @ rotation), jnp.clip(share, 0, 1), n_flat

    groups = representative, typical, profile
    if n_groups == 1:
        only = factor(*(array[0] for array in groups))
        factors, share, n_flat = jax.tree.map(lambda a: a[None], only)
    else:
        factors, share, n_flat = jax.lax.map(lambda item: factor(*item), groups)
    share = share[group].T
    relative = ratio / jnp.where(typical > 0, typical, 1)[group]
    of_data = jnp.maximum(1 - share, jnp.finfo(share.dtype).eps)
    whitened_curvature = curvature[None] * (of_data + relative[None] * share)
    return SharedWhitening(factors, group, jax.lax.rsqrt(whitened_curvature), n_flat)


def own_whitening(
    objective: Objective,
    samples: Samples,
    theta: jax.Array,
    n_rows: int,
    wanted: Bool[Array, " neuron"],
) -> OwnWhitening:
    """Whiten each wanted neuron with its own Hessian at `theta`, from so many of its rows."""
    penalty = ridge(objective)
    hessian = hessian_of_neuron(objective, samples, theta, n_rows, wanted)

    def factor(neuron):
        mask = objective.mask[:, neuron]
        matrix = hessian(neuron) * jnp.outer(mask, mask)
        # A free parameter without curvature is as flat as the smallest that precision can tell.
        level = jnp.trace(matrix) / jnp.maximum(mask.sum(), 1)
        matrix = matrix + jnp.diag((1 - mask) * level + mask * penalty[:, neuron])
        if objective.penalty.curvature is None and jax.tree.leaves(objective.penalty):
            matrix = matrix + _penalty_hessian(objective, theta, neuron) * jnp.outer(mask, mask)
        if objective.sum_to_zero is not None:
            # No gradient leads where all classes change alike: any curvature will do but none.
            even = jnp.full((objective.n_predictors,) * 2, level / objective.n_predictors)
            matrix = matrix + jnp.kron(jnp.diag(objective.sum_to_zero[:, neuron]), even)
        # A feature whose samples have all but lost their curvature is known as well as the others.
        least = jnp.finfo(level.dtype).eps ** 2 * level
        unit = jnp.sqrt(jnp.maximum(jnp.diag(matrix), least))
        inverse = _inverse_factor(matrix / jnp.outer(unit, unit), jnp.ones_like(level))
        return inverse / unit[:, None], _count_flat(inverse, jnp.ones_like(level))

    def factor_if_wanted(item):
        neuron, wanted = item
        none = jnp.zeros((len(theta), len(theta)), theta.dtype), jnp.asarray(0)
        return samples.control.cond(wanted, factor, lambda _: none, neuron)

    neurons = jnp.arange(objective.n_neurons)
    return OwnWhitening(*samples.control.map(factor_if_wanted, (neurons, wanted)))


def _penalty_hessian(objective: Objective, theta: jax.Array, neuron: jax.Array) -> jax.Array:
    """Second derivatives of a neuron's penalty that are not constant, without negative ones."""
    one = objective.neurons(neuron[None])

    def cost(column):
        return penalty_value(one, column[:, None])[0]

    curvature, directions = jnp.linalg.eigh(jax.hessian(cost)(theta[:, neuron]))
    return (directions * jnp.maximum(curvature, 0)[None]) @ directions.T


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
    parameter does not blur the others. Where rounding has all but cancelled it, parameters would
    go far for nothing.
    """
    level = jnp.where(level > 0, level, jnp.trace(matrix) / matrix.shape[0])
    diagonal = jnp.diag_indices(matrix.shape[0])
    start = _jitter(matrix)

    def factor(carry):
        jitter = 4 * carry[0]
        raised = matrix.at[diagonal].add(jitter * level)
        return jitter, jax.lax.linalg.cholesky(raised, symmetrize_input=False)

    def failed(carry):
        jitter, factor = carry
        pivots = jnp.diag(factor) ** 2
        return ~jnp.all(pivots > 0.2 * jitter * level) & (jitter < 1)

    return jax.lax.while_loop(failed, factor, (start / 4, jnp.full_like(matrix, jnp.nan)))[1]
