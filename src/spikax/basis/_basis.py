"""Basis, and the sums and products that `+` and `*` compose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import reduce
from inspect import signature
from math import prod
from numbers import Integral
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, clone

from spikax._time_series import like, raw
from spikax.basis._design import BasisDesign, make_design
from spikax.basis._inputs import (
    Assigned,
    Leaf,
    Shape,
    assign_inputs,
    common_series,
    one_by_name,
    read_points,
    read_signals,
    sample_shape,
)
from spikax.basis._labels import add_suffix, by_label, label_by_id
from spikax.basis._terms import Concatenated, Product
from spikax.basis._transformer import TransformerBasis
from spikax.design import Term


class Basis(BaseEstimator):
    """Basis functions of inputs; or several bases, composed with `+` and `*`.

    It is what all bases of this module are: use one of these. Bases with one input are added for
    features side by side, and multiplied for features of several inputs together. `len(basis)` is
    the number of terms of a sum, one for all others, iteration goes over these terms,
    `basis["label"]` is the part with that label, `basis[0]` the first term.

    Attributes
    ----------
    n_basis_funcs : int
        Number of functions.
    is_complex : bool
        Whether features are complex numbers.
    children : tuple of Basis
        What it is composed of; empty for a basis of one function type.

    Examples
    --------
    >>> from spikax.basis import Basis, BSplineEval, RaisedCosineLogConv
    >>> basis = BSplineEval(5, label="place") + RaisedCosineLogConv(3, window_size=20)
    >>> isinstance(basis, Basis), basis.n_basis_funcs, len(basis)
    (True, 8, 2)
    >>> [term.label for term in basis], basis["place"].order
    (['place', 'RaisedCosineLogConv'], 4)
    """

    n_basis_funcs: int
    is_complex: bool = False
    children: tuple[Basis, ...] = ()
    _label: str | None = None

    def _default_label(self, children: list[str]) -> str:
        """Return what the basis is called, from what its parts are called."""
        raise NotImplementedError

    def _leaves(self) -> tuple[Leaf, ...]:
        """Return the parts that take inputs, in the order of these."""
        raise NotImplementedError

    def _terms(self) -> tuple[Basis, ...]:
        """Return the parts whose features stand side by side."""
        return (self,)

    def _combine(self, blocks: Iterator[jax.Array]) -> jax.Array:
        """Make features (..., n_basis_funcs) of those of the leaves, which come in order."""
        raise NotImplementedError

    def _combine_terms(self, terms: Iterator[Term]) -> Term:
        """Make a term of a design of those of the leaves, which come in order."""
        raise NotImplementedError

    def _sample_shape(self) -> Shape | None:
        """Return the axes of features between time and functions, if an input was seen."""
        raise NotImplementedError

    def __add__(self, other: Basis) -> AdditiveBasis:
        other = other.basis if isinstance(other, TransformerBasis) else other
        if not isinstance(other, Basis):
            return NotImplemented
        return _compose(AdditiveBasis, deepcopy(self), deepcopy(other))

    def __mul__(self, other: Basis | int) -> Basis:
        other = other.basis if isinstance(other, TransformerBasis) else other
        if isinstance(other, Basis):
            return _compose(MultiplicativeBasis, deepcopy(self), deepcopy(other))
        return self._repeat(AdditiveBasis, other, "A basis can be multiplied by")

    __rmul__ = __mul__

    def __pow__(self, exponent: int) -> Basis:
        return self._repeat(MultiplicativeBasis, exponent, "The exponent of a basis can be")

    def _repeat(self, operation: Callable[..., Basis], n: Any, what_is_allowed: str) -> Basis:
        """Compose `n` copies."""
        if not isinstance(n, Integral) or isinstance(n, bool):
            raise TypeError(f"{what_is_allowed} a whole number or a basis, not {n!r}.")
        if n < 1:
            raise ValueError(f"{what_is_allowed} whole numbers from 1 on, not {n}.")
        return _compose(operation, *(add_suffix(deepcopy(self), k) for k in range(int(n))))

    def __getitem__(self, label: str | int) -> Any:
        if isinstance(label, Integral):
            return self._terms()[label]
        parts = by_label(self)
        if label not in parts:
            raise KeyError(f"No part is labelled {label!r}. The labels are {list(parts)}.")
        return parts[label]

    def __iter__(self) -> Iterator[Basis]:
        return iter(self._terms())

    def __len__(self) -> int:
        return len(self._terms())

    def __repr__(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        parameters = signature(type(self)).parameters
        # Once each: a part's, written twice, would take twice as long at every level.
        given = {name: repr(value) for name, value in self.get_params(deep=False).items()}
        shown = [
            f"{name}={given[name]}"
            for name, parameter in parameters.items()
            if given[name] != repr(parameter.default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def label(self) -> str:
        """The user's name for the basis, or else one made of its class or of its parts' names."""
        return list(by_label(self))[-1]

    @label.setter
    def label(self, label: str | None) -> None:
        self._label = label

    @property
    def user_label(self) -> str | None:
        """The user's name for the basis; None if the default is used."""
        return None if self._label == type(self).__name__ else self._label

    @property
    def input_shape(self) -> list[Shape | None]:
        """For each input, the shape of one sample; None before it was seen or set."""
        return [shape for leaf in self._leaves() for shape in leaf._input_shapes()]

    @property
    def n_output_features(self) -> int | None:
        """Columns of `compute_features`; None before the shapes of all inputs are known."""
        widths = self._widths()
        return None if widths is None else sum(widths)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; of composed bases, also those of all parts by label.

        Parameters
        ----------
        deep : bool, default True
            Whether to add, for each part, `label` (the part) and `label__parameter`.

        Returns
        -------
        dict
            Parameters by name.
        """
        # As given: what a property shows otherwise is kept with an underscore in front.
        own = vars(self)
        params = {name: own.get(f"_{name}", own.get(name)) for name in self._get_param_names()}
        if deep:
            parts = {label: part for label, part in by_label(self).items() if part is not self}
            params |= parts
            for label, part in parts.items():
                for name, value in part.get_params(deep=False).items():
                    if not isinstance(value, Basis):
                        params[f"{label}__{name}"] = value
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, of parts as `label__parameter`; `label=basis` replaces a part.

        Parameters
        ----------
        **params
            New values by name.

        Returns
        -------
        Basis
            The basis itself.

        Raises
        ------
        ValueError
            If there is no such parameter or label.
        TypeError
            If a part is to be replaced by something else than a basis.

        Examples
        --------
        >>> from spikax.basis import BSplineEval
        >>> basis = BSplineEval(5, label="place") + BSplineEval(4, label="speed")
        >>> basis.set_params(place__n_basis_funcs=8).n_basis_funcs
        12
        """
        parts = by_label(self)
        for label in [name for name in params if name in parts and parts[name] is not self]:
            self._replace(parts[label], params.pop(label))
        return super().set_params(**params)

    def _replace(self, old: Basis, new: Any) -> None:
        """Put another basis in the place of a part."""
        if not isinstance(new, Basis):
            raise TypeError(f"{old.label} can be replaced by a basis only, not by {new!r}.")
        for part in by_label(self).values():
            for name in part._get_param_names():
                if getattr(part, name) is old:
                    setattr(part, name, new)

    def __sklearn_clone__(self) -> Self:
        params = self.get_params(deep=False)
        return type(self)(**{name: clone(value, safe=False) for name, value in params.items()})

    @one_by_name
    def set_input_shape(self, *xi: int | Shape | Any) -> Self:
        """Tell the basis the shape of its inputs before it sees them, as a transformer must.

        Parameters
        ----------
        *xi : int, tuple of int, or array
            For each input the shape of a sample: a number of channels (1 is none), a tuple, or an
            array like the input, whose first axis is time.

        Returns
        -------
        Basis
            The basis itself.

        Raises
        ------
        ValueError
            If their number is wrong, or one is not a shape.

        Examples
        --------
        >>> from spikax.basis import RaisedCosineLogConv
        >>> RaisedCosineLogConv(5, window_size=20).set_input_shape(15).n_output_features
        75
        """
        for _, leaf, own in self._assign(xi):
            leaf._set_shapes(tuple(map(sample_shape, own)))
        self._check_shapes()
        return self

    @one_by_name
    def setup_basis(self, *xi: Any) -> Self:
        """Learn the shape of each input and, where no bounds were given, its range.

        Bounds learned here replace those learned before and are kept: features of other data are
        computed with them. Copies keep them too, in sums and products for example; those of
        scikit-learn's `clone` do not.

        Parameters
        ----------
        *xi : array or pynapple object, shape (time, ...)
            One for each input; a single one also by keyword.

        Returns
        -------
        Basis
            The basis itself.

        Raises
        ------
        ValueError
            If a range is empty or not finite.
        TypeError
            If the number of inputs is wrong.

        Examples
        --------
        >>> from spikax.basis import BSplineEval
        >>> BSplineEval(5).setup_basis([0.0, 0.5, 2.0]).bounds_
        (0.0, 2.0)
        """
        for _, leaf, own in self._read_signals(xi):
            leaf._setup(own)
        return self

    @one_by_name
    def compute_features(self, *xi: Any) -> Any:
        """Turn inputs into features: columns of a design matrix.

        Where no bounds were given or learned before, they are learned here, as the range of the
        input, or of each of its channels, and kept: a value has the same features in every call.
        Later inputs may lie beyond them, and get `fill_value` there; call `setup_basis` to learn
        bounds anew, which inputs with other channels do by themselves.

        Parameters
        ----------
        *xi : array or pynapple object, shape (time, ...)
            One for each input of each part, in the order of composition. Axes after time are
            channels: each gets all functions.

        Returns
        -------
        array or pynapple TsdFrame, shape (time, n_output_features)
            The functions of the first channel, then of the next; those of a sum, term after term.
            A product has, for each channel, all products of a function of the first factor with
            one of the second, which varies fastest. float32, unless JAX's 64 bits are on. A
            TsdFrame if an input is a pynapple object. NaN where an input is NaN.

        Raises
        ------
        ValueError
            If the shapes of inputs are wrong, one is infinite, or pynapple inputs have different
            time axes.
        TypeError
            If the number of inputs is wrong, or one does not hold real numbers.

        Examples
        --------
        >>> import numpy as np
        >>> from spikax.basis import BSplineEval
        >>> position = np.linspace(0, 1, 100)
        >>> BSplineEval(5).compute_features(position).shape
        (100, 5)
        """
        blocks = iter([leaf._features(own) for _, leaf, own in self._read_signals(xi)])
        columns = [term._combine(blocks) for term in self._terms()]
        flat = [block.reshape(len(block), prod(block.shape[1:])) for block in columns]
        features = flat[0] if len(flat) == 1 else jnp.concatenate(flat, axis=1)
        return like(features, common_series(xi))

    def design(self, *xs: Any) -> BasisDesign[Self]:
        """Make a design matrix that need not exist: models evaluate its features block by block.

        A fit to it holds the inputs and the features of a few thousand samples, never all
        features. Bounds that were neither given nor learned before are learned here and kept, as
        `compute_features` does.

        Parameters
        ----------
        *xs : array or pynapple object, shape (time, ...)
            One for each input of each part, as for `compute_features`. The features of a
            `CustomBasis`, whose functions may look at all samples at once, are computed and held.

        Returns
        -------
        BasisDesign
            To be passed to a model in place of the features.

        Raises
        ------
        ValueError
            If the shapes of inputs are wrong, one is infinite, or pynapple inputs have different
            time axes.
        TypeError
            If the number of inputs is wrong, or one does not hold real numbers.

        Examples
        --------
        >>> import numpy as np
        >>> import spikax as nmo
        >>> rng = np.random.default_rng(0)
        >>> position, spikes = rng.random(2000), rng.poisson(0.3, (2000, 3))
        >>> basis = nmo.basis.BSplineEval(6, label="place") + nmo.basis.RaisedCosineLogConv(
        ...     4, window_size=20, label="coupling"
        ... )
        >>> design = basis.design(position, spikes)
        >>> design.shape
        (2000, 18)
        >>> model = nmo.glm.PopulationGLM().fit(design, spikes)
        >>> basis.split_by_feature(model.coef_, axis=0)["coupling"].shape
        (3, 4, 3)
        """
        inputs = self._read_signals(xs)
        found = [leaf._term(own) for _, leaf, own in inputs]
        # A basis without functions lacks none.
        known = {
            label: rows | (leaf.n_basis_funcs == 0)
            for (label, leaf, _), (_, rows) in zip(inputs, found, strict=True)
        }
        of_leaves = iter([term for term, _ in found])
        terms = tuple(part._combine_terms(of_leaves) for part in self._terms())
        n_features = sum(self._widths() or ())
        return make_design(deepcopy(self), xs, n_features, terms, known)

    @one_by_name
    def evaluate(self, *sample_pts: Any) -> Any:
        """Evaluate the functions at points.

        Parameters
        ----------
        *sample_pts : array or pynapple object, shape (...)
            Points for each input, all of the same shape. Conv bases, and Eval bases whose bounds
            were neither given nor learned, spread over the range of the points; nothing is
            learned from them.

        Returns
        -------
        array or pynapple object, shape (..., n_basis_funcs)

        Raises
        ------
        ValueError
            If the shapes of inputs differ.
        TypeError
            If the number of inputs is wrong.

        Examples
        --------
        >>> from spikax.basis import RaisedCosineLinearEval
        >>> print(RaisedCosineLinearEval(3, bounds=(0, 1)).evaluate([0.0, 0.5]).round(2))
        [[1.  0.5 0. ]
         [0.5 1.  0.5]]
        """
        inputs = read_points(self._assign(sample_pts))
        shapes = {np.shape(raw(x)) for x in sample_pts}
        if len(shapes) > 1:
            raise ValueError(f"The points have shapes {sorted(shapes)}, but need the same one.")
        blocks = iter([leaf._values(own) for _, leaf, own in inputs])
        return like(self._combine(blocks), common_series(sample_pts))

    @one_by_name
    def evaluate_on_grid(self, *n_samples: int) -> tuple[Any, ...]:
        """Evaluate the functions on an even grid over their bounds, or over [0, 1].

        Parameters
        ----------
        *n_samples : int
            Grid points along each input.

        Returns
        -------
        *grids : array, shape (n_points_1, n_points_2, ...)
            The grid's coordinates, one array for each input.
        evaluated : array, shape (n_points_1, n_points_2, ..., n_basis_funcs)
            The functions at these points.

        Raises
        ------
        ValueError
            If the number of grid sizes is wrong.

        Examples
        --------
        >>> from spikax.basis import BSplineEval
        >>> x, y = BSplineEval(5, bounds=(0, 2)).evaluate_on_grid(100)
        >>> x.shape, y.shape, float(x.max())
        ((100,), (100, 5), 2.0)
        """
        axes = [axis for _, leaf, own in self._assign(n_samples) for axis in leaf._grid(own)]
        grids = np.meshgrid(*axes, indexing="ij")
        return *grids, self.evaluate(*grids)

    def split_by_feature(self, x: Any, axis: int = 1) -> dict[str, Any]:
        """Split features, or coefficients, by the term of the sum they belong to.

        Parameters
        ----------
        x : array or pynapple object
            Has `n_output_features` entries along `axis`.
        axis : int, default 1
            The axis of features: 1 for features, 0 for the coefficients of a model.

        Returns
        -------
        dict
            For the label of each term an array in which `axis` has become the axes
            `(*input_shape, n_basis_funcs)`. Sums of sums are split down to their last terms; a
            product is one term.

        Raises
        ------
        ValueError
            If the basis has not seen inputs yet, or `x` does not have `n_output_features`
            entries along `axis`.

        Examples
        --------
        >>> import numpy as np
        >>> from spikax.basis import BSplineEval, HistoryConv
        >>> basis = BSplineEval(5, label="place") + HistoryConv(3, label="past")
        >>> X = basis.compute_features(np.linspace(0, 1, 50), np.ones((50, 2)))
        >>> {label: block.shape for label, block in basis.split_by_feature(X).items()}
        {'place': (50, 5), 'past': (50, 2, 3)}
        """
        array = np.asarray(raw(x))
        widths = self._widths()
        if widths is None:
            raise ValueError(
                f"{self.label} does not know the shape of its inputs yet. "
                "Call compute_features, setup_basis or set_input_shape first."
            )
        if not -array.ndim <= axis < array.ndim or array.shape[axis] != sum(widths):
            raise ValueError(
                f"x has shape {array.shape}, but {sum(widths)} features are needed "
                f"along axis {axis}. Pass what compute_features returned, or set axis."
            )
        axis %= array.ndim
        labels, split = label_by_id(self), {}
        for term, block in zip(
            self._terms(), np.split(array, np.cumsum(widths)[:-1], axis=axis), strict=True
        ):
            inner = (*(term._sample_shape() or ()), term.n_basis_funcs)
            unfolded = block.reshape(*array.shape[:axis], *inner, *array.shape[axis + 1 :])
            split[labels[id(term)]] = like(unfolded, x) if axis > 0 else unfolded
        return split

    def to_transformer(self) -> TransformerBasis[Self]:
        """Return a scikit-learn transformer that computes the features of this basis.

        Returns
        -------
        TransformerBasis
            It holds a copy of the basis.

        Examples
        --------
        >>> from spikax.basis import BSplineEval
        >>> BSplineEval(5).to_transformer()
        TransformerBasis(basis=BSplineEval(n_basis_funcs=5))
        """
        return TransformerBasis(deepcopy(self))

    def _widths(self) -> list[int] | None:
        """Return how many columns each term has, if the shapes of all inputs are known."""
        widths = []
        for term in self._terms():
            shape = term._sample_shape()
            if shape is None:
                return None
            widths.append(prod(shape) * term.n_basis_funcs)
        return widths

    def _feature_names(self) -> list[str]:
        """Name the columns of the features by label, channel and number."""
        labels = label_by_id(self)
        names = []
        for term in self._terms():
            stem = term.user_label or _without_spaces(labels[id(term)])
            for channel in np.ndindex(term._sample_shape() or ()):
                index = f"[{','.join(map(str, channel))}]" if channel else ""
                names += [f"{stem}{index}_{i}" for i in range(term.n_basis_funcs)]
        return names

    def _assign(self, xs: tuple[Any, ...]) -> Assigned:
        """Assign inputs, or what stands for them, to the leaves."""
        return assign_inputs(self._leaves(), label_by_id(self), xs)

    def _read_signals(self, xs: tuple[Any, ...]) -> Assigned:
        """Check signals, and let each leaf know the shape of its own."""
        inputs = read_signals(self._assign(xs))
        self._check_shapes()
        return inputs

    def _check_shapes(self) -> None:
        """Refuse products of inputs with different shapes."""
        for term in self._terms():
            term._sample_shape()


