"""CustomBasis: functions that the user wrote."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax._time_series import raw, values
from spikax.basis._atomic import LeafBasis
from spikax.basis._bounds import Bounds, check_bounds, filled, regular_grid
from spikax.basis._feature_maps import Inputs, read_signal
from spikax.basis._functions import check_count
from spikax.basis._inputs import Shape


class CustomBasis(LeafBasis):
    """Functions of your own, side by side.

    Parameters
    ----------
    funcs : callable or list of callables
        Each takes the inputs and returns an array with the same time axis. Those of its arguments
        that have no default and are not in `basis_kwargs` are the inputs.
    ndim_input : int, default 1
        How many axes of an input a function takes, time included; it is called once for each
        channel of those that follow.
    output_shape : int or tuple of int, default None
        Shape of what a function returns for one sample; None finds out at the first call.
    basis_kwargs : dict, default None
        Passed on to every function.
    pynapple_support : bool, default True
        Whether the basis takes pynapple objects apart, so that functions get arrays; if not,
        functions get the objects themselves, unless they are called channel by channel.
    label : str, default None
        A name for the basis; None is the name of the class.
    is_complex : bool, default False
        Whether functions may return complex numbers.
    bounds : (float, float), default None
        The interval whose samples are taken, in the unit of the input; None takes all.
    fill_value : float, default NaN
        What samples beyond the bounds get.

    Raises
    ------
    TypeError
        When used, if `funcs` are not callables, or return complex numbers unasked.
    ValueError
        When used, if a function returns another number of samples or another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import CustomBasis
    >>> powers = CustomBasis([lambda x, p=p: x**p for p in (1, 2)], label="speed")
    >>> print(powers.compute_features(np.array([1.0, 2.0, 3.0])))
    [[1. 1.]
     [2. 4.]
     [3. 9.]]
    """

    _output_shape: Shape | None = None  # what a function was seen to return for one sample

    def __init__(
        self,
        funcs: Callable[..., Any] | Sequence[Callable[..., Any]],
        ndim_input: int = 1,
        output_shape: int | Shape | None = None,
        basis_kwargs: Mapping[str, Any] | None = None,
        pynapple_support: bool = True,
        label: str | None = None,
        is_complex: bool = False,
        bounds: Bounds | None = None,
        fill_value: float = np.nan,
    ):
        self.funcs = funcs
        self.ndim_input = ndim_input
        self.output_shape = output_shape
        self.basis_kwargs = basis_kwargs
        self.pynapple_support = pynapple_support
        self.label = label
        self.is_complex = is_complex
        self.bounds = bounds
        self.fill_value = fill_value

    @property
    def n_basis_funcs(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many functions there are."""
        return len(self._funcs())

    @property
    def n_inputs(self) -> int:
        """How many inputs each function takes."""
        given = self.basis_kwargs or {}
        if not isinstance(given, Mapping):
            raise ValueError(
                f"basis_kwargs is {given!r}, but must be a dictionary of arguments by name, which "
                "every function gets."
            )
        counts = [_n_required(func, given) for func in self._funcs()]
        if len(set(counts)) > 1 or counts[0] < 1:
            raise ValueError(
                f"The functions of {self.label} take {counts} inputs, but all need the same "
                "number, at least one. Give other arguments a default, or a value in basis_kwargs."
            )
        return counts[0]

    def _read(self, x: Any, name: str) -> Any:
        check_count("ndim_input", self.ndim_input, 1, "time is an axis of every input")
        x = read_signal(x, name)
        if np.ndim(raw(x)) < self.ndim_input:
            raise ValueError(
                f"{name} has shape {np.shape(raw(x))}, but ndim_input is {self.ndim_input}. "
                "Pass an input with as many axes, time included."
            )
        return x

    def _features(self, xs: Inputs) -> jax.Array:
        points = [values(x, "x") for x in xs]
        own, channels = points[0].shape[: self.ndim_input], points[0].shape[self.ndim_input :]
        if channels:
            flat = [x.reshape(*own, prod(channels)) for x in points]
            calls = [tuple(x[..., c] for x in flat) for c in range(prod(channels))]
        else:
            calls = [tuple(points) if self.pynapple_support else xs]
        blocks = [jnp.stack([self._call(f, each) for f in self._funcs()], -1) for each in calls]
        self._output_shape = blocks[0].shape[1:-1]
        features = jnp.stack(blocks, axis=-2)  # (time, *output, channel, function)
        features = features.reshape(*features.shape[:-2], *channels, features.shape[-1])
        low, high = (-np.inf, np.inf) if self.bounds is None else check_bounds(self.bounds)
        x = jnp.moveaxis(jnp.stack([jnp.asarray(x) for x in points]), 1, 0)
        own_axes = tuple(range(1, self.ndim_input + 1))  # those of inputs, and of one's sample
        inside, missing = (x >= low) & (x <= high), jnp.isnan(x)
        inside, missing = inside.all(axis=own_axes), missing.any(axis=own_axes)
        # An axis for each of the output, between time and channels.
        shape = (len(x), *(1,) * len(self._output_shape), *channels)
        inside, missing = (flags.reshape(shape) for flags in (inside, missing))
        return filled(features, inside, missing, self.fill_value)

    _values = _features

    def _grid(self, n_points: tuple[int, ...]) -> list[Any]:
        if self.ndim_input > 1:
            raise ValueError(
                f"{self.label} takes inputs of {self.ndim_input} axes, for which there is no "
                "grid. Call evaluate with points of your own."
            )
        bounds = None if self.bounds is None else check_bounds(self.bounds)
        return regular_grid(bounds and (bounds,) * len(n_points), n_points)

    def _setup(self, xs: Inputs) -> None:
        self._features(tuple(x[:2] for x in xs))

    def _sample_shape(self) -> Shape | None:
        shape = self._output_shape
        if self.output_shape is not None:
            shape = np.zeros(self.output_shape).shape
        if self._shapes is None or shape is None:
            return None
        return *shape, *self._shapes[0][self.ndim_input - 1 :]

    def _funcs(self) -> tuple[Callable[..., Any], ...]:
        """Return the functions, checked."""
        funcs = (self.funcs,) if callable(self.funcs) else tuple(self.funcs)
        if not funcs or not all(map(callable, funcs)):
            raise TypeError(
                f"funcs is {self.funcs!r}, but must be a function or a list of at least one."
            )
        return funcs

    def _call(self, func: Callable[..., Any], xs: Inputs) -> jax.Array:
        """Call a function, and check what it returns."""
        out = jnp.asarray(raw(func(*xs, **(self.basis_kwargs or {}))))
        wanted = self.output_shape
        shape = (len(raw(xs[0])), *(out.shape[1:] if wanted is None else np.zeros(wanted).shape))
        if out.shape != shape:
            raise ValueError(
                f"A function of {self.label} returned shape {out.shape}, but {shape} is needed: "
                "one value, or output_shape of them, for each sample."
            )
        if jnp.iscomplexobj(out) and not self.is_complex:
            raise TypeError(
                f"A function of {self.label} returned complex numbers. Set is_complex=True if "
                "that is meant, or return their real and imaginary parts."
            )
        return out if jnp.issubdtype(out.dtype, jnp.inexact) else out.astype(float)


def _n_required(func: Callable[..., Any], given: Mapping[str, Any]) -> int:
    """Count the arguments that a function needs beyond those given."""
    if isinstance(func, np.ufunc):  # which had no signature before NumPy 2.1
        return func.nin
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return sum(
        parameter.kind in positional and parameter.default is Parameter.empty
        for name, parameter in signature(func).parameters.items()
        if name not in given
    )
