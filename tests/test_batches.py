"""Data in batches: what a pass over them reaches, and what it costs."""

import pickle

import jax
import numpy as np
import pandas as pd
import pynapple as nap
import pytest
from scipy.stats import kstest
from sklearn.base import clone

import spikax as nmo
from compilations import counted
from spikax._inputs import Data, design_matrix
from spikax.basis import CyclicBSplineEval
from spikax.core.standardise import Standardisation
from spikax.glm import GLM, ClassifierPopulationGLM, PopulationGLM, _reservoir
from spikax.observation_models import NegativeBinomialObservations
from spikax.regularizer import GroupLasso

P, N = 6, 3
VARIANCE = {
    "Poisson": lambda mean, scale: mean,
    "Bernoulli": lambda mean, scale: mean * (1 - mean),
    "Gaussian": lambda mean, scale: 0 * mean + 1 / scale,
}


def recording(family, T, seed=0):
    """Make features that are far from standardised, and what three neurons do."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(T, P)) @ rng.normal(size=(P, P)) + 2.0
    eta = (X - 2) @ rng.normal(0, 0.2, size=(P, N)) - 1.0
    y = {
        "Poisson": lambda: rng.poisson(np.exp(eta)),
        "Bernoulli": lambda: rng.binomial(1, 1 / (1 + np.exp(-eta))),
        "Gaussian": lambda: rng.normal(eta),
    }[family]()
    return X, y.astype(float)


def pass_over(model, X, y, n_batches, **along):
    """Give a model the batches of one pass."""
    parts = {k: np.array_split(v, n_batches) for k, v in along.items()}
    for i, (some, observed) in enumerate(
        zip(np.array_split(X, n_batches), np.array_split(y, n_batches), strict=True)
    ):
        model.partial_fit(some, observed, **{k: v[i] for k, v in parts.items()})
    return model


def in_standard_errors(model, full, family, X):
    """Distance of coefficients and intercepts, from the inverse of Fisher's information."""
    design = np.hstack([X, np.ones((len(X), 1))])
    gap = np.vstack([model.coef_ - full.coef_, (model.intercept_ - full.intercept_)[None]])
    mean = full.predict(X)
    for j in range(mean.shape[1]):
        weight = VARIANCE[family](mean[:, j], full.scale_[j])
        information = (design * weight[:, None]).T @ design
        gap[:, j] /= np.sqrt(np.diag(np.linalg.inv(information)))
    return np.abs(gap)


# --- partial_fit: while all samples are kept, it is the fit to all.


@pytest.mark.parametrize("family", VARIANCE)
@pytest.mark.parametrize(
    ("penalty", "strength"), [(None, None), ("Ridge", [0.0, 0.1, 1.0]), ("Lasso", 0.02)]
)
def test_the_first_batches_give_the_fit_to_all_of_them(family, penalty, strength):
    X, y = recording(family, 600)
    kwargs = {
        "regularizer": penalty,
        "regularizer_strength": strength,
        "solver_name": "ProxSVRG" if penalty == "Lasso" else None,
        "solver_kwargs": {"tol": 1e-10},
    }
    with jax.enable_x64(True):
        full = PopulationGLM(family, **kwargs).fit(X, y)
        model = pass_over(PopulationGLM(family, **kwargs), X, y, 3)
    np.testing.assert_allclose(model.coef_, full.coef_, atol=1e-5)
    np.testing.assert_allclose(model.intercept_, full.intercept_, atol=1e-5)
    np.testing.assert_allclose(model.dof_resid_, full.dof_resid_, rtol=1e-7)
    # Each batch is judged by the estimate it led to, not by the last.
    np.testing.assert_allclose(model.scale_, full.scale_, rtol=0.05)


def test_weights_offsets_masks_missing_entries_and_containers_are_those_of_a_fit():
    X, y = recording("Poisson", 600)
    rng = np.random.default_rng(1)
    X[::50, 2] = np.nan
    y[::70, 1] = np.nan
    along = {"sample_weight": rng.uniform(0.5, 2, 600), "offset": rng.normal(0, 0.3, 600)}
    mask = {"a": np.array([1, 0, 1]), "b": np.ones((P - 2, N))}
    kwargs = {"feature_mask": mask, "solver_kwargs": {"tol": 1e-10}}

    def tree(X):
        return {"a": X[:, :2], "b": X[:, 2:]}

    with jax.enable_x64(True):
        full = PopulationGLM(**kwargs).fit(tree(X), y, **along)
        model = PopulationGLM(**kwargs)
        for i in np.array_split(np.arange(600), 4):
            model.partial_fit(tree(X[i]), y[i], **{k: v[i] for k, v in along.items()})
    for name in "ab":
        np.testing.assert_allclose(model.coef_[name], full.coef_[name], atol=1e-5)
    np.testing.assert_array_equal(model.coef_["a"][:, 1], 0)
    np.testing.assert_allclose(model.intercept_, full.intercept_, atol=1e-5)
    np.testing.assert_allclose(model.dof_resid_, full.dof_resid_)


