"""The problem of a fit, as a value: data and strengths are leaves, the mathematics is static."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spikax._pytrees import register
from spikax.design import Design
from spikax.links import InverseLink
from spikax.observation_models import Family
from spikax.regularizer import Penalty


@register
@dataclass(frozen=True)
class Problem:
    """Everything a fit of a population needs.

    Samples lie in blocks and on the last axis, where both products of a pass over the data are
    fastest. The parameters are one array `theta` of shape (n_features + 1, n_neurons): the
    coefficients of the standardised features, and the intercepts in the last row.

    A neuron of a categorical family has a linear predictor for each class, K `n_outputs` of them.
    Then `theta` has shape (K (n_features + 1), n_neurons), row i K + k being feature i of class k:
    it is (n_features + 1, K n_neurons) by `reshape`. What has one value for a neuron or a sample
    elsewhere has the classes on its first axis: linear predictors are (K, n_neurons, n_samples).

    Parameters
    ----------
    X
        Standardised design matrix: blocks (n_features, n_samples), padded with zeros.
    y
        Observations, shape (n_blocks, n_neurons, n_samples), zero where they are to be ignored.
    weights
        Sample weights, shape (n_blocks, 1, n_samples) or (n_blocks, n_neurons, n_samples); zero
        ignores a sample.
    offset
        Added to the linear predictor, shaped as weights may be, or None; with several outputs
        (n_blocks, K, 1 or n_neurons, n_samples).
    total_weight
        Sum of the weights of each neuron, shape (n_neurons,). Their mean over the samples that
        count is one, so it is near the number of these.
    n_observations
        How many observations of each neuron the user's weights stand for, shape (n_neurons,).
    mask
        One where a parameter is free, zero where it stays, shaped like `theta`.
    penalty
        What coefficients in the user's units cost.
    unit
        What divides the coefficients to bring them to the user's units, (K n_features, 1).
    group
        Index of each output's group, shape (K n_neurons,): the outputs of a group share their
        mask, and their strengths up to a factor.
    representative
        One output of each group, shape (n_groups,).
    balanced
        One where a feature's parameters sum to zero over the classes at an optimum, since the loss
        takes only their differences, shape (n_features + 1, n_neurons); None for one output.
    moments
        Second moments of the features that all neurons share, if they are known already.
    family
        What the loss is; its leaves have shape (n_neurons, 1).
    link
        The inverse link.
    tilt
        Gradient of a linear term of each neuron's mean loss, shaped like `theta`, or None.
    curvature
        Hessians of the neurons' losses, (K (n_features + 1), K (n_features + 1), n_neurons), as an
        earlier solution left them; None if there is none, or none is wanted back.
    level
        Constant term of each neuron's mean loss, shape (n_neurons,), or None; see `level_of`.
    """

    X: Design
    y: jax.Array
    weights: jax.Array
    offset: jax.Array | None
    total_weight: jax.Array
    n_observations: jax.Array
    mask: jax.Array
    penalty: Penalty
    unit: jax.Array
    group: jax.Array
    representative: jax.Array
    balanced: jax.Array | None
    moments: jax.Array | None
    family: Family
    link: InverseLink = field(metadata={"static": True})
    tilt: jax.Array | None = None
    curvature: jax.Array | None = None
    level: jax.Array | None = None

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return self.y.shape[1]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.X.n_features

    @property
    def n_outputs(self) -> int:
        """Number of linear predictors of a neuron."""
        return self.family.n_outputs

    @property
    def n_samples(self) -> int:
        """Number of samples, the padding included."""
        return len(self.y) * self.y.shape[2]

    def neurons(self, index: jax.Array) -> "Problem":
        """Restrict the problem to some neurons, each a group of its own."""

        def pick(a):
            return a if a is None or a.shape[-2] == 1 else jnp.take(a, index, axis=-2)

        def column(a):
            return a if a.shape[1] == 1 else jnp.take(a, index, axis=1)

        each = jnp.arange(self.n_outputs * index.size)
        return replace(
            self,
            y=jnp.take(self.y, index, axis=1),
            weights=pick(self.weights),
            offset=pick(self.offset),
            total_weight=jnp.take(self.total_weight, index),
            n_observations=jnp.take(self.n_observations, index),
            mask=jnp.take(self.mask, index, axis=1),
            penalty=jax.tree.map(column, self.penalty),
            group=each,
            representative=each,
            balanced=None if self.balanced is None else column(self.balanced),
            family=jax.tree.map(lambda a: jnp.take(a, index, axis=0), self.family),
            tilt=None if self.tilt is None else column(self.tilt),
            curvature=None if self.curvature is None else jnp.take(self.curvature, index, axis=2),
            level=None if self.level is None else jnp.take(self.level, index),
        )


class Null(NamedTuple):
    """The model without features."""

    intercept: jax.Array  # (n_neurons,), or (n_outputs, n_neurons) where there are several
    curvature: jax.Array  # mean second derivative of the loss there, shaped likewise
    nats: jax.Array  # log-likelihood of all samples per unit of mean loss, (n_neurons,)
    at_bound: jax.Array  # whether the neuron is silent, or always on, (n_neurons,)


def linear_predictor(theta: jax.Array, X: jax.Array, offset: jax.Array | None) -> jax.Array:
    """Linear predictor of each neuron and sample of a block, (n_neurons, n_samples).

    With several outputs (n_outputs, n_neurons, n_samples).
    """
    p, n_neurons = len(X), theta.shape[1]
    by_feature = theta.reshape(p + 1, -1)
    eta = by_feature[:-1].T @ X + by_feature[-1][:, None]
    if len(theta) > p + 1:
        eta = eta.reshape(-1, n_neurons, X.shape[1])
    return eta if offset is None else eta + offset


def walk(
    problem: Problem, reduce_block: Callable, combine: Callable = jnp.add, more: tuple = ()
) -> Any:
    """Sum `reduce_block(X, y, weights, offset, *more)` over blocks of samples.

    Every reduction over samples goes through here: temporaries are of the size of a block, and
    solvers do not know where the samples are. `more` are arrays in blocks like the samples.
    """
    blocks = (*_pieces(problem), *more)
    reduce_piece = _of_piece(problem, reduce_block)
    first = jax.tree.map(lambda a: a.reshape(a.shape[1:]) if len(a) == 1 else a[0], blocks)
    if len(problem.y) == 1:
        return reduce_piece(first)
    total = jax.eval_shape(reduce_piece, first)
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), total)

    def add(total, piece):
        return jax.tree.map(combine, total, reduce_piece(piece)), None

    return jax.lax.scan(add, zero, blocks)[0]


def along(problem: Problem, of_block: Callable) -> jax.Array:
    """Compute `of_block(X, y, weights, offset)` of each block, with the samples in their order."""
    values = jax.lax.map(_of_piece(problem, of_block), _pieces(problem))
    return jnp.moveaxis(values, 0, 1).reshape(values.shape[1], -1)


def _pieces(problem: Problem) -> tuple:
    return problem.X.pieces, problem.y, problem.weights, problem.offset


def _of_piece(problem: Problem, of_block: Callable) -> Callable:
    def of_piece(piece):
        return of_block(problem.X.features(piece[0]), *piece[1:])

    # A derivative of a walk must not keep what is evaluated block by block.
    return of_piece if problem.X.held else jax.checkpoint(of_piece, prevent_cse=False)


def sample_loss(problem: Problem, eta: jax.Array, y: jax.Array) -> jax.Array:
    """Loss of each neuron and sample."""
    return problem.family.loss(eta, y, problem.link)


def sample_curvature(problem: Problem, eta: jax.Array, y: jax.Array) -> jax.Array:
    """Second derivative of each sample's loss, zero where it is negative; shaped like `eta`."""
    if problem.n_outputs == 1:
        return jnp.maximum(_bend(problem, eta, y, jnp.ones_like(eta)), 0)
    curvature = jax.lax.map(
        lambda k: _bend(problem, eta, y, _only(k, eta))[k], jnp.arange(problem.n_outputs)
    )
    return jnp.maximum(curvature, 0)


