"""Simulation: what one neuron does to another is what the filters say."""

from functools import partial

import jax
import numpy as np
import pandas as pd
import pynapple as nap
import pytest
from scipy.special import expit, lambertw
from scipy.stats import gamma
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError

from compilations import counted
from spikax.basis import BSplineEval, HistoryConv, IdentityEval, RaisedCosineLogConv
from spikax.convolve import create_convolutional_predictor
from spikax.glm import GLM, ClassifierPopulationGLM, PopulationGLM
from spikax.glm._shell import Shell
from spikax.io import estimators
from spikax.model_selection import GLMCV, PopulationGLMCV
from spikax.observation_models import OBSERVATION_MODELS, resolve
from spikax.simulation import (
    _spectral_radius,
    difference_of_gammas,
    regress_filter,
    simulate_recurrent,
    stability,
)

N, W, B, K, T = 3, 6, 2, 2, 400


@pytest.fixture
def population(rng, key):
    return {
        "coupling_coef": rng.normal(size=(N, N, B)) * 0.05,
        "feedforward_coef": rng.normal(size=(N, K)) * 0.3,
        "intercepts": rng.normal(size=N) - 1,
        "random_key": key,
        "feedforward_input": rng.normal(size=(T, N, K)),
        "coupling_basis_matrix": rng.random((W, B)),
        "init_y": rng.poisson(1, (W, N)).astype(float),
    }


ONE_PREDICTOR = [name for name in OBSERVATION_MODELS if resolve(name).n_predictors == 1]
LINKS = {"Poisson": "exp", "Bernoulli": "logistic", "Gaussian": "identity", "Gamma": "softplus"}


@pytest.mark.parametrize("model", ONE_PREDICTOR)
def test_rates_are_those_of_the_past_that_was_simulated(model, population):
    """The convolution that makes the features of a fit gives the same linear predictor."""
    link = LINKS.get(model, "exp")
    spikes, rates = simulate_recurrent(
        **population, inverse_link_function=link, observation_model=model, scale=0.5
    )
    assert spikes.shape == rates.shape == (T, N)
    past = np.vstack([population["init_y"], spikes])
    features = create_convolutional_predictor(population["coupling_basis_matrix"], past)[W:]
    eta = np.einsum("tjb,ijb->ti", features, population["coupling_coef"])
    eta += np.einsum("tnk,nk->tn", population["feedforward_input"], population["feedforward_coef"])
    eta += population["intercepts"]
    mean = {
        "exp": np.exp,
        "logistic": lambda x: 1 / (1 + np.exp(-x)),
        "identity": np.asarray,
        "softplus": lambda x: np.log1p(np.exp(x)),
    }[link](eta)
    np.testing.assert_allclose(rates, mean, rtol=1e-4, atol=1e-5)


def test_observations_have_the_mean_that_they_should(population):
    population["feedforward_input"] = np.zeros((20_000, N, K))
    spikes, rates = simulate_recurrent(**population, inverse_link_function="exp")
    error = np.sqrt(np.mean(rates, axis=0) / 20_000)
    np.testing.assert_array_less(np.abs(np.mean(spikes - rates, axis=0)), 5 * error)


def test_the_key_decides_and_no_second_simulation_compiles(population):
    first = simulate_recurrent(**population)
    with counted() as compilations:
        again = simulate_recurrent(**population)
        other = simulate_recurrent(**{**population, "random_key": jax.random.key(1)})
        weaker = {**population, "coupling_coef": population["coupling_coef"] / 2}
        simulate_recurrent(**weaker)
    assert not compilations
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])


def test_any_link_will_do(population):
    _, rates = simulate_recurrent(**population, inverse_link_function=jax.nn.sigmoid)
    assert 0 < rates.min() < rates.max() < 1


def test_a_population_that_runs_away_is_told(population):
    population["coupling_coef"] = np.full((N, N, B), 5.0)
    with pytest.warns(RuntimeWarning, match="runs away: 3 of 3 neurons"):
        simulate_recurrent(**population, inverse_link_function="exp")


