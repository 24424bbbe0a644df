"""Agreement with statsmodels and scikit-learn, on simulated spikes and on the recording."""

import warnings

import jax
import numpy as np
import pynapple as nap
import pytest
import statsmodels.api as sm
from scipy import stats
from sklearn import linear_model
from statsmodels.tools import sm_exceptions

import spikax as nmo
from spikax.glm import GLM, PopulationGLM

LINKS = sm.families.links
# family, inverse link, statsmodels' family with it, and the mean of its observations
MODELS = {
    "poisson": ("Poisson", "exp", sm.families.Poisson(), np.exp),
    "logit": ("Bernoulli", "logistic", sm.families.Binomial(), lambda e: 1 / (1 + np.exp(-e))),
    "probit": ("Bernoulli", "norm_cdf", sm.families.Binomial(LINKS.Probit()), stats.norm.cdf),
    "gaussian": ("Gaussian", "identity", sm.families.Gaussian(), lambda e: e),
    "gamma": ("Gamma", "one_over_x", sm.families.Gamma(), lambda e: 1 / (8 + e)),
    "gamma-log": ("Gamma", "exp", sm.families.Gamma(LINKS.Log()), np.exp),
    "gaussian-log": ("Gaussian", "exp", sm.families.Gaussian(LINKS.Log()), np.exp),
    "gaussian-inverse": (
        "Gaussian",
        "one_over_x",
        sm.families.Gaussian(LINKS.InversePower()),
        lambda e: 8 / (8 + e),
    ),
    "gamma-identity": ("Gamma", "identity", sm.families.Gamma(LINKS.Identity()), lambda e: 8 + e),
    "poisson-identity": (
        "Poisson",
        "identity",
        sm.families.Poisson(LINKS.Identity()),
        lambda e: 20 + e,
    ),
    "negative-binomial": (
        "NegativeBinomial",
        "exp",
        sm.families.NegativeBinomial(alpha=1.0),
        lambda e: np.exp(2 + e),
    ),
}
DRAW = {
    "Poisson": lambda rng, mean: rng.poisson(mean),
    "Bernoulli": lambda rng, mean: rng.binomial(1, mean),
    "Gaussian": lambda rng, mean: rng.normal(mean, 0.3),
    "Gamma": lambda rng, mean: rng.gamma(2.0, mean / 2),
    "NegativeBinomial": lambda rng, mean: rng.poisson(mean * rng.gamma(1.0, 1.0, size=mean.shape)),
}


UNITS = np.array([1.0, 3.0, 0.2, 1.0])


def assert_close(params, expected, relative):
    """Compare parameters, with the largest of them as the unit of a difference."""
    np.testing.assert_allclose(
        params, expected, rtol=relative, atol=relative * np.abs(expected).max()
    )


@pytest.fixture(params=MODELS)
def simulated(request):
    """Draw a hundred and fifty samples of one of the models."""
    family, link, peer, mean = MODELS[request.param]
    rng = np.random.default_rng(5)
    X = rng.normal(size=(150, 4)) * UNITS + [0.0, 1.0, 2.0, 0.0]
    offset = rng.normal(0, 0.3, size=150)
    y = DRAW[family](rng, mean(X @ [0.3, -0.1, 1.0, 0.2] - 1.5 + offset)).astype(float)
    weights = rng.integers(1, 4, size=150).astype(float)
    return family, link, peer, X, y, weights, offset


def fit_peer(family, X, y, weights=None, offset=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sm_exceptions.DomainWarning)  # of a Gamma with 1 / eta
        model = sm.GLM(y, sm.add_constant(X), family, freq_weights=weights, offset=offset)
    return model.fit(tol=1e-13, maxiter=200)


@pytest.mark.parametrize("extra", [(), ("sample_weight", "offset")], ids=["plain", "weighted"])
def test_a_glm_is_that_of_statsmodels(extra, simulated):
    family, link, peer_family, X, y, weights, offset = simulated
    given = {k: v for k, v in (("sample_weight", weights), ("offset", offset)) if k in extra}
    peer = fit_peer(peer_family, X, y, given.get("sample_weight"), given.get("offset"))
    with jax.enable_x64(True):
        kwargs = {"solver_kwargs": {"tol": 1e-10}, "weight_type": "frequency"}
        model = GLM(family, link, **kwargs).fit(X, y, **given)
        rate = model.predict(X, given.get("offset"))
    assert_close(model.coef_, peer.params[1:], 1e-5)
    assert_close(model.intercept_, peer.params[:1], 1e-5)
    assert_close(rate, peer.fittedvalues, 1e-5)
    np.testing.assert_allclose(model.scale_, peer.scale, rtol=1e-6)
    assert model.dof_resid_ == peer.df_resid


