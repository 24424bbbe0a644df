"""Real values with a constant variance."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from spikax._pytrees import register
from spikax.observation_models._observations import Dispersion, Observations


@register
@dataclass(frozen=True)
class GaussianObservations(Observations):
    """Real values with a constant variance, the scale.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.observation_models import GaussianObservations
    >>> print(GaussianObservations().variance(np.array([-1.0, 2.0]), 0.5))
    [0.5 0.5]
    """

    default_link: ClassVar[str] = "identity"
    mean_bounds: ClassVar[Any] = (-np.inf, np.inf)
    support: ClassVar[str] = "real numbers"
    linear_in_y: ClassVar[bool] = True
    dispersion: ClassVar[Any] = Dispersion.MOMENTS

    def loss(self, eta, y, link, dispersion):
        """Squared error `(y - mu)^2`."""
        return (y - link.mean(eta)) ** 2

    def precision(self, dispersion):
        """One over twice the variance."""
        return 0.5 / dispersion

    def saturated(self, y, dispersion):
        """Loss at `mu = y`: zero."""
        return jnp.zeros_like(y)

    def log_normalizer(self, y, dispersion):
        """Half the log of `2 pi dispersion`."""
        return 0.5 * jnp.log(2 * jnp.pi * dispersion) + jnp.zeros_like(y)

    def variance(self, mean, dispersion):
        """Constant: the dispersion."""
        return dispersion * jnp.ones_like(mean)

    def likeliest_scale(self, deviance, n):
        """Mean squared residual."""
        return deviance / n

    def sample(self, key, mean, dispersion):
        """Draw values."""
        return mean + jnp.sqrt(dispersion) * jax.random.normal(key, mean.shape, mean.dtype)

    def distribution(self, mean, dispersion):
        """Give the normal distribution."""
        return stats.norm(mean, np.sqrt(dispersion))
