"""Regularizers: what a penalty costs, where its optimum lies, and how strengths may be given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import ElasticNet as SklearnElasticNet
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from spikax import datasets
from spikax.basis import CyclicBSplineEval, RaisedCosineLogConv
from spikax.glm import GLM, PopulationGLM
from spikax.regularizer import (
    NO_PENALTY,
    CustomRegularizer,
    Elementwise,
    FromFunctions,
    Grouped,
    GroupLasso,
)
from spikax.solvers import list_available_solvers

T, P, N = 150, 6, 3
GROUPS = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0]])  # the last feature is in none
PROXIMAL = [spec.full_name for spec in list_available_solvers() if not spec.needs_smooth]


def lasso_of_a_neuron(coef, strength):
    return jnp.sum(strength * jnp.abs(coef))


def soft_threshold(coef, strength, step):
    return jnp.sign(coef) * jnp.maximum(jnp.abs(coef) - step * strength, 0)


def roughness_of_a_neuron(coef, strength):
    return jnp.sum(strength * (jnp.roll(coef, 1) - 2 * coef + jnp.roll(coef, -1)) ** 2) / 2


def ridge_of_a_neuron(coef, strength):
    return jnp.sum(strength * coef**2) / 2


# Regularizer, strength, and the cost of one neuron's coefficients in NumPy.
KINKED = {
    "Lasso": ("Lasso", 0.1, lambda w: 0.1 * np.abs(w).sum()),
    "ElasticNet": (
        "ElasticNet",
        (0.1, 0.7),
        lambda w: 0.1 * (0.7 * np.abs(w).sum() + 0.15 * np.sum(w**2)),
    ),
    "GroupLasso of all": ("GroupLasso", 0.05, lambda w: 0.05 * np.sqrt(P) * np.linalg.norm(w)),
    "GroupLasso": (
        GroupLasso(GROUPS),
        [0.1, 0.2],
        lambda w: (
            0.1 * np.sqrt(2) * np.linalg.norm(w[:2]) + 0.2 * np.sqrt(3) * np.linalg.norm(w[2:5])
        ),
    ),
    "functions": (
        CustomRegularizer(lasso_of_a_neuron, soft_threshold),
        0.1,
        lambda w: 0.1 * np.abs(w).sum(),
    ),
}
FAMILIES = {
    "Poisson": (np.exp, lambda eta, y: np.exp(eta) - y * eta, lambda eta, y: np.exp(eta) - y),
    "Bernoulli": (
        expit,
        lambda eta, y: np.logaddexp(0, eta) - y * eta,
        lambda eta, y: expit(eta) - y,
    ),
    "Gaussian": (
        lambda eta: eta,
        lambda eta, y: (y - eta) ** 2,
        lambda eta, y: 2 * (eta - y),
    ),
}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def recording(family="Poisson"):
    """Make features, some of them useless, and what three neurons do."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(T, P)) * [1, 2, 0.5, 1, 1, 3] + [0, 1, 0, -2, 0, 0]
    truth = rng.normal(0, 0.5, size=(P, N)) * [[1], [0.3], [0], [0], [0], [0.1]]
    eta = X @ truth - 0.3
    y = {
        "Poisson": lambda: rng.poisson(np.exp(eta)),
        "Bernoulli": lambda: rng.binomial(1, expit(eta)),
        "Gaussian": lambda: rng.normal(eta),
    }[family]()
    return X, y.astype(float)


def fit(X, y, regularizer, strength, family="Poisson", solver=None, **kwargs):
    kind = GLM if np.ndim(y) == 1 else PopulationGLM
    # The norm of a proximal step for jaxopt's, nats for ours.
    tol = 1e-8 if solver and "[jaxopt]" in solver else 1e-11
    model = kind(
        family,
        regularizer=regularizer,
        regularizer_strength=strength,
        solver_name=solver,
        solver_kwargs={"tol": tol},
        **kwargs,
    )
    return model.fit(X, y)


# --- Penalties.

