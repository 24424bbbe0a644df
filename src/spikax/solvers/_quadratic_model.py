"""Minimisation of a quadratic model of each neuron's loss plus its penalty, without the data.

Accelerated proximal steps (Beck & Teboulle 2009; O'Donoghue & Candes 2015) find which coefficients
are zero, and Newton steps on the others finish.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from spikax.core.objective import Objective, penalty_value, proximal_step
from spikax.core.whitening import cholesky_factor
from spikax.solvers._line_search import choose

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

# How often a model is gone over, with how many proximal steps each time, and how closely it is
# solved: what is left in it is less than this part of what it gained.
_ROUNDS = 60
_PROXIMAL_STEPS = 12
_LEFT = 0.05
# From this round on, coefficients that leave are not let in again before the others have moved.
_PATIENT_ROUND = 4


class _Model(NamedTuple):
    """`g'(w - theta) + (w - theta)' H (w - theta) / 2 + penalty(w)` of each neuron."""

    objective: Objective
    hessians: Float[Array, "neuron parameter parameter"]
    gradient: Float[Array, "parameter neuron"]
    theta: Float[Array, "parameter neuron"]

    def gradient_at(self, target: jax.Array) -> jax.Array:
        """Gradient of the quadratic part."""
        product = hessian_products(self.hessians, target - self.theta)
        return (self.gradient + product) * self.objective.mask

    def value_at(self, point: _Point, target: jax.Array, gradient: jax.Array) -> jax.Array:
        """Value at another target: the mean of both gradients times the step, and the penalty.

        That loses fewer digits than the difference of two values, which is small.
        """
        change = jnp.sum((target - point.target) * (point.gradient + gradient) / 2, axis=0)
        cost = (penalty_value(self.objective, at) for at in (target, point.target))
        return point.value + change + next(cost) - next(cost)

    def rounding(self, point: _Point) -> jax.Array:
        """How far rounding may lead the value astray."""
        size = jnp.abs(point.value) + jnp.abs(penalty_value(self.objective, point.target))
        return jnp.finfo(size.dtype).eps * size


class _Point(NamedTuple):
    """Where the minimisation stands."""

    target: Float[Array, "parameter neuron"]
    value: Float[Array, " neuron"]  # of the model there, less that at the start
    gradient: Float[Array, "parameter neuron"]  # of its quadratic part there
    active: Bool[Array, " neuron"]
    solved: Bool[Array, " neuron"]
    n_rounds: Int[Array, ""]

    def at(self, better: jax.Array, target, value, gradient) -> _Point:
        """Go to another target where it is better."""
        return self._replace(
            target=choose(better, target, self.target),
            value=choose(better, value, self.value),
            gradient=choose(better, gradient, self.gradient),
        )


@jax.jit
def minimise_model(
    objective: Objective,
    hessians: Float[Array, "neuron parameter parameter"],
    gradient: Float[Array, "parameter neuron"],
    theta: Float[Array, "parameter neuron"],
    wanted: Bool[Array, " neuron"],
    negligible: Float[Array, " neuron"],
) -> tuple[Float[Array, "parameter neuron"], Float[Array, " neuron"]]:
    """Minimise each model plus the penalty; also tell what that is expected to gain.

    That is unknown, and so infinite, of a model that is not solved: more rounds than are allowed
    would be needed, or rounding hides what is left. That a round gains little does not tell that
    little is left: where the Hessian is all but singular, coefficients enter and leave one by one.
    """
    model = _Model(objective, hessians, gradient, theta)

    def unfinished(carry):
        point, _ = carry
        return jnp.any(point.active) & (point.n_rounds < _ROUNDS)

    def go_over(carry):
        point, last = carry
        nearer, left, crossed = _newton_step(model, point)
        solved = left <= jnp.maximum(-_LEFT * nearer.value, negligible)
        improves = nearer.value < last.value - model.rounding(last)
        improves |= jnp.any((nearer.target != 0) != (last.target != 0), axis=0)
        goes_on = point.active & ~solved & (improves | (point.n_rounds == 0))
        nearer = nearer._replace(
            active=goes_on,
            solved=point.solved | (point.active & solved),
            n_rounds=point.n_rounds + 1,
        )
        wanted = goes_on & ~(crossed & (point.n_rounds >= _PATIENT_ROUND))
        steps = partial(_proximal_steps, model)
        after = jax.lax.cond(jnp.any(wanted), steps, lambda point, _: point, nearer, wanted)
        return after, nearer

    zero = jnp.zeros_like(theta[0])
    start = _Point(theta, zero, model.gradient_at(theta), wanted, zero > 0, jnp.asarray(0))
    point, _ = jax.lax.while_loop(unfinished, go_over, (start, start))
    return point.target, jnp.where(point.solved, jnp.maximum(-point.value, 0), jnp.inf)


def hessian_products(
    hessians: Float[Array, "neuron parameter parameter"], steps: Float[Array, "parameter neuron"]
) -> Float[Array, "parameter neuron"]:
    """Multiply each neuron's Hessian with its step."""
    return jnp.einsum("npq,qn->pn", hessians, steps)


