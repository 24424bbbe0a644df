"""Bases that are not composed: basis functions and the feature map that applies them."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, Self

import jax
import numpy as np

from spikax.basis._basis import Basis
from spikax.basis._bounds import Bounds, Intervals
from spikax.basis._feature_maps import Convolution, FeatureMap, Inputs
from spikax.basis._inputs import Leaf, Shape
from spikax.basis._terms import stored_term
from spikax.design import Term


class LeafBasis(Basis, Leaf):
    """A basis that takes inputs itself."""

    n_basis_funcs: int
    bounds: Any = None  # that the user has set
    _shapes: tuple[Shape, ...] | None = None  # of a sample of each input

    def _default_label(self, children: list[str]) -> str:
        return type(self).__name__

    def _leaves(self) -> tuple[Leaf, ...]:
        return (self,)

    def _combine(self, blocks: Iterator[jax.Array]) -> jax.Array:
        return next(blocks)

    def _combine_terms(self, terms: Iterator[Term]) -> Term:
        return next(terms)

    def _set_shapes(self, shapes: tuple[Shape, ...]) -> None:
        if len(set(shapes)) > 1:
            raise ValueError(
                f"The inputs of {self.label} have samples of shapes {list(shapes)}, but need the "
                "same one. Give each the channels of the others."
            )
        self._shapes = shapes

    def _input_shapes(self) -> list[Shape | None]:
        return list(self._shapes or (None,) * self.n_inputs)

    def _sample_shape(self) -> Shape | None:
        return None if self._shapes is None else self._shapes[0]

    def _term(self, xs: Inputs) -> tuple[Term, np.ndarray]:
        return stored_term(np.asarray(self._features(xs)))

    def __sklearn_clone__(self) -> Self:
        copy = super().__sklearn_clone__()
        copy._shapes = self._shapes  # a transformer needs them before it is fitted
        return copy


class AtomicBasis(LeafBasis):
    """A basis of one family of functions; a subclass says which, and how they are applied."""

    _learned: Intervals | None = None  # bounds learned from inputs

    def _feature_map(self) -> FeatureMap:
        """Make the feature map, which checks the parameters."""
        raise NotImplementedError

    @property
    def n_inputs(self) -> int:
        """How many inputs the basis takes."""
        return self._feature_map().function.n_inputs

    @property
    def bounds_(self) -> Bounds | Intervals | None:
        """The bounds learned from inputs: (low, high), with several inputs one pair for each.

        Of inputs with channels, low and high are arrays with an entry for each. None if bounds
        are given, or nothing was seen.
        """
        learned = self._learned
        return learned[0] if learned is not None and len(learned) == 1 else learned

    @property
    def kernel_(self) -> jax.Array:
        """The filters of a Conv basis, shape (window_size, n_basis_funcs), shortest lag first."""
        raise AttributeError(f"{self.label} has no kernel_: it does not convolve.")

    @property
    def lags_(self) -> np.ndarray:
        """Samples from an event to what the rows of `kernel_` make of it, shape (window_size,)."""
        raise AttributeError(f"{self.label} has no lags_: it does not convolve.")

    def _read(self, x: Any, name: str) -> Any:
        return self._feature_map().read(x, name)

    def _features(self, xs: Inputs) -> jax.Array:
        self._setup_once(xs)
        return self._feature_map().features(xs)

    def _values(self, xs: Inputs) -> jax.Array:
        return self._feature_map().evaluate(xs)

    def _term(self, xs: Inputs) -> tuple[Term, np.ndarray]:
        self._setup_once(xs)
        return self._feature_map().term(xs)

    def _grid(self, n_points: tuple[int, ...]) -> list[np.ndarray]:
        return self._feature_map().grid(n_points)

    def _setup(self, xs: Inputs) -> None:
        self._learned = self._feature_map().learn_bounds(xs)

    def _setup_once(self, xs: Inputs) -> None:
        """Learn bounds, unless that was done before from inputs with these channels."""
        seen = [np.shape(low) for low, _ in self._learned or ()]
        shapes = [np.shape(x)[1:] for x in xs]
        if seen != [shape if prod(shape) > 1 else () for shape in shapes]:
            self._setup(xs)


class ConvBasis(AtomicBasis):
    """A basis whose functions are filters."""

    def _feature_map(self) -> Convolution:
        raise NotImplementedError

    @property
    def kernel_(self) -> jax.Array:
        """The filters, shape (window_size, n_basis_funcs), shortest lag first."""
        return self._feature_map().kernel()

    @property
    def lags_(self) -> np.ndarray:
        """Samples from an event to what the rows of `kernel_` make of it, shape (window_size,)."""
        convolution = self._feature_map()
        return np.arange(convolution.window_size) - convolution.extent()[1]
