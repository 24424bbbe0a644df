"""Comparison with a null model: deviance explained and bits per spike."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from spikax import _inputs, observation_models
from spikax._errors import IMPOSSIBLE, NOTHING_TO_EXPLAIN, warn_about_scores
from spikax._layout import Outputs
from spikax._values import column_of, finite_rows
from spikax.core.standardise import pad
from spikax.design import padded_length
from spikax.diagnostics._checks import aligned, check_means, check_scale, neuron_names
from spikax.glm._prediction import null_scores, rate_scores, share_explained
from spikax.observation_models import Likelihood
from spikax.observation_models._observations import links_of

_NO_SPIKES = "have no spikes, so that there are no bits for each: their score is NaN"
_NULL_IMPOSSIBLE = (
    "have observations to which the null rate gives no probability, so that nothing can be "
    "compared with it: their score is NaN"
)


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
    nothing, null_impossible = null_deviance == 0, np.isinf(null_deviance)
    impossible = np.isinf(deviance) & ~nothing & ~null_impossible
    reasons = (
        (nothing, NOTHING_TO_EXPLAIN),
        (null_impossible, _NULL_IMPOSSIBLE),
        (impossible, IMPOSSIBLE),
    )
    warn_about_scores(names, reasons)
    return np.where(null_impossible, np.nan, share_explained(deviance, null_deviance))


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
    silent, null_impossible = n_spikes <= 0, np.isinf(null_log_likelihood)
    impossible = np.isinf(log_likelihood) & ~silent & ~null_impossible
    reasons = ((silent, _NO_SPIKES), (null_impossible, _NULL_IMPOSSIBLE), (impossible, IMPOSSIBLE))
    warn_about_scores(names, reasons)
    with np.errstate(invalid="ignore"):
        gain = log_likelihood - null_log_likelihood
    return gain / np.log(2) / np.where(silent | null_impossible, np.nan, n_spikes)


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
    observed, rate = aligned(y, predicted_rate, model)
    names, y = neuron_names(y, observed.shape[1]), observed
    scale = check_scale(scale, model, y.shape[1])
    likelihood = Likelihood.of(model, links_of(model, null.link))
    if null.rate is not None and null.offset is not None:
        raise ValueError(
            "null_rate and offset both say what to compare with: pass the offset alone to fit a "
            "constant to it, or a null_rate for each sample that has the offset in it."
        )
    outputs = Outputs(y.shape[1], None, False)
    added = _inputs.offsets(null.offset, len(y), outputs)
    known = ~(np.isnan(y) | np.isnan(rate))
    if added is not None:
        finite_rows(added, partial(column_of, "offset", added.shape[1]))
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
    check_means(null_rate, model, "null_rate", "pass a mean that y may have")
    if null.own_scale and likelihood.estimated:
        length = padded_length(len(y))
        with jax.enable_x64(True):
            padded = (pad(np.where(known, a, 0), length, float) for a in (y, null_rate))
            scale = np.asarray(_maximum_likelihood_scale(model, *padded))[None]
    return _Comparison(names, y, of_model, rate_scores(model, y, null_rate, scale))


@jax.jit
def _maximum_likelihood_scale(model, y, rate):
    """Dispersion of each neuron that makes its observations likeliest at these means."""
    return model.estimate_scale(y, rate, len(y))
