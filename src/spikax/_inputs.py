"""From what users hold to the arrays of a problem, and back.

Containers (pynapple, pandas, nested dicts and lists) become one matrix and a `Layout`; rows to
ignore get weight zero; everything wrong is said here, before anything is compiled.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod
from numbers import Number
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer
from jax.tree_util import keystr, tree_flatten_with_path
from scipy.sparse import issparse
from sklearn.exceptions import DataConversionWarning

from spikax._arrays import as_floats
from spikax._errors import unknown_name
from spikax._layout import NO_FEATURES, Layout, Outputs
from spikax._missing import warn_about_ignored
from spikax._time_series import check_times, holds_times, is_series, raw
from spikax._values import check_support, column_of, finite_rows
from spikax.design import FeatureSource, is_source
from spikax.observation_models import SEVERAL_PREDICTORS, Dispersion, Observations
from spikax.stores import StoredFeatures, is_large_store, stored

# What a weight of two says: that the sample varies half as much, or that it occurred twice.
WEIGHT_TYPES = ("precision", "frequency")


class Data(NamedTuple):
    """Checked samples."""

    X: np.ndarray | FeatureSource  # (n_samples, n_features)
    y: np.ndarray  # (n_samples, n_neurons)
    layout: Layout
    valid: np.ndarray | None  # (n_samples, 1) or (n_samples, n_neurons)
    weights: np.ndarray | None  # (n_samples, 1) or (n_samples, n_neurons)
    offset: np.ndarray | None  # (n_samples, 1) or (n_samples, n_columns)
    classes: np.ndarray | None = None  # the labels that `y` holds the indices of
    weight_type: str = "precision"

    @property
    def weight(self) -> np.ndarray:
        """What each sample counts, (n_samples, 1) or (n_samples, n_neurons)."""
        weight = np.ones((len(self.X), 1)) if self.weights is None else self.weights
        return weight if self.valid is None else weight * self.valid

    @property
    def mean_weight(self) -> np.ndarray:
        """Mean of each neuron's weights that are not zero, (n_neurons,)."""
        mean = np.ones(1)
        if self.weights is not None:
            weight = self.weight
            total, n = weight.sum(axis=0), np.count_nonzero(weight, axis=0)
            mean = np.where(n > 0, total / np.maximum(n, 1), 1)
        return np.broadcast_to(mean, self.y.shape[1])

    def divides_scale(self, family: Observations) -> bool:
        """Tell whether weights divide the samples' scale; they count repetitions otherwise."""
        return family.dispersion is Dispersion.MOMENTS and self.weight_type == "precision"

    @property
    def n_observations(self) -> np.ndarray:
        """How many observations of each neuron the weighted samples are, (n_neurons,)."""
        weight = self.weight if self.weight_type == "frequency" else self.weight > 0
        return np.broadcast_to(weight.sum(axis=0).astype(float), self.y.shape[1])


def without_features(
    y: np.ndarray, known: np.ndarray, weights: np.ndarray | None, offset: np.ndarray | None
) -> Data:
    """Put together checked samples of which the features are not looked at."""
    return Data(np.zeros((len(y), 0)), y, NO_FEATURES, known, weights, offset)