# Batches of one class are separated, and told to be.
@pytest.mark.filterwarnings("ignore:.*neurons need a look:RuntimeWarning")
@pytest.mark.parametrize("labels", [["a", "b", "c"], [3, 1, 7]])
def test_classes_are_those_of_a_fit(labels):
    X, y = recording("Gaussian", 600)
    choice = np.array(labels)[np.digitize(y, [-1.0, 0.5])]
    kwargs = {"n_classes": 3, "regularizer_strength": 0.1, "solver_kwargs": {"tol": 1e-10}}
    offset = np.random.default_rng(1).normal(0, 0.3, size=(600, N, 3))
    with jax.enable_x64(True):
        full = ClassifierPopulationGLM(**kwargs).fit(X, choice, offset=offset)
        model = ClassifierPopulationGLM(**kwargs)
        for i in np.array_split(np.argsort(choice[:, 0]), 3):  # a class or two in each
            model.partial_fit(X[i], choice[i], classes=labels, offset=offset[i])
    np.testing.assert_allclose(model.coef_, full.coef_, atol=1e-5)
    np.testing.assert_array_equal(model.predict(X), full.predict(X))
    np.testing.assert_allclose(model.dof_resid_, full.dof_resid_, rtol=1e-6)
    with pytest.raises(ValueError, match=r"classes are .* but those of the first batch"):
        model.partial_fit(X, choice, classes=[*labels[:2], labels[2] * 2])


def test_groups_are_those_of_a_fit_also_of_features_that_the_first_batch_does_not_show():
    X, y = recording("Poisson", 600)
    X[:200, 3] = 7.0
    groups = GroupLasso(np.repeat(np.eye(2), 3, axis=1))
    kwargs = {"regularizer": groups, "regularizer_strength": 0.02}
    with jax.enable_x64(True):
        full = PopulationGLM(**kwargs, solver_kwargs={"tol": 1e-10}).fit(X, y)
        model = pass_over(PopulationGLM(**kwargs, solver_kwargs={"tol": 1e-10}), X, y, 3)
    np.testing.assert_allclose(model.coef_, full.coef_, atol=1e-5)


def test_a_scale_that_is_given_is_used_and_one_to_estimate_is_refused():
    X, y = recording("Poisson", 600)
    with jax.enable_x64(True):
        full = PopulationGLM(NegativeBinomialObservations(0.5)).fit(X, y)
        model = pass_over(PopulationGLM(NegativeBinomialObservations(0.5)), X, y, 3)
    assert in_standard_errors(model, full, "Poisson", X).max() < 0.05
    np.testing.assert_array_equal(model.scale_, 0.5)
    estimated = PopulationGLM(NegativeBinomialObservations("estimate"))
    with pytest.raises(ValueError, match="estimated from all samples: use fit"):
        estimated.partial_fit(X, y)


def test_one_neuron_is_the_population_of_one():
    X, y = recording("Poisson", 300)
    population = pass_over(PopulationGLM(), X, y[:, :1], 3)
    one = pass_over(GLM(), X, y[:, 0], 3)
    np.testing.assert_allclose(one.coef_, population.coef_[:, 0], rtol=1e-5)
    assert np.ndim(one.scale_) == np.ndim(one.dof_resid_) == 0
    assert one.solver_state_.stats.converged


def test_what_a_first_batch_does_not_show_is_learned_later():
    X, y = recording("Poisson", 600)
    X[:200, 3] = 7.0
    y[:200, 1] = 0
    with pytest.warns(RuntimeWarning, match="neurons 1 have their optimum at infinity"):
        model = PopulationGLM().partial_fit(X[:200], y[:200])
    np.testing.assert_array_equal(model.coef_[3], 0)
    model.partial_fit(X[200:], y[200:])
    full = PopulationGLM().fit(X, y)
    assert in_standard_errors(model, full, "Poisson", X).max() < 0.05


# --- Beyond, it is as good as the fit to all, up to a part of a standard error.


@pytest.mark.parametrize("family", VARIANCE)
@pytest.mark.parametrize("n_batches", [8, 80])
def test_one_pass_reaches_the_fit_to_all_samples_to_statistical_accuracy(family, n_batches):
    X, y = recording(family, 24_000)
    full = PopulationGLM(family, solver_kwargs={"tol": 1e-6}).fit(X, y)
    model = pass_over(PopulationGLM(family), X, y, n_batches)
    once = in_standard_errors(model, full, family, X)
    # The promise is about sqrt(7 / 4096) = 0.04.
    assert np.sqrt(np.mean(once**2)) < 0.1
    assert once.max() < 0.25
    np.testing.assert_allclose(model.scale_, full.scale_, rtol=0.01)
    for _ in range(2):
        pass_over(model, X, y, n_batches)
    assert np.mean(in_standard_errors(model, full, family, X) ** 2) < np.mean(once**2)


