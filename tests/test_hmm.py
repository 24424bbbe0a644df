"""Inference of states: against the enumeration of all paths, and one way against another."""

import itertools
from functools import partial

import hmmlearn.hmm
import jax
import jax.numpy as jnp
import numpy as np
import pynapple as nap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spikax as nmo
from spikax.hmm._chain import make_chain
from spikax.hmm._messages import Dynamics, filtered, log_evidence, smoothed
from spikax.hmm._semirings import LOGARITHMS, SCALED


def logs(p):
    with np.errstate(divide="ignore"):
        return np.log(p)


def enumerated(log_likelihood, initial, transition, starts):
    """Sum over all paths of states; `transition` may be that into each sample."""
    n_samples, k = log_likelihood.shape
    transition = np.broadcast_to(transition, (n_samples, k, k))
    initial = np.broadcast_to(initial, (n_samples, k))
    paths = np.array(list(itertools.product(range(k), repeat=n_samples)))
    total = np.zeros(len(paths))
    for t in range(n_samples):
        here = paths[:, t]
        prior = initial[t][here] if starts[t] else transition[t][paths[:, t - 1], here]
        total += logs(prior) + log_likelihood[t, here]
    weight = np.exp(total - total.max())
    evidence = total.max() + np.log(weight.sum())
    weight /= weight.sum()
    states = np.stack([((paths == j) * weight[:, None]).sum(axis=0) for j in range(k)], axis=1)
    pairs, first = np.zeros((k, k)), np.zeros(k)
    for t in range(n_samples):
        if starts[t]:
            np.add.at(first, paths[:, t], weight)
        else:
            np.add.at(pairs, (paths[:, t - 1], paths[:, t]), weight)
    return evidence, states, pairs, first, paths[np.argmax(total)]


