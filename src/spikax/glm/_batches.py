"""Going over batches: a fit to each and to what is kept of those before, or a step of a solver."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral
from operator import is_
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.dtypes import canonicalize_dtype

from spikax._assemble import lay_out
from spikax._inputs import Data
from spikax._model import ModelSpec
from spikax._threads import one_blas_thread
from spikax.core.degrees_of_freedom import effective_degrees_of_freedom
from spikax.core.objective import Objective
from spikax.core.standardise import Standardisation, measure_batch
from spikax.fit import (
    Remainder,
    in_enough_digits,
    precision_of,
    renew_estimate,
    start_batches,
    update_on_batch,
)
from spikax.glm import _reservoir
from spikax.glm._report import moment_scale
from spikax.solvers import Outcome, Solver


class Prepared(NamedTuple):
    """What a model makes of its arguments, for all batches."""

    arguments: tuple  # the objects they were
    spec: ModelSpec
    solver: Solver
    objective: Objective


@dataclass(frozen=True)
class BatchState:
    """What `update` carries from batch to batch."""

    standardisation: Standardisation
    solver: Any  # its own state
    prepared: Prepared | None

    def __reduce__(self):
        """Leave out what a model tells anew, which holds functions."""
        return BatchState, (self.standardisation, self.solver, None)


class Found(NamedTuple):
    """What going over a batch has found."""

    spec: ModelSpec
    data: Data
    theta: np.ndarray
    edf: np.ndarray  # (n_neurons,)
    n_observations: np.ndarray  # of all batches, (n_neurons,)
    scale: np.ndarray  # (n_neurons,)


def start(spec: ModelSpec, arguments: tuple, init_params: Any, X: Any, y: Any) -> BatchState:
    """Take the standardisation and a solver's state from a batch."""
    data, solver = spec.check(X, y), spec.solver()
    with precision_of(solver):
        objective, samples, precomputed, known = spec.assemble(data)
        prepared = Prepared(arguments, spec, solver, jax.device_put(objective))
        theta = spec.theta(init_params, "init_params", data, known)
        state = start_batches(objective, samples, precomputed, solver, theta)
        return BatchState(known, state, prepared)


def update(
    resolve: Callable[[], ModelSpec],
    arguments: tuple,
    params: Any,
    opt_state: Any,
    X: Any,
    y: Any,
    n_samples: int | None,
) -> tuple[Found, BatchState]:
    """Take one step of the solver on a batch; what arguments mean is found once for all."""
    if not isinstance(opt_state, BatchState):
        raise TypeError(
            "opt_state must come from initialize_optimizer_and_state or the last update, got "
            f"{type(opt_state).__name__}."
        )
    known, prepared = opt_state.standardisation, opt_state.prepared
    if prepared is not None and not all(map(is_, prepared.arguments, arguments)):
        prepared = None
    spec = resolve() if prepared is None else prepared.spec
    solver = spec.solver() if prepared is None else prepared.solver
    data = spec.check(X, y)
    if data.X.shape[1] != len(known.scale):
        raise ValueError(
            f"X has {data.X.shape[1]} features, opt_state was made for {len(known.scale)}: make a "
            "new one with initialize_optimizer_and_state."
        )
    with precision_of(solver):
        theta = spec.theta(params, "params", data, known)
        if prepared is None or not _alike(prepared.objective.mask, theta):
            objective = spec.assemble(data, known).objective
            prepared = Prepared(arguments, spec, solver, jax.device_put(objective))
        samples, _ = lay_out(data, spec.observation_model.n_predictors, known)
        objective = replace(prepared.objective, normaliser=samples.total_weight)
        theta, state = update_on_batch(objective, samples, solver, theta, opt_state.solver)

    theta = np.asarray(theta, float)
    if n_samples is not None and not isinstance(n_samples, Integral):
        raise TypeError(f"n_samples must be a whole number or None, got {n_samples!r}.")
    total = np.full(data.y.shape[1], float(len(data.y) if n_samples is None else n_samples))
    scale = _known_scale(spec, total)
    found = Found(spec, data, theta, spec.n_used(theta), total, scale)
    return found, BatchState(known, state, prepared)


def _known_scale(spec: ModelSpec, like: np.ndarray) -> np.ndarray:
    known = spec.likelihood.dispersion
    return np.full(like.shape, 1.0 if known is None else known)


def _alike(array: Any, other: Any) -> bool:
    return array.shape == other.shape and array.dtype == other.dtype


def renew(
    spec: ModelSpec, data: Data, memory: _reservoir.Memory | None
) -> tuple[Found, Outcome, _reservoir.Memory]:
    """Fit a batch together with what is remembered of those before it."""
    solver, n_neurons = spec.solver(), data.y.shape[1]
    if memory is not None and memory.unit.size != n_neurons:
        raise ValueError(
            f"y has {n_neurons} neurons, the batches before it had {memory.unit.size}."
        )
    with one_blas_thread():
        memory, outcome, edf = _renewed(spec, data, solver, memory)
    total = memory.n_observations
    scale = _known_scale(spec, total)
    if memory.pearson is not None:
        scale = memory.unit * moment_scale(memory.pearson, total - edf)
    return Found(spec, data, outcome.theta.astype(float), edf, total, scale), outcome, memory


def _renewed(spec: ModelSpec, data: Data, solver: Solver, memory: _reservoir.Memory | None):
    rows = np.any(data.weight > 0, axis=1)
    _, penalty = spec.penalty(data)
    ties = penalty.ties(data.layout.n_features)
    known = None if memory is None else memory.standardisation
    known = measure_batch(np.asarray(data.X), rows, spec.fit_intercept, ties, known)
    if memory is None:
        memory = _reservoir.empty(data, known, spec.observation_model.n_predictors)
    memory = _reservoir.with_unit(memory, data)
    joined = _reservoir.joined(memory, data)

    def run():
        problem = spec.assemble(joined, known)
        dtype = canonicalize_dtype(float)
        remainder = Remainder(*(a.astype(dtype) for a in memory.remainder))
        found = renew_estimate(*problem[:3], solver, remainder, _reservoir.N_KEPT)
        return problem, jax.device_get(found)

    problem, found = in_enough_digits(solver, run, lambda found: found[1].coarse)
    edf = effective_degrees_of_freedom(problem.objective, problem.samples, found.outcome.theta)
    pearson = None if found.pearson is None else memory.pearson + found.pearson
    new = {"standardisation": known, "remainder": found.remainder, "pearson": pearson}
    return _reservoir.remember(memory, data, **new), found.outcome, edf
