"""Stochastic variance-reduced gradients: steps on small batches, corrected by a whole gradient."""

import math
from dataclasses import dataclass, replace
from numbers import Integral
from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikax._pytrees import register
from spikax.design import Dense
from spikax.problem import (
    Null,
    Problem,
    null_model,
    penalized_loss,
    proximal_step,
    value_and_grad,
    without_features,
)
from spikax.regularizer import NO_PENALTY
from spikax.solvers._line_search import choose
from spikax.solvers._outcome import Outcome, runs_away, status_of
from spikax.solvers._solver import positive
from spikax.solvers._whitening import SharedWhitening, shared_whitening


@register
@dataclass(frozen=True)
class SVRG:
    """Stochastic variance-reduced gradients in whitened coordinates.

    An epoch is one gradient of all samples, at an anchor, and as many steps on batches drawn at
    random as there are batches in the samples. Where an epoch raises a neuron's loss, the neuron
    goes back to its anchor and halves its steps.

    Parameters
    ----------
    tol
        Log-likelihood, in nats over all samples, that a neuron may still gain when it stops
        (default 1e-4).
    maxiter
        Largest number of epochs of a neuron (default 1000).
    stepsize
        Length of the steps, in the solver's coordinates. Zero (default) takes half of the inverse
        of the loss's smoothness: the largest eigenvalue of the Hessians of some batches at the
        anchor, found by the power method for each neuron and epoch. No family but the Gaussian
        and the Bernoulli has a bound that holds everywhere.
    seed
        Seed of the batches (default 0).
    batch_size
        Number of samples in a batch (default 128).

    References
    ----------
    Johnson & Zhang (2013), "Accelerating stochastic gradient descent using predictive variance
    reduction", NeurIPS 26. The smoothness of batches: Sebbouh et al. (2019), "Towards closing the
    gap between the theory and practice of SVRG", NeurIPS 32.

    Examples
    --------
    >>> from spikax.glm import GLM
    >>> GLM(solver_name="SVRG", solver_kwargs={"batch_size": 64})
    GLM(solver_kwargs={'batch_size': 64}, solver_name='SVRG')
    """

    needs_smooth = True
    needs_double = False

    tol: float = positive(1e-4)
    maxiter: int = positive(1000, Integral)
    stepsize: float = 0.0
    seed: int = 0
    batch_size: int = positive(128, Integral, static=True)

    def run(self, problem: Problem, theta: jax.Array | None) -> Outcome:
        """Minimise from `theta`, or from the model without features."""
        return _run(self, problem, theta)

    def init(self, problem: Problem, theta: jax.Array) -> "Reference":
        """Anchor the steps: the whole gradient is that of these samples at `theta`."""
        return _anchor(self, problem, theta)

    def update(self, problem: Problem, theta: jax.Array, state: "Reference"):
        """Take one step on a batch, cut where it leads beyond the batch's minimum."""
        # A run goes back when an epoch raises the loss; here nobody could.
        slope = _corrected(self, problem, theta, state)
        ahead, _ = _step(self, problem, theta, slope, state)
        before = jnp.sum(slope * (ahead - theta), axis=0)
        after = jnp.sum(_corrected(self, problem, ahead, state) * (ahead - theta), axis=0)
        share = jnp.where((before < 0) & (after > 0), before / (before - after), 1.0)
        return theta + share[None] * (ahead - theta), state


@register
@dataclass(frozen=True)
class ProxSVRG:
    """Stochastic variance-reduced gradients with proximal steps, for penalties with corners.

    The coordinates are those of the standardised features, in which penalties have their proximal
    operators: where features are collinear it needs many more epochs than `SVRG`.

    Parameters
    ----------
    tol, maxiter, stepsize, seed, batch_size
        As those of `SVRG`.

    References
    ----------
    Xiao & Zhang (2014), "A proximal stochastic gradient method with progressive variance
    reduction", SIAM J. Optim. 24, 2057-2075.

    Examples
    --------
    >>> from spikax.glm import GLM
    >>> GLM(regularizer="Lasso", regularizer_strength=0.01, solver_name="ProxSVRG")
    GLM(regularizer='Lasso', regularizer_strength=0.01, solver_name='ProxSVRG')
    """

    needs_smooth = False
    needs_double = False

    tol: float = positive(1e-4)
    maxiter: int = positive(1000, Integral)
    stepsize: float = 0.0
    seed: int = 0
    batch_size: int = positive(128, Integral, static=True)

    run = SVRG.run
    init = SVRG.init
    update = SVRG.update