class _Composed(Basis):
    """Two bases composed to one."""

    def __init__(self, basis1: Basis, basis2: Basis, label: str | None = None):
        self.basis1 = basis1
        self.basis2 = basis2
        self.label = label

    @property
    def children(self) -> tuple[Basis, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.basis1, self.basis2

    @property
    def is_complex(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether features of a part are complex numbers."""
        return any(part.is_complex for part in self.children)

    @property
    def bounds(self) -> list[Any]:
        """For each leaf, the bounds that the user has set."""
        return [leaf.bounds for leaf in self._leaves()]

    def _leaves(self) -> tuple[Leaf, ...]:
        return *self.basis1._leaves(), *self.basis2._leaves()

    def _sample_shape(self) -> Shape | None:
        shapes = [part._sample_shape() for part in self.children]
        if None in shapes:
            return None
        if shapes[0] != shapes[1]:
            seen = {label: own[0] for label, _, own in self._assign(tuple(self.input_shape))}
            raise ValueError(
                f"The inputs of a product need the same channels, but those of {self.label} have "
                f"samples of shapes {seen}. Give each the channels of the others."
            )
        return shapes[0]


class AdditiveBasis(_Composed):
    """Bases side by side: what `basis1 + basis2` makes.

    Its features are those of the first, followed by those of the second.

    Parameters
    ----------
    basis1, basis2 : Basis
        The bases; either may itself be composed.
    label : str, default None
        A name for the sum; None is made of the parts' labels.

    Raises
    ------
    ValueError
        When used, if two parts have the same label.

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

    def _default_label(self, children: list[str]) -> str:
        return f"({' + '.join(children)})"

    @property
    def n_basis_funcs(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many functions all parts have together."""
        return self.basis1.n_basis_funcs + self.basis2.n_basis_funcs

    def _terms(self) -> tuple[Basis, ...]:
        return *self.basis1._terms(), *self.basis2._terms()

    def _combine(self, blocks: Iterator[jax.Array]) -> jax.Array:
        return jnp.concatenate([part._combine(blocks) for part in self.children], axis=-1)

    def _combine_terms(self, terms: Iterator[Term]) -> Term:
        return Concatenated(tuple(part._combine_terms(terms) for part in self.children))


class MultiplicativeBasis(_Composed):
    """All products of two bases' functions: what `basis1 * basis2` makes.

    Fits an interaction: tuning to two variables that is not the sum of two tunings.

    Parameters
    ----------
    basis1, basis2 : Basis
        The bases; either may itself be composed. All inputs have the same shape.
    label : str, default None
        A name for the product; None is made of the parts' labels.

    Raises
    ------
    ValueError
        When used, if two parts have the same label, or inputs have different channels.

    Notes
    -----
    Row by row the features are the Kronecker product of those of the bases: function
    :math:`i` of the first times function :math:`j` of the second is at :math:`i n_2 + j`.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import BSplineEval, CyclicBSplineEval
    >>> basis = BSplineEval(5, label="place") * CyclicBSplineEval(6, label="phase")
    >>> X = basis.compute_features(np.linspace(0, 1, 100), np.linspace(0, 6, 100) % 1)
    >>> X.shape
    (100, 30)
    >>> basis["phase"].n_basis_funcs
    6
    """

    def _default_label(self, children: list[str]) -> str:
        return f"({' * '.join(children)})"

    @property
    def n_basis_funcs(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many products there are."""
        return self.basis1.n_basis_funcs * self.basis2.n_basis_funcs

    def _combine(self, blocks: Iterator[jax.Array]) -> jax.Array:
        # The row-wise Kronecker product, f_i g_j at i n_g + j.
        one, other = (part._combine(blocks) for part in self.children)
        products = one[..., :, None] * other[..., None, :]
        return products.reshape(*one.shape[:-1], one.shape[-1] * other.shape[-1])

    def _combine_terms(self, terms: Iterator[Term]) -> Term:
        one, other = (part._combine_terms(terms) for part in self.children)
        return Product(one, other)


def _compose(operation: Callable[..., Any], *parts: Basis) -> Any:
    """Compose bases, each with inputs of its own, from the left."""
    whole = reduce(operation, parts)
    by_label(whole)  # refuses labels that are given twice
    return whole


def _without_spaces(label: str) -> str:
    """Write a label that was composed without spaces."""
    return label.replace(" * ", "*").replace(" + ", "+")
