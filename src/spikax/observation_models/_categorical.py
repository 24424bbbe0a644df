"""One of several classes."""

# What is constant of other models depends on a parameter here.
# pyright: reportIncompatibleVariableOverride=false, reportIncompatibleMethodOverride=false

from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from spikax import links
from spikax._pytrees import register
from spikax.observation_models._observations import Observations


@register
@dataclass(frozen=True)
class CategoricalObservations(Observations):
    """One of several classes, whose probabilities sum to one.

    There is a linear predictor for each class, on a first axis. `y` are indices of classes, or
    indicators of them on a last axis (one-hot), and what it calls rates the log-probabilities of
    the classes, on a last axis.

    Parameters
    ----------
    n_classes
        Number of classes, at least 2 (default 2).

    Raises
    ------
    ValueError
        If there are fewer than two classes.
    TypeError
        If `n_classes` is not a whole number.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.observation_models import CategoricalObservations
    >>> log_probability = np.log([[0.5, 0.25, 0.25]])
    >>> round(float(CategoricalObservations(3).log_likelihood(np.array([1]), log_probability)), 4)
    -1.3863
    """

    default_link: ClassVar[str] = "log_softmax"
    mean_bounds: ClassVar[Any] = (0.0, 1.0)
    support: ClassVar[str] = "indices of classes"
    linear_in_y: ClassVar[bool] = True
    sum_to_zero: ClassVar[bool] = True

    n_classes: int = field(default=2, metadata={"static": True})

    def __post_init__(self):
        """Check the number of classes."""
        if not isinstance(self.n_classes, Integral) or isinstance(self.n_classes, bool):
            raise TypeError(f"n_classes must be a whole number, got {self.n_classes!r}.")
        if self.n_classes < 2:
            raise ValueError(f"n_classes must be at least 2, got {self.n_classes}.")

    @property
    def predictors(self):
        """One for each class."""
        return tuple(map(str, range(self.n_classes)))

    def allows(self, y):
        """Whether each observation is the index of a class."""
        return (y >= 0) & (y < self.n_classes) & (y % 1 == 0)

    def loss(self, eta, y, link, dispersion):
        """Cross-entropy: minus the log-probability of the class observed."""
        chosen = jnp.zeros_like(y)
        for index, log_probability in enumerate(link.log_mean(eta)):
            chosen = jnp.where(y == index, log_probability, chosen)
        return -chosen

    def saturated(self, y, dispersion):
        """Loss where the class observed is certain: zero."""
        return jnp.zeros_like(y)

    def log_normalizer(self, y, dispersion):
        """Zero: the loss is the whole negative log-likelihood."""
        return jnp.zeros_like(y)

    def at_mean(self, mean):
        """Log-probabilities of the classes as predictors."""
        return mean, links.LOG_SOFTMAX

    def statistics(self, y):
        """Mark the class of each observation."""
        return jax.nn.one_hot(y.astype(int), self.n_classes, axis=0, dtype=y.dtype)

    def start(self, means):
        """Shares of the classes."""
        return means

    def rates(self, parameters):
        """Log-probabilities of the classes."""
        return jnp.log(super().rates(parameters))

    def _constant_rate(self, y, rate):
        """Shares of as many classes as have a probability."""
        own = replace(self, n_classes=rate.shape[-1])
        return super(CategoricalObservations, own)._constant_rate(y, rate)

    def variance(self, mean, dispersion):
        """Variance `mu (1 - mu)` of each class's indicator."""
        return mean * (1 - mean)

    def sample(self, key, mean, dispersion):
        """Draw indices of classes."""
        return jax.random.categorical(key, jnp.log(mean), axis=0)
