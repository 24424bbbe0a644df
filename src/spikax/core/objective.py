"""What a fit minimises: the mean loss of each neuron's samples plus its penalty.

Of neuron j, with the linear predictors `eta = coef' x + intercept + offset`, it is

    sum_t w_tj loss(eta_tj, y_tj) / normaliser_j + penalty(coef_j) + linear_j' theta_j + constant_j
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from spikax._pytrees import register
from spikax.core.penalties import NO_PENALTY, Penalty
from spikax.core.samples import Samples
from spikax.observation_models import Likelihood

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


@register
@dataclass(frozen=True)
class Objective:
    """The mathematics of a fit: likelihood, penalty, mask and the units of the coefficients.

    The parameters are one array `theta`, (n_features + 1, n_neurons): the coefficients of the
    standardised features, and the intercepts in the last row.

    A neuron may have several linear predictors, K `n_predictors` of them: one for each class, or
    for the mean and for another parameter of the likelihood. Then `theta` has shape
    (K (n_features + 1), n_neurons), row i K + k being feature i of predictor k: it is
    (n_features + 1, K n_neurons) by `reshape`. What has one value for a neuron or a sample
    elsewhere has the predictors on its first axis: they are (K, n_neurons, n_samples). Which
    features a predictor uses is a matter of the mask.

    Parameters
    ----------
    likelihood
        What the loss is; its leaves have shape (n_neurons, 1).
    penalty
        What coefficients in the user's units cost.
    scale
        What divides the coefficients to bring them to the user's units, (K n_features, 1).
    mask
        One where a parameter is free, zero where it stays, shaped like `theta`.
    normaliser
        What sums over samples are divided by, (n_neurons,): their total weight, unless the penalty
        is that of another number of samples.
    sum_to_zero
        One where a feature's parameters sum to zero over the classes at an optimum, since the loss
        takes only their differences, (n_features + 1, n_neurons); None where it takes more.
    linear
        Gradient of a linear term, shaped like `theta`, or None.
    constant
        Constant term, (n_neurons,), or None; see `loss_bound`.

    Examples
    --------
    The objective of a weighted fit that keeps the penalty of an unweighted one, to 100 samples:

    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X, y, weights = (
    ...     rng.normal(size=(100, 2)),
    ...     rng.poisson(1.0, (100, 3)),
    ...     rng.uniform(size=100),
    ... )
    >>> model = nmo.glm.PopulationGLM(regularizer="Ridge")
    >>> objective, samples, *_ = model.assemble(X, y, sample_weight=weights, normaliser=100.0)
    >>> bool((objective.normaliser > samples.total_weight).all())
    True
    """

    likelihood: Likelihood
    penalty: Penalty
    scale: Float[Array, "coef 1"]
    mask: Float[Array, "parameter neuron"]
    normaliser: Float[Array, " neuron"]
    sum_to_zero: Float[Array, "row neuron"] | None = None
    linear: Float[Array, "parameter neuron"] | None = None
    constant: Float[Array, " neuron"] | None = None

    @property
    def n_predictors(self) -> int:
        """Number of linear predictors of a neuron."""
        return self.likelihood.n_predictors

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return self.mask.shape[1]

    def neurons(self, index: Int[Array, " chosen"]) -> Objective:
        """Restrict the objective to some neurons.

        Parameters
        ----------
        index
            Indices of the neurons, (n_chosen,).

        Returns
        -------
        Objective
            That of these neurons.
        """

        def column(a):
            return a if a is None or a.shape[1] == 1 else jnp.take(a, index, axis=1)

        return replace(
            self,
            likelihood=jax.tree.map(lambda a: jnp.take(a, index, axis=0), self.likelihood),
            penalty=jax.tree.map(column, self.penalty),
            mask=jnp.take(self.mask, index, axis=1),
            normaliser=jnp.take(self.normaliser, index),
            sum_to_zero=column(self.sum_to_zero),
            linear=column(self.linear),
            constant=None if self.constant is None else jnp.take(self.constant, index),
        )

    def without_penalty(self) -> Objective:
        """Leave the penalty out.

        Returns
        -------
        Objective
            The smooth part of this one.
        """
        return replace(self, penalty=NO_PENALTY)


# --- The loss of samples.


def linear_predictor(
    theta: Float[Array, "parameter neuron"],
    X: Float[Array, "feature sample"],
    offset: Float[Array, "*predictor #neuron sample"] | None,
) -> Float[Array, "*predictor neuron sample"]:
    """Compute the linear predictor of each neuron and sample of a block.

    Parameters
    ----------
    theta
        Parameters, shaped as `Objective` says.
    X
        Standardised features, (n_features, n_samples).
    offset
        What is added, (1 or n_neurons, n_samples), or None.

    Returns
    -------
    array
        `theta' (x, 1) + offset`, (n_neurons, n_samples); several predictors are in front.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from spikax.core import linear_predictor
    >>> linear_predictor(jnp.array([[2.0], [1.0]]), jnp.array([[0.0, 3.0]]), None).tolist()
    [[1.0, 7.0]]
    """
    p, n_neurons = len(X), theta.shape[1]
    by_feature = theta.reshape(p + 1, -1)
    eta = by_feature[:-1].T @ X + by_feature[-1][:, None]
    if len(theta) > p + 1:
        eta = eta.reshape(-1, n_neurons, X.shape[1])
    return eta if offset is None else eta + offset


def sample_gradient(objective: Objective, eta: jax.Array, y: jax.Array) -> jax.Array:
    """First derivative of each sample's loss in its linear predictors, shaped like `eta`."""
    return jax.grad(lambda e: objective.likelihood.loss(e, y).sum())(eta)


