"""Counts out of a number of trials, that vary at least as much as a binomial."""

# What is constant of other models depends on a parameter here.
# pyright: reportIncompatibleVariableOverride=false, reportIncompatibleMethodOverride=false

from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from scipy import stats

from spikax._pytrees import register
from spikax.links import MEANS
from spikax.observation_models._dispersion import check_scale, log_rising
from spikax.observation_models._observations import Dispersion, Observations


@register
@dataclass(frozen=True)
class BetaBinomialObservations(Observations):
    r"""Counts out of n trials whose probability varies as a Beta; binomial at a scale of zero.

    With :math:`p = \mu / n` and the scale :math:`\phi = 1 / (\alpha + \beta)` of the Beta
    distribution, the variance is :math:`n p (1 - p) (1 + (n - 1) \rho)`: the trials of a sample
    correlate by :math:`\rho = \phi / (1 + \phi)`.

    Parameters
    ----------
    n_trials
        Number of trials of each sample, at least one.
    scale
        The dispersion, a number of at least zero, or "estimate" (default), to find each neuron's
        together with its coefficients by maximum likelihood. Zero is the binomial distribution.

    Raises
    ------
    ValueError
        If there is no trial, or the scale is negative or not finite.
    TypeError
        If `n_trials` is not a whole number, or the scale neither a number nor "estimate".

    Notes
    -----
    The inverse link leads to the probability p (`logistic` by default), and the mean that is
    predicted is the expected count, n p.

    References
    ----------
    Prentice (1986), Binary regression using an extended beta-binomial distribution, JASA 81, 321.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 1))
    >>> p = 1 / (1 + np.exp(-X[:, 0]))
    >>> y = rng.binomial(10, rng.beta(4 * p, 4 * (1 - p)))
    >>> family = nmo.observation_models.BetaBinomialObservations(n_trials=10)
    >>> model = nmo.glm.GLM(family).fit(X, y)
    >>> model.coef_.round(1), bool(abs(model.scale_ - 0.25) < 0.05)
    (array([1.]), True)
    """

    default_link: ClassVar[str] = "logistic"
    reduces_to: ClassVar[str] = "binomial"

    n_trials: int = field(metadata={"static": True})
    scale: Any = "estimate"

    def __post_init__(self):
        """Check the number of trials and the scale."""
        if not isinstance(self.n_trials, Integral) or isinstance(self.n_trials, bool):
            raise TypeError(f"n_trials must be a whole number, got {self.n_trials!r}.")
        if self.n_trials < 1:
            raise ValueError(f"n_trials must be at least 1, got {self.n_trials}.")
        check_scale(self.scale, ("estimate",))

    @property
    def mean_bounds(self):
        """From none to all trials."""
        return (0.0, float(self.n_trials))

    @property
    def support(self):
        """Counts of successes."""
        return f"whole numbers from 0 to n_trials={self.n_trials}"

    @property
    def dispersion(self):
        """Whether the scale is known or estimated."""
        return Dispersion.ESTIMATED if isinstance(self.scale, str) else Dispersion.KNOWN

    def allows(self, y):
        """Whether each observation is a number of the trials."""
        return (y >= 0) & (y <= self.n_trials) & (y % 1 == 0)

    def loss(self, eta, y, link, dispersion):
        r"""Loss `-sum_{k<y} log(p + k phi) - sum_{k<n-y} log(1 - p + k phi)`."""
        p = link.mean(eta)
        successes = _log_product(y, p, link.log_mean(eta), dispersion)
        failures = _log_product(self.n_trials - y, 1 - p, link.log_complement(eta), dispersion)
        return -successes - failures

    def log_normalizer(self, y, dispersion):
        """Sum the other factors: `sum_{k<n} log(1 + k phi) - log binomial(n, y)`."""
        n = jnp.asarray(self.n_trials, y.dtype)
        ways = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
        return log_rising(n, dispersion) - ways

    def saturated(self, y, dispersion):
        """Loss at the likeliest mean of each count, which is `y` for a binomial."""
        p = _likeliest_probability(y, self.n_trials, dispersion)
        p = jnp.where((y == 0) | (y == self.n_trials), 0.5, p)
        inside = self.loss(p, y, MEANS, dispersion)
        # Where all trials are alike, the likeliest probability is that of a certain outcome.
        certain = -log_rising(jnp.asarray(self.n_trials, y.dtype), dispersion)
        return jnp.where((y == 0) | (y == self.n_trials), certain, inside)

    def parameters(self, eta, link):
        """Mean `n p`."""
        return self.n_trials * link.mean(eta)

    def predictor(self, parameters, link):
        """Predictor of a mean `n p`."""
        return link.predictor(parameters / self.n_trials)

    def at_mean(self, mean):
        """Give the probability as the predictor."""
        return mean / self.n_trials, MEANS

    def variance(self, mean, dispersion):
        """Variance `n p (1 - p) (1 + (n - 1) phi / (1 + phi))`."""
        n = self.n_trials
        return mean * (1 - mean / n) * (1 + (n - 1) * dispersion / (1 + dispersion))

    def sample(self, key, mean, dispersion):
        """Draw counts: binomial counts of probabilities that scatter as a Beta."""
        of_probability, of_count = jax.random.split(key)
        p = mean / self.n_trials
        scale = jnp.broadcast_to(jnp.asarray(dispersion, mean.dtype), mean.shape)
        size = 1 / jnp.maximum(scale, 1e-6)
        tiny = jnp.finfo(p.dtype).tiny
        scattered = jax.random.beta(
            of_probability, jnp.maximum(p * size, tiny), jnp.maximum((1 - p) * size, tiny)
        )
        p = jnp.where(scale > 1e-6, scattered, p)
        return jax.random.binomial(of_count, self.n_trials, p).astype(jnp.int32)

    def distribution(self, mean, dispersion):
        """Beta-binomial distribution."""
        size, p = 1 / np.maximum(dispersion, 1e-9), mean / self.n_trials
        return stats.betabinom(self.n_trials, p * size, (1 - p) * size)


