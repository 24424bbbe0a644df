"""The one compiled entry of a fit, and the precision that it runs in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype
from jax.tree_util import Partial

from spikax._pytrees import register
from spikax.core.hessians import Groups, Precomputed
from spikax.core.null_model import Null, null_model, null_parameters
from spikax.core.objective import (
    Objective,
    linear_predictor,
    loss_bound,
    mean_loss,
    pearson,
    penalized_loss,
    project,
    sample_curvature,
    value_and_grad,
)
from spikax.core.samples import Samples
from spikax.core.streamed import compiled
from spikax.observation_models._dispersion import likeliest_scale
from spikax.solvers import Outcome, Solver, Status
from spikax.solvers._convergence import NEGLIGIBLE

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

_MOST_ALTERNATIONS = 30

T = TypeVar("T")


# --- The compiled entry.


@register
@dataclass(frozen=True)
class FitResult:
    """What a fit found, neuron by neuron."""

    outcome: Outcome
    coarse: Bool[Array, " neuron"]  # whether single precision is too coarse for it
    pearson: Float[Array, " neuron"] | None  # Pearson's statistic, for families with a scale
    scale: Float[Array, " neuron"] | None  # for families whose loss has one


@compiled
def fit_population(
    objective: Objective,
    samples: Samples,
    precomputed: Precomputed,
    solver: Solver,
    theta: jax.Array | None = None,
) -> FitResult:
    """Minimise the objective of every neuron.

    Parameters
    ----------
    objective, samples, precomputed
        What to fit, to what, and what is known of it.
    solver
        How to fit it.
    theta
        Where to start, shaped as `Objective` says; the model without features if None.

    Returns
    -------
    FitResult
        Parameters, losses, steps and a status for each neuron.
    """
    outcome, objective, null = minimise(objective, samples, precomputed, solver, theta)
    statistic = pearson_statistic(objective, samples, outcome.theta)
    coarse = too_coarse(objective, samples, null, outcome.theta, outcome.status)
    scale = objective.likelihood.dispersion
    scale = None if scale is None else scale[:, 0]
    return FitResult(outcome, coarse, statistic, scale)


def minimise(
    objective: Objective,
    samples: Samples,
    precomputed: Precomputed,
    solver: Solver,
    theta: jax.Array | None,
) -> tuple[Outcome, Objective, Null]:
    """Find the optimum of every neuron, the objective with the scale found, and the null model.

    That is at a scale of zero where it is found: one found in too few digits may be too large, and
    hide that they are. Not compiled.
    """
    if theta is None and not samples.at_hand:
        theta = samples.resume(objective)  # pyright: ignore[reportAttributeAccessIssue]
    theta = None if theta is None else project(objective, theta)

    def run(objective, theta, null):
        constant = loss_bound(objective, samples)
        bounded, known = replace(objective, constant=constant), precomputed._replace(null=null)
        outcome = solver.run(bounded, samples, theta, known)
        return outcome._replace(value=outcome.value - constant)

    if objective.likelihood.estimated:
        outcome, objective, null = _fit_with_scale(objective, samples, run, theta)
    else:
        null = precomputed.null_model(objective, samples)
        outcome = run(objective, theta, null)
    if not samples.at_hand:
        samples.finish()  # pyright: ignore[reportAttributeAccessIssue]
    return outcome._replace(theta=project(objective, outcome.theta)), objective, null


def pearson_statistic(
    objective: Objective, samples: Samples, theta: jax.Array
) -> Float[Array, " neuron"] | None:
    """Pearson's statistic, of families with a scale."""
    return pearson(objective, samples, theta) if objective.likelihood.by_moments else None


# --- The scale of a loss, together with the coefficients.


