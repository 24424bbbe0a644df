"""Where sessions begin, as users tell it, and which of their samples count."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikax._time_series import Intervals, TimeSeries, epochs, raw


@dataclass(frozen=True)
class Sessions:
    """Sessions of consecutive samples.

    Parameters
    ----------
    starts
        Whether the chain begins anew at a sample, (n_samples,): at the first of a session, and
        at the first that was observed.
    inside
        Whether a sample lies between the first and the last that was observed, (n_samples,).
    number
        The session of each sample, from zero, (n_samples,).
    """

    starts: np.ndarray
    inside: np.ndarray
    number: np.ndarray

    @property
    def n_sessions(self) -> int:
        """Number of sessions."""
        return int(self.number[-1]) + 1


def find_sessions(session_starts: Any, series: Any, observed: np.ndarray) -> Sessions:
    """Find the sessions of samples, of which some were observed, (n_samples,)."""
    n_samples = len(observed)
    first = _first_samples(session_starts, series, n_samples)
    number = np.cumsum(np.isin(np.arange(n_samples), first)) - 1
    starts, inside = np.zeros(n_samples, bool), np.zeros(n_samples, bool)
    for begin, end in zip(first, np.append(first[1:], n_samples), strict=True):
        seen = np.flatnonzero(observed[begin:end])
        starts[begin] = True
        if seen.size:
            # The first sample that is there begins anew, such as after a window of history.
            starts[begin + seen[0]] = True
            inside[begin + seen[0] : begin + seen[-1] + 1] = True
    return Sessions(starts, inside, number)


def _first_samples(session_starts: Any, series: Any, n_samples: int) -> np.ndarray:
    """Index the first sample of each session."""
    if session_starts is None:
        return _of_series(series, n_samples)
    if isinstance(session_starts, Intervals):
        return _of_intervals(session_starts, series, n_samples)
    array = np.asarray(raw(session_starts, "session_starts"))
    if array.ndim != 1:
        raise ValueError(f"session_starts must be one-dimensional, got shape {array.shape}.")
    if array.dtype.kind == "b":
        return _of_flags(array, n_samples)
    if array.dtype.kind in "iu" and not _are_labels(array, n_samples):
        return _of_indices(array, n_samples)
    if array.dtype.kind in "iuf" and len(array) == n_samples > 2 and _are_flags(array):
        raise TypeError(
            "session_starts holds zeros and ones as numbers, which may be flags or labels: pass "
            "session_starts.astype(bool) for flags, or np.flatnonzero(np.diff(labels, "
            "prepend=np.nan)) for two sessions' labels."
        )
    if array.dtype.kind in "iufUSO" and len(array) == n_samples:
        return _of_labels(array)
    raise TypeError(
        f"session_starts holds {array.dtype} and has {array.size} entries, for {n_samples} "
        "samples. Pass which samples are the first of a session: booleans (n_samples,), their "
        "indices, a pynapple IntervalSet, or the label of each sample's session, (n_samples,)."
    )


def _of_series(series: Any, n_samples: int) -> np.ndarray:
    if not isinstance(series, TimeSeries):
        return np.array([0])
    found = epochs(series, n_samples)
    if found.n_jumps:
        of_epoch = np.searchsorted(series.t, series.time_support.start)
        jumps = np.setdiff1d(found.first, of_epoch)
        warnings.warn(
            f"Time jumps inside an epoch {found.n_jumps} times, first at "
            f"{series.t[jumps[0]]:g} s: a session begins there. Pass session_starts if that is "
            "not meant.",
            RuntimeWarning,
            stacklevel=6,
        )
    return np.unique(found.first[found.first < found.stop])


def _of_intervals(intervals: Any, series: Any, n_samples: int) -> np.ndarray:
    if not isinstance(series, TimeSeries):
        raise TypeError(
            "session_starts is an IntervalSet, but neither X nor y has times: pass pynapple "
            "objects, or which samples are the first of a session."
        )
    first = np.searchsorted(series.t, intervals.start)
    stop = np.searchsorted(series.t, intervals.end, side="right")
    covered = np.zeros(n_samples, bool)
    for begin, end in zip(first, stop, strict=True):
        covered[begin:end] = True
    if not covered.all():
        t = series.t[~covered][0]
        raise ValueError(
            f"session_starts leaves out {np.sum(~covered)} samples, the first at {t:g} s: "
            "restrict X and y to it first."
        )
    return np.unique(first[first < stop])


def _of_flags(array: np.ndarray, n_samples: int) -> np.ndarray:
    if len(array) != n_samples:
        raise ValueError(
            f"session_starts has {len(array)} entries, but there are {n_samples} samples."
        )
    return np.unique(np.append(0, np.flatnonzero(array)))


def _are_labels(array: np.ndarray, n_samples: int) -> bool:
    """Tell labels of all samples from increasing indices."""
    return len(array) == n_samples and not (np.diff(array) > 0).all()


def _are_flags(array: np.ndarray) -> bool:
    """Tell numbers that go from one to zero from labels of two sessions."""
    return bool(np.isin(array, (0, 1)).all() and (np.diff(array) < 0).any())


def _of_indices(array: np.ndarray, n_samples: int) -> np.ndarray:
    wrong = (array < 0) | (array >= n_samples)
    if wrong.any():
        raise ValueError(
            f"session_starts holds the index {array[wrong][0]}, but there are {n_samples} samples."
        )
    if (np.diff(array) <= 0).any():
        place = int(np.argmax(np.diff(array) <= 0))
        raise ValueError(
            f"session_starts must increase, but {array[place + 1]} follows {array[place]}. Labels "
            f"of sessions need one for each of the {n_samples} samples."
        )
    return np.unique(np.append(0, array))


def _of_labels(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(
            f"session_starts has no label for sample {int(np.argmax(np.isnan(array)))}."
        )
    first = np.append(0, 1 + np.flatnonzero(array[1:] != array[:-1]))
    labels = array[first].tolist()
    if len(set(labels)) < len(labels):
        again = next(label for i, label in enumerate(labels) if label in labels[:i])
        warnings.warn(
            f"session_starts has the label {again!r} again after another one: that is taken for a "
            "session of its own. Sort the samples by session if it is not.",
            RuntimeWarning,
            stacklevel=6,
        )
    return first
