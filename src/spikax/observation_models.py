"""Observation models: how counts, choices and traces scatter around their mean."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import accumulate
from numbers import Integral, Real
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.dtypes import canonicalize_dtype
from jax.scipy.special import gammaln, xlogy

from spikax import links
from spikax._dispersion import likeliest_scale, log1p_share, log_rising, second_order
from spikax._errors import NOTHING_TO_EXPLAIN, unknown_name, warn_about_scores
from spikax._pytrees import adopt, register
from spikax._time_series import check_times, values
from spikax.links import InverseLink

__all__ = [
    "Bernoulli",
    "BernoulliObservations",
    "Categorical",
    "CategoricalObservations",
    "Family",
    "Gamma",
    "GammaObservations",
    "Gaussian",
    "GaussianObservations",
    "NegativeBinomial",
    "NegativeBinomialObservations",
    "ObservationModel",
    "Poisson",
    "PoissonObservations",
    "resolve",
    "with_scale",
]

Aggregate = Callable[[jax.Array], jax.Array]
SCORE_TYPES = ("log-likelihood", "pseudo-r2-McFadden", "pseudo-r2-Cohen")


@runtime_checkable
class Family(Protocol):
    """The mathematics of one observation model; everything here is elementwise.

    Families are frozen dataclasses, and what a user may tune is a field: a scalar or one number
    per neuron, of which other values compile nothing again. A field that changes the program is
    marked with `field(metadata={"static": True})`.

    The loss is the part of the negative log-likelihood that depends on the linear predictor, as
    the textbooks write it. Log-likelihood and deviance follow from it:
    ``log_likelihood = -precision(scale) * loss - log_normalizer(y, scale)`` and
    ``deviance = 2 * precision(scale) * (loss - saturated(y))``.

    A family with several outputs has a linear predictor for each class. They, and their means, the
    classes' probabilities, lie on a leading axis; observations are indices of classes. Only the
    differences of the outputs matter.

    Examples
    --------
    A family of your own, waiting times that are exponential:

    >>> from dataclasses import dataclass
    >>> from typing import ClassVar
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> import spikax as nmo
    >>> @dataclass(frozen=True)
    ... class Exponential:
    ...     n_outputs: ClassVar[int] = 1
    ...     default_link: ClassVar[str] = "exp"
    ...     mean_bounds: ClassVar[tuple[float, float]] = (0.0, np.inf)
    ...     support: ClassVar[str] = "positive numbers"
    ...     has_scale: ClassVar[bool] = False
    ...     scale = None
    ...     estimate = False
    ...
    ...     def allows(self, y):
    ...         return y > 0
    ...
    ...     def loss(self, eta, y, link):
    ...         return y * jnp.exp(-link.log_mean(eta)) + link.log_mean(eta)
    ...
    ...     def saturated(self, y):
    ...         return 1 + jnp.log(jnp.where(y > 0, y, 1))
    ...
    ...     def log_normalizer(self, y, scale):
    ...         return jnp.zeros_like(y)
    ...
    ...     def precision(self, scale):
    ...         return 1.0
    ...
    ...     def variance(self, mean):
    ...         return mean**2
    ...
    ...     def sample(self, key, mean, scale):
    ...         return mean * jax.random.exponential(key, mean.shape)
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> waits = np.random.default_rng(1).exponential(np.exp(X[:, 0]))
    >>> nmo.glm.GLM(Exponential()).fit(X, waits).coef_.round(1)
    array([1., 0.])
    """

    @property
    def n_outputs(self) -> int:
        """Number of linear predictors of a neuron: one, or one for each class."""
        ...

    default_link: ClassVar[str]  # the inverse link used when the user names none
    mean_bounds: ClassVar[tuple[float, float]]  # the open interval in which a mean lies
    support: ClassVar[str]  # what `y` may be, in words
    has_scale: ClassVar[bool]  # whether the scale is estimated from the residuals

    @property
    def scale(self) -> Any:
        """Scale that the loss depends on, which broadcasts to observations; None without one."""
        ...

    @property
    def estimate(self) -> bool:
        """Whether that scale is found together with the coefficients."""
        ...

    def allows(self, y: np.ndarray) -> Any:
        """Tell whether each observation is in the support.

        Parameters
        ----------
        y
            Observations, (n_samples, n_neurons), a NumPy array that may hold NaN.

        Returns
        -------
        array of bool
            Shaped like `y`, or one for all.
        """
        ...

    def loss(self, eta: jax.Array, y: jax.Array, link: InverseLink) -> jax.Array:
        """Compute the negative log-likelihood of each sample, up to terms without `eta`.

        Parameters
        ----------
        eta
            Linear predictors, of any shape; of a family with several outputs with their axis
            first.
        y
            Observations, shaped like `eta` but for that axis.
        link
            The inverse link: its `mean`, `log_mean` and `log_complement` of `eta` stay finite.

        Returns
        -------
        jax.Array
            Losses shaped like `y`, finite and twice differentiable for any finite `eta`.
        """
        ...

    def saturated(self, y: jax.Array) -> jax.Array:
        """Compute the loss of the model that predicts each observation exactly.

        Parameters
        ----------
        y
            Observations, of any shape.

        Returns
        -------
        jax.Array
            Losses shaped like `y`.
        """
        ...

    def log_normalizer(self, y: jax.Array, scale: Any) -> Any:
        """Compute the part of the negative log-likelihood without `eta`.

        Parameters
        ----------
        y
            Observations, of any shape.
        scale
            Scale of the distribution, which broadcasts to `y`.

        Returns
        -------
        jax.Array
            Shaped like `y`.
        """
        ...

    def precision(self, scale: Any) -> Any:
        """Compute the weight of the loss in the negative log-likelihood.

        Parameters
        ----------
        scale
            Scale of the distribution, of any shape.

        Returns
        -------
        array or float
            Shaped like `scale`, or one for all.
        """
        ...

    def variance(self, mean: jax.Array) -> jax.Array:
        """Compute the variance of observations of unit scale from their means.

        Parameters
        ----------
        mean
            Means, of any shape.

        Returns
        -------
        jax.Array
            Variances shaped like `mean`.
        """
        ...

    def sample(self, key: jax.Array, mean: jax.Array, scale: Any) -> jax.Array:
        """Draw one observation for each mean.

        Parameters
        ----------
        key
            Random key, from `jax.random.key`.
        mean
            Means, of any shape.
        scale
            Scale of the distribution, which broadcasts to `mean`.

        Returns
        -------
        jax.Array
            Observations shaped like `mean`.
        """
        ...


@runtime_checkable
class ProfilesScale(Protocol):
    """A family whose likeliest scale has a formula, at which its log-likelihood is reported."""

    def likeliest_scale(self, deviance: Any, n: Any) -> Any:
        """Give the likeliest scale of `n` observations, from their deviance at a scale of one."""
        ...


def with_scale(family: Family, scale: Any) -> Family:
    """Give a family another scale, if its loss depends on one.

    Parameters
    ----------
    family
        A family.
    scale
        A scalar, or an array that broadcasts to the observations.

    Returns
    -------
    Family
        The family with this scale, or the family itself.

    Examples
    --------
    >>> from spikax.observation_models import NegativeBinomial, Poisson, with_scale
    >>> with_scale(NegativeBinomial(), 0.5)
    NegativeBinomial(scale=0.5, estimate=False)
    >>> with_scale(Poisson(), 0.5)
    Poisson()
    """
    dispersed: Any = family
    return family if family.scale is None else replace(dispersed, scale=scale)


@register
@dataclass(frozen=True)
class Poisson:
    """Counts whose variance equals their mean; fractional counts are allowed.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.observation_models import Poisson
    >>> print(Poisson().variance(np.array([0.5, 2.0])), Poisson().support)
    [0.5 2. ] non-negative counts
    """

    default_link: ClassVar[str] = "exp"
    mean_bounds: ClassVar[tuple[float, float]] = (0.0, np.inf)
    support: ClassVar[str] = "non-negative counts"
    has_scale: ClassVar[bool] = False
    scale = None
    estimate = False

    @property
    def n_outputs(self):
        """One linear predictor."""
        return 1

    def allows(self, y):
        """Whether each observation is non-negative."""
        return y >= 0

    def loss(self, eta, y, link):
        """Loss `mu - y log mu`."""
        return link.mean(eta) - y * link.log_mean(eta)

    def saturated(self, y):
        """Loss at `mu = y`."""
        return y - xlogy(y, y)

    def log_normalizer(self, y, scale):
        """Log of `y!`."""
        return gammaln(y + 1)

    def precision(self, scale):
        """One: the scale of a Poisson is fixed."""
        return 1.0

    def variance(self, mean):
        """Variance `mu`."""
        return mean

    def sample(self, key, mean, scale):
        """Draw counts."""
        return _draw_counts(key, mean)


@register
@dataclass(frozen=True)
class Bernoulli:
    """Outcomes of 0 or 1.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.observation_models import Bernoulli
    >>> print(Bernoulli().variance(np.array([0.5, 1.0])), Bernoulli().support)
    [0.25 0.  ] 0 or 1
    """

    default_link: ClassVar[str] = "logistic"
    mean_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    support: ClassVar[str] = "0 or 1"
    has_scale: ClassVar[bool] = False
    scale = None
    estimate = False

    @property
    def n_outputs(self):
        """One linear predictor."""
        return 1

    def allows(self, y):
        """Whether each observation is 0 or 1."""
        return (y == 0) | (y == 1)

    def loss(self, eta, y, link):
        """Cross-entropy `-y log mu - (1 - y) log(1 - mu)`."""
        return -y * link.log_mean(eta) - (1 - y) * link.log_complement(eta)

    def saturated(self, y):
        """Loss at `mu = y`: zero."""
        return jnp.zeros_like(y)

    def log_normalizer(self, y, scale):
        """Zero: the loss is the whole negative log-likelihood."""
        return jnp.zeros_like(y)

    def precision(self, scale):
        """One: the scale of a Bernoulli is fixed."""
        return 1.0

    def variance(self, mean):
        """Variance `mu (1 - mu)`."""
        return mean * (1 - mean)

    def sample(self, key, mean, scale):
        """Draw outcomes."""
        return jax.random.bernoulli(key, mean).astype(jnp.int32)


@register
@dataclass(frozen=True)
class Gaussian:
    """Real values with a constant variance, the scale.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.observation_models import Gaussian
    >>> print(Gaussian().variance(np.array([-1.0, 2.0])), Gaussian().support)
    [1. 1.] real numbers
    """

    default_link: ClassVar[str] = "identity"
    mean_bounds: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    support: ClassVar[str] = "real numbers"
    has_scale: ClassVar[bool] = True
    scale = None
    estimate = False

    @property
    def n_outputs(self):
        """One linear predictor."""
        return 1

    def allows(self, y):
        """Whether each observation is a number; all are."""
        return np.True_

    def loss(self, eta, y, link):
        """Squared error `(y - mu)^2`."""
        return (y - link.mean(eta)) ** 2

    def saturated(self, y):
        """Loss at `mu = y`: zero."""
        return jnp.zeros_like(y)

    def log_normalizer(self, y, scale):
        """Half the log of `2 pi scale`."""
        return 0.5 * jnp.log(2 * jnp.pi * scale) + jnp.zeros_like(y)

    def precision(self, scale):
        """One over twice the variance."""
        return 0.5 / scale

    def variance(self, mean):
        """One, whatever the mean."""
        return jnp.ones_like(mean)

    def likeliest_scale(self, deviance, n):
        """Compute the mean squared residual.

        Parameters
        ----------
        deviance
            Deviance at a scale of one, the sum of squared residuals, of any shape.
        n
            Number of observations, shaped likewise.

        Returns
        -------
        array
            The scale at which the log-likelihood is largest, shaped likewise.
        """
        return deviance / n

    def sample(self, key, mean, scale):
        """Draw values."""
        return mean + jnp.sqrt(scale) * jax.random.normal(key, mean.shape, mean.dtype)


@register
@dataclass(frozen=True)
class Gamma:
    """Positive values whose standard deviation is proportional to their mean.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.observation_models import Gamma
    >>> print(Gamma().variance(np.array([0.5, 2.0])), Gamma().support)
    [0.25 4.  ] positive numbers
    """

    default_link: ClassVar[str] = "one_over_x"
    mean_bounds: ClassVar[tuple[float, float]] = (0.0, np.inf)
    support: ClassVar[str] = "positive numbers"
    has_scale: ClassVar[bool] = True
    scale = None
    estimate = False

    @property
    def n_outputs(self):
        """One linear predictor."""
        return 1

    def allows(self, y):
        """Whether each observation is positive."""
        return y > 0

    def loss(self, eta, y, link):
        """Loss `y / mu + log mu`."""
        log_mean = link.log_mean(eta)
        return y * links.resolve("exp").mean(-log_mean) + log_mean

    def saturated(self, y):
        """Loss at `mu = y`."""
        return 1 + _log_positive(y)

    def log_normalizer(self, y, scale):
        """Normaliser of a Gamma density of shape `1 / scale`."""
        shape = 1 / jnp.asarray(scale)
        return gammaln(shape) - shape * jnp.log(shape) - (shape - 1) * _log_positive(y)

    def precision(self, scale):
        """One over the scale, which is the shape of the density."""
        return 1 / scale

    def variance(self, mean):
        """Variance `mu^2` of unit scale."""
        return mean**2

    def sample(self, key, mean, scale):
        """Draw values."""
        shape = jnp.broadcast_to(1 / jnp.asarray(scale, mean.dtype), mean.shape)
        drawn = jax.random.gamma(key, shape, dtype=mean.dtype) / shape * mean
        # What is too small for the precision must not become zero, which is no observation.
        return jnp.where(mean > 0, jnp.maximum(drawn, jnp.finfo(mean.dtype).tiny), drawn)


@register
@dataclass(frozen=True)
class NegativeBinomial:
    """Counts whose variance exceeds their mean: `mu + scale mu^2`; Poisson at a scale of zero.

    Parameters
    ----------
    scale
        The dispersion, a number or one per neuron (default 1).
    estimate
        Whether a fit estimates it, neuron by neuron (default False).

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.observation_models import NegativeBinomial
    >>> print(NegativeBinomial(scale=0.5).variance(np.array([1.0, 2.0])))
    [1.5 4. ]
    """

    default_link: ClassVar[str] = "exp"
    mean_bounds: ClassVar[tuple[float, float]] = (0.0, np.inf)
    support: ClassVar[str] = "non-negative counts"
    has_scale: ClassVar[bool] = False

    scale: Any = 1.0
    estimate: bool = field(default=False, metadata={"static": True})

    @property
    def n_outputs(self):
        """One linear predictor."""
        return 1

    def allows(self, y):
        """Whether each observation is non-negative."""
        return y >= 0

    def loss(self, eta, y, link):
        """Loss `(y + 1 / scale) log(1 + scale mu) - y log mu`."""
        log_mean, mean = link.log_mean(eta), link.mean(eta)
        scale = jnp.asarray(self.scale, eta.dtype)
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

    def saturated(self, y):
        """Loss at `mu = y`."""
        excess = self.scale * y
        return y * (log1p_share(excess) + jnp.log1p(excess)) - xlogy(y, y)

    def log_normalizer(self, y, scale):
        """Part of the log-density that has no mean: `log y!` less `log_rising`."""
        return gammaln(y + 1) - log_rising(y, self.scale)

    def precision(self, scale):
        """One: the scale is in the loss."""
        return 1.0

    def variance(self, mean):
        """Variance `mu + scale mu^2`."""
        return mean + self.scale * mean**2

    def sample(self, key, mean, scale):
        """Draw counts: Poisson counts of rates that scatter as a Gamma."""
        rate_key, count_key = jax.random.split(key)
        scale = jnp.broadcast_to(jnp.asarray(self.scale, mean.dtype), mean.shape)
        shape = 1 / jnp.maximum(scale, 1e-6)
        scatter = jax.random.gamma(rate_key, shape, dtype=mean.dtype) / shape
        return _draw_counts(count_key, mean * jnp.where(scale > 1e-6, scatter, 1))


@register
@dataclass(frozen=True)
class Categorical:
    """One of several classes, whose probabilities sum to one.

    Parameters
    ----------
    n_classes
        Number of classes (default 2).

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.observation_models import Categorical
    >>> Categorical(3).n_outputs, Categorical(3).allows(np.array([0, 2, 3])).tolist()
    (3, [True, True, False])
    """

    default_link: ClassVar[str] = "log_softmax"
    mean_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    support: ClassVar[str] = "indices of classes"
    has_scale: ClassVar[bool] = False
    scale = None
    estimate = False

    n_classes: int = field(default=2, metadata={"static": True})

    @property
    def n_outputs(self):
        """One linear predictor for each class."""
        return self.n_classes

    def allows(self, y):
        """Whether each observation is the index of a class."""
        return (y >= 0) & (y < self.n_classes) & (y % 1 == 0)

    def loss(self, eta, y, link):
        """Cross-entropy: minus the log-probability of the class observed."""
        chosen = jnp.zeros_like(y)
        for index, log_probability in enumerate(link.log_mean(eta)):
            chosen = jnp.where(y == index, log_probability, chosen)
        return -chosen

    def saturated(self, y):
        """Loss where the class observed is certain: zero."""
        return jnp.zeros_like(y)

    def log_normalizer(self, y, scale):
        """Zero: the loss is the whole negative log-likelihood."""
        return jnp.zeros_like(y)

    def precision(self, scale):
        """One: the scale of a categorical is fixed."""
        return 1.0

    def variance(self, mean):
        """Variance `mu (1 - mu)` of each class's indicator."""
        return mean * (1 - mean)

    def sample(self, key, mean, scale):
        """Draw indices of classes."""
        return jax.random.categorical(key, jnp.log(mean), axis=0)


