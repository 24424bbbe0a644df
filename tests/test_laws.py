"""Laws of a fit: what must not change it, and what must change it in a known way."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pynapple as nap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning

from spikax import load_model
from spikax.basis import BSplineEval, HistoryConv, Zero
from spikax.glm import GLM, ClassifierGLM, ClassifierPopulationGLM, PopulationGLM
from spikax.inference import infer
from spikax.model_selection import GLMCV, PopulationGLMCV
from spikax.observation_models import NegativeBinomialObservations
from spikax.regularizer import GroupLasso, Lasso, Ridge

FAMILIES = ("Poisson", "Bernoulli", "Gaussian")
SCORES = ("log-likelihood", "pseudo-r2-McFadden", "pseudo-r2-Cohen")
# Numbers of samples between 118 and 181 share one program.
T, P, N = 150, 4, 3

every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def recording(family="Poisson"):
    """Make features, and what three neurons do."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(T, P))
    eta = X @ rng.normal(0, 0.4, size=(P, N)) - 0.2
    y = {
        "Poisson": lambda: rng.poisson(np.exp(eta)),
        "Bernoulli": lambda: rng.binomial(1, 1 / (1 + np.exp(-eta))),
        "Gaussian": lambda: rng.normal(eta),
    }[family]()
    return X, y.astype(float)


def fit(X, y, family="Poisson", ridge=None, fit_kwargs=None, **kwargs):
    """Fit closely; `GLM` where `y` is one neuron."""
    kind = GLM if np.ndim(y) == 1 else PopulationGLM
    penalty = {} if ridge is None else {"regularizer": "Ridge", "regularizer_strength": ridge}
    model = kind(family, solver_kwargs={"tol": 1e-12}, **penalty, **kwargs)
    return model.fit(X, y, **(fit_kwargs or {}))


def assert_same(model, other):
    """Compare coefficients and intercepts of two fits."""
    leaves, other_leaves = jax.tree.leaves(model.coef_), jax.tree.leaves(other.coef_)
    for coef, other_coef in zip(leaves, other_leaves, strict=True):
        np.testing.assert_allclose(coef, other_coef, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, other.intercept_, atol=1e-6)


def assert_is_neuron(model, population, j):
    """Compare a fit of one neuron with its column of a population's."""
    coef = np.concatenate(jax.tree.leaves(population.coef_))
    np.testing.assert_allclose(np.concatenate([model.coef_]), coef[:, j], atol=1e-6)
    np.testing.assert_allclose(model.intercept_, population.intercept_[[j]], atol=1e-6)
    np.testing.assert_allclose(model.scale_, population.scale_[j], rtol=1e-6)
    np.testing.assert_allclose(model.dof_resid_, population.dof_resid_[j], rtol=1e-12)


# --- The neurons of a population are separate problems.


@every_family
def test_a_population_equals_its_neurons_fitted_alone(family):
    X, y = recording(family)
    population = fit(X, y, family)
    for j in range(N):
        alone = fit(X, y[:, j], family)
        assert_is_neuron(alone, population, j)
        np.testing.assert_allclose(alone.predict(X), population.predict(X)[:, j], rtol=1e-5)
        per_neuron = population.score(X, y, aggregate_sample_scores=lambda s: s.mean(0))
        assert alone.score(X, y[:, j]) == pytest.approx(per_neuron[j], rel=1e-6)


@pytest.mark.filterwarnings("ignore:1 of 3 neurons:RuntimeWarning")
@pytest.mark.parametrize("trouble", ["silent", "outlier", "missing"])
def test_the_trouble_of_one_neuron_is_its_own(trouble):
    X, y = recording()
    troubled = y.copy()
    if trouble == "silent":
        troubled[:, 1] = 0
    elif trouble == "outlier":
        troubled[5, 1] = 1e6
    else:
        troubled[:, 1] = np.nan
    calm, disturbed = fit(X, y), fit(X, troubled)
    np.testing.assert_allclose(disturbed.coef_[:, [0, 2]], calm.coef_[:, [0, 2]], atol=1e-6)
    assert np.all(np.isfinite(disturbed.coef_))
    assert np.all(np.isfinite(disturbed.intercept_))