def test_one_pass_over_a_recording_reaches_its_fit_to_statistical_accuracy():
    data = nmo.datasets.load_head_direction()
    angle = data.head_direction.bin_average(0.02)
    X = CyclicBSplineEval(8, bounds=(0, 2 * np.pi)).compute_features(angle.d)[:, 1:]
    counts = data.spikes.count(0.02, data.head_direction.time_support)
    y = np.asarray(counts.d[: len(X)], float)
    X = np.asarray(X)[: len(y)]
    full = PopulationGLM(solver_kwargs={"tol": 1e-5}).fit(X, y)
    model = PopulationGLM()
    with pytest.warns(RuntimeWarning, match="need a look"):  # units silent at first
        pass_over(model, X, y, 20)
    once = in_standard_errors(model, full, "Poisson", X)
    assert np.median(once) < 0.1
    assert once.max() < 0.5


def test_each_sample_is_kept_with_equal_chance():
    memory = None
    n_samples, sizes = 0, [10, 4000, 700, 1, 5000, 9000, 1289]
    for size in sizes:
        X, layout = design_matrix(np.arange(n_samples, n_samples + size)[:, None])
        data = Data(X, np.zeros((size, 1)), layout, None, None, None)
        if memory is None:
            memory = _reservoir.empty(data, Standardisation(np.zeros(1), np.ones(1)), 1)
        memory = _reservoir.remember(memory, data)
        n_samples += size
    kept = memory.X[:, 0]
    assert len(np.unique(kept)) == len(kept) == _reservoir.N_KEPT
    assert memory.n_seen == n_samples == sum(sizes)
    assert kstest(kept, "uniform", (0, n_samples)).pvalue > 0.01


# --- update: steps of a solver.


@pytest.mark.parametrize("solver", ["SVRG", "ProxSVRG", "WhitenedLBFGS", "Newton"])
def test_updates_lead_to_the_optimum(solver):
    X, y = recording("Poisson", 2000)
    best = PopulationGLM(solver_kwargs={"tol": 1e-7}).fit(X, y)
    anchored = solver.endswith("SVRG")
    model = PopulationGLM(
        solver_name=solver, solver_kwargs={"batch_size": 50} if anchored else None
    )
    params = model.initialize_params(X, y)
    for _ in range(200 if solver == "ProxSVRG" else 25):  # it does not whiten
        # The whole gradient belongs to the state: it is taken anew for each pass.
        state = model.initialize_optimizer_and_state(params, X, y)
        for some in np.array_split(np.arange(2000), 40) if anchored else [slice(None)] * 2:
            params, state = model.update(params, state, X[some], y[some])
    assert in_standard_errors(model, best, "Poisson", X).max() < 0.01


@pytest.mark.parametrize("penalty", ["Ridge", "Lasso"])
def test_further_batches_of_a_shape_compile_nothing(penalty):
    X, y = recording("Poisson", 900)
    model = PopulationGLM(regularizer=penalty, regularizer_strength=0.05)
    model.partial_fit(X[:300], y[:300])
    with counted() as compiled:
        model.partial_fit(X[300:600], y[300:600])
        model.partial_fit(X[600:], y[600:])
        clone(model).set_params(regularizer_strength=0.1).partial_fit(X[:300], y[:300])
    assert not compiled


def test_an_update_takes_the_arguments_that_the_model_has_now():
    X, y = recording("Poisson", 600)
    model = PopulationGLM(regularizer="Ridge", regularizer_strength=0.0)
    params = model.initialize_params(X, y)
    state = model.initialize_optimizer_and_state(params, X, y)
    free, _ = model.update(params, state, X, y)
    model.set_params(regularizer_strength=10.0)
    held, _ = model.update(params, pickle.loads(pickle.dumps(state)), X, y)
    other = PopulationGLM(regularizer="Ridge", regularizer_strength=10.0)
    np.testing.assert_array_equal(held[0], other.update(params, state, X, y)[0][0])
    assert np.all(np.linalg.norm(held[0], axis=0) < 0.5 * np.linalg.norm(free[0], axis=0))


def test_an_update_is_as_precise_as_jax_is_now():
    X, y = recording("Poisson", 600)
    model = PopulationGLM(regularizer="Ridge", regularizer_strength=0.1)
    params = model.initialize_params(X, y)
    state = model.initialize_optimizer_and_state(params, X, y)
    with jax.enable_x64(True):
        ahead, _ = model.update(params, state, X, y)
        anew, _ = model.update(params, pickle.loads(pickle.dumps(state)), X, y)
    np.testing.assert_array_equal(ahead[0], anew[0])