# Means from which on counts are drawn by rejection, whose proposals need it.
_MANY = 10.0


def _draw_counts(key: jax.Array, mean: jax.Array) -> jax.Array:
    """Draw Poisson counts: by inversion where means are small, which is many times faster.

    Counts end at the largest 32-bit integer; those of a mean that is no rate are -1.
    """
    many = mean >= _MANY
    bits = jax.random.bits(key, mean.shape, f"uint{8 * mean.dtype.itemsize}")
    few = _invert(bits, jnp.where(many, 0, mean))

    def reject(few):
        return jnp.where(many, _draw_many(key, jnp.where(many, mean, _MANY)), few)

    count = jax.lax.cond(jnp.any(many), reject, lambda few: few, few)
    return jnp.where(mean >= 0, count, -1)


def _draw_many(key: jax.Array, mean: jax.Array) -> jax.Array:
    """Draw Poisson counts of means from `_MANY` on, by rejection."""

    def attempt(state):
        key, count, drawn = state
        key, *keys = jax.random.split(key, 3)
        kind = f"uint{8 * mean.dtype.itemsize}"
        position, chance = (jax.random.bits(k, mean.shape, kind) for k in keys)
        proposed, log_acceptance = _propose(position, mean)
        accepted = jnp.log(_share(chance, mean.dtype)) <= log_acceptance
        return key, jnp.where(drawn, count, proposed), drawn | accepted

    def undrawn(state):
        return ~jnp.all(state[2])

    none = jnp.zeros(mean.shape, jnp.int32)
    return jax.lax.while_loop(undrawn, attempt, (key, none, none > 0))[1]