class Reference(NamedTuple):
    """What steps on batches are corrected by."""

    whitening: SharedWhitening
    theta: jax.Array  # the anchor, (p + 1, n)
    gradient: jax.Array  # of the smooth part there, over all samples, (p + 1, n)
    step: jax.Array  # length of the steps, (n,)


class _State(NamedTuple):
    """Where each neuron stands after an epoch."""

    theta: jax.Array  # (p + 1, n)
    value: jax.Array  # penalised mean loss, (n,)
    gradient: jax.Array  # of the smooth part, (p + 1, n)
    slope: jax.Array  # of the whole, one of its subgradients, (p + 1, n)
    gain: jax.Array  # nats still expected, (n,)
    damping: jax.Array  # what steps are multiplied with, (n,)
    n_steps: jax.Array  # epochs that were kept, (n,)
    done: jax.Array
    n_epochs: jax.Array  # ()


def _run(solver: SVRG | ProxSVRG, problem: Problem, theta: jax.Array | None) -> Outcome:
    null = null_model(problem)
    if theta is None:
        theta = without_features(problem, null)
    whitening = shared_whitening(problem, null.intercept, null.curvature)
    size = min(solver.batch_size, problem.n_samples)
    n_batches = max(10, math.ceil(problem.n_samples / size))

    def epoch(state: _State) -> _State:
        key = jax.random.fold_in(jax.random.key(solver.seed), state.n_epochs)
        length = state.damping * _length(solver, problem, state.theta, whitening, key)
        reference = Reference(whitening, state.theta, state.gradient, length)

        def step(index, carry):
            theta, _ = carry
            batch = _batch(problem, jax.random.fold_in(key, index), size)
            move = _corrected(solver, batch, theta, reference)
            return _step(solver, problem, theta, move, reference)

        start = (state.theta, jnp.zeros_like(state.theta))
        theta, corner = jax.lax.fori_loop(0, n_batches, step, start)
        return _judged(solver, problem, null, whitening, state, theta, corner)

    def unfinished(state: _State):
        moves = (state.damping > 1e-6) & (state.n_steps < solver.maxiter)
        return jnp.any(~state.done & moves) & (state.n_epochs < 2 * solver.maxiter)

    value, gradient = _evaluate(solver, problem, theta)
    none = jnp.zeros(value.shape, int)
    # The slope of a corner is known after a step.
    gain = _decrement(null, whitening, gradient) if solver.needs_smooth else value + jnp.inf
    start = _State(
        theta,
        value,
        gradient,
        slope=gradient,
        gain=gain,
        damping=jnp.ones_like(value),
        n_steps=none,
        done=gain < solver.tol,
        n_epochs=jnp.asarray(0),
    )
    state = jax.lax.while_loop(unfinished, epoch, start)
    away = null.at_bound
    if problem.penalty.smooth:
        towards = -whitening.to_parameters(whitening.pull_back(state.slope))
        away |= runs_away(problem, null, state.theta, towards, state.gain)
    status = status_of(state.value, state.done, away, state.damping > 1e-6)
    return Outcome(state.theta, state.value, state.n_steps, status, 3 * state.n_epochs + 2)


def _judged(
    solver, problem, null: Null, whitening, state: _State, theta: jax.Array, corner: jax.Array
) -> _State:
    """Keep what an epoch did for the neurons whose loss it did not raise."""
    value, gradient = _evaluate(solver, problem, theta)
    rounding = 10 * jnp.finfo(value.dtype).eps * jnp.abs(state.value)
    waits = state.done | (state.n_steps >= solver.maxiter)
    kept = (value <= state.value + rounding) & jnp.all(jnp.isfinite(gradient), axis=0) & ~waits
    slope = gradient + corner
    gain = _decrement(null, whitening, slope)
    # Gains that go on shrinking as they did sum to this.
    left = gain / (1 - jnp.clip(gain / state.gain, 0.0, 0.99))
    return _State(
        choose(kept, theta, state.theta),
        choose(kept, value, state.value),
        choose(kept, gradient, state.gradient),
        choose(kept, slope, state.slope),
        choose(kept, gain, state.gain),
        jnp.where(kept | waits, state.damping, state.damping / 2),
        state.n_steps + kept,
        state.done | (kept & (left < solver.tol)),
        state.n_epochs + 1,
    )


