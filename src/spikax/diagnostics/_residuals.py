"""Residuals: deviance, Pearson's and quantile."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from spikax import observation_models
from spikax._errors import unknown_name
from spikax.diagnostics._checks import aligned, check_scale
from spikax.glm._prediction import rate_scores

RESIDUALS = ("deviance", "pearson", "quantile")


def residuals(
    y,
    predicted_rate,
    kind: str = "deviance",
    *,
    observation_model: Any = "Poisson",
    scale: Any = None,
    random_key: jax.Array | None = None,
) -> np.ndarray:
    r"""Compute residuals.

    Deviance residuals are :math:`\mathrm{sign}(y - \mu) \sqrt{d(y, \mu)}`, Pearson's
    :math:`(y - \mu) / \sqrt{\phi V(\mu)}`. Quantile residuals :math:`\Phi^{-1}(u)`, with u drawn
    between the probabilities of less than y and of at most y, are exactly normal for a true
    model, for counts and small rates too (Dunn & Smyth 1996). Residuals of a classifier are those
    of the indicator of each class, which is Bernoulli: pass `y[:, None] == model.classes_`, the
    probabilities, and observation_model="Bernoulli".

    Parameters
    ----------
    y
        Observations, (n_samples,) or (n_samples, n_neurons).
    predicted_rate
        Their predicted means, of the same shape.
    kind
        "deviance" (default), "pearson" or "quantile".
    observation_model
        Name of the observation model, or one (default "Poisson").
    scale
        Scale of the distribution, `scale_` of a model; a scalar or (n_neurons,). None (default) is
        1; a dispersion that is estimated has no default.
    random_key
        Random key, from `jax.random.key`, for quantile residuals.

    Returns
    -------
    array
        Residuals, shaped like `y`; NaN where `y` or the prediction is.

    Raises
    ------
    ValueError
        If a name is unknown, shapes differ, values are impossible, or the scale or the key is
        missing.

    References
    ----------
    McCullagh & Nelder (1989), Generalized Linear Models, section 2.4. Dunn & Smyth (1996),
    Journal of Computational and Graphical Statistics 5.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.diagnostics import residuals
    >>> residuals(np.array([0.0, 4.0]), np.array([1.0, 1.0]), "pearson")
    array([-1.,  3.])
    """
    if kind not in RESIDUALS:
        raise unknown_name("kind", kind, RESIDUALS)
    model = observation_models.resolve(observation_model)
    observed, rate = aligned(y, predicted_rate, model)
    scale = check_scale(scale, model, observed.shape[1])
    if kind == "deviance":
        _, deviance = rate_scores(model, observed, rate, scale)
        values = np.sign(observed - rate) * np.sqrt(np.maximum(deviance, 0))
    elif kind == "pearson":
        with jax.enable_x64(True), np.errstate(divide="ignore", invalid="ignore"):
            variance = np.asarray(model.variance(jnp.asarray(rate), scale))
            values = (observed - rate) / np.sqrt(variance)
    else:
        if random_key is None:
            raise ValueError(
                "Quantile residuals are drawn: pass random_key=jax.random.key(0), or another seed."
            )
        values = _quantile_residuals(model, observed, rate, scale, random_key)
    return values.reshape(np.shape(y))


def _quantile_residuals(model, y, rate, scale, random_key) -> np.ndarray:
    """Compute normal quantiles of probabilities, drawn within the steps of discrete ones."""
    distribution = model.distribution(rate, scale)
    if distribution is None:
        raise ValueError(
            f"The distribution of {model.name} observations is not known here: use "
            "kind='deviance' or 'pearson'."
        )
    seed = np.asarray(jax.random.key_data(random_key)).ravel()
    uniform = np.random.default_rng(seed).uniform(size=y.shape)
    discrete = isinstance(distribution.dist, stats.rv_discrete)
    before = y - 1 if discrete else y
    below, above = (
        tail(before) + uniform * (tail(y) - tail(before))
        for tail in (distribution.cdf, distribution.sf)
    )
    # Each tail is resolved from its own end.
    return np.where(below < 0.5, stats.norm.ppf(below), stats.norm.isf(above))
