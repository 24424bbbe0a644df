"""What a fitted model tells of its fit: statistics of each neuron, and at most one warning."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from spikax._errors import listed
from spikax._inputs import Data
from spikax.glm._prediction import parameters_of
from spikax.observation_models import Likelihood, Observations
from spikax.solvers import Outcome, Status

ADVICE = {
    Status.OUT_OF_STEPS: "ran out of steps: raise solver_kwargs={'maxiter': ...}, loosen 'tol', "
    "or add a Ridge penalty",
    Status.NOT_FINITE: "met numbers that are not finite: look for huge values in X, y or offset, "
    "or enable float64 in JAX",
    Status.UNBOUNDED: "have their optimum at infinity (a silent neuron, one that is always on, or "
    "features that separate its observations): their predictions are finite and near the limit, "
    "their coefficients would grow without end; a Ridge penalty gives them an optimum, though not "
    "the intercept of a silent neuron",
    Status.STALLED: "could not be improved before they reached 'tol': loosen it, or enable "
    "float64 in JAX; an optimum that is far away, or at infinity, comes near with a Ridge penalty",
}


@dataclass(frozen=True)
class SolverStats:
    """Statistics of a fit: arrays of shape (n_neurons,) for populations, scalars for one neuron.

    Parameters
    ----------
    function_val
        Mean loss over samples, penalty included.
    num_steps
        Steps taken.
    converged
        Whether the solver's criterion was met.
    reached_max_steps
        Whether it stopped because it ran out of steps.
    status
        Why it stopped, a `spikax.solvers.Status`.
    """

    function_val: Any
    num_steps: Any
    converged: Any
    reached_max_steps: Any
    status: Any


@dataclass(frozen=True)
class SolverState:
    """What `solver_state_` holds.

    Parameters
    ----------
    stats
        Statistics of each neuron's fit.
    n_passes
        How often the data were gone through.
    """

    stats: SolverStats
    n_passes: int


def solver_state(outcome: Outcome, single: bool) -> SolverState:
    """Bring a solver's outcome to the host."""
    status = np.asarray(outcome.status)
    stats = (
        np.asarray(outcome.value),
        np.asarray(outcome.n_steps),
        (status == Status.CONVERGED) | (status == Status.UNBOUNDED),
        status == Status.OUT_OF_STEPS,
        status,
    )
    if single:
        stats = tuple(a[0] for a in stats)
    return SolverState(SolverStats(*stats), int(outcome.n_passes))


def moment_scale(pearson: np.ndarray, dof_resid: np.ndarray) -> np.ndarray:
    """Pearson's statistic over the residual degrees of freedom; NaN where none is left."""
    # The effective number of parameters is known up to rounding.
    return pearson.astype(float) / np.where(dof_resid > 1e-6, dof_resid, np.nan)


def parting_features(data: Data, unbounded: np.ndarray, family: Observations) -> list[str]:
    """Name the features that alone lead some neurons to infinity.

    That are those which are at their least or at their greatest value wherever a neuron's
    observations are not at a bound of its mean (McCullagh & Nelder 1989, section 4.4.3).
    """
    if not isinstance(data.X, np.ndarray) or data.classes is not None:
        return []
    found = np.zeros(data.layout.n_features, bool)
    weight = np.broadcast_to(data.weight, data.y.shape)
    for neuron in np.flatnonzero(unbounded):
        counted = weight[:, neuron] > 0
        y = data.y[counted, neuron]
        for bound in family.mean_bounds:
            if np.any(y == bound) and np.any(y != bound):
                X = data.X[counted]
                low, high = X.min(axis=0), X.max(axis=0)
                inside = X[y != bound]
                apart = (inside.max(axis=0) == low) | (inside.min(axis=0) == high)
                found |= apart & (low < high)
    return [data.layout.column(int(index)) for index in np.flatnonzero(found)]


def idle_predictors(
    likelihood: Likelihood, eta: np.ndarray, weight: np.ndarray, unbounded: np.ndarray
) -> dict[str, np.ndarray]:
    """Tell of which neurons without a finite optimum a predictor leads to its lower bound.

    That is where what it stands for, such as the probability of an inflated zero, adds up to less
    than half a sample: `{name: (n_neurons,)}`, without the first predictor.
    """
    names = likelihood.family.predictors[1:]
    if not names or likelihood.family.sum_to_zero:
        return {}
    parameters = np.moveaxis(parameters_of(likelihood, eta), -1, 0)[1:]
    totals = np.sum(parameters, axis=1, where=np.broadcast_to(weight > 0, parameters.shape))
    return {name: unbounded & (total < 0.5) for name, total in zip(names, totals, strict=True)}


def warn_about_neurons(
    status: np.ndarray,
    empty: np.ndarray,
    undispersed: np.ndarray,
    unscaled: np.ndarray,
    names: np.ndarray,
    family: Observations,
    parting: Sequence[str] = (),
    idle: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> None:
    """Warn once about all neurons whose fit needs a look.

    `parting` names features that alone lead to infinity, `idle` predictors that do.
    """
    found = []
    for name, at_bound in idle.items():
        if at_bound.any():
            found.append(
                f"{listed(names[at_bound])} have the predictor {name!r} at its bound, zero: they "
                f"are no different from {family.reduces_to} observations, which leave it out"
            )
    if empty.any():
        found.append(f"{listed(names[empty])} have no sample that counts: they were not fitted")
    undispersed = undispersed & ~empty & (status == Status.CONVERGED)
    if undispersed.any():
        found.append(
            f"{listed(names[undispersed])} vary no more than {family.reduces_to}: their "
            "scale is estimated as 0"
        )
    unscaled = unscaled & ~empty
    if unscaled.any():
        found.append(
            f"{listed(names[unscaled])} have as many parameters as observations, which leaves "
            "none to estimate their scale from (scale_, score and standard errors are NaN): fit "
            "fewer features, or add a Ridge penalty"
        )
    for value, advice in ADVICE.items():
        affected = (status == value) & ~empty
        if affected.any():
            found.append(f"{listed(names[affected])} {advice}")
            if value == Status.UNBOUNDED and parting:
                more = f" and {len(parting) - 10} more" if len(parting) > 10 else ""
                found.append(
                    f"coefficients of {', '.join(parting[:10])}{more} run away, for nothing was "
                    "observed where these features differ from their least, or greatest, value: "
                    "merge them with others, or leave them out by feature_mask"
                )
    if found:
        n_affected = np.sum((status != Status.CONVERGED) | empty | undispersed | unscaled)
        warnings.warn(
            f"{n_affected} of {status.size} neurons need a look: {'; '.join(found)}.",
            RuntimeWarning,
            stacklevel=3,
        )
