"""Solvers: all reach one optimum, each neuron by itself, and none compiles twice."""

import warnings

import jax
import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize
from sklearn.base import clone

from compilations import counted
from spikax import datasets, solvers
from spikax.basis import CyclicBSplineEval
from spikax.glm import GLM, PopulationGLM
from spikax.solvers import Status

FAMILIES = ("Poisson", "Bernoulli", "Gaussian")
SOLVERS = [spec.full_name for spec in solvers.list_available_solvers()]
STRENGTH = 0.1

# The loss of one neuron's samples as the textbooks write it, in NumPy.
LOSS = {
    "Poisson": lambda eta, y: np.exp(eta) - y * eta,
    "Bernoulli": lambda eta, y: np.logaddexp(0, eta) - y * eta,
    "Gaussian": lambda eta, y: (y - eta) ** 2,
}
# Other libraries' algorithms share one adapter: all families meet its cheapest, and each of the
# others one problem.
CASES = [
    (solver, family, penalty)
    for solver in SOLVERS
    for family in FAMILIES
    for penalty in ("UnRegularized", "Ridge")
    if "[spikax]" in solver
    or (solver, penalty) == ("ProximalGradient[jaxopt]", "UnRegularized")
    or (family, penalty) == ("Poisson", "Ridge")
]


@pytest.fixture(scope="module")
def data():
    """Features, and three neurons' observations of each family."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(150, 4)) * [1.0, 0.5, 3.0, 1.0] + [0.0, 1.0, -2.0, 0.0]
    eta = X @ (rng.normal(size=(4, 3)) * [[0.3], [0.6], [0.1], [0.1]]) - 0.3
    return X, {
        "Poisson": rng.poisson(np.exp(eta)),
        "Bernoulli": rng.binomial(1, 1 / (1 + np.exp(-eta))),
        "Gaussian": rng.normal(eta, 0.7),
    }


@pytest.fixture(scope="module")
def optimum(data):
    """Find, with SciPy, the parameters of a neuron: coefficients, then the intercept."""
    X, observed = data
    found = {}

    def find(family, penalty, neuron):
        def objective(w):
            eta = X @ w[:-1] + w[-1]
            ridge = STRENGTH / 2 * np.sum(w[:-1] ** 2) * (penalty == "Ridge")
            return np.mean(LOSS[family](eta, observed[family][:, neuron])) + ridge

        case = family, penalty, neuron
        if case not in found:
            found[case] = minimize(objective, np.zeros(5), method="BFGS", options={"gtol": 1e-7})
        return found[case]

    return find


@pytest.mark.parametrize(("solver", "family", "penalty"), CASES)
def test_every_solver_reaches_the_optimum_of_every_neuron(solver, family, penalty, data, optimum):
    X, observed = data
    with jax.enable_x64(True):
        model = PopulationGLM(
            family,
            regularizer=penalty,
            regularizer_strength=STRENGTH,
            solver_name=solver,
            # nats of the whole fit for ours, the norm of a gradient for the others
            solver_kwargs={"tol": 1e-9 if "[spikax]" in solver else 1e-7},
        ).fit(X, observed[family])
    stats = model.solver_state_.stats
    for neuron in range(3):
        best = optimum(family, penalty, neuron)
        np.testing.assert_allclose(model.coef_[:, neuron], best.x[:-1], atol=1e-4)
        np.testing.assert_allclose(model.intercept_[neuron], best.x[-1], atol=1e-4)
        # No more than 1e-6 nats over all samples above it.
        assert stats.function_val[neuron] == pytest.approx(best.fun, abs=1e-6 / len(X))
    assert stats.converged.shape == stats.num_steps.shape == (3,)
    assert stats.converged.all()
    assert not stats.reached_max_steps.any()


@pytest.fixture(scope="module")
def counts_without_loss():
    """Features, counts whose lowest mean loss is zero, and statsmodels' fits to them."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 4))
    y = rng.poisson(np.exp(X @ rng.normal(0, 0.3, size=(4, 20)) + 1)).astype(float)
    design = sm.add_constant(X)
    fits = [sm.GLM(counts, design, sm.families.Poisson()).fit(tol=1e-12) for counts in y.T]
    eta = design @ np.transpose([fit.params for fit in fits])
    # `factor` times the counts move the intercept by its logarithm, and nothing else.
    factor = np.exp(LOSS["Poisson"](eta, y).mean(axis=0) / y.mean(axis=0))
    scaled = factor * y
    np.testing.assert_allclose(
        LOSS["Poisson"](eta + np.log(factor), scaled).mean(axis=0), 0, atol=1e-12
    )
    return X, scaled, np.transpose([fit.params[1:] for fit in fits])