PENALTIES = {
    "none": NO_PENALTY,
    "ridge": Elementwise(squared=np.array([[0.3], [0.0], [2.0], [1.0]])),
    "lasso": Elementwise(absolute=np.array([[0.3, 0.7]])),
    "elastic net": Elementwise(absolute=np.array([[0.4]]), squared=np.array([[0.6]])),
    "groups": Grouped(np.array([[0], [1], [0], [2]]), np.array([[0.3], [0.8], [0.0]])),
    "groups of each neuron": Grouped(
        np.array([[0, 1], [0, 1], [1, 0], [1, 1]]), np.array([[0.3, 0.2], [0.8, 0.9]])
    ),
    "functions": FromFunctions(np.array([[0.3]]), lasso_of_a_neuron, soft_threshold),
}


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES.keys())
@given(seed=st.integers(0, 2**32 - 1), step=st.floats(0.01, 5.0))
@settings(max_examples=10, deadline=None)
def test_a_proximal_step_is_the_minimum_it_should_be(penalty, seed, step):
    rng = np.random.default_rng(seed)
    point = rng.normal(size=(4, 2))
    steps = np.full((4, 2), step)

    def cost(w):
        near = np.sum((w - point) ** 2 / steps, axis=0) / 2
        return near + np.asarray(penalty.value(jnp.asarray(w)))

    best = np.asarray(penalty.prox(jnp.asarray(point), jnp.asarray(steps)))
    for size in (1e-3, 1e-1, 1.0):
        for _ in range(10):
            assert np.all(cost(best) <= cost(best + size * rng.normal(size=best.shape)) + 1e-12)
    assert np.all(cost(best) <= cost(np.zeros_like(best)) + 1e-12)


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES.keys())
def test_what_is_said_of_a_penalty_is_so(penalty):
    point = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)))

    def of_first(w):
        return penalty.value(jnp.stack([w, point[:, 1]], axis=1))[0]

    assert np.isfinite(jax.grad(of_first)(jnp.zeros(4))).all()
    at_zero, away = jax.hessian(of_first)(jnp.zeros(4)), jax.hessian(of_first)(point[:, 0])
    if penalty.curvature is None:
        assert penalty is NO_PENALTY or not penalty.smooth
    else:
        diagonal = np.broadcast_to(penalty.curvature, point.shape)[:, 0]
        np.testing.assert_allclose(at_zero, np.diag(diagonal))
        np.testing.assert_allclose(away, np.diag(diagonal), atol=1e-12)


# --- Optima.


@pytest.mark.parametrize(
    ("name", "solver", "family"),
    [
        (name, solver, family)
        for name in KINKED
        for solver in PROXIMAL
        for family in FAMILIES
        # The adapters of others meet each penalty with one family.
        if "[spikax]" in solver or family == "Poisson"
    ],
)
def test_no_step_away_from_the_fit_is_better(name, solver, family):
    regularizer, strength, cost = KINKED[name]
    X, y = recording(family)
    _, loss, _ = FAMILIES[family]
    model = fit(X, y, regularizer, strength, family, solver)
    assert model.solver_state_.stats.converged.all()
    rng = np.random.default_rng(0)
    for j in range(N):

        def objective(w, b, j=j):
            return np.mean(loss(X @ w + b, y[:, j])) + cost(w)

        best = objective(model.coef_[:, j], model.intercept_[j])
        assert model.solver_state_.stats.function_val[j] == pytest.approx(best, rel=1e-12)
        nudges = [*np.eye(P + 1), *rng.normal(size=(40, P + 1))]
        for nudge in (
            size * sign * n for size in (1e-4, 1e-2) for sign in (-1, 1) for n in nudges
        ):
            away = objective(model.coef_[:, j] + nudge[:-1], model.intercept_[j] + nudge[-1])
            assert best <= away + 1e-9


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["Lasso", "GroupLasso", "GroupLasso of all"])
def test_the_slopes_at_the_fit_are_those_of_an_optimum(name, family):
    # Karush, Kuhn & Tucker: a group's slope is its cost along its direction, or less if it is out.
    regularizer, strength, _ = KINKED[name]
    X, y = recording(family)
    groups = {
        "Lasso": [(0.1, [i]) for i in range(P)],
        "GroupLasso": [(0.1 * np.sqrt(2), [0, 1]), (0.2 * np.sqrt(3), [2, 3, 4]), (0, [5])],
        "GroupLasso of all": [(0.05 * np.sqrt(P), list(range(P)))],
    }[name]
    model = fit(X, y, regularizer, strength, family)
    residual = FAMILIES[family][2](X @ model.coef_ + model.intercept_, y)
    np.testing.assert_allclose(residual.mean(axis=0), 0, atol=1e-6)
    slope = X.T @ residual / T
    n_out = 0
    for j in range(N):
        for cost, rows in groups:
            w, g = model.coef_[rows, j], slope[rows, j]
            if np.all(w == 0):
                n_out += 1
                assert np.linalg.norm(g) <= cost + 1e-7
            else:
                np.testing.assert_allclose(g, -cost * w / np.linalg.norm(w), atol=2e-6)
    assert n_out > 0 or name == "GroupLasso of all"


