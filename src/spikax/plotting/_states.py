"""Figures of models with states: where they are, how they last, and what they do."""

from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from spikax._time_series import is_series, raw
from spikax.hmm._sessions import find_sessions
from spikax.inference import StatesInference
from spikax.model_selection import StatesSelection
from spikax.plotting._style import BAND, COLORS, DATA, axes, tidy


def states(proba: Any, y: Any = None, *, names: Any = None, ax: Axes | None = None) -> Axes:
    """Draw the probability of each state over the samples, with the observations on top.

    Parameters
    ----------
    proba
        Probabilities of the states, (n_samples, n_states), as `smooth_proba` gives them; with
        times for a pynapple object.
    y
        Observations of one neuron, (n_samples,), drawn as points above, from their least to their
        greatest; None (default) for none.
    names
        Names of the states, (n_states,); numbers if None.
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> proba = np.repeat([[0.9, 0.1], [0.2, 0.8]], 20, axis=0)
    >>> nmo.plotting.states(proba).get_ylabel()
    'probability of state'
    """
    values = np.asarray(raw(proba, "proba"), float)
    if values.ndim != 2:
        raise ValueError(f"proba must have shape (n_samples, n_states), got {values.shape}.")
    time = proba.t if is_series(proba) else np.arange(len(values))
    names = _names(names, values.shape[1])
    ax = axes(ax)
    for k, of_state in enumerate(values.T):
        ax.plot(time, of_state, color=COLORS[k % len(COLORS)], label=names[k])
    top = 1.0
    if y is not None:
        observed = np.asarray(raw(y, "y"), float)
        if observed.shape != (len(values),):
            raise ValueError(f"y must have shape ({len(values)},), got {observed.shape}.")
        low, high = np.nanmin(observed), np.nanmax(observed)
        place = 1.05 + 0.15 * (observed - low) / max(high - low, 1e-12)
        ax.plot(time, place, ".", color="0.3", markersize=2, label="observed")
        top = 1.25
    label = "time (s)" if is_series(proba) else "sample"
    ax.set(xlabel=label, ylabel="probability of state", ylim=(-0.02, top), yticks=[0, 0.5, 1])
    ax.margins(x=0)
    ax = tidy(ax, legend=False)
    ax.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1), ncols=5, frameon=False, fontsize="small"
    )
    return ax


def transition_matrix(model: Any, *, names: Any = None, ax: Axes | None = None) -> Axes:
    """Draw the probabilities of going from state to state, with their numbers.

    Parameters
    ----------
    model
        A fitted model with states, or its transition matrix, (n_states, n_states).
    names
        Names of the states, (n_states,); numbers if None.
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ValueError
        If the matrix is not square.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> nmo.plotting.transition_matrix(np.array([[0.9, 0.1], [0.2, 0.8]])).get_xlabel()
    'state after'
    """
    matrix = np.asarray(getattr(model, "transition_prob_", model), float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"A transition matrix is square, got shape {matrix.shape}.")
    names, ax = _names(names, len(matrix)), axes(ax)
    ax.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(matrix):
        color = "white" if value > 0.6 else "0.2"
        ax.text(j, i, f"{value:.3f}", ha="center", va="center", color=color, fontsize="small")
    ticks = np.arange(len(matrix))
    ax.set_xticks(ticks, names)
    ax.set_yticks(ticks, names)
    ax.set(xlabel="state after", ylabel="state before")
    return ax


