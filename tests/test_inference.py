"""Standard errors, intervals and tests, against statsmodels, brute force and simulated truth."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pynapple as nap
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import block_diag
from scipy.special import expit
from sklearn.exceptions import NotFittedError
from statsmodels.genmod.generalized_linear_model import DomainWarning
from statsmodels.stats.multitest import multipletests

from compilations import counted
from spikax import load_model
from spikax.basis import BSplineEval, RaisedCosineLogConv
from spikax.glm import GLM, ClassifierGLM, ClassifierPopulationGLM, PopulationGLM
from spikax.inference import (
    adjust_p_values,
    coupling_filters,
    infer,
    likelihood_ratio_test,
    mean_band,
    summary,
    tuning_curve,
    wald_test,
    without,
)
from spikax.model_selection import PopulationGLMCV
from spikax.observation_models import NegativeBinomialObservations
from spikax.regularizer import CustomRegularizer

T, P, N = 400, 3, 3

# A family with a link, and the same in statsmodels.
CASES = {
    "Poisson-exp": ("Poisson", "exp", sm.families.Poisson()),
    "Poisson-identity": (
        "Poisson",
        "identity",
        sm.families.Poisson(sm.families.links.Identity()),
    ),
    "Bernoulli-logistic": ("Bernoulli", "logistic", sm.families.Binomial()),
    "Bernoulli-probit": (
        "Bernoulli",
        "norm_cdf",
        sm.families.Binomial(sm.families.links.Probit()),
    ),
    "NegativeBinomial-exp": (
        NegativeBinomialObservations(0.4),
        "exp",
        sm.families.NegativeBinomial(alpha=0.4),
    ),
    "Gaussian-identity": ("Gaussian", "identity", sm.families.Gaussian()),
    "Gaussian-exp": ("Gaussian", "exp", sm.families.Gaussian(sm.families.links.Log())),
    "Gamma-inverse": ("Gamma", "one_over_x", sm.families.Gamma()),
    "Gamma-exp": ("Gamma", "exp", sm.families.Gamma(sm.families.links.Log())),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def recording(family="Poisson", link="exp", n_samples=T, seed=1):
    """Make features, and what three neurons do: the scatter is not quite the family's."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n_samples, P))
    eta = X @ rng.uniform(-0.3, 0.3, size=(P, N)) + 1.2
    mean = {
        "exp": np.exp,
        "identity": lambda e: e,
        "one_over_x": lambda e: 1 / e,
        "logistic": expit,
        "norm_cdf": stats.norm.cdf,
    }[link](eta)
    family = family if isinstance(family, str) else "Poisson"
    y = {
        "Poisson": lambda: rng.negative_binomial(2, 2 / (2 + mean)),
        "Bernoulli": lambda: rng.binomial(1, mean),
        "Gaussian": lambda: rng.normal(mean, 0.3 + 0.5 * np.abs(X[:, :1])),
        "Gamma": lambda: rng.gamma(2, mean / 2),
    }[family]()
    return X, y.astype(float)


def fit(X, y, family="Poisson", kind=PopulationGLM, fit_kwargs=None, **kwargs):
    """Fit closely."""
    return kind(family, solver_kwargs={"tol": 1e-13}, **kwargs).fit(X, y, **(fit_kwargs or {}))


def reference(X, y, family, **kwargs):
    """Fit one neuron with statsmodels; its constant comes last."""
    of_fit = ("cov_type", "cov_kwds", "use_t")
    fit_kwargs = {k: kwargs.pop(k) for k in of_fit if k in kwargs}
    with warnings.catch_warnings(action="ignore", category=DomainWarning):
        model = sm.GLM(y, np.column_stack([X, np.ones(len(X))]), family, **kwargs)
    return model.fit(tol=1e-14, maxiter=200, **fit_kwargs)


# --- Standard errors are statsmodels'.


@every_case
@pytest.mark.parametrize("kind", ["model", "sandwich"])
def test_standard_errors_are_those_of_statsmodels(case, kind, float64):
    family, link, theirs = case
    X, y = recording(family, link)
    result = infer(fit(X, y, family, inverse_link_function=link), X, y, kind=kind)
    for j in range(N):
        cov_type = {"model": "nonrobust", "sandwich": "HC0"}[kind]
        expected = reference(X, y[:, j], theirs, cov_type=cov_type, use_t=str(family)[0] == "G")
        np.testing.assert_allclose(result.standard_error[j], expected.bse, rtol=1e-6)
        size = np.outer(expected.bse, expected.bse)
        difference = result.covariance[j] - expected.cov_params()
        np.testing.assert_allclose(difference / size, 0, atol=1e-5)
        np.testing.assert_allclose(result.p_value[j], expected.pvalues, rtol=1e-4)
        np.testing.assert_allclose(
            np.transpose(result.interval(0.9))[:, j], expected.conf_int(0.1), atol=1e-5
        )


def test_weights_offsets_and_missing_rows_are_counted_as_statsmodels_does(float64, rng):
    X, y = recording()
    weights = rng.integers(0, 4, size=T).astype(float)
    offset = rng.normal(0, 0.3, size=T)
    missing = y.copy()
    missing[rng.uniform(size=T) < 0.1, 1] = np.nan
    extra = {"sample_weight": weights, "offset": offset}
    model = fit(X, missing, fit_kwargs=extra)
    result = infer(model, X, missing, **extra)
    for j in range(N):
        rows = np.isfinite(missing[:, j]) & (weights > 0)
        expected = reference(
            X[rows],
            y[rows, j],
            sm.families.Poisson(),
            freq_weights=weights[rows],
            offset=offset[rows],
        )
        np.testing.assert_allclose(result.standard_error[j], expected.bse, rtol=1e-6)


def test_a_float32_fit_has_the_same_standard_errors():
    X, y = recording()
    result = infer(fit(X, y), X, y)
    for j in range(N):
        expected = reference(X, y[:, j], sm.families.Poisson())
        np.testing.assert_allclose(result.standard_error[j], expected.bse, rtol=1e-4)