def test_neurons_do_not_depend_on_their_order():
    X, y = recording()
    np.testing.assert_allclose(fit(X, y[:, ::-1]).coef_[:, ::-1], fit(X, y).coef_, atol=1e-6)


def test_strengths_of_neurons_equal_fits_with_each():
    X, y = recording()
    strengths = np.array([0.01, 1.0, 0.0])
    population = fit(X, y, ridge=strengths)
    for j, strength in enumerate(strengths):
        assert_is_neuron(fit(X, y[:, j], ridge=strength), population, j)


def test_strengths_of_coefficients_come_as_arrays_and_like_the_features():
    X, y = recording()
    strengths = np.linspace(0, 2, P * N).reshape(P, N)
    population = fit(X, y, ridge=strengths)
    for j in range(N):
        assert_is_neuron(fit(X, y[:, j], ridge=strengths[:, j]), population, j)
    features = {"a": X[:, :1], "b": X[:, 1:]}
    like_features = fit(features, y, ridge={"a": strengths[:1], "b": strengths[1:]})
    lists = fit(features, y, ridge={"a": strengths[:1].tolist(), "b": strengths[1:].tolist()})
    assert_same(like_features, lists)
    np.testing.assert_allclose(like_features.coef_["b"], population.coef_[1:], atol=1e-6)
    scalars = fit(features, y, ridge={"a": 0.3, "b": 0.3})
    np.testing.assert_allclose(scalars.coef_["b"], fit(X, y, ridge=0.3).coef_[1:], atol=1e-6)


# --- Masks.

MASK = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1]])


@pytest.mark.parametrize("ridge", [None, 0.1])
def test_a_mask_equals_a_subset_of_the_features(ridge):
    X, y = recording()
    masked = fit(X, y, ridge=ridge, feature_mask=MASK)
    for j in range(N):
        kept = MASK[:, j] == 1
        alone = fit(X[:, kept], y[:, j], ridge=ridge)
        np.testing.assert_allclose(masked.coef_[kept, j], alone.coef_, atol=1e-6)
        np.testing.assert_allclose(masked.intercept_[[j]], alone.intercept_, atol=1e-6)
        assert masked.dof_resid_[j] == alone.dof_resid_
    assert np.all(masked.coef_[MASK == 0] == 0)


def test_masks_like_the_features_equal_the_array():
    X, y = recording()
    features = {"place": X[:, :3], "speed": X[:, 3:]}
    whole = {"place": [1, 0, 1], "speed": [0, 1, 1]}
    shaped = {"place": np.tile([1, 0, 1], (3, 1)), "speed": np.array([[0, 1, 1]])}
    array = fit(X, y, feature_mask=np.concatenate([shaped["place"], shaped["speed"]]))
    for mask in (whole, shaped, {"place": whole["place"], "speed": shaped["speed"]}):
        model = fit(features, y, feature_mask=mask)
        np.testing.assert_allclose(model.coef_["place"], array.coef_[:3], atol=1e-6)
        np.testing.assert_allclose(model.coef_["speed"], array.coef_[3:], atol=1e-6)
        assert np.all(model.coef_["place"][:, 1] == 0)


def test_one_neuron_takes_a_mask_too():
    X, y = recording()
    assert_is_neuron(fit(X, y[:, 0], feature_mask=MASK[:, 0]), fit(X, y, feature_mask=MASK), 0)


def test_a_mask_stays_with_its_fit():
    X, y = recording()
    model = fit(X, y, feature_mask=MASK)
    np.testing.assert_array_equal(clone(model).feature_mask, MASK)
    with pytest.raises(AttributeError, match="cannot be set after the model is fit"):
        model.feature_mask = None


# --- Samples.


@every_family
def test_integer_weights_equal_repeated_rows(family):
    X, y = recording(family)
    weights = np.random.default_rng(3).choice([0, 1, 2], size=T, p=[0.3, 0.4, 0.3])
    rows = np.repeat(np.arange(T), weights)
    frequencies = {"weight_type": "frequency", "fit_kwargs": {"sample_weight": weights}}
    weighted = fit(X, y, family, **frequencies)
    repeated = fit(X[rows], y[rows], family, fit_kwargs={"sample_weight": np.ones(len(rows))})
    assert_same(weighted, repeated)
    np.testing.assert_allclose(weighted.scale_, repeated.scale_, rtol=1e-6)
    np.testing.assert_allclose(weighted.dof_resid_, repeated.dof_resid_)
    for score_type in SCORES if family != "Gaussian" else ("log-likelihood", "pseudo-r2-Cohen"):
        assert weighted.score(X, y, score_type, sample_weight=weights) == pytest.approx(
            repeated.score(X[rows], y[rows], score_type), rel=1e-6
        )


