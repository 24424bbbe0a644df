"""Goodness of fit: how well predicted means agree with what was observed."""

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import get_routing_for_object

from spikax import _inputs, _labels, observation_models
from spikax._errors import IMPOSSIBLE, NOTHING_TO_EXPLAIN, unknown_name, warn_about_scores
from spikax._layout import Layout, Outputs
from spikax._missing import IgnoredSamples
from spikax._time_series import TimeSeries, check_times
from spikax.core.standardise import pad
from spikax.design import padded_length
from spikax.glm import ClassifierGLM, ClassifierPopulationGLM
from spikax.glm._null import fit_null, unless_exact
from spikax.glm._prediction import null_scores, rate_scores, share_explained
from spikax.observation_models import (
    BernoulliObservations,
    Dispersion,
    Likelihood,
    NegativeBinomialObservations,
    Observations,
    PoissonObservations,
)

__all__ = [
    "Calibration",
    "TimeRescaling",
    "bits_per_spike",
    "calibration",
    "cross_validated_scores",
    "deviance_explained",
    "residuals",
    "time_rescaling",
]

RESIDUALS = ("deviance", "pearson", "quantile")


@dataclass(frozen=True, eq=False)
class TimeRescaling:
    """Spikes in a time that runs at the predicted rate.

    Attributes
    ----------
    intervals
        For each neuron its rescaled intervals between spikes, each (n_spikes,): independent and
        exponential of mean one if the model is true.
    statistic
        Kolmogorov-Smirnov distance to that distribution, (n_neurons,); NaN without spikes.
    p_value
        Its p-value, (n_neurons,); NaN without spikes.
    n_spikes
        Number of intervals, (n_neurons,).

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rate = np.full(3000, 0.2)
    >>> spikes = np.random.default_rng(0).poisson(rate)
    >>> test = nmo.diagnostics.time_rescaling(spikes, rate, jax.random.key(0))
    >>> expected, observed, band = test.curve()
    >>> bool(np.abs(observed - expected).max() < band)
    True
    """

    intervals: tuple[np.ndarray, ...]
    statistic: np.ndarray
    p_value: np.ndarray
    n_spikes: np.ndarray

    def curve(self, neuron: int = 0, level: float = 0.95):
        """Compare distributions, as a KS plot shows it.

        Parameters
        ----------
        neuron
            Index of the neuron.
        level
            Probability that a true model stays within the band everywhere (default 0.95).

        Returns
        -------
        expected, observed : array
            Quantiles of the model and of the rescaled intervals, each (n_spikes,).
        band : float
            Largest distance between them that a true model reaches with that probability.
        """
        observed = np.sort(-np.expm1(-self.intervals[neuron]))
        n = observed.size
        band = stats.kstwo.ppf(level, n) if n else np.nan
        return (np.arange(n) + 0.5) / max(n, 1), observed, float(band)


