r"""Messages along the chain: what states are likely, by the samples before and after.

With the likelihood :math:`b_t` of sample t in each state and the transitions A,

.. math:: \alpha_t = (\alpha_{t-1} A) \odot b_t, \qquad
          \beta_{t-1} = A (b_t \odot \beta_t),

where a session begins anew from the initial distribution. That is T steps one after another, but
a product is associative: each chunk is first gone through from every state it may be entered
from, then chunk to chunk, and then each from where it was entered; some 3 L + 2 C steps in all
(Hassan, Sarkka & Garcia-Fernandez 2021, IEEE Trans. Signal Process. 69, 3306).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from spikax.hmm._chain import Chain
from spikax.hmm._semirings import SCALED, Semiring

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Dynamics(NamedTuple):
    """Logarithms of the initial distribution and of the transitions into a sample.

    Constant ones are (K,) and (K, K); those that vary (L, K, C) and (L, K, K, C).
    """

    initial: Float[Array, "*step state"]
    transition: Float[Array, "*step state state"]

    @property
    def varies(self) -> bool:
        """Whether they differ from sample to sample."""
        return self.transition.ndim > 2


class Filtered(NamedTuple):
    """What the samples up to each one say, in the elements of a semiring."""

    messages: Float[Array, "step state chunk"]  # normalised
    entry: Float[Array, "state chunk"]  # at the last sample before each chunk
    log_norm: Float[Array, "step chunk"]  # log p(y_t | y_<t)
    exit: Float[Array, "state chunk"]  # of what comes after each chunk, up to a factor


class Posterior(NamedTuple):
    """What all samples of a session say."""

    states: Float[Array, "step state chunk"]  # probabilities
    initial: Float[Array, " state"]  # expected number of sessions that begin in each state
    transitions: Float[Array, "state state"]  # expected number of transitions
    pairs: Float[Array, "step state state chunk"] | None  # of transitions that vary, each sample's


class _Step(NamedTuple):
    """What one step along all chunks meets."""

    likelihood: Float[Array, "state chunk"]
    start: Float[Array, " chunk"]
    initial: Float[Array, " state #chunk"]
    transition: Float[Array, "from_state state #chunk"]


def filtered(
    ring: Semiring, chain: Chain, log_likelihood: Float[Array, "step state chunk"], dyn: Dynamics
) -> Filtered:
    """Go forward along all chunks."""
    largest = log_likelihood.max(axis=1)
    largest = jnp.where(largest > -jnp.inf, largest, 0)
    step = partial(_step_at, ring, dyn)
    scanned = _scanned(ring, chain, log_likelihood - largest[:, None], dyn)
    n_states, n_chunks = log_likelihood.shape[1:]
    dtype = log_likelihood.dtype

    # From every state that a chunk may be entered from, up to a factor that they share.
    nothing, one = ring.identity
    eye = jnp.where(jnp.eye(n_states, dtype=bool), one, nothing)[..., None].astype(dtype)

    def advance_operator(operator, at):
        operator = _arrive(ring, operator, step(at))
        return ring.divide(operator, ring.total(operator, axis=(0, 1))[None, None]), None

    operator = jnp.broadcast_to(eye, (n_states, n_states, n_chunks))
    operator, _ = jax.lax.scan(advance_operator, operator, scanned)
    entry, exit = _between_chunks(ring, jnp.moveaxis(operator, -1, 0))

    def advance(message, at):
        arrived = _arrive(ring, message, step(at))
        norm = ring.total(arrived, axis=0)
        message = ring.divide(arrived, norm[None])
        return message, (message, norm)

    _, (messages, norm) = jax.lax.scan(advance, entry, scanned)
    return Filtered(messages, entry, ring.log(norm) + largest, exit)


def _between_chunks(
    ring: Semiring, operators: Float[Array, "chunk state state"]
) -> tuple[Float[Array, "state chunk"], Float[Array, "state chunk"]]:
    """Go from chunk to chunk, forward and backward at once."""
    nothing_known = jnp.full(operators.shape[1], ring.identity[1], operators.dtype)

    def advance(carry, at):
        (entry, later), (ahead, behind) = carry, at
        arrived = ring.total(ring.times(entry[:, None], ahead), axis=0)
        before = ring.total(ring.times(behind, later[None]), axis=1)
        carry = normalised(arrived), ring.divide(before, before.max()[None])
        return carry, (entry, later)

    def normalised(message):
        return ring.divide(message, ring.total(message, axis=0)[None])

    start = normalised(nothing_known), nothing_known
    _, (entry, exit) = jax.lax.scan(advance, start, (operators, operators[::-1]))
    return entry.T, exit[::-1].T


def smoothed(
    chain: Chain,
    ring: Semiring,
    log_likelihood: Float[Array, "step state chunk"],
    dyn: Dynamics,
    forward: Filtered,
) -> Posterior:
    """Go backward along all chunks, and count transitions."""
    step = partial(_step_at, ring, dyn)
    largest = log_likelihood.max(axis=1, keepdims=True)
    largest = jnp.where(largest > -jnp.inf, largest, 0)
    scanned = _scanned(ring, chain, log_likelihood - largest, dyn)
    before = jnp.concatenate([forward.entry[None], forward.messages[:-1]])
    n_states = log_likelihood.shape[1]
    one = jnp.asarray(ring.identity[1], log_likelihood.dtype)

    def retreat(carry, at):
        later, initial, transitions = carry
        here, (alpha, previous, weight) = step(at[0]), at[1]
        states = _probability(ring, ring.times(alpha, later), (0,))
        ahead = ring.times(here.likelihood, later)
        pairs = ring.times(ring.times(previous[:, None], here.transition), ahead[None])
        start, weight = here.start[None], weight[None]
        pairs = jnp.where(start[None], 0, _probability(ring, pairs, (0, 1)))
        initial = initial + jnp.where(start, weight * states, 0)
        transitions = transitions + weight[None] * pairs
        earlier = ring.total(ring.times(here.transition, ahead[None]), axis=1)
        earlier = jnp.where(start, one, ring.divide(earlier, earlier.max(axis=0)[None]))
        kept = (states, pairs if dyn.varies else None)
        return (earlier, initial, transitions), kept

    zero = jnp.zeros((n_states, *forward.exit.shape), log_likelihood.dtype)
    start = (forward.exit, zero[0], zero)
    more = (forward.messages, before, chain.weight)
    (_, initial, transitions), (states, pairs) = jax.lax.scan(
        retreat, start, (scanned, more), reverse=True
    )
    return Posterior(states, initial.sum(axis=-1), transitions.sum(axis=-1), pairs)


def log_evidence(chain: Chain, forward: Filtered) -> Float[Array, ""]:
    """Sum the log-likelihoods of the sessions, each as often as it counts."""
    counted = jnp.where(chain.weight > 0, forward.log_norm, 0)
    return jnp.sum(chain.weight * counted)


def _scanned(ring: Semiring, chain: Chain, log_likelihood: jax.Array, dyn: Dynamics) -> tuple:
    varying = tuple(map(ring.lift, dyn)) if dyn.varies else ()
    return ring.lift(log_likelihood), chain.start, *varying


def _step_at(ring: Semiring, dyn: Dynamics, at: tuple) -> _Step:
    if dyn.varies:
        return _Step(*at)
    return _Step(*at, *(ring.lift(part)[..., None] for part in dyn))


def _arrive(ring: Semiring, message: jax.Array, here: _Step) -> jax.Array:
    """Go one sample on from messages (..., K, C)."""
    more = (None,) * (message.ndim - 2)  # axes in front
    arrived = ring.total(ring.times(message[..., None, :], here.transition[more]), axis=-3)
    begun = ring.times(ring.total(message, axis=-2)[..., None, :], here.initial[more])
    start = here.start[(*more, None)]
    return ring.times(jnp.where(start, begun, arrived), here.likelihood[more])


def _probability(ring: Semiring, weights: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Normalise over axes, to probabilities."""
    if ring is not SCALED:
        weights = jnp.exp(weights - jnp.max(weights, axis=axes, keepdims=True))
    return weights / weights.sum(axis=axes, keepdims=True)
