"""Stochastic variance-reduced gradients: steps on small batches, corrected by a whole gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from spikax._pytrees import register
from spikax.core.hessians import Precomputed
from spikax.core.objective import Objective, penalty_value, proximal_step, value_and_grad
from spikax.core.samples import Samples
from spikax.core.whitening import SharedWhitening, shared_whitening
from spikax.solvers import _driver
from spikax.solvers._method import Context, Coordinates, Preconditioner, Proposal, Unchanged
from spikax.solvers._solver import positive

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


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
    keeps_hessians = False
    retries = True
    n_passes = 3

    tol: float = positive(1e-4)
    maxiter: int = positive(1000, Integral)
    stepsize: float = 0.0
    seed: int = 0
    batch_size: int = positive(128, Integral, static=True)

    run = _driver.run

    def prepare(self, objective, samples, null, precomputed) -> SharedWhitening:
        """Whiten with the Gram matrix that all neurons share."""
        return shared_whitening(objective, samples, null, precomputed)

    def precondition(self, shared, objective, index):
        """Whiten some neurons with what is shared, for what they may still gain."""
        whitening = shared.restricted(index, objective.n_predictors)
        return Preconditioner(whitening if self.needs_smooth else _Judged(whitening))

    def start(self, context, theta) -> _Memory:
        """Take whole steps."""
        ones = jnp.ones_like(theta[0])
        return _Memory(ones, jnp.zeros_like(theta), ones < 0, jnp.asarray(0))

    def learn(self, context, memory, step, gradient_change, accepted, rejected) -> _Memory:
        """Halve the steps of neurons whose loss an epoch has raised."""
        return memory._replace(damping=jnp.where(rejected, memory.damping / 2, memory.damping))

    def propose(self, context, memory, theta, gradient, wanted):
        """Go to the end of an epoch, anchored where the neuron is."""
        return _epoch(self, context, memory, theta, gradient, wanted)

    def init(self, objective, samples, theta, precomputed) -> Reference:
        """Anchor the steps: the whole gradient is that of these samples at `theta`."""
        return _anchor(self, objective, samples, theta, precomputed)

    def update(self, objective, samples, theta, state):
        """Take one step on a batch, cut where it leads beyond the batch's minimum."""
        # A run goes back when an epoch raises the loss; here nobody could.
        smooth = _smooth_part(self, objective)
        gradient = _corrected(smooth, samples, theta, state)
        ahead, step = _step(self, objective, theta, gradient, state)
        before = jnp.sum(gradient * step, axis=0)
        after = jnp.sum(_corrected(smooth, samples, ahead, state) * step, axis=0)
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
    keeps_hessians = False
    retries = True
    n_passes = 3

    tol: float = positive(1e-4)
    maxiter: int = positive(1000, Integral)
    stepsize: float = 0.0
    seed: int = 0
    batch_size: int = positive(128, Integral, static=True)

    run = _driver.run
    prepare = SVRG.prepare
    precondition = SVRG.precondition
    start = SVRG.start
    learn = SVRG.learn
    propose = SVRG.propose
    init = SVRG.init
    update = SVRG.update


class _Judged(NamedTuple):
    """The parameters themselves, in which penalties have their proximal operators."""

    whitening: SharedWhitening  # for what a neuron may still gain

    to_parameters = Unchanged.to_parameters
    pull_back = Unchanged.pull_back


class _Memory(NamedTuple):
    """What epochs leave behind."""

    damping: Float[Array, " neuron"]  # what steps are multiplied with
    subgradient: Float[Array, "parameter neuron"]  # of the penalty, where the last epoch ended
    known: Array  # whether it is, (neuron,)
    n_epochs: Int[Array, ""]


class Reference(NamedTuple):
    """What steps on batches are corrected by, in the solver's coordinates."""

    coordinates: Coordinates
    theta: Float[Array, "parameter neuron"]  # the anchor
    gradient: Float[Array, "parameter neuron"]  # of the smooth part there, over all samples
    length: Float[Array, " neuron"]  # of the steps


def _epoch(solver, context: Context, memory: _Memory, theta, gradient, wanted):
    """Take as many steps as there are batches in the samples."""
    objective, samples, _, (coordinates, *_) = context
    nearly, gain = _quasi_newton(solver, context, memory, gradient)
    smooth = _smooth_part(solver, objective)
    key = jax.random.fold_in(jax.random.key(solver.seed), memory.n_epochs)
    length = memory.damping * _length(solver, smooth, samples, theta, coordinates, key)
    reference = Reference(coordinates, theta, gradient, length)
    size = min(solver.batch_size, samples.n_samples)

    def step(index, carry):
        at, moved, _ = carry
        some = _batch(smooth, samples, jax.random.fold_in(key, index), size)
        corrected = _corrected(*some, at, reference)
        ahead, more = _step(solver, objective, at, corrected, reference)
        # A proximal step ends where this is a subgradient of the penalty.
        subgradient = (at - ahead) / length[None] - corrected
        return ahead, moved + more, subgradient

    n_batches = max(10, math.ceil(samples.n_samples / size))
    none = jnp.zeros_like(theta)
    _, moved, subgradient = jax.lax.fori_loop(0, n_batches, step, (theta, none, none))
    memory = memory._replace(
        subgradient=subgradient, known=memory.known | wanted, n_epochs=memory.n_epochs + 1
    )
    if objective.penalty.smooth:
        # Where nothing is to be gained, the step that tells more is that of the whole gradient.
        moved = jnp.where(gain < solver.tol, memory.damping[None] * nearly, moved)
    change = 0.0
    if not solver.needs_smooth:
        end = theta + moved
        change = penalty_value(objective, end) - penalty_value(objective, theta)
    return Proposal(moved, gain, change), memory


