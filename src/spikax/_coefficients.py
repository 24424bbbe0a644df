"""What users give in the shape of coefficients: masks, strengths, groups, parameters."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from spikax._inputs import as_float_array, is_leaf, plain
from spikax._layout import Layout, Outputs
from spikax._time_series import values


def feature_mask(mask: Any, layout: Layout, outputs: Outputs) -> np.ndarray | None:
    """Check a mask of features, and give it shape (n_features, n_columns)."""
    if mask is None:
        if layout.predictors is None:
            return None
        mask = jax.tree.unflatten(
            layout.treedef, [np.ones((w, *outputs.trailing)) for w in layout.widths]
        )
    parts = _like_features(mask, layout, "feature_mask")
    whole_parts = []
    for part, name, width in zip(parts, layout.names, layout.widths, strict=True):
        array = as_float_array(part, "feature_mask" + name[1:])
        wrong = ~np.isin(array, (0, 1))
        if wrong.any():
            raise ValueError(
                f"feature_mask must hold only 0 and 1, got {array[wrong][0]:g} in the mask of "
                f"{name}."
            )
        full = (width, *outputs.trailing)
        whole = () if outputs.single else (outputs.n_neurons,)
        is_tree = layout.names != ("X",)
        if outputs.single and array.shape == (1,) and width != 1:
            array = array[0]
        if is_tree and array.shape == whole:
            each = array if outputs.n_classes is None else array[..., None]
            array = np.broadcast_to(each, full)
        if array.shape == full:
            whole_parts.append(array)
        else:
            options = f"{full} or {whole}" if is_tree else f"{full}"
            raise ValueError(
                f"feature_mask of {name} must have shape {options}, got {array.shape}."
            )
    return outputs.join(whole_parts, layout)


class Grouping(NamedTuple):
    """Groups of each neuron's coefficients."""

    of: np.ndarray  # the group of each coefficient, (n_features, 1 or n_neurons)
    size: np.ndarray  # how many free coefficients each has, (n_groups, 1 or n_neurons)
    number: np.ndarray  # which group of the mask each is, (n_groups, 1 or n_neurons)
    n_numbers: int  # number of groups in the mask; that of coefficients in none