@pytest.mark.parametrize("ratio", [0.3, 1.0])
def test_a_gaussian_elastic_net_is_that_of_scikit_learn(ratio):
    X, y = recording("Gaussian")
    model = fit(X, y, "ElasticNet", (0.2, ratio), "Gaussian")
    # Its loss is half of ours.
    peer = SklearnElasticNet(alpha=0.1, l1_ratio=ratio, tol=1e-12, max_iter=10**5).fit(X, y)
    np.testing.assert_allclose(model.coef_, peer.coef_.T, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, peer.intercept_, atol=1e-6)


@pytest.mark.parametrize("ratio", [0.5, 1.0])
def test_a_logistic_elastic_net_is_that_of_scikit_learn(ratio):
    X, y = recording("Bernoulli")
    model = fit(X, y[:, 0], "ElasticNet", (0.05, ratio), "Bernoulli")
    kwargs = {"C": 1 / (0.05 * T), "solver": "saga", "tol": 1e-9, "max_iter": 10**5}
    if LogisticRegression().penalty == "l2":  # scikit-learn before 1.8 wants to be told
        kwargs["penalty"] = "elasticnet"
    peer = LogisticRegression(l1_ratio=ratio, random_state=0, **kwargs).fit(X, y[:, 0])
    np.testing.assert_allclose(model.coef_, peer.coef_[0], atol=1e-5)
    np.testing.assert_allclose(model.intercept_, peer.intercept_, atol=1e-5)


def real_features():
    """Bin ten minutes of the recording at 50 ms: direction and history of seven units."""
    data = datasets.load_head_direction()
    units = data.spikes[data.spikes.location == "adn"]
    counts = units.count(0.05, data.head_direction.time_support)
    direction = counts.value_from(data.head_direction)
    tuning = CyclicBSplineEval(8, bounds=(0, 2 * np.pi)).compute_features(direction)
    history = RaisedCosineLogConv(3, window_size=10).compute_features(counts)
    X = np.hstack([np.asarray(tuning), np.asarray(history)])[10:]
    return X, np.asarray(counts)[10:]


@pytest.mark.parametrize("regularizer", ["Lasso", "ElasticNet", "GroupLasso"])
def test_fits_of_the_recording_are_optimal_in_single_precision_too(regularizer):
    X, y = real_features()
    groups = np.repeat(np.eye(8), [8, *7 * [3]], axis=1)  # direction, and each unit's history
    penalty = GroupLasso(groups) if regularizer == "GroupLasso" else regularizer
    reference = fit(X, y, penalty, 1e-3)
    with jax.enable_x64(False):
        model = PopulationGLM(regularizer=penalty, regularizer_strength=1e-3).fit(X, y)
    assert (reference.coef_ == 0).any()

    def objective(model):
        coef = np.asarray(model.coef_, float)
        eta = X @ coef + np.asarray(model.intercept_, float)
        cost = {
            "Lasso": lambda: np.abs(coef).sum(axis=0),
            "ElasticNet": lambda: (np.abs(coef) / 2 + coef**2 / 4).sum(axis=0),
            "GroupLasso": lambda: sum(
                np.sqrt(g.sum()) * np.linalg.norm(coef[g == 1], axis=0) for g in groups
            ),
        }[regularizer]()
        return np.mean(np.exp(eta) - y * eta, axis=0) + 1e-3 * cost

    best, found = objective(reference), objective(model)
    assert np.all(len(X) * np.abs(found - best) < 0.01)  # nats


