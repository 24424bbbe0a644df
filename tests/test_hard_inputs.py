"""Twenty-five inputs to survive, against a float64 reference of the same data."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.special import xlogy
from sklearn.base import clone
from sklearn.linear_model import PoissonRegressor

from reference import counting, loss, lowest_loss, lowest_penalised_loss
from spikax.basis import BSplineEval, CyclicBSplineEval
from spikax.datasets import load_head_direction
from spikax.glm import GLM, ClassifierPopulationGLM, PopulationGLM
from spikax.observation_models import NegativeBinomialObservations
from spikax.regularizer import GroupLasso
from spikax.solvers import Status

T, P, N = 400, 5, 4
HEALTHY = (1, 2, 3)


@dataclass
class Case:
    """A population, of which some neurons or features are hard."""

    X: Any
    y: Any
    family: str = "Poisson"
    unbounded: tuple[int, ...] = ()  # neurons whose optimum is at infinity
    alone: tuple[int, ...] = HEALTHY  # neurons that must equal their fits alone
    nats: float = 0.1
    rtol: float = 1e-3  # of the rates, against the fits alone
    fit: dict = field(default_factory=dict)


CASES: dict[str, Callable[[np.random.Generator], Case]] = {}


def case(name):
    """Add a case to the list under a name."""

    def add(make):
        CASES[name] = make
        return make

    return add


def population(rng, family="Poisson"):
    """Make features and the observations of healthy neurons."""
    X = rng.normal(size=(T, P))
    eta = X @ rng.normal(scale=0.4, size=(P, N)) - 0.5
    draw = {
        "Poisson": lambda: rng.poisson(np.exp(eta)),
        "Bernoulli": lambda: rng.uniform(size=eta.shape) < 1 / (1 + np.exp(-eta)),
    }
    return X, draw[family]().astype(float)


@case("1 silent neuron")
def _(rng):
    X, y = population(rng)
    y[:, 0] = 0
    return Case(X, y, unbounded=(0,))


@case("2 one spike at the edge of the data")
def _(rng):
    X, y = population(rng)
    y[:, 0] = np.arange(T) == np.argmax(X[:, 0])
    return Case(X, y, unbounded=(0,))


@case("2 one spike amid the data")
def _(rng):
    X, y = population(rng)
    y[:, 0] = np.arange(T) == np.argmin(np.sum(X**2, axis=1))
    return Case(X, y)


@case("3 constant counts")
def _(rng):
    X, y = population(rng)
    y[:, 0] = 3
    return Case(X, y)


@case("4 separable Bernoulli")
def _(rng):
    X, y = population(rng, "Bernoulli")
    y[:, 0] = X[:, 0] + 0.5 * X[:, 1] > 0.3
    return Case(X, y, "Bernoulli", unbounded=(0,))


@case("5 all-ones Bernoulli")
def _(rng):
    X, y = population(rng, "Bernoulli")
    y[:, 0] = 1
    return Case(X, y, "Bernoulli", unbounded=(0,))


@case("5 all-zeros Bernoulli")
def _(rng):
    X, y = population(rng, "Bernoulli")
    y[:, 0] = 0
    return Case(X, y, "Bernoulli", unbounded=(0,))


@case("6 indicator that quasi-separates")
def _(rng):
    X, y = population(rng)
    X[:, 4] = rng.uniform(size=T) < 0.2
    y[X[:, 4] == 1, 0] = 0
    return Case(X, y, unbounded=(0,))


@case("7 duplicate column")
def _(rng):
    X, y = population(rng)
    X[:, 4] = X[:, 0]
    return Case(X, y)


@case("8 constant column")
def _(rng):
    X, y = population(rng)
    X[:, 4] = 7
    return Case(X, y)


@case("9 zero column")
def _(rng):
    X, y = population(rng)
    X[:, 4] = 0
    return Case(X, y)


@case("10 condition number 1e12")
def _(rng):
    left = np.linalg.qr(rng.normal(size=(T, P)))[0]
    right = np.linalg.qr(rng.normal(size=(P, P)))[0]
    X = left * np.logspace(0, -12, P) @ right
    y = rng.poisson(np.exp(np.sqrt(T) * left @ rng.normal(scale=0.4, size=(P, N)) - 0.5))
    return Case(X, y)


@case("11 one column x 1e6")
def _(rng):
    X, y = population(rng)
    return Case(X * [1, 1e6, 1, 1, 1], y)


@case("12 one column x 1e-6")
def _(rng):
    X, y = population(rng)
    return Case(X * [1, 1e-6, 1, 1, 1], y)


@case("13 features + 1e4 in float32")
def _(rng):
    X, y = population(rng)
    # Coefficients of single precision say no more about features of this size.
    return Case((X + 1e4).astype(np.float32), y, nats=1, rtol=3e-3)


@case("14 rows of NaN in X, as at the start of each epoch")
def _(rng):
    X, y = population(rng)
    for start in (0, 150, 320):
        X[start : start + 10] = np.nan
    return Case(X, y)


@case("15 NaN in the y of one neuron")
def _(rng):
    X, y = population(rng)
    y[rng.uniform(size=T) < 0.3, 0] = np.nan
    return Case(X, y)


@case("17 whole numbers")
def _(rng):
    X, y = population(rng)
    return Case(np.round(2 * X).astype(int), y.astype(int))


@case("17 uint8 and bool")
def _(rng):
    X, y = population(rng, "Bernoulli")
    return Case(np.round(20 * np.abs(X)).astype(np.uint8), y.astype(bool), "Bernoulli")


@case("17 bool features of uint8 counts")
def _(rng):
    X, y = population(rng)
    return Case(X > 0, y.astype(np.uint8))


@case("18 a single sample")
def _(rng):
    X, _ = population(rng)
    return Case(X[:1], np.array([[0.0, 1, 2, 5]]), unbounded=(0,))


@case("19 fewer samples than features")
def _(rng):
    X, _ = population(rng)
    return Case(X[:3], np.array([[2.0, 1, 2, 5], [1, 3, 1, 4], [1, 1, 2, 3]]))


@case("20 counts of 1e9")
def _(rng):
    X, y = population(rng)
    y[:, 0] = rng.poisson(1e9 * np.exp(0.3 * X[:, 0]))
    return Case(X, y)


@case("20 counts just above 2**24")
def _(rng):
    X, y = population(rng)
    y[:, 0] = 2**24 + rng.integers(0, 100, size=T)
    return Case(X, y)


@case("22 an outlier row")
def _(rng):
    X, y = population(rng)
    X[17] = 1e3 * np.sign(X[17])
    y[17] = 2
    return Case(X, y)


@case("22 an outlier count")
def _(rng):
    X, y = population(rng)
    y[17, 0] = 1e5
    return Case(X, y)


@case("23 under-dispersed counts")
def _(rng):
    X, y = population(rng)
    y[:, 0] = rng.binomial(10, 0.9, size=T)
    return Case(X, y)


@case("24 fractional counts")
def _(rng):
    X, y = population(rng)
    return Case(X, y + rng.uniform(size=y.shape))


@case("25 zero weights")
def _(rng):
    X, y = population(rng)
    weights = rng.integers(0, 3, size=T).astype(float)
    y[weights == 0] = 1e4
    return Case(X, y, fit={"sample_weight": weights})


@case("25 offsets of +-50")
def _(rng):
    X, y = population(rng)
    offset = np.zeros((T, N))
    offset[:, 0] = np.where(np.arange(T) % 2, 50.0, -50.0)
    return Case(X, y, fit={"offset": offset})


def fit_and_listen(model, X, y, **kwargs):
    """Fit, and return the model with the warnings it gave."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        model.fit(X, y, **kwargs)
    return model, heard


