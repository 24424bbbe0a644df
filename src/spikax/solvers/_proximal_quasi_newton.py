"""Proximal quasi-Newton for a whole population: penalties with kinks at the cost of smooth ones.

Each neuron has a quadratic model of its loss, which knows the curvature of the data and learns
from every step. A turn minimises model plus penalty, which costs nothing that grows with the
number of samples, and tries the point found in one pass over the data.
"""

import math
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
from spikax.solvers._solver import positive
from spikax.solvers._whitening import cholesky_factor, own_curvature, shared_curvature

# How often a model is gone over, with how many proximal steps each time, and how closely it is
# solved: what is left in it is less than this part of what it gained.
_ROUNDS = 60
_PROXIMAL_STEPS = 12
_LEFT = 0.05
# From this round on, coefficients that leave are not let in again before the others have moved.
_PATIENT_ROUND = 4


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

    tol: float = positive(1e-4)
    maxiter: int = positive(500, Integral)

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
    # A curvature that was learned may promise half of what there is.
    gains = push(point.gains, 2 * null.nats * expected)
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
    value: jax.Array  # model plus penalty there, less that at the start, (n,)
    slope: jax.Array  # gradient of the model there, (p + 1, n)
    active: jax.Array  # (n,)
    solved: jax.Array  # (n,)
    n_rounds: jax.Array


def _minimise_model(problem, curvature, gradient, theta, wanted, negligible):
    """Minimise each model plus the penalty; also tell what that is expected to gain.

    That is unknown, and so infinite, of a model that is not solved: more rounds than are allowed
    would be needed, or rounding hides what is left. That a round gains little does not tell that
    little is left: where curvature is all but singular, coefficients enter and leave one by one.
    """

    def slope_at(target):
        return (gradient + _apply(curvature, target - theta)) * problem.mask

    def unfinished(carry):
        model, _ = carry
        return jnp.any(model.active) & (model.n_rounds < _ROUNDS)

    def go_over(carry):
        model, last = carry
        nearer, left, crossed = _newton_step(problem, curvature, model, slope_at)
        solved = left <= jnp.maximum(-_LEFT * nearer.value, negligible)
        moves = nearer.value < last.value - _rounding(problem, last)
        moves |= jnp.any((nearer.target != 0) != (last.target != 0), axis=0)
        goes_on = model.active & ~solved & (moves | (model.n_rounds == 0))
        nearer = nearer._replace(
            active=goes_on,
            solved=model.solved | (model.active & solved),
            n_rounds=model.n_rounds + 1,
        )
        steps = partial(_proximal_steps, problem, curvature, slope_at)
        stepping = goes_on & ~(crossed & (model.n_rounds >= _PATIENT_ROUND))
        return jax.lax.cond(
            jnp.any(stepping), steps, lambda model, _: model, nearer, stepping
        ), nearer

    zero = jnp.zeros_like(theta[0])
    start = _Model(theta, zero, slope_at(theta), wanted, zero > 0, jnp.asarray(0))
    model, _ = jax.lax.while_loop(unfinished, go_over, (start, start))
    return model.target, jnp.where(model.solved, jnp.maximum(-model.value, 0), jnp.inf)


def _value_at(problem, model: _Model, target, slope) -> jax.Array:
    """Model plus penalty at another target: it changes by the mean of both slopes times the step.

    That loses fewer digits than the difference of two values, which is small.
    """
    change = jnp.sum((target - model.target) * (model.slope + slope) / 2, axis=0)
    return model.value + change + penalty(problem, target) - penalty(problem, model.target)


def _largest_eigenvalue(curvature, start) -> jax.Array:
    """Estimate the largest eigenvalue by the power method."""

    def step(_, vector):
        vector = _apply(curvature, vector)
        return vector / jnp.maximum(jnp.linalg.norm(vector, axis=0), 1e-30)[None]

    vector = jax.lax.fori_loop(0, 6, step, start + 1e-3 * jnp.abs(start).max(axis=0)[None])
    floor = jnp.trace(curvature, axis1=1, axis2=2) / len(start)
    return 1.1 * jnp.maximum(jnp.linalg.norm(_apply(curvature, vector), axis=0), floor)


def _step_of_free(problem, target, slope, size) -> jax.Array:
    """Take a proximal step with the parameters that are not masked."""
    nearer = proximal_step(problem, target - size[None] * slope, size)
    return jnp.where(problem.mask > 0, nearer, target)