@pytest.mark.parametrize("name", ["coupling_coef", "feedforward_coef", "intercepts"])
def test_missing_parameters_are_refused(name, population):
    population[name] = np.full_like(population[name], np.nan)
    with pytest.raises(ValueError, match=f"{name} has NaN"):
        simulate_recurrent(**population)
    population[name] = np.full_like(population[name], np.inf)
    with pytest.raises(ValueError, match=f"{name} is infinite"):
        simulate_recurrent(**population)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("coupling_coef", (N, N + 1, B)),
        ("feedforward_coef", (N + 1, K)),
        ("intercepts", (1,)),
        ("feedforward_input", (T, N)),
        ("feedforward_input", (0, N, K)),
        ("coupling_basis_matrix", (W, B + 1)),
        ("init_y", (W - 1, N)),
    ],
)
def test_shapes_that_do_not_go_together_are_told_by_name(name, shape, population):
    population[name] = np.ones(shape)
    with pytest.raises(ValueError, match=f"{name} has shape"):
        simulate_recurrent(**population)


def test_unknown_names_are_refused(population):
    with pytest.raises(ValueError, match="Unknown inverse_link_function"):
        simulate_recurrent(**population, inverse_link_function="expo")
    with pytest.raises(ValueError, match="Unknown observation_model"):
        simulate_recurrent(**population, observation_model="Poison")


def test_a_difference_of_gammas_excites_and_inhibits():
    shape, rate = {"inhib_a": 2.0, "excit_a": 1.5}, {"inhib_b": 3.0, "excit_b": 2.0}
    got = difference_of_gammas(50, 0.95, **shape, **rate)
    inhibition, excitation = gamma(2.0, scale=1 / 3), gamma(1.5, scale=1 / 2)
    lag = np.linspace(0, max(inhibition.ppf(0.95), excitation.ppf(0.95)), 50)
    raw = excitation.pdf(lag) - inhibition.pdf(lag)
    np.testing.assert_allclose(got, raw / np.sqrt(np.sum(raw**2)))
    # what NeMoS 0.2.9 returns
    np.testing.assert_allclose(difference_of_gammas(8)[:3], [-0.97653, 0.1836, 0.10791], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ws": 0}, "ws is 0"),
        ({"ws": 5, "inhib_a": 0}, "inhib_a is 0"),
        ({"ws": 5, "excit_b": -1}, "excit_b is -1"),
        ({"ws": 5, "upper_percentile": 1.0}, "upper_percentile is 1.0"),
        ({"ws": 5, "excit_a": 1.0, "excit_b": 1.0}, "zero or infinite"),
        ({"ws": 5, "excit_a": 0.5}, "zero or infinite"),
    ],
)
def test_gammas_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        difference_of_gammas(**arguments)


def test_filters_in_the_span_of_a_basis_are_found_again(rng):
    kernel = np.asarray(RaisedCosineLogConv(4, window_size=40).kernel_, float)
    coef = rng.normal(size=(3, 2, 4))
    filters = np.einsum("wb,ijb->wij", kernel, coef)
    np.testing.assert_allclose(regress_filter(filters, kernel), coef, atol=1e-8)
    with pytest.raises(ValueError, match="one window_size"):
        regress_filter(filters, kernel[:-1])


# --- A fitted model simulates itself.


BASIS = RaisedCosineLogConv(2, window_size=4, label="coupling")
FAST = HistoryConv(2, label="history")


def fitted(kind=PopulationGLM, container="dict", family="Poisson", link=None, **arguments):
    """Fit a coupled model, in a few steps; give it, its other features, and how to make all."""
    rng = np.random.default_rng(3)
    single = kind._single
    y, stimulus = rng.poisson(0.4, (60,) if single else (60, N)), rng.normal(size=(60, 2))
    place = IdentityEval(label="stimulus")
    sums = {
        "last": (place + BASIS, lambda c: (stimulus, c)),
        "middle": (FAST + BASIS + place, lambda c: (c, c, stimulus)),
    }
    if container in sums:
        basis, inputs = sums[container]
        other, make = stimulus, lambda c: basis.compute_features(*inputs(c))
    elif container == "column":
        basis, other = BASIS, stimulus
        make = lambda c: np.hstack([stimulus, BASIS.compute_features(c)])  # noqa: E731
    elif container == "list":
        basis, other = BASIS, [stimulus]
        make = lambda c: [BASIS.compute_features(c), stimulus]  # noqa: E731
    elif container == "both":
        basis, other = {"fast": FAST, "coupling": BASIS}, {"stimulus": stimulus}
        make = lambda c: {  # noqa: E731
            "coupling": BASIS.compute_features(c),
            "fast": FAST.compute_features(c),
            "stimulus": stimulus,
        }
    elif container == "alone":
        basis, other, make = BASIS, len(y), BASIS.compute_features
    else:
        basis, other = BASIS, {"stimulus": stimulus}
        make = lambda c: {**other, "coupling": BASIS.compute_features(c)}  # noqa: E731
    known = kind().get_params(deep=False)
    small = {"cv": 2, "n_strengths": 2, "regularizer": "Ridge", "solver_kwargs": {"maxiter": 20}}
    small = {name: value for name, value in (small | arguments).items() if name in known}
    model = kind(**small).fit(make(y), y)
    return (
        model.set_params(observation_model=family, inverse_link_function=link),
        other,
        basis,
        make,
    )


