"""Scores of a fit: on samples, or foretold from the curvature where no samples were held out."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from spikax._dispersion import climb
from spikax.observation_models import with_scale
from spikax.problem import (
    Problem,
    linear_predictor,
    penalty_curvature,
    sample_curvature,
    sample_hessian,
    sample_loss,
    value_and_grad,
    walk,
)
from spikax.solvers._whitening import own_curvature


def mean_score(problem: Problem, theta: jax.Array, scored: jax.Array | None) -> jax.Array:
    """Mean score of each neuron's samples, (n_neurons,); NaN for a neuron without samples.

    The score is the log-likelihood at unit scale above that of the saturated model, in nats: minus
    half the deviance. A dispersion that is estimated differs from fit to fit, and so would its
    saturated model: there it is that of no dispersion, a Poisson's, above which no score can be.
    """
    some = problem if scored is None else replace(problem, weights=scored)

    def score(eta, y):
        return -_half_deviance(problem, eta, y) - _shortfall(problem, y)

    return _mean(some, theta, score)


def _mean(problem: Problem, theta: jax.Array, of_samples: Callable) -> jax.Array:
    def block(X, y, weights, offset):
        values = of_samples(linear_predictor(theta, X, offset), y)
        weights = jnp.broadcast_to(weights, y.shape)
        return jnp.sum(weights * values, axis=1), jnp.sum(weights, axis=1)

    total, weight = walk(problem, block)
    return total / jnp.where(weight > 0, weight, jnp.nan)


def _half_deviance(problem: Problem, eta: jax.Array, y: jax.Array) -> jax.Array:
    loss = sample_loss(problem, eta, y) - problem.family.saturated(y)
    return problem.family.precision(jnp.ones((1, 1), y.dtype)) * loss


def _shortfall(problem: Problem, y: jax.Array) -> jax.Array:
    """Nats by which the saturated model of an estimated dispersion falls short of a Poisson's."""
    found = problem.family
    if not found.estimate:
        return jnp.zeros_like(y)
    none = jnp.zeros((1, 1), y.dtype)
    one = jnp.ones((1, 1), y.dtype)
    poisson = with_scale(found, none)
    short = found.saturated(y) - poisson.saturated(y)
    return short + found.log_normalizer(y, one) - poisson.log_normalizer(y, one)


