"""L-BFGS for a whole population in coordinates that whiten the curvature of its losses.

Every turn of the loop is one pass over the data, in which each neuron tries a point of its own:
the first of a new direction, or a shorter step along the last one. Neurons that converged wait.
"""

from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikax._pytrees import register
from spikax.problem import (
    Null,
    Problem,
    centered,
    null_model,
    value_and_grad,
    without_features,
)
from spikax.solvers._buckets import Coordinates, converged, push, search, take_turns
from spikax.solvers._line_search import choose, judge
from spikax.solvers._outcome import Outcome
from spikax.solvers._solver import positive
from spikax.solvers._whitening import (
    SharedWhitening,
    own_whitening,
    shared_whitening,
)


@register
@dataclass(frozen=True)
class WhitenedLBFGS:
    """Limited-memory BFGS in whitened coordinates, each neuron with its own convergence.

    Parameters
    ----------
    tol
        Log-likelihood, in nats over all samples, that a neuron may still gain when it stops
        (default 1e-4). It bounds every coefficient's error by `sqrt(2 * tol)` standard errors.
        Weights are relative to their mean: a nat is one of samples of mean weight.
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

    tol: float = positive(1e-4)
    maxiter: int = positive(500, Integral)
    memory: int = positive(10, Integral, static=True)

    def run(self, problem: Problem, theta: jax.Array | None) -> Outcome:
        """Minimise from `theta`, or from the model without features."""
        null = null_model(problem)
        if theta is None:
            theta = without_features(problem, null)
        shared = shared_whitening(problem, null.intercept, null.curvature)
        problem = replace(problem, curvature=None)  # which it would not improve
        begin = partial(_coordinates, self)
        return search(problem, null, theta, self, shared.neurons, own_whitening, begin)

    def init(self, problem: Problem, theta: jax.Array) -> SharedWhitening:
        """Prepare for batches like this one: the whitening they share."""
        null = null_model(problem)
        return shared_whitening(problem, null.intercept, null.curvature)

    def update(self, problem: Problem, theta: jax.Array, state: SharedWhitening):
        """Take one whitened step on a batch."""

        def unfinished(point, turn):
            return jnp.any((point.n_steps < 1) & ~point.done & ~point.stuck)

        once = replace(self, maxiter=1)
        coordinates = _coordinates(once, problem, null_model(problem), state)
        point, _ = take_turns(coordinates.turn, coordinates.start(theta), unfinished)
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


def _coordinates(solver, problem: Problem, null: Null, whitening) -> Coordinates:
    def turn(point):
        return _turn(problem, null, whitening, point, solver)

    def towards(point):
        return whitening.to_parameters(point.direction)

    return Coordinates(partial(_before, solver.memory), turn, towards, n_flat=whitening.n_flat)


def _before(memory: int, theta: jax.Array) -> _Point:
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
    moves = choose(learns, push(point.moves, move), point.moves)
    bends = choose(learns, push(point.bends, bend), point.bends)
    inverse = choose(learns, push(point.inverse, 1 / product), point.inverse)
    direction = _quasi_newton(gradient, moves, bends, inverse)
    decrement = jnp.maximum(-jnp.sum(gradient * direction, axis=0), jnp.sum(gradient**2, axis=0))
    gains = push(point.gains, null.nats * decrement / 2)
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
        done=point.done | (accepted & converged(gains, solver.tol)),
        stuck=point.stuck | (~accepted & ~waits & (point.n_trials >= 15)),
    )


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
