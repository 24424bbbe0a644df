"""Bounds of the inputs of a basis: given by the user, or learned from data."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from spikax._time_series import values

Bounds = tuple[float, float]
Intervals = tuple[Bounds, ...]  # one for each input


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


def ranges(xs: tuple[Any, ...]) -> Intervals:
    """Return the range of each input."""
    return tuple(_range(values(x, "x")) for x in xs)


def _range(x: Any) -> Bounds:
    """Return the least and the greatest of the samples that are not NaN."""
    if isinstance(x, Tracer):
        raise ValueError(
            "The range of x is unknown while JAX traces it. Pass bounds=(low, high) to the basis, "
            "or call setup_basis with data first."
        )
    x = np.asarray(x)
    seen = x[~np.isnan(x)]
    if seen.size == 0:
        raise ValueError(
            "x has no samples that are not NaN, so its range is unknown. "
            "Pass bounds=(low, high) to the basis."
        )
    return check_bounds((float(seen.min()), float(seen.max())), "the range of x")


def regular_grid(intervals: Intervals | None, n_points: tuple[int, ...]) -> list[np.ndarray]:
    """Return evenly spaced points over intervals, or over the unit interval."""
    intervals = intervals or ((0.0, 1.0),) * len(n_points)
    return [np.linspace(*ends, n) for ends, n in zip(intervals, n_points, strict=True)]


def filled(features: jax.Array, inside: jax.Array, missing: jax.Array, fill_value: Any) -> Any:
    """Keep features where points are inside; put NaN where they are missing, else the value."""
    other = jnp.where(missing, jnp.nan, fill_value).astype(features.dtype)
    shape = inside.shape + (1,) * (features.ndim - inside.ndim)
    return jnp.where(inside.reshape(shape), features, other.reshape(shape))
