"""Proximal quasi-Newton for a whole population: penalties with kinks at the cost of smooth ones.

Each neuron has a quadratic model of its loss, which knows the curvature of the data and learns
from every step. A turn minimises model plus penalty, which costs nothing that grows with the
number of samples, and tries the point found in one pass over the data.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikax._pytrees import register
from spikax.problem import (
    Null,
    Problem,
    null_model,
    penalty,
    proximal_step,
    value_and_grad,
    without_features,
)
from spikax.regularizer import NO_PENALTY
from spikax.solvers._buckets import Coordinates, converged, push, search, take_turns
from spikax.solvers._line_search import choose, judge
from spikax.solvers._outcome import Outcome
from spikax.solvers._whitening import own_curvature, shared_curvature

# How often a model is gone over, with how many proximal steps each time, and how closely it is
# solved: what is left in it is less than this part of what it gained.
_ROUNDS = 8
_PROXIMAL_STEPS = 12
_LEFT = 0.05


@register
@dataclass(frozen=True)
class ProximalQuasiNewton:
    """Proximal quasi-Newton, each neuron with its own curvature and its own convergence.

    Parameters
    ----------
    tol
        Penalised log-likelihood, in nats over all samples, that a neuron may still gain when it
        stops (default 1e-4).
    maxiter
        Largest number of steps of a neuron (default 500).

    References
    ----------
    Lee, Sun & Saunders (2014), SIAM J. Optim. 24, 1420, algorithm 1, with the curvature of Nocedal
    & Wright (2006), Numerical Optimization, eq. 6.19. Models are minimised by accelerated proximal
    steps (Beck & Teboulle 2009; O'Donoghue & Candes 2015) and Newton steps on the coefficients
    that are not zero.

    Examples
    --------
    >>> from spikax.glm import PopulationGLM
    >>> PopulationGLM(regularizer="Lasso", solver_name="ProximalQuasiNewton")
    PopulationGLM(regularizer='Lasso', solver_name='ProximalQuasiNewton')
    """

    needs_smooth = False
    needs_double = False

    tol: float = 1e-4
    maxiter: int = 500

    def run(self, problem: Problem, theta: jax.Array | None) -> Outcome:
        """Minimise from `theta`, or from the model without features."""
        null = null_model(problem)
        if theta is None:
            theta = without_features(problem, null)
        shared = shared_curvature(problem, null)

        def first(some, index):
            known = some.curvature
            return shared.neurons(some, index) if known is None else jnp.moveaxis(known, 2, 0)

        begin = partial(_coordinates, self)
        return search(problem, null, theta, self, first, own_curvature, begin)

    def init(self, problem: Problem, theta: jax.Array):
        """Prepare for batches like this one: the curvature they share."""
        shared = shared_curvature(problem, null_model(problem))
        return shared.neurons(problem, jnp.arange(problem.n_neurons))

    def update(self, problem: Problem, theta: jax.Array, state: jax.Array):
        """Take one step on a batch."""

        def unfinished(point, turn):
            return jnp.any((point.n_steps < 1) & ~point.done & ~point.stuck)

        once = replace(self, maxiter=1)
        coordinates = _coordinates(once, problem, null_model(problem), state)
        point, _ = take_turns(coordinates.turn, coordinates.start(theta), unfinished)
        return point.theta, state


class _Point(NamedTuple):
    """Where each neuron stands; the last axis is neurons."""

    theta: jax.Array  # best parameters so far, (p + 1, n)
    value: jax.Array  # their penalised mean loss, (n,)
    gradient: jax.Array  # of the loss alone, (p + 1, n)
    curvature: jax.Array  # of the model, (n, p + 1, p + 1)
    direction: jax.Array  # to the minimiser of model plus penalty, (p + 1, n)
    slope: jax.Array  # change of model's linear part and penalty along it, (n,)
    step: jax.Array  # length to try next along the direction, (n,)
    gains: jax.Array  # nats still expected at the last three points, newest last, (3, n)
    n_steps: jax.Array  # moves accepted, (n,)
    n_trials: jax.Array  # moves refused since the last accepted one, (n,)
    done: jax.Array  # converged, (n,)
    stuck: jax.Array  # nothing is accepted any more, (n,)


def _coordinates(solver, problem: Problem, null: Null, curvature: jax.Array) -> Coordinates:
    def start(theta):
        # Infinite loss: the first turn's trial is `theta` itself.
        zero = jnp.zeros_like(theta[0])
        return _Point(
            theta=theta,
            value=zero + jnp.inf,
            gradient=jnp.zeros_like(theta),
            curvature=curvature,
            direction=jnp.zeros_like(theta),
            slope=zero,
            step=zero + 1,
            gains=jnp.full((3, zero.size), jnp.inf, theta.dtype),
            n_steps=jnp.full(zero.shape, -1),
            n_trials=jnp.zeros(zero.shape, int),
            done=zero > 0,
            stuck=zero > 0,
        )

    def turn(point):
        return _turn(problem, null, point, solver)

    def learned(point):
        return jnp.moveaxis(point.curvature, 0, 2)

    return Coordinates(start, turn, lambda point: point.direction, learned)


def _turn(problem, null: Null, point: _Point, solver) -> _Point:
    theta = point.theta + point.step[None] * point.direction
    loss, gradient = value_and_grad(replace(problem, penalty=NO_PENALTY), theta)
    value = loss + penalty(problem, theta)

    bend = gradient - point.gradient
    after = point.slope + jnp.sum(bend * point.direction, axis=0)
    good, next_step = judge(point.value, value, point.slope, after, point.step)
    waits = point.done | point.stuck | (point.n_steps >= solver.maxiter)
    accepted = good & ~waits
    curvature = _learn(point.curvature, theta - point.theta, bend, accepted)

    negligible = 0.1 * solver.tol / null.nats
    target, expected = _minimise_model(problem, curvature, gradient, theta, accepted, negligible)
    direction = target - theta
    slope = (
        jnp.sum(gradient * direction, axis=0) + penalty(problem, target) - penalty(problem, theta)
    )
    gains = push(point.gains, null.nats * expected)
    return _Point(
        theta=choose(accepted, theta, point.theta),
        value=choose(accepted, value, point.value),
        gradient=choose(accepted, gradient, point.gradient),
        curvature=curvature,
        direction=choose(accepted, direction, point.direction),
        slope=choose(accepted, slope, point.slope),
        step=jnp.where(accepted, 1.0, jnp.where(waits, point.step, next_step)),
        gains=choose(accepted, gains, point.gains),
        n_steps=point.n_steps + accepted,
        n_trials=jnp.where(accepted, 0, point.n_trials + 1),
        done=point.done | (accepted & converged(gains, solver.tol)),
        stuck=point.stuck | (~accepted & ~waits & (point.n_trials >= 15)),
    )


def _learn(curvature, move, bend, accepted) -> jax.Array:
    """Correct the curvature so that it explains the last move (BFGS)."""
    product = jnp.sum(move * bend, axis=0)
    predicted = _apply(curvature, move)
    length = jnp.sum(move * predicted, axis=0)
    learns = accepted & (product > 1e-6 * jnp.sum(move**2, axis=0)) & (length > 0)
    gained = bend * jax.lax.rsqrt(jnp.where(learns, product, 1))[None] * learns[None]
    lost = predicted * jax.lax.rsqrt(jnp.where(learns, length, 1))[None] * learns[None]
    return (
        curvature + jnp.einsum("pn,qn->npq", gained, gained) - jnp.einsum("pn,qn->npq", lost, lost)
    )


def _apply(curvature: jax.Array, move: jax.Array) -> jax.Array:
    return jnp.einsum("npq,qn->pn", curvature, move)


class _Model(NamedTuple):
    """Where the minimisation of the models stands."""

    target: jax.Array  # (p + 1, n)
    value: jax.Array  # model plus penalty there, (n,)
    slope: jax.Array  # gradient of the model there, (p + 1, n)
    lipschitz: jax.Array  # one over the proximal step, (n,)
    active: jax.Array  # (n,)
    n_rounds: jax.Array


def _minimise_model(problem, curvature, gradient, theta, wanted, negligible):
    """Minimise each model plus the penalty; also tell what that is expected to gain."""

    def at(target):
        move = target - theta
        bend = _apply(curvature, move)
        value = jnp.sum(move * (gradient + bend / 2), axis=0) + penalty(problem, target)
        return value, (gradient + bend) * problem.mask

    def unfinished(model):
        return jnp.any(model.active) & (model.n_rounds < _ROUNDS)

    def go_over(model):
        nearer = _newton_step(problem, curvature, _proximal_steps(problem, at, model), at)
        gained = model.value - nearer.value
        left = gained > jnp.maximum(_LEFT * (start_value - nearer.value), negligible)
        return nearer._replace(active=model.active & left, n_rounds=model.n_rounds + 1)

    start_value, slope = at(theta)
    lipschitz = _largest_eigenvalue(curvature, slope)
    model = _Model(theta, start_value, slope, lipschitz, wanted, jnp.asarray(0))
    model = jax.lax.while_loop(unfinished, go_over, model)
    return model.target, start_value - model.value


def _largest_eigenvalue(curvature, start) -> jax.Array:
    """Estimate the largest eigenvalue by the power method."""

    def step(_, vector):
        vector = _apply(curvature, vector)
        return vector / jnp.maximum(jnp.linalg.norm(vector, axis=0), 1e-30)[None]

    vector = jax.lax.fori_loop(0, 6, step, start + 1e-3 * jnp.abs(start).max(axis=0)[None])
    floor = jnp.trace(curvature, axis1=1, axis2=2) / len(start)
    return 1.1 * jnp.maximum(jnp.linalg.norm(_apply(curvature, vector), axis=0), floor)


def _proximal_steps(problem, at, model: _Model) -> _Model:
    """Take accelerated proximal steps, starting afresh where one made things worse."""

    def step(_, carry):
        model, before, slope_before, momentum = carry
        following = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        ahead = ((momentum - 1) / following)[None]
        point = model.target + ahead * (model.target - before)
        slope = model.slope + ahead * (model.slope - slope_before)
        size = 1 / model.lipschitz
        target = proximal_step(problem, point - size[None] * slope, size)
        target = jnp.where(problem.mask > 0, target, model.target)
        value, slope = at(target)
        good = model.active & (value <= model.value)
        # Without momentum, only too long a step can do harm.
        too_long = model.active & ~good & (momentum == 1)
        nearer = model._replace(
            target=choose(good, target, model.target),
            value=choose(good, value, model.value),
            slope=choose(good, slope, model.slope),
            lipschitz=jnp.where(too_long, 2 * model.lipschitz, model.lipschitz),
        )
        return nearer, model.target, model.slope, jnp.where(good, following, 1.0)

    start = (model, model.target, model.slope, jnp.ones_like(model.value))
    return jax.lax.fori_loop(0, _PROXIMAL_STEPS, step, start)[0]


def _newton_step(problem, curvature, model: _Model, at) -> _Model:
    """Step towards the minimum over the coefficients that are not zero, if that is better."""
    target = model.target
    free = problem.mask > 0
    intercepts = slice(-problem.n_outputs, None)
    moving = free & (target != 0).at[intercepts].set(True)
    cost_slope = jax.grad(lambda theta: penalty(problem, theta).sum())(target)
    slope = jnp.where(moving, model.slope + cost_slope, 0)

    def solve(neuron):
        one = problem.neurons(neuron[None])
        cost = jax.hessian(lambda theta: penalty(one, theta[:, None])[0])(target[:, neuron])
        matrix = curvature[neuron] + cost
        keep = moving[:, neuron].astype(matrix.dtype)
        level = jnp.trace(matrix) / len(matrix)
        jitter = (1e-6 if matrix.dtype == jnp.float32 else 1e-12) * level
        matrix = matrix * jnp.outer(keep, keep) + jnp.diag((1 - keep) * level + jitter)
        factor = jax.scipy.linalg.cho_factor(matrix, lower=True)
        return -jax.scipy.linalg.cho_solve(factor, slope[:, neuron])

    def solve_if_active(item):
        neuron, active = item
        return jax.lax.cond(active, solve, lambda _: jnp.zeros_like(target[:, 0]), neuron)

    neurons = jnp.arange(problem.n_neurons)
    move = jax.lax.map(solve_if_active, (neurons, model.active)).T
    full = target + move
    crosses = (full * target < 0).at[intercepts].set(False)
    reach = jnp.where(crosses, target / jnp.where(crosses, target - full, 1), 1).min(axis=0)
    for trial in (full, jnp.where(crosses, 0, full), target + reach[None] * move):
        value, slope = at(trial)
        good = model.active & (value < model.value)
        model = model._replace(
            target=choose(good, trial, model.target),
            value=choose(good, value, model.value),
            slope=choose(good, slope, model.slope),
        )
    return model
