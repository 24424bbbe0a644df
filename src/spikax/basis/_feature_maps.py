"""Feature maps: basis functions evaluated at a signal, or a signal convolved with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from math import prod
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from spikax._time_series import TimeSeries, finite_values, values
from spikax.basis._bounds import (
    Bounds,
    Intervals,
    check_bounds,
    check_intervals,
    filled,
    ranges,
    regular_grid,
)
from spikax.basis._functions import BasisFunctions, check_count
from spikax.basis._terms import Filtered, Pointwise, padded, pointwise_term
from spikax.convolve import create_convolutional_predictor, known_windows, window_extent
from spikax.design import Term

Inputs = tuple[Any, ...]


class FeatureMap(Protocol):
    """A map from signals of shape (time, ...) to features, (time, ..., n_basis_funcs)."""

    @property
    def function(self) -> BasisFunctions:
        """The functions that it applies."""
        ...

    def read(self, x: Any, name: str) -> Any:
        """Check a signal and return it as an array or a pynapple object."""
        ...

    def features(self, xs: Inputs) -> jax.Array:
        """Compute the features of signals."""
        ...

    def evaluate(self, xs: Inputs) -> jax.Array:
        """Evaluate the functions at points of any shape."""
        ...

    def term(self, xs: Inputs) -> tuple[Term, np.ndarray]:
        """Give features block by block; also tell which samples have them, (time,)."""
        ...

    def learn_bounds(self, xs: Inputs) -> Intervals | None:
        """Return the bounds to keep for other data, if there are any."""
        ...

    def grid(self, n_points: tuple[int, ...]) -> list[np.ndarray]:
        """Return points along each input that show the functions."""
        ...


def read_signal(x: Any, name: str) -> Any:
    """Check that a signal holds real numbers, none infinite; make an array of a list."""
    array = finite_values(x, name)
    return x if isinstance(x, TimeSeries) else array


@dataclass(frozen=True)
class Evaluation:
    """Evaluation at each sample, once the bounds of the input are mapped to the unit interval."""

    function: BasisFunctions
    bounds: Any = None  # given by the user: one pair for all inputs, or one for each
    fill_value: float = np.nan  # what samples beyond the bounds get
    learned: Intervals | None = None  # bounds of earlier data, used if none are given

    read = staticmethod(read_signal)

    def features(self, xs: Inputs) -> jax.Array:
        return self._over(self._given() or self.learned or ranges(xs, by_channel=True), xs)

    def evaluate(self, xs: Inputs) -> jax.Array:
        learned = self.learned
        for x, (low, _) in zip(xs, learned or (), strict=False):
            if np.ndim(low) and np.shape(low) != np.shape(x)[1:]:
                learned = None  # these are no points of the channels, which have their own ranges
        return self._over(self._given() or learned or ranges(xs), xs)

    def term(self, xs: Inputs) -> tuple[Pointwise, np.ndarray]:
        intervals = self._given() or self.learned or ranges(xs, by_channel=True)
        us, size = self._to_unit(intervals, xs)
        return pointwise_term(self.function, us, (0.0, 1.0), self.fill_value, size)

    def learn_bounds(self, xs: Inputs) -> Intervals | None:
        if self._given() is not None or np.shape(xs[0])[0] == 0:
            return None
        if any(isinstance(values(x, "x"), Tracer) for x in xs):
            raise ValueError(
                "The range of x, to be kept for other data, is unknown while JAX traces it. Pass "
                "bounds=(low, high) to the basis, or call setup_basis with data first."
            )
        return ranges(xs, by_channel=True)

    def grid(self, n_points: tuple[int, ...]) -> list[np.ndarray]:
        return regular_grid(self._given() or self.learned, n_points)

    def _over(self, intervals: Intervals, xs: Inputs) -> jax.Array:
        us, size = self._to_unit(intervals, xs)
        return _evaluate(self.function, tuple(map(jnp.asarray, us)), self.fill_value, size)

    def _to_unit(self, intervals: Intervals, xs: Inputs) -> tuple[tuple[Any, ...], Any]:
        """Map inputs to the unit interval; also return the size of the bounds, for a density."""
        # An input that is constant is at the low end of an interval of length one.
        intervals = tuple((low, high + (high == low)) for low, high in intervals)
        # Before any cast to float32, which would lose a small range around a large value.
        to_unit = _phase if self.function.periodic else _rescale
        us = tuple(
            to_unit(values(x, "x"), *(_along(end) for end in ends))
            for x, ends in zip(xs, intervals, strict=True)
        )
        # f(x) dx = f(u) du, so a density of u is divided by dx / du to be one of x.
        sizes = [high - low for low, high in intervals]
        return us, _along(prod(sizes)) if self.function.density else 1.0

    def _given(self) -> Intervals | None:
        """Return the user's bounds for each input, checked."""
        if self.bounds is None:
            return None
        return check_intervals(self.bounds, self.function.n_inputs)


