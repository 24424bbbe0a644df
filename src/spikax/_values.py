"""Checks of the values of arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spikax.observation_models import Observations

_ROWS = 1 << 18


def column_of(name: str, n_columns: int, column: int) -> str:
    """Name a column of an argument that has names for its neurons."""
    return name if n_columns == 1 else f"column {column} of {name}"


def finite_rows(array: np.ndarray, describe: Callable) -> np.ndarray | None:
    """Mark the entries that are not NaN, None where all are; refuse infinity, saying where."""
    # A sum meets every entry, and is finite only if all are.
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(array.sum()):
            return None
    infinite = np.argwhere(np.isinf(array))
    if infinite.size:
        row, column = infinite[0]
        raise ValueError(
            f"{describe(column)} is {array[row, column]} in row {row}"
            f" ({len(infinite)} infinite in all). Replace infinity, or set it to NaN to have the "
            "row ignored."
        )
    missing = np.isnan(array)
    return ~missing if missing.any() else None


def check_support(y: np.ndarray, family: Observations, single: bool) -> None:
    """Refuse observations that the family gives no probability."""
    n_wrong, first = 0, None
    for start in range(0, len(y), _ROWS):  # so that what tells them needs little room
        some = y[start : start + _ROWS]
        wrong = ~(family.allows(some) | np.isnan(some))
        if np.any(wrong):
            n_wrong += int(np.sum(wrong))
            first = np.argwhere(wrong)[0] + [start, 0] if first is None else first
    if first is not None:
        row, neuron = first
        where = f"row {row}" + ("" if single else f" of neuron {neuron}")
        raise ValueError(
            f"y holds {y[row, neuron]:g} in {where}, but {family.name} observations "
            f"must be {family.support} ({n_wrong} wrong in all). Clean y, or choose another "
            "observation_model."
        )