# --- Laws.


@pytest.mark.parametrize("name", KINKED)
def test_a_population_equals_its_neurons_fitted_alone(name):
    regularizer, strength, _ = KINKED[name]
    X, y = recording()
    population = fit(X, y, regularizer, strength)
    for j in range(N):
        alone = fit(X, y[:, j], regularizer, strength)
        np.testing.assert_allclose(alone.coef_, population.coef_[:, j], atol=1e-5)
        np.testing.assert_array_equal(alone.coef_ == 0, population.coef_[:, j] == 0)


@pytest.mark.parametrize("name", ["Lasso", "ElasticNet", "GroupLasso", "GroupLasso of all"])
def test_a_mask_equals_a_subset_of_the_features(name):
    regularizer, strength, _ = KINKED[name]
    X, y = recording()
    mask = np.ones((P, N))
    mask[[0, 3, 5], [0, 1, 2]] = 0
    masked = fit(X, y, regularizer, strength, feature_mask=mask)
    assert np.all(masked.coef_[mask == 0] == 0)
    for j in range(N):
        kept = mask[:, j] == 1
        part = GroupLasso(GROUPS[:, kept]) if name == "GroupLasso" else regularizer
        alone = fit(X[:, kept], y[:, j], part, strength)
        np.testing.assert_allclose(masked.coef_[kept, j], alone.coef_, atol=1e-5)


def test_groups_of_each_neuron_equal_fits_with_each():
    X, y = recording()
    mask = np.zeros((5, P, N))
    mask[0, :3, 0] = mask[1, 3:, 0] = mask[2, ::2, 1] = mask[3, 1::2, 1] = mask[4, :, 2] = 1
    strength = np.array([0.05, 0.1, 0.02, 0.2, 0.05])
    population = fit(X, y, GroupLasso(mask), strength)
    for j, own in enumerate(([0, 1], [2, 3], [4])):
        alone = fit(X, y[:, j], GroupLasso(mask[own, :, j]), strength[own])
        np.testing.assert_allclose(alone.coef_, population.coef_[:, j], atol=1e-5)


def test_containers_of_features_are_groups():
    X, y = recording()
    tree = {"a": X[:, :2], "b": X[:, 2:]}
    by_leaf = fit(tree, y, "GroupLasso", 0.1)
    mask = np.repeat(np.eye(2), [2, 4], axis=1)
    by_mask = fit(X, y, GroupLasso(mask), 0.1)
    tree_of_masks = GroupLasso({"a": mask[:, :2], "b": mask[:, 2:]})
    by_tree = fit(tree, y, tree_of_masks, [0.1, 0.1])
    for model in (by_leaf, by_tree):
        coef = np.vstack([model.coef_["a"], model.coef_["b"]])
        np.testing.assert_allclose(coef, by_mask.coef_, atol=1e-6)
    one_each = fit(tree, y, "GroupLasso", {"a": 0.1, "b": np.array([0.1, 0.3, 0.0])})
    np.testing.assert_allclose(one_each.coef_["a"][:, 0], by_mask.coef_[:2, 0], atol=1e-6)


