"""Figures of GLMs: tuning, coupling, calibration, paths and convergence."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from spikax._time_series import values
from spikax.diagnostics import Calibration, TimeRescaling
from spikax.plotting._style import BAND, COLORS, DATA, MODEL, axes, tidy
from spikax.solvers import Status


def tuning(
    x: ArrayLike,
    y: ArrayLike,
    predicted_rate: ArrayLike | None = None,
    *,
    curve: Any = None,
    neuron: int = 0,
    bins: Any = 30,
    bin_size: float | None = None,
    label: str = "x",
    ax: Axes | None = None,
) -> Axes:
    """Draw the tuning of a neuron: the data, what a model predicts, and a tuning curve's band.

    Parameters
    ----------
    x
        Variable that the neuron may be tuned to, (n_samples,).
    y
        Spike counts, (n_samples,) or (n_samples, n_neurons).
    predicted_rate
        Their predicted means, shaped like `y`, averaged in the same bins of `x` as the data.
    curve
        A `spikax.inference.TuningCurve` on the rate scale, drawn with its band. It holds other
        features at their mean, so it need not go through the data.
    neuron
        Index of the neuron (default 0).
    bins
        Number of bins of `x`, or their edges (default 30).
    bin_size
        Length of a sample (s), to show spikes per second; None shows spikes per bin.
    label
        Name and unit of `x`, such as "head direction (rad)".
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ValueError
        If lengths differ, or there is no such neuron.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> x = np.random.default_rng(0).uniform(0, 6.28, size=1000)
    >>> spikes = np.random.default_rng(1).poisson(np.exp(np.sin(x)))
    >>> ax = nmo.plotting.tuning(x, spikes, label="head direction (rad)")
    >>> ax.get_ylabel()
    'rate (spikes/bin)'
    """
    x = _floats(x, "x")
    if x.ndim != 1:
        raise ValueError(f"x must have shape (n_samples,), got {x.shape}: pass one variable.")
    counts = _column(y, "y", neuron, len(x))
    known = ~(np.isnan(x) | np.isnan(counts))
    rate = None
    if predicted_rate is not None:
        rate = _column(predicted_rate, "predicted_rate", neuron, len(x))
        known &= ~np.isnan(rate)
    edges = np.histogram_bin_edges(x[known], bins)
    occupancy = np.histogram(x[known], edges)[0]
    unit = 1 if bin_size is None else 1 / bin_size

    def binned(samples):
        with np.errstate(invalid="ignore"):
            return unit * np.histogram(x[known], edges, weights=samples[known])[0] / occupancy

    ax = axes(ax)
    ax.stairs(np.nan_to_num(binned(counts)), edges, fill=True, color=DATA, label="data")
    if rate is not None:
        ax.stairs(binned(rate), edges, baseline=None, color=MODEL, linewidth=2, label="model")
    if curve is not None:
        color = COLORS[1]
        lower, upper = (unit * np.asarray(end)[:, neuron] for end in (curve.lower, curve.upper))
        ax.fill_between(curve.grid, lower, upper, color=color, alpha=BAND, linewidth=0)
        ax.plot(
            curve.grid,
            unit * curve.mean[:, neuron],
            color=color,
            label=f"curve, {curve.level:.0%} band",
        )
    ax.set(xlabel=label, ylabel=_rate_label(bin_size), xlim=(edges[0], edges[-1]))
    ax.set_ylim(bottom=0)
    return tidy(ax, legend=True)


def coupling_matrix(
    strength: ArrayLike,
    *,
    neurons: Any = None,
    label: str = "coupling strength",
    ax: Axes | None = None,
) -> Axes:
    """Draw how strongly each neuron acts on each other one.

    Parameters
    ----------
    strength
        Strength of the coupling, (n_from, n_to), such as filters summed over lags.
    neurons
        Labels of the neurons, (n_to,) if the matrix is square; their numbers if None.
    label
        Name and unit of the strength.
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on. Colours saturate beyond the 95th percentile of the absolute strengths.

    Raises
    ------
    ValueError
        If `strength` is not a matrix.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> nmo.plotting.coupling_matrix(np.eye(3)).get_xlabel()
    'from neuron'
    """
    matrix = _floats(strength, "strength")
    if matrix.ndim != 2:
        raise ValueError(
            f"strength must have shape (n_from, n_to), got {matrix.shape}: sum filters over lags, "
            "filters.sum(axis=-1)."
        )
    ax = axes(ax)
    size = np.abs(matrix[np.isfinite(matrix)])
    limit = (np.quantile(size, 0.95) or size.max()) if size.size else 1.0
    image = ax.imshow(matrix.T, cmap="RdBu_r", vmin=-(limit or 1), vmax=limit or 1)
    for axis, n in ((ax.xaxis, matrix.shape[0]), (ax.yaxis, matrix.shape[1])):
        ticks = np.arange(0, n, max(1, -(-n // 16)))
        names = ticks if neurons is None else np.asarray(neurons)[ticks]
        axis.set_ticks(ticks, [str(name) for name in names])
    if neurons is not None and max(len(str(name)) for name in neurons) > 3:
        ax.tick_params(axis="x", labelrotation=90)
    ax.set(xlabel="from neuron", ylabel="to neuron")
    extend = "both" if size.max(initial=0) > limit else "neither"
    figure: Any = ax.figure
    bar = figure.colorbar(image, ax=ax, extend=extend)
    bar.set_label(label)
    return ax


def coupling_filters(
    filters: ArrayLike,
    lags: ArrayLike,
    *,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    labels: Any = None,
    gain: bool = True,
    unit: str = "s",
    ax: Axes | None = None,
) -> Axes:
    """Draw what a spike does to the rate in the time after it.

    Parameters
    ----------
    filters
        Filters on the link scale, (n_lags,) or (n_filters, n_lags), such as
        `basis.kernel_ @ coef`.
    lags
        Time since the spike, (n_lags,).
    lower, upper
        Ends of confidence bands, shaped like `filters`.
    labels
        Names of the filters, (n_filters,).
    gain
        Whether to show the factor by which a rate with inverse link `exp` changes (default), on a
        logarithmic axis, or the filters as they are.
    unit
        Unit of `lags` (default "s").
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ValueError
        If filters and lags differ in length.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> nmo.plotting.coupling_filters(-np.ones(5), np.arange(1, 6), unit="ms").get_ylabel()
    'gain of the rate'
    """
    shown, lags = np.atleast_2d(_floats(filters, "filters")), _floats(lags, "lags")
    if lags.shape != shown.shape[1:]:
        raise ValueError(
            f"filters have {shown.shape[-1]} lags, lags has shape {lags.shape}: pass one lag for "
            "each value of a filter."
        )
    ax = axes(ax)
    of_link = np.exp if gain else np.asarray
    for k, one in enumerate(shown):
        color = COLORS[k % len(COLORS)]
        if lower is not None and upper is not None:
            ends = (_floats(end, name) for end, name in ((lower, "lower"), (upper, "upper")))
            low, high = (of_link(np.atleast_2d(end)[k]) for end in ends)
            ax.fill_between(lags, low, high, color=color, alpha=BAND, linewidth=0)
        name = None if labels is None else str(labels[k])
        ax.plot(lags, of_link(one), color=color, linewidth=2, label=name)
    ax.axhline(1 if gain else 0, color="black", linewidth=0.8, linestyle=":")
    if gain:
        ax.set_yscale("log")
        _plain_log_ticks(ax)
    ax.set(
        xlabel=f"time since the spike ({unit})",
        ylabel="gain of the rate" if gain else "change of the linear predictor",
        xlim=(lags[0], lags[-1]),
    )
    return tidy(ax, legend=labels is not None)


def ks(
    rescaling: TimeRescaling,
    neurons: Any = None,
    *,
    level: float = 0.95,
    ax: Axes | None = None,
) -> Axes:
    """Draw the KS plot of rescaled intervals between spikes (Brown et al. 2002).

    Parameters
    ----------
    rescaling
        From `spikax.diagnostics.time_rescaling`.
    neurons
        Indices of the neurons to show; all if None.
    level
        Probability that a true model stays within its band everywhere (default 0.95). Bands are
        shown for the neurons with fewest and with most spikes.
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ValueError
        If none of the neurons has a spike.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rate = np.full(2000, 0.2)
    >>> spikes = np.random.default_rng(0).poisson(rate)
    >>> test = nmo.diagnostics.time_rescaling(spikes, rate, jax.random.key(0))
    >>> nmo.plotting.ks(test).get_xlabel()
    'model quantile'
    """
    neurons = range(len(rescaling.intervals)) if neurons is None else np.atleast_1d(neurons)
    neurons = [int(j) for j in neurons if rescaling.n_spikes[j] > 0]
    if not neurons:
        raise ValueError("There is nothing to draw: none of the neurons has a spike.")
    ax = axes(ax)
    diagonal = np.array([0.0, 1.0])
    fewest, most = (pick(neurons, key=lambda j: rescaling.n_spikes[j]) for pick in (min, max))
    for j, shade in {fewest: "0.9", most: DATA}.items():
        band = rescaling.curve(j, level)[2]
        name = f"{level:.0%} band, {rescaling.n_spikes[j]} spikes"
        ends = diagonal - band, diagonal + band
        ax.fill_between(diagonal, ends[0], ends[1], color=shade, linewidth=0, label=name)
    ax.plot(diagonal, diagonal, color="black", linewidth=0.8, linestyle=":")
    for k, j in enumerate(neurons):
        expected, observed, _ = rescaling.curve(j, level)
        name = f"neuron {j}, p = {rescaling.p_value[j]:.2g}" if len(neurons) <= 8 else None
        ax.plot(expected, observed, color=COLORS[k % len(COLORS)], label=name)
    ax.set(xlabel="model quantile", ylabel="quantile of rescaled intervals")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return tidy(ax, legend=True)


def calibration(
    result: Calibration,
    neurons: Any = None,
    *,
    bin_size: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw observed against predicted means, with bars of two standard errors.

    Parameters
    ----------
    result
        From `spikax.diagnostics.calibration`.
    neurons
        Indices of the neurons to show; all if None.
    bin_size
        Length of a sample (s), to show spikes per second; None shows units of `y`.
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rate = np.linspace(0.1, 2.0, 1000)
    >>> spikes = np.random.default_rng(0).poisson(rate)
    >>> table = nmo.diagnostics.calibration(spikes, rate)
    >>> nmo.plotting.calibration(table, bin_size=0.01).get_xlabel()
    'predicted rate (spikes/s)'
    """
    ax = axes(ax)
    unit = 1 if bin_size is None else 1 / bin_size
    neurons = range(result.predicted.shape[1]) if neurons is None else np.atleast_1d(neurons)
    for k, j in enumerate(neurons):
        ax.errorbar(
            unit * result.predicted[:, j],
            unit * result.observed[:, j],
            2 * unit * result.standard_error[:, j],
            color=COLORS[k % len(COLORS)],
            marker="o",
            markersize=4,
            linewidth=1,
            label=f"neuron {j}",
        )
    low, high = 0, max(ax.get_xlim()[1], ax.get_ylim()[1])
    ax.plot([low, high], [low, high], color="black", linewidth=0.8, linestyle=":", zorder=0)
    what = _rate_label(bin_size)
    ax.set(xlabel=f"predicted {what}", ylabel=f"observed {what}")
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    return tidy(ax, legend=1 < len(neurons) <= 8)


