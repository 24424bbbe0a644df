"""From the information that the data have about each neuron to the covariance of estimates."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax._errors import unknown_name
from spikax.basis import BasisDesign
from spikax.inference._fitted import Fitted, fitted
from spikax.inference._inference import Inference, warn_about_directions, warn_about_optimum
from spikax.problem import (
    Problem,
    gram,
    linear_predictor,
    penalty,
    sample_loss,
    value_and_grad,
    walk,
)
from spikax.solvers import Status

KINDS = ("model", "sandwich")
# Below this share of the largest eigenvalue, information is the rounding of features in float32.
_RESOLUTION = 1e-12
# Nats that a neuron without a finite optimum loses by moving its linear predictor by one, in
# directions that count as flat.
_FLAT = 1 / 16
_BUCKET = 64


def infer(model, X, y, *, kind="model", sample_weight=None, offset=None) -> Inference:
    r"""Find how sure a fitted model is of its parameters.

    Of the model itself (`kind="model"`), the covariance is the inverse of the expected
    information :math:`\sum_t w_t f'(\eta_t)^2 / (\phi V(\mu_t)) \, x_t x_t^\top`. The sandwich
    :math:`H^{-1} \left(\sum_t w_t^2 s_t^2 x_t x_t^\top\right) H^{-1}`, with the scores s of the
    samples and the observed information H, holds when the family's variance is wrong, too, as
    long as samples are independent given the features.

    A ridge penalty is a Gaussian prior on the coefficients, and its curvature is added to the
    information. With `kind="model"` intervals are then those of the posterior: they cover the
    true values on average over the coefficients, not each (Nychka 1988). With
    `kind="sandwich"` they are of what the penalised fit estimates, shrunk towards zero.

    Parameters
    ----------
    model
        A fitted `GLM` or `PopulationGLM`, without a penalty or with a smooth one.
    X, y
        The features and observations it was fitted to.
    kind
        "model" (default) or "sandwich".
    sample_weight, offset
        As in `fit`. A weight counts repetitions of a sample for the model's covariance; for the
        sandwich, a sample of any weight is one observation.

    Returns
    -------
    Inference
        Standard errors, intervals and p-values of each neuron and parameter.

    Raises
    ------
    NotFittedError
        Before `fit`.
    ValueError
        If `kind` is unknown, the penalty is not smooth, or `X` and `y` are not those of a fit.

    Warns
    -----
    RuntimeWarning
        Once, naming neurons and parameters that the data do not identify: their standard errors
        are infinite. Once, if the model is not at its optimum for these data.

    References
    ----------
    McCullagh & Nelder (1989), Generalized Linear Models, section 4.4. White (1982), Maximum
    likelihood estimation of misspecified models, Econometrica 50. Nychka (1988), Bayesian
    confidence intervals for smoothing splines, JASA 83.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2))
    >>> spikes = rng.poisson(np.exp(0.5 * X - 1))
    >>> model = nmo.glm.PopulationGLM().fit(X, spikes)
    >>> result = nmo.inference.infer(model, X, spikes)
    >>> coef, intercept = result.shaped(result.standard_error)
    >>> coef.shape, intercept.shape
    ((2, 2), (2,))
    >>> result.p_value[0, 0] < 0.001
    np.True_
    """
    if kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    with jax.enable_x64(True):
        inference, gain = infer_fitted(model, fitted(model, X, y, sample_weight, offset), kind)
    warn_about_directions(inference)
    warn_about_optimum(inference, gain)
    return inference


def infer_fitted(model, fit: Fitted, kind: str) -> tuple[Inference, np.ndarray]:
    """Do what `infer` says, in 64 bits; also say what nats each neuron could still gain."""
    unbounded = _unbounded(model, fit.neurons.size)
    buckets = [
        _invert(fit, neurons, _moments_of(fit, neurons, kind), unbounded[neurons])
        for neurons in np.split(
            np.arange(fit.neurons.size), np.arange(_BUCKET, fit.neurons.size, _BUCKET)
        )
    ]
    covariance, unidentified, rank, gain = zip(*buckets, strict=True)
    width = max(directions.shape[2] for directions in unidentified)
    directions = np.concatenate(
        [np.pad(d, ((0, 0), (0, 0), (0, width - d.shape[2]))) for d in unidentified]
    )
    # Where none is left, nothing is known of the scale, and all standard errors are infinite.
    dof = np.maximum(np.atleast_1d(np.asarray(model.dof_resid_, float)), 1)
    counted = fit.data.weight.mean(axis=1)
    inference = Inference(
        estimate=fit.estimate,
        covariance=np.concatenate(covariance),
        unidentified=directions,
        n_identified=np.concatenate(rank),
        dof=dof if fit.problem.family.has_scale else np.full(dof.shape, np.inf),
        kind=kind,
        names=fit.names,
        neurons=fit.neurons,
        groups=fit.groups,
        layout=fit.data.layout,
        link=fit.problem.link,
        reference=_mean_features(fit.data.X, counted),
        single=fit.outputs.single,
    )
    return inference, np.concatenate(gain)


def _mean_features(X: np.ndarray | BasisDesign, weights: np.ndarray) -> np.ndarray:
    if isinstance(X, BasisDesign):
        return X.mean(weights)
    counted = weights > 0
    return weights[counted] @ X[counted] / weights.sum()


class _Moments(NamedTuple):
    """Sums over the samples of a bucket's neurons."""

    information: np.ndarray  # with the penalty's, (n_neurons, n_parameters, n_parameters)
    scores: np.ndarray | None  # second moments of the scores, of the same shape
    gradient: np.ndarray  # of the penalised loss, in nats, (n_neurons, n_parameters)
    reach: np.ndarray  # largest size of each standardised feature, (n_parameters,)