@dataclass(frozen=True)
class CoefficientShape:
    """Of what shape the coefficients of a fit are, for arguments that come in that shape."""

    layout: Layout
    outputs: Outputs
    mask: np.ndarray | None  # of the features, (n_features, n_columns)

    def spread(self, value: Any, argument: str) -> np.ndarray:
        """Check a strength; make it (1, 1), (1, n) or (n_predictors * n_features, 1 or n)."""
        layout, n_neurons, single = self.layout, self.outputs.n_neurons, self.outputs.single
        if value is None:
            value = 1.0
        is_array = layout.names == ("X",) and not isinstance(value, dict)
        if is_array or is_leaf(value):
            array = as_float_array(value, argument)
            _check_strength(array, argument)
            if array.ndim == 0:
                return array.reshape(1, 1)
            if not single and array.shape == (n_neurons,):
                return array[None]
        parts = _like_features(value, layout, argument)
        rows = []
        predictors = layout.predictors or (None,) * len(parts)
        each = zip(parts, layout.names, layout.widths, predictors, strict=True)
        for part, name, width, predictor in each:
            label = argument + name[1:]
            array = as_float_array(part, label)
            _check_strength(array, label)
            full = (width, *self.outputs.trailing)
            n_rows = width * self.outputs.n_predictors
            if array.ndim == 0:
                array = np.broadcast_to(array, (n_rows, 1))
            elif array.shape == full:
                array = self._by_row(array, predictor)
            elif not single and array.shape == (n_neurons,):
                array = np.broadcast_to(array, (n_rows, n_neurons))
            else:
                neurons = "" if single else f", one per neuron ({n_neurons},)"
                raise ValueError(
                    f"{label} must be a scalar{neurons} or have the shape of the coefficients "
                    f"{full}, got {array.shape}."
                )
            rows.append(array)
        return _stacked(rows)

    def _by_row(self, array: np.ndarray, predictor: int | None) -> np.ndarray:
        """Give coefficients a row for each predictor of each feature, a column for each neuron."""
        return self.outputs.coef_columns(array, predictor).reshape(-1, self.outputs.n_neurons)

    def spread_groups(self, strength: Any, n_groups: int) -> np.ndarray:
        """Check the strength of groups: one for each of them, and zero for no group."""
        array = as_float_array(1.0 if strength is None else strength, "regularizer_strength")
        _check_strength(array, "regularizer_strength")
        if array.shape not in ((), (n_groups,)):
            raise ValueError(
                "regularizer_strength of GroupLasso must be a scalar or have one entry for each "
                f"of the {n_groups} groups of its mask, got shape {array.shape}."
            )
        return np.append(np.broadcast_to(array, n_groups), 0.0)

    def by_array(self, strength: Any) -> Any:
        """Give one strength for each array of features and neuron the container of X."""
        layout, n_neurons = self.layout, self.outputs.n_neurons
        flat = np.shape(strength) == (len(layout.widths) * n_neurons,)
        if layout.names == ("X",) or isinstance(strength, dict) or not flat:
            return strength
        each = np.reshape(strength, (-1, n_neurons))
        return jax.tree.unflatten(
            layout.treedef, list(each[:, 0] if self.outputs.single else each)
        )

    def groups(self, mask: Any) -> Grouping:
        """Index the groups that a mask tells; those of the arrays of features if it is None."""
        if mask is None:
            widths = np.array([width for width in self.layout.widths if width], int)
            n_leaves, n_rows = len(widths), widths * self.outputs.n_predictors
            index = np.repeat(np.arange(n_leaves), n_rows)[:, None]
            number, n_numbers = np.arange(n_leaves)[:, None], n_leaves
        else:
            numbers, n_numbers = self._group_numbers(mask)
            index, number = _local_groups(numbers, n_numbers)
        free = np.ones((len(index), index.shape[1]))
        if self.mask is not None:
            free = self.mask.reshape(-1, self.outputs.n_neurons)
        size = np.zeros((len(number), free.shape[1]))
        neuron = np.arange(free.shape[1])[None]
        np.add.at(size, (np.broadcast_to(index, free.shape), neuron), free)
        return Grouping(index.astype(np.int32), size, number, n_numbers)

    def _group_numbers(self, mask: Any) -> tuple[np.ndarray, int]:
        """Read the number of each coefficient's group off a mask; `n_groups` for none."""
        parts = _like_features(mask, self.layout, "mask of GroupLasso")
        rows = []
        n_groups = len(np.atleast_1d(as_float_array(parts[0], "mask of GroupLasso")))
        predictors = self.layout.predictors or (None,) * len(parts)
        each = zip(parts, self.layout.names, self.layout.widths, predictors, strict=True)
        for part, name, width, predictor in each:
            label = f"mask of GroupLasso for {name}"
            array = as_float_array(part, label)
            full = (width, *self.outputs.trailing)
            if array.shape not in ((n_groups, width), (n_groups, *full)):
                forms = dict.fromkeys(
                    f"(n_groups, {str(s)[1:-1].rstrip(',')})" for s in ((width,), full)
                )
                raise ValueError(
                    f"{label} must have shape {' or '.join(forms)}, with the same n_groups "
                    f"everywhere, got {array.shape}."
                )
            if not np.isin(array, (0, 1)).all():
                wrong = array[~np.isin(array, (0, 1))][0]
                raise ValueError(f"{label} must hold only 0 and 1, got {wrong:g}.")
            if (array.sum(axis=0) > 1).any():
                feature = np.argwhere(array.sum(axis=0) > 1)[0, 0]
                both = np.flatnonzero(array[:, feature].reshape(n_groups, -1).max(axis=1))[:2]
                raise ValueError(
                    f"{label} puts feature {feature} into groups {both[0]} and {both[1]}: groups "
                    "must not overlap. Leave it in one of them."
                )
            number = np.where(array.any(axis=0), array.argmax(axis=0), n_groups)
            of_features = array.shape == (n_groups, width)
            number = (
                np.repeat(number, self.outputs.n_predictors)[:, None]
                if of_features
                else self._by_row(number, predictor)
            )
            rows.append(number)
        numbers = _stacked(rows)
        self._check_groups(numbers, n_groups)
        return numbers, n_groups

    def _check_groups(self, numbers: np.ndarray, n_groups: int) -> None:
        """Refuse groups without coefficients, and groups over several neurons."""
        empty = np.setdiff1d(np.arange(n_groups), numbers)
        if empty.size:
            raise ValueError(
                f"mask of GroupLasso has no coefficient in group {empty[0]}: leave empty groups "
                "out."
            )
        if numbers.shape[1] > 1:
            own = [np.unique(column[column < n_groups]) for column in numbers.T]
            names, count = np.unique(np.concatenate(own), return_counts=True)
            for group in names[count > 1]:
                neurons = np.flatnonzero((numbers == group).any(axis=0))
                raise ValueError(
                    f"mask of GroupLasso has coefficients of neurons {neurons[0]} and "
                    f"{neurons[1]} in group {group}, but each neuron is fitted by itself. Give "
                    "each neuron groups of its own, or a mask (n_groups, n_features) of groups "
                    "that each of them has."
                )