def _log_product(m: jax.Array, p: jax.Array, log_p: jax.Array, scale: Any) -> jax.Array:
    """Logarithm of `prod_{k<m} (p + k scale)`, finite for any `log_p`.

    The first factor is p, and the others are those of `log_rising` about `p + scale`.
    """
    scale = jnp.asarray(scale, log_p.dtype)
    tiny = jnp.finfo(log_p.dtype).tiny
    sizable = p + scale > 1e3 * tiny
    first = jnp.where(sizable, p + scale, 1.0)
    log_first = jnp.where(sizable, jnp.log(first), log_p)
    more = jnp.maximum(m - 1, 0)
    others = more * log_first + log_rising(more, scale / first)
    return jnp.where(m > 0, jnp.where(m > 0, log_p, 0.0) + others, 0.0)


@partial(jax.jit, static_argnums=1)
def _likeliest_probability(y: jax.Array, n_trials: int, scale: Any) -> jax.Array:
    """Maximise the likelihood, which is concave in p, by halving where its derivative is zero.

    The derivative is `sum_{k<y} 1 / (p + k scale) - sum_{k<n-y} 1 / (1 - p + k scale)`.
    """

    def slope(p):
        def add(k, total):
            success = jnp.where(k < y, 1 / (p + k * scale), 0)
            failure = jnp.where(k < n_trials - y, 1 / (1 - p + k * scale), 0)
            return total + success - failure

        return jax.lax.fori_loop(0, n_trials, add, jnp.zeros_like(p))

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        rises = slope(middle) > 0
        return jnp.where(rises, middle, low), jnp.where(rises, high, middle)

    low, high = jax.lax.fori_loop(0, 60, halve, (jnp.zeros_like(y), jnp.ones_like(y)))
    return (low + high) / 2
