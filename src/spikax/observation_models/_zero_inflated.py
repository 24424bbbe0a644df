"""Poisson counts with more zeros, or fewer, than a Poisson has."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, xlogy
from scipy import stats

from spikax._pytrees import register
from spikax.observation_models._draws import draw_counts
from spikax.observation_models._observations import Observations


class _CountsAndZeros(Observations):
    """Counts with a linear predictor of their rate, and another of their zeros."""

    predictors: ClassVar[Any] = ("rate", "zero")
    more_links: ClassVar[tuple[str, ...]] = ("logistic",)
    support: ClassVar[str] = "non-negative counts"
    counts_spikes: ClassVar[bool] = True

    @property
    def parameter_bounds(self):
        """A rate, and a probability."""
        return ((0.0, np.inf), (0.0, 1.0))

    def allows(self, y):
        """Whether each observation is a non-negative whole number."""
        return (y >= 0) & (y % 1 == 0)

    def saturated(self, y, dispersion):
        """Loss at a rate of `y` without other zeros."""
        return y - xlogy(y, y)

    def log_normalizer(self, y, dispersion):
        """Log of `y!`."""
        return gammaln(y + 1)


@register
@dataclass(frozen=True)
class ZeroInflatedPoissonObservations(_CountsAndZeros):
    r"""Poisson counts, but for a share of samples that are zero whatever the rate.

    .. math:: p(0) = \pi + (1 - \pi) e^{-\lambda}, \quad
        p(y) = (1 - \pi) e^{-\lambda} \lambda^y / y!

    There are two linear predictors: of the rate :math:`\lambda` (inverse link `exp`) and of the
    probability of an inflated zero :math:`\pi` (inverse link `logistic`). The second is constant,
    or has features of its own where `X` is ``{"rate": ..., "zero": ...}``, as `ziformula` of
    R's glmmTMB and `exog_infl` of statsmodels.

    References
    ----------
    Lambert (1992), Zero-inflated Poisson regression, Technometrics 34, 1.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X, Z = rng.normal(size=(2000, 1)), rng.normal(size=(2000, 1))
    >>> asleep = rng.uniform(size=2000) < 1 / (1 + np.exp(1 - Z[:, 0]))
    >>> y = np.where(asleep, 0, rng.poisson(np.exp(1 + 0.3 * X[:, 0])))
    >>> model = nmo.glm.GLM("ZeroInflatedPoisson").fit({"rate": X, "zero": Z}, y)
    >>> model.coef_["rate"].round(1), model.coef_["zero"].round(0), model.intercept_.round(0)
    (array([0.3]), array([1.]), array([ 1., -1.]))
    """

    reduces_to: ClassVar[str] = "Poisson"

    def loss(self, eta, y, link, dispersion):
        """Negative log-likelihood but for `log y!`."""
        rate, log_rate = jnp.maximum(link[0].mean(eta[0]), 0), link[0].log_mean(eta[0])
        log_zero, log_count = link[1].log_mean(eta[1]), link[1].log_complement(eta[1])
        zero = jnp.logaddexp(log_zero, log_count - rate)
        return -jnp.where(y == 0, zero, log_count - rate + _xlogy(y, log_rate))

    def mean(self, parameters):
        """Mean `(1 - pi) lambda`."""
        rate, zero = parameters
        return (1 - zero) * rate

    def statistics(self, y):
        """Take the counts and their squares."""
        return jnp.stack([y, y**2])

    def start(self, means):
        """By moments: the factorial moments are `(1 - pi) lambda` and `(1 - pi) lambda^2`."""
        mean, square = means
        rate = jnp.where(mean > 0, (square - mean) / jnp.where(mean > 0, mean, 1), 0)
        rate = jnp.maximum(rate, mean / 0.99)
        return jnp.stack([rate, 1 - jnp.where(rate > 0, mean / jnp.where(rate > 0, rate, 1), 0.5)])

    def variance(self, mean, dispersion):
        """Variance `(1 - pi) lambda (1 + pi lambda)`."""
        rate, zero = mean
        return (1 - zero) * rate * (1 + zero * rate)

    def sample(self, key, mean, dispersion):
        """Draw counts."""
        rate, zero = mean
        of_zero, of_count = jax.random.split(key)
        inflated = jax.random.bernoulli(of_zero, zero)
        return jnp.where(inflated, 0, draw_counts(of_count, rate))

    def distribution(self, mean, dispersion):
        """Mixture of zero and a Poisson distribution."""
        rate, zero = mean
        return _WithZeros(stats.poisson(rate), zero)


@register
@dataclass(frozen=True)
class HurdlePoissonObservations(_CountsAndZeros):
    r"""Zeros with a probability of their own, and Poisson counts that are at least one.

    .. math:: p(0) = \pi, \quad
        p(y) = (1 - \pi) \frac{e^{-\lambda} \lambda^y}{y! (1 - e^{-\lambda})}

    There may be fewer zeros than of a Poisson, or more. There are two linear predictors: of the
    rate :math:`\lambda` of the Poisson that is truncated (inverse link `exp`) and of the
    probability of a zero :math:`\pi` (inverse link `logistic`). The second is constant, or has
    features of its own where `X` is ``{"rate": ..., "zero": ...}``.

    References
    ----------
    Mullahy (1986), Specification and testing of some modified count data models, Journal of
    Econometrics 33, 341.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(2000, 1))
    >>> y = np.where(rng.uniform(size=2000) < 0.3, 0, 1 + rng.poisson(0.2, size=2000))
    >>> model = nmo.glm.GLM("HurdlePoisson").fit(X, y)
    >>> bool(abs(model.predict(X).mean() - y.mean()) < 0.01)
    True
    """

    reduces_to: ClassVar[str] = "truncated Poisson"

    def loss(self, eta, y, link, dispersion):
        """Negative log-likelihood but for `log y!`."""
        rate, log_rate = jnp.maximum(link[0].mean(eta[0]), 0), link[0].log_mean(eta[0])
        log_zero, log_count = link[1].log_mean(eta[1]), link[1].log_complement(eta[1])
        # log(1 - exp(-rate)) = log(rate) + log_share(rate), the first of which may be far below.
        truncated = _xlogy(jnp.maximum(y - 1, 0), log_rate) - rate - _log_share(rate)
        return -jnp.where(y == 0, log_zero, log_count + truncated)

    def mean(self, parameters):
        """Mean `(1 - pi) lambda / (1 - exp(-lambda))`."""
        rate, zero = parameters
        return (1 - zero) * jnp.exp(-_log_share(rate))

    def statistics(self, y):
        """Take the counts, and which are zero."""
        return jnp.stack([y, (y == 0).astype(y.dtype)])

    def start(self, means):
        """Share of zeros, and the rate whose truncated mean is that of the other counts."""
        mean, zero = means
        positive = jnp.where(zero < 1, mean / jnp.where(zero < 1, 1 - zero, 1), 1)

        def step(_, rate):
            return positive * -jnp.expm1(-rate)

        rate = jax.lax.fori_loop(0, 50, step, positive)
        return jnp.stack([jnp.where(zero < 1, jnp.maximum(rate, 1e-3), 0), zero])

    def variance(self, mean, dispersion):
        """Variance `mu (1 + lambda) - mu^2`, with the mean mu."""
        rate, zero = mean
        positive = jnp.exp(-_log_share(rate))
        expected = (1 - zero) * positive
        return expected * (1 + rate) - expected**2

    def sample(self, key, mean, dispersion):
        """Draw counts: those above zero by the time of a first event, and the others after it."""
        rate, zero = mean
        of_zero, of_first, of_rest = jax.random.split(key, 3)
        u = jax.random.uniform(of_first, rate.shape, rate.dtype)
        first = -jnp.log1p(u * jnp.expm1(-rate))
        count = 1 + draw_counts(of_rest, jnp.maximum(rate - first, 0))
        return jnp.where(jax.random.bernoulli(of_zero, zero), 0, count)

    def distribution(self, mean, dispersion):
        """Mixture of zero and a truncated Poisson distribution."""
        rate, zero = mean
        return _WithZeros(_Truncated(stats.poisson(rate)), zero)


def _xlogy(y: jax.Array, log: jax.Array) -> jax.Array:
    """`y log`, zero where `y` is, of whatever logarithm."""
    return jnp.where(y == 0, 0.0, y * jnp.where(y == 0, 0.0, log))


def _log_share(rate: jax.Array) -> jax.Array:
    """`log((1 - exp(-rate)) / rate)`, which is zero at zero, by its series where that cancels."""
    small = rate < 1e-2
    far, near = jnp.where(small, 1.0, rate), jnp.where(small, rate, 0.0)
    return jnp.where(small, -near / 2 + near**2 / 24, jnp.log1p(-jnp.exp(-far)) - jnp.log(far))


class _Truncated:
    """A distribution of counts given that they are above zero."""

    def __init__(self, counts: Any):
        self.counts, self.dist, self.above = counts, counts.dist, counts.sf(0)

    def sf(self, y):
        """Probability of more than `y`."""
        return np.where(y < 1, 1.0, self.counts.sf(y) / self.above)

    def cdf(self, y):
        """Probability of at most `y`."""
        return np.where(y < 1, 0.0, (self.counts.cdf(y) - self.counts.cdf(0)) / self.above)


class _WithZeros:
    """A mixture of zeros and a distribution of counts."""

    def __init__(self, counts: Any, zero: Any):
        self.counts, self.zero, self.dist = counts, zero, counts.dist

    def sf(self, y):
        """Probability of more than `y`."""
        return np.where(y < 0, 1.0, (1 - self.zero) * self.counts.sf(y))

    def cdf(self, y):
        """Probability of at most `y`."""
        return np.where(y < 0, 0.0, self.zero + (1 - self.zero) * self.counts.cdf(y))