@pytest.mark.parametrize("name", ["Lasso", "ElasticNet", "GroupLasso of all"])
def test_strengths_of_neurons_equal_fits_with_each(name):
    X, y = recording()
    strengths = np.array([0.02, 0.1, 0.0])
    regularizer = KINKED[name][0]
    ratios = np.array([0.2, 0.9, 1.0])
    pair = name == "ElasticNet"
    population = fit(X, y, regularizer, (strengths, ratios) if pair else strengths)
    for j, strength in enumerate(strengths):
        alone = fit(X, y[:, j], regularizer, (strength, ratios[j]) if pair else strength)
        np.testing.assert_allclose(alone.coef_, population.coef_[:, j], atol=1e-5)


def test_an_elastic_net_lies_between_lasso_and_ridge():
    X, y = recording()
    lasso, net = fit(X, y, "Lasso", 0.1), fit(X, y, "ElasticNet", (0.1, 1.0))
    np.testing.assert_allclose(net.coef_, lasso.coef_, atol=1e-6)
    ridge, net = fit(X, y, "Ridge", 0.1), fit(X, y, "ElasticNet", (0.1, 1e-9))
    np.testing.assert_allclose(net.coef_, ridge.coef_, atol=1e-5)
    half, scalar = fit(X, y, "ElasticNet", (0.1, 0.5)), fit(X, y, "ElasticNet", 0.1)
    np.testing.assert_allclose(half.coef_, scalar.coef_, atol=1e-9)


@pytest.mark.parametrize("solver", [None, "Newton", "LBFGS", "ProximalQuasiNewton"])
def test_a_smooth_penalty_of_the_users_equals_the_librarys(solver):
    X, y = recording()
    own = CustomRegularizer(ridge_of_a_neuron)
    if solver == "ProximalQuasiNewton":
        own = CustomRegularizer(ridge_of_a_neuron, lambda v, s, step: v / (1 + step * s))
    ours = fit(X, y, "Ridge", 0.1)
    theirs = fit(X, y, own, 0.1, solver=solver)
    np.testing.assert_allclose(theirs.coef_, ours.coef_, atol=1e-4)


@pytest.mark.parametrize("solver", [None, "Newton"])
@pytest.mark.parametrize("strength", [1e-4, 1.0])
def test_a_smooth_penalty_that_is_strong_where_the_data_are_weak_reaches_its_optimum(
    solver, strength
):
    rng = np.random.default_rng(0)
    angle = np.mod(rng.normal(3, 1, size=1000), 2 * np.pi)  # most of one side, little of the other
    X = np.asarray(CyclicBSplineEval(16, bounds=(0, 2 * np.pi)).compute_features(angle), float)
    y = rng.poisson(np.exp(np.cos(angle[:, None] - [2.0, 4.0])))
    model = fit(X, y, CustomRegularizer(roughness_of_a_neuron), strength, solver=solver)
    bend = np.roll(np.eye(16), 1, 0) - 2 * np.eye(16) + np.roll(np.eye(16), -1, 0)
    S = strength * bend.T @ bend

    def loss(w, counts):
        eta = X @ w[:-1] + w[-1]
        return np.mean(np.exp(eta) - counts * eta) + w[:-1] @ S @ w[:-1] / 2

    def slope(w, counts):
        residual = (np.exp(X @ w[:-1] + w[-1]) - counts) / len(X)
        return np.append(X.T @ residual + S @ w[:-1], residual.sum())

    for j, counts in enumerate(y.T):
        start = np.append(np.zeros(16), np.log(counts.mean()))
        best = minimize(loss, start, (counts,), "BFGS", jac=slope, options={"gtol": 1e-8}).fun
        reached = loss(np.append(model.coef_[:, j], model.intercept_[j]), counts)
        assert len(X) * (reached - best) < 1e-3


@pytest.mark.parametrize("name", ["Lasso", "ElasticNet", "GroupLasso"])
def test_strong_penalties_leave_the_mean_rate(name):
    X, y = recording()
    regularizer = KINKED[name][0]
    strength = (100.0, 1.0) if name == "ElasticNet" else 100.0
    model = fit(
        X[:, :5], y, GroupLasso(GROUPS[:, :5]) if name == "GroupLasso" else regularizer, strength
    )
    assert np.all(model.coef_ == 0)
    np.testing.assert_allclose(np.exp(model.intercept_), y.mean(axis=0), rtol=1e-5)


