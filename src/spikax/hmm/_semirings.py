"""Sums and products over paths: scaled probabilities, their logarithms, and the best path's."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp


class Semiring(NamedTuple):
    """What messages are made of, and how they are added up over states.

    Attributes
    ----------
    lift
        Makes it of logarithms.
    log
        The way back.
    times
        The product of two.
    total
        The sum over an axis.
    divide
        The quotient by a total; what is nothing stays nothing.
    identity
        The neutral elements of sum and product.
    """

    lift: Callable[[jax.Array], jax.Array]
    log: Callable[[jax.Array], jax.Array]
    times: Callable[[jax.Array, jax.Array], jax.Array]
    total: Callable[..., jax.Array]
    divide: Callable[[jax.Array, jax.Array], jax.Array]
    identity: tuple[float, float]


def _same(x: jax.Array) -> jax.Array:
    return x


def _lower(x: jax.Array, total: jax.Array) -> jax.Array:
    return x - jnp.where(total > -jnp.inf, total, 0)


# Probabilities, which need no logarithms as long as every transition is possible: the largest
# likelihood of a sample is one, so that no total is less than the least transition.
SCALED = Semiring(jnp.exp, jnp.log, jnp.multiply, jnp.sum, jnp.divide, (0.0, 1.0))
LOGARITHMS = Semiring(_same, _same, jnp.add, logsumexp, _lower, (-jnp.inf, 0.0))
BEST_PATH = Semiring(_same, _same, jnp.add, jnp.max, _lower, (-jnp.inf, 0.0))
