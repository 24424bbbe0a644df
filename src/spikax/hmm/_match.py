"""The same numbers for the same states in several fits: states have no order of their own."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment

from spikax._time_series import raw
from spikax.hmm._shell import StatesShell


def match_states(model: Any, reference: Any) -> np.ndarray:
    r"""Find the permutation that brings the states of a model closest to those of another.

    Parameters
    ----------
    model, reference
        Two fitted models, whose coefficients and intercepts are compared; or two arrays of
        probabilities of the states of the same samples, (n_samples, n_states), as `smooth_proba`
        gives them, whose overlap is.

    Returns
    -------
    array of int, shape (n_states,)
        For each state of the reference the one of the model that stands for it:
        ``model.reorder(match_states(model, reference))`` numbers them alike.

    Raises
    ------
    ValueError
        If the two have other numbers of states, features or samples.
    TypeError
        If one is a model and the other an array.

    Notes
    -----
    The assignment with the least sum of squared distances, or the largest overlap
    :math:`\sum_t p_{ti} q_{tj}` (Kuhn 1955, Naval Res. Logist. 2, 83).

    Examples
    --------
    >>> import numpy as np
    >>> from spikax import hmm
    >>> proba = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    >>> hmm.match_states(proba[:, ::-1], proba)
    array([1, 0])
    """
    kinds = [isinstance(x, StatesShell) for x in (model, reference)]
    if kinds[0] != kinds[1]:
        raise TypeError("match_states takes two models, or two arrays of probabilities.")
    own, other = (_vectors(x) if kinds[0] else _probabilities(x) for x in (model, reference))
    if own.shape != other.shape:
        raise ValueError(
            f"The states cannot be compared: {own.shape[0]} and {other.shape[0]} states, of "
            f"{own.shape[1]} and {other.shape[1]} numbers each."
        )
    overlap = other @ own.T
    # |a - b|^2 = |a|^2 - 2 a'b + |b|^2
    squares = np.sum(other**2, axis=1)[:, None] + np.sum(own**2, axis=1)[None]
    return linear_sum_assignment(squares - 2 * overlap if kinds[0] else -overlap)[1]


def _vectors(model: StatesShell) -> np.ndarray:
    """Give what is compared of each state, (n_states, n_numbers)."""
    model.fitted()
    axis = 1 if model._single else 2
    leaves = jax.tree.leaves(model.coef_)
    parts = [np.moveaxis(np.asarray(leaf), axis, 0) for leaf in leaves]
    parts.append(np.moveaxis(np.asarray(model.intercept_), axis - 1, 0))
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _probabilities(proba: Any) -> np.ndarray:
    array = np.nan_to_num(np.asarray(raw(proba, "probabilities"), float))
    if array.ndim != 2:
        raise ValueError(
            f"Probabilities must have shape (n_samples, n_states), got {array.shape}."
        )
    return array.T
