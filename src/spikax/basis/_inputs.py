"""Inputs of a composed basis: which part takes which, and whether they fit together."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from numbers import Integral
from typing import Any, Concatenate, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np

from spikax._time_series import TimeSeries, check_same_times, raw
from spikax.design import Term

Shape = tuple[int, ...]
Owner = TypeVar("Owner")
Result = TypeVar("Result")


@runtime_checkable
class ComputesFeatures(Protocol):
    """A basis, to what is made of one."""

    def setup_basis(self, *xs: Any) -> Any:
        """Learn from inputs."""
        ...

    def compute_features(self, *xs: Any) -> Any:
        """Compute the features of inputs."""
        ...


class Leaf(Protocol):
    """A part of a basis that takes inputs, and is not composed of others."""

    n_basis_funcs: int
    bounds: Any
    _accepts_text: bool = False  # inputs may hold strings

    @property
    def n_inputs(self) -> int:
        """How many inputs the basis takes."""
        ...

    def _read(self, x: Any, name: str) -> Any:
        """Check an input and return it as an array or a pynapple object."""
        ...

    def _set_shapes(self, shapes: tuple[Shape, ...]) -> None:
        """Take note of the shape of a sample of each input."""
        ...

    def _input_shapes(self) -> list[Shape | None]:
        """Return the shape of a sample of each input, where it is known."""
        ...

    def _setup(self, xs: tuple[Any, ...]) -> None:
        """Learn from signals what is kept for others."""
        ...

    def _features(self, xs: tuple[Any, ...]) -> jax.Array:
        """Return features of signals, ``(time, *sample, n_basis_funcs)``."""
        ...

    def _values(self, xs: tuple[Any, ...]) -> jax.Array:
        """Return the functions at points, (..., n_basis_funcs)."""
        ...

    def _term(self, xs: tuple[Any, ...]) -> tuple[Term, np.ndarray]:
        """Return features block by block, and which samples have them, (time,)."""
        ...

    def _grid(self, n_points: tuple[int, ...]) -> list[Any]:
        """Return points along each input that show the functions."""
        ...


def one_by_name(
    method: Callable[Concatenate[Owner, ...], Result],
) -> Callable[Concatenate[Owner, ...], Result]:
    """Let a method that takes ``*inputs`` be given a single one by keyword too."""
    (name,) = (
        p.name for p in inspect.signature(method).parameters.values() if p.kind is p.VAR_POSITIONAL
    )

    @wraps(method)
    def accept(self: Owner, *inputs: Any, **named: Any) -> Result:
        if named and (inputs or set(named) != {name}):
            raise TypeError(
                f"{method.__name__} was given {', '.join(named)} by keyword and {len(inputs)} "
                f"inputs by position. Pass the inputs by position; a single one may be {name}=."
            )
        return method(self, *inputs, *named.values())

    return accept


Assigned = list[tuple[str, Leaf, tuple[Any, ...]]]  # label, leaf, and its inputs


def assign_inputs(leaves: Sequence[Leaf], labels: dict[int, str], xs: tuple[Any, ...]) -> Assigned:
    """Assign inputs to the leaves of a basis, in order; `labels` are by `id`."""
    needed = [
        labels[id(leaf)] if leaf.n_inputs == 1 else f"{labels[id(leaf)]}[{i}]"
        for leaf in leaves
        for i in range(leaf.n_inputs)
    ]
    if len(xs) != len(needed):
        raise TypeError(
            f"{len(xs)} inputs were given, but {len(needed)} are needed. "
            f"Pass one for each of these, in this order: {', '.join(needed)}."
        )
    rest = iter(xs)
    return [
        (labels[id(leaf)], leaf, tuple(next(rest) for _ in range(leaf.n_inputs)))
        for leaf in leaves
    ]


def read_points(assigned: Assigned) -> Assigned:
    """Check the values of inputs, each by the leaf that takes it."""
    return [
        (label, leaf, tuple(leaf._read(x, f"the input of {label!r}") for x in own))
        for label, leaf, own in assigned
    ]


def read_signals(assigned: Assigned) -> Assigned:
    """Check signals, their lengths and times too, and let each leaf know the shape of its own."""
    read = read_points(assigned)
    _check_lengths({label: {np.shape(raw(x))[:1] for x in own} for label, _, own in read})
    common_series([x for _, _, own in assigned for x in own])
    for _, leaf, own in read:
        leaf._set_shapes(tuple(np.shape(raw(x))[1:] for x in own))
    return read


def sample_shape(shape: Any) -> Shape:
    """Return the shape of a sample from what `set_input_shape` takes."""
    if isinstance(shape, Integral):
        shape = () if shape == 1 else (int(shape),)
    elif not isinstance(shape, tuple):
        shape = np.shape(raw(shape))[1:]
    if not all(isinstance(n, Integral) and int(n) > 0 for n in shape):
        raise ValueError(
            f"{shape!r} is not the shape of a sample. Pass a number of channels, a tuple of "
            "positive whole numbers, or an array whose first axis is time."
        )
    return tuple(map(int, shape))


def common_series(xs: Sequence[Any]) -> Any:
    """Return the first pynapple object, if any, once all are known to share its time axis."""
    named = [(f"input {i}", x) for i, x in enumerate(xs) if isinstance(x, TimeSeries)]
    for name, x in named[1:]:
        check_same_times(*named[0], name, x)
        if not np.array_equal(x.time_support.values, named[0][1].time_support.values):
            raise ValueError(
                f"{named[0][0]} and {name} have different time axes: their epochs differ. "
                "Restrict them to the same ones first."
            )
    return named[0][1] if named else None


def _check_lengths(lengths: dict[str, set[Shape]]) -> None:
    """Refuse inputs with different numbers of samples."""
    seen = set().union(*lengths.values())
    if len(seen) > 1 or () in seen:
        counted = {label: sorted(own)[0] for label, own in lengths.items()}
        shown = ", ".join(f"{label}: {n[0] if n else 'a scalar'}" for label, n in counted.items())
        raise ValueError(
            f"The inputs need the same number of samples, but have {shown}. "
            "Check how they were cut or binned."
        )
