"""Batches that come once: a sample of them is kept, to fit the next one together with it."""

from typing import Any, NamedTuple

import numpy as np

from spikax._inputs import Data
from spikax.core.standardise import Standardisation
from spikax.fit import Remainder

# Number of samples kept: until there are more, a fit to batches is the fit to all of them.
N_KEPT = 4096


class Memory(NamedTuple):
    """What `partial_fit` keeps of the batches so far, as NumPy arrays."""

    standardisation: Standardisation
    remainder: Remainder
    pearson: Any  # Pearson's statistic, for families with a scale, (n_neurons,)
    n_observations: np.ndarray  # of all batches, (n_neurons,)
    unit: np.ndarray  # the weight that counts as one, (n_neurons,)
    n_seen: int  # samples with any weight
    X: np.ndarray  # a sample of them, (N_KEPT, n_features)
    y: np.ndarray  # (N_KEPT, n_neurons)
    weight: np.ndarray  # in these units, (N_KEPT, n_neurons)
    offset: np.ndarray  # (N_KEPT, n_predictors n_neurons)


def empty(data: Data, standardisation: Standardisation, n_predictors: int) -> Memory:
    """Remember nothing."""
    n_neurons = data.y.shape[1]
    theta = np.zeros((n_predictors * (data.X.shape[1] + 1), n_neurons))
    offset = np.zeros((N_KEPT, n_predictors * n_neurons))
    kept = np.zeros((N_KEPT, n_neurons))
    X = np.zeros((N_KEPT, data.X.shape[1]), data.X.dtype)
    none = np.zeros(n_neurons)
    remainder = Remainder(theta, theta)  # pyright: ignore[reportArgumentType]
    return Memory(
        standardisation, remainder, none, none, np.ones(n_neurons), 0, X, kept, kept, offset
    )


def with_unit(memory: Memory, data: Data) -> Memory:
    """Let the first batch with samples of a neuron tell which of its weights counts as one."""
    unit = np.where(memory.n_observations > 0, memory.unit, data.mean_weight)
    return memory._replace(unit=unit)


def joined(memory: Memory, data: Data) -> Data:
    """Put a batch behind the kept samples, which are weighted to stand for all before it."""
    share = memory.n_seen / max(1, min(memory.n_seen, N_KEPT))
    offset = None
    if data.offset is not None or memory.offset.any():
        offset = np.vstack([memory.offset, _offset(memory, data)])
    return data._replace(
        X=np.vstack([memory.X, np.asarray(data.X)]),
        y=np.vstack([memory.y, data.y]),
        valid=np.vstack([share * memory.weight, _weight(memory, data)]),
        weights=None,
        offset=offset,
    )


def remember(memory: Memory, data: Data, **found: Any) -> Memory:
    """Let the samples of a batch take the places of kept ones, each sample with equal chance.

    Vitter (1985), "Random sampling with a reservoir", ACM Trans. Math. Softw. 11, algorithm R.
    """
    weight = _weight(memory, data)
    counted = np.flatnonzero((weight > 0).any(axis=1))
    order = memory.n_seen + np.arange(len(counted))
    chance = np.random.default_rng(memory.n_seen).uniform(size=len(counted))
    place = np.where(order < N_KEPT, order, (chance * (order + 1)).astype(int))
    rows, place = counted[place < N_KEPT], place[place < N_KEPT]
    kept = memory.X.copy(), memory.y.copy(), memory.weight.copy(), memory.offset.copy()
    new = np.asarray(data.X), data.y, weight, _offset(memory, data)
    for old, array in zip(kept, new, strict=True):
        old[place] = array[rows]
    return memory._replace(
        n_seen=memory.n_seen + len(counted),
        n_observations=memory.n_observations + data.n_observations,
        **dict(zip(("X", "y", "weight", "offset"), kept, strict=True)),
        **found,
    )


def _weight(memory: Memory, data: Data) -> np.ndarray:
    return np.broadcast_to(data.weight, data.y.shape) / memory.unit


def _offset(memory: Memory, data: Data) -> np.ndarray:
    offset = 0.0 if data.offset is None else data.offset
    return np.broadcast_to(offset, (len(data.X), memory.offset.shape[1]))
