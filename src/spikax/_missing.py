"""Samples that hold NaN are ignored: where they are a good part, the user is told why."""

import warnings
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from spikax._time_series import epochs

_GOOD_PART = 0.1  # of the samples


class IgnoredSamples(RuntimeWarning):
    """A warning that a good part of the samples is ignored."""


def warn_about_ignored(data: Any, series: Any) -> None:
    """Say how many samples are ignored and why, unless they are few or the edges of epochs.

    `data` are checked samples; `series` is a time series among them, if there is one. Samples
    that the user gave no weight are not counted.
    """
    if data.valid is None:
        return
    wanted = np.ones(len(data.X), bool) if data.weights is None else data.weights.any(axis=1)
    ignored = wanted & ~data.valid.any(axis=1)
    few = _GOOD_PART * wanted.sum()
    if ignored.sum() <= few or (ignored & ~_edges(~ignored, series)).sum() <= few:
        return
    found = sorted(_reasons(data, ignored), reverse=True)
    reasons = ", ".join(f"{where} in {n}" for n, where in found if n)
    warnings.warn(
        f"{ignored.sum()} of {wanted.sum()} samples are ignored, since something is NaN: "
        f"{reasons}. A basis makes NaN of what is beyond its bounds, given or learned from the "
        "inputs that it saw first, and of what has a gap or an edge in its window. Samples that "
        "are to be left out can be dropped, or have a sample_weight of zero.",
        IgnoredSamples,
        stacklevel=5,
    )


def _edges(known: np.ndarray, series: Any) -> np.ndarray:
    """Mark the first and last samples that all of several epochs lack, as windows of them do."""
    spans = epochs(series, len(known))
    edges = np.zeros(len(known), bool)
    parts = [slice(*ends) for ends in zip(spans.first, spans.stop, strict=True)]
    whole = [known[part] for part in parts if known[part].any()]
    if len(parts) < 2 or not whole:
        return edges
    before = min(int(np.argmax(part)) for part in whole)
    after = min(int(np.argmax(part[::-1])) for part in whole)
    for part in parts:
        edges[part][:before] = True
        edges[part][len(edges[part]) - after :] = True
    return edges


def _reasons(data: Any, ignored: np.ndarray) -> Iterator[tuple[int, str]]:
    """Count, for each thing that comes with samples, those that lack it."""
    for name, array in (("y", data.y), ("offset", data.offset)):
        if array is not None:
            yield int(np.isnan(array[ignored]).all(axis=1).sum()), name
    if not isinstance(data.X, np.ndarray):
        yield from ((n, f"the input of {label!r}") for label, n in data.X.missing.items())
        return
    missing = np.isnan(data.X[ignored])
    stops = accumulate(data.layout.widths, initial=0)
    for name, (start, stop) in zip(data.layout.names, pairwise(stops), strict=True):
        own = missing[:, start:stop]
        often = own.sum(axis=0)
        if own.any() and (often < often.max()).any():
            name += f" (most often {data.layout.column(start + int(np.argmax(often)))})"
        yield int(own.any(axis=1).sum()), name