def _quasi_newton(solver, context: Context, memory: _Memory, gradient) -> tuple:
    """Newton's step, if a neuron's curvature is what whitens, and the nats it may still gain.

    For any subgradient `r` of a convex objective of Hessian `H`, the optimum is at most
    `r' H^-1 r / 2` below.
    """
    precision = context.null.precision
    if solver.needs_smooth:
        return -gradient, precision * jnp.sum(gradient**2, axis=0) / 2
    judged: Any = context.preconditioner.coordinates
    whitened = judged.whitening.pull_back(gradient + memory.subgradient)
    gain = precision * jnp.sum(whitened**2, axis=0) / 2
    # The subgradient of a kink is known after an epoch.
    gain = jnp.where(memory.known, gain, jnp.inf)
    return -judged.whitening.to_parameters(whitened), gain


def _smooth_part(solver, objective: Objective) -> Objective:
    return objective if solver.needs_smooth else objective.without_penalty()


def _batch(
    objective: Objective, samples: Samples, key: jax.Array, size: int
) -> tuple[Objective, Samples]:
    """Draw samples, whose mean loss estimates that of all."""
    rows = jax.random.randint(key, (size,), 0, samples.n_samples)
    share = size / samples.n_samples
    return replace(objective, normaliser=share * objective.normaliser), samples.take(rows)


def _corrected(
    objective: Objective, batch: Samples, theta: jax.Array, reference: Reference
) -> jax.Array:
    """Gradient of a batch, less what the batch differs from all samples at the anchor."""
    here, there = (value_and_grad(objective, batch, at)[1] for at in (theta, reference.theta))
    return reference.coordinates.pull_back(here - there) + reference.gradient


def _step(
    solver, objective: Objective, theta: jax.Array, gradient: jax.Array, reference: Reference
) -> tuple[jax.Array, jax.Array]:
    """Take a step; give also what it is in the solver's coordinates."""
    step = -reference.length[None] * gradient
    if solver.needs_smooth:
        return theta + reference.coordinates.to_parameters(step), step
    ahead = proximal_step(objective, theta + step, reference.length)
    return ahead, ahead - theta


def _anchor(
    solver, objective: Objective, samples: Samples, theta: jax.Array, precomputed: Precomputed
) -> Reference:
    null = precomputed.null_model(objective, samples)
    shared = solver.prepare(objective, samples, null, precomputed)
    every = jnp.arange(objective.n_neurons)
    coordinates = solver.precondition(shared, objective, every).coordinates
    smooth, key = _smooth_part(solver, objective), jax.random.key(solver.seed)
    gradient = coordinates.pull_back(value_and_grad(smooth, samples, theta)[1])
    length = _length(solver, smooth, samples, theta, coordinates, key)
    return Reference(coordinates, theta, gradient, length)


def _length(
    solver, objective: Objective, samples: Samples, theta, coordinates, key
) -> Float[Array, " neuron"]:
    """Half of the inverse of the batches' smoothness, unless the user chose a length."""
    size = min(solver.batch_size, samples.n_samples)

    def of_batch(key):
        batch = _batch(objective, samples, key, size)

        def hessian_product(_, carry):
            direction, _ = carry
            direction = direction / jnp.linalg.norm(direction, axis=0, keepdims=True)
            tangent = coordinates.to_parameters(direction)
            product = jax.jvp(lambda at: value_and_grad(*batch, at)[1], (theta,), (tangent,))[1]
            product = coordinates.pull_back(product)
            largest = jnp.linalg.norm(product, axis=0)
            return jnp.where(largest > 0, product, direction), largest

        start = jax.random.normal(key, (len(theta), 1), theta.dtype)
        start = jnp.broadcast_to(start, theta.shape), jnp.zeros_like(theta[0])
        return jax.lax.fori_loop(0, 8, hessian_product, start)[1]

    smoothness = jnp.max(jax.lax.map(of_batch, jax.random.split(key, 4)), axis=0)
    safe = 0.5 / jnp.maximum(smoothness, jnp.finfo(theta.dtype).tiny * 1e8)
    return jnp.where(solver.stepsize > 0, solver.stepsize, safe)