def _share(bits: jax.Array, dtype: Any) -> jax.Array:
    """Place bits evenly between 0 and 1, with all digits of what is near 0."""
    return (bits.astype(dtype) + 0.5) * 2.0 ** (-8 * bits.dtype.itemsize)


def _invert(bits: jax.Array, mean: jax.Array) -> jax.Array:
    """Find Poisson counts below `_MANY` from random bits, by inversion.

    Each tail is resolved from its own end, so that both are right to the last bit. Beyond the
    last term, the probability is less than that of one pattern of bits.
    """
    below, above = _share(bits, mean.dtype), _share(~bits, mean.dtype)
    n_terms = 40 if mean.dtype.itemsize == 4 else 64
    terms = [jnp.exp(-mean)]
    for k in range(1, n_terms):
        terms.append(terms[-1] * (mean / k))
    cumulated = list(accumulate(terms))
    count, tail = jnp.zeros(mean.shape, jnp.int32), jnp.zeros_like(mean)
    for k in reversed(range(n_terms - 1)):
        tail += terms[k + 1]
        more = jnp.where(cumulated[k] < 0.5, below > cumulated[k], above < tail)
        count += more.astype(jnp.int32)
    return count


def _propose(bits: jax.Array, mean: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Propose a Poisson count, with the logarithm of the probability to accept it.

    Hörmann (1993), The transformed rejection method for generating Poisson random variables,
    Insurance: Mathematics and Economics 12, algorithm PTRS, without its short cuts. What is far
    less than the mean, such as its distance to the count, is not found as a difference.
    """
    mean = jnp.minimum(mean, 2.0**31 - 2.0**24)
    width = 0.931 + 2.53 * jnp.sqrt(mean)
    bend = -0.059 + 0.02483 * width
    edge = _share(bits >> 1, mean.dtype)
    side = jnp.where(bits & 1, 1, -1) * (0.5 - edge)
    whole = jnp.floor(mean)
    part = mean - whole
    step = jnp.floor((2 * bend / edge + width) * side + part + 0.43)
    log_probability = _log_probability_near(mean, whole + step, (step - part) / mean)
    # The first factor covers the 0.6 % by which proposals are too rare in places.
    height = 1.006 * (1.1239 + 1.1328 / (width - 3.4)) / (bend / edge**2 + width)
    count = whole.astype(jnp.int32) + step.astype(jnp.int32)
    return count, jnp.where(whole + step < 0, -jnp.inf, log_probability - jnp.log(height))


def _log_probability_near(mean: jax.Array, count: jax.Array, distance: jax.Array) -> jax.Array:
    """Log-probability of a Poisson count at a distance from its mean, as a share of that.

    Loader (2000), Fast and accurate computation of binomial probabilities.
    """
    x, large = jnp.maximum(distance, -1), count >= 16
    far, near = jnp.where(large, count, 16), jnp.clip(count, 0, 16)
    stirling = 0.5 * jnp.log(2 * jnp.pi * far) + 1 / (12 * far) - 1 / (360 * far**3)
    exact = gammaln(near + 1) - xlogy(near, near) + near
    return -mean * x**2 * second_order(x) - jnp.where(large, stirling, exact)


def _log_positive(y: jax.Array) -> jax.Array:
    # Entries that are ignored are zero.
    return jnp.log(jnp.where(y > 0, y, 1))


@dataclass(frozen=True)
class ObservationModel:
    """What a model says about observations whose mean it predicts.

    Parameters
    ----------
    family
        The mathematics: one of this module's families, or any object that follows `Family`.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.observation_models import PoissonObservations
    >>> float(PoissonObservations().deviance(np.array([2.0]), np.array([2.0]))[0])
    0.0
    """

    family: Family

    @property
    def default_inverse_link_function(self) -> Callable[[jax.Array], jax.Array]:
        """The inverse link used when the user names none."""
        return links.resolve(self.family.default_link).mean

    def _at(self, scale) -> Family:
        """Take the scale for that of the loss, where that is to be estimated."""
        return with_scale(self.family, scale) if self.family.estimate else self.family

    def _sample_log_likelihood(self, y, predicted_rate, scale):
        y, predicted_rate = _aligned(y, predicted_rate, self.family)
        family = self._at(scale)
        loss = _loss_at(family, y, predicted_rate)
        return -family.precision(scale) * loss - family.log_normalizer(y, scale)

    def log_likelihood(
        self, y, predicted_rate, scale=1.0, aggregate_sample_scores: Aggregate = jnp.mean
    ) -> jax.Array:
        """Log-likelihood of the observations, normalising constant included.

        Parameters
        ----------
        y
            Observations, shape (n_samples,) or (n_samples, n_neurons).
        predicted_rate
            Their means, of the same shape.
        scale
            Scale of the distribution, a scalar or one per neuron.
        aggregate_sample_scores
            Function of the samples' log-likelihoods, their mean by default.

        Returns
        -------
        jax.Array
            What `aggregate_sample_scores` makes of the samples' log-likelihoods, in nats.

        Raises
        ------
        ValueError
            If `y` and `predicted_rate` differ in shape.

        Examples
        --------
        >>> import numpy as np
        >>> from spikax.observation_models import BernoulliObservations
        >>> model = BernoulliObservations()
        >>> round(float(model.log_likelihood(np.array([1.0]), np.array([0.5]))), 4)
        -0.6931
        """
        return aggregate_sample_scores(self._sample_log_likelihood(y, predicted_rate, scale))

    def likelihood(
        self, y, predicted_rate, scale=1.0, aggregate_sample_scores: Aggregate = jnp.mean
    ) -> jax.Array:
        """Exponential of `log_likelihood`, the aggregation included.

        Parameters
        ----------
        y
            Observations, shape (n_samples,) or (n_samples, n_neurons).
        predicted_rate
            Their means, of the same shape.
        scale
            Scale of the distribution, a scalar or one per neuron.
        aggregate_sample_scores
            Function of the samples' log-likelihoods; the default makes the geometric mean.

        Returns
        -------
        jax.Array
            The likelihood, a scalar by default.
        """
        return jnp.exp(self.log_likelihood(y, predicted_rate, scale, aggregate_sample_scores))

    def deviance(self, y, predicted_rate, scale=1.0) -> jax.Array:
        """Scaled deviance of each sample (McCullagh & Nelder 1989, section 2.3).

        Parameters
        ----------
        y
            Observations, shape (n_samples,) or (n_samples, n_neurons).
        predicted_rate
            Their means, of the same shape.
        scale
            Scale of the distribution, a scalar or one per neuron.

        Returns
        -------
        jax.Array
            Twice the log-likelihood that the saturated model has above this one, shaped like `y`.

        Raises
        ------
        ValueError
            If `y` and `predicted_rate` differ in shape.
        """
        y, predicted_rate = _aligned(y, predicted_rate, self.family)
        family = self._at(scale)
        excess = _loss_at(family, y, predicted_rate) - family.saturated(y)
        return 2 * family.precision(scale) * excess

    def pseudo_r2(
        self,
        y,
        predicted_rate,
        score_type: str = "pseudo-r2-McFadden",
        scale=1.0,
        aggregate_sample_scores: Aggregate = jnp.mean,
    ) -> jax.Array:
        """Share of what can be explained that is, against a constant rate per neuron.

        Parameters
        ----------
        y
            Observations, shape (n_samples,) or (n_samples, n_neurons).
        predicted_rate
            Their means, of the same shape.
        score_type
            "pseudo-r2-McFadden", one minus the ratio of log-likelihoods (McFadden 1974), or
            "pseudo-r2-Cohen", the share of the deviance explained (Cohen et al. 2003).
        scale
            Scale of the distribution, a scalar or one per neuron.
        aggregate_sample_scores
            Function of the samples' log-likelihoods or deviances, their mean by default.

        Returns
        -------
        jax.Array
            The pseudo-R2: one for a perfect model, zero for the mean of `y`, negative below; NaN
            where the mean of `y` predicts all, as of a silent neuron.

        Raises
        ------
        ValueError
            If the score type is unknown, or McFadden's and the observation model has a density,
            or `y` and `predicted_rate` differ in shape.

        Warns
        -----
        RuntimeWarning
            Once, naming the neurons whose pseudo-R2 is NaN.

        Notes
        -----
        In McFadden's, the constant rate has the dispersion that is likeliest for it, where the
        model estimates one. Deviances are above one saturated model, and so of one dispersion.
        """
        check_pseudo_r2(self.family, score_type)
        y, predicted_rate = _aligned(y, predicted_rate, self.family)
        null_rate = self._null_rate(y)
        null_scale: Any = scale
        if score_type == "pseudo-r2-McFadden":
            if self.family.estimate:
                null_scale = self._scale_of_loss(y, null_rate)
            score: Any = self._sample_log_likelihood
        else:
            score = self.deviance
        null_scores = score(y, null_rate, null_scale)
        model = aggregate_sample_scores(score(y, predicted_rate, scale))
        null = aggregate_sample_scores(null_scores)
        nothing = null == 0
        if not isinstance(nothing, Tracer) and np.any(nothing):
            idle = np.atleast_1d(np.all(np.asarray(null_scores) == 0, axis=0))
            warn_about_scores(np.arange(idle.size), [(idle, NOTHING_TO_EXPLAIN)])
        return jnp.where(nothing, jnp.nan, 1 - model / jnp.where(nothing, 1, null))

    def _null_rate(self, y):
        """Predict of each neuron the mean, or the log of the share of each class."""
        n_classes = self.family.n_outputs
        if n_classes == 1:
            return jnp.broadcast_to(y.mean(axis=0), y.shape)
        share = jax.nn.one_hot(y.astype(int), n_classes, dtype=y.dtype).mean(axis=0)
        return jnp.broadcast_to(jnp.log(share), (*y.shape, n_classes))

    def sample_generator(self, key: jax.Array, predicted_rate, scale: Any = 1.0) -> jax.Array:
        """Draw observations with the predicted means.

        Parameters
        ----------
        key
            Random key, from `jax.random.key`.
        predicted_rate
            Means, of any shape.
        scale
            Scale of the distribution, a scalar or one per neuron.

        Returns
        -------
        jax.Array
            Observations, shaped like `predicted_rate`.
        """
        rate = jnp.asarray(values(predicted_rate, "predicted_rate"))
        if self.family.n_outputs > 1:
            rate = jnp.exp(jnp.moveaxis(rate, -1, 0))
        return self._at(scale).sample(key, rate, scale)

    def estimate_scale(self, y, predicted_rate, dof_resid) -> jax.Array:
        """Estimate the scale from Pearson's statistic; one where the family has none.

        Parameters
        ----------
        y
            Observations, shape (n_samples,) or (n_samples, n_neurons).
        predicted_rate
            Their means, of the same shape.
        dof_resid
            Residual degrees of freedom, a scalar or one per neuron.

        Returns
        -------
        jax.Array
            The scale, a scalar or shape (n_neurons,): the sum of `(y - mu)^2 / V(mu)` over the
            degrees of freedom (McCullagh & Nelder 1989, section 8.3).
        """
        y, predicted_rate = _aligned(y, predicted_rate, self.family)
        if self.family.scale is not None:
            return self._scale_of_loss(y, predicted_rate)
        if not self.family.has_scale:
            return jnp.ones(y.shape[1:])
        pearson = (y - predicted_rate) ** 2 / self.family.variance(predicted_rate)
        return pearson.sum(axis=0) / dof_resid

    def _scale_of_loss(self, y, predicted_rate):
        """Give the scale that the loss has, or the likeliest where it is to be estimated."""
        if not self.family.estimate:
            return jnp.broadcast_to(jnp.asarray(self.family.scale, y.dtype), y.shape[1:])

        def log_likelihood(scale):
            return self._sample_log_likelihood(y, predicted_rate, scale[None]).sum(axis=0)

        return likeliest_scale(log_likelihood, jnp.zeros(y.shape[1:], y.dtype))[0]


def check_pseudo_r2(family: Family, score_type: str) -> None:
    """Refuse a pseudo-R2 that is unknown, or that would depend on the units of `y`."""
    if score_type not in SCORE_TYPES[1:]:
        raise unknown_name("score_type", score_type, SCORE_TYPES[1:])
    if score_type == "pseudo-r2-McFadden" and family.has_scale:
        raise ValueError(
            f"score_type 'pseudo-r2-McFadden' is a ratio of log-likelihoods, and those of "
            f"{type(family).__name__} observations are of a density: they depend on the units of "
            "y, and may have either sign. Use 'pseudo-r2-Cohen', the share of the deviance "
            "explained, which is R2 for the Gaussian."
        )


def _aligned(y, predicted_rate, family: Family) -> tuple[jax.Array, jax.Array]:
    dtype = canonicalize_dtype(float)
    check_times({"y": y, "predicted_rate": predicted_rate})
    y, predicted_rate = (
        jnp.asarray(values(array, name), dtype)
        for array, name in ((y, "y"), (predicted_rate, "predicted_rate"))
    )
    several = family.n_outputs > 1
    if y.shape != (predicted_rate.shape[:-1] if several else predicted_rate.shape):
        what = "y and predicted_rate must have the same shape"
        raise ValueError(
            f"{what}{' but for its axis of classes' * several}, got {y.shape} and "
            f"{predicted_rate.shape}."
        )
    return y, predicted_rate


# Means as they are. Their logarithms are right wherever they are finite, unlike those of the
# identity, which a fit must find its way back with.
_MEANS = InverseLink(
    "mean",
    jnp.asarray,
    lambda mean: jnp.log(jnp.where(mean == 0, 1, mean)),
    lambda mean: jnp.log1p(-jnp.where(mean == 1, 0, mean)),
    jnp.asarray,
)


def _loss_at(family: Family, y: jax.Array, predicted_rate: jax.Array) -> jax.Array:
    """Loss of each observation; infinite where a mean at its bound says that it cannot be."""
    if family.n_outputs > 1:
        return family.loss(jnp.moveaxis(predicted_rate, -1, 0), y, links.LOG_SOFTMAX)
    low, high = family.mean_bounds
    at_bound = (predicted_rate == low) | (predicted_rate == high)
    loss = jnp.where(at_bound, jnp.inf, family.loss(predicted_rate, y, _MEANS))
    return jnp.where(predicted_rate == y, family.saturated(y), loss)


def PoissonObservations() -> ObservationModel:
    """Make the observation model of spike counts.

    Returns
    -------
    ObservationModel
        Poisson, with `exp` as its default inverse link.

    Examples
    --------
    >>> from spikax.observation_models import PoissonObservations
    >>> PoissonObservations()
    ObservationModel(family=Poisson())
    """
    return ObservationModel(Poisson())


def BernoulliObservations() -> ObservationModel:
    """Make the observation model of outcomes of 0 or 1.

    Returns
    -------
    ObservationModel
        Bernoulli, with `logistic` as its default inverse link.

    Examples
    --------
    >>> from spikax.observation_models import BernoulliObservations
    >>> BernoulliObservations()
    ObservationModel(family=Bernoulli())
    """
    return ObservationModel(Bernoulli())


def GaussianObservations() -> ObservationModel:
    """Make the observation model of real values with constant variance.

    Returns
    -------
    ObservationModel
        Gaussian, with `identity` as its default inverse link.

    Examples
    --------
    >>> from spikax.observation_models import GaussianObservations
    >>> GaussianObservations()
    ObservationModel(family=Gaussian())
    """
    return ObservationModel(Gaussian())


def GammaObservations() -> ObservationModel:
    """Make the observation model of positive values with a variance like their squared mean.

    Returns
    -------
    ObservationModel
        Gamma, with `one_over_x` as its default inverse link.

    Examples
    --------
    >>> from spikax.observation_models import GammaObservations
    >>> GammaObservations()
    ObservationModel(family=Gamma())
    """
    return ObservationModel(Gamma())


def NegativeBinomialObservations(scale: Any = 1.0) -> ObservationModel:
    """Make the observation model of counts that vary more than a Poisson's.

    The variance is `mu + scale mu^2`, the size (or shape) of the distribution `1 / scale`.

    Parameters
    ----------
    scale
        The dispersion, at least zero, where it is Poisson; or "estimate", to find each neuron's
        together with its coefficients, by joint maximum likelihood. Default 1.0.

    Returns
    -------
    ObservationModel
        Negative binomial (NB2), with `exp` as its default inverse link.

    Raises
    ------
    ValueError
        If the scale is negative or not finite.
    TypeError
        If it is neither a number nor "estimate".

    References
    ----------
    Lawless (1987), Canadian Journal of Statistics 15, 209-225.

    Examples
    --------
    >>> from spikax.observation_models import NegativeBinomialObservations
    >>> NegativeBinomialObservations(scale=0.5)
    ObservationModel(family=NegativeBinomial(scale=0.5, estimate=False))
    """
    if isinstance(scale, str) and scale == "estimate":
        return ObservationModel(NegativeBinomial(estimate=True))
    if not isinstance(scale, Real) or isinstance(scale, bool):
        raise TypeError(f'scale must be a number or "estimate", got {scale!r}.')
    if not 0 <= float(scale) < np.inf:
        raise ValueError(
            f"scale must be finite and at least zero, got {scale!r}; "
            'pass "estimate" to find it from the data.'
        )
    return ObservationModel(NegativeBinomial(float(scale)))


def CategoricalObservations(n_classes: int = 2) -> ObservationModel:
    """Make the observation model of one of several classes.

    Its `y` are indices of classes, and what it calls rates the log-probabilities of the classes,
    on a last axis.

    Parameters
    ----------
    n_classes
        Number of classes, at least 2 (default 2).

    Returns
    -------
    ObservationModel
        Categorical, with `log_softmax` as its inverse link.

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
    if not isinstance(n_classes, Integral) or isinstance(n_classes, bool):
        raise TypeError(f"n_classes must be a whole number, got {n_classes!r}.")
    if n_classes < 2:
        raise ValueError(f"n_classes must be at least 2, got {n_classes}.")
    return ObservationModel(Categorical(int(n_classes)))


OBSERVATION_MODELS: dict[str, Callable[[], ObservationModel]] = {
    "Poisson": PoissonObservations,
    "Bernoulli": BernoulliObservations,
    "Gaussian": GaussianObservations,
    "Gamma": GammaObservations,
    "NegativeBinomial": NegativeBinomialObservations,
}


def resolve(observation_model: str | ObservationModel | Family) -> ObservationModel:
    """Find the observation model that a name or a family stands for.

    Parameters
    ----------
    observation_model
        A name ("Poisson", "Bernoulli", "Gaussian", "Gamma", "NegativeBinomial"), an
        `ObservationModel`, or a `Family`.

    Returns
    -------
    ObservationModel
        The model.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If it is neither a name nor a model, or JAX would confuse its class with others.

    Examples
    --------
    >>> from spikax.observation_models import resolve
    >>> resolve("Poisson")
    ObservationModel(family=Poisson())
    """
    if isinstance(observation_model, str):
        if observation_model not in OBSERVATION_MODELS:
            raise unknown_name("observation_model", observation_model, OBSERVATION_MODELS)
        return OBSERVATION_MODELS[observation_model]()
    if isinstance(observation_model, ObservationModel):
        adopt(observation_model.family)
        return observation_model
    if isinstance(observation_model, Family) and not isinstance(observation_model, type):
        adopt(observation_model)
        return ObservationModel(observation_model)
    members = [name for name in {**Family.__annotations__, **vars(Family)} if name[0] != "_"]
    missing = [name for name in members if not hasattr(observation_model, name)]
    remedy = ""
    if callable(observation_model):
        remedy = " Call it, to pass what it makes."
    elif len(missing) < len(members):
        remedy = f" A Family needs {', '.join(missing)} besides what this has."
    raise TypeError(
        f"observation_model must be a name ({', '.join(OBSERVATION_MODELS)}), an ObservationModel "
        f"or a Family, got {observation_model!r}.{remedy}"
    )
