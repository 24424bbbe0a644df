"""The one compiled entry of a fit, and the precision that it runs in."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype

from spikax._dispersion import likeliest_scale
from spikax._pytrees import register
from spikax.observation_models import with_scale
from spikax.problem import (
    Null,
    Problem,
    centered,
    level_of,
    linear_predictor,
    mean_loss,
    null_model,
    pearson,
    penalized_loss,
    sample_curvature,
    value_and_grad,
    walk,
    without_features,
)
from spikax.regularizer import NO_PENALTY
from spikax.solvers import Outcome, Solver, Status
from spikax.solvers._outcome import NEGLIGIBLE

_MOST_TURNS = 30

T = TypeVar("T")


def precision_of(solver: Solver) -> AbstractContextManager:
    """Choose the precision in which a solver's steps are taken."""
    return jax.enable_x64(True) if solver.needs_double else nullcontext()


def in_enough_digits(
    solver: Solver, run: Callable[..., T], coarse: Callable[[T], Any], go_on: bool = False
) -> T:
    """Run a solver, and again in double precision if single precision was too coarse.

    Parameters
    ----------
    solver
        What `run` takes its steps with.
    run
        Poses the problem anew, in the precision that it meets, and solves it.
    coarse
        Function of what `run` found to whether that was too coarse, as `too_coarse` tells it.
    go_on
        Whether `run` is told, the second time, what single precision found (default False).
    """
    with precision_of(solver):
        found = run()
        if canonicalize_dtype(float) == np.float64 or not np.any(coarse(found)):
            return found
    with jax.enable_x64(True):
        return run(found) if go_on else run()


@register
@dataclass(frozen=True)
class FitResult:
    """What a fit found, neuron by neuron."""

    outcome: Outcome
    coarse: jax.Array  # whether single precision is too coarse for it, (n_neurons,)
    pearson: jax.Array | None  # Pearson's statistic, for families with a scale, (n_neurons,)
    scale: jax.Array | None  # for families whose loss has one, (n_neurons,)


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
    # A scale found in too few digits may be too large, and hide that they are: judge at zero.
    judged = problem
    if problem.family.estimate:
        judged = _at(problem, jnp.zeros_like(problem.total_weight))
    null = null_model(judged)
    outcome, problem = minimise(problem, solver, theta)
    pearson = _pearson(problem, outcome.theta)
    coarse = too_coarse(problem, null, outcome.theta, outcome.status)
    scale = None if problem.family.scale is None else problem.family.scale[:, 0]
    return FitResult(outcome, coarse, pearson, scale)


