"""The numerical core by itself: what solvers, and models on top, are built from."""

from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from spikax import glm, links, observation_models, regularizer
from spikax._assemble import assemble
from spikax._inputs import samples as checked
from spikax.core import (
    Samples,
    host,
    null_model,
    null_parameters,
    penalized_loss,
    value_and_grad,
)
from spikax.fit import fit_population, minimise
from spikax.solvers import SVRG, Newton, ProximalQuasiNewton, ProxSVRG, WhitenedLBFGS

PENALTIES = {
    "none": regularizer.Elementwise(),
    "ridge": regularizer.Elementwise(squared=np.full((1, 1), 0.1)),
    "lasso": regularizer.Elementwise(absolute=np.full((1, 1), 0.02)),
}
SOLVERS = [
    (WhitenedLBFGS(tol=1e-8), "none"),
    (WhitenedLBFGS(tol=1e-8), "ridge"),
    (Newton(tol=1e-8), "ridge"),
    (ProximalQuasiNewton(tol=1e-8), "lasso"),
    (SVRG(tol=1e-5), "ridge"),
    (ProxSVRG(tol=1e-5), "lasso"),
]


def problem(penalty, n_samples=300, weights=None, normaliser=None, offset=False, seed=0):
    """Draw spikes of three neurons, and assemble their problem."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 4)) * [1, 2, 0.5, 1] + [0, 1, 0, -1]
    y = rng.poisson(np.exp(0.3 * X[:, :3] - 0.5)).astype(float)
    family = observation_models.PoissonObservations()
    added = 0.2 * rng.normal(size=n_samples) if offset else None
    data = checked(X, y, weights, added, family, False, None)
    return assemble(
        data,
        mask=None,
        penalty=PENALTIES[penalty],
        fit_intercept=True,
        likelihood=observation_models.Likelihood.of(family, links.resolve("exp")),
        normaliser=normaliser,
    )


# --- Who sums is not a solver's business.


@dataclass(frozen=True)
class Elsewhere(Samples):
    """Samples in pieces, which only Python can sum; it counts how often it does."""

    control = host
    passes: ClassVar[list] = []

    def sum(self, of_block, combine=jnp.add, more=()):
        """Sum on the host, block by block, in a program for each function."""
        assert not isinstance(jax.tree.leaves(of_block)[0], jax.core.Tracer)
        self.passes.append(of_block)
        blocks = zip(self.X.blocks, self.y, self.weights, *self._offsets(), strict=True)
        total = None
        for X, y, weights, offset in blocks:
            found = jax.jit(of_block)(X, y, weights, offset)
            total = found if total is None else jax.tree.map(combine, total, found)
        return total

    def _offsets(self):
        return [[None] * len(self.y) if self.offset is None else self.offset]


@pytest.mark.parametrize("offset", [False, True], ids=["", "offset"])
@pytest.mark.parametrize(
    ("solver", "penalty"),
    [pair for pair in SOLVERS if not isinstance(pair[0], SVRG | ProxSVRG)],
    ids=lambda p: getattr(p, "__class__", p).__name__ if not isinstance(p, str) else p,
)
def test_a_solver_run_from_python_finds_what_it_finds_in_one_program(solver, penalty, offset):
    objective, samples, precomputed, _ = problem(penalty, 50_000, offset=offset)
    assert len(samples.y) > 1
    compiled = fit_population(objective, samples, precomputed, solver)
    elsewhere = Elsewhere(**vars(samples))
    elsewhere.passes.clear()
    outcome, *_ = minimise(objective, elsewhere, precomputed, solver, None)
    np.testing.assert_allclose(outcome.theta, compiled.outcome.theta, atol=1e-5)
    np.testing.assert_array_equal(outcome.status, compiled.outcome.status)
    np.testing.assert_array_equal(outcome.n_steps, compiled.outcome.n_steps)
    assert outcome.n_passes == compiled.outcome.n_passes
    # What runs on a block is a function of a module with its arrays bound: one program for all.
    assert all(isinstance(p, jax.tree_util.Partial) for p in elsewhere.passes)
    assert len({p.func for p in elsewhere.passes}) < 10


# --- The normaliser is not the sum of the weights.


@pytest.mark.parametrize(("solver", "penalty"), SOLVERS, ids=str)
@pytest.mark.parametrize("normaliser", [300.0, [40.0, 300.0, 2000.0]], ids=["one", "each"])
def test_the_normaliser_says_what_sums_are_divided_by(solver, penalty, normaliser):
    weights = np.random.default_rng(3).uniform(0, 0.5, size=(300, 3))
    with jax.enable_x64(True):
        objective, samples, precomputed, known = problem(
            penalty, weights=weights, normaliser=np.array(normaliser)
        )
        theta = np.asarray(fit_population(objective, samples, precomputed, solver).outcome.theta)
        coef, intercept = known.to_user(theta)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)) * [1, 2, 0.5, 1] + [0, 1, 0, -1]
    y = rng.poisson(np.exp(0.3 * X[:, :3] - 0.5))
    total = np.broadcast_to(normaliser, 3)
    strength = {"none": (0, 0), "ridge": (0, 0.1), "lasso": (0.02, 0)}[penalty]

    def loss(w, j):
        eta = X @ w[:-1] + w[-1]
        cost = strength[0] * np.abs(w[:-1]).sum() + strength[1] / 2 * np.sum(w[:-1] ** 2)
        return np.sum(weights[:, j] * (np.exp(eta) - y[:, j] * eta)) / total[j] + cost

    for j in range(3):
        found = np.append(coef[:, j], intercept[j])
        best = minimize(loss, found, args=(j,), method="Nelder-Mead", options={"fatol": 1e-12})
        # In nats of all samples.
        assert total[j] * (loss(found, j) - best.fun) < 1e-3


@pytest.mark.parametrize("penalty", ["ridge", "lasso"])
def test_expectation_maximisation_with_a_prior_that_stays_never_falls(penalty):
    """Fit two states of three neurons by hand, with weights of states, (n_samples, n_states)."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(400, 3))
    state = rng.integers(0, 2, size=400)
    truth = rng.normal(0, 0.8, size=(2, 3))
    y = rng.poisson(np.exp(np.sum(X * truth[state], axis=1)))
    family, link = observation_models.PoissonObservations(), links.resolve("exp")
    solver = WhitenedLBFGS(tol=1e-9) if penalty == "ridge" else ProximalQuasiNewton(tol=1e-9)
    strength = 0.05

    def log_likelihood(coef, intercept):
        eta = X @ coef + intercept
        return y[:, None] * eta - np.exp(eta)

    def cost(coef):
        return 400 * strength * np.sum(coef**2 / 2 if penalty == "ridge" else np.abs(coef))

    share, coef, intercept = np.full(2, 0.5), rng.normal(0, 0.3, size=(3, 2)), np.zeros(2)
    kind = "squared" if penalty == "ridge" else "absolute"
    prior = regularizer.Elementwise(**{kind: np.full((1, 1), strength)})
    totals = []
    with jax.enable_x64(True):
        for _ in range(25):
            joint = log_likelihood(coef, intercept) + np.log(share)
            evidence = np.logaddexp.reduce(joint, axis=1)
            totals.append(evidence.sum() - cost(coef))
            responsibility = np.exp(joint - evidence[:, None])
            # Each state is a neuron of the same counts, with weights of its own.
            counts = np.repeat(y[:, None], 2, axis=1).astype(float)
            data = checked(X, counts, responsibility, None, family, False, None)
            objective, samples, precomputed, known = assemble(
                data,
                mask=None,
                penalty=prior,
                fit_intercept=True,
                likelihood=observation_models.Likelihood.of(family, link),
                normaliser=400.0,
            )
            found = fit_population(objective, samples, precomputed, solver)
            coef, intercept = known.to_user(np.asarray(found.outcome.theta))
            share = responsibility.mean(axis=0)
    assert np.all(np.diff(totals) > -1e-7)
    assert totals[-1] > totals[0] + 1