def test_the_size_of_all_weights_does_not_matter():
    X, y = recording()
    weights = np.random.default_rng(3).uniform(0.1, 2, size=T)
    small, large = (
        fit(X, y, ridge=0.1, fit_kwargs={"sample_weight": c * weights}) for c in (0.1, 10)
    )
    assert_same(small, large)


def test_rows_with_nan_equal_removed_rows():
    X, y = recording()
    missing_X, missing_y = X.copy(), y.copy()
    missing_X[[0, 7, 60], [0, 1, 2]] = np.nan
    missing_y[[3, 149]] = np.nan
    kept = ~np.isin(np.arange(T), [0, 7, 60, 3, 149])
    holed, removed = fit(missing_X, missing_y), fit(X[kept], y[kept])
    assert_same(holed, removed)
    np.testing.assert_array_equal(holed.dof_resid_, removed.dof_resid_)
    weights = np.linspace(0, 2, T)
    for score_type in ("log-likelihood", "pseudo-r2-McFadden"):
        assert holed.score(missing_X, missing_y, score_type, sample_weight=weights) == (
            pytest.approx(removed.score(X[kept], y[kept], score_type, sample_weight=weights[kept]))
        )
    predicted = holed.predict(missing_X)
    np.testing.assert_array_equal(np.isnan(predicted).all(1), np.isin(np.arange(T), [0, 7, 60]))
    np.testing.assert_allclose(predicted[1], removed.predict(X)[1], rtol=1e-5)


def test_nan_in_one_neuron_is_ignored_for_it_alone():
    X, y = recording()
    missing = y.copy()
    missing[20:40, 1] = np.nan
    kept = ~np.isin(np.arange(T), np.arange(20, 40))
    population, whole = fit(X, missing), fit(X, y)
    assert_is_neuron(fit(X[kept], y[kept, 1]), population, 1)
    np.testing.assert_allclose(population.coef_[:, [0, 2]], whole.coef_[:, [0, 2]], atol=1e-6)
    np.testing.assert_array_equal(population.dof_resid_, [T - P - 1, T - 20 - P - 1, T - P - 1])


# Every estimator, and what it takes of the counts of a population.
ESTIMATORS = {
    "GLM": (GLM(), lambda y: y[:, 0]),
    "PopulationGLM": (PopulationGLM(), lambda y: y),
    "GLMCV": (GLMCV(cv=3, strengths=[0.1, 1.0]), lambda y: y[:, 0]),
    "PopulationGLMCV": (PopulationGLMCV(cv=3, strengths=[0.1, 1.0]), lambda y: y),
    "ClassifierGLM": (ClassifierGLM(), lambda y: y[:, 0] > 0),
    "ClassifierPopulationGLM": (ClassifierPopulationGLM(), lambda y: y > 0),
}
every_estimator = pytest.mark.parametrize(("model", "of"), ESTIMATORS.values(), ids=ESTIMATORS)


@every_estimator
def test_a_good_part_of_ignored_samples_is_one_warning(model, of):
    X, y = recording()
    x = np.linspace(-1, 1, T)
    basis = BSplineEval(4, bounds=(-0.5, 1), label="place") + HistoryConv(2, label="past")
    n = np.sum(x < -0.5)
    ways = {
        "X \\(most often column 0 of X\\)": basis.compute_features(x, y[:, 0]),
        "the input of 'place'": basis.design(x, y[:, 0]),
        # As many columns as the others have.
        "X\\['place'\\]": {"place": basis["place"].compute_features(x), "rest": X[:, :2]},
    }
    for name, features in ways.items():
        message = f"{n} of {T} samples are ignored, since something is NaN: {name} in {n}[.,]"
        with pytest.warns(RuntimeWarning, match=message) as caught:
            clone(model).fit(features, of(y))
        assert len(caught) == 1
    with pytest.warns(RuntimeWarning, match=message) as caught:
        fitted = clone(model).partial_fit(features, of(y))
    with pytest.warns(RuntimeWarning, match=message):
        fitted.score(features, of(y))
    # Who says so beforehand, hears nothing.
    clone(model).fit(features, of(y), sample_weight=(x >= -0.5).astype(float))


