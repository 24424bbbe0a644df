"""The estimators as scikit-learn's: its own checks, cloning, pipelines, searches, pickling."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from spikax.glm import GLM, ClassifierGLM, PopulationGLM

EXPECTED_TO_FAIL = {
    "check_sample_weight_equivalence_on_dense_data": (
        "it compares, to 7 digits and at samples of weight zero, fits of 30 coefficients to 15 "
        "samples: without a penalty they are not determined there"
    ),
    "check_array_api_input": "NumPy, JAX, pandas and pynapple are taken, no other arrays",
}
EXPECTED_OF_CLASSIFIERS = {
    **EXPECTED_TO_FAIL,
}


# A check that fits a few samples warns, and rightly, of optima at infinity.
@pytest.mark.filterwarnings("ignore:.*neurons need a look:RuntimeWarning")
@parametrize_with_checks(
    [GLM(), ClassifierGLM()],
    expected_failed_checks=lambda estimator: (
        EXPECTED_OF_CLASSIFIERS if isinstance(estimator, ClassifierGLM) else EXPECTED_TO_FAIL
    ),
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture
def data(rng):
    X = rng.normal(size=(200, 3))
    return X, rng.poisson(np.exp(0.4 * X[:, :2] - 0.5))


@pytest.mark.parametrize("kind", [GLM, PopulationGLM])
def test_clone_keeps_every_argument_and_nothing_fitted(kind, data):
    X, y = data
    mask = np.ones((3, 2)) if kind is PopulationGLM else np.ones(3)
    model = kind("Poisson", "softplus", "Ridge", 0.1, "Newton", {"tol": 1e-3}, mask, False)
    model.fit(X, y if kind is PopulationGLM else y[:, 0])
    copy = clone(model)
    assert not hasattr(copy, "coef_")
    for name, value in model.get_params().items():
        np.testing.assert_equal(getattr(copy, name), value)


def test_fit_changes_no_argument(data):
    arguments = {"regularizer_strength": [0.1, 0.2], "solver_kwargs": {"tol": 1e-3}}
    model = PopulationGLM(regularizer="Ridge", **arguments)
    before = model.get_params()
    model.fit(*data)
    assert model.get_params() == before
    assert all(model.get_params()[name] is value for name, value in arguments.items())


def test_a_pipeline_with_a_scaler_equals_the_scaled_fit(data):
    X, y = data
    scaled = (X - X.mean(0)) / X.std(0)
    pipeline = make_pipeline(StandardScaler(), PopulationGLM()).fit(X, y)
    direct = PopulationGLM().fit(scaled, y)
    np.testing.assert_allclose(pipeline.predict(X), direct.predict(scaled), rtol=1e-5)
    np.testing.assert_allclose(pipeline.score(X, y), direct.score(scaled, y), rtol=1e-5)


def test_a_grid_search_picks_the_strength_that_predicts_best(rng):
    X = rng.normal(size=(300, 10))
    y = rng.poisson(np.exp(0.5 * X[:, :3] - 0.5))
    strengths = [1e-4, 0.03, 10.0]
    model, cv = PopulationGLM(regularizer="Ridge"), KFold(3)
    search = GridSearchCV(model, {"regularizer_strength": strengths}, cv=cv).fit(X, y)
    assert search.best_params_ == {"regularizer_strength": 0.03}
    assert search.best_estimator_.coef_.shape == (10, 3)

    def held_out(strength):
        fold = clone(model).set_params(regularizer_strength=strength)
        return np.mean([fold.fit(X[a], y[a]).score(X[b], y[b]) for a, b in cv.split(X)])

    by_hand = [held_out(strength) for strength in strengths]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], by_hand, rtol=1e-6)


def test_pickling_keeps_the_fit(data):
    X, y = data
    model = PopulationGLM(regularizer="Ridge", regularizer_strength=0.1).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.coef_, model.coef_)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    stats, stats_again = model.solver_state_.stats, again.solver_state_.stats
    np.testing.assert_array_equal(stats_again.function_val, stats.function_val)


def test_the_names_of_a_data_frames_columns_are_kept_and_compared(data):
    X, y = data
    frame = pd.DataFrame(X, columns=["speed", "x", "y"])
    model = PopulationGLM().fit(frame, y)
    assert list(model.feature_names_in_) == ["speed", "x", "y"]
    assert model.n_features_in_ == 3
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["x", "speed", "y"]])
    with pytest.warns(UserWarning, match="valid feature names"):
        model.predict(X)
    model.fit({"a": X[:, :1], "b": X[:, 1:]}, y)
    assert not hasattr(model, "feature_names_in_")
    assert model.n_features_in_ == 3
