"""Features that lie in a store: a file or a chunked array that is larger than memory.

A fit reads them block by block, once for each pass over the data, while a thread reads ahead.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype
from tqdm import tqdm

from spikax.design import Spread, aligned_zeros
from spikax.design import blocks as blocks_of

__all__ = ["stored"]

_PIECE = 512  # rows that stay in a processor's cache while they are turned
_IN_FLIGHT = 6  # blocks and temporaries of their size that there are at once
_OUR_OWN = ("numpy", "jax", "jaxlib", "pandas", "pynapple", "scipy", "polars")


def stored(
    X: Any,
    memory_limit: int | None = None,
    verbose: bool = False,
    checkpoint: str | os.PathLike | None = None,
) -> StoredFeatures:
    """Let models read features block by block from where they are stored.

    Models do so by themselves with a NumPy memory map and with what has a `shape`, a `dtype` and
    slices of its own (zarr and h5py, dask arrays), if it would take more than a quarter of the
    memory that is free. This says so for other sizes, and with another limit.

    Parameters
    ----------
    X
        The store, (n_samples, n_features), of which slices of rows are arrays of numbers. A row
        with NaN is ignored.
    memory_limit
        Bytes that blocks may take (default a quarter of the memory that is free).
    verbose
        Whether to show progress over the blocks of each pass, with its number (default not).
    checkpoint
        Path of a file that keeps the point which a fit has reached, after each pass. The same fit
        goes on from it, if it was interrupted, and removes it at its end; None (default) keeps
        nothing.

    Returns
    -------
    StoredFeatures
        What models take as `X`.

    Raises
    ------
    TypeError
        If `X` is no store of numbers.
    ValueError
        If it has not two axes, no block fits the limit, or the folder of `checkpoint` is not
        there; from a fit, if `checkpoint` is that of another problem.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X, y = np.ones((100, 1)), np.arange(100) % 2
    >>> model = nmo.glm.GLM().fit(nmo.stores.stored(X), y)
    >>> print(model.predict(nmo.stores.stored(X)).mean().round(3))
    0.5
    """
    if not (hasattr(X, "shape") and hasattr(X, "dtype") and hasattr(X, "__getitem__")):
        raise TypeError(
            "X must be a store: an array with a shape, a dtype and slices, such as a NumPy memory "
            f"map, a zarr array, or an h5py dataset, not {type(X).__name__}."
        )
    if len(X.shape) != 2:
        raise ValueError(f"X must have shape (n_samples, n_features), got {tuple(X.shape)}.")
    if np.dtype(X.dtype).kind not in "biuf":
        raise TypeError(f"X must hold real numbers, got dtype {X.dtype}.")
    limit = free_memory() // 4 if memory_limit is None else memory_limit
    if not isinstance(limit, int | np.integer) or limit <= 0:
        raise ValueError(f"memory_limit must be a number of bytes, got {memory_limit!r}.")
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and not path.absolute().parent.is_dir():
        raise ValueError(f"checkpoint is {path}, but there is no folder {path.parent}.")
    return StoredFeatures(X, int(limit), verbose, path)


def is_large_store(X: Any) -> bool:
    """Tell a store that had better not be loaded."""
    if not isinstance(X, np.memmap):
        if type(X).__module__.partition(".")[0] in (*_OUR_OWN, "builtins"):
            return False
        if not all(hasattr(X, name) for name in ("shape", "dtype", "__getitem__")):
            return False
    try:
        kind, n_numbers = np.dtype(X.dtype).kind, math.prod(X.shape)
    except TypeError:
        return False
    if len(X.shape) != 2 or kind not in "biuf":
        return False
    return n_numbers * canonicalize_dtype(float).itemsize > free_memory() // 4


def free_memory() -> int:
    """Bytes of memory that are available, or half of all where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(li.split()[1]) for li in lines if li.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError):  # Windows
        return 8 * 2**30


