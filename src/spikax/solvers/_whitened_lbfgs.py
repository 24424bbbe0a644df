"""L-BFGS for a whole population in coordinates that whiten the curvature of its losses."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from spikax._pytrees import register
from spikax.core.whitening import OwnWhitening, SharedWhitening, own_whitening, shared_whitening
from spikax.solvers import _driver
from spikax.solvers._line_search import choose, push
from spikax.solvers._method import Preconditioner, Proposal
from spikax.solvers._solver import positive

if TYPE_CHECKING:
    from jaxtyping import Array, Float


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
    keeps_hessians = False
    retries = False
    n_passes = 1

    tol: float = positive(1e-4)
    maxiter: int = positive(500, Integral)
    memory: int = positive(10, Integral, static=True)

    run = _driver.run
    update = _driver.step_on_batch

    def init(self, objective, samples, theta, precomputed):
        """Prepare for batches like this one: the whitening they share."""
        null = precomputed.null_model(objective, samples)
        return Preconditioner(self.prepare(objective, samples, null, precomputed))

    def prepare(self, objective, samples, null, precomputed) -> SharedWhitening:
        """Whiten with the Gram matrix that all neurons share."""
        return shared_whitening(objective, samples, null, precomputed)

    def precondition(self, shared, objective, index):
        """Whiten some neurons with what is shared."""
        return _whitened(shared.neurons(objective, index))

    def precondition_again(self, objective, samples, theta, n_rows, wanted):
        """Whiten neurons with Hessians of their own."""
        return _whitened(own_whitening(objective, samples, theta, n_rows, wanted))

    def start(self, context, theta) -> _Memory:
        """Remember no steps."""
        none = jnp.zeros((self.memory, *theta.shape), theta.dtype)
        return _Memory(none, none, none[:, 0])

    def learn(self, context, memory, step, gradient_change, accepted, rejected) -> _Memory:
        """Remember the steps along which the gradient rises."""
        product = jnp.sum(step * gradient_change, axis=0)
        learns = accepted & (product > 1e-6 * jnp.sum(step**2, axis=0))
        newest = step, gradient_change, 1 / product
        return _Memory(
            *(choose(learns, push(old, new), old) for old, new in zip(memory, newest, strict=True))
        )

    def propose(self, context, memory, theta, gradient, wanted):
        """Go along the quasi-Newton direction."""
        direction = _two_loop(gradient, memory)
        decrement = jnp.maximum(
            -jnp.sum(gradient * direction, axis=0), jnp.sum(gradient**2, axis=0)
        )
        return Proposal(direction, context.null.precision * decrement / 2), memory


class _Memory(NamedTuple):
    """The last steps that were learned from, newest last, in whitened coordinates."""

    steps: Float[Array, "memory parameter neuron"]
    gradient_changes: Float[Array, "memory parameter neuron"]
    inverse: Float[Array, "memory neuron"]  # one over the products of the two, zero for none


def _whitened(whitening: OwnWhitening) -> Preconditioner:
    return Preconditioner(whitening, n_flat=whitening.n_flat)


@jax.jit
def _two_loop(gradient: Float[Array, "parameter neuron"], memory: _Memory) -> jax.Array:
    """Two-loop recursion for all neurons (Nocedal & Wright 2006, algorithm 7.4)."""

    def backward(q, pair):
        step, change, inverse = pair
        weight = inverse * jnp.sum(step * q, axis=0)
        return q - weight[None] * change, weight

    def forward(q, pair):
        step, change, inverse, weight = pair
        return q + (weight - inverse * jnp.sum(change * q, axis=0))[None] * step, None

    q, weights = jax.lax.scan(backward, gradient, memory, reverse=True)
    # The identity is scaled by s'y / y'y of the newest pair (eq. 7.20).
    length = jnp.sum(memory.gradient_changes[-1] ** 2, axis=0) * memory.inverse[-1]
    q = q / jnp.where(length > 0, length, 1)[None]
    return -jax.lax.scan(forward, q, (*memory, weights))[0]
