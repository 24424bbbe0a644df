"""How a population goes through a native solver: in buckets, and again where that pays.

X is read once for a bucket, and a bucket waits only for its own slowest neuron. On the first
visit all neurons take their curvature from the Gram matrix they share; the few that need more
come again, each with the Hessian of its own: of some rows at first, then of all. A turn is one
pass over the data.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from spikax.problem import Null, Problem
from spikax.solvers._line_search import choose
from spikax.solvers._outcome import NEGLIGIBLE, Outcome, runs_away, status_of

# What a Hessian of its own costs a neuron, in turns of its bucket, and what it takes to settle.
_HESSIAN_TURNS = 1.5
_SETTLING_TURNS = 8
# More neurons at once share little more of the time that reading X takes, and wait for each other.
_BUCKET = 24


class Point(Protocol):
    """What a solver's own record of where each neuron stands must hold."""

    theta: jax.Array  # best parameters so far, (p + 1, n)
    value: jax.Array  # their penalised mean loss, (n,)
    gains: jax.Array  # nats still expected at the last three points, newest last, (3, n)
    n_steps: jax.Array  # moves accepted, (n,)
    done: jax.Array  # converged, (n,)
    stuck: jax.Array  # nothing is accepted any more, (n,)


class Coordinates(NamedTuple):
    """A solver's way to go on from a point with one estimate of the curvature."""

    start: Callable[[jax.Array], Any]  # from theta to a point before its first turn
    turn: Callable[[Any], Any]  # from a point to the next
    towards: Callable[[Any], jax.Array]  # the step not taken, in parameters, (p + 1, n)
    learned: Callable[[Any], jax.Array] | None = None  # Hessians, as in `Problem`
    n_flat: jax.Array | int = 0  # directions too flat for the precision to tell, (n,)


class _Found(NamedTuple):
    """What the visits to the buckets have found so far."""

    theta: jax.Array
    value: jax.Array
    towards: jax.Array  # the step not taken, in parameters, (p + 1, n)
    gain: jax.Array  # nats it is expected to gain, (n,)
    curvature: jax.Array | None  # (p + 1, p + 1, n)
    n_steps: jax.Array
    n_visits: jax.Array  # buckets the neuron has been in, (n,)
    n_flat: jax.Array  # flat directions of the curvature it started with, (n,)
    ill_conditioned: jax.Array  # its own had more, (n,)
    done: jax.Array
    unfinished: jax.Array