@pytest.mark.parametrize("simulated", ["poisson", "logit", "gaussian"], indirect=True)
def test_float32_agrees_to_three_digits(simulated):
    family, link, peer_family, X, y, weights, _ = simulated
    model = GLM(family, link, solver_kwargs={"tol": 1e-6}).fit(X, y, sample_weight=weights)
    peer = fit_peer(peer_family, X, y, weights)
    assert model.predict(X).dtype == np.float32
    assert_close(model.coef_, peer.params[1:], 1e-3)
    assert_close(model.intercept_, peer.params[:1], 1e-3)


def test_scores_are_those_of_statsmodels_and_scipy(simulated):
    family, link, peer_family, X, y, _, _ = simulated
    peer = fit_peer(peer_family, X, y)
    null = fit_peer(peer_family, X[:, :0], y)
    with jax.enable_x64(True):
        model = GLM(family, link, solver_kwargs={"tol": 1e-10}).fit(X, y)
        log_likelihood, cohen = (
            model.score(X, y, s) for s in ("log-likelihood", "pseudo-r2-Cohen")
        )
    mean, scale = peer.fittedvalues, peer.scale
    log_density, null_log_density = (
        {
            "Poisson": lambda mean: stats.poisson.logpmf(y, mean),
            "Bernoulli": lambda mean: stats.bernoulli.logpmf(y, mean),
            "Gaussian": lambda mean: stats.norm.logpdf(y, mean, np.sqrt(scale)),
            "Gamma": lambda mean: stats.gamma.logpdf(y, 1 / scale, scale=scale * mean),
            "NegativeBinomial": lambda mean: stats.nbinom.logpmf(y, 1, 1 / (1 + mean)),
        }[family](mean)
        for mean in (mean, y.mean())
    )
    assert log_likelihood == pytest.approx(log_density.mean(), rel=1e-6)
    if family in ("Gaussian", "Gamma"):
        with pytest.raises(ValueError, match=r"depend on the units of y.*'pseudo-r2-Cohen'"):
            model.score(X, y, "pseudo-r2-McFadden")
    else:
        assert log_likelihood == pytest.approx(peer.llf / len(y), rel=1e-6)
        with jax.enable_x64(True):
            mcfadden = model.score(X, y, "pseudo-r2-McFadden")
        assert mcfadden == pytest.approx(1 - peer.llf / peer.llnull, rel=1e-5)
        assert mcfadden == pytest.approx(1 - log_density.sum() / null_log_density.sum(), rel=1e-5)
    assert cohen == pytest.approx(1 - peer.deviance / null.deviance, rel=1e-5)


def test_every_score_compares_with_the_null_model_of_statsmodels(simulated):
    family, link, peer_family, X, y, weights, offset = simulated
    peer = fit_peer(peer_family, X, y, weights, offset)
    null, evenly = (fit_peer(peer_family, X[:, :0], y, w, offset) for w in (weights, None))
    given = {"sample_weight": weights, "offset": offset}
    with jax.enable_x64(True):
        model = GLM(family, link, solver_kwargs={"tol": 1e-10}).fit(X, y, **given)
        cohen = model.score(X, y, "pseudo-r2-Cohen", **given)
        row = nmo.inference.summary(model, X, y, **given).neurons.loc[0]
        rate = np.asarray(model.predict(X, offset))
        if link == "exp":  # others cannot do without an intercept
            bare = GLM(family, link, fit_intercept=False).fit(X, y, **given)
            told = nmo.inference.summary(bare, X, y, **given).neurons.loc[0]
            assert told.null_deviance == pytest.approx(null.deviance, rel=1e-8)
        if family not in ("Gaussian", "Gamma"):
            mcfadden = model.score(X, y, "pseudo-r2-McFadden", **given)
            assert mcfadden == pytest.approx(1 - peer.llf / null.llf, rel=1e-6)
    assert cohen == pytest.approx(1 - peer.deviance / null.deviance, rel=1e-6)
    assert row.null_deviance == pytest.approx(null.deviance, rel=1e-8)
    assert row.deviance_explained == pytest.approx(cohen, rel=1e-6)
    explained = nmo.diagnostics.deviance_explained(
        y, rate, observation_model=family, offset=offset, inverse_link_function=link
    )
    expected = 1 - peer_family.deviance(y, rate) / evenly.deviance
    np.testing.assert_allclose(explained, expected, rtol=1e-6)
    against = nmo.diagnostics.deviance_explained(
        y, rate, observation_model=family, null_rate=evenly.fittedvalues
    )
    np.testing.assert_allclose(against, expected, rtol=1e-6)


