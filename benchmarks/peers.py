"""One adapter per peer: `load()` imports it and returns `fit(problem) -> Fit`.

This module is imported by the interpreter of each peer, which may lack the others.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import NamedTuple

import numpy as np
from problems import Problem

# A loop over neurons stops after this: its time is extrapolated, and the table says so.
BUDGET_S = float(os.environ.get("SPIKAX_BENCH_BUDGET_S", 60))


class Fit(NamedTuple):
    """What a peer found."""

    coef: np.ndarray  # (feature, neuron); fewer neurons than asked if the budget ran out
    intercept: np.ndarray  # (neuron,)
    n_passes: int | None = None  # walks over the data, where the peer tells
    n_steps: int | None = None  # iterations, of the slowest neuron


@dataclass(frozen=True)
class Peer:
    """How to run one library in one of its configurations."""

    load: Callable[..., Callable[[Problem], Fit]]
    interpreter: str = "project"
    environment: dict[str, str] = field(default_factory=dict)
    climbs: bool = False  # raise the number of iterations until the objective is reached


def spikax():
    from spikax.glm import PopulationGLM

    def fit(problem):
        strength = problem.strength if problem.strength else None
        model = PopulationGLM(regularizer=problem.regularizer, regularizer_strength=strength)
        model.fit(problem.X, problem.y)
        state = model.solver_state_
        n_steps = int(state.stats.num_steps.max())
        return Fit(model.coef_, model.intercept_, state.n_passes, n_steps)

    return fit


def nemos(**solver_kwargs):
    from nemos.glm import PopulationGLM

    def fit(problem):
        model = PopulationGLM(
            regularizer=problem.regularizer,
            regularizer_strength=problem.strength if problem.strength else None,
            solver_name="LBFGS",
            solver_kwargs=solver_kwargs,
        )
        model.fit(problem.X, problem.y)
        return Fit(
            np.asarray(model.coef_),
            np.asarray(model.intercept_),
            n_steps=int(model.solver_state_.stats.num_steps),
        )

    return fit


def sklearn(solver):
    from sklearn.linear_model import PoissonRegressor

    def fit_neuron(X, y, strength):
        # half the mean deviance is our loss up to a constant, so alpha is our strength
        model = PoissonRegressor(alpha=strength, solver=solver).fit(X, y)
        return model.coef_, model.intercept_, model.n_iter_

    return neuron_by_neuron(fit_neuron)


def glum():
    from glum import GeneralizedLinearRegressor

    def fit_neuron(X, y, strength):
        model = GeneralizedLinearRegressor(family="poisson", alpha=strength, l1_ratio=0).fit(X, y)
        return model.coef_, model.intercept_, model.n_iter_

    return neuron_by_neuron(fit_neuron)


def statsmodels():
    from statsmodels.api import GLM, families

    def fit_neuron(X, y, strength):
        model = GLM(y, np.column_stack([np.ones(len(X)), X]), family=families.Poisson())
        if strength == 0:
            result = model.fit()
            return result.params[1:], result.params[0], result.fit_history["iteration"]
        alpha = np.append(0.0, np.full(X.shape[1], strength))
        params = model.fit_regularized(alpha=alpha, L1_wt=0.0).params
        return params[1:], params[0], None

    return neuron_by_neuron(fit_neuron)


def neuron_by_neuron(fit_neuron):
    def fit(problem):
        start, neurons = perf_counter(), []
        for j, y in enumerate(problem.y.T):
            try:
                neurons.append(fit_neuron(problem.X, y, problem.strength))
            except Exception as error:
                raise RuntimeError(f"neuron {j}: {type(error).__name__}: {error}") from error
            if perf_counter() - start > BUDGET_S:
                break
        coefs, intercepts, steps = zip(*neurons, strict=True)
        n_steps = None if None in steps else int(max(steps))
        return Fit(np.stack(coefs, axis=1), np.array(intercepts, float), n_steps=n_steps)

    return fit


FLOAT64 = {"JAX_ENABLE_X64": "1"}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

PEERS = {
    "spikax": Peer(spikax),
    "spikax float64": Peer(spikax, environment=FLOAT64),
    "nemos": Peer(nemos, "nemos"),
    "nemos float64": Peer(nemos, "nemos", FLOAT64),
    "nemos to the objective": Peer(nemos, "nemos", climbs=True),
    "nemos float64 to the objective": Peer(nemos, "nemos", FLOAT64, climbs=True),
    "sklearn newton-cholesky": Peer(partial(sklearn, "newton-cholesky")),
    "sklearn newton-cholesky, 1 thread": Peer(
        partial(sklearn, "newton-cholesky"), environment=ONE_THREAD
    ),
    "sklearn lbfgs": Peer(partial(sklearn, "lbfgs")),
    "sklearn lbfgs, 1 thread": Peer(partial(sklearn, "lbfgs"), environment=ONE_THREAD),
    "glum": Peer(glum),
    "glum, 1 thread": Peer(glum, environment=ONE_THREAD),
    "statsmodels": Peer(statsmodels),
    "statsmodels, 1 thread": Peer(statsmodels, environment=ONE_THREAD),
}
