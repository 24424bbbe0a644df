"""Columns of a design matrix that a model can tell apart: the others are dropped."""

import warnings
from typing import Any

import numpy as np

from spikax._time_series import finite_values, like
from spikax.basis import Basis

__all__ = [
    "apply_identifiability_constraints",
    "apply_identifiability_constraints_by_basis_component",
]


def apply_identifiability_constraints(
    feature_matrix: Any, add_intercept: bool = True, warn_if_float32: bool = True
) -> tuple[Any, np.ndarray]:
    r"""Drop columns that are combinations of those after them, and of the intercept.

    Parameters
    ----------
    feature_matrix : array or TsdFrame, shape (time, n_features)
        Features. Rows with NaN are not looked at, but stay.
    add_intercept : bool, default True
        Whether the model has an intercept, which is a column of ones.
    warn_if_float32 : bool, default True
        Warn if `feature_matrix` has lost the digits that the decision needs.

    Returns
    -------
    X_kept : array or TsdFrame, shape (time, n_kept)
        The columns that are kept: as many as the rank allows.
    kept_columns : array of int, shape (n_kept,)
        Which these are, in order.

    Raises
    ------
    ValueError
        If `feature_matrix` is not two-dimensional, is infinite somewhere, or has no row without
        NaN.
    TypeError
        If `feature_matrix` does not hold real numbers.

    Warns
    -----
    UserWarning
        If `feature_matrix` is not float64 and `warn_if_float32` is set.

    Notes
    -----
    Decided in float64. Taken from the last to the first, a column is dropped if what is
    orthogonal to the intercept and the kept ones is less than :math:`100\, \epsilon\, p` of its
    length, with the precision :math:`\epsilon` of the features and their number :math:`p`.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import BSplineEval
    >>> from spikax.identifiability_constraints import apply_identifiability_constraints
    >>> X = BSplineEval(5).compute_features(np.linspace(0, 1, 50))  # its rows add up to one
    >>> _, kept = apply_identifiability_constraints(X, warn_if_float32=False)
    >>> print(kept)
    [1 2 3 4]
    """
    array = np.asarray(finite_values(feature_matrix, "feature_matrix"))
    if array.ndim != 2:
        raise ValueError(
            f"feature_matrix has shape {array.shape}, but (time, n_features) is needed."
        )
    if warn_if_float32:
        _warn_of_lost_digits(array)
    kept = _independent(array, add_intercept)
    return like(array[:, kept], feature_matrix), kept


def apply_identifiability_constraints_by_basis_component(
    basis: Basis, feature_matrix: Any, add_intercept: bool = True
) -> tuple[Any, np.ndarray]:
    """Drop dependent columns within each part of a basis and channel, whatever others span.

    Cheaper than `apply_identifiability_constraints`, and it treats all parts alike; but columns of
    different parts may still depend on one another.

    Parameters
    ----------
    basis : Basis
        The basis that computed the features, or has seen inputs of that shape.
    feature_matrix : array or TsdFrame, shape (time, n_output_features)
        Its features. Rows with NaN are not looked at, but stay.
    add_intercept : bool, default True
        Whether the model has an intercept, which is a column of ones.

    Returns
    -------
    X_kept : array or TsdFrame, shape (time, n_kept)
        The columns that are kept.
    kept_columns : array of int, shape (n_kept,)
        Which these are, in order.

    Raises
    ------
    ValueError
        If `feature_matrix` does not have the columns of `basis`, is infinite somewhere, or has no
        row without NaN.
    TypeError
        If `feature_matrix` does not hold real numbers, or `basis` is no basis.

    Warns
    -----
    UserWarning
        If `feature_matrix` is not float64.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> from spikax.basis import BSplineEval
    >>> from spikax.identifiability_constraints import (
    ...     apply_identifiability_constraints_by_basis_component,
    ... )
    >>> basis = BSplineEval(4, label="place") + BSplineEval(5, label="speed")
    >>> with jax.enable_x64(True):
    ...     X = basis.compute_features(*np.random.default_rng(0).random((2, 100)))
    >>> _, kept = apply_identifiability_constraints_by_basis_component(basis, X)
    >>> print(kept)
    [1 2 3 5 6 7 8]
    """
    if not isinstance(basis, Basis):
        raise TypeError(f"basis is {basis!r}, but must be a basis, such as BSplineEval(8).")
    array = np.asarray(finite_values(feature_matrix, "feature_matrix"))
    _warn_of_lost_digits(array)
    columns = np.arange(array.shape[-1])[None]
    kept = [
        channel[_independent(array[:, channel], add_intercept)]
        for block in basis.split_by_feature(columns).values()
        for channel in block.reshape(-1, block.shape[-1])
    ]
    kept = np.concatenate(kept)
    return like(array[:, kept], feature_matrix), kept


def _independent(X: np.ndarray, add_intercept: bool) -> np.ndarray:
    """Return the columns that are independent of those after them, in order."""
    tolerance = 100 * np.finfo(X.dtype).eps * max(X.shape[1], 1)
    X = X[~np.isnan(X).any(axis=1)].astype(float)
    if len(X) == 0:
        raise ValueError(
            "feature_matrix has no row without NaN, so its rank is unknown. Check its edges."
        )
    ones = np.ones((len(X), int(add_intercept)))
    # In these coordinates the columns are as long and as far from one another as before.
    columns = np.transpose(np.linalg.qr(np.hstack([ones, X[:, ::-1]]), mode="r"))
    directions, kept = np.zeros((0, columns.shape[1])), []
    for i, column in enumerate(columns):
        rest = column
        for _ in range(2):  # the second time takes what rounding left
            rest = rest - directions.T @ (directions @ rest)
        length = np.linalg.norm(rest)
        if length > tolerance * np.linalg.norm(column):
            directions = np.vstack([directions, rest / length])
            kept.append(i)
    kept = np.array(kept, int) - int(add_intercept)
    return X.shape[1] - 1 - kept[kept >= 0][::-1]


def _warn_of_lost_digits(X: np.ndarray) -> None:
    if X.dtype != np.float64:
        warnings.warn(
            f"feature_matrix is {X.dtype}: columns that nearly depend on others may be dropped "
            "with them. Compute features with jax.config.update('jax_enable_x64', True).",
            stacklevel=3,
        )
