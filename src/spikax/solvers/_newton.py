"""Newton's method for each neuron, with exact Hessians: few passes where features are few."""

from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikax._pytrees import register
from spikax.problem import Problem, null_model, value_and_grad, without_features
from spikax.solvers._line_search import choose, judge
from spikax.solvers._outcome import Outcome, runs_away, status_of
from spikax.solvers._solver import positive
from spikax.solvers._whitening import own_whitening


@register
@dataclass(frozen=True)
class Newton:
    """Newton's method with exact Hessians and halved steps.

    The work of a step grows with the square of the number of features: use it up to a few tens.

    Parameters
    ----------
    tol
        Log-likelihood, in nats over all samples, that a neuron may still gain when it stops
        (default 1e-4).
    maxiter
        Largest number of steps of a neuron (default 100).

    References
    ----------
    Boyd & Vandenberghe (2004), Convex Optimization, algorithm 9.5.

    Examples
    --------
    >>> from spikax.glm import GLM
    >>> GLM(solver_name="Newton")
    GLM(solver_name='Newton')
    """

    needs_smooth = True
    needs_double = False

    tol: float = positive(1e-4)
    maxiter: int = positive(100, Integral)

    def run(self, problem: Problem, theta: jax.Array | None) -> Outcome:
        """Minimise from `theta`, or from the model without features."""
        null = null_model(problem)
        if theta is None:
            theta = without_features(problem, null)

        def unfinished(point):
            return jnp.any(~point.done & ~point.stuck & (point.n_steps < self.maxiter))

        def step(point):
            return _step(problem, null.nats, point, self)

        point = jax.lax.while_loop(unfinished, step, _begin(problem, null.nats, theta, self))
        away = runs_away(problem, null, point.theta, point.direction, point.gain)
        away |= null.at_bound
        status = status_of(point.value, point.done, away, ~point.stuck)
        return Outcome(point.theta, point.value, point.n_steps, status, point.n_passes)

    def init(self, problem: Problem, theta: jax.Array) -> None:
        """Nothing is carried from batch to batch."""

    def update(self, problem: Problem, theta: jax.Array, state: None):
        """Take one Newton step on a batch."""
        nats = null_model(problem).nats
        point = _step(problem, nats, _begin(problem, nats, theta, self), self)
        return point.theta, state


class _Point(NamedTuple):
    theta: jax.Array  # (p + 1, n)
    value: jax.Array  # (n,)
    gradient: jax.Array  # (p + 1, n)
    direction: jax.Array  # (p + 1, n)
    gain: jax.Array  # nats expected of a step along it, (n,)
    step: jax.Array  # length to try next along the direction, (n,)
    n_steps: jax.Array  # (n,)
    done: jax.Array  # (n,)
    stuck: jax.Array  # (n,)
    n_passes: jax.Array  # ()


def _begin(problem, nats, theta, solver) -> _Point:
    value, gradient = value_and_grad(problem, theta)
    everyone = nats > 0
    direction, gain = _direction(problem, nats, theta, gradient, everyone)
    n_steps = jnp.zeros(value.shape, int)
    return _Point(
        theta,
        value,
        gradient,
        direction,
        gain,
        jnp.ones_like(value),
        n_steps,
        gain < solver.tol,
        jnp.zeros_like(everyone),
        jnp.asarray(2),
    )


def _step(problem, nats, point: _Point, solver) -> _Point:
    theta = point.theta + point.step[None] * point.direction
    value, gradient = value_and_grad(problem, theta)
    before = jnp.sum(point.gradient * point.direction, axis=0)
    after = jnp.sum(gradient * point.direction, axis=0)
    good, next_step = judge(point.value, value, before, after, point.step)
    waits = point.done | point.stuck | (point.n_steps >= solver.maxiter)
    accepted = good & ~waits
    theta = choose(accepted, theta, point.theta)
    gradient = choose(accepted, gradient, point.gradient)
    direction, gain = _direction(problem, nats, theta, gradient, accepted)
    step = jnp.where(accepted, 1.0, jnp.where(waits, point.step, next_step))
    return _Point(
        theta,
        choose(accepted, value, point.value),
        gradient,
        choose(accepted, direction, point.direction),
        choose(accepted, gain, point.gain),
        step,
        point.n_steps + accepted,
        point.done | (accepted & (gain < solver.tol)),
        point.stuck | (step < 1e-6),
        point.n_passes + 2,
    )


def _direction(problem, nats, theta, gradient, wanted):
    """Newton's direction, and the nats expected of it."""
    whitening = own_whitening(problem, theta, problem.n_samples, wanted)
    whitened = whitening.pull_back(gradient)
    return -whitening.to_parameters(whitened), nats * jnp.sum(whitened**2, axis=0) / 2
