"""What sample weights mean: frequencies or precisions, of whatever size."""

import warnings

import jax
import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.tools.sm_exceptions import DomainWarning

from spikax.diagnostics import cross_validated_scores
from spikax.glm import GLM, ClassifierGLM, ClassifierPopulationGLM, PopulationGLM
from spikax.inference import infer, likelihood_ratio_test, summary, without
from spikax.model_selection import GLMCV, PopulationGLMCV
from spikax.observation_models import NegativeBinomialObservations

T, P, N = 150, 3, 3

FAMILIES = {
    "Poisson": ("Poisson", "exp", sm.families.Poisson()),
    "Bernoulli": ("Bernoulli", "logistic", sm.families.Binomial()),
    "NegativeBinomial": (
        NegativeBinomialObservations(0.4),
        "exp",
        sm.families.NegativeBinomial(alpha=0.4),
    ),
    "Gaussian": ("Gaussian", "identity", sm.families.Gaussian()),
    "Gamma": ("Gamma", "exp", sm.families.Gamma(sm.families.links.Log())),
}
every_family = pytest.mark.parametrize("name", FAMILIES)
every_type = pytest.mark.parametrize("weight_type", ["frequency", "precision"])


def recording(name):
    """Make features, what three neurons do, and weights of which some are zero."""
    rng = np.random.default_rng(4)
    X = rng.uniform(-1, 1, size=(T, P))
    eta = X @ rng.uniform(-0.4, 0.4, size=(P, N)) + 0.5
    y = {
        "Poisson": lambda: rng.poisson(np.exp(eta)),
        "Bernoulli": lambda: rng.binomial(1, 1 / (1 + np.exp(-eta))),
        "NegativeBinomial": lambda: rng.negative_binomial(2.5, 1 / (1 + 0.4 * np.exp(eta))),
        "Gaussian": lambda: rng.normal(eta),
        "Gamma": lambda: rng.gamma(2, np.exp(eta) / 2),
    }[name]()
    return X, y.astype(float), rng.choice([0.0, 1.0, 2.0, 3.0], size=T)


def peer(name, X, y, weight_type, weights):
    """Fit one neuron with statsmodels; its constant comes last."""
    argument = {"frequency": "freq_weights", "precision": "var_weights"}[weight_type]
    with warnings.catch_warnings(action="ignore", category=DomainWarning):
        model = sm.GLM(
            y, np.column_stack([X, np.ones(len(X))]), FAMILIES[name][2], **{argument: weights}
        )
    return model


@every_family
@every_type
def test_weights_are_those_of_statsmodels(name, weight_type):
    X, y, weights = recording(name)
    weights = weights if weight_type == "frequency" else weights * 0.37
    counted = weights > 0
    family, link, _ = FAMILIES[name]
    with jax.enable_x64(True):
        model = PopulationGLM(
            family, link, weight_type=weight_type, solver_kwargs={"tol": 1e-13}
        ).fit(X, y, sample_weight=weights)
        result = infer(model, X, y, sample_weight=weights)
        sandwich = infer(model, X, y, kind="sandwich", sample_weight=weights)
        told = summary(model, X, y, sample_weight=weights).neurons
    for j in range(N):
        theirs = peer(name, X[counted], y[counted, j], weight_type, weights[counted])
        expected = theirs.fit(tol=1e-14, maxiter=200)
        np.testing.assert_allclose(model.coef_[:, j], expected.params[:-1], rtol=1e-6)
        np.testing.assert_allclose(model.intercept_[j], expected.params[-1], rtol=1e-6)
        np.testing.assert_allclose(result.standard_error[j], expected.bse, rtol=1e-6)
        robust = theirs.fit(tol=1e-14, maxiter=200, cov_type="HC0")
        np.testing.assert_allclose(sandwich.standard_error[j], robust.bse, rtol=1e-6)
        row = told.loc[j]
        assert model.dof_resid_[j] == row.dof_resid == expected.df_resid
        assert model.edf_[j] == row.edf == P + 1
        if name != "NegativeBinomial":
            assert model.scale_[j] == pytest.approx(expected.scale, rel=1e-6)
        assert row["scale"] == model.scale_[j]
        assert row.log_likelihood == pytest.approx(expected.llf, rel=1e-7)
        assert row.deviance == pytest.approx(expected.deviance, rel=1e-6)
        assert row.null_deviance == pytest.approx(expected.null_deviance, rel=1e-6)