def test_standard_errors_do_not_depend_on_the_place_of_a_feature_and_scale_with_it(float64):
    X, y = recording()
    shift, scale = np.array([1e4, 0, -20]), np.array([1, 1e6, 1e-6])
    plain = infer(fit(X, y), X, y).standard_error
    moved = X * scale + shift
    result = infer(fit(moved, y), moved, y).standard_error
    np.testing.assert_allclose(result[:, :-1] * scale, plain[:, :-1], rtol=1e-5)


def test_a_masked_coefficient_is_not_uncertain_and_the_others_are_as_without_it(float64):
    X, y = recording()
    mask = np.ones((P, N))
    mask[1, 0] = 0
    result = infer(fit(X, y, feature_mask=mask), X, y)
    expected = reference(X[:, [0, 2]], y[:, 0], sm.families.Poisson())
    np.testing.assert_allclose(result.standard_error[0, [0, 2, 3]], expected.bse, rtol=1e-6)
    assert result.standard_error[0, 1] == 0
    assert np.isnan(result.p_value[0, 1])
    assert result.n_identified.tolist() == [P, P + 1, P + 1]


def test_without_an_intercept_it_is_not_uncertain(float64):
    X, y = recording("Gaussian", "identity")
    result = infer(fit(X, y, "Gaussian", fit_intercept=False), X, y)
    expected = sm.GLM(y[:, 0], X).fit()
    np.testing.assert_allclose(result.standard_error[0], [*expected.bse, 0], rtol=1e-6)


def test_a_neuron_alone_is_its_row_of_the_population(float64):
    X, y = recording()
    population = infer(fit(X, y), X, y)
    alone = infer(fit(X, y[:, 2], kind=GLM), X, y[:, 2])
    np.testing.assert_allclose(alone.covariance[0], population.covariance[2], rtol=1e-5)
    coef, intercept = alone.shaped(alone.standard_error)
    assert coef.shape == (P,)
    assert intercept.shape == (1,)


def test_more_neurons_than_a_bucket_holds_are_each_themselves(float64, rng):
    X = rng.normal(size=(100, 2))
    y = rng.poisson(1.0, size=(100, 70)).astype(float)
    result = infer(fit(X, y), X, y)
    for j in (0, 63, 64, 69):
        expected = reference(X, y[:, j], sm.families.Poisson())
        np.testing.assert_allclose(result.standard_error[j], expected.bse, rtol=1e-6)


@pytest.mark.parametrize("kind", ["model", "sandwich"])
def test_ridge_adds_the_curvature_of_its_penalty(kind, float64):
    X, y = recording()
    strength = np.array([0.3, 0.01, 2.0])
    model = fit(X, y, regularizer="Ridge", regularizer_strength=strength)
    result = infer(model, X, y, kind=kind)
    for j in range(N):
        design = np.column_stack([X, np.ones(T)])
        mean = model.predict(X)[:, j]
        information = (design.T * mean) @ design
        penalised = information + T * np.diag([*np.full(P, strength[j]), 0])
        covariance = np.linalg.inv(penalised)
        if kind == "sandwich":
            scores = design * (y[:, j] - mean)[:, None]
            covariance = covariance @ scores.T @ scores @ covariance
        np.testing.assert_allclose(result.covariance[j], covariance, rtol=1e-5)


def test_a_strength_chosen_by_cross_validation_is_that_of_the_penalty(float64):
    X, y = recording()
    chosen = PopulationGLMCV(n_strengths=5, cv=3, solver_kwargs={"tol": 1e-13}).fit(X, y)
    assert len(np.unique(chosen.strength_)) > 1
    given = fit(X, y, regularizer="Ridge", regularizer_strength=chosen.strength_)
    np.testing.assert_allclose(
        infer(chosen, X, y).covariance, infer(given, X, y).covariance, rtol=1e-5
    )


def roughness(coef, strength):
    return 0.5 * jnp.sum(strength[1:] * jnp.diff(coef) ** 2)


def test_a_penalty_of_ones_own_adds_its_curvature(float64):
    X, y = recording()
    model = fit(X, y, regularizer=CustomRegularizer(roughness), regularizer_strength=0.3)
    result = infer(model, X, y)
    difference = np.diff(np.eye(P), axis=0)
    cost = np.pad(0.3 * difference.T @ difference, ((0, 1), (0, 1)))
    design = np.column_stack([X, np.ones(T)])
    for j in range(N):
        information = (design.T * model.predict(X)[:, j]) @ design + T * cost
        np.testing.assert_allclose(result.covariance[j], np.linalg.inv(information), rtol=1e-5)


def test_an_estimated_dispersion_is_that_of_the_fit(float64):
    X, y = recording(n_samples=1000)
    model = fit(X, y, NegativeBinomialObservations("estimate"))
    result = infer(model, X, y)
    test = likelihood_ratio_test(model, without(model, X, y, 0), X, y)
    for j in range(N):
        design = np.column_stack([X, np.ones(len(X))])
        family = sm.families.NegativeBinomial(alpha=model.scale_[j])
        expected = sm.GLM(y[:, j], design, family).fit(tol=1e-14)
        np.testing.assert_allclose(result.standard_error[j], expected.bse, rtol=1e-5)
        best, small = (
            sm.NegativeBinomial(y[:, j], some).fit(disp=False, maxiter=500, gtol=1e-8).llf
            for some in (design, design[:, 1:])
        )
        assert test.statistic[j] == pytest.approx(2 * (best - small), abs=1e-3)


def test_features_in_a_container_keep_its_shape_and_names(float64):
    X, y = recording()
    tree = {"body": {"speed": X[:, :1], "turn": X[:, 1:2]}, "light": X[:, 2:]}
    result = infer(fit(tree, y), tree, y)
    assert result.names == ("body.speed[0]", "body.turn[0]", "light[0]", "intercept")
    coef, _ = result.shaped(result.standard_error)
    flat = infer(fit(X, y), X, y)
    np.testing.assert_allclose(coef["body"]["turn"][0], flat.standard_error[:, 1])
    assert wald_test(result, "body.turn").p_value == pytest.approx(flat.p_value[:, 1], rel=0.1)


