"""The model without features, that scores compare with: an intercept, and the offset."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax._assemble import assemble
from spikax._inputs import Data
from spikax.core.penalties import NO_PENALTY
from spikax.core.standardise import Standardisation, pad
from spikax.design import padded_length
from spikax.fit import null_theta, null_theta_and_scale
from spikax.observation_models import Likelihood
from spikax.observation_models._observations import Links


class NullModel(NamedTuple):
    """What the observations say without the features, all in float64.

    Where the log-likelihood is linear in y, its mean is that of the observations, as near as the
    inverse link comes to it. Otherwise, or with an offset, it is what the link makes of the
    likeliest intercepts, and the offset.
    """

    likelihood: Likelihood
    constant: np.ndarray  # parameters, (*predictor, n_neurons), as `Observations.start` gives them
    at_bound: np.ndarray  # where only an infinite intercept reaches these, shaped likewise
    intercept: np.ndarray | None  # shaped likewise
    scale: np.ndarray  # of the distribution, (n_neurons,)

    def predict(self, n_samples: int, offset: np.ndarray | None) -> np.ndarray:
        """Means, (n_samples, n_neurons), or what several predictors stand for, on a last axis."""
        family, several = self.likelihood.family, self.constant.shape[:-1]
        if self.intercept is None:
            with np.errstate(divide="ignore"):
                rates = np.asarray(family.rates(jnp.asarray(self.constant)))
            return np.broadcast_to(rates, (n_samples, *rates.shape))
        eta = np.broadcast_to(self.intercept, (n_samples, *self.intercept.shape))
        if offset is not None:
            eta = eta + np.where(np.isnan(offset), 0, offset).reshape(n_samples, *several, -1)
        if family.sum_to_zero:  # the other classes share what one at its bound leaves
            eta = np.where(self.at_bound[None], -np.inf, eta)
            return _padded(_log_probability, self.likelihood, eta)
        return _padded(_rates, self.likelihood, eta, self.constant, self.at_bound)


def _padded(function: Callable, likelihood: Likelihood, eta: np.ndarray, *arrays) -> np.ndarray:
    """Apply a function to rows of predictors, (n_samples, *predictor, n_neurons)."""
    padded = pad(eta, padded_length(len(eta)), float)
    return np.asarray(function(likelihood.by_row(), padded, *arrays))[: len(eta)]


@jax.jit
def _rates(likelihood, eta, constant, at_bound) -> jax.Array:
    by_predictor = jnp.moveaxis(eta, 1, 0) if eta.ndim == 3 else eta
    parameters = likelihood.parameters(by_predictor)
    constant, at_bound = (jnp.expand_dims(a, -2) for a in (constant, at_bound))
    return likelihood.family.rates(jnp.where(at_bound, constant, parameters))


@jax.jit
def _log_probability(likelihood, eta) -> jax.Array:
    return jnp.moveaxis(likelihood.link.log_mean(jnp.moveaxis(eta, 1, 0)), 0, -1)


@jax.jit
def _mean_statistics(likelihood, y, weight) -> jax.Array:
    # Summed alike, so that the mean of what is always one is exactly one.
    every = jnp.concatenate([likelihood.family.statistics(y), jnp.ones_like(y)[None]])
    *summed, total = jnp.sum(weight[None] * every, axis=1)
    return jnp.stack(summed) / jnp.where(total > 0, total, 1)[None]


def fit_null(likelihood: Likelihood, data: Data, scale: np.ndarray, own_scale: bool) -> NullModel:
    """Fit the model without features to the samples that count; to be called in 64 bits.

    Parameters
    ----------
    likelihood
        That of the model to compare with.
    data
        Samples, of which the features are not looked at.
    scale
        Scale of that model, (n_neurons,).
    own_scale
        Whether a dispersion that is estimated is estimated for this model too. Log-likelihoods ask
        for that; deviances are above one saturated model, of one dispersion.
    """
    family = likelihood.family
    own_scale = own_scale and likelihood.estimated
    weight = data.weight
    y = np.where(weight > 0, data.y, 0).astype(float)
    length = padded_length(len(y))
    padded = pad(y, length, float), pad(np.broadcast_to(weight, y.shape), length, float)
    constant = np.asarray(family.start(_mean_statistics(likelihood.by_row(), *padded)))
    bounds = np.asarray(family.parameter_bounds, float)[..., None]
    at_bound = (constant == bounds[..., 0, :]) | (constant == bounds[..., 1, :])
    if family.linear_in_y and family.n_predictors == 1:
        constant = np.clip(constant, *_range(likelihood.link))
    intercept = None
    if data.offset is not None or own_scale or not family.linear_in_y:
        objective, samples, *_ = assemble(
            data._replace(X=np.zeros((len(y), 0))),
            mask=None,
            penalty=NO_PENALTY,
            fit_intercept=True,
            likelihood=Likelihood.of(family, likelihood.link, scale),
            standardisation=Standardisation(np.zeros(0), np.zeros(0)),
        )
        if own_scale:
            theta, scale = (np.asarray(a) for a in null_theta_and_scale(objective, samples))
        else:
            theta = np.asarray(null_theta(objective, samples))
        if data.offset is not None or not family.linear_in_y:
            intercept = theta.reshape(constant.shape)
    return NullModel(likelihood, constant, at_bound, intercept, scale)


def unless_exact(rate: np.ndarray, y: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Take a neuron's means for its observations where they are but for rounding, all of them."""
    error, size = (np.max(np.abs(a), axis=0, where=known, initial=0) for a in (y - rate, y))
    return np.where(error <= 1e-13 * size, y, rate)


def _range(link: Links) -> tuple[Any, Any]:
    """Find the lowest and the highest mean that an inverse link has."""
    ends = np.asarray(link.mean(jnp.asarray([-jnp.inf, jnp.inf])))  # pyright: ignore
    return np.fmax(-np.inf, ends.min()), np.fmin(np.inf, ends.max())