def _hessians(problem: Problem, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Hessian of each neuron's mean loss, and with the penalty's, (n_neurons, q, q)."""
    everyone = jnp.ones(problem.n_neurons, bool)
    loss = own_curvature(problem, theta, problem.n_samples, everyone)
    curvature = penalty_curvature(problem)
    assert curvature is not None
    ridge = jnp.broadcast_to(curvature, (len(theta) - problem.n_outputs, problem.n_neurons))
    ridge = jnp.pad(ridge, ((0, problem.n_outputs), (0, 0)))
    return loss, loss + jax.vmap(jnp.diag, 1)(ridge)


def generalized_cross_validation(problem: Problem, theta: jax.Array, frequency: bool) -> jax.Array:
    """Foretell the mean score by the effective number of parameters.

    Minus half of `D / (1 - tr / n)^2`, with D the mean deviance and tr the trace of the influence
    matrix (Golub, Heath & Wahba 1979, Technometrics 21; O'Sullivan, Yandell & Raynor 1986, JASA
    81, for generalized linear models). D is the deviance at the dispersion of the fit; what the
    saturated model of an estimated one falls short is of no coefficient, and stays as it is.
    """
    loss, total = _hessians(problem, theta)
    free = problem.mask.T
    influence = jnp.linalg.solve(total + _jitter(total), loss)
    trace = jnp.sum(free * jnp.diagonal(influence, axis1=1, axis2=2), axis=1)
    left = 1 - jnp.minimum(trace / problem.n_observations, 0.999)
    half_deviance = _mean(problem, theta, partial(_half_deviance, problem))
    return mean_score(problem, theta, None) + half_deviance * (1 - 1 / left**2)


def approximate_leave_one_out(problem: Problem, theta: jax.Array, frequency: bool) -> jax.Array:
    """Foretell the mean score of each sample by the fit without it.

    Leaving a sample out moves its linear predictor by `(1 - h l'')^-1 h l'`, with `l` its loss and
    `h = x' H^-1 x` (Rad & Maleki 2020, J. R. Stat. Soc. B 82, 965); of several linear predictors
    these are vectors and matrices. The dispersion stays what it is.
    """
    _, total = _hessians(problem, theta)
    inverse = jnp.linalg.inv(total + _jitter(total))
    inverse = inverse * problem.mask.T[:, :, None] * problem.mask.T[:, None, :]
    K = problem.n_outputs
    # From (neuron, feature, output, feature, output) to a matrix of features for each pair.
    shape = (problem.n_neurons, problem.n_features + 1, K, problem.n_features + 1, K)
    by_pair = jnp.transpose(inverse.reshape(shape), (2, 4, 0, 1, 3)).reshape(-1, *shape[1:4:2])

    def block(X, y, weights, offset):
        eta = linear_predictor(theta, X, offset)
        weights = jnp.broadcast_to(weights, y.shape)
        slope = jax.grad(lambda e: sample_loss(problem, e, y).sum())(eta)
        rows = jnp.concatenate([X, jnp.ones((1, X.shape[1]), X.dtype)])
        reach = jax.lax.map(lambda matrix: jnp.sum(rows * (matrix @ rows), axis=0), by_pair)
        # Of a sample that occurred several times, one occurrence is left out.
        left_out = (weights > 0 if frequency else weights) / problem.n_observations[:, None]
        reach = reach.reshape(K, K, *y.shape) * left_out[None, None]
        without = eta + _move(problem, eta, y, slope, reach)
        score = -_half_deviance(problem, without, y) - _shortfall(problem, y)
        return jnp.sum(weights * score, axis=1)

    return walk(problem, block) / problem.total_weight


def _move(problem: Problem, eta, y, slope, reach) -> jax.Array:
    """Solve `(1 - h l'') d = h l'` for each sample, with `reach` h of shape (K, K, ...)."""
    if problem.n_outputs == 1:
        leverage = jnp.minimum(reach[0, 0] * sample_curvature(problem, eta, y), 0.999)
        return reach[0, 0] * slope / (1 - leverage)
    curvature = sample_hessian(problem, eta, y)
    product = jnp.einsum("ij...,jk...->...ik", reach, curvature)
    left = jnp.broadcast_to(jnp.eye(problem.n_outputs), product.shape) - product
    moved = jnp.linalg.solve(left, jnp.einsum("ij...,j...->...i", reach, slope)[..., None])
    return jnp.moveaxis(moved[..., 0], -1, 0)


def laplace_evidence(problem: Problem, theta: jax.Array, frequency: bool) -> jax.Array:
    """Logarithm of the evidence, in nats, with the penalty as a Gaussian prior.

    It is above the log-likelihood of the saturated model that `mean_score` tells of (MacKay 1992,
    Neural Computation 4, 415), and at the scale, if the family has one, that makes it largest:
    restricted maximum likelihood, exact for a Gaussian (Patterson & Thompson 1971, Biometrika 58,
    545; Wood 2011, J. R. Stat. Soc. B 73, 3).
    """
    family, n = problem.family, problem.n_observations
    repeats = n / problem.total_weight
    loss, total = _hessians(problem, theta)
    prior = jnp.diagonal(total - loss, axis1=1, axis2=2).T
    penalised = (prior > 0) & (problem.mask > 0)
    matrix = total * problem.mask.T[:, :, None] * problem.mask.T[:, None, :]
    matrix = matrix + jax.vmap(jnp.diag, 1)(1 - problem.mask) + _jitter(total)
    redundant, n_redundant = _redundant(problem, penalised)
    log_odds = jnp.sum(jnp.where(penalised, jnp.log(jnp.where(penalised, prior, 1)), 0), axis=0)
    log_odds = log_odds - jnp.linalg.slogdet(matrix + redundant)[1]
    n_flat = jnp.sum((problem.mask > 0) & ~penalised, axis=0) - n_redundant

    # What is left to the optimum, by Newton's step: a fit in single precision stops short of it.
    value, slope = value_and_grad(problem, theta)
    step = jnp.linalg.solve(matrix + redundant, slope.T[..., None])[..., 0].T
    cost = n * (value - jnp.sum(slope * step, axis=0) / 2)

    def of_samples(of_block):
        def block(X, y, weights, offset):
            return jnp.sum(weights * of_block(y), axis=1)

        return repeats * walk(problem, block)

    saturated = of_samples(family.saturated)
    shortfall = of_samples(partial(_shortfall, problem))

    def normalizers(scale):
        def block(X, y, weights, offset):
            weights, of_sample = jnp.broadcast_to(weights, y.shape), scale[:, None]
            if family.has_scale and not frequency:
                # A density of scale phi / w, not the w-th power of one of scale phi.
                of_sample = of_sample / jnp.where(weights > 0, weights, 1)
                weights = weights > 0
            return jnp.sum(weights * family.log_normalizer(y, of_sample), axis=1)

        return repeats * walk(problem, block)

    def evidence(scale):
        nats = family.precision(scale)
        normalizer = normalizers(scale)
        return -nats * cost - normalizer - 0.5 * n_flat * jnp.log(n * nats) + 0.5 * log_odds

    one = jnp.ones_like(n)
    scale = one
    if family.has_scale:
        tiny = jnp.finfo(n.dtype).tiny
        excess = jnp.maximum(2 * family.precision(one) * (cost - saturated), tiny)
        start = excess / jnp.maximum(n - n_flat, 1)
        u = jnp.zeros_like(n)
        wide = jnp.full_like(n, 20.0)
        ratio = climb(lambda ratio: evidence(start * ratio), u, -wide, wide, u == 0)
        scale = start * jnp.exp(ratio)
    of_saturated = -family.precision(one) * saturated - normalizers(one)
    return evidence(scale) - of_saturated - shortfall


def _redundant(problem: Problem, penalised: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Curvature of one along what neither data nor penalty determine, and how many these are.

    That is what is added to all classes alike: (n_neurons, q, q) and (n_neurons,).
    """
    if problem.balanced is None:
        return jnp.zeros((1, 1, 1)), jnp.zeros(1)
    K = problem.n_outputs
    flat = ~penalised.reshape(-1, K, problem.n_neurons).any(axis=1) & (problem.balanced > 0)
    even = jnp.full((K, K), 1 / K)
    return jax.vmap(lambda rows: jnp.kron(jnp.diag(rows), even), 1)(1.0 * flat), flat.sum(axis=0)


def _jitter(matrices: jax.Array) -> jax.Array:
    level = jnp.trace(matrices, axis1=1, axis2=2) / matrices.shape[1]
    return 1e-12 * level[:, None, None] * jnp.eye(matrices.shape[1])[None]


# Of a problem at its optimum, and whether weights are frequencies.
CRITERIA: dict[str, Callable[[Problem, jax.Array, bool], jax.Array]] = {
    "gcv": generalized_cross_validation,
    "loo": approximate_leave_one_out,
    "evidence": laplace_evidence,
}


def foretell(
    criterion: str, problem: Problem, thetas, factors, scales, frequency: bool
) -> np.ndarray:
    """Judge fits to a problem at many strengths, (n_strengths, n_neurons).

    In double precision, which determinants of weakly penalised Hessians need, and sums over all
    samples; the features stay as they were.

    Parameters
    ----------
    thetas, factors, scales
        Parameters, what the problem's strengths were multiplied with, and dispersions or None.
    frequency
        Whether a sample's weight says how often it occurred.
    """
    with jax.enable_x64(True):
        problem = replace(_doubled(replace(problem, X=None)), X=problem.X)
        found = _foretell(problem, *_doubled((thetas, factors, scales)), criterion, frequency)
        return np.asarray(jax.device_get(found))


def _doubled(tree):
    def double(a):
        a = np.asarray(a)
        return a.astype(float) if a.dtype.kind == "f" else a

    return jax.tree.map(double, tree)


@partial(jax.jit, static_argnames=("criterion", "frequency"))
def _foretell(
    problem: Problem, thetas, factors, scales, criterion: str, frequency: bool
) -> jax.Array:
    def one(fit):
        theta, factor, scale = fit
        family = problem.family if scale is None else with_scale(problem.family, scale[:, None])
        scaled = problem.penalty.scaled(factor[None])
        at = replace(problem, penalty=scaled, family=family)
        return CRITERIA[criterion](at, theta, frequency)

    return jax.lax.map(one, (thetas, factors, scales))
