"""Scores of a fit: on samples, or foretold from the curvature where no samples were held out."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax.core.hessians import own_hessians
from spikax.core.objective import (
    Objective,
    linear_predictor,
    ridge,
    sample_curvature,
    sample_gradient,
    sample_hessian,
    value_and_grad,
)
from spikax.core.samples import Samples
from spikax.observation_models import Likelihood
from spikax.observation_models._dispersion import maximise_in_logarithm


def mean_score(
    objective: Objective, samples: Samples, theta: jax.Array, scored: jax.Array | None
) -> jax.Array:
    """Mean score of each neuron's samples, (n_neurons,); NaN for a neuron without samples.

    The score is the log-likelihood at unit scale above that of the saturated model, in nats: minus
    half the deviance. A dispersion that is estimated differs from fit to fit, and so would its
    saturated model: there it is that of no dispersion, a Poisson's, above which no score can be.
    """
    some = samples if scored is None else replace(samples, weights=scored)

    def score(eta, y):
        return -_half_deviance(objective, eta, y) - _shortfall(objective, y)

    return _mean(some, theta, score)


def _mean(samples: Samples, theta: jax.Array, of_samples: Callable) -> jax.Array:
    def block(X, y, weights, offset):
        values = of_samples(linear_predictor(theta, X, offset), y)
        weights = jnp.broadcast_to(weights, y.shape)
        return jnp.sum(weights * values, axis=1), jnp.sum(weights, axis=1)

    total, weight = samples.sum(block)
    return total / jnp.where(weight > 0, weight, jnp.nan)


def _half_deviance(objective: Objective, eta: jax.Array, y: jax.Array) -> jax.Array:
    """At unit scale, where that is estimated from the residuals."""
    return objective.likelihood.half_deviance(eta, y)


def _shortfall(objective: Objective, y: jax.Array) -> jax.Array:
    """Nats by which the saturated model of an estimated dispersion falls short of that of none."""
    found = objective.likelihood
    if not found.estimated:
        return jnp.zeros_like(y)
    undispersed = found.at(jnp.zeros((1, 1), y.dtype))
    short = found.saturated(y) - undispersed.saturated(y)
    return short + found.log_normalizer(y) - undispersed.log_normalizer(y)


def _hessians(
    objective: Objective, samples: Samples, theta: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Hessian of each neuron's mean loss, and with the penalty's, (n_neurons, q, q)."""
    everyone = jnp.ones(objective.n_neurons, bool)
    loss = own_hessians(objective, samples, theta, samples.n_samples, everyone)
    return loss, loss + jax.vmap(jnp.diag, 1)(ridge(objective))


def generalized_cross_validation(
    objective: Objective, samples: Samples, theta: jax.Array, frequency: bool
) -> jax.Array:
    """Foretell the mean score by the effective number of parameters.

    Minus half of `D / (1 - tr / n)^2`, with D the mean deviance and tr the trace of the influence
    matrix (Golub, Heath & Wahba 1979, Technometrics 21; O'Sullivan, Yandell & Raynor 1986, JASA
    81, for generalized linear models). D is the deviance at the dispersion of the fit; what the
    saturated model of an estimated one falls short is of no coefficient, and stays as it is.
    """
    loss, total = _hessians(objective, samples, theta)
    free = objective.mask.T
    influence = jnp.linalg.solve(total + _jitter(total), loss)
    trace = jnp.sum(free * jnp.diagonal(influence, axis1=1, axis2=2), axis=1)
    left = 1 - jnp.minimum(trace / samples.n_observations, 0.999)
    half_deviance = _mean(samples, theta, partial(_half_deviance, objective))
    return mean_score(objective, samples, theta, None) + half_deviance * (1 - 1 / left**2)


