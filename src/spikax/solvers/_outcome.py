"""How a solver reports on each neuron."""

from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikax.problem import (
    Null,
    Problem,
    centered,
    linear_predictor,
    penalty,
    sample_loss,
    walk,
)

# Log-likelihood, in nats, that a fit may leave to rounding: 0.14 standard errors.
NEGLIGIBLE = 0.01


class Status(IntEnum):
    """Why the fit of a neuron ended.

    Attributes
    ----------
    CONVERGED
        The solver's criterion was met.
    OUT_OF_STEPS
        `maxiter` steps were taken before it was met.
    NOT_FINITE
        The loss is not a number, or infinite.
    UNBOUNDED
        The optimum is at infinity, as of a silent neuron: on the way to it the criterion was met,
        or no step made the loss smaller any more.
    STALLED
        No step made the loss smaller before the criterion was met.

    Examples
    --------
    >>> import spikax as nmo
    >>> model = nmo.glm.GLM().fit([[0.0], [1.0], [2.0]], [1, 2, 2])
    >>> nmo.solvers.Status(model.solver_state_.stats.status).name
    'CONVERGED'
    """

    CONVERGED = 0
    OUT_OF_STEPS = 1
    NOT_FINITE = 2
    UNBOUNDED = 3
    STALLED = 4


class Outcome(NamedTuple):
    """What a solver found, neuron by neuron.

    Attributes
    ----------
    theta
        Parameters of the standardised features, the intercept last, (n_features + 1, n_neurons).
    value
        Mean loss over samples, penalty included, (n_neurons,).
    n_steps
        Steps accepted, (n_neurons,).
    status
        A `Status` of each neuron, (n_neurons,).
    n_passes
        Passes over the data of the population, a scalar.
    curvature
        Hessians of the losses, shaped as `Problem` says, if the problem came with some (default
        None); what the next fit to the same data may start with.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from spikax.solvers import Outcome, Status
    >>> none = jnp.zeros(2, int)
    >>> found = Outcome(jnp.zeros((3, 2)), jnp.ones(2), none, none + Status.CONVERGED, 1)
    >>> found.theta.shape
    (3, 2)
    """

    theta: jax.Array  # parameters, shaped as `Problem` says
    value: jax.Array  # penalised mean loss, (n_neurons,)
    n_steps: jax.Array  # accepted steps, (n_neurons,)
    status: jax.Array  # a `Status`, (n_neurons,)
    n_passes: jax.Array  # passes over the data of the population, ()
    curvature: jax.Array | None = None  # Hessians as in `Problem`, if it came with some


def status_of(
    value: jax.Array, converged: jax.Array, away: jax.Array, spent: jax.Array
) -> jax.Array:
    """Judge each neuron: `away` if its optimum is at infinity, `spent` if it may go no further."""
    return jnp.select(
        [~jnp.isfinite(value), away & (converged | ~spent), converged, spent],
        [Status.NOT_FINITE, Status.UNBOUNDED, Status.CONVERGED, Status.OUT_OF_STEPS],
        Status.STALLED,
    )


def runs_away(
    problem: Problem, null: Null, theta: jax.Array, towards: jax.Array, gain: jax.Array
) -> jax.Array:
    """Whether the loss stays as it is far along a step not taken: no optimum is near.

    Separated observations do that, and means that the inverse link approaches but never reaches.
    In single precision no more than a negligible gain may be expected of the step, in nats: where
    more is, double precision may go on.
    """
    if problem.link.linear:
        return jnp.zeros(theta.shape[1], bool)

    towards = centered(problem, towards)

    def block(X, y, weights, offset):
        movement = jnp.abs(linear_predictor(towards, X, None))
        movement = movement if movement.ndim == 2 else movement.max(axis=0)
        return jnp.max(movement * (weights > 0), axis=1)

    def far_ahead(reach):
        move = (10 / reach)[None] * towards

        # Sample by sample: a difference of sums would drown in the rounding of either.
        def rise(X, y, weights, offset):
            here, ahead = (linear_predictor(at, X, offset) for at in (theta, theta + move))
            change = sample_loss(problem, ahead, y) - sample_loss(problem, here, y)
            return jnp.sum(weights * change, axis=1)

        risen = walk(problem, rise) / problem.total_weight
        if problem.tilt is not None:
            risen = risen + jnp.sum(problem.tilt * move, axis=0)
        # However weak a penalty is, along what it holds the optimum is not at infinity.
        held = penalty(problem, theta + move) - penalty(problem, theta)
        single = theta.dtype == jnp.float32
        ends = gain <= NEGLIGIBLE if single else jnp.ones(gain.shape, bool)
        return ends & (reach > 0.01) & (null.nats * risen < 1) & (null.nats * held < NEGLIGIBLE)

    reach = walk(problem, block, jnp.maximum)
    return jax.lax.cond(
        jnp.any(reach > 0.01), far_ahead, lambda reach: jnp.zeros(reach.shape, bool), reach
    )