@every_family
@every_type
def test_scores_are_the_weighted_log_likelihood_of_statsmodels(name, weight_type):
    X, y, weights = recording(name)
    y, counted = y[:, 0], weights > 0
    family, link, _ = FAMILIES[name]
    with jax.enable_x64(True):
        model = GLM(family, link, weight_type=weight_type, solver_kwargs={"tol": 1e-13})
        score = model.fit(X, y, sample_weight=weights).score(X, y, sample_weight=weights)
    theirs = peer(name, X[counted], y[counted], weight_type, weights[counted])
    expected = theirs.fit(tol=1e-14, maxiter=200).llf_scaled(
        model.scale_ if name in ("Gaussian", "Gamma") else 1.0
    )
    divided = name in ("Gaussian", "Gamma") and weight_type == "precision"
    assert score == pytest.approx(expected / (counted if divided else weights).sum(), rel=1e-6)


@every_family
def test_integer_frequencies_equal_repeated_rows_in_every_statistic(name):
    X, y, weights = recording(name)
    rows = np.repeat(np.arange(T), weights.astype(int))
    family, link, _ = FAMILIES[name]
    kwargs = {"weight_type": "frequency", "solver_kwargs": {"tol": 1e-13}}
    tables = []
    with jax.enable_x64(True):
        for data, extra in (((X, y), {"sample_weight": weights}), ((X[rows], y[rows]), {})):
            model = PopulationGLM(family, link, **kwargs).fit(*data, **extra)
            smaller = without(model, *data, 0, **extra)
            tables.append(
                [
                    summary(model, *data, **extra).neurons.drop(columns="status").to_numpy(),
                    infer(model, *data, **extra).covariance,
                    infer(model, *data, kind="sandwich", **extra).covariance,
                    likelihood_ratio_test(model, smaller, *data, **extra).statistic,
                ]
            )
    for weighted, repeated in zip(*tables, strict=True):
        np.testing.assert_allclose(weighted, repeated, rtol=1e-5, atol=1e-9)


# --- Their size.

SIZES = (1e-8, 1e-5, 1 / T, 1e8)