def problem(rng, n_samples, k, kind):
    log_likelihood = 3 * rng.normal(size=(n_samples, k))
    initial = rng.dirichlet(np.ones(k))
    transition = rng.dirichlet(np.ones(k), size=k)
    starts = np.zeros(n_samples, bool)
    starts[[0, n_samples // 2]] = True
    if kind == "missing":
        log_likelihood[[1, n_samples - 1]] = np.nan
    if kind == "forbidden":
        transition[0, k - 1] = 0
        initial[1] = 0
        initial, transition = (p / p.sum(axis=-1, keepdims=True) for p in (initial, transition))
    if kind == "impossible":
        log_likelihood[2, 0] = -np.inf
    if kind == "varying":
        transition = rng.dirichlet(np.ones(k), size=(n_samples, k))
    return log_likelihood, initial, transition, starts


KINDS = ["plain", "missing", "forbidden", "impossible", "varying"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n_samples", "k"), [(8, 3), (9, 2), (5, 1)])
def test_inference_is_that_of_all_paths(kind, n_samples, k, rng):
    if k == 1 and kind in ("forbidden", "impossible"):
        k = 2
    arguments = problem(rng, n_samples, k, kind)
    known = (np.nan_to_num(arguments[0], neginf=-np.inf), *arguments[1:])
    evidence, states, pairs, first, path = enumerated(*known)
    found = nmo.hmm.forward_backward(*arguments)
    assert found.log_likelihood == pytest.approx(evidence, abs=1e-12)
    np.testing.assert_allclose(found.probability, states, atol=1e-12)
    np.testing.assert_allclose(found.transitions, pairs, atol=1e-12)
    np.testing.assert_allclose(found.initial, first, atol=1e-12)
    forward = nmo.hmm.filter(*arguments)
    assert forward.log_likelihood.sum() == pytest.approx(evidence, abs=1e-12)
    # What is known after the last sample of a session is the same forward and backward.
    np.testing.assert_allclose(forward.probability[-1], states[-1], atol=1e-12)
    np.testing.assert_array_equal(nmo.hmm.viterbi(*arguments), path)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_those_of_the_samples_before(kind, rng):
    log_likelihood, initial, transition, starts = problem(rng, 8, 3, kind)
    found = nmo.hmm.filter(log_likelihood, initial, transition, starts)
    for t in range(8):
        cut = log_likelihood[: t + 1].copy()
        cut[t] = 0
        at = transition[: t + 1] if transition.ndim == 3 else transition
        known = np.nan_to_num(cut, neginf=-np.inf)
        states = enumerated(known, initial, at, starts[: t + 1])[1]
        np.testing.assert_allclose(found.predicted[t], states[t], atol=1e-12)


@pytest.mark.parametrize("ring", [SCALED, LOGARITHMS], ids=["scaled", "logarithms"])
def test_the_number_of_chunks_changes_nothing(ring, rng):
    log_likelihood, initial, transition, starts = problem(rng, 50, 3, "plain")
    with jax.enable_x64(True):
        dynamics, found = Dynamics(jnp.log(initial), jnp.log(transition)), []
        for n_chunks in (1, 7, 8, 50, 64):
            chain = make_chain(starts, n_chunks=n_chunks)
            values = chain.chunked(jnp.asarray(log_likelihood.T))
            forward = filtered(ring, chain, values, dynamics)
            back = smoothed(chain, ring, values, dynamics, forward)
            states = chain.joined(back.states)[:, :50].T
            found.append((log_evidence(chain, forward), states, back.transitions, back.initial))
        for other in found[1:]:
            for a, b in zip(found[0], other, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-12)


@given(
    st.integers(1, 200),
    st.integers(1, 5),
    st.sampled_from([0.1, 10.0, 500.0]),
    st.sampled_from([1e-25, 1e-8, 0.1]),
    st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_scaled_messages_are_those_of_logarithms(n_samples, k, spread, rare, seed):
    rng = np.random.default_rng(seed)
    length = 200  # one program for all
    starts = rng.uniform(size=length) < 0.05
    starts[0] = starts[min(n_samples, length - 1)] = True
    log_likelihood = spread * rng.normal(size=(length, 5))
    log_likelihood[n_samples:] = 0
    log_likelihood[:, k:] -= 1e4
    transition = np.full((5, 5), rare) + np.eye(5)
    transition /= transition.sum(axis=1, keepdims=True)
    with jax.enable_x64(True):
        chain = make_chain(starts)
        values = chain.chunked(jnp.asarray(log_likelihood.T))
        dynamics = Dynamics(jnp.log(jnp.full(5, 0.2)), jnp.log(transition))
        found = [_smooth(ring, chain, values, dynamics) for ring in (SCALED, LOGARITHMS)]
        (scaled, scaled_total), (of_logs, total) = jax.device_get(found)
    assert np.isfinite(scaled_total)
    np.testing.assert_allclose(scaled_total, total, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(scaled.states, of_logs.states, atol=1e-9)
    # Every sample is in some state, and every transition starts and ends in one.
    np.testing.assert_allclose(scaled.states.sum(axis=1), 1, atol=1e-12)
    assert scaled.transitions.sum() + scaled.initial.sum() == pytest.approx(length, abs=1e-8)


@partial(jax.jit, static_argnums=0)
def _smooth(ring, chain, values, dynamics):
    forward = filtered(ring, chain, values, dynamics)
    return smoothed(chain, ring, values, dynamics, forward), log_evidence(chain, forward)


@pytest.mark.parametrize("kind", KINDS)
def test_paths_are_drawn_from_the_posterior(kind, key, rng):
    arguments = problem(rng, 8, 3, kind)
    found = nmo.hmm.forward_backward(*arguments)
    paths = nmo.hmm.sample_paths(key, *arguments, n_samples=4000)
    for state in range(3):
        share = (paths == state).mean(axis=0)
        p = found.probability[:, state]
        assert (np.abs(share - p) <= 5 * np.sqrt(p * (1 - p) / 4000) + 1e-12).all()
    # No path is likelier than the best.
    known = (np.nan_to_num(arguments[0], neginf=-np.inf), *arguments[1:])
    best = _score(nmo.hmm.viterbi(*arguments), *known)
    assert max(_score(path, *known) for path in paths[:50]) <= best + 1e-12


def _score(path, log_likelihood, initial, transition, starts):
    transition = np.broadcast_to(transition, (len(path), *transition.shape[-2:]))
    total = 0.0
    for t, state in enumerate(path):
        prior = initial[state] if starts[t] else transition[t][path[t - 1], state]
        total += logs(prior) + log_likelihood[t, state]
    return total


def test_hmmlearn_finds_the_same(rng):
    lengths = [120, 40, 90]
    y = rng.normal(size=(250, 2)) + 2 * (np.arange(250) // 30 % 3)[:, None]
    peer = hmmlearn.hmm.GaussianHMM(3, covariance_type="diag", init_params="")
    peer.startprob_, peer.transmat_ = np.full(3, 1 / 3), 0.7 * np.eye(3) + 0.1
    peer.means_, peer.covars_ = 2.0 * np.arange(3)[:, None] * np.ones((1, 2)), np.ones((3, 2))
    likelihood = np.stack(
        [-0.5 * ((y - m) ** 2 + np.log(2 * np.pi)).sum(axis=1) for m in peer.means_], axis=1
    )
    arguments = (likelihood, peer.startprob_, peer.transmat_, np.cumsum([0, *lengths[:-1]]))
    found = nmo.hmm.forward_backward(*arguments)
    assert found.log_likelihood == pytest.approx(peer.score(y, lengths), abs=1e-6)
    np.testing.assert_allclose(found.probability, peer.predict_proba(y, lengths), atol=1e-6)
    np.testing.assert_array_equal(nmo.hmm.viterbi(*arguments), peer.predict(y, lengths))


# --- Where sessions begin.


@pytest.mark.parametrize(
    "starts",
    [
        [0, 20, 45],
        [20, 45],
        np.isin(np.arange(60), [0, 20, 45]),
        np.repeat(["b", "a", "c"], [20, 25, 15]),
        np.repeat([3, 1, 2], [20, 25, 15]),
        np.repeat([0.5, 1.5, 2.5], [20, 25, 15]),
    ],
    ids=["indices", "without the first", "flags", "text", "numbers", "floats"],
)
def test_sessions_are_told_in_many_ways(starts, rng):
    arguments = problem(rng, 60, 2, "plain")[:3]
    expected = nmo.hmm.filter(*arguments, [0, 20, 45]).log_likelihood
    np.testing.assert_array_equal(nmo.hmm.filter(*arguments, starts).log_likelihood, expected)
    parts = [
        nmo.hmm.filter(arguments[0][a:b], *arguments[1:]).log_likelihood
        for a, b in ((0, 20), (20, 45), (45, 60))
    ]
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-12)


def test_labels_that_return_are_warned_about(rng):
    arguments = problem(rng, 6, 2, "plain")[:3]
    with pytest.warns(RuntimeWarning, match="label 'a' again after another one"):
        nmo.hmm.filter(*arguments, ["a", "a", "b", "b", "a", "a"])


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ([0, 3, 3], "must increase, but 3 follows 3"),
        ([0, 9], "holds the index 9, but there are 6 samples"),
        ([-1, 2], "holds the index -1"),
        (np.ones(4, bool), "has 4 entries, but there are 6 samples"),
        (np.zeros((2, 3), int), "must be one-dimensional"),
        ([0.5, 1.5], "holds float64 and has 2 entries"),
        ([0, 1, np.nan, 2, 3, 4], "no label for sample 2"),
        (nmo.datasets.load_head_direction, "IntervalSet, but neither X nor y has times"),
    ],
)
def test_what_tells_no_sessions_is_refused(starts, message, rng):
    arguments = problem(rng, 6, 2, "plain")[:3]
    if callable(starts):
        starts = starts().wake
    with pytest.raises((ValueError, TypeError), match=message):
        nmo.hmm.filter(*arguments, starts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"initial_proba": [0.5, 0.3, 0.2]}, r"initial_proba must have shape \(2,\)"),
        (
            {"transition_proba": np.ones((2, 2))},
            "transition_proba must sum to one in row 0, got 2",
        ),
        ({"initial_proba": [1.5, -0.5]}, r"must be probabilities, got -0.5 at \(1,\)"),
        ({"log_likelihood": np.zeros(5)}, r"must have shape \(n_samples, n_states\), got \(5,\)"),
        ({"log_likelihood": [[0, 0], [np.nan, 0]]}, "in row 1: a missing sample is NaN in all"),
        ({"log_likelihood": [[0, np.inf]]}, "in row 0"),
    ],
)
def test_arrays_that_are_wrong_are_refused(change, message):
    arguments = {
        "log_likelihood": np.zeros((5, 2)),
        "initial_proba": [0.5, 0.5],
        "transition_proba": np.full((2, 2), 0.5),
    }
    with pytest.raises(ValueError, match=message):
        nmo.hmm.filter(**(arguments | change))