def approximate_leave_one_out(
    objective: Objective, samples: Samples, theta: jax.Array, frequency: bool
) -> jax.Array:
    """Foretell the mean score of each sample by the fit without it.

    Leaving a sample out moves its linear predictor by `(1 - h l'')^-1 h l'`, with `l` its loss and
    `h = x' H^-1 x` (Rad & Maleki 2020, J. R. Stat. Soc. B 82, 965); of several linear predictors
    these are vectors and matrices. The dispersion stays what it is.
    """
    _, total = _hessians(objective, samples, theta)
    inverse = jnp.linalg.inv(total + _jitter(total))
    inverse = inverse * objective.mask.T[:, :, None] * objective.mask.T[:, None, :]
    K = objective.n_predictors
    # From (neuron, feature, output, feature, output) to a matrix of features for each pair.
    n_rows = samples.n_features + 1
    shape = (objective.n_neurons, n_rows, K, n_rows, K)
    by_pair = jnp.transpose(inverse.reshape(shape), (2, 4, 0, 1, 3)).reshape(-1, *shape[1:4:2])

    def block(X, y, weights, offset):
        eta = linear_predictor(theta, X, offset)
        weights = jnp.broadcast_to(weights, y.shape)
        slope = sample_gradient(objective, eta, y)
        rows = jnp.concatenate([X, jnp.ones((1, X.shape[1]), X.dtype)])
        reach = jax.lax.map(lambda matrix: jnp.sum(rows * (matrix @ rows), axis=0), by_pair)
        # Of a sample that occurred several times, one occurrence is left out.
        left_out = (weights > 0 if frequency else weights) / samples.n_observations[:, None]
        reach = reach.reshape(K, K, *y.shape) * left_out[None, None]
        without = eta + _change(objective, eta, y, slope, reach)
        score = -_half_deviance(objective, without, y) - _shortfall(objective, y)
        return jnp.sum(weights * score, axis=1)

    return samples.sum(block) / samples.total_weight


def _change(objective: Objective, eta, y, slope, reach) -> jax.Array:
    """Solve `(1 - h l'') d = h l'` for each sample, with `reach` h of shape (K, K, ...)."""
    if objective.n_predictors == 1:
        leverage = jnp.minimum(reach[0, 0] * sample_curvature(objective, eta, y), 0.999)
        return reach[0, 0] * slope / (1 - leverage)
    curvature = sample_hessian(objective, eta, y)
    product = jnp.einsum("ij...,jk...->...ik", reach, curvature)
    left = jnp.broadcast_to(jnp.eye(objective.n_predictors), product.shape) - product
    moved = jnp.linalg.solve(left, jnp.einsum("ij...,j...->...i", reach, slope)[..., None])
    return jnp.moveaxis(moved[..., 0], -1, 0)


def laplace_evidence(
    objective: Objective, samples: Samples, theta: jax.Array, frequency: bool
) -> jax.Array:
    """Logarithm of the evidence, in nats, with the penalty as a Gaussian prior.

    It is above the log-likelihood of the saturated model that `mean_score` tells of (MacKay 1992,
    Neural Computation 4, 415), and at the scale, if the family has one, that makes it largest:
    restricted maximum likelihood, exact for a Gaussian (Patterson & Thompson 1971, Biometrika 58,
    545; Wood 2011, J. R. Stat. Soc. B 73, 3).
    """
    likelihood, n, mask = objective.likelihood, samples.n_observations, objective.mask
    repeats = n / samples.total_weight
    loss, total = _hessians(objective, samples, theta)
    prior = jnp.diagonal(total - loss, axis1=1, axis2=2).T
    penalised = (prior > 0) & (mask > 0)
    matrix = total * mask.T[:, :, None] * mask.T[:, None, :]
    matrix = matrix + jax.vmap(jnp.diag, 1)(1 - mask) + _jitter(total)
    redundant, n_redundant = _redundant(objective, penalised)
    log_odds = jnp.sum(jnp.where(penalised, jnp.log(jnp.where(penalised, prior, 1)), 0), axis=0)
    log_odds = log_odds - jnp.linalg.slogdet(matrix + redundant)[1]
    n_flat = jnp.sum((mask > 0) & ~penalised, axis=0) - n_redundant

    # What is left to the optimum, by Newton's step: a fit in single precision stops short of it.
    value, gradient = value_and_grad(objective, samples, theta)
    step = jnp.linalg.solve(matrix + redundant, gradient.T[..., None])[..., 0].T
    cost = n * (value - jnp.sum(gradient * step, axis=0) / 2)

    def of_samples(of_block):
        def block(X, y, weights, offset):
            return jnp.sum(weights * of_block(y), axis=1)

        return repeats * samples.sum(block)

    saturated = of_samples(likelihood.saturated)
    shortfall = of_samples(partial(_shortfall, objective))

    def normalizers(scale):
        return repeats * _sum_of_log_normalizers(likelihood, samples, scale, frequency)

    def evidence(scale):
        precision, normalizer = likelihood.precision(scale), normalizers(scale)
        flat = n_flat * jnp.log(n * precision)
        return -precision * cost - normalizer - 0.5 * flat + 0.5 * log_odds

    one = jnp.ones_like(n)
    scale = one
    if likelihood.by_moments:
        tiny = jnp.finfo(n.dtype).tiny
        excess = jnp.maximum(2 * likelihood.precision(one) * (cost - saturated), tiny)
        start = excess / jnp.maximum(n - n_flat, 1)
        u = jnp.zeros_like(n)
        wide = jnp.full_like(n, 20.0)
        ratio = maximise_in_logarithm(
            lambda ratio: evidence(start * ratio), u, -wide, wide, u == 0
        )
        scale = start * jnp.exp(ratio)
    of_saturated = -likelihood.precision(one) * saturated - normalizers(one)
    return evidence(scale) - of_saturated - shortfall