def state_weights(
    model: Any,
    inference: StatesInference | None = None,
    *,
    neuron: int = 0,
    features: Any = None,
    names: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the coefficients and the intercept of each state, with 95 % intervals.

    Parameters
    ----------
    model
        A fitted GLM-HMM without classes.
    inference
        From `spikax.inference.infer_states`, for the intervals; none if None.
    neuron
        Index of the neuron of a population (default 0).
    features
        Names of the features, (n_features,); numbers if None.
    names
        Names of the states, (n_states,); numbers if None.
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ValueError
        If there is no such neuron, or names do not fit.
    TypeError
        If the model has classes, or several predictors.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> model = nmo.glm_hmm.GLMHMM(2)
    >>> model.coef_, model.intercept_ = np.array([[2.0, -1.0]]), np.zeros(2)
    >>> nmo.plotting.state_weights(model, features=["stimulus"]).get_ylabel()
    'weight'
    """
    n_axes = np.ndim(model.intercept_)
    if n_axes > 2 - model._single:
        raise TypeError(
            f"state_weights takes models with one predictor, but the intercepts of {model!r:.60} "
            f"have shape {np.shape(model.intercept_)}: draw its coef_ class by class."
        )
    weights = _rows(model.coef_, model.intercept_, neuron)
    labels = [*_names(features, len(weights) - 1), "intercept"]
    n_states = weights.shape[1]
    names, ax = _names(names, n_states), axes(ax)
    at = np.arange(len(weights))
    half = None
    if inference is not None:
        error = inference.standard_error
        half = 1.96 * _rows(error["coef"], error["intercept"], neuron)
    for k in range(n_states):
        shift = 0.5 * (k / max(n_states - 1, 1) - 0.5)
        bars = None if half is None else half[:, k]
        ax.errorbar(
            at + shift, weights[:, k], bars, fmt="o", color=COLORS[k % len(COLORS)], label=names[k]
        )
    ax.axhline(0, color=DATA, linewidth=1, zorder=0)
    crowded = max(map(len, labels)) * len(labels) > 40
    ax.set_xticks(at, labels, rotation=30 if crowded else 0, ha="right" if crowded else "center")
    ax.set(ylabel="weight", xlim=(-0.6, len(weights) - 0.4))
    return tidy(ax, legend=True)


def dwell_times(
    path: Any,
    model: Any = None,
    *,
    session_starts: Any = None,
    names: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how many samples states last on a path, and what their transitions expect.

    Parameters
    ----------
    path
        The states, (n_samples,), as `decode_state` gives them by index.
    model
        A fitted model with states, whose geometric distributions are drawn as lines; none if None.
    session_starts
        Which samples are the first of a session, as `fit` takes them: states do not last from one
        to the next. None (default) is one session.
    names
        Names of the states, (n_states,); numbers if None.
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ValueError
        If the path is not one-dimensional.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> nmo.plotting.dwell_times(np.repeat([0, 1, 0], [5, 10, 7])).get_xlabel()
    'duration (samples)'
    """
    array = np.asarray(raw(path, "path"), float)
    if array.ndim != 1:
        raise ValueError(
            f"path must have shape (n_samples,), got {array.shape}: decode_state(..., "
            "state_format='index') gives it."
        )
    edges = np.append(True, array[1:] != array[:-1])
    edges |= find_sessions(session_starts, path, ~np.isnan(array)).starts
    first = np.flatnonzero(edges)
    lengths, of_run = np.diff(np.append(first, len(array))), array[first]
    n_states = int(np.nanmax(array)) + 1
    names, ax = _names(names, n_states), axes(ax)
    for k in range(n_states):
        own = np.sort(lengths[of_run == k])
        if not own.size:
            continue
        color = COLORS[k % len(COLORS)]
        longer = np.append(1, 1 - np.arange(own.size) / own.size)
        grid = np.append(1, own)
        ax.step(grid, longer, where="pre", color=color, label=f"{names[k]} ({own.size})")
        if model is not None:
            stays = float(np.asarray(model.transition_prob_)[k, k])
            grid = np.unique(np.geomspace(1, lengths.max(), 200).round())
            ax.plot(grid, stays ** (grid - 1), "--", color=color, linewidth=1)
    ax.set(xscale="log", xlabel="duration (samples)", ylabel="share at least as long", ylim=(0, 1))
    return tidy(ax, legend=True)


def psychometric(
    x: ArrayLike,
    y: ArrayLike,
    proba: Any,
    *,
    bins: int = 8,
    label: str = "x",
    names: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how observations depend on a variable in each state, samples weighed by the posterior.

    Parameters
    ----------
    x
        The variable, such as a difference of stimuli, (n_samples,).
    y
        Observations, such as choices of 0 and 1, (n_samples,).
    proba
        Probabilities of the states, (n_samples, n_states), as `smooth_proba` gives them.
    bins
        Number of bins of `x` with as many samples each (default 8); one for each value if there
        are no more of them.
    label
        Name and unit of `x`.
    names
        Names of the states, (n_states,); numbers if None.
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on: means with their standard errors.

    Raises
    ------
    ValueError
        If lengths differ.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> x = np.linspace(-1, 1, 100)
    >>> ax = nmo.plotting.psychometric(x, x > 0, np.full((100, 2), 0.5), label="contrast")
    >>> ax.get_xlabel()
    'contrast'
    """
    variable, observed, weights = (
        np.asarray(raw(a, name), float) for a, name in ((x, "x"), (y, "y"), (proba, "proba"))
    )
    if not variable.shape == observed.shape == weights.shape[:1]:
        raise ValueError(
            f"x, y and proba need the same number of samples, got {variable.shape}, "
            f"{observed.shape} and {weights.shape}."
        )
    known = np.isfinite(variable) & np.isfinite(observed) & np.isfinite(weights).all(axis=1)
    variable, observed, weights = variable[known], observed[known], weights[known]
    distinct = np.unique(variable)
    edges = np.unique(np.quantile(variable, np.linspace(0, 1, bins + 1)))
    if distinct.size <= bins:  # one bin for each
        middle = (distinct[1:] + distinct[:-1]) / 2
        edges = np.concatenate([distinct[:1], middle, distinct[-1:] + 1])
    index = np.clip(np.searchsorted(edges, variable, side="right") - 1, 0, len(edges) - 2)
    names, ax = _names(names, weights.shape[1]), axes(ax)
    for k, w in enumerate(weights.T):
        total = np.bincount(index, w, len(edges) - 1)
        some = total > 0
        center = np.bincount(index, w * variable, len(edges) - 1)[some] / total[some]
        mean = np.bincount(index, w * observed, len(edges) - 1)[some] / total[some]
        square = np.bincount(index, w * observed**2, len(edges) - 1)[some] / total[some]
        effective = total[some] ** 2 / np.bincount(index, w**2, len(edges) - 1)[some]
        error = np.sqrt(np.maximum(square - mean**2, 0) / effective)
        color = COLORS[k % len(COLORS)]
        ax.errorbar(center, mean, error, fmt="o-", color=color, markersize=4, label=names[k])
    ax.set(xlabel=label, ylabel="mean of y")
    if set(np.unique(observed)) <= {0.0, 1.0}:
        ax.set(ylabel="share of choices of 1", ylim=(-0.02, 1.02))
    return tidy(ax, legend=True)


def state_selection(selection: StatesSelection, *, ax: Axes | None = None) -> Axes:
    """Draw how well models with states predict sessions held out.

    Parameters
    ----------
    selection
        From `spikax.model_selection.select_states`.
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        Log-likelihoods per sample less that of the first model, with the standard error of that
        difference, session by session; the best is ringed.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> y = np.random.default_rng(0).poisson(np.tile(np.repeat([1.0, 6.0], 20), 20))
    >>> found = nmo.model_selection.select_states(
    ...     nmo.hmm.HMM(2, n_restarts=2), None, y, {"n_states": [1, 2]}, 4, np.arange(0, 800, 100)
    ... )
    >>> nmo.plotting.state_selection(found).get_xlabel()
    'n_states'
    """
    n = selection.n_samples
    gain = (selection.per_session - selection.per_session[:1]) / n.mean()
    mean = selection.log_likelihood - selection.log_likelihood[0]
    error = gain.std(axis=1, ddof=1) / np.sqrt(len(n))
    every = dict.fromkeys(key for params in selection.params for key in params)
    varied = [k for k in every if len({repr(p.get(k)) for p in selection.params}) > 1]
    keys = varied or list(every)
    labels = [", ".join(str(p.get(k, "-")) for k in keys) for p in selection.params]
    at, ax = np.arange(len(mean)), axes(ax)
    ax.errorbar(at, mean, error, fmt="o-", color=COLORS[0], capsize=3)
    best = int(np.argmax(mean))
    ax.plot(at[best], mean[best], "o", markersize=12, fillstyle="none", color=COLORS[1])
    ax.set_xticks(at, labels)
    ax.set(xlabel=", ".join(keys), ylabel="gain held out (nats per sample)")
    return tidy(ax, legend=False)


def restarts(model: Any, *, ax: Axes | None = None) -> Axes:
    """Draw where the searches from all starts ended, below the best, by the width of the start.

    Parameters
    ----------
    model
        A fitted model with states.
    ax
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    AttributeError
        Before `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> y = np.random.default_rng(0).poisson(np.repeat([1.0, 6.0, 1.0], 50))
    >>> nmo.plotting.restarts(nmo.hmm.HMM(2, n_restarts=3).fit(y)).get_ylabel()
    'log posterior below the best (nats)'
    """
    if not hasattr(model, "restarts_"):
        raise AttributeError(f"This {type(model).__name__} has no restarts_: call fit first.")
    found = model.restarts_
    order = np.argsort(-found.log_posterior)
    below = np.maximum(found.log_posterior.max() - found.log_posterior[order], 1e-3)
    width, ax = found.width[order], axes(ax)
    rank = np.arange(1, len(order) + 1)
    for k, value in enumerate(np.unique(width)):
        own = (width == value) | (np.isnan(value) & np.isnan(width))
        name = "given" if np.isnan(value) else f"{value:g}"
        ax.plot(rank[own], below[own], "o", color=COLORS[k % len(COLORS)], label=name)
    ax.set(yscale="log", xlabel="start, by rank", ylabel="log posterior below the best (nats)")
    ax.invert_yaxis()
    ax.axhspan(1e-3, 0.1, color=DATA, alpha=BAND, linewidth=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax = tidy(ax, legend=True)
    ax.get_legend().set_title("width of start", {"size": "small"})  # pyright: ignore
    return ax


def _names(names: Any, n: int) -> list[str]:
    found = [str(k) for k in range(n)] if names is None else list(map(str, names))
    if len(found) != n:
        raise ValueError(f"{n} names are needed, got {len(found)}: {', '.join(found)}.")
    return found


def _rows(coef: Any, intercept: Any, neuron: int) -> np.ndarray:
    """Put the coefficients of a neuron and its intercept below one another, (p + 1, n_states)."""
    intercept = np.asarray(intercept)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(coef)]
    if intercept.ndim == 2:
        if not -len(intercept) <= neuron < len(intercept):
            raise ValueError(f"neuron is {neuron}, but there are {len(intercept)} neurons.")
        leaves, intercept = [leaf[:, neuron] for leaf in leaves], intercept[neuron]
    return np.concatenate([*leaves, intercept[None]])
