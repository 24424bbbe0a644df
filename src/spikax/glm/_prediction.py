"""From linear predictors to means and scores of samples, in programs shared by like lengths."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype

from spikax._inputs import Data
from spikax.core.standardise import pad
from spikax.design import padded_length
from spikax.glm._null import fit_null, unless_exact
from spikax.observation_models import Likelihood, Observations


def by_predictor(eta: Any, n_predictors: int) -> Any:
    """Bring columns (n_samples, n_columns) to (n_samples, n_neurons), several ones in front."""
    if n_predictors == 1:
        return eta
    return jnp.moveaxis(eta.reshape(len(eta), n_predictors, -1), 1, 0)


def mean_of(likelihood: Likelihood, eta: np.ndarray) -> np.ndarray:
    """Means of linear predictors, (n_samples, n_neurons); NaN stays NaN."""
    return _apply(_mean, likelihood, eta)


def parameters_of(likelihood: Likelihood, eta: np.ndarray) -> np.ndarray:
    """Give what several predictors stand for, (n_samples, n_neurons, n_predictors)."""
    return _apply(_parameters, likelihood, eta)


def log_probabilities(likelihood: Likelihood, eta: np.ndarray) -> np.ndarray:
    """Log-probability of each class, (n_samples, n_neurons, n_classes); NaN stays NaN."""
    return _apply(_log_probability, likelihood, eta)


def _apply(function: Callable, likelihood: Likelihood, eta: np.ndarray) -> np.ndarray:
    """Apply a function to rows of linear predictors, in a program for like lengths."""
    padded = pad(eta, padded_length(len(eta)), canonicalize_dtype(float))
    return np.array(function(likelihood.by_row(), padded))[: len(eta)]


@jax.jit
def _mean(likelihood, eta):
    each = by_predictor(eta, likelihood.n_predictors)
    missing = jnp.isnan(each) if likelihood.n_predictors == 1 else jnp.isnan(each).any(axis=0)
    return jnp.where(missing, jnp.nan, likelihood.mean(each))


@jax.jit
def _parameters(likelihood, eta):
    each = by_predictor(eta, likelihood.n_predictors)
    found = jnp.where(jnp.isnan(each), jnp.nan, likelihood.parameters(each))
    return jnp.moveaxis(found, 0, -1)


@jax.jit
def _log_probability(likelihood, eta):
    return jnp.moveaxis(
        likelihood.link.log_mean(by_predictor(eta, likelihood.n_predictors)), 0, -1
    )


def sample_scores(
    likelihood: Likelihood, eta: np.ndarray, data: Data, score_type: str, scale: Any
) -> list[np.ndarray]:
    """Score each sample: of the model, and for a pseudo-R2 of the model without features.

    In float64, (n_samples, n_neurons); what has no weight has no meaning.
    """
    scale = np.asarray(scale, float)
    known = np.broadcast_to(data.weight > 0, data.y.shape)
    y = np.where(known, data.y, 0)
    deviance = score_type == "pseudo-r2-Cohen"
    if deviance and likelihood.by_moments:
        scale = np.ones_like(scale)  # it cancels in the ratio
    length = padded_length(len(eta))
    with jax.enable_x64(True), np.errstate(invalid="ignore"):
        eta = np.where(np.tile(known, likelihood.n_predictors), eta, 0)
        padded = pad(eta, length, float), pad(y, length, float)
        of_sample = scale[None]
        if data.weights is not None and data.divides_scale(likelihood.family) and not deviance:
            of_sample = np.tile(scale, (length, 1))
            of_sample[: len(y)] /= np.where(known, data.weight, 1)
        at = likelihood.by_row().at(of_sample)
        model = np.array(_scores(at, deviance, *padded))[: len(eta)]
        if score_type == "log-likelihood":
            return [model]
    terms = null_scores(likelihood, data, scale, own_scale=not deviance)
    return [model, terms[int(deviance)]]


@partial(jax.jit, static_argnums=1)
def _scores(likelihood, deviance, eta, y):
    eta = by_predictor(eta, likelihood.n_predictors)
    return 2 * likelihood.half_deviance(eta, y) if deviance else likelihood.log_prob(eta, y)


def null_scores(
    likelihood: Likelihood, data: Data, scale: np.ndarray, own_scale: bool
) -> np.ndarray:
    """Log-likelihood and deviance of each sample by the model without features, as `fit_null`.

    In float64, (2, n_samples, n_neurons); NaN for what does not count.
    """
    known = np.broadcast_to(data.weight > 0, data.y.shape)
    y = np.where(known, data.y, np.nan)
    with jax.enable_x64(True):
        null = fit_null(likelihood, data, scale, own_scale)
        rate = null.predict(len(y), data.offset)
    if likelihood.n_predictors == 1:
        rate = unless_exact(rate, y, known)
    return rate_scores(likelihood.family, y, rate, null.scale[None])


def rate_scores(
    model: Observations, y: np.ndarray, rate: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Log-likelihood and deviance of each sample at its mean, (2, n_samples, n_neurons).

    In float64; NaN where either is missing. `scale` is (1, n_neurons).
    """
    length = padded_length(len(y))
    missing = np.isnan(y)
    if model.n_predictors == 1:
        missing = missing | np.isnan(rate)
        y, rate = (np.where(missing, 1, a) for a in (y, rate))
    with jax.enable_x64(True):
        padded = (pad(a, length, float) for a in (y, rate))
        terms = np.array(_rate_scores(Likelihood(model, ()).by_row(), *padded, scale))
    terms = terms[:, : len(y)]
    terms[:, missing] = np.nan
    return terms


@jax.jit
def _rate_scores(of, y, rate, scale):
    model = of.family
    log_likelihood = model.log_likelihood(y, rate, scale, aggregate_sample_scores=lambda s: s)
    return jnp.stack([log_likelihood, model.deviance(y, rate, scale)])


def mean_over_neurons(scores: np.ndarray, weight: np.ndarray) -> float:
    """Mean over the neurons of the weighted mean of each neuron's samples."""
    total = np.broadcast_to(weight, scores.shape).sum(axis=0)
    some = total > 0
    summed = np.sum(weight * np.where(weight > 0, scores, 0), axis=0)
    return float(np.mean(summed[some] / total[some]))


def aggregated(scores: np.ndarray, known: np.ndarray, single: bool, aggregate: Callable) -> Any:
    """Apply a user's function to the samples' scores, of which entries may be missing."""
    rows = known.any(axis=1)
    scores, known = scores[rows], known[rows]
    if single:
        return aggregate(scores[:, 0])
    if known.all():
        return aggregate(scores)
    # Sums and means over what is there are right; what drops the mask meets NaN, and JAX refuses
    # masked arrays, but for what we know how to answer.
    scores = np.where(known, scores, np.nan)
    masked = np.ma.masked_array(scores, ~known, fill_value=np.nan)
    found = np.sum(masked) if aggregate is jnp.sum else aggregate(masked)
    return found.filled(np.nan) if isinstance(found, np.ma.MaskedArray) else found


def share_explained(model: np.ndarray, null: np.ndarray) -> Any:
    """Compute by what share `model` leaves less than `null`; NaN where that leaves nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(null == 0, np.nan, 1 - model / null)[()]