def sample_hessian(problem: Problem, eta: jax.Array, y: jax.Array) -> jax.Array:
    """Second derivatives of each sample's loss in its several outputs, (K, K, ...)."""
    outputs = jnp.arange(problem.n_outputs)
    return jax.lax.map(lambda k: _bend(problem, eta, y, _only(k, eta)), outputs)


def expected_curvature(problem: Problem, eta: jax.Array) -> jax.Array:
    """Compute what is expected of the second derivatives, shaped like `eta`, or (K, K, ...)."""
    if problem.n_outputs > 1:
        # That of classes does not depend on the class observed.
        return sample_hessian(problem, eta, jnp.zeros_like(eta[0]))
    # Losses are linear in y, or square: at the mean, the curvature is the expected one.
    return _bend(problem, eta, problem.link.mean(eta), jnp.ones_like(eta))


def _bend(problem: Problem, eta: jax.Array, y: jax.Array, tangent: jax.Array) -> jax.Array:
    """Change of the slope of each sample's loss along a tangent."""

    def slope(eta):
        return jax.grad(lambda e: sample_loss(problem, e, y).sum())(eta)

    return jax.jvp(slope, (eta,), (tangent,))[1]


def _only(k: jax.Array, eta: jax.Array) -> jax.Array:
    return jnp.zeros_like(eta).at[k].set(1)