# optimistix's NonlinearCG stalls on one neuron in twenty, wherever its loss is.
@pytest.mark.parametrize("solver", [s for s in SOLVERS if s != "NonlinearCG[optimistix]"])
def test_a_loss_that_crosses_zero_is_minimised_as_closely_as_any(solver, counts_without_loss):
    X, y, coef = counts_without_loss
    kwargs = {"tol": 1e-6} if "[spikax]" in solver else {}
    model = PopulationGLM(solver_name=solver, solver_kwargs=kwargs).fit(X, y)
    stats = model.solver_state_.stats
    assert np.all(stats.status == Status.CONVERGED)
    np.testing.assert_allclose(stats.function_val, 0, atol=1e-5)
    # What is left is a small part of a standard error, which is about one over this.
    errors = np.abs(model.coef_ - coef) * np.sqrt(len(X) * np.mean(y, axis=0))
    assert errors.max() < 0.02


@pytest.mark.parametrize("solver", ["WhitenedLBFGS", "Newton", "SVRG", "ProximalQuasiNewton"])
def test_every_neuron_has_a_status_of_its_own(solver, data):
    X, observed = data
    spikes = observed["Poisson"].copy()
    spikes[:, 1] = 0
    with pytest.warns(RuntimeWarning, match="1 of 3 neurons.*: neurons 1 have their optimum at"):
        model = PopulationGLM(solver_name=solver).fit(X, spikes)
    assert model.solver_state_.stats.status[1] == Status.UNBOUNDED
    assert np.all(model.solver_state_.stats.status[[0, 2]] == Status.CONVERGED)
    assert np.all(np.isfinite(model.coef_))
    assert model.predict(X)[:, 1].sum() < 0.1


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_solver_calls_a_separation_converged(solver, data):
    X, y = np.array(data[0]), np.array(data[1]["Poisson"])
    X[:, 3] = np.arange(len(X)) % 5 == 0
    y[X[:, 3] == 1, 1] = 0
    with pytest.warns(RuntimeWarning, match="1 of 3 neurons .* neurons 1 "):
        model = PopulationGLM(solver_name=solver).fit(X, y)
    status = model.solver_state_.stats.status[1]
    # Those that know the curvature poorly may still be under way.
    knows = solver in ("WhitenedLBFGS[spikax]", "Newton[spikax]")
    assert status == Status.UNBOUNDED or (not knows and status == Status.OUT_OF_STEPS)


def test_no_neuron_on_the_way_to_infinity_is_called_stalled():
    recording = datasets.load_head_direction()
    spikes = recording.spikes.count(0.02, recording.head_direction.time_support)
    direction = spikes.value_from(recording.head_direction)
    tuning = CyclicBSplineEval(12, bounds=(0, 2 * np.pi)).compute_features(direction)
    # The head has been to a part of the directions only, and some units have fired once.
    with pytest.warns(RuntimeWarning, match="have their optimum at infinity") as caught:
        model = PopulationGLM().fit(np.asarray(tuning)[:500], np.asarray(spikes)[:500])
    assert "could not be improved" not in str(caught[0].message)
    assert set(model.solver_state_.stats.status) <= {Status.CONVERGED, Status.UNBOUNDED}


@pytest.mark.parametrize("solver", ["WhitenedLBFGS", "Newton"])
@pytest.mark.parametrize(
    ("family", "link", "mean"),
    [("Gaussian", "exp", -1.0), ("Poisson", "logistic", 2.0), ("Gaussian", "one_over_x", -1.0)],
)
def test_a_mean_that_the_link_cannot_reach_is_told(solver, family, link, mean):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 2)), np.full((200, 2), 0.5)
    y += 0.1 * rng.uniform(size=y.shape)
    y[:, 1] += mean - 0.5
    model = PopulationGLM(family, link, solver_name=solver)
    with pytest.warns(RuntimeWarning, match="neurons 1 have their optimum at infinity"):
        model.fit(X, y)
    assert list(model.solver_state_.stats.status) == [Status.CONVERGED, Status.UNBOUNDED]
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("solver", ["WhitenedLBFGS", "Newton", "SVRG", "ProximalQuasiNewton"])
def test_running_out_of_steps_is_told_once_with_the_neurons_name(solver, data):
    X, observed = data
    spikes = observed["Poisson"].copy()
    spikes[:, [0, 2]] = 2  # their start is their optimum
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stats = (
            PopulationGLM(solver_name=solver, solver_kwargs={"maxiter": 1})
            .fit(X, spikes)
            .solver_state_.stats
        )
    (warning,) = caught
    assert warning.category is RuntimeWarning
    assert "1 of 3 neurons need a look: neurons 1 ran out of steps" in str(warning.message)
    assert warning.filename == __file__
    np.testing.assert_array_equal(stats.reached_max_steps, [False, True, False])
    np.testing.assert_array_equal(stats.converged, [True, False, True])


