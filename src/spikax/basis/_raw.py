"""Functions of a value as it is: itself, its category, its past, or nothing at all."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax.basis._functions import Function, check_count


@dataclass(frozen=True)
class Identity(Function):
    """The value itself."""

    @property
    def n_basis_funcs(self) -> int:
        """One."""
        return 1

    def __call__(self, x: jax.Array) -> jax.Array:
        return x[None]


@dataclass(frozen=True)
class Nothing(Function):
    """No function at all."""

    @property
    def n_basis_funcs(self) -> int:
        """None."""
        return 0

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.zeros(0, x.dtype)


@dataclass(frozen=True)
class Lags(Function):
    """One function for each sample of a window, one there and zero at all others.

    Parameters
    ----------
    window_size : int
        Length of the window, in samples: the number of functions.
    """

    window_size: int

    def __post_init__(self):
        check_count("window_size", self.window_size, 1, "it is the length of the filters")

    @property
    def n_basis_funcs(self) -> int:
        """As many as the window has samples."""
        return self.window_size

    def __call__(self, u: jax.Array) -> jax.Array:
        nearest = jnp.round(u * (self.window_size - 1))
        return (nearest == np.arange(self.window_size)).astype(jnp.result_type(u, float))


@dataclass(frozen=True)
class OneHot(Function):
    """One function for each category, of the category's place among them.

    Parameters
    ----------
    categories : int or list
        The categories, each once: numbers or strings. `n` is 0 to n - 1.
    """

    categories: Any

    def __post_init__(self):
        categories = self.categories
        if isinstance(categories, int | np.integer):
            check_count("categories", categories, 1, "it is how many categories there are")
            categories = range(int(categories))
        named = np.asarray(categories)
        if isinstance(categories, str) or named.ndim != 1 or named.size == 0:
            raise ValueError(
                f"categories is {self.categories!r}, but must be a list of at least one number "
                "or string, or how many whole numbers from 0 on."
            )
        if len(np.unique(named)) < named.size:
            raise ValueError(f"categories is {self.categories!r}, but names one of them twice.")
        object.__setattr__(self, "categories", tuple(named.tolist()))

    def places(self, x: np.ndarray) -> np.ndarray:
        """Return the place of each value among the categories, -1 for those of none."""
        named = np.array(self.categories)
        if x.dtype == object:
            x = np.array(x.tolist(), None if x.size else named.dtype)
        if (x.dtype.kind == "U") != (named.dtype.kind == "U") or x.dtype.kind not in "biufU":
            raise TypeError(
                f"The samples are {x.dtype}, but the categories are {named.dtype}: "
                f"{list(self.categories)}. Name the categories as the samples do."
            )
        order = np.argsort(named)
        nearest = order[np.searchsorted(named[order], x).clip(max=named.size - 1)]
        return np.where(named[nearest] == x, nearest, -1)

    @property
    def n_basis_funcs(self) -> int:
        """As many as there are categories."""
        return len(self.categories)

    def __call__(self, u: jax.Array) -> jax.Array:
        return (u == np.arange(self.n_basis_funcs)).astype(jnp.result_type(u, float))