def test_counts_that_follow_their_exposure_leave_little_to_explain():
    x, exposure = np.linspace(-1, 1, 9), np.array([1.0, 2, 4, 8, 1, 2, 4, 8, 2])
    y, offset = exposure + np.array([1, -1, 0, 0, 0, 0, 0, 0, 0]), np.log(exposure)
    model = GLM(solver_kwargs={"tol": 1e-8}).fit(x[:, None], y, offset=offset)
    rate = np.asarray(model.predict(x[:, None], offset), float)
    cohen, mcfadden = (
        model.score(x[:, None], y, f"pseudo-r2-{name}", offset=offset)
        for name in ("Cohen", "McFadden")
    )
    assert cohen == pytest.approx(0.00419, abs=1e-5)
    assert mcfadden == pytest.approx(0.00021, abs=1e-5)
    explained = nmo.diagnostics.deviance_explained(y, rate, offset=offset)
    assert explained == pytest.approx(cohen, abs=1e-6)
    bits = nmo.diagnostics.bits_per_spike(y, rate, offset=offset)
    gain = stats.poisson.logpmf(y, rate).sum() - stats.poisson.logpmf(y, exposure).sum()
    assert bits == pytest.approx(gain / np.log(2) / y.sum(), rel=1e-3)


# --- scikit-learn, with a penalty. Its losses are means over samples too, or sums: see `alpha`.


@pytest.fixture
def population():
    rng = np.random.default_rng(6)
    X = rng.normal(size=(150, 4)) * UNITS + [0.0, 1.0, 2.0, 0.0]
    eta = X @ (rng.normal(size=(4, 3)) * [[0.3], [0.1], [1.0], [0.3]]) - 1
    weights = rng.uniform(0.2, 3, size=150)
    return X, eta, weights, rng


STRENGTH = 0.05
PEERS = {
    # Half the mean deviance is the mean loss, up to a constant.
    "Poisson": lambda n: linear_model.PoissonRegressor(
        alpha=STRENGTH, solver="newton-cholesky", tol=1e-10
    ),
    # |y - mu|^2 + alpha |w|^2, summed over samples: twice our penalty, n times.
    "Gaussian": lambda n: linear_model.Ridge(alpha=n * STRENGTH / 2),
    # C times the sum of the losses, plus |w|^2 / 2.
    "Bernoulli": lambda n: linear_model.LogisticRegression(
        C=1 / (n * STRENGTH), solver="newton-cholesky", tol=1e-10
    ),
}


@pytest.mark.parametrize("family", PEERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_ridge_population_is_that_of_scikit_learn(family, weighted, population):
    X, eta, weights, rng = population
    mean = {"Poisson": np.exp, "Bernoulli": stats.logistic.cdf, "Gaussian": np.asarray}[family]
    y = DRAW[family](rng, mean(eta)).astype(float)
    weights = weights if weighted else np.ones(len(y))
    with jax.enable_x64(True):
        model = PopulationGLM(
            family,
            regularizer="Ridge",
            regularizer_strength=STRENGTH,
            # In nats; 1e-5 of a parameter of 0.1 is 1e-11 of them.
            solver_kwargs={"tol": 1e-12},
        ).fit(X, y, sample_weight=weights)
    for j in range(y.shape[1]):
        peer = PEERS[family](weights.sum()).fit(X, y[:, j], sample_weight=weights)
        assert_close(model.coef_[:, j], peer.coef_.ravel(), 1e-5)
        assert_close(model.intercept_[[j]], peer.intercept_, 1e-5)


# --- Real spikes.


@pytest.fixture(scope="module")
def recording():
    """Two minutes of the recording: counts of all units in 50 ms, and the head's direction."""
    data = nmo.datasets.load_head_direction()
    start = data.head_direction.t[0]
    epoch = nap.IntervalSet(start, start + 120)
    counts = data.spikes.count(0.05, epoch)
    angle = data.head_direction.restrict(epoch).interpolate(counts)
    features = [f(k * angle.d) for k in (1, 2) for f in (np.cos, np.sin)]
    return np.column_stack(features), counts


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-5), ("float32", 1e-3)])
def test_head_direction_tuning_is_that_of_statsmodels(precision, tolerance, recording):
    X, counts = recording
    busy = np.asarray(counts.d).sum(axis=0) > 100
    y = counts.d[:, busy].astype(float)
    assert y.shape[1] >= 4
    with jax.enable_x64(precision == "float64"):
        tol = 1e-10 if precision == "float64" else 1e-6
        model = PopulationGLM(solver_kwargs={"tol": tol}).fit(X, y)
        scores = model.score(X, y, "pseudo-r2-Cohen", lambda s: s.sum(axis=0, dtype=float))
    assert model.solver_state_.stats.converged.all()
    for j in range(y.shape[1]):
        peer = fit_peer(sm.families.Poisson(), X, y[:, j])
        assert peer.converged
        assert_close(model.coef_[:, j], peer.params[1:], tolerance)
        assert_close(model.intercept_[[j]], peer.params[:1], tolerance)
        assert scores[j] == pytest.approx(1 - peer.deviance / peer.null_deviance, rel=tolerance)


