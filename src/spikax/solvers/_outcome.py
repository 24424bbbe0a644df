"""How a solver reports on each neuron."""

from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikax.problem import Null, Problem, centered, linear_predictor, penalized_loss, walk


class Status(IntEnum):
    """Why the fit of a neuron ended."""

    CONVERGED = 0
    OUT_OF_STEPS = 1
    NOT_FINITE = 2
    UNBOUNDED = 3
    STALLED = 4


class Outcome(NamedTuple):
    """What a solver found, neuron by neuron."""

    theta: jax.Array  # parameters, shaped as `Problem` says
    value: jax.Array  # penalised mean loss, (n_neurons,)
    n_steps: jax.Array  # accepted steps, (n_neurons,)
    status: jax.Array  # a `Status`, (n_neurons,)
    n_passes: jax.Array  # passes over the data of the population, ()
    curvature: jax.Array | None = None  # Hessians as in `Problem`, if it came with some


def runs_away(
    problem: Problem, null: Null, theta: jax.Array, value: jax.Array, towards: jax.Array
) -> jax.Array:
    """Whether the loss stays as it is far along a step not taken: no optimum is near.

    Separated observations do that, and means that the inverse link approaches but never reaches.
    """
    if problem.link.name == "identity":
        return jnp.zeros(value.shape, bool)

    towards = centered(problem, towards)

    def block(X, y, weights, offset):
        movement = jnp.abs(linear_predictor(towards, X, None))
        movement = movement if movement.ndim == 2 else movement.max(axis=0)
        return jnp.max(movement * (weights > 0), axis=1)

    def far_ahead(reach):
        ahead = penalized_loss(problem, theta + (10 / reach)[None] * towards)
        return (reach > 0.01) & (null.nats * (ahead - value) < 1)

    reach = walk(problem, block, jnp.maximum)
    return jax.lax.cond(
        jnp.any(reach > 0.01), far_ahead, lambda reach: jnp.zeros(reach.shape, bool), reach
    )