def test_what_the_user_passed_stays_as_it_is():
    X, y = recording()
    mask, strength = GROUPS.copy(), np.array([0.1, 0.2])
    regularizer = GroupLasso(mask)
    model = fit(X, y, regularizer, strength)
    np.testing.assert_array_equal(mask, GROUPS)
    np.testing.assert_array_equal(strength, [0.1, 0.2])
    assert model.regularizer is regularizer


COLLINEAR = np.linspace(-1, 1, 9)
COUNTS = np.array([0, 0, 1, 0, 1, 1, 2, 1, 3.0])
FAMILIES_ON_COLLINEAR = {
    "Poisson": COUNTS,
    "Bernoulli": COUNTS > 0,
    "Gaussian": COUNTS,
    "Gamma": COUNTS + 1,
    "NegativeBinomial": COUNTS,
}


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("family", FAMILIES_ON_COLLINEAR)
def test_a_ridge_of_strength_zero_is_none_on_collinear_columns_too(family, x64):
    X, y = np.c_[COLLINEAR, COLLINEAR], FAMILIES_ON_COLLINEAR[family].astype(float)
    with jax.enable_x64(x64):
        free = GLM(family).fit(X, y)
        none = GLM(family, regularizer="Ridge", regularizer_strength=0.0).fit(X, y)
        pair = PopulationGLM(family, regularizer="Ridge", regularizer_strength=[0, 0.01])
        pair.fit(X, np.c_[y, y])
    np.testing.assert_allclose(none.coef_.sum(), free.coef_.sum(), rtol=2e-3)
    np.testing.assert_allclose(pair.coef_[:, 0].sum(), free.coef_.sum(), rtol=2e-3)
    # A penalty splits what it shrinks evenly between equal columns.
    np.testing.assert_allclose(*pair.coef_[:, 1], rtol=2e-3)
    assert abs(pair.coef_[:, 1].sum()) < abs(free.coef_.sum())
    if family == "Poisson":
        np.testing.assert_allclose(none.coef_.sum(), 1.3838, atol=2e-4)


@pytest.mark.parametrize("solver", ["Newton", "SVRG", "ProximalQuasiNewton", "LBFGS[jaxopt]"])
def test_every_solver_takes_a_ridge_of_strength_zero_on_collinear_columns(solver):
    X = np.c_[COLLINEAR, COLLINEAR]
    none = GLM(regularizer="Ridge", regularizer_strength=0.0, solver_name=solver).fit(X, COUNTS)
    # What 1e-4 nats leave is 0.014 standard errors, of 0.7.
    np.testing.assert_allclose(none.coef_.sum(), 1.3838, atol=0.01)


@pytest.mark.parametrize("strengths", [[0, 1e6], [1e-6, 1e6, 0]])
def test_strengths_of_neurons_may_be_far_apart(strengths):
    X, y = np.c_[COLLINEAR, COLLINEAR], np.tile(COUNTS[:, None], len(strengths))
    model = PopulationGLM(regularizer="Ridge", regularizer_strength=strengths).fit(X, y)
    total = model.coef_.sum(axis=0)
    np.testing.assert_allclose(total, np.where(np.array(strengths) < 1, 1.3838, 0), atol=3e-3)


def test_a_grid_of_strengths_may_hold_zero():
    X, y = np.c_[COLLINEAR, COLLINEAR], COUNTS
    found = GridSearchCV(GLM(regularizer="Ridge"), {"regularizer_strength": [0.0, 0.01]}, cv=2)
    scores = found.fit(X[::-1][[0, 5, 2, 7, 4, 1, 6, 3, 8]], y[::-1][[0, 5, 2, 7, 4, 1, 6, 3, 8]])
    assert np.isfinite(scores.cv_results_["mean_test_score"]).all()