def mean_loss(problem: Problem, theta: jax.Array) -> jax.Array:
    """Mean loss of each neuron over its samples, without the penalty."""

    def block(X, y, weights, offset):
        eta = linear_predictor(theta, X, offset)
        return jnp.sum(weights * sample_loss(problem, eta, y), axis=1)

    return walk(problem, block) / problem.total_weight + _extra(problem, theta)


def _extra(problem: Problem, theta: jax.Array) -> jax.Array | float:
    """Terms of each neuron's mean loss that are of no sample."""
    linear = 0.0 if problem.tilt is None else jnp.sum(problem.tilt * theta, axis=0)
    return linear if problem.level is None else linear + problem.level


def level_of(problem: Problem) -> jax.Array:
    """Find the constant term that keeps each neuron's mean loss from zero, without the features.

    Solvers take a loss to be known up to a share of its own size. Where terms of both signs
    cancel it is known up to a share of their mean size, which is at most the mean of
    `loss - saturated` plus that of `|saturated|`: with this term the loss is that bound.
    """

    def block(X, y, weights, offset):
        least = jnp.where(weights > 0, problem.family.saturated(y), 0)
        return jnp.sum(weights * jnp.maximum(-2 * least, 0), axis=1)

    return walk(problem, block) / problem.total_weight


def penalty(problem: Problem, theta: jax.Array) -> jax.Array:
    """Penalty of each neuron."""
    return problem.penalty.value(theta[: -problem.n_outputs] / problem.unit)


def proximal_step(problem: Problem, theta: jax.Array, step: jax.Array) -> jax.Array:
    """Minimiser over `w` of `|w - theta|^2 / (2 step) + penalty(w)`, step (n_neurons,)."""
    features = slice(0, -problem.n_outputs)
    coef = theta[features] / problem.unit
    shrunk = problem.penalty.prox(coef, step[None] / problem.unit**2)
    # A coefficient that is kept as it is must not move by the rounding of its units.
    kept = jnp.where(shrunk == coef, theta[features], shrunk * problem.unit)
    return theta.at[features].set(kept)


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
        (residual,) = pull(jnp.broadcast_to(weights, loss.shape))
        residual = residual.reshape(-1, X.shape[1])
        gradient = jnp.concatenate([X @ residual.T, residual.sum(axis=1)[None]])
        return jnp.sum(weights * loss, axis=1), gradient.reshape(theta.shape)

    loss, gradient = walk(problem, block)
    n = problem.total_weight
    cost, pull = jax.vjp(lambda theta: penalty(problem, theta), theta)
    (slope,) = pull(jnp.ones_like(cost))
    gradient = gradient / n[None] + slope
    if problem.tilt is not None:
        gradient = gradient + problem.tilt
    return loss / n + cost + _extra(problem, theta), gradient * problem.mask


def gram(problem: Problem, sample_weights: Callable) -> jax.Array:
    """Weighted second moments of the features and the intercept's ones, (p + 1, p + 1).

    Weights (1, n_samples) of a block give one matrix, weights (m, 1, n_samples) m of them.
    """

    def block(X, y, weights, offset):
        return moments(X, sample_weights(X, y, weights, offset))

    return border_moments(*walk(problem, block))


