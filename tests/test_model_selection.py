"""Paths of strengths and cross-validation: the same as fits one by one, without their cost."""

import pickle

import jax
import numpy as np
import pandas as pd
import pytest
from scipy.linalg import null_space
from scipy.optimize import minimize_scalar
from scipy.stats import gamma, multivariate_normal, nbinom
from scipy.stats import poisson as scipy_poisson
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import lasso_path
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from compilations import counted
from spikax.basis import BSplineEval
from spikax.glm import GLM, ClassifierGLM, ClassifierPopulationGLM, PopulationGLM
from spikax.inference import infer, summary
from spikax.model_selection import (
    GLMCV,
    BlockKFold,
    ClassifierGLMCV,
    ClassifierPopulationGLMCV,
    EpochKFold,
    PopulationGLMCV,
    regularization_path,
)
from spikax.observation_models import NegativeBinomialObservations
from spikax.regularizer import GroupLasso

T, P, N = 200, 5, 3
STRENGTHS = np.geomspace(1.0, 1e-4, 6)
TIGHT = {"tol": 1e-11}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def recording(family="Poisson"):
    """Make features, and what three neurons do."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(T, P)) * [1, 2, 0.5, 1, 1]
    eta = X @ (rng.normal(0, 0.4, size=(P, N)) * [[1], [0.2], [0], [0], [0]]) + 0.1
    y = rng.poisson(np.exp(eta)) if family == "Poisson" else rng.normal(eta)
    return X, y.astype(float)


def held_out_score(y, mean):
    """Log-likelihood of counts above that of the saturated model, nats per sample and neuron."""
    above = scipy_poisson.logpmf(y, mean) - scipy_poisson.logpmf(y, np.maximum(y, 1e-300))
    return above.mean(axis=0)


@pytest.mark.parametrize("regularizer", ["Ridge", "Lasso", "GroupLasso"])
# Between 118 and 181 samples to fit to, which share one program.
@pytest.mark.parametrize(
    "cv", [4, TimeSeriesSplit(3, test_size=20), [(np.arange(150), np.arange(150, 200))]]
)
def test_scores_are_those_of_fits_to_each_fold(regularizer, cv):
    X, y = recording()
    model = PopulationGLMCV(
        regularizer=regularizer, strengths=STRENGTHS, cv=cv, solver_kwargs=TIGHT
    ).fit(X, y)
    folds = {4: KFold(4)}.get(cv, cv) if isinstance(cv, int) else cv
    folds = list(folds.split(X) if hasattr(folds, "split") else folds)
    assert model.scores_.shape == (len(STRENGTHS), len(folds), N)
    for f, (train, test) in enumerate(folds):
        for s, strength in enumerate(STRENGTHS):
            alone = PopulationGLM(
                regularizer=regularizer, regularizer_strength=strength, solver_kwargs=TIGHT
            ).fit(X[train], y[train])
            expected = held_out_score(y[test], alone.predict(X[test]))
            np.testing.assert_allclose(model.scores_[s, f], expected, rtol=1e-5, atol=1e-7)
    best = model.scores_.mean(axis=1).argmax(axis=0)
    np.testing.assert_array_equal(model.strength_, STRENGTHS[best])
    final = PopulationGLM(
        regularizer=regularizer, regularizer_strength=model.strength_, solver_kwargs=TIGHT
    ).fit(X, y)
    np.testing.assert_allclose(model.coef_, final.coef_, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, final.intercept_, atol=1e-6)
    chosen = model.coef_path_[best, :, np.arange(N)].T
    np.testing.assert_allclose(chosen, model.coef_, atol=1e-6)


def test_the_choice_is_that_of_a_grid_search_for_each_neuron():
    X, y = recording()
    population = PopulationGLMCV(strengths=STRENGTHS, cv=4).fit(X, y)
    for j in range(N):
        search = GridSearchCV(
            GLM(regularizer="Ridge"), {"regularizer_strength": STRENGTHS}, cv=KFold(4)
        ).fit(X, y[:, j])
        assert population.strength_[j] == search.best_params_["regularizer_strength"]
        alone = GLMCV(strengths=STRENGTHS, cv=4).fit(X, y[:, j])
        assert alone.strength_ == population.strength_[j]
        assert alone.scores_.shape == (len(STRENGTHS), 4)
        np.testing.assert_allclose(alone.coef_, population.coef_[:, j], atol=1e-4)


def test_one_standard_error_takes_the_strongest_that_is_nearly_as_good():
    X, y = recording()
    best = PopulationGLMCV(regularizer="Lasso").fit(X, y)
    strong = PopulationGLMCV(regularizer="Lasso", selection="one-standard-error").fit(X, y)
    scores = best.scores_
    mean, error = scores.mean(axis=1), scores.std(axis=1, ddof=1) / np.sqrt(5)
    for j in range(N):
        top = mean[:, j].argmax()
        near = np.flatnonzero(mean[:, j] >= mean[top, j] - error[top, j])
        assert strong.strength_[j] == best.strengths_[near[0], j]
    assert np.all(strong.strength_ >= best.strength_)


# --- Paths.


@pytest.mark.parametrize("regularizer", ["Ridge", "Lasso", "ElasticNet", "GroupLasso"])
def test_a_path_is_fits_at_its_strengths(regularizer):
    X, y = recording()
    strength = (1.0, 0.7) if regularizer == "ElasticNet" else None
    model = PopulationGLM(
        regularizer=regularizer, regularizer_strength=strength, solver_kwargs=TIGHT
    )
    path = regularization_path(model, X, y, n_strengths=8)
    assert path.strengths.shape == (8, N)
    assert path.converged.all()
    assert np.all(np.diff(path.score, axis=0) > -1e-9)
    for s in (1, 4, 7):
        each = path.strengths[s]
        one = clone(model).set_params(
            regularizer_strength=(each, 0.7) if regularizer == "ElasticNet" else each
        )
        one.fit(X, y)
        np.testing.assert_allclose(path.coef[s], one.coef_, atol=1e-5)
        np.testing.assert_allclose(path.intercept[s], one.intercept_, atol=1e-5)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("regularizer", ["Lasso", "ElasticNet", "GroupLasso"])
def test_a_path_starts_where_the_last_coefficient_goes(regularizer):
    X, y = recording()
    model = PopulationGLM(regularizer=regularizer, solver_kwargs=TIGHT)
    path = regularization_path(model, X, y, n_strengths=5)
    assert np.all(path.coef[0] == 0)
    just_less = clone(model).set_params(regularizer_strength=0.98 * path.strengths[0]).fit(X, y)
    assert np.all((just_less.coef_ != 0).any(axis=0))


def test_a_gaussian_path_is_that_of_scikit_learn():
    X, y = recording("Gaussian")
    model = GLM("Gaussian", regularizer="Lasso", solver_kwargs=TIGHT)
    path = regularization_path(model, X, y[:, 0], n_strengths=10)
    # Its loss is half of ours, and has no intercept.
    alphas, coefs, _ = lasso_path(
        X - X.mean(axis=0), y[:, 0] - y[:, 0].mean(), alphas=path.strengths / 2, tol=1e-12
    )
    np.testing.assert_allclose(alphas, path.strengths / 2)
    np.testing.assert_allclose(path.coef, coefs.T, atol=1e-6)


def test_paths_keep_the_containers_of_features():
    X, y = recording()
    tree = {"a": X[:, :2], "b": X[:, 2:]}
    path = regularization_path(PopulationGLM(regularizer="GroupLasso"), tree, y, n_strengths=4)
    assert {name: leaf.shape for name, leaf in path.coef.items()} == {
        "a": (4, 2, N),
        "b": (4, 3, N),
    }
    model = PopulationGLMCV(regularizer=GroupLasso(), cv=3, n_strengths=4).fit(tree, y)
    assert model.coef_path_["b"].shape == (4, 3, N)
    labels = (y > 0).astype(int)
    classes = regularization_path(ClassifierPopulationGLM(), X, labels, n_strengths=3)
    assert classes.coef.shape == (3, P, N, 2)


# --- Criteria that need no folds.


def test_leaving_out_by_formula_is_leaving_out():
    # It is exact where the loss is quadratic, and close elsewhere.
    for family, tolerance in (("Gaussian", 1e-6), ("Poisson", 5e-3)):
        X, y = recording(family)
        X, y = X[:40], y[:40, :1]
        by_formula = PopulationGLMCV(
            family, strengths=[0.3, 0.01], cv="loo", solver_kwargs=TIGHT
        ).fit(X, y)
        # The penalty is measured against a mean over the samples, which is over one fewer.
        left = {}
        for strength in (0.3, 0.01):
            total = 0.0
            for t in range(40):
                rows = np.arange(40) != t
                one = PopulationGLM(
                    family,
                    regularizer="Ridge",
                    regularizer_strength=strength * 40 / 39,
                    solver_kwargs=TIGHT,
                ).fit(X[rows], y[rows])
                mean = one.predict(X[[t]])
                if family == "Poisson":
                    total += held_out_score(y[[t]], mean)[0]
                else:
                    total -= 0.5 * (y[t, 0] - mean[0, 0]) ** 2
            left[strength] = total / 40
        np.testing.assert_allclose(by_formula.scores_[:, 0], list(left.values()), rtol=tolerance)


def test_generalized_cross_validation_is_the_textbooks_for_a_gaussian():
    X, y = recording("Gaussian")
    model = PopulationGLMCV("Gaussian", strengths=STRENGTHS, cv="gcv", solver_kwargs=TIGHT)
    model.fit(X, y)
    centred, observed = X - X.mean(axis=0), y - y.mean(axis=0)
    for s, strength in enumerate(STRENGTHS):
        # Half of our squared errors' curvature is one.
        inverse = np.linalg.inv(centred.T @ centred / T + strength / 2 * np.eye(P))
        influence = centred @ inverse @ centred.T / T
        residual = observed - influence @ observed
        expected = -0.5 * np.mean(residual**2, axis=0) / (1 - (np.trace(influence) + 1) / T) ** 2
        np.testing.assert_allclose(model.scores_[s], expected, rtol=1e-6)


@pytest.mark.parametrize("unit", [1.0, 1e-3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_evidence_is_exact_for_a_gaussian_at_its_likeliest_scale(unit, fit_intercept):
    X, y = recording("Gaussian")
    X, y = X[:30], unit * (y[:30] + fit_intercept)
    strengths = [1.0, 1e-2, 1e-7]
    model = PopulationGLMCV(
        "Gaussian",
        strengths=strengths,
        cv="evidence",
        fit_intercept=fit_intercept,
        solver_kwargs=TIGHT,
    ).fit(X, y)
    # Restricted likelihood: that of all contrasts of the observations with the intercept.
    contrasts = null_space(np.ones((1, 30))) if fit_intercept else np.eye(30)
    for s, strength in enumerate(strengths):
        prior = np.eye(P) / (strength * 30 / 2)
        covariance = contrasts.T @ (np.eye(30) + X @ prior @ X.T) @ contrasts
        for j in range(N):
            z = contrasts.T @ y[:, j]
            scale = z @ np.linalg.solve(covariance, z) / len(z)
            marginal = multivariate_normal(np.zeros(len(z)), scale * covariance)
            expected = marginal.logpdf(z) + 30 / 2 * np.log(2 * np.pi)
            if fit_intercept:  # its flat prior is of a unit of the intercept, and has no 2 pi
                expected -= 0.5 * np.log(2 * np.pi) + 0.5 * np.log(30)
            np.testing.assert_allclose(model.scores_[s, j], expected, rtol=1e-6)


def test_the_evidence_of_a_gamma_is_laplaces_at_its_likeliest_scale():
    X, _ = recording()
    rng = np.random.default_rng(5)
    X, strengths = X[:60], [0.3, 1e-3]
    y = np.exp(X[:, 0] * 0.3) * rng.gamma(20, 1 / 20, 60)
    model = GLMCV("Gamma", "exp", strengths=strengths, cv="evidence", solver_kwargs=TIGHT)
    model.fit(X, y)
    rows = np.column_stack([X, np.ones(60)])
    for s, strength in enumerate(strengths):
        alone = GLM("Gamma", "exp", "Ridge", strength, solver_kwargs=TIGHT).fit(X, y)
        mean = alone.predict(X)
        prior = np.diag([*np.full(P, strength), 0.0])
        hessian = rows.T @ (rows * (y / mean)[:, None]) + 60 * prior
        cost = 60 * strength * np.sum(alone.coef_**2) / 2

        def evidence(log_scale, mean=mean, hessian=hessian, cost=cost, strength=strength):
            scale = np.exp(log_scale)
            fitted = gamma.logpdf(y, 1 / scale, scale=mean * scale).sum() - cost / scale
            log_prior = P * np.log(60 * strength / scale)
            return fitted + 0.5 * (log_prior - np.linalg.slogdet(hessian / scale)[1])

        best = minimize_scalar(lambda u: -evidence(u), (-6, -1), method="brent", tol=1e-10)
        saturated = gamma.logpdf(y, 1, scale=y).sum()
        np.testing.assert_allclose(model.scores_[s], -best.fun - saturated, rtol=1e-5)


# The link, and to what power of the unit of y a strength goes.
UNITS = {"Gaussian": ("identity", 0), "Gamma": ("exp", 0), "Gamma, inverse": ("one_over_x", 2)}


@pytest.mark.parametrize("cv", [4, "gcv", "loo", "evidence"])
@pytest.mark.parametrize("family", UNITS)
def test_the_choice_does_not_depend_on_the_units_of_y(family, cv):
    link, power = UNITS[family]
    X, y = recording("Gaussian")
    y = y if family == "Gaussian" else np.exp(0.1 * y) * [1.0, 2.0, 3.0]
    strengths = np.geomspace(10, 1e-5, 15)
    chosen = {}
    for unit in (1.0, 30.0):
        model = PopulationGLMCV(
            family.split(",")[0],
            link,
            strengths=strengths * unit**power,
            cv=cv,
            solver_kwargs=TIGHT,
        ).fit(X, unit * y)
        chosen[unit] = model.strength_ / unit**power
    np.testing.assert_allclose(chosen[30.0], chosen[1.0], rtol=1e-9)
    assert np.all(chosen[1.0] < 10)


def test_the_evidence_needs_no_double_precision_at_weak_strengths():
    x = np.random.default_rng(0).uniform(size=1000)
    X = np.asarray(BSplineEval(8).compute_features(x), float)
    y = np.random.default_rng(1).poisson(np.exp(np.sin(6 * x))).astype(float)
    strengths = np.geomspace(1.0, 1e-9, 4)
    exact = GLMCV(strengths=strengths, cv="evidence", solver_kwargs=TIGHT).fit(X, y)
    with jax.enable_x64(False):
        single = GLMCV(strengths=strengths, cv="evidence").fit(X, y)
    np.testing.assert_allclose(single.scores_, exact.scores_, atol=0.01)


@pytest.mark.parametrize("cv", ["gcv", "loo", "evidence"])
def test_frequencies_are_repeated_samples_and_the_size_of_weights_does_not_matter(cv):
    X, _ = recording()
    rng = np.random.default_rng(5)
    X, times = X[:60], np.repeat([1, 2, 3], 20)
    y = np.exp(X[:, 0] * 0.3) * rng.gamma(20, 1 / 20, 60)
    kwargs = {"strengths": [0.3, 1e-3], "cv": cv, "solver_kwargs": TIGHT}
    weighted = GLMCV("Gamma", "exp", weight_type="frequency", **kwargs)
    weighted.fit(X, y, sample_weight=times)
    repeated = GLMCV("Gamma", "exp", **kwargs).fit(np.repeat(X, times, 0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.scores_, repeated.scores_, rtol=1e-6)
    small, large = (
        GLMCV("Gamma", "exp", **kwargs).fit(X, y, sample_weight=c * times) for c in (1e-8, 1e8)
    )
    np.testing.assert_allclose(small.scores_, large.scores_, rtol=1e-6)


# --- A dispersion that is found with the coefficients.


def counts_that_scatter():
    rng = np.random.default_rng(8)
    X, _ = recording()
    mean = np.exp(X[:, :1] * [0.8, -0.8, 0.0] + 0.5)
    return X, rng.poisson(mean * rng.gamma(2, 0.5, size=mean.shape)).astype(float)


def scattered(y, model, X):
    """Log-likelihood of counts above that of the saturated Poisson model, nats per sample."""
    size = 1 / np.maximum(model.scale_, 1e-9)
    mean = np.asarray(model.predict(X), float)
    log_likelihood = nbinom.logpmf(y, size, size / (size + mean))
    return (log_likelihood - scipy_poisson.logpmf(y, np.maximum(y, 1e-300))).mean(axis=0)


def test_an_estimated_dispersion_is_scored_by_the_whole_likelihood():
    X, y = counts_that_scatter()
    family, strengths = NegativeBinomialObservations("estimate"), [10.0, 0.01]
    kwargs = {"solver_kwargs": {"tol": 1e-9}}
    model = PopulationGLMCV(family, strengths=strengths, cv=2, **kwargs).fit(X, y)
    halves = np.arange(T).reshape(2, -1)
    path = regularization_path(
        PopulationGLM(family, regularizer="Ridge", **kwargs), X, y, strengths=strengths
    )
    by_criterion = {
        cv: PopulationGLMCV(family, strengths=strengths, cv=cv, **kwargs).fit(X, y)
        for cv in ("gcv", "loo", "evidence")
    }
    for s, strength in enumerate(strengths):
        alone = PopulationGLM(family, None, "Ridge", strength, **kwargs)
        for f in range(2):
            alone.fit(X, y, sample_weight=np.isin(np.arange(T), halves[1 - f]).astype(float))
            expected = scattered(y[halves[f]], alone, X[halves[f]])
            np.testing.assert_allclose(model.scores_[s, f], expected, rtol=1e-4, atol=1e-5)
        alone.fit(X, y)
        np.testing.assert_allclose(path.score[s], scattered(y, alone, X), rtol=1e-4, atol=1e-5)
        # At the optimum the two foretell about the same, less than what is fitted.
        gcv, loo = by_criterion["gcv"].scores_[s], by_criterion["loo"].scores_[s]
        assert np.all(loo < path.score[s])
        np.testing.assert_allclose(gcv, loo, atol=0.02)
    # Two neurons say something of a feature, and the strongest penalty would not let them.
    for chosen in (model, *by_criterion.values()):
        np.testing.assert_array_equal(chosen.strength_[:2], 0.01)


# --- Classes.


def test_two_classes_are_chosen_as_bernoulli_outcomes():
    X, y = recording()
    y = (y > 1).astype(float)
    strengths = np.array([0.1, 1e-3])
    for cv in (3, "gcv", "loo", "evidence"):
        kwargs = {"cv": cv, "solver_kwargs": TIGHT}
        outcomes = PopulationGLMCV("Bernoulli", strengths=strengths, **kwargs).fit(X, y)
        # A difference of two coefficients costs half as much as one coefficient that is as large.
        classes = ClassifierPopulationGLMCV(strengths=2 * strengths, **kwargs)
        classes.fit(X, np.where(y > 0, "yes", "no"))
        # The flat prior of the evidence is of a unit of the intercepts, along their difference.
        offset = 0.5 * np.log(2) if cv == "evidence" else 0.0
        np.testing.assert_allclose(classes.scores_ + offset, outcomes.scores_, rtol=1e-5)
        difference = classes.coef_[..., 1] - classes.coef_[..., 0]
        np.testing.assert_allclose(difference, outcomes.coef_, atol=1e-6)
        np.testing.assert_array_equal(classes.strength_, 2 * outcomes.strength_)


def three_classes():
    rng = np.random.default_rng(6)
    X, _ = recording()
    labels = np.array(["left", "right", "wait"])
    return X, labels[
        (np.stack([X[:, :2], -X[:, :2], X[:, 2:4]]) + rng.gumbel(size=(3, T, 2))).argmax(0)
    ]


def test_strengths_of_classifiers_are_those_of_fits_to_each_fold():
    X, y = three_classes()
    strengths = [0.3, 0.01]
    kwargs = {"n_classes": 3, "solver_kwargs": TIGHT}
    model = ClassifierPopulationGLMCV(strengths=strengths, cv=2, **kwargs).fit(X, y)
    single = ClassifierGLMCV(strengths=strengths, cv=2, **kwargs).fit(X, y[:, 0])
    assert model.scores_.shape == (2, 2, 2)
    halves = np.arange(T).reshape(2, -1)
    for s, strength in enumerate(strengths):
        for f in range(2):
            weight = np.isin(np.arange(T), halves[1 - f]).astype(float)
            alone = ClassifierPopulationGLM(regularizer_strength=strength, **kwargs)
            alone.fit(X, y, sample_weight=weight)
            found = alone.predict_proba(X[halves[f]])
            index = np.searchsorted(model.classes_, y[halves[f]])[..., None]
            expected = np.take_along_axis(found, index, axis=-1)[..., 0].mean(axis=0)
            np.testing.assert_allclose(model.scores_[s, f], expected, rtol=1e-5)
    np.testing.assert_allclose(single.scores_, model.scores_[..., 0], rtol=1e-6)
    np.testing.assert_array_equal(single.strength_, model.strength_[0])
    assert set(single.predict(X)) <= set(model.classes_)


def test_leaving_out_of_three_classes_is_leaving_out():
    X, y = three_classes()
    X, y = X[:40], y[:40, 0]
    kwargs = {"n_classes": 3, "solver_kwargs": TIGHT}
    model = ClassifierGLMCV(strengths=[0.05], cv="loo", **kwargs).fit(X, y)
    left = []
    for t in range(40):
        weight = (np.arange(40) != t).astype(float)
        alone = ClassifierGLM(regularizer_strength=0.05 * 40 / 39, **kwargs)
        found = alone.fit(X, y, sample_weight=weight).predict_proba(X[[t]])[0]
        left.append(found[np.searchsorted(model.classes_, y[t])])
    np.testing.assert_allclose(model.scores_[0], np.mean(left), rtol=2e-2)


def test_a_class_that_a_fold_lacks_is_told():
    X, y = three_classes()
    y = np.sort(y[:, 0])
    with pytest.warns(RuntimeWarning, match="neurons 0 lack a class.*in all"):
        model = ClassifierGLMCV(3, cv=2, strengths=[0.3, 0.01]).fit(X, y)
    assert model.silent_.all()
    assert np.isfinite(model.scores_).all()


# --- What is done after the choice is done at what was chosen.

CHOOSERS = {
    "GLMCV": (GLMCV, GLM, {"regularizer": "Ridge"}),
    "PopulationGLMCV": (PopulationGLMCV, PopulationGLM, {"regularizer": "Ridge"}),
    "ClassifierGLMCV": (ClassifierGLMCV, ClassifierGLM, {"n_classes": 3}),
    "ClassifierPopulationGLMCV": (
        ClassifierPopulationGLMCV,
        ClassifierPopulationGLM,
        {"n_classes": 3},
    ),
}


@pytest.mark.parametrize("name", CHOOSERS)
def test_batches_and_inference_take_the_strength_chosen(name):
    chooses, fixed, kwargs = CHOOSERS[name]
    X, y = three_classes() if "Classifier" in name else recording()
    y = y if "Population" in name else y[:, 0]
    kwargs = {"solver_kwargs": {"tol": 1e-10}, **kwargs}
    chosen = chooses(strengths=[0.3, 0.1, 0.03], cv="gcv", **kwargs).fit(X, y)
    strength = chosen.strength_
    given = fixed(regularizer_strength=strength, **kwargs).fit(X, y)

    def same(one, other):
        np.testing.assert_allclose(one.coef_, other.coef_, atol=1e-5)
        found, expected = (infer(model, X, y).standard_error for model in (one, other))
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    same(chosen, given)
    tables = (summary(model, X, y).parameters for model in (chosen, given))
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-6)
    assert chosen.compute_loss((chosen.coef_, chosen.intercept_), X, y) == pytest.approx(
        float(given.compute_loss((chosen.coef_, chosen.intercept_), X, y))
    )
    same(pickle.loads(pickle.dumps(chosen)), given)
    for model in (chosen, given):
        params = model.initialize_params(X, y)
        state = model.initialize_optimizer_and_state(params, X, y)
        for _ in range(3):
            params, state = model.update(params, state, X, y)
    np.testing.assert_allclose(chosen.coef_, given.coef_, atol=1e-5)
    for some in (slice(0, T, 2), slice(1, T, 2)):
        chosen.partial_fit(X[some], y[some])
        given.partial_fit(X[some], y[some])
    same(chosen, given)
    assert chosen.strength_ is strength
    # A refit asks what was given to the model again.
    np.testing.assert_array_equal(chosen.fit(X, y).strength_, strength)
    np.testing.assert_array_equal(
        regularization_path(chosen, X, y, strengths=[0.3]).coef[0],
        regularization_path(clone(chosen), X, y, strengths=[0.3]).coef[0],
    )


def test_a_first_batch_chooses_where_no_fit_did():
    X, y = recording()
    kwargs = {"strengths": STRENGTHS, "cv": 4, "solver_kwargs": TIGHT}
    fitted = PopulationGLMCV(**kwargs).fit(X, y)
    model = PopulationGLMCV(**kwargs).partial_fit(X, y)
    np.testing.assert_array_equal(model.strength_, fitted.strength_)
    np.testing.assert_allclose(model.coef_, fitted.coef_, atol=1e-6)
    updated = PopulationGLMCV(**kwargs)
    updated.initialize_optimizer_and_state(updated.initialize_params(X, y), X, y)
    np.testing.assert_array_equal(updated.strength_, fitted.strength_)
    with pytest.raises(ValueError, match="y has 2 neurons, the fit chose strengths for 3"):
        clone(fitted).fit(X, y).partial_fit(X, y[:, :2])


# --- What folds may be.

PAIRS = [(np.arange(100, T), np.arange(100)), (np.arange(100), np.arange(100, T))]
KINDS_OF_FOLDS = {
    "number": lambda: 2,
    "splitter": lambda: KFold(2),
    "pairs": lambda: PAIRS,
    "masks": lambda: [
        (~np.isin(np.arange(T), test), np.isin(np.arange(T), test)) for _, test in PAIRS
    ],
    "iterator": lambda: iter(PAIRS),
    "generator": lambda: KFold(2).split(np.zeros((T, 1))),
    "blocks": lambda: BlockKFold(100.0, 2, times=np.arange(T)),
    "epochs": lambda: EpochKFold([[0, 99], [100, T]], times=np.arange(T)),
}


@pytest.mark.parametrize("kind", KINDS_OF_FOLDS)
def test_folds_are_the_same_however_they_are_given_and_are_read_once(kind):
    X, y = recording()
    # So many spikes that single precision has too few digits, and the fit is begun again.
    y = 1e8 + 1e4 * y[:, 0]
    with jax.enable_x64(False):
        found, expected = (
            GLMCV(strengths=[1e9, 1e8], cv=cv).fit(X, y) for cv in (KINDS_OF_FOLDS[kind](), 2)
        )
    np.testing.assert_array_equal(found.scores_, expected.scores_)


def test_folds_drawn_at_random_are_drawn_once():
    class Drawn(KFold):
        n_draws = 0

        def split(self, X, y=None, groups=None):
            Drawn.n_draws += 1
            return super().split(X, y, groups)

    X, y = recording()
    with jax.enable_x64(False):
        GLMCV(strengths=[1e9, 1e8], cv=Drawn(2)).fit(X, 1e8 + 1e4 * y[:, 0])
    assert Drawn.n_draws == 1


GROUPS = np.repeat([2, 0, 1, 0], T // 4)


@pytest.mark.parametrize("name", CHOOSERS)
def test_groups_go_to_the_splitter(name):
    chooses, _, kwargs = CHOOSERS[name]
    X, y = three_classes() if "Classifier" in name else recording()
    y = y if "Population" in name else y[:, 0]
    model = chooses(strengths=[0.3, 0.03], cv=GroupKFold(2), **kwargs)
    pairs = list(GroupKFold(2).split(X, groups=GROUPS))
    expected = clone(model).set_params(cv=pairs).fit(X, y)
    np.testing.assert_array_equal(model.fit(X, y, groups=GROUPS).scores_, expected.scores_)
    with pytest.raises(ValueError, match="groups"):
        clone(model).fit(X, y)
    with pytest.raises(ValueError, match="groups are for splitters that take them"):
        clone(model).set_params(cv=pairs).fit(X, y, groups=GROUPS)
    with pytest.raises(ValueError, match="groups are for folds"):
        clone(model).set_params(cv="gcv").fit(X, y, groups=GROUPS)


def test_groups_are_routed_as_scikit_learns_metadata():
    X, y = recording()
    model = GLMCV(strengths=[0.3, 0.03], cv=GroupKFold(2))
    expected = clone(model).fit(X, y[:, 0], groups=GROUPS)
    half = clone(model).fit(X[100:], y[100:, 0], groups=GROUPS[100:])
    with config_context(enable_metadata_routing=True):
        routed = clone(model).fit(X, y[:, 0], groups=GROUPS)
        pipeline = make_pipeline(FunctionTransformer(), clone(model))
        pipeline.fit(X, y[:, 0], groups=GROUPS)
        search = GridSearchCV(clone(model), {"fit_intercept": [True]}, cv=[(PAIRS[0])])
        search.fit(X, y[:, 0], groups=GROUPS)
        with pytest.raises(TypeError, match="groups"):
            clone(model).set_params(cv=2).fit(X, y[:, 0], groups=GROUPS)
    np.testing.assert_array_equal(routed.scores_, expected.scores_)
    np.testing.assert_array_equal(pipeline[-1].scores_, expected.scores_)
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(
        float(half.score(X[:100], y[:100, 0])), rel=1e-6
    )


# --- What must not happen.


def test_other_data_strengths_and_folds_compile_nothing():
    X, y = recording()
    model = PopulationGLMCV(regularizer="Lasso", cv=3, n_strengths=4)
    model.fit(X, y)
    with counted() as compiled:
        clone(model).fit(2 * X, y[::-1])
        clone(model).set_params(strengths=[1.0, 0.1, 0.01, 0.0]).fit(X, y)
        clone(model).set_params(cv=TimeSeriesSplit(3)).fit(X, y)
        clone(model).set_params(solver_kwargs={"tol": 1e-3}).fit(X[:-2], y[:-2])
    assert compiled == []


def test_progress_changes_no_result(capsys):
    X, y = recording()
    quiet = PopulationGLMCV(cv=3, n_strengths=11).fit(X, y)
    loud = PopulationGLMCV(cv=3, n_strengths=11, verbose=True).fit(X, y)
    assert "strengths" in capsys.readouterr().err
    np.testing.assert_allclose(quiet.scores_, loud.scores_, rtol=1e-5)
    np.testing.assert_array_equal(quiet.strength_, loud.strength_)


def test_a_fold_without_spikes_is_scored_and_told():
    X, y = recording()
    y[40:, 1] = 0  # all its spikes are in the first of five folds
    with pytest.warns(RuntimeWarning, match="neurons 1 are silent.*some folds \\(1 in all\\)"):
        model = PopulationGLMCV(strengths=STRENGTHS).fit(X, y)
    assert np.isfinite(model.scores_).all()
    np.testing.assert_array_equal(np.argwhere(model.silent_), [[0, 1]])
    rest = PopulationGLMCV(strengths=STRENGTHS).fit(X, y[:, [0, 2]])
    np.testing.assert_allclose(model.scores_[..., [0, 2]], rest.scores_, rtol=1e-4)
    np.testing.assert_array_equal(model.strength_[[0, 2]], rest.strength_)


def test_missing_samples_and_weights_count_as_in_a_fit():
    X, y = recording()
    gaps = y.copy()
    gaps[::7] = np.nan
    weight = np.ones(T)
    weight[::7] = 0
    with pytest.warns(RuntimeWarning, match="samples are ignored, since something is NaN: y in"):
        with_gaps = PopulationGLMCV(strengths=STRENGTHS, solver_kwargs=TIGHT).fit(X, gaps)
    weighted = PopulationGLMCV(strengths=STRENGTHS, solver_kwargs=TIGHT)
    weighted.fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(with_gaps.scores_, weighted.scores_, rtol=1e-6)


@pytest.mark.parametrize("regularizer", ["Ridge", "Lasso"])
def test_folds_count_a_sample_as_often_as_they_name_it(regularizer):
    X, y = recording()
    rng = np.random.default_rng(6)
    train, test = rng.integers(0, 150, size=150), rng.integers(150, T, size=50)
    model = PopulationGLMCV(
        regularizer=regularizer, strengths=[0.1], cv=[(train, test)], solver_kwargs=TIGHT
    ).fit(X, y)
    alone = PopulationGLM(
        regularizer=regularizer, regularizer_strength=0.1, solver_kwargs=TIGHT
    ).fit(X[train], y[train])
    expected = held_out_score(y[test], np.asarray(alone.predict(X[test])))
    np.testing.assert_allclose(model.scores_[0, 0], expected, rtol=1e-6)
    # As masks they name each sample once.
    masks = [(np.isin(np.arange(T), train), np.isin(np.arange(T), test))]
    sets = [(np.unique(train), np.unique(test))]
    masked, once = (
        PopulationGLMCV(strengths=[0.1], cv=cv, solver_kwargs=TIGHT).fit(X, y).scores_
        for cv in (masks, sets)
    )
    np.testing.assert_array_equal(masked, once)


def test_a_first_batch_warns_once_of_ignored_samples():
    X, y = recording()
    y[::5] = np.nan
    with pytest.warns(RuntimeWarning) as caught:
        PopulationGLMCV(strengths=STRENGTHS).partial_fit(X, y)
    assert len(caught) == 1


SMALL = recording()
BAD = {
    "no penalty": ({"regularizer": None}, ValueError, "needs a penalty.*Ridge"),
    "one fold": ({"cv": 1}, ValueError, "cv must be at least 2 folds.*got 1"),
    "too many folds": ({"cv": 500}, ValueError, "at most the 200 samples, got 500"),
    "an unknown criterion": ({"cv": "gvc"}, ValueError, "cv: 'gvc'. Did you mean 'gcv'"),
    "a criterion for a lasso": (
        {"cv": "loo", "regularizer": "Lasso"},
        ValueError,
        "cv='loo' needs the penalty 'Ridge', got Lasso",
    ),
    "an error without folds": (
        {"cv": "gcv", "selection": "one-standard-error"},
        ValueError,
        "selection='one-standard-error' needs folds",
    ),
    "an unknown selection": ({"selection": "bets"}, ValueError, "Did you mean 'best'"),
    "no folds at all": ({"cv": []}, ValueError, "cv has no folds"),
    "a fraction of a fold": ({"cv": 0.2}, TypeError, "cv must be a number of folds.*got 0.2"),
    "an empty fold": (
        {"cv": [(np.arange(100), np.arange(0))]},
        ValueError,
        "Fold 0 of cv has no sample that counts",
    ),
    "negative strengths": ({"strengths": [0.1, -1]}, ValueError, "non-negative, got -1"),
    "strengths of other neurons": (
        {"strengths": np.ones((4, 2))},
        ValueError,
        r"strengths must have shape \(n_strengths,\) or \(n_strengths, 3\), got \(4, 2\)",
    ),
    "one strength": ({"n_strengths": 1}, ValueError, "n_strengths must be a whole number"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_chosen_from_is_refused(name):
    arguments, error, message = BAD[name]
    X, y = SMALL
    with pytest.raises(error, match=message):
        PopulationGLMCV(**arguments).fit(X, y)


def test_no_finite_score_at_any_strength_is_told():
    X, y = recording()
    y[:, 0] *= 1e300
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="neurons 0"):
        model = PopulationGLMCV("Gaussian", strengths=[1.0, 0.1]).fit(X, y)
    assert np.isfinite(model.coef_[:, 1:]).all()