def _stacked(rows: list[np.ndarray]) -> np.ndarray:
    """Put arrays of one column, or of one for each neuron, below one another."""
    columns = max(r.shape[1] for r in rows)
    return np.concatenate([np.broadcast_to(r, (len(r), columns)) for r in rows])


def _local_groups(numbers: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Count the groups of each neuron from zero, and keep what they were called."""
    found = [np.unique(column, return_inverse=True) for column in numbers.T]
    index = np.stack([inverse.reshape(-1) for _, inverse in found], axis=1)
    number = np.full((max(len(names) for names, _ in found), len(found)), n_groups)
    for column, (names, _) in enumerate(found):
        number[: len(names), column] = names
    return index, number


def _check_strength(array: np.ndarray, label: str) -> None:
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        raise ValueError(f"{label} must be finite and non-negative, got {array[wrong].flat[0]:g}.")


def _like_features(tree: Any, layout: Layout, argument: str) -> list:
    if layout.names == ("X",):
        if isinstance(tree, dict):
            raise TypeError(f"{argument} is a dict, but X is an array: pass an array.")
        return [tree]
    try:
        return layout.treedef.flatten_up_to(plain(tree))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{argument} must have the structure of X, with the entries "
            f"{', '.join(layout.names)}; got {_described(tree)}."
        ) from error


def _described(tree: Any) -> str:
    if isinstance(tree, dict):
        return f"a dict with the entries {', '.join(map(repr, tree))}"
    if isinstance(tree, list | tuple):
        return f"a {type(tree).__name__} of {len(tree)}"
    return "an array" if is_leaf(tree) else f"a {type(tree).__name__}"


def parameters(
    params: Any, argument: str, layout: Layout, outputs: Outputs, xp: Any
) -> tuple[Any, Any]:
    """Check (coef, intercept); give them shape (n_features, n_columns) and (n_columns,)."""
    if not isinstance(params, list | tuple) or len(params) != 2:
        got = f"{len(params)} items" if isinstance(params, list | tuple) else repr(params)
        raise ValueError(f"{argument} must be a pair (coef, intercept), got {got:.60}.")
    coef, intercept = params
    parts = _like_features(coef, layout, f"coef of {argument}")
    checked = []
    for part, name, width in zip(parts, layout.names, layout.widths, strict=True):
        full = (width, *outputs.trailing)
        part = values(part, f"coef of {argument}")
        if part.shape != full:
            raise ValueError(
                f"coef of {argument} must have shape {full} for {name}, got {part.shape}."
            )
        checked.append(xp.asarray(part))
    full, intercept = outputs.intercept, values(intercept, f"intercept of {argument}")
    if intercept.shape != full:
        raise ValueError(f"intercept of {argument} must have shape {full}, got {intercept.shape}.")
    coef, intercept = outputs.join(checked, layout), outputs.columns(xp.asarray(intercept))[0]
    if xp is np and not (_finite_numbers(coef) and _finite_numbers(intercept)):
        raise ValueError(f"{argument} must hold finite numbers.")
    return coef, intercept


def _finite_numbers(array: np.ndarray) -> bool:
    return array.dtype.kind in "fiub" and bool(np.isfinite(array).all())


def check_features(layout: Layout, coef: Any, estimator: str) -> None:
    """Refuse features that are not those the coefficients were fitted to."""
    widths = tuple(leaf.shape[0] for leaf in jax.tree_util.tree_leaves(coef))
    if jax.tree_util.tree_structure(coef) != layout.treedef:
        X = jax.tree_util.tree_unflatten(layout.treedef, layout.widths)
        raise TypeError(
            f"X must be structured as it was when {estimator} was fitted: expected "
            f"{_described(coef)}, got {_described(X)}."
        )
    for name, width, expected in zip(layout.names, layout.widths, widths, strict=True):
        if width != expected:
            raise ValueError(
                f"{name} has {width} features, but {estimator} is expecting {expected} features "
                "as input."
            )