FAMILY = {name: make(np.random.default_rng(0)).family for name, make in CASES.items()}
RUNS = [
    *((name, FAMILY[name], x64) for name in CASES for x64 in (False, True)),
    *((name, "NegativeBinomial", False) for name in CASES if FAMILY[name] == "Poisson"),
]


@pytest.mark.parametrize(("name", "family", "x64"), RUNS)
def test_survives(name, family, x64, rng):
    c = replace(CASES[name](rng), family=family)
    # With less information in a count, the same rate takes a closer fit.
    closely = {"solver_kwargs": {"tol": 1e-6}} if family == "NegativeBinomial" else {}
    neurons = range(c.y.shape[1])
    with jax.enable_x64(x64):
        model, heard = fit_and_listen(PopulationGLM(family, **closely), c.X, c.y, **c.fit)
        score = model.score(c.X, c.y, **c.fit)
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    assert np.isfinite(score)

    def excess(j, coef, intercept):
        weights = c.fit.get("sample_weight")
        offset = c.fit["offset"][:, j] if "offset" in c.fit else 0
        data = (c.family, c.X, c.y[:, j])
        found = loss(*data, coef, intercept, weights, offset)
        return found - lowest_loss(*data, weights, offset)

    together = np.array([excess(j, model.coef_[:, j], model.intercept_[j]) for j in neurons])
    assert np.all(together < c.nats), together
    assert np.all(together > -1e-3), together

    assert len(heard) == (1 if c.unbounded else 0), [str(w.message) for w in heard]
    if c.unbounded:
        assert heard[0].category is RuntimeWarning
        named = ", ".join(map(str, c.unbounded))
        assert f"neurons {named} have their optimum at infinity" in str(heard[0].message)

    # In float64 the neurons' independence is the same, and compiling it again takes long.
    if not x64:
        rate = model.predict(c.X)
        for j in c.alone:
            own = {k: v[:, j] if k == "offset" else v for k, v in c.fit.items()}
            alone, heard = fit_and_listen(GLM(family, **closely), c.X, c.y[:, j], **own)
            assert not heard
            np.testing.assert_allclose(alone.predict(c.X), rate[:, j], rtol=c.rtol)
            assert abs(excess(j, alone.coef_, alone.intercept_[0]) - together[j]) < 1e-3


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_in_X_is_an_error_that_says_where(value, rng):
    X, y = population(rng)
    X[5, 2] = value
    with pytest.raises(ValueError, match=rf"column 2 of X is {value} in row 5"):
        PopulationGLM().fit(X, y)


