"""How a solver reports on each neuron."""

from enum import IntEnum
from typing import NamedTuple

import jax


class Status(IntEnum):
    """Why the fit of a neuron ended."""

    CONVERGED = 0
    OUT_OF_STEPS = 1
    NOT_FINITE = 2
    UNBOUNDED = 3
    STALLED = 4


class Outcome(NamedTuple):
    """What a solver found, neuron by neuron."""

    theta: jax.Array  # parameters, (n_features + 1, n_neurons)
    value: jax.Array  # penalised mean loss, (n_neurons,)
    n_steps: jax.Array  # accepted steps, (n_neurons,)
    status: jax.Array  # a `Status`, (n_neurons,)
    n_passes: jax.Array  # passes over the data of the population, ()