def fit_some(problem: Problem, solver: Solver, theta: Any, found: FitResult) -> FitResult:
    """Fit the neurons again that `found`, on the host, is too coarse for, and keep the others.

    What becomes of a neuron does not depend on which others need more digits.
    """
    chosen = np.flatnonzero(found.coarse)
    n_neurons = found.coarse.size
    # A power of two, so that few programs serve; neurons that fill up are fitted twice.
    size = min(1 << (chosen.size - 1).bit_length(), n_neurons)
    index = np.resize(chosen, size)
    start = None if theta is None else theta[:, index]
    again = jax.device_get(fit_population(_of_neurons(problem, index), solver, start))

    def merged(old, new):
        if np.ndim(old) == 0:
            return old - (-new * size // n_neurons)  # passes over the data of all
        joined = np.array(old, new.dtype)
        joined[..., chosen] = new[..., : chosen.size]
        return joined

    return jax.tree.map(merged, found, again)


def _of_neurons(problem: Problem, index: np.ndarray) -> Problem:
    """Restrict a problem to some neurons, in the groups that they are in."""
    group = np.asarray(problem.group).reshape(problem.n_outputs, -1)[:, index].reshape(-1)
    _, representative, group = np.unique(group, return_index=True, return_inverse=True)
    groups = {"group": group.astype(np.int32), "representative": representative.astype(np.int32)}
    return replace(problem.neurons(index), **groups)


def too_coarse(problem: Problem, null: Null, theta: jax.Array, status: jax.Array) -> jax.Array:
    """Tell for which neurons single precision is too coarse, (n_neurons,).

    That is where a solver got stuck or met infinity; where the rounding of the linear predictors,
    by a share of the size of their terms, costs more than a negligible part of a nat; and where
    single observations tell their predictor to so many digits (large counts, small noise) that
    Hessians and gains, which are squares, would need twice as many as there are.
    """
    # Standardised features are of size one.
    size = jnp.abs(theta).reshape(problem.n_features + 1, -1).sum(axis=0)
    size = size.reshape(problem.n_outputs, -1)
    if problem.offset is not None:
        offset = jnp.abs(problem.offset).max(axis=(0, -1))
        size = size + offset.reshape(-1, offset.shape[-1])
    eps = jnp.finfo(theta.dtype).eps
    error = eps * size
    nats, curvature = null.nats, null.curvature.reshape(error.shape)
    per_sample = (nats / problem.total_weight)[None] * curvature
    signal = jnp.max(per_sample * null.intercept.reshape(error.shape) ** 2, axis=0)
    if problem.family.has_scale:
        nats, curvature = _at_scale_of_fit(problem, theta)
    lost = jnp.max(nats[None] * curvature * error**2 / 2, axis=0)
    failed = (status == Status.STALLED) | (status == Status.NOT_FINITE)
    return failed | (lost > NEGLIGIBLE) | (eps * signal > NEGLIGIBLE)


def _at_scale_of_fit(problem: Problem, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Nats per unit of loss at the scale found, and the mean curvature of the loss there."""

    def block(X, y, weights, offset):
        eta = linear_predictor(theta, X, offset)
        return jnp.sum(weights * sample_curvature(problem, eta, y), axis=-1)

    total = problem.total_weight
    statistic = _pearson(problem, theta)
    assert statistic is not None
    scale = jnp.maximum(statistic / total, jnp.finfo(theta.dtype).tiny)
    curvature = walk(problem, block) / total
    return total * problem.family.precision(scale), curvature[None]


def _pearson(problem: Problem, theta: jax.Array) -> jax.Array | None:
    if not problem.family.has_scale:
        return None

    def mean(X, offset):
        return problem.link.mean(linear_predictor(theta, X, offset))

    return pearson(problem, mean)


def minimise(problem: Problem, solver: Solver, theta: jax.Array | None) -> tuple[Outcome, Problem]:
    """Find the optimum of every neuron, and the problem with the scale found; not compiled."""
    theta = None if theta is None else centered(problem, theta)
    run = partial(_run, solver)
    if problem.family.estimate:
        outcome, problem = _fit_with_scale(problem, run, theta)
    else:
        outcome = run(problem, theta)
    return outcome._replace(theta=centered(problem, outcome.theta)), problem


def _run(solver: Solver, problem: Problem, theta: jax.Array | None) -> Outcome:
    level = level_of(problem)
    outcome = solver.run(replace(problem, level=level), theta)
    return outcome._replace(value=outcome.value - level)


def _fit_with_scale(
    problem: Problem, run: Callable[[Problem, Any], Outcome], theta: jax.Array | None
) -> tuple[Outcome, Problem]:
    """Fit what `run` fits and the scale of the loss by turns, to their joint maximum.

    The two are orthogonal in expectation (Lawless 1987, Can. J. Stat. 15, section 2), so few turns
    suffice, each from where the last one ended. The first is at a scale of zero.
    """
    if theta is None:
        theta = without_features(problem, null_model(problem))
    shapes = jax.eval_shape(run, problem, theta)
    outcome = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)._replace(theta=theta)
    scale = jnp.zeros_like(problem.total_weight)
    tolerance = 1e-9 if scale.dtype == jnp.float64 else 1e-6

    def turn(carry):
        n_turns, outcome, scale, settled = carry
        some = _at(problem, scale)
        found = run(some, outcome.theta)
        likeliest, gain = likeliest_scale(_log_likelihood_of_scale(problem, found.theta), scale)
        outcome = Outcome(
            theta=jnp.where(settled[None], outcome.theta, found.theta),
            value=jnp.where(settled, outcome.value, found.value),
            n_steps=jnp.where(settled, 0, found.n_steps) + outcome.n_steps,
            status=jnp.where(settled, outcome.status, found.status),
            n_passes=outcome.n_passes + found.n_passes,
        )
        scale = jnp.where(settled, scale, likeliest)
        return n_turns + 1, outcome, scale, settled | (gain < tolerance)

    def unfinished(carry):
        n_turns, *_, settled = carry
        return (n_turns < _MOST_TURNS) & ~jnp.all(settled)

    start = (jnp.asarray(0), outcome, scale, scale < 0)
    _, outcome, scale, settled = jax.lax.while_loop(unfinished, turn, start)
    status = jnp.where(settled, outcome.status, Status.OUT_OF_STEPS)
    return outcome._replace(status=status), _at(problem, scale)


def _at(problem: Problem, scale: jax.Array) -> Problem:
    return replace(problem, family=with_scale(problem.family, scale[:, None]))


def _log_likelihood_of_scale(problem: Problem, theta: jax.Array):
    def log_likelihood(scale):
        some = _at(problem, scale)

        def block(X, y, weights, offset):
            loss = some.family.loss(linear_predictor(theta, X, offset), y, some.link)
            total = loss + some.family.log_normalizer(y, scale[:, None])
            return -jnp.sum(weights * total, axis=1)

        return walk(some, block)

    return log_likelihood


@jax.jit
def null_parameters(problem: Problem) -> jax.Array:
    """Parameters of the model without features, shaped as `Problem` says."""
    return without_features(problem, null_model(problem))


@jax.jit
def null_parameters_and_scale(problem: Problem) -> tuple[jax.Array, jax.Array]:
    """Parameters of the model without features, and the scale that is likeliest with them."""

    def intercepts(problem, theta):
        theta = without_features(problem, null_model(problem))
        steps = jnp.zeros(problem.n_neurons, int)
        status = steps + Status.CONVERGED
        return Outcome(theta, mean_loss(problem, theta), steps, status, jnp.asarray(0))

    outcome, problem = _fit_with_scale(problem, intercepts, None)
    return outcome.theta, problem.family.scale[:, 0]


@jax.jit
def start_batches(problem: Problem, solver: Solver, theta: jax.Array) -> Any:
    """State of a solver that will be updated on batches like `problem`."""
    return solver.init(problem, theta)


@jax.jit
def update_on_batch(
    problem: Problem, solver: Solver, theta: jax.Array, state: Any
) -> tuple[jax.Array, Any]:
    """Take one step of `solver` on a batch."""
    return solver.update(replace(problem, level=level_of(problem)), theta, state)


class Past(NamedTuple):
    """What batches that are gone have left of their summed loss, in the units of the problem."""

    theta: jax.Array  # the estimate, shaped like the problem's
    slope: jax.Array  # gradient of their summed loss there, shaped like the problem's


class Renewed(NamedTuple):
    """What a fit to a batch and to what is left of those before it found."""

    outcome: Outcome
    past: Past  # what is left of all batches, this one included
    pearson: jax.Array | None  # Pearson's statistic of the batch, for families with a scale
    coarse: jax.Array  # whether single precision is too coarse for it, (n_neurons,)


@partial(jax.jit, static_argnames="n_kept")
def renew_estimate(problem: Problem, solver: Solver, past: Past, n_kept: int) -> Renewed:
    """Fit a batch together with what is left of those before it.

    The first `n_kept` samples of the problem are a sample of the past ones, weighted to stand for
    all. Their loss is that of the past but for chance; tilted so that its slope at the estimate
    is that of the past, it is right to first order, and beyond that up to chance.
    """
    total = problem.total_weight[None]
    shape = (len(problem.y), 1, problem.y.shape[2])
    of_past = (jnp.arange(problem.n_samples) < n_kept).reshape(shape)
    smooth = replace(problem, penalty=NO_PENALTY)
    kept = replace(smooth, weights=jnp.where(of_past, problem.weights, 0))
    lean = past.slope - total * value_and_grad(kept, past.theta)[1]

    tilted = replace(problem, tilt=lean / total)
    null = null_model(problem)
    start = without_features(problem, null)
    known = penalized_loss(tilted, past.theta) <= penalized_loss(tilted, start)
    outcome, _ = minimise(tilted, solver, jnp.where(known[None], past.theta, start))

    slope = lean + total * value_and_grad(smooth, outcome.theta)[1]
    batch = replace(problem, weights=jnp.where(of_past, 0, problem.weights))
    coarse = too_coarse(problem, null, outcome.theta, outcome.status)
    return Renewed(outcome, Past(outcome.theta, slope), _pearson(batch, outcome.theta), coarse)
