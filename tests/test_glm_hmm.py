"""GLM-HMMs: the objective against a forward pass, limits against GLMs, and laws of priors."""

import itertools
import pickle
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pynapple as nap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import spikax as nmo
from compilations import counted
from spikax.glm_hmm import GLMHMM, ClassifierGLMHMM, PopulationGLMHMM
from spikax.hmm._search import evaluate, search
from spikax.hmm._starts import start_at
from spikax.solvers import Status

N, K, P = 400, 2, 2
STATE = np.arange(N) // 50 % 2
SESSIONS = [0, 150, 290]
_RNG = np.random.default_rng(3)
X = _RNG.normal(size=(N, P))
ETA = np.where(STATE, 1.5, -1.5) * X[:, 0] + 0.4
OBSERVED = {
    "Bernoulli": (_RNG.uniform(size=N) < 1 / (1 + np.exp(-2 * ETA))).astype(float),
    "Poisson": _RNG.poisson(np.exp(0.5 * ETA)).astype(float),
    "Gaussian": ETA + _RNG.normal(size=N) * np.where(STATE, 0.3, 0.8),
    "Gamma": _RNG.gamma(2, np.exp(0.4 * ETA) / 2) + 1e-6,
    "NegativeBinomial": _RNG.negative_binomial(2, 1 / (1 + np.exp(0.5 * ETA) / 2)).astype(float),
    "ZeroInflatedPoisson": _RNG.poisson(np.exp(0.5 * ETA)) * (_RNG.uniform(size=N) < 0.8) * 1.0,
}
LINKS = {"Gamma": "exp"}
Y2 = np.stack([OBSERVED["Poisson"], np.roll(OBSERVED["Poisson"], 1)], axis=1)


def model(family="Bernoulli", kind=GLMHMM, **more):
    more = {"n_restarts": 2, "regularizer_strength": 0.3} | more
    return kind(
        more.pop("n_states", K),
        observation_model=family,
        inverse_link_function=LINKS.get(family),
        **more,
    )


