"""From what `cv` may be to the samples of each fold, and the problem of all folds at once."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import KFold

from spikax._assemble import Problem
from spikax._inputs import Data
from spikax._time_series import TimeSeries
from spikax.core.hessians import Precomputed
from spikax.core.objective import Objective
from spikax.core.samples import Samples
from spikax.core.standardise import to_blocks
from spikax.model_selection._criteria import CRITERIA
from spikax.model_selection._path import repeat
from spikax.observation_models import Observations


class Fold(NamedTuple):
    """How often a fold trains on each sample, and scores it; both (n_samples,)."""

    train: np.ndarray
    test: np.ndarray


def read_folds(cv: Any, data: Data, y: Any, single: bool, arguments: dict) -> list[Fold]:
    """Read the folds, once: an iterator has them once only, and a splitter may draw them.

    Parameters
    ----------
    cv
        A number of folds, a splitter, or an iterable of pairs of indices.
    data
        Checked samples.
    y
        Observations as they were given, whose times a splitter may look at.
    arguments
        What a splitter is given besides, such as `groups`.
    """
    n_samples = len(data.X)
    splitter: Any = cv
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        if not 2 <= cv <= n_samples:
            raise ValueError(
                f"cv must be at least 2 folds and at most the {n_samples} samples, got {cv}."
            )
        splitter = KFold(int(cv))
    if hasattr(splitter, "split"):
        series = y if data.layout.series is None else data.layout.series
        samples = series if isinstance(series, TimeSeries) else np.zeros((n_samples, 1))
        splitter = splitter.split(samples, data.y[:, 0] if single else data.y, **arguments)
    elif arguments:
        raise ValueError(
            f"groups are for splitters that take them, such as GroupKFold(5); cv is {cv!r:.60}."
        )
    try:
        pairs = [(np.asarray(train), np.asarray(test)) for train, test in splitter]
    except TypeError as error:
        if hasattr(cv, "split"):
            raise
        raise TypeError(
            "cv must be a number of folds, a splitter of scikit-learn's, pairs of indices, or one "
            f"of {', '.join(map(repr, CRITERIA))}; got {cv!r}."
        ) from error
    if not pairs:
        raise ValueError("cv has no folds.")
    folds = []
    for pair in pairs:
        times = [np.zeros(n_samples, np.int32) for _ in pair]
        for count, index in zip(times, pair, strict=True):
            np.add.at(count, index, 1)  # a bootstrap names samples several times
        if not all(((count[:, None] > 0) & (data.weight > 0)).any() for count in times):
            raise ValueError(
                f"Fold {len(folds)} of cv has no sample that counts to train on or to score: "
                "all have NaN or weigh zero. Use fewer folds."
            )
        folds.append(Fold(*times))
    return folds


def with_folds(
    problem: Problem, data: Data, folds: list[Fold]
) -> tuple[tuple[Objective, Samples, Precomputed], np.ndarray | None]:
    """Repeat the population for each fold and, last, for all samples; weigh what is scored."""
    if not folds:
        return problem[:3], None
    y = problem.samples.y
    n, grid = y.shape[1], (y.shape[0], y.shape[2])
    weight = np.broadcast_to(data.weight, data.y.shape) / data.mean_weight
    never, once = np.zeros(len(weight), np.int32), np.ones(len(weight), np.int32)

    def weights(times):
        every = np.stack(times, axis=1)

        def rows(piece):
            weighed = every[piece, :, None] * weight[piece, None]
            return weighed.reshape(len(weighed), -1)

        return to_blocks(rows, (len(weight), every.shape[1] * n), grid, y.dtype)

    train = weights([fold.train for fold in folds] + [once])
    test = weights([fold.test for fold in folds] + [never])
    return repeat(*problem[:3], len(folds) + 1, train), test


def without_contrast(family: Observations, data: Data, folds: list[Fold]) -> np.ndarray:
    """Tell neurons whose training observations lack what they could be told apart from.

    They are all at a bound, or of too few classes; (n_folds, n_neurons).
    """
    low, high = family.mean_bounds
    kinds = [data.y > low, data.y < high]
    if family.sum_to_zero:
        kinds = [data.y == k for k in range(family.n_predictors)]
    counts = data.weight > 0
    silent = np.zeros((len(folds), data.y.shape[1]), bool)
    for kind in kinds:
        for fold, (train, _) in enumerate(folds):
            silent[fold] |= ~(kind & counts & (train[:, None] > 0)).any(axis=0)
    return silent