class _Survey(NamedTuple):
    """What one pass tells of a store."""

    known: np.ndarray | None  # which rows have no NaN, None for all
    spread: Spread  # of these


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """Features in a store, which `stored` makes; models take it as `X`.

    Parameters
    ----------
    array
        The store.
    memory_limit
        Bytes that blocks may take.
    verbose
        Whether to show progress.
    checkpoint
        Where fits keep the point that they have reached.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X = nmo.stores.stored(np.ones((1000, 3)))
    >>> X.shape, (X @ np.ones((3, 2))).shape
    ((1000, 3), (1000, 2))
    """

    array: Any = field(repr=False)
    memory_limit: int
    verbose: bool = False
    checkpoint: Path | None = None
    _passes: Iterator[int] = field(default_factory=partial(count, 1), init=False, repr=False)

    ndim: ClassVar[int] = 2
    series: ClassVar[Any] = None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_samples, n_features)."""
        n_samples, n_features = self.array.shape
        return int(n_samples), int(n_features)

    @property
    def dtype(self) -> np.dtype:
        """Type of the numbers that the features are widened to."""
        return np.result_type(self.array.dtype, np.float32)

    @cached_property
    def blocks(self) -> tuple[int, int]:
        """Number and length of the blocks: as many rows as fit the limit, by whole chunks."""
        n_samples, n_features = self.shape
        room = self.memory_limit // (_IN_FLIGHT * 8 * max(1, n_features))
        if room < 64:
            raise ValueError(
                f"memory_limit is {self.memory_limit} bytes, but 64 rows of {n_features} features "
                f"in {_IN_FLIGHT} blocks take {64 * _IN_FLIGHT * 8 * n_features}: raise it."
            )
        _, block = blocks_of(n_samples)
        block = min(block, room)
        chunks = getattr(self.array, "chunks", None)
        rows = 0
        if chunks:
            rows = chunks[0] if np.ndim(chunks[0]) == 0 else max(chunks[0])  # dask's are tuples
        if rows and rows <= room:
            block = max(1, block // rows) * rows
        return max(1, math.ceil(n_samples / block)), int(block)

    @property
    def known(self) -> np.ndarray | None:
        """Which samples have all features, (n_samples,); None is all."""
        return self._survey.known

    @property
    def missing(self) -> dict[str, int]:
        """How many samples lack features."""
        return {} if self.known is None else {"X": int(np.sum(~self.known))}

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read some rows, as floats."""
        try:
            rows = np.asarray(self.array[start:stop]).astype(self.dtype, copy=False)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            path = next((v for v in map(self._named, ("filename", "store", "file")) if v), "")
            raise OSError(
                f"Rows {start} to {stop - 1} of X{f' in {path}' if path else ''} could not be "
                f"read: {error}"
            ) from error
        if rows.shape != (stop - start, self.shape[1]):
            raise OSError(
                f"X has shape {self.shape}, but rows {start} to {stop - 1} (block "
                f"{start // self.blocks[1]}) were read with shape {rows.shape}: the store ends "
                "early."
            )
        return rows

    def _named(self, name: str) -> Any:
        return getattr(self.array, name, None)

    def read_blocks(self, make: Callable[[int], Any], which: Any = None) -> Iterator[Any]:
        """Make something of each block, or of some, the next one while the last is used."""
        index = range(self.blocks[0]) if which is None else which
        name = f"pass {next(self._passes)}"
        with ThreadPoolExecutor(1) as thread:
            ahead = None
            for i in tqdm(index, name, unit="block", disable=not self.verbose, leave=False):
                found, ahead = ahead, thread.submit(make, int(i))
                if found is not None:
                    yield found.result()
            if ahead is not None:
                yield ahead.result()

    def rows_of(self, index: int) -> tuple[int, int]:
        """First row of a block, and the one after its last."""
        block = self.blocks[1]
        return index * block, min((index + 1) * block, len(self))

    @cached_property
    def _survey(self) -> _Survey:
        """Look at all rows once."""
        known = np.ones(len(self), bool)

        def look(index: int) -> tuple:
            start, stop = self.rows_of(index)
            some = self.read(start, stop)
            infinite = np.isinf(some)
            if infinite.any():
                row, column = np.argwhere(infinite)[0]
                raise ValueError(
                    f"X is infinite in row {start + row}, column {column} (block {index}). Clean "
                    "it, or put NaN where a row is to be ignored."
                )
            missing = np.isnan(some).any(axis=1)
            return _spread_of(some[~missing] if missing.any() else some), missing

        spreads = []
        for index, (spread, missing) in enumerate(self.read_blocks(look)):
            start, stop = self.rows_of(index)
            known[start:stop] = ~missing
            spreads.append(spread)
        found = Spread(*(np.stack(part) for part in zip(*spreads, strict=True)))
        return _Survey(None if known.all() else known, found)

    def spread(self, rows: np.ndarray | None) -> Spread:
        """Measure the columns of each block over the samples that count."""
        survey = self._survey
        known = np.ones(len(self), bool) if survey.known is None else survey.known
        counted = known if rows is None else np.asarray(rows)
        if (counted == known).all():
            return survey.spread

        def look(index: int) -> Spread:
            start, stop = self.rows_of(index)
            return _spread_of(self.read(start, stop)[counted[start:stop]])

        return Spread(*(np.stack(p) for p in zip(*self.read_blocks(look), strict=True)))

    def evaluated(
        self, rows: np.ndarray | None = None, center: Any = 0.0, scale: Any = 1.0
    ) -> StoredDesign:
        """Make the design of standardised features, zero in samples that do not count."""
        n_blocks, block = self.blocks
        n_features = self.shape[1]
        counted = np.zeros(n_blocks * block, bool)
        counted[: len(self)] = True if rows is None else rows
        if self.known is not None:
            counted[: len(self)] &= self.known
        return StoredDesign(
            source=self,
            counted=counted,
            center=np.broadcast_to(np.asarray(center, float), n_features),
            factor=np.broadcast_to(1 / np.asarray(scale, float), n_features),
            dtype=np.dtype(canonicalize_dtype(float)),
        )

    def __matmul__(self, coef: Any) -> np.ndarray:
        return self.times(coef)

    def times(self, coef: Any, missing: float = np.nan) -> np.ndarray:
        """Multiply with coefficients, with a value where features are missing."""
        coef = np.asarray(coef)

        def product(index: int) -> np.ndarray:
            some = self.read(*self.rows_of(index))
            lacks: Any = np.isnan(some).any(axis=1)
            found = (np.where(lacks[:, None], 0, some) if lacks.any() else some) @ coef
            found[lacks] = missing
            return found

        return np.concatenate(list(self.read_blocks(product)))

    def compute(self) -> np.ndarray:
        """Load all features, (n_samples, n_features)."""
        return self.read(0, len(self))

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """Compute the weighted mean of each column."""
        weights = np.asarray(weights, float).reshape(-1)

        def total(index: int) -> np.ndarray:
            start, stop = self.rows_of(index)
            own = weights[start:stop]
            return own[own > 0] @ self.read(start, stop)[own > 0]

        return sum(self.read_blocks(total)) / weights.sum()


