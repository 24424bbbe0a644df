"""Identifiability: what is kept has full rank and spans what was there."""

import jax
import numpy as np
import pynapple as nap
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikax import basis
from spikax.identifiability_constraints import (
    apply_identifiability_constraints as constrain,
)
from spikax.identifiability_constraints import (
    apply_identifiability_constraints_by_basis_component as constrain_by_component,
)


def rank(X):
    return np.linalg.matrix_rank(X, tol=1e-8 * max(np.linalg.norm(X), 1))


def with_ones(X):
    return np.column_stack([np.ones(len(X)), X])


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 9), st.booleans())
def test_kept_columns_are_independent_and_span_the_rest(seed, true_rank, n, intercept):
    rng = np.random.default_rng(seed)
    X = rng.integers(-3, 4, (40, true_rank)) @ rng.integers(-2, 3, (true_rank, n)) + 0.0
    if rng.random() < 0.5:
        X[:, 0] = 7
    kept_X, kept = constrain(X, add_intercept=intercept)
    np.testing.assert_array_equal(kept_X, X[:, kept])
    design = with_ones if intercept else np.asarray
    assert rank(design(kept_X)) == len(kept) + intercept == rank(design(X))


def test_the_first_of_dependent_columns_goes(rng):
    X = rng.normal(size=(30, 3))
    X = np.column_stack([X, X[:, 0] + X[:, 1], X[:, 2]])
    np.testing.assert_array_equal(constrain(X)[1], [1, 3, 4])


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_the_scale_of_columns_does_not_matter(scale, rng):
    X = rng.normal(size=(50, 4))
    X[:, 1] = X[:, 2:].sum(axis=1)
    X[:, 2] *= scale
    np.testing.assert_array_equal(constrain(X)[1], [0, 2, 3])


def test_nearly_dependent_columns_are_told_apart_in_float64(rng):
    X = rng.normal(size=(500, 3))
    X[:, 0] = X[:, 1] + 1e-9 * rng.normal(size=500)
    np.testing.assert_array_equal(constrain(X)[1], [0, 1, 2])
    with pytest.warns(UserWarning, match="feature_matrix is float32"):
        kept = constrain(X.astype(np.float32))[1]
    np.testing.assert_array_equal(kept, [1, 2])
    assert len(constrain(X.astype(np.float32), warn_if_float32=False)[1]) == 2


def test_missing_rows_stay_and_do_not_count():
    with jax.enable_x64(True):
        X = np.array(basis.BSplineEval(5).compute_features(np.linspace(0, 1, 40)))
    X[::4] = np.nan
    kept_X, kept = constrain(X)
    np.testing.assert_array_equal(kept, [1, 2, 3, 4])
    np.testing.assert_array_equal(kept_X, X[:, 1:])


def test_components_and_channels_are_taken_one_by_one(rng):
    parts = basis.BSplineEval(5, label="a") + basis.CyclicBSplineEval(4, label="b")
    with jax.enable_x64(True):
        X = parts.compute_features(rng.random((60, 2)), rng.random(60))
    kept_X, kept = constrain_by_component(parts, X)
    np.testing.assert_array_equal(kept, [1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13])
    np.testing.assert_array_equal(kept_X, X[:, kept])
    assert len(constrain_by_component(parts, X, add_intercept=False)[1]) == 14
    assert len(constrain(X)[1]) == len(kept)
    assert len(constrain(X, add_intercept=False)[1]) == len(kept) + 1


def test_pynapple_stays_pynapple(rng):
    X = nap.TsdFrame(np.arange(20.0), rng.normal(size=(20, 3)))
    kept_X, _ = constrain(X)
    assert isinstance(kept_X, nap.TsdFrame)
    np.testing.assert_array_equal(kept_X.t, X.t)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.ones(4), ValueError, r"feature_matrix has shape \(4,\)"),
        (np.full((4, 2), np.nan), ValueError, "no row without NaN"),
        (np.array([[1.0, np.inf]]), ValueError, r"feature_matrix is infinite at \(0, 1\)"),
        (np.array([["a"]]), TypeError, "real numbers"),
    ],
)
def test_bad_input_gets_an_answer(X, error, message):
    with pytest.raises(error, match=message):
        constrain(X)


def test_other_columns_than_those_of_the_basis_are_refused(rng):
    parts = basis.BSplineEval(5).set_input_shape(1)
    with pytest.raises(ValueError, match="5 features are needed"):
        constrain_by_component(parts, rng.normal(size=(9, 4)))
    with pytest.raises(TypeError, match="must be a basis"):
        constrain_by_component(3, rng.normal(size=(9, 4)))
