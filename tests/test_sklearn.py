"""The estimators as scikit-learn's: its own checks, cloning, pipelines, searches, pickling."""

import pickle
from contextlib import nullcontext

import jax
import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from spikax.glm import GLM, ClassifierGLM, ClassifierPopulationGLM, PopulationGLM
from spikax.glm_hmm import GLMHMM, ClassifierGLMHMM
from spikax.model_selection import (
    GLMCV,
    ClassifierGLMCV,
    ClassifierPopulationGLMCV,
    PopulationGLMCV,
)
from spikax.observation_models import OBSERVATION_MODELS

EXPECTED_TO_FAIL = {
    "check_array_api_input": "NumPy, JAX, pandas and pynapple are taken, no other arrays",
}
WITHOUT_PENALTY = {
    "check_sample_weight_equivalence_on_dense_data": (
        "it compares, at samples of weight zero, fits of 30 coefficients to 15 samples: without a "
        "penalty they are not determined there"
    ),
}
ONE_LABEL = "a population has y of shape (n_samples, n_neurons), the check passes (n_samples,)"
OF_POPULATIONS = {
    "check_regressor_multioutput": "it passes negative y, whatever the tag positive_only says"
}
EXPECTED_OF = {
    GLM: WITHOUT_PENALTY,
    PopulationGLM: WITHOUT_PENALTY | OF_POPULATIONS,
    ClassifierGLM: {
        "check_classifiers_train": (
            "predict_proba gives log-probabilities unless it is asked for return_type='proba'"
        ),
    },
    ClassifierPopulationGLM: {
        "check_classifiers_classes": ONE_LABEL,
        "check_classifiers_train": ONE_LABEL,
        "check_classifiers_one_label_sample_weights": ONE_LABEL,
    },
    GLMCV: {
        "check_sample_weight_equivalence_on_dense_data": (
            "a sample of weight zero keeps its place in a fold, a removed one does not"
        )
    },
}
OF_STATES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "samples follow one another: a repeated one takes another step of time"
    ),
    "check_methods_sample_order_invariance": "predictions depend on the samples before",
    "check_methods_subset_invariance": "predictions depend on the samples before",
}
EXPECTED_OF[GLMHMM] = OF_STATES
EXPECTED_OF[ClassifierGLMHMM] = OF_STATES | EXPECTED_OF[ClassifierGLM]
EXPECTED_OF[PopulationGLMCV] = OF_POPULATIONS | EXPECTED_OF[GLMCV]
EXPECTED_OF[ClassifierGLMCV] = EXPECTED_OF[ClassifierGLM] | EXPECTED_OF[GLMCV]
EXPECTED_OF[ClassifierPopulationGLMCV] = EXPECTED_OF[ClassifierPopulationGLM] | EXPECTED_OF[GLMCV]


# A check that fits a few samples warns, and rightly, of optima at infinity.
@pytest.mark.filterwarnings("ignore:.*needs? a look:RuntimeWarning")
@parametrize_with_checks(
    [
        GLM(),
        PopulationGLM(),
        ClassifierGLM(),
        ClassifierPopulationGLM(),
        GLMCV(cv=3, n_strengths=3),
        PopulationGLMCV(cv=3, n_strengths=3),
        ClassifierGLMCV(cv=3, n_strengths=3),
        ClassifierPopulationGLMCV(cv=3, n_strengths=3),
        GLMHMM(2, "Gaussian", n_restarts=1),
        ClassifierGLMHMM(2, n_restarts=1),
    ],
    expected_failed_checks=lambda estimator: (
        EXPECTED_TO_FAIL | EXPECTED_OF.get(type(estimator), {})
    ),
)
def test_scikit_learns_checks(estimator, check):
    # Seven digits of the classifiers' predictions are compared, as many as single precision has.
    exact = check.func.__name__ in WITHOUT_PENALTY
    with jax.enable_x64(True) if exact else nullcontext():
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


@pytest.mark.parametrize("kind", [GLM, PopulationGLM, GLMCV, PopulationGLMCV])
@pytest.mark.parametrize("name", OBSERVATION_MODELS)
def test_tags_follow_from_the_support_of_the_family(kind, name):
    model = OBSERVATION_MODELS[name]()
    for given in (name, model):
        positive = get_tags(kind(given)).target_tags.positive_only
        assert positive == ("non-negative" in model.support or name != "Gaussian")


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


def test_a_grid_search_in_two_processes_finds_the_same(data):
    X, y = data
    grid = {"regularizer_strength": [0.01, 1.0]}
    search = GridSearchCV(PopulationGLM(regularizer="Ridge"), grid, cv=TimeSeriesSplit(3))
    alone = search.fit(X, y).cv_results_["mean_test_score"]
    together = clone(search).set_params(n_jobs=2).fit(X, y).cv_results_["mean_test_score"]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    scores = cross_val_score(PopulationGLM(), X, y, cv=TimeSeriesSplit(3))
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("kind", [PopulationGLM, PopulationGLMCV])
def test_weights_and_offsets_are_routed(kind, data):
    X, y = data
    rng = np.random.default_rng(0)
    offset, weight = rng.normal(size=len(X)), rng.integers(1, 4, size=len(X)).astype(float)
    arguments = {} if kind is PopulationGLM else {"cv": 2, "n_strengths": 3}
    with config_context(enable_metadata_routing=True):
        model = kind(**arguments).set_fit_request(sample_weight=True, offset=True)
        model.set_score_request(sample_weight=True, offset=True)
        search = GridSearchCV(model, {"fit_intercept": [True]}, cv=KFold(2))
        search.fit(X, y, sample_weight=weight, offset=offset)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model)
        pipeline.fit(X, y, sample_weight=weight, offset=offset)
    rows = np.arange(100, 200)
    fold = kind(**arguments).fit(X[rows], y[rows], sample_weight=weight[rows], offset=offset[rows])
    first = fold.score(X[:100], y[:100], sample_weight=weight[:100], offset=offset[:100])
    np.testing.assert_allclose(search.cv_results_["split0_test_score"][0], first, rtol=1e-5)
    scaled = StandardScaler().fit_transform(X)
    direct = kind(**arguments).fit(scaled, y, sample_weight=weight, offset=offset)
    np.testing.assert_allclose(pipeline.predict(X), direct.predict(scaled), rtol=1e-4)


@pytest.mark.parametrize("kind", [PopulationGLM, ClassifierGLM, GLMCV])
def test_an_estimator_shows_itself_in_a_notebook(kind):
    assert kind.__name__ in kind()._repr_html_()


def test_joblib_hashes_and_stores_a_fitted_model(data, tmp_path):
    X, y = data
    model = PopulationGLM().fit(X, y)
    assert joblib.hash(model) == joblib.hash(clone(model).fit(X, y))
    joblib.dump(model, tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


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