# --- Parts.


def test_taken_samples_are_those_rows():
    _, samples, *_ = problem("none", 25_000, offset=True)
    rows = np.array([0, 24_999, 12_345, 7])
    taken = samples.take(jnp.asarray(rows))
    flat = {
        name: np.moveaxis(np.asarray(getattr(samples, name)), 1, 0).reshape(
            getattr(samples, name).shape[1], -1
        )
        for name in ("y", "weights", "offset")
    }
    for name, values in flat.items():
        np.testing.assert_array_equal(np.asarray(getattr(taken, name))[0], values[:, rows])
    X = np.moveaxis(np.asarray(samples.X.blocks), 1, 0).reshape(4, -1)
    np.testing.assert_array_equal(np.asarray(taken.X.blocks)[0], X[:, rows])


@pytest.mark.parametrize("penalty", ["none", "ridge"])
def test_gradients_are_those_of_finite_differences(penalty):
    with jax.enable_x64(True):
        objective, samples, *_ = problem(penalty, 25_000, offset=True)
        objective = replace(
            objective, linear=0.1 * np.ones_like(objective.mask), constant=np.arange(3.0)
        )
        theta = np.random.default_rng(1).normal(0, 0.2, size=(5, 3))
        value, gradient = value_and_grad(objective, samples, theta)
        np.testing.assert_allclose(value, penalized_loss(objective, samples, theta), rtol=1e-12)
        for i in range(5):
            step = np.zeros((5, 3))
            step[i] = 1e-5
            ahead, behind = (penalized_loss(objective, samples, theta + s) for s in (step, -step))
            np.testing.assert_allclose(gradient[i], (ahead - behind) / 2e-5, atol=1e-8)


