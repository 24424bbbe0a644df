"""From the information that the data have about each neuron to the covariance of estimates."""

from typing import Any

import jax
import numpy as np
from scipy.linalg import helmert

from spikax._errors import unknown_name
from spikax.design import FeatureSource
from spikax.inference._fitted import Fitted, fitted
from spikax.inference._inference import Inference, warn_about_directions, warn_about_optimum
from spikax.inference._sums import BUCKET, Clusters, Sums, clusters, sums
from spikax.solvers import Status

KINDS = ("model", "sandwich")
# Below this share of the largest eigenvalue, information is the rounding of features in float32.
_RESOLUTION = 1e-12
# Nats that a neuron without a finite optimum loses by moving its linear predictor by one, in
# directions that count as flat.
_FLAT = 1 / 16


def infer(model, X, y, *, kind="model", groups=None, sample_weight=None, offset=None) -> Inference:
    r"""Find how sure a fitted model is of its parameters.

    Of the model itself (`kind="model"`), the covariance is the inverse of the expected
    information :math:`\sum_t w_t f'(\eta_t)^2 / (\phi V(\mu_t)) \, x_t x_t^\top`. The sandwich
    :math:`H^{-1} \left(\sum_t w_t^2 s_t^2 x_t x_t^\top\right) H^{-1}`, with the scores s of the
    samples and the observed information H, holds when the family's variance is wrong, too, as
    long as samples are independent given the features. Neighbouring bins seldom are. With `groups`
    only the groups need to be: scores are summed within each group g, and the sandwich is

    .. math::
        \frac{G}{G - 1} \frac{n - 1}{n - k} \,
        H^{-1} \Big(\sum_g u_g u_g^\top\Big) H^{-1}, \qquad u_g = \sum_{t \in g} w_t s_t x_t,

    with n samples, G groups and k parameters. It takes G to be large; intervals and p-values are
    of a t distribution with G - 1 degrees of freedom, since it seldom is very large.

    A ridge penalty is a Gaussian prior on the coefficients, and its curvature is added to the
    information. With `kind="model"` intervals are then those of the posterior: they cover the
    true values on average over the coefficients, not each (Nychka 1988). With
    `kind="sandwich"` they are of what the penalised fit estimates, shrunk towards zero.

    Parameters
    ----------
    model
        A fitted `GLM`, `PopulationGLM`, `ClassifierGLM` or `ClassifierPopulationGLM`, without a
        penalty or with a smooth one.
    X, y
        The features and observations it was fitted to.
    kind
        "model" (default) or "sandwich".
    groups
        For the sandwich, the group of each sample, (n_samples,), such as the number of its trial
        or of its minute: labels of any kind. None (default) takes samples to be independent.
    sample_weight, offset
        As in `fit`, of the model's `weight_type`. In the sandwich frequencies are numbers of
        samples, and a sample of any precision is one; within `groups` weights multiply scores.

    Returns
    -------
    Inference
        Standard errors, intervals and p-values of each neuron and parameter.

    Raises
    ------
    NotFittedError
        Before `fit`.
    ValueError
        If `kind` is unknown, the penalty is not smooth, or `X` and `y` are not those of a fit; if
        `groups` has the wrong length, holds NaN, leaves a neuron a single group, or comes without
        the sandwich.

    Warns
    -----
    RuntimeWarning
        Once, naming neurons and parameters that the data do not identify: their standard errors
        are infinite. Once, if the model is not at its optimum for these data.

    References
    ----------
    McCullagh & Nelder (1989), Generalized Linear Models, section 4.4. White (1982), Maximum
    likelihood estimation of misspecified models, Econometrica 50. Nychka (1988), Bayesian
    confidence intervals for smoothing splines, JASA 83. Groups: Liang & Zeger (1986), Biometrika
    73; Cameron & Miller (2015), Journal of Human Resources 50, sections II and VI.

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

    Bins of 50 trials, which may each be livelier or quieter than the features tell:

    >>> trial = np.repeat(np.arange(50), 10)
    >>> result = nmo.inference.infer(model, X, spikes, kind="sandwich", groups=trial)
    >>> print(result.dof)
    [49. 49.]
    """
    check_kind(kind, groups)
    with jax.enable_x64(True):
        fit = fitted(model, X, y, sample_weight, offset)
        inference, gain = infer_fitted(fit, kind, groups)
    warn_about_directions(inference)
    warn_about_optimum(inference, gain)
    return inference


