"""Paths of states: the likeliest one, and draws from the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from spikax.hmm._chain import Chain
from spikax.hmm._messages import Dynamics, filtered
from spikax.hmm._semirings import BEST_PATH, Semiring

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


def best_path(
    chain: Chain, log_likelihood: Float[Array, "step state chunk"], dyn: Dynamics
) -> Int[Array, " all_samples"]:
    """Find the likeliest path of states (Viterbi 1967)."""
    return _backward(
        BEST_PATH, chain, log_likelihood, dyn, lambda weights: jnp.argmax(weights, axis=0), ()
    )


def draw_path(
    ring: Semiring,
    chain: Chain,
    log_likelihood: Float[Array, "step state chunk"],
    dyn: Dynamics,
    key: jax.Array,
) -> Int[Array, " all_samples"]:
    """Draw a path of states from the posterior, the last sample first."""
    keys = jax.random.split(key, chain.start.size)

    def draw(weights, key):
        return jax.random.categorical(key, ring.log(weights), axis=0)

    return _backward(ring, chain, log_likelihood, dyn, draw, (keys,))


def _backward(ring, chain, log_likelihood, dyn, choose, more) -> Int[Array, " all_samples"]:
    """Choose each state given the next: by its message times the transition."""
    messages = chain.joined(filtered(ring, chain, log_likelihood, dyn).messages).T
    begins_next = jnp.append(chain.joined(chain.start)[1:], True)
    transition = ring.lift(dyn.transition)
    following = jnp.minimum(jnp.arange(len(messages)) + 1, len(messages) - 1)
    if dyn.varies:
        transition = jnp.moveaxis(chain.joined(transition), -1, 0)

    def step(later, at):
        message, ends, next_sample, *rest = at
        matrix = transition[next_sample] if dyn.varies else transition
        weights = jnp.where(ends, message, ring.times(message, matrix[:, later]))
        state = choose(weights, *rest)
        return state, state

    scanned = (messages, begins_next, following, *more)
    return jax.lax.scan(step, jnp.zeros((), int), scanned, reverse=True)[1]