def _fit_with_scale(
    objective: Objective, samples: Samples, run: Callable, theta: jax.Array | None
) -> tuple[Outcome, Objective, Null]:
    """Alternate between the coefficients, which `run` fits, and the scale, to the joint maximum.

    It starts from the null model if `theta` is None, and gives that of a scale of zero back.

    The two are orthogonal in expectation (Lawless 1987, Can. J. Stat. 15, section 2), so few
    alternations suffice, each from where the last one ended. The first is at a scale of zero.
    """
    zero, none = jnp.zeros_like(objective.normaliser), jnp.zeros(objective.n_neurons, int)
    nowhere = jnp.zeros_like(objective.mask) if theta is None else theta
    outcome = Outcome(nowhere, zero, none, none, jnp.asarray(0))
    tolerance = 1e-9 if zero.dtype == jnp.float64 else 1e-6

    def alternate(carry):
        n_times, outcome, scale, settled, at_zero = carry
        some = _at(objective, scale)
        null = null_model(some, samples)
        at_zero = jax.tree.map(lambda a, b: jnp.where(n_times == 0, a, b), null, at_zero)
        start = outcome.theta
        if theta is None:
            start = jnp.where(n_times == 0, null_parameters(some, null), start)
        found = run(some, start, null)
        likeliest, gain = likeliest_scale(_log_likelihood(objective, samples, found.theta), scale)
        outcome = Outcome(
            theta=jnp.where(settled[None], outcome.theta, found.theta),
            value=jnp.where(settled, outcome.value, found.value),
            n_steps=jnp.where(settled, 0, found.n_steps) + outcome.n_steps,
            status=jnp.where(settled, outcome.status, found.status),
            n_passes=outcome.n_passes + found.n_passes,
        )
        scale = jnp.where(settled, scale, likeliest)
        return n_times + 1, outcome, scale, settled | (gain < tolerance), at_zero

    def unfinished(carry):
        n_times, *_, settled, _ = carry
        return (n_times < _MOST_ALTERNATIONS) & ~jnp.all(settled)

    shapes = jax.eval_shape(lambda: null_model(_at(objective, zero), samples))
    nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    start = (jnp.asarray(0), outcome, zero, zero < 0, nothing)
    found = samples.control.while_loop(unfinished, alternate, start)
    _, outcome, scale, settled, at_zero = found
    status = jnp.where(settled, outcome.status, Status.OUT_OF_STEPS)
    return outcome._replace(status=status), _at(objective, scale), at_zero


def _at(objective: Objective, scale: jax.Array) -> Objective:
    return replace(objective, likelihood=objective.likelihood.at(scale[:, None]))


def _log_likelihood(objective: Objective, samples: Samples, theta: jax.Array) -> Callable:
    """Make a function of the scale to the log-likelihood of each neuron."""

    def of_scale(scale):
        return samples.sum(Partial(_block_log_likelihood, _at(objective, scale), theta))

    return of_scale


def _block_log_likelihood(objective, theta, X, y, weights, offset) -> Float[Array, " neuron"]:
    eta = linear_predictor(theta, X, offset)
    return jnp.sum(weights * objective.likelihood.log_prob(eta, y), axis=1)


@compiled
def null_theta(objective: Objective, samples: Samples) -> Float[Array, "parameter neuron"]:
    """Parameters of the model without features, shaped as `Objective` says."""
    return null_parameters(objective, null_model(objective, samples))


@compiled
def null_theta_and_scale(objective: Objective, samples: Samples) -> tuple[jax.Array, jax.Array]:
    """Parameters of the model without features, and the scale that is likeliest with them."""

    def intercepts(objective, theta, null):
        theta = null_parameters(objective, null)
        steps = jnp.zeros(objective.n_neurons, int)
        value = mean_loss(objective, samples, theta)
        return Outcome(theta, value, steps, steps + Status.CONVERGED, jnp.asarray(0))

    outcome, objective, _ = _fit_with_scale(objective, samples, intercepts, None)
    return outcome.theta, objective.likelihood.dispersion[:, 0]


# --- Precision.


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
        Builds the objective anew, in the precision that it meets, and minimises it.
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


