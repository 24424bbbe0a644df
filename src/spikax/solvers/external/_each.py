"""Algorithms of other libraries, one neuron at a time under `vmap`, with the data as arguments."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from spikax._pytrees import register
from spikax.core.hessians import Precomputed
from spikax.core.null_model import null_parameters
from spikax.core.objective import (
    Objective,
    penalized_loss,
    proximal_step,
    value_and_grad,
)
from spikax.core.samples import Samples
from spikax.core.whitening import own_whitening
from spikax.solvers._convergence import Outcome, is_unbounded, status_of


class Data(NamedTuple):
    """What a library's algorithm is given as the arguments of its loss: those of one neuron."""

    objective: Objective
    samples: Samples


class Algorithm(Protocol):
    """Steps of a library's for one neuron, whose parameters are a vector.

    An algorithm is a frozen dataclass, and static.
    """

    @property
    def needs_smooth(self) -> bool:
        """Whether the penalty must have a gradient everywhere."""
        ...

    @property
    def needs_double(self) -> bool:
        """Whether single precision is too coarse for its way of choosing steps."""
        ...

    @property
    def patience(self) -> int:
        """Number of steps without movement after which it has stalled."""
        ...

    def begin(self, data: Data, theta: jax.Array) -> Any:
        """Make the state that steps carry."""
        ...

    def step(self, data: Data, theta: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        """Take one step."""
        ...

    def error(self, data: Data, theta: jax.Array, state: Any) -> jax.Array:
        """Norm of the gradient, or of the proximal step of unit length, after a step."""
        ...


@register
@dataclass(frozen=True)
class EachNeuron:
    """A library's algorithm, run for each neuron by itself.

    Parameters
    ----------
    algorithm
        What takes the steps.
    tol
        Norm of the gradient, or of the proximal step, at which a neuron stops (default 1e-6), in
        units of the standardised features; where precision ends earlier, it stops there.
    maxiter
        Largest number of steps of a neuron (default 2000).
    """

    algorithm: Algorithm = field(metadata={"static": True})
    tol: float = 1e-6
    maxiter: int = 2000

    @property
    def needs_smooth(self) -> bool:
        """Whether the penalty must have a gradient everywhere."""
        return self.algorithm.needs_smooth

    @property
    def needs_double(self) -> bool:
        """Whether single precision is too coarse for its way of choosing steps."""
        return self.algorithm.needs_double

    def run(
        self,
        objective: Objective,
        samples: Samples,
        theta: jax.Array | None,
        precomputed: Precomputed,
    ) -> Outcome:
        """Minimise from `theta`, or from the model without features."""
        null = precomputed.null_model(objective, samples)
        if theta is None:
            theta = null_parameters(objective, null)
        # A gradient is a mean over samples: below this it is rounding.
        steepest = null.curvature.reshape(objective.n_predictors, -1).max(axis=0)
        resolution = 20 * jnp.finfo(theta.dtype).eps * jnp.sqrt(steepest)
        tol = jnp.maximum(self.tol, resolution)

        def fit(neuron, theta, tol):
            one = of_neuron(objective, samples, neuron)

            def unfinished(carry):
                theta, state, n_steps, n_still = carry
                error = self.algorithm.error(one, theta, state)
                moves = n_still < self.algorithm.patience
                return (error > tol) & (n_steps < self.maxiter) & moves

            def step(carry):
                old, state, n_steps, n_still = carry
                theta, state = self.algorithm.step(one, old, state)
                n_still = jnp.where(jnp.any(theta != old), 0, n_still + 1)
                return theta, state, n_steps + 1, n_still

            none = jnp.asarray(0)
            start = (theta, self.algorithm.begin(one, theta), none, none)
            theta, _, n_steps, _ = jax.lax.while_loop(unfinished, step, start)
            return theta, n_steps

        over = (0, 1, 0)
        theta, n_steps = jax.vmap(fit, over, (1, 0))(_neurons(theta), theta, tol)
        assert theta is not None
        value = penalized_loss(objective, samples, theta)
        # What a library calls success looks at steps and losses: the residual decides.
        residual = proximal_residual(objective, samples, theta)
        converged, unbounded = residual <= 2 * tol, null.at_bound
        if objective.penalty.smooth:
            n_rows, everyone = max(4096, 16 * len(theta)), value < jnp.inf
            whitening = own_whitening(objective, samples, theta, n_rows, everyone)
            slope = whitening.pull_back(value_and_grad(objective, samples, theta)[1])
            gain = jnp.where(converged, 0, null.precision * jnp.sum(slope**2, axis=0) / 2)
            direction = -whitening.to_parameters(slope)
            unbounded |= is_unbounded(objective, samples, null, theta, direction, gain)
            if theta.dtype == jnp.float32:  # which sees no gain along what is as flat as jitter
                converged &= whitening.n_flat == 0
        status = status_of(value, converged, unbounded, n_steps >= self.maxiter)
        return Outcome(theta, value, n_steps, status, jnp.max(n_steps))

    def init(
        self, objective: Objective, samples: Samples, theta: jax.Array, precomputed: Precomputed
    ) -> Any:
        """Prepare the state of each neuron for batches like this one."""

        def one(neuron, theta):
            return self.algorithm.begin(of_neuron(objective, samples, neuron), theta)

        return jax.vmap(one, in_axes=(0, 1))(_neurons(theta), theta)

    def update(
        self, objective: Objective, samples: Samples, theta: jax.Array, state: Any
    ) -> tuple[jax.Array, Any]:
        """Take one step of each neuron on a batch."""

        def one(neuron, theta, state):
            return self.algorithm.step(of_neuron(objective, samples, neuron), theta, state)

        over = (0, 1, 0)
        return jax.vmap(one, over, (1, 0))(_neurons(theta), theta, state)


def _neurons(theta: jax.Array) -> jax.Array:
    return jnp.arange(theta.shape[1])


def of_neuron(objective: Objective, samples: Samples, neuron: jax.Array) -> Data:
    """Restrict the data to one neuron."""
    return Data(objective.neurons(neuron[None]), samples.neurons(neuron[None]))


def loss(theta: jax.Array, data: Data) -> jax.Array:
    """Objective of one neuron."""
    return penalized_loss(*data, (data.objective.mask[:, 0] * theta)[:, None])[0]


def proximal_residual(objective: Objective, samples: Samples, theta: jax.Array) -> jax.Array:
    """Norm of each neuron's gradient, or of its proximal step of unit length.

    Far out such a step is lost in the rounding of the parameters, which therefore counts.
    """
    if objective.penalty.smooth:
        return jnp.linalg.norm(value_and_grad(objective, samples, theta)[1], axis=0)
    ahead = theta - value_and_grad(objective.without_penalty(), samples, theta)[1]
    step = jnp.ones(objective.n_neurons, theta.dtype)
    rounding = jnp.finfo(theta.dtype).eps * jnp.linalg.norm(theta, axis=0)
    return jnp.linalg.norm(theta - proximal_step(objective, ahead, step), axis=0) + rounding
