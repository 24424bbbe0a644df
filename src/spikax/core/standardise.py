"""Features centred and scaled, in blocks, and the way back to the user's units.

Columns are centred and scaled once, on the host and in the precision of the input, so that a
float32 fit loses nothing of a column of mean 1e4 and deviation 0.5. The penalty moves to the
strength of the scaled coefficients and keeps meaning the user's units.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype
from scipy.linalg import cho_solve, qr, solve_triangular
from scipy.linalg.lapack import dpstrf  # pyright: ignore[reportAttributeAccessIssue]

from spikax.design import Dense, Design, FeatureSource, aligned_zeros, blocks, without_copy

_PIECE = 512


@dataclass(frozen=True)
class Standardisation:
    """Standardised features are `(x - center) / scale`; constant ones have an infinite scale.

    Where they are so close to collinear that single precision would lose what they say, the
    features of a fit are `standardised @ rotation`.
    """

    center: np.ndarray  # (n_features,)
    scale: np.ndarray  # (n_features,)
    rotation: np.ndarray | None = None  # (n_features, n_features)

    def to_user(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (n_features, n_neurons) and intercepts (n_neurons,) of raw features."""
        coef = theta[:-1] if self.rotation is None else self.rotation @ theta[:-1]
        coef = coef / self.scale[:, None]
        return coef, theta[-1] - self.center @ coef

    def from_user(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """Parameters of the standardised problem."""
        scaled = coef * np.where(np.isfinite(self.scale), self.scale, 0)[:, None]
        if self.rotation is not None:
            scaled = np.linalg.lstsq(self.rotation, scaled, rcond=None)[0]
        return np.vstack([scaled, intercept + self.center @ coef])


def pad(array: np.ndarray, length: int, dtype) -> np.ndarray:
    """Lengthen an array with rows of zeros."""
    padded = np.zeros((length, *array.shape[1:]), dtype)
    padded[: len(array)] = array
    return padded


def to_blocks(
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


def measure(X: np.ndarray, rows: np.ndarray | None, center: bool) -> Standardisation:
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
    return Standardisation(mean, scale)


def measure_blocks(X: FeatureSource, rows: np.ndarray | None, center: bool) -> Standardisation:
    """Do the same for a design that is evaluated block by block, in one pass."""
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
    return Standardisation(mean, np.where(scale > 1e-6 * np.abs(mean), scale, if_tiny))


def tie(scaling: Standardisation, ties: np.ndarray | None) -> Standardisation:
    """Give features that a penalty ties, by their labels, the same scale."""
    if ties is None:
        return scaling
    finite = np.isfinite(scaling.scale)
    squares = np.bincount(ties, np.where(finite, scaling.scale, 0) ** 2)
    common = np.sqrt(squares / np.maximum(np.bincount(ties, finite), 1))
    return replace(scaling, scale=np.where(finite, common[ties], np.inf))


def measure_batch(
    X: np.ndarray,
    rows: np.ndarray,
    center: bool,
    ties: np.ndarray | None,
    scaling: Standardisation | None,
) -> Standardisation:
    """Standardise a batch: those of the first, and a scale for what was constant until now."""
    if scaling is None:
        scaling = tie(measure(X, rows, center), ties)
        if ties is not None:
            # Tied features have one scale, also those that are constant so far.
            finite = np.isfinite(scaling.scale)
            common = np.ones(ties.max() + 1)
            common[ties[finite]] = scaling.scale[finite]
            scaling = replace(scaling, scale=common[ties])
        return scaling
    constant = np.isinf(scaling.scale)
    if not constant.any():
        return scaling
    away = X[np.ix_(rows, constant)] - scaling.center[constant]
    spread = np.sqrt(np.mean(away**2, axis=0, dtype=np.float64))
    rounding = 4 * np.finfo(X.dtype).eps * np.abs(scaling.center[constant])
    scale = scaling.scale.copy()
    scale[constant] = np.where(spread > rounding, spread, np.inf)
    return replace(scaling, scale=scale)


def standardised_blocks(
    X: np.ndarray, rows: np.ndarray | None, scaling: Standardisation, dtype
) -> np.ndarray:
    """Center, scale and lay out the design; rows to ignore become zero."""
    center, scale = scaling.center.astype(X.dtype), (1 / scaling.scale).astype(dtype)

    def piece(some: slice) -> np.ndarray:
        if scaling.rotation is None:
            standardised = (X[some] - center).astype(dtype, copy=False)
            standardised *= scale
        else:
            standardised = (X[some] - scaling.center) / scaling.scale @ scaling.rotation
        if rows is not None:
            standardised[~rows[some]] = 0
        return standardised

    return to_blocks(piece, X.shape, blocks(len(X)), dtype)


def decorrelate(
    X: np.ndarray, rows: np.ndarray | None, scaling: Standardisation
) -> Standardisation:
    """Rotate the features if columns are too close for single precision.

    A column that nearly follows from others is replaced by what it adds to them. A column that
    follows from others, to the precision that the data were written in, is left to the solver.
    """
    p = X.shape[1]
    if p == 0:
        return scaling
    kept = X if rows is None else X[rows]
    some = kept[:: max(1, len(kept) // max(1000, 2 * p))]
    sample = (some - scaling.center) / scaling.scale
    gram = sample.T @ sample
    # Cholesky's factor with pivoting: the columns come in order of what each adds to those before.
    factor, order, rank, _ = dpstrf(gram, tol=1e-6 * gram.diagonal().max())
    if rank in (0, p):
        return scaling
    clear, close = order[:rank] - 1, order[rank:] - 1
    factor, rest = factor[:rank, :rank], factor[:rank, rank:]
    share = solve_triangular(factor, rest)
    missed = sample[:, close] - sample[:, clear] @ share
    share += cho_solve((factor, False), sample[:, clear].T @ missed)

    spread = np.abs(sample[:, close] - sample[:, clear] @ share).max(axis=0)
    single = (some == some.astype(np.float32)).all(axis=0) & (some != np.rint(some)).any(axis=0)
    written = np.finfo(np.float32 if single.any() else np.float64).eps
    noise = 500 * written * (1 + np.max(np.abs(scaling.center) / scaling.scale))
    if not np.any((spread > noise) & (spread < 1e-2)):
        return scaling

    added = np.eye(p)[:, close]
    added[clear] = -share
    residual = (kept - scaling.center) / scaling.scale @ added
    upper: Any
    upper, pivots = qr(residual, mode="r", pivoting=True, check_finite=False)  # pyright: ignore

    length = np.sqrt(len(kept))
    n_told = np.count_nonzero(np.abs(np.diag(upper)) > noise * length)
    told = pivots[:n_told]
    rotation = np.eye(p)
    rotation[:, close[told]] = (
        length * solve_triangular(upper[:n_told, :n_told].T, added[:, told].T, lower=True).T
    )
    return replace(scaling, rotation=rotation)


def held_design(
    X: np.ndarray,
    rows: np.ndarray | None,
    scaling: Standardisation | None,
    center: bool,
    ties: np.ndarray | None,
    free: bool,
) -> tuple[Design, Standardisation]:
    """Standardise features, in any basis that suits if they are free."""
    if scaling is None:
        scaling = tie(measure(X, rows, center), ties)
        if free and X.dtype == np.float64:
            scaling = decorrelate(X, rows, scaling)
    return Dense(
        without_copy(standardised_blocks(X, rows, scaling, canonicalize_dtype(float)))
    ), scaling


def evaluated_design(
    X: FeatureSource,
    rows: np.ndarray | None,
    scaling: Standardisation | None,
    center: bool,
    ties: np.ndarray | None,
) -> tuple[Design, Standardisation]:
    """Do the same for a design that is evaluated block by block, in its own basis."""
    if scaling is None:
        scaling = tie(measure_blocks(X, rows, center), ties)
    if scaling.rotation is not None:
        raise ValueError(
            "X is the design of a basis, but an earlier batch was an array of nearly collinear "
            "features, whose coordinates it cannot take. Pass X.compute()."
        )
    return X.evaluated(rows, scaling.center, scaling.scale), scaling