def time_rescaling(
    y,
    predicted_rate,
    random_key: jax.Array,
    observation_model: Any = "Poisson",
    scale: Any = None,
) -> TimeRescaling:
    r"""Test predicted spike counts by the time-rescaling theorem.

    In a time that runs at the predicted rate the spikes of a true model are a Poisson process of
    rate one, so the intervals :math:`\tau_i = \int_{t_{i-1}}^{t_i} \lambda(t) dt` are exponential.
    Counts do not say where in its bin a spike was, so that is drawn: for Poisson counts at random
    in the bin, for Bernoulli outcomes as the first spike of the bin (Haslinger et al. 2010),
    without which the test would refuse true models.

    Negative binomial counts of mean :math:`\mu` and scale :math:`\alpha` are Poisson counts of a
    rate that is drawn anew for each bin, so their spikes are at random in the bin, too. What is
    known of that rate at a part s of the bin, after k spikes in it, gives the intensity of a
    Pólya process, :math:`\lambda(s) = \mu (1 + \alpha k) / (1 + \alpha \mu s)` (Grandell 1997):
    the time between spikes runs at this, and not at the mean.

    Parameters
    ----------
    y
        Spike counts, (n_samples,) or (n_samples, n_neurons), in their order in time.
    predicted_rate
        Their predicted means, in spikes per bin, of the same shape. Samples with NaN in either
        are left out, as if time stood still.
    random_key
        Random key, from `jax.random.key`: the same key gives the same result.
    observation_model
        "Poisson" (default), "Bernoulli", or a negative binomial.
    scale
        Dispersion of a negative binomial that estimates it, `scale_` of the model; a scalar or
        (n_neurons,).

    Returns
    -------
    TimeRescaling
        Intervals, statistics and p-values of each neuron.

    Raises
    ------
    ValueError
        If shapes differ, values are impossible, or the observation model does not tell at what
        intensity spikes come within a bin.

    References
    ----------
    Brown, Barbieri, Ventura, Kass & Frank (2002), Neural Computation 14. Haslinger, Pipa & Brown
    (2010), Neural Computation 22. Grandell (1997), Mixed Poisson Processes.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rate = np.full(2000, 0.2)
    >>> spikes = np.random.default_rng(0).poisson(rate)
    >>> test = nmo.diagnostics.time_rescaling(spikes, rate, jax.random.key(0))
    >>> test.p_value > 0.05
    array([ True])
    """
    family = observation_models.resolve(observation_model)
    if type(family) not in _RESCALED:
        raise ValueError(
            "Time rescaling needs the intensity at which spikes come within a bin, which is known "
            "here for Poisson, Bernoulli and negative binomial counts, and not for "
            f"{family.name} observations: look at residuals(...) instead, of "
            "kind='quantile' where the family has them."
        )
    y, rate = _aligned(y, predicted_rate, family)
    dispersion = _scale(scale, family, y.shape[1])[0]
    if np.any(y != np.rint(y), where=~np.isnan(y)):
        raise ValueError("y must hold whole numbers of spikes to be rescaled.")
    seed = np.asarray(jax.random.key_data(random_key)).ravel()
    intervals = []
    for j in range(y.shape[1]):
        known = ~(np.isnan(y[:, j]) | np.isnan(rate[:, j]))
        rng = np.random.default_rng([*seed, j])
        counts = y[known, j].astype(int)
        intervals.append(_RESCALED[type(family)](counts, rate[known, j], dispersion[j], rng))
    tests = [stats.kstest(x, "expon") if x.size else (np.nan, np.nan) for x in intervals]
    statistic, p_value = np.array([tuple(test)[:2] for test in tests]).T
    n_spikes = np.array([x.size for x in intervals])
    return TimeRescaling(tuple(intervals), statistic, p_value, n_spikes)


def _rescaled_poisson(counts, rate, scale, rng) -> np.ndarray:
    before = np.cumsum(rate) - rate
    bins = np.repeat(np.arange(len(counts)), counts)
    times = np.sort(before[bins] + rng.uniform(size=bins.size) * rate[bins])
    return np.diff(times, prepend=0)


def _rescaled_bernoulli(counts, probability, scale, rng) -> np.ndarray:
    hazard = -np.log1p(-np.minimum(probability, 1 - 1e-15))
    after = np.cumsum(hazard)
    bins = np.flatnonzero(counts)
    within = -np.log1p(rng.uniform(size=bins.size) * np.expm1(-hazard[bins]))
    # Nothing can be seen of the rest of a bin with a spike: the next interval starts after it.
    start = np.concatenate([[0.0], after[bins[:-1]]])[: bins.size]
    return after[bins] - hazard[bins] - start + within


def _rescaled_negative_binomial(counts, mean, scale, rng) -> np.ndarray:
    bins = np.repeat(np.arange(len(counts)), counts)
    times = np.sort(bins + rng.uniform(size=bins.size))
    # Time runs evenly from spike to spike of a bin, and from the last one to the bin's end.
    ends = np.cumsum(counts + 1) - 1
    is_end = np.zeros(len(counts) + bins.size, bool)
    is_end[ends] = True
    within, bin_of = np.ones(is_end.size), np.repeat(np.arange(len(counts)), counts + 1)
    within[~is_end] = times - bins
    before = np.arange(is_end.size) - np.repeat(ends - counts, counts + 1)
    start = np.where(before > 0, np.concatenate([[0.0], within[:-1]]), 0.0)
    # The integral of the intensity, (1 / scale + k) log(1 + scale mu s), from start to there.
    excess = scale * mean[bin_of]
    ratio = np.log1p(excess * (within - start) / (1 + excess * start))
    with np.errstate(divide="ignore", invalid="ignore"):
        even = mean[bin_of] * (within - start)
        first = np.where(excess > 0, ratio / scale, even)
    return np.diff(np.cumsum(first + before * ratio)[~is_end], prepend=0)


_RESCALED = {
    PoissonObservations: _rescaled_poisson,
    BernoulliObservations: _rescaled_bernoulli,
    NegativeBinomialObservations: _rescaled_negative_binomial,
}


