"""What every observation model says, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.dtypes import canonicalize_dtype

from spikax import links
from spikax._errors import NOTHING_TO_EXPLAIN, unknown_name, warn_about_scores
from spikax._params import HasParams
from spikax._time_series import check_times, values
from spikax.links import MEANS, InverseLink
from spikax.observation_models._dispersion import likeliest_scale

Aggregate = Callable[[jax.Array], jax.Array]
Links = InverseLink | tuple[InverseLink, ...]
SCORE_TYPES = ("log-likelihood", "pseudo-r2-McFadden", "pseudo-r2-Cohen")


def sum_of_means(scores: jax.Array) -> jax.Array:
    """Mean over samples, summed over neurons: the way in which losses are aggregated."""
    return jnp.sum(jnp.mean(jnp.atleast_1d(scores), axis=0))


class Dispersion(Enum):
    """What the variance depends on besides the mean, and where that comes from.

    Attributes
    ----------
    NONE
        Nothing, or what has a linear predictor of its own.
    MOMENTS
        A factor of the variance, from Pearson's statistic after the fit.
    KNOWN
        A parameter of the log-likelihood that the user gives.
    ESTIMATED
        Such a parameter, estimated with the coefficients by maximum likelihood.

    Examples
    --------
    >>> import spikax as nmo
    >>> nmo.observation_models.GammaObservations().dispersion
    <Dispersion.MOMENTS: 'moments'>
    """

    NONE = "none"
    MOMENTS = "moments"
    KNOWN = "known"
    ESTIMATED = "estimated"


class Observations(HasParams):
    """How observations scatter around what a linear predictor says of them.

    An observation model of your own is a frozen dataclass on this class that defines `log_prob`,
    and of the others what is needed: `allows` to refuse what cannot be observed, `variance` for
    Pearson residuals and a dispersion of `Dispersion.MOMENTS`, `sample` to simulate. Everything is
    elementwise. What a user may tune is a field, a scalar or one number per neuron, of which other
    values compile nothing again; a field that changes the program is marked with
    ``field(metadata={"static": True})``.

    Attributes
    ----------
    default_link
        Name of the inverse link used when the user names none (default "exp").
    more_links
        Names of the inverse links of the predictors after the first (default none).
    predictors
        Names of the linear predictors, of which several may have features of their own (default
        ``("mean",)``).
    mean_bounds
        The open interval in which a mean lies (default 0 to infinity).
    parameter_bounds
        That of what predictors stand for, by default of the mean; of several a tuple of intervals.
    support
        What `y` may be, in words, for error messages.
    dispersion
        A `Dispersion` (default none).
    scale
        Value of the dispersion where it is known.
    linear_in_y
        Whether the log-likelihood is linear in `y`, but for terms without predictors: so that the
        likeliest constant mean is the mean of `y`, and the expected information is that at the
        mean. Where it is not (default), both are found numerically: the mean by Newton's method,
        and the information is the observed one.
    sum_to_zero
        Whether only the differences of the predictors matter, as of classes (default not).
    counts_spikes
        Whether `y` counts events, of which there are bits per spike (default not).
    reduces_to
        What the observations become without dispersion, or without what a second predictor stands
        for, for messages.

    Examples
    --------
    Waiting times that are exponential:

    >>> from dataclasses import dataclass
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> import spikax as nmo
    >>> @dataclass(frozen=True)
    ... class ExponentialObservations(nmo.observation_models.Observations):
    ...     def allows(self, y):
    ...         return y > 0
    ...
    ...     def log_prob(self, eta, y, link, dispersion):
    ...         return -y * jnp.exp(-link.log_mean(eta)) - link.log_mean(eta)
    ...
    ...     def variance(self, mean, dispersion):
    ...         return mean**2
    ...
    ...     def sample(self, key, mean, dispersion):
    ...         return mean * jax.random.exponential(key, mean.shape)
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> waits = np.random.default_rng(1).exponential(np.exp(X[:, 0]))
    >>> nmo.glm.GLM(ExponentialObservations()).fit(X, waits).coef_.round(1)
    array([1., 0.])
    """

    default_link: ClassVar[str] = "exp"
    more_links: ClassVar[tuple[str, ...]] = ()
    mean_bounds: ClassVar[Any] = (0.0, np.inf)
    support: ClassVar[str] = "what its `allows` takes"
    predictors: ClassVar[Any] = ("mean",)
    dispersion: ClassVar[Any] = Dispersion.NONE
    linear_in_y: ClassVar[bool] = False
    sum_to_zero: ClassVar[bool] = False
    counts_spikes: ClassVar[bool] = False
    reduces_to: ClassVar[str] = "other"
    scale: ClassVar[Any] = 1.0

    @property
    def parameter_bounds(self) -> Any:
        """The open interval of what each predictor stands for."""
        return self.mean_bounds

    @property
    def n_predictors(self) -> int:
        """Number of linear predictors of a neuron."""
        return len(self.predictors)

    @property
    def name(self) -> str:
        """What the observations are called in messages."""
        return type(self).__name__.removesuffix("Observations")

    @property
    def default_inverse_link_function(self) -> Callable[[jax.Array], jax.Array]:
        """The inverse link used when the user names none."""
        return links.resolve(self.default_link).mean

    # --- What an observation model of your own defines.

    def allows(self, y: np.ndarray) -> Any:
        """Tell whether each observation is possible.

        Parameters
        ----------
        y
            Observations, (n_samples, n_neurons), a NumPy array that may hold NaN.

        Returns
        -------
        array of bool
            Shaped like `y`, or one for all; all are by default.
        """
        return np.True_

    def log_prob(self, eta: jax.Array, y: jax.Array, link: Any, dispersion: Any) -> jax.Array:
        """Compute the log-likelihood of each observation.

        By default it is put together of `loss`, `precision` and `log_normalizer`, which an
        observation model may define in its place, to leave out of the sums of a fit what does not
        depend on the predictors: ``-precision(dispersion) * loss - log_normalizer(y, dispersion)``

        Parameters
        ----------
        eta
            Linear predictors, of any shape; several of them are on a first axis.
        y
            Observations, shaped like `eta` but for that axis.
        link
            The inverse link: its `mean`, `log_mean` and `log_complement` of `eta` stay finite. Of
            several predictors a tuple of them.
        dispersion
            The dispersion, which broadcasts to `y`; one where there is none.

        Returns
        -------
        jax.Array
            Log-likelihoods shaped like `y`, finite and twice differentiable for any finite `eta`.
        """
        loss = self.loss(eta, y, link, dispersion)
        return -self.precision(dispersion) * loss - self.log_normalizer(y, dispersion)

    def variance(self, mean: jax.Array, dispersion: Any) -> jax.Array:
        """Compute the variance of observations.

        Parameters
        ----------
        mean
            Means, of any shape; what several predictors stand for on a first axis.
        dispersion
            The dispersion, which broadcasts to them.

        Returns
        -------
        jax.Array
            Variances shaped like the means.

        Raises
        ------
        NotImplementedError
            If the observation model does not define it.
        """
        raise self._lacks("variance(mean, dispersion)")

    def sample(self, key: jax.Array, mean: jax.Array, dispersion: Any) -> jax.Array:
        """Draw one observation for each mean.

        Parameters
        ----------
        key
            Random key, from `jax.random.key`.
        mean, dispersion
            As in `variance`.

        Returns
        -------
        jax.Array
            Observations shaped like the means.

        Raises
        ------
        NotImplementedError
            If the observation model does not define it.
        """
        raise self._lacks("sample(key, mean, dispersion)")

    def _lacks(self, member: str) -> NotImplementedError:
        return NotImplementedError(
            f"{type(self).__name__} does not define {member}, which this needs: define it as "
            "spikax.observation_models.Observations describes it."
        )

    # --- What may be defined in place of a default.

    def loss(self, eta: jax.Array, y: jax.Array, link: Any, dispersion: Any) -> jax.Array:
        """Compute the part of the negative log-likelihood that depends on the predictors.

        It is what a fit sums: divided by the dispersion where that is one of `Dispersion.MOMENTS`.

        Parameters
        ----------
        eta, y, link, dispersion
            As in `log_prob`.

        Returns
        -------
        jax.Array
            Losses shaped like `y`; by default the negative log-likelihood, at unit dispersion of
            `Dispersion.MOMENTS`.
        """
        unit = self.dispersion is Dispersion.MOMENTS
        return -self.log_prob(eta, y, link, 1.0 if unit else dispersion)

    def precision(self, dispersion: Any) -> Any:
        """Compute the factor of the loss in the negative log-likelihood.

        Parameters
        ----------
        dispersion
            The dispersion, of any shape.

        Returns
        -------
        array or float
            By default its inverse for `Dispersion.MOMENTS`, and otherwise one.
        """
        return 1 / dispersion if self.dispersion is Dispersion.MOMENTS else 1.0

    def saturated(self, y: jax.Array, dispersion: Any) -> jax.Array:
        """Compute the loss of the model that predicts each observation as well as can be.

        Parameters
        ----------
        y
            Observations, of any shape.
        dispersion
            The dispersion, which broadcasts to `y`.

        Returns
        -------
        jax.Array
            Losses shaped like `y`: by default that at a mean of `y`; of several predictors zero,
            so that the deviance is minus twice the log-likelihood but for `log_normalizer`.
        """
        if self.n_predictors > 1:
            return jnp.zeros_like(y)
        eta, link = self.at_mean(y)
        return self.loss(eta, y, link, dispersion)

    def log_normalizer(self, y: jax.Array, dispersion: Any) -> Any:
        """Compute the part of the negative log-likelihood without predictors.

        Parameters
        ----------
        y, dispersion
            As in `saturated`.

        Returns
        -------
        jax.Array
            Shaped like `y`; by default what `log_prob` has besides the loss.
        """
        if not _defines(self, "log_prob") or self.dispersion is not Dispersion.MOMENTS:
            return jnp.zeros_like(y)
        eta, link = self.at_mean(y)
        least = -self.log_prob(eta, y, link, dispersion)
        return least - self.precision(dispersion) * self.saturated(y, dispersion)

    def parameters(self, eta: jax.Array, link: Any) -> jax.Array:
        """Compute what the predictors stand for: the mean, if there is one predictor.

        Parameters
        ----------
        eta, link
            As in `log_prob`.

        Returns
        -------
        jax.Array
            Means, or the parameters of several predictors, shaped like `eta`.
        """
        if isinstance(link, tuple):
            return jnp.stack([one.mean(e) for one, e in zip(link, eta, strict=True)])
        return link.mean(eta)

    def mean(self, parameters: jax.Array) -> jax.Array:
        """Compute the mean of observations from what the predictors stand for.

        Parameters
        ----------
        parameters
            As `parameters` gives them.

        Returns
        -------
        jax.Array
            Means, without the axis of several predictors.
        """
        return parameters

    def predictor(self, parameters: jax.Array, link: Any) -> jax.Array:
        """Compute the predictors that stand for some parameters: the inverse of `parameters`.

        Parameters
        ----------
        parameters
            As `parameters` gives them.
        link
            As in `log_prob`.

        Returns
        -------
        jax.Array
            Linear predictors, shaped like the parameters.
        """
        if isinstance(link, tuple):
            return jnp.stack([one.predictor(p) for one, p in zip(link, parameters, strict=True)])
        return link.predictor(parameters)

    def at_mean(self, mean: jax.Array) -> tuple[jax.Array, Links]:
        """Give a predictor and an inverse link that have a mean.

        Parameters
        ----------
        mean
            Means, or parameters of several predictors.

        Returns
        -------
        eta : jax.Array
            What takes the place of linear predictors in `log_prob`.
        link : InverseLink or tuple of InverseLink
            Its inverse link, for which predictors are the means themselves.
        """
        if self.n_predictors > 1:
            return mean, (links.PARAMETERS,) * self.n_predictors
        return mean, MEANS

    def rates(self, parameters: jax.Array) -> jax.Array:
        """Give parameters as users hold them: several of them on a last axis.

        Parameters
        ----------
        parameters
            As `parameters` gives them.

        Returns
        -------
        jax.Array
            What `log_likelihood` takes as `predicted_rate`.
        """
        return jnp.moveaxis(parameters, 0, -1) if self.n_predictors > 1 else parameters

    def statistics(self, y: jax.Array) -> jax.Array:
        """Compute statistics of observations, of whose means `start` makes parameters.

        Parameters
        ----------
        y
            Observations, of any shape.

        Returns
        -------
        jax.Array
            The statistics, with an axis for them in front: `y` by default.
        """
        return y[None]

    def start(self, means: jax.Array) -> jax.Array:
        """Give the parameters of a model without features, where its fit starts.

        Parameters
        ----------
        means
            Mean statistics of each neuron, (n_statistics, n_neurons).

        Returns
        -------
        jax.Array
            Parameters as `parameters` gives them, (n_neurons,) or (n_predictors, n_neurons).
        """
        return means[0]

    def likeliest_scale(self, deviance: Any, n: Any) -> Any:
        """Give the likeliest scale of `n` observations, or None where that has no formula.

        Parameters
        ----------
        deviance
            Their deviance at a scale of one, of any shape.
        n
            Their number, shaped likewise.

        Returns
        -------
        array or None
            The scale at which the log-likelihood is reported; by default the one estimated.
        """
        return None

    def distribution(self, mean: np.ndarray, dispersion: np.ndarray) -> Any:
        """Give the distribution of observations, as one of `scipy.stats`, or None.

        Parameters
        ----------
        mean, dispersion
            As in `variance`.

        Returns
        -------
        object or None
            Something with the methods `cdf` and `sf`, and `dist` to tell counts; for quantile
            residuals, which there are none of by default.
        """
        return None

    # --- Scores of means, in the way of NeMoS.

    def _known(self, scale: Any) -> Any:
        """Take the scale for the dispersion, unless that is known here."""
        return self.scale if self.dispersion is Dispersion.KNOWN else scale

    def _loss_of_mean(self, y: jax.Array, mean: jax.Array, dispersion: Any) -> jax.Array:
        """Loss at a mean; infinite where a mean at its bound says that `y` cannot be."""
        eta, link = self.at_mean(mean)
        loss = self.loss(eta, y, link, dispersion)
        if self.n_predictors > 1:
            return loss
        low, high = self.mean_bounds
        loss = jnp.where((mean == low) | (mean == high), jnp.inf, loss)
        return jnp.where(mean == y, self.saturated(y, dispersion), loss)

    def _sample_log_likelihood(self, y, predicted_rate, scale) -> jax.Array:
        """Log-likelihood of each observation at its mean, shaped like `y`."""
        y, mean = _aligned(y, predicted_rate, self)
        dispersion = self._known(scale)
        loss = self._loss_of_mean(y, mean, dispersion)
        return -self.precision(dispersion) * loss - self.log_normalizer(y, dispersion)

    def log_likelihood(
        self, y, predicted_rate, scale=1.0, aggregate_sample_scores: Aggregate = sum_of_means
    ) -> jax.Array:
        """Log-likelihood of the observations, normalising constant included.

        Parameters
        ----------
        y
            Observations, shape (n_samples,) or (n_samples, n_neurons).
        predicted_rate
            Their means, of the same shape; of several predictors what these stand for, on a last
            axis.
        scale
            Scale of the distribution, a scalar or one per neuron.
        aggregate_sample_scores
            Function of the samples' log-likelihoods; by default the mean over samples, summed over
            neurons, as in the loss.

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
        self, y, predicted_rate, scale=1.0, aggregate_sample_scores: Aggregate = sum_of_means
    ) -> jax.Array:
        """Exponential of `log_likelihood`, the aggregation included.

        Parameters
        ----------
        y, predicted_rate, scale
            As in `log_likelihood`.
        aggregate_sample_scores
            Function of the samples' log-likelihoods; the default makes the geometric mean over
            samples, multiplied over neurons.

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
        y, predicted_rate, scale
            As in `log_likelihood`.

        Returns
        -------
        jax.Array
            Twice the log-likelihood that the saturated model has above this one, shaped like `y`.

        Raises
        ------
        ValueError
            If `y` and `predicted_rate` differ in shape.
        """
        y, mean = _aligned(y, predicted_rate, self)
        dispersion = self._known(scale)
        excess = self._loss_of_mean(y, mean, dispersion) - self.saturated(y, dispersion)
        return 2 * self.precision(dispersion) * excess

    def pseudo_r2(
        self,
        y,
        predicted_rate,
        score_type: str = "pseudo-r2-McFadden",
        scale=1.0,
        aggregate_sample_scores: Aggregate = sum_of_means,
    ) -> jax.Array:
        """Share of what can be explained that is, against a constant rate per neuron.

        Parameters
        ----------
        y, predicted_rate, scale
            As in `log_likelihood`.
        score_type
            "pseudo-r2-McFadden", one minus the ratio of log-likelihoods (McFadden 1974), or
            "pseudo-r2-Cohen", the share of the deviance explained (Cohen et al. 2003).
        aggregate_sample_scores
            Function of the samples' log-likelihoods or deviances; by default the mean over
            samples, summed over neurons.

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
        check_pseudo_r2(self, score_type)
        y, predicted_rate = (jnp.asarray(values(a, "y")) for a in (y, predicted_rate))
        aligned, _ = _aligned(y, predicted_rate, self)
        null_rate = self._constant_rate(aligned, predicted_rate)
        null_scale: Any = scale
        if score_type == "pseudo-r2-McFadden":
            if self.dispersion is Dispersion.ESTIMATED:
                null_scale = self._scale_of_mean(aligned, _aligned(y, null_rate, self)[1])
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

    def _constant_rate(self, y: jax.Array, rate: jax.Array) -> jax.Array:
        """Give the rates of a model without features, shaped like those of another."""
        return jnp.broadcast_to(
            self.rates(self.start(self.statistics(y).mean(axis=1))), rate.shape
        )

    def sample_generator(self, key: jax.Array, predicted_rate, scale: Any = 1.0) -> jax.Array:
        """Draw observations with the predicted means.

        Parameters
        ----------
        key
            Random key, from `jax.random.key`.
        predicted_rate, scale
            As in `log_likelihood`.

        Returns
        -------
        jax.Array
            Observations, shaped like the means.
        """
        rate = jnp.asarray(values(predicted_rate, "predicted_rate"))
        rate = jnp.moveaxis(rate, -1, 0) if self.n_predictors > 1 else rate
        eta, link = self.at_mean(rate)
        return self.sample(key, self.parameters(eta, link), self._known(scale))

    def estimate_scale(self, y, predicted_rate, dof_resid) -> jax.Array:
        """Estimate the scale from Pearson's statistic; one where the family has none.

        Parameters
        ----------
        y, predicted_rate
            As in `log_likelihood`.
        dof_resid
            Residual degrees of freedom, a scalar or one per neuron.

        Returns
        -------
        jax.Array
            The scale, a scalar or shape (n_neurons,): the sum of `(y - mu)^2 / V(mu)` over the
            degrees of freedom (McCullagh & Nelder 1989, section 8.3).
        """
        y, mean = _aligned(y, predicted_rate, self)
        match self.dispersion:
            case Dispersion.NONE:
                return jnp.ones(y.shape[1:])
            case Dispersion.MOMENTS:
                squared = (y - mean) ** 2 / self.variance(mean, 1.0)
                return squared.sum(axis=0) / dof_resid
            case Dispersion.KNOWN:
                return jnp.broadcast_to(jnp.asarray(self.scale, y.dtype), y.shape[1:])
        return self._scale_of_mean(y, mean)

    def _scale_of_mean(self, y: jax.Array, mean: jax.Array) -> jax.Array:
        """Give the likeliest dispersion of each neuron."""
        eta, link = self.at_mean(mean)

        def log_likelihood(scale):
            return self.log_prob(eta, y, link, scale[None]).sum(axis=0)

        return likeliest_scale(log_likelihood, jnp.zeros(y.shape[1:], y.dtype))[0]


def check_pseudo_r2(model: Observations, score_type: str) -> None:
    """Refuse a pseudo-R2 that is unknown, or that would depend on the units of `y`."""
    if score_type not in SCORE_TYPES[1:]:
        raise unknown_name("score_type", score_type, SCORE_TYPES[1:])
    if score_type == "pseudo-r2-McFadden" and model.dispersion is Dispersion.MOMENTS:
        raise ValueError(
            f"score_type 'pseudo-r2-McFadden' is a ratio of log-likelihoods, and those of "
            f"{model.name} observations are of a density: they depend on the units of "
            "y, and may have either sign. Use 'pseudo-r2-Cohen', the share of the deviance "
            "explained, which is R2 for the Gaussian."
        )


def _aligned(y, predicted_rate, model: Observations) -> tuple[jax.Array, jax.Array]:
    """Check observations and means; give the means of several predictors their axis in front."""
    dtype = canonicalize_dtype(float)
    check_times({"y": y, "predicted_rate": predicted_rate})
    y, mean = (
        jnp.asarray(values(array, name), dtype)
        for array, name in ((y, "y"), (predicted_rate, "predicted_rate"))
    )
    several = model.n_predictors > 1
    if model.sum_to_zero and y.shape == mean.shape and _are_indicators(y):
        y = jnp.argmax(y, axis=-1).astype(dtype)
    if y.shape != (mean.shape[:-1] if several else mean.shape):
        what = "y and predicted_rate must have the same shape"
        axis = " but for its axis of classes" if model.sum_to_zero else " but for a last axis"
        raise ValueError(f"{what}{axis * several}, got {y.shape} and {mean.shape}.")
    return y, jnp.moveaxis(mean, -1, 0) if several else mean


def _are_indicators(y: jax.Array) -> bool:
    """Whether there is a single one among zeros on the last axis; JAX's tracing takes it so."""
    if isinstance(y, Tracer):
        return True
    return bool(jnp.all((y == 0) | (y == 1)) & jnp.all(y.sum(axis=-1) == 1))


