"""Counts whose variance equals their mean."""

from dataclasses import dataclass
from typing import ClassVar

from jax.scipy.special import gammaln, xlogy
from scipy import stats

from spikax._pytrees import register
from spikax.observation_models._draws import draw_counts
from spikax.observation_models._observations import Observations


@register
@dataclass(frozen=True)
class PoissonObservations(Observations):
    """Counts whose variance equals their mean; fractional counts are allowed.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.observation_models import PoissonObservations
    >>> model = PoissonObservations()
    >>> float(model.deviance(np.array([2.0]), np.array([2.0]))[0]), model.support
    (0.0, 'non-negative counts')
    """

    support: ClassVar[str] = "non-negative counts"
    linear_in_y: ClassVar[bool] = True
    counts_spikes: ClassVar[bool] = True

    def allows(self, y):
        """Whether each observation is non-negative."""
        return y >= 0

    def loss(self, eta, y, link, dispersion):
        """Loss `mu - y log mu`."""
        return link.mean(eta) - y * link.log_mean(eta)

    def saturated(self, y, dispersion):
        """Loss at `mu = y`."""
        return y - xlogy(y, y)

    def log_normalizer(self, y, dispersion):
        """Log of `y!`."""
        return gammaln(y + 1)

    def variance(self, mean, dispersion):
        """Variance `mu`."""
        return mean

    def sample(self, key, mean, dispersion):
        """Draw counts."""
        return draw_counts(key, mean)

    def distribution(self, mean, dispersion):
        """Poisson distribution."""
        return stats.poisson(mean)