def fit_and_listen(model, *data, **kwargs):
    """Fit; give the model, and what it warned of."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        model.fit(*data, **kwargs)
    return model, [str(w.message) for w in caught if w.category is RuntimeWarning]


@every_family
@pytest.mark.parametrize("penalty", [None, "Ridge", "Lasso"])
def test_the_size_of_all_weights_changes_nothing(name, penalty):
    X, y, weights = recording(name)
    family, link, _ = FAMILIES[name]
    lowest = {"Gamma": 1e-3}.get(name, 0.0)
    y[:, 2] = lowest  # silent, where a family has such a thing
    kwargs = {"regularizer": penalty, "regularizer_strength": 0.01}

    def fitted(c):
        return fit_and_listen(
            PopulationGLM(family, link, **kwargs), X, y, sample_weight=c * weights
        )

    plain, told = fitted(1.0)
    for c in SIZES:
        model, told_too = fitted(c)
        assert told_too == told
        np.testing.assert_array_equal(
            model.solver_state_.stats.status, plain.solver_state_.stats.status
        )
        np.testing.assert_allclose(model.coef_, plain.coef_, atol=1e-6)
        np.testing.assert_allclose(model.intercept_, plain.intercept_, atol=1e-5)
        np.testing.assert_allclose(model.edf_, plain.edf_, rtol=1e-5)
        np.testing.assert_allclose(model.dof_resid_, plain.dof_resid_, rtol=1e-6)
        scale = c if name in ("Gaussian", "Gamma") else 1
        likewise = {"rtol": 1e-5, "atol": 1e-12 * scale}
        np.testing.assert_allclose(model.scale_, scale * plain.scale_, **likewise)


@pytest.mark.parametrize(
    "solver", ["Newton", "LBFGS", "BFGS", "GradientDescent", "SVRG", "BFGS[optimistix]"]
)
def test_the_size_of_all_weights_is_nothing_to_any_solver(solver):
    X, y, weights = recording("Poisson")
    found = [
        fit_and_listen(
            GLM(solver_name=solver, solver_kwargs={"tol": 1e-4}), X, y[:, 0], sample_weight=w
        )
        for w in (weights, 1e-6 * weights)
    ]
    (plain, told), (small, told_too) = found
    assert told == told_too
    np.testing.assert_allclose(small.coef_, plain.coef_, atol=1e-5)


@pytest.mark.parametrize("kind", [ClassifierGLM, ClassifierPopulationGLM])
def test_the_size_of_all_weights_is_nothing_to_classifiers(kind):
    X, y, weights = recording("Bernoulli")
    y = y[:, 0] if kind is ClassifierGLM else y
    plain, told = fit_and_listen(kind(), X, y, sample_weight=weights)
    small, told_too = fit_and_listen(kind(), X, y, sample_weight=1e-7 * weights)
    assert told == told_too
    np.testing.assert_allclose(small.coef_, plain.coef_, atol=1e-6)
    np.testing.assert_allclose(small.edf_, plain.edf_, rtol=1e-5)


@every_type
@pytest.mark.parametrize("name", ["Poisson", "Gaussian"])
def test_the_size_of_all_weights_is_nothing_to_batches(name, weight_type):
    X, y, weights = recording(name)

    kwargs = {"weight_type": weight_type, "solver_kwargs": {"tol": 1e-7}}

    def through(c):
        model = PopulationGLM(name, **kwargs)
        for some in np.split(np.arange(T), 3):
            model.partial_fit(X[some], y[some], sample_weight=c * weights[some])
        return model

    plain, small = through(1.0), through(1e-6 if weight_type == "precision" else 100.0)
    whole = PopulationGLM(name, **kwargs).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(plain.coef_, whole.coef_, atol=2e-4)
    np.testing.assert_allclose(plain.dof_resid_, whole.dof_resid_)
    np.testing.assert_allclose(small.coef_, plain.coef_, atol=1e-5)


def test_a_neuron_recorded_where_weights_are_small_is_fitted_as_alone():
    X, y, _ = recording("Poisson")
    weights = np.where(np.arange(T) < 75, 1.0, 1e-6)
    y[:75, 1] = np.nan
    kwargs = {"solver_kwargs": {"tol": 1e-7}}
    together = PopulationGLM(**kwargs).fit(X, y, sample_weight=weights)
    alone = GLM(**kwargs).fit(X[75:], y[75:, 1])
    np.testing.assert_allclose(together.coef_[:, 1], alone.coef_, atol=1e-4)
    assert together.dof_resid_[1] == alone.dof_resid_


def test_inference_does_not_depend_on_the_size_of_precisions():
    X, y, weights = recording("Gaussian")
    errors, told = [], []
    for c in (1.0, 1e-8, 1e8):
        model = PopulationGLM("Gaussian").fit(X, y, sample_weight=c * weights)
        errors.append(infer(model, X, y, sample_weight=c * weights).standard_error)
        told.append(summary(model, X, y, sample_weight=c * weights).neurons.log_likelihood)
    np.testing.assert_allclose(errors[1], errors[0], rtol=1e-5)
    np.testing.assert_allclose(errors[2], errors[0], rtol=1e-5)
    np.testing.assert_allclose(told[1], told[0], rtol=1e-5)


def test_frequencies_that_are_fewer_than_parameters_are_told():
    X, y, _ = recording("Gaussian")
    model = PopulationGLM("Gaussian", weight_type="frequency")
    with pytest.warns(RuntimeWarning, match="as many parameters as observations"):
        model.fit(X, y, sample_weight=np.full(T, 1 / T))
    assert np.isnan(model.scale_).all()


def test_an_unknown_weight_type_is_refused():
    X, y, weights = recording("Poisson")
    with pytest.raises(ValueError, match=r"weight_type: 'analytic'.*frequency"):
        PopulationGLM(weight_type="analytic").fit(X, y, sample_weight=weights)


def test_weights_of_one_are_no_weights_and_cost_no_copy():
    X, y, _ = recording("Poisson")
    weighted = PopulationGLM().fit(X, y, sample_weight=np.ones(T))
    plain = PopulationGLM().fit(X, y)
    np.testing.assert_array_equal(weighted.coef_, plain.coef_)
    np.testing.assert_array_equal(weighted.dof_resid_, plain.dof_resid_)


# --- Weights of each neuron.


def own_weights():
    """Draw weights of each neuron's samples, of which some are zero, and whose sizes differ."""
    rng = np.random.default_rng(7)
    return rng.choice([0.0, 1.0, 2.0, 3.0], size=(T, N)) * [1.0, 0.01, 50.0]


