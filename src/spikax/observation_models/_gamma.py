"""Positive values whose standard deviation is proportional to their mean."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from scipy import stats

from spikax import links
from spikax._pytrees import register
from spikax.observation_models._observations import Dispersion, Observations


@register
@dataclass(frozen=True)
class GammaObservations(Observations):
    """Positive values whose standard deviation is proportional to their mean.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.observation_models import GammaObservations
    >>> print(GammaObservations().variance(np.array([0.5, 2.0]), 1.0))
    [0.25 4.  ]
    """

    default_link: ClassVar[str] = "one_over_x"
    support: ClassVar[str] = "positive numbers"
    linear_in_y: ClassVar[bool] = True
    dispersion: ClassVar[Any] = Dispersion.MOMENTS

    def allows(self, y):
        """Whether each observation is positive."""
        return y > 0

    def loss(self, eta, y, link, dispersion):
        """Loss `y / mu + log mu`."""
        log_mean = link.log_mean(eta)
        return y * links.resolve("exp").mean(-log_mean) + log_mean

    def saturated(self, y, dispersion):
        """Loss at `mu = y`."""
        return 1 + _log_positive(y)

    def log_normalizer(self, y, dispersion):
        """Normaliser of a Gamma density of shape `1 / dispersion`."""
        shape = 1 / jnp.asarray(dispersion)
        return gammaln(shape) - shape * jnp.log(shape) - (shape - 1) * _log_positive(y)

    def variance(self, mean, dispersion):
        """Variance `dispersion mu^2`."""
        return dispersion * mean**2

    def sample(self, key, mean, dispersion):
        """Draw values."""
        shape = jnp.broadcast_to(1 / jnp.asarray(dispersion, mean.dtype), mean.shape)
        drawn = jax.random.gamma(key, shape, dtype=mean.dtype) / shape * mean
        # What is too small for the precision must not become zero, which is no observation.
        return jnp.where(mean > 0, jnp.maximum(drawn, jnp.finfo(mean.dtype).tiny), drawn)

    def distribution(self, mean, dispersion):
        """Gamma distribution."""
        return stats.gamma(1 / dispersion, scale=mean * dispersion)


def _log_positive(y: jax.Array) -> jax.Array:
    # Entries that are ignored are zero.
    return jnp.log(jnp.where(y > 0, y, 1))