def test_names_come_from_the_users_frames(float64):
    X, y = recording()
    table = pd.DataFrame(X, columns=["speed", "turn", "light"])
    neurons = pd.DataFrame(y, columns=["a", "b", "c"])
    frame = infer(fit(table, neurons), table, neurons).frame()
    assert frame.index[0] == ("a", "speed")
    assert frame.loc[("c", "intercept"), "lower"] < frame.loc[("c", "intercept"), "upper"]
    assert infer(fit({"all": table}, y), {"all": table}, y).names[0] == "all[speed]"
    timed = nap.TsdFrame(t=np.arange(T), d=X, columns=["speed", "turn", "light"])
    assert infer(fit(timed, y), timed, y).names == ("speed", "turn", "light", "intercept")
    series = nap.TsdFrame(t=np.arange(T), d=y, columns=["u", "v", "w"])
    assert list(infer(fit(X, series), X, series).neurons) == ["u", "v", "w"]


LABELS = ("speed [cm/s]", "']['", "θ (rad), 'left'", "a.b[0]", "intercept")


def test_labels_of_any_characters_survive(float64, tmp_path):
    rng = np.random.default_rng(0)
    position = rng.uniform(size=T)
    past = rng.poisson(0.2, size=(T, 2)).astype(float)
    y = rng.poisson(np.exp(np.sin(6 * position) - 1), size=(2, T)).T
    for label in LABELS:
        place = BSplineEval(4, bounds=(0, 1), label=label)
        coupling = RaisedCosineLogConv(2, window_size=4, label=f"{label} of others")
        both = place + coupling
        X = {
            label: place.compute_features(position),
            coupling.label: coupling.compute_features(past),
        }
        assert list(both.split_by_feature(both.compute_features(position, past))) == list(X)
        names = both.to_transformer().fit(np.c_[position, past]).get_feature_names_out()
        assert names[0] == f"{label}_0"

        model = PopulationGLM(regularizer="Ridge", regularizer_strength=0.01).fit(X, y)
        model.save_params(tmp_path / "model.npz")
        assert list(load_model(tmp_path / "model.npz").coef_) == list(model.coef_)
        result = infer(model, X, y)
        assert set(result.groups) == set(X)
        assert f"{label}[3]" in result.names
        assert tuning_curve(result, place).mean.shape == (100, 2)
        assert coupling_filters(result, coupling).mean.shape == (2, 2, 4)
        np.testing.assert_array_equal(
            wald_test(result, label).statistic,
            wald_test(result, [f"{label}[{i}]" for i in range(4)]).statistic,
        )
        assert (without(model, X, y, label).coef_[label] == 0).all()
        assert f"{label}[3]" in str(summary(model, X, y))


def test_labels_of_classes_survive(float64):
    X, y = recording()
    tree = {label: X[:, :1] for label in ("intercept", "speed [cm/s]")}
    model = ClassifierGLM().fit(tree, y[:, 0] > 0)
    result = infer(model, tree, y[:, 0] > 0)
    assert result.groups["intercept"] == slice(0, 2)
    assert (without(model, tree, y[:, 0] > 0, "intercept").coef_["intercept"] == 0).all()


def test_labels_that_would_be_alike_are_told_apart(float64):
    X, y = recording()
    tree = {"a": {"b": X[:, :1]}, "a.b": X[:, 1:]}
    assert set(infer(fit(tree, y), tree, y).groups) == {"['a']['b']", "['a.b']"}


# --- Samples that are alike within groups.

TRIAL = np.arange(T) // 10


def in_groups(model, X, y, groups, **kwargs):
    return infer(model, X, y, kind="sandwich", groups=groups, **kwargs)


@every_case
def test_errors_within_groups_are_those_of_statsmodels(case, float64):
    family, link, theirs = case
    X, y = recording(family, link)
    result = in_groups(fit(X, y, family, inverse_link_function=link), X, y, TRIAL)
    for j in range(N):
        kwargs = {"cov_type": "cluster", "cov_kwds": {"groups": TRIAL}, "use_t": True}
        expected = reference(X, y[:, j], theirs, **kwargs)
        np.testing.assert_allclose(result.standard_error[j], expected.bse, rtol=1e-6)
        np.testing.assert_allclose(result.p_value[j], expected.pvalues, rtol=1e-4)
        size = np.outer(expected.bse, expected.bse)
        difference = (result.covariance[j] - expected.cov_params()) / size
        np.testing.assert_allclose(difference, 0, atol=1e-6)


def test_groups_may_have_any_labels_any_order_and_samples_that_do_not_count(float64, rng):
    X, y = recording()
    y[rng.uniform(size=T) < 0.2, 1] = np.nan
    weights = rng.integers(0, 3, size=T).astype(float)
    names = np.array([f"trial {k}" for k in TRIAL])
    names[weights == 0] = "none of these"
    model = fit(X, y, fit_kwargs={"sample_weight": weights})
    result = in_groups(model, X, y, names, sample_weight=weights)
    design, mean = np.column_stack([X, np.ones(T)]), model.predict(X)
    for j in range(N):
        rows = np.isfinite(y[:, j]) & (weights > 0)
        scores = ((y - mean)[:, j] * weights * design.T).T[rows]
        totals = pd.DataFrame(scores).groupby(TRIAL[rows]).sum().to_numpy()
        n, n_groups = np.sum(rows), len(totals)
        inverse = np.linalg.inv((design.T * weights * mean[:, j])[:, rows] @ design[rows])
        correction = n_groups / (n_groups - 1) * (n - 1) / (n - P - 1)
        expected = correction * inverse @ totals.T @ totals @ inverse
        size = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        np.testing.assert_allclose((result.covariance[j] - expected) / size, 0, atol=1e-6)
        assert result.dof[j] == n_groups - 1
    order = rng.permutation(T)
    mixed = in_groups(model, X[order], y[order], names[order], sample_weight=weights[order])
    np.testing.assert_allclose(mixed.covariance, result.covariance, rtol=1e-6)


