"""A basis as a scikit-learn transformer: for pipelines and searches over its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from math import prod
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
    validate_data,
)

from spikax._time_series import TimeSeries, like, raw
from spikax.basis._inputs import ComputesFeatures, Leaf, Shape, one_by_name


class Transformable(ComputesFeatures, Protocol):
    """What a transformer asks of its basis."""

    n_basis_funcs: int

    @property
    def label(self) -> str:
        """What the basis is called."""
        ...

    @property
    def input_shape(self) -> list[Shape | None]:
        """The shape of a sample of each input, where it is known."""
        ...

    def __getitem__(self, label: str | int) -> Any:
        """Return the part with a label, or the term of a number."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Go over the terms of a sum."""
        ...

    def __len__(self) -> int:
        """Return the number of terms."""
        ...

    def __add__(self, other: Any) -> Any:
        """Put features side by side."""
        ...

    def __mul__(self, other: Any) -> Any:
        """Multiply features."""
        ...

    def __pow__(self, exponent: int) -> Any:
        """Multiply features with themselves."""
        ...

    def set_input_shape(self, *shapes: Any) -> Any:
        """Take note of the shapes of inputs."""
        ...

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return parameters by name."""
        ...

    def set_params(self, **params: Any) -> Any:
        """Set parameters by name."""
        ...

    def _leaves(self) -> Sequence[Leaf]:
        """Return the parts that take inputs, in the order of these."""
        ...

    def _feature_names(self) -> list[str]:
        """Name the columns of the features."""
        ...


B = TypeVar("B", bound=Transformable)


class TransformerBasis(TransformerMixin, BaseEstimator, Generic[B]):
    """Features of a basis, computed from the columns of one array.

    Bounds that the basis does not set are learned from the data of `fit` and kept.

    Parameters
    ----------
    basis : Basis
        The basis. Its parameters can be set under their own names too: `n_basis_funcs`, or
        `label__n_basis_funcs` for a part of it, stand for `basis__n_basis_funcs` and so on.

    Attributes
    ----------
    basis_ : Basis
        The copy that has learned from the data.
    n_features_in_ : int
        Columns seen in `fit`.
    feature_names_in_ : array of str, shape (n_features_in,)
        Names of these columns, if they have any.

    Raises
    ------
    TypeError
        When used, if `basis` is not a basis.
    ValueError
        When used, if the columns do not match the inputs of the basis.

    Notes
    -----
    Inputs are taken from the columns from left to right, each as many as `set_input_shape` or
    earlier data said that it has channels, else one. A basis of one input takes all columns.

    All that a basis has, a transformer has too: its parameters, which can be set, its methods, and
    `+`, `*`, `**`, which give transformers. `transformer["label"]` is that of the part of `basis`
    with this label.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import PoissonRegressor
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from spikax.basis import BSplineEval, CyclicBSplineEval
    >>> place = BSplineEval(5, bounds=(0, 1), label="place")
    >>> basis = place + CyclicBSplineEval(6, bounds=(0, 1), label="phase")
    >>> X = np.random.default_rng(0).random((200, 2))
    >>> y = np.random.default_rng(1).poisson(1 + X[:, 0])
    >>> pipeline = make_pipeline(basis.to_transformer(), PoissonRegressor())
    >>> grid = {"transformerbasis__basis__place__n_basis_funcs": [4, 8]}
    >>> GridSearchCV(pipeline, grid, cv=2).fit(X, y).best_estimator_[0].transform(X).shape
    (200, 10)
    """

    def __init__(self, basis: B):
        self.basis = basis

    # What a transformer does not have itself is the basis's.

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "basis" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        fitted = vars(self).get("basis_")
        of_fit = fitted is not None and name not in self.basis.get_params(deep=False)
        return getattr(fitted if of_fit else self.basis, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "basis" or name.startswith("_") or name.endswith("_"):
            super().__setattr__(name, value)
        elif hasattr(self.basis, name):
            setattr(self.basis, name, value)
        else:
            raise ValueError(
                f"{name!r} cannot be set: it is neither 'basis' nor an attribute of "
                f"{self.basis!r:.80}."
            )

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(n for n in dir(self.basis) if n[0] != "_")})

    def __add__(self, other: Any) -> TransformerBasis:
        return TransformerBasis(self.basis + _basis_of(other))

    def __mul__(self, other: Any) -> TransformerBasis:
        return TransformerBasis(self.basis * _basis_of(other))

    __rmul__ = __mul__

    def __pow__(self, exponent: int) -> TransformerBasis:
        return TransformerBasis(self.basis**exponent)

    def __len__(self) -> int:
        return len(self.basis)

    def __iter__(self) -> Iterator[TransformerBasis]:
        return (TransformerBasis(term) for term in self.basis)

    def __getitem__(self, label: str | int) -> TransformerBasis:
        return TransformerBasis(self.basis[label])

    @one_by_name
    def set_input_shape(self, *xi: Any) -> Self:
        """Tell the basis the shape of its inputs, as a `fit` to several of them needs.

        Parameters
        ----------
        *xi : int, tuple of int, or array
            As `Basis.set_input_shape` takes them.

        Returns
        -------
        TransformerBasis
            The transformer itself.

        Examples
        --------
        >>> from spikax.basis import HistoryConv
        >>> HistoryConv(5).to_transformer().set_input_shape(3).n_output_features
        15
        """
        self.basis.set_input_shape(*xi)
        return self

    @one_by_name
    def setup_basis(self, *xi: Any) -> Self:
        """Let the basis learn from inputs.

        Parameters
        ----------
        *xi : array or pynapple object, shape (time, ...)
            One for each input, as `Basis.setup_basis` takes them.

        Returns
        -------
        TransformerBasis
            The transformer itself.
        """
        self.basis.setup_basis(*xi)
        return self

    def to_transformer(self) -> TransformerBasis[B]:
        """Return a transformer of a copy of the basis.

        Returns
        -------
        TransformerBasis
            It is not fitted.
        """
        return TransformerBasis(deepcopy(self.basis))

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the range of each input that has no bounds.

        Parameters
        ----------
        X : array, DataFrame or TsdFrame, shape (time, column)
            The inputs, side by side.
        y : ignored

        Returns
        -------
        TransformerBasis
            The transformer itself.
        """
        if not _is_basis(self.basis):
            raise TypeError(
                f"basis is {self.basis!r}, but must be a basis, such as BSplineEval(8)."
            )
        basis = deepcopy(self.basis)
        basis.setup_basis(*_inputs(basis, self._validated(basis, X, reset=True)))
        self.basis_ = basis
        return self

    def transform(self, X: Any, y: Any = None) -> Any:
        """Compute features.

        Parameters
        ----------
        X : array, DataFrame or TsdFrame, shape (time, column)
            The inputs, side by side.
        y : ignored

        Returns
        -------
        array or TsdFrame, shape (time, n_output_features)

        Examples
        --------
        >>> import numpy as np
        >>> from spikax.basis import BSplineEval
        >>> transformer = BSplineEval(5).to_transformer().fit(np.linspace(0, 1, 9)[:, None])
        >>> transformer.transform(np.array([[0.25], [0.5]])).shape
        (2, 5)
        """
        check_is_fitted(self)
        columns = self._validated(self.basis_, X, reset=False)
        features = self.basis_.compute_features(*_inputs(self.basis_, columns))
        # Models fit the means to features without columns, and refuse a NumPy array without them.
        as_they_are = isinstance(features, TimeSeries) or features.shape[1] == 0
        return features if as_they_are else np.asarray(features)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the features: label, channel in brackets if there are channels, and number.

        Parameters
        ----------
        input_features : array of str, default None
            Names of the columns, which are checked but not used.

        Returns
        -------
        array of str, shape (n_output_features,)

        Examples
        --------
        >>> from spikax.basis import HistoryConv
        >>> import numpy as np
        >>> fitted = HistoryConv(2, label="past").to_transformer().fit(np.ones((9, 2)))
        >>> list(fitted.get_feature_names_out())
        ['past[0]_0', 'past[0]_1', 'past[1]_0', 'past[1]_1']
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features)
        return np.array(self.basis_._feature_names(), dtype=object)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return `basis`, and its parameters, with and without `basis__`.

        Parameters
        ----------
        deep : bool, default True
            Whether to add the parameters of the basis.

        Returns
        -------
        dict
            Parameters by name.
        """
        own = super().get_params(deep=deep)
        return {**self.basis.get_params(), **own} if deep and _is_basis(self.basis) else own

    def set_params(self, **params: Any) -> Self:
        """Set `basis`, or parameters of it, with or without `basis__`.

        Parameters
        ----------
        **params
            New values by name.

        Returns
        -------
        TransformerBasis
            The transformer itself.
        """
        own = {name: params.pop(name) for name in list(params) if name.split("__")[0] == "basis"}
        super().set_params(**own)
        if params:
            self.basis.set_params(**params)
        return self

    def _validated(self, basis: B, X: Any, reset: bool) -> Any:
        """Let scikit-learn check the columns; keep what it would lose: time, and types."""
        array = X if hasattr(X, "iloc") else raw(X, "X")
        text = any(leaf._accepts_text for leaf in basis._leaves())
        dtype = None if text else "numeric"
        checked = validate_data(
            self, array, reset=reset, dtype=dtype, ensure_all_finite="allow-nan"
        )
        return X if isinstance(X, TimeSeries) or (text and hasattr(X, "iloc")) else checked

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []  # float32, or float64 where JAX has it
        return tags


def _basis_of(x: Any) -> Any:
    return x.basis if isinstance(x, TransformerBasis) else x


def _is_basis(x: Any) -> bool:
    """Tell whether `x` is a basis, and not the class of one."""
    return isinstance(x, ComputesFeatures) and not isinstance(x, type)


def _inputs(basis: Transformable, X: Any) -> list[Any]:
    """Cut columns into the inputs of a basis."""
    n_columns = raw(X).shape[1]
    shapes = basis.input_shape
    if len(shapes) == 1 and shapes[0] is None:
        shapes = [() if n_columns == 1 else (n_columns,)]
    widths = [prod(shape or ()) for shape in shapes]
    if sum(widths) != n_columns:
        raise ValueError(
            f"X has {n_columns} columns, but the inputs of {basis.label} have {widths}. "
            "Call set_input_shape on the basis with the number of channels of each."
        )
    stops = np.cumsum(widths)
    return [
        _columns(X, stop - width, stop, shape or ())
        for stop, width, shape in zip(stops, widths, shapes, strict=True)
    ]


def _columns(X: Any, start: int, stop: int, shape: Shape) -> Any:
    """Return some columns as one input; a data frame's keep their own types."""
    columns = X.iloc[:, start:stop].to_numpy() if hasattr(X, "iloc") else raw(X)[:, start:stop]
    return like(columns.reshape(len(columns), *shape), X)
