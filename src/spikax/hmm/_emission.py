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
_FEW = 8


class EmissionParameters(NamedTuple):
    """Parameters of each state; `theta` of one is shaped as `Objective` says."""

    theta: Float[Array, "state parameter neuron"]
    log_excess: Float[Array, "state neuron"]  # of the dispersion over its floor


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
    disperses
        Whether states have a dispersion of their own, which is estimated.
    """

    objective: Objective
    samples: Samples
    mask: Float[Array, "state parameter neuron"]
    tie: Float[Array, "parameter free"] | None
    floor: Float[Array, " neuron"]
    disperses: bool = field(metadata={"static": True})

    def likelihood(self, log_excess: Float[Array, " neuron"]) -> Likelihood:
        """Likelihood of a state."""
        if not self.disperses:
            return self.objective.likelihood
        return self.objective.likelihood.at((self.floor + jnp.exp(log_excess))[:, None])

    def log_likelihood(self, params: EmissionParameters) -> Float[Array, "state all_samples"]:
        """Log-likelihood of each sample in each state, that of all neurons."""
        # A derivative evaluates a block again, and keeps nothing of it.
        of_block = jax.checkpoint(_log_likelihood, prevent_cse=False)
        return self.samples.map(Partial(of_block, self, params))

    def log_prior(self, params: EmissionParameters) -> Float[Array, ""]:
        """Minus the penalty, in nats: it is not multiplied by the number of samples."""
        return -jnp.sum(jax.vmap(lambda theta: penalty_value(self.objective, theta))(params.theta))

    def gradient(self, of: EmissionParameters) -> EmissionParameters:
        """Restrict a gradient to what is free, and to directions that keep shared rows equal."""
        theta = of.theta * self.mask
        if self.tie is not None:
            flat = theta.reshape(len(self.tie), -1)
            theta = (self.tie @ _shares(self.tie, flat)).reshape(theta.shape)
        return EmissionParameters(theta, of.log_excess)

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
    def of_state(theta, log_excess):
        eta = linear_predictor(theta, X, offset)
        log_prob = emission.likelihood(log_excess).log_prob(eta, y)
        return jnp.sum(weights * log_prob, axis=0)

    return jax.vmap(of_state)(*params)


def _curvature(emission, params, X, y, weights, offset, states) -> tuple[jax.Array, jax.Array]:
    """Sum the second derivatives over a block, or over every so many of its samples."""
    stride = max(1, len(X) // _EXACT)
    some: Any = tuple(
        a if a is None else a[..., ::stride] for a in (X, y, weights, offset, states)
    )
    X, y, weights, offset, states = some
    rows = jnp.concatenate([X, jnp.ones((1, X.shape[1]), X.dtype)])

    def of_state(theta, log_excess, state):
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

    each, of_dispersion = jax.vmap(of_state)(params.theta, params.log_excess, states)
    pairs = _moments(rows, each.reshape(-1, X.shape[1]))
    pairs = pairs.reshape(*each.shape[:3], len(rows), len(rows))
    if emission.objective.n_predictors == 1:
        return pairs[:, 0], of_dispersion
    return jax.vmap(jax.vmap(interleaved))(jnp.swapaxes(pairs, 1, 2)), of_dispersion


def _moments(rows: jax.Array, weights: jax.Array) -> Float[Array, "weighting row row"]:
    """Weighted second moments of the rows: all at once if they are few, else row by row."""
    if len(weights) <= _FEW:
        return jnp.einsum("wt,pt,qt->wpq", weights, rows, rows)
    found = jax.lax.map(lambda row: weights @ (row[None] * rows).T, rows)
    return jnp.swapaxes(found, 0, 1)


def _of_dispersion(emission, log_excess, eta, y, weights) -> Float[Array, " neuron"]:
    """Minus the second derivative of a state's log-likelihoods in the logarithm of its excess."""
    if not emission.disperses:
        return jnp.ones_like(log_excess)

    def total(log_excess):
        return jnp.sum(weights * emission.likelihood(log_excess).log_prob(eta, y))

    return -jax.jvp(jax.grad(total), (log_excess,), (jnp.ones_like(log_excess),))[1]
