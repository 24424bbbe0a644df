"""Going over batches: a fit to each and to what is kept of those before, or a step of a solver.

A model is `Any` here, as it is where others look at it from outside.
"""

import operator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.dtypes import canonicalize_dtype

from spikax._assemble import lay_out
from spikax._inputs import Data
from spikax._threads import one_blas_thread
from spikax.basis import BasisDesign
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
from spikax.glm._report import moment_scale, solver_state
from spikax.solvers import Solver, make_solver


class Posed(NamedTuple):
    """What a model makes of its arguments, for all batches."""

    arguments: tuple  # the objects they were, with what a fit chose
    parts: Any
    solver: Solver
    objective: Objective


@dataclass(frozen=True)
class BatchState:
    """What `update` carries from batch to batch."""

    standardisation: Standardisation
    solver: Any  # its own state
    posed: Posed | None

    def __reduce__(self):
        """Leave out what a model tells anew, which holds functions."""
        return BatchState, (self.standardisation, self.solver, None)


def start(model: Any, init_params: Any, X: Any, y: Any) -> BatchState:
    """Take the standardisation and a solver's state from a batch."""
    parts = _parts(model, X, y, None, None)
    data = model._data(X, y, parts, None, None)
    solver = make_solver(model.solver_name, model.solver_kwargs, parts.regularizer)
    with precision_of(solver):
        objective, samples, precomputed, known = model._problem(data, parts)
        posed = _pose(model, parts, solver, objective)
        theta = model._theta(init_params, "init_params", data, known)
        state = start_batches(objective, samples, precomputed, solver, theta)
        return BatchState(known, state, posed)


def update(
    model: Any, params: Any, opt_state: Any, X: Any, y: Any, n_samples: int | None
) -> BatchState:
    """Take one step of the solver on a batch, and set what the model learned."""
    if not isinstance(opt_state, BatchState):
        raise TypeError(
            "opt_state must come from initialize_optimizer_and_state or the last update, got "
            f"{type(opt_state).__name__}."
        )
    known, posed = opt_state.standardisation, opt_state.posed
    if posed is not None and not _same(posed.arguments, _arguments(model)):
        posed = None
    if posed is None:
        parts = model._parts()
        solver = make_solver(model.solver_name, model.solver_kwargs, parts.regularizer)
    else:
        parts, solver = posed.parts, posed.solver
    data = model._data(X, y, parts, None, None)
    if data.X.shape[1] != len(known.scale):
        raise ValueError(
            f"X has {data.X.shape[1]} features, opt_state was made for {len(known.scale)}: make a "
            "new one with initialize_optimizer_and_state."
        )
    with precision_of(solver):
        theta = model._theta(params, "params", data, known)
        if posed is None or not _alike(posed.objective.mask, theta):
            posed = _pose(model, parts, solver, model._problem(data, parts, known).objective)
        samples, _ = lay_out(data, parts.model.family.n_outputs, known)
        objective = replace(posed.objective, normaliser=samples.total_weight)
        theta, state = update_on_batch(objective, samples, solver, theta, opt_state.solver)

    model.__dict__.pop("_memory", None)
    theta = np.asarray(theta, float)
    total = np.full(data.y.shape[1], float(len(data.y) if n_samples is None else n_samples))
    scale = parts.model.family.scale
    scale = np.full(total.shape, 1.0 if scale is None else scale)
    _keep(model, X, y, data, known, theta, model._n_used(theta), total, scale)
    return BatchState(known, state, posed)


def _pose(model: Any, parts: Any, solver: Solver, objective: Objective) -> Posed:
    return Posed(_arguments(model), parts, solver, jax.device_put(objective))


def _same(arguments: tuple, others: tuple) -> bool:
    return len(arguments) == len(others) and all(map(operator.is_, arguments, others))


def _alike(array: Any, other: Any) -> bool:
    return array.shape == other.shape and array.dtype == other.dtype


def _arguments(model: Any) -> tuple:
    return (*(vars(model)[name] for name in _names(type(model))), model._chosen)


@cache
def _names(kind: Any) -> list[str]:
    return kind._get_param_names()


def renew(
    model: Any, X: Any, y: Any, sample_weight: Any, offset: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a batch together with what is remembered, and set what the model learned.

    Returns
    -------
    status
        Of each neuron, (n_neurons,).
    empty
        Whether it has no sample that counts so far, (n_neurons,).
    """
    parts = _parts(model, X, y, sample_weight, offset)
    solver = make_solver(model.solver_name, model.solver_kwargs, parts.regularizer)
    if isinstance(X, BasisDesign):
        X = X.compute()  # of a batch, which has room
    memory = model.__dict__.get("_memory")
    if memory is not None:
        model._features(X)
    data = model._data(X, y, parts, sample_weight, offset)
    n_neurons = data.y.shape[1]
    if memory is not None and memory.unit.size != n_neurons:
        raise ValueError(
            f"y has {n_neurons} neurons, the batches before it had {memory.unit.size}."
        )
    with one_blas_thread():
        memory, outcome, edf = _renewed(model, data, parts, solver, memory)
    model._memory = memory
    total, family = memory.n_observations, parts.model.family
    scale = np.full(total.shape, 1.0 if family.scale is None else family.scale)
    if memory.pearson is not None:
        scale = memory.unit * moment_scale(memory.pearson, total - edf)
    _keep(
        model, X, y, data, memory.standardisation, outcome.theta.astype(float), edf, total, scale
    )
    model.solver_state_ = solver_state(outcome, model._single)
    model.n_iter_ = int(np.max(outcome.n_steps))
    return outcome.status, total == 0


def _renewed(model: Any, data: Data, parts: Any, solver: Solver, memory):
    """Fit a batch together with what is remembered, and remember it."""
    rows, known = np.any(data.weight > 0, axis=1), memory and memory.standardisation
    _, penalty = model._penalty(data, parts)
    ties = penalty.ties(data.layout.n_features)
    known = measure_batch(np.asarray(data.X), rows, model.fit_intercept, ties, known)
    if memory is None:
        memory = _reservoir.empty(data, known, parts.model.family.n_outputs)
    memory = _reservoir.with_unit(memory, data)
    joined = _reservoir.joined(memory, data)

    def run():
        problem = model._problem(joined, parts, known)
        dtype = canonicalize_dtype(float)
        remainder = Remainder(*(a.astype(dtype) for a in memory.remainder))
        found = renew_estimate(*problem[:3], solver, remainder, _reservoir.N_KEPT)
        return problem, jax.device_get(found)

    problem, found = in_enough_digits(solver, run, lambda found: found[1].coarse)
    edf = effective_degrees_of_freedom(problem.objective, problem.samples, found.outcome.theta)
    pearson = None if found.pearson is None else memory.pearson + found.pearson
    new = {"standardisation": known, "remainder": found.remainder, "pearson": pearson}
    return _reservoir.remember(memory, data, **new), found.outcome, edf


def _keep(model: Any, X, y, data: Data, known: Standardisation, theta, edf, total, scale) -> None:
    """Set what every way of going over batches finds."""
    model.__dict__.pop("coef_", None)
    model._remember(X, y, data, theta, known)
    model._set_scale(edf, total - edf, scale)


def _parts(model: Any, X: Any, y: Any, sample_weight: Any, offset: Any) -> Any:
    """Find what a model is made of, once it has chosen what is chosen from a first batch."""
    if model._parts().model.family.estimate:
        raise ValueError(
            "The scale of a negative binomial is estimated from all samples: use fit, or give "
            "it a number to go through batches."
        )
    model._begin(X, y, sample_weight, offset)
    return model._parts()
