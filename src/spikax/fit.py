"""The one compiled entry of a fit."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spikax.problem import (
    Problem,
    linear_predictor,
    null_model,
    pearson,
    penalized_loss,
    value_and_grad,
)
from spikax.regularizer import UnRegularized
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
        Where to start, shape (n_features + 1, n_neurons); the model without features if None.

    Returns
    -------
    FitResult
        Parameters, losses, steps and a status for each neuron.
    """
    outcome = solver.run(problem, theta)
    null = null_model(problem)
    error = jnp.finfo(null.intercept.dtype).eps * null.intercept
    rounding = null.nats * null.curvature * error**2 / 2
    return FitResult(outcome, rounding, _pearson(problem, outcome.theta))


def _pearson(problem: Problem, theta: jax.Array) -> jax.Array | None:
    if not problem.family.has_scale:
        return None

    def mean(X, offset):
        return problem.link.mean(linear_predictor(theta, X, offset))

    return pearson(problem, mean)


@jax.jit
def null_parameters(problem: Problem) -> jax.Array:
    """Parameters of the model without features, (n_features + 1, n_neurons)."""
    return jnp.zeros_like(problem.mask).at[-1].set(null_model(problem).intercept)


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


class Past(NamedTuple):
    """What batches that are gone have left of their summed loss, in the units of the problem."""

    theta: jax.Array  # the estimate, (n_features + 1, n_neurons)
    slope: jax.Array  # gradient of their summed loss there, (n_features + 1, n_neurons)


@partial(jax.jit, static_argnames="n_kept")
def renew_estimate(
    problem: Problem, solver: Solver, past: Past, n_kept: int
) -> tuple[Outcome, Past, jax.Array | None]:
    """Fit a batch together with what is left of those before it.

    The first `n_kept` samples of the problem are a sample of the past ones, weighted to stand for
    all. Their loss is that of the past but for chance; tilted so that its slope at the estimate
    is that of the past, it is right to first order, and beyond that up to chance.

    Returns
    -------
    outcome
        What the solver found.
    past
        What is left of all batches, this one included.
    pearson
        Pearson's statistic of the batch, for families with a scale, (n_neurons,).
    """
    total = problem.total_weight[None]
    shape = (len(problem.X), 1, problem.X.shape[2])
    of_past = (jnp.arange(problem.n_samples) < n_kept).reshape(shape)
    smooth = replace(problem, regularizer=UnRegularized())
    kept = replace(smooth, weights=jnp.where(of_past, problem.weights, 0))
    lean = past.slope - total * value_and_grad(kept, past.theta)[1]

    tilted = replace(problem, tilt=lean / total)
    null = jnp.zeros_like(problem.mask).at[-1].set(null_model(problem).intercept)
    known = penalized_loss(tilted, past.theta) <= penalized_loss(tilted, null)
    outcome = solver.run(tilted, jnp.where(known[None], past.theta, null))

    slope = lean + total * value_and_grad(smooth, outcome.theta)[1]
    batch = replace(problem, weights=jnp.where(of_past, 0, problem.weights))
    return outcome, Past(outcome.theta, slope), _pearson(batch, outcome.theta)