def quiet(estimator, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(*args, **kwargs)


# --- The objective.


def log_posterior(problem, params):
    """Log posterior by a forward pass, one sample after another, in logarithms."""
    emission, transitions = problem.emission, problem.transitions
    objective, samples = emission.objective, emission.samples
    features = jnp.moveaxis(samples.X.blocks, 1, 2).reshape(-1, samples.X.n_features)
    flat = [jnp.moveaxis(a, 1, 2).reshape(-1, a.shape[1]) for a in (samples.y, samples.weights)]
    n = int(problem.chain.weight.sum())
    features, y, weights = features[:n], flat[0][:n], flat[1][:n]
    k, n_predictors = len(params.emission.theta), objective.n_predictors
    likelihoods = []
    for state in range(k):
        theta = params.emission.theta[state].reshape(features.shape[1] + 1, n_predictors, -1)
        eta = jnp.einsum("tp,pkn->ktn", features, theta[:-1]) + theta[-1][:, None]
        eta = eta[0] if n_predictors == 1 else eta
        likelihood = objective.likelihood
        if emission.disperses:
            scale = emission.floor + jnp.exp(params.emission.log_excess[state])
            likelihood = likelihood.at(scale[:, None])
        by_row = jax.tree.map(lambda leaf: leaf.T, likelihood)
        likelihoods.append(jnp.sum(weights * by_row.log_prob(eta, y), axis=1))
    each = jnp.stack(likelihoods, axis=1)
    starts = problem.chain.joined(problem.chain.start)[:n]
    logits, slopes = params.transitions
    total, alpha = 0.0, None
    for t in range(n):
        rows = logits
        if transitions.covariates is not None:
            z = problem.chain.joined(transitions.covariates)[:, t]
            rows = rows + jnp.einsum("iqj,q->ij", slopes, z)
        rows = jax.nn.log_softmax(rows, axis=1)
        if starts[t]:
            total = total + (0.0 if alpha is None else jax.nn.logsumexp(alpha))
            alpha = rows[-1] + each[t]
        else:
            alpha = jax.nn.logsumexp(alpha[:, None] + rows[:-1], axis=0) + each[t]
    total = total + jax.nn.logsumexp(alpha)
    coef = params.emission.theta[:, :-n_predictors] / objective.scale[None]
    penalty = 0.15 * jnp.sum(coef**2)
    at_mean = jax.nn.log_softmax(logits, axis=1)
    prior = jnp.sum((transitions.concentration - 1) * at_mean) - 0.5 * jnp.sum(
        transitions.precision[None, :, None] * slopes**2
    )
    return total - penalty + prior


@pytest.mark.parametrize("covariates", [False, True], ids=["constant", "covariates"])
@pytest.mark.parametrize("family", [*OBSERVED, "population"])
def test_the_gradient_is_that_of_a_forward_pass(family, covariates, rng):
    few = slice(0, 24)
    if family == "population":
        y = Y2[few].copy()
        y[[3, 4], 0] = np.nan
        y[10] = np.nan
        estimator = model("Poisson", PopulationGLMHMM, stickiness=3.0)
    else:
        y, estimator = OBSERVED[family][few], model(family, stickiness=3.0)
    estimator.set_params(dirichlet_initial_proba=2.0)
    spec = estimator.resolve()
    with jax.enable_x64(True):
        data = estimator._check(spec, X[few], y, None, None)
        sessions = estimator._sessions(data, y, [0, 9])
        z = spec.covariates(rng.normal(size=(24, 2)), 24) if covariates else None
        prepared = spec.prepare(data, sessions, z, None)
        problem = prepared.problem
        shapes = problem.emission.mask.shape
        params = spec.to_problem(
            (
                rng.normal(size=(P, K) if shapes[2] == 1 else (P, 2, K)),
                rng.normal(size=estimator_shape(spec, shapes)),
                rng.uniform(0.5, 1, size=(K,) if shapes[2] == 1 else (2, K)),
                [0.3, 0.7],
                [[0.8, 0.2], [0.4, 0.6]],
            ),
            prepared,
        )
        slopes = jnp.asarray(rng.normal(size=params.transitions.slopes.shape))
        params = params._replace(transitions=params.transitions._replace(slopes=slopes))
        found = jax.jit(evaluate)(problem, params)
        value, gradient = jax.value_and_grad(lambda p: log_posterior(problem, p))(params)
        np.testing.assert_allclose(found.log_posterior, value, rtol=1e-12)
        theta = gradient.emission.theta * problem.emission.mask
        gradient = gradient._replace(emission=gradient.emission._replace(theta=theta))
        for ours, theirs in zip(
            jax.tree.leaves(found.gradient), jax.tree.leaves(gradient), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-10)


def estimator_shape(spec, shapes):
    n_predictors = spec.model.observation_model.n_predictors
    if shapes[2] == 1:
        return (K,) if n_predictors == 1 else (K, n_predictors)
    return (2, K)


@given(
    st.sampled_from(["UnRegularized", "Ridge", "Lasso", "GroupLasso"]),
    st.floats(0.01, 30),
    st.floats(1, 50),
    st.floats(0, 50),
    st.integers(0, 10**6),
)
@settings(max_examples=12, deadline=None)
def test_the_log_posterior_never_falls(penalty, strength, alpha, stickiness, seed):
    estimator = model(
        n_states=3,
        regularizer=penalty,
        regularizer_strength=strength,
        dirichlet_transition_proba=alpha,
        stickiness=stickiness,
        seed=seed,
    )
    quiet(estimator, X, OBSERVED["Bernoulli"], session_starts=SESSIONS)
    trace = estimator.solver_state_.log_likelihood_history
    assert (np.diff(trace) >= -1e-9 * np.abs(trace[1:])).all()
    assert trace[-1] == pytest.approx(estimator.log_posterior_)


@pytest.mark.parametrize("family", OBSERVED)
def test_the_log_posterior_of_every_family_never_falls(family):
    estimator = quiet(model(family), X, OBSERVED[family], session_starts=SESSIONS)
    trace = estimator.solver_state_.log_likelihood_history
    assert (np.diff(trace) >= -1e-9 * np.abs(trace[1:])).all()
    assert np.isfinite(estimator.coef_).all()
    score = estimator.score(X, OBSERVED[family], SESSIONS)
    assert score == pytest.approx(estimator.log_likelihood_, abs=1e-6)


# --- Limits.


@pytest.mark.parametrize("family", OBSERVED)
def test_one_state_is_the_glm(family):
    y = OBSERVED[family]
    alone = model(family, n_states=1, regularizer_strength=2.0, tol=1e-10).fit(X, y)
    # A density's loss is in nats once it is divided by its scale.
    nats = {"Gaussian": 2 * alone.scale_[0], "Gamma": alone.scale_[0]}.get(family, 1.0)
    glm = nmo.glm.GLM(
        observation_model=family,
        inverse_link_function=LINKS.get(family),
        regularizer="Ridge",
        regularizer_strength=2.0 * nats / N,
        solver_kwargs={"tol": 1e-10},
    )
    with jax.enable_x64(True):
        glm.fit(X, y)
    np.testing.assert_allclose(alone.coef_[:, 0], glm.coef_, atol=1e-6)
    np.testing.assert_allclose(alone.intercept_.ravel(), glm.intercept_.ravel(), atol=1e-6)
    np.testing.assert_allclose(alone.predict(X, y), glm.predict(X), rtol=1e-5)


def test_two_classes_are_bernoulli():
    y = OBSERVED["Bernoulli"]
    of_classes = quiet(ClassifierGLMHMM(2, regularizer_strength=0.6, n_restarts=3, tol=1e-8), X, y)
    of_bits = quiet(model(n_restarts=3, tol=1e-8), X, y)
    # Both columns of a class share what one has alone: half of it each, at half the penalty.
    assert of_classes.log_posterior_ == pytest.approx(of_bits.log_posterior_, abs=1e-3)
    proba = of_classes.predict_proba(X, y, return_type="proba")
    np.testing.assert_allclose(proba[:, 1], of_bits.predict(X, y), atol=1e-3)
    labels = np.array(["left", "right"])[y.astype(int)]
    named = quiet(ClassifierGLMHMM(2, regularizer_strength=0.6, n_restarts=3), X, labels)
    assert set(named.predict(X, labels)) <= {"left", "right"}
    assert named.score(X, labels) == pytest.approx(named.log_likelihood_, abs=1e-6)
    sample, logs, states = named.simulate(jax.random.key(0), X)
    assert set(sample) == {"left", "right"}
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1, rtol=1e-6)
    assert states.shape == (N,)


def test_strong_priors_decide():
    y = OBSERVED["Bernoulli"]
    means = np.array([[0.6, 0.4], [0.2, 0.8]])
    found = quiet(model(dirichlet_transition_proba=1 + 1e7 * means, n_restarts=1), X, y)
    np.testing.assert_allclose(found.transition_prob_, means, atol=1e-4)
    loose = quiet(model(n_restarts=1), X, y)
    sticky = quiet(model(n_restarts=1, stickiness=200.0), X, y)
    assert np.diagonal(sticky.transition_prob_).min() > np.diagonal(loose.transition_prob_).min()
    shrunk = quiet(model(n_restarts=1, regularizer_strength=1e5), X, y)
    assert np.abs(shrunk.coef_).max() < 1e-2


