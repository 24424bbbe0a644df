"""How a solver reports on each neuron, and how it is told that an optimum is at infinity."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
from jax.tree_util import Partial

from spikax.core.null_model import Null
from spikax.core.objective import (
    Objective,
    linear_predictor,
    penalty_value,
    project,
)
from spikax.core.samples import Samples

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

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
    hessians
        Hessians of the losses, (n_parameters, n_parameters, n_neurons), if the fit was given some
        (default None); what the next fit to the same data may start with.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from spikax.solvers import Outcome, Status
    >>> none = jnp.zeros(2, int)
    >>> found = Outcome(jnp.zeros((3, 2)), jnp.ones(2), none, none + Status.CONVERGED, 1)
    >>> found.theta.shape
    (3, 2)
    """

    theta: Float[Array, "parameter neuron"]
    value: Float[Array, " neuron"]
    n_steps: Int[Array, " neuron"]
    status: Int[Array, " neuron"]
    n_passes: Int[Array, ""]
    hessians: Float[Array, "parameter parameter neuron"] | None = None


def status_of(
    value: Float[Array, " neuron"],
    converged: Bool[Array, " neuron"],
    unbounded: Bool[Array, " neuron"],
    out_of_steps: Bool[Array, " neuron"],
) -> Int[Array, " neuron"]:
    """Find the `Status` of each neuron; one that is none of this has stalled."""
    return jnp.select(
        [~jnp.isfinite(value), unbounded & (converged | ~out_of_steps), converged, out_of_steps],
        [Status.NOT_FINITE, Status.UNBOUNDED, Status.CONVERGED, Status.OUT_OF_STEPS],
        Status.STALLED,
    )


def is_unbounded(
    objective: Objective,
    samples: Samples,
    null: Null,
    theta: Float[Array, "parameter neuron"],
    direction: Float[Array, "parameter neuron"],
    gain: Float[Array, " neuron"],
) -> Bool[Array, " neuron"]:
    """Whether the loss stays as it is far along a step not taken: no optimum is near.

    Separated observations do that, and means that the inverse link approaches but never reaches.
    In single precision no more than a negligible gain may be expected of the step, in nats: where
    more is, double precision may go on.
    """
    link = objective.likelihood.link
    if not isinstance(link, tuple) and link.linear:
        return jnp.zeros(theta.shape[1], bool)
    direction = project(objective, direction)

    def far_ahead(change):
        step = (10 / change)[None] * direction
        # Sample by sample: a difference of sums would drown in the rounding of either.
        rise = samples.sum(Partial(_rise, objective, theta, theta + step)) / objective.normaliser
        if objective.linear is not None:
            rise = rise + jnp.sum(objective.linear * step, axis=0)
        # However weak a penalty is, along what it holds the optimum is not at infinity.
        held = penalty_value(objective, theta + step) - penalty_value(objective, theta)
        single = theta.dtype == jnp.float32
        ends = gain <= NEGLIGIBLE if single else jnp.ones(gain.shape, bool)
        flat = (null.precision * rise < 1) & (null.precision * held < NEGLIGIBLE)
        return ends & (change > 0.01) & flat

    change = samples.sum(Partial(_largest_change, direction), jnp.maximum)
    return samples.control.cond(
        jnp.any(change > 0.01), far_ahead, lambda change: jnp.zeros(change.shape, bool), change
    )


def _largest_change(direction, X, y, weights, offset) -> Float[Array, " neuron"]:
    """Largest change of a linear predictor along a direction, over a block's samples."""
    change = jnp.abs(linear_predictor(direction, X, None))
    change = change if change.ndim == 2 else change.max(axis=0)
    return jnp.max(change * (weights > 0), axis=1)


def _rise(objective, here, ahead, X, y, weights, offset) -> Float[Array, " neuron"]:
    """How much a block's losses are larger at one point than at another."""
    before, after = (
        objective.likelihood.loss(linear_predictor(theta, X, offset), y) for theta in (here, ahead)
    )
    return jnp.sum(weights * (after - before), axis=1)
