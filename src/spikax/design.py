"""Design matrices: held in blocks of samples, or evaluated where a block is needed."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeGuard, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from spikax._pytrees import register

_BLOCK = 20480
_EVALUATED_BLOCK = 2048  # so that the features of a block need little room, and stay in a cache
_ROWS = 256


class Design(Protocol):
    """The features of all samples, which a pass over the data takes one block at a time."""

    held: ClassVar[bool]  # whether the features lie in memory

    @property
    def n_features(self) -> int:
        """Number of columns."""
        ...

    @property
    def pieces(self) -> Any:
        """What `features` takes for each block, with an axis of blocks in front."""
        ...

    def features(self, piece: Any) -> jax.Array:
        """Features of a block, (n_features, block)."""
        ...

    def rows(self, index: jax.Array) -> jax.Array:
        """Features of some samples, counted over all blocks, (n_rows, n_features)."""
        ...


@register
@dataclass(frozen=True)
class Dense:
    """A design that lies in memory, (n_blocks, n_features, block)."""

    held: ClassVar[bool] = True

    blocks: jax.Array

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.blocks.shape[1]

    @property
    def pieces(self) -> jax.Array:
        """The blocks themselves."""
        return self.blocks

    def features(self, piece: jax.Array) -> jax.Array:
        """Features of a block, (n_features, block)."""
        return piece

    def rows(self, index: jax.Array) -> jax.Array:
        """Features of some samples, (n_rows, n_features)."""
        block = self.blocks.shape[2]
        return self.blocks[index // block, :, index % block]


@runtime_checkable
class FeatureSource(Protocol):
    """What models take in place of an array of features: a design matrix that need not exist."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n_samples, n_features)."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Type of the numbers that features are evaluated from."""
        ...

    @property
    def known(self) -> np.ndarray | None:
        """Which samples have all features, (n_samples,); None is all."""
        ...

    @property
    def missing(self) -> dict[str, int]:
        """For the name of each input, how many samples lack its features."""
        ...

    @property
    def series(self) -> Any:
        """A time series among the inputs; None if there is none."""
        ...

    @property
    def blocks(self) -> tuple[int, int]:
        """Number and length of the blocks."""
        ...

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __matmul__(self, coef: Any) -> jax.Array:
        """Multiply with coefficients; NaN where features are missing."""
        ...

    def times(self, coef: Any, missing: float = np.nan) -> jax.Array:
        """Multiply with coefficients, with a value where features are missing."""
        ...

    def compute(self) -> Any:
        """Compute the features, (n_samples, n_features)."""
        ...

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """Compute the weighted mean of each column."""
        ...

    def spread(self, rows: np.ndarray | None) -> Any:
        """Measure the columns of each block over the samples that count, as `Spread` says."""
        ...

    def evaluated(
        self, rows: np.ndarray | None = None, center: Any = 0.0, scale: Any = 1.0
    ) -> Design:
        """Make the design of standardised features, zero in samples that do not count."""
        ...


def is_source(X: Any) -> TypeGuard[FeatureSource]:
    """Tell whether features are a source of features, and not an array or a container."""
    # To ask an array whether it follows a protocol would take longer than most checks.
    return not isinstance(X, np.ndarray) and isinstance(X, FeatureSource)


class Term(Protocol):
    """Some features, as a pytree of what they are evaluated from."""

    def features(self, start: Any, length: int) -> jax.Array:
        """Features of `length` samples from `start` on, (n_channels, n_functions, length)."""
        ...


@register
@dataclass(frozen=True)
class Evaluated:
    """A design whose features are evaluated when a pass comes to their block."""

    held: ClassVar[bool] = False

    terms: tuple[Term, ...]  # what the features are evaluated from, side by side
    counted: jax.Array  # which samples count, (n_blocks, 1, block): the others have zeros
    center: jax.Array  # features are (x - center) * factor: both (n_features, 1)
    factor: jax.Array

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.center.shape[0]

    @property
    def pieces(self) -> tuple[jax.Array, jax.Array]:
        """The number of each block, and which of its samples count."""
        return jnp.arange(len(self.counted)), self.counted

    def features(self, piece: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Features of a block, (n_features, block)."""
        index, counted = piece
        block = counted.shape[1]
        return self._standardised(self._raw(index * block, block), counted)

    def rows(self, index: jax.Array) -> jax.Array:
        """Features of some samples, (n_rows, n_features)."""
        counted = self.counted.reshape(-1)

        def row(i):
            return self._standardised(self._raw(i, 1), counted[i][None, None])[:, 0]

        if self.n_features == 0:  # of which JAX makes no batches
            return jnp.zeros((len(index), 0), self.center.dtype)
        return jax.lax.map(row, index, batch_size=_ROWS)

    def _raw(self, start: Any, length: int) -> jax.Array:
        blocks = [term.features(start, length).reshape(-1, length) for term in self.terms]
        return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks)

    def _standardised(self, raw: jax.Array, counted: jax.Array) -> jax.Array:
        return jnp.where(counted, (raw - self.center) * self.factor, 0)