def test_sessions_add_up():
    y, estimator = OBSERVED["Bernoulli"], model()
    quiet(estimator, X, y, session_starts=SESSIONS)
    edges = [*SESSIONS, N]
    parts = [estimator.score(X[a:b], y[a:b]) for a, b in itertools.pairwise(edges)]
    assert sum(parts) == pytest.approx(estimator.log_likelihood_, abs=1e-8)


def test_a_weight_of_two_is_a_session_that_occurred_twice():
    y, start = OBSERVED["Bernoulli"], None
    start = model(n_restarts=1).initialize_params(X, y)
    twice = np.r_[np.arange(N), np.arange(150, 290)]
    often = model(tol=1e-9).fit(X, y, start, SESSIONS, session_weight=[1, 2, 1])
    copied = model(tol=1e-9).fit(X[twice], y[twice], start, [*SESSIONS, N])
    assert often.log_posterior_ == pytest.approx(copied.log_posterior_, abs=1e-6)
    np.testing.assert_allclose(often.coef_, copied.coef_, atol=1e-4)
    kept = np.r_[np.arange(150), np.arange(290, N)]
    without = model(tol=1e-9).fit(X, y, start, SESSIONS, session_weight=[1, 0, 1])
    cut = model(tol=1e-9).fit(X[kept], y[kept], start, [0, 150])
    assert without.log_posterior_ == pytest.approx(cut.log_posterior_, abs=1e-6)
    np.testing.assert_allclose(without.transition_prob_, cut.transition_prob_, atol=1e-4)


def test_numbers_of_states_are_arbitrary():
    y = OBSERVED["Bernoulli"]
    start = model(n_restarts=1).initialize_params(X, y)
    turned = (*tuple(np.asarray(a)[..., ::-1] for a in start[:4]), start[4][::-1, ::-1])
    one, other = (model().fit(X, y, params) for params in (start, turned))
    assert one.log_posterior_ == pytest.approx(other.log_posterior_, abs=1e-9)
    np.testing.assert_allclose(one.coef_, other.coef_[:, ::-1], atol=1e-8)
    order = nmo.hmm.match_states(other, one)
    np.testing.assert_array_equal(order, [1, 0])
    other.reorder(order)
    np.testing.assert_allclose(one.transition_prob_, other.transition_prob_, atol=1e-8)
    np.testing.assert_allclose(one.smooth_proba(X, y), other.smooth_proba(X, y), atol=1e-7)
    with pytest.raises(ValueError, match="must hold 0 to 1, each once"):
        other.reorder([0, 0])


# --- What is missing, and what weighs.


def test_time_passes_at_a_missing_sample():
    y = OBSERVED["Bernoulli"].copy()
    y[40:90] = np.nan
    estimator = model()
    start = model(n_restarts=1).initialize_params(X, np.nan_to_num(y))
    with_gap = quiet(estimator, X, y, start).log_likelihood_
    weight = (~np.isnan(y)).astype(float)
    weighted = quiet(model(), X, np.nan_to_num(y), start, sample_weight=weight)
    assert weighted.log_likelihood_ == pytest.approx(with_gap, abs=1e-9)
    cut = model().fit(X[weight > 0], y[weight > 0], start)
    assert abs(cut.log_likelihood_ - with_gap) > 1e-3
    # Times at which nothing was seen have states all the same.
    with pytest.warns(match="50 of 400 samples are ignored"):
        assert np.isfinite(estimator.smooth_proba(X, y)).all()


def test_what_comes_before_a_session_is_no_part_of_it():
    y = OBSERVED["Bernoulli"]
    start = model(n_restarts=1).initialize_params(X, y)
    before = X.copy()
    for first in SESSIONS:
        before[first : first + 5] = np.nan  # as features of the past are
    kept = ~np.isnan(before[:, 0])
    long = quiet(model(), before, y, start, SESSIONS)
    short = model().fit(X[kept], y[kept], start, [0, 145, 280])
    assert long.log_posterior_ == pytest.approx(short.log_posterior_, abs=1e-8)
    found = long.smooth_proba(before, y, SESSIONS)
    np.testing.assert_array_equal(np.isnan(found[:, 0]), ~kept)


def test_neurons_miss_samples_one_by_one():
    y = Y2.copy()
    y[20:60, 0] = np.nan
    y[100] = np.nan
    estimator = quiet(model("Poisson", PopulationGLMHMM), X, y)
    assert estimator.coef_.shape == (P, 2, K)
    assert estimator.intercept_.shape == estimator.scale_.shape == (2, K)
    assert estimator.score(X, y) == pytest.approx(estimator.log_likelihood_, abs=1e-8)
    # A neuron that is never seen but in part weighs by what is seen.
    weight = (~np.isnan(y)).astype(float)
    again = quiet(model("Poisson", PopulationGLMHMM), X, np.nan_to_num(y), sample_weight=weight)
    assert again.log_posterior_ == pytest.approx(estimator.log_posterior_, abs=1e-6)


def test_offsets_are_added_to_linear_predictors():
    y, offset = OBSERVED["Poisson"], np.log(np.linspace(0.5, 2, N))
    start = model("Poisson").initialize_params(X, y)
    plain = model("Poisson").fit(X, y, start)
    shifted = model("Poisson").fit(X, y, start, offset=np.full(N, 0.7))
    np.testing.assert_allclose(shifted.coef_, plain.coef_, atol=1e-3)
    np.testing.assert_allclose(shifted.intercept_ + 0.7, plain.intercept_, atol=1e-3)
    varied = model("Poisson").fit(X, y, start, offset=offset)
    assert varied.score(X, y, offset=offset) == pytest.approx(varied.log_likelihood_, abs=1e-6)


