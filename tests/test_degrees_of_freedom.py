"""Degrees of freedom: the rank of what a neuron uses, or the trace of its influence matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit
from sklearn.model_selection import GridSearchCV

from spikax.basis import BSplineEval, RaisedCosineLogConv
from spikax.glm import GLM, ClassifierGLM, PopulationGLM
from spikax.inference import infer, summary
from spikax.observation_models import NegativeBinomialObservations
from spikax.regularizer import CustomRegularizer, GroupLasso

T = 160


def noise(seed=0):
    return np.random.default_rng(seed)


# --- The rank, where nothing penalises.


def rare():
    """Make indicators of which some are on in one row only."""
    X = noise().normal(size=(T, 6))
    X[:, 3:] = 0
    X[[7, 90, 91], [3, 4, 5]] = 1
    return X


def splines():
    """Make splines that sum to one to the last digit of float64, for the peers."""
    with jax.enable_x64(True):
        return np.asarray(BSplineEval(6).compute_features(noise().uniform(size=T)))


DESIGNS = {
    "independent": lambda: noise().normal(size=(T, 6)),
    "a duplicate": lambda: noise().normal(size=(T, 5))[:, [0, 1, 2, 3, 4, 1]],
    "a constant": lambda: np.column_stack([noise().normal(size=(T, 5)), np.full(T, 3.0)]),
    "a zero": lambda: np.column_stack([noise().normal(size=(T, 5)), np.zeros(T)]),
    "two relations": lambda: noise().normal(size=(T, 4)) @ noise(1).normal(size=(4, 6)),
    "splines that sum to one": splines,
    "large and small": lambda: noise().normal(size=(T, 6)) * 10.0 ** np.arange(-6, 6, 2) + 5,
    "rarely on": rare,
    "nearly equal": lambda: (
        (a := noise().normal(size=(T, 6))) * [1, 1, 1, 1, 1, 0]
        + 1e-4 * a * [0, 0, 0, 0, 0, 1]
        + a[:, :1] * [0, 0, 0, 0, 0, 1]
    ),
}


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("family", ["Poisson", "Gaussian"])
def test_without_a_penalty_it_is_the_rank_that_statsmodels_counts(design, family, x64):
    X = DESIGNS[design]()
    y = noise(2).poisson(2.0, size=(T, 2)).astype(float)
    y[:10, 1] = np.nan
    with jax.enable_x64(x64):
        model = PopulationGLM(family).fit(X, y)
    for j in range(2):
        rows = np.isfinite(y[:, j])
        peer = sm.GLM(
            y[rows, j],
            np.column_stack([X[rows], np.ones(rows.sum())]),
            getattr(sm.families, family)(),
        )
        assert model.edf_[j] == peer.df_model + 1
        assert model.dof_resid_[j] == peer.df_resid
        if family == "Gaussian":
            expected = np.sum((y[rows, j] - model.predict(X)[rows, j]) ** 2) / peer.df_resid
            assert model.scale_[j] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_mask_leaves_the_rank_of_what_it_keeps(fit_intercept):
    X = splines()
    X = np.column_stack([X, X[:, 0] - X[:, 1], noise(1).normal(size=T)])
    mask = (noise(3).uniform(size=(8, 12)) < 0.7).astype(float)
    mask[:, 0] = 1
    y = noise(2).poisson(2.0, size=(T, 12))
    model = PopulationGLM(feature_mask=mask, fit_intercept=fit_intercept).fit(X, y)
    expected = [
        np.linalg.matrix_rank(np.column_stack([X[:, kept], np.ones((T, int(fit_intercept)))]))
        for kept in mask.T > 0
    ]
    np.testing.assert_array_equal(model.edf_, expected)


def test_the_design_of_a_basis_has_the_rank_of_its_features():
    rng = noise()
    basis = BSplineEval(6, bounds=(0, 1), label="place") + RaisedCosineLogConv(
        3, 12, label="history"
    )
    x, counts = rng.uniform(size=500), rng.poisson(0.5, size=500).astype(float)
    design = basis.design(x, counts)
    y = rng.poisson(1.0, size=(500, 2))
    evaluated = PopulationGLM().fit(design, y)
    held = PopulationGLM().fit(np.asarray(basis.compute_features(x, counts)), y)
    np.testing.assert_array_equal(evaluated.edf_, held.edf_)
    np.testing.assert_array_equal(held.edf_, 9)


def test_classes_take_one_less_than_there_are():
    X = np.column_stack([noise().normal(size=(T, 3)), np.ones(T)])
    choice = noise(1).integers(0, 3, size=T)
    model = ClassifierGLM(3, regularizer="UnRegularized").fit(X, choice)
    assert model.edf_ == 2 * 4
    assert model.dof_resid_ == T - 8


# --- The trace of the influence matrix, where something does.


def roughness(coef, strength):
    return strength[0] * jnp.sum(jnp.diff(coef) ** 2)


PENALTIES = {
    "Ridge": {"regularizer": "Ridge", "regularizer_strength": 0.2},
    "Ridge of some": {"regularizer": "Ridge", "regularizer_strength": np.array([0.3, 0, 0, 1, 2])},
    "Lasso": {"regularizer": "Lasso", "regularizer_strength": 0.4},
    "ElasticNet": {"regularizer": "ElasticNet", "regularizer_strength": (0.5, 0.5)},
    "GroupLasso": {
        "regularizer": GroupLasso(mask=[[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]]),
        "regularizer_strength": 0.3,
    },
    "roughness": {"regularizer": CustomRegularizer(roughness), "regularizer_strength": 0.3},
}


@pytest.mark.parametrize("penalty", PENALTIES)
def test_it_is_how_much_predictions_follow_their_observations(penalty):
    """Compare with Stein's divergence, by finite differences of fits."""
    n = 40
    X = noise().normal(size=(n, 5))
    y = X @ [1.0, 0.3, 0.0, -0.5, 0.1] + noise(1).normal(size=n)
    step = 1e-5
    with jax.enable_x64(True):
        kwargs = PENALTIES[penalty] | {"solver_kwargs": {"tol": 1e-13}}
        model = GLM("Gaussian", **kwargs).fit(X, y)
        if penalty == "Ridge of some":
            strength = np.repeat(kwargs["regularizer_strength"][:, None], 2 * n, axis=1)
            kwargs["regularizer_strength"] = strength
        up_and_down = np.hstack([y[:, None] + step * np.eye(n), y[:, None] - step * np.eye(n)])
        moved = PopulationGLM("Gaussian", **kwargs).fit(X, up_and_down)
        predicted = moved.predict(X)
    divergence = np.trace(predicted[:, :n] - predicted[:, n:]) / (2 * step)
    assert model.edf_ == pytest.approx(divergence, rel=2e-3)
    residual = np.sum((y - model.predict(X)) ** 2)
    assert model.scale_ == pytest.approx(residual / (n - model.edf_), rel=1e-5)