def residuals(
    y,
    predicted_rate,
    kind: str = "deviance",
    *,
    observation_model: Any = "Poisson",
    scale: Any = None,
    random_key: jax.Array | None = None,
) -> np.ndarray:
    r"""Compute residuals.

    Deviance residuals are :math:`\mathrm{sign}(y - \mu) \sqrt{d(y, \mu)}`, Pearson's
    :math:`(y - \mu) / \sqrt{\phi V(\mu)}`. Quantile residuals :math:`\Phi^{-1}(u)`, with u drawn
    between the probabilities of less than y and of at most y, are exactly normal for a true
    model, for counts and small rates too (Dunn & Smyth 1996). Residuals of a classifier are those
    of the indicator of each class, which is Bernoulli: pass `y[:, None] == model.classes_`, the
    probabilities, and observation_model="Bernoulli".

    Parameters
    ----------
    y
        Observations, (n_samples,) or (n_samples, n_neurons).
    predicted_rate
        Their predicted means, of the same shape.
    kind
        "deviance" (default), "pearson" or "quantile".
    observation_model
        Name of the observation model, or one (default "Poisson").
    scale
        Scale of the distribution, `scale_` of a model; a scalar or (n_neurons,). None (default) is
        1; a dispersion that is estimated has no default.
    random_key
        Random key, from `jax.random.key`, for quantile residuals.

    Returns
    -------
    array
        Residuals, shaped like `y`; NaN where `y` or the prediction is.

    Raises
    ------
    ValueError
        If a name is unknown, shapes differ, values are impossible, or the scale or the key is
        missing.

    References
    ----------
    McCullagh & Nelder (1989), Generalized Linear Models, section 2.4. Dunn & Smyth (1996),
    Journal of Computational and Graphical Statistics 5.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.diagnostics import residuals
    >>> residuals(np.array([0.0, 4.0]), np.array([1.0, 1.0]), "pearson")
    array([-1.,  3.])
    """
    if kind not in RESIDUALS:
        raise unknown_name("kind", kind, RESIDUALS)
    model = observation_models.resolve(observation_model)
    observed, rate = _aligned(y, predicted_rate, model)
    scale = _scale(scale, model, observed.shape[1])
    if kind == "deviance":
        _, deviance = rate_scores(model, observed, rate, scale)
        values = np.sign(observed - rate) * np.sqrt(np.maximum(deviance, 0))
    elif kind == "pearson":
        with jax.enable_x64(True), np.errstate(divide="ignore", invalid="ignore"):
            variance = np.asarray(model.variance(jnp.asarray(rate), scale))
            values = (observed - rate) / np.sqrt(variance)
    else:
        if random_key is None:
            raise ValueError(
                "Quantile residuals are drawn: pass random_key=jax.random.key(0), or another seed."
            )
        values = _quantile_residuals(model, observed, rate, scale, random_key)
    return values.reshape(np.shape(y))


def _quantile_residuals(model, y, rate, scale, random_key) -> np.ndarray:
    distribution = model.distribution(rate, scale)
    if distribution is None:
        raise ValueError(
            f"The distribution of {model.name} observations is not known here: use "
            "kind='deviance' or 'pearson'."
        )
    seed = np.asarray(jax.random.key_data(random_key)).ravel()
    draw = np.random.default_rng(seed).uniform(size=y.shape)
    discrete = isinstance(distribution.dist, stats.rv_discrete)
    before = y - 1 if discrete else y
    below, above = (
        share(before) + draw * (share(y) - share(before))
        for share in (distribution.cdf, distribution.sf)
    )
    # Each tail is resolved from its own end.
    return np.where(below < 0.5, stats.norm.ppf(below), stats.norm.isf(above))


@dataclass(frozen=True, eq=False)
class Calibration:
    """Observed means where like means were predicted.

    Attributes
    ----------
    predicted, observed
        Mean prediction and mean observation of each bin of predictions, (n_bins, n_neurons).
    standard_error
        Standard error of `observed`, (n_bins, n_neurons).
    n_samples
        Number of samples in each bin, (n_bins, n_neurons).

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rate = np.linspace(0.1, 2.0, 1000)
    >>> spikes = np.random.default_rng(0).poisson(rate)
    >>> found = nmo.diagnostics.calibration(spikes, rate, n_bins=4)
    >>> found.n_samples[:, 0]
    array([250, 250, 250, 250])
    >>> bool(np.all(np.abs(found.observed - found.predicted) < 3 * found.standard_error))
    True
    """

    predicted: np.ndarray
    observed: np.ndarray
    standard_error: np.ndarray
    n_samples: np.ndarray