def _proximal_steps(problem, curvature, slope_at, model: _Model, stepping: jax.Array) -> _Model:
    """Let some neurons take accelerated proximal steps, afresh where momentum leads back.

    Values do not tell small steps from none, so that slopes decide: O'Donoghue & Candes (2015),
    section 3.2.
    """

    def step(_, carry):
        target, slope, before, slope_before, momentum, size = carry
        following = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        ahead = ((momentum - 1) / following)[None]
        point = target + ahead * (target - before)
        slope_there = slope + ahead * (slope - slope_before)
        nearer = _step_of_free(problem, point, slope_there, size)
        slope_nearer = slope_at(nearer)
        move = nearer - point
        bend = jnp.sum(move * (slope_nearer - slope_there), axis=0)
        good = bend * size <= jnp.sum(move**2, axis=0)
        back = jnp.sum(move * (nearer - target), axis=0) < 0
        return (
            choose(good, nearer, target),
            choose(good, slope_nearer, slope),
            target,
            slope,
            jnp.where(good & ~back, following, 1.0),
            jnp.where(good, size, size / 2),
        )

    target, slope = model.target, model.slope
    size = 1 / _largest_eigenvalue(curvature, slope)
    start = (target, slope, target, slope, jnp.ones_like(size), size)
    target, slope, *_ = jax.lax.fori_loop(0, _PROXIMAL_STEPS, step, start)
    slope = slope_at(target)
    value = _value_at(problem, model, target, slope)
    good = stepping & (value <= model.value + _rounding(problem, model))
    return _if(good, model, target, value, slope)


def _if(good, model: _Model, target, value, slope) -> _Model:
    """Go to another target where it is good."""
    return model._replace(
        target=choose(good, target, model.target),
        value=choose(good, value, model.value),
        slope=choose(good, slope, model.slope),
    )


def _rounding(problem, model: _Model) -> jax.Array:
    """How far rounding may lead the value of a model astray."""
    size = jnp.abs(model.value) + jnp.abs(penalty(problem, model.target))
    return jnp.finfo(size.dtype).eps * size


def _newton_step(
    problem, curvature, model: _Model, slope_at
) -> tuple[_Model, jax.Array, jax.Array]:
    """Step towards the minimum over the coefficients that are not zero, if that is better.

    Also tell what is left to be gained: infinite, unless after the step no coefficient wants to
    become zero or to leave it. Then it is what the step missed of what it was to gain without
    kinks, which only raise the cost of what crosses them. And tell whether the step was to lead
    across zero.
    """
    target = model.target
    intercepts = slice(-problem.n_outputs, None)
    moving = (problem.mask > 0) & (target != 0).at[intercepts].set(True)
    cost_slope = jax.grad(lambda theta: penalty(problem, theta).sum())(target)
    slope = jnp.where(moving, model.slope + cost_slope, 0)
    move = _newton_moves(problem, curvature, target, slope, moving, model.active)

    # The step ends where coefficients reach zero: at once for all that would, or for the first.
    full = target + move
    crosses = (full * target < 0).at[intercepts].set(False)
    reach = jnp.where(crosses, target / jnp.where(crosses, target - full, 1), 1)
    shortest = reach.min(axis=0)
    first = jnp.where(crosses & (reach == shortest[None]), 0, target + shortest[None] * move)
    nearer, left = model, -jnp.sum(slope * move, axis=0) / 2
    # Of two as good as each other the last, lest a coefficient goes back and forth about zero.
    rounding = _rounding(problem, model)
    trials = (full, 0), (jnp.where(crosses, 0, full), 0), (first, rounding)
    for trial, slack in trials:
        slope_there = slope_at(trial)
        value = _value_at(problem, model, trial, slope_there)
        good = model.active & (value < nearer.value + slack)
        nearer = _if(good, nearer, trial, value, slope_there)
    left = jnp.abs(left - (model.value - nearer.value)) - rounding
    size = 1 / jnp.trace(curvature, axis1=1, axis2=2)
    ahead = _step_of_free(problem, nearer.target, nearer.slope, size)
    settled = jnp.all((ahead != 0) == (nearer.target != 0), axis=0)
    return nearer, jnp.where(settled, left, jnp.inf), jnp.any(crosses, axis=0)


def _newton_moves(problem, curvature, target, slope, moving, wanted) -> jax.Array:
    """Newton steps of the moving parameters of the wanted neurons, (p + 1, n)."""

    def solve(size, neuron):
        (index,) = jnp.nonzero(moving[:, neuron], size=size, fill_value=len(target))
        one = problem.neurons(neuron[None])
        cost_slope = jax.grad(lambda theta: penalty(one, theta[:, None])[0])

        def bend(index):
            unit = (jnp.arange(len(target)) == index).astype(target.dtype)
            return jax.jvp(cost_slope, (target[:, neuron],), (unit,))[1]

        def pick(array):
            return array.at[..., index].get(mode="fill", fill_value=0)

        rows = curvature[neuron].at[index].get(mode="fill", fill_value=0)
        level = jnp.trace(curvature[neuron]) / len(target)
        matrix = pick(rows + jax.vmap(bend)(index))
        matrix = matrix.at[jnp.diag_indices(size)].add(level * (index == len(target)))
        factor = cholesky_factor(matrix, level), True
        move = -jax.scipy.linalg.cho_solve(factor, pick(slope[:, neuron]))
        return jnp.zeros_like(target[:, 0]).at[index].set(move, mode="drop")

    # Half the size where that will do takes an eighth of the time.
    half = math.ceil(len(target) / 2)
    solvers = [partial(solve, half), partial(solve, len(target))]
    branches = [lambda neuron: jnp.zeros_like(target[:, 0]), *solvers]
    branch = jnp.where(wanted, 1 + (moving.sum(axis=0) > half), 0)
    items = branch, jnp.arange(problem.n_neurons)
    return jax.lax.map(lambda item: jax.lax.switch(item[0], branches, item[1]), items).T