def _decrement(null: Null, whitening: SharedWhitening, slope: jax.Array) -> jax.Array:
    """Nats that a neuron may still gain, if its curvature is what whitens.

    For any subgradient `r` of a convex loss of curvature `H`, the optimum is at most
    `r' H^-1 r / 2` below.
    """
    return null.nats * jnp.sum(whitening.pull_back(slope) ** 2, axis=0) / 2


def _smooth_part(solver, problem: Problem) -> Problem:
    if solver.needs_smooth:
        return problem
    return replace(problem, penalty=NO_PENALTY)


def _evaluate(solver, problem: Problem, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Penalised loss of each neuron, and the gradient of its smooth part."""
    value, gradient = value_and_grad(_smooth_part(solver, problem), theta)
    return value if solver.needs_smooth else penalized_loss(problem, theta), gradient


def _batch(problem: Problem, key: jax.Array, size: int) -> Problem:
    """Draw samples, whose mean loss estimates that of all."""
    block = problem.y.shape[2]
    rows = jax.random.randint(key, (size,), 0, problem.n_samples)

    def pick(array):
        drawn = None if array is None else array[rows // block, ..., rows % block]
        return None if drawn is None else jnp.moveaxis(drawn, 0, -1)[None]

    return replace(
        problem,
        X=Dense(problem.X.rows(rows).T[None]),
        y=pick(problem.y),
        weights=pick(problem.weights),
        offset=pick(problem.offset),
        total_weight=problem.total_weight * (size / problem.n_samples),
    )


def _corrected(solver, batch: Problem, theta: jax.Array, reference: Reference) -> jax.Array:
    """Gradient of a batch, less what the batch differs from all samples at the anchor."""
    smooth = _smooth_part(solver, batch)
    here, there = (value_and_grad(smooth, at)[1] for at in (theta, reference.theta))
    return here - there + reference.gradient


def _step(
    solver, problem: Problem, theta: jax.Array, slope: jax.Array, reference: Reference
) -> tuple[jax.Array, jax.Array]:
    """Take a step; give also the subgradient of the penalty where a proximal step ends."""
    step = reference.step[None]
    if solver.needs_smooth:
        whitened = step * reference.whitening.pull_back(slope)
        return theta - reference.whitening.to_parameters(whitened), jnp.zeros_like(theta)
    ahead = theta - step * slope
    behind = proximal_step(problem, ahead, reference.step)
    return behind, (ahead - behind) / step


def _anchor(solver, problem: Problem, theta: jax.Array) -> Reference:
    null = null_model(problem)
    whitening = shared_whitening(problem, null.intercept, null.curvature)
    key = jax.random.key(solver.seed)
    length = _length(solver, problem, theta, whitening, key)
    return Reference(whitening, theta, _evaluate(solver, problem, theta)[1], length)


def _length(solver, problem: Problem, theta, whitening: SharedWhitening, key) -> jax.Array:
    """Half of the inverse of the batches' smoothness, unless the user chose a length."""
    problem = _smooth_part(solver, problem)
    size = min(solver.batch_size, problem.n_samples)

    def of_batch(key):
        batch = _batch(problem, key, size)

        def apply_hessian(_, carry):
            direction, _ = carry
            direction = direction / jnp.linalg.norm(direction, axis=0, keepdims=True)
            move = whitening.to_parameters(direction) if solver.needs_smooth else direction
            bend = jax.jvp(lambda at: value_and_grad(batch, at)[1], (theta,), (move,))[1]
            bend = whitening.pull_back(bend) if solver.needs_smooth else bend
            size = jnp.linalg.norm(bend, axis=0)
            return jnp.where(size > 0, bend, direction), size

        start = jax.random.normal(key, (len(theta), 1), theta.dtype)
        start = jnp.broadcast_to(start, theta.shape), jnp.zeros_like(theta[0])
        return jax.lax.fori_loop(0, 8, apply_hessian, start)[1]

    smoothness = jnp.max(jax.lax.map(of_batch, jax.random.split(key, 4)), axis=0)
    safe = 0.5 / jnp.maximum(smoothness, jnp.finfo(theta.dtype).tiny * 1e8)
    return jnp.where(solver.stepsize > 0, solver.stepsize, safe)
