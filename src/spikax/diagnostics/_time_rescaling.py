"""Time rescaling: spikes in a time that runs at the predicted rate."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from scipy import stats

from spikax import observation_models
from spikax.diagnostics._checks import aligned, check_scale
from spikax.observation_models import (
    BernoulliObservations,
    NegativeBinomialObservations,
    PoissonObservations,
)


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
    y, rate = aligned(y, predicted_rate, family)
    dispersion = check_scale(scale, family, y.shape[1])[0]
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
    """Intervals of spikes at random in their bin, at its rate."""
    bin_start = np.cumsum(rate) - rate
    bins = np.repeat(np.arange(len(counts)), counts)
    times = np.sort(bin_start[bins] + rng.uniform(size=bins.size) * rate[bins])
    return np.diff(times, prepend=0)


def _rescaled_bernoulli(counts, probability, scale, rng) -> np.ndarray:
    """Intervals of first spikes of their bin, at the hazard that its probability implies."""
    hazard = -np.log1p(-np.minimum(probability, 1 - 1e-15))
    after = np.cumsum(hazard)
    bins = np.flatnonzero(counts)
    within = -np.log1p(rng.uniform(size=bins.size) * np.expm1(-hazard[bins]))
    # Nothing can be seen of the rest of a bin with a spike: the next interval starts after it.
    start = np.concatenate([[0.0], after[bins[:-1]]])[: bins.size]
    return after[bins] - hazard[bins] - start + within


def _rescaled_negative_binomial(counts, mean, scale, rng) -> np.ndarray:
    """Intervals of spikes at random in their bin, at the intensity of a Pólya process."""
    bins = np.repeat(np.arange(len(counts)), counts)
    times = np.sort(bins + rng.uniform(size=bins.size))
    # Time runs evenly from spike to spike of a bin, and from the last one to the bin's end.
    ends = np.cumsum(counts + 1) - 1
    is_end = np.zeros(len(counts) + bins.size, bool)
    is_end[ends] = True
    within, bin_of = np.ones(is_end.size), np.repeat(np.arange(len(counts)), counts + 1)
    within[~is_end] = times - bins
    n_before = np.arange(is_end.size) - np.repeat(ends - counts, counts + 1)
    start = np.where(n_before > 0, np.concatenate([[0.0], within[:-1]]), 0.0)
    # The integral of the intensity, (1 / scale + k) log(1 + scale mu s), from start to there.
    growth = scale * mean[bin_of]
    log_growth = np.log1p(growth * (within - start) / (1 + growth * start))
    with np.errstate(divide="ignore", invalid="ignore"):
        poisson = mean[bin_of] * (within - start)
        first = np.where(growth > 0, log_growth / scale, poisson)
    return np.diff(np.cumsum(first + n_before * log_growth)[~is_end], prepend=0)


_RESCALED = {
    PoissonObservations: _rescaled_poisson,
    BernoulliObservations: _rescaled_bernoulli,
    NegativeBinomialObservations: _rescaled_negative_binomial,
}