COUPLING = {"middle": ["coupling", "history"], "column": 2, "list": 0}


def assert_feeds_back(model, other, basis, make, coupling=None, offset=None):
    """Compare the means of a simulation with what `predict` makes of its own past."""
    spikes, rates = model.simulate_recurrent(
        jax.random.key(0), other, basis, coupling, offset=offset
    )
    assert spikes.shape == rates.shape == np.shape(model.predict(make(spikes)))
    expected = np.asarray(model.predict(make(spikes), offset))
    known = ~np.isnan(expected)
    assert known.mean() > 0.9
    np.testing.assert_allclose(np.asarray(rates)[known], expected[known], rtol=2e-5, atol=1e-6)
    return spikes, rates


@pytest.mark.filterwarnings("ignore:.*need:RuntimeWarning")
@pytest.mark.parametrize("kind", [GLM, PopulationGLM, GLMCV, PopulationGLMCV])
def test_every_model_predicts_the_rates_of_its_own_simulation(kind):
    model, other, basis, make = fitted(kind)
    shape = (60,) if kind._single else (60, N)
    assert_feeds_back(model, other, basis, make, offset=np.linspace(-1, 0.5, 60))
    assert_feeds_back(model, other, basis, make, offset=np.full(shape, 0.5))


def test_a_model_of_two_predictors_is_refused(population):
    with pytest.raises(ValueError, match="'HurdlePoisson' has several linear predictors"):
        simulate_recurrent(**population, observation_model="HurdlePoisson")


@pytest.mark.filterwarnings("ignore:.*need:RuntimeWarning")
@pytest.mark.parametrize("family", ONE_PREDICTOR)
def test_every_observation_model_and_link_feeds_back(family):
    link = LINKS.get(family, "exp")
    model, other, basis, make = fitted(family=family, link=link)
    spikes, _ = assert_feeds_back(model, other, basis, make)
    assert np.all(model.resolve().observation_model.allows(spikes))


@pytest.mark.filterwarnings("ignore:.*need:RuntimeWarning")
@pytest.mark.parametrize("container", ["last", "middle", "column", "list", "both", "alone"])
def test_coupling_is_found_in_every_container(container):
    model, other, basis, make = fitted(container=container)
    coupling = COUPLING.get(container)
    assert_feeds_back(model, other, basis, make, coupling)
    assert model.stability(other, basis, coupling).rates.shape == (N,)


@pytest.mark.filterwarnings("ignore:.*need:RuntimeWarning")
def test_a_design_of_a_basis_and_a_mask_feed_back():
    rng = np.random.default_rng(0)
    stimulus, y = rng.normal(size=60), rng.poisson(0.4, (60, N))
    place = BSplineEval(5, bounds=(-5, 5), label="stimulus")
    basis, own = place + BASIS, np.kron(np.eye(N), np.ones((2, 1)))
    mask = np.vstack([np.ones((5, N)), own])
    model = PopulationGLM(regularizer="Ridge", feature_mask=mask).fit(basis.design(stimulus, y), y)
    for other in (place.design(stimulus), place.compute_features(stimulus)):
        assert_feeds_back(model, other, basis, lambda c: basis.design(stimulus, c))
    # A neuron that sees only itself does not care what the others did.
    past = np.ones((4, N)) * [1, 0, 0]
    key = jax.random.key(0)
    first, _ = model.simulate_recurrent(key, place.compute_features(stimulus), basis, init_y=past)
    other, _ = model.simulate_recurrent(key, place.compute_features(stimulus), basis)
    np.testing.assert_array_equal(first[:, 1:], other[:, 1:])


@pytest.mark.filterwarnings("ignore:.*need:RuntimeWarning")
@pytest.mark.parametrize("kind", [GLM, PopulationGLM])
def test_the_past_is_what_was_given(kind):
    model, other, basis, _ = fitted(kind)
    past = np.random.default_rng(1).poisson(1, (4,) if kind._single else (4, N))
    spikes, rates = model.simulate_recurrent(jax.random.key(0), other, basis, init_y=past)
    X = {**other, "coupling": BASIS.compute_features(np.concatenate([past, spikes]))[4:]}
    np.testing.assert_allclose(rates, model.predict(X), rtol=2e-5)


