r"""What states make of observations: a GLM for each state, with one set of samples.

The log-likelihood of sample t in state k is that of all neurons,
:math:`\sum_n w_{tn} \log p(y_{tn} | \eta_{ktn})`. Responsibilities of states stay (K, T): no
neuron has a copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from spikax._pytrees import register
from spikax.core.hessians import interleaved
from spikax.core.objective import (
    Objective,
    convex_hessian,
    linear_predictor,
    penalty_value,
    sample_curvature,
)
from spikax.core.samples import Samples
from spikax.observation_models import Likelihood

if TYPE_CHECKING:
    from jaxtyping import Array, Float

# Rows of the design beyond which Hessians are summed over some samples only.
_EXACT = 64
_FEW, _SMALL = 8, 16
_IN_CACHE = 1 << 17  # numbers


class EmissionParameters(NamedTuple):
    """Parameters of each state; `theta` of one is shaped as `Objective` says."""

    theta: Float[Array, "state parameter neuron"]
    log_excess: Float[Array, "state neuron"]  # of the dispersion over its floor


class NormalPrior(NamedTuple):
    """Means and precisions of standardised parameters."""

    mean: Float[Array, "state parameter neuron"]
    precision: Float[Array, "state parameter neuron"]


@register
@dataclass(frozen=True)
class Emission:
    """The mathematics of observations given the state.

    Parameters
    ----------
    objective
        Likelihood, penalty and units, the same in all states.
    samples
        What was observed; weights multiply log-likelihoods.
    mask
        One where a parameter of a state is free, (K, n_parameters, n_neurons).
    tie
        Zeros and ones that make the parameters of all states, K n_parameters of them, of those
        that are different, (K n_parameters, n_free); None if no state shares any.
    floor
        The least dispersion, (n_neurons,).
    prior
        A normal prior of standardised parameters in place of the penalty, or None.
    disperses
        Whether states have a dispersion of their own, which is estimated.
    """

    objective: Objective
    samples: Samples
    mask: Float[Array, "state parameter neuron"]
    tie: Float[Array, "parameter free"] | None
    floor: Float[Array, " neuron"]
    prior: NormalPrior | None
    disperses: bool = field(metadata={"static": True})

    def likelihood(self, log_excess: Float[Array, " neuron"]) -> Likelihood:
        """Likelihood of a state."""
        if not self.disperses:
            return self.objective.likelihood
        return self.objective.likelihood.at((self.floor + jnp.exp(log_excess))[:, None])

    def log_likelihood(self, params: EmissionParameters) -> Float[Array, "state all_samples"]:
        """Log-likelihood of each sample in each state, that of all neurons, but for `constant`."""
        return self.samples.map(Partial(_log_likelihood, self, params))

    def constant(self, weight: Float[Array, " all_samples"]) -> Float[Array, ""]:
        """Sum what samples of these weights have in common in all states and fits."""
        if self.disperses:
            return jnp.zeros(())
        pieces = weight.reshape(len(self.samples.y), -1)
        return self.samples.sum(Partial(_normalizer, self), more=(pieces,))

    def log_prior(self, params: EmissionParameters) -> Float[Array, ""]:
        """Minus the penalty, in nats: it is not multiplied by the number of samples."""
        if self.prior is not None:
            away = params.theta - self.prior.mean
            counted = self.mask / self.n_sharing[..., None]
            return -0.5 * jnp.sum(self.prior.precision * away**2 * counted)
        return -jnp.sum(jax.vmap(lambda theta: penalty_value(self.objective, theta))(params.theta))

    def gradient(self, of: EmissionParameters) -> EmissionParameters:
        """Restrict a gradient to what is free, and to directions that keep shared rows equal."""
        return EmissionParameters(self.restrict(of.theta), of.log_excess)

    def restrict(self, theta: Float[Array, "state parameter neuron"]) -> jax.Array:
        """Leave out what is masked, and average over states what they share."""
        theta = theta * self.mask
        if self.tie is None:
            return theta
        flat = theta.reshape(len(self.tie), -1)
        return (self.tie @ _shares(self.tie, flat)).reshape(theta.shape)

    @property
    def n_sharing(self) -> Float[Array, "state parameter"]:
        """How many states have a parameter in common."""
        if self.tie is None:
            return jnp.ones(self.mask.shape[:2])
        return (self.tie @ self.tie.sum(axis=0)).reshape(self.mask.shape[:2])

    @property
    def sums_to_zero(self) -> np.ndarray | None:
        """Where a state's parameters sum to zero over classes, (K, row, neuron); None: nowhere."""
        if self.objective.sum_to_zero is None:
            return None
        given, mask = np.asarray(self.objective.sum_to_zero) > 0, np.asarray(self.mask)
        return given & mask.reshape(len(mask), len(given), -1, mask.shape[2]).all(axis=2)

    def project(self, theta: np.ndarray) -> np.ndarray:
        """Take from parameters that sum to zero over classes their mean over these."""
        rows = self.sums_to_zero
        if rows is None:
            return theta
        by_class = theta.reshape(*rows.shape[:2], -1, rows.shape[2])
        mean = rows[:, :, None] * by_class.mean(axis=2, keepdims=True)
        return (by_class - mean).reshape(theta.shape)

    def curvature(
        self, params: EmissionParameters, states: Float[Array, "state all_samples"]
    ) -> EmissionCurvature:
        """Second derivatives of the expected log-likelihood, each state with its samples."""
        blocks = len(self.samples.y)
        pieces = jnp.moveaxis(states.reshape(len(states), blocks, -1), 1, 0)
        of_block = Partial(_curvature, self, params)
        return EmissionCurvature(*self.samples.sum(of_block, more=(pieces,)))