def test_counts_out_of_the_domain_are_an_error_that_says_where(rng):
    X, y = population(rng)
    y[3, 1] = -1
    with pytest.raises(ValueError, match=r"-1 in row 3 of neuron 1.*non-negative"):
        PopulationGLM().fit(X, y)


def test_weights_that_are_all_zero_are_an_error(rng):
    X, y = population(rng)
    with pytest.raises(ValueError, match="weight of zero"):
        PopulationGLM().fit(X, y, sample_weight=np.zeros(T))


@pytest.mark.parametrize("seed", [3, 5])
def test_many_samples_do_not_hide_a_separation(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4000, P))
    y = rng.poisson(np.exp(X @ rng.normal(scale=0.4, size=(P, N)) - 0.5)).astype(float)
    X[:, 4] = rng.uniform(size=4000) < 0.2
    y[X[:, 4] == 1, 0] = 0
    with pytest.warns(RuntimeWarning, match=r"^1 of 4 neurons .* neurons 0 have their optimum"):
        PopulationGLM().fit(X, y)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-8])
def test_a_ridge_that_forbids_one_feature_leaves_the_others_their_optimum(scale, rng):
    X = rng.normal(size=(3000, P))
    y = rng.poisson(np.exp(X @ rng.normal(scale=0.4, size=(P, N)) - 0.5)).astype(float)
    X[:, -1] *= scale
    model = PopulationGLM(regularizer="Ridge", regularizer_strength=1e-4).fit(X, y)
    for j in range(N):
        reference = PoissonRegressor(alpha=1e-4, solver="newton-cholesky", tol=1e-8)
        reference.fit(X, y[:, j])
        moved = np.append(np.ones(P - 1), scale) * (model.coef_[:, j] - reference.coef_)
        np.testing.assert_allclose(moved, 0, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in CASES if FAMILY[name] == "Bernoulli"])
