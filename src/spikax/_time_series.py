"""Time series as arrays: the values and epochs of pynapple objects, and the way back."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike


@runtime_checkable
class TimeSeries(Protocol):
    """What this library reads of pynapple's Tsd, TsdFrame and TsdTensor."""

    t: np.ndarray
    d: Any
    time_support: Any


class Epochs(NamedTuple):
    """The samples of each epoch: `first` up to, not including, `stop`; both (n_epochs,)."""

    first: np.ndarray
    stop: np.ndarray


def check_same_times(name: str, series: Any, other_name: str, other: Any) -> None:
    """Refuse two time series that are not on one time axis."""
    t, u = series.t, other.t
    if t.shape != u.shape or not np.allclose(t, u, rtol=0, atol=1e-6):
        raise ValueError(
            f"{name} and {other_name} have different time axes: {_span(t)} and {_span(u)}. "
            "Restrict or interpolate them to one another first."
        )


def _span(t: np.ndarray) -> str:
    return f"{t.size} samples" + (f" from {t[0]:g} to {t[-1]:g} s" if t.size else "")


def raw(x: Any) -> Any:
    """Return `x` as a JAX or NumPy array; JAX arrays and tracers stay what they are."""
    array = x.d if isinstance(x, TimeSeries) else x
    return array if isinstance(array, jax.Array) else np.asarray(array)


def values(x: Any, name: str) -> Any:
    """Return `x` as a floating JAX or NumPy array."""
    array = raw(x)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (np.bool_, np.integer, np.floating)):
        raise TypeError(
            f"{name} has dtype {array.dtype}, but real numbers are needed. "
            "Convert it to numbers first, e.g. with `.astype(float)`."
        )
    wide = jnp.issubdtype(array.dtype, np.floating) and array.dtype.itemsize >= 4
    return array if wide else array.astype(float)


def finite_values(x: Any, name: str) -> Any:
    """Return `values`, once none of them is known to be infinite; NaN is a missing sample."""
    array = values(x, name)
    if not isinstance(array, Tracer):
        infinite = np.isinf(np.asarray(array))
        if infinite.any():
            where = tuple(int(i) for i in np.argwhere(infinite)[0])
            raise ValueError(
                f"{name} is infinite at {where}. Correct it, or set it to NaN to leave it out."
            )
    return array


def epochs(x: Any, n_samples: int) -> Epochs:
    """Return the samples of each epoch of `x`; an array is one epoch."""
    if not isinstance(x, TimeSeries):
        return Epochs(np.array([0]), np.array([n_samples]))
    support = x.time_support
    return Epochs(
        np.searchsorted(x.t, support.start, side="left"),
        np.searchsorted(x.t, support.end, side="right"),
    )


def like(array: ArrayLike, x: Any) -> Any:
    """Give `array` the time axis and epochs of `x`, if `x` is a time series."""
    if not isinstance(x, TimeSeries):
        return array
    import pynapple as nap

    kind = {1: nap.Tsd, 2: nap.TsdFrame}.get(np.ndim(array), nap.TsdTensor)
    return kind(t=x.t, d=np.asarray(array), time_support=x.time_support)
