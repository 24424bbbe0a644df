"""Scores of a fit: on samples, or foretold from the curvature where no samples were held out."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp

from spikax.problem import (
    Problem,
    linear_predictor,
    penalty,
    penalty_curvature,
    sample_curvature,
    sample_loss,
    walk,
)
from spikax.solvers._whitening import own_curvature


def mean_score(problem: Problem, theta: jax.Array, scored: jax.Array | None) -> jax.Array:
    """Mean log-likelihood of each neuron's samples, above which none of this mean can be.

    That is minus half the deviance at unit scale, in nats; NaN for a neuron without samples.
    """
    some = problem if scored is None else replace(problem, weights=scored)

    def block(X, y, weights, offset):
        excess = _excess(problem, linear_predictor(theta, X, offset), y)
        weights = jnp.broadcast_to(weights, y.shape)
        return -jnp.sum(weights * excess, axis=1), jnp.sum(weights, axis=1)

    total, weight = walk(some, block)
    return total / jnp.where(weight > 0, weight, jnp.nan)


def _excess(problem: Problem, eta: jax.Array, y: jax.Array) -> jax.Array:
    loss = sample_loss(problem, eta, y) - problem.family.saturated(y)
    return problem.family.precision(jnp.ones((1, 1), y.dtype)) * loss


def _hessians(problem: Problem, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Hessian of each neuron's mean loss, and with the penalty's, (n_neurons, q, q)."""
    everyone = jnp.ones(problem.n_neurons, bool)
    loss = own_curvature(problem, theta, problem.n_samples, everyone)
    curvature = penalty_curvature(problem)
    assert curvature is not None
    ridge = jnp.broadcast_to(curvature, (len(theta) - problem.n_outputs, problem.n_neurons))
    ridge = jnp.pad(ridge, ((0, problem.n_outputs), (0, 0)))
    return loss, loss + jax.vmap(jnp.diag, 1)(ridge)


def generalized_cross_validation(problem: Problem, theta: jax.Array) -> jax.Array:
    """Foretell the mean score by the effective number of parameters.

    Minus half of `D / (1 - tr / n)^2`, with D the mean deviance and tr the trace of the influence
    matrix (Golub, Heath & Wahba 1979, Technometrics 21; O'Sullivan, Yandell & Raynor 1986, JASA
    81, for generalized linear models).
    """
    loss, total = _hessians(problem, theta)
    free = problem.mask.T
    influence = jnp.linalg.solve(total + _jitter(total), loss)
    trace = jnp.sum(free * jnp.diagonal(influence, axis1=1, axis2=2), axis=1)
    left = 1 - jnp.minimum(trace / problem.total_weight, 0.999)
    return mean_score(problem, theta, None) / left**2


def approximate_leave_one_out(problem: Problem, theta: jax.Array) -> jax.Array:
    """Foretell the mean score of each sample by the fit without it.

    Leaving a sample out moves its linear predictor by `l' h / (1 - l'' h)`, with `l` its loss and
    `h = x' H^-1 x` (Rad & Maleki 2020, J. R. Stat. Soc. B 82, 965).
    """
    _, total = _hessians(problem, theta)
    inverse = jnp.linalg.inv(total + _jitter(total))
    inverse = inverse * problem.mask.T[:, :, None] * problem.mask.T[:, None, :]

    def block(X, y, weights, offset):
        eta = linear_predictor(theta, X, offset)
        weights = jnp.broadcast_to(weights, eta.shape)
        slope = jax.grad(lambda e: sample_loss(problem, e, y).sum())(eta)
        curvature = sample_curvature(problem, eta, y)
        rows = jnp.concatenate([X, jnp.ones((1, X.shape[1]), X.dtype)])
        reach = jax.lax.map(lambda matrix: jnp.sum(rows * (matrix @ rows), axis=0), inverse)
        reach = weights * reach / problem.total_weight[:, None]
        without = eta + reach * slope / (1 - jnp.minimum(reach * curvature, 0.999))
        return -jnp.sum(weights * _excess(problem, without, y), axis=1)

    return walk(problem, block) / problem.total_weight


def laplace_evidence(problem: Problem, theta: jax.Array) -> jax.Array:
    """Logarithm of the evidence, in nats, with the penalty as a Gaussian prior.

    The likelihood is that of unit scale, above that of the saturated model (MacKay 1992, Neural
    Computation 4, 415).
    """
    loss, total = _hessians(problem, theta)
    one = problem.family.precision(jnp.ones((1,), theta.dtype))
    nats = problem.total_weight * one
    prior = jnp.diagonal(total - loss, axis1=1, axis2=2).T
    penalised = (prior > 0) & (problem.mask > 0)
    log_prior = jnp.log(jnp.where(penalised, prior, 1)) + jnp.log(nats)[None]
    total = total * problem.mask.T[:, :, None] * problem.mask.T[:, None, :]
    total = total + jax.vmap(jnp.diag, 1)(1 - problem.mask) + _jitter(total)
    log_total = jnp.linalg.slogdet(total)[1] + problem.mask.sum(axis=0) * jnp.log(nats)
    fitted = problem.total_weight * mean_score(problem, theta, None) - nats * penalty(
        problem, theta
    )
    return fitted + 0.5 * (jnp.sum(jnp.where(penalised, log_prior, 0), axis=0) - log_total)


def _jitter(matrices: jax.Array) -> jax.Array:
    level = jnp.trace(matrices, axis1=1, axis2=2) / matrices.shape[1]
    small = 1e-6 if matrices.dtype == jnp.float32 else 1e-12
    return small * level[:, None, None] * jnp.eye(matrices.shape[1], dtype=matrices.dtype)[None]


CRITERIA: dict[str, Callable[[Problem, jax.Array], jax.Array]] = {
    "gcv": generalized_cross_validation,
    "loo": approximate_leave_one_out,
    "evidence": laplace_evidence,
}