# --- Structure.


def test_states_may_share_features_and_leave_some_out():
    y = OBSERVED["Bernoulli"]
    shared = quiet(model(shared_features=[False, True]), X, y)
    assert shared.coef_[1, 0] == shared.coef_[1, 1]
    assert shared.coef_[0, 0] != shared.coef_[0, 1]
    by_name = quiet(model(shared_features=["b"]), {"a": X[:, :1], "b": X[:, 1:]}, y)
    np.testing.assert_allclose(by_name.coef_["b"][0], shared.coef_[1], atol=1e-8)
    assert shared.n_parameters_ == 3 + 2 + 1 + 2
    lapse = quiet(model(n_states=3, n_lapse_states=1), X, y)
    np.testing.assert_array_equal(lapse.coef_[:, 2], 0)
    assert (lapse.coef_[:, :2] != 0).all()
    masked = quiet(model(feature_mask=np.array([[1, 1], [1, 0]])), X, y)
    assert masked.coef_[1, 1] == 0
    assert masked.coef_[1, 0] != 0
    whole = quiet(model(feature_mask=np.array([1, 0])), X, y)
    np.testing.assert_array_equal(whole.coef_[1], 0)


def test_shared_features_are_penalised_once():
    y = OBSERVED["Bernoulli"]
    # With all features and no state of its own, a model is the GLM, whose prior counts once.
    shared = quiet(model(shared_features=[True, True], regularizer_strength=5.0, tol=1e-9), X, y)
    coef = shared.coef_[:, 0]
    proba = shared.smooth_proba(X, y)
    eta = X @ coef[:, None] + shared.intercept_
    residual = (proba * (y[:, None] - 1 / (1 + np.exp(-eta)))).sum(axis=1)
    np.testing.assert_allclose(X.T @ residual, 5.0 * coef, atol=1e-3)


@pytest.mark.parametrize("kind", [GLMHMM, PopulationGLMHMM])
@pytest.mark.parametrize("regularizer", ["Lasso", "ElasticNet"])
def test_kinked_penalties_see_shared_features_once(kind, regularizer):
    y = OBSERVED["Poisson"] if kind is GLMHMM else Y2
    strength = {"Lasso": lambda s: s, "ElasticNet": lambda s: (s, 0.5)}[regularizer]

    def fitted(size):
        own = model(
            "Poisson",
            kind,
            regularizer=regularizer,
            shared_features=[False, True],
            regularizer_strength=strength(size),
            tol=1e-7,
        )
        return quiet(own, X, y)

    found = fitted(8.0)
    coef, axis = np.asarray(found.coef_), found.coef_.ndim - 1
    np.testing.assert_array_equal(*np.moveaxis(coef[1], -1, 0))
    assert (coef[1] != 0).any()
    # No move of what is shared, or of what is not, is better: values by fits that take no step.
    params = (coef, found.intercept_, found.scale_, found.initial_prob_, found.transition_prob_)
    still = clone(found).set_params(maxiter=1)
    best = quiet(still, X, y, params).log_posterior_
    for place in itertools.product(*(range(n) for n in coef.shape[:axis])):
        states = [slice(None)] if place[0] else range(K)
        for state, step in itertools.product(states, (-1e-2, 1e-2)):
            moved = coef.copy()
            moved[(*place, state)] += step
            assert quiet(still, X, y, (moved, *params[1:])).log_posterior_ < best + 1e-9
    # A strength that does nothing leaves the fit without a penalty.
    free = model("Poisson", kind, regularizer="UnRegularized", shared_features=[False, True])
    free.set_params(regularizer_strength=None, tol=1e-7)
    free = quiet(free, X, y, params)
    np.testing.assert_allclose(
        quiet(clone(found).set_params(regularizer_strength=strength(1e-9)), X, y, params).coef_,
        free.coef_,
        atol=2e-3,
    )


@pytest.mark.parametrize("start", ["functions", "given"])
def test_a_start_shares_what_states_share(start):
    own = model(shared_features=[False, True])
    params = None
    if start == "functions":
        own.setup(glm_params_init="random")
    else:
        rows = np.full((K, K), 0.5)
        params = np.array([[1.0, -1], [0.2, 0.9]]), np.zeros(K), np.ones(K), rows[0], rows
    found = quiet(own, X, OBSERVED["Bernoulli"], params)
    assert found.coef_[1, 0] == pytest.approx(found.coef_[1, 1], rel=1e-9)
    assert found.coef_[0, 0] != pytest.approx(found.coef_[0, 1], rel=1e-2)


def by_hand(initial, transition):
    own = GLMHMM(2)
    own.coef_, own.intercept_ = np.zeros((1, 2)), np.array([5.0, -5.0])
    own.initial_prob_, own.transition_prob_ = np.array(initial), np.array(transition)
    return own


def test_missing_samples_at_the_start_of_a_session_know_nothing_of_the_one_before(key):
    own = by_hand([0.5, 0.5], [[0.999, 0.001], [0.001, 0.999]])
    y = np.r_[np.ones(10), np.nan, np.nan, np.zeros(8)]
    zeros = np.zeros((20, 1))
    np.testing.assert_allclose(own.predict(zeros, y, [0, 10])[10:12], 0.5, atol=1e-6)
    paths = own.sample_states(key, zeros, y, 200, [0, 10])
    assert 0.3 < paths[:, 10].mean() < 0.7