# --- Observation models of the user's.

_checked: set[type] = set()


def _defines(model: Any, member: str) -> bool:
    return getattr(type(model), member) is not getattr(Observations, member)


def check_members(model: Observations) -> None:
    """Refuse a model whose members are missing, or give what has another shape."""
    if type(model) in _checked:
        return
    name = type(model).__name__
    if not (_defines(model, "log_prob") or _defines(model, "loss")):
        raise TypeError(
            f"{name} lacks log_prob(eta, y, link, dispersion), the log-likelihood of each "
            "observation, which every observation model must define."
        )
    y, K = jax.ShapeDtypeStruct((3,), canonicalize_dtype(float)), model.n_predictors
    eta = jax.ShapeDtypeStruct((K, 3) if K > 1 else (3,), y.dtype)
    link = links_of(model, None)
    one = np.ones(1)
    calls: dict[str, Callable] = {
        "log_prob": lambda eta, y: model.log_prob(eta, y, link, one),
        "loss": lambda eta, y: model.loss(eta, y, link, one),
        "saturated": lambda eta, y: model.saturated(y, one),
        "variance": lambda eta, y: model.variance(eta, one),
    }
    for member, call in calls.items():
        if _defines(model, member) and not (member == "variance" and model.sum_to_zero):
            found = jax.eval_shape(call, eta, y)
            if getattr(found, "shape", None) != y.shape:
                raise ValueError(
                    f"{name}.{member} must work element by element: of {y.shape[0]} observations "
                    f"it returned {getattr(found, 'shape', found)}, not shape {y.shape}."
                )
    if np.shape(model.allows(np.ones(3))) not in ((), (3,)):
        raise ValueError(f"{name}.allows must tell of each observation whether it is possible.")
    _checked.add(type(model))


def links_of(model: Observations, given: Any) -> Links:
    """Find the inverse links of a model's predictors; those that are not given by default."""
    defaults = dict(zip(model.predictors, (model.default_link, *model.more_links), strict=False))
    if model.sum_to_zero or model.n_predictors == 1:
        return links.resolve(model.default_link if given is None else given)
    first = model.predictors[0]
    chosen = given if isinstance(given, dict) else {} if given is None else {first: given}
    for name in chosen:
        if name not in defaults:
            raise unknown_name("inverse_link_function", name, defaults)
    return tuple(links.resolve({**defaults, **chosen}[name]) for name in model.predictors)