# --- Proximal steps.


def _largest_eigenvalue(hessians: jax.Array, start: jax.Array) -> Float[Array, " neuron"]:
    """Estimate the largest eigenvalue by the power method."""

    def step(_, vector):
        vector = hessian_products(hessians, vector)
        return vector / jnp.maximum(jnp.linalg.norm(vector, axis=0), 1e-30)[None]

    vector = jax.lax.fori_loop(0, 6, step, start + 1e-3 * jnp.abs(start).max(axis=0)[None])
    floor = jnp.trace(hessians, axis1=1, axis2=2) / len(start)
    return 1.1 * jnp.maximum(jnp.linalg.norm(hessian_products(hessians, vector), axis=0), floor)


def _step_of_free(objective: Objective, target, gradient, size) -> jax.Array:
    """Take a proximal step with the parameters that are not masked."""
    nearer = proximal_step(objective, target - size[None] * gradient, size)
    return jnp.where(objective.mask > 0, nearer, target)


def _proximal_steps(model: _Model, start: _Point, wanted: jax.Array) -> _Point:
    """Let some neurons take accelerated proximal steps, afresh where momentum leads back.

    Values do not tell small steps from none, so that gradients decide: O'Donoghue & Candes (2015),
    section 3.2.
    """

    def step(_, carry):
        target, gradient, previous, previous_gradient, momentum, size = carry
        next_momentum = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        ahead = ((momentum - 1) / next_momentum)[None]
        point = target + ahead * (target - previous)
        gradient_there = gradient + ahead * (gradient - previous_gradient)
        nearer = _step_of_free(model.objective, point, gradient_there, size)
        gradient_nearer = model.gradient_at(nearer)
        change = nearer - point
        curvature = jnp.sum(change * (gradient_nearer - gradient_there), axis=0)
        good = curvature * size <= jnp.sum(change**2, axis=0)
        back = jnp.sum(change * (nearer - target), axis=0) < 0
        return (
            choose(good, nearer, target),
            choose(good, gradient_nearer, gradient),
            target,
            gradient,
            jnp.where(good & ~back, next_momentum, 1.0),
            jnp.where(good, size, size / 2),
        )

    target, gradient = start.target, start.gradient
    size = 1 / _largest_eigenvalue(model.hessians, gradient)
    carry = (target, gradient, target, gradient, jnp.ones_like(size), size)
    target, *_ = jax.lax.fori_loop(0, _PROXIMAL_STEPS, step, carry)
    gradient = model.gradient_at(target)
    value = model.value_at(start, target, gradient)
    better = wanted & (value <= start.value + model.rounding(start))
    return start.at(better, target, value, gradient)


# --- Newton steps of the coefficients that are not zero.