def test_the_null_model_is_a_fit_without_features():
    objective, samples, *_ = problem("none", offset=True)
    theta = null_parameters(objective, null_model(objective, samples))
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)) * [1, 2, 0.5, 1] + [0, 1, 0, -1]
    y = rng.poisson(np.exp(0.3 * X[:, :3] - 0.5))
    offset = 0.2 * rng.normal(size=300)
    expected = np.log(y.sum(axis=0) / np.exp(offset).sum())
    np.testing.assert_allclose(theta[-1], expected, rtol=1e-5)
    assert not theta[:-1].any()


def test_what_is_precomputed_changes_nothing_but_time():
    with jax.enable_x64(True):
        objective, samples, precomputed, _ = problem("lasso")
        solver = ProximalQuasiNewton(tol=1e-8)
        plain = fit_population(objective, samples, precomputed, solver).outcome
        known = precomputed._replace(hessians=np.tile(np.eye(5)[:, :, None], (1, 1, 3)))
        other = fit_population(objective, samples, known, solver).outcome
        np.testing.assert_allclose(other.theta, plain.theta, atol=1e-5)
        again = fit_population(
            objective, samples, known._replace(hessians=other.hessians), solver
        ).outcome
        np.testing.assert_allclose(again.theta, plain.theta, atol=1e-5)
        assert again.n_passes < other.n_passes
    assert other.hessians.shape == (5, 5, 3)
    assert plain.hessians is None


def test_estimators_are_built_of_it():
    objective, samples, precomputed, known = problem("ridge")
    found = fit_population(objective, samples, precomputed, WhitenedLBFGS())
    coef, _ = known.to_user(np.asarray(found.outcome.theta, float))
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)) * [1, 2, 0.5, 1] + [0, 1, 0, -1]
    y = rng.poisson(np.exp(0.3 * X[:, :3] - 0.5))
    model = glm.PopulationGLM(regularizer="Ridge", regularizer_strength=0.1).fit(X, y)
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-6)