def samples(
    X: Any,
    y: Any,
    sample_weight: Any,
    offset: Any,
    family: Observations,
    single: bool,
    n_classes: int | None,
    weight_type: str = "precision",
    afresh: bool = False,
) -> Data:
    """Check all that comes one by one with the samples, for a fit if `afresh`."""
    matrix, layout = features(X, family, n_classes)
    # Counts next to features that do not fit in memory stay in the type that they came in.
    as_array = as_real_array if afresh and isinstance(matrix, StoredFeatures) else as_float_array
    observed = observations(y, single, len(matrix), layout, as_array)
    check_times({"X": layout.series, "y": y, "sample_weight": sample_weight, "offset": offset})
    n_samples, n_neurons = observed.shape
    weights = sample_weights(sample_weight, n_samples, y, n_neurons)
    outputs = Outputs(n_neurons, n_classes, single, family.predictors)
    added = offsets(offset, n_samples, outputs)
    valid: Any = known_rows(matrix, layout)
    for array, name in ((observed, "y"), (added, "offset")):
        if array is not None:
            more: Any = finite_rows(array, partial(column_of, name, array.shape[1]))
            if more is not None:
                if more.shape[1] > n_neurons:
                    more = more.reshape(n_samples, -1, n_neurons).all(axis=1)
                more = more.all(axis=1, keepdims=True) if (more == more[:, :1]).all() else more
                valid = more if valid is None else valid & more
    check_support(observed, family, single)
    if n_samples == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={matrix.shape}) while a minimum of 1 is "
            "required."
        )
    if weight_type not in WEIGHT_TYPES:
        raise unknown_name("weight_type", weight_type, WEIGHT_TYPES)
    data = Data(matrix, observed, layout, valid, weights, added, weight_type=weight_type)
    if not (data.weight > 0).any():
        raise ValueError(
            f"No sample is left of {n_samples}: each has NaN in X, y or offset, or a "
            "sample_weight of zero."
        )
    warn_about_ignored(data, y if layout.series is None else layout.series)
    return data


def as_float_array(value: Any, name: str) -> np.ndarray:
    """Make a float array of one leaf, or say why that cannot be."""
    # To ask an array what it is would take longer than all else here.
    if not isinstance(value, np.ndarray):
        if is_source(value):
            raise TypeError(
                f"{name} is the design of a basis, which models take only as the whole of X. "
                "Compose the bases with + and pass the design of all, or pass an array, "
                f"{name}.compute()."
            )
        if isinstance(value, Tracer):
            raise TypeError(
                f"{name} is traced by JAX, but models look at the values of their data: call them "
                "outside of jit, grad and vmap."
            )
    array = raw(value, name)
    try:
        array = np.asarray(array)
        if array.dtype.kind not in "cmM":
            return as_floats(array)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{name} must hold numbers, got dtype {array.dtype} ({error}). Encode text and "
            "categories as numbers first."
        ) from error
    if array.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: {name} has dtype {array.dtype}. Pass its real and "
            "imaginary parts as separate features."
        )
    raise TypeError(f"{name} holds dates or durations: pass numbers, such as seconds.")


def as_real_array(value: Any, name: str) -> np.ndarray:
    """Make an array of one leaf, of floats unless it holds whole numbers."""
    array = value if isinstance(value, np.ndarray) else raw(value, name)
    if hasattr(array, "dtype") and hasattr(array, "__array__"):
        array = np.asarray(array)
        if array.dtype.kind in "bui":
            return array
    return as_float_array(value, name)


def features(
    X: Any, family: Observations, n_classes: int | None
) -> tuple[np.ndarray | FeatureSource, Layout]:
    """Flatten features to a matrix, unless they are a source, which is left to be evaluated."""
    if is_large_store(X):
        X = stored(X)
    if is_source(X):
        structure = jax.tree_util.tree_structure(0)
        matrix, layout = X, Layout(structure, *_ARRAY, (X.shape[1],), (None,), X.series)
    else:
        matrix, layout = design_matrix(X)
    if n_classes is None:
        layout = replace(layout, predictors=_predictors(X, layout, family))
    return matrix, layout


def _predictors(X: Any, layout: Layout, family: Observations) -> tuple[int, ...] | None:
    """Tell for each array of features which linear predictor uses it."""
    names, keys = family.predictors, list(X) if isinstance(X, dict) else []
    if len(names) == 1:
        for designs in SEVERAL_PREDICTORS:
            if len(keys) > 1 and set(keys) <= set(designs):
                raise ValueError(
                    f"X has designs for the predictors {' and '.join(map(repr, keys))}, but "
                    f"{family.name} observations have one linear predictor, of the mean. Choose "
                    "an observation model with both, or give features that are called so by "
                    "chance other names."
                )
        return None
    own = [key for key in keys if key in names]
    if not own:
        return (0,) * len(layout.names)
    if len(own) < len(keys):
        other = next(key for key in keys if key not in names)
        raise ValueError(
            f"X has a design for the predictor {own[0]!r}, and {other!r} besides: pass a dict of "
            f"designs, with the keys {' and '.join(map(repr, names))} only, or one without them, "
            f"whose features are all those of {names[0]!r}."
        )
    of_key = {f"X[{key!r}]": names.index(key) for key in own}
    return tuple(
        next(k for start, k in of_key.items() if name.startswith(start)) for name in layout.names
    )


