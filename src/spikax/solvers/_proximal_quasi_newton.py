"""Proximal quasi-Newton for a whole population: penalties with kinks at the cost of smooth ones.

Each neuron has a quadratic model of its loss, which knows the curvature of the data and learns
from every step. An iteration minimises model plus penalty, which costs nothing that grows with the
number of samples, and tries the point found in one pass over the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from spikax._pytrees import register
from spikax.core.hessians import SharedHessian, own_hessians, shared_hessian
from spikax.core.objective import penalty_value
from spikax.solvers import _driver
from spikax.solvers._method import Preconditioner, Proposal
from spikax.solvers._quadratic_model import hessian_products, minimise_model
from spikax.solvers._solver import positive

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float


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
    keeps_hessians = True
    retries = False
    n_passes = 1

    tol: float = positive(1e-4)
    maxiter: int = positive(500, Integral)

    run = _driver.run
    update = _driver.step_on_batch

    def init(self, objective, samples, theta, precomputed):
        """Prepare for batches like this one: the Hessians they share."""
        null = precomputed.null_model(objective, samples)
        shared = self.prepare(objective, samples, null, precomputed)
        return self.precondition(shared, objective, jnp.arange(objective.n_neurons))

    def prepare(self, objective, samples, null, precomputed) -> SharedHessian | jax.Array:
        """Take the Hessians of an earlier solution, or those that all neurons share."""
        if precomputed.hessians is not None:
            return precomputed.hessians
        return shared_hessian(objective, samples, null, precomputed.gram)

    def precondition(self, shared, objective, index):
        """Give some neurons Hessians of what is shared."""
        if isinstance(shared, SharedHessian):
            return Preconditioner(hessians=shared.neurons(objective, index))
        return Preconditioner(hessians=jnp.moveaxis(shared[:, :, index], 2, 0))

    def precondition_again(self, objective, samples, theta, n_rows, wanted):
        """Give neurons Hessians of their own."""
        return Preconditioner(hessians=own_hessians(objective, samples, theta, n_rows, wanted))

    def start(self, context, theta) -> _Memory:
        """Model the losses by their Hessians."""
        return _Memory(context.preconditioner.hessians)

    def learn(self, context, memory, step, gradient_change, accepted, rejected) -> _Memory:
        """Correct the Hessians so that they explain the last step."""
        return _Memory(_bfgs(memory.hessians, step, gradient_change, accepted))

    def propose(self, context, memory, theta, gradient, wanted):
        """Go to the minimiser of model plus penalty."""
        objective, precision = context.objective, context.null.precision
        negligible = 0.1 * self.tol / precision
        target, gain = minimise_model(
            objective, memory.hessians, gradient, theta, wanted, negligible
        )
        change = penalty_value(objective, target) - penalty_value(objective, theta)
        # A Hessian that was learned may promise a third of what there is.
        return Proposal(target - theta, 3 * precision * gain, change), memory


class _Memory(NamedTuple):
    """The models of the losses."""

    hessians: Float[Array, "neuron parameter parameter"]


@jax.jit
def _bfgs(
    hessians: Float[Array, "neuron parameter parameter"],
    step: Float[Array, "parameter neuron"],
    gradient_change: Float[Array, "parameter neuron"],
    accepted: Bool[Array, " neuron"],
) -> jax.Array:
    """Update each Hessian `B += y y' / y's - B s s' B / s'B s` (Nocedal & Wright, eq. 6.19)."""
    product = jnp.sum(step * gradient_change, axis=0)
    predicted = hessian_products(hessians, step)
    length = jnp.sum(step * predicted, axis=0)
    learns = accepted & (product > 1e-6 * jnp.sum(step**2, axis=0)) & (length > 0)
    gained = gradient_change * jax.lax.rsqrt(jnp.where(learns, product, 1))[None] * learns[None]
    lost = predicted * jax.lax.rsqrt(jnp.where(learns, length, 1))[None] * learns[None]
    squares = (jnp.einsum("pn,qn->npq", vector, vector) for vector in (gained, lost))
    return hessians + next(squares) - next(squares)