def test_a_chain_begins_where_features_do(key):
    own = by_hand([1.0, 0.0], [[0.5, 0.5], [0.0, 1.0]])
    x = np.r_[np.full((10, 1), np.nan), np.zeros((5, 1))]
    assert own.predict(x)[10] == pytest.approx(1 / (1 + np.exp(-5)), rel=1e-6)
    _, rate, states = own.simulate(key, x)
    assert states[10] == 0
    assert np.isnan(rate[:10]).all()


def test_a_model_set_by_hand_is_reordered():
    own = by_hand([1.0, 0.0], [[0.5, 0.5], [0.0, 1.0]]).reorder([1, 0])
    np.testing.assert_array_equal(own.intercept_, [-5, 5])
    np.testing.assert_array_equal(own.transition_prob_, [[1, 0], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("arguments", "order", "allowed"),
    [
        ({"transition_mask": [[1, 1, 0], [0, 1, 1], [1, 0, 1]]}, [1, 0, 2], False),
        ({"n_lapse_states": 1}, [1, 0, 2], True),
        ({"n_lapse_states": 1}, [2, 0, 1], False),
        ({"feature_mask": [1, 0]}, [2, 0, 1], True),
        ({"feature_mask": np.array([[1, 1, 0], [1, 1, 1]])}, [1, 0, 2], False),
        ({"dirichlet_initial_proba": [1, 2, 3]}, [1, 0, 2], False),
        ({"stickiness": 5.0, "dirichlet_transition_proba": 2.0}, [2, 0, 1], True),
    ],
)
def test_states_whose_numbers_mean_something_keep_them(arguments, order, allowed):
    found = quiet(model(n_states=3, **arguments), X, OBSERVED["Bernoulli"])
    before = found.coef_.copy()
    if allowed:
        np.testing.assert_array_equal(found.reorder(order).coef_, before[:, order])
    else:
        with pytest.raises(ValueError, match="tell apart"):
            found.reorder(order)
        np.testing.assert_array_equal(found.coef_, before)


def test_sessions_that_do_not_count_give_no_degrees_of_freedom():
    weight = [1.0, 0.0, 1.0]
    found = quiet(model(), X, OBSERVED["Bernoulli"], None, SESSIONS, session_weight=weight)
    assert found.dof_resid_ + found.n_parameters_ == 150 + 110


def test_a_neuron_that_is_silent_in_a_state_is_told():
    up = np.random.default_rng(0).poisson(np.where(STATE, 6.0, 1.0))
    y = np.stack([up, np.where(STATE, 0, np.random.default_rng(1).poisson(3.0, N))], axis=1)
    with pytest.warns(RuntimeWarning, match="all observations of neurons 1 in state .* at infin"):
        nmo.hmm.HMM(2, n_restarts=2).fit(y)
    often = np.random.default_rng(2).uniform(size=N) < 0.9
    labels = np.where((STATE == 0) & often, "right", "left")
    with pytest.warns(RuntimeWarning, match="certain"):
        ClassifierGLMHMM(2, n_restarts=2).fit(np.zeros((N, 1)), labels)


def test_transitions_may_be_forbidden():
    ring = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]])
    estimator = quiet(model(n_states=3, transition_mask=ring), X, OBSERVED["Bernoulli"])
    np.testing.assert_array_equal(estimator.transition_prob_[ring == 0], 0)
    np.testing.assert_allclose(estimator.transition_prob_.sum(axis=1), 1)
    path = estimator.decode_state(X, OBSERVED["Bernoulli"], state_format="index")
    assert (ring[path[:-1], path[1:]] == 1).all()


def test_covariates_drive_transitions(rng):
    n = 3000
    z, state = rng.normal(size=(n, 1)), np.zeros(n, int)
    for t in range(1, n):
        stays = 1 / (1 + np.exp(-(2 + 2 * z[t, 0])))
        state[t] = state[t - 1] if rng.uniform() < stays else 1 - state[t - 1]
    features = rng.normal(size=(n, 1))
    p = 1 / (1 + np.exp(-3 * features[:, 0] * np.where(state, 1, -1)))
    y = (rng.uniform(size=n) < p).astype(float)
    estimator = quiet(model(), features, y, X_transition=z)
    stays = np.diagonal(estimator.transition_prob_)
    np.testing.assert_allclose(np.log(stays / (1 - stays)), 2, atol=0.5)
    slope = estimator.transition_coef_[0, 0, 0] - estimator.transition_coef_[0, 0, 1]
    assert slope == pytest.approx(2, abs=0.5)
    score = estimator.score(features, y, X_transition=z)
    assert score == pytest.approx(estimator.log_likelihood_, abs=1e-6)
    constant = quiet(model(), features, y)
    assert estimator.log_likelihood_ > constant.log_likelihood_ + 50
    with pytest.raises(ValueError, match="was fitted with X_transition"):
        estimator.score(features, y)
    # A constant covariate changes nothing that was not there.
    alike = quiet(model(), features, y, X_transition=np.ones((n, 1)))
    assert alike.log_likelihood_ == pytest.approx(constant.log_likelihood_, abs=1e-2)


def test_a_design_need_not_be_held():
    x = np.linspace(0, 1, N)
    basis = nmo.basis.BSplineEval(4, bounds=(0, 1))
    y = OBSERVED["Bernoulli"]
    held = quiet(model(n_restarts=1), np.asarray(basis.compute_features(x)), y)
    evaluated = quiet(model(n_restarts=1), basis.design(x), y)
    np.testing.assert_allclose(evaluated.log_posterior_, held.log_posterior_, atol=1e-2)


# --- Use.


