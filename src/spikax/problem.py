"""The problem of a fit, as a value: data and strengths are leaves, the mathematics is static."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spikax.links import InverseLink
from spikax.observation_models import Family
from spikax.regularizer import Penalty


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Problem:
    """Everything a fit of a population needs.

    Samples lie in blocks and on the last axis, where both products of a pass over the data are
    fastest. The parameters are one array `theta` of shape (n_features + 1, n_neurons): the
    coefficients of the standardised features, and the intercepts in the last row.

    Parameters
    ----------
    X
        Standardised design matrix, shape (n_blocks, n_features, n_samples), padded with zeros.
    y
        Observations, shape (n_blocks, n_neurons, n_samples), zero where they are to be ignored.
    weights
        Sample weights, shape (n_blocks, 1, n_samples) or (n_blocks, n_neurons, n_samples); zero
        ignores a sample.
    offset
        Added to the linear predictor, shaped as weights may be, or None.
    total_weight
        Sum of the weights of each neuron, shape (n_neurons,).
    mask
        One where a parameter is free, zero where it stays, shape (n_features + 1, n_neurons).
    penalty
        What coefficients in the user's units cost.
    unit
        What divides the coefficients to bring them to the user's units, shape (n_features, 1).
    group
        Index of each neuron's group, shape (n_neurons,): neurons of a group share their mask, and
        their strengths up to a factor.
    representative
        One neuron of each group, shape (n_groups,).
    family, link
        What the loss is.
    """

    X: jax.Array
    y: jax.Array
    weights: jax.Array
    offset: jax.Array | None
    total_weight: jax.Array
    mask: jax.Array
    penalty: Penalty
    unit: jax.Array
    group: jax.Array
    representative: jax.Array
    family: Family = field(metadata={"static": True})
    link: InverseLink = field(metadata={"static": True})

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return self.y.shape[1]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.X.shape[1]

    @property
    def n_samples(self) -> int:
        """Number of samples, the padding included."""
        return len(self.X) * self.X.shape[2]

    def neurons(self, index: jax.Array) -> "Problem":
        """Restrict the problem to some neurons, each a group of its own."""

        def pick(a):
            return a if a is None or a.shape[1] == 1 else jnp.take(a, index, axis=1)

        return replace(
            self,
            y=jnp.take(self.y, index, axis=1),
            weights=pick(self.weights),
            offset=pick(self.offset),
            total_weight=jnp.take(self.total_weight, index),
            mask=jnp.take(self.mask, index, axis=1),
            penalty=jax.tree.map(pick, self.penalty),
            group=jnp.arange(index.size),
            representative=jnp.arange(index.size),
        )


class Null(NamedTuple):
    """The model without features."""

    intercept: jax.Array  # (n_neurons,)
    curvature: jax.Array  # mean second derivative of the loss there, (n_neurons,)
    nats: jax.Array  # log-likelihood of all samples per unit of mean loss, (n_neurons,)
    at_bound: jax.Array  # whether the neuron is silent, or always on, (n_neurons,)


def linear_predictor(theta: jax.Array, X: jax.Array, offset: jax.Array | None) -> jax.Array:
    """Linear predictor of each neuron and sample of a block, (n_neurons, n_samples)."""
    eta = theta[:-1].T @ X + theta[-1][:, None]
    return eta if offset is None else eta + offset


def walk(problem: Problem, reduce_block: Callable, combine: Callable = jnp.add) -> Any:
    """Sum `reduce_block(X, y, weights, offset)` over blocks of samples.

    Every reduction over samples goes through here: temporaries are of the size of a block, and
    solvers do not know where the samples are.
    """
    blocks = (problem.X, problem.y, problem.weights, problem.offset)
    first = jax.tree.map(lambda a: a.reshape(a.shape[1:]) if len(a) == 1 else a[0], blocks)
    if len(problem.X) == 1:
        return reduce_block(*first)
    total = jax.eval_shape(lambda block: reduce_block(*block), first)
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), total)

    def add(total, block):
        return jax.tree.map(combine, total, reduce_block(*block)), None

    return jax.lax.scan(add, zero, blocks)[0]


def along(problem: Problem, of_block: Callable) -> jax.Array:
    """Compute `of_block(X, y, weights, offset)` of each block, with the samples in their order."""
    blocks = (problem.X, problem.y, problem.weights, problem.offset)
    values = jax.lax.map(lambda block: of_block(*block), blocks)
    return jnp.moveaxis(values, 0, 1).reshape(values.shape[1], -1)


def sample_loss(problem: Problem, eta: jax.Array, y: jax.Array) -> jax.Array:
    """Loss of each neuron and sample."""
    return problem.family.loss(eta, y, problem.link)


def sample_curvature(problem: Problem, eta: jax.Array, y: jax.Array) -> jax.Array:
    """Second derivative of each sample's loss, zero where it is negative."""

    def slope(eta):
        return jax.grad(lambda e: sample_loss(problem, e, y).sum())(eta)

    return jnp.maximum(jax.jvp(slope, (eta,), (jnp.ones_like(eta),))[1], 0)


def mean_loss(problem: Problem, theta: jax.Array) -> jax.Array:
    """Mean loss of each neuron over its samples, without the penalty."""

    def block(X, y, weights, offset):
        eta = linear_predictor(theta, X, offset)
        return jnp.sum(weights * sample_loss(problem, eta, y), axis=1)

    return walk(problem, block) / problem.total_weight