@pytest.mark.filterwarnings("ignore:.*need:RuntimeWarning")
def test_without_coupling_it_is_simulate():
    model, other, basis, _ = fitted()
    model.coef_ = {**model.coef_, "coupling": np.zeros_like(model.coef_["coupling"])}
    key, nothing = jax.random.key(1), np.zeros((60, N))
    X = {**other, "coupling": np.zeros((60, 2 * N))}
    offset = np.linspace(0, 2, 60)
    _, rates = model.simulate_recurrent(key, other, basis, offset=offset)
    drawn, expected = model.simulate(key, X, offset)
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert drawn.shape == nothing.shape


@pytest.mark.filterwarnings("ignore:.*need:RuntimeWarning")
def test_each_epoch_of_a_time_series_begins_anew():
    model, other, basis, _ = fitted()
    time = np.concatenate([np.arange(30), 100 + np.arange(30)]) * 0.1
    support = nap.IntervalSet([0, 9.9], [3, 13])
    stimulus = nap.TsdFrame(time, other["stimulus"], time_support=support)
    model._columns = np.array(["a", "b", "c"]), {}
    past = np.full((4, N), 3.0)
    spikes, rates = model.simulate_recurrent(
        jax.random.key(0), {"stimulus": stimulus}, basis, init_y=past
    )
    assert isinstance(spikes, nap.TsdFrame)
    assert list(rates.columns) == ["a", "b", "c"]
    np.testing.assert_array_equal(rates.t, time)
    for rows in (slice(0, 30), slice(30, 60)):
        features = BASIS.compute_features(np.vstack([past, spikes.d[rows]]))[4:]
        X = {"stimulus": other["stimulus"][rows], "coupling": features}
        np.testing.assert_allclose(rates.d[rows], model.predict(X), rtol=2e-5)


@pytest.mark.filterwarnings("ignore:.*need:RuntimeWarning")
def test_a_coupling_that_cannot_be_fed_back_is_refused():
    model, other, basis, _ = fitted()
    simulate = partial(model.simulate_recurrent, jax.random.key(0))
    with pytest.raises(NotFittedError):
        PopulationGLM().simulate_recurrent(jax.random.key(0), other, basis)
    with pytest.raises(ValueError, match="Unknown coupling: 'couplin'"):
        simulate(other, basis, "couplin")
    with pytest.raises(TypeError, match="does not convolve"):
        simulate(other, BSplineEval(5), "coupling")
    with pytest.raises(TypeError, match="must be the basis"):
        simulate(other, np.ones((4, 2)), "coupling")
    with pytest.raises(ValueError, match="leave coupling out"):
        simulate(other, {"coupling": basis}, "coupling")
    with pytest.raises(ValueError, match="makes 9 of the 3 neurons"):
        simulate(other, HistoryConv(3), "coupling")
    for how in ({"shift": False}, {"predictor_causality": "anti-causal"}):
        with pytest.raises(ValueError, match="beyond the past"):
            simulate(other, HistoryConv(2, conv_kwargs=how), "coupling")
    with pytest.raises(TypeError, match="makes the features of coupling"):
        simulate({**other, "coupling": np.zeros((60, 6))}, basis)
    with pytest.raises(ValueError, match=r"NaN in 1 of 60 rows, the first of them row 3"):
        simulate({"stimulus": np.where(np.arange(60)[:, None] == 3, np.nan, 1) * [[1, 1]]}, basis)
    with pytest.raises(ValueError, match="init_y must have shape"):
        simulate(other, basis, init_y=np.zeros((3, N)))
    with pytest.raises(ValueError, match="offset must have shape"):
        simulate(other, basis, offset=np.zeros(3))
    sums = BASIS + FAST
    with pytest.raises(ValueError, match=r"Which terms of .* coupling="):
        simulate(60, sums)
    both = np.random.default_rng(0).poisson(0.4, (60, N))
    alone = PopulationGLM(regularizer="Ridge").fit(BASIS.compute_features(both), both)
    with pytest.raises(ValueError, match="pass the number of samples"):
        alone.simulate_recurrent(jax.random.key(0), np.zeros((60, 2)), BASIS)
    with pytest.raises(ValueError, match="coupling makes 9 of them"):
        alone.simulate_recurrent(jax.random.key(0), 60, HistoryConv(3))
    classes = ClassifierPopulationGLM().fit(BASIS.compute_features(both), both > 0)
    with pytest.raises(TypeError, match="fit a 'Bernoulli' model"):
        classes.simulate_recurrent(jax.random.key(0), 60, BASIS)