def test_a_classifier_of_two_classes_survives_as_a_bernoulli_does(name, rng):
    c = CASES[name](rng)
    model, heard = fit_and_listen(
        ClassifierPopulationGLM(2, regularizer="UnRegularized").set_classes([0, 1]), c.X, c.y
    )
    coef = model.coef_[..., 1] - model.coef_[..., 0]
    intercept = model.intercept_[:, 1] - model.intercept_[:, 0]
    assert np.isfinite(model.score(c.X, c.y))
    excess = [
        loss("Bernoulli", c.X, c.y[:, j], coef[:, j], intercept[j])
        - lowest_loss("Bernoulli", c.X, c.y[:, j])
        for j in range(N)
    ]
    assert np.all(np.array(excess) < c.nats), excess
    named = [f"neurons {j} have their optimum at infinity" for j in c.unbounded]
    assert len(heard) == len(named)
    assert all(name in str(w.message) for name, w in zip(named, heard, strict=True))


@pytest.mark.parametrize("name", [name for name in CASES if FAMILY[name] == "Poisson"])
def test_an_estimated_scale_is_finite_and_no_worse_than_a_fixed_one(name, rng):
    c = CASES[name](rng)
    model, heard = fit_and_listen(
        PopulationGLM(NegativeBinomialObservations("estimate")), c.X, c.y, **c.fit
    )
    assert np.isfinite(model.score(c.X, c.y, **c.fit))
    assert np.isfinite(model.coef_).all()
    assert np.all((model.scale_ >= 0) & np.isfinite(model.scale_))
    assert len(heard) <= 1
    for j in range(c.y.shape[1]):
        weights = c.fit.get("sample_weight")
        offset = c.fit["offset"][:, j] if "offset" in c.fit else 0
        X, y, weights, added = counting(c.X, c.y[:, j], weights, offset)
        mean = np.exp(X @ model.coef_[:, j].astype(float) + model.intercept_[j] + added)
        assert np.isfinite(mean).all()
        if j in c.unbounded or np.any(y % 1):
            continue
        best = {
            "Poisson": np.sum(weights * stats.poisson.logpmf(y, y)),
            "NegativeBinomial": np.sum(weights * stats.nbinom.logpmf(y, 1, 1 / (1 + y))),
        }
        found = np.sum(weights * log_density(y, mean, model.scale_[j]))
        for family, perfect in best.items():
            reachable = perfect - lowest_loss(
                family, c.X, c.y[:, j], c.fit.get("sample_weight"), offset
            )
            assert found > reachable - max(c.nats, 1e-6 * np.abs(found)), (family, j)


def log_density(y, mean, scale):
    """Log-density of a negative binomial; a Poisson's at a scale of zero."""
    if scale == 0:
        return stats.poisson.logpmf(y, mean)
    return stats.nbinom.logpmf(y, 1 / scale, 1 / (1 + scale * mean))


def test_an_underdispersed_neuron_is_told_and_is_a_poisson(rng):
    c = CASES["23 under-dispersed counts"](rng)
    scatter = rng.gamma(0.5, 2.0, size=(T, N - 1))
    c.y[:, 1:] = rng.poisson(scatter * np.exp(0.4 * c.X[:, : N - 1]))
    model, heard = fit_and_listen(
        PopulationGLM(NegativeBinomialObservations("estimate")), c.X, c.y
    )
    (warning,) = heard
    assert "1 of 4 neurons need a look: neurons 0 vary no more than Poisson" in str(
        warning.message
    )
    assert model.scale_[0] == 0
    assert np.all(model.scale_[1:] > 0.5)
    excess = loss("Poisson", c.X, c.y[:, 0], model.coef_[:, 0], model.intercept_[0])
    assert excess - lowest_loss("Poisson", c.X, c.y[:, 0]) < 0.1


# --- Penalties with kinks where the curvature is all but singular.

# Regularizer, groups of features, and what |w_g| and |w|^2 / 2 cost.
SINGLE, TRIPLES = np.arange(30).reshape(30, 1), np.arange(30).reshape(10, 3)
KINKED = {
    "Lasso": ("Lasso", SINGLE, 0.01, 0.0),
    "ElasticNet": ("ElasticNet", SINGLE, 0.01, 0.001),
    "GroupLasso": (GroupLasso(np.repeat(np.eye(10), 3, axis=1)), TRIPLES, 0.01, 0.0),
}


