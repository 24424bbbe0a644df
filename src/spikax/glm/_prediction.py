"""From linear predictors to means and scores of samples, in programs shared by like lengths."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype

from spikax import links
from spikax._assemble import pad
from spikax.design import padded_length
from spikax.links import InverseLink
from spikax.observation_models import Family, with_scale


def by_output(eta: Any, family: Family) -> Any:
    """Bring columns (n_samples, n_columns) to what a family takes, classes on the first axis."""
    if family.n_outputs == 1:
        return eta
    return jnp.moveaxis(eta.reshape(len(eta), family.n_outputs, -1), 1, 0)


def mean_of(link: InverseLink, eta: np.ndarray) -> np.ndarray:
    """Apply the inverse link, (n_samples, n_neurons); NaN stays NaN."""
    padded = pad(eta, padded_length(len(eta)), canonicalize_dtype(float))
    return np.array(_mean(link, padded))[: len(eta)]


@partial(jax.jit, static_argnums=0)
def _mean(link, eta):
    return jnp.where(jnp.isnan(eta), jnp.nan, link.mean(eta))


def log_probabilities(family: Family, link: InverseLink, eta: np.ndarray) -> np.ndarray:
    """Log-probability of each class, (n_samples, n_neurons, n_classes); NaN stays NaN."""
    padded = pad(eta, padded_length(len(eta)), canonicalize_dtype(float))
    return np.array(_log_mean(family, link, padded))[: len(eta)]


@partial(jax.jit, static_argnums=1)
def _log_mean(family, link, eta):
    return jnp.moveaxis(link.log_mean(by_output(eta, family)), 0, -1)


def sample_scores(
    family: Family, link: InverseLink, eta: np.ndarray, data, score_type: str, scale: np.ndarray
) -> list[np.ndarray]:
    """Score the samples that count: of the model, and for a pseudo-R2 of the null model.

    An entry that is missing for its neuron only becomes that neuron's mean.
    """
    length = padded_length(len(eta))
    dtype = canonicalize_dtype(float)
    weight = data.weight
    valid = weight > 0
    y = np.where(valid, data.y, 0)
    total = weight.sum(axis=0)
    total = np.where(total > 0, total, 1)
    some = valid if valid.shape[1] == 1 else np.tile(valid, family.n_outputs)
    with np.errstate(invalid="ignore"):
        eta = np.where(some, eta, 0)
    scale = scale[None].astype(dtype)
    scores = _scores(
        with_scale(family, scale),
        link,
        score_type == "pseudo-r2-Cohen",
        pad(eta, length, dtype),
        pad(y, length, dtype),
        _null_means(family, weight, y, total).astype(dtype),
        scale,
    )
    kept = valid.any(axis=1)
    out = []
    for score in scores[: 1 if score_type == "log-likelihood" else 2]:
        score = np.array(score)[: len(eta)]
        if valid.shape[1] > 1:
            mean = np.sum(weight * score, axis=0) / total
            score = np.where(valid, score, mean)
        out.append(score[kept])
    return out


def _null_means(family: Family, weight, y, total) -> np.ndarray:
    """Mean of each neuron, (1, n_neurons), or the share of each class, (K, 1, n_neurons)."""
    if family.n_outputs == 1:
        return (np.sum(weight * y, axis=0) / total)[None]
    chosen = (np.sum(weight * (y == k), axis=0) / total for k in range(family.n_outputs))
    return np.stack(list(chosen))[:, None]


@partial(jax.jit, static_argnums=(1, 2))
def _scores(family, link, deviance, eta, y, null_mean, scale):
    eta = by_output(eta, family)
    if family.n_outputs == 1:
        null, null_link = jnp.broadcast_to(null_mean, y.shape), links.resolve("identity")
    else:
        # A class that no sample has is not asked for.
        least = jnp.finfo(y.dtype).tiny
        null = jnp.broadcast_to(jnp.log(jnp.maximum(null_mean, least)), eta.shape)
        null_link = links.LOG_SOFTMAX
    losses = family.loss(eta, y, link), family.loss(null, y, null_link)
    if deviance:
        return [2 * family.precision(scale) * (loss - family.saturated(y)) for loss in losses]
    return [-family.precision(scale) * loss - family.log_normalizer(y, scale) for loss in losses]
