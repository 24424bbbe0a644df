"""The samples of a fit, and every sum over them: all that knows where samples lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from spikax._pytrees import register
from spikax.design import Dense, Design

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


@register
@dataclass(frozen=True)
class Samples:
    """Features, observations, weights and offsets of all samples.

    They lie in blocks, with the samples on the last axis: so both products of a pass over the data
    run along contiguous memory. The last block is padded with samples of weight zero. What reduces
    or maps them is a function of a block, `of_block(X, y, weights, offset)`, with `X` of shape
    (n_features, block).

    Parameters
    ----------
    X
        Standardised features.
    y
        Observations, (n_blocks, n_neurons, block), zero where they are to be ignored.
    weights
        Weights of the samples, (n_blocks, 1 or n_neurons, block); zero ignores a sample. Their
        mean over the samples that count is one.
    offset
        Added to the linear predictor, shaped as weights may be, or None; of several linear
        predictors (n_blocks, n_predictors, 1 or n_neurons, block).
    total_weight
        Sum of the weights of each neuron, (n_neurons,): the effective number of its samples.
    n_observations
        How many observations of each neuron the user's weights stand for, (n_neurons,): for
        degrees of freedom.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X, y = np.ones((5, 2)), np.array([[0.0], [1.0], [0.0], [2.0], [1.0]])
    >>> samples = nmo.glm.PopulationGLM().assemble(X, y).samples
    >>> samples.total_weight.tolist()
    [5.0]
    >>> samples.sum(lambda X, y, weights, offset: (weights * y).sum(axis=1)).tolist()
    [4.0]
    """

    control: ClassVar[Any] = jax.lax  # loops and branches around sums; see `core.host`
    at_hand: ClassVar[bool] = True  # whether a program holds the samples

    X: Design
    y: Float[Array, "block neuron sample"]
    weights: Float[Array, " block #neuron sample"]
    offset: Float[Array, " block *predictor #neuron sample"] | None
    total_weight: Float[Array, " neuron"]
    n_observations: Float[Array, " neuron"]

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return self.y.shape[1]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.X.n_features

    @property
    def n_samples(self) -> int:
        """Number of samples, the padding included."""
        return len(self.y) * self.y.shape[2]

    def n_factors(self, n_parameters: int) -> int:
        """How many factors of matrices of so many parameters take no more room than features.

        Parameters
        ----------
        n_parameters
            Number of rows of a factor.

        Returns
        -------
        int
            Their number.
        """
        return self.n_samples // n_parameters

    def sum(self, of_block: Callable, combine: Callable = jnp.add, more: tuple = ()) -> Any:
        """Sum a function of a block over all blocks, with temporaries of the size of one.

        Parameters
        ----------
        of_block
            Function of `(X, y, weights, offset, *more)` to a pytree of arrays. Where it binds
            arrays, best a `jax.tree_util.Partial` of a function of a module, so that the same
            program serves it wherever it runs.
        combine
            What to do instead of adding, such as `jax.numpy.maximum`.
        more
            Further arrays, in blocks like the samples.

        Returns
        -------
        pytree of arrays
            The sums.
        """
        blocks = (*self._pieces(), *more)
        of_piece = self._of_piece(of_block)
        first = jax.tree.map(lambda a: a.reshape(a.shape[1:]) if len(a) == 1 else a[0], blocks)
        if len(self.y) == 1:
            return of_piece(first)
        shapes = jax.eval_shape(of_piece, first)
        zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

        def add(total, piece):
            return jax.tree.map(combine, total, of_piece(piece)), None

        return jax.lax.scan(add, zero, blocks)[0]

    def map(self, of_block: Callable) -> Float[Array, "row all_samples"]:
        """Compute a function of a block for all samples.

        Parameters
        ----------
        of_block
            Function of `(X, y, weights, offset)` to an array (n_rows, block).

        Returns
        -------
        array
            The values of the samples in their order, (n_rows, n_samples).
        """
        values = jax.lax.map(self._of_piece(of_block), self._pieces())
        return jnp.moveaxis(values, 0, 1).reshape(values.shape[1], -1)

    def take(self, rows: Int[Array, " row"]) -> Samples:
        """Take some samples as one block.

        Parameters
        ----------
        rows
            Indices of the samples, counted over all blocks, (n_rows,).

        Returns
        -------
        Samples
            These, in this order.
        """
        block = self.y.shape[2]

        def pick(array):
            taken = array[rows // block, ..., rows % block]
            return jnp.moveaxis(taken, 0, -1)[None]

        weights = pick(self.weights)
        share = rows.size / self.n_samples
        return Samples(
            X=Dense(self.X.rows(rows).T[None]),
            y=pick(self.y),
            weights=weights,
            offset=None if self.offset is None else pick(self.offset),
            total_weight=jnp.broadcast_to(weights.sum(axis=(0, 2)), self.total_weight.shape),
            n_observations=share * self.n_observations,
        )

    def neurons(self, index: Int[Array, " chosen"]) -> Samples:
        """Restrict the samples to some neurons.

        Parameters
        ----------
        index
            Indices of the neurons, (n_chosen,).

        Returns
        -------
        Samples
            The same samples of these neurons.
        """

        def pick(a):
            return a if a is None or a.shape[-2] == 1 else jnp.take(a, index, axis=-2)

        return replace(
            self,
            y=self._observed(index),
            weights=pick(self.weights),
            offset=pick(self.offset),
            total_weight=jnp.take(self.total_weight, index),
            n_observations=jnp.take(self.n_observations, index),
        )

    def _observed(self, index: Int[Array, " chosen"]) -> Any:
        return jnp.take(self.y, index, axis=1)

    def _pieces(self) -> tuple:
        return self.X.pieces, self.y, self.weights, self.offset

    def _of_piece(self, of_block: Callable) -> Callable:
        def of_piece(piece):
            return of_block(self.X.features(piece[0]), *piece[1:])

        # A derivative of a sum must not keep what is evaluated block by block.
        return of_piece if self.X.held else jax.checkpoint(of_piece, prevent_cse=False)