@dataclass(frozen=True)
class UnscaledEvaluation:
    """Evaluation at each sample as it is, in its own unit."""

    function: BasisFunctions
    bounds: Bounds | None = None  # the interval whose samples are taken; None takes all
    fill_value: float = np.nan  # what samples beyond the bounds get

    read = staticmethod(read_signal)

    def features(self, xs: Inputs) -> jax.Array:
        points = tuple(jnp.asarray(values(x, "x")) for x in xs)
        features = pointwise(self.function, points)
        if self.bounds is None:
            return features
        low, high = check_bounds(self.bounds)
        x = jnp.stack(points)
        inside = jnp.all((x >= low) & (x <= high), axis=0)
        return filled(features, inside, jnp.isnan(x).any(axis=0), self.fill_value)

    evaluate = features

    def term(self, xs: Inputs) -> tuple[Pointwise, np.ndarray]:
        bounds = (-np.inf, np.inf) if self.bounds is None else check_bounds(self.bounds)
        points = tuple(values(x, "x") for x in xs)
        return pointwise_term(self.function, points, bounds, self.fill_value)

    def learn_bounds(self, xs: Inputs) -> None:
        return None

    def grid(self, n_points: tuple[int, ...]) -> list[np.ndarray]:
        bounds = None if self.bounds is None else check_bounds(self.bounds)
        return regular_grid(bounds and (bounds,) * len(n_points), n_points)


# What a basis may pass on to `create_convolutional_predictor`.
CONV_KWARGS = (
    *("predictor_causality", "shift"),
    *("batch_size_samples", "batch_size_channels", "batch_size_basis"),
)


@dataclass(frozen=True)
class Convolution:
    """Convolution with filters: the functions sampled over a window."""

    function: BasisFunctions
    window_size: int  # length of the filters, in samples
    conv_kwargs: Mapping[str, Any] | None = None  # of `create_convolutional_predictor`

    def __post_init__(self):
        check_count(
            "window_size", self.window_size, 1, "it is the length of the filters, in samples"
        )
        for name in self.conv_kwargs or {}:
            if name == "axis":
                raise ValueError(
                    "conv_kwargs has an axis, but a basis convolves along the first one, time: "
                    "transpose the input instead."
                )
            if name not in CONV_KWARGS:
                known = ", ".join(CONV_KWARGS)
                raise ValueError(f"conv_kwargs has {name!r}, which is not one of {known}.")

    read = staticmethod(read_signal)

    def features(self, xs: Inputs) -> jax.Array:
        filtered = create_convolutional_predictor(self.kernel(), *xs, **self.conv_kwargs or {})
        return jnp.asarray(values(filtered, "x"))

    def evaluate(self, xs: Inputs) -> jax.Array:
        return Evaluation(self.function).evaluate(xs)

    def term(self, xs: Inputs) -> tuple[Filtered, np.ndarray]:
        before, after = self.extent()
        x = np.asarray(values(xs[0], "x"))
        channels = x.reshape(len(x), -1)
        known = known_windows(xs[0], channels, before, after)
        return Filtered(padded(channels.T, before, after), self.kernel()), known.all(axis=1)

    def learn_bounds(self, xs: Inputs) -> None:
        return None

    def grid(self, n_points: tuple[int, ...]) -> list[np.ndarray]:
        return regular_grid(None, n_points)

    def kernel(self) -> jax.Array:
        """Return the filters, shape (window_size, n_basis_funcs)."""
        return pointwise(self.function, (jnp.linspace(0, 1, self.window_size),))

    def extent(self) -> tuple[int, int]:
        """Return how many samples before and after its own the window extends."""
        call = signature(create_convolutional_predictor).bind(None, None, **self.conv_kwargs or {})
        call.apply_defaults()
        causality, shift = (call.arguments[name] for name in ("predictor_causality", "shift"))
        return window_extent(self.window_size, causality, shift)


def _along(end: Any) -> Any:
    """Give what channels have an axis of time."""
    return end[None] if np.ndim(end) else end


def _rescale(x: Any, low: float, high: float) -> Any:
    """Map an interval to the unit interval."""
    return (x - low) / (high - low)


def _phase(x: Any, low: float, high: float) -> Any:
    """Return the phase in [0, 1); in float64, since many periods away take digits."""
    return _rescale(x if isinstance(x, Tracer) else np.asarray(x, float), low, high) % 1


@partial(jax.jit, static_argnames="function")
def pointwise(function: BasisFunctions, points: tuple[jax.Array, ...]) -> jax.Array:
    """Evaluate at points of any shape, to (*shape, n_basis_funcs)."""
    features = jax.vmap(function)(*(x.ravel() for x in points))
    return features.reshape(*points[0].shape, function.n_basis_funcs)


@partial(jax.jit, static_argnames="function")
def _evaluate(
    function: BasisFunctions, us: tuple[jax.Array, ...], fill_value: float, size: Any
) -> jax.Array:
    """Evaluate at points of the unit interval, with a value for those beyond it."""
    u = jnp.stack(us)
    inside = jnp.all((u >= 0) & (u <= 1), axis=0)
    # A point beyond the interval is moved into it first, so that gradients stay finite.
    features = pointwise(function, tuple(jnp.where(inside, x, 0) for x in us))
    features = features / jnp.expand_dims(size, tuple(range(jnp.ndim(size), u.ndim)))
    return filled(features, inside, jnp.isnan(u).any(axis=0), fill_value)