@every_family
@every_type
def test_weights_of_each_neuron_equal_fits_one_by_one(name, weight_type):
    X, y, _ = recording(name)
    weights = own_weights()
    if weight_type == "frequency":
        weights = np.ceil(weights)
    family, link, _ = FAMILIES[name]
    kwargs = {"weight_type": weight_type, "solver_kwargs": {"tol": 1e-13}}
    offset = 0.1 * np.sin(np.arange(T))
    with jax.enable_x64(True):
        extra = {"sample_weight": weights, "offset": offset}
        model = PopulationGLM(family, link, **kwargs).fit(X, y, **extra)
        told = summary(model, X, y, **extra).neurons.drop(columns="status")
        robust = infer(model, X, y, kind="sandwich", **extra).standard_error
        scores = model.score(X, y, sample_weight=weights, offset=offset)
        each = []
        for j in range(N):
            extra = {"sample_weight": weights[:, j], "offset": offset}
            one = GLM(family, link, **kwargs).fit(X, y[:, j], **extra)
            np.testing.assert_allclose(model.coef_[:, j], one.coef_, atol=1e-6)
            np.testing.assert_allclose(model.scale_[j], one.scale_, rtol=1e-6)
            alone = summary(one, X, y[:, j], **extra).neurons.drop(columns="status")
            np.testing.assert_allclose(told.loc[j], alone.loc[0], rtol=1e-6)
            one_robust = infer(one, X, y[:, j], kind="sandwich", **extra).standard_error
            np.testing.assert_allclose(robust[j], one_robust[0], rtol=1e-6)
            each.append(one.score(X, y[:, j], **extra))
    assert scores == pytest.approx(np.mean(each), rel=1e-6)


@pytest.mark.parametrize("regularizer", ["Ridge", "Lasso"])
def test_weights_of_each_neuron_choose_strengths_and_go_through_batches(regularizer):
    X, y, _ = recording("Poisson")
    weights = own_weights()
    kwargs = {"regularizer": regularizer, "solver_kwargs": {"tol": 1e-9}}
    search = {"strengths": [0.3, 0.03, 0.003], "cv": 3}
    chosen = PopulationGLMCV(**kwargs, **search).fit(X, y, sample_weight=weights)
    batches = PopulationGLM(**kwargs, regularizer_strength=0.01)
    for some in np.split(np.arange(T), 3):
        batches.partial_fit(X[some], y[some], sample_weight=weights[some])
    table = cross_validated_scores(batches, X, y, cv=3, sample_weight=weights)
    for j in range(N):
        one = GLMCV(**kwargs, **search).fit(X, y[:, j], sample_weight=weights[:, j])
        np.testing.assert_allclose(chosen.scores_[..., j], one.scores_, rtol=1e-4, atol=1e-6)
        assert chosen.strength_[j] == one.strength_
        whole = GLM(**kwargs, regularizer_strength=0.01)
        alone = cross_validated_scores(whole, X, y[:, j], cv=3, sample_weight=weights[:, j])
        of_neuron = table.xs(j, level="neuron").drop(columns="note")
        expected = alone.xs(0, level="neuron").drop(columns="note")
        np.testing.assert_allclose(of_neuron, expected, rtol=1e-4, atol=1e-5)
        whole.fit(X, y[:, j], sample_weight=weights[:, j])
        np.testing.assert_allclose(batches.coef_[:, j], whole.coef_, atol=2e-3)


def test_weights_of_each_neuron_of_classifiers_equal_fits_one_by_one():
    X, y, _ = recording("Bernoulli")
    weights = own_weights()
    model = ClassifierPopulationGLM(solver_kwargs={"tol": 1e-9}).fit(X, y, sample_weight=weights)
    for j in range(N):
        one = ClassifierGLM(solver_kwargs={"tol": 1e-9})
        one.fit(X, y[:, j], sample_weight=weights[:, j])
        np.testing.assert_allclose(model.coef_[:, j], one.coef_, atol=1e-5)
        assert model.dof_resid_[j] == pytest.approx(one.dof_resid_, rel=1e-6)