def _sum_of_log_normalizers(
    likelihood: Likelihood, samples: Samples, scale: jax.Array, frequency: bool
) -> jax.Array:
    """Weighted sum of each neuron's log-normalizers at a scale, (n_neurons,)."""

    def block(X, y, weights, offset):
        weights, at = jnp.broadcast_to(weights, y.shape), likelihood
        if likelihood.by_moments:
            of_sample = scale[:, None]
            if not frequency:
                # A density of scale phi / w, not the w-th power of one of scale phi.
                of_sample = of_sample / jnp.where(weights > 0, weights, 1)
                weights = weights > 0
            at = likelihood.at(of_sample)
        return jnp.sum(weights * at.log_normalizer(y), axis=1)

    return samples.sum(block)


def _redundant(objective: Objective, penalised: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Curvature of one along what neither data nor penalty determine, and how many these are.

    That is what is added to all classes alike: (n_neurons, q, q) and (n_neurons,).
    """
    if objective.sum_to_zero is None:
        return jnp.zeros((1, 1, 1)), jnp.zeros(1)
    K = objective.n_predictors
    flat = ~penalised.reshape(-1, K, objective.n_neurons).any(axis=1)
    flat &= objective.sum_to_zero > 0
    even = jnp.full((K, K), 1 / K)
    return jax.vmap(lambda rows: jnp.kron(jnp.diag(rows), even), 1)(1.0 * flat), flat.sum(axis=0)


def _jitter(matrices: jax.Array) -> jax.Array:
    level = jnp.trace(matrices, axis1=1, axis2=2) / matrices.shape[1]
    return 1e-12 * level[:, None, None] * jnp.eye(matrices.shape[1])[None]


# Of an objective at its optimum, and whether weights are frequencies.
CRITERIA: dict[str, Callable[[Objective, Samples, jax.Array, bool], jax.Array]] = {
    "gcv": generalized_cross_validation,
    "loo": approximate_leave_one_out,
    "evidence": laplace_evidence,
}


def foretell(
    criterion: str,
    objective: Objective,
    samples: Samples,
    thetas: jax.Array,
    factors: Any,
    scales: jax.Array | None,
    frequency: bool,
) -> np.ndarray:
    """Judge fits at many strengths, (n_strengths, n_neurons).

    In double precision, which determinants of weakly penalised Hessians need, and sums over all
    samples; the features stay as they were.

    Parameters
    ----------
    thetas, factors, scales
        Parameters, what the objective's strengths were multiplied with, and dispersions or None.
    frequency
        Whether a sample's weight says how often it occurred.
    """
    with jax.enable_x64(True):
        without_X = _doubled((objective, replace(samples, X=None)))
        doubled = without_X[0], replace(without_X[1], X=samples.X)
        found = _foretell(*doubled, *_doubled((thetas, factors, scales)), criterion, frequency)
        return np.asarray(jax.device_get(found))


def _doubled(tree):
    def double(a):
        a = np.asarray(a)
        return a.astype(float) if a.dtype.kind == "f" else a

    return jax.tree.map(double, tree)


@partial(jax.jit, static_argnames=("criterion", "frequency"))
def _foretell(
    objective: Objective,
    samples: Samples,
    thetas: jax.Array,
    factors: jax.Array,
    scales: jax.Array | None,
    criterion: str,
    frequency: bool,
) -> jax.Array:
    def one(fit):
        theta, factor, scale = fit
        likelihood = objective.likelihood
        likelihood = likelihood if scale is None else likelihood.at(scale[:, None])
        penalty = objective.penalty.scaled(factor[None])
        at = replace(objective, penalty=penalty, likelihood=likelihood)
        return CRITERIA[criterion](at, samples, theta, frequency)

    return jax.lax.map(one, (thetas, factors, scales))
