"""The one compiled entry of a fit."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from spikax.problem import (
    Problem,
    centered,
    linear_predictor,
    null_model,
    pearson,
    without_features,
)
from spikax.solvers import Outcome, Solver


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FitResult:
    """What a fit found, neuron by neuron."""

    outcome: Outcome
    rounding: jax.Array  # nats lost to the precision of the linear predictor, (n_neurons,)
    pearson: jax.Array | None  # Pearson's statistic, for families with a scale, (n_neurons,)


@jax.jit
def fit_population(problem: Problem, solver: Solver, theta: jax.Array | None = None) -> FitResult:
    """Minimise the penalised loss of every neuron of `problem`.

    Parameters
    ----------
    problem
        What to fit.
    solver
        How to fit it.
    theta
        Where to start, shaped as `Problem` says; the model without features if None.

    Returns
    -------
    FitResult
        Parameters, losses, steps and a status for each neuron.
    """
    theta = None if theta is None else centered(problem, theta)
    outcome = solver.run(problem, theta)
    outcome = outcome._replace(theta=centered(problem, outcome.theta))
    null = null_model(problem)
    error = jnp.finfo(null.intercept.dtype).eps * null.intercept
    rounding = (null.curvature * error**2 / 2).reshape(problem.n_outputs, -1).max(axis=0)
    rounding = null.nats * rounding
    if not problem.family.has_scale:
        return FitResult(outcome, rounding, None)

    def mean(X, offset):
        return problem.link.mean(linear_predictor(outcome.theta, X, offset))

    return FitResult(outcome, rounding, pearson(problem, mean))


@jax.jit
def null_parameters(problem: Problem) -> jax.Array:
    """Parameters of the model without features, shaped as `Problem` says."""
    return without_features(problem, null_model(problem))


@jax.jit
def start_batches(problem: Problem, solver: Solver, theta: jax.Array) -> Any:
    """State of a solver that will be updated on batches like `problem`."""
    return solver.init(problem, theta)


@jax.jit
def update_on_batch(
    problem: Problem, solver: Solver, theta: jax.Array, state: Any
) -> tuple[jax.Array, Any]:
    """Take one step of `solver` on a batch."""
    return solver.update(problem, theta, state)
