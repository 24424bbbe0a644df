"""Calibration: observed means where like means were predicted."""

from dataclasses import dataclass

import numpy as np

from spikax.diagnostics._checks import aligned


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
    y, rate = aligned(y, predicted_rate)
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
