"""A fitted model that runs on its own activity: what couples it, and what drives it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype

from spikax import _coefficients, _inputs
from spikax._errors import unknown_name
from spikax._layout import NO_FEATURES, Layout
from spikax._model import FittedModel
from spikax._time_series import TimeSeries, epochs, finite_values
from spikax.basis import Basis
from spikax.basis._labels import by_label
from spikax.simulation import Stability, recur, stability, warn_if_it_runs_away


class Loop(NamedTuple):
    """What a coupled model is made of."""

    coupling: np.ndarray  # (n_neurons, n_neurons, n_functions): receiver, sender, function
    kernel: np.ndarray  # (window_size, n_functions), shortest lag first
    drive: np.ndarray  # linear predictor without coupling, (n_samples, n_neurons)
    layout: Layout  # of the features that drive


def simulate(
    model: FittedModel,
    key: Any,
    feedforward: Any,
    basis: Any,
    coupling: Any,
    init_y: Any,
    offset: Any,
) -> tuple[Any, Any]:
    """Draw activity that is fed back, and give it and its means as the model predicts."""
    loop = _loop(model, feedforward, basis, coupling, offset)
    n_samples, n_neurons = loop.drive.shape
    starts = np.zeros(n_samples, bool)
    spans = epochs(loop.layout.series, n_samples)
    starts[spans.first[spans.first < spans.stop]] = True
    dtype = canonicalize_dtype(float)
    past = _past(init_y, (len(loop.kernel), n_neurons))
    arrays = (loop.coupling, loop.kernel, loop.drive)
    spikes, rates, alone = recur(
        *(jnp.asarray(array, dtype) for array in arrays),
        jnp.asarray(starts),
        jnp.asarray(past, dtype),
        key,
        jnp.asarray(model.scale, dtype),
        model.spec.likelihood,
    )
    warn_if_it_runs_away(rates, alone, model.neurons)
    layout = loop.layout
    return tuple(model.like_features(np.asarray(a), layout) for a in (spikes, rates))


def report(
    model: FittedModel, feedforward: Any, basis: Any, coupling: Any, offset: Any
) -> Stability:
    """Tell whether the model's mean activity is stable."""
    loop = _loop(model, feedforward, basis, coupling, offset)
    return stability(loop.coupling, loop.drive, loop.kernel, model.spec.link)


def _loop(model: FittedModel, feedforward: Any, basis: Any, coupling: Any, offset: Any) -> Loop:
    if model.spec.n_classes is not None:
        raise TypeError(
            f"{model.spec.name} predicts labels, which no Conv basis can run over: fit a "
            "'Bernoulli' model of 0 and 1, GLM or PopulationGLM, to simulate its recurrence."
        )
    if model.spec.observation_model.n_predictors > 1:
        raise TypeError(
            f"{model.spec.observation_model.name} observations have several linear predictors, "
            "and a recurrence is simulated of models with one: fit another observation model."
        )
    n_neurons = model.scale.size
    blocks, rest, names = _take_apart(model, basis, coupling, n_neurons)
    window = max(int(lags[-1]) for _, _, lags in blocks)
    kernels = []
    for _, kernel, lags in blocks:
        kernels.append(np.zeros((window, kernel.shape[1])))
        kernels[-1][lags - 1] = kernel
    coefs = [
        coef.reshape(n_neurons, -1, n_neurons).transpose(2, 0, 1).astype(float)
        for coef, _, _ in blocks
    ]
    _check_names(feedforward, names)
    drive, layout = _drive(model, feedforward, rest, offset)
    return Loop(np.concatenate(coefs, axis=2), np.hstack(kernels), drive, layout)


def _take_apart(
    model: FittedModel, basis: Any, coupling: Any, n_neurons: int
) -> tuple[list, Any, Any]:
    """Give (coefficients, kernel, lags) of each part that couples, and the other coefficients.

    Also the names of the other features, if the model was fitted to a data frame.
    """
    parts = {key: _filters(part) for key, part in _parts(basis, coupling).items()}
    widths = {key: n_neurons * kernel.shape[1] for key, (kernel, _) in parts.items()}
    coef, names = model.coef, getattr(model.estimator, "feature_names_in_", None)
    if isinstance(coef, dict | list | tuple):
        entries = coef if isinstance(coef, dict) else dict(enumerate(coef))
        for key in parts:
            if key not in entries or isinstance(entries[key], dict | list | tuple):
                raise unknown_name("coupling", key, map(str, entries))
        blocks = {key: entries[key] for key in parts}
        kept = {key: part for key, part in entries.items() if key not in parts}
        rest = kept if isinstance(coef, dict) else type(coef)(kept.values())
    else:
        columns = _columns(basis, coupling, len(coef), widths)
        blocks = {key: coef[columns[key]] for key in parts}
        coupled = np.concatenate(list(columns.values()))
        rest = np.delete(coef, coupled, axis=0)
        names = None if names is None else np.delete(names, coupled)
    for key, block in blocks.items():
        if len(block) != widths[key]:
            raise ValueError(
                f"The coefficients of {key!r} are of {len(block)} features, but the basis makes "
                f"{widths[key]} of the {n_neurons} neurons of the model. Coupling is what all of "
                "them, in their order, do to one another: features of other neurons belong to "
                "feedforward_input."
            )
    return [(blocks[key], *filters) for key, filters in parts.items()], rest, names


