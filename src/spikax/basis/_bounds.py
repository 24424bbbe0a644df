"""Bounds of the inputs of a basis: given by the user, or learned from data."""

from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from spikax._time_series import values

Bounds = tuple[float, float]
# One for each input; those of channels are arrays of the shape of a sample.
Intervals = tuple[tuple[Any, Any], ...]


def check_bounds(bounds: Any, name: str = "bounds") -> Bounds:
    """Return `bounds` as two floats, or refuse them."""
    try:
        low, high = map(float, bounds)
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(
            f"{name} is {bounds!r}, but must be two finite numbers, the lower first. "
            "Pass bounds=(low, high) to the basis."
        )
    return low, high


def check_intervals(bounds: Any, n_inputs: int) -> Intervals:
    """Return bounds for each input, from one pair for all or a pair for each."""
    if n_inputs > 1 and np.shape(bounds) == (n_inputs, 2):
        return tuple(map(check_bounds, bounds))
    return (check_bounds(bounds),) * n_inputs


def ranges(xs: tuple[Any, ...], by_channel: bool = False) -> Intervals:
    """Return the range of each input, or of each of its channels."""
    return tuple(_range(values(x, "x"), by_channel) for x in xs)


def _range(x: Any, by_channel: bool) -> tuple[Any, Any]:
    """Return the least and the greatest of the samples that are not NaN."""
    axis = 0 if by_channel and prod(x.shape[1:]) > 1 else None
    if isinstance(x, Tracer):
        return jnp.nanmin(x, axis), jnp.nanmax(x, axis)
    x = np.asarray(x)
    if x.size == 0:
        return 0.0, 1.0
    if np.isnan(x).all(axis).any():
        raise ValueError(
            "x has no samples that are not NaN, so its range is unknown. "
            "Pass bounds=(low, high) to the basis."
        )
    low, high = np.nanmin(x, axis), np.nanmax(x, axis)
    return (float(low), float(high)) if axis is None else (low.astype(float), high.astype(float))


def regular_grid(intervals: Intervals | None, n_points: tuple[int, ...]) -> list[np.ndarray]:
    """Return evenly spaced points over intervals, or over that of [0, 1] which they map to."""
    if intervals is None or any(np.ndim(low) for low, _ in intervals):
        intervals = ((0.0, 1.0),) * len(n_points)
    return [np.linspace(*ends, n) for ends, n in zip(intervals, n_points, strict=True)]


def filled(features: jax.Array, inside: jax.Array, missing: jax.Array, fill_value: Any) -> Any:
    """Keep features where points are inside; put NaN where they are missing, else the value."""
    other = jnp.where(missing, jnp.nan, fill_value).astype(features.dtype)
    shape = inside.shape + (1,) * (features.ndim - inside.ndim)
    return jnp.where(inside.reshape(shape), features, other.reshape(shape))