def test_a_group_for_each_sample_is_the_sandwich_but_for_the_correction(float64):
    X, y = recording()
    model = fit(X, y)
    plain = infer(model, X, y, kind="sandwich").covariance
    result = in_groups(model, X, y, np.arange(T)).covariance
    np.testing.assert_allclose(result * (T - P - 1) / T, plain, rtol=1e-8)
    told = summary(model, X, y, kind="sandwich", groups=np.arange(T)).inference.covariance
    np.testing.assert_array_equal(told, result)


def test_intervals_cover_the_truth_where_trials_differ():
    rng = np.random.default_rng(9)
    n_trials, n_fits = 300, 1000
    trial = np.repeat(np.arange(n_trials), 4)
    X = np.repeat(rng.normal(size=(n_trials, 1)), 4, axis=0)
    liveliness = np.repeat(rng.gamma(2, 1 / 2, size=(n_trials, n_fits)), 4, axis=0)
    y = rng.poisson(liveliness * np.exp(0.3 * X + 0.5))
    model = PopulationGLM().fit(X, y)
    covered = {}
    for groups in (None, trial):
        lower, upper = in_groups(model, X, y, groups).interval()
        covered[groups is None] = np.mean((lower[:, 0] < 0.3) & (upper[:, 0] > 0.3))
    assert 0.93 < covered[False] < 0.97, covered
    assert covered[True] < 0.85, covered


# --- Classifiers.