@pytest.mark.parametrize("unit", [1.0, 1e6])
@pytest.mark.parametrize(
    ("family", "penalty", "solver"),
    [
        *((family, "Lasso", None) for family in ("Poisson", "Gaussian", "NegativeBinomial")),
        *(("Poisson", penalty, None) for penalty in ("ElasticNet", "GroupLasso")),
        *(("Poisson", "Lasso", solver) for solver in ("ProximalGradient", "ProxSVRG")),
    ],
)
def test_what_is_converged_is_as_near_the_optimum_as_it_says(family, penalty, solver, unit):
    rng = np.random.default_rng(0)
    # Fewer samples than features, of which some tell a million times more than others.
    X = rng.normal(size=(20, 30))
    eta = X @ rng.normal(size=(30, 6))
    mean = np.array([7e4, 7e4, 1e6, 1e6, 3e7, 3e7]) * np.exp(eta - eta.max(axis=0))
    y = rng.normal(eta) if family == "Gaussian" else rng.poisson(mean).astype(float)
    regularizer, groups, absolute, squared = KINKED[penalty]
    strength = unit * absolute
    if penalty == "ElasticNet":
        total = unit * absolute + unit**2 * squared
        strength = total, unit * absolute / total
    model, _ = fit_and_listen(
        PopulationGLM(
            family, regularizer=regularizer, regularizer_strength=strength, solver_name=solver
        ),
        unit * X,
        y,
    )
    converged = model.solver_state_.stats.converged
    assert solver or converged.all()
    costs = np.full(len(groups), 20 * absolute * np.sqrt(len(groups[0])))
    coef, intercept = unit * model.coef_, model.intercept_
    for j in np.flatnonzero(converged):
        found = loss(family, X, y[:, j], coef[:, j], intercept[j])
        found += 10 * squared * np.sum(coef[:, j] ** 2)
        found += costs @ np.linalg.norm(coef[groups, j], axis=1)
        lowest = lowest_penalised_loss(family, X, y[:, j], groups, costs, 20 * squared)
        nats = 1 / (2 * y[:, j].var()) if family == "Gaussian" else 1
        # What is promised, what the bound is short of the minimum, and what rounding hides.
        assert nats * (found - lowest) < 1e-4 + 1e-6 + 1e-15 * y[:, j].sum()


def place_fields(seed):
    """Walk through an arena without its corners; count the spikes of four place cells."""
    rng = np.random.default_rng(seed)
    position, velocity, path = np.full(2, 0.5), np.zeros(2), []
    for kick in rng.normal(0, 0.02, size=(3000, 2)):
        velocity = 0.9 * velocity + kick
        out = (position + velocity < 0) | (position + velocity > 1)
        velocity = np.where(out, -velocity, velocity)
        position = np.clip(position + velocity, 0, 1)
        path.append(position)
    path = np.array(path)
    path = path[np.abs(path - 0.5).sum(axis=1) < 0.75]
    centre, width = rng.uniform(0.1, 0.9, size=(4, 2)), rng.uniform(0.03, 0.12, size=4)
    square = ((path[:, None] - centre) ** 2).sum(axis=2)
    return path, rng.poisson(2 * np.exp(-square / 2 / width**2)).astype(float)


