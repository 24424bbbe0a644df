"""From linear predictors to means and scores of samples, in programs shared by like lengths."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from spikax import links
from spikax._assemble import pad, padded_length
from spikax.links import InverseLink
from spikax.observation_models import Family


def mean_of(link: InverseLink, eta: np.ndarray) -> np.ndarray:
    """Apply the inverse link, (n_samples, n_neurons); NaN stays NaN."""
    length = padded_length(len(eta))
    return np.array(_mean(link, pad(eta, length, jnp.result_type(float))))[: len(eta)]


@partial(jax.jit, static_argnums=0)
def _mean(link, eta):
    return jnp.where(jnp.isnan(eta), jnp.nan, link.mean(eta))


def sample_scores(
    family: Family, link: InverseLink, eta: np.ndarray, data, score_type: str, scale: np.ndarray
) -> list[np.ndarray]:
    """Score the samples that count: of the model, and for a pseudo-R2 of the null model.

    An entry that is missing for its neuron only becomes that neuron's mean.
    """
    length = padded_length(len(eta))
    dtype = jnp.result_type(float)
    weight = data.weight
    valid = weight > 0
    y = np.where(valid, data.y, 0)
    total = weight.sum(axis=0)
    total = np.where(total > 0, total, 1)
    with np.errstate(invalid="ignore"):
        eta = np.where(valid, eta, 0)
    null_mean = (np.sum(weight * y, axis=0) / total).astype(dtype)
    scores = _scores(
        family,
        link,
        score_type == "pseudo-r2-Cohen",
        pad(eta, length, dtype),
        pad(y, length, dtype),
        null_mean[None],
        scale[None].astype(dtype),
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


@partial(jax.jit, static_argnums=(0, 1, 2))
def _scores(family, link, deviance, eta, y, null_mean, scale):
    losses = (
        family.loss(eta, y, link),
        family.loss(jnp.broadcast_to(null_mean, y.shape), y, links.resolve("identity")),
    )
    if deviance:
        return [2 * family.precision(scale) * (loss - family.saturated(y)) for loss in losses]
    return [-family.precision(scale) * loss - family.log_normalizer(y, scale) for loss in losses]