def test_a_second_fit_compiles_nothing(rng):
    estimator = quiet(model(), X, OBSERVED["Bernoulli"], session_starts=SESSIONS)
    other = clone(estimator).set_params(
        regularizer_strength=2.0, tol=1e-2, maxiter=50, stickiness=3.0, seed=7
    )
    y = (rng.uniform(size=N) < 0.5).astype(float)
    with counted() as compilations:
        quiet(other, rng.normal(size=(N, P)), y, session_starts=[0, 17, 300])
    assert not compilations


@pytest.mark.parametrize("kind", [GLMHMM, PopulationGLMHMM])
def test_a_search_needs_few_numbers_a_sample(kind):
    """(8 K + 8) for each sample, and two blocks."""
    n = 20_000
    x = np.random.default_rng(0).normal(size=(n, 3))
    y = np.random.default_rng(1).poisson(1.0, size=(n, 8) if kind is PopulationGLMHMM else n)
    own = kind(3, "Poisson")
    spec = own.resolve()
    with jax.enable_x64(True):
        data = own._check(spec, x, y, None, None, afresh=True)
        prepared = spec.prepare(data, own._sessions(data, y, None), None, None)
        start = start_at(prepared, prepared.center, spec.allowed)
        program = search.lower(prepared.problem, start, jnp.asarray(1e-3), jnp.asarray(10))
        used = program.compile().memory_analysis().temp_size_in_bytes / 8
    block = prepared.problem.emission.samples.y[0].size
    assert used < (8 * 3 + 8) * n + 2 * block


@pytest.mark.parametrize("kind", [GLMHMM, PopulationGLMHMM, ClassifierGLMHMM])
def test_models_are_kept(tmp_path, key, kind):
    features = {"a": X[:, :1], "b": X[:, 1:]}
    y = OBSERVED["Bernoulli"]
    y = {PopulationGLMHMM: Y2, ClassifierGLMHMM: np.where(y == 1, "x", "y")}.get(kind, y)
    family = "Poisson" if kind is PopulationGLMHMM else "Bernoulli"
    more = {} if kind is ClassifierGLMHMM else {"observation_model": family}
    estimator = kind(K, n_restarts=1, **more)
    quiet(estimator, features, y, session_starts=SESSIONS)
    estimator.save_params(tmp_path / "model.npz")
    loaded = nmo.load_model(tmp_path / "model.npz")
    for other in (loaded, pickle.loads(pickle.dumps(estimator))):
        assert other.score(features, y, SESSIONS) == estimator.score(features, y, SESSIONS)
        np.testing.assert_array_equal(
            other.restarts_.log_posterior, estimator.restarts_.log_posterior
        )
    assert clone(estimator).get_params() == estimator.get_params()
    found, again = (
        m.simulate(key, features, session_starts=SESSIONS) for m in (estimator, loaded)
    )
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found[0].shape == y.shape
    assert found[2].shape == (N,)


def test_a_model_without_features_is_kept(tmp_path):
    estimator = quiet(nmo.hmm.HMM(2, n_restarts=1), Y2)
    estimator.save_params(tmp_path / "model.npz")
    loaded = nmo.load_model(tmp_path / "model.npz")
    assert loaded.score(Y2) == estimator.score(Y2)


def test_times_are_kept():
    epochs = nap.IntervalSet([0, 150, 290], [149, 289, 399])
    time = np.arange(N, dtype=float)
    timed = nap.TsdFrame(time, X, time_support=epochs)
    y = nap.Tsd(time, OBSERVED["Bernoulli"], time_support=epochs)
    estimator = quiet(model(), timed, y)
    plain = quiet(model(), X, OBSERVED["Bernoulli"], session_starts=SESSIONS)
    assert estimator.log_posterior_ == pytest.approx(plain.log_posterior_, abs=1e-9)
    proba = estimator.smooth_proba(timed, y)
    assert isinstance(proba, nap.TsdFrame)
    np.testing.assert_array_equal(proba.t, time)
    assert isinstance(estimator.decode_state(timed, y, state_format="index"), nap.Tsd)
    assert isinstance(estimator.predict(timed, y), nap.Tsd)
    other = nap.Tsd(time, OBSERVED["Bernoulli"])
    again = quiet(model(), nap.TsdFrame(time, X), other, session_starts=epochs)
    assert again.log_posterior_ == pytest.approx(plain.log_posterior_, abs=1e-9)
    with pytest.raises(ValueError, match="session_starts leaves out"):
        model().fit(nap.TsdFrame(time, X), other, session_starts=epochs[:2])
    gap = np.where(time < 200, time, time + 50)
    with pytest.warns(RuntimeWarning, match="Time jumps inside an epoch 1 times, first at 250 s"):
        model(n_restarts=1).fit(nap.TsdFrame(gap, X), nap.Tsd(gap, OBSERVED["Bernoulli"]))


