"""Newton's method for each neuron, with exact Hessians: few passes where features are few."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import jax.numpy as jnp

from spikax._pytrees import register
from spikax.core.whitening import own_whitening
from spikax.solvers import _driver
from spikax.solvers._method import Preconditioner, Proposal
from spikax.solvers._solver import positive


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
    keeps_hessians = False
    retries = False
    n_passes = 2

    tol: float = positive(1e-4)
    maxiter: int = positive(100, Integral)

    run = _driver.run
    update = _driver.step_on_batch

    def init(self, objective, samples, theta, precomputed):
        """Nothing is carried from batch to batch."""
        return Preconditioner()

    def prepare(self, objective, samples, null, precomputed) -> None:
        """Nothing is shared."""

    def precondition(self, shared, objective, index):
        """Take the parameters as they are."""
        return Preconditioner()

    def start(self, context, theta) -> None:
        """Nothing is remembered."""

    def learn(self, context, memory, step, gradient_change, accepted, rejected) -> None:
        """Nothing is learned."""

    def propose(self, context, memory, theta, gradient, wanted):
        """Take Newton's direction `-H^-1 g`, with the Hessian factored as `H^-1 = F F'`."""
        objective, samples, null, _ = context
        whitening = own_whitening(objective, samples, theta, samples.n_samples, wanted)
        whitened = whitening.pull_back(gradient)
        gain = null.precision * jnp.sum(whitened**2, axis=0) / 2
        return Proposal(-whitening.to_parameters(whitened), gain), None