# --- Negative binomials.


def fit_joint_peer(X, y, start):
    """Fit coefficients and dispersion with statsmodels, from a start near their optimum."""
    model = sm.NegativeBinomial(y, sm.add_constant(X))
    return model.fit(start_params=start, method="newton", tol=1e-12, maxiter=200, disp=0)


def near(model, j):
    """Parameters of a neuron in statsmodels' order, a little off."""
    coef, scale = model.coef_[:, j], model.scale_[j]
    return 1.01 * np.concatenate([model.intercept_[[j]], coef, [scale]])


@pytest.fixture(scope="module")
def overdispersed():
    rng = np.random.default_rng(7)
    X = rng.normal(size=(1000, 4)) * UNITS + [0.0, 1.0, 2.0, 0.0]
    mean = np.exp(X @ (rng.normal(size=(4, 3)) * [[0.3], [0.1], [1.0], [0.3]]) + 0.5)
    scale = np.array([0.2, 1.0, 4.0])
    return X, rng.poisson(mean * rng.gamma(1 / scale, scale, size=mean.shape)).astype(float)


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-5), ("float32", 1e-3)])
@pytest.mark.parametrize("solver", ["WhitenedLBFGS", "Newton"])
def test_a_jointly_estimated_scale_is_that_of_statsmodels(
    precision, tolerance, solver, overdispersed
):
    X, y = overdispersed
    with jax.enable_x64(precision == "float64"):
        tol = 1e-12 if precision == "float64" else 1e-8
        model = PopulationGLM(
            nmo.observation_models.NegativeBinomialObservations("estimate"),
            solver_name=solver,
            solver_kwargs={"tol": tol},
        ).fit(X, y)
        scores, mcfadden = (
            model.score(X, y, s, lambda s: s.sum(axis=0, dtype=float))
            for s in ("log-likelihood", "pseudo-r2-McFadden")
        )
        bits = nmo.diagnostics.bits_per_spike(
            y, model.predict(X), observation_model=model.observation_model, scale=model.scale_
        )
    assert model.solver_state_.stats.converged.all()
    for j in range(3):
        peer = fit_joint_peer(X, y[:, j], near(model, j))
        assert_close(model.coef_[:, j], peer.params[1:-1], tolerance)
        assert_close(model.intercept_[[j]], peer.params[:1], tolerance)
        np.testing.assert_allclose(model.scale_[j], peer.params[-1], rtol=tolerance)
        assert scores[j] == pytest.approx(peer.llf, rel=tolerance / 10)
        # Its null model has a dispersion of its own.
        assert mcfadden[j] == pytest.approx(peer.prsquared, rel=tolerance)
        gain = (peer.llf - peer.llnull) / np.log(2) / y[:, j].sum()
        assert bits[j] == pytest.approx(gain, rel=tolerance)


@pytest.mark.parametrize("scale", [0.02, 3.0])
def test_a_fixed_scale_is_that_of_statsmodels(scale, overdispersed):
    X, y = overdispersed
    family = nmo.observation_models.NegativeBinomialObservations(scale)
    weights = np.random.default_rng(3).integers(1, 4, size=len(y)).astype(float)
    with jax.enable_x64(True):
        model = PopulationGLM(family, solver_kwargs={"tol": 1e-12})
        model.fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(model.scale_, scale)
    for j in range(3):
        peer = fit_peer(sm.families.NegativeBinomial(alpha=scale), X, y[:, j], weights)
        assert_close(model.coef_[:, j], peer.params[1:], 1e-5)
        assert_close(model.intercept_[[j]], peer.params[:1], 1e-5)