def _moments_of(fit: Fitted, neurons: np.ndarray, kind: str) -> _Moments:
    # All buckets are of one size, to share one program.
    n_neurons = fit.neurons.size
    index = np.arange(neurons[0], neurons[0] + min(_BUCKET, n_neurons)) % n_neurons
    sums = _sums(fit.problem, fit.theta, index, kind == "sandwich")
    information, scores, gradient, penalty = jax.tree.map(
        lambda a: np.asarray(a)[: neurons.size], sums[:-1]
    )
    precision = fit.precision[neurons]
    nats = precision * np.asarray(fit.problem.total_weight)[neurons]
    information = precision[:, None, None] * information
    information += nats[:, None, None] * penalty
    if scores is not None:
        scores = precision[:, None, None] ** 2 * scores
    return _Moments(information, scores, nats[:, None] * gradient, np.asarray(sums[-1]))


@partial(jax.jit, static_argnames="sandwich")
def _sums(problem: Problem, theta: jax.Array, index: jax.Array, sandwich: bool):
    problem, theta = problem.neurons(index), theta[:, index]

    def of_neuron(neuron):
        one, at = problem.neurons(neuron[None]), theta[:, neuron][:, None]

        def curvature(X, y, weights, offset):
            eta = linear_predictor(at, X, offset)
            # Losses are linear in y: at the mean, the curvature is the expected one.
            return weights * _derivatives(one, eta, y if sandwich else one.link.mean(eta))[1]

        def squared_score(X, y, weights, offset):
            eta = linear_predictor(at, X, offset)
            return (weights * _derivatives(one, eta, y)[0]) ** 2

        def cost(theta):
            return penalty(one, theta[:, None])[0]

        scores = gram(one, squared_score) if sandwich else None
        return gram(one, curvature), scores, jax.hessian(cost)(at[:, 0])

    information, scores, costs = jax.lax.map(of_neuron, jnp.arange(index.size))

    def largest(X, y, weights, offset):
        return jnp.max(jnp.abs(X) * jnp.any(weights > 0, axis=0)[None], axis=1)

    return (
        information,
        scores,
        value_and_grad(problem, theta)[1].T,
        costs,
        jnp.append(walk(problem, largest, jnp.maximum), 1.0),
    )


def _derivatives(problem: Problem, eta: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """First and second derivative of each sample's loss."""

    def slope(eta):
        return jax.grad(lambda e: sample_loss(problem, e, y).sum())(eta)

    return jax.jvp(slope, (eta,), (jnp.ones_like(eta),))


def _to_user(fit: Fitted) -> np.ndarray:
    """Matrix that maps parameters of standardised features to those of raw ones."""
    units, p = fit.units, fit.problem.n_features
    # A constant feature moves with the intercept: any scale shows that.
    scale = np.where(np.isfinite(units.scale), units.scale, 1)
    matrix = np.eye(p + 1)
    matrix[:p, :p] = (np.eye(p) if units.basis is None else units.basis) / scale[:, None]
    matrix[p, :p] = -units.center @ matrix[:p, :p]
    return matrix


def _unbounded(model: Any, n_neurons: int) -> np.ndarray:
    state = getattr(model, "solver_state_", None)
    status = Status.CONVERGED if state is None else state.stats.status
    return np.broadcast_to(np.equal(status, Status.UNBOUNDED), n_neurons)


def _invert(
    fit: Fitted, neurons: np.ndarray, moments: _Moments, unbounded: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Invert the information of some neurons.

    Returns the covariance, the directions without information, the rank of the information, and
    the nats that each neuron could still gain.
    """
    free = fit.free[neurons]
    # A neuron whose scale could not be estimated knows nothing.
    information = np.nan_to_num(moments.information)
    diagonal = np.diagonal(information, axis1=1, axis2=2)
    unit = np.where(unbounded[:, None], moments.reach, np.sqrt(diagonal.clip(0)))
    unit = np.where(free & (unit > 0), unit, 1)
    both = free[:, :, None] & free[:, None, :]
    scaled = information / unit[:, :, None] / unit[:, None, :]
    share, axes = np.linalg.eigh(np.where(both, scaled, np.eye(free.shape[1])))
    seen = share > _RESOLUTION * share.max(axis=1, keepdims=True)
    known = seen & ((share > _FLAT) | ~unbounded[:, None])
    axes = free[:, :, None] * axes / unit[:, :, None]
    half = axes * np.where(known, 1 / np.sqrt(np.where(known, share, 1)), 0)[:, None, :]
    gain = np.sum((np.swapaxes(half, 1, 2) @ moments.gradient[:, :, None]) ** 2, axis=(1, 2)) / 2

    to_user = _to_user(fit)
    covariance = half @ np.swapaxes(half, 1, 2)
    if moments.scores is not None:
        covariance = covariance @ moments.scores @ covariance
    covariance = to_user @ covariance @ to_user.T

    n_flat = np.max(np.sum(~known, axis=1))
    flat = (to_user @ (axes * ~known[:, None, :]))[:, :, :n_flat]
    # On the way to infinity, what else a direction involves is only nearly nothing.
    size = np.abs(flat) * (moments.reach / np.diag(to_user))[:, None]
    flat[(size < 0.05 * size.max(axis=1, keepdims=True)) & seen[:, None, :n_flat]] = 0
    # What rounding leaves of a parameter that a direction does not involve is none of it.
    whole = np.sum((to_user / unit[:, None, :]) ** 2, axis=2)
    flat[np.sum(flat**2, axis=2) < 1e-10 * whole] = 0
    return covariance, flat, seen.sum(axis=1) - np.sum(~free, axis=1), gain