def test_predictions_are_one_step_ahead():
    y = OBSERVED["Bernoulli"]
    estimator = quiet(model(), X, y, session_starts=SESSIONS)
    p = estimator.predict(X, y, SESSIONS)
    score = np.log(np.where(y == 1, p, 1 - p))
    each = estimator.score(X, y, SESSIONS, aggregate_sample_scores=np.asarray)
    np.testing.assert_allclose(score, each, atol=1e-5)
    changed = y.copy()
    changed[100:] = 1 - changed[100:]
    later = estimator.predict(X, changed, SESSIONS)
    np.testing.assert_allclose(later[:101], p[:101], atol=1e-12)
    # Without observations the states follow their transitions alone.
    alone = estimator.predict(X, session_starts=SESSIONS)
    mean = 1 / (1 + np.exp(-(X @ estimator.coef_ + estimator.intercept_)))
    state, expected = None, np.zeros(N)
    for t in range(N):
        state = estimator.initial_prob_ if t in SESSIONS else state @ estimator.transition_prob_
        expected[t] = state @ mean[t]
    np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_parameters_are_recovered(rng):
    n = 6000
    truth = GLMHMM(3)
    truth.coef_ = np.array([[2.0, 0.3, -1.5], [0.0, 1.0, 0.5]])
    truth.intercept_ = np.array([0.0, 1.0, -1.0])
    truth.initial_prob_ = np.full(3, 1 / 3)
    truth.transition_prob_ = np.full((3, 3), 0.01) + 0.97 * np.eye(3)
    features, starts = rng.normal(size=(n, 2)), np.arange(0, n, 300)
    y, _, states = truth.simulate(jax.random.key(1), features, session_starts=starts)
    found = quiet(GLMHMM(3, n_restarts=6, regularizer_strength=0.1), features, y, None, starts)
    found.reorder(nmo.hmm.match_states(found, truth))
    np.testing.assert_allclose(found.coef_, truth.coef_, atol=0.3)
    np.testing.assert_allclose(found.transition_prob_, truth.transition_prob_, atol=0.02)
    path = found.decode_state(features, y, starts, state_format="index")
    assert np.mean(path == states) > 0.8
    assert found.log_likelihood_ > truth.score(features, y, starts)


def test_the_best_of_the_rat_is_found():
    rat = nmo.datasets.load_rat_choice()
    inputs = [rat.inputs["sounds"], *(rat.inputs[f"previous_{w}"][:, :1] for w in
              ("choice", "reward", "answer", "sound"))]  # fmt: skip
    features = np.column_stack(inputs)
    estimator = GLMHMM(3, regularizer_strength=0.1, dirichlet_transition_proba=2, n_restarts=6)
    quiet(estimator, features, rat.choice, session_starts=rat.session)
    # Narrow starts all end at -12192; the best known is -12150.88 (one of 40 wide ones).
    assert estimator.log_posterior_ > -12152.88
    assert (estimator.restarts_.status == Status.CONVERGED).all()


# --- What NeMoS's users write.


def test_steps_are_those_of_a_fit():
    y, estimator = OBSERVED["Bernoulli"], model()
    params = estimator.initialize_params(X, y)
    assert [np.shape(p) for p in params] == [(P, K), (K,), (K,), (K,), (K, K)]
    state = estimator.initialize_optimizer_and_state(params, X, y)
    values = [state.log_likelihood_history[-1]]
    for _ in range(4):
        params, state = estimator.update(params, state, X, y, session_starts=SESSIONS)
        values.append(state.log_likelihood_history[-1])
    assert (np.diff(values[1:]) > 0).all()
    loss = estimator.compute_loss(params, X, y, session_starts=SESSIONS)
    assert loss == pytest.approx(-state.data_log_likelihood)


@pytest.mark.parametrize("glm", ["random", "kmeans", "function"])
@pytest.mark.parametrize("rows", ["uniform", "random", "dirichlet", "kmeans"])
def test_starts_have_names(glm, rows):
    def own(n_states, X, y, inverse_link_function, observation_model, session_starts, random_key):
        assert session_starts.sum() == 1
        return np.zeros((X.shape[1], n_states)), np.arange(n_states) * 1.0

    chosen = own if glm == "function" else glm
    estimator = model().setup(
        initial_proba_init=rows, transition_proba_init=rows, glm_params_init=chosen
    )
    params = estimator.initialize_params(X, OBSERVED["Bernoulli"])
    assert params.initial_prob.sum() == pytest.approx(1)
    np.testing.assert_allclose(params.transition_prob.sum(axis=1), 1)
    if glm == "function":
        np.testing.assert_allclose(params.intercept, [0, 1], atol=1e-12)
    quiet(estimator, X, OBSERVED["Bernoulli"])
    assert estimator.restarts_.status.shape == (1,)