@pytest.mark.filterwarnings("ignore:.*need:RuntimeWarning")
def test_columns_of_a_data_frame_keep_their_order():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 8)))
    frame.columns = ["x", "y", *(f"c{i}" for i in range(6))]
    model = PopulationGLM(regularizer="Ridge").fit(frame, np.ones((60, N)))
    model.simulate_recurrent(jax.random.key(0), frame[["x", "y"]], BASIS, 2)
    with pytest.raises(ValueError, match="x, y, in this order, got y, x"):
        model.simulate_recurrent(jax.random.key(0), frame[["y", "x"]], BASIS, 2)


GLMS = {name: kind for name, kind in estimators().items() if issubclass(kind, Shell)}


@pytest.mark.parametrize("kind", GLMS.values(), ids=GLMS)
@pytest.mark.filterwarnings("ignore:.*need:RuntimeWarning")
def test_every_estimator_simulates_with_the_offset_that_it_predicts_with(kind):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), rng.poisson(0.7, (60, 2))
    known = kind().get_params(deep=False)
    small = {"cv": 2, "n_strengths": 2, "regularizer": "Ridge", "solver_kwargs": {"maxiter": 20}}
    model = kind(**{name: value for name, value in small.items() if name in known})
    y = (y > 0) if is_classifier(model) else y
    model.fit(X, y[:, 0] if kind._single else y)
    shape = (60, *np.shape(model.predict(X))[1:])
    shape = (*shape, 2) if is_classifier(model) else shape
    offset = rng.normal(size=shape)
    predict = (
        partial(model.predict_proba, offset=offset)
        if is_classifier(model)
        else (partial(model.predict, offset=offset))
    )
    key = jax.random.key(0)
    drawn, mean = model.simulate(key, X, offset)
    np.testing.assert_array_equal(mean, predict(X))
    assert not np.allclose(mean, model.simulate(key, X)[1])
    # Over many draws the means are met.
    repeated = np.repeat(X, 500, axis=0), np.repeat(offset, 500, axis=0)
    drawn, mean = (np.asarray(a, float) for a in model.simulate(key, *repeated))
    mean = np.exp(mean)[..., 1] if is_classifier(model) else mean
    error = np.sqrt(mean.sum(axis=0)) + 1
    np.testing.assert_array_less(np.abs((drawn - mean).sum(axis=0)), 5 * error)


# --- Stability.


def companion_radius(filters, gain):
    """Largest eigenvalue of the companion matrix, filters (lag, receiver, sender)."""
    w, n, _ = filters.shape
    matrix = np.eye(w * n, k=-n)
    matrix[:n] = np.hstack([gain[:, None] * h for h in filters])
    return np.abs(np.linalg.eigvals(matrix)).max()


@pytest.mark.parametrize("link", ["exp", "softplus", "logistic", "identity"])
def test_stability_is_that_of_the_companion_matrix_at_a_fixed_point(link, rng):
    functions = {
        "exp": (np.exp, np.exp),
        "softplus": (lambda x: np.log1p(np.exp(x)), lambda x: 1 / (1 + np.exp(-x))),
        "logistic": (expit, lambda x: expit(x) * expit(-x)),
        "identity": (lambda x: x, np.ones_like),
    }
    mean, slope = functions[link]
    coupling, drive = rng.normal(size=(N, N, B)) * 0.1, rng.normal(size=N) - 1
    basis = rng.random((W, B))
    found = stability(coupling, drive, basis, link)
    filters = np.einsum("lb,ijb->lij", basis, coupling)
    eta = drive + filters.sum(axis=0) @ found.rates
    np.testing.assert_allclose(found.rates, mean(eta), rtol=1e-8)
    assert found.spectral_radius == pytest.approx(companion_radius(filters, slope(eta)), rel=1e-6)
    assert found.stable == (found.spectral_radius < 1)
    # The mean field itself: a small departure dies out.
    past = np.tile(found.rates, (W, 1)) + 1e-6 * rng.normal(size=(W, N))
    for _ in range(400):
        new = mean(drive + np.einsum("lij,lj->i", filters, past))
        past = np.vstack([new, past[:-1]])
    assert found.stable == bool(np.abs(past - found.rates).max() < 1e-9)