def known_rows(matrix: np.ndarray | FeatureSource, layout: Layout) -> np.ndarray | None:
    """Mark the rows without NaN, (n_samples, 1), None where all are; refuse infinity."""
    if not isinstance(matrix, np.ndarray):
        return None if matrix.known is None else matrix.known[:, None]
    finite: Any = finite_rows(matrix, layout.column)
    return None if finite is None else finite.all(axis=1, keepdims=True)


def design_matrix(X: Any) -> tuple[np.ndarray, Layout]:
    """Flatten a design, an array or a container of arrays, to one matrix."""
    leaves, treedef, names, labels = _leaves(X)
    arrays = [as_float_array(leaf, name) for leaf, name in zip(leaves, names, strict=True)]
    for name, leaf, array in zip(names, leaves, arrays, strict=True):
        if array.ndim != 2:
            raise ValueError(
                f"Expected 2D array, got {array.ndim}D array instead: {name} must have shape "
                f"(n_samples, n_features), got {array.shape}."
                f"{_way_to_2d(name, leaf, array.ndim)}"
            )
        if array.shape[0] != arrays[0].shape[0]:
            raise ValueError(
                f"{name} has {array.shape[0]} samples, {names[0]} has {arrays[0].shape[0]}: all "
                f"features must have the same number of samples. If they are trials, "
                f"{_WAY_OF_TRIALS}"
            )
    timed = {name: x for name, x in zip(names, leaves, strict=True) if is_series(x)}
    check_times(timed)
    series = next(iter(timed.values()), None)
    widths, columns = tuple(a.shape[1] for a in arrays), tuple(map(_column_names, leaves))
    layout = Layout(treedef, names, labels, widths, columns, series)
    if names == ("X",) and not (isinstance(X, jax.Array) or is_series(X)):
        _check_width(arrays[0].shape)
    return (arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)), layout


def _check_width(shape: tuple[int, int]) -> None:
    """Refuse a table without columns, which is a slip; a basis or a container may have none."""
    if shape[1] == 0:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={shape}) while a minimum of 1 is required. To "
            "fit the means alone, pass the features of a basis without functions as they are, "
            "Zero().compute_features(t), or a container of what has no columns, {'none': X}."
        )


_WAY_OF_TRIALS = (
    "join trials along time, with numpy.concatenate, those of y likewise, and compute features "
    "of the past trial by trial first."
)


def _way_to_2d(name: str, leaf: Any, ndim: int) -> str:
    """Tell how to bring an array that is not two-dimensional to a matrix."""

    def reshaped(*shape: Any) -> str:
        if isinstance(leaf, np.ndarray):
            return f"{name}.reshape({', '.join(shape)})"
        return f"numpy.reshape({name}, ({', '.join(shape)}))"

    if ndim == 0:
        return ""
    if ndim == 1:
        return (
            f" Reshape your data: {reshaped('-1', '1')} if it is one feature, "
            f"{reshaped('1', '-1')} if it is one sample."
        )
    of_samples = f"{reshaped(f'len({name})', '-1')} puts the features of a sample in its row."
    if is_series(leaf):
        return f" Reshape your data: {of_samples}"
    last = f"{name}.shape[-1]"
    return (
        f" If its axes are trials, time and features, join the trials: {reshaped('-1', last)}, "
        f"those of y likewise, and compute features of the past trial by trial first. If time is "
        f"its first axis, {of_samples}"
    )


# What an array, no container, is called.
_ARRAY = ("X",), ("X",)


