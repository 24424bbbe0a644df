"""Fits at many strengths in one program, each from where the one before ended."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax._pytrees import register
from spikax.fit import minimise, too_coarse
from spikax.model_selection._criteria import mean_score
from spikax.problem import (
    Problem,
    null_model,
    proximal_step,
    value_and_grad,
    without_features,
)
from spikax.regularizer import NO_PENALTY
from spikax.solvers import Solver
from spikax.solvers._whitening import shared_curvature, shared_moments


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
    problem: Problem,
    solver: Solver,
    factors: jax.Array,
    scored: jax.Array | None = None,
    theta: jax.Array | None = None,
) -> Fits:
    """Fit at the problem's strengths times each of the factors.

    Parameters
    ----------
    problem, solver
        What to fit, and how.
    factors
        Descending, (n_strengths, n_neurons).
    scored
        Weights of the samples in the score, shaped like the problem's; its own if None.
    theta
        Where to start, the model without features if None.
    """
    null = null_model(problem)
    moments = shared_moments(problem, null.intercept, null.curvature)
    theta = without_features(problem, null) if theta is None else theta

    some = replace(problem, moments=moments)
    curvature = None
    if len(theta) * problem.n_neurons <= problem.n_samples:  # no more than the features take
        every = jnp.arange(problem.n_neurons)
        curvature = jnp.moveaxis(shared_curvature(some, null).neurons(some, every), 0, 2)

    def fit(carry, factor):
        theta, curvature = carry
        penalty = problem.penalty.scaled(factor[None])
        outcome, found = minimise(
            replace(some, penalty=penalty, curvature=curvature), solver, theta
        )
        score = mean_score(found, outcome.theta, scored)
        scale = None if found.family.scale is None else found.family.scale[:, 0]
        curvature = curvature if outcome.curvature is None else outcome.curvature
        coarse = too_coarse(found, null, outcome.theta, outcome.status)
        fits = Fits(outcome.theta, score, scale, outcome.status, outcome.n_passes, coarse)
        return (outcome.theta, curvature), fits

    return jax.lax.scan(fit, (theta, curvature), factors)[1]


def repeat(problem: Problem, n_times: int, weights: Any) -> Problem:
    """Repeat the population, with other weights each time, as neurons that share one design.

    Parameters
    ----------
    weights
        Weights of all these neurons' samples, (n_blocks, n_times * n_neurons, n_samples).
    """
    n = problem.n_neurons
    index = np.tile(np.arange(n), n_times)
    groups = np.asarray(problem.group).reshape(problem.n_outputs, n)
    return replace(
        jax.tree.map(np.asarray, problem).neurons(index),
        X=problem.X,
        weights=weights,
        total_weight=jnp.maximum(_sum(weights), jnp.finfo(weights.dtype).tiny),
        group=groups[:, index].reshape(-1),
        representative=_representatives(problem, n, n_times),
    )


def _representatives(problem: Problem, n: int, n_times: int) -> np.ndarray:
    output, neuron = np.divmod(np.asarray(problem.representative), n)
    return (output * n * n_times + neuron).astype(np.int32)


def _sum(weights: Any) -> Any:
    total = weights.sum(axis=(0, 2))
    return jnp.where(total > 0, total, 1)


@jax.jit
def strongest(problem: Problem) -> jax.Array:
    """Least factor of the strengths that leaves no penalised coefficient, (n_neurons,)."""
    null = null_model(problem)
    theta = without_features(problem, null)
    slope = value_and_grad(replace(problem, penalty=NO_PENALTY), theta)[1]
    ones = jnp.ones(problem.n_neurons, slope.dtype)

    def left(factor):
        some = replace(problem, penalty=problem.penalty.scaled(factor[None]))
        coef = proximal_step(some, -slope, ones)[: -problem.n_outputs]
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
def typical_curvature(problem: Problem) -> jax.Array:
    """Curvature of each neuron's loss in the coefficients of a typical feature, (n_neurons,)."""
    curvature = null_model(problem).curvature.reshape(problem.n_outputs, -1).mean(axis=0)
    return curvature * jnp.median(problem.unit) ** 2 if problem.n_features else curvature