class EmissionCurvature(NamedTuple):
    """Minus the second derivatives of the expected log-likelihood."""

    theta: Float[Array, "state neuron parameter parameter"]
    log_excess: Float[Array, "state neuron"]


def _shares(tie: jax.Array, flat: jax.Array) -> jax.Array:
    """Mean of what is tied, (n_free, n_neurons)."""
    return (tie.T @ flat) / tie.sum(axis=0)[:, None]


def _log_likelihood(emission, params, X, y, weights, offset) -> Float[Array, "state sample"]:
    def of_state(theta, log_excess, X, y, weights, offset):
        eta = linear_predictor(theta, X, offset)
        likelihood = emission.likelihood(log_excess)
        if emission.disperses:
            return jnp.sum(weights * likelihood.log_prob(eta, y), axis=0)
        return -jnp.sum(weights * likelihood.precision() * likelihood.loss(eta, y), axis=0)

    def of_piece(*piece):
        return jax.vmap(of_state, (0, 0, None, None, None, None))(*params, *piece)

    block = (X, y, weights, offset)
    size, n_pieces = _piece(emission, y.shape[1])
    # A derivative evaluates a piece again, and keeps nothing of it, the piece included.
    again = jax.checkpoint(lambda i: of_piece(*_sliced(block, i, size)), prevent_cse=False)
    found = jax.lax.map(again, jnp.arange(n_pieces))
    return jnp.moveaxis(found, 0, 1).reshape(len(params.theta), -1)


def _piece(emission: Emission, n_samples: int) -> tuple[int, int]:
    """Cut a block into pieces whose linear predictors, of all states, stay in the cache."""
    n_columns = emission.mask.shape[0] * emission.mask.shape[2] * emission.objective.n_predictors
    n_pieces = next(
        n
        for n in range(1, n_samples + 1)
        if n_samples % n == 0 and (n_columns * n_samples <= _IN_CACHE * n or n_samples <= 256 * n)
    )
    return n_samples // n_pieces, n_pieces


def _sliced(arrays: tuple, index: jax.Array, size: int) -> tuple:
    """Take a piece of the samples, which are last."""

    def piece(array):
        return jax.lax.dynamic_slice_in_dim(array, index * size, size, axis=array.ndim - 1)

    return tuple(array if array is None else piece(array) for array in arrays)


def _normalizer(emission, X, y, weights, offset, weight) -> Float[Array, ""]:
    normalizer = emission.objective.likelihood.log_normalizer(y)
    return -jnp.sum(weight[None] * weights * normalizer)


def _curvature(emission, params, X, y, weights, offset, states) -> tuple[jax.Array, jax.Array]:
    """Sum the second derivatives over a block, or over every so many of its samples."""
    stride = max(1, len(X) // _EXACT)

    def of_state(theta, log_excess, state, X, y, weights, offset):
        likelihood = emission.likelihood(log_excess)
        objective = replace(emission.objective, likelihood=likelihood)
        eta = linear_predictor(theta, X, offset)
        if objective.n_predictors == 1:
            second = sample_curvature(objective, eta, y)[None]
        else:
            second = convex_hessian(objective, eta, y).reshape(-1, *y.shape)
        counted = stride * weights * state[None]
        of_dispersion = _of_dispersion(emission, log_excess, eta, y, counted)
        return (counted * likelihood.precision())[None] * second, of_dispersion

    def of_piece(states, *piece):
        some = tuple(a if a is None else a[..., ::stride] for a in (states, *piece))
        axes = (0, 0, 0, None, None, None, None)
        each, of_dispersion = jax.vmap(of_state, axes)(params.theta, params.log_excess, *some)
        X: Any = some[1]
        rows = jnp.concatenate([X, jnp.ones((1, X.shape[1]), X.dtype)])
        pairs = _moments(rows, each.reshape(-1, X.shape[1]))
        return pairs.reshape(*each.shape[:3], len(rows), len(rows)), of_dispersion

    block = (states, X, y, weights, offset)
    size, n_pieces = _piece(emission, y.shape[1])

    def add(i, total):
        return jax.tree.map(jnp.add, total, of_piece(*_sliced(block, i, size)))

    pairs, of_dispersion = jax.lax.fori_loop(
        1, n_pieces, add, of_piece(*_sliced(block, jnp.asarray(0), size))
    )
    if emission.objective.n_predictors == 1:
        return pairs[:, 0], of_dispersion
    return jax.vmap(jax.vmap(interleaved))(jnp.swapaxes(pairs, 1, 2)), of_dispersion


def _moments(rows: jax.Array, weights: jax.Array) -> Float[Array, "weighting row row"]:
    """Weighted second moments of the rows, (n_weightings, n_rows, n_rows)."""
    n_rows = len(rows)
    if len(weights) <= _FEW:
        return jnp.einsum("wt,pt,qt->wpq", weights, rows, rows)
    if n_rows <= _SMALL:  # one product with those of all pairs
        one, other = np.triu_indices(n_rows)
        pairs = weights @ (rows[one] * rows[other]).T
        index = np.zeros((n_rows, n_rows), int)
        index[one, other] = index[other, one] = np.arange(len(one))
        return pairs[:, index]
    found = jax.lax.map(lambda row: weights @ (row[None] * rows).T, rows)
    return jnp.swapaxes(found, 0, 1)


def _of_dispersion(emission, log_excess, eta, y, weights) -> Float[Array, " neuron"]:
    """Minus the second derivative of a state's log-likelihoods in the logarithm of its excess."""
    if not emission.disperses:
        return jnp.ones_like(log_excess)

    def total(log_excess):
        return jnp.sum(weights * emission.likelihood(log_excess).log_prob(eta, y))

    return -jax.jvp(jax.grad(total), (log_excess,), (jnp.ones_like(log_excess),))[1]
