"""Which strengths a path goes through."""

from typing import Any

import numpy as np

from spikax._assemble import Problem
from spikax.model_selection._path import strongest, typical_curvature

# A path to a smooth penalty starts where the penalty outweighs the data ten times, and ends where
# it is a millionth of them; one to zeros ends at a thousandth of the strength that leaves none.
_RANGE = {True: (10.0, 1e-6), False: (1.0, 1e-3)}


def descending(strengths: Any, n_strengths: int, problem: Problem, single: bool) -> np.ndarray:
    """Check the strengths, or choose some for each neuron; shape (n_strengths, n_neurons)."""
    objective, samples = problem.objective, problem.samples
    n_neurons = objective.n_neurons
    if strengths is None:
        smooth = objective.penalty.smooth
        find = typical_curvature if smooth else strongest
        middle = np.asarray(find(objective, samples), float)
        return np.geomspace(*_RANGE[smooth], n_strengths)[:, None] * middle
    array = np.asarray(strengths, float)
    shapes = f"(n_strengths,){'' if single else f' or (n_strengths, {n_neurons})'}"
    if array.ndim not in (1, 2) or array.size == 0 or array.shape[1:] not in ((), (n_neurons,)):
        raise ValueError(f"strengths must have shape {shapes}, got {array.shape}.")
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        raise ValueError(f"strengths must be finite and non-negative, got {array[wrong][0]:g}.")
    array = np.sort(array, axis=0)[::-1]
    return np.broadcast_to(array if array.ndim == 2 else array[:, None], (len(array), n_neurons))


def check_number(n_strengths: Any) -> int:
    """Refuse a number of strengths that is none."""
    if not isinstance(n_strengths, int | np.integer) or n_strengths < 2:
        raise ValueError(f"n_strengths must be a whole number of at least 2, got {n_strengths!r}.")
    return int(n_strengths)
