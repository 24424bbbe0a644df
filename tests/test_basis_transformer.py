"""The transformer: a basis that scikit-learn can copy, search over, and put into a pipeline."""

import pickle

import numpy as np
import pandas as pd
import pynapple as nap
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import PoissonRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from spikax import basis
from spikax.basis import TransformerBasis
from spikax.glm import GLM

PLACE = basis.BSplineEval(5, bounds=(0, 1), label="place")
PHASE = basis.CyclicBSplineEval(6, bounds=(0, 1), label="phase")

OF_SAMPLES_TOGETHER = "a filter looks at the samples before, so that subsets give other features"
UNCHECKED = {
    "HistoryConv": {
        "check_methods_subset_invariance": OF_SAMPLES_TOGETHER,
        "check_methods_sample_order_invariance": OF_SAMPLES_TOGETHER,
    },
}


def reasons(transformer):
    return UNCHECKED.get(type(transformer.basis).__name__, {})


@parametrize_with_checks(
    [
        TransformerBasis(basis.RaisedCosineLogEval(4, bounds=(-100, 100))),
        TransformerBasis(basis.BSplineEval(5)),
        TransformerBasis(basis.IdentityEval()),
        TransformerBasis(basis.HistoryConv(1)),
    ],
    expected_failed_checks=reasons,
)
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


@pytest.fixture
def X(rng):
    return rng.random((60, 2))


def test_it_computes_the_features_of_the_basis(X):
    both = PLACE + PHASE
    expected = np.asarray(both.compute_features(*X.T))
    transformer = both.to_transformer()
    got = transformer.fit_transform(X)
    assert type(got) is np.ndarray
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert both.input_shape == [(), ()]
    with pytest.raises(NotFittedError):
        clone(transformer).transform(X)
    copy = pickle.loads(pickle.dumps(transformer))
    np.testing.assert_array_equal(copy.transform(X), got)


def test_what_the_basis_was_is_left_alone(X):
    fresh = basis.BSplineEval(5) + basis.BSplineEval(4)
    transformer = TransformerBasis(fresh).fit(X)
    assert fresh["BSplineEval"].bounds_ is None
    assert fresh.input_shape == [None, None]
    low, high = transformer.basis_["BSplineEval"].bounds_
    assert (low, high) == (X[:, 0].min(), X[:, 0].max())


def test_it_answers_for_its_basis(X):
    both = PLACE + PHASE
    transformer = both.to_transformer()
    assert transformer.n_basis_funcs == both.n_basis_funcs == 11
    assert transformer.label == both.label == "(place + phase)"
    assert transformer["phase"].basis is transformer.basis["phase"]
    assert transformer.set_params(phase__n_basis_funcs=9)["phase"].n_basis_funcs == 9
    again = transformer.fit(X).to_transformer()
    assert isinstance(again, TransformerBasis)
    assert again.n_basis_funcs == 14
    assert again.basis is not transformer.basis
    with pytest.raises(NotFittedError):
        again.transform(X)
    with pytest.raises(KeyError, match="No part is labelled 'speed'"):
        transformer["speed"]


def test_every_fit_learns_afresh(X):
    transformer = basis.BSplineEval(5).to_transformer()
    for low, high in [(0, 1), (5, 6)]:
        transformer.fit(np.array([[low], [high]]))
        assert transformer.basis_.bounds_ == (low, high)
    used = basis.BSplineEval(5)
    used.compute_features([0.0, 9.0])
    assert used.to_transformer().fit(X[:, :1]).basis_.bounds_ == (X[:, 0].min(), X[:, 0].max())


def test_train_and_test_features_agree(X):
    transformer = basis.BSplineEval(5).to_transformer().fit(X[:, :1])
    inside = np.sort(X[:, :1], axis=0)[10:20]
    direct = basis.BSplineEval(5, bounds=(X[:, 0].min(), X[:, 0].max())).compute_features(inside)
    np.testing.assert_allclose(transformer.transform(inside), direct, atol=1e-6)


def test_columns_are_split_by_the_width_of_inputs(rng):
    X = rng.random((40, 5))
    both = (PLACE + basis.HistoryConv(3, label="past")).set_input_shape(2, 3)
    got = clone(both.to_transformer()).fit_transform(X)
    expected = both.compute_features(X[:, :2], X[:, 2:])
    np.testing.assert_allclose(got, expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"X has 5 columns, .* \[1, 1\]. Call set_input_shape"):
        TransformerBasis(PLACE + PHASE).fit(X)
    assert basis.IdentityEval().to_transformer().fit_transform(X).shape == (40, 5)


