"""How functions are applied to a signal: evaluated at it, run over its past, or looked up."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from math import prod
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from spikax._time_series import TimeSeries, finite_values, raw, values
from spikax.basis._functions import Function, check_count
from spikax.basis._raw import OneHot
from spikax.basis._terms import Filtered, Pointwise, on_device, pointwise_term
from spikax.convolve import create_convolutional_predictor, known_windows, reach
from spikax.design import Term

Bounds = tuple[float, float]
Intervals = tuple[Bounds, ...]  # one for each input
Learned = Intervals | None  # what is kept of the first inputs
Inputs = tuple[Any, ...]


class Way(Protocol):
    """A way to turn signals of shape (time, ...) to features, (time, ..., n_basis_funcs)."""

    # The order in which users pass what they can set; "*" stands for what the function needs.
    parameters: ClassVar[tuple[str, ...]]

    def read(self, x: Any, name: str) -> Any:
        """Check a signal and return it as an array or a pynapple object."""
        ...

    def __call__(self, function: Any, xs: Inputs, learned: Learned) -> jax.Array:
        """Apply `function` to signals."""
        ...

    def at(self, function: Any, xs: Inputs, learned: Learned) -> jax.Array:
        """Evaluate `function` at points."""
        ...

    def term(self, function: Any, xs: Inputs, learned: Learned) -> tuple[Term, np.ndarray]:
        """Apply `function` block by block; also tell which samples have features, (time,)."""
        ...

    def learn(self, function: Any, xs: Inputs) -> Learned:
        """Return the intervals to keep for other data, if there are any."""
        ...

    def grid(self, function: Any, n_points: tuple[int, ...], learned: Learned) -> list[np.ndarray]:
        """Return points along each input that show the functions."""
        ...


def read_signal(x: Any, name: str) -> Any:
    """Check that a signal holds real numbers, none infinite; make an array of a list."""
    array = finite_values(x, name)
    return x if isinstance(x, TimeSeries) else array


@dataclass(frozen=True)
class Evaluate:
    """Evaluate at each sample, once its bounds are mapped to the unit interval.

    Parameters
    ----------
    bounds : (float, float), default None
        The interval that is covered, in the unit of the input; with several inputs, one for all
        or a tuple with one for each. None: the range of the first input that features were
        computed of, or of the last one that `setup_basis` or the `fit` of a transformer saw; it
        is kept for all later ones, `bounds_`.
    fill_value : float, default NaN
        What samples beyond the bounds get. Missing samples (NaN) stay missing. On a circle, no
        sample is beyond them.
    """

    parameters: ClassVar[tuple[str, ...]] = ("*", "bounds", "fill_value", "label")

    bounds: Any = None
    fill_value: float = np.nan

    read = staticmethod(read_signal)

    def __call__(self, function: Function, xs: Inputs, learned: Learned) -> jax.Array:
        us, size = self._to_unit(function, xs, learned)
        return _evaluate(function, tuple(map(jnp.asarray, us)), self.fill_value, size)

    at = __call__

    def term(
        self, function: Function, xs: Inputs, learned: Learned
    ) -> tuple[Pointwise, np.ndarray]:
        us, size = self._to_unit(function, xs, learned)
        return pointwise_term(function, us, (0.0, 1.0), self.fill_value, size)

    def _to_unit(
        self, function: Function, xs: Inputs, learned: Learned
    ) -> tuple[tuple[Any, ...], float]:
        """Map inputs to the unit interval; also say the size of the bounds, for a density."""
        intervals = self._set(function) or learned or _ranges(xs)
        # Before any cast to float32, which would lose a small range around a large value.
        to_unit = _turn if function.periodic else _position
        us = tuple(to_unit(values(x, "x"), *ends) for x, ends in zip(xs, intervals, strict=True))
        return us, prod(high - low for low, high in intervals) if function.density else 1.0

    def learn(self, function: Function, xs: Inputs) -> Learned:
        return None if self._set(function) else _ranges(xs)

    def grid(
        self, function: Function, n_points: tuple[int, ...], learned: Learned
    ) -> list[np.ndarray]:
        return even(self._set(function) or learned, n_points)

    def _set(self, function: Function) -> Intervals | None:
        return None if self.bounds is None else check_intervals(self.bounds, function.n_inputs)


@dataclass(frozen=True)
class Convolve:
    """Filter with the functions, spread over a window of samples.

    Parameters
    ----------
    window_size : int
        Length of the filters, in samples.
    conv_kwargs : dict, default None
        Passed on to `spikax.convolve.create_convolutional_predictor`, e.g.
        `{"predictor_causality": "acausal"}`; None is causal, without the sample itself.
    """

    parameters: ClassVar[tuple[str, ...]] = (
        "n_basis_funcs",
        "window_size",
        "*",
        "label",
        "conv_kwargs",
    )

    window_size: int
    conv_kwargs: Mapping[str, Any] | None = None

    def __post_init__(self):
        check_count(
            "window_size", self.window_size, 1, "it is the length of the filters, in samples"
        )

    read = staticmethod(read_signal)

    def __call__(self, function: Function, xs: Inputs, learned: Learned = None) -> jax.Array:
        kwargs = self.conv_kwargs or {}
        filtered = create_convolutional_predictor(self.kernel(function), *xs, **kwargs)
        return jnp.asarray(values(filtered, "x"))

    def at(self, function: Function, xs: Inputs, learned: Learned = None) -> jax.Array:
        return Evaluate()(function, xs, None)

    def term(
        self, function: Function, xs: Inputs, learned: Learned = None
    ) -> tuple[Filtered, np.ndarray]:
        kernel, (before, after) = self.kernel(function), self.reach()
        x = np.asarray(values(xs[0], "x"))
        channels = x.reshape(len(x), -1)
        known = known_windows(xs[0], channels, before, after)
        padded = on_device(channels.T, before, after)
        return Filtered(padded, kernel), known.all(axis=1)

    def learn(self, function: Function, xs: Inputs) -> None:
        return None

    def grid(
        self, function: Function, n_points: tuple[int, ...], learned: Learned = None
    ) -> list[np.ndarray]:
        return even(None, n_points)

    def reach(self) -> tuple[int, int]:
        """Return how many samples before and after its own the window extends."""
        call = signature(create_convolutional_predictor).bind(None, None, **self.conv_kwargs or {})
        call.apply_defaults()
        causality, shift = (call.arguments[name] for name in ("predictor_causality", "shift"))
        return reach(self.window_size, causality, shift)

    def kernel(self, function: Function) -> jax.Array:
        """Return the filters, shape (window_size, n_basis_funcs)."""
        return pointwise(function, (jnp.linspace(0, 1, self.window_size),))


@dataclass(frozen=True)
class Keep:
    """Evaluate at each sample as it is, in its own unit.

    Parameters
    ----------
    bounds : (float, float), default None
        The interval whose samples are taken, in the unit of the input; None takes all.
    fill_value : float, default NaN
        What samples beyond the bounds get. Missing samples (NaN) stay missing.
    """

    parameters: ClassVar[tuple[str, ...]] = ("*", "bounds", "fill_value", "label")

    bounds: Bounds | None = None
    fill_value: float = np.nan

    read = staticmethod(read_signal)

    def __call__(self, function: Function, xs: Inputs, learned: Learned = None) -> jax.Array:
        points = tuple(jnp.asarray(values(x, "x")) for x in xs)
        return self.fill(pointwise(function, points), points)

    at = __call__

    def term(
        self, function: Function, xs: Inputs, learned: Learned = None
    ) -> tuple[Pointwise, np.ndarray]:
        bounds = (-np.inf, np.inf) if self.bounds is None else check_bounds(self.bounds)
        points = tuple(values(x, "x") for x in xs)
        return pointwise_term(function, points, bounds, self.fill_value)

    def fill(self, features: jax.Array, points: tuple[jax.Array, ...]) -> jax.Array:
        """Put `fill_value` where one of the points is out of bounds."""
        if self.bounds is None:
            return features
        low, high = check_bounds(self.bounds)
        x = jnp.stack(points)
        inside = jnp.all((x >= low) & (x <= high), axis=0)
        return filled(features, inside, jnp.isnan(x).any(axis=0), self.fill_value)

    def learn(self, function: Function, xs: Inputs) -> None:
        return None

    def grid(
        self, function: Function, n_points: tuple[int, ...], learned: Learned = None
    ) -> list[np.ndarray]:
        bounds = None if self.bounds is None else check_bounds(self.bounds)
        return even(bounds and (bounds,) * len(n_points), n_points)


@dataclass(frozen=True)
class LookUp:
    """Look up which of the function's categories each sample is.

    Parameters
    ----------
    out_of_category : bool, default True
        Whether samples may be of no category, and get zeros; if not, they are an error. Missing
        samples (NaN, None or pandas.NA) are missing in either case.
    """

    parameters: ClassVar[tuple[str, ...]] = ("*", "out_of_category", "label")

    out_of_category: bool = True

    def read(self, x: Any, name: str) -> Any:
        if isinstance(x, TimeSeries):
            return x
        array = np.asarray(raw(x, name))
        # NumPy makes text of all that stands among text in a list, of what is missing too.
        of_text = array.dtype.kind == "T" or (
            isinstance(x, list | tuple) and array.dtype.kind == "U"
        )
        return np.asarray(x, object) if of_text else array

    def __call__(self, function: OneHot, xs: Inputs, learned: Learned = None) -> jax.Array:
        place = self._places(function, xs[0])
        features = pointwise(function, (jnp.asarray(np.nan_to_num(place)),))
        return jnp.where(jnp.asarray(np.isnan(place))[..., None], jnp.nan, features)

    at = __call__

    def term(
        self, function: OneHot, xs: Inputs, learned: Learned = None
    ) -> tuple[Pointwise, np.ndarray]:
        return pointwise_term(function, (self._places(function, xs[0]),))

    def _places(self, function: OneHot, x: Any) -> np.ndarray:
        """Return the place of each sample among the categories; -1 is none, NaN is missing."""
        x = np.asarray(raw(x))
        missing = _missing(x)
        place = np.full(x.shape, -1.0)
        place[~missing] = function.places(x[~missing])
        strange = (place < 0) & ~missing
        if np.any(strange) and not self.out_of_category:
            unknown = np.unique(x[strange].astype(str)).tolist()
            raise ValueError(
                f"The samples {unknown} are in none of the categories "
                f"{list(function.categories)}. Add them, or set out_of_category=True."
            )
        place[missing] = np.nan
        return place

    def learn(self, function: OneHot, xs: Inputs) -> None:
        return None

    def grid(
        self, function: OneHot, n_points: tuple[int, ...], learned: Learned = None
    ) -> list[np.ndarray]:
        if n_points != (function.n_basis_funcs,):
            raise ValueError(
                f"{n_points[0]} grid points were asked of {function.n_basis_funcs} categories. "
                "Their grid is the categories themselves: ask for as many points."
            )
        return [np.array(function.categories)]


def _missing(x: np.ndarray) -> np.ndarray:
    if x.dtype != object:
        return x != x
    import pandas as pd

    return np.asarray(pd.isna(x), bool)


def _position(x: Any, low: float, high: float) -> Any:
    return (x - low) / (high - low)


def _turn(x: Any, low: float, high: float) -> Any:
    """Return the place within a period; in float64, since turns far away take digits."""
    return _position(x if isinstance(x, Tracer) else np.asarray(x, float), low, high) % 1


def _ranges(xs: Inputs) -> Intervals:
    return tuple(range_of(values(x, "x")) for x in xs)


def range_of(x: Any) -> Bounds:
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


def even(intervals: Intervals | None, n_points: tuple[int, ...]) -> list[np.ndarray]:
    """Return even points over intervals, or over the unit interval."""
    intervals = intervals or ((0.0, 1.0),) * len(n_points)
    return [np.linspace(*ends, n) for ends, n in zip(intervals, n_points, strict=True)]


def filled(features: jax.Array, inside: jax.Array, missing: jax.Array, fill_value: Any) -> Any:
    """Keep features where points are inside; put NaN where they are missing, else the value."""
    other = jnp.where(missing, jnp.nan, fill_value).astype(features.dtype)
    shape = inside.shape + (1,) * (features.ndim - inside.ndim)
    return jnp.where(inside.reshape(shape), features, other.reshape(shape))


@partial(jax.jit, static_argnames="function")
def pointwise(function: Function, points: tuple[jax.Array, ...]) -> jax.Array:
    """Evaluate at points of any shape, to (*shape, n_basis_funcs)."""
    features = jax.vmap(function)(*(x.ravel() for x in points))
    return features.reshape(*points[0].shape, function.n_basis_funcs)


@partial(jax.jit, static_argnames="function")
def _evaluate(
    function: Function, us: tuple[jax.Array, ...], fill_value: float, size: float
) -> jax.Array:
    u = jnp.stack(us)
    inside = jnp.all((u >= 0) & (u <= 1), axis=0)
    # A point beyond the interval is moved into it first, so that gradients stay finite.
    features = pointwise(function, tuple(jnp.where(inside, x, 0) for x in us)) / size
    return filled(features, inside, jnp.isnan(u).any(axis=0), fill_value)