def path(
    strengths: ArrayLike,
    scores: ArrayLike,
    *,
    chosen: ArrayLike | None = None,
    neurons: Any = None,
    label: str = "held-out score",
    ax: Axes | None = None,
) -> Axes:
    """Draw the scores of a regularization path, with their standard errors over folds.

    Parameters
    ----------
    strengths
        Strengths of the penalty, (n_strengths,), or each neuron's, (n_strengths, n_neurons), such
        as `strengths_` of a `PopulationGLMCV`.
    scores
        Scores, (n_strengths,), (n_strengths, n_neurons) or (n_strengths, n_folds, n_neurons), such
        as `scores_` of a `PopulationGLMCV`, or `scores_[..., None]` of a `GLMCV` with folds;
        larger is better. A NaN is left out of a mean over folds.
    chosen
        The chosen strength, or one per neuron, (n_neurons,), to be marked; None marks the best
        mean score.
    neurons
        Labels of the neurons, (n_neurons,); their numbers if None.
    label
        Name and unit of the score.
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ValueError
        If scores and strengths differ in length, or no strength is positive.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> nmo.plotting.path([0.01, 0.1, 1.0], [0.1, 0.3, 0.2]).get_xscale()
    'log'
    """
    strengths, scores = _floats(strengths, "strengths"), _floats(scores, "scores")
    n_neurons = 1 if scores.ndim == 1 else scores.shape[-1]
    wanted = [scores.shape[:1], (*scores.shape[:1], n_neurons)]
    if scores.ndim not in (1, 2, 3) or strengths.shape not in wanted:
        raise ValueError(
            "scores must have shape (n_strengths, n_folds, n_neurons), (n_strengths, n_neurons) "
            f"or (n_strengths,), got {scores.shape} for strengths of shape {strengths.shape}."
        )
    if not np.any(strengths > 0):
        raise ValueError("strengths must have a positive one: the axis is logarithmic.")
    ax = axes(ax)
    mean, error = _over_folds(scores.reshape(len(scores), -1, n_neurons), scores.ndim == 3)
    strengths = np.broadcast_to(strengths.reshape(len(strengths), -1), mean.shape)
    best = np.argmax(np.where(np.isnan(mean), -np.inf, mean), axis=0)
    if chosen is not None:
        best = np.argmin(np.abs(strengths - _floats(chosen, "chosen")), axis=0)
    for j in range(n_neurons):
        color, x = COLORS[j % len(COLORS)], strengths[:, j]
        ends = mean[:, j] - error[:, j], mean[:, j] + error[:, j]
        ax.fill_between(x, ends[0], ends[1], color=color, alpha=BAND, linewidth=0)
        name = f"neuron {j if neurons is None else neurons[j]}"
        ax.plot(x, mean[:, j], color=color, label=name)
        ax.plot(x[best[j]], mean[best[j], j], "o", color=color)
    # A strength of zero has its place at the left end of a logarithmic axis.
    smallest = {"linthresh": strengths[strengths > 0].min()} if strengths.min() == 0 else {}
    ax.set_xscale("symlog" if smallest else "log", **smallest)
    ax.set(xlabel="strength of the penalty", ylabel=label)
    return tidy(ax, legend=1 < n_neurons <= 8)


