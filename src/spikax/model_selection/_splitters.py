"""Splitters that know of time: folds of blocks or epochs, and a gap around what is held out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from spikax._time_series import TimeSeries


@dataclass(frozen=True, eq=False)
class BlockKFold:
    """Folds of blocks of time, which are dealt to the folds in turn.

    Each fold holds out blocks from all over the recording, so that slow changes are in all of
    them, while neighbouring samples stay together but at the edges of blocks.

    Parameters
    ----------
    block_length
        Length of the blocks, in seconds, from the first sample on.
    n_splits
        Number of folds, at least 2 (default 5).
    gap
        Samples at most so many seconds from a held-out one are not trained on (default 0). Take
        the length of the history that features look back on: they then know nothing of what was
        held out (Racine 2000, Journal of Econometrics 99).
    times
        Times of the samples, in seconds, (n_samples,), ascending; None (default) takes those of
        the pynapple object that `X` or `y` is.

    Raises
    ------
    ValueError
        If numbers are out of range, or, where it splits, there are no times, or fewer blocks than
        folds.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.model_selection import BlockKFold
    >>> cv = BlockKFold(4.0, n_splits=2, gap=1.0, times=np.arange(16.0))
    >>> for train, test in cv.split():
    ...     print(train, test)
    [ 5  6 13 14 15] [ 0  1  2  3  8  9 10 11]
    [ 0  1  2  9 10] [ 4  5  6  7 12 13 14 15]
    """

    block_length: float
    n_splits: int = 5
    gap: float = 0.0
    times: Any = None

    def __post_init__(self):
        """Check the numbers."""
        if not 0 < self.block_length < np.inf:
            raise ValueError(f"block_length must be positive seconds, got {self.block_length!r}.")
        _check_number_of_folds(self.n_splits)
        _check_gap(self.gap)

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator:
        """Give the samples of each fold.

        Parameters
        ----------
        X, y
            Features and observations; times are read from the one that is a pynapple object.
        groups
            Ignored.

        Yields
        ------
        train, test : array
            Indices of the samples to train on, and of those held out.

        Raises
        ------
        ValueError
            If there are no times, or fewer blocks than folds.
        """
        times = _times(self.times, X, y)
        # A block begins with the sample that lies at its edge up to the rounding of times.
        block = np.floor((times - times[0]) / self.block_length + 1e-6)
        number = np.unique(block, return_inverse=True)[1]
        n_blocks = number[-1] + 1
        if n_blocks < self.n_splits:
            raise ValueError(
                f"n_splits is {self.n_splits}, but there are {n_blocks} blocks of "
                f"{self.block_length:g} s: take shorter blocks, or fewer folds."
            )
        return _folds(times, number % self.n_splits, self.n_splits, self.gap)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Tell the number of folds.

        Parameters
        ----------
        X, y, groups
            Ignored.

        Returns
        -------
        int
            The number of folds.
        """
        return self.n_splits