def calibration(y, predicted_rate, n_bins: int = 10) -> Calibration:
    """Compare observations with predictions, in bins of like predictions.

    Parameters
    ----------
    y
        Observations, (n_samples,) or (n_samples, n_neurons).
    predicted_rate
        Their predicted means, of the same shape. Samples with NaN in either are left out.
    n_bins
        Number of bins, of as many samples each (default 10).

    Returns
    -------
    Calibration
        Means of each bin and neuron.

    Raises
    ------
    ValueError
        If shapes differ, or a neuron has fewer samples than there are bins.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rate = np.linspace(0.1, 2.0, 1000)
    >>> spikes = np.random.default_rng(0).poisson(rate)
    >>> nmo.diagnostics.calibration(spikes, rate, n_bins=4).observed.shape
    (4, 1)

    Of a classifier, compare the indicators of its classes with their probabilities:

    >>> X = np.random.default_rng(1).normal(size=(1000, 2))
    >>> choice = np.where(X[:, 0] > 0, "right", "left")
    >>> model = nmo.glm.ClassifierGLM(regularizer_strength=0.1).fit(X, choice)
    >>> chosen = choice[:, None] == model.classes_
    >>> probability = model.predict_proba(X, "proba")
    >>> nmo.diagnostics.calibration(chosen, probability, n_bins=4).observed.shape
    (4, 2)
    """
    y, rate = _aligned(y, predicted_rate)
    if isinstance(n_bins, bool) or not isinstance(n_bins, int | np.integer) or n_bins < 1:
        raise ValueError(f"n_bins must be a positive whole number, got {n_bins!r}.")
    columns = []
    for j in range(y.shape[1]):
        known = np.flatnonzero(~(np.isnan(y[:, j]) | np.isnan(rate[:, j])))
        if known.size < n_bins:
            raise ValueError(
                f"{n_bins} bins need as many samples, and neuron {j} has {known.size}: pass fewer "
                "bins."
            )
        bins = np.array_split(known[np.argsort(rate[known, j], kind="stable")], n_bins)
        columns.append(
            [
                (rate[b, j].mean(), y[b, j].mean(), y[b, j].std() / np.sqrt(b.size), b.size)
                for b in bins
            ]
        )
    predicted, observed, error, n_samples = np.moveaxis(np.array(columns), [0, 1, 2], [2, 1, 0])
    return Calibration(predicted, observed, error, n_samples.astype(int))


def deviance_explained(
    y,
    predicted_rate,
    *,
    observation_model: Any = "Poisson",
    scale: Any = None,
    null_rate: Any = None,
    offset: Any = None,
    inverse_link_function: Any = None,
) -> np.ndarray:
    r"""Share of the deviance that predictions explain, :math:`1 - D(y, \mu) / D(y, \mu_0)`.

    Parameters
    ----------
    y
        Observations, (n_samples,) or (n_samples, n_neurons).
    predicted_rate
        Their predicted means, of the same shape. Samples with NaN in either are left out.
    observation_model
        Name of the observation model, or one (default "Poisson").
    scale
        Dispersion of a negative binomial that estimates it, `scale_` of the model; a scalar or
        (n_neurons,). The scale of others does not matter.
    null_rate
        What to compare with: a constant rate, a scalar or (n_neurons,), such as the mean of the
        training data, or a rate for each sample, shaped like `y`; by default the mean of `y`, or
        what fits `y` best with the offset.
    offset
        What the model had added to its linear predictor, such as a log exposure, (n_samples,) or
        (n_samples, n_neurons): the null model then is an intercept and this offset.
    inverse_link_function
        The inverse link of the model, that the offset goes through; None (default) is that of the
        observation model.

    Returns
    -------
    array
        One for perfect predictions, zero for the null rate, negative below it, (n_neurons,); NaN
        where the null rate explains all there is, as for a silent neuron; minus infinity where
        an observation has no probability, as a spike at a rate of zero.

    Raises
    ------
    ValueError
        If shapes differ, values are impossible, or both a null rate and an offset are given.

    Warns
    -----
    RuntimeWarning
        Once, naming the neurons whose score is not finite, with the reason.

    References
    ----------
    Cameron & Windmeijer (1997), Journal of Econometrics 77.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.diagnostics import deviance_explained
    >>> deviance_explained(np.array([0.0, 2.0]), np.array([1.0, 1.0]))
    array([0.])

    Counts in bins of 1, 2 and 4 seconds, of a model whose offset is the logarithm of that:

    >>> seconds = np.array([1.0, 2.0, 4.0])
    >>> deviance_explained(np.array([1.0, 1.0, 5.0]), seconds, offset=np.log(seconds)).round(12)
    array([0.])
    """
    null = _NullRate(null_rate, offset, inverse_link_function, own_scale=False)
    names, _, of_model, of_null = _compared(y, predicted_rate, observation_model, scale, null)
    deviance, null_deviance = (np.nansum(terms[1], axis=0) for terms in (of_model, of_null))
    nothing, unlike = null_deviance == 0, np.isinf(null_deviance)
    impossible = np.isinf(deviance) & ~nothing & ~unlike
    reasons = ((nothing, NOTHING_TO_EXPLAIN), (unlike, _UNLIKE), (impossible, IMPOSSIBLE))
    warn_about_scores(names, reasons)
    return np.where(unlike, np.nan, share_explained(deviance, null_deviance))


