"""The leaves of a composition: a function and a way to apply it, made one public class."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from inspect import Parameter, Signature, cleandoc
from typing import Any, ClassVar, Self

import jax
import numpy as np

from spikax.basis._basis import Basis, Shape
from spikax.basis._functions import Function
from spikax.basis._terms import held_term
from spikax.basis._ways import Bounds, Convolve, Inputs, Intervals, Learned, Way
from spikax.design import Term

_LABEL_DOC = """label : str, default None
    A name for the basis; None is the name of the class."""


class Leaf(Basis):
    """A basis that takes inputs, and is not composed of others."""

    n_inputs: int = 1
    takes_names: bool = False  # inputs may hold strings
    _shapes: tuple[Shape, ...] | None = None

    def read(self, x: Any, name: str) -> Any:
        """Check an input and return it as an array or a pynapple object."""
        raise NotImplementedError

    def features(self, xs: Inputs) -> jax.Array:
        """Return features of signals, ``(time, *sample, n_basis_funcs)``."""
        raise NotImplementedError

    def at(self, xs: Inputs) -> jax.Array:
        """Return the functions at points, (..., n_basis_funcs)."""
        raise NotImplementedError

    def term(self, xs: Inputs) -> tuple[Term, np.ndarray]:
        """Return features block by block, and which samples have them, (time,)."""
        return held_term(np.asarray(self.features(xs)))

    def grid(self, n_points: tuple[int, ...]) -> list[Any]:
        """Return points along each input that show the functions."""
        raise NotImplementedError

    def learn(self, xs: Inputs) -> None:
        """Learn from signals what is kept for others."""

    def see(self, shapes: tuple[Shape, ...]) -> None:
        """Take note of the shape of a sample of each input."""
        if len(set(shapes)) > 1:
            raise ValueError(
                f"The inputs of {self.label} have samples of shapes {list(shapes)}, but need the "
                "same one. Give each the channels of the others."
            )
        self._shapes = shapes

    def input_shapes(self) -> list[Shape | None]:
        """Return the shape of a sample of each input, where it is known."""
        return list(self._shapes or (None,) * self.n_inputs)

    def _default_label(self, children: list[str]) -> str:
        return type(self).__name__

    def _leaves(self) -> tuple[Leaf, ...]:
        return (self,)

    def _combine(self, blocks: Iterator[jax.Array]) -> jax.Array:
        return next(blocks)

    def _join(self, terms: Iterator[Term]) -> Term:
        return next(terms)

    def _sample_shape(self) -> Shape | None:
        return None if self._shapes is None else self._shapes[0]

    def __sklearn_clone__(self) -> Self:
        copy = super().__sklearn_clone__()
        copy._shapes = self._shapes  # a transformer needs them before it is fitted
        return copy


class Component(Leaf):
    """A leaf whose class statement names a function and a way.

    Its parameters are the fields of both and `label`, in the order that the way says unless
    the statement does; constructor and docstring are put together from theirs.
    """

    _function_type: ClassVar[type[Function]]
    _way_type: ClassVar[type[Way]]
    _learned: Learned = None

    def __init_subclass__(
        cls,
        function: type[Any],  # a Function
        way: type[Any],  # a Way
        parameters: tuple[str, ...] | None = None,
    ):
        super().__init_subclass__()
        cls._function_type, cls._way_type = function, way
        known = {field.name: field for part in (way, function) for field in fields(part)}
        names = _ordered(parameters or way.parameters, [field.name for field in fields(function)])
        names = [name for name in names if name in known or name == "label"]
        signature = Signature(
            [Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)]
            + [_parameter(name, known.get(name)) for name in names]
        )
        cls.__init__ = _constructor(signature)
        if "n_basis_funcs" not in names:
            cls.n_basis_funcs = property(  # pyright: ignore[reportAttributeAccessIssue]
                lambda self: self._function().n_basis_funcs, doc="How many functions there are."
            )
        if cls.__doc__:  # not with python -OO
            cls.__doc__ = _documentation(cls.__doc__, names, function, way)

    def _function(self) -> Function:
        """Make the function, which checks its parameters."""
        return self._make(self._function_type)

    def _way(self) -> Way:
        """Make the way, which checks its parameters."""
        return self._make(self._way_type)

    def _make(self, kind: type) -> Any:
        own = self._get_param_names()
        names = [field.name for field in fields(kind) if field.name in own]
        return kind(**{name: getattr(self, name) for name in names})

    @property
    def n_inputs(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many inputs the basis takes."""
        return self._function().n_inputs

    @property
    def bounds_(self) -> Bounds | Intervals | None:
        """The bounds learned from inputs: (low, high), with several inputs one pair for each.

        None if bounds are given, or nothing was seen.
        """
        one = self._learned is not None and len(self._learned) == 1
        return self._learned[0] if one else self._learned  # pyright: ignore[reportOptionalSubscript]

    @property
    def kernel_(self) -> jax.Array:
        """The filters of a Conv basis, shape (window_size, n_basis_funcs), shortest lag first."""
        return self._convolve("kernel_").kernel(self._function())

    @property
    def lags_(self) -> np.ndarray:
        """Samples from an event to what the rows of `kernel_` make of it, shape (window_size,)."""
        way = self._convolve("lags_")
        return np.arange(way.window_size) - way.reach()[1]

    def _convolve(self, attribute: str) -> Convolve:
        way = self._way()
        if not isinstance(way, Convolve):
            raise AttributeError(f"{self.label} has no {attribute}: it does not convolve.")
        return way

    def read(self, x: Any, name: str) -> Any:
        return self._way().read(x, name)

    def features(self, xs: Inputs) -> jax.Array:
        self.learn_once(xs)
        return self._way()(self._function(), xs, self._learned)

    def at(self, xs: Inputs) -> jax.Array:
        return self._way().at(self._function(), xs, self._learned)

    def term(self, xs: Inputs) -> tuple[Term, np.ndarray]:
        self.learn_once(xs)
        return self._way().term(self._function(), xs, self._learned)

    def grid(self, n_points: tuple[int, ...]) -> list[Any]:
        return self._way().grid(self._function(), n_points, self._learned)

    def learn(self, xs: Inputs) -> None:
        self._learned = self._way().learn(self._function(), xs)

    def learn_once(self, xs: Inputs) -> None:
        """Learn, unless that was done before from as many inputs."""
        if self._learned is None or len(self._learned) != len(xs):
            self.learn(xs)


