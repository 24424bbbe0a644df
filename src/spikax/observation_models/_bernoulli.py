"""Outcomes of 0 or 1."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from scipy import stats

from spikax._pytrees import register
from spikax.observation_models._observations import Observations


@register
@dataclass(frozen=True)
class BernoulliObservations(Observations):
    """Outcomes of 0 or 1.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.observation_models import BernoulliObservations
    >>> print(BernoulliObservations().variance(np.array([0.5, 1.0]), 1.0))
    [0.25 0.  ]
    """

    default_link: ClassVar[str] = "logistic"
    mean_bounds: ClassVar[Any] = (0.0, 1.0)
    support: ClassVar[str] = "0 or 1"
    linear_in_y: ClassVar[bool] = True
    counts_spikes: ClassVar[bool] = True

    def allows(self, y):
        """Whether each observation is 0 or 1."""
        return (y == 0) | (y == 1)

    def loss(self, eta, y, link, dispersion):
        """Cross-entropy `-y log mu - (1 - y) log(1 - mu)`."""
        return -y * link.log_mean(eta) - (1 - y) * link.log_complement(eta)

    def saturated(self, y, dispersion):
        """Loss at `mu = y`: zero."""
        return jnp.zeros_like(y)

    def log_normalizer(self, y, dispersion):
        """Zero: the loss is the whole negative log-likelihood."""
        return jnp.zeros_like(y)

    def variance(self, mean, dispersion):
        """Variance `mu (1 - mu)`."""
        return mean * (1 - mean)

    def sample(self, key, mean, dispersion):
        """Draw outcomes."""
        return jax.random.bernoulli(key, mean).astype(jnp.int32)

    def distribution(self, mean, dispersion):
        """Bernoulli distribution."""
        return stats.bernoulli(mean)