# --- Bad input.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_states": 0}, "n_states must be a whole number from 1 on, got 0"),
        ({"n_states": 2.5}, "n_states must be a whole number"),
        ({"n_states": 500}, "n_states is 500, but there are 400 samples"),
        ({"n_restarts": 0}, "n_restarts must be a whole number"),
        ({"tol": -1.0}, "tol must be a finite number from zero on"),
        ({"tol": 0}, "tol must be positive"),
        ({"stickiness": np.nan}, "stickiness must be a finite number"),
        ({"dirichlet_transition_proba": 0.5}, "must be at least one, got 0.5"),
        ({"dirichlet_initial_proba": np.ones(3)}, r"must be a number or have shape \(2,\)"),
        ({"transition_mask": np.ones((3, 3))}, r"must hold 0 and 1 in shape \(2, 2\)"),
        ({"transition_mask": [[1, 1], [0, 0]]}, "allows no transition from state 1"),
        ({"n_lapse_states": 2}, "n_lapse_states is 2, of 2 states"),
        ({"shared_features": [True]}, "must have the structure of X"),
        ({"shared_features": ["z"]}, "names 'z', but the features are"),
        ({"shared_features": [True, False], "n_lapse_states": 1}, "Lapse states have no features"),
        (
            {"shared_features": [True, False], "regularizer": "GroupLasso"},
            "shared_features cannot be penalised by GroupLasso",
        ),
        ({"solver_name": "nonsense"}, "nonsense"),
        ({"observation_model": "Bernouli"}, "Did you mean 'Bernoulli'"),
        ({"model_initialization_funcs": {"glm_params_init": "kmean"}}, "Did you mean 'kmeans'"),
        (
            {"hmm_initialization_funcs": {"nonsense": 1}},
            "Unknown entry of hmm_initialization_funcs",
        ),
    ],
)
def test_arguments_that_are_wrong_are_refused(change, message):
    estimator = model().set_params(**change)
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.fit(X, OBSERVED["Bernoulli"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": Y2}, r"takes one neuron, \(n_samples,\): use PopulationGLMHMM"),
        ({"y": OBSERVED["Poisson"] + 3}, "Bernoulli observations must be 0 or 1"),
        ({"y": np.full(N, np.nan)}, "No sample is left"),
        ({"session_starts": np.ones(3, bool)}, "has 3 entries, but there are 400 samples"),
        ({"session_weight": [1, 2]}, "one entry for each of the 1 sessions"),
        ({"session_weight": [-1]}, "must be finite, not negative"),
        ({"X_transition": np.ones((3, 1))}, "a row for each sample"),
        (
            {"X_transition": np.r_[np.ones(7), np.nan, np.ones(N - 8)]},
            "X_transition is nan in row 7, column 0",
        ),
        ({"init_params": (1, 2)}, "got 2 items"),
        (
            {"init_params": (np.ones((P, 3)), np.ones(2), np.ones(2), [0.5, 0.5], np.eye(2))},
            "coef of init_params must have the 2 states on axis 1",
        ),
        (
            {"init_params": (np.ones((P, 2)), np.ones(2), np.ones(2), [0.5, 0.6], np.eye(2))},
            "initial_prob of init_params must sum to one, got 1.1",
        ),
        (
            {"init_params": (np.ones((P, 2)), np.ones(2), np.zeros(2), [0.5, 0.5], np.eye(2))},
            "scale of init_params must be positive",
        ),
    ],
)
def test_samples_that_are_wrong_are_refused(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        model().fit(**({"X": X, "y": OBSERVED["Bernoulli"]} | change))


def test_sessions_may_lack_variation_and_labels_must_be_known():
    y = OBSERVED["Bernoulli"].copy()
    y[150:290] = 1.0
    estimator = quiet(model(), X, y, session_starts=SESSIONS)
    assert np.isfinite(estimator.coef_).all()
    assert estimator.score(X, y, SESSIONS) == pytest.approx(estimator.log_likelihood_, abs=1e-6)
    labels = np.array(["a", "b"])[y.astype(int)]
    of_labels = quiet(ClassifierGLMHMM(2, n_restarts=1), X, labels, session_starts=SESSIONS)
    with pytest.raises(ValueError, match="the label 'c', which is none of the classes"):
        of_labels.score(X, np.where(y == 1, "c", "a"))
    with pytest.raises(ValueError, match="y has 1 classes"):
        ClassifierGLMHMM(2).fit(X, np.full(N, "a"))


def test_states_are_numbered_by_their_use_unless_a_prior_tells_them_apart():
    y = OBSERVED["Bernoulli"]
    shares = quiet(model(seed=3), X, y).occupancy(X, y)
    assert shares[0] >= shares[1]
    starts = [
        quiet(model(dirichlet_initial_proba=a, n_restarts=1), X, y) for a in ([50, 1], [1, 50])
    ]
    for estimator, state in zip(starts, (0, 1), strict=True):
        assert np.argmax(estimator.initial_prob_) == state


def test_what_needs_a_look_is_told_once():
    y = OBSERVED["Bernoulli"]
    with pytest.warns(RuntimeWarning) as caught:
        model(n_states=3, maxiter=12, n_restarts=3).fit(X, y)
    (warning,) = [w for w in caught if "needs a look" in str(w.message)]
    assert "ran out of evaluations" in str(warning.message)
    start = (np.zeros((P, 2)), np.zeros(2), np.ones(2), [0.5, 0.5], np.full((2, 2), 0.5))
    with pytest.warns(RuntimeWarning, match="states 0 and 1 are alike"):
        model().fit(X, y, start)
    constant = np.where(STATE, 3.0, OBSERVED["Gaussian"])
    with pytest.warns(RuntimeWarning, match="the scale of state . fell to its least value"):
        model("Gaussian", n_restarts=3).fit(X, constant)


@pytest.mark.parametrize("seed", [1.7, -1, "a"])
def test_a_seed_is_a_whole_number_or_a_key(seed):
    with pytest.raises(ValueError, match="seed must be a whole number from zero on"):
        model(seed=seed).resolve()


def test_a_key_is_kept_in_a_file(tmp_path):
    own = model(seed=jax.random.key(3))
    quiet(own, X, OBSERVED["Bernoulli"]).save_params(tmp_path / "model.npz")
    again = clone(nmo.load_model(tmp_path / "model.npz"))
    np.testing.assert_array_equal(quiet(again, X, OBSERVED["Bernoulli"]).coef_, own.coef_)


def test_covariates_have_the_times_of_the_samples():
    t = np.arange(N)
    late = nap.TsdFrame(t=t + 1000.0, d=X)
    with pytest.raises(ValueError, match="different time axes"):
        model().fit(nap.TsdFrame(t=t, d=X), OBSERVED["Bernoulli"], X_transition=late)


def test_parameters_by_hand_must_fit():
    estimator = GLMHMM(2)
    with pytest.raises(nmo.exceptions.NotFittedError):
        estimator.predict(X)
    estimator.coef_, estimator.intercept_ = np.zeros((P, 3)), np.zeros(2)
    estimator.initial_prob_, estimator.transition_prob_ = np.full(2, 0.5), np.eye(2)
    with pytest.raises(ValueError, match=r"coef_ has shape \(2, 3\), but needs the 2 states"):
        estimator.predict(X)
    estimator.coef_ = np.zeros((P, 2))
    np.testing.assert_allclose(estimator.predict(X), 0.5)
    with pytest.raises(ValueError, match="expecting 2 features"):
        estimator.predict(X[:, :1])
