"""From checked arrays to what a fit minimises: an objective, samples, and their units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.dtypes import canonicalize_dtype

from spikax._inputs import Data
from spikax.core.hessians import Groups, Precomputed
from spikax.core.objective import Objective
from spikax.core.penalties import NO_PENALTY, Penalty
from spikax.core.samples import Samples
from spikax.core.standardise import (
    Standardisation,
    evaluated_design,
    held_design,
    to_blocks,
)
from spikax.core.streamed import Observed, Streamed
from spikax.design import blocks, without_copy
from spikax.observation_models import Likelihood
from spikax.stores import StoredFeatures


class Problem(NamedTuple):
    """What a model makes of data."""

    objective: Objective
    samples: Samples
    precomputed: Precomputed
    standardisation: Standardisation


def assemble(
    data: Data,
    *,
    mask: np.ndarray | None,
    penalty: Penalty,
    fit_intercept: bool,
    likelihood: Likelihood,
    standardisation: Standardisation | None = None,
    normaliser: Any = None,
) -> Problem:
    """Build objective and samples of a fit.

    Parameters
    ----------
    data
        Samples, with NaN where they are missing.
    mask
        As `_coefficients` checked it. A column is that of a predictor: those of all neurons
        for the first one come first.
    penalty
        Built from the user's strength.
    standardisation
        Units of the standardised features, None to take those of the data.
    normaliser
        What sums of weighted losses are divided by, a scalar or (n_neurons,), in the units of the
        user's weights; None (default) is each neuron's total weight.
    """
    dtype = canonicalize_dtype(float)
    p, n_neurons = data.X.shape[1], data.y.shape[1]
    if p == 0 and not fit_intercept:
        raise ValueError(
            "X has no columns and fit_intercept is False, so there is nothing to fit. Fit an "
            "intercept, or pass features."
        )
    n_predictors = likelihood.n_predictors
    # Without a penalty or a mask, coefficients may be sought in any coordinates.
    free = mask is None and all(not np.any(leaf) for leaf in jax.tree.leaves(penalty))
    samples, standardisation = lay_out(
        data, n_predictors, standardisation, fit_intercept, penalty.ties(p), free
    )
    scale = np.where(np.isfinite(standardisation.scale), standardisation.scale, 1)
    kept = free_parameters(mask, p, n_predictors * n_neurons, fit_intercept)
    kept = kept.reshape(-1, n_neurons)
    sum_to_zero = None
    if likelihood.family.sum_to_zero:
        sum_to_zero = _sum_to_zero(kept, penalty, n_predictors).astype(dtype)
    total: Any = samples.total_weight
    if normaliser is not None:
        total = np.broadcast_to(normaliser / data.mean_weight, n_neurons).astype(dtype)
    arrays: dict[str, Any] = {
        "likelihood": likelihood.for_neurons(n_neurons, dtype),
        "penalty": jax.tree.map(lambda a: a.astype(dtype) if a.dtype.kind == "f" else a, penalty),
        "scale": np.repeat(scale, n_predictors)[:, None].astype(dtype),
        "mask": kept.astype(dtype),
        "normaliser": total,
        "sum_to_zero": sum_to_zero,
    }
    groups = _groups(mask, penalty, p, n_neurons, n_predictors)
    return Problem(Objective(**arrays), samples, Precomputed(groups), standardisation)


def lay_out(
    data: Data,
    n_predictors: int,
    standardisation: Standardisation | None,
    center: bool = True,
    ties: np.ndarray | None = None,
    free: bool = False,
) -> tuple[Samples, Standardisation]:
    """Lay samples out in blocks; all but the first three serve to find the standardisation."""
    # Solvers count in nats of samples, so weights are taken relative to their mean.
    weight = data.weight
    if data.weights is not None:
        weight = weight / data.mean_weight[: weight.shape[1]]
    rows = np.any(weight > 0, axis=1)
    rows = None if rows.all() else rows
    if not isinstance(data.X, np.ndarray):
        grid = data.X.blocks
        design, standardisation = evaluated_design(data.X, rows, standardisation, center, ties)
    else:
        grid = blocks(len(data.X))
        design, standardisation = held_design(data.X, rows, standardisation, center, ties, free)
    dtype = canonicalize_dtype(float)

    def laid(array: np.ndarray, rows: Callable | None = None) -> Any:
        return without_copy(to_blocks(rows or array.__getitem__, array.shape, grid, dtype))

    def observed(piece: slice) -> np.ndarray:
        some = data.y[piece]
        return some if data.valid is None else np.where(weight[piece] > 0, some, 0)

    offset = data.offset
    if offset is not None:
        offset = laid(np.where(np.isfinite(offset), offset, 0))
        if n_predictors > 1:
            offset = offset.reshape(len(offset), n_predictors, -1, offset.shape[2])
    total = weight.sum(axis=0)
    at_hand = not isinstance(data.X, StoredFeatures)
    if at_hand:
        y = laid(data.y, observed)
    else:
        counted = None if data.valid is None else weight > 0
        y = Observed(data.y, counted, grid, np.dtype(dtype), np.arange(data.y.shape[1]))
    samples: dict[str, Any] = {
        "y": y,
        "weights": laid(weight),
        "offset": offset,
        "total_weight": np.full(data.y.shape[1], np.where(total > 0, total, 1), dtype),
        "n_observations": data.n_observations.astype(dtype),
    }
    kind = Samples if at_hand else Streamed
    return kind(X=design, **samples), standardisation


def free_parameters(
    mask: np.ndarray | None, p: int, n_columns: int, fit_intercept: bool
) -> np.ndarray:
    """Tell which parameters are fitted, (n_features + 1, n_columns)."""
    free = np.ones((p + 1, n_columns))
    if mask is not None:
        free[:-1] = mask
    if not fit_intercept:
        free[-1] = 0
    return free


def _groups(mask: np.ndarray | None, penalty: Penalty, p: int, n_neurons: int, K: int) -> Groups:
    """Group predictors of equal masks, and equal strengths up to a factor."""
    n_columns = K * n_neurons
    columns = [] if mask is None else [mask]
    curvature = penalty.curvature
    # One strength for all features of a neuron is one up to a factor, where none is masked.
    if curvature is not None and curvature.size > 1 and (mask is not None or len(curvature) > 1):
        n_rows = p if len(curvature) == 1 else len(curvature)
        each = np.broadcast_to(curvature, (n_rows, n_neurons))
        each = np.tile(each, K) if len(curvature) == 1 else each.reshape(p, n_columns)
        largest = each.max(axis=0)
        columns.append(np.round(each / np.where(largest > 0, largest, 1), 6))
    if not columns:
        index, representative = np.zeros(n_columns), np.zeros(1)
    else:
        _, representative, index = np.unique(
            np.vstack(columns), axis=1, return_index=True, return_inverse=True
        )
    index = index.reshape(-1).astype(np.int32)
    return Groups(index, representative.astype(np.int32))  # pyright: ignore[reportArgumentType]


def _sum_to_zero(free: np.ndarray, penalty: Penalty, n_predictors: int) -> np.ndarray:
    """Tell where classes are alike but for the data, (n_features + 1, n_neurons)."""
    by_class = free.reshape(-1, n_predictors, free.shape[1])
    squared = np.zeros((1, 1)) if penalty is NO_PENALTY else penalty.curvature
    if not penalty.smooth or squared is None:
        alike = np.zeros((len(by_class) - 1, 1), bool)
    else:
        squared = np.broadcast_to(squared, (len(free) - n_predictors, free.shape[1]))
        squared = squared.reshape(-1, *by_class.shape[1:])
        alike = np.all(squared == squared[:, :1], axis=1)
    alike = np.broadcast_to(alike, (len(by_class) - 1, free.shape[1]))
    alike = np.append(alike, np.ones((1, free.shape[1]), bool), axis=0)
    return np.all(by_class == 1, axis=1) & alike
