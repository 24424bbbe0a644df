"""Inference of states as functions of arrays."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax._arrays import as_floats
from spikax.hmm import _paths
from spikax.hmm._chain import Chain, make_chain
from spikax.hmm._messages import Dynamics, filtered, log_evidence, smoothed
from spikax.hmm._semirings import LOGARITHMS, SCALED, Semiring
from spikax.hmm._sessions import find_sessions
from spikax.hmm._transitions import FLOOR

_TOLERANCE = 1e-6  # of sums of probabilities


class Filtered(NamedTuple):
    """What the samples up to each one say of the states.

    Attributes
    ----------
    probability
        Of each state given the samples of its session up to this one, (n_samples, n_states).
    predicted
        The same given the samples before this one, (n_samples, n_states).
    log_likelihood
        Of each sample given those before it, in nats, (n_samples,): their sum is the evidence.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax import hmm
    >>> print(hmm.filter(np.zeros((2, 2)), [1, 0], [[0.9, 0.1], [0.2, 0.8]]).predicted)
    [[1.  0. ]
     [0.9 0.1]]
    """

    probability: np.ndarray
    predicted: np.ndarray
    log_likelihood: np.ndarray


class Smoothed(NamedTuple):
    """What all samples of a session say of its states.

    Attributes
    ----------
    probability
        Of each state, (n_samples, n_states).
    initial
        Expected number of sessions that begin in each state, (n_states,).
    transitions
        Expected number of transitions from the state of the row to that of the column,
        (n_states, n_states).
    log_likelihood
        Logarithm of the evidence, in nats.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax import hmm
    >>> print(hmm.forward_backward(np.zeros((2, 2)), [1, 0], [[0.9, 0.1], [0.2, 0.8]]).transitions)
    [[0.9 0.1]
     [0.  0. ]]
    """

    probability: np.ndarray
    initial: np.ndarray
    transitions: np.ndarray
    log_likelihood: float


def filter(
    log_likelihood: Any, initial_proba: Any, transition_proba: Any, session_starts: Any = None
) -> Filtered:
    r"""Compute the probability of each state given the samples up to each one.

    Parameters
    ----------
    log_likelihood : array, shape (n_samples, n_states)
        Log-likelihood of each sample in each state, in nats; a row of NaN, or of zeros, is a
        sample that is missing: time passes, and nothing is learned.
    initial_proba : array, shape (n_states,) or (n_samples, n_states)
        Probability of the states at the first sample of a session; of each sample if it were one.
    transition_proba : array, shape (n_states, n_states) or (n_samples, n_states, n_states)
        Probability of going from the state of the row to that of the column; of the way into each
        sample if it varies.
    session_starts : array or None
        Which samples are the first of a session: booleans (n_samples,), their indices, or the
        label of each sample's session, (n_samples,). None (default) is one session.

    Returns
    -------
    Filtered
        Probabilities, (n_samples, n_states), and log-likelihoods, (n_samples,).

    Raises
    ------
    ValueError
        If shapes do not fit, or probabilities are negative or do not sum to one.

    Notes
    -----
    :math:`p(z_t | y_{1:t}) \propto p(y_t | z_t) \sum_i p(z_{t-1} = i | y_{1:t-1}) A_{i z_t}`
    (Rabiner 1989, Proc. IEEE 77, 257), in double precision and chunk by chunk.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax import hmm
    >>> stays = np.array([[0.9, 0.1], [0.1, 0.9]])
    >>> found = hmm.filter(np.log([[0.8, 0.2], [0.3, 0.7]]), [0.5, 0.5], stays)
    >>> print(found.probability.round(3), found.log_likelihood.sum().round(3))
    [[0.8  0.2 ]
     [0.55 0.45]] -1.599
    """
    with jax.enable_x64(True):
        chain, values, dynamics, ring = _checked(
            log_likelihood, initial_proba, transition_proba, session_starts
        )
        found = jax.device_get(_filter(ring, chain, values, dynamics))
    n_samples = len(log_likelihood)
    probability, predicted, each = (np.asarray(a)[:n_samples] for a in found)
    return Filtered(probability, predicted, each)


def forward_backward(
    log_likelihood: Any, initial_proba: Any, transition_proba: Any, session_starts: Any = None
) -> Smoothed:
    r"""Compute the probability of each state given all samples of its session.

    Parameters
    ----------
    log_likelihood : array, shape (n_samples, n_states)
        Log-likelihood of each sample in each state, as `filter` takes it.
    initial_proba, transition_proba, session_starts
        As `filter` takes them.

    Returns
    -------
    Smoothed
        Probabilities, expected starts and transitions, and the evidence.

    Raises
    ------
    ValueError
        If shapes do not fit, or probabilities are negative or do not sum to one.

    References
    ----------
    Baum, Petrie, Soules & Weiss (1970), Ann. Math. Stat. 41, 164; Rabiner (1989), Proc. IEEE 77.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax import hmm
    >>> stays = np.array([[0.9, 0.1], [0.1, 0.9]])
    >>> found = hmm.forward_backward(np.log([[0.8, 0.2], [0.3, 0.7]]), [0.5, 0.5], stays)
    >>> print(found.probability.round(3))
    [[0.673 0.327]
     [0.55  0.45 ]]
    """
    with jax.enable_x64(True):
        chain, values, dynamics, ring = _checked(
            log_likelihood, initial_proba, transition_proba, session_starts
        )
        found = jax.device_get(_smooth(ring, chain, values, dynamics))
    states, initial, transitions, total = found
    return Smoothed(states[: len(log_likelihood)], initial, transitions, float(total))


def viterbi(
    log_likelihood: Any, initial_proba: Any, transition_proba: Any, session_starts: Any = None
) -> np.ndarray:
    """Find the likeliest path of states.

    Parameters
    ----------
    log_likelihood : array, shape (n_samples, n_states)
        Log-likelihood of each sample in each state, as `filter` takes it.
    initial_proba, transition_proba, session_starts
        As `filter` takes them.

    Returns
    -------
    array of int, shape (n_samples,)
        The states.

    Raises
    ------
    ValueError
        If shapes do not fit, or probabilities are negative or do not sum to one.

    References
    ----------
    Viterbi (1967), IEEE Trans. Inf. Theory 13, 260.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax import hmm
    >>> stays = np.array([[0.9, 0.1], [0.1, 0.9]])
    >>> hmm.viterbi(np.log([[0.8, 0.2], [0.3, 0.7], [0.8, 0.2]]), [0.5, 0.5], stays)
    array([0, 0, 0])
    """
    with jax.enable_x64(True):
        chain, values, dynamics, _ = _checked(
            log_likelihood, initial_proba, transition_proba, session_starts
        )
        return np.asarray(_best(chain, values, dynamics))[: len(log_likelihood)]


def sample_paths(
    random_key: jax.Array,
    log_likelihood: Any,
    initial_proba: Any,
    transition_proba: Any,
    session_starts: Any = None,
    n_samples: int = 1,
) -> np.ndarray:
    """Draw paths of states from their posterior.

    Parameters
    ----------
    random_key
        Random key, from `jax.random.key`.
    log_likelihood : array, shape (n_samples, n_states)
        Log-likelihood of each sample in each state, as `filter` takes it.
    initial_proba, transition_proba, session_starts
        As `filter` takes them.
    n_samples : int
        Number of paths (default 1).

    Returns
    -------
    array of int, shape (n_paths, n_samples)
        The states of each path.

    Raises
    ------
    ValueError
        If shapes do not fit, or probabilities are negative or do not sum to one.

    References
    ----------
    Fruhwirth-Schnatter (2006), Finite Mixture and Markov Switching Models, section 11.5.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> from spikax import hmm
    >>> stays = np.array([[0.9, 0.1], [0.1, 0.9]])
    >>> evidence = np.log([[0.999, 0.001], [0.001, 0.999]])
    >>> hmm.sample_paths(jax.random.key(0), evidence, [0.5, 0.5], stays, n_samples=500).shape
    (500, 2)
    """
    with jax.enable_x64(True):
        chain, values, dynamics, ring = _checked(
            log_likelihood, initial_proba, transition_proba, session_starts
        )
        keys = jax.random.split(random_key, n_samples)
        return np.asarray(_draw(ring, chain, values, dynamics, keys))[:, : len(log_likelihood)]


# --- Programs.


@partial(jax.jit, static_argnums=0)
def _filter(ring: Semiring, chain: Chain, values: jax.Array, dyn: Dynamics) -> tuple:
    found = filtered(ring, chain, chain.chunked(values), dyn)
    before = jnp.concatenate([found.entry[None], found.messages[:-1]])
    transition, initial = ring.lift(dyn.transition), ring.lift(dyn.initial)
    if not dyn.varies:
        transition, initial = transition[None, ..., None], initial[None, :, None]
    ahead = ring.total(ring.times(before[:, :, None], transition), axis=1)
    ahead = jnp.where(chain.start[:, None], initial, ahead)
    both = (chain.joined(_normalised(ring, part)).T for part in (found.messages, ahead))
    return *both, chain.joined(found.log_norm)


@partial(jax.jit, static_argnums=0)
def _smooth(ring: Semiring, chain: Chain, values: jax.Array, dyn: Dynamics) -> tuple:
    likelihood = chain.chunked(values)
    forward = filtered(ring, chain, likelihood, dyn)
    found = smoothed(chain, ring, likelihood, dyn, forward)
    states = chain.joined(found.states).T
    return states, found.initial, found.transitions, log_evidence(chain, forward)


@jax.jit
def _best(chain: Chain, values: jax.Array, dyn: Dynamics) -> jax.Array:
    return _paths.best_path(chain, chain.chunked(values), dyn)


@partial(jax.jit, static_argnums=0)
def _draw(ring, chain: Chain, values: jax.Array, dyn: Dynamics, keys: jax.Array) -> jax.Array:
    likelihood = chain.chunked(values)
    return jax.lax.map(lambda key: _paths.draw_path(ring, chain, likelihood, dyn, key), keys)


def _normalised(ring: Semiring, messages: jax.Array) -> jax.Array:
    if ring is not SCALED:
        messages = jnp.exp(messages)
    return messages / messages.sum(axis=1, keepdims=True)


# --- What users pass.


def _checked(log_likelihood, initial_proba, transition_proba, session_starts) -> tuple:
    """Check arrays, and lay them out along the chain; possible transitions have a floor."""
    values = as_floats(np.asarray(log_likelihood)).astype(float)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(
            f"log_likelihood must have shape (n_samples, n_states), got {values.shape}."
        )
    missing = np.isnan(values)
    impossible = (values == -np.inf).all(axis=1)
    if impossible.any():
        row = int(np.argmax(impossible))
        raise ValueError(
            f"log_likelihood is -inf in all states in row {row}: no path makes this sample "
            "possible. Pass NaN if it is missing."
        )
    some = missing.any(axis=1) & ~missing.all(axis=1)
    if some.any() or (values == np.inf).any():
        row = int(np.argmax(some | (values == np.inf).any(axis=1)))
        raise ValueError(
            f"log_likelihood is {values[row]} in row {row}: a missing sample is NaN in all "
            "states, and log-likelihoods are less than infinity."
        )
    n_samples, n_states = values.shape
    sessions = find_sessions(session_starts, None, np.ones(n_samples, bool))
    chain = make_chain(sessions.starts)
    names = ("initial_proba", "transition_proba")
    shapes = (n_states,), (n_states, n_states)
    given = [
        check_proba(array, name, shape, n_samples)
        for array, name, shape in zip(
            (initial_proba, transition_proba), names, shapes, strict=True
        )
    ]
    varies = any(a.ndim > len(shape) for a, shape in zip(given, shapes, strict=True))
    forbids = any((array == 0).any() for array in given) or (values == -np.inf).any()
    with np.errstate(divide="ignore"):
        logs = [np.log(a if forbids else np.maximum(a, FLOOR)) for a in given]
    if varies:
        full = [
            np.broadcast_to(a, (n_samples, *shape)) for a, shape in zip(logs, shapes, strict=True)
        ]
        logs = [chain.chunked(jnp.moveaxis(jnp.asarray(a), 0, -1)) for a in full]
    dynamics = Dynamics(*(jnp.asarray(a) for a in logs))
    ring = LOGARITHMS if forbids else SCALED
    return chain, jnp.asarray(np.where(missing, 0, values).T), dynamics, ring


def check_proba(array: Any, name: str, shape: tuple[int, ...], n_samples: int = 0) -> np.ndarray:
    """Check probabilities, which sum to one over their last axis."""
    probability = as_floats(np.asarray(array)).astype(float)
    if probability.shape not in (shape, (n_samples, *shape)):
        more = f" or {(n_samples, *shape)}" if n_samples else ""
        raise ValueError(f"{name} must have shape {shape}{more}, got {probability.shape}.")
    wrong = ~(probability >= 0)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{name} must be probabilities, got {probability[place]:g} at {place}.")
    total = probability.sum(axis=-1)
    off = np.abs(total - 1) > _TOLERANCE
    if off.any():
        place = tuple(int(i) for i in np.argwhere(off)[0])
        where = f" in row {place[0] if len(place) == 1 else place}" if place else ""
        raise ValueError(f"{name} must sum to one{where}, got {total[place]:.6g}.")
    return probability / total[..., None]
