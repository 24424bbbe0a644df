"""Splitters that know of time: what is held out, what is trained on, and what lies between."""

import copy

import numpy as np
import pandas as pd
import pynapple as nap
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GridSearchCV, check_cv

from spikax.diagnostics import cross_validated_scores
from spikax.glm import GLM
from spikax.model_selection import GLMCV, BlockKFold, EpochKFold

BIN = 0.1
TIMES = 3.0 + BIN * np.arange(200)
EPOCHS = [[4.0, 6.95], [8.0, 9.95], [12.0, 20.0]]


def splitters(**kwargs):
    return {
        "blocks": BlockKFold(1.5, n_splits=3, **kwargs),
        "epochs": EpochKFold(EPOCHS, **kwargs),
        "epochs, dealt": EpochKFold(nap.IntervalSet(EPOCHS), n_splits=2, **kwargs),
    }


@pytest.mark.parametrize("name", splitters())
def test_folds_part_the_samples_and_keep_the_gap(name):
    for gap in (0.0, 0.3):
        cv = splitters(times=TIMES, gap=gap)[name]
        folds = list(cv.split(np.zeros((200, 1))))
        assert len(folds) == cv.get_n_splits()
        held_out = np.concatenate([test for _, test in folds])
        assert len(np.unique(held_out)) == len(held_out)
        for train, test in folds:
            # At the distance of the gap and nearer nothing is trained on, and all else is.
            distance = np.abs(TIMES[:, None] - TIMES[test][None]).min(axis=1)
            expected = distance > (0.35 if gap else 0.05)
            np.testing.assert_array_equal(train, np.flatnonzero(expected))


def test_blocks_are_of_their_length_and_dealt_in_turn():
    folds = list(BlockKFold(1.5, n_splits=3, times=TIMES).split())
    expected = np.arange(200) // 15 % 3
    for fold, (_, test) in enumerate(folds):
        np.testing.assert_array_equal(test, np.flatnonzero(expected == fold))
    # A break in the recording is no block.
    with_break = np.concatenate([TIMES[:60], TIMES[:60] + 100])
    blocks = [test for _, test in BlockKFold(1.5, n_splits=8, times=with_break).split()]
    assert min(len(test) for test in blocks) > 0


def test_epochs_are_never_cut():
    for n_splits, expected in ((None, [[0], [1], [2]]), (2, [[0, 2], [1]])):
        folds = EpochKFold(EPOCHS, n_splits, times=TIMES).split()
        for (_, test), numbers in zip(folds, expected, strict=True):
            inside = [
                np.clip(TIMES, start, end) == TIMES
                for start, end in np.take(EPOCHS, numbers, axis=0)
            ]
            np.testing.assert_array_equal(test, np.flatnonzero(np.any(inside, axis=0)))


def test_times_are_read_from_what_has_them():
    X, y = np.arange(400.0).reshape(200, 2), np.arange(200.0)
    with_times = nap.TsdFrame(t=TIMES, d=X), nap.Tsd(t=TIMES, d=y)
    for name, cv in splitters().items():
        given = list(splitters(times=TIMES)[name].split(X, y))
        for some in ((with_times[0], y), (X, with_times[1]), ({"a": [with_times[0]]}, y)):
            np.testing.assert_equal(list(cv.split(*some)), given)
        with pytest.raises(ValueError, match=r"Neither X nor y has times.*times="):
            cv.split(X, y)


def test_models_searches_and_scores_take_them():
    rng = np.random.default_rng(0)
    X = nap.TsdFrame(t=TIMES, d=rng.normal(size=(200, 2)))
    y = nap.Tsd(t=TIMES, d=rng.poisson(1.0, 200).astype(float))
    cv = BlockKFold(1.5, n_splits=3, gap=0.2)
    pairs = list(cv.split(X))
    found, expected = (
        GLMCV(strengths=[0.1, 0.01], cv=folds).fit({"a": X}, y) for folds in (cv, pairs)
    )
    np.testing.assert_array_equal(found.scores_, expected.scores_)
    of_y = GLMCV(strengths=[0.1, 0.01], cv=cv).fit(X.d, y)
    np.testing.assert_array_equal(of_y.scores_, expected.scores_)
    tables = (cross_validated_scores(GLM(), X, y, folds) for folds in (cv, pairs))
    pd.testing.assert_frame_equal(*tables)
    assert check_cv(cv) is cv
    search = GridSearchCV(DummyRegressor(), {"strategy": ["mean"]}, cv=cv)
    assert search.fit(X, y.d).n_splits_ == 3


def test_they_show_themselves_and_are_copied():
    cv = BlockKFold(1.5, gap=0.2)
    assert repr(cv) == "BlockKFold(block_length=1.5, n_splits=5, gap=0.2, times=None)"
    assert "gap=0.2" in repr(GLMCV(cv=cv))
    for copied in (copy.deepcopy(cv), clone(cv, safe=False), clone(GLMCV(cv=cv)).cv):
        assert repr(copied) == repr(cv)
    epochs = EpochKFold(nap.IntervalSet(EPOCHS))
    np.testing.assert_array_equal(clone(GLMCV(cv=epochs)).cv.epochs, EPOCHS)


WRONG = {
    "no length": (lambda: BlockKFold(0.0), "block_length must be positive seconds, got 0"),
    "one fold": (lambda: BlockKFold(1.0, 1), "n_splits must be a whole number.*got 1"),
    "a negative gap": (lambda: EpochKFold(EPOCHS, gap=-1.0), "gap must be finite.*got -1"),
    "few epochs": (lambda: EpochKFold(EPOCHS, 4), "There are 3 epochs, and 4 folds"),
    "one epoch": (lambda: EpochKFold(EPOCHS[:1]), "There are 1 epochs, and at least 2 folds"),
    "epochs that overlap": (lambda: EpochKFold([[0, 2], [1, 3]]), "sorted, and not overlap"),
    "no intervals": (lambda: EpochKFold([1.0, 2.0]), r"starts and ends.*got shape \(2,\)"),
    "few blocks": (
        lambda: BlockKFold(15.0, 3, times=TIMES).split(),
        "n_splits is 3, but there are 2 blocks of 15 s",
    ),
    "other epochs": (
        lambda: EpochKFold([[0, 1], [4, 5]], times=TIMES).split(),
        "Fold 0 has no sample in its epochs.*from 3 to 22.9 s",
    ),
    "other times": (
        lambda: BlockKFold(1.0, times=TIMES).split(np.zeros((3, 1))),
        r"an entry for each sample, got shape \(200,\) for 3 samples",
    ),
    "times out of order": (
        lambda: BlockKFold(1.0, times=TIMES[::-1]).split(),
        "finite and ascending",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_folds_is_refused(name):
    make, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        make()