@pytest.mark.parametrize("family", ["Poisson", "Bernoulli", "Gamma", "NegativeBinomial"])
def test_other_families_have_the_trace_of_their_information(family):
    X = noise().normal(size=(T, 5))
    eta = 0.3 * X[:, :2] - 0.2
    y = {
        "Poisson": lambda: noise(1).poisson(np.exp(eta)),
        "Bernoulli": lambda: noise(1).binomial(1, expit(eta)),
        "Gamma": lambda: noise(1).gamma(2, np.exp(eta) / 2),
        "NegativeBinomial": lambda: noise(1).negative_binomial(4, 4 / (4 + np.exp(eta))),
    }[family]()
    link = {"Bernoulli": "logistic"}.get(family, "exp")
    strength = np.array([0.05, 0.0])
    dispersed = family == "NegativeBinomial"
    observations = NegativeBinomialObservations("estimate") if dispersed else family
    model = PopulationGLM(observations, link, "Ridge", strength).fit(X, y)
    design = np.column_stack([X, np.ones(T)])
    for j in range(2):
        mean = model.predict(X)[:, j]
        weight = {
            "Poisson": mean,
            "Bernoulli": mean * (1 - mean),
            "Gamma": np.ones(T),
            "NegativeBinomial": mean / (1 + model.scale_[j] * mean),
        }[family]
        information = design.T @ (weight[:, None] * design) / T
        bend = np.diag([*np.full(5, strength[j]), 0])
        expected = np.trace(np.linalg.solve(information + bend, information))
        assert model.edf_[j] == pytest.approx(expected, rel=1e-4)
        assert model.dof_resid_[j] == pytest.approx(T - expected, rel=1e-5)


def test_a_ridge_penalty_leaves_the_scale_that_its_effective_parameters_do():
    """Intervals of the default kind cover: they were too wide when columns were counted."""
    rng = noise()
    X = rng.normal(size=(100, 60))
    truth = rng.normal(0, np.sqrt(2 / (100 * 0.2)), size=(60, 300))
    y = X @ truth + rng.normal(size=(100, 300))
    with jax.enable_x64(True):
        model = PopulationGLM("Gaussian", regularizer="Ridge", regularizer_strength=0.2)
        model.fit(X, y)
        lower, upper = infer(model, X, y).interval()
    covered = np.mean((lower[:, :-1] < truth.T) & (upper[:, :-1] > truth.T))
    assert 0.93 < covered < 0.97


@pytest.mark.parametrize("n, p", [(20, 40), (20, 20), (15, 90), (40, 41)])
def test_fewer_samples_than_features_are_told_unless_a_penalty_holds_them(n, p):
    X, y = noise().normal(size=(n, p)), noise(1).normal(size=n)
    with pytest.warns(RuntimeWarning, match="as many parameters as observations.*Ridge"):
        model = GLM("Gaussian").fit(X, y)
    assert model.edf_ == n
    assert model.dof_resid_ == 0
    assert np.isnan(model.scale_)
    search = GridSearchCV(
        GLM("Gaussian", regularizer="Ridge"), {"regularizer_strength": [0.1, 1.0, 10.0]}, cv=2
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_what_would_take_longer_than_the_fit_is_left_to_the_summary():
    X, y = noise().normal(size=(2000, 100)), noise(1).poisson(1.0, size=(2000, 10))
    model = PopulationGLM(regularizer="Ridge", regularizer_strength=0.1).fit(X, y)
    assert np.isnan(model.edf_).all()
    told = summary(model, X, y).neurons
    design = np.column_stack([X, np.ones(2000)])
    information = design.T @ (model.predict(X)[:, :1] * design) / 2000
    bend = np.diag([*np.full(100, 0.1), 0])
    expected = np.trace(np.linalg.solve(information + bend, information))
    assert told.edf[0] == pytest.approx(expected, rel=1e-4)
    assert told.dof_resid[0] == pytest.approx(2000 - expected, rel=1e-5)
