"""A design matrix that need not exist: a basis and its inputs, which models take as features."""

from dataclasses import dataclass, field
from math import prod
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype

from spikax.basis._inputs import ComputesFeatures, common_series
from spikax.design import Evaluated, Term, blocks, products, spread, weighted_sum

B = TypeVar("B", bound=ComputesFeatures)


@dataclass(frozen=True, eq=False)
class BasisDesign(Generic[B]):
    """The features of a basis, evaluated block by block where a model needs them.

    `Basis.design` makes it, and models take it in place of the features: a fit holds the inputs
    and the features of one block of samples at a time.

    Parameters
    ----------
    basis : Basis
        What the features are of, a copy with the bounds that were learned:
        `design.basis.design` makes the design of other data.
    inputs : tuple
        The inputs, one for each of the basis.
    shape : tuple
        (n_samples, n_features).
    known : array, shape (n_samples,)
        Which samples have features: the others are ignored like NaN. None is all.
    terms : tuple
        What the features are evaluated from.
    missing : dict
        For the label of each basis, how many samples lack its features.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import BasisDesign, RaisedCosineLogConv
    >>> counts = np.random.default_rng(0).poisson(0.1, (1000, 15))
    >>> design = RaisedCosineLogConv(4, window_size=25).design(counts)
    >>> isinstance(design, BasisDesign), design.shape
    (True, (1000, 60))
    >>> (design @ np.ones((60, 2))).shape
    (1000, 2)
    >>> design.compute().shape
    (1000, 60)
    """

    basis: B
    inputs: tuple[Any, ...] = field(repr=False)
    shape: tuple[int, int]
    known: np.ndarray | None = field(repr=False)
    terms: tuple[Term, ...] = field(repr=False)
    missing: dict[str, int] = field(repr=False)

    ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype:
        """Type of the numbers that the features are evaluated from."""
        return np.result_type(*(leaf.dtype for leaf in jax.tree.leaves(self.terms)))

    @property
    def blocks(self) -> tuple[int, int]:
        """Number and length of the blocks."""
        return blocks(len(self), evaluated=True)

    @property
    def series(self) -> Any:
        """One of the inputs that are time series; None if there is none."""
        return common_series(self.inputs)

    def compute(self) -> Any:
        """Compute the features, as `Basis.compute_features` does.

        Returns
        -------
        array or pynapple TsdFrame, shape (n_samples, n_features)
        """
        return self.basis.compute_features(*self.inputs)

    def __matmul__(self, coef: Any) -> jax.Array:
        return self.times(coef)

    def times(self, coef: Any, missing: float = np.nan) -> jax.Array:
        """Multiply with coefficients, block by block.

        Parameters
        ----------
        coef : array, shape (n_features, n)
            JAX may trace it.
        missing : float, default NaN
            What samples without features get.

        Returns
        -------
        array, shape (n_samples, n)

        Examples
        --------
        >>> import numpy as np
        >>> from spikax.basis import HistoryConv
        >>> design = HistoryConv(2).design(np.array([5.0, 6.0, 7.0, 8.0]))
        >>> print(design.times(np.array([[1.0], [10.0]]), missing=0.0).ravel())
        [ 0.  0. 56. 67.]
        """
        coef = jnp.asarray(coef, canonicalize_dtype(float))
        return products(self.evaluated(), coef, missing)[: len(self)]

    def spread(self, rows: np.ndarray | None) -> Any:
        """Measure the columns of each block.

        Parameters
        ----------
        rows : array of bool, shape (n_samples,)
            Which samples count; None is all that have features.

        Returns
        -------
        tuple of arrays
            Of each block the number of samples that count, (n_blocks,), and of each of its columns
            the mean, the sum of squares about it, the least and the largest value, each
            (n_blocks, n_features).
        """
        return spread(self.evaluated(rows))

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """Compute the mean of each column.

        Parameters
        ----------
        weights : array, shape (n_samples,)
            What each sample counts.

        Returns
        -------
        array, shape (n_features,)
        """
        total = weighted_sum(self.evaluated(), self._in_blocks(weights, canonicalize_dtype(float)))
        return np.asarray(total) / weights.sum()

    def evaluated(
        self, rows: np.ndarray | None = None, center: Any = 0.0, scale: Any = 1.0
    ) -> Evaluated:
        """Make what a solver asks for blocks of standardised features.

        Parameters
        ----------
        rows : array of bool, shape (n_samples,), default None
            Which samples count, the others' features being zero; None is all that have features.
        center, scale : array, shape (n_features,), or float
            What is subtracted from the features, and what then divides them.

        Returns
        -------
        Evaluated
            The design of a problem.
        """
        dtype = canonicalize_dtype(float)
        counted = np.ones(len(self), bool) if self.known is None else self.known
        counted = counted if rows is None else counted & rows
        factor = 1 / np.asarray(scale)
        center, factor = (
            jnp.broadcast_to(np.asarray(a, dtype), self.shape[1])[:, None]
            for a in (center, factor)
        )
        terms = jax.tree.map(lambda a: a.astype(dtype), self.terms)
        samples = jnp.asarray(self._in_blocks(counted, bool)[:, None])
        return Evaluated(terms, samples, center, factor)

    def _in_blocks(self, samples: np.ndarray, dtype: Any) -> np.ndarray:
        padded = np.zeros(prod(self.blocks), dtype)
        padded[: len(samples)] = samples
        return padded.reshape(self.blocks)


def make_design(
    basis: B,
    inputs: tuple[Any, ...],
    n_features: int,
    terms: tuple[Term, ...],
    known: dict[str, np.ndarray],
) -> BasisDesign[B]:
    """Make the design of terms; `known` tells for each label which samples have features."""
    complete = np.logical_and.reduce(list(known.values()))
    missing = {label: int(np.sum(~own)) for label, own in known.items()}
    return BasisDesign(
        basis,
        inputs,
        (len(complete), n_features),
        None if complete.all() else complete,
        terms,
        missing,
    )
