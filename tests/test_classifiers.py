"""Classifiers: labels, classes, probabilities, and the laws that all fits obey."""

import pickle

import jax
import numpy as np
import pandas as pd
import pynapple as nap
import pytest
from scipy import optimize, special
from sklearn.base import clone, is_classifier, is_regressor

from compilations import counted
from spikax.glm import GLM, ClassifierGLM, ClassifierPopulationGLM

T, P, N, K = 150, 4, 2, 3
NAMES = np.array(["go", "rest", "turn"])


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def choices():
    """Make features, and the class that each of two neurons is in."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(T, P))
    eta = np.einsum("tp,pnk->tnk", X, rng.normal(size=(P, N, K)))
    return X, (eta + rng.gumbel(size=eta.shape)).argmax(axis=2)


def fit(X, y, ridge=0.1, fit_kwargs=None, **kwargs):
    """Fit closely; `ClassifierGLM` where `y` is one neuron."""
    kind = ClassifierGLM if np.ndim(y) == 1 else ClassifierPopulationGLM
    penalty = (
        {"regularizer_strength": ridge} if ridge is not None else {"regularizer": "UnRegularized"}
    )
    model = kind(K, solver_kwargs={"tol": 1e-12}, **penalty, **kwargs)
    return model.fit(X, y, **(fit_kwargs or {}))


def assert_same(model, other):
    """Compare coefficients and intercepts of two fits."""
    for one, two in zip(jax.tree.leaves(model.coef_), jax.tree.leaves(other.coef_), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, other.intercept_, atol=1e-6)


# --- Shapes, and one neuron as a population of one.


def test_a_population_equals_its_neurons_fitted_alone():
    X, y = choices()
    population = fit(X, y)
    assert population.coef_.shape == (P, N, K)
    assert population.intercept_.shape == (N, K)
    proba = population.predict_proba(X, "proba")
    assert proba.shape == (T, N, K)
    scores = population.score(X, y, aggregate_sample_scores=lambda s: s.mean(0))
    for j in range(N):
        alone = fit(X, y[:, j])
        assert alone.coef_.shape == (P, K)
        assert alone.intercept_.shape == (K,)
        np.testing.assert_allclose(alone.coef_, population.coef_[:, j], atol=1e-6)
        np.testing.assert_allclose(alone.intercept_, population.intercept_[j], atol=1e-6)
        np.testing.assert_allclose(alone.predict_proba(X, "proba"), proba[:, j], atol=1e-6)
        np.testing.assert_array_equal(alone.predict(X), population.predict(X)[:, j])
        assert alone.score(X, y[:, j]) == pytest.approx(scores[j], rel=1e-6)
        assert alone.dof_resid_ == pytest.approx(population.dof_resid_[j], rel=1e-9)
        assert T - (K - 1) * (P + 1) < alone.dof_resid_ < T - (K - 1)


def test_probabilities_are_the_softmax_of_the_linear_predictors():
    X, y = choices()
    model = fit(X, y[:, 0])
    eta = X @ model.coef_ + model.intercept_
    expected = np.exp(eta) / np.exp(eta).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X, "proba"), expected, rtol=1e-10)
    np.testing.assert_allclose(model.predict_proba(X), np.log(expected), rtol=1e-9)
    np.testing.assert_array_equal(model.predict(X), expected.argmax(axis=1))
    loss = -np.log(expected[np.arange(T), y[:, 0]]).mean()
    assert model.compute_loss((model.coef_, model.intercept_), X, y[:, 0]) == pytest.approx(loss)
    assert model.score(X, y[:, 0]) == pytest.approx(-loss)


def test_two_classes_are_a_bernoulli():
    X, y = choices()
    y = y[:, 0] == 1
    classifier = ClassifierGLM(2, regularizer="UnRegularized", solver_kwargs={"tol": 1e-12}).fit(
        X, y
    )
    bernoulli = GLM("Bernoulli", solver_kwargs={"tol": 1e-12}).fit(X, y)
    np.testing.assert_allclose(2 * classifier.coef_[:, 1], bernoulli.coef_, atol=1e-6)
    np.testing.assert_allclose(2 * classifier.intercept_[1:], bernoulli.intercept_, atol=1e-6)
    assert classifier.score(X, y) == pytest.approx(bernoulli.score(X, y))
    assert classifier.dof_resid_ == bernoulli.dof_resid_


def test_the_default_is_a_ridge_of_strength_one():
    X, y = choices()
    assert_same(ClassifierPopulationGLM(K, solver_kwargs={"tol": 1e-12}).fit(X, y), fit(X, y, 1.0))


@pytest.mark.parametrize("kind", [ClassifierGLM, ClassifierPopulationGLM])
def test_it_is_a_classifier_for_scikit_learn(kind):
    assert is_classifier(kind())
    assert not is_regressor(kind())


# --- Labels.

LABELS = {
    "text": NAMES,
    "objects": NAMES.astype(object),
    "whole numbers": np.array([7, -2, 30]),
    "numbers": np.array([1.0, 2.0, 5.0]),
}


@pytest.mark.parametrize("name", LABELS)
def test_any_labels_give_the_fit_of_their_indices(name):
    X, y = choices()
    names = LABELS[name]
    # np.unique sorts labels: index the classes in that order.
    model, plain = fit(X, names[y]), fit(X, np.argsort(np.argsort(names))[y])
    assert_same(model, plain)
    np.testing.assert_array_equal(model.classes_, np.sort(names))
    np.testing.assert_array_equal(model.predict(X), np.sort(names)[plain.predict(X)])
    assert model.score(X, names[y]) == pytest.approx(
        plain.score(X, np.argsort(np.argsort(names))[y])
    )
    drawn, _ = model.simulate(jax.random.key(0), X)
    assert drawn.shape == y.shape
    assert set(np.unique(drawn)) == set(names)


def test_labels_come_as_lists_and_series():
    X, y = choices()
    plain = fit(X, NAMES[y[:, 0]])
    model = ClassifierGLM(K, regularizer_strength=0.1, solver_kwargs={"tol": 1e-12})
    for same in (NAMES[y[:, 0]].tolist(), pd.Series(NAMES[y[:, 0]])):
        assert_same(model.fit(X, same), plain)


def test_missing_labels_and_features_are_ignored():
    X, y = choices()
    holed_X, holed_y = X.copy(), NAMES[y[:, 0]].astype(object)
    holed_X[[3, 8], 1] = np.nan
    holed_y[10], holed_y[11] = None, np.nan
    kept = ~np.isin(np.arange(T), [3, 8, 10, 11])
    model, removed = fit(holed_X, holed_y), fit(X[kept], NAMES[y[kept, 0]])
    assert_same(model, removed)
    assert model.score(holed_X, holed_y) == pytest.approx(
        removed.score(X[kept], NAMES[y[kept, 0]])
    )
    predicted = model.predict(holed_X)
    np.testing.assert_array_equal(pd.isna(predicted), np.isin(np.arange(T), [3, 8]))
    assert np.isnan(model.predict_proba(holed_X)[3]).all()
    sample, _ = model.simulate(jax.random.key(0), holed_X)
    assert pd.isna(sample[3])
    numbers = fit(holed_X, y[:, 0]).predict(holed_X)
    assert np.isnan(numbers[3])
    assert numbers[0] in (0, 1, 2)


def test_classes_that_are_set_may_be_missing_from_a_fit():
    X, y = choices()
    some = y[:, 0] != 2
    model = ClassifierGLM(K, regularizer_strength=0.1)
    with pytest.raises(
        ValueError, match=r"y has 2 classes \('go', 'rest'\), but n_classes=3.*set_cl"
    ):
        model.fit(X[some], NAMES[y[some, 0]])
    model.set_classes(NAMES)
    with pytest.warns(RuntimeWarning, match="neurons 0 have their optimum at infinity"):
        model.fit(X[some], NAMES[y[some, 0]])
    assert model.predict_proba(X, "proba")[:, 2].max() < 1e-3
    np.testing.assert_array_equal(model.classes_, NAMES)
    assert np.isfinite(model.coef_).all()
    assert not hasattr(clone(model), "classes_")


def test_a_neuron_may_lack_a_class_that_another_has():
    X, y = choices()
    y[:, 1] = np.minimum(y[:, 1], 1)
    with pytest.warns(
        RuntimeWarning, match="1 of 2 neurons .* neurons 1 have their optimum at inf"
    ):
        model = fit(X, y)
    np.testing.assert_allclose(model.coef_[:, 0], fit(X, y[:, 0]).coef_, atol=1e-6)
    assert np.isfinite(model.intercept_).all()
    assert model.predict_proba(X, "proba")[:, 1, 2].max() < 1e-3


# --- Masks, strengths, weights, offsets, containers.


@pytest.mark.parametrize("ridge", [None, 0.1])
def test_masked_coefficients_are_zero_and_the_rest_is_optimal(ridge):
    X, y = choices()
    mask = np.ones((P, N, K))
    mask[0, 0, 1] = mask[2, 1, :2] = mask[3, 0] = 0
    model = fit(X, y, ridge, feature_mask=mask)
    assert np.all(model.coef_[mask == 0] == 0)
    slope, slope_of_intercept = jax.grad(model.compute_loss)((model.coef_, model.intercept_), X, y)
    slope = slope + (ridge or 0) * model.coef_
    np.testing.assert_allclose(slope[mask == 1], 0, atol=1e-6)
    np.testing.assert_allclose(slope_of_intercept, 0, atol=1e-6)
    alone = fit(X, y[:, 0], ridge, feature_mask=mask[:, 0])
    np.testing.assert_allclose(alone.coef_, model.coef_[:, 0], atol=1e-6)
    counted = T - (2 + 2 + 2 + 0) - 2
    assert alone.dof_resid_ == counted if ridge is None else counted < alone.dof_resid_ < T - 2


def test_masks_like_the_features_equal_the_array():
    X, y = choices()
    mask = np.ones((P, N, K))
    mask[:3, 1] = 0
    array = fit(X, y, feature_mask=mask)
    features = {"a": X[:, :3], "b": X[:, 3:]}
    for tree in ({"a": [1, 0], "b": [1, 1]}, {"a": mask[:3], "b": mask[3:]}):
        model = fit(features, y, feature_mask=tree)
        np.testing.assert_allclose(model.coef_["a"], array.coef_[:3], atol=1e-6)
        np.testing.assert_allclose(model.coef_["b"], array.coef_[3:], atol=1e-6)


def test_strengths_of_neurons_and_coefficients_equal_fits_with_each():
    X, y = choices()
    each = np.array([0.01, 1.0])
    population = fit(X, y, each)
    for j in range(N):
        np.testing.assert_allclose(
            fit(X, y[:, j], each[j]).coef_, population.coef_[:, j], atol=1e-6
        )
    strengths = np.linspace(0.01, 1, P * N * K).reshape(P, N, K)
    model = fit(X, y, strengths)
    slope, _ = jax.grad(model.compute_loss)((model.coef_, model.intercept_), X, y)
    np.testing.assert_allclose(slope, -strengths * model.coef_, atol=1e-6)


def test_strengths_of_neurons_meet_masks():
    X, y = choices()
    each, mask = np.array([0.01, 1.0]), np.ones((P, N, K))
    mask[0, 1] = mask[1, 0, 2] = 0
    population = fit(X, y, each, feature_mask=mask)
    for j in range(N):
        alone = fit(X, y[:, j], each[j], feature_mask=mask[:, j])
        np.testing.assert_allclose(alone.coef_, population.coef_[:, j], atol=1e-6)


def test_integer_weights_equal_repeated_rows():
    X, y = choices()
    weights = np.random.default_rng(3).choice([0, 1, 2], size=T)
    rows = np.repeat(np.arange(T), weights)
    weighted = fit(X, y, fit_kwargs={"sample_weight": weights})
    repeated = fit(X[rows], y[rows])
    assert_same(weighted, repeated)
    assert weighted.score(X, y, sample_weight=weights) == pytest.approx(
        repeated.score(X[rows], y[rows])
    )


@pytest.mark.parametrize("score_type", ["pseudo-r2-McFadden", "pseudo-r2-Cohen"])
def test_the_null_model_has_the_offset_and_the_weights(score_type):
    X, y = choices()
    rng = np.random.default_rng(9)
    offset, weights = rng.normal(0, 2, size=(T, N, K)), rng.uniform(0.2, 2, size=T)
    model = fit(X, y)
    found = model.score(X, y, score_type, sample_weight=weights, offset=offset)
    losses = []
    for j in range(N):
        chosen = y[:, j, None] == model.classes_

        def loss(level, offset=offset[:, j], chosen=chosen):
            eta = offset + level
            return weights @ (special.logsumexp(eta, axis=1) - eta[chosen])

        best = optimize.minimize(loss, np.zeros(K), method="BFGS", options={"gtol": 1e-8}).fun
        losses.append((loss(X @ model.coef_[:, j] + model.intercept_[j]), best))
    ours, null = np.sum(losses, axis=0)
    assert found == pytest.approx(1 - ours / null, rel=1e-6)


@pytest.mark.parametrize("score_type", ["pseudo-r2-McFadden", "pseudo-r2-Cohen"])
def test_a_class_alone_leaves_nothing_to_explain(score_type):
    X, y = choices()
    model = fit(X, y)
    y[:, 1] = y[0, 1]
    with pytest.warns(RuntimeWarning, match="neurons 1 are predicted without error"):
        each = model.score(X, y, score_type, lambda s: s.mean(0))
    assert np.isnan(each).tolist() == [False, True, *[False] * (N - 2)]
    assert np.isfinite(model.score(X, y, score_type))


def test_an_offset_equals_a_feature_of_fixed_coefficients():
    X, y = choices()
    full = fit(X, y, None)
    offset = np.einsum("t,nk->tnk", X[:, 3], full.coef_[3])
    rest = fit(X[:, :3], y, None, fit_kwargs={"offset": offset})
    np.testing.assert_allclose(rest.coef_, full.coef_[:3], atol=1e-6)
    np.testing.assert_allclose(
        rest.predict_proba(X[:, :3], offset=offset), full.predict_proba(X), atol=1e-5
    )
    np.testing.assert_array_equal(rest.predict(X[:, :3], offset), full.predict(X))


def test_the_start_does_not_move_the_optimum():
    X, y = choices()
    start = np.full((P, N, K), 0.5) + np.arange(K), np.full((N, K), -1.0)
    for ridge in (None, 0.1):
        assert_same(fit(X, y, ridge, fit_kwargs={"init_params": start}), fit(X, y, ridge))


def test_updates_lead_to_the_optimum():
    X, y = choices()
    closely = {"solver_kwargs": {"tol": 1e-10}}
    model = ClassifierPopulationGLM(K, regularizer_strength=0.1, **closely)
    params = model.initialize_params(X, y)
    state = model.initialize_optimizer_and_state(params, X, y)
    for _ in range(60):
        params, state = model.update(params, state, X, y)
    np.testing.assert_allclose(params[0], fit(X, y).coef_, atol=1e-4)
    np.testing.assert_array_equal(model.predict(X), fit(X, y).predict(X))


def test_time_series_go_in_and_come_out():
    X, y = choices()
    t = np.arange(T) / 10
    series = nap.TsdFrame(t=t, d=X)
    model = fit(series, nap.Tsd(t=t, d=y[:, 0]))
    assert_same(model, fit(X, y[:, 0]))
    assert isinstance(model.predict(series), nap.Tsd)
    proba = model.predict_proba(series)
    assert isinstance(proba, nap.TsdFrame)
    np.testing.assert_array_equal(proba.columns, model.classes_)
    population = fit(series, nap.TsdFrame(t=t, d=y, columns=[4, 9]))
    np.testing.assert_array_equal(population.predict(series).columns, [4, 9])
    assert isinstance(population.predict_proba(series), nap.TsdTensor)
    text = fit(series, NAMES[y[:, 0]])
    assert isinstance(text.predict(series), np.ndarray)
    with pytest.raises(ValueError, match="different time axes"):
        fit(series, nap.Tsd(t=t + 5, d=y[:, 0]))


def test_copies_of_a_model_predict_what_it_does():
    X, y = choices()
    model = fit({"a": X}, NAMES[y])
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict({"a": X}), model.predict({"a": X}))


def test_no_number_that_a_user_tunes_compiles_again():
    X, y = choices()

    def use(model, X, y):
        model.fit(X, y)
        model.predict(X)
        model.score(X, y)

    model = ClassifierPopulationGLM(K, regularizer_strength=0.1, solver_kwargs={"tol": 1e-4})
    use(model, X, y)
    with counted() as compiled:
        use(clone(model), X[::-1], NAMES[y])
        use(clone(model).set_params(regularizer_strength=0.3), X[:-1], y[:-1])
        use(clone(model).set_params(solver_kwargs={"tol": 1e-3}), X, y)
    assert compiled == []