def _ordered(template: tuple[str, ...], of_function: list[str]) -> list[str]:
    """Put the function's parameters, less those with a place of their own, where "*" stands."""
    rest = [name for name in of_function if name not in template]
    return [name for entry in template for name in (rest if entry == "*" else [entry])]


def _parameter(name: str, field: Any) -> Parameter:
    kind = Parameter.POSITIONAL_OR_KEYWORD
    if field is None:  # the label
        return Parameter(name, kind, default=None, annotation=str | None)
    default = Parameter.empty if field.default is MISSING else field.default
    return Parameter(name, kind, default=default, annotation=field.type)


def _constructor(signature: Signature) -> Any:
    def __init__(self, *args, **kwargs):
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        for name, value in list(bound.arguments.items())[1:]:
            setattr(self, name, value)

    __init__.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    return __init__


def _documentation(own: str, names: list[str], function: type, way: type) -> str:
    """Add to a class's own docstring what its function and way say: parameters and formula."""
    parts = [_sections(part.__doc__ or "") for part in (way, function)]
    entries = {"label": _LABEL_DOC}
    for part in parts:
        for entry in re.split(r"\n(?=\w)", part.get("Parameters", "")):
            entries[entry.split(" : ")[0]] = entry
    sections = _sections(own)
    summary = sections.pop("")
    given = {
        "Parameters": "\n".join(entries[name] for name in names),
        "Raises": "ValueError\n    When used, if a parameter is out of its range.",
        "Notes": parts[1].get("Notes"),
        **sections,
    }
    text = [
        f"{title}\n{'-' * len(title)}\n{content}" for title, content in given.items() if content
    ]
    return "\n\n".join([summary, *text]) + "\n"


def _sections(doc: str) -> dict[str, str]:
    """Split a numpydoc docstring by its titles; what comes before the first is under ""."""
    pieces = re.split(r"^(\w[\w ]*)\n-+\n", cleandoc(doc), flags=re.MULTILINE)
    titles, contents = ["", *pieces[1::2]], [piece.strip() for piece in pieces[::2]]
    return dict(zip(titles, contents, strict=True))
