"""How a family of functions is applied to a signal: evaluated at it, or run over its past."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np

from spikax._time_series import TimeSeries, values
from spikax.basis._families import Family, check_count
from spikax.convolve import create_convolutional_predictor

Bounds = tuple[float, float]


class Way(Protocol):
    """A way to turn a signal of shape (time, ...) to features, (time, ..., n_basis_funcs)."""

    def __call__(self, family: Family, x: Any) -> jax.Array:
        """Apply `family` to `x`."""
        ...

    def learn_bounds(self, x: Any) -> Bounds | None:
        """Return the bounds to keep for other data, if there are any."""
        ...

    def within(self, bounds: Bounds | None) -> Self:
        """Take `bounds` where none are set."""
        ...


@dataclass(frozen=True)
class Evaluate:
    """Evaluate at each sample, once `bounds` are mapped to the unit interval.

    Without bounds, the range of the samples is taken. Samples beyond bounds get `fill_value`.
    """

    bounds: Bounds | None = None
    fill_value: float = np.nan

    def __post_init__(self):
        if self.bounds is not None:
            check_bounds(self.bounds)

    def __call__(self, family: Family, x: Any) -> jax.Array:
        x = values(x, "x")
        low, high = range_of(x) if self.bounds is None else map(float, self.bounds)
        # Before any cast to float32, which would lose a small range around a large value.
        u = jnp.asarray((x - low) / (high - low))
        return _evaluate(family, u, self.fill_value)

    def learn_bounds(self, x: Any) -> Bounds:
        return range_of(values(x, "x")) if self.bounds is None else self.bounds

    def within(self, bounds: Bounds | None) -> Self:
        return replace(self, bounds=bounds) if self.bounds is None else self


@dataclass(frozen=True)
class Convolve:
    """Filter with the functions, spread over a window of `window_size` samples."""

    window_size: int
    conv_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        check_count(
            "window_size", self.window_size, 1, "it is the length of the filters, in samples"
        )

    def __call__(self, family: Family, x: Any) -> jax.Array:
        x = x if isinstance(x, TimeSeries) else values(x, "x")  # a list would be a pytree
        filtered = create_convolutional_predictor(self.kernel(family), x, **self.conv_kwargs)
        return jnp.asarray(values(filtered, "x"))

    def learn_bounds(self, x: Any) -> None:
        return None

    def within(self, bounds: Bounds | None) -> Self:
        return self

    def kernel(self, family: Family) -> jax.Array:
        """Return the filters, shape (window_size, n_basis_funcs)."""
        return _evaluate(family, jnp.linspace(0, 1, self.window_size), np.nan)


def range_of(x: Any) -> Bounds:
    """Return the least and the greatest of the samples that are not NaN."""
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


@partial(jax.jit, static_argnames="family")
def _evaluate(family: Family, u: jax.Array, fill_value: float) -> jax.Array:
    inside = (u >= 0) & (u <= 1)
    # A point beyond the interval is moved into it first, so that gradients stay finite.
    features = jax.vmap(family)(jnp.where(inside, u, 0).ravel())
    features = features.reshape(*u.shape, family.n_basis_funcs)
    return jnp.where(inside[..., None], features, fill_value)
