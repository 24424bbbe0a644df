"""From checked arrays to a standardised, padded problem, and from its solution back.

Columns are centred and scaled once, on the host and in the precision of the input, so that a
float32 fit loses nothing of a column of mean 1e4 and deviation 0.5. The penalty moves to the
strength of the scaled coefficients and keeps meaning the user's units.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype
from scipy.linalg import cho_solve, qr, solve_triangular
from scipy.linalg.lapack import dpstrf  # pyright: ignore[reportAttributeAccessIssue]

from spikax._inputs import Data
from spikax.basis import BasisDesign
from spikax.design import Dense, Design, aligned_zeros, blocks, lend
from spikax.links import InverseLink
from spikax.observation_models import Family
from spikax.problem import Problem
from spikax.regularizer import NO_PENALTY, Penalty

_PIECE = 512


@dataclass(frozen=True)
class Units:
    """Standardised features are `(x - center) / scale`; constant ones have an infinite scale.

    Where they are so close to collinear that single precision would lose what they say, the
    problem's features are `standardised @ basis`.
    """

    center: np.ndarray  # (n_features,)
    scale: np.ndarray  # (n_features,)
    basis: np.ndarray | None = None  # (n_features, n_features)

    def to_user(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (n_features, n_neurons) and intercepts (n_neurons,) of raw features."""
        coef = theta[:-1] if self.basis is None else self.basis @ theta[:-1]
        coef = coef / self.scale[:, None]
        return coef, theta[-1] - self.center @ coef

    def from_user(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """Parameters of the standardised problem."""
        scaled = coef * np.where(np.isfinite(self.scale), self.scale, 0)[:, None]
        if self.basis is not None:
            scaled = np.linalg.lstsq(self.basis, scaled, rcond=None)[0]
        return np.vstack([scaled, intercept + self.center @ coef])


def pad(array: np.ndarray, length: int, dtype) -> np.ndarray:
    """Lengthen an array with rows of zeros."""
    padded = np.zeros((length, *array.shape[1:]), dtype)
    padded[: len(array)] = array
    return padded


def lay_out(
    rows: Callable[[slice], np.ndarray], shape: tuple[int, ...], grid: tuple[int, int], dtype
) -> np.ndarray:
    """Lay an array (n_samples, width) out in blocks (n_blocks, width, block), padded with zeros.

    `rows(piece)` gives a slice of its samples: a few at a time, which stay in the processor's
    cache while they are turned. `grid` is the number and the length of the blocks.
    """
    n_samples, width = shape
    n_blocks, block = grid
    laid = aligned_zeros((n_blocks, width, block), dtype)

    for index, columns in enumerate(laid):
        first = index * block
        for start in range(0, min(block, n_samples - first), _PIECE):
            stop = min(start + _PIECE, block, n_samples - first)
            columns[:, start:stop] = rows(slice(first + start, first + stop)).T
    return laid


def measure(X: np.ndarray, rows: np.ndarray | None, center: bool) -> Units:
    """Find the center and the scale of each column over the rows that count."""
    kept = X if rows is None else X[rows]
    mean = kept.mean(axis=0, dtype=np.float64) if center else np.zeros(X.shape[1])
    # Any scale near the deviation will do, so some rows are enough, unless few of them carry it: a
    # column that is seldom anything but zero, or constant in them, is looked at whole.
    some = kept[:: max(1, len(kept) // 2048)] - mean
    largest = np.abs(some).max(axis=0)
    squares = (some / np.where(largest > 0, largest, 1)) ** 2
    total, fourth = squares.sum(axis=0), np.einsum("tp,tp->p", squares, squares)
    scale = largest * np.sqrt(total / len(some))
    few = np.flatnonzero(~((total**2 > 50 * fourth) & (scale > 1e-6 * np.abs(mean))))
    away = kept[:, few] - mean[few]
    rounding = 4 * np.finfo(X.dtype).eps * np.abs(mean[few])
    spread = np.abs(away).max(axis=0, initial=0)
    deviation = np.sqrt(np.einsum("tp,tp->p", away, away) / len(kept))
    scale[few] = np.where(spread > rounding, deviation, np.inf)
    return Units(mean, scale)


def measure_blocks(X: BasisDesign, rows: np.ndarray | None, center: bool) -> Units:
    """Do the same for a design that is evaluated block by block, in one walk."""
    n, means, squares, low, high = (np.asarray(a, float) for a in X.spread(rows))
    n_counted, share = n.sum(), n / n.sum()
    low, high = low.min(axis=0), high.max(axis=0)
    # As the design will take it: the way back must undo what was subtracted.
    dtype = canonicalize_dtype(float)
    mean = (np.clip(share @ means, low, high) * center).astype(dtype).astype(float)
    scale = np.sqrt(squares.sum(axis=0) / n_counted + share @ (means - mean) ** 2)
    largest = np.maximum(high - mean, mean - low)
    rounding = 4 * jnp.finfo(dtype).eps * np.abs(mean)
    if_tiny = np.where(largest > rounding, largest / np.sqrt(n_counted), np.inf)
    return Units(mean, np.where(scale > 1e-6 * np.abs(mean), scale, if_tiny))


def tie(units: Units, ties: np.ndarray | None) -> Units:
    """Give features that a penalty ties, by their labels, the same scale."""
    if ties is None:
        return units
    finite = np.isfinite(units.scale)
    squares = np.bincount(ties, np.where(finite, units.scale, 0) ** 2)
    common = np.sqrt(squares / np.maximum(np.bincount(ties, finite), 1))
    return replace(units, scale=np.where(finite, common[ties], np.inf))


def measure_batch(
    X: np.ndarray, rows: np.ndarray, center: bool, ties: np.ndarray | None, units: Units | None
) -> Units:
    """Find units for a batch: those of the first, and a scale for what was constant until now."""
    if units is None:
        units = tie(measure(X, rows, center), ties)
        if ties is not None:
            # Tied features have one scale, also those that are constant so far.
            finite = np.isfinite(units.scale)
            common = np.ones(ties.max() + 1)
            common[ties[finite]] = units.scale[finite]
            units = replace(units, scale=common[ties])
        return units
    constant = np.isinf(units.scale)
    if not constant.any():
        return units
    away = X[np.ix_(rows, constant)] - units.center[constant]
    spread = np.sqrt(np.mean(away**2, axis=0, dtype=np.float64))
    rounding = 4 * np.finfo(X.dtype).eps * np.abs(units.center[constant])
    scale = units.scale.copy()
    scale[constant] = np.where(spread > rounding, spread, np.inf)
    return replace(units, scale=scale)


def standardize(X: np.ndarray, rows: np.ndarray | None, units: Units, dtype) -> np.ndarray:
    """Center, scale and lay out the design; rows to ignore become zero."""
    center, scale = units.center.astype(X.dtype), (1 / units.scale).astype(dtype)

    def piece(some: slice) -> np.ndarray:
        if units.basis is None:
            standardised = (X[some] - center).astype(dtype, copy=False)
            standardised *= scale
        else:
            standardised = (X[some] - units.center) / units.scale @ units.basis
        if rows is not None:
            standardised[~rows[some]] = 0
        return standardised

    return lay_out(piece, X.shape, blocks(len(X)), dtype)


def tell_apart(X: np.ndarray, rows: np.ndarray | None, units: Units) -> Units:
    """Give the units a basis if columns of double precision are too close for single precision.

    A column that nearly follows from others is replaced by what it adds to them. A column that
    follows from others, to the precision that the data were written in, is left to the solver.
    """
    p = X.shape[1]
    if p == 0:
        return units
    kept = X if rows is None else X[rows]
    some = kept[:: max(1, len(kept) // max(1000, 2 * p))]
    sample = (some - units.center) / units.scale
    gram = sample.T @ sample
    # Cholesky's factor with pivoting: the columns come in order of what each adds to those before.
    factor, order, rank, _ = dpstrf(gram, tol=1e-6 * gram.diagonal().max())
    if rank in (0, p):
        return units
    clear, close = order[:rank] - 1, order[rank:] - 1
    factor, rest = factor[:rank, :rank], factor[:rank, rank:]
    share = solve_triangular(factor, rest)
    missed = sample[:, close] - sample[:, clear] @ share
    share += cho_solve((factor, False), sample[:, clear].T @ missed)

    spread = np.abs(sample[:, close] - sample[:, clear] @ share).max(axis=0)
    single = (some == some.astype(np.float32)).all(axis=0) & (some != np.rint(some)).any(axis=0)
    written = np.finfo(np.float32 if single.any() else np.float64).eps
    noise = 500 * written * (1 + np.max(np.abs(units.center) / units.scale))
    if not np.any((spread > noise) & (spread < 1e-2)):
        return units

    added = np.eye(p)[:, close]
    added[clear] = -share
    residual = (kept - units.center) / units.scale @ added
    upper: Any
    upper, pivots = qr(residual, mode="r", pivoting=True, check_finite=False)  # pyright: ignore

    length = np.sqrt(len(kept))
    n_told = np.count_nonzero(np.abs(np.diag(upper)) > noise * length)
    told = pivots[:n_told]
    basis = np.eye(p)
    basis[:, close[told]] = (
        length * solve_triangular(upper[:n_told, :n_told].T, added[:, told].T, lower=True).T
    )
    return replace(units, basis=basis)


def held_design(
    X: np.ndarray,
    rows: np.ndarray | None,
    units: Units | None,
    center: bool,
    ties: np.ndarray | None,
    free: bool,
) -> tuple[Design, Units]:
    """Standardise features, in any basis that suits if they are free."""
    if units is None:
        units = tie(measure(X, rows, center), ties)
        if free and X.dtype == np.float64:
            units = tell_apart(X, rows, units)
    return Dense(lend(standardize(X, rows, units, canonicalize_dtype(float)))), units


def evaluated_design(
    X: BasisDesign,
    rows: np.ndarray | None,
    units: Units | None,
    center: bool,
    ties: np.ndarray | None,
) -> tuple[Design, Units]:
    """Do the same for a design that is evaluated block by block, in its own basis."""
    if units is None:
        units = tie(measure_blocks(X, rows, center), ties)
    if units.basis is not None:
        raise ValueError(
            "X is the design of a basis, but an earlier batch was an array of nearly collinear "
            "features, whose coordinates it cannot take. Pass X.compute()."
        )
    return X.evaluated(rows, units.center, units.scale), units


def groups(
    mask: np.ndarray | None, curvature: np.ndarray | None, n_columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Group outputs of equal masks, and equal strengths up to a factor."""
    columns = [np.zeros((1, n_columns))]
    if mask is not None:
        columns.append(mask)
    if curvature is not None and curvature.shape[1] > 1:
        largest = curvature.max(axis=0)
        columns.append(np.round(curvature / np.where(largest > 0, largest, 1), 6))
    _, representative, group = np.unique(
        np.vstack(columns), axis=1, return_index=True, return_inverse=True
    )
    return group.reshape(-1).astype(np.int32), representative.astype(np.int32)


def assemble(
    data: Data,
    *,
    mask: np.ndarray | None,
    penalty: Penalty,
    fit_intercept: bool,
    family: Family,
    link: InverseLink,
    units: Units | None = None,
) -> tuple[Problem, Units]:
    """Build the problem of a fit.

    Parameters
    ----------
    data
        Samples, with NaN where they are missing.
    mask
        As `_coefficients` checked it. A column is that of an output: those of all neurons for the
        first class come first.
    penalty
        Built from the user's strength.
    units
        Units of the standardised features, None to take those of the data.
    """
    dtype = canonicalize_dtype(float)
    p, n_neurons = data.X.shape[1], data.y.shape[1]
    if p == 0 and not fit_intercept:
        raise ValueError(
            "X has no columns and fit_intercept is False, so there is nothing to fit. Fit an "
            "intercept, or pass features."
        )
    n_outputs = family.n_outputs
    n_columns = n_outputs * n_neurons
    # Without a penalty or a mask, coefficients may be sought in any basis.
    free = mask is None and all(not np.any(leaf) for leaf in jax.tree.leaves(penalty))
    samples, units = lay_out_samples(data, n_outputs, units, fit_intercept, penalty.ties(p), free)

    unit = np.where(np.isfinite(units.scale), units.scale, 1)
    curvature = penalty.curvature
    if curvature is not None and len(curvature) > 1:
        curvature = curvature.reshape(p, -1)
    if mask is None and (curvature is None or 1 in curvature.shape):
        group, representative = np.zeros(n_columns, np.int32), np.zeros(1, np.int32)
    else:
        group, representative = groups(mask, curvature, n_columns)
    free = np.ones((p + 1, n_columns))
    if mask is not None:
        free[:-1] = mask
    if not fit_intercept:
        free[-1] = 0
    free = free.reshape(-1, n_neurons)
    balanced = None
    if n_outputs > 1:
        balanced = _balanced(free, penalty, n_outputs).astype(dtype)

    leaves: dict[str, Any] = {
        "mask": free.astype(dtype),
        "penalty": jax.tree.map(lambda a: a.astype(dtype) if a.dtype.kind == "f" else a, penalty),
        "unit": np.repeat(unit, n_outputs)[:, None].astype(dtype),
        "group": group,
        "representative": representative,
        "balanced": balanced,
        "moments": None,
    }
    family = jax.tree.map(
        lambda leaf: np.broadcast_to(np.asarray(leaf, dtype), n_neurons)[:, None], family
    )
    return Problem(**samples, **leaves, family=family, link=link), units


def lay_out_samples(
    data: Data,
    n_outputs: int,
    units: Units | None,
    center: bool = True,
    ties: np.ndarray | None = None,
    free: bool = False,
) -> tuple[dict[str, Any], Units]:
    """Lay out what a problem holds of the samples; all but the first three serve to find units."""
    # Solvers count in nats of samples, so weights are taken relative to their mean.
    weight = data.weight
    if data.weights is not None:
        weight = weight / data.mean_weight[: weight.shape[1]]
    rows = np.any(weight > 0, axis=1)
    rows = None if rows.all() else rows
    if isinstance(data.X, BasisDesign):
        grid = data.X.blocks
        design, units = evaluated_design(data.X, rows, units, center, ties)
    else:
        grid = blocks(len(data.X))
        design, units = held_design(data.X, rows, units, center, ties, free)
    dtype = canonicalize_dtype(float)

    def laid(array: np.ndarray, rows: Callable | None = None) -> Any:
        return lend(lay_out(rows or array.__getitem__, array.shape, grid, dtype))

    def observed(piece: slice) -> np.ndarray:
        some = data.y[piece]
        return some if data.valid is None else np.where(weight[piece] > 0, some, 0)

    offset = data.offset
    if offset is not None:
        offset = laid(np.where(np.isfinite(offset), offset, 0))
        if n_outputs > 1:
            offset = offset.reshape(len(offset), n_outputs, -1, offset.shape[2])
    total = weight.sum(axis=0)
    samples = {
        "X": design,
        "y": laid(data.y, observed),
        "weights": laid(weight),
        "offset": offset,
        "total_weight": np.full(data.y.shape[1], np.where(total > 0, total, 1), dtype),
        "n_observations": data.n_observations.astype(dtype),
    }
    return samples, units


def _balanced(free: np.ndarray, penalty: Penalty, n_outputs: int) -> np.ndarray:
    """Tell where classes are alike but for the data, (n_features + 1, n_neurons)."""
    by_class = free.reshape(-1, n_outputs, free.shape[1])
    squared = np.zeros((1, 1)) if penalty is NO_PENALTY else penalty.curvature
    if not penalty.smooth or squared is None:
        alike = np.zeros((len(by_class) - 1, 1), bool)
    else:
        squared = np.broadcast_to(squared, (len(free) - n_outputs, free.shape[1]))
        squared = squared.reshape(-1, *by_class.shape[1:])
        alike = np.all(squared == squared[:, :1], axis=1)
    alike = np.broadcast_to(alike, (len(by_class) - 1, free.shape[1]))
    alike = np.append(alike, np.ones((1, free.shape[1]), bool), axis=0)
    return np.all(by_class == 1, axis=1) & alike