class Spread(NamedTuple):
    """What each block holds: samples that count, and moments and range of its columns."""

    n: Any  # (n_blocks,)
    mean: Any  # (n_blocks, n_features)
    squares: Any  # sums of squared deviations from the mean, (n_blocks, n_features)
    low: Any  # (n_blocks, n_features)
    high: Any  # (n_blocks, n_features)


@jax.jit
def spread(design: Evaluated) -> Spread:
    """Measure the columns of each block."""

    def of_block(piece):
        X, counted = design.features(piece), piece[1]
        n = counted.sum()
        mean = X.sum(axis=1) / jnp.maximum(n, 1)
        squares = jnp.sum(jnp.where(counted, X - mean[:, None], 0) ** 2, axis=1)
        low = jnp.min(X, axis=1, where=counted, initial=jnp.inf)
        high = jnp.max(X, axis=1, where=counted, initial=-jnp.inf)
        return Spread(n, mean, squares, low, high)

    return jax.lax.map(of_block, design.pieces)


@jax.jit
def products(design: Evaluated, coef: jax.Array, missing: float) -> jax.Array:
    """Features times coefficients (n_features, n), and a value where samples do not count."""

    # A derivative in the coefficients would keep the features of all blocks.
    @jax.checkpoint
    def of_block(piece):
        return jnp.where(piece[1].T, design.features(piece).T @ coef, missing)

    return jax.lax.map(of_block, design.pieces).reshape(-1, coef.shape[1])


@jax.jit
def weighted_sum(design: Evaluated, weights: jax.Array) -> jax.Array:
    """Sum of the features times weights (n_blocks, block), (n_features,)."""

    def of_block(item):
        piece, weight = item
        return design.features(piece) @ weight

    return jax.lax.map(of_block, (design.pieces, weights)).sum(axis=0)


def padded_length(n_samples: int) -> int:
    """Round a number of samples up to one that a program is compiled for."""
    # The folds of a cross-validation differ by a sample or two and should share a program.
    n_blocks, block = blocks(n_samples)
    return n_blocks * block


def blocks(n_samples: int, evaluated: bool = False) -> tuple[int, int]:
    """Choose the number and the length of the blocks for so many samples of a design."""
    wanted = n_samples + 11  # steps away from the round numbers at which users cut their data
    length = wanted / max(1, round(wanted / (_EVALUATED_BLOCK if evaluated else _BLOCK)))
    step = max(64, 1 << max(0, int(length).bit_length() - 5))
    block = math.ceil(length / step) * step
    return math.ceil(wanted / block), block


def aligned_zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Make an array that JAX can take without a copy: XLA's arrays start at multiples of 64."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.zeros(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].view(dtype).reshape(shape)


def without_copy(array: np.ndarray) -> Any:
    """Hand a large array over without a copy; a program copies small ones faster."""
    return jax.device_put(array, may_alias=True) if array.nbytes > 2**20 else array