def choices(n_classes, n_neurons=None, seed=3):
    """Make features, and which class each neuron chose."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(T, P))
    size = (n_neurons or 1, n_classes)
    eta = np.tensordot(X, rng.normal(0, 0.7, size=(P, *size)), 1) + rng.normal(0, 0.3, size=size)
    chosen = np.argmax(eta + rng.gumbel(size=eta.shape), axis=2)
    return X, chosen if n_neurons else chosen[:, 0]


def fit_classes(X, y, n_classes, penalty="UnRegularized", **kwargs):
    kind = ClassifierGLM if np.ndim(y) == 1 else ClassifierPopulationGLM
    return kind(n_classes, regularizer=penalty, solver_kwargs={"tol": 1e-13}, **kwargs).fit(X, y)


@pytest.mark.parametrize("kind", ["model", "sandwich", "groups"])
def test_errors_relative_to_a_class_are_those_of_a_multinomial_logit(kind, float64):
    X, y = choices(4, n_neurons=2)
    groups = TRIAL if kind == "groups" else None
    result = infer(
        fit_classes(X, y, 4), X, y, kind="model" if kind == "model" else "sandwich", groups=groups
    ).relative_to(0)
    kwargs = {
        "model": {},
        "sandwich": {"cov_type": "HC0"},
        "groups": {"cov_type": "cluster", "cov_kwds": {"groups": TRIAL}, "use_t": True},
    }[kind]
    for j in range(2):
        model = sm.MNLogit(y[:, j], np.column_stack([X, np.ones(T)]))
        expected = model.fit(method="newton", tol=1e-14, maxiter=100, disp=False, **kwargs)
        shape = (P + 1, 3)
        np.testing.assert_allclose(result.estimate[j].reshape(shape), expected.params, rtol=1e-6)
        error = result.standard_error[j].reshape(shape)
        np.testing.assert_allclose(error, expected.bse, rtol=1e-6)
        np.testing.assert_allclose(
            result.p_value[j].reshape(shape), expected.pvalues, rtol=1e-4, atol=1e-300
        )
    assert result.names[:3] == ("x0 (1)", "x0 (2)", "x0 (3)")
    coef, intercept = result.shaped(result.estimate)
    assert coef.shape == (P, 2, 3)
    assert intercept.shape == (2, 3)


def test_two_classes_are_a_logit(float64):
    X, y = choices(2)
    labels = np.array(["left", "right"])[y]
    result = infer(fit_classes(X, labels, 2), X, labels)
    expected = sm.Logit(y, np.column_stack([X, np.ones(T)])).fit(tol=1e-14, disp=False)
    difference = result.relative_to("left")
    np.testing.assert_allclose(difference.estimate[0], expected.params, rtol=1e-6)
    np.testing.assert_allclose(difference.standard_error[0], expected.bse, rtol=1e-6)
    # Relative to the mean of two classes everything is half as large.
    half = result.standard_error.reshape(P + 1, 2)
    np.testing.assert_allclose(half, np.tile(expected.bse[:, None] / 2, 2), rtol=1e-6)
    np.testing.assert_allclose(result.p_value[0, 1::2], expected.pvalues, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_errors_of_penalised_classes_are_those_of_the_curvature(masked, float64):
    X, y = choices(3)
    X -= X.mean(axis=0)
    mask = np.ones((P, 3))
    mask[1, 0] = 1 - masked
    model = fit_classes(
        X, y, 3, "Ridge", regularizer_strength=0.05, feature_mask=mask if masked else None
    )
    result = infer(model, X, y)

    def cost(theta):
        coef, intercept = theta[:-3].reshape(P, 3), theta[-3:]
        eta = X @ coef + intercept
        loss = np.log(np.exp(eta).sum(axis=1)) - eta[np.arange(T), y]
        return loss.sum() + T * 0.05 / 2 * np.sum(coef**2)

    at, step = result.estimate[0], 1e-4 * np.eye(3 * P + 3)
    hessian = np.array(
        [
            [
                cost(at + a + b) - cost(at + a - b) - cost(at - a + b) + cost(at - a - b)
                for a in step
            ]
            for b in step
        ]
    ) / (4 * 1e-8)
    # Features that all classes have are known up to what is common to all: it is set to zero.
    contrast = np.linalg.svd(np.ones((1, 3)))[2][1:].T
    free = [contrast] * (P + 1)
    if masked:
        free[1] = np.eye(3)[:, 1:]
    free = block_diag(*free)
    covariance = free @ np.linalg.inv(free.T @ hessian @ free) @ free.T
    np.testing.assert_allclose(result.covariance[0], covariance, rtol=1e-3, atol=1e-6)


def test_a_feature_of_a_classifier_is_tested_for_all_classes_at_once(float64):
    X, y = choices(3)
    tree = {"light": X[:, :2], "sound": X[:, 2:]}
    model = fit_classes(tree, y, 3)
    result = infer(model, tree, y)
    logit = sm.MNLogit(y, np.column_stack([X, np.ones(T)]))
    expected = logit.fit(method="newton", tol=1e-14, disp=False)
    restriction = np.zeros((4, 2 * (P + 1)))
    restriction[[0, 1, 2, 3], [0, 1, P + 1, P + 2]] = 1  # statsmodels' classes follow one another
    theirs = expected.wald_test(restriction, scalar=True)
    test = wald_test(result, "light")
    assert test.df.tolist() == [4]
    assert test.statistic[0] == pytest.approx(float(theirs.statistic), rel=1e-5)
    same = wald_test(result.relative_to(1), "light")
    np.testing.assert_allclose(same.statistic, test.statistic, rtol=1e-6)
    one = wald_test(result, ["light[0]", "light[1]"])
    np.testing.assert_allclose(one.statistic, test.statistic, rtol=1e-6)
    np.testing.assert_allclose(wald_test(result, [0, 1]).statistic, test.statistic, rtol=1e-6)

    smaller = without(model, tree, y, "light")
    assert np.all(smaller.coef_["light"] == 0)
    ratio = likelihood_ratio_test(model, smaller, tree, y)
    small = sm.MNLogit(y, np.column_stack([X[:, 2:], np.ones(T)]))
    small = small.fit(method="newton", tol=1e-14, disp=False)
    assert ratio.df.tolist() == [4]
    assert ratio.statistic[0] == pytest.approx(2 * (expected.llf - small.llf), rel=1e-5)


def test_the_summary_of_a_classifier_tells_what_statsmodels_tells(float64):
    X, y = choices(3)
    told = summary(fit_classes(X, y, 3), X, y)
    expected = sm.MNLogit(y, np.column_stack([X, np.ones(T)])).fit(tol=1e-14, disp=False)
    row = told.neurons.loc[0]
    assert row.log_likelihood == pytest.approx(expected.llf, rel=1e-8)
    assert row.deviance_explained == pytest.approx(expected.prsquared, rel=1e-8)
    assert row.dof_resid == expected.df_resid
    assert "x2 (1)" in str(told)


def test_a_class_that_a_feature_separates_is_told():
    X, y = choices(3)
    X[:, 1] = (y == 2) & (np.arange(T) < 50)
    with pytest.warns(RuntimeWarning, match="optimum at infinity"):
        model = ClassifierGLM(3, regularizer="UnRegularized").fit(X, y)
    with pytest.warns(RuntimeWarning, match=r"neuron 0: all of x1"):
        result = infer(model, X, y)
    assert np.isinf(result.standard_error[0, 3:6]).all()
    assert np.isfinite(result.standard_error[0, [0, 1, 2, 6, 7, 8]]).all()


# --- What the data do not identify.


def test_only_parameters_in_an_unidentified_direction_are_infinitely_uncertain(float64):
    X, y = recording()
    design = np.column_stack([X, X[:, 0] - 2 * X[:, 1]])
    model = fit(design, y)
    with pytest.warns(RuntimeWarning, match=r"neurons 0, 1, 2: x0, x1, x3\. Drop") as caught:
        result = infer(model, design, y)
    assert len(caught) == 1
    assert np.isinf(result.standard_error[:, [0, 1, 3]]).all()
    expected = infer(fit(X, y), X, y)
    np.testing.assert_allclose(
        result.standard_error[:, [2, 4]], expected.standard_error[:, [2, 3]], rtol=1e-6
    )
    assert result.n_identified.tolist() == [P + 1] * N
    assert np.all(result.p_value[:, [0, 1, 3]] == 1)


def test_a_constant_feature_cannot_be_told_from_the_intercept(float64):
    X, y = recording()
    X[:, 1] = 3.0
    with pytest.warns(RuntimeWarning, match="x1, intercept"):
        result = infer(fit(X, y), X, y)
    assert np.isinf(result.standard_error).tolist() == [[False, True, False, True]] * N


def test_combinations_that_are_identified_are_certain_although_their_parts_are_not(float64):
    X, y = recording()
    design = np.column_stack([X, 1 - X[:, 0]])
    with pytest.warns(RuntimeWarning, match="x0, x3, intercept"):
        result = infer(fit(design, y), design, y)
    expected = infer(fit(X, y), X, y)
    estimate, error = result.combine([[1.0, 0, 0, -1, 0], [1.0, 0, 0, 0, 0]])
    np.testing.assert_allclose(estimate[0], expected.estimate[:, 0], atol=1e-6)
    np.testing.assert_allclose(error[0], expected.standard_error[:, 0], rtol=1e-6)
    assert np.isinf(error[1]).all()


def test_an_optimum_at_infinity_is_infinitely_uncertain_in_its_coefficients_only():
    X, y = recording("Bernoulli", "logistic")
    X[:, 0] = np.where(y[:, 0] > 0, 1.0, -1.0) * (np.arange(T) < 50)
    y[:, 1] = 0
    with pytest.warns(RuntimeWarning, match="optimum at infinity"):
        model = PopulationGLM("Bernoulli").fit(X, y)
    with pytest.warns(
        RuntimeWarning, match="neuron 0: x0; neuron 1: x|neuron 1: x.*; neuron 0: x0"
    ):
        result = infer(model, X, y)
    assert np.isinf(result.standard_error[0]).tolist() == [True, False, False, False]
    assert np.isinf(result.standard_error[1]).all()
    assert np.isfinite(result.standard_error[2]).all()


def test_fewer_samples_than_features(float64, rng):
    X = rng.normal(size=(4, 6))
    with pytest.warns(RuntimeWarning):
        result = infer(GLM("Gaussian").fit(X, X[:, 0]), X, X[:, 0])
    assert np.isinf(result.standard_error).all()
    assert np.isinf(result.interval()).all()
    assert np.all(result.p_value == 1)


# --- Coverage and levels, on simulated truth.


@pytest.mark.parametrize("kind", ["model", "sandwich"])
def test_intervals_cover_the_truth_as_often_as_they_say(kind):
    rng = np.random.default_rng(4)
    n_fits, truth = 2000, np.array([0.4, -0.3, 0.2])
    X = rng.normal(size=(500, 2))
    mean = np.exp(X @ truth[:2] + truth[2])[:, None]
    y = rng.poisson(mean, size=(500, n_fits))
    lower, upper = infer(PopulationGLM().fit(X, y), X, y, kind=kind).interval()
    covered = np.mean((lower < truth) & (truth < upper), axis=0)
    assert np.all((covered > 0.93) & (covered < 0.97)), covered


def test_the_sandwich_covers_where_the_variance_is_not_the_familys():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(600, 2))
    truth = np.array([0.3, -0.2, 1.0])
    mean = np.exp(X @ truth[:2] + truth[2])[:, None]
    y = rng.negative_binomial(1.5, 1.5 / (1.5 + mean), size=(600, 2000))
    model = PopulationGLM().fit(X, y)
    covered = {}
    for kind in ("model", "sandwich"):
        lower, upper = infer(model, X, y, kind=kind).interval()
        covered[kind] = np.mean((lower < truth) & (truth < upper), axis=0)
    assert np.all((covered["sandwich"] > 0.93) & (covered["sandwich"] < 0.97)), covered
    assert np.all(covered["model"] < 0.85), covered


def test_intervals_of_a_small_gaussian_sample_are_exact():
    rng = np.random.default_rng(6)
    X = rng.normal(size=(8, 2))
    y = rng.normal(size=(8, 4000))
    lower, upper = infer(PopulationGLM("Gaussian").fit(X, y), X, y).interval()
    covered = np.mean((lower < 0) & (upper > 0), axis=0)
    assert np.all(np.abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 4000)), covered


@pytest.mark.parametrize("family", ["Poisson", "Gaussian"])
def test_p_values_of_true_hypotheses_are_uniform(family):
    rng = np.random.default_rng(7)
    X = rng.normal(size=(800, 3))
    drawn = rng.poisson if family == "Poisson" else rng.normal
    y = drawn(np.exp(0.4 * X[:, :1] + 1.0), size=(800, 1000)).astype(float)
    model = PopulationGLM(family, inverse_link_function="exp").fit(X, y)
    wald = wald_test(infer(model, X, y), [1, 2])
    ratio = likelihood_ratio_test(model, without(model, X, y, [1, 2]), X, y)
    for test in (wald, ratio):
        assert np.all(test.df == 2)
        assert stats.kstest(test.p_value, "uniform").pvalue > 0.01


# --- Tests of hypotheses.


@pytest.mark.parametrize("family", ["Poisson", "Gaussian"])
def test_wald_tests_are_those_of_statsmodels(family, float64):
    X, y = recording(family, "exp")
    theirs = {
        "Poisson": sm.families.Poisson(),
        "Gaussian": sm.families.Gaussian(sm.families.links.Log()),
    }
    result = infer(fit(X, y, family, inverse_link_function="exp"), X, y)
    hypothesis = np.array([[1.0, -1.0, 0, 0], [0, 0, 2.0, 1.0]])
    test = wald_test(result, hypothesis=hypothesis, value=[0.1, 1.0])
    for j in range(N):
        expected = reference(X, y[:, j], theirs[family], use_t=family == "Gaussian").wald_test(
            (hypothesis, [0.1, 1.0]), scalar=True
        )
        assert test.p_value[j] == pytest.approx(float(expected.pvalue), rel=1e-4)
        assert test.df[j] == 2


@pytest.mark.parametrize("family", ["Poisson", "Bernoulli", "Gaussian"])
def test_likelihood_ratios_are_those_of_statsmodels(family, float64):
    link = {"Poisson": "exp", "Bernoulli": "logistic", "Gaussian": "identity"}[family]
    X, y = recording(family, link)
    model = fit(X, y, family)
    smaller = without(model, X, y, [0, 2])
    test = likelihood_ratio_test(model, smaller, X, y)
    other = fit(X[:, [1]], y, family)
    same = likelihood_ratio_test(model, other, X, y, X_restricted=X[:, [1]])
    np.testing.assert_allclose(same.statistic, test.statistic, rtol=1e-6)
    theirs = {
        "Poisson": sm.families.Poisson,
        "Bernoulli": sm.families.Binomial,
        "Gaussian": sm.families.Gaussian,
    }[family]()
    for j in range(N):
        full = reference(X, y[:, j], theirs)
        small = reference(X[:, [1]], y[:, j], theirs)
        statistic = (small.deviance - full.deviance) / full.scale
        if family == "Gaussian":
            expected = stats.f.sf(statistic / 2, 2, full.df_resid)
        else:
            expected = stats.chi2.sf(statistic, 2)
        assert test.p_value[j] == pytest.approx(expected, rel=1e-5)


def test_splines_that_sum_to_one_are_tested_for_what_they_say(float64, rng):
    basis = BSplineEval(5, bounds=(0, 1), label="place")
    x = rng.uniform(size=T)
    X = {"place": np.asarray(basis.compute_features(x)), "speed": rng.normal(size=(T, 1))}
    y = rng.poisson(np.exp(np.sin(6 * x)))[:, None].astype(float)
    with pytest.warns(RuntimeWarning, match="place"):
        result = infer(fit(X, y), X, y)
    test = wald_test(result, "place")
    reduced = np.column_stack([X["place"][:, 1:], X["speed"]])
    expected = wald_test(infer(fit(reduced, y), reduced, y), range(4))
    assert test.df.tolist() == [4]
    assert test.statistic == pytest.approx(expected.statistic, rel=1e-5)
    ratio = likelihood_ratio_test(fit(X, y), without(fit(X, y), X, y, "place"), X, y)
    assert ratio.df.tolist() == [4]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjusted_p_values_are_those_of_statsmodels(p_values):
    for method in ("holm", "fdr_bh", "fdr_by", "bonferroni"):
        expected = multipletests(p_values, method=method)[1]
        np.testing.assert_allclose(adjust_p_values(p_values, method), expected, atol=1e-12)
        with_missing = adjust_p_values([np.nan, *p_values], method)
        np.testing.assert_allclose(with_missing, [np.nan, *expected], atol=1e-12)


def test_no_p_values_are_none():
    assert adjust_p_values([]).size == 0


def test_a_table_of_tests_names_the_neurons(float64):
    X, y = recording()
    frame = wald_test(infer(fit(X, y), X, y), "x0").frame("fdr_bh")
    assert list(frame.columns) == ["statistic", "df", "p_value", "p_adjusted"]
    assert frame.index.name == "neuron"


# --- Bands.


def test_bands_are_those_of_statsmodels(float64, rng):
    X, y = recording()
    band = mean_band(infer(fit(X, y), X, y), X[:20], level=0.9)
    for j in range(N):
        expected = reference(X, y[:, j], sm.families.Poisson()).get_prediction(
            np.column_stack([X[:20], np.ones(20)])
        )
        np.testing.assert_allclose(band.mean[:, j], expected.predicted, rtol=1e-5)
        np.testing.assert_allclose(band.standard_error[:, j], expected.se, rtol=1e-5)
        ends = np.column_stack([band.lower[:, j], band.upper[:, j]])
        np.testing.assert_allclose(ends, expected.conf_int(alpha=0.1), rtol=1e-5)


def test_a_tuning_curve_is_the_prediction_with_other_features_at_their_mean(float64, rng):
    basis = BSplineEval(6, bounds=(0, 2), label="place")
    place, speed = rng.uniform(0, 2, size=T), rng.normal(1, 1, size=(T, 2))
    X = {"speed": speed, "place": np.asarray(basis.compute_features(place))}
    y = rng.poisson(np.exp(np.sin(3 * place)[:, None] * [1, 0.5]))
    model = fit(X, y)
    with pytest.warns(RuntimeWarning, match="place"):
        result = infer(model, X, y)
    curve = tuning_curve(result, basis, n_points=7)
    at = np.linspace(0, 2, 7)
    held = {
        "speed": np.tile(speed.mean(axis=0), (7, 1)),
        "place": np.asarray(basis.compute_features(at)),
    }
    np.testing.assert_allclose(curve.grid, at)
    np.testing.assert_allclose(curve.mean, model.predict(held), rtol=1e-8)
    assert np.isfinite(curve.upper).all()
    band = mean_band(result, held)
    np.testing.assert_allclose(curve.lower, band.lower, rtol=1e-8)
    link = tuning_curve(result, basis, "place", n_points=7, scale="link")
    np.testing.assert_allclose(np.exp(link.upper), curve.upper, rtol=1e-8)


@pytest.mark.parametrize(
    ("kwargs", "lags"),
    [
        ({}, range(1, 7)),
        ({"shift": False}, range(6)),
        ({"predictor_causality": "acausal"}, range(-3, 3)),
        ({"predictor_causality": "anti-causal"}, range(-6, 0)),
    ],
)
def test_filters_are_what_one_event_adds_to_the_linear_predictor(float64, rng, kwargs, lags):
    basis = RaisedCosineLogConv(3, window_size=6, label="coupling", conv_kwargs=kwargs)
    spikes = rng.poisson(0.3, size=(T, 2)).astype(float)
    X = {"speed": rng.normal(size=(T, 1)), "coupling": np.asarray(basis.compute_features(spikes))}
    model = fit(X, spikes)
    found = coupling_filters(infer(model, X, spikes), basis)
    np.testing.assert_array_equal(found.lags, lags)
    for source in range(2):
        event = np.zeros((41, 2))
        event[20, source] = 1
        features = np.asarray(basis.compute_features(event))[20 + found.lags]
        band = mean_band(
            infer(model, X, spikes),
            {"speed": np.zeros((6, 1)), "coupling": features},
            scale="link",
        )
        expected = band.mean - model.intercept_
        np.testing.assert_allclose(found.mean[source], expected.T, atol=1e-8)
    # The error of a filter is that of the differences between samples with and without events.
    alone = np.zeros((6, 7 + 1))
    alone[:, :3] = basis.kernel_  # entries of a dict are sorted
    _, error = infer(model, X, spikes).combine(alone)
    np.testing.assert_allclose(found.standard_error[0], error.T, rtol=1e-10)
    np.testing.assert_allclose(found.upper - found.mean, 1.96 * found.standard_error, rtol=1e-4)
    again = coupling_filters(infer(model, X, spikes), basis, features=0)
    np.testing.assert_allclose(again.lower, found.lower, rtol=1e-10)


def test_bands_of_tuning_curves_cover_them():
    rng = np.random.default_rng(8)
    basis = BSplineEval(5, bounds=(0, 1))
    x = rng.uniform(size=600)
    _, functions = basis.evaluate_on_grid(9)
    truth = np.exp(np.asarray(functions) @ [0.0, 1.0, 2.0, 1.0, 0.5])[:, None]
    X = np.asarray(basis.compute_features(x))
    y = rng.poisson(np.exp(X @ [0.0, 1.0, 2.0, 1.0, 0.5])[:, None], size=(600, 1000))
    result = infer(PopulationGLM(fit_intercept=False).fit(X, y), X, y)
    rows = np.column_stack([functions, np.zeros(9)])
    assert np.isfinite(result.combine(rows)[1]).all()
    curve = tuning_curve(result, basis, n_points=9)
    covered = np.mean((curve.lower < truth) & (truth < curve.upper), axis=1)
    assert np.all((covered > 0.925) & (covered < 0.975)), covered


# --- The summary.


def test_the_summary_tells_what_statsmodels_tells(float64):
    for family, link, theirs in CASES.values():
        X, y = recording(family, link)
        told = summary(fit(X, y, family, inverse_link_function=link), X, y)
        expected = reference(X, y[:, 1], theirs)
        row = told.neurons.loc[1]
        assert row.deviance == pytest.approx(expected.deviance, rel=1e-6)
        assert row.null_deviance == pytest.approx(expected.null_deviance, rel=1e-6)
        assert row.dof_resid == expected.df_resid
        if isinstance(family, str):
            assert row.scale == pytest.approx(expected.scale, rel=1e-6)
        # Of a Gaussian with another link statsmodels does not take the likeliest scale.
        likeliest = expected.deviance / T if family == "Gaussian" else None
        log_likelihood = expected.llf_scaled(likeliest)
        assert row.log_likelihood == pytest.approx(log_likelihood, rel=1e-6)
        if link == "identity":
            assert row.log_likelihood == pytest.approx(expected.llf, rel=1e-6)
        assert f"{expected.bse[0]:.3f}" in str(told)
        assert told.parameters.loc[(1, "x0"), "standard_error"] == pytest.approx(expected.bse[0])


def test_a_long_summary_is_shortened_and_the_penalty_explained(rng):
    X, y = rng.normal(size=(100, 3)), rng.poisson(1.0, size=(100, 70))
    text = str(summary(PopulationGLM(regularizer="Ridge").fit(X, y), X, y))
    assert "shortened" in text
    assert "posterior" in text


# --- Bad input.


def test_before_the_fit_there_is_nothing_to_infer():
    X, y = recording()
    for function in (infer, summary):
        with pytest.raises(NotFittedError):
            function(PopulationGLM(), X, y)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bad_input_is_refused_with_a_remedy():
    X, y = recording()
    model = PopulationGLM().fit(X, y)
    result = infer(model, X, y)
    lasso = PopulationGLM(regularizer="Lasso", regularizer_strength=0.01).fit(X, y)
    ridge = PopulationGLM(regularizer="Ridge", regularizer_strength=0.01).fit(X, y)
    classes = ClassifierPopulationGLM(2).fit(X, y > 1)
    bernoulli = PopulationGLM("Bernoulli").fit(X, np.minimum(y, 1))
    basis = BSplineEval(5, bounds=(0, 1), label="place")
    conv = RaisedCosineLogConv(5, window_size=8)
    wrong = [
        (lambda: infer(lasso, X, y), "not defined after Lasso.*Refit"),
        (lambda: mean_band(infer(classes, X, y > 1), X), "one mean for a neuron"),
        (lambda: tuning_curve(infer(classes, X, y > 1), basis), "one mean for a neuron"),
        (
            lambda: infer(classes, X, y > 1).relative_to("left"),
            r"classes, \[False, True\], got 'left'",
        ),
        (lambda: result.relative_to(0), r"classes, \[\], got 0"),
        (lambda: infer(model, X, y, groups=TRIAL), "kind is 'model': pass kind='sandwich'"),
        (lambda: in_groups(model, X, y, TRIAL[1:]), r"groups must have shape \(400,\).*\(399,\)"),
        (lambda: in_groups(model, X, y, TRIAL[:, None]), r"groups must have shape \(400,\)"),
        (lambda: in_groups(model, X, y, np.zeros(T)), "at least two groups.*neuron 0 are of 1"),
        (lambda: in_groups(model, X, y, np.where(TRIAL == 2, np.nan, TRIAL)), "NaN in row 20"),
        (lambda: infer(model, X, y, kind="robust"), "Unknown kind: 'robust'"),
        (lambda: infer(model, X[:, :2], y), "X has 2 features.*expecting 3"),
        (lambda: infer(model, X, y[:, :2]), "y has 2 neurons, the model was fitted to 3"),
        (lambda: infer(model, X[:10], y), "inconsistent numbers of samples"),
        (lambda: result.interval(95), "level must lie between 0 and 1"),
        (lambda: result.combine(np.ones((1, 3))), r"shape \(n_combinations, 4\)"),
        (lambda: wald_test(result, "x7"), "Unknown features: 'x7'"),
        (lambda: wald_test(result, 3), "column 3 of 3"),
        (lambda: wald_test(result, "x0", hypothesis=np.eye(4)), "not both"),
        (lambda: wald_test(result, "x0", value=[1, 2]), r"have shape \(1,\)"),
        (lambda: adjust_p_values([0.1, 1.2]), "between 0 and 1, got 1.2"),
        (lambda: adjust_p_values([0.1], "bh"), "Unknown method: 'bh'"),
        (lambda: likelihood_ratio_test(ridge, ridge, X, y), "with a penalty"),
        (lambda: likelihood_ratio_test(without(model, X, y, 0), model, X, y), "not nested"),
        (lambda: likelihood_ratio_test(model, bernoulli, X, np.minimum(y, 1)), "family"),
        (lambda: tuning_curve(result, basis), "basis has 5 functions"),
        (lambda: tuning_curve(result, basis, "place"), "Unknown features: 'place'"),
        (lambda: coupling_filters(result, conv), "basis has 5 functions.*no multiple"),
        (lambda: mean_band(result, X, scale="log"), "Unknown scale"),
        (lambda: mean_band(result, X[:, :2]), "has 2 features"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="features must be a label"):
        wald_test(result, {"x0": 1})


def test_other_data_than_those_of_the_fit_are_noticed(rng):
    X, y = recording()
    model = PopulationGLM().fit(X, y)
    other = rng.permutation(y[:, 0])
    with pytest.warns(RuntimeWarning, match="more than a standard error away.*neurons 0"):
        infer(model, X, np.column_stack([other, y[:, 1:]]))


# --- What it costs.


def test_another_inference_of_the_same_shape_compiles_nothing():
    X, y = recording()
    models = [PopulationGLM().fit(X, y + k) for k in range(2)]
    for kind in ("model", "sandwich"):
        infer(models[0], X, y, kind=kind)
        with counted() as compilations:
            infer(models[1], X, y + 1, kind=kind)
        assert not compilations


def test_what_was_passed_stays_as_it_was():
    X, y = recording()
    before = X.copy(), y.copy()
    model = PopulationGLM(regularizer="Ridge", regularizer_strength=0.1).fit(X, y)
    state = {k: np.copy(v) for k, v in vars(model).items() if isinstance(v, np.ndarray)}
    summary(model, X, y, kind="sandwich")
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])
    for name, value in state.items():
        np.testing.assert_array_equal(getattr(model, name), value)
    assert jnp.result_type(float) == jnp.float32