def fit_some(
    objective: Objective,
    samples: Samples,
    precomputed: Precomputed,
    solver: Solver,
    theta: Any,
    found: FitResult,
) -> FitResult:
    """Fit the neurons again that `found`, on the host, is too coarse for, and keep the others.

    What becomes of a neuron does not depend on which others need more digits.
    """
    chosen = np.flatnonzero(found.coarse)
    n_neurons = found.coarse.size
    # A power of two, so that few programs serve; neurons that fill up are fitted twice.
    size = min(1 << (chosen.size - 1).bit_length(), n_neurons)
    index = np.resize(chosen, size)
    start = None if theta is None else theta[:, index]
    some = objective.neurons(index), samples.neurons(index)  # pyright: ignore
    groups = restricted_groups(precomputed.groups, index, objective.n_predictors)
    again = jax.device_get(fit_population(*some, Precomputed(groups), solver, start))

    def merged(old, new):
        if np.ndim(old) == 0:
            return old - (-new * size // n_neurons)  # passes over the data of all
        joined = np.array(old, new.dtype)
        joined[..., chosen] = new[..., : chosen.size]
        return joined

    return jax.tree.map(merged, found, again)


def restricted_groups(groups: Groups, index: np.ndarray, n_predictors: int) -> Groups:
    """Restrict the groups to some neurons."""
    group = np.asarray(groups.of_predictor).reshape(n_predictors, -1)[:, index].reshape(-1)
    _, representative, group = np.unique(group, return_index=True, return_inverse=True)
    return Groups(group.astype(np.int32), representative.astype(np.int32))  # pyright: ignore


def too_coarse(
    objective: Objective, samples: Samples, null: Null, theta: jax.Array, status: jax.Array
) -> Bool[Array, " neuron"]:
    """Tell for which neurons single precision is too coarse.

    That is where a solver got stuck or met infinity; where the rounding of the linear predictors,
    by a share of the size of their terms, costs more than a negligible part of a nat; and where
    single observations tell their predictor to so many digits (large counts, small noise) that
    Hessians and gains, which are squares, would need twice as many as there are.
    """
    n_predictors = objective.n_predictors
    # Standardised features are of size one.
    size = jnp.abs(theta).reshape(samples.n_features + 1, -1).sum(axis=0)
    size = size.reshape(n_predictors, -1)
    if samples.offset is not None:
        offset = jnp.abs(samples.offset).max(axis=(0, -1))
        size = size + offset.reshape(-1, offset.shape[-1])
    eps = jnp.finfo(theta.dtype).eps
    error = eps * size
    precision, curvature = null.precision, null.curvature.reshape(error.shape)
    per_sample = (precision / samples.total_weight)[None] * curvature
    signal = jnp.max(per_sample * null.intercept.reshape(error.shape) ** 2, axis=0)
    if objective.likelihood.by_moments:
        precision, curvature = _at_scale_of_fit(objective, samples, theta)
    lost = jnp.max(precision[None] * curvature * error**2 / 2, axis=0)
    failed = (status == Status.STALLED) | (status == Status.NOT_FINITE)
    return failed | (lost > NEGLIGIBLE) | (eps * signal > NEGLIGIBLE)


def _at_scale_of_fit(
    objective: Objective, samples: Samples, theta: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Log-likelihood per unit of loss at the scale found, and the mean curvature of the loss."""
    total = samples.total_weight
    scale = pearson(objective, samples, theta) / total
    scale = jnp.maximum(scale, jnp.finfo(theta.dtype).tiny)
    curvature = samples.sum(Partial(_total_curvature, objective, theta)) / total
    return total * objective.likelihood.precision(scale), curvature[None]


def _total_curvature(objective, theta, X, y, weights, offset) -> Float[Array, " neuron"]:
    eta = linear_predictor(theta, X, offset)
    return jnp.sum(weights * sample_curvature(objective, eta, y), axis=-1)


# --- Batches.


@jax.jit
def start_batches(
    objective: Objective,
    samples: Samples,
    precomputed: Precomputed,
    solver: Solver,
    theta: jax.Array,
) -> Any:
    """State of a solver that will be updated on batches like these samples."""
    return solver.init(objective, samples, theta, precomputed)


@jax.jit
def update_on_batch(
    objective: Objective, samples: Samples, solver: Solver, theta: jax.Array, state: Any
) -> tuple[jax.Array, Any]:
    """Take one step of `solver` on a batch."""
    objective = replace(objective, constant=loss_bound(objective, samples))
    return solver.update(objective, samples, theta, state)


class Remainder(NamedTuple):
    """What batches that are gone have left of their summed loss, in standardised parameters."""

    theta: Float[Array, "parameter neuron"]  # the estimate
    gradient: Float[Array, "parameter neuron"]  # of their summed loss there


class Renewed(NamedTuple):
    """What a fit to a batch and to what is left of those before it found."""

    outcome: Outcome
    remainder: Remainder  # of all batches, this one included
    pearson: Float[Array, " neuron"] | None  # of the batch, for families with a scale
    coarse: Bool[Array, " neuron"]  # whether single precision is too coarse for it


@partial(jax.jit, static_argnames="n_kept")
def renew_estimate(
    objective: Objective,
    samples: Samples,
    precomputed: Precomputed,
    solver: Solver,
    remainder: Remainder,
    n_kept: int,
) -> Renewed:
    """Fit a batch together with what is left of those before it.

    The first `n_kept` samples are a sample of the past ones, weighted to stand for all. Their loss
    is that of the past but for chance; with a linear term that gives it the gradient of the past
    at the estimate, it is right to first order, and beyond that up to chance.
    """
    total = objective.normaliser[None]
    shape = (len(samples.y), 1, samples.y.shape[2])
    of_past = (jnp.arange(samples.n_samples) < n_kept).reshape(shape)
    smooth = objective.without_penalty()

    def of(chosen):
        return replace(samples, weights=jnp.where(chosen, samples.weights, 0))

    _, of_kept = value_and_grad(smooth, of(of_past), remainder.theta)
    difference = remainder.gradient - total * of_kept
    corrected = replace(objective, linear=difference / total)
    null = null_model(objective, samples)
    start = null_parameters(objective, null)
    losses = (penalized_loss(corrected, samples, at) for at in (remainder.theta, start))
    known = next(losses) <= next(losses)
    theta = jnp.where(known[None], remainder.theta, start)
    known = precomputed._replace(null=null)
    outcome, *_ = minimise(corrected, samples, known, solver, theta)

    gradient = difference + total * value_and_grad(smooth, samples, outcome.theta)[1]
    statistic = pearson_statistic(objective, of(~of_past), outcome.theta)
    coarse = too_coarse(objective, samples, null, outcome.theta, outcome.status)
    return Renewed(outcome, Remainder(outcome.theta, gradient), statistic, coarse)