@dataclass(frozen=True, eq=False)
class EpochKFold:
    """Folds of epochs, such as trials or laps, which are never cut.

    Samples of no epoch are always trained on, but for those in the gap.

    Parameters
    ----------
    epochs
        Epochs to hold out: a pynapple IntervalSet, or their starts and ends in seconds,
        (n_epochs, 2). They do not overlap.
    n_splits
        Number of folds, at least 2, to which the epochs are dealt in turn; None (default) holds
        out one epoch at a time.
    gap
        Samples at most so many seconds from a held-out one are not trained on (default 0), as in
        `BlockKFold`.
    times
        Times of the samples, in seconds, (n_samples,), ascending; None (default) takes those of
        the pynapple object that `X` or `y` is.

    Raises
    ------
    ValueError
        If numbers are out of range, epochs overlap, or there are fewer than folds; where it
        splits, if there are no times, or a fold has no sample.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.model_selection import EpochKFold
    >>> cv = EpochKFold([[0, 2], [4, 6]], times=np.arange(8.0))
    >>> for train, test in cv.split():
    ...     print(train, test)
    [3 4 5 6 7] [0 1 2]
    [0 1 2 3 7] [4 5 6]
    """

    epochs: Any
    n_splits: int | None = None
    gap: float = 0.0
    times: Any = None

    def __post_init__(self):
        """Check the epochs and the numbers."""
        _check_gap(self.gap)
        start, end = _intervals(self.epochs)
        if self.n_splits is not None:
            _check_number_of_folds(self.n_splits)
        if len(start) < (self.n_splits or 2):
            raise ValueError(
                f"There are {len(start)} epochs, and {self.n_splits or 'at least 2'} folds need "
                "one each: pass more epochs, or fewer folds."
            )
        if np.any(end < start) or np.any(start[1:] < end[:-1]):
            raise ValueError(
                "epochs must end after they start, be sorted, and not overlap: fold number "
                "and gap would have no meaning."
            )

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator:
        """Give the samples of each fold.

        Parameters
        ----------
        X, y
            Features and observations; times are read from the one that is a pynapple object.
        groups
            Ignored.

        Yields
        ------
        train, test : array
            Indices of the samples to train on, and of those held out.

        Raises
        ------
        ValueError
            If there are no times, or a fold has no sample.
        """
        times = _times(self.times, X, y)
        start, end = _intervals(self.epochs)
        epoch = np.searchsorted(start, times, side="right") - 1
        inside = (epoch >= 0) & (times <= end[epoch])
        n_splits = self.get_n_splits()
        fold = np.where(inside, epoch % n_splits, n_splits)
        empty = np.setdiff1d(np.arange(n_splits), fold)
        if empty.size:
            raise ValueError(
                f"Fold {empty[0]} has no sample in its epochs: the samples are from {times[0]:g} "
                f"to {times[-1]:g} s. Pass epochs of this recording."
            )
        return _folds(times, fold, n_splits, self.gap)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Tell the number of folds.

        Parameters
        ----------
        X, y, groups
            Ignored.

        Returns
        -------
        int
            The number of folds.
        """
        return len(_intervals(self.epochs)[0]) if self.n_splits is None else self.n_splits


def _folds(times: np.ndarray, fold: np.ndarray, n_splits: int, gap: float) -> Iterator:
    """Hold out the samples of each fold, and leave out of training those near them."""
    # Times are multiples of a bin only up to rounding.
    reach = gap * (1 + 1e-6)
    for held_out in range(n_splits):
        test = np.flatnonzero(fold == held_out)
        train = fold != held_out
        if gap > 0:
            after = np.searchsorted(times[test], times)
            before = times - times[test[np.maximum(after - 1, 0)]]
            until = times[test[np.minimum(after, len(test) - 1)]] - times
            train &= (np.abs(before) > reach) & (np.abs(until) > reach)
        yield np.flatnonzero(train), test


def _times(times: Any, X: Any, y: Any) -> np.ndarray:
    """Find the times of the samples, ascending."""
    if times is not None:
        found = np.asarray(times, float)
        lengths = {np.shape(leaf)[0] for leaf in (*_leaves(X), *_leaves(y)) if np.ndim(leaf)}
        if found.ndim != 1 or lengths - {len(found)}:
            raise ValueError(
                f"times must have an entry for each sample, got shape {found.shape} for "
                f"{min(lengths, default=0)} samples."
            )
        if np.any(~np.isfinite(found)) or np.any(np.diff(found) < 0):
            raise ValueError("times must be finite and ascending.")
        return found
    for leaf in (*_leaves(X), *_leaves(y)):
        if isinstance(leaf, TimeSeries):
            return leaf.t
    raise ValueError(
        "Neither X nor y has times: pass a pynapple object, or the times of the samples, in "
        "seconds, as times=... of the splitter."
    )


def _leaves(container: Any) -> list[Any]:
    return jax.tree.leaves(container, is_leaf=lambda x: not isinstance(x, dict | list | tuple))


def _intervals(epochs: Any) -> tuple[np.ndarray, np.ndarray]:
    """Check epochs; their starts and ends, in seconds, each (n_epochs,)."""
    array = np.asarray(epochs, float)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(
            "epochs must be a pynapple IntervalSet, or starts and ends of shape (n_epochs, 2), "
            f"got shape {array.shape}."
        )
    return array[:, 0], array[:, 1]


def _check_number_of_folds(n_splits: Any) -> None:
    if not isinstance(n_splits, int | np.integer) or n_splits < 2:
        raise ValueError(f"n_splits must be a whole number of at least 2, got {n_splits!r}.")


def _check_gap(gap: Any) -> None:
    if not 0 <= gap < np.inf:
        raise ValueError(f"gap must be finite seconds, at least zero, got {gap!r}.")
