"""The calls of a newcomer's first notebook on populations, and what they show."""

import numpy as np
import pytest

import spikax as nmo
from spikax.glm import GLM

PRECISE = {"solver_name": "LBFGS", "solver_kwargs": {"tol": 10**-12}}
USED = {0: [0, 1], 1: [0, 2]}


@pytest.fixture(scope="module")
def recording():
    """Make two neurons, driven by one feature that they share and one of their own."""
    rng = np.random.default_rng(123)
    features = 0.5 * rng.normal(size=(500, 3))
    weights = np.array([[0.7, 0.3], [0.4, 0.0], [0.0, 0.5]])
    return features, rng.poisson(np.exp(features @ weights)), weights


@pytest.fixture(scope="module")
def masked(recording):
    """Fit with a mask that is set after construction."""
    features, spikes, weights = recording
    model = nmo.glm.PopulationGLM(**PRECISE)
    model.feature_mask = (weights != 0).astype(float)
    return model.fit(features, spikes)


def test_a_population_is_fitted_and_scored(recording, capsys):
    features, spikes, weights = recording
    model = nmo.glm.PopulationGLM()
    model.fit(features, spikes)
    score = model.score(features, spikes)
    print(f"log-likelihood per sample: {score}")
    assert float(capsys.readouterr().out.split(": ")[1]) == score

    rates = np.exp(features @ weights)
    truth = nmo.observation_models.PoissonObservations().log_likelihood(
        spikes, rates, aggregate_sample_scores=np.mean
    )
    assert truth < score < truth + 0.05
    assert model.coef_.shape == (3, 2)
    assert model.intercept_.shape == (2,)


def test_masked_coefficients_are_exactly_zero(masked):
    np.testing.assert_array_equal(masked.coef_ == 0, masked.feature_mask == 0)


def test_the_mask_stays_once_the_model_is_fitted(masked):
    with pytest.raises(AttributeError, match="after the model is fit"):
        masked.feature_mask = np.ones((3, 2))


def test_a_masked_population_equals_fits_neuron_by_neuron(recording, masked):
    features, spikes, _ = recording
    for neuron, used in USED.items():
        alone = GLM(**PRECISE).fit(features[:, used], spikes[:, neuron])
        np.testing.assert_allclose(alone.coef_, masked.coef_[used, neuron], rtol=1e-4)
        np.testing.assert_allclose(alone.intercept_[0], masked.intercept_[neuron], rtol=1e-4)


def test_dictionaries_of_features_and_masks_say_the_same(recording, masked):
    features, spikes, _ = recording
    tree = {"shared": features[:, :1], "own_0": features[:, 1:2], "own_1": features[:, 2:]}
    mask = {"shared": np.array([1, 1]), "own_0": np.array([1, 0]), "own_1": np.array([0, 1])}
    model = nmo.glm.PopulationGLM(solver_name="LBFGS", feature_mask=mask).fit(tree, spikes)
    assert list(model.coef_) == sorted(tree)
    rows = np.concatenate([model.coef_[name] for name in ("shared", "own_0", "own_1")])
    np.testing.assert_allclose(rows, masked.coef_, atol=1e-4)
    np.testing.assert_array_equal(rows == 0, masked.coef_ == 0)
