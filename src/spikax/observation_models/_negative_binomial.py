"""Counts whose variance exceeds their mean."""

# What is constant of other models depends on a parameter here.
# pyright: reportIncompatibleVariableOverride=false, reportIncompatibleMethodOverride=false

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, xlogy
from scipy import stats

from spikax._pytrees import register
from spikax.observation_models._dispersion import check_scale, log1p_share, log_rising
from spikax.observation_models._draws import draw_counts
from spikax.observation_models._observations import Dispersion, Observations


@register
@dataclass(frozen=True)
class NegativeBinomialObservations(Observations):
    """Counts whose variance exceeds their mean: `mu + scale mu^2`; Poisson at a scale of zero.

    The size (or shape) of the distribution, NB2, is `1 / scale`.

    Parameters
    ----------
    scale
        The dispersion, a number of at least zero (default 1); or "estimate", to find each neuron's
        together with its coefficients by maximum likelihood; or "features", for a logarithm that
        is a linear predictor, with features of its own where `X` is
        ``{"mean": ..., "dispersion": ...}`` (as `dispformula` of R's glmmTMB), and otherwise
        constant.

    Raises
    ------
    ValueError
        If the scale is negative or not finite.
    TypeError
        If it is neither a number nor one of these words.

    References
    ----------
    Lawless (1987), Canadian Journal of Statistics 15, 209-225. Smyth (1989), Generalized linear
    models with varying dispersion, J. R. Stat. Soc. B 51, 47.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> nmo.observation_models.NegativeBinomialObservations(scale=0.5)
    NegativeBinomialObservations(scale=0.5)

    Counts that scatter more where a feature is high:

    >>> rng = np.random.default_rng(0)
    >>> X, Z = rng.normal(size=(2000, 2)), rng.normal(size=(2000, 1))
    >>> size = np.exp(0.5 - 0.8 * Z[:, 0])
    >>> y = rng.poisson(np.exp(1 + 0.3 * X[:, 0]) * rng.gamma(size, 1 / size))
    >>> family = nmo.observation_models.NegativeBinomialObservations("features")
    >>> model = nmo.glm.GLM(family).fit({"mean": X, "dispersion": Z}, y)
    >>> bool(abs(model.coef_["dispersion"][0] - 0.8) < 0.2)
    True
    """

    support: ClassVar[str] = "non-negative counts"
    counts_spikes: ClassVar[bool] = True
    reduces_to: ClassVar[str] = "Poisson"
    more_links: ClassVar[tuple[str, ...]] = ("exp",)

    scale: Any = 1.0

    def __post_init__(self):
        """Check the scale."""
        check_scale(self.scale, ("estimate", "features"))

    @property
    def predictors(self):
        """The mean, and the dispersion where that has features."""
        return ("mean", "dispersion") if _is(self.scale, "features") else ("mean",)

    @property
    def linear_in_y(self):
        """Whether there is one predictor."""
        return self.n_predictors == 1

    @property
    def parameter_bounds(self):
        """Positive."""
        return ((0.0, np.inf),) * 2 if self.n_predictors == 2 else self.mean_bounds

    @property
    def dispersion(self):
        """Whether the scale is known or estimated, or has a predictor."""
        if self.n_predictors == 2:
            return Dispersion.NONE
        return Dispersion.ESTIMATED if _is(self.scale, "estimate") else Dispersion.KNOWN

    def allows(self, y):
        """Whether each observation is non-negative."""
        return y >= 0

    def loss(self, eta, y, link, dispersion):
        """Loss `(y + 1 / scale) log(1 + scale mu) - y log mu`.

        Of a scale that has features less `log_rising`, which depends on it.
        """
        if self.n_predictors == 1:
            return _loss(link.mean(eta), link.log_mean(eta), y, dispersion)
        scale = link[1].mean(eta[1])
        loss = _loss(link[0].mean(eta[0]), link[0].log_mean(eta[0]), y, scale)
        return loss - log_rising(y, scale)

    def saturated(self, y, dispersion):
        """Loss at `mu = y`; of a scale that has features at none, which is likeliest there."""
        if self.n_predictors == 2:
            return y - xlogy(y, y)
        excess = dispersion * y
        return y * (log1p_share(excess) + jnp.log1p(excess)) - xlogy(y, y)

    def log_normalizer(self, y, dispersion):
        """Part of the log-density that has no predictor: `log y!` less `log_rising`."""
        if self.n_predictors == 2:
            return gammaln(y + 1)
        return gammaln(y + 1) - log_rising(y, dispersion)

    def mean(self, parameters):
        """Give the first of two parameters."""
        return parameters if self.n_predictors == 1 else parameters[0]

    def statistics(self, y):
        """Take the counts, and their squares where the dispersion has features."""
        return y[None] if self.n_predictors == 1 else jnp.stack([y, y**2])

    def start(self, means):
        """Give the mean, and the dispersion by moments."""
        if self.n_predictors == 1:
            return means[0]
        mean, square = means
        excess = (square - mean - mean**2) / jnp.maximum(mean, 1e-6) ** 2
        return jnp.stack([mean, jnp.clip(excess, 0.01, 100.0)])

    def variance(self, mean, dispersion):
        """Variance `mu + scale mu^2`."""
        mean, scale = self._both(mean, dispersion)
        return mean + scale * mean**2

    def sample(self, key, mean, dispersion):
        """Draw counts: Poisson counts of rates that scatter as a Gamma."""
        mean, scale = self._both(mean, dispersion)
        rate_key, count_key = jax.random.split(key)
        scale = jnp.broadcast_to(jnp.asarray(scale, mean.dtype), mean.shape)
        shape = 1 / jnp.maximum(scale, 1e-6)
        scatter = jax.random.gamma(rate_key, shape, dtype=mean.dtype) / shape
        return draw_counts(count_key, mean * jnp.where(scale > 1e-6, scatter, 1))

    def distribution(self, mean, dispersion):
        """Negative binomial distribution."""
        mean, scale = self._both(mean, dispersion)
        # A scale of zero, which is Poisson, is a limit that SciPy's formula does not take.
        scale = np.maximum(scale, 1e-9)
        return stats.nbinom(1 / scale, 1 / (1 + scale * mean))

    def _both(self, mean, dispersion):
        return mean if self.n_predictors == 2 else (mean, dispersion)


def _is(scale: Any, word: str) -> bool:
    return isinstance(scale, str) and scale == word


def _loss(mean: jax.Array, log_mean: jax.Array, y: jax.Array, scale: Any) -> jax.Array:
    scale = jnp.asarray(scale, mean.dtype)
    excess = scale * jnp.maximum(mean, 0)
    large = excess > 1
    # Each form holds where it keeps its digits, and both derivatives where it does not.
    positive = jnp.where(large, scale, 1.0)
    log_excess = jnp.log(positive) + jnp.where(large, log_mean, 0.0)
    far = jax.nn.softplus(log_excess) / positive + y * (
        jax.nn.softplus(-log_excess) + jnp.log(positive)
    )
    mean, excess = jnp.where(large, 1.0, mean), jnp.where(large, 1.0, excess)
    near = mean * log1p_share(excess) + y * (jnp.log1p(excess) - log_mean)
    return jnp.where(large, far, near)
