"""Observation models with a second parameter: with features of its own, or constant.

Against statsmodels, SciPy's distributions and optimisers, and sums over all that can be observed.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize
from scipy.special import expit
from statsmodels.discrete.count_model import ZeroInflatedPoisson
from statsmodels.tools.numdiff import approx_hess3

from compilations import counted
from spikax import diagnostics, inference, model_selection, regularizer
from spikax.glm import GLM, PopulationGLM
from spikax.observation_models import (
    BetaBinomialObservations,
    HurdlePoissonObservations,
    Likelihood,
    NegativeBinomialObservations,
    ZeroInflatedPoissonObservations,
)
from spikax.observation_models._observations import links_of
from spikax.solvers import Status

T, P, Q, N = 1500, 3, 2, 3
FAMILIES = {
    "zero-inflated": ZeroInflatedPoissonObservations(),
    "hurdle": HurdlePoissonObservations(),
    "dispersed": NegativeBinomialObservations("features"),
    "beta-binomial": BetaBinomialObservations(8, 0.3),
}
TWO = ("zero-inflated", "hurdle", "dispersed")
SECOND = {"zero-inflated": "zero", "hurdle": "zero", "dispersed": "dispersion"}
every_family = pytest.mark.parametrize("name", FAMILIES)
every_pair = pytest.mark.parametrize("name", TWO)


def log_prob(name, eta, y):
    """Log-probabilities with SciPy, at linear predictors on a first axis."""
    if name == "beta-binomial":
        p = expit(eta[0])
        return stats.betabinom.logpmf(y, 8, p / 0.3, (1 - p) / 0.3)
    rate, second = np.exp(eta[0]), eta[1]
    if name == "dispersed":
        size = np.exp(-second)
        return stats.nbinom.logpmf(y, size, size / (size + rate))
    zero = expit(second)
    poisson = stats.poisson.pmf(y, rate)
    if name == "zero-inflated":
        return np.log(zero * (y == 0) + (1 - zero) * poisson)
    return np.log(np.where(y == 0, zero, (1 - zero) * poisson / -np.expm1(-rate)))


def data(name, n_samples=T, n_neurons=N, seed=0):
    """Draw features of both predictors, and observations."""
    rng = np.random.default_rng(seed)
    X, Z = rng.normal(size=(n_samples, P)), rng.normal(size=(n_samples, Q))
    eta = np.stack([0.6 + 0.4 * X[:, :n_neurons], -0.5 + 0.7 * Z[:, :1] + 0 * X[:, :n_neurons]])
    high = 9 if name == "beta-binomial" else 60
    support = np.arange(high)[:, None, None]
    below = np.cumsum(np.exp(log_prob(name, eta[:, None], support)), axis=0)
    y = np.sum(rng.uniform(size=below.shape[1:]) > below, axis=0)
    return {first(name): X, SECOND[name]: Z} if name in TWO else X, y.astype(float)


def first(name):
    return FAMILIES[name].predictors[0]


def link_of(name):
    return links_of(FAMILIES[name], None)


def reference(name, X, y, weights=None, offset=0.0, ridge=0.0):
    """Fit one neuron with SciPy; the coefficients of each predictor, and its intercepts."""
    X, Z = X if isinstance(X, tuple) else (X, np.zeros((len(y), 0)))
    weights = np.ones(len(y)) if weights is None else weights
    K = 2 if name in TWO else 1

    def cost(theta):
        a, b = np.split(theta[:-K], [X.shape[1]])
        eta = np.stack([X @ a + theta[-K] + offset, Z @ b + theta[-1]])
        loss = -np.sum(weights * log_prob(name, eta, y)) / weights.sum()
        return loss + ridge * np.sum(theta[:-K] ** 2) / 2

    best = minimize(cost, np.zeros(X.shape[1] + Z.shape[1] + K), method="BFGS", tol=1e-9)
    return np.split(best.x, [X.shape[1], -K]), best.fun


def fit(name, X, y, kind=PopulationGLM, **kwargs):
    along = {k: kwargs.pop(k) for k in ("sample_weight", "offset") if k in kwargs}
    return kind(FAMILIES[name], **kwargs).fit(X, y, **along)


# --- The likelihoods.


@every_family
def test_the_log_likelihood_is_that_of_scipy(name, rng):
    eta = rng.uniform(-3, 2, size=(2, 400))
    y = rng.integers(0, 9, size=400).astype(float)
    expected = log_prob(name, eta, y)
    with jax.enable_x64(True):
        family = FAMILIES[name]
        likelihood = Likelihood.of(family, link_of(name))
        at = eta if name in TWO else eta[0]
        np.testing.assert_allclose(likelihood.log_prob(at, y), expected, rtol=1e-9, atol=1e-10)
        # The same from what the predictors stand for, as users hold that.
        rates = family.rates(likelihood.parameters(jnp.asarray(at)))
        found = family.log_likelihood(y, rates, aggregate_sample_scores=lambda s: s)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


@every_family
def test_means_variances_and_tails_are_sums_over_what_can_be_observed(name):
    eta = np.stack([np.linspace(-2, 1.2, 7), np.linspace(-1.5, 1.0, 7)])
    y = np.arange({"beta-binomial": 9.0, "dispersed": 3000.0}.get(name, 60.0))[:, None]
    probability = np.exp(log_prob(name, eta[:, None], y))
    mean = np.sum(y * probability, axis=0)
    with jax.enable_x64(True):
        family = FAMILIES[name]
        likelihood = Likelihood.of(family, link_of(name))
        parameters = likelihood.parameters(jnp.asarray(eta if name in TWO else eta[0]))
        np.testing.assert_allclose(family.mean(parameters), mean, rtol=1e-7)
        variance = np.sum((y - mean) ** 2 * probability, axis=0)
        scale = 1.0 if family.scale is None or name in TWO else family.scale
        np.testing.assert_allclose(family.variance(parameters, scale), variance, rtol=1e-6)
    distribution = family.distribution(np.asarray(parameters), scale)
    for count in (-1, 0, 1, 3, 7):
        below = np.sum(probability * (y <= count), axis=0)
        np.testing.assert_allclose(distribution.cdf(count), below, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(distribution.sf(count), 1 - below, rtol=1e-6, atol=1e-9)


@every_family
def test_draws_have_the_probabilities_they_should(name, key):
    eta = np.array([0.7, -0.6])
    with jax.enable_x64(True):
        family = FAMILIES[name]
        likelihood = Likelihood.of(family, link_of(name))
        at = (
            jnp.broadcast_to(eta[:, None], (2, 100_000)) if name in TWO else jnp.full(100_000, 0.7)
        )
        scale = 0.3
        drawn = np.asarray(family.sample(key, likelihood.parameters(at), scale))
    assert np.all(family.allows(drawn))
    counts = np.arange(8)
    expected = np.exp(log_prob(name, np.broadcast_to(eta[:, None], (2, 8)), counts))
    share = np.mean(drawn[:, None] == counts, axis=0)
    assert np.all(np.abs(share - expected) < 5 * np.sqrt(expected / 100_000) + 1e-5)


@every_family
def test_float32_stays_finite_however_far_a_fit_wanders(name):
    far = np.concatenate([-np.logspace(4, -6, 40), [0], np.logspace(-6, 4, 40)])
    one, other = np.meshgrid(far, far[::4])
    eta = jnp.asarray(np.stack([one.ravel(), other.ravel()]), jnp.float32)
    eta = eta if name in TWO else eta[0]
    likelihood = Likelihood.of(FAMILIES[name], link_of(name))
    for count in (0, 1, 2, 8) if name == "beta-binomial" else (0, 1, 2, 40, 10_000):
        y = jnp.full(eta.shape[-1], count, jnp.float32)
        gradient = jax.grad(lambda e, y=y: likelihood.loss(e, y).sum())
        slope, curvature = jax.jvp(gradient, (eta,), (jnp.ones_like(eta),))
        for found in (likelihood.loss(eta, y), slope, curvature):
            assert found.dtype == jnp.float32
            assert np.all(np.isfinite(found)), count


@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.3, 20.0])
def test_a_beta_binomial_of_any_scale_is_that_of_scipy(scale, rng):
    y, p = rng.integers(0, 13, size=300), rng.uniform(0.02, 0.98, size=300)
    model = BetaBinomialObservations(12, scale)
    with jax.enable_x64(True):
        found = np.asarray(model.log_likelihood(y, 12 * p, aggregate_sample_scores=lambda s: s))
        deviance = np.asarray(model.deviance(y, 12 * p))
        at_best = np.asarray(model.deviance(y, np.clip(y, 1e-9, 12 - 1e-9)))
    if scale == 0:
        expected = stats.binom.logpmf(y, 12, p)
    else:
        expected = stats.betabinom.logpmf(y, 12, p / scale, (1 - p) / scale)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    # No mean is likelier than that of the saturated model.
    assert np.min(deviance) > -1e-9
    if scale < 1e-3:
        np.testing.assert_allclose(at_best, 0, atol=1e-4)


# --- Fits.


@every_pair
@pytest.mark.parametrize("extra", ["plain", "weights", "offset", "ridge", "mask"])
def test_a_fit_is_the_optimum_that_scipy_finds(name, extra, rng):
    X, y = data(name)
    kwargs, known = {}, {}
    if extra == "weights":
        kwargs["sample_weight"] = rng.uniform(0.2, 2, size=(T, N))
    if extra == "offset":
        kwargs["offset"] = known["offset"] = rng.normal(0, 0.3, size=T)
    if extra == "ridge":
        kwargs |= {"regularizer": "Ridge", "regularizer_strength": 0.2}
        known["ridge"] = 0.2
    if extra == "mask":
        kwargs["feature_mask"] = {first(name): np.ones((P, N)), SECOND[name]: np.zeros((Q, N))}
    with jax.enable_x64(True):
        model = fit(name, X, y, solver_kwargs={"tol": 1e-9}, **kwargs)
    assert np.all(model.solver_state_.stats.status == Status.CONVERGED)
    A, B = X.values() if first(name) < SECOND[name] else (X[first(name)], X[SECOND[name]])
    A, B = X[first(name)], X[SECOND[name]]
    for j in range(N):
        weights = kwargs["sample_weight"][:, j] if extra == "weights" else None
        second = B * (extra != "mask")
        (a, b, intercept), _ = reference(name, (A, second), y[:, j], weights, **known)
        np.testing.assert_allclose(model.coef_[first(name)][:, j], a, atol=2e-4)
        b = np.zeros(Q) if extra == "mask" else b
        np.testing.assert_allclose(model.coef_[SECOND[name]][:, j], b, atol=3e-4)
        np.testing.assert_allclose(model.intercept_[j], intercept, atol=3e-4)


@pytest.mark.parametrize("constant", [False, True], ids=["features", "constant"])
def test_a_zero_inflated_poisson_is_that_of_statsmodels(constant):
    X, y = data("zero-inflated", n_neurons=1)
    A, B = X["rate"], X["zero"]
    one = np.ones((T, 1))
    exog_infl = one if constant else np.hstack([one, B])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = ZeroInflatedPoisson(y[:, 0], np.hstack([one, A]), exog_infl=exog_infl).fit(
            method="newton", maxiter=200, disp=0
        )
    given = A if constant else X
    with jax.enable_x64(True):
        model = GLM("ZeroInflatedPoisson", solver_kwargs={"tol": 1e-10}).fit(given, y[:, 0])
        table = inference.summary(model, given, y[:, 0])
    K = exog_infl.shape[1]
    order = [*range(K + 1, K + 1 + P), *range(1, K), K, 0]  # ours: rate, zero, intercepts
    found = table.parameters
    np.testing.assert_allclose(found["estimate"], peer.params[order], atol=2e-5)
    # Its own standard errors are of a Hessian that is up to 9 % off the one of its log-likelihood.
    hessian = approx_hess3(peer.params, peer.model.loglike)
    error = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    np.testing.assert_allclose(found["standard_error"], error[order], rtol=2e-3)
    np.testing.assert_allclose(table.neurons["log_likelihood"].iloc[0], peer.llf, atol=1e-6)
    np.testing.assert_allclose(model.predict(given), peer.predict(exog_infl=exog_infl), rtol=1e-4)
    zero = peer.model.predict(
        peer.params, exog=np.hstack([one, A]), exog_infl=exog_infl, which="prob-main"
    )
    np.testing.assert_allclose(model.predict_parameters(given)["zero"], 1 - zero, rtol=1e-3)


@every_family
def test_a_fit_in_single_precision_is_that_in_double(name):
    X, y = data(name)
    single = fit(name, X, y)
    with jax.enable_x64(True):
        double = fit(name, X, y, solver_kwargs={"tol": 1e-9})
        lacking = T * (double.score(X, y) - single.score(X, y))
    assert lacking < 0.02


@every_pair
def test_a_population_is_its_neurons_one_by_one(name):
    X, y = data(name)
    together = fit(name, X, y)
    for j in range(N):
        alone = fit(name, X, y[:, j], GLM)
        np.testing.assert_allclose(
            together.coef_[SECOND[name]][:, j], alone.coef_[SECOND[name]], atol=2e-3
        )
        np.testing.assert_allclose(together.intercept_[j], alone.intercept_, atol=2e-3)
    assert alone.coef_[first(name)].shape == (P,)
    assert alone.intercept_.shape == (2,)
    assert together.intercept_.shape == (N, 2)


@every_pair
@pytest.mark.parametrize("solver", ["Newton", "LBFGS", "ProximalQuasiNewton", "ProximalGradient"])
def test_every_solver_finds_the_optimum(name, solver):
    X, y = data(name)
    kwargs = {"solver_name": solver}
    if solver.startswith("Prox"):
        kwargs |= {"regularizer": "Lasso", "regularizer_strength": 1e-5}
    with jax.enable_x64(True):
        best = fit(name, X, y, solver_kwargs={"tol": 1e-9}).score(X, y)
        model = fit(name, X, y, **kwargs)
    assert T * (best - model.score(X, y)) < 0.1


@every_pair
def test_one_program_serves_other_data(name):
    X, y = data(name)
    fit(name, X, y)
    X, y = data(name, seed=1)
    with counted() as compiled:
        fit(name, X, y)
    assert compiled == []


def test_a_hurdle_is_two_models():
    X, y = data("hurdle")
    model = fit("hurdle", X, y)
    zeros = PopulationGLM("Bernoulli").fit(X["zero"], (y == 0).astype(float))
    np.testing.assert_allclose(model.coef_["zero"], zeros.coef_, atol=1e-3)
    np.testing.assert_allclose(model.intercept_[:, 1], zeros.intercept_, atol=1e-3)


@pytest.mark.parametrize("scale", [0.0, 0.25])
def test_a_beta_binomial_finds_its_dispersion(scale, rng):
    X = rng.normal(size=(3000, 2))
    p = expit(0.2 + 0.7 * X[:, :1])
    p = rng.beta(p / scale, (1 - p) / scale) if scale else p
    y = rng.binomial(12, np.broadcast_to(p, (3000, 1))).astype(float)
    family = BetaBinomialObservations(12)
    if scale == 0:
        y = np.rint(12 * p)  # less than binomial
        with (
            jax.enable_x64(True),
            pytest.warns(RuntimeWarning, match="vary no more than binomial"),
        ):
            model = PopulationGLM(family, solver_kwargs={"tol": 1e-9}).fit(X, y)
        assert model.scale_[0] == 0
        return
    with jax.enable_x64(True):
        model = PopulationGLM(family, solver_kwargs={"tol": 1e-9}).fit(X, y)

    def cost(theta):
        p, phi = expit(X @ theta[:2] + theta[2]), np.exp(theta[3])
        return -np.mean(stats.betabinom.logpmf(y[:, 0], 12, p / phi, (1 - p) / phi))

    best = minimize(cost, np.zeros(4), method="BFGS", tol=1e-10).x
    np.testing.assert_allclose(model.coef_[:, 0], best[:2], atol=1e-5)
    np.testing.assert_allclose(model.intercept_, best[2:3], atol=1e-5)
    np.testing.assert_allclose(model.scale_, np.exp(best[3]), rtol=1e-4)
    assert abs(model.scale_[0] - scale) < 0.06
    np.testing.assert_allclose(
        model.predict(X)[:, 0], 12 * expit(X @ best[:2] + best[2]), rtol=1e-4
    )


def test_a_small_dispersion_that_is_estimated_settles(rng):
    X = rng.normal(size=(4000, 2))
    scatter = rng.gamma(250, 1 / 250, size=4000)  # a dispersion of 0.004
    y = rng.poisson(np.exp(2 + 0.3 * X[:, 0]) * scatter)
    model = GLM(NegativeBinomialObservations("estimate")).fit(X, y)
    assert 0 < model.scale_ < 0.01
    assert model.solver_state_.stats.converged
    assert model.solver_state_.n_passes < 30


# --- What else models do.


@every_family
def test_scores_compare_with_the_likeliest_constant(name):
    X, y = data(name)
    with jax.enable_x64(True):
        model = fit(name, X, y, solver_kwargs={"tol": 1e-9})
        none = np.zeros((T, 1))
        null = fit(name, none, y, solver_kwargs={"tol": 1e-9})
        ll, ll_null = (
            m.score(A, y, aggregate_sample_scores=lambda s: s.sum(0))
            for m, A in ((model, X), (null, none))
        )
        found = model.score(X, y, "pseudo-r2-McFadden", lambda s: s.sum(0))
    np.testing.assert_allclose(found, 1 - ll / ll_null, rtol=1e-6)
    assert np.all(found > 0.01)


@every_pair
def test_simulations_have_the_means_they_should(name, key):
    X, y = data(name)
    model = fit(name, X, y)
    sample, rate = model.simulate(key, X)
    assert sample.shape == rate.shape == (T, N)
    np.testing.assert_allclose(rate, model.predict(X))
    assert abs(np.mean(sample - rate)) < 5 * np.std(sample) / np.sqrt(T * N)
    parameters = model.predict_parameters(X)
    assert list(parameters) == list(FAMILIES[name].predictors)
    mean = FAMILIES[name].mean(np.stack(list(parameters.values())))
    np.testing.assert_allclose(rate, mean, rtol=1e-5)


@every_pair
def test_standard_errors_are_those_of_finite_differences(name):
    X, y = data(name)
    with jax.enable_x64(True):
        model = fit(name, X, y, solver_kwargs={"tol": 1e-10})
        found = inference.infer(model, X, y)
    A, B = X[first(name)], X[SECOND[name]]
    # In the order of the container, which is that of its keys.
    parts = sorted([(first(name), A), (SECOND[name], B)])
    at = np.concatenate([model.coef_[key][:, 0] for key, _ in parts] + [model.intercept_[0]])
    np.testing.assert_allclose(found.estimate[0], at)

    def cost(theta):
        split = np.split(theta[:-2], [parts[0][1].shape[1]])
        of = {key: D @ w for (key, D), w in zip(parts, split, strict=True)}
        eta = np.stack([of[first(name)] + theta[-2], of[SECOND[name]] + theta[-1]])
        return -np.sum(log_prob(name, eta, y[:, 0]))

    step, n = 1e-4, len(at)
    hessian = np.zeros((n, n))
    for i in range(n):
        for k in range(n):
            e, f = step * np.eye(n)[[i, k]]
            hessian[i, k] = (
                cost(at + e + f) - cost(at + e - f) - cost(at - e + f) + cost(at - e - f)
            ) / (4 * step**2)
    error = np.sqrt(np.diag(np.linalg.inv(hessian)))
    np.testing.assert_allclose(found.standard_error[0], error, rtol=2e-3)
    assert len(found.names) == n == P + Q + 2
    coef, intercept = found.shaped(found.estimate)
    np.testing.assert_allclose(coef[SECOND[name]], model.coef_[SECOND[name]])
    np.testing.assert_allclose(intercept, model.intercept_)
    tested = inference.wald_test(found, SECOND[name])
    assert tested.df[0] == Q
    assert tested.p_value[0] < 1e-6


@every_pair
def test_a_likelihood_ratio_leaves_a_predictors_features_out(name):
    X, y = data(name)
    with jax.enable_x64(True):
        model = fit(name, X, y)
        restricted = inference.without(model, X, y, SECOND[name])
        test = inference.likelihood_ratio_test(model, restricted, X, y)
    assert np.all(restricted.coef_[SECOND[name]] == 0)
    np.testing.assert_array_equal(test.df, Q)
    assert np.all(test.p_value < 1e-3)
    np.testing.assert_array_equal(model.edf_, P + Q + 2)


@every_pair
def test_a_path_and_a_search_run_over_both_designs(name):
    X, y = data(name)
    search = model_selection.PopulationGLMCV(
        FAMILIES[name], regularizer="Ridge", strengths=[1.0, 0.01], cv=3
    ).fit(X, y)
    assert search.coef_[SECOND[name]].shape == (Q, N)
    direct = fit(name, X, y, regularizer="Ridge", regularizer_strength=search.strength_)
    np.testing.assert_allclose(search.coef_[first(name)], direct.coef_[first(name)], atol=3e-3)


@every_pair
@pytest.mark.filterwarnings("ignore:.*neurons need a look:RuntimeWarning")
def test_batches_lead_to_the_fit_of_all(name):
    X, y = data(name)
    model = PopulationGLM(FAMILIES[name])
    for rows in np.split(np.arange(T), 3):
        model.partial_fit({k: A[rows] for k, A in X.items()}, y[rows])
    whole = fit(name, X, y)
    for key in X:
        np.testing.assert_allclose(model.coef_[key], whole.coef_[key], atol=0.02)


@every_pair
def test_a_saved_model_comes_back(name, tmp_path):
    import spikax

    X, y = data(name)
    model = fit(name, X, y)
    model.save_params(tmp_path / "model.npz")
    loaded = spikax.load_model(tmp_path / "model.npz")
    assert loaded.observation_model == model.observation_model
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


@every_pair
def test_missing_rows_are_left_out(name):
    X, y = data(name)
    X[SECOND[name]][3, 0] = np.nan
    y[7, 1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fit(name, X, y)
    keep = np.delete(np.arange(T), [3, 7])
    alone = fit(name, {k: A[keep] for k, A in X.items()}, y[keep, 1], GLM)
    np.testing.assert_allclose(model.coef_[first(name)][:, 1], alone.coef_[first(name)], atol=2e-3)
    assert np.isnan(model.predict(X)[3]).all()


def test_strengths_and_masks_are_structured_like_both_designs():
    X, y = data("zero-inflated")
    X = {"rate": {"speed": X["rate"][:, :1], "rest": X["rate"][:, 1:]}, "zero": X["zero"]}
    strength = {"rate": {"speed": 0.0, "rest": 100.0}, "zero": np.full((Q, N), 1e-3)}
    model = PopulationGLM(
        "ZeroInflatedPoisson", regularizer="Ridge", regularizer_strength=strength
    ).fit(X, y)
    assert np.abs(model.coef_["rate"]["rest"]).max() < 0.02
    assert np.abs(model.coef_["zero"][0]).min() > 0.3
    groups = regularizer.GroupLasso()
    grouped = PopulationGLM(
        "ZeroInflatedPoisson", regularizer=groups, regularizer_strength=0.05
    ).fit(X, y)
    assert grouped.coef_["rate"]["rest"].shape == (2, N)


def test_offsets_are_of_the_first_predictor(rng):
    X, y = data("zero-inflated")
    offset = np.log(rng.uniform(0.5, 2, size=T))
    model = fit("zero-inflated", X, y, offset=offset)
    with_it, without = (model.predict_parameters(X, offset=o) for o in (offset, None))
    np.testing.assert_allclose(
        with_it["rate"], np.exp(offset)[:, None] * without["rate"], rtol=1e-5
    )
    np.testing.assert_allclose(with_it["zero"], without["zero"])


def test_links_of_both_predictors_can_be_chosen():
    X, y = data("zero-inflated")
    kwargs = {"inverse_link_function": {"rate": "softplus", "zero": "norm_cdf"}}
    model = fit("zero-inflated", X, y, **kwargs)
    zero = model.predict_parameters(X)["zero"]
    eta = X["zero"] @ model.coef_["zero"] + model.intercept_[:, 1]
    np.testing.assert_allclose(zero, stats.norm.cdf(eta), atol=1e-5)
    with pytest.raises(ValueError, match=r"inverse_link_function: 'zeros'\. Did you mean 'zero'"):
        fit("zero-inflated", X, y, inverse_link_function={"zeros": "logistic"})


@pytest.mark.parametrize("strength", ["neuron", "entry"])
def test_strengths_meet_masks_of_several_predictors(strength):
    X, y = data("hurdle")
    each = {"neuron": np.array([0.01, 0.1, 1.0]), "entry": {"rate": 0.01, "zero": 1.0}}[strength]
    mask = {"rate": np.tril(np.ones((P, N))), "zero": np.ones((Q, N))}
    kwargs = {"regularizer": "Ridge", "solver_kwargs": {"tol": 1e-6}}
    model = fit("hurdle", X, y, regularizer_strength=each, feature_mask=mask, **kwargs)
    for j in range(N):
        alone = fit(
            "hurdle",
            X,
            y[:, j],
            GLM,
            regularizer_strength=each[j] if strength == "neuron" else each,
            feature_mask={key: part[:, j] for key, part in mask.items()},
            **kwargs,
        )
        for key in X:
            np.testing.assert_allclose(model.coef_[key][:, j], alone.coef_[key], atol=1e-3)


# --- Bad inputs, and data that a model does not suit.


def test_zeros_that_are_never_observed_are_told_of(rng):
    X = rng.normal(size=(500, 2))
    some = rng.poisson(0.7, 500) * rng.integers(0, 2, 500)
    y = np.column_stack([1 + rng.poisson(2, 500), some])
    for family in ("ZeroInflatedPoisson", "HurdlePoisson"):
        with pytest.warns(RuntimeWarning, match=r"neurons 0 have the predictor 'zero' at its"):
            model = PopulationGLM(family).fit(X, y)
        assert model.solver_state_.stats.status.tolist() == [Status.UNBOUNDED, Status.CONVERGED]
        assert np.isfinite(model.intercept_).all()
        assert np.all(model.predict_parameters(X)["zero"][:, 0] < 1e-3)


@every_pair
def test_a_second_design_for_a_family_without_a_second_predictor_is_refused(name):
    X, y = data(name)
    with pytest.raises(ValueError, match=r"X has designs for the predictors .* one linear pred"):
        PopulationGLM("Poisson").fit(X, y)
    with pytest.raises(ValueError, match=r"X has a design for the predictor .* 'speed' besides"):
        fit(name, {**X, "speed": X[first(name)]}, y)


@every_pair
def test_features_alone_are_those_of_the_first_predictor(name):
    X, y = data(name)
    model, same = fit(name, X[first(name)], y), fit(name, {first(name): X[first(name)]}, y)
    assert model.coef_.shape == (P, N)
    np.testing.assert_allclose(model.coef_, same.coef_[first(name)], atol=1e-4)
    second = model.predict_parameters(X[first(name)])[SECOND[name]]
    assert np.all(second == second[:1])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BetaBinomialObservations(2.5), TypeError, "n_trials must be a whole number"),
        (lambda: BetaBinomialObservations(0), ValueError, "n_trials must be at least 1, got 0"),
        (lambda: BetaBinomialObservations(3, -1.0), ValueError, "scale must be finite"),
        (lambda: BetaBinomialObservations(3, "features"), TypeError, "scale must be a number or"),
        (
            lambda: GLM(BetaBinomialObservations(3)).fit(np.ones((2, 1)), [1, 4]),
            ValueError,
            r"y holds 4 in row 1.* whole numbers from 0 to n_trials=3",
        ),
        (
            lambda: GLM("HurdlePoisson").fit(np.ones((2, 1)), [1, 0.5]),
            ValueError,
            r"y holds 0\.5 in row 1",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_recurrence_of_two_predictors_is_refused(key):
    import spikax

    y = np.random.default_rng(0).poisson(0.5, size=(200, 2)).astype(float)
    basis = spikax.basis.HistoryConv(2)
    model = PopulationGLM("HurdlePoisson").fit(basis.compute_features(y), y)
    with pytest.raises(TypeError, match="several linear predictors"):
        model.simulate_recurrent(key, 100, basis)


def test_diagnostics_of_several_parameters_are_refused():
    with pytest.raises(ValueError, match="have one for each"):
        diagnostics.residuals(
            np.ones(8), np.ones(8), observation_model=ZeroInflatedPoissonObservations()
        )