def moments(X: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Weighted second moments of a block's features, their sums, and that of the weights."""
    if weights.ndim == 3:
        return jax.lax.map(lambda some: moments(X, some), weights)
    # With the sums in the product, the weighted features are gone over once.
    found = X @ jnp.concatenate([weights * X, weights]).T
    return found[:, :-1], found[:, -1], weights.sum()


def border_moments(features: jax.Array, border: jax.Array, corner: jax.Array) -> jax.Array:
    """Add the moments of the intercept's ones to those of the features."""
    top = jnp.concatenate([features, border[..., None]], axis=-1)
    bottom = jnp.concatenate([border, corner[..., None]], axis=-1)
    return jnp.concatenate([top, bottom[..., None, :]], axis=-2)


def null_model(problem: Problem) -> Null:
    """Fit the intercepts alone."""
    n = problem.total_weight
    mean = _mean_observation(problem)
    low, high = problem.family.mean_bounds
    # A neuron whose mean is at a bound (silent, or always on) starts where the bound is at most
    # a small part of a nat away, and stays finite.
    room = jnp.maximum(1e-4 / n, 4 * jnp.finfo(n.dtype).eps if high < jnp.inf else 0)
    room = room.reshape((1,) * (mean.ndim - 1) + (-1,))
    inside = jnp.clip(mean, low + room, high - room)
    at_bound = jnp.any((inside != mean).reshape(-1, n.size), axis=0)
    free = problem.mask[-problem.n_outputs :].reshape(mean.shape)
    intercept = free * problem.link.predictor(inside)
    nats = n * problem.family.precision(_null_scale(problem, inside))
    nats = jnp.broadcast_to(nats, n.shape)
    if problem.offset is None:
        # The curvature of classes is that of any observation.
        y = inside[:, None] if inside.ndim == 1 else jnp.zeros_like(n)[:, None]
        curvature = sample_curvature(problem, intercept[..., None], y)[..., 0]
        return Null(intercept, _positive(curvature), nats, at_bound)
    intercept, curvature = _null_with_offset(problem, intercept, free)
    return Null(intercept, curvature, nats, at_bound)


def _mean_observation(problem: Problem) -> jax.Array:
    """Mean of each neuron's observations, or the share of each class; shaped as in `Null`."""
    n, n_outputs = problem.total_weight, problem.n_outputs
    if n_outputs == 1:
        return walk(problem, lambda X, y, w, offset: jnp.sum(w * y, axis=1)) / n

    def block(X, y, weights, offset):
        chosen = jax.nn.one_hot(y.astype(int), n_outputs, axis=0, dtype=y.dtype)
        return jnp.sum(weights[None] * chosen, axis=2)

    return walk(problem, block) / n[None]


def _null_with_offset(
    problem: Problem, intercept: jax.Array, free: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Newton's method for the intercepts, and the mean curvature there."""
    several = intercept.ndim - 1
    n = problem.total_weight
    eps = jnp.finfo(n.dtype).eps

    def derivatives(intercept):
        def block(X, y, weights, offset):
            eta = jnp.broadcast_to(intercept[..., None] + offset, (*intercept.shape, X.shape[1]))
            loss, pull = jax.vjp(lambda e: sample_loss(problem, e, y), eta)
            (slope,) = pull(jnp.broadcast_to(weights, loss.shape))
            weighed = weights.reshape((1,) * several + weights.shape)
            curvature = weighed * sample_curvature(problem, eta, y)
            return jnp.sum(weights * loss, axis=-1), slope.sum(axis=-1), curvature.sum(axis=-1)

        loss, *both = walk(problem, block)
        slope, curvature = (a / n.reshape((1,) * several + n.shape) for a in both)
        return loss / n, free * slope, _positive(curvature)

    def newton(state):
        n_steps, intercept, found, length = state
        loss, slope, curvature = found
        # Classes that step each by itself go up to twice as far together.
        step = jnp.clip(slope / curvature / (1 + several), -4.0, 4.0)
        trial = intercept - length.reshape((1,) * several + n.shape) * step
        tried = derivatives(trial)
        # Near the optimum the slope still tells what the loss does not.
        steep, flat = (jnp.abs(a).reshape(-1, n.size).max(axis=0) for a in (slope, tried[1]))
        level = tried[0] <= loss + jnp.sqrt(eps) * (1 + jnp.abs(loss))
        better = (tried[0] < loss) | ((flat <= steep / 2) & level)
        kept = jax.tree.map(
            lambda new, old: jnp.where(better.reshape((1,) * (new.ndim - 1) + (-1,)), new, old),
            (trial, tried),
            (intercept, found),
        )
        return n_steps + 1, *kept, jnp.where(better, 1.0, length / 2)

    def unfinished(state):
        n_steps, intercept, (_, slope, curvature), length = state
        step = jnp.abs(slope / curvature).reshape(-1, n.size).max(axis=0)
        size = 1 + jnp.abs(intercept).reshape(-1, n.size).max(axis=0)
        return (n_steps < 30) & jnp.any(length * step > eps * size)

    start = (jnp.asarray(0), intercept, derivatives(intercept), jnp.ones_like(n))
    _, intercept, (_, _, curvature), _ = jax.lax.while_loop(unfinished, newton, start)
    return intercept, curvature


def without_features(problem: Problem, null: Null) -> jax.Array:
    """Parameters of the null model, shaped like `theta`."""
    intercept = null.intercept.reshape(problem.n_outputs, -1)
    return jnp.zeros_like(problem.mask).at[-problem.n_outputs :].set(intercept)


def centered(problem: Problem, theta: jax.Array) -> jax.Array:
    """Take from the balanced features' parameters their mean over the classes."""
    if problem.balanced is None:
        return theta
    by_output = theta.reshape(-1, problem.n_outputs, theta.shape[1])
    mean = problem.balanced[:, None] * by_output.mean(axis=1, keepdims=True)
    return (by_output - mean).reshape(theta.shape)


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