def test_an_update_refuses_a_state_for_other_features():
    X, y = recording("Poisson", 60)
    model = PopulationGLM()
    state = model.initialize_optimizer_and_state(model.initialize_params(X, y), X, y)
    with pytest.raises(ValueError, match="X has 5 features, opt_state was made for 6"):
        model.update(model.initialize_params(X[:, 1:], y), state, X[:, 1:], y)


def test_further_updates_compile_nothing():
    X, y = recording("Poisson", 600)
    model = PopulationGLM(solver_name="SVRG")
    params = model.initialize_params(X, y)
    state = model.initialize_optimizer_and_state(params, X, y)
    params, state = model.update(params, state, X[:200], y[:200])
    with counted() as compiled:
        params, state = model.update(params, state, X[200:400], y[200:400])
        model.update(params, state, X[400:], y[400:])
    assert not compiled


# --- What a model that is fitted by batches keeps, and what it refuses.


def test_a_pickled_model_goes_on_and_a_fit_starts_afresh():
    X, y = recording("Poisson", 600)
    model = PopulationGLM().partial_fit(X[:300], y[:300])
    copy = pickle.loads(pickle.dumps(model))
    model.partial_fit(X[300:], y[300:])
    copy.partial_fit(X[300:], y[300:])
    np.testing.assert_array_equal(copy.coef_, model.coef_)
    np.testing.assert_array_equal(
        model.fit(X[:50], y[:50]).coef_, clone(model).fit(X[:50], y[:50]).coef_
    )


def test_no_batch_is_changed():
    X, y = recording("Poisson", 300)
    before = X.copy(), y.copy()
    pass_over(PopulationGLM(), X, y, 2)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])


X, Y = recording("Poisson", 60)
NAMES = pd.DataFrame(X, columns=list("abcdef"))
TIMES = np.arange(60) * 0.1
REFUSED = {
    "fewer features": (X, (X[:, 1:], Y), ValueError, "X has 5 features, but .* expecting 6"),
    "a container": (X, ({"a": X}, Y), TypeError, "structured as it was"),
    "other names": (NAMES, (NAMES.rename(columns={"a": "z"}), Y), ValueError, "feature names"),
    "fewer neurons": (X, (X, Y[:, 1:]), ValueError, "y has 2 neurons, .* before it had 3"),
    "one neuron": (X, (X, Y[:, 0]), ValueError, r"y must have shape \(n_samples, n_neurons\)"),
    "y of another length": (X, (X, Y[1:]), ValueError, "inconsistent numbers of samples"),
    "negative counts": (X, (X, -Y - 1), ValueError, "non-negative counts"),
    "infinity": (X, (np.where(X > 2, np.inf, X), Y), ValueError, "is inf in row"),
    "no sample left": (X, (np.full_like(X, np.nan), Y), ValueError, "No sample is left of 60"),
    "other times": (
        X,
        (nap.TsdFrame(t=TIMES, d=X), nap.TsdFrame(t=TIMES + 9, d=Y)),
        ValueError,
        "different time axes",
    ),
    "wrong weights": (X, (X, Y, np.ones(3)), ValueError, r"sample_weight must have shape \(60,\)"),
    "a wrong offset": (X, (X, Y, None, np.ones(3)), ValueError, "offset must have shape"),
}


@pytest.mark.parametrize(("first", "then", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_a_batch_that_does_not_go_with_the_first_is_refused(first, then, error, message):
    model = PopulationGLM().partial_fit(first, Y)
    before = model.coef_
    with counted() as compiled, pytest.raises(error, match=message):
        model.partial_fit(*then)
    assert not compiled
    np.testing.assert_array_equal(model.coef_, before)
    model.partial_fit(first, Y)


def test_what_was_fitted_in_another_way_or_loaded_starts_afresh(tmp_path):
    first = PopulationGLM().partial_fit(X, Y)
    first.save_params(tmp_path / "model.npz")
    loaded = nmo.load_model(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.predict(X), first.predict(X))
    again = 2 * X[:, ::-1]
    expected = PopulationGLM().partial_fit(again, Y)
    for model in (loaded, PopulationGLM().fit(X, Y)):
        model.partial_fit(again, Y)
        np.testing.assert_array_equal(model.coef_, expected.coef_)
        np.testing.assert_allclose(model.dof_resid_, expected.dof_resid_, rtol=1e-7)
    with pytest.raises(AttributeError, match="feature_mask cannot be set after"):
        first.feature_mask = np.ones((P, N))
