"""Fits at many strengths in one program, each from where the one before ended."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax._pytrees import register
from spikax.core.hessians import Groups, Precomputed, gram_matrix, shared_hessian
from spikax.core.null_model import null_model, null_parameters
from spikax.core.objective import Objective, proximal_step, value_and_grad
from spikax.core.samples import Samples
from spikax.fit import minimise, too_coarse
from spikax.model_selection._criteria import mean_score
from spikax.solvers import Solver


@register
@dataclass(frozen=True)
class Fits:
    """What the fits of a path found, the strongest first."""

    theta: jax.Array  # (n_strengths, n_parameters, n_neurons)
    score: jax.Array  # mean of the samples that weigh in it, (n_strengths, n_neurons)
    scale: jax.Array | None  # of the loss, where it has one, (n_strengths, n_neurons)
    status: jax.Array  # (n_strengths, n_neurons)
    n_passes: jax.Array  # (n_strengths,)
    coarse: jax.Array  # whether single precision is too coarse, (n_strengths, n_neurons)


@jax.jit
def fit_path(
    objective: Objective,
    samples: Samples,
    precomputed: Precomputed,
    solver: Solver,
    factors: jax.Array,
    scored: jax.Array | None = None,
    theta: jax.Array | None = None,
) -> Fits:
    """Fit at the objective's strengths times each of the factors.

    Parameters
    ----------
    objective, samples, precomputed, solver
        What to fit, to what, what is known of it, and how.
    factors
        Descending, (n_strengths, n_neurons).
    scored
        Weights of the samples in the score, shaped like theirs, which it is if None.
    theta
        Where to start, the model without features if None.
    """
    null = null_model(objective, samples)
    gram = gram_matrix(objective, samples, null)
    theta = null_parameters(objective, null) if theta is None else theta

    hessians = None
    if len(theta) * objective.n_neurons <= samples.n_samples:  # no more than the features take
        every = jnp.arange(objective.n_neurons)
        shared = shared_hessian(objective, samples, null, gram)
        hessians = jnp.moveaxis(shared.neurons(objective, every), 0, 2)

    def fit(carry, factor):
        theta, hessians = carry
        some = replace(objective, penalty=objective.penalty.scaled(factor[None]))
        known = Precomputed(precomputed.groups, gram, hessians, null)
        outcome, found, _ = minimise(some, samples, known, solver, theta)
        score = mean_score(found, samples, outcome.theta, scored)
        scale = found.likelihood.dispersion
        scale = None if scale is None else scale[:, 0]
        hessians = hessians if outcome.hessians is None else outcome.hessians
        coarse = too_coarse(found, samples, null, outcome.theta, outcome.status)
        fits = Fits(outcome.theta, score, scale, outcome.status, outcome.n_passes, coarse)
        return (outcome.theta, hessians), fits

    return jax.lax.scan(fit, (theta, hessians), factors)[1]


def repeat(
    objective: Objective, samples: Samples, precomputed: Precomputed, n_times: int, weights: Any
) -> tuple[Objective, Samples, Precomputed]:
    """Repeat the population, with other weights each time, as neurons that share one design.

    Parameters
    ----------
    objective, samples, precomputed
        Those of the population.
    n_times
        How often.
    weights
        Weights of all these neurons' samples, (n_blocks, n_times * n_neurons, n_samples).
    """
    n = objective.n_neurons
    index = np.tile(np.arange(n), n_times)
    on_host = jax.tree.map(np.asarray, (objective, replace(samples, X=None)))
    total = weights.sum(axis=(0, 2))
    total = np.where(total > 0, total, 1)
    total = np.maximum(total, np.finfo(weights.dtype).tiny)
    groups, n_predictors = precomputed.groups, objective.n_predictors
    predictor, neuron = np.divmod(np.asarray(groups.representative), n)
    repeated: Any = Groups(
        np.asarray(groups.of_predictor).reshape(n_predictors, n)[:, index].reshape(-1),  # pyright: ignore
        (predictor * n * n_times + neuron).astype(np.int32),  # pyright: ignore
    )
    return (
        replace(on_host[0].neurons(index), normaliser=total),
        replace(on_host[1].neurons(index), X=samples.X, weights=weights, total_weight=total),
        Precomputed(repeated),
    )


@jax.jit
def strongest(objective: Objective, samples: Samples) -> jax.Array:
    """Least factor of the strengths that leaves no penalised coefficient, (n_neurons,)."""
    null = null_model(objective, samples)
    theta = null_parameters(objective, null)
    gradient = value_and_grad(objective.without_penalty(), samples, theta)[1]
    ones = jnp.ones(objective.n_neurons, gradient.dtype)

    def left(factor):
        some = replace(objective, penalty=objective.penalty.scaled(factor[None]))
        coef = proximal_step(some, -gradient, ones)[: -objective.n_predictors]
        return jnp.sum(coef != 0, axis=0)

    low, high = -40.0 * ones, 40.0 * ones
    fewest = left(jnp.exp2(high))

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        enough = left(jnp.exp2(middle)) == fewest
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    return jnp.exp2(jax.lax.fori_loop(0, 40, halve, (low, high))[1])


@jax.jit
def typical_curvature(objective: Objective, samples: Samples) -> jax.Array:
    """Curvature of each neuron's loss in the coefficients of a typical feature, (n_neurons,)."""
    curvature = null_model(objective, samples).curvature
    curvature = curvature.reshape(objective.n_predictors, -1).mean(axis=0)
    return curvature * jnp.median(objective.scale) ** 2 if samples.n_features else curvature
