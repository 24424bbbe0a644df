"""Features of a basis as terms of a design, evaluated block by block."""

from dataclasses import dataclass, field
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype

from spikax._pytrees import register
from spikax.basis._functions import BasisFunctions
from spikax.convolve import filter_windows
from spikax.design import Term, aligned_zeros, blocks, without_copy


@register
@dataclass(frozen=True)
class Pointwise:
    """Functions of inputs at the sample itself."""

    points: jax.Array  # where to evaluate, (n_inputs, n_channels, n_samples); NaN: out of bounds
    size: Any  # what divides the functions, () or (n_channels, 1, 1)
    fill_value: Any  # their value out of bounds, ()
    function: BasisFunctions = field(metadata={"static": True})

    def features(self, start, length: int) -> jax.Array:
        """Features of `length` samples from `start` on, (n_channels, n_functions, length)."""
        points = jax.lax.dynamic_slice_in_dim(self.points, start, length, axis=2)
        outside = jnp.isnan(points).any(axis=0)
        # Evaluate at zero where there is no point: NaN would spread to derivatives.
        flat = jnp.where(outside[None], 0, points).reshape(len(points), -1)
        values = jax.vmap(self.function, out_axes=1)(*flat)
        values = jnp.swapaxes(values.reshape(len(values), *outside.shape), 0, 1)
        return jnp.where(outside[:, None], self.fill_value, values / self.size)


@register
@dataclass(frozen=True)
class Filtered:
    """A signal convolved with filters."""

    signal: jax.Array  # as `filter_windows` takes it: window t starts at t, (n_channels, n)
    kernel: jax.Array  # the filters, (window, n_functions)

    def features(self, start, length: int) -> jax.Array:
        """Features of `length` samples from `start` on, (n_channels, n_functions, length)."""
        n_seen = length + len(self.kernel) - 1
        signal = jax.lax.dynamic_slice_in_dim(self.signal, start, n_seen, axis=1)
        return filter_windows(self.kernel, jnp.where(jnp.isnan(signal), 0, signal))


@register
@dataclass(frozen=True)
class Stored:
    """Features that lie in memory, (n_channels, n_functions, n_samples)."""

    values: jax.Array

    def features(self, start, length: int) -> jax.Array:
        """Features of `length` samples from `start` on, (n_channels, n_functions, length)."""
        return jax.lax.dynamic_slice_in_dim(self.values, start, length, axis=2)


@register
@dataclass(frozen=True)
class Concatenated:
    """The functions of several terms of the same channels, side by side."""

    parts: tuple[Term, ...]

    def features(self, start, length: int) -> jax.Array:
        """Features of `length` samples from `start` on, (n_channels, n_functions, length)."""
        return jnp.concatenate([part.features(start, length) for part in self.parts], axis=1)


@register
@dataclass(frozen=True)
class Product:
    """All products of a function of one term with one of the other, which varies fastest."""

    one: Term
    other: Term

    def features(self, start, length: int) -> jax.Array:
        """Features of `length` samples from `start` on, (n_channels, n_functions, length)."""
        one, other = self.one.features(start, length), self.other.features(start, length)
        products = one[:, :, None] * other[:, None]
        return products.reshape(len(one), -1, length)


def pointwise_term(
    function: BasisFunctions,
    xs: tuple[np.ndarray, ...],
    bounds: tuple[float, float] = (-np.inf, np.inf),
    fill_value: float = np.nan,
    size: Any = 1.0,
) -> tuple[Pointwise, np.ndarray]:
    """Make the term of points (time, ...); also tell which samples have features, (time,)."""
    dtype = canonicalize_dtype(float)
    points = np.stack([np.asarray(x, dtype).reshape(len(x), -1).T for x in xs])
    inside = np.all((points >= bounds[0]) & (points <= bounds[1]), axis=0)
    filled = ~np.isnan(points).any(axis=0) & ~np.isnan(fill_value)
    points = np.where(inside, points, np.nan)
    size = np.asarray(size, dtype)
    other = size.reshape(-1, 1, 1) if size.ndim else size, np.asarray(fill_value, dtype)
    return Pointwise(padded(points), *other, function), np.all(inside | filled, axis=0)


def stored_term(features: np.ndarray) -> tuple[Stored, np.ndarray]:
    """Make the term of features (time, ..., n_functions), and tell which samples have them."""
    values = features.reshape(len(features), -1, features.shape[-1])
    known: Any = ~np.isnan(values).any(axis=(1, 2))
    return Stored(padded(values.transpose(1, 2, 0))), known


def padded(array: np.ndarray, before: int = 0, after: int = 0) -> jax.Array:
    """Pad the last axis, that of samples, to what blocks need and so many samples more.

    Negative padding drops samples.
    """
    n = array.shape[-1]
    length = prod(blocks(n, evaluated=True)) + before + after
    room = aligned_zeros((*array.shape[:-1], length), canonicalize_dtype(float))
    first = max(0, before)
    kept = array[..., max(0, -before) :][..., : length - first]
    room[..., first : first + kept.shape[-1]] = kept
    return jnp.asarray(without_copy(room))
