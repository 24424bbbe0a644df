"""Observation models against SciPy's distributions, and that no predictor leaves the floats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special, stats

from spikax.links import INVERSE_LINKS
from spikax.links import resolve as resolve_link
from spikax.observation_models import (
    CategoricalObservations,
    Dispersion,
    NegativeBinomialObservations,
    PoissonObservations,
    resolve,
)
from spikax.observation_models._draws import _invert, _propose

# Logarithm of the density, with SciPy: (y, mean, scale).
LOG_DENSITY = {
    "Poisson": lambda y, mean, scale: stats.poisson.logpmf(y, mean),
    "Bernoulli": lambda y, mean, scale: stats.bernoulli.logpmf(y, mean),
    "Gaussian": lambda y, mean, scale: stats.norm.logpdf(y, mean, np.sqrt(scale)),
    "Gamma": lambda y, mean, scale: stats.gamma.logpdf(y, 1 / scale, scale=scale * mean),
    "NegativeBinomial": lambda y, mean, scale: stats.nbinom.logpmf(
        y, 1 / scale, 1 / (1 + scale * mean)
    ),
}
SCALE = {"Poisson": 1.0, "Bernoulli": 1.0, "Gaussian": 0.7, "Gamma": 0.7, "NegativeBinomial": 1.0}
OBSERVED = {
    "Poisson": [0, 1, 2, 7, 40],
    "Bernoulli": [0, 1],
    "Gaussian": [-2.5, 0, 3],
    "Gamma": [0.01, 0.5, 3, 40],
    "NegativeBinomial": [0, 1, 2, 7, 40],
}

every_model = pytest.mark.parametrize("name", LOG_DENSITY)
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
    np.testing.assert_allclose(
        model.log_likelihood(y, mean, scale), expected.mean(axis=0).sum(), 1e-10
    )
    one = model.log_likelihood(y[:, 0], mean[:, 0], scale)
    np.testing.assert_allclose(one, expected[:, 0].mean(), rtol=1e-10)
    np.testing.assert_allclose(
        model.likelihood(y, mean, scale), np.exp(expected.mean(axis=0).sum()), 1e-10
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
    if score_type == "pseudo-r2-McFadden" and model.dispersion is Dispersion.MOMENTS:
        with pytest.raises(ValueError, match=r"depend on the units of y.*'pseudo-r2-Cohen'"):
            model.pseudo_r2(y, null, score_type)
        return
    assert model.pseudo_r2(y, null, score_type) == pytest.approx(0, abs=1e-12)
    halfway = model.pseudo_r2(y, 0.5 * (null + y), score_type)
    assert 0 < halfway < model.pseudo_r2(y, 0.02 * null + 0.98 * y, score_type) <= 1


@every_model
def test_cohens_pseudo_r2_is_one_for_the_truth(name, data):
    y, _ = data
    nearly = np.clip(y, 1e-12, 1 - 1e-12) if name == "Bernoulli" else y
    assert resolve(name).pseudo_r2(y, nearly, "pseudo-r2-Cohen") == pytest.approx(1, abs=1e-9)


@every_model
def test_a_constant_has_nothing_to_explain(name, data):
    _, mean = data
    y = np.column_stack([np.full(60, 1.0), np.resize(OBSERVED[name], 60)])
    with pytest.warns(RuntimeWarning, match="neurons 0 are predicted without error"):
        each = resolve(name).pseudo_r2(
            y, mean[:, :2], "pseudo-r2-Cohen", aggregate_sample_scores=lambda s: s.mean(0)
        )
    assert np.isnan(each).tolist() == [True, False]


def test_the_null_of_a_dispersion_that_is_estimated_has_its_own(rng):
    mean = np.exp(rng.normal(size=300))
    y = rng.poisson(mean * rng.gamma(2.0, 0.5, size=300)).astype(float)
    model = NegativeBinomialObservations("estimate")
    scale, null = (model.estimate_scale(y, m, 300) for m in (mean, np.full(300, y.mean())))
    assert null > 2 * scale
    best, level = (
        stats.nbinom.logpmf(y, 1 / a, 1 / (1 + a * m)).sum()
        for a, m in ((scale, mean), (null, y.mean()))
    )
    assert model.pseudo_r2(y, mean, scale=scale) == pytest.approx(1 - best / level, rel=1e-6)


@every_model
def test_means_at_their_bounds_are_certain(name):
    model = resolve(name)
    for bound in np.array(model.mean_bounds)[np.isfinite(model.mean_bounds)]:
        rate, y = np.full(2, bound), np.array([1 - bound, bound])
        found = model.log_likelihood(y, rate, aggregate_sample_scores=lambda s: s)
        deviance = model.deviance(y, rate)
        assert found[0] == -np.inf
        assert deviance[0] == np.inf
        if model.allows(bound):
            assert found[1] == deviance[1] == 0


def test_the_smallest_rates_cost_what_they_should():
    y, rate = np.array([1.0, 2.0]), np.array([1e-30, 1e-12])
    found = PoissonObservations().log_likelihood(y, rate, aggregate_sample_scores=lambda s: s)
    np.testing.assert_allclose(found, stats.poisson.logpmf(y, rate), rtol=1e-12)


@every_model
def test_an_unknown_score_is_refused_with_the_nearest(name, data):
    with pytest.raises(ValueError, match="Did you mean 'pseudo-r2-Cohen'"):
        resolve(name).pseudo_r2(*data, "pseudo-r2-Choen")


@every_model
@every_link
def test_the_loss_is_least_where_the_mean_is_the_observation(name, link):
    family, mean = resolve(name), jnp.asarray([0.2, 0.5, 0.9])
    eta = link.predictor(mean)
    slope, bend = (
        jax.vmap(derivative)(eta, mean)
        for derivative in (
            jax.grad(lambda e, y: family.loss(e, y, link, SCALE[name])),
            jax.grad(jax.grad(lambda e, y: family.loss(e, y, link, SCALE[name]))),
        )
    )
    np.testing.assert_allclose(slope, 0, atol=1e-6)
    assert np.all(np.asarray(bend) > 0)


@every_model
@every_link
def test_float32_stays_finite_however_far_a_fit_wanders(name, link):
    family = resolve(name)
    far = np.concatenate([-np.logspace(4, -8, 100), [0], np.logspace(-8, 4, 100)])
    eta = jnp.asarray(far, jnp.float32)
    y = jnp.asarray(OBSERVED[name], jnp.float32)
    loss = jax.value_and_grad(lambda e, y: family.loss(e, y, link, SCALE[name]))
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
        "NegativeBinomial": mean + scale * mean**2,
    }[name]
    variance = np.broadcast_to(variance, 3)
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=5 * np.sqrt(variance.max() / n))
    np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.03)
    assert np.all(model.allows(drawn))


invert = jax.jit(_invert)


@pytest.mark.parametrize("mean", [0.0, 1e-6, 0.01, 0.3, 1.0, 4.0, 8.236343, 9.999])
def test_inverted_counts_have_the_tails_of_scipy_in_float32(mean):
    mean = float(np.float32(mean))
    counts = np.array([0, 1, 4, 9, 16, 25])

    def drawn(bits):
        return np.asarray(invert(jnp.asarray(bits, jnp.uint32), jnp.full(6, mean, jnp.float32)))

    assert drawn(np.zeros(6))[0] == 0
    assert drawn(np.full(6, 2**32 - 1))[0] <= (stats.poisson.isf(1e-10, mean) if mean else 0)
    # The least pattern of bits that is inverted to more than each count.
    low, high = np.zeros(6, int), np.full(6, 2**32 - 1)
    for _ in range(32):
        middle = (low + high) // 2
        above = drawn(middle) > counts
        low, high = np.where(above, low, middle + 1), np.where(above, middle, high)
    tail, below = stats.poisson.sf(counts, mean), stats.poisson.cdf(counts, mean)
    error = np.abs(1 - low / 2**32 - tail)
    assert np.all(error < 1e-9 + 2e-6 * np.minimum(below, tail))


@pytest.mark.parametrize("mean", [10.0, 17.3, 100.5, 1e4, 1e6])
def test_counts_by_rejection_have_the_law_of_scipy_in_float32(mean):
    # All proposals, evenly, each with its probability to be accepted.
    n = 2**18
    edge = ((np.arange(n) + 0.5) / n * 2**31).astype(np.uint32)
    bits = jnp.asarray(np.concatenate([2 * edge, 2 * edge + 1]))
    count, log_acceptance = _propose(bits, jnp.full(2 * n, mean, jnp.float32))
    assert count.dtype == jnp.int32
    accepted = np.exp(np.asarray(log_acceptance, float))
    assert accepted.max() <= 1.0005
    assert accepted.mean() > 0.7
    mean, share = float(np.float32(mean)), np.minimum(accepted, 1) / np.minimum(accepted, 1).sum()
    for deviation in (-6, -4, -2, -0.5, 0.5, 2, 4, 6):
        at = np.floor(mean + deviation * np.sqrt(mean))
        below, above = share[count <= at].sum(), share[count > at].sum()
        for found, true in (
            (below, stats.poisson.cdf(at, mean)),
            (above, stats.poisson.sf(at, mean)),
        ):
            assert abs(found - true) < 1e-9 + 2e-3 * true, deviation


def test_counts_of_all_sizes_are_drawn_together(key):
    means = np.array([0.0, 0.2, 5.0, 30.0, 2e6], np.float32)
    drawn = np.asarray(
        PoissonObservations().sample_generator(key, np.broadcast_to(means, (20_000, 5)))
    )
    error = (drawn.mean(axis=0) - means) / np.sqrt(np.maximum(means, 1) / 20_000)
    assert np.abs(error).max() < 4
    np.testing.assert_allclose(drawn.var(axis=0)[1:] / means[1:], 1, atol=0.05)
    odd = PoissonObservations().sample_generator(key, np.array([np.nan, -1.0, np.inf, 1e30, 0.5]))
    assert odd[:2].tolist() == [-1, -1]
    assert odd[2] > 2e9
    assert odd[3] > 2e9


def test_drawn_times_stay_positive_in_float32(key):
    model = resolve("Gamma")
    drawn = model.sample_generator(key, jnp.ones(5000, jnp.float32), 100.0)
    assert np.all(model.allows(np.asarray(drawn)))


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
    model = resolve(name)
    for score in (
        model.log_likelihood,
        model.deviance,
        lambda y, mean: model.pseudo_r2(y, mean, "pseudo-r2-Cohen"),
    ):
        with pytest.raises(ValueError, match=r"same shape, got \(60,\) and \(60, 3\)"):
            score(y[:, 0], mean)


@every_model
def test_the_default_link_maps_into_the_means_of_the_family(name):
    model = resolve(name)
    low, high = model.mean_bounds
    mean = model.default_inverse_link_function(jnp.linspace(-5, 5, 11))
    assert np.all((mean > low) & (mean < high))


@pytest.mark.parametrize("given", ["Poisson", PoissonObservations()], ids=repr)
def test_a_model_is_found_by_name_or_itself(given):
    assert resolve(given) == PoissonObservations()


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("poison", ValueError, "observation_model: 'poison'. Did you mean 'Poisson'"),
        (PoissonObservations, TypeError, "must be a name"),
        (None, TypeError, "must be a name"),
    ],
    ids=["unknown", "class", "none"],
)
def test_what_is_no_model_is_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        resolve(wrong)


# --- The scale of a negative binomial.

SCALES = (1e-3, 0.04, 1.0, 30.0)


@pytest.mark.parametrize("scale", SCALES)
def test_a_negative_binomial_of_any_scale_is_that_of_scipy(scale, rng):
    y, mean = rng.choice([0, 1, 7, 300], size=200), rng.uniform(0.05, 50, size=200)
    model = NegativeBinomialObservations(scale)
    expected = stats.nbinom.logpmf(y, 1 / scale, 1 / (1 + scale * mean))
    samples = model.log_likelihood(y, mean, aggregate_sample_scores=lambda s: s)
    np.testing.assert_allclose(samples, expected, rtol=1e-9, atol=1e-11)
    saturated = stats.nbinom.logpmf(y, 1 / scale, 1 / (1 + scale * y))
    np.testing.assert_allclose(
        model.deviance(y, mean), 2 * (saturated - expected), rtol=1e-7, atol=1e-9
    )
    np.testing.assert_allclose(
        model.variance(mean, scale), stats.nbinom.var(1 / scale, 1 / (1 + scale * mean))
    )


def test_the_log_normalizer_is_the_product_it_stands_for_in_float32():
    for scale in (0.0, 1e-8, *SCALES, 1e4):
        for y in (0, 1, 3, 40, 1000):
            brute = np.sum(np.log1p(scale * np.arange(y))) - special.gammaln(y + 1)
            family = NegativeBinomialObservations(scale)
            found = -family.log_normalizer(jnp.float32(y), jnp.float32(scale))
            assert found.dtype == jnp.float32
            np.testing.assert_allclose(found, brute, rtol=3e-6, atol=2e-5)


def test_a_negative_binomial_tends_to_poisson(rng):
    y, mean = rng.poisson(3.0, size=100), rng.uniform(0.1, 9, size=100)
    poisson = PoissonObservations().log_likelihood(y, mean)
    np.testing.assert_allclose(
        NegativeBinomialObservations(0).log_likelihood(y, mean), poisson, rtol=1e-12
    )
    near = NegativeBinomialObservations(1e-9).log_likelihood(y, mean)
    np.testing.assert_allclose(near, poisson, rtol=1e-7)


@every_link
@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e-3, 1e4])
def test_a_negative_binomial_stays_finite_in_float32(link, scale):
    far = np.concatenate([-np.logspace(4, -8, 100), [0], np.logspace(-8, 4, 100)])
    y, eta = jnp.asarray([0, 1, 40, 1e6], jnp.float32), jnp.asarray(far, jnp.float32)

    def loss(eta, scale, y):
        return NegativeBinomialObservations(scale).loss(eta, y, link, scale)

    derivatives = jax.value_and_grad(loss, argnums=(0, 1))
    over = jax.vmap(jax.vmap(derivatives, (0, None, None)), (None, None, 0))
    for value in jax.tree.leaves(over(eta, jnp.float32(scale), y)):
        assert np.all(np.isfinite(value))


def test_the_likeliest_scale_is_that_of_a_search(rng):
    mean = rng.uniform(0.5, 9, size=(400, 3))
    scales = np.array([0.1, 2.0, 0.0])
    scatter = rng.gamma(1 / np.maximum(scales, 1e-9), scales, size=mean.shape)
    y = rng.poisson(mean * scatter)
    y[:, 2] = np.round(mean[:, 2])
    found = NegativeBinomialObservations("estimate").estimate_scale(y, mean, 400)
    for j in (0, 1):
        search = optimize.minimize_scalar(
            lambda u, j=j: (
                -np.sum(stats.nbinom.logpmf(y[:, j], np.exp(-u), 1 / (1 + np.exp(u) * mean[:, j])))
            ),
            bounds=(-7, 4),
            options={"xatol": 1e-9},
        )
        np.testing.assert_allclose(found[j], np.exp(search.x), rtol=1e-5)
    assert found[2] == 0
    fixed = NegativeBinomialObservations(0.3).estimate_scale(y, mean, 400)
    np.testing.assert_allclose(fixed, 0.3)


@pytest.mark.parametrize(
    ("scale", "error", "message"),
    [
        (-1.0, ValueError, "scale must be finite and at least zero, got -1.0"),
        (np.nan, ValueError, "scale must be finite and at least zero, got nan"),
        (np.inf, ValueError, "scale must be finite"),
        ("auto", TypeError, 'scale must be a number or "estimate" or "features", got \'auto\''),
        (None, TypeError, "scale must be a number"),
    ],
)
def test_what_is_no_scale_is_refused(scale, error, message):
    with pytest.raises(error, match=message):
        NegativeBinomialObservations(scale)


# --- Classes.


@pytest.fixture
def choices(rng):
    probability = rng.dirichlet([1, 2, 3], size=(500, 2))
    y = (rng.uniform(size=(500, 2, 1)) > np.cumsum(probability, axis=-1)).sum(axis=-1)
    return y, probability


def test_a_categorical_is_that_of_scipy(choices):
    y, probability = choices
    model = CategoricalObservations(3)
    expected = stats.multinomial.logpmf(np.eye(3)[y], 1, probability)
    samples = model.log_likelihood(y, np.log(probability), aggregate_sample_scores=lambda s: s)
    np.testing.assert_allclose(samples, expected, rtol=1e-10)
    np.testing.assert_allclose(model.deviance(y, np.log(probability)), -2 * expected, rtol=1e-10)
    shares = np.stack([(y == k).mean(axis=0) for k in range(3)], axis=-1)
    null = stats.multinomial.logpmf(np.eye(3)[y], 1, np.broadcast_to(shares, probability.shape))
    for score_type in ("pseudo-r2-McFadden", "pseudo-r2-Cohen"):
        score = model.pseudo_r2(y, np.log(probability), score_type)
        assert score == pytest.approx(1 - expected.mean() / null.mean())
    np.testing.assert_array_equal(model.estimate_scale(y, np.log(probability), 500), [1, 1])


def test_classes_are_drawn_as_often_as_they_should(choices, key):
    _, probability = choices
    some = jnp.broadcast_to(jnp.log(probability[0]), (100_000, 2, 3))
    drawn = np.asarray(CategoricalObservations(3).sample_generator(key, some))
    shares = np.stack([(drawn == k).mean(axis=0) for k in range(3)], axis=-1)
    np.testing.assert_allclose(shares, probability[0], atol=0.008)


def test_a_categorical_refuses_what_has_no_classes(choices):
    y, probability = choices
    with pytest.raises(ValueError, match=r"but for its axis of classes, got \(500, 2\) and"):
        CategoricalObservations(3).log_likelihood(y, probability[..., 0])
    with pytest.raises(ValueError, match="n_classes must be at least 2, got 1"):
        CategoricalObservations(1)
    with pytest.raises(TypeError, match=r"n_classes must be a whole number, got 2\.5"):
        CategoricalObservations(2.5)


def test_a_categorical_stays_finite_in_float32():
    family = CategoricalObservations(3)
    far = jnp.asarray(np.random.default_rng(0).uniform(-1e4, 1e4, size=(3, 200)), jnp.float32)
    link = resolve_link("log_softmax")
    for k in range(3):
        y = jnp.full(200, k, jnp.float32)
        value, slope = jax.value_and_grad(lambda e, y=y: family.loss(e, y, link, 1.0).sum())(far)
        assert np.all(np.isfinite(value))
        assert np.all(np.isfinite(slope))
