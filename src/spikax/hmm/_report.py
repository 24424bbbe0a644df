"""What a fit of states tells: its starts, its way, and one warning of what needs a look."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikax.solvers import Status

_SAME_OPTIMUM = 0.1  # nats
_ALIKE = 1e-3
_CERTAIN = 0.05  # expected information on an intercept, that of so many counts


@dataclass(frozen=True)
class Restarts:
    """Where the searches from all starts ended, each array (n_restarts,).

    Parameters
    ----------
    log_posterior
        Log posterior, in nats.
    status
        Why a search ended, a `spikax.solvers.Status`.
    n_evaluations
        How often it went through the data.
    width
        Standard deviation of the start's linear predictors about the model of one state, 0.4 of
        it where means have no upper bound; NaN for a start that was given.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> y = np.random.default_rng(0).poisson(np.repeat([1.0, 6.0, 1.0, 6.0], 30))
    >>> model = nmo.hmm.HMM(2, n_restarts=3).fit(y)
    >>> model.restarts_.log_posterior.shape
    (3,)
    """

    log_posterior: np.ndarray
    status: np.ndarray
    n_evaluations: np.ndarray
    width: np.ndarray

    @property
    def n_best(self) -> int:
        """How many starts ended within a tenth of a nat of the best."""
        return int(np.sum(self.log_posterior >= self.log_posterior.max() - _SAME_OPTIMUM))


@dataclass(frozen=True)
class SearchState:
    """How the best search went.

    Parameters
    ----------
    iterations
        How often it went through the data.
    converged
        Whether it was expected to gain less than `tol` nats.
    status
        Why it ended, a `spikax.solvers.Status`.
    log_likelihood_history
        The log posterior after each move, (n_moves,): it never falls.
    data_log_likelihood
        The log-likelihood at the end.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> y = np.random.default_rng(0).poisson(np.repeat([1.0, 6.0, 1.0, 6.0], 30))
    >>> state = nmo.hmm.HMM(2, n_restarts=3).fit(y).solver_state_
    >>> bool(state.converged), bool((np.diff(state.log_likelihood_history) > -1e-6).all())
    (True, True)
    """

    iterations: int
    converged: bool
    status: Status
    log_likelihood_history: np.ndarray
    data_log_likelihood: float

    @classmethod
    def of(cls, found: Any) -> SearchState:
        """Bring the outcome of a search to what users look at."""
        trace = np.asarray(found.trace)
        status = Status(int(found.status))
        return cls(
            iterations=int(found.n_evaluations),
            converged=status == Status.CONVERGED,
            status=status,
            log_likelihood_history=trace[~np.isnan(trace)],
            data_log_likelihood=float(found.log_likelihood),
        )


def warn_about_states(fit: Any, rows: np.ndarray) -> None:
    """Warn once about all that needs a look."""
    restarts, best, emission = fit.restarts, fit.best, fit.prepared.problem.emission
    n_starts, found = len(restarts.status), []
    unfinished = restarts.status != Status.CONVERGED
    if int(best.status) != Status.CONVERGED:
        found.append(
            f"the best search {_WHY[Status(int(best.status))]}, and what is reported is where it "
            "ended"
        )
    elif unfinished.any():
        found.append(
            f"{int(unfinished.sum())} of {n_starts} starts did not converge: raise maxiter, or "
            "add a penalty"
        )
    if n_starts > 1 and restarts.n_best == 1:
        found.append(
            f"one of {n_starts} starts reached the best log posterior, {best.log_posterior:.2f}: "
            "others may be better, raise n_restarts"
        )
    unused = np.flatnonzero(best.occupancy < 1)
    if unused.size:
        found.append(f"{_named(unused)} have less than one sample: use fewer states")
    pairs = _alike(np.asarray(best.params.emission.theta), rows, emission)
    if pairs:
        shown = ", ".join(f"{i} and {j}" for i, j in pairs)
        found.append(f"states {shown} are alike: use fewer states")
    found += _without_curvature(best, emission)
    if emission.disperses:
        excess = np.exp(np.asarray(best.params.emission.log_excess))
        floor = np.asarray(emission.floor)
        fallen = np.flatnonzero((excess < 0.1 * floor).any(axis=1))
        if fallen.size:
            found.append(
                f"the scale of {_named(fallen)} fell to its least value, as on few samples or on "
                "constant ones: use fewer states"
            )
    if found:
        warnings.warn(f"The fit needs a look: {'; '.join(found)}.", RuntimeWarning, stacklevel=3)


def _without_curvature(best: Any, emission: Any) -> list[str]:
    """Tell where a state predicts all that was counted for sure: its optimum is at infinity."""
    family = emission.objective.likelihood.family
    if not (family.counts_spikes or family.sum_to_zero):
        return []
    used = np.asarray(best.occupancy) >= 1
    flat = (np.asarray(best.curvature) < _CERTAIN).any(axis=2) & used[:, None]
    if not flat.any():
        return []
    states = np.flatnonzero(flat.any(axis=1))
    neurons = np.flatnonzero(flat.any(axis=0))
    of = "" if flat.shape[1] == 1 else f" of neurons {', '.join(map(str, neurons[:10]))}"
    return [
        f"all observations{of} in {_named(states)} are certain (silence, one choice, or "
        "separation), so that the optimum is at infinity, and parameters are as far as tol led"
    ]


_WHY = {
    Status.OUT_OF_STEPS: "ran out of evaluations (raise maxiter)",
    Status.NOT_FINITE: "met numbers that are not finite (look for huge values in X or y)",
    Status.STALLED: "could not be improved before it reached tol (loosen it)",
}


def _named(states: np.ndarray) -> str:
    return f"state {states[0]}" if states.size == 1 else f"states {', '.join(map(str, states))}"


def _alike(theta: np.ndarray, rows: np.ndarray, emission: Any) -> list[tuple[int, int]]:
    """Find states with the same parameters, from which and to which transitions are the same."""
    n_states, found = len(theta), []
    for i in range(n_states):
        for j in range(i + 1, n_states):
            same = np.abs(theta[i] - theta[j]).max(initial=0) < _ALIKE
            if same and np.abs(rows[i] - rows[j]).max() < _ALIKE:
                found.append((i, j))
    return found