def bits_per_spike(
    y,
    predicted_rate,
    *,
    observation_model: Any = "Poisson",
    scale: Any = None,
    null_rate: Any = None,
    offset: Any = None,
    inverse_link_function: Any = None,
) -> np.ndarray:
    r"""Gain in log-likelihood over a constant rate, in bits for each spike.

    :math:`(\ell(\mu) - \ell(\mu_0)) / (n_\mathrm{spikes} \log 2)`: what the predictions tell
    of a spike. A dispersion that is estimated is, for the null rate, the one likeliest with it.

    Parameters
    ----------
    y
        Spike counts, (n_samples,) or (n_samples, n_neurons), held out for an honest score.
    predicted_rate
        Their predicted means, of the same shape. Samples with NaN in either are left out.
    observation_model
        "Poisson" (default), "Bernoulli", or a negative binomial.
    scale
        Dispersion of a negative binomial that estimates it, `scale_` of the model; a scalar or
        (n_neurons,).
    null_rate
        What to compare with: a constant rate, a scalar or (n_neurons,), such as the mean of the
        training data, or a rate for each sample, shaped like `y`; by default the mean of `y`, or
        what fits `y` best with the offset.
    offset
        What the model had added to its linear predictor, such as a log exposure, (n_samples,) or
        (n_samples, n_neurons): the null model then is an intercept and this offset.
    inverse_link_function
        The inverse link of the model, that the offset goes through; None (default) is that of the
        observation model.

    Returns
    -------
    array
        Bits per spike, (n_neurons,); NaN for a neuron without spikes, and minus infinity where a
        spike has no probability, since its predicted rate is zero.

    Raises
    ------
    ValueError
        If shapes differ, values are impossible, or both a null rate and an offset are given.

    Warns
    -----
    RuntimeWarning
        Once, naming the neurons whose score is not finite, with the reason.

    References
    ----------
    Pillow et al. (2008), Nature 454, doi:10.1038/nature07140.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.diagnostics import bits_per_spike
    >>> bits_per_spike(np.array([0.0, 2.0]), np.array([1e-9, 2.0])).round(3)
    array([1.])
    """
    null = _NullRate(null_rate, offset, inverse_link_function, own_scale=True)
    names, y, of_model, of_null = _compared(y, predicted_rate, observation_model, scale, null)
    log_likelihood, null_log_likelihood = (
        np.nansum(terms[0], axis=0) for terms in (of_model, of_null)
    )
    n_spikes = np.nansum(y, axis=0)
    silent, unlike = n_spikes <= 0, np.isinf(null_log_likelihood)
    impossible = np.isinf(log_likelihood) & ~silent & ~unlike
    reasons = ((silent, _NO_SPIKES), (unlike, _UNLIKE), (impossible, IMPOSSIBLE))
    warn_about_scores(names, reasons)
    with np.errstate(invalid="ignore"):
        gain = log_likelihood - null_log_likelihood
    return gain / np.log(2) / np.where(silent | unlike, np.nan, n_spikes)


_NO_SPIKES = "have no spikes, so that there are no bits for each: their score is NaN"
_UNLIKE = (
    "have observations to which the null rate gives no probability, so that nothing can be "
    "compared with it: their score is NaN"
)


class _NullRate(NamedTuple):
    """What predictions are compared with, as the user gave it."""

    rate: Any
    offset: Any
    link: Any
    own_scale: bool  # whether it has a dispersion of its own, where that is estimated


class _Comparison(NamedTuple):
    """Predictions and null model beside one another."""

    names: np.ndarray  # of the neurons
    y: np.ndarray  # NaN where a sample does not count, (n_samples, n_neurons)
    of_model: np.ndarray  # as `rate_scores` gives them, (2, n_samples, n_neurons)
    of_null: np.ndarray  # likewise