def test_names_are_labels_channels_and_numbers(rng):
    whole = (PLACE * PHASE + basis.HistoryConv(2, label="past")).set_input_shape(1, 1, (2, 1))
    fitted = whole.to_transformer().fit(rng.random((20, 4)))
    names = fitted.get_feature_names_out()
    assert len(set(names)) == len(names) == whole.n_output_features
    assert list(names[[0, 29]]) == ["(place*phase)_0", "(place*phase)_29"]
    assert list(names[30:]) == ["past[0,0]_0", "past[0,0]_1", "past[1,0]_0", "past[1,0]_1"]


def test_pandas_goes_in_and_out(X):
    frame = pd.DataFrame(X, columns=["x", "theta"], index=np.arange(60) * 0.1)
    transformer = (PLACE + PHASE).to_transformer().set_output(transform="pandas")
    out = transformer.fit_transform(frame)
    assert list(out.columns[[0, 5]]) == ["place_0", "phase_0"]
    np.testing.assert_array_equal(out.index, frame.index)
    np.testing.assert_array_equal(transformer.feature_names_in_, frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        transformer.transform(frame[["theta", "x"]])


def test_pynapple_goes_in_and_out(rng):
    epochs = nap.IntervalSet([0, 40], [29, 69])
    X = nap.TsdFrame(np.r_[:30, 40:70], rng.random((60, 2)), time_support=epochs)
    past = basis.HistoryConv(3).to_transformer()
    out = past.fit_transform(X)
    assert isinstance(out, nap.TsdFrame)
    assert np.flatnonzero(np.isnan(out.d[:, 0])).tolist() == [0, 1, 2, 30, 31, 32]


def test_a_basis_without_functions_leads_a_pipeline_to_the_mean(rng):
    X, y = rng.uniform(size=(40, 1)), rng.poisson(1.0, size=40).astype(float)
    pipeline = make_pipeline(TransformerBasis(basis.Zero()), GLM()).fit(X, y)
    np.testing.assert_allclose(pipeline.predict(X), y.mean(), rtol=1e-6)
    search = GridSearchCV(pipeline, {"transformerbasis__basis": [basis.Zero(), PLACE]}, cv=2)
    assert np.isfinite(search.fit(X, y).cv_results_["mean_test_score"]).all()


def test_categories_may_be_strings():
    frame = pd.DataFrame({"side": ["left", "right", "left"], "x": [0.0, 0.5, 1.0]})
    both = basis.Category(["left", "right"], label="side") + PLACE
    out = both.to_transformer().fit_transform(frame)
    np.testing.assert_array_equal(out[:, :2], [[1, 0], [0, 1], [1, 0]])
    np.testing.assert_allclose(out[:, 2:].sum(axis=1), 1, rtol=1e-6)


def test_columns_may_have_transformers_of_their_own(X):
    frame = pd.DataFrame(X, columns=["x", "theta"])
    columns = ColumnTransformer(
        [("x", PLACE.to_transformer(), ["x"]), ("theta", PHASE.to_transformer(), ["theta"])]
    )
    expected = (PLACE + PHASE).compute_features(*X.T)
    np.testing.assert_allclose(columns.fit_transform(frame), expected, atol=1e-6)
    assert columns.get_feature_names_out()[0] == "x__place_0"


@pytest.mark.parametrize(
    "name",
    ["basis__basis__place__n_basis_funcs", "basis__place__n_basis_funcs"],
)
def test_a_search_sets_parameters_by_label(X, rng, name):
    y = rng.poisson(1 + X[:, 0])
    pipeline = Pipeline([("basis", (PLACE + PHASE).to_transformer()), ("glm", PoissonRegressor())])
    search = GridSearchCV(pipeline, {name: [4, 8]}, cv=2).fit(X, y)
    n = search.best_params_[name]
    assert search.best_estimator_["basis"].transform(X).shape == (60, n + 6)
    assert pipeline["basis"].basis["place"].n_basis_funcs == 5


# NumPy told of it once in scikit-learn's own product, in a process of many tests.
@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul:RuntimeWarning")
def test_a_search_sets_parameters_and_bases(X, rng):
    y = rng.poisson(1 + X[:, 0])
    pipeline = make_pipeline(PLACE.to_transformer(), PoissonRegressor())
    grid = [
        {"transformerbasis__n_basis_funcs": [4, 8]},
        {"transformerbasis__basis__n_basis_funcs": [5]},
        {"transformerbasis__basis": [basis.MSplineEval(6, bounds=(0, 1))]},
    ]
    search = GridSearchCV(pipeline, grid, cv=2).fit(X[:, :1], y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
        pipeline.set_params(transformerbasis__nonsense=3)


def test_what_is_no_basis_is_refused(X):
    with pytest.raises(TypeError, match="basis is 3, but must be a basis"):
        TransformerBasis(3).fit(X)
    X[3, 1] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        TransformerBasis(PLACE + PHASE).fit(X)