def search(
    problem: Problem,
    null: Null,
    theta: jax.Array,
    solver: Any,
    first: Callable,
    later: Callable,
    begin: Callable,
) -> Outcome:
    """Visit buckets of neurons until all are finished.

    Parameters
    ----------
    problem, null, theta
        What to fit, its model without features, and where to start.
    solver
        Has `tol` and `maxiter`.
    first
        Function of the problem of a bucket and the indices of its neurons to the curvature they
        start with.
    later
        Function of the problem of a bucket, its parameters, a number of rows, and which of its
        neurons are wanted, to the curvature they go on with.
    begin
        Function of the problem of a bucket, its null model and the curvature to `Coordinates`.
    """
    n_neurons, n_parameters = problem.n_neurons, len(theta)
    # As many neurons go together as their factors take no more room than X.
    most = max(4, min(_BUCKET, problem.n_samples // n_parameters))
    size = math.ceil(n_neurons / math.ceil(n_neurons / most))
    n_rows = max(4096, 16 * n_parameters)
    none = jnp.zeros(n_neurons, int)
    start = _Found(
        theta,
        value=jnp.full_like(theta[0], jnp.inf),
        towards=jnp.zeros_like(theta),
        gain=jnp.full_like(theta[0], jnp.inf),
        curvature=problem.curvature,
        n_steps=none,
        n_visits=none,
        n_flat=none,
        ill_conditioned=none > 0,
        done=none > 0,
        unfinished=none == 0,
    )

    def visit(carry):
        found, n_turns = carry
        least = jnp.min(found.n_visits, where=found.unfinished, initial=solver.maxiter)
        next_ones = found.unfinished & (found.n_visits == least)
        if size == n_neurons:
            index = chosen = jnp.arange(n_neurons)
            wanted, some, some_null, part = next_ones, problem, null, found
        else:
            (chosen,) = jnp.nonzero(next_ones, size=size, fill_value=n_neurons)
            wanted, index = chosen < n_neurons, jnp.minimum(chosen, n_neurons - 1)
            some, some_null = problem.neurons(index), jax.tree.map(lambda a: a[..., index], null)
            part = jax.tree.map(lambda a: a[..., index], found)
        curvature = jax.lax.switch(
            jnp.minimum(least, 2),
            (
                lambda: first(some, index),
                lambda: later(some, part.theta, n_rows, wanted),
                lambda: later(some, part.theta, problem.n_samples, wanted),
            ),
        )
        coordinates = begin(some, some_null, curvature)
        part, turns = _phase(some_null, coordinates, part, wanted, solver)
        if size < n_neurons:
            part = jax.tree.map(
                lambda old, new: old.at[..., chosen].set(new, mode="drop"), found, part
            )
        return part, n_turns + turns + 1

    found, n_turns = jax.lax.while_loop(
        lambda carry: jnp.any(carry[0].unfinished), visit, (start, jnp.asarray(0))
    )
    n_passes = 1 - (-n_turns * size // n_neurons)
    status = _status(problem, null, found, solver)
    return Outcome(found.theta, found.value, found.n_steps, status, n_passes, found.curvature)


def _phase(
    null: Null, coordinates: Coordinates, found: _Found, wanted, solver
) -> tuple[_Found, jax.Array]:
    """Go on with the wanted neurons in one set of coordinates, while that is worth its time."""

    def worthwhile(point, turn):
        left = ~(point.done | point.stuck) & (point.n_steps < solver.maxiter)
        expected = jnp.mean(_turns_left(point.gains, solver.tol), where=left)
        next_costs = _SETTLING_TURNS + _HESSIAN_TURNS * jnp.sum(left)
        return jnp.any(left) & ((turn < _SETTLING_TURNS) | (expected < next_costs))

    start = coordinates.start(found.theta)
    start = start._replace(done=~wanted, n_steps=found.n_steps - 1)
    point, turns = take_turns(coordinates.turn, start, worthwhile)
    # A neuron that a visit gains less than the tolerance would hold up all others for as little.
    least = jnp.maximum(_resolution(null, point.value), solver.tol)
    improved = null.nats * (found.value - point.value) > least
    updated = _Found(
        point.theta,
        point.value,
        coordinates.towards(point),
        point.gains[-1],
        None if found.curvature is None else coordinates.learned(point),  # pyright: ignore
        point.n_steps,
        found.n_visits + 1,
        jnp.where(found.n_visits == 0, coordinates.n_flat, found.n_flat),
        (found.n_visits > 0) & (coordinates.n_flat > found.n_flat),
        point.done,
        ~point.done & improved & (point.n_steps < solver.maxiter),
    )
    return jax.tree.map(lambda new, old: choose(wanted, new, old), updated, found), turns


def take_turns(turn: Callable, point: Any, unfinished: Callable) -> tuple[Any, jax.Array]:
    """Take turns while `unfinished(point, count)`, and count them."""

    def step(carry):
        point, count = carry
        return turn(point), count + 1

    return jax.lax.while_loop(lambda carry: unfinished(*carry), step, (point, jnp.asarray(0)))


def _resolution(null: Null, value: jax.Array) -> jax.Array:
    """Log-likelihood, in nats, that rounding of the loss hides."""
    return 4 * jnp.finfo(value.dtype).eps * null.nats * jnp.abs(value)


def _status(problem, null: Null, found: _Found, solver) -> jax.Array:
    away = runs_away(problem, null, found.theta, found.towards, found.gain)
    resolution = jnp.minimum(_resolution(null, found.value), NEGLIGIBLE)
    converged = found.done | (found.gain <= resolution)
    # Along what is too flat to tell, single precision sees neither curvature nor gain.
    if found.value.dtype == jnp.float32:
        converged, away = converged & ~found.ill_conditioned, away & ~found.ill_conditioned
    return status_of(found.value, converged, null.at_bound | away, found.n_steps >= solver.maxiter)


def push(queue: jax.Array, newest: jax.Array) -> jax.Array:
    """Let the newest entry in, and the oldest out."""
    return jnp.concatenate([queue[1:], newest[None]])


def _shrinkage(gains: jax.Array) -> jax.Array:
    return jnp.clip(jnp.sqrt(gains[2] / gains[0]), 0.0, 0.99)


def converged(gains: jax.Array, tol) -> jax.Array:
    """Whether the gains to come, if they go on shrinking as they did, sum to less than `tol`."""
    return gains[2] < tol * (1 - _shrinkage(gains))


def _turns_left(gains: jax.Array, tol) -> jax.Array:
    """In how many turns the gains will be below `tol`, if they go on shrinking as they did."""
    return jnp.clip(jnp.log(tol / gains[2]) / jnp.log(_shrinkage(gains)), 0, 100)
