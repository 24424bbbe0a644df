"""L-BFGS for a whole population in coordinates that whiten the curvature of its losses.

Every turn of the loop is one pass over the data, in which each neuron tries a point of its own:
the first of a new direction, or a shorter step along the last one. Neurons that converged wait.
Neurons go through in buckets: first each whitened by the Gram matrix that all share; the few that
need more come again, each whitened by its own Hessian.
"""

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikax.problem import (
    Null,
    Problem,
    centered,
    null_model,
    value_and_grad,
    without_features,
)
from spikax.solvers._line_search import choose, judge
from spikax.solvers._outcome import Outcome, Status, runs_away
from spikax.solvers._whitening import (
    OwnWhitening,
    SharedWhitening,
    own_whitening,
    shared_whitening,
)

# What a whitening of its own costs a neuron, in turns of its bucket, and what it takes to settle.
_WHITENING_TURNS = 1.5
_SETTLING_TURNS = 8
# More neurons at once share little more of the time that reading X takes, and wait for each other.
_BUCKET = 24


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class WhitenedLBFGS:
    """Limited-memory BFGS in whitened coordinates, each neuron with its own convergence.

    Parameters
    ----------
    tol
        Log-likelihood, in nats over all samples, that a neuron may still gain when it stops
        (default 1e-4). It bounds every coefficient's error by `sqrt(2 * tol)` standard errors.
        Weights count as samples do: with `sample_weight=2` there are twice as many nats.
    maxiter
        Largest number of steps of a neuron (default 500).
    memory
        Number of past steps that the curvature is learned from (default 10).

    References
    ----------
    Nocedal & Wright (2006), Numerical Optimization, algorithm 7.4. Steps are accepted by their
    slopes where the loss cannot resolve them: Hager & Zhang (2005), SIAM J. Optim. 16, eq. 4.1.

    Examples
    --------
    >>> from spikax.glm import PopulationGLM
    >>> PopulationGLM(solver_name="WhitenedLBFGS", solver_kwargs={"tol": 1e-6})
    PopulationGLM(solver_kwargs={'tol': 1e-06}, solver_name='WhitenedLBFGS')
    """

    needs_smooth = True
    needs_double = False

    tol: float = 1e-4
    maxiter: int = 500
    memory: int = field(default=10, metadata={"static": True})

    def run(self, problem: Problem, theta: jax.Array | None) -> Outcome:
        """Minimise from `theta`, or from the model without features."""
        null = null_model(problem)
        if theta is None:
            theta = without_features(problem, null)
        found, n_passes = _search(problem, null, theta, self)
        status = _status(problem, null, found, self)
        return Outcome(found.theta, found.value, found.n_steps, status, n_passes)

    def init(self, problem: Problem, theta: jax.Array) -> SharedWhitening:
        """Prepare for batches like this one: the whitening they share."""
        null = null_model(problem)
        return shared_whitening(problem, null.intercept, null.curvature)

    def update(self, problem: Problem, theta: jax.Array, state: SharedWhitening):
        """Take one whitened step on a batch."""

        def unfinished(point, turn):
            return jnp.any((point.n_steps < 1) & ~point.done & ~point.stuck)

        once = replace(self, maxiter=1)
        start = _begin(problem, theta, self.memory)
        point, _ = _turns(problem, null_model(problem), state, start, once, unfinished)
        return centered(problem, point.theta), state


class _Point(NamedTuple):
    """Where each neuron stands; the last axis is neurons."""

    theta: jax.Array  # best parameters so far, (p + 1, n)
    value: jax.Array  # their penalised mean loss, (n,)
    gradient: jax.Array  # whitened, (p + 1, n)
    direction: jax.Array  # whitened, (p + 1, n)
    step: jax.Array  # length to try next along the direction, (n,)
    moves: jax.Array  # accepted moves, whitened, newest last, (memory, p + 1, n)
    bends: jax.Array  # how the gradient changed over them, (memory, p + 1, n)
    inverse: jax.Array  # one over the products of the two, zero for none, (memory, n)
    gains: jax.Array  # nats still expected at the last three points, newest last, (3, n)
    n_steps: jax.Array  # moves accepted, (n,)
    n_trials: jax.Array  # moves refused since the last accepted one, (n,)
    done: jax.Array  # converged, (n,)
    stuck: jax.Array  # nothing is accepted any more, (n,)