def _over_folds(scores: np.ndarray, several: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean over folds and its standard error, both (n_strengths, n_neurons)."""
    if not several:
        return scores[:, 0], np.zeros_like(scores[:, 0])
    n_folds = np.sum(~np.isnan(scores), axis=1)
    mean = np.where(n_folds > 0, np.nansum(scores, axis=1) / np.maximum(n_folds, 1), np.nan)
    squares = np.nansum((scores - mean[:, None]) ** 2, axis=1)
    return mean, np.sqrt(squares / np.maximum(n_folds * (n_folds - 1), 1))


def convergence(model: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the steps that each neuron's fit took, and how it ended.

    Parameters
    ----------
    model
        A fitted `GLM` or `PopulationGLM`.
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    AttributeError
        If the model was not fitted with `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> model = nmo.glm.PopulationGLM("Gaussian").fit(X, X)
    >>> nmo.plotting.convergence(model).get_ylabel()
    'steps'
    """
    if not hasattr(model, "solver_state_"):
        raise AttributeError(
            f"This {type(model).__name__} has no solver_state_: call fit first. A model that was "
            "fitted in batches, or loaded, keeps no statistics of its fit."
        )
    stats = model.solver_state_.stats
    steps, status = np.atleast_1d(stats.num_steps), np.atleast_1d(stats.status)
    ax = axes(ax)
    for k, value in enumerate(Status):
        neurons = np.flatnonzero(status == value)
        if neurons.size:
            name = f"{value.name.lower().replace('_', ' ')} ({neurons.size})"
            ax.bar(neurons, steps[neurons], color=COLORS[k], label=name)
    ax.set(xlabel="neuron", ylabel="steps", xlim=(-0.7, steps.size - 0.3))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(top=1.25 * max(steps.max(), 1))
    return tidy(ax, legend=True)


def _floats(array: Any, name: str) -> np.ndarray:
    return np.asarray(values(array, name), float)


def _column(array: Any, name: str, neuron: int, n_samples: int) -> np.ndarray:
    array = _floats(array, name)
    array = array.reshape(len(array), -1)
    if len(array) != n_samples:
        raise ValueError(f"{name} has {len(array)} samples, x has {n_samples}.")
    if not -array.shape[1] <= neuron < array.shape[1]:
        raise ValueError(f"neuron is {neuron}, but {name} has {array.shape[1]} neurons.")
    return array[:, neuron]


def _rate_label(bin_size: float | None) -> str:
    return "rate (spikes/bin)" if bin_size is None else "rate (spikes/s)"


def _plain_log_ticks(ax: Axes) -> None:
    """Label a logarithmic axis of gains, which seldom spans a decade, with plain numbers."""
    low, high = ax.get_ylim()
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    steps = [1] if high > 100 * low else [1, 2, 5]
    ticks = np.outer(decades, steps).ravel()
    if high < 4 * low:
        ticks = MaxNLocator(5).tick_values(low, high)
    ticks = [tick for tick in ticks if low <= tick <= high]
    ax.minorticks_off()
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