def _spread_of(rows: np.ndarray) -> Spread:
    """Measure the columns of some rows."""
    n, width = rows.shape
    if n == 0:
        zero = np.zeros(width)
        return Spread(np.asarray(0.0), zero, zero, zero + np.inf, zero - np.inf)
    mean = rows.mean(axis=0, dtype=float)
    squares = np.zeros(width)
    for start in range(0, n, _PIECE):
        away = rows[start : start + _PIECE] - mean
        squares += np.einsum("tp,tp->p", away, away)
    low, high = rows.min(axis=0).astype(float), rows.max(axis=0).astype(float)
    return Spread(np.asarray(float(n)), mean, squares, low, high)


@dataclass(frozen=True, eq=False)
class StoredDesign:
    """Standardised features that are read when a pass comes to their block."""

    held: ClassVar[bool] = False

    source: StoredFeatures
    counted: np.ndarray  # which samples count, (n_blocks * block,)
    center: np.ndarray  # (n_features,)
    factor: np.ndarray  # (n_features,)
    dtype: np.dtype

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.center.size

    def laid_out(self, index: int) -> np.ndarray:
        """Read, center, scale and turn a block: in the input's precision, few rows at a time."""
        start, stop = self.source.rows_of(index)
        rows, counted = self.source.read(start, stop), self.counted[start:stop]
        laid = aligned_zeros((self.n_features, self.source.blocks[1]), self.dtype)
        center, factor = self.center.astype(rows.dtype), self.factor.astype(self.dtype)
        for at in range(0, len(rows), _PIECE):
            piece = slice(at, min(at + _PIECE, len(rows)))
            some = (rows[piece] - center).astype(self.dtype, copy=False)
            some *= factor
            if not counted[piece].all():
                some[~counted[piece]] = 0
            laid[:, piece] = some.T
        return laid

    def rows(self, index: Any) -> jax.Array:
        """Features of some samples, counted over all blocks, (n_rows, n_features)."""
        index = np.asarray(index)
        found = np.zeros((index.size, self.n_features), self.dtype)
        of_block = index // self.source.blocks[1]
        which = np.unique(of_block)
        read = self.source.read_blocks(self.laid_out, which)
        for block, features in zip(which, read, strict=True):
            own = of_block == block
            found[own] = features[:, index[own] % self.source.blocks[1]].T
        return jnp.asarray(found)