def _newton_step(model: _Model, point: _Point) -> tuple[_Point, jax.Array, jax.Array]:
    """Step towards the minimum over the coefficients that are not zero, if that is better.

    Also tell what is left to be gained: infinite, unless after the step no coefficient wants to
    become zero or to leave it. Then it is what the step missed of what it was to gain without
    kinks, which only raise the cost of what crosses them. And tell whether the step was to lead
    across zero.
    """
    objective, target = model.objective, point.target
    intercepts = slice(-objective.n_predictors, None)
    free = (objective.mask > 0) & (target != 0).at[intercepts].set(True)
    penalty_gradient = jax.grad(lambda theta: penalty_value(objective, theta).sum())(target)
    gradient = jnp.where(free, point.gradient + penalty_gradient, 0)
    step = _newton_directions(model, target, gradient, free, point.active)

    # The step ends where coefficients reach zero: at once for all that would, or for the first.
    full = target + step
    crosses = (full * target < 0).at[intercepts].set(False)
    reach = jnp.where(crosses, target / jnp.where(crosses, target - full, 1), 1)
    shortest = reach.min(axis=0)
    first = jnp.where(crosses & (reach == shortest[None]), 0, target + shortest[None] * step)
    nearer, promised = point, -jnp.sum(gradient * step, axis=0) / 2
    # Of two as good as each other the last, lest a coefficient goes back and forth about zero.
    rounding = model.rounding(point)
    trials = (full, 0), (jnp.where(crosses, 0, full), 0), (first, rounding)
    for trial, slack in trials:
        gradient_there = model.gradient_at(trial)
        value = model.value_at(point, trial, gradient_there)
        better = point.active & (value < nearer.value + slack)
        nearer = nearer.at(better, trial, value, gradient_there)
    left = jnp.abs(promised - (point.value - nearer.value)) - rounding
    size = 1 / jnp.trace(model.hessians, axis1=1, axis2=2)
    ahead = _step_of_free(objective, nearer.target, nearer.gradient, size)
    settled = jnp.all((ahead != 0) == (nearer.target != 0), axis=0)
    return nearer, jnp.where(settled, left, jnp.inf), jnp.any(crosses, axis=0)


def _newton_directions(model: _Model, target, gradient, free, wanted) -> jax.Array:
    """Newton directions of the free parameters of the wanted neurons, (parameter, neuron)."""
    objective, n_parameters = model.objective, len(target)

    def solve(size, neuron):
        (index,) = jnp.nonzero(free[:, neuron], size=size, fill_value=n_parameters)
        one = objective.neurons(neuron[None])
        penalty_gradient = jax.grad(lambda theta: penalty_value(one, theta[:, None])[0])

        def penalty_row(index):
            unit = (jnp.arange(n_parameters) == index).astype(target.dtype)
            return jax.jvp(penalty_gradient, (target[:, neuron],), (unit,))[1]

        def pick(array):
            return array.at[..., index].get(mode="fill", fill_value=0)

        hessian = model.hessians[neuron]
        rows = hessian.at[index].get(mode="fill", fill_value=0)
        level = jnp.trace(hessian) / n_parameters
        matrix = pick(rows + jax.vmap(penalty_row)(index))
        matrix = matrix.at[jnp.diag_indices(size)].add(level * (index == n_parameters))
        factor = cholesky_factor(matrix, level), True
        step = -jax.scipy.linalg.cho_solve(factor, pick(gradient[:, neuron]))
        return jnp.zeros_like(target[:, 0]).at[index].set(step, mode="drop")

    # Half the size where that will do takes an eighth of the time.
    half = math.ceil(n_parameters / 2)
    solvers = [partial(solve, half), partial(solve, n_parameters)]
    branches = [lambda neuron: jnp.zeros_like(target[:, 0]), *solvers]
    branch = jnp.where(wanted, 1 + (free.sum(axis=0) > half), 0)
    items = branch, jnp.arange(objective.n_neurons)
    return jax.lax.map(lambda item: jax.lax.switch(item[0], branches, item[1]), items).T