def _compared(
    y: Any, predicted_rate: Any, observation_model: Any, scale: Any, null: _NullRate
) -> _Comparison:
    """Score predictions and what they are compared with, on the samples that both have."""
    model = observation_models.resolve(observation_model)
    observed, rate = _aligned(y, predicted_rate, model)
    names, y = _neuron_names(y, observed.shape[1]), observed
    scale = _scale(scale, model, y.shape[1])
    likelihood = Likelihood.of(model, observation_models.links_of(model, null.link))
    if null.rate is not None and null.offset is not None:
        raise ValueError(
            "null_rate and offset both say what to compare with: pass the offset alone to fit a "
            "constant to it, or a null_rate for each sample that has the offset in it."
        )
    outputs = Outputs(y.shape[1], None, False)
    added = _inputs.offsets(null.offset, len(y), outputs)
    known = ~(np.isnan(y) | np.isnan(rate))
    if added is not None:
        _inputs.finite_rows(added, partial(_inputs.column_of, "offset", added.shape[1]))
        known = known & ~np.isnan(added)
    y, rate = (np.where(known, a, np.nan) for a in (y, rate))
    of_model = rate_scores(model, y, rate, scale)
    if null.rate is None:
        data = _inputs.without_features(y, known, None, added)
        of_null = null_scores(likelihood, data, scale[0], null.own_scale)
        return _Comparison(names, y, of_model, of_null)
    null_rate = np.asarray(_inputs.as_float_array(null.rate, "null_rate"), float)
    if null_rate.shape == (len(y),) and y.shape[1] == 1:
        null_rate = null_rate[:, None]
    if null_rate.shape not in ((), y.shape[1:], y.shape):
        raise ValueError(
            f"null_rate must be a scalar or have shape {y.shape[1:]} or {y.shape}, got "
            f"{null_rate.shape}."
        )
    null_rate = np.where(known, null_rate, np.nan)
    _check_means(null_rate, model, "null_rate", "pass a mean that y may have")
    if null.own_scale and likelihood.estimated:
        length = padded_length(len(y))
        with jax.enable_x64(True):
            padded = (pad(np.where(known, a, 0), length, float) for a in (y, null_rate))
            scale = np.asarray(_likeliest_scale(model, *padded))[None]
    return _Comparison(names, y, of_model, rate_scores(model, y, null_rate, scale))


@jax.jit
def _likeliest_scale(model, y, rate):
    return model.estimate_scale(y, rate, len(y))


def cross_validated_scores(
    model, X, y, cv: Any = 5, *, groups=None, sample_weight=None, offset=None
):
    """Score a model on samples that were held out, fold by fold.

    The null model of each score is that of the training samples, their mean, or an intercept that
    was fitted to them with the offset: it has not seen the held-out samples either.

    Parameters
    ----------
    model
        A `GLM`, a `PopulationGLM`, or a classifier, also one that chooses its strengths: it does
        so in each fold's training samples. It is cloned, and stays as it is.
    X, y
        Features and observations as in its `fit`.
    cv
        A number of folds (default 5), which are contiguous in time, a scikit-learn splitter such
        as `TimeSeriesSplit`, one of `spikax.model_selection`, or pairs of training and test
        indices.
    groups
        Groups of the samples, (n_samples,), for splitters that need them: this one, and that of a
        model that chooses its strengths by such folds.
    sample_weight, offset
        As in `fit`; samples of weight zero are not scored, all others equally.

    Returns
    -------
    pandas.DataFrame
        A row for each fold and neuron, with "n_samples" and "total" (the sum of y) of the held-out
        samples, "log_likelihood" (nats per sample), "pseudo_r2" (McFadden's; not
        of Gaussian and Gamma observations, where it would depend on the units of `y`),
        "deviance_explained", for spikes "bits_per_spike", and "note", which says where a neuron
        has no spikes in a fold, or spikes at a predicted rate of zero, and scores mean little. Of
        a classifier "n_samples", "log_likelihood" (mean log-probability of the labels),
        "pseudo_r2", "accuracy", the share of labels that were predicted, "null_accuracy", that of
        the null model, and "note".

    Raises
    ------
    ValueError
        If `X` and `y` are not as `fit` wants them, or there are more folds than samples.

    References
    ----------
    Roberts et al. (2017), Cross-validation strategies for data with temporal structure, Ecography
    40.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> spikes = rng.poisson(np.exp(0.5 * X))
    >>> table = nmo.diagnostics.cross_validated_scores(nmo.glm.PopulationGLM(), X, spikes, cv=4)
    >>> table.groupby("neuron").bits_per_spike.mean().shape
    (2,)
    """
    import pandas as pd

    matrix, layout = _inputs.design_matrix(X)
    fresh: Any = clone(model)
    spec = fresh.resolve()
    data = spec.check(X, y, sample_weight, offset)
    observed, classes, added = data.y, data.classes, data.offset
    outputs = spec.outputs(observed.shape[1])
    single = outputs.single
    labels = _neuron_names(y, observed.shape[1])
    if added is not None:
        one = classes is None
        added = (
            np.broadcast_to(added, observed.shape)
            if one
            else (outputs.restored(added, outputs.trailing))
        )
    weights = data.weights
    weights = weights[:, 0] if weights is not None and weights.shape[1] == 1 else weights
    extra = {"sample_weight": weights, "offset": added}
    routed = {}
    if groups is not None and get_routing_for_object(model).consumes("fit", ["groups"]):
        routed["groups"] = np.asarray(groups)
    splitter: Any = check_cv(cv)
    # Some splitters look at times.
    series = y if layout.series is None else layout.series
    samples = series if isinstance(series, TimeSeries) else matrix

    def scores_of(rows) -> dict[str, Any]:
        (train, test), kept = (
            [(_take(layout, matrix, r), observed[r]) for r in rows],
            [{k: None if a is None else a[r] for k, a in extra.items()} for r in rows],
        )
        own = {k: a[rows[0]] for k, a in routed.items()}
        if classes is not None:
            return _held_out_classes(model, classes, single, train, test, own, *kept)
        y_train = train[1][:, 0] if single else train[1]
        fitted: Any = clone(model)
        fitted.fit(train[0], y_train, **kept[0], **own)
        rate = np.reshape(fitted.predict(test[0], kept[1]["offset"]), test[1].shape)
        return _held_out(fitted, train[1], test[1], rate, *kept)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IgnoredSamples)  # there was a word of all samples
        tables = [
            pd.DataFrame({"fold": fold, "neuron": list(labels), **scores_of(rows)})
            for fold, rows in enumerate(splitter.split(samples, observed, groups))
        ]
    return pd.concat(tables).set_index(["fold", "neuron"])


