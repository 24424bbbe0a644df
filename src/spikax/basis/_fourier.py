"""Sines and cosines of one or several variables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from spikax.basis._atomic import AtomicBasis
from spikax.basis._bounds import Bounds
from spikax.basis._feature_maps import Evaluation
from spikax.basis._functions import BasisFunctions, check_count

Frequencies = int | tuple[int, int] | np.ndarray | Sequence[Any]
FrequencyMask = str | np.ndarray | Sequence[Any] | Callable[..., bool]


@dataclass(frozen=True)
class Fourier(BasisFunctions):
    """Cosines and sines of whole numbers of cycles over the unit interval, or over a cube."""

    periodic: ClassVar[bool] = True

    frequencies: Any
    ndim: int = 1
    frequency_mask: Any = "no-intercept"

    def __post_init__(self):
        check_count("ndim", self.ndim, 1, "it is how many inputs there are")
        kept = _kept(_axes(self.frequencies, self.ndim), self.frequency_mask)
        # Tuples can be hashed, and equal functions share a compiled program.
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
        cycles = np.array(self.frequencies, int).reshape(-1, self.ndim)
        # Whole cycles are dropped first, so that large frequencies lose nothing in float32.
        phase = sum((k * x) % 1 for k, x in zip(cycles.T, u, strict=True))
        angle = 2 * np.pi * jnp.asarray(phase)
        return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)[np.any(cycles != 0, axis=1)]])


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
    """Return the frequencies along one input."""
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
    """Return an array of zeros and ones as flags of the combinations."""
    array = np.asarray(mask)
    if array.shape != shape or not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"frequency_mask is {mask!r}, but must be 'no-intercept', 'all', a function of the "
            f"frequencies, or an array of zeros and ones of shape {shape}."
        )
    return array.astype(bool).ravel()


class FourierEval(AtomicBasis):
    r"""Cosines and sines of one variable, or waves over several, such as position in a box.

    `bounds` are one period: (0, 2 pi) for an angle in radians.

    Parameters
    ----------
    frequencies : int, (int, int), array of int, or a list with one of these for each input
        Cycles over the bounds: `n` is 0 to n - 1, a pair `(low, high)` is low to high - 1, an
        array is taken as it is. With several inputs, all combinations are taken.
    ndim : int, default 1
        How many inputs there are.
    bounds : (float, float), default None
        The interval that is covered, in the unit of the input; with several inputs, one for all
        or a tuple with one for each. None: the range of the first input that features were
        computed of, or of the last one that `setup_basis` or the `fit` of a transformer saw; it
        is kept for all later ones, `bounds_`.
    frequency_mask : {"no-intercept", "all"}, array or callable, default "no-intercept"
        Which combinations to keep: all but the constant function, all, those where an array of
        zeros and ones has a one (one axis for each input), or those for which a function of the
        frequencies, one argument for each input, is true.
    label : str, default None
        A name for the basis; None is the name of the class.

    Raises
    ------
    ValueError
        When used, if a parameter is out of its range.

    Notes
    -----
    For frequencies :math:`k`, the functions of :math:`u` in :math:`[0, 1]^d`, to which the bounds
    of the :math:`d` inputs are mapped, are :math:`\cos(2 \pi k \cdot u)` for all :math:`k`, then
    :math:`\sin(2 \pi k \cdot u)` for all but :math:`k = 0`. A negative frequency in one of several
    inputs gives waves in another direction; :math:`k` and :math:`-k` give the same functions up to
    sign.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import FourierEval
    >>> phase = np.linspace(0, 2 * np.pi, 5)
    >>> X = FourierEval(2, bounds=(0, 2 * np.pi)).compute_features(phase)
    >>> print(np.asarray(X).round(2) + 0.0)
    [[ 1.  0.]
     [ 0.  1.]
     [-1.  0.]
     [ 0. -1.]
     [ 1.  0.]]
    >>> x, y = np.random.default_rng(0).random((2, 100))
    >>> FourierEval(3, ndim=2, bounds=(0, 1)).compute_features(x, y).shape
    (100, 16)
    """

    def __init__(
        self,
        frequencies: Frequencies,
        ndim: int = 1,
        bounds: Bounds | tuple[Bounds, ...] | None = None,
        frequency_mask: FrequencyMask | None = "no-intercept",
        label: str | None = None,
    ):
        self.frequencies = frequencies
        self.ndim = ndim
        self.bounds = bounds
        self.frequency_mask = frequency_mask
        self.label = label

    @property
    def n_basis_funcs(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many functions there are."""
        return self._feature_map().function.n_basis_funcs

    @property
    def frequencies(self) -> list[np.ndarray]:
        """The frequencies along each input, in cycles over its bounds."""
        return [np.array(axis) for axis in _axes(self._frequencies, self.ndim)]

    @frequencies.setter
    def frequencies(self, frequencies: Frequencies) -> None:
        self._frequencies = frequencies

    @property
    def masked_frequencies(self) -> np.ndarray:
        """The combinations that the mask keeps, shape (ndim, n_combinations)."""
        kept = _kept(_axes(self._frequencies, self.ndim), self.frequency_mask)
        return np.array(kept).T

    def _feature_map(self) -> Evaluation:
        function = Fourier(self._frequencies, self.ndim, self.frequency_mask)
        return Evaluation(function, self.bounds, learned=self._learned)
