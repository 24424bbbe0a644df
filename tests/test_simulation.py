"""Simulation: what one neuron does to another is what the filters say."""

import jax
import numpy as np
import pytest
from scipy.stats import gamma

from compilations import counted
from spikax.basis import RaisedCosineLogConv
from spikax.convolve import create_convolutional_predictor
from spikax.observation_models import OBSERVATION_MODELS
from spikax.simulation import difference_of_gammas, regress_filter, simulate_recurrent

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


LINKS = {"Poisson": "exp", "Bernoulli": "logistic", "Gaussian": "identity", "Gamma": "softplus"}


@pytest.mark.parametrize("model", [*OBSERVATION_MODELS])
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