def sample_curvature(objective: Objective, eta: jax.Array, y: jax.Array) -> jax.Array:
    """Second derivative of each sample's loss, zero where it is negative; shaped like `eta`."""
    if objective.n_predictors == 1:
        return jnp.maximum(second_derivative(objective, eta, y, jnp.ones_like(eta)), 0)
    predictors = jnp.arange(objective.n_predictors)
    curvature = jax.lax.map(
        lambda k: second_derivative(objective, eta, y, _unit(k, eta))[k], predictors
    )
    return jnp.maximum(curvature, 0)


def sample_hessian(objective: Objective, eta: jax.Array, y: jax.Array) -> jax.Array:
    """Second derivatives of each sample's loss in its several predictors, (K, K, ...)."""
    predictors = jnp.arange(objective.n_predictors)
    return jax.lax.map(lambda k: second_derivative(objective, eta, y, _unit(k, eta)), predictors)


def convex_hessian(objective: Objective, eta: jax.Array, y: jax.Array) -> jax.Array:
    """Compute `sample_hessian` without its negative eigenvalues, which a model must not follow."""
    hessian = sample_hessian(objective, eta, y)
    if objective.likelihood.family.sum_to_zero:  # of classes it has none
        return hessian
    if objective.n_predictors == 2:
        return _positive_part(*hessian[[0, 0, 1], [0, 1, 1]])
    size, axes = jnp.linalg.eigh(jnp.moveaxis(hessian, (0, 1), (-2, -1)))
    return jnp.moveaxis((axes * jnp.maximum(size, 0)[..., None, :]) @ axes.mT, (-2, -1), (0, 1))


def _positive_part(a: jax.Array, b: jax.Array, c: jax.Array) -> jax.Array:
    """Leave negative eigenvalues out of the matrices [[a, b], [b, c]], (2, 2, ...).

    With eigenvalues l1 > l2 that is `A` if both are positive, and `l1 (A - l2) / (l1 - l2)`, the
    projection on the axis of the first, if only that is.
    """
    mean, half = (a + c) / 2, (a - c) / 2
    radius = jnp.sqrt(half**2 + b**2)
    high, low = jnp.maximum(mean + radius, 0), jnp.minimum(mean - radius, 0)
    share = jnp.where(low < 0, high / jnp.where(radius > 0, 2 * radius, 1), 1)
    shift = jnp.where(low < 0, mean - radius, 0)
    return jnp.stack(
        [
            jnp.stack([share * (a - shift), share * b]),
            jnp.stack([share * b, share * (c - shift)]),
        ]
    )


def expected_curvature(objective: Objective, eta: jax.Array, y: jax.Array) -> jax.Array:
    """Compute what is expected of the second derivatives, shaped like `eta`, or (K, K, ...).

    Where the log-likelihood is linear in y they are those at its mean; elsewhere the observed ones
    stand for them (Efron & Hinkley 1978, Biometrika 65, 457).
    """
    linear = objective.likelihood.family.linear_in_y
    if objective.n_predictors > 1:
        # That of classes does not depend on the class observed.
        return sample_hessian(objective, eta, jnp.zeros_like(y) if linear else y)
    y = objective.likelihood.mean(eta) if linear else y
    return second_derivative(objective, eta, y, jnp.ones_like(eta))


def second_derivative(
    objective: Objective, eta: jax.Array, y: jax.Array, tangent: jax.Array
) -> jax.Array:
    """Differentiate each sample's gradient along a tangent; shaped like `eta`."""

    def gradient(eta):
        return sample_gradient(objective, eta, y)

    return jax.jvp(gradient, (eta,), (tangent,))[1]