def penalty(problem: Problem, theta: jax.Array) -> jax.Array:
    """Penalty of each neuron."""
    return problem.penalty.value(theta[:-1] / problem.unit)


def proximal_step(problem: Problem, theta: jax.Array, step: jax.Array) -> jax.Array:
    """Minimiser over `w` of `|w - theta|^2 / (2 step) + penalty(w)`, step (n_neurons,)."""
    coef = theta[:-1] / problem.unit
    shrunk = problem.penalty.prox(coef, step[None] / problem.unit**2)
    # A coefficient that is kept as it is must not move by the rounding of its units.
    return theta.at[:-1].set(jnp.where(shrunk == coef, theta[:-1], shrunk * problem.unit))


def penalty_curvature(problem: Problem) -> jax.Array | None:
    """Second derivatives of the penalty where they are constant, (1 or p, 1 or n_neurons)."""
    curvature = problem.penalty.curvature
    return None if curvature is None else curvature / problem.unit**2


def penalized_loss(problem: Problem, theta: jax.Array) -> jax.Array:
    """Mean loss of each neuron plus its penalty."""
    return mean_loss(problem, theta) + penalty(problem, theta)


def value_and_grad(problem: Problem, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Penalised mean loss of each neuron and its gradient, in one pass over the data."""

    def block(X, y, weights, offset):
        eta = linear_predictor(theta, X, offset)
        loss, pull = jax.vjp(lambda e: sample_loss(problem, e, y), eta)
        (residual,) = pull(jnp.broadcast_to(weights, eta.shape))
        gradient = jnp.concatenate([X @ residual.T, residual.sum(axis=1)[None]])
        return jnp.sum(weights * loss, axis=1), gradient

    loss, gradient = walk(problem, block)
    n = problem.total_weight
    cost, pull = jax.vjp(lambda theta: penalty(problem, theta), theta)
    (slope,) = pull(jnp.ones_like(cost))
    return loss / n + cost, (gradient / n[None] + slope) * problem.mask


def gram(problem: Problem, sample_weights: Callable) -> jax.Array:
    """Weighted second moments of the features and the intercept's ones, (p + 1, p + 1)."""

    def block(X, y, weights, offset):
        v = sample_weights(X, y, weights, offset)
        weighted = v * X
        return X @ weighted.T, weighted.sum(axis=1), v.sum()

    return border_moments(*walk(problem, block))


def border_moments(features: jax.Array, border: jax.Array, corner: jax.Array) -> jax.Array:
    """Add the moments of the intercept's ones to those of the features."""
    top = jnp.concatenate([features, border[:, None]], axis=1)
    bottom = jnp.append(border, corner)[None]
    return jnp.concatenate([top, bottom])


def null_model(problem: Problem) -> Null:
    """Fit the intercepts alone."""
    n = problem.total_weight
    mean = walk(problem, lambda X, y, w, offset: jnp.sum(w * y, axis=1)) / n
    low, high = problem.family.mean_bounds
    # A neuron whose mean is at a bound (silent, or always on) starts where the bound is at most
    # a small part of a nat away, and stays finite.
    room = jnp.maximum(1e-4 / n, 4 * jnp.finfo(n.dtype).eps if high < jnp.inf else 0)
    inside = jnp.clip(mean, low + room, high - room)
    free = problem.mask[-1]
    intercept = free * problem.link.predictor(inside)
    nats = n * problem.family.precision(_null_scale(problem, inside))
    nats = jnp.broadcast_to(nats, n.shape)
    if problem.offset is None:
        curvature = _positive(sample_curvature(problem, intercept, inside))
        return Null(intercept, curvature, nats, inside != mean)

    def derivatives(intercept):
        def block(X, y, weights, offset):
            eta = intercept[:, None] + offset
            slope = jax.grad(lambda e: jnp.sum(weights * sample_loss(problem, e, y)))(
                jnp.broadcast_to(eta, y.shape)
            )
            return slope.sum(axis=1), jnp.sum(weights * sample_curvature(problem, eta, y), axis=1)

        slope, curvature = walk(problem, block)
        return slope / n, _positive(curvature / n)

    def newton(_, intercept):
        slope, curvature = derivatives(intercept)
        return intercept - free * jnp.clip(slope / curvature, -4.0, 4.0)

    intercept = jax.lax.fori_loop(0, 30, newton, intercept)
    return Null(intercept, derivatives(intercept)[1], nats, inside != mean)


def _null_scale(problem: Problem, mean: jax.Array) -> jax.Array | float:
    if not problem.family.has_scale:
        return 1.0
    scale = pearson(problem, lambda X, offset: mean[:, None]) / problem.total_weight
    return jnp.maximum(scale, jnp.finfo(scale.dtype).tiny)


def pearson(problem: Problem, mean: Callable) -> jax.Array:
    """Pearson's statistic of each neuron, with `mean(X, offset)` the mean of a block."""

    def block(X, y, weights, offset):
        mu = mean(X, offset)
        return jnp.sum(weights * (y - mu) ** 2 / problem.family.variance(mu), axis=1)

    return walk(problem, block)


def _positive(curvature: jax.Array) -> jax.Array:
    return jnp.maximum(curvature, jnp.sqrt(jnp.finfo(curvature.dtype).tiny))