@pytest.mark.parametrize("seed, dtype", [(0, np.float32), (1, np.float64)])
def test_place_fields_that_are_called_finished_are_near_their_limit(seed, dtype):
    """Products of splines vanish slowly at their ends: the optima of their fits are far away."""
    path, y = place_fields(seed)
    basis = BSplineEval(5) * BSplineEval(5)
    X = np.asarray(basis.compute_features(*path.T), dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        model = PopulationGLM().fit(X, y)
    for j, status in enumerate(model.solver_state_.stats.status):
        mean, lowest = y[:, j].mean(), lowest_loss("Poisson", X, y[:, j])
        reached = loss("Poisson", X, y[:, j], model.coef_[:, j], model.intercept_[j])
        explained = loss("Poisson", X, y[:, j], np.zeros(X.shape[1]), np.log(mean)) - lowest
        assert status in (Status.CONVERGED, Status.UNBOUNDED)
        assert reached - lowest < (0.1 if status == Status.CONVERGED else 0.02 * explained)


def test_a_solution_of_double_precision_keeps_its_digits():
    recording = load_head_direction()
    spikes = recording.spikes.count(0.02, recording.head_direction.time_support)
    direction = spikes.value_from(recording.head_direction)
    # The head has been to a part of the directions only: coefficients of 1e11 cancel each other.
    basis = CyclicBSplineEval(12, bounds=(0, 2 * np.pi))
    X = np.asarray(basis.compute_features(direction), np.float32)[:500]
    y = np.asarray(spikes, float)[:500]
    with pytest.warns(RuntimeWarning, match="have their optimum at infinity"):
        model = PopulationGLM().fit(X, y)
    # What features add to others by their rounding in single precision says nothing.
    varies = X.std(axis=0) > 1e-7
    standardised = (X - X.mean(axis=0, dtype=float))[:, varies] / X.std(axis=0)[varies]
    left, size, _ = np.linalg.svd(standardised, full_matrices=False)
    told = left[:, size > 1e-5 * size[0]]
    for j in np.flatnonzero(y.any(axis=0)):
        reached = loss("Poisson", X, y[:, j], model.coef_[:, j], model.intercept_[j])
        saturated = np.sum(y[:, j] - xlogy(y[:, j], y[:, j]))
        value = len(y) * model.solver_state_.stats.function_val[j]
        assert reached + saturated == pytest.approx(value, abs=0.2)
        assert reached < lowest_loss("Poisson", told, y[:, j]) + 0.6


@pytest.mark.parametrize("seed", [0, 1])
def test_bins_without_spikes_take_few_passes_more_than_with_a_penalty(seed):
    path, y = place_fields(seed)
    x, z = np.minimum(8 * path.T, 7).astype(int)
    X = (np.unique(8 * x + z) == (8 * x + z)[:, None]).astype(float)
    with pytest.warns(RuntimeWarning, match="coefficients of column .* run away"):
        free = PopulationGLM().fit(X, y)
    held = PopulationGLM(regularizer="Ridge", regularizer_strength=1e-3).fit(X, y)
    with jax.enable_x64(True), pytest.warns(RuntimeWarning, match="run away"):
        double = PopulationGLM().fit(X, y)
    assert double.solver_state_.n_passes < 3 * held.solver_state_.n_passes
    # Passes in single precision count, and those of the units that need double precision.
    assert free.solver_state_.n_passes < 6 * held.solver_state_.n_passes
    for j in range(y.shape[1]):
        reached = loss("Poisson", X, y[:, j], free.coef_[:, j], free.intercept_[j])
        assert reached < lowest_loss("Poisson", X, y[:, j]) + 0.1


@pytest.mark.parametrize("family", ["Poisson", "Gaussian"])
@pytest.mark.parametrize("shared", [True, False], ids=["one_mask", "masks"])
def test_a_neuron_that_needs_more_digits_leaves_the_others_alone(family, shared, rng):
    """Single precision is too coarse for one of eleven neurons, which is all that is refitted."""
    X = rng.normal(size=(400, 3))
    y = 1.0 * rng.poisson(np.exp(0.3 * X @ rng.normal(size=(3, 11)) + 1))
    hard = y.copy()
    if family == "Poisson":
        hard[:, 4] = np.rint(1e9 * np.exp(0.5 * X[:, 0]))
    else:
        hard[:, 4] = 1 + 0.5 * X[:, 0] + 1e-7 * rng.normal(size=400)
    mask = None if shared else (rng.uniform(size=(3, 11)) < 0.7) * 1.0
    model = PopulationGLM(family, feature_mask=mask)
    easy = clone(model).fit(X, y)
    mixed = clone(model).fit(X, hard)
    others = np.arange(11) != 4
    for name in ("coef_", "intercept_", "scale_", "edf_"):
        found, alone = getattr(mixed, name)[..., others], getattr(easy, name)[..., others]
        np.testing.assert_allclose(found, alone, rtol=1e-12, atol=1e-12, err_msg=name)
    for name in ("status", "num_steps", "function_val"):
        both = (getattr(m.solver_state_.stats, name)[others] for m in (mixed, easy))
        np.testing.assert_array_equal(*both, err_msg=name)
    one = GLM(family, feature_mask=None if mask is None else mask[:, 4]).fit(X, hard[:, 4])
    np.testing.assert_allclose(mixed.coef_[:, 4], one.coef_, rtol=1e-6, atol=1e-9)
    assert mixed.solver_state_.n_passes > easy.solver_state_.n_passes
