"""Time series as arrays: the values and epochs of pynapple objects, and the way back."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from spikax._arrays import as_array, as_floats


@runtime_checkable
class TimeSeries(Protocol):
    """What this library reads of pynapple's Tsd, TsdFrame and TsdTensor."""

    t: np.ndarray
    d: Any
    time_support: Any


@runtime_checkable
class Events(Protocol):
    """What tells pynapple's Ts and TsGroup, which are no time series."""

    time_support: Any
    count: Any


@runtime_checkable
class Intervals(Protocol):
    """What tells pynapple's IntervalSet."""

    start: Any
    end: Any
    tot_length: Any


class Epochs(NamedTuple):
    """The samples of each epoch: `first` up to, not including, `stop`; both (n_epochs,)."""

    first: np.ndarray
    stop: np.ndarray
    n_jumps: int = 0  # how many of the epochs begin at a jump in time, inside one of pynapple's


def check_same_times(name: str, series: Any, other_name: str, other: Any) -> None:
    """Refuse two time series that are not on one time axis."""
    t, u = series.t, other.t
    if t.shape != u.shape or not np.allclose(t, u, rtol=0, atol=1e-6):
        raise ValueError(
            f"{name} and {other_name} have different time axes: {_span(t)} and {_span(u)}. "
            "Restrict or interpolate them to one another first."
        )


def check_times(arguments: dict[str, Any]) -> None:
    """Refuse arguments that are time series, by their names, unless on one time axis."""
    timed = [(name, x) for name, x in arguments.items() if is_series(x)]
    for name, x in timed[1:]:
        check_same_times(*timed[0], name, x)


def is_series(x: Any) -> bool:
    """Tell whether `x` is a time series."""
    # To ask an array whether it follows a protocol would take longer than most checks.
    return not (x is None or isinstance(x, np.ndarray)) and isinstance(x, TimeSeries)


def holds_times(x: Any) -> bool:
    """Tell whether `x` is any of pynapple's objects."""
    return isinstance(x, TimeSeries | Events | Intervals)


def _span(t: np.ndarray) -> str:
    return f"{t.size} samples" + (f" from {t[0]:g} to {t[-1]:g} s" if t.size else "")


def raw(x: Any, name: str = "x") -> Any:
    """Return `x` as a JAX or NumPy array; JAX arrays and tracers stay what they are."""
    return as_array(x if isinstance(x, np.ndarray | jax.Array) else _samples(x, name), name)


def _samples(x: Any, name: str) -> Any:
    """Return what a time series holds, and refuse what holds times alone."""
    if isinstance(x, TimeSeries):
        return x.d
    if isinstance(x, Events):
        raise TypeError(
            f"{name} is a {type(x).__name__}: times of events, which are no samples. Count them "
            "in bins with .count(bin_size), or take the values of a time series at these times "
            "with .value_from(series)."
        )
    if isinstance(x, Intervals):
        raise TypeError(
            f"{name} is an {type(x).__name__}: times of epochs, which are no samples. Restrict "
            "time series to them with series.restrict(epochs), or take as a variable which epoch "
            "each sample is in, series.in_interval(epochs)."
        )
    return x


def values(x: Any, name: str) -> Any:
    """Return `x` as a floating JAX or NumPy array."""
    array = raw(x, name)
    try:
        if array.dtype.kind in "cmM":
            raise TypeError("neither complex numbers nor dates are real numbers")
        return as_floats(array)
    except (AttributeError, TypeError, ValueError) as error:
        raise TypeError(
            f"{name} has dtype {array.dtype}, but real numbers are needed. "
            "Convert it to numbers first, e.g. with `.astype(float)`."
        ) from error


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
    """Return the samples of each epoch of `x`; an array is one epoch.

    A jump in time ends an epoch: a step that differs from the usual one, the median, by more than
    40 %. So jitter is let pass, and neither twice nor half the usual step is.
    """
    if not isinstance(x, TimeSeries):
        return Epochs(np.array([0]), np.array([n_samples]))
    support = x.time_support
    first = np.searchsorted(x.t, support.start, side="left")
    stop = np.searchsorted(x.t, support.end, side="right")
    inside = np.ones(max(0, n_samples - 1), bool)
    inside[first[(first > 0) & (first < n_samples)] - 1] = False
    if not inside.any():
        return Epochs(first, stop)
    steps = np.diff(x.t)
    # The lower of two middle ones, since of a step and a jump the step is the usual one.
    usual = np.quantile(steps[inside], 0.5, method="lower")
    jumps = 1 + np.flatnonzero(inside & (np.abs(steps - usual) > 0.4 * usual))
    first, stop = (np.sort(np.concatenate([ends, jumps])) for ends in (first, stop))
    return Epochs(first, stop, len(jumps))


def like(array: ArrayLike, x: Any) -> Any:
    """Give `array` the time axis and epochs of `x`, if `x` is a time series."""
    if not isinstance(x, TimeSeries):
        return array
    import pynapple as nap

    kind = {1: nap.Tsd, 2: nap.TsdFrame}.get(np.ndim(array), nap.TsdTensor)
    return kind(t=x.t, d=np.asarray(array), time_support=x.time_support)