# --- The same states.


def test_states_are_matched_to_those_of_another_fit(rng):
    proba = rng.dirichlet(np.full(4, 0.1), size=300)
    order = np.array([2, 0, 3, 1])
    found = nmo.hmm.match_states(proba[:, order], proba)
    np.testing.assert_array_equal(order[found], np.arange(4))
    with pytest.raises(ValueError, match="4 and 3 states"):
        nmo.hmm.match_states(proba, proba[:, :3])
    with pytest.raises(TypeError, match="two models, or two arrays"):
        nmo.hmm.match_states(nmo.hmm.HMM(2), proba)


# --- A model without features.


@pytest.mark.parametrize("family", ["Poisson", "Gaussian", "Bernoulli"])
def test_a_model_without_features_finds_its_states(family, key, rng):
    state = np.arange(600) // 100 % 2
    y = {
        "Poisson": rng.poisson(np.where(state, 5.0, 1.0)[:, None], size=(600, 3)),
        "Gaussian": rng.normal(size=(600, 3)) + 3 * state[:, None],
        "Bernoulli": rng.uniform(size=(600, 3)) < np.where(state, 0.8, 0.2)[:, None],
    }[family].astype(float)
    model = nmo.hmm.HMM(2, family, n_restarts=3).fit(y, session_starts=[0, 300])
    path = model.decode_state(y, [0, 300], state_format="index")
    right = max(np.mean(path == state), np.mean(path != state))
    assert right > 0.97
    assert model.score(y, [0, 300]) == pytest.approx(model.log_likelihood_, abs=1e-6)
    assert model.predict(y, [0, 300]).shape == y.shape
    assert model.occupancy(y, [0, 300]).sum() == pytest.approx(1)
    sample, rate, states = model.simulate(key, 50, session_starts=[0, 20])
    assert sample.shape == rate.shape == (50, 3)
    assert states.shape == (50,)
    assert model.sample_states(key, y, 2).shape == (2, 600)
    assert model.filter_proba(y).shape == model.smooth_proba(y).shape == (600, 2)
    np.testing.assert_allclose(
        model.expected_dwell_times(), 1 / (1 - np.diagonal(model.transition_prob_))
    )


