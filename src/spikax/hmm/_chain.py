"""Samples of all sessions as one chain, in chunks that are gone through side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from spikax._pytrees import register

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

_LANES = 8  # chunks come in multiples of what a processor does at once


@register
@dataclass(frozen=True)
class Chain:
    """Which samples begin a session, and how often each session counts.

    The samples lie in C chunks of L consecutive ones; arrays are (L, ..., C), so that what goes
    along a chunk is a loop over L whose steps are vectors over chunks. Sessions begin anywhere:
    their lengths are data, and shape no program.

    Parameters
    ----------
    start
        Whether a sample is the first of its session, (L, C).
    weight
        How often the session of a sample counts, (L, C); zero also for padding.
    """

    start: Bool[Array, "step chunk"]
    weight: Float[Array, "step chunk"]

    @property
    def shape(self) -> tuple[int, int]:
        """Length and number of the chunks."""
        return self.start.shape  # pyright: ignore[reportReturnType]

    def chunked(self, array: Float[Array, "*row sample"]) -> Float[Array, "step *row chunk"]:
        """Lay an array (..., n_samples) out in chunks, padded with zeros."""
        length, n_chunks = self.shape
        spare = length * n_chunks - array.shape[-1]
        padded = jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, spare)])
        return jnp.moveaxis(padded.reshape(*array.shape[:-1], n_chunks, length), -1, 0)

    def joined(self, chunks: Float[Array, "step *row chunk"]) -> Float[Array, "*row all_samples"]:
        """Put chunks (L, ..., C) one after another, (..., C L), padding included."""
        rows = jnp.moveaxis(chunks, 0, -1)
        return rows.reshape(*rows.shape[:-2], -1)


def make_chain(
    starts: np.ndarray, weight: np.ndarray | None = None, n_chunks: int | None = None
) -> Chain:
    """Lay the starts of sessions, (n_samples,), out in chunks; about as many as they are long."""
    n_samples = len(starts)
    if n_chunks is None:
        n_chunks = _LANES * max(1, round(math.sqrt(n_samples) / _LANES))
    length = math.ceil(n_samples / n_chunks)
    laid = np.zeros((2, n_chunks * length))
    laid[0, :n_samples] = starts
    laid[0, n_samples : n_samples + 1] = 1  # padding is a session of its own
    laid[1, :n_samples] = 1 if weight is None else weight
    start, counted = laid.reshape(2, n_chunks, length).swapaxes(1, 2)
    return Chain(jax.numpy.asarray(start > 0), jax.numpy.asarray(counted))