def check_kind(kind: Any, groups: Any) -> None:
    """Refuse a kind of covariance that is unknown, or has no use for groups."""
    if kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    if groups is not None and kind != "sandwich":
        raise ValueError(
            f"groups are for the sandwich, and kind is {kind!r}: pass kind='sandwich' too."
        )


def infer_fitted(fit: Fitted, kind: str, groups: Any = None) -> tuple[Inference, np.ndarray]:
    """Do what `infer` says, in 64 bits; also say what nats each neuron could still gain."""
    within = None if groups is None else clusters(groups, fit)
    unbounded = _unbounded(fit)
    buckets = [
        _invert(fit, neurons, sums(fit, neurons, kind, within), unbounded[neurons])
        for neurons in np.split(
            np.arange(fit.neurons.size), np.arange(BUCKET, fit.neurons.size, BUCKET)
        )
    ]
    covariance, unidentified, rank, gain = zip(*buckets, strict=True)
    width = max(directions.shape[2] for directions in unidentified)
    directions = np.concatenate(
        [np.pad(d, ((0, 0), (0, 0), (0, width - d.shape[2]))) for d in unidentified]
    )
    # Where none is left, nothing is known of the scale, and all standard errors are infinite.
    dof = np.maximum(fit.model.dof_resid, 1)
    dof = dof if fit.objective.likelihood.by_moments else np.full(dof.shape, np.inf)
    covariance, rank = np.concatenate(covariance), np.concatenate(rank)
    covariance, directions = covariance[:, fit.own][:, :, fit.own], directions[:, fit.own]
    if within is not None:
        dof = within.n_of - 1.0
        covariance *= _correction(fit, within, rank)[:, None, None]
    elif kind == "model" or fit.data.weight_type == "frequency":
        covariance /= fit.repeats[:, None, None]
    counted = fit.data.weight.mean(axis=1)
    inference = Inference(
        estimate=fit.estimate,
        covariance=covariance,
        unidentified=directions,
        n_identified=rank,
        dof=dof,
        kind=kind,
        names=fit.names,
        neurons=fit.neurons,
        classes=fit.data.classes,
        groups=fit.groups,
        layout=fit.data.layout,
        likelihood=fit.model.spec.likelihood,
        reference=_mean_features(fit.data.X, counted),
        outputs=fit.outputs,
    )
    return inference, np.concatenate(gain)


def _correction(fit: Fitted, within: Clusters, rank: np.ndarray) -> np.ndarray:
    """Tell by what few groups and samples make the sandwich too small, (n_neurons,)."""
    n = fit.data.n_observations
    return within.n_of / (within.n_of - 1) * (n - 1) / np.maximum(n - rank, 1)


def _mean_features(X: np.ndarray | FeatureSource, weights: np.ndarray) -> np.ndarray:
    if not isinstance(X, np.ndarray):
        return X.mean(weights)
    counted = weights > 0
    return weights[counted] @ X[counted] / weights.sum()


def _to_user(fit: Fitted) -> np.ndarray:
    """Matrix that maps parameters of standardised features to those of raw ones."""
    known, p = fit.problem.standardisation, fit.samples.n_features
    # A constant feature moves with the intercept: any scale shows that.
    scale = np.where(np.isfinite(known.scale), known.scale, 1)
    matrix = np.eye(p + 1)
    matrix[:p, :p] = (np.eye(p) if known.rotation is None else known.rotation) / scale[:, None]
    matrix[p, :p] = -known.center @ matrix[:p, :p]
    return np.kron(matrix, np.eye(fit.objective.n_predictors))


