"""The model without features, that scores compare with: an intercept, and the offset."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax._assemble import assemble
from spikax._inputs import Data
from spikax.core.standardise import Standardisation
from spikax.fit import null_theta, null_theta_and_scale
from spikax.links import InverseLink
from spikax.observation_models import Family, with_scale
from spikax.regularizer import NO_PENALTY


class NullModel(NamedTuple):
    """What the observations say without the features, all in float64.

    Its mean is that of the observations, as near as the inverse link comes to it. With an offset
    it is what the link makes of an intercept and the offset.
    """

    link: InverseLink
    n_outputs: int
    level: np.ndarray  # mean of the observations, (n_neurons,), or share of each class, (K, ...)
    at_bound: np.ndarray  # where only an infinite intercept reaches that level, shaped likewise
    intercept: np.ndarray | None  # with an offset, shaped likewise
    scale: np.ndarray  # of the distribution, (n_neurons,)

    def predict(self, n_samples: int, offset: np.ndarray | None) -> np.ndarray:
        """Means, (n_samples, n_neurons), or log-probabilities, (n_samples, n_neurons, K)."""
        if self.intercept is None or offset is None:
            with np.errstate(divide="ignore"):
                level = self.level if self.n_outputs == 1 else np.log(self.level).T
            return np.broadcast_to(level, (n_samples, *level.shape))
        if self.n_outputs == 1:
            eta = self.intercept + np.where(np.isnan(offset), 0, offset)
            mean = np.asarray(_mean(self.link, eta))
            return np.where(self.at_bound, self.level, mean)
        offset = offset.reshape(n_samples, self.n_outputs, -1)
        eta = np.where(self.at_bound, -np.inf, self.intercept) + offset
        return np.moveaxis(np.asarray(_log_mean(self.link, np.moveaxis(eta, 1, 0))), 0, -1)


def fit_null(
    family: Family, link: InverseLink, data: Data, scale: np.ndarray, own_scale: bool
) -> NullModel:
    """Fit the model without features to the samples that count; to be called in 64 bits.

    Parameters
    ----------
    family, link
        Those of the model to compare with.
    data
        Samples, of which the features are not looked at.
    scale
        Scale of that model, (n_neurons,).
    own_scale
        Whether a dispersion that the family estimates is estimated for this model too. Log-
        likelihoods ask for that; deviances are above one saturated model, of one dispersion.
    """
    own_scale = own_scale and family.estimate
    weight = data.weight
    y = np.where(weight > 0, data.y, 0).astype(float)
    total = weight.sum(axis=0)
    total = np.where(total > 0, total, 1)
    if family.n_outputs == 1:
        mean = np.sum(weight * y, axis=0) / total
        at_bound = np.isin(mean, family.mean_bounds)
        level = np.clip(mean, *_reach(link))
    else:
        chosen = [np.sum(weight * (y == k), axis=0) / total for k in range(family.n_outputs)]
        level = np.stack(chosen)
        at_bound = level == 0
    intercept = None
    if data.offset is not None or own_scale:
        objective, samples, *_ = assemble(
            data._replace(X=np.zeros((len(y), 0))),
            mask=None,
            penalty=NO_PENALTY,
            fit_intercept=True,
            family=with_scale(family, scale),
            link=link,
            standardisation=Standardisation(np.zeros(0), np.zeros(0)),
        )
        if own_scale:
            theta, scale = (np.asarray(a) for a in null_theta_and_scale(objective, samples))
        else:
            theta = np.asarray(null_theta(objective, samples))
        intercept = None if data.offset is None else theta.reshape(level.shape)
    return NullModel(link, family.n_outputs, level, at_bound, intercept, scale)


def unless_exact(rate: np.ndarray, y: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Take a neuron's means for its observations where they are but for rounding, all of them."""
    error, size = (np.max(np.abs(a), axis=0, where=known, initial=0) for a in (y - rate, y))
    return np.where(error <= 1e-13 * size, y, rate)


def _reach(link: InverseLink) -> tuple[Any, Any]:
    """Find the lowest and the highest mean that an inverse link has."""
    ends = np.asarray(link.mean(jnp.asarray([-jnp.inf, jnp.inf])))
    return np.fmax(-np.inf, ends.min()), np.fmin(np.inf, ends.max())


_mean = jax.jit(lambda link, eta: link.mean(eta), static_argnums=0)
_log_mean = jax.jit(lambda link, eta: link.log_mean(eta), static_argnums=0)