def _unit(k: jax.Array, eta: jax.Array) -> jax.Array:
    return jnp.zeros_like(eta).at[k].set(1)


# --- The penalty, of standardised coefficients.


def penalty_value(objective: Objective, theta: jax.Array) -> Float[Array, " neuron"]:
    """Compute the penalty of each neuron.

    Parameters
    ----------
    objective
        What holds it.
    theta
        Parameters, shaped as `Objective` says.

    Returns
    -------
    array
        Penalties, (n_neurons,).

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X, y = np.arange(6.0).reshape(-1, 1), np.ones((6, 1))
    >>> model = nmo.glm.PopulationGLM(regularizer="Ridge", regularizer_strength=2.0)
    >>> objective, _, _, standardisation = model.assemble(X, y)
    >>> theta = standardisation.from_user(np.array([[3.0]]), np.zeros(1))
    >>> print(nmo.core.penalty_value(objective, theta).round(4))
    [9.]
    """
    return objective.penalty.value(theta[: -objective.n_predictors] / objective.scale)


def proximal_step(
    objective: Objective, theta: jax.Array, step: Float[Array, " neuron"]
) -> jax.Array:
    """Minimise `|w - theta|^2 / (2 step) + penalty(w)` over `w`.

    Parameters
    ----------
    objective
        What holds the penalty, which must have a proximal operator.
    theta
        Parameters, shaped as `Objective` says.
    step
        Length of the step of each neuron, (n_neurons,).

    Returns
    -------
    array
        The minimiser, shaped like `theta`; intercepts stay.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X, y = np.array([[-1.0], [1.0], [-1.0], [1.0]]), np.ones((4, 1))
    >>> model = nmo.glm.PopulationGLM(regularizer="Lasso", regularizer_strength=0.5)
    >>> objective = model.assemble(X, y).objective
    >>> step = nmo.core.proximal_step(objective, jnp.array([[2.0], [1.0]]), jnp.ones(1))
    >>> step.tolist()
    [[1.5], [1.0]]
    """
    features = slice(0, -objective.n_predictors)
    coef = theta[features] / objective.scale
    shrunk = objective.penalty.prox(coef, step[None] / objective.scale**2)
    # A coefficient that is kept as it is must not move by the rounding of its units.
    kept = jnp.where(shrunk == coef, theta[features], shrunk * objective.scale)
    return theta.at[features].set(kept)


def penalty_curvature(objective: Objective) -> jax.Array | None:
    """Second derivatives of the penalty where they are constant, (1 or p, 1 or n_neurons)."""
    curvature = objective.penalty.curvature
    return None if curvature is None else curvature / objective.scale**2


def ridge(objective: Objective) -> Float[Array, "parameter neuron"]:
    """Constant second derivatives of the penalty, zero for intercepts and where there are none."""
    curvature = penalty_curvature(objective)
    n_predictors, shape = objective.n_predictors, objective.mask.shape
    if curvature is None:
        return jnp.zeros(shape, objective.mask.dtype)
    curvature = jnp.broadcast_to(curvature, (shape[0] - n_predictors, shape[1]))
    return jnp.pad(curvature, ((0, n_predictors), (0, 0)))


# --- The objective, of all samples.


def mean_loss(objective: Objective, samples: Samples, theta: jax.Array) -> Float[Array, " neuron"]:
    """Compute the mean loss of each neuron over its samples, without the penalty.

    Parameters
    ----------
    objective, samples
        What to compute, and of what.
    theta
        Parameters, shaped as `Objective` says.

    Returns
    -------
    array
        Sums of weighted losses over the normaliser, and the linear and the constant term,
        (n_neurons,).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([[1.0], [3.0]])
    >>> objective, samples, *_ = nmo.glm.PopulationGLM().assemble(X, y)
    >>> nmo.core.mean_loss(objective, samples, jnp.zeros((2, 1))).tolist()
    [1.0]
    """
    total = samples.sum(Partial(_total_loss, objective, theta))
    return total / objective.normaliser + _more_terms(objective, theta)


def _total_loss(objective, theta, X, y, weights, offset) -> Float[Array, " neuron"]:
    eta = linear_predictor(theta, X, offset)
    return jnp.sum(weights * objective.likelihood.loss(eta, y), axis=1)


def _more_terms(objective: Objective, theta: jax.Array) -> jax.Array | float:
    """Terms of no sample and no penalty."""
    linear = 0.0 if objective.linear is None else jnp.sum(objective.linear * theta, axis=0)
    return linear if objective.constant is None else linear + objective.constant