def _parts(basis: Any, coupling: Any) -> dict[Any, Basis]:
    """Name the Conv bases that run over the activity, by where their features are."""
    if isinstance(basis, Mapping):
        if coupling is not None:
            raise ValueError(
                "coupling_basis is a dict, which names the features itself: leave coupling out."
            )
        return dict(basis)
    if not isinstance(basis, Basis):
        raise TypeError(
            f"coupling_basis must be the basis that made the features of past activity, got "
            f"{basis!r:.60}."
        )
    if not _is_sum(basis):
        return {basis.label if coupling is None else coupling: basis}
    terms = {label: basis[label] for label in _labels(basis)}
    if coupling is None:
        coupling = [label for label, term in terms.items() if _convolves(term)]
        if len(coupling) != 1:
            raise ValueError(
                f"Which terms of {basis.label} run over the activity of the model? Name them with "
                f"coupling=, a label or several of {', '.join(map(repr, terms))}."
            )
    wanted = [coupling] if isinstance(coupling, str) else list(coupling)
    for label in wanted:
        if label not in terms:
            raise unknown_name("coupling", label, terms)
    return {label: terms[label] for label in wanted}


def _is_sum(basis: Basis) -> bool:
    return len(basis._terms()) > 1


def _labels(basis: Basis) -> list[str]:
    names = {id(part): label for label, part in by_label(basis).items()}
    return [names[id(term)] for term in basis._terms()]


def _convolves(basis: Basis) -> bool:
    try:
        _filters(basis)
    except (TypeError, ValueError):
        return False
    return True


def _filters(basis: Any) -> tuple[np.ndarray, np.ndarray]:
    """Find the filters of a Conv basis, (n_lags, n_functions), and their lags."""
    try:
        kernel, lags = np.asarray(basis.kernel_, float), np.asarray(basis.lags_)
    except AttributeError as error:
        raise TypeError(
            f"{basis!r:.60} does not convolve: coupling needs a Conv basis, which runs over past "
            "activity."
        ) from error
    if lags[0] < 1:
        raise ValueError(
            f"{basis.label} looks {1 - lags[0]} samples beyond the past, at lags from {lags[0]} "
            "on, which is not known in a simulation. Fit with a causal basis that leaves the "
            "sample itself out, as Conv bases do by default."
        )
    return kernel, lags


def _columns(basis: Any, coupling: Any, n_features: int, widths: dict[Any, int]) -> dict:
    """Find the features of each part among those of an array, by key."""
    if isinstance(basis, Basis) and _is_sum(basis):
        split = basis.split_by_feature(np.arange(n_features), axis=0)
        return {label: split[label].ravel() for label in widths}
    if coupling is None and list(widths.values()) == [n_features]:
        return {label: np.arange(n_features) for label in widths}
    for key, width in widths.items():
        if not isinstance(key, int | np.integer) or not 0 <= key <= n_features - width:
            raise ValueError(
                f"The model was fitted to an array of {n_features} features, and coupling makes "
                f"{width} of them: what the basis makes of all neurons of the model. Say the "
                f"first of their columns with coupling=, got {key!r}, or pass the sum of bases "
                "that made the array. Features of other neurons are no coupling, and belong to "
                "feedforward_input."
            )
    return {key: np.arange(key, key + width) for key, width in widths.items()}


def _check_names(feedforward: Any, names: np.ndarray | None) -> None:
    given = None if isinstance(feedforward, TimeSeries) else getattr(feedforward, "columns", None)
    if names is not None and given is not None and list(given) != list(names):
        raise ValueError(
            f"The columns of feedforward_input must be those of the fit without coupling, "
            f"{', '.join(names)}, in this order, got {', '.join(map(str, given))}."
        )


def _drive(
    model: FittedModel, feedforward: Any, rest: Any, offset: Any
) -> tuple[np.ndarray, Layout]:
    """Make the linear predictor of the features that are no coupling, checked against `rest`."""
    if not any(len(leaf) for leaf in jax.tree.leaves(rest)):
        if not isinstance(feedforward, int | np.integer) or feedforward < 1:
            raise ValueError(
                "The model has no other features than those of coupling: pass the number of "
                f"samples as feedforward_input, at least 1, got {feedforward!r:.60}."
            )
        nothing, none = np.zeros((int(feedforward), 0)), np.zeros((0, model.scale.size))
        return model.linear_predictor(nothing, NO_FEATURES, offset, none), NO_FEATURES
    matrix, layout = _inputs.features(feedforward, model.spec.observation_model, None)
    _coefficients.check_features(
        layout, rest, f"{model.spec.name}, whose simulation makes the features of coupling,"
    )
    drive = model.linear_predictor(matrix, layout, offset, rest)
    _inputs.known_rows(matrix, layout)
    missing = np.isnan(drive).any(axis=1)
    if missing.any():
        raise ValueError(
            f"feedforward_input or offset has NaN in {missing.sum()} of {len(drive)} rows, the "
            f"first of them row {int(np.argmax(missing))}, from which nothing can be simulated. "
            "Fill them in, or leave them out."
        )
    return drive, layout


def _past(init_y: Any, shape: tuple[int, int]) -> np.ndarray:
    """Check the activity before the first sample, (window_size, n_neurons); None is none."""
    if init_y is None:
        return np.zeros(shape)
    past = np.asarray(finite_values(init_y, "init_y"), float)
    if past.ndim == 1 and shape[1] == 1:
        past = past[:, None]
    if past.shape != shape or np.isnan(past).any():
        raise ValueError(
            f"init_y must have shape {shape}, (window_size, n_neurons), without NaN, got "
            f"{np.shape(init_y)}."
        )
    return past