def test_ignored_samples_of_y_are_told_and_single_entries_are_not():
    X, y = recording()
    y[: T // 2, 0] = np.nan
    fit(X, y)
    y[: T // 5] = np.nan
    with pytest.warns(RuntimeWarning, match=f"{T // 5} of {T} samples .* NaN: y in {T // 5}"):
        fit(X, y)


def test_the_edges_of_epochs_are_expected_to_be_ignored():
    y = recording()[1]
    t = np.arange(T) + 100 * (np.arange(T) // 30)
    epochs = nap.IntervalSet(t[::30], t[29::30])
    counts = nap.TsdFrame(t, y, time_support=epochs)
    fit(HistoryConv(4).compute_features(counts[:, 0]), counts)
    fit(HistoryConv(4).design(counts[:, 0]), counts)
    one_has_its_past = HistoryConv(4).compute_features(counts[:, 0]).d.copy()
    one_has_its_past[:4] = 0
    with pytest.warns(RuntimeWarning, match=f"16 of {T} samples are ignored"):
        fit(one_has_its_past, counts)


def test_the_order_of_samples_does_not_matter():
    X, y = recording()
    assert_same(fit(X[::-1], y[::-1]), fit(X, y))


# --- Features.

NO_COLUMNS = {
    "a basis": lambda: Zero().compute_features(np.zeros(T)),
    "a design": lambda: Zero().design(np.zeros(T)),
    "a series": lambda: Zero().compute_features(nap.Tsd(np.arange(T), np.zeros(T))),
    "a container": lambda: {"a": np.zeros((T, 0)), "b": np.zeros((T, 0))},
}


@pytest.mark.parametrize(
    ("name", "no_columns"),
    [*((name, "a basis") for name in ESTIMATORS), *(("PopulationGLM", x) for x in NO_COLUMNS)],
)
def test_without_columns_the_mean_is_fitted(name, no_columns):
    model, of = ESTIMATORS[name]
    X, observed = NO_COLUMNS[no_columns](), of(recording()[1])
    fitted = clone(model).fit(X, observed)
    if name.startswith("Classifier"):
        mean = np.asarray(fitted.predict_proba(X, return_type="proba"))[..., 1]
    else:
        mean = np.asarray(fitted.predict(X))
    expected = np.broadcast_to(observed.mean(axis=0), mean.shape)
    np.testing.assert_allclose(mean, expected, rtol=1e-6)
    assert {len(leaf) for leaf in jax.tree.leaves(fitted.coef_)} == {0}
    assert np.isfinite(fitted.score(X, observed))
    with pytest.raises(ValueError, match="no columns and fit_intercept is False"):
        clone(model).set_params(fit_intercept=False).fit(X, observed)


@pytest.mark.parametrize("no_columns", NO_COLUMNS)
def test_without_columns_a_file_predicts_the_same(no_columns, tmp_path):
    X, y = NO_COLUMNS[no_columns](), recording()[1]
    model = PopulationGLM().fit(X, y)
    model.save_params(tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert {leaf.shape for leaf in jax.tree.leaves(loaded.coef_)} == {(0, N)}


@pytest.mark.parametrize("regularizer", [Ridge(), Lasso(), GroupLasso()], ids=repr)
def test_without_columns_there_is_nothing_to_penalise(regularizer):
    y = recording()[1]
    X = NO_COLUMNS["a container"]()
    model = PopulationGLM(regularizer=regularizer, regularizer_strength=10.0).fit(X, y)
    np.testing.assert_allclose(model.intercept_, np.log(y.mean(axis=0)), rtol=1e-6)
    again = clone(model).partial_fit(X, y).partial_fit(X, y)
    np.testing.assert_allclose(again.intercept_, model.intercept_, rtol=1e-6)


def test_without_columns_inference_is_that_of_the_intercept():
    y = recording()[1]
    X = NO_COLUMNS["a basis"]()
    found = infer(PopulationGLM().fit(X, y), X, y)
    np.testing.assert_allclose(np.ravel(found.standard_error), y.sum(axis=0) ** -0.5, rtol=1e-5)


def test_an_empty_array_beside_others_changes_nothing():
    X, y = recording()
    for regularizer in (Ridge(), GroupLasso()):
        model = PopulationGLM(regularizer=regularizer, regularizer_strength=0.1)
        with_empty = clone(model).fit({"a": X, "none": X[:, :0]}, y)
        np.testing.assert_allclose(
            with_empty.coef_["a"], clone(model).fit({"a": X}, y).coef_["a"], atol=1e-6
        )
        assert with_empty.coef_["none"].shape == (0, N)


@every_family
def test_rescaled_features_rescale_their_coefficients(family):
    X, y = recording(family)
    scale = np.array([1e-6, 1.0, 1e3, 1e6])
    plain, rescaled = fit(X, y, family), fit(X * scale, y, family)
    np.testing.assert_allclose(rescaled.coef_ * scale[:, None], plain.coef_, atol=1e-6)
    np.testing.assert_allclose(rescaled.intercept_, plain.intercept_, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "ridge"), [("Poisson", 0.1), ("Bernoulli", None), ("Gaussian", None)]
)
def test_shifted_features_move_only_the_intercept(family, ridge):
    X, y = recording(family)
    shift = np.array([0.0, 1.0, -30.0, 1e3])
    plain, shifted = fit(X, y, family, ridge), fit(X + shift, y, family, ridge)
    np.testing.assert_allclose(shifted.coef_, plain.coef_, atol=1e-6)
    np.testing.assert_allclose(shifted.intercept_ + shift @ shifted.coef_, plain.intercept_, 1e-5)


def test_permuted_features_permute_their_coefficients():
    X, y = recording()
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(fit(X[:, order], y).coef_, fit(X, y).coef_[order], atol=1e-6)


@pytest.mark.parametrize(
    "pack",
    [
        lambda a, b: {"a": a, "b": b},
        lambda a, b: [a, b],
        lambda a, b: (a, {"rest": b}),
        lambda a, b: {"a": [a], "b": {"c": (b,)}},
        lambda a, b: [[a, b], {}],
    ],
    ids=["dict", "list", "tuple", "nested", "list in list"],
)
def test_a_container_of_features_equals_their_matrix(pack):
    X, y = recording()
    features = pack(X[:, :1], X[:, 1:])
    packed, plain = fit(features, y), fit(X, y)
    assert jax.tree.structure(packed.coef_) == jax.tree.structure(features)
    np.testing.assert_allclose(np.concatenate(jax.tree.leaves(packed.coef_)), plain.coef_)
    np.testing.assert_allclose(packed.predict(features), plain.predict(X))
    assert packed.score(features, y) == pytest.approx(plain.score(X, y))


def test_a_model_without_intercept_equals_one_with_a_column_of_ones():
    X, y = recording()
    without = fit(X, y, fit_intercept=False)
    assert np.all(without.intercept_ == 0)
    np.testing.assert_array_equal(without.dof_resid_, T - P)
    ones = np.column_stack([X[:, :3], np.ones(T)])
    explicit, implicit = fit(ones, y, fit_intercept=False), fit(X, y, feature_mask=keep_three())
    np.testing.assert_allclose(explicit.coef_[:3], implicit.coef_[:3], atol=1e-6)
    np.testing.assert_allclose(explicit.coef_[3], implicit.intercept_, atol=1e-6)


def keep_three():
    return np.tile([[1], [1], [1], [0]], (1, N))


# --- Scores.


@pytest.mark.parametrize("score_type", SCORES)
def test_missing_entries_of_a_neuron_do_not_count_in_its_score(score_type):
    X, y = recording()
    y[:50, 0], y[100:110, 1], y[7] = np.nan, np.nan, np.nan
    weights = np.linspace(0, 2, T)
    population = fit(X, y)
    known = ~np.isnan(y)
    alone = [fit(X[known[:, j]], y[known[:, j], j]) for j in range(N)]

    def of_each(aggregate, **extra):
        return np.array(
            [
                model.score(X[k], y[k, j], score_type, aggregate, **extra)
                for j, (model, k) in enumerate(zip(alone, known.T, strict=True))
            ]
        )

    for each in (lambda s: s.sum(0), lambda s: s.mean(0), lambda s: np.mean(s, axis=0)):
        found = population.score(X, y, score_type, each)
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found, of_each(each), rtol=1e-5)
    if score_type == "log-likelihood":
        for total in (jnp.sum, np.sum, lambda s: s.sum()):
            found = population.score(X, y, score_type, total)
            assert found == pytest.approx(of_each(np.sum).sum(), rel=1e-6)
        found = population.score(X, y, score_type)
        assert found == pytest.approx(of_each(jnp.mean).mean(), rel=1e-6)
        found = population.score(X, y, score_type, sample_weight=weights)
        weighted = [
            model.score(X[k], y[k, j], sample_weight=weights[k])
            for j, (model, k) in enumerate(zip(alone, known.T, strict=True))
        ]
        assert found == pytest.approx(np.mean(weighted), rel=1e-6)
        assert np.isnan(population.score(X, y, score_type, np.asarray)).sum() == 59
    with pytest.raises(ValueError, match="masked arrays are not supported"):
        population.score(X, y, score_type, lambda s: jnp.mean(s, axis=0))


def test_a_neuron_without_samples_has_no_score():
    X, y = recording()
    model = fit(X, y)
    gone = np.where([False, True, False], np.nan, y)
    each = model.score(X, gone, aggregate_sample_scores=lambda s: s.mean(0))
    assert np.isnan(each).tolist() == [False, True, False]
    assert model.score(X, gone) == pytest.approx(np.nanmean(each))


SILENT = {
    "silent": ("Poisson", 0.0, None),
    "silent, dispersed": (NegativeBinomialObservations("estimate"), 0.0, None),
    "never": ("Bernoulli", 0.0, None),
    "always": ("Bernoulli", 1.0, None),
    "level": ("Gaussian", 0.1, None),
    "positive": ("Gamma", 0.7, None),
    "exposed": ("Poisson", 1.0, np.log(np.tile([1.0, 2.0, 4.0], T // 3))),
    "silent, exposed": ("Poisson", 0.0, np.log(np.tile([1.0, 2.0, 4.0], T // 3))),
}


@pytest.mark.filterwarnings("ignore:.*vary no more than Poisson:RuntimeWarning")
@pytest.mark.parametrize("score_type", SCORES[1:])
@pytest.mark.parametrize("case", SILENT)
def test_nothing_to_explain_is_nan_with_a_reason(case, score_type):
    family, level, offset = SILENT[case]
    X, y = recording("Bernoulli")
    X, y = 0.1 * X, y + 0.5 if family == "Gamma" else y
    link = "exp" if family == "Gamma" else None
    model = fit(X, y, family, ridge=0.1, inverse_link_function=link)
    constant = np.full(T, level) * (1 if offset is None else np.exp(offset))
    held_out = np.column_stack([y[:, 0], constant, y[:, 2]])
    has_density = family in ("Gaussian", "Gamma")
    if has_density and "McFadden" in score_type:
        return
    constant_counts = case == "exposed" and "McFadden" in score_type
    given = (X, held_out, score_type)
    if not constant_counts:  # whose log-likelihood is not zero
        with pytest.warns(RuntimeWarning, match="neurons 1 are predicted without error") as caught:
            each = model.score(*given, lambda s: s.mean(0), offset=offset)
        assert len(caught) == 1
        assert np.isnan(each).tolist() == [False, True, False]
        with pytest.warns(RuntimeWarning, match="without error"):
            assert np.isnan(model.score(X, held_out[:, [1, 1, 1]], score_type, offset=offset))
    assert np.isfinite(model.score(*given, offset=offset))


# --- Offsets.


@every_family
def test_an_offset_equals_a_feature_of_fixed_coefficient(family):
    X, y = recording(family)
    full = fit(X, y, family)
    # What the last feature explains, given as an offset, leaves the others their coefficients.
    offset = X[:, 3:] @ full.coef_[3:]
    rest = fit(X[:, :3], y, family, fit_kwargs={"offset": offset})
    np.testing.assert_allclose(rest.coef_, full.coef_[:3], atol=1e-6)
    np.testing.assert_allclose(rest.intercept_, full.intercept_, atol=1e-6)
    np.testing.assert_allclose(rest.predict(X[:, :3], offset=offset), full.predict(X), rtol=1e-5)
    assert rest.score(X[:, :3], y, offset=offset) == pytest.approx(full.score(X, y), rel=0.02)


def test_a_constant_offset_moves_only_the_intercept():
    X, y = recording()
    zero, moved = (
        fit(X[:, :3], y, fit_kwargs={"offset": np.full(T, level)}) for level in (0, 2.5)
    )
    np.testing.assert_allclose(moved.coef_, zero.coef_, atol=1e-6)
    np.testing.assert_allclose(moved.intercept_, zero.intercept_ - 2.5, atol=1e-6)


# --- The start, and life after the fit.


def test_the_start_does_not_move_the_optimum():
    X, y = recording()
    start = np.full((P, N), 0.5), np.full(N, -1.0)
    assert_same(fit(X, y, fit_kwargs={"init_params": start}), fit(X, y))
    model = fit(X, y)
    assert_same(model.fit(X[::-1], y[::-1]), fit(X, y))
    features = {"a": X[:, :2], "b": X[:, 2:]}
    start = {"a": start[0][:2], "b": start[0][2:]}, start[1]
    assert_same(fit(features, y, fit_kwargs={"init_params": start}), fit(features, y))


def test_starting_at_the_optimum_takes_no_steps():
    X, y = recording()
    done = fit(X, y)
    again = fit(X, y, fit_kwargs={"init_params": (done.coef_, done.intercept_)})
    assert again.n_iter_ <= 1
    assert_same(again, done)


def test_copies_of_a_model_predict_what_it_does():
    X, y = recording()
    model = fit({"a": X}, y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict({"a": X}), model.predict({"a": X}))
    fresh = clone(model)
    assert not hasattr(fresh, "coef_")
    assert fresh.get_params() == model.get_params()
    np.testing.assert_array_equal(fresh.fit({"a": X}, y).coef_["a"], model.coef_["a"])


def test_nothing_that_was_passed_changes():
    X, y = recording()
    passed = {
        "X": {"a": X[:, :1].copy(), "b": X[:, 1:].copy()},
        "y": y.copy(),
        "mask": {"a": np.array([1, 0, 1]), "b": np.ones((P - 1, N))},
        "strength": {"a": np.array(0.1), "b": np.full((P - 1, N), 0.2)},
        "start": ({"a": np.zeros((1, N)), "b": np.zeros((P - 1, N))}, np.zeros(N)),
        "weights": np.ones(T),
        "offset": np.zeros((T, N)),
    }
    passed["X"]["a"][3] = np.nan
    passed["y"][5, 1] = np.nan
    kwargs = {"tol": 1e-12}
    before = pickle.dumps((passed, kwargs))
    for array in jax.tree.leaves(passed):
        array.flags.writeable = False
    model = PopulationGLM(
        regularizer="Ridge",
        regularizer_strength=passed["strength"],
        feature_mask=passed["mask"],
        solver_kwargs=kwargs,
    )
    model.fit(passed["X"], passed["y"], passed["start"], passed["weights"], passed["offset"])
    model.score(passed["X"], passed["y"])
    model.predict(passed["X"])
    assert pickle.dumps((passed, kwargs)) == before
    assert model.get_params()["feature_mask"] is passed["mask"]
    assert model.get_params()["solver_kwargs"] is kwargs


# --- Containers and types.

X_CONTAINERS = {
    "array": np.asarray,
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=0)[::2],
    "list": lambda X: X.tolist(),
    "tuple": lambda X: tuple(map(tuple, X.tolist())),
    "pandas": pd.DataFrame,
    "jax": jax.numpy.asarray,
}
TYPES = ("int64", "int8", "uint8", "bool", "float32", "float64")


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(X_CONTAINERS)),
    st.sampled_from(sorted(X_CONTAINERS)),
    st.sampled_from(TYPES),
    st.sampled_from(TYPES),
)
def test_the_same_numbers_give_the_same_fit(container, y_container, dtype, y_dtype):
    rng = np.random.default_rng(4)
    X, y = rng.integers(0, 2, size=(T, P)), rng.integers(0, 2, size=(T, N))
    with jax.enable_x64(True):
        reference = fit(X.astype(float), y.astype(float))
        model = fit(
            X_CONTAINERS[container](X.astype(dtype)), X_CONTAINERS[y_container](y.astype(y_dtype))
        )
    assert_same(model, reference)
    assert isinstance(model.coef_, np.ndarray)


def test_observations_of_one_neuron_may_be_a_column_or_a_pandas_series():
    X, y = recording()
    plain = fit(X, y[:, 0])
    for same in (pd.Series(y[:, 0]), y[:, 0].tolist()):
        assert_same(fit(X, same), plain)
    with pytest.warns(DataConversionWarning, match="column-vector"):
        column = GLM(solver_kwargs={"tol": 1e-12}).fit(X, y[:, :1])
    assert_same(column, plain)


@pytest.fixture(scope="module")
def series():
    X, y = recording()
    epochs = nap.IntervalSet([0, 10], [6.9, 19])
    t = np.concatenate([np.arange(70) / 10, 10 + np.arange(80) / 10])
    X = nap.TsdFrame(t=t, d=X, time_support=epochs, columns=list("abcd"))
    y = nap.TsdFrame(
        t=t, d=y, time_support=epochs, columns=[7, 3, 5], metadata={"area": ["adn", "ca1", "adn"]}
    )
    return X, y


def test_time_series_go_in_and_come_out(series):
    X, y = series
    model, plain = fit(X, y), fit(X.d, y.d)
    assert_same(model, plain)
    rate = model.predict(X)
    sample, simulated_rate = model.simulate(jax.random.key(0), X)
    for out in (rate, sample, simulated_rate):
        assert isinstance(out, nap.TsdFrame)
        np.testing.assert_array_equal(out.t, X.t)
        np.testing.assert_array_equal(out.time_support, X.time_support)
        np.testing.assert_array_equal(out.columns, y.columns)
        np.testing.assert_array_equal(out.metadata["area"], y.metadata["area"])
    np.testing.assert_allclose(rate.d, plain.predict(X.d))
    assert isinstance(model.predict(X.d), np.ndarray)
    assert model.score(X, y) == pytest.approx(plain.score(X.d, y.d))


def test_names_of_neurons_in_pandas_come_back(series):
    X, y = series
    table = pd.DataFrame(y.d, columns=["u", "v", "silent"])
    table["silent"] = 0
    with pytest.warns(RuntimeWarning, match="silent"):
        model = fit(X, table)
    assert list(model.predict(X).columns) == ["u", "v", "silent"]
    pairs = table.set_axis(pd.MultiIndex.from_product([["ca1"], ["u", "v", "w"]]), axis=1)
    assert model.fit(X, pairs.where(pairs > 0, 1)).predict(X).columns[0] == "('ca1', 'u')"


def test_the_index_of_pandas_does_not_move_samples():
    X, y = recording()
    later = pd.DataFrame(y, index=pd.date_range("2026", periods=len(y)))
    earlier = pd.DataFrame(X, index=pd.date_range("2025", periods=len(X)))
    assert_same(fit(earlier, later), fit(X, y))


def test_one_neuron_of_a_time_series_is_a_time_series(series):
    X, y = series
    rate = GLM().fit(X, y[:, 0]).predict(X)
    assert isinstance(rate, nap.Tsd)
    np.testing.assert_array_equal(rate.t, X.t)
    assert isinstance(GLM().fit({"a": X}, y[:, 0]).predict({"a": X}), nap.Tsd)


def test_time_series_of_different_times_are_refused(series):
    X, y = series
    late = nap.TsdFrame(t=y.t + 1, d=y.d)
    model = fit(X, y)
    for use in (fit, model.score):
        with pytest.raises(ValueError, match="X and y have different time axes"):
            use(X, late)
    with pytest.raises(ValueError, match="different time axes"):
        fit({"a": X, "b": nap.TsdFrame(t=X.t + 1, d=X.d)}, y)