@pytest.mark.filterwarnings("ignore:.*vary no more than Poisson:RuntimeWarning")
def test_the_dispersion_of_real_spikes_is_that_of_statsmodels(recording):
    X, counts = recording
    y = counts.d[:, np.asarray(counts.d).sum(axis=0) > 100].astype(float)
    with jax.enable_x64(True):
        model = PopulationGLM(
            nmo.observation_models.NegativeBinomialObservations("estimate"),
            solver_kwargs={"tol": 1e-12},
        ).fit(X, y)
    dispersed = np.flatnonzero(model.scale_ > 0)
    assert len(dispersed) >= 3
    for j in dispersed:
        peer = fit_joint_peer(X, y[:, j], near(model, j))
        assert_close(model.coef_[:, j], peer.params[1:-1], 1e-5)
        np.testing.assert_allclose(model.scale_[j], peer.params[-1], rtol=1e-5)


# --- Classifiers.


@pytest.fixture(scope="module")
def choices():
    rng = np.random.default_rng(8)
    X = rng.normal(size=(400, 4)) * UNITS + [0.0, 1.0, 2.0, 0.0]
    eta = (X - X.mean(axis=0)) @ (rng.normal(size=(4, 3)) * [[0.8], [0.3], [2.0], [0.8]])
    label = (eta + rng.gumbel(size=eta.shape)).argmax(axis=1)
    return X, np.array(["left", "right", "still"])[label]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-5), ("float32", 1e-3)])
def test_a_ridge_classifier_is_that_of_scikit_learn(
    n_classes, weighted, precision, tolerance, choices
):
    X, y = choices
    y = y if n_classes == 3 else np.where(y == "still", "left", y)
    weights = np.random.default_rng(3).uniform(0.2, 3, len(y)) if weighted else np.ones(len(y))
    with jax.enable_x64(precision == "float64"):
        model = nmo.glm.ClassifierGLM(
            n_classes,
            regularizer_strength=STRENGTH,
            solver_kwargs={"tol": 1e-12 if precision == "float64" else 1e-7},
        ).fit(X, y, sample_weight=weights)
        probability = model.predict_proba(X, "proba")
    coef, intercept = model.coef_, model.intercept_
    # Two classes are one difference there, whose penalty is that of our two halves.
    C = 1 / (weights.sum() * STRENGTH) * (1 if n_classes == 3 else 2)
    peer = linear_model.LogisticRegression(C=C, tol=1e-12, max_iter=10_000)
    peer.fit(X, y, sample_weight=weights)
    if n_classes == 2:
        coef, intercept = coef[:, 1:] - coef[:, :1], intercept[1:] - intercept[:1]
    assert_close(coef, peer.coef_.T, tolerance)
    assert_close(intercept, peer.intercept_, tolerance)
    assert_close(probability, peer.predict_proba(X), tolerance)
    np.testing.assert_array_equal(model.classes_, peer.classes_)
    np.testing.assert_array_equal(model.predict(X), peer.predict(X))


def test_a_classifier_without_a_penalty_is_that_of_statsmodels(choices):
    X, y = choices
    with jax.enable_x64(True):
        model = nmo.glm.ClassifierGLM(
            3, regularizer="UnRegularized", solver_kwargs={"tol": 1e-12}
        ).fit(X, y)
        score = model.score(X, y)
        mcfadden = model.score(X, y, "pseudo-r2-McFadden")
    index = np.searchsorted(model.classes_, y)
    peer = sm.MNLogit(index, sm.add_constant(X)).fit(tol=1e-13, maxiter=100, disp=0)
    assert_close(model.coef_[:, 1:] - model.coef_[:, :1], peer.params[1:], 1e-5)
    assert_close(model.intercept_[1:] - model.intercept_[0], peer.params[0], 1e-5)
    np.testing.assert_allclose(model.coef_.sum(axis=1), 0, atol=1e-9)
    assert score == pytest.approx(peer.llf / len(y), rel=1e-8)
    assert mcfadden == pytest.approx(peer.prsquared, rel=1e-7)
    assert model.dof_resid_ == len(y) - 2 * 5


def test_a_lasso_classifier_meets_the_conditions_of_its_optimum(choices):
    X, y = choices
    with jax.enable_x64(True):
        model = nmo.glm.ClassifierGLM(
            3, regularizer="Lasso", regularizer_strength=0.03, solver_kwargs={"tol": 1e-8}
        ).fit(X, y)
        slope, slope_of_intercept = jax.grad(model.compute_loss)(
            (model.coef_, model.intercept_), X, y
        )
    inactive = model.coef_ == 0
    assert 0 < inactive.sum() < inactive.size
    assert np.all(np.abs(slope[inactive]) <= 0.03 + 1e-9)
    np.testing.assert_allclose(
        slope[~inactive], -0.03 * np.sign(model.coef_[~inactive]), atol=1e-6
    )
    np.testing.assert_allclose(slope_of_intercept, 0, atol=1e-6)