def penalized_loss(
    objective: Objective, samples: Samples, theta: jax.Array
) -> Float[Array, " neuron"]:
    """Compute the objective of each neuron.

    Parameters
    ----------
    objective, samples
        What to compute, and of what.
    theta
        Parameters, shaped as `Objective` says.

    Returns
    -------
    array
        Mean losses plus penalties, (n_neurons,).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([[1.0], [1.0]])
    >>> model = nmo.glm.PopulationGLM("Gaussian", regularizer="Ridge")
    >>> objective, samples, *_ = model.assemble(X, y)
    >>> nmo.core.penalized_loss(objective, samples, jnp.array([[1.0], [1.0]])).tolist()
    [1.5]
    """
    return mean_loss(objective, samples, theta) + penalty_value(objective, theta)


def value_and_grad(
    objective: Objective, samples: Samples, theta: jax.Array
) -> tuple[Float[Array, " neuron"], Float[Array, "parameter neuron"]]:
    """Compute the objective of each neuron and its gradient, in one pass over the data.

    With the residuals `r = d loss / d eta` the gradient in the coefficients is `X' (w r)`.

    Parameters
    ----------
    objective, samples
        What to compute, and of what.
    theta
        Parameters, shaped as `Objective` says.

    Returns
    -------
    value : array
        Mean losses plus penalties, (n_neurons,).
    gradient : array
        Shaped like `theta`; zero for parameters that are masked.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([[1.0], [3.0]])
    >>> objective, samples, *_ = nmo.glm.PopulationGLM().assemble(X, y)
    >>> value, gradient = nmo.core.value_and_grad(objective, samples, jnp.zeros((2, 1)))
    >>> gradient.tolist()
    [[-1.0], [-1.0]]
    """
    loss, gradient = samples.sum(Partial(_loss_and_gradient, objective, theta))
    cost, pull = jax.vjp(lambda theta: penalty_value(objective, theta), theta)
    (slope,) = pull(jnp.ones_like(cost))
    gradient = gradient / objective.normaliser[None] + slope
    if objective.linear is not None:
        gradient = gradient + objective.linear
    value = loss / objective.normaliser + cost + _more_terms(objective, theta)
    return value, gradient * objective.mask


def _loss_and_gradient(objective, theta, X, y, weights, offset) -> tuple[jax.Array, jax.Array]:
    """Sum the losses of a block, and their gradients."""
    eta = linear_predictor(theta, X, offset)
    loss, pull = jax.vjp(lambda e: objective.likelihood.loss(e, y), eta)
    (residual,) = pull(jnp.broadcast_to(weights, loss.shape))
    residual = residual.reshape(-1, X.shape[1])
    gradient = jnp.concatenate([X @ residual.T, residual.sum(axis=1)[None]])
    return jnp.sum(weights * loss, axis=1), gradient.reshape(theta.shape)


def loss_bound(objective: Objective, samples: Samples) -> Float[Array, " neuron"]:
    """Find the constant term that keeps each neuron's mean loss from zero.

    Solvers take a loss to be known up to a share of its own size. Where terms of both signs
    cancel it is known up to a share of their mean size, which is at most the mean of
    `loss - saturated` plus that of `|saturated|`: with this term the loss is that bound.
    """
    return samples.sum(Partial(_saturated_bound, objective)) / objective.normaliser


def _saturated_bound(objective, X, y, weights, offset) -> Float[Array, " neuron"]:
    least = jnp.where(weights > 0, objective.likelihood.saturated(y), 0)
    return jnp.sum(weights * jnp.maximum(-2 * least, 0), axis=1)


def pearson(objective: Objective, samples: Samples, theta: jax.Array) -> Float[Array, " neuron"]:
    """Pearson's statistic of each neuron: the sum of `w (y - mu)^2 / V(mu)`."""
    return samples.sum(Partial(_block_pearson, objective, theta))


def _block_pearson(objective, theta, X, y, weights, offset) -> Float[Array, " neuron"]:
    mu = objective.likelihood.mean(linear_predictor(theta, X, offset))
    return jnp.sum(weights * objective.likelihood.squared_residual(y, mu), axis=1)


def project(objective: Objective, theta: jax.Array) -> jax.Array:
    """Take from parameters that sum to zero over the classes their mean over these."""
    if objective.sum_to_zero is None:
        return theta
    by_predictor = theta.reshape(-1, objective.n_predictors, theta.shape[1])
    mean = objective.sum_to_zero[:, None] * by_predictor.mean(axis=1, keepdims=True)
    return (by_predictor - mean).reshape(theta.shape)