def _contrasts(fit: Fitted, neurons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotate the parameters of features that sum to zero to their mean over classes, and rest.

    Returns the rotations, (n_neurons, n_parameters, n_parameters), and which of the rotated
    parameters are such means: they are zero, for the data do not know them.
    """
    n_predictors, n_rows = fit.objective.n_predictors, fit.samples.n_features + 1
    shape = (neurons.size, n_rows, n_predictors)
    if fit.objective.sum_to_zero is None:
        none = np.zeros(shape, bool).reshape(neurons.size, -1)
        return np.eye(none.shape[1]), none
    sums_to_zero = np.asarray(fit.objective.sum_to_zero)[:, neurons].T > 0
    rotated = np.zeros((*shape, *shape[1:]))
    each = np.where(
        sums_to_zero[:, :, None, None], helmert(n_predictors, full=True).T, np.eye(n_predictors)
    )
    row = np.arange(n_rows)
    rotated[:, row, :, row] = np.swapaxes(each, 0, 1)
    is_mean = sums_to_zero[:, :, None] & (np.arange(n_predictors) == 0)
    n_parameters = n_rows * n_predictors
    return rotated.reshape(-1, n_parameters, n_parameters), is_mean.reshape(-1, n_parameters)


def _unbounded(fit: Fitted) -> np.ndarray:
    status = Status.CONVERGED if fit.model.status is None else fit.model.status
    return np.broadcast_to(np.equal(status, Status.UNBOUNDED), fit.neurons.size)


def _invert(
    fit: Fitted, neurons: np.ndarray, found: Sums, unbounded: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Invert the information of some neurons.

    Returns the covariance, the directions without information, the rank of the information, and
    the nats that each neuron could still gain.
    """
    rotated, is_mean = _contrasts(fit, neurons)
    free = fit.free[neurons] & ~is_mean
    # A neuron whose scale could not be estimated knows nothing.
    information = np.swapaxes(rotated, -1, -2) @ np.nan_to_num(found.information) @ rotated
    diagonal = np.diagonal(information, axis1=1, axis2=2)
    unit = np.where(unbounded[:, None], found.reach, np.sqrt(diagonal.clip(0)))
    unit = np.where(free & (unit > 0), unit, 1)
    both = free[:, :, None] & free[:, None, :]
    scaled = information / unit[:, :, None] / unit[:, None, :]
    share, axes = np.linalg.eigh(np.where(both, scaled, np.eye(free.shape[1])))
    seen = share > _RESOLUTION * share.max(axis=1, keepdims=True)
    known = seen & ((share > _FLAT) | ~unbounded[:, None])
    axes = rotated @ (free[:, :, None] * axes / unit[:, :, None])
    half = axes * np.where(known, 1 / np.sqrt(np.where(known, share, 1)), 0)[:, None, :]
    gain = np.sum((np.swapaxes(half, 1, 2) @ found.gradient[:, :, None]) ** 2, axis=(1, 2)) / 2

    to_user = _to_user(fit)
    covariance = half @ np.swapaxes(half, 1, 2)
    if found.scores is not None:
        covariance = covariance @ found.scores @ covariance
    covariance = to_user @ covariance @ to_user.T

    n_flat = np.max(np.sum(~known, axis=1))
    flat = (to_user @ (axes * ~known[:, None, :]))[:, :, :n_flat]
    # On the way to infinity, what else a direction involves is only nearly nothing.
    size = np.abs(flat) * (found.reach / np.diag(to_user))[:, None]
    flat[(size < 0.05 * size.max(axis=1, keepdims=True)) & seen[:, None, :n_flat]] = 0
    # What rounding leaves of a parameter that a direction does not involve is none of it.
    whole = np.sum((to_user @ rotated / unit[:, None, :]) ** 2, axis=2)
    flat[np.sum(flat**2, axis=2) < 1e-10 * whole] = 0
    return covariance, flat, seen.sum(axis=1) - np.sum(~free, axis=1), gain