def _take(layout: Layout, matrix: np.ndarray, rows: np.ndarray) -> Any:
    """Pick samples of the features, in the user's container."""
    return jax.tree.map(np.transpose, layout.split(matrix[rows].T))


def _held_out_classes(
    model, classes: np.ndarray, single: bool, train, test, own, along, along_test
) -> dict[str, Any]:
    """Scores of held-out labels, given as indices of classes, each (n_neurons,)."""
    (X, y), (X_test, y_test) = train, test
    labels = _labels.decode(y[:, 0] if single else y, classes)

    def log_probability(kind, X, X_test, extra) -> np.ndarray:
        fitted: Any = clone(kind)
        fitted.set_classes(classes).fit(X, labels, **extra)
        found = fitted.predict_proba(X_test, offset=along_test["offset"])
        return np.reshape(np.asarray(found, float), (*y_test.shape, len(classes)))

    # The model without features is that of features that say nothing.
    plain = ClassifierGLM if single else ClassifierPopulationGLM
    nothing = plain(len(classes), regularizer="UnRegularized", fit_intercept=model.fit_intercept)
    found = log_probability(model, X, X_test, {**along, **own})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of what the notes tell
        null = log_probability(nothing, np.zeros((len(y), 1)), np.zeros((len(y_test), 1)), along)

    weight, weight_test = (
        1.0 if kept["sample_weight"] is None else _by_neuron(kept["sample_weight"])
        for kept in (along, along_test)
    )
    known = (weight_test > 0) & ~np.isnan(y_test) & ~np.isnan(found[..., 0])
    observed = np.where(known, y_test, 0).astype(int)
    n_samples = known.sum(axis=0)
    lacks = ~np.all([((y == k) & (weight > 0)).any(axis=0) for k in range(len(classes))], axis=0)

    def mean(values) -> np.ndarray:
        return np.sum(values, axis=0, where=known) / n_samples

    with np.errstate(divide="ignore", invalid="ignore"):
        log_likelihood, of_null = (
            mean(np.take_along_axis(each, observed[..., None], axis=-1)[..., 0])
            for each in (found, null)
        )
        texts = ["no samples held out", "a class is missing from the training samples"]
        return {
            "n_samples": n_samples,
            "log_likelihood": log_likelihood,
            "pseudo_r2": np.where(lacks, np.nan, 1 - log_likelihood / of_null),
            "accuracy": mean(found.argmax(axis=-1) == observed),
            "null_accuracy": mean(null.argmax(axis=-1) == observed),
            "note": np.select([n_samples == 0, lacks], texts, ""),
        }


