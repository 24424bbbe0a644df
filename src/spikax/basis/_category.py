"""Categories as one-hot columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from spikax._time_series import TimeSeries, raw
from spikax.basis._atomic import AtomicBasis
from spikax.basis._feature_maps import Inputs, pointwise
from spikax.basis._functions import BasisFunctions, check_count
from spikax.basis._terms import Pointwise, pointwise_term


@dataclass(frozen=True)
class Indicators(BasisFunctions):
    """One function for each category, of the category's index."""

    categories: Any  # numbers or strings, each once, in order; n is 0 to n - 1

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
        object.__setattr__(self, "categories", tuple(np.sort(named).tolist()))

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Return the index of each value among the categories, -1 for those of none."""
        named = np.array(self.categories)
        if x.dtype == object:
            x = np.array(x.tolist(), None if x.size else named.dtype)
        if (x.dtype.kind == "U") != (named.dtype.kind == "U") or x.dtype.kind not in "biufU":
            raise TypeError(
                f"The samples are {x.dtype}, but the categories are {named.dtype}: "
                f"{list(self.categories)}. Name the categories as the samples do."
            )
        nearest = np.searchsorted(named, x).clip(max=named.size - 1)
        return np.where(named[nearest] == x, nearest, -1)

    @property
    def n_basis_funcs(self) -> int:
        """As many as there are categories."""
        return len(self.categories)

    def __call__(self, u: jax.Array) -> jax.Array:
        return (u == np.arange(self.n_basis_funcs)).astype(jnp.result_type(u, float))


@dataclass(frozen=True)
class OneHotEncoding:
    """Evaluation at the index of each sample among the categories."""

    function: Indicators
    out_of_category: bool = True  # whether samples of no category get zeros, or are an error

    def __post_init__(self):
        if not isinstance(self.out_of_category, bool | np.bool_):
            raise TypeError(
                f"out_of_category must be True or False, got {self.out_of_category!r}."
            )

    def read(self, x: Any, name: str) -> Any:
        if isinstance(x, TimeSeries | Tracer):
            return x
        array = np.asarray(raw(x, name))
        # NumPy makes text of all that stands among text in a list, of what is missing too.
        of_text = array.dtype.kind == "T" or (
            isinstance(x, list | tuple) and array.dtype.kind == "U"
        )
        return np.asarray(x, object) if of_text else array

    def features(self, xs: Inputs) -> jax.Array:
        codes = jnp.asarray(self._codes(xs[0]))
        features = pointwise(self.function, (jnp.nan_to_num(codes),))
        return jnp.where(jnp.isnan(codes)[..., None], jnp.nan, features)

    evaluate = features

    def term(self, xs: Inputs) -> tuple[Pointwise, np.ndarray]:
        return pointwise_term(self.function, (self._codes(xs[0]),))

    def _codes(self, x: Any) -> np.ndarray:
        """Return the index of each sample among the categories; -1 is none, NaN is missing."""
        if isinstance(x, Tracer):
            return self._traced_codes(x)
        x = np.asarray(raw(x))
        missing = _missing(x)
        codes = np.full(x.shape, -1.0)
        codes[~missing] = self.function.codes(x[~missing])
        unknown = (codes < 0) & ~missing
        if np.any(unknown) and not self.out_of_category:
            names = np.unique(x[unknown].astype(str)).tolist()
            raise ValueError(
                f"The samples {names} are in none of the categories "
                f"{list(self.function.categories)}. Add them, or set out_of_category=True."
            )
        codes[missing] = np.nan
        return codes

    def _traced_codes(self, x: jax.Array) -> Any:
        """Return the same while JAX traces: no error tells that a sample has no category."""
        named = np.array(self.function.categories)
        if named.dtype.kind == "U":
            raise TypeError("JAX traces numbers only, but the categories are text.")
        equal = jnp.expand_dims(x, -1) == named.reshape((1,) * x.ndim + (-1,))
        unknown = jnp.where(jnp.isnan(x), jnp.nan, -1.0 if self.out_of_category else jnp.nan)
        return jnp.where(equal.any(axis=-1), jnp.argmax(equal, axis=-1), unknown)

    def learn_bounds(self, xs: Inputs) -> None:
        return None

    def grid(self, n_points: tuple[int, ...]) -> list[np.ndarray]:
        n = self.function.n_basis_funcs
        if n_points != (n,):
            raise ValueError(
                f"{n_points[0]} grid points were asked of {n} categories. "
                "Their grid is the categories themselves: ask for as many points."
            )
        return [np.array(self.function.categories)]


def _missing(x: np.ndarray) -> np.ndarray:
    """Mark what is NaN, None, or missing to pandas."""
    if x.dtype != object:
        return x != x
    import pandas as pd

    return np.asarray(pd.isna(x), bool)


class Category(AtomicBasis):
    """One column for each category of a variable, one where it is that, zero elsewhere.

    Columns are in the order of the categories, by size or by alphabet.

    Parameters
    ----------
    categories : int or list
        The categories, each once: numbers or strings. `n` is 0 to n - 1.
    out_of_category : bool, default True
        Whether samples may be of no category, and get zeros; if not, they are an error. Missing
        samples (NaN, None or pandas.NA) are missing in either case. While JAX traces there are no
        errors, and NaN in their place.
    label : str, default None
        A name for the basis; None is the name of the class.

    Raises
    ------
    ValueError
        When used, if a parameter is out of its range.
    TypeError
        When used, if `out_of_category` is not True or False.

    Examples
    --------
    >>> from spikax.basis import Category
    >>> print(Category(["left", "right"]).compute_features(["right", "left", "none"]))
    [[0. 1.]
     [1. 0.]
     [0. 0.]]
    """

    _accepts_text = True

    def __init__(
        self,
        categories: int | Sequence[Any] | np.ndarray,
        out_of_category: bool = True,
        label: str | None = None,
    ):
        self.categories = categories
        self.out_of_category = out_of_category
        self.label = label

    @property
    def n_basis_funcs(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many functions there are."""
        return self._feature_map().function.n_basis_funcs

    def _feature_map(self) -> OneHotEncoding:
        return OneHotEncoding(Indicators(self.categories), self.out_of_category)