@pytest.mark.parametrize("excitation", [0.2, 0.5, 0.73])
def test_the_margin_of_one_neuron_is_known(excitation):
    """With `mu = exp(c + J mu)` the fixed points are branches of Lambert's function."""
    found = stability([[[excitation]]], [np.log(0.5)], [[1.0]], "exp")
    low, high = (-lambertw(-0.5 * excitation, k).real / excitation for k in (0, -1))
    assert found.rates[0] == pytest.approx(low, rel=1e-6)
    assert found.spectral_radius == pytest.approx(excitation * low, rel=1e-6)
    assert found.margin == pytest.approx(high / low, rel=0.01)
    assert found.runaway.tolist() == [True]


def test_what_cannot_stay_runs_away_and_what_saturates_or_inhibits_does_not():
    past_the_fold = stability([[[0.75]]], [np.log(0.5)], [[1.0]], "exp")  # above 1 / (0.5 e)
    assert (past_the_fold.stable, past_the_fold.spectral_radius) == (False, np.inf)
    assert past_the_fold.runaway.tolist() == [True]
    assert np.isnan(past_the_fold.rates).all()
    for link, strength in (("exp", -3.0), ("logistic", 1.0), ("identity", 0.9)):
        assert stability([[[strength]]], [-1.0], [[1.0]], link).margin == np.inf
    linear = stability([[[1.1]]], [1.0], [[1.0]], "identity")
    assert (linear.stable, linear.runaway.tolist()) == (False, [True])
    # Strong inhibition with a delay oscillates, and does not run away.
    delayed = stability([[[-8.0]]], [0.0], [[0.0], [1.0]], "exp")
    assert delayed.spectral_radius > 1
    assert (delayed.stable, delayed.runaway.tolist()) == (False, [False])
    # Two states of a switch: the margin is where the upper one attracts.
    switch = stability([[[10.0]]], [-4.0], [[1.0]], "logistic")
    assert switch.stable
    assert 1 < switch.margin < 1 / switch.rates[0]
    assert switch.runaway.tolist() == [False]


@pytest.mark.parametrize(("excitation", "runs"), [(0.1, False), (2.0, True)])
def test_simulations_run_away_where_the_mean_field_does(excitation, runs, key):
    coupling = np.full((2, 2, 1), excitation)
    found = stability(coupling, np.log([0.2, 0.3]), np.ones((2, 1)), "exp")
    assert found.runaway.any() == runs or found.margin > 3
    assert found.stable != runs
    arguments = {
        "coupling_coef": coupling,
        "feedforward_coef": np.zeros((2, 1)),
        "intercepts": np.log([0.2, 0.3]),
        "random_key": key,
        "feedforward_input": np.zeros((300, 2, 1)),
        "coupling_basis_matrix": np.ones((2, 1)),
        "init_y": np.zeros((2, 2)),
        "inverse_link_function": "exp",
    }
    if runs:
        with pytest.warns(RuntimeWarning, match="runs away: 2 of 2 neurons, 0, 1, fire"):
            simulate_recurrent(**arguments)
    else:
        _, rates = simulate_recurrent(**{**arguments, "feedforward_input": np.zeros((3000, 2, 1))})
        np.testing.assert_allclose(rates.mean(axis=0), found.rates, rtol=0.1)


def test_the_drive_of_many_samples_has_their_mean_rates(rng):
    drive = rng.normal(size=(50, N))
    nothing = np.zeros((N, N, 1))
    found = stability(nothing, drive, [[1.0]], "exp")
    np.testing.assert_allclose(found.rates, np.exp(drive).mean(axis=0), rtol=1e-8)
    assert found.spectral_radius == 0
    falling = stability(nothing, drive**2 + 1, [[1.0]], "one_over_x")
    np.testing.assert_allclose(falling.rates, (1 / (drive**2 + 1)).mean(axis=0), rtol=1e-8)


def test_large_populations_have_the_radius_that_their_modes_have(rng):
    """Filters `h(l) Q` have the modes of `h` times each eigenvalue of `Q`."""
    lag, strengths = 0.3 * 0.8 ** np.arange(26), np.linspace(-0.9, 0.6, 40)
    vectors = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    filters = lag[:, None, None] * (vectors * strengths @ vectors.T)
    modes = [companion_radius(lag[:, None, None], np.array([s])) for s in strengths]
    assert _spectral_radius(filters) == pytest.approx(max(modes), rel=1e-4)