def _held_out(fitted, y_train, y, rate, train_extra, extra) -> dict[str, Any]:
    """Scores of held-out samples, each (n_neurons,)."""
    likelihood = fitted.resolve().likelihood
    model = likelihood.family
    weight = extra["sample_weight"]
    y = y if weight is None else np.where(_by_neuron(weight) > 0, y, np.nan)
    known = ~(np.isnan(y) | np.isnan(rate))
    scale = np.atleast_1d(np.asarray(fitted.scale_, float))
    n_samples = known.sum(axis=0)
    train_weight = train_extra["sample_weight"]
    train_weight = None if train_weight is None else _by_neuron(train_weight)
    train = _inputs.without_features(
        y_train, ~np.isnan(y_train), train_weight, train_extra["offset"]
    )
    terms, nulls = [rate_scores(model, y, rate, scale[None])], []
    for own_scale in (True, False):
        with jax.enable_x64(True):
            nulls.append(fit_null(likelihood, train, scale, own_scale))
            null_rate = nulls[-1].predict(len(y), extra["offset"])
        null_rate = unless_exact(np.where(known, null_rate, np.nan), y, known)
        terms.append(rate_scores(model, y, null_rate, nulls[-1].scale[None]))
    (ll, deviance), (null_ll, _), (_, null_deviance) = np.nansum(terms, axis=2)
    total = np.sum(y, axis=0, where=known)
    # A null model that gives what was held out no probability is nothing to compare with.
    null_ll, null_deviance = (np.where(np.isinf(a), np.nan, a) for a in (null_ll, null_deviance))
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = {"n_samples": n_samples, "total": total, "log_likelihood": ll / n_samples}
        if not likelihood.by_moments:
            scores["pseudo_r2"] = share_explained(ll, null_ll)
        scores["deviance_explained"] = share_explained(deviance, null_deviance)
        notes = [(n_samples == 0, "no samples held out")]
        if model.counts_spikes:
            scores["bits_per_spike"] = np.where(
                total > 0, (ll - null_ll) / (total * np.log(2)), np.nan
            )
            notes += [
                (total == 0, "no spikes held out"),
                (nulls[0].constant == 0, "no spikes to fit"),
                (np.isinf(ll), "spikes at a predicted rate of zero"),
            ]
        notes += [(null_deviance == 0, "nothing to explain")]
    conditions, texts = zip(*notes, strict=True)
    return {**scores, "note": np.select(conditions, texts, "")}


def _by_neuron(weights: np.ndarray) -> np.ndarray:
    """Give weights an axis of neurons."""
    return weights.reshape(len(weights), -1)


def _scale(scale: Any, model: Observations, n_neurons: int) -> np.ndarray:
    """Check a scale, (1, n_neurons); a dispersion that the family knows is the one that counts."""
    if model.dispersion is Dispersion.KNOWN:
        scale = model.scale
    if scale is None:
        if model.dispersion is Dispersion.ESTIMATED:
            raise ValueError(
                f"The dispersion of {model.name} observations is to be estimated: pass "
                "that of the model, scale=model.scale_."
            )
        scale = 1.0
    array = _inputs.as_float_array(scale, "scale")
    if array.shape not in ((), (n_neurons,)):
        raise ValueError(
            f"scale must be a scalar or have shape ({n_neurons},), got {array.shape}."
        )
    wrong = (array < 0) | np.isinf(array)
    if wrong.any():
        raise ValueError(f"scale must be finite and at least zero, got {array[wrong].flat[0]:g}.")
    return np.broadcast_to(array.astype(float), n_neurons)[None]


def _neuron_names(y: Any, n_neurons: int) -> np.ndarray:
    return np.asarray(getattr(y, "columns", np.arange(n_neurons)))


def _aligned(y: Any, predicted_rate: Any, model: Observations | None = None):
    """Check observations and predictions; both (n_samples, n_neurons)."""
    check_times({"y": y, "predicted_rate": predicted_rate})
    observed, rate = (
        np.asarray(_inputs.as_float_array(a, name), float)
        for a, name in ((y, "y"), (predicted_rate, "predicted_rate"))
    )
    if observed.ndim not in (1, 2) or observed.shape != rate.shape:
        raise ValueError(
            "y and predicted_rate must have the same shape, (n_samples,) or (n_samples, "
            f"n_neurons), got {observed.shape} and {rate.shape}."
        )
    observed, rate = (a.reshape(len(a), -1) for a in (observed, rate))
    for array, name in ((observed, "y"), (rate, "predicted_rate")):
        _inputs.finite_rows(array, partial(_inputs.column_of, name, array.shape[1]))
    if model is not None:
        if model.n_predictors > 1:
            raise ValueError(
                f"Diagnostics are of observations with one mean, and {model.name} "
                "observations have one for each class: look at the indicators of single classes, "
                "which are Bernoulli, or use the model's score."
            )
        _inputs.check_support(observed, model, single=False)
        _check_means(rate, model, "predicted_rate", "pass what predict returns")
    return observed, rate


def _check_means(rate: np.ndarray, model: Observations, name: str, way: str) -> None:
    low, high = model.mean_bounds
    wrong = (rate < low) | (rate > high)
    if wrong.any():
        row, neuron = np.argwhere(wrong)[0]
        raise ValueError(
            f"{name} is {rate[row, neuron]:g} in row {row} of neuron {neuron}, but means of "
            f"{model.name} observations lie between {low:g} and {high:g}: {way}."
        )
