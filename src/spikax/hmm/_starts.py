"""Where searches start: about the model of one state, at several widths."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax.core.null_model import null_model, null_parameters
from spikax.core.objective import Objective, pearson
from spikax.core.samples import Samples
from spikax.hmm._emission import Emission, EmissionParameters
from spikax.hmm._search import Found, Parameters
from spikax.hmm._transitions import TransitionParameters

# Standard deviations of the linear predictors. Narrow starts agree with one another, at optima
# that wide ones leave behind.
WIDTHS = (1.25, 2.5, 5.0)
# What these are for means that have no upper bound, which some units more multiply.
_UNBOUNDED = 0.4
STAYS = 0.95  # probability of staying in a state


@jax.jit
def pooled(objective: Objective, samples: Samples) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Find the model without features, its dispersion, and the unit of linear predictors."""
    null = null_model(objective, samples)
    theta = null_parameters(objective, null)
    ones = jnp.ones_like(objective.normaliser)
    bounded = np.all(np.isfinite(np.asarray(objective.likelihood.family.mean_bounds, float)))
    unit = ones if bounded else _UNBOUNDED * ones
    if not objective.likelihood.by_moments:
        return theta, ones, unit
    total = samples.total_weight
    dispersion = pearson(objective, samples, theta) / total
    precision = objective.likelihood.precision(jnp.maximum(dispersion, 1e-12))
    curvature = null.curvature.reshape(-1, ones.size).mean(axis=0)
    return theta, dispersion, unit / jnp.sqrt(precision * curvature)


@jax.jit
def constant_of(emission: Emission, weight: jax.Array) -> jax.Array:
    """Compute what the log-likelihood has that no parameter changes."""
    return emission.constant(weight)


def start_at(prepared: Any, theta: Any, allowed: np.ndarray) -> Parameters:
    """Start at parameters of the states, with states that last."""
    n_states = allowed.shape[1]
    rows = np.full(allowed.shape, (1 - STAYS) / max(n_states - 1, 1))
    np.fill_diagonal(rows, STAYS if n_states > 1 else 1.0)
    rows[-1] = 1 / n_states
    emission, transitions = prepared.problem.emission, prepared.problem.transitions
    log_excess = np.broadcast_to(prepared.log_excess, (n_states, len(emission.floor)))
    slopes = jnp.zeros((n_states + 1, len(transitions.precision), n_states))
    theta = jnp.broadcast_to(jnp.asarray(theta), emission.mask.shape) * emission.mask
    return Parameters(
        EmissionParameters(theta, jnp.asarray(log_excess)),
        TransitionParameters(jnp.log(jnp.asarray(rows)), slopes),
    )


def one_state(prepared: Any, found: Found) -> np.ndarray:
    """Average over states that were alike, but for rounding, which EM makes larger."""
    mask = np.asarray(prepared.problem.emission.mask)
    theta = np.asarray(found.params.emission.theta)
    return np.sum(theta * mask, axis=0) / np.maximum(mask.sum(axis=0), 1)


def scattered(
    prepared: Any, center: np.ndarray, allowed: np.ndarray, width: float, rng: np.random.Generator
) -> Parameters:
    """Start at random about the parameters of one state; what states share is that of all."""
    emission = prepared.problem.emission
    n_used = np.maximum(np.asarray(emission.mask).sum(axis=1, keepdims=True), 1)
    spread = width * np.asarray(prepared.unit) / np.sqrt(n_used)
    noise = spread * rng.normal(size=emission.mask.shape)
    if emission.tie is not None:
        tie = np.asarray(emission.tie)
        alone = (tie @ tie.sum(axis=0) == 1).reshape(len(noise), -1, 1)
        noise = noise * alone
    return start_at(prepared, center[None] + noise, allowed)