def test_one_neuron_has_scalars_for_statistics(data):
    X, observed = data
    stats = GLM(solver_name="Newton").fit(X, observed["Poisson"][:, 0]).solver_state_.stats
    for value in (stats.function_val, stats.num_steps, stats.converged, stats.reached_max_steps):
        assert np.ndim(value) == 0


@pytest.mark.parametrize("solver", [s for s in SOLVERS if solvers.get_solver(s).needs_smooth])
def test_a_solver_that_needs_slopes_is_refused_for_a_lasso(solver, data):
    X, observed = data
    model = PopulationGLM(regularizer="Lasso", solver_name=solver)
    with pytest.raises(ValueError, match=r"Lasso has none at zero\. Use ProximalQuasiNewton"):
        model.fit(X, observed["Poisson"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"solver_name": "LBFSG"}, "solver_name: 'LBFSG'. Did you mean 'LBFGS'"),
        ({"solver_name": "lbfgs[jaxop]"}, r"Did you mean 'LBFGS\[jaxopt\]'"),
        ({"solver_kwargs": {"max_iter": 3}}, "'max_iter'. Did you mean 'maxiter'"),
        ({"solver_name": "LBFGS", "solver_kwargs": {"toll": 3}}, "'toll'. Did you mean 'tol'"),
        ({"solver_kwargs": {"tol": -1}}, r"solver_kwargs\['tol'\] must be a positive number"),
        ({"solver_kwargs": {"maxiter": "9"}}, r"\['maxiter'\] must be a positive whole.*'9'"),
    ],
)
def test_what_no_solver_knows_is_refused_with_the_nearest_it_does(kwargs, message, data):
    X, observed = data
    with counted() as compiled, pytest.raises(ValueError, match=message):
        PopulationGLM(**kwargs).fit(X, observed["Poisson"])
    assert not compiled


@pytest.mark.parametrize(
    ("solver", "penalty"),
    [
        ("WhitenedLBFGS", "Ridge"),
        ("Newton", "Ridge"),
        ("SVRG", "Ridge"),
        ("ProximalQuasiNewton", "Lasso"),
    ],
)
def test_no_number_that_a_user_tunes_compiles_again(solver, penalty, data):
    X, observed = data
    y = observed["Poisson"]
    model = PopulationGLM(
        regularizer=penalty, regularizer_strength=0.1, solver_name=solver, solver_kwargs={}
    )

    def use(model, X, y):
        model.fit(X, y)
        model.predict(X)
        model.score(X, y)
        model.score(X, y, "pseudo-r2-Cohen")

    use(model, X, y)
    with counted() as compiled:
        use(clone(model), X, y)
        use(clone(model).set_params(regularizer_strength=0.3), X, y)
        use(clone(model).set_params(solver_kwargs={"tol": 1e-3, "maxiter": 400}), X, y)
        use(clone(model), 2 * X[::-1], y + 1)
        use(clone(model), X.astype(np.float32), y.astype(float))
        use(clone(model), X[:-1], y[:-1])
        use(model, X[1:], y[1:])
    assert compiled == []


def counts_of(eta, largest, seed=0):
    """Draw counts whose largest is about this."""
    counts = np.random.default_rng(seed).poisson(np.exp(eta - eta.max()) * largest)
    return counts.astype(float)


def hard_cases():
    """Features, observations and offsets of families that ask much of single precision."""
    rng = np.random.default_rng(0)
    wide, tall = rng.normal(size=(20, 30)), rng.normal(size=(200, 5))
    eta = wide @ rng.normal(0, 0.5, 30)
    tall_eta, offset = tall @ rng.normal(0, 0.5, 5), rng.normal(0, 3, size=200)
    steep = np.column_stack([30 * np.abs(tall_eta) + 0.01, 1e-3 * tall[:, 1:]])
    return {
        "fewer samples than features, counts to 7e4": ("Poisson", wide, counts_of(eta, 7e4), None),
        "fewer samples than features, counts to 3e7": ("Poisson", wide, counts_of(eta, 3e7), None),
        "counts to 3e7": ("Poisson", tall, counts_of(tall_eta, 3e7), None),
        "large offsets": ("Poisson", tall, counts_of(tall_eta + offset, 1e7), offset + 50),
        "values about 1e8": ("Gaussian", tall, 1e8 + rng.normal(tall_eta), None),
        "noise of 1e-6": ("Gaussian", tall, rng.normal(tall_eta, 1e-6), None),
        "a wide range": ("Gamma", steep, rng.gamma(2, 0.5, size=200) / steep[:, 0], None),
    }


