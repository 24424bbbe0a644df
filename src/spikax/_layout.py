"""How columns of features and linear predictors lie in the user's containers, and back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Layout:
    """How the columns of the design matrix lie in the user's container."""

    treedef: Any
    names: tuple[str, ...]  # as Python would write them: X['body']['speed']
    labels: tuple[str, ...]  # as the user would call them: body.speed
    widths: tuple[int, ...]
    columns: tuple[Any, ...]  # of each, what its columns are called; None where by number
    series: Any = None  # one of the time series among the features
    predictors: tuple[int, ...] | None = None  # of each, the one that uses it; None where all do

    @property
    def n_features(self) -> int:
        """Number of columns in all."""
        return sum(self.widths)

    def split(self, rows: np.ndarray) -> Any:
        """Give the rows of a (n_features, ...) array back in the user's container."""
        stops = accumulate(self.widths)
        parts = [rows[stop - width : stop] for stop, width in zip(stops, self.widths, strict=True)]
        return jax.tree_util.tree_unflatten(self.treedef, parts)

    def column(self, index: int) -> str:
        """Name a column the way the user would."""
        for name, width in zip(self.names, self.widths, strict=True):
            if index < width:
                return f"column {index} of {name}"
            index -= width
        raise IndexError(index)


NO_FEATURES = Layout(jax.tree_util.tree_structure(()), (), (), (), ())


class Outputs(NamedTuple):
    """How linear predictors lie in the user's arrays, and in columns, one for each.

    The columns of a population with several predictors are those of all neurons for the first one,
    then for the second, and so on. All predictors of classes have the same features, so that a
    coefficient has an axis of classes. Other predictors have features of their own.
    """

    n_neurons: int
    n_classes: int | None  # None where the predictors are not those of classes
    single: bool
    predictors: tuple[str, ...] = ("mean",)

    @property
    def n_predictors(self) -> int:
        """Number of linear predictors of a neuron."""
        return self.n_classes or len(self.predictors)

    @property
    def trailing(self) -> tuple[int, ...]:
        """Axes of a coefficient, after that of the features."""
        neurons = () if self.single else (self.n_neurons,)
        return neurons if self.n_classes is None else (*neurons, self.n_classes)

    @property
    def intercept(self) -> tuple[int, ...]:
        """Shape of the intercepts."""
        neurons = () if self.single else (self.n_neurons,)
        return (*neurons, self.n_predictors) if self.n_predictors > 1 else neurons or (1,)

    def columns(self, array: Any) -> Any:
        """Bring an array (rows, *axes), with all predictors on the last axis, to columns."""
        array = array.reshape(-1, self.n_neurons, self.n_predictors)
        return array.swapaxes(1, 2).reshape(len(array), self.n_neurons * self.n_predictors)

    def restored(self, columns: Any, axes: tuple[int, ...]) -> Any:
        """Bring an array (rows, n_columns) to (rows, *axes), with all predictors on the last."""
        columns = columns.reshape(-1, self.n_predictors, self.n_neurons).swapaxes(1, 2)
        return columns.reshape(len(columns), *axes)

    def coef_columns(self, coef: Any, predictor: int | None) -> Any:
        """Bring coefficients (rows, *trailing) to (rows, n_columns), zero for other predictors."""
        if predictor is None:
            return self.columns(coef)
        xp = jnp if isinstance(coef, jax.Array) else np
        coef = coef.reshape(-1, self.n_neurons)
        parts = [xp.zeros_like(coef)] * self.n_predictors
        parts[predictor] = coef
        return xp.concatenate(parts, axis=1)

    def join(self, coefs: list, layout: Layout) -> Any:
        """Bring the coefficients of all arrays of features to (n_features, n_columns)."""
        predictors = layout.predictors or (None,) * len(coefs)
        columns = [self.coef_columns(c, k) for c, k in zip(coefs, predictors, strict=True)]
        xp = jnp if isinstance(columns[0], jax.Array) else np
        return xp.concatenate(columns)

    def split(self, columns: np.ndarray, layout: Layout) -> Any:
        """Give columns, (n_features, n_columns), as coefficients in the user's container."""
        parts = jax.tree.leaves(layout.split(columns))
        predictors = layout.predictors or (None,) * len(parts)
        coefs = [
            self.restored(part, self.trailing)
            if k is None
            else part.reshape(-1, self.n_predictors, self.n_neurons)[:, k].reshape(
                len(part), *self.trailing
            )
            for part, k in zip(parts, predictors, strict=True)
        ]
        return jax.tree.unflatten(layout.treedef, coefs)