class _Found(NamedTuple):
    """What the visits to the buckets have found so far."""

    theta: jax.Array
    value: jax.Array
    towards: jax.Array  # the step not taken, in parameters, (p + 1, n)
    gain: jax.Array  # nats it is expected to gain, (n,)
    n_steps: jax.Array
    n_visits: jax.Array  # buckets the neuron has been in, (n,)
    done: jax.Array
    unfinished: jax.Array


def _search(problem, null: Null, theta, solver) -> tuple[_Found, jax.Array]:
    """Visit buckets of neurons until all are finished; count the passes over the data."""
    n_neurons, n_parameters = problem.n_neurons, len(theta)
    # As many neurons go together as their factors take no more room than X.
    most = max(4, min(_BUCKET, problem.n_samples // n_parameters))
    size = math.ceil(n_neurons / math.ceil(n_neurons / most))
    n_rows = max(4096, 16 * n_parameters)
    shared = shared_whitening(problem, null.intercept, null.curvature)
    none = jnp.zeros(n_neurons, int)
    start = _Found(
        theta,
        value=jnp.full_like(theta[0], jnp.inf),
        towards=jnp.zeros_like(theta),
        gain=jnp.full_like(theta[0], jnp.inf),
        n_steps=none,
        n_visits=none,
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
        whitening = jax.lax.cond(
            least == 0,
            lambda: shared.neurons(some, index),
            lambda: own_whitening(some, part.theta, n_rows, wanted),
        )
        part, turns = _phase(some, some_null, whitening, part, wanted, solver)
        if size < n_neurons:
            part = jax.tree.map(
                lambda old, new: old.at[..., chosen].set(new, mode="drop"), found, part
            )
        return part, n_turns + turns + 1

    found, n_turns = jax.lax.while_loop(
        lambda carry: jnp.any(carry[0].unfinished), visit, (start, jnp.asarray(0))
    )
    return found, 1 - (-n_turns * size // n_neurons)


def _phase(
    problem, null: Null, whitening: OwnWhitening, found: _Found, wanted, solver
) -> tuple[_Found, jax.Array]:
    """Go on with the wanted neurons in one set of coordinates, while that is worth its time."""

    def worthwhile(point, turn):
        left = ~(point.done | point.stuck) & (point.n_steps < solver.maxiter)
        expected = jnp.mean(_turns_left(point.gains, solver.tol), where=left)
        next_costs = _SETTLING_TURNS + _WHITENING_TURNS * jnp.sum(left)
        return jnp.any(left) & ((turn < _SETTLING_TURNS) | (expected < next_costs))

    start = _begin(problem, found.theta, solver.memory)
    start = start._replace(done=~wanted, n_steps=found.n_steps - 1)
    point, turns = _turns(problem, null, whitening, start, solver, worthwhile)
    improved = null.nats * (found.value - point.value) > _resolution(null, point.value)
    updated = _Found(
        point.theta,
        point.value,
        whitening.to_parameters(point.direction),
        point.gains[-1],
        point.n_steps,
        found.n_visits + 1,
        point.done,
        ~point.done & improved & (point.n_steps < solver.maxiter),
    )
    return jax.tree.map(lambda new, old: choose(wanted, new, old), updated, found), turns


def _resolution(null: Null, value: jax.Array) -> jax.Array:
    """Log-likelihood, in nats, that rounding of the loss hides."""
    return 4 * jnp.finfo(value.dtype).eps * null.nats * jnp.abs(value)


def _status(problem, null: Null, found: _Found, solver) -> jax.Array:
    away = runs_away(problem, null, found.theta, found.value, found.towards)
    converged = found.done | (found.gain <= _resolution(null, found.value))
    return jnp.select(
        [
            ~jnp.isfinite(found.value),
            converged & (null.at_bound | away),
            converged,
            found.n_steps >= solver.maxiter,
        ],
        [Status.NOT_FINITE, Status.UNBOUNDED, Status.CONVERGED, Status.OUT_OF_STEPS],
        Status.STALLED,
    )


def _begin(problem, theta, memory: int) -> _Point:
    """Stand before `theta` with infinite loss: the first turn's trial is `theta` itself."""
    no_moves = jnp.zeros((memory, *theta.shape), theta.dtype)
    zero = jnp.zeros_like(theta[0])
    return _Point(
        theta=theta,
        value=zero + jnp.inf,
        gradient=jnp.zeros_like(theta),
        direction=jnp.zeros_like(theta),
        step=zero + 1,
        moves=no_moves,
        bends=no_moves,
        inverse=no_moves[:, 0],
        gains=jnp.full((3, zero.size), jnp.inf, theta.dtype),
        n_steps=jnp.full(zero.shape, -1),
        n_trials=jnp.zeros(zero.shape, int),
        done=zero > 0,
        stuck=zero > 0,
    )


def _turns(problem, null, whitening, point, solver, unfinished) -> tuple[_Point, jax.Array]:
    def turn(carry):
        point, count = carry
        return _turn(problem, null, whitening, point, solver), count + 1

    return jax.lax.while_loop(lambda carry: unfinished(*carry), turn, (point, jnp.asarray(0)))


def _turn(problem, null: Null, whitening, point: _Point, solver) -> _Point:
    move = point.step[None] * point.direction
    theta = point.theta + whitening.to_parameters(move)
    value, gradient = value_and_grad(problem, theta)
    gradient = whitening.pull_back(gradient)

    before = jnp.sum(point.gradient * point.direction, axis=0)
    after = jnp.sum(gradient * point.direction, axis=0)
    good, next_step = judge(point.value, value, before, after, point.step)
    waits = point.done | point.stuck | (point.n_steps >= solver.maxiter)
    accepted = good & ~waits

    bend = gradient - point.gradient
    product = jnp.sum(move * bend, axis=0)
    learns = accepted & (product > 1e-6 * jnp.sum(move**2, axis=0))
    moves = choose(learns, _push(point.moves, move), point.moves)
    bends = choose(learns, _push(point.bends, bend), point.bends)
    inverse = choose(learns, _push(point.inverse, 1 / product), point.inverse)
    direction = _quasi_newton(gradient, moves, bends, inverse)
    decrement = jnp.maximum(-jnp.sum(gradient * direction, axis=0), jnp.sum(gradient**2, axis=0))
    gains = _push(point.gains, null.nats * decrement / 2)
    return _Point(
        theta=choose(accepted, theta, point.theta),
        value=choose(accepted, value, point.value),
        gradient=choose(accepted, gradient, point.gradient),
        direction=choose(accepted, direction, point.direction),
        step=jnp.where(accepted, 1.0, jnp.where(waits, point.step, next_step)),
        moves=moves,
        bends=bends,
        inverse=inverse,
        gains=choose(accepted, gains, point.gains),
        n_steps=point.n_steps + accepted,
        n_trials=jnp.where(accepted, 0, point.n_trials + 1),
        done=point.done | (accepted & _converged(gains, solver.tol)),
        stuck=point.stuck | (~accepted & ~waits & (point.n_trials >= 15)),
    )


def _push(queue: jax.Array, newest: jax.Array) -> jax.Array:
    return jnp.concatenate([queue[1:], newest[None]])


def _shrinkage(gains: jax.Array) -> jax.Array:
    return jnp.clip(jnp.sqrt(gains[2] / gains[0]), 0.0, 0.99)


def _converged(gains: jax.Array, tol) -> jax.Array:
    """Whether the gains to come, if they go on shrinking as they did, sum to less than `tol`."""
    return gains[2] < tol * (1 - _shrinkage(gains))


def _turns_left(gains: jax.Array, tol) -> jax.Array:
    """In how many turns the gains will be below `tol`, if they go on shrinking as they did."""
    return jnp.clip(jnp.log(tol / gains[2]) / jnp.log(_shrinkage(gains)), 0, 100)


def _quasi_newton(gradient, moves, bends, inverse) -> jax.Array:
    """Two-loop recursion for all neurons (Nocedal & Wright 2006, algorithm 7.4)."""

    def backward(q, item):
        move, bend, inverse = item
        weight = inverse * jnp.sum(move * q, axis=0)
        return q - weight[None] * bend, weight

    def forward(q, item):
        move, bend, inverse, weight = item
        return q + (weight - inverse * jnp.sum(bend * q, axis=0))[None] * move, None

    q, weights = jax.lax.scan(backward, gradient, (moves, bends, inverse), reverse=True)
    length = jnp.sum(bends[-1] ** 2, axis=0) * inverse[-1]
    q = q / jnp.where(length > 0, length, 1)[None]
    return -jax.lax.scan(forward, q, (moves, bends, inverse, weights))[0]