def _leaves(X: Any) -> tuple[list, Any, tuple[str, ...], tuple[str, ...]]:
    if is_leaf(X) or _is_rows(X):
        return [X], jax.tree_util.tree_structure(0), *_ARRAY
    try:
        flat, treedef = tree_flatten_with_path(plain(X), is_leaf=is_leaf)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"X has keys that have no order, {_mixed_keys(X)}, but entries are kept in the order "
            "of their keys. Use keys of one type, such as text."
        ) from error
    if not flat:
        raise ValueError("X is an empty container: pass at least one array of features.")
    for path, leaf in flat:
        if isinstance(leaf, list | tuple):
            kind = "tuple" if isinstance(leaf, tuple) else "list"
            name = "X" + keystr(path)
            raise TypeError(
                f"{name} is a {type(leaf).__name__}, which JAX does not take apart: pass "
                f"{kind}({name})."
            )
    names = tuple("X" + keystr(path) for path, _ in flat)
    labels = tuple(keystr(path, simple=True, separator=".") for path, _ in flat)
    if len(set(labels)) < len(labels):  # such as of {"a": {"b": ...}, "a.b": ...}
        labels = tuple(name.removeprefix("X") for name in names)
    return [leaf for _, leaf in flat], treedef, names, labels


def plain(tree: Any) -> Any:
    """Take the kinds of dict, whose entries JAX orders in several ways, for dicts."""
    if isinstance(tree, dict) and not issparse(tree):
        return {key: plain(part) for key, part in tree.items()}
    return type(tree)(map(plain, tree)) if type(tree) in (list, tuple) else tree


def _mixed_keys(X: Any) -> str:
    """Name the keys of the first dict in a container that has several types of them."""
    if isinstance(X, dict) and len(set(map(type, X))) > 1:
        return ", ".join(f"{key!r} ({type(key).__name__})" for key in list(X)[:5])
    parts = X.values() if isinstance(X, dict) else X if isinstance(X, list | tuple) else ()
    return next(filter(None, map(_mixed_keys, parts)), "")


def is_leaf(x: Any) -> bool:
    """Whether something is no container: none of Python's, and none that JAX was told of."""
    if isinstance(x, dict | list | tuple):
        return issparse(x)  # one of SciPy's sparse arrays is a dict, too
    return x is None or isinstance(x, np.ndarray) or jax.tree_util.all_leaves([x])


def _is_rows(X: Any) -> bool:
    """Whether a list holds the rows of one matrix, and no features side by side."""
    if not isinstance(X, list | tuple) or any(isinstance(x, dict) for x in X):
        return False
    return not any(map(_is_feature, jax.tree_util.tree_leaves(X, is_leaf=is_leaf)))


_TIMELESS: Any = (Number, str, np.generic, np.ndarray)


def _is_feature(x: Any) -> bool:
    return (not isinstance(x, _TIMELESS) and holds_times(x)) or np.ndim(x) >= 2


def _column_names(x: Any) -> tuple[str, ...] | None:
    """Names of the columns of a frame, if they are text."""
    columns: Any = () if isinstance(x, np.ndarray) else getattr(x, "columns", ())
    named = len(columns) > 0 and all(isinstance(name, str) for name in columns)
    return tuple(columns) if named else None


def observations(
    y: Any, single: bool, n_samples: int, layout: Layout, as_array: Callable = as_float_array
) -> np.ndarray:
    """Make the (n_samples, n_neurons) array of what was observed."""
    array = as_array(y, "y")
    _check_not_trials(y, array.shape, n_samples, 1 if single else 2, layout)
    wanted = "(n_samples,)" if single else "(n_samples, n_neurons)"
    if single and array.ndim == 2 and array.shape[1] == 1:
        warnings.warn(
            f"A column-vector y was passed when a 1d array was expected (shape {array.shape}): "
            "pass y.ravel(), or use PopulationGLM.",
            DataConversionWarning,
            stacklevel=5,
        )
        array = array[:, 0]
    if array.ndim != (1 if single else 2):
        way = {
            (True, 2): " Use PopulationGLM for several neurons.",
            (False, 1): " Use GLM for one neuron, or y.reshape(-1, 1).",
        }.get((single, array.ndim), "")
        if array.ndim > 1 and 1 < array.shape[0] < prod(array.shape[:2]) == n_samples:
            way = " If its first axes are trials and time, join the trials, as those of X are."
        raise ValueError(f"y must have shape {wanted}, got {array.shape}.{way}")
    if array.shape[-1] == 0 and not single:
        raise ValueError(f"y has no neurons: its shape is {array.shape}.")
    if array.shape[0] != n_samples:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: X has {n_samples}, y "
            f"has {array.shape[0]}."
        )
    return array[:, None] if single else array


