"""Observation models against SciPy's distributions, and that no predictor leaves the floats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from spikax.links import INVERSE_LINKS
from spikax.observation_models import OBSERVATION_MODELS, ObservationModel, Poisson, resolve

# Logarithm of the density, with SciPy: (y, mean, scale).
LOG_DENSITY = {
    "Poisson": lambda y, mean, scale: stats.poisson.logpmf(y, mean),
    "Bernoulli": lambda y, mean, scale: stats.bernoulli.logpmf(y, mean),
    "Gaussian": lambda y, mean, scale: stats.norm.logpdf(y, mean, np.sqrt(scale)),
    "Gamma": lambda y, mean, scale: stats.gamma.logpdf(y, 1 / scale, scale=scale * mean),
}
SCALE = {"Poisson": 1.0, "Bernoulli": 1.0, "Gaussian": 0.7, "Gamma": 0.7}
OBSERVED = {
    "Poisson": [0, 1, 2, 7, 40],
    "Bernoulli": [0, 1],
    "Gaussian": [-2.5, 0, 3],
    "Gamma": [0.01, 0.5, 3, 40],
}

every_model = pytest.mark.parametrize("name", OBSERVATION_MODELS)
every_link = pytest.mark.parametrize("link", INVERSE_LINKS, ids=lambda link: link.name)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def data(name, rng):
    y = rng.choice(OBSERVED[name], size=(60, 3)).astype(float)
    return y, rng.uniform(0.05, 0.95, size=y.shape)


@every_model
def test_the_log_likelihood_is_that_of_scipy(name, data):
    y, mean = data
    model, scale = resolve(name), SCALE[name]
    expected = LOG_DENSITY[name](y, mean, scale)
    samples = model.log_likelihood(y, mean, scale, aggregate_sample_scores=lambda s: s)
    np.testing.assert_allclose(samples, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(model.log_likelihood(y, mean, scale), expected.mean(), rtol=1e-10)
    one = model.log_likelihood(y[:, 0], mean[:, 0], scale)
    np.testing.assert_allclose(one, expected[:, 0].mean(), rtol=1e-10)
    np.testing.assert_allclose(
        model.likelihood(y, mean, scale), np.exp(expected.mean()), rtol=1e-10
    )


@every_model
def test_the_deviance_is_twice_the_distance_to_the_saturated_model(name, data):
    y, mean = data
    scale = SCALE[name]
    saturated = LOG_DENSITY[name](y, y, scale)
    expected = 2 * (saturated - LOG_DENSITY[name](y, mean, scale))
    deviance = resolve(name).deviance(y, mean, scale)
    np.testing.assert_allclose(deviance, expected, rtol=1e-8, atol=1e-12)


@every_model
@pytest.mark.parametrize("score_type", ["pseudo-r2-McFadden", "pseudo-r2-Cohen"])
def test_pseudo_r2_runs_from_the_mean_to_the_truth(name, score_type, data):
    y, _ = data
    model = resolve(name)
    null = np.broadcast_to(y.mean(axis=0), y.shape)
    assert model.pseudo_r2(y, null, score_type) == pytest.approx(0, abs=1e-12)
    halfway = model.pseudo_r2(y, 0.5 * (null + y), score_type)
    assert 0 < halfway < model.pseudo_r2(y, 0.02 * null + 0.98 * y, score_type) <= 1


@every_model
def test_cohens_pseudo_r2_is_one_for_the_truth(name, data):
    y, _ = data
    nearly = np.clip(y, 1e-12, 1 - 1e-12) if name == "Bernoulli" else y
    assert resolve(name).pseudo_r2(y, nearly, "pseudo-r2-Cohen") == pytest.approx(1, abs=1e-9)


@every_model
def test_an_unknown_score_is_refused_with_the_nearest(name, data):
    with pytest.raises(ValueError, match="Did you mean 'pseudo-r2-Cohen'"):
        resolve(name).pseudo_r2(*data, "pseudo-r2-Choen")


@every_model
@every_link
def test_the_loss_is_least_where_the_mean_is_the_observation(name, link):
    family, mean = resolve(name).family, jnp.asarray([0.2, 0.5, 0.9])
    eta = link.predictor(mean)
    slope, bend = (
        jax.vmap(derivative)(eta, mean)
        for derivative in (
            jax.grad(lambda e, y: family.loss(e, y, link)),
            jax.grad(jax.grad(lambda e, y: family.loss(e, y, link))),
        )
    )
    np.testing.assert_allclose(slope, 0, atol=1e-6)
    assert np.all(np.asarray(bend) > 0)


@every_model
@every_link
def test_float32_stays_finite_however_far_a_fit_wanders(name, link):
    family = resolve(name).family
    far = np.concatenate([-np.logspace(4, -8, 100), [0], np.logspace(-8, 4, 100)])
    eta = jnp.asarray(far, jnp.float32)
    y = jnp.asarray(OBSERVED[name], jnp.float32)
    loss = jax.value_and_grad(lambda e, y: family.loss(e, y, link))
    value, slope = jax.vmap(jax.vmap(loss, (0, None)), (None, 0))(eta, y)
    assert value.dtype == slope.dtype == jnp.float32
    assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(slope))


@every_model
def test_samples_have_the_mean_and_the_variance_of_the_family(name, key):
    model, scale = resolve(name), SCALE[name]
    mean = jnp.asarray([0.1, 0.4, 0.8])
    n = 200_000
    drawn = np.asarray(
        model.sample_generator(key, jnp.broadcast_to(mean, (n, 3)), scale), np.float64
    )
    variance = {
        "Poisson": mean,
        "Bernoulli": mean * (1 - mean),
        "Gaussian": scale,
        "Gamma": scale * mean**2,
    }[name]
    variance = np.broadcast_to(variance, 3)
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=5 * np.sqrt(variance.max() / n))
    np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.03)
    assert np.all(model.family.allows(drawn))


@every_model
def test_the_scale_is_estimated_where_the_family_has_one(name, data):
    y, mean = data
    dof = np.array([57.0, 50.0, 40.0])
    expected = np.ones(3)
    if name in ("Gaussian", "Gamma"):
        unit = mean if name == "Gamma" else np.ones_like(mean)
        residual = (y - mean) / unit
        expected = [stats.moment(residual[:, j], 2, center=0) * 60 / dof[j] for j in range(3)]
    np.testing.assert_allclose(resolve(name).estimate_scale(y, mean, dof), expected, rtol=1e-10)


@every_model
def test_observations_and_means_of_different_shapes_are_refused(name, data):
    y, mean = data
    for score in (resolve(name).log_likelihood, resolve(name).deviance, resolve(name).pseudo_r2):
        with pytest.raises(ValueError, match=r"same shape, got \(60,\) and \(60, 3\)"):
            score(y[:, 0], mean)


@every_model
def test_the_default_link_maps_into_the_means_of_the_family(name):
    model = resolve(name)
    low, high = model.family.mean_bounds
    mean = model.default_inverse_link_function(jnp.linspace(-5, 5, 11))
    assert np.all((mean > low) & (mean < high))


@pytest.mark.parametrize("given", ["Poisson", Poisson(), ObservationModel(Poisson())], ids=repr)
def test_a_model_is_found_by_name_family_or_itself(given):
    assert resolve(given) == ObservationModel(Poisson())


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("poison", ValueError, "observation_model: 'poison'. Did you mean 'Poisson'"),
        (Poisson, TypeError, "must be a name"),
        (None, TypeError, "must be a name"),
    ],
    ids=["unknown", "class", "none"],
)
def test_what_is_no_model_is_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        resolve(wrong)
