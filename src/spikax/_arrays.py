"""From what users hold to arrays of JAX or NumPy: missing entries are kept, as NaN or None."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import issparse


def as_array(x: Any, name: str) -> Any:
    """Return `x` as a JAX or NumPy array in the machine's byte order.

    Missing entries of masked arrays and of pandas become NaN, or None among objects.
    """
    if isinstance(x, jax.Array):  # or a tracer
        if jnp.issubdtype(x.dtype, jax.dtypes.extended):
            raise TypeError(f"{name} is an array of JAX's random keys: pass an array of numbers.")
        return _as_numpy_has_them(x)
    if x is None:
        raise ValueError(f"{name} is None: pass an array of numbers.")
    if issparse(x):
        raise TypeError(f"{name} is a sparse matrix; pass a dense one, {name}.toarray().")
    try:
        array = np.asanyarray(x)
    except ValueError as error:
        raise ValueError(f"{name} is ragged: its rows have different lengths.") from error
    if array.dtype.names is not None:
        fields = ", ".join(map(repr, array.dtype.names))
        raise TypeError(
            f"{name} is a structured array with the fields {fields}: pass a plain one, such as "
            f"numpy.lib.recfunctions.structured_to_unstructured({name})."
        )
    array = _filled(array) if isinstance(array, np.ma.MaskedArray) else np.asarray(array)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return _without_na(array) if array.dtype == object else _as_numpy_has_them(array)


def _as_numpy_has_them(array: Any) -> Any:
    """Make floats of numbers that NumPy does not know itself, such as bfloat16."""
    foreign = array.dtype.kind == "V" and jnp.issubdtype(array.dtype, np.number)
    return array.astype(float) if foreign else array


def _filled(array: np.ma.MaskedArray) -> np.ndarray:
    if not np.ma.is_masked(array):
        return array.data
    if array.dtype.kind in "biufc":
        return np.where(np.ma.getmaskarray(array), np.nan, array.data)
    return _without(array.data, np.ma.getmaskarray(array))


def _without_na(array: np.ndarray) -> np.ndarray:
    """Put None for the entries that pandas calls missing."""
    import pandas as pd

    missing = np.asarray(pd.isna(array))
    return _without(array, missing) if missing.any() else array


def _without(array: np.ndarray, missing: np.ndarray) -> np.ndarray:
    objects = array.astype(object)
    objects[missing] = None
    return objects


def as_floats(array: Any) -> Any:
    """Give an array of numbers as float32 or float64; what is neither becomes float64."""
    if array.dtype in (np.float32, np.float64):
        return array
    with np.errstate(over="ignore"):  # a long double beyond float64 is infinite
        return array.astype(float)