def _check_not_trials(
    y: Any, shape: tuple[int, ...], n_samples: int, ndim: int, layout: Layout
) -> None:
    """Refuse containers of trials, which would be taken for features side by side."""
    n_parts = len(layout.widths)
    if n_parts == 1 or not shape:
        return
    could_be = len(shape) == ndim and shape[0] == n_samples
    by_trial = shape[:2] == (n_parts, n_samples) and (
        not could_be or (isinstance(y, list | tuple) and not isinstance(y[0], list | tuple))
    )
    if by_trial or (shape[0] == n_parts * n_samples and n_samples > 1):
        raise ValueError(
            f"X holds {n_parts} arrays of {n_samples} samples, which are features side by side, "
            f"but y has shape {shape}, as if they were trials: {_WAY_OF_TRIALS}"
        )


def sample_weights(
    sample_weight: Any, n_samples: int, y: Any, n_neurons: int
) -> np.ndarray | None:
    """Check the weights of samples, and give them shape (n_samples, 1) or (n_samples, n_neurons).

    Neurons are called what the columns of `y` are.
    """
    if sample_weight is None:
        return None
    weights = as_float_array(sample_weight, "sample_weight")
    if weights.ndim == 0:
        weights = np.full(n_samples, float(weights))
    if weights.shape not in ((n_samples,), (n_samples, n_neurons)):
        each = f" or ({n_samples}, {n_neurons})" if n_neurons > 1 else ""
        raise ValueError(
            f"sample_weight must have shape ({n_samples},){each}, one weight per sample"
            f"{', or per sample and neuron' * (n_neurons > 1)}, got {weights.shape}."
        )
    names = list(getattr(y, "columns", range(n_neurons)))
    of_neuron = weights.ndim == 2 and n_neurons > 1
    weights = weights.reshape(n_samples, -1)
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row, neuron = np.argwhere(wrong)[0]
        where = f"row {row}" + (f" of neuron {names[neuron]}" if of_neuron else "")
        raise ValueError(
            f"sample_weight is {weights[row, neuron]:g} in {where}; weights must be finite and "
            "non-negative. Use zero to ignore a sample."
        )
    idle = ~weights.any(axis=0)
    if of_neuron and n_samples and idle.any():
        raise ValueError(
            f"sample_weight is zero in all samples of neuron {names[int(np.argmax(idle))]}, which "
            "leaves nothing to fit it to. Leave the neuron out of y and sample_weight."
        )
    return weights


def offsets(offset: Any, n_samples: int, outputs: Outputs) -> np.ndarray | None:
    """Check the offset, and give it shape (n_samples, 1) or (n_samples, n_columns)."""
    if offset is None:
        return None
    array = as_float_array(offset, "offset")
    n_neurons = outputs.n_neurons
    if outputs.n_classes is not None:
        full = (n_samples, *outputs.trailing)
        if array.shape != full:
            raise ValueError(
                f"offset must have shape {full}, with an entry for each class, got {array.shape}: "
                "what is added to all classes alike changes nothing."
            )
        return outputs.columns(array)
    if array.shape == (n_samples,):
        array = array[:, None]
    elif array.shape != (n_samples, n_neurons):
        each = f" or ({n_samples}, {n_neurons})" if n_neurons > 1 else ""
        raise ValueError(f"offset must have shape ({n_samples},){each}, got {array.shape}.")
    if outputs.n_predictors == 1:
        return array
    # An offset, such as a log exposure, is one of the first predictor.
    return outputs.coef_columns(np.broadcast_to(array, (n_samples, n_neurons)), 0)
