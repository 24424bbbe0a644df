"""Sines and cosines of one or several variables."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from spikax.basis._functions import Function, check_count


@dataclass(frozen=True)
class Fourier(Function):
    r"""Cosines and sines of whole numbers of turns over the interval, or over a box.

    Parameters
    ----------
    frequencies : int, (int, int), array of int, or a list with one of these for each input
        Cycles over the bounds: `n` is 0 to n - 1, a pair `(low, high)` is low to high - 1, an
        array is taken as it is. With several inputs, all combinations are taken.
    ndim : int, default 1
        How many inputs there are.
    frequency_mask : {"no-intercept", "all"}, array or callable, default "no-intercept"
        Which combinations to keep: all but the constant function, all, those where an array of
        zeros and ones has a one (one axis for each input), or those for which a function of the
        frequencies, one argument for each input, is true.

    Notes
    -----
    For frequencies :math:`k`, the functions of :math:`u` in :math:`[0, 1]^d` are
    :math:`\cos(2 \pi k \cdot u)` for all :math:`k`, then :math:`\sin(2 \pi k \cdot u)` for all
    but :math:`k = 0`. A negative frequency in one of several inputs gives waves in another
    direction; :math:`k` and :math:`-k` give the same functions up to sign.
    """

    periodic: ClassVar[bool] = True

    frequencies: Any
    ndim: int = 1
    frequency_mask: Any = "no-intercept"

    def __post_init__(self):
        check_count("ndim", self.ndim, 1, "it is how many inputs there are")
        axes = _axes(self.frequencies, self.ndim)
        kept = _kept(axes, self.frequency_mask)
        object.__setattr__(self, "frequencies", kept)
        object.__setattr__(self, "frequency_mask", "all")

    @property
    def n_inputs(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many inputs a point has."""
        return self.ndim

    @property
    def n_basis_funcs(self) -> int:
        """A cosine and a sine for each frequency, but no sine for zero."""
        return len(self.frequencies) + sum(map(any, self.frequencies))

    def __call__(self, *u: jax.Array) -> jax.Array:
        turns = np.array(self.frequencies, int).reshape(-1, self.ndim)
        # Whole turns go first, so that large frequencies lose nothing in float32.
        phase = sum((k * x) % 1 for k, x in zip(turns.T, u, strict=True))
        angle = 2 * np.pi * jnp.asarray(phase)
        return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)[np.any(turns != 0, axis=1)]])


def _axes(frequencies: Any, ndim: int) -> list[tuple[int, ...]]:
    """Return the frequencies along each input."""
    per_input = frequencies if isinstance(frequencies, list) else [frequencies] * ndim
    if len(per_input) != ndim:
        raise ValueError(
            f"frequencies is {frequencies!r}, but a list needs one entry for each of the {ndim} "
            "inputs. Pass an array to choose the frequencies of one input."
        )
    return [_axis(entry) for entry in per_input]


def _axis(entry: Any) -> tuple[int, ...]:
    numbers = np.asarray(entry)
    is_range = isinstance(entry, tuple) and numbers.shape == (2,)
    whole = numbers.dtype.kind in "iuf" and np.all(numbers == np.round(numbers))
    if not whole or numbers.ndim > 1 or (numbers.ndim == 0 and numbers < 1):
        raise ValueError(
            f"frequencies has {entry!r}, but whole numbers of cycles are needed: a count of at "
            "least 1, a pair (low, high), or an array."
        )
    if numbers.ndim == 0:
        numbers = np.arange(int(numbers))
    elif is_range:
        numbers = np.array(range(int(entry[0]), int(entry[1])))
    if numbers.size == 0 or len(np.unique(numbers)) < numbers.size:
        raise ValueError(
            f"frequencies has {entry!r}, but at least one frequency is needed, and none twice."
        )
    return tuple(int(k) for k in numbers)


def _kept(axes: list[tuple[int, ...]], mask: Any) -> tuple[tuple[int, ...], ...]:
    """Return the combinations of frequencies that the mask keeps."""
    table = list(product(*axes))
    if mask is None or (isinstance(mask, str) and mask == "all"):
        keep = [True] * len(table)
    elif isinstance(mask, str) and mask == "no-intercept":
        keep = [any(frequency) for frequency in table]
    elif isinstance(mask, Callable):
        keep = [bool(mask(*frequency)) for frequency in table]
    else:
        keep = _flags(mask, tuple(map(len, axes)))
    if not any(keep):
        raise ValueError(f"frequency_mask {mask!r} keeps no frequency of {table}. Keep some.")
    return tuple(frequency for frequency, kept in zip(table, keep, strict=True) if kept)


def _flags(mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(mask)
    if array.shape != shape or not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"frequency_mask is {mask!r}, but must be 'no-intercept', 'all', a function of the "
            f"frequencies, or an array of zeros and ones of shape {shape}."
        )
    return array.astype(bool).ravel()