def test_epochs_of_a_single_series_are_sessions(rng):
    y = rng.poisson(np.where(np.arange(300) // 50 % 2, 5.0, 1.0)).astype(float)
    support = nap.IntervalSet([0, 120, 200], [119, 199, 299])
    timed = nap.Tsd(t=np.arange(300), d=y, time_support=support)
    plain = nmo.hmm.HMM(2, n_restarts=2).fit(y, [0, 120, 200])
    found = nmo.hmm.HMM(2, n_restarts=2).fit(timed)
    assert found.log_likelihood_ == pytest.approx(plain.log_likelihood_, rel=1e-9)
    assert isinstance(found.smooth_proba(timed), nap.TsdFrame)
    of_interval = nmo.hmm.HMM(2, n_restarts=2).fit(timed, support)
    assert of_interval.log_likelihood_ == pytest.approx(plain.log_likelihood_, rel=1e-9)


def test_what_no_path_makes_possible_is_refused():
    values = np.zeros((4, 2))
    values[2] = -np.inf
    with pytest.raises(ValueError, match="-inf in all states in row 2"):
        nmo.hmm.forward_backward(values, [0.5, 0.5], np.full((2, 2), 0.5))


def test_numbers_that_may_be_flags_or_labels_are_refused():
    flags = (np.arange(12) % 4 == 0).astype(int)
    with pytest.raises(TypeError, match=r"pass session_starts.astype\(bool\) for flags"):
        nmo.hmm.HMM(2).fit(np.arange(12.0), flags)
