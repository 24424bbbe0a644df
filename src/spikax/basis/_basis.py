"""What every basis does, told over the components that `+` puts side by side."""

from collections.abc import Iterator
from copy import deepcopy
from inspect import signature
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator

from spikax._time_series import TimeSeries, check_same_times, like, values
from spikax.basis._families import Family
from spikax.basis._ways import Bounds, Convolve, Evaluate, Way


class Basis(BaseEstimator):
    """A family of functions and a way to apply them; or several such, added with `+`."""

    n_basis_funcs: int
    bounds_: Bounds | None = None  # of Eval bases: what setup_basis learned
    input_shape: tuple[int, ...] | None = None  # one sample of the input last seen

    def _family(self) -> Family:
        raise NotImplementedError

    def _way(self) -> Way:
        raise NotImplementedError

    def _components(self) -> "tuple[Basis, ...]":
        return (self,)

    def __add__(self, other: "Basis") -> "AdditiveBasis":
        if not isinstance(other, Basis):
            return NotImplemented
        both = AdditiveBasis(
            deepcopy(self), deepcopy(other)
        )  # they learn from inputs of their own
        both._named()
        return both

    def __getitem__(self, label: str) -> "Basis":
        named = self._named()
        if label not in named:
            raise KeyError(f"No component is labelled {label!r}. The labels are {list(named)}.")
        return named[label]

    def __repr__(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        names = signature(type(self)).parameters
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"

    @property
    def label(self) -> str:
        """The user's name for the basis; by default the name of its class."""
        return self._label or type(self).__name__

    @label.setter
    def label(self, label: str | None) -> None:
        self._label = label

    @property
    def n_output_features(self) -> int | None:
        """Columns of `compute_features`; None before the basis has seen an input."""
        shapes = [part.input_shape for part in self._components()]
        if any(shape is None for shape in shapes):
            return None
        return sum(self._widths())

    @property
    def kernel_(self) -> jax.Array:
        """The filters of a Conv basis, shape (window_size, n_basis_funcs), shortest lag first."""
        way = self._way()
        if not isinstance(way, Convolve):
            raise AttributeError(f"{self.label} has no kernel_: it does not convolve.")
        return way.kernel(self._family())

    def setup_basis(self, *xs: Any) -> Self:
        """Learn the shape of each input and, where no bounds were given, its range.

        Bounds learned here are kept: features of other data are computed with them.

        Parameters
        ----------
        *xs : array or pynapple object, shape (time, ...)
            One input for each component.

        Returns
        -------
        Basis
            The basis itself.

        Raises
        ------
        ValueError
            If the number of inputs is wrong, or a range is empty or not finite.
        """
        pairs = self._pair(xs)
        _check_lengths(xs)
        for part, x in pairs:
            part.input_shape = np.shape(values(x, "x"))[1:]
            part.bounds_ = part._way().learn_bounds(x)
        return self

    def compute_features(self, *xs: Any) -> Any:
        """Turn inputs into features: columns of a design matrix.

        Parameters
        ----------
        *xs : array or pynapple object, shape (time, ...)
            One input for each component. Axes after time are channels: each gets all functions.

        Returns
        -------
        array or pynapple TsdFrame, shape (time, n_output_features)
            The functions of the first channel, then of the next; component after component.
            float32, unless JAX's 64 bits are on. A TsdFrame if an input is a pynapple object.

        Raises
        ------
        ValueError
            If the number of inputs or their lengths are wrong, or pynapple inputs have different
            time axes.
        TypeError
            If an input does not hold real numbers.
        """
        pairs = self._pair(xs)
        _check_lengths(xs)
        series = _shared_time(xs)
        blocks = []
        for part, x in pairs:
            part.input_shape = np.shape(values(x, "x"))[1:]
            features = part._way().within(part.bounds_)(part._family(), x)
            blocks.append(features.reshape(len(features), -1))
        return like(jnp.concatenate(blocks, axis=1), series)

    def evaluate(self, *xs: Any) -> Any:
        """Evaluate the functions at points.

        Parameters
        ----------
        *xs : array or pynapple object, shape (...)
            Points for each component, all of the same shape. Conv bases, and Eval bases without
            bounds, spread over the range of the points.

        Returns
        -------
        array or pynapple object, shape (..., n_basis_funcs)
        """
        pairs = self._pair(xs)
        blocks = [_evaluation(part)(part._family(), x) for part, x in pairs]
        return like(jnp.concatenate(blocks, axis=-1), _shared_time(xs))

    def evaluate_on_grid(self, *n_points: int) -> tuple[Any, ...]:
        """Evaluate the functions on an even grid over their bounds, or over [0, 1].

        Parameters
        ----------
        *n_points : int
            Grid points along the input of each component.

        Returns
        -------
        *grids : array, shape (n_points_1, n_points_2, ...)
            The grid's coordinates, one array for each input.
        evaluated : array, shape (n_points_1, n_points_2, ..., n_basis_funcs)
            The functions at these points.
        """
        axes = []
        for part, n in self._pair(n_points):
            low, high = _evaluation(part).bounds or (0.0, 1.0)
            axes.append(np.linspace(low, high, n))
        grids = np.meshgrid(*axes, indexing="ij")
        return *grids, self.evaluate(*grids)

    def split_by_feature(self, x: Any, axis: int = 1) -> dict[str, Any]:
        """Split features, or coefficients, by the component they belong to.

        Parameters
        ----------
        x : array or pynapple object
            Has `n_output_features` entries along `axis`.
        axis : int, default 1
            The axis of features: 1 for features, 0 for the coefficients of a model.

        Returns
        -------
        dict
            For each label an array in which `axis` has become the axes
            `(*input_shape, n_basis_funcs)`.

        Raises
        ------
        ValueError
            If the basis has not seen inputs yet, or `x` does not have `n_output_features`
            entries along `axis`.
        """
        array = np.asarray(values(x, "x"))
        if self.n_output_features is None:
            raise ValueError(
                f"{self.label} does not know the shape of its inputs yet. "
                "Call compute_features or setup_basis with them first."
            )
        if not -array.ndim <= axis < array.ndim or array.shape[axis] != self.n_output_features:
            raise ValueError(
                f"x has shape {array.shape}, but {self.n_output_features} features are needed "
                f"along axis {axis}. Pass what compute_features returned, or set axis."
            )
        axis %= array.ndim
        blocks = np.split(array, np.cumsum(self._widths())[:-1], axis=axis)
        rewrap = like if axis > 0 else lambda block, _: block
        return {
            label: rewrap(_unfold(block, axis, (*(part.input_shape or ()), part.n_basis_funcs)), x)
            for (label, part), block in zip(self._named().items(), blocks, strict=True)
        }

    def _widths(self) -> list[int]:
        parts = self._components()
        return [int(np.prod(part.input_shape or ())) * part.n_basis_funcs for part in parts]

    def _named(self) -> "dict[str, Basis]":
        """Return the components by label, default labels numbered where they repeat."""
        named: dict[str, Basis] = {}
        for part in self._components():
            label, repeats = part.label, 0
            while label in named and part.label == type(part).__name__:
                repeats += 1
                label = f"{part.label}_{repeats}"
            if label in named:
                raise ValueError(
                    f"The label {label!r} is given to two bases that are added. "
                    "Give each its own with label=..."
                )
            named[label] = part
        return named

    def _pair(self, xs: tuple[Any, ...]) -> "Iterator[tuple[Basis, Any]]":
        """Match each component with its input."""
        named = self._named()
        if len(xs) != len(named):
            raise ValueError(
                f"{len(xs)} inputs were given to {len(named)} components. "
                f"Pass one for each, in this order: {', '.join(named)}."
            )
        return zip(named.values(), xs, strict=True)


class AdditiveBasis(Basis):
    """Bases side by side: what `basis1 + basis2` makes.

    Its features are those of the first, followed by those of the second.

    Parameters
    ----------
    basis1, basis2 : Basis
        The bases; either may itself be a sum.
    label : str, default None
        A name for the sum.

    Raises
    ------
    ValueError
        When used, if two components have the same label.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import BSplineEval, RaisedCosineLogConv
    >>> basis = BSplineEval(5, label="place") + RaisedCosineLogConv(
    ...     3, window_size=10, label="past"
    ... )
    >>> X = basis.compute_features(np.linspace(0, 1, 100), np.ones((100, 2)))
    >>> X.shape
    (100, 11)
    >>> {label: block.shape for label, block in basis.split_by_feature(X).items()}
    {'place': (100, 5), 'past': (100, 2, 3)}
    """

    def __init__(self, basis1: Basis, basis2: Basis, label: str | None = None):
        self.basis1 = basis1
        self.basis2 = basis2
        self.label = label

    def _components(self) -> tuple[Basis, ...]:
        return *self.basis1._components(), *self.basis2._components()

    @property
    def n_basis_funcs(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many functions all components have together."""
        return sum(part.n_basis_funcs for part in self._components())


def _evaluation(part: Basis) -> Evaluate:
    """Return how to evaluate a component at points, whatever it does to signals."""
    way = part._way().within(part.bounds_)
    return way if isinstance(way, Evaluate) else Evaluate()


def _check_lengths(xs: tuple[Any, ...]) -> None:
    lengths = [np.shape(values(x, "x"))[:1] for x in xs]
    if () in lengths or (0,) in lengths or len(set(lengths)) > 1:
        raise ValueError(
            f"The inputs have shapes {[np.shape(values(x, 'x')) for x in xs]}, but need the same "
            "number of samples, at least one. Check how they were cut or binned."
        )


def _shared_time(xs: tuple[Any, ...]) -> Any:
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


def _unfold(array: np.ndarray, axis: int, shape: tuple[int, ...]) -> np.ndarray:
    return array.reshape(*array.shape[:axis], *shape, *array.shape[axis + 1 :])