HARD = hard_cases()
HARD_RUNS = [
    *((case, "WhitenedLBFGS", "UnRegularized") for case in HARD),
    *((case, "Newton", "Ridge") for case in HARD if HARD[case][0] == "Poisson"),
    *((case, "ProximalQuasiNewton", "Lasso") for case in HARD if HARD[case][0] == "Poisson"),
    *(("counts to 3e7", s, "Lasso") for s in ("ProxSVRG", "ProximalGradient[jaxopt]")),
    *(("counts to 3e7", s, "Ridge") for s in ("SVRG", "LBFGS[jaxopt]", "LBFGS[optax]")),
    ("counts to 3e7", "BFGS[optimistix]", "Ridge"),
]


def half_deviance(family, y, eta):
    """Loss of all samples above that of a perfect prediction, without loss of digits."""
    if family == "Poisson":
        miss = eta - np.log(np.where(y > 0, y, 1))
        return np.sum(np.where(y > 0, y * (np.expm1(miss) - miss), np.exp(eta)))
    if family == "Gaussian":
        return np.sum((y - eta) ** 2)
    return np.sum(y * eta - 1 - np.log(y * eta))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("case", "solver", "penalty"), HARD_RUNS)
def test_what_single_precision_calls_converged_is_as_good_as_double(case, solver, penalty):
    family, X, y, offset = HARD[case]
    strength = 0.01

    def fit(x64):
        model = GLM(family, solver_name=solver, regularizer=penalty, regularizer_strength=strength)
        with jax.enable_x64(x64):
            model.fit(X, y, offset=offset)
        coef = model.coef_.astype(float)
        eta = X @ coef + float(model.intercept_[0]) + (0 if offset is None else offset)
        cost = {"Ridge": np.sum(coef**2) / 2, "Lasso": np.sum(np.abs(coef)), "UnRegularized": 0}
        lost = half_deviance(family, y, eta) + len(y) * strength * cost[penalty]
        return lost, model.solver_state_.stats.converged

    single, converged = fit(False)
    double, _ = fit(True)
    # At the scale found: a Gaussian's is the mean of the squares, a Gamma's about one half.
    nats = len(y) / 2 / double if family == "Gaussian" else 2
    assert nats * (single - double) < 0.02 or not converged


# The minima that solvers of different tolerances agree on, to the digits given.
@pytest.mark.parametrize("tol", [1e-4, 1e-9])
@pytest.mark.parametrize(("strength", "lowest"), [(0.01, 1.99233), (1.0, 199.22388)])
def test_a_lasso_with_counts_of_all_sizes_is_solved(strength, lowest, tol):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 30))
    eta = X @ (0.5 * rng.normal(size=30))
    rng.poisson(np.exp(eta - eta.max()) * 7e4)
    y = rng.poisson(np.exp(eta - eta.max()) * 3e7).astype(float)
    model = GLM(
        regularizer="Lasso", regularizer_strength=strength, solver_kwargs={"tol": tol}
    ).fit(X, y)
    cost = len(y) * strength * np.abs(model.coef_).sum()
    found = half_deviance("Poisson", y, X @ model.coef_ + model.intercept_) + cost
    assert found == pytest.approx(lowest, abs=1e-3)
    assert model.solver_state_.stats.num_steps < 50


def place_fields():
    """Make one-hot bins of a random walk, and two neurons, of which one is silent in two bins."""
    rng = np.random.default_rng(0)
    bins = np.minimum(np.cumsum(rng.integers(-1, 2, size=6000)) % 40, 39)
    X = np.eye(40)[bins]
    y = rng.poisson(0.3, size=(6000, 2)).astype(float)
    y[np.isin(bins, (3, 7)), 0] = 0
    return X, y


def test_a_warning_names_the_features_that_run_away():
    X, y = place_fields()
    with pytest.warns(RuntimeWarning, match="neurons 0 have their optimum at infinity") as heard:
        model = PopulationGLM().fit(X, y)
    assert "coefficients of column 3 of X, column 7 of X run away" in str(heard[0].message)
    assert list(model.solver_state_.stats.status) == [Status.UNBOUNDED, Status.CONVERGED]
    # As many passes as the bounded one takes, and some to reach the limit.
    assert model.solver_state_.n_passes < 40
    rate = model.predict(X)
    counts = X.T @ y
    expected = X @ (counts / X.sum(axis=0)[:, None])
    lost = np.where(y > 0, y * np.log(np.where(y > 0, expected / rate, 1)), 0) + rate - expected
    assert np.all(np.abs(lost.sum(axis=0)) < 0.01)
