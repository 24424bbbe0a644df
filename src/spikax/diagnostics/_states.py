"""Whether data that a model with states draws look like those it was fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from spikax._time_series import raw
from spikax.hmm._inferring import missing_as
from spikax.hmm._shell import StatesShell, check_model


@dataclass(frozen=True)
class PredictiveCheck:
    """A statistic of what was observed, and of what a model draws.

    Parameters
    ----------
    observed
        The statistic of the observations.
    simulated
        Those of the draws, with the draws in front.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> check = nmo.diagnostics.PredictiveCheck(np.array(0.5), np.array([0.4, 0.6, 0.7]))
    >>> check.p_value.round(2)
    np.float64(1.0)
    """

    observed: np.ndarray
    simulated: np.ndarray

    @property
    def p_value(self) -> np.ndarray:
        """Twice the share of draws beyond the observed statistic, at most one; itself counted.

        NaN where the observed statistic is.
        """
        n = len(self.simulated) + 1
        above = (1 + np.sum(self.simulated >= self.observed, axis=0)) / n
        below = (1 + np.sum(self.simulated <= self.observed, axis=0)) / n
        found = np.minimum(1, 2 * np.minimum(above, below))
        return np.where(np.isnan(self.observed), np.nan, found)[()]


def predictive_check(
    model: StatesShell,
    random_key: jax.Array,
    X: Any,
    y: Any,
    statistic: Callable[[np.ndarray], Any] = np.mean,
    n_draws: int = 200,
    session_starts: Any = None,
    X_transition: Any = None,
    offset: Any = None,
) -> PredictiveCheck:
    r"""Compare a statistic of the observations with that of data drawn from a model with states.

    Parameters
    ----------
    model
        A fitted GLM-HMM, or an `HMM`, of which X is the number of samples.
    random_key
        Random key, from `jax.random.key`.
    X, y, session_starts, X_transition, offset
        As in `fit`.
    statistic
        Function of observations, shaped like `y`, to a number or an array; their mean by default.
        Where `y` is missing the draws are too, so that it may have to leave NaN out, as
        `numpy.nanmean` does. What depends on the order of samples, such as a correlation with the
        sample before or the lengths of runs, tells whether states explain the dynamics.
    n_draws
        Number of data sets (default 200).

    Returns
    -------
    PredictiveCheck
        The statistics, and how far the observed one is out.

    Raises
    ------
    NotFittedError
        Before `fit`.
    ValueError
        If the features are not those of `fit`, or there is no draw.
    TypeError
        If `y` holds labels, of which there is no mean, and no other statistic is given.

    References
    ----------
    Gelman, Meng & Stern (1996), "Posterior predictive assessment of model fitness via realized
    discrepancies", Stat. Sin. 6, 733; at the parameters of the fit.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X, state = rng.normal(size=(500, 1)), np.arange(500) // 50 % 2
    >>> choice = (rng.uniform(size=500) < 1 / (1 + np.exp(2 - 4 * state))) * 1
    >>> model = nmo.glm_hmm.GLMHMM(2, n_restarts=3).fit(X, choice)
    >>> repeats = lambda y: np.mean(y[1:] == y[:-1])
    >>> found = nmo.diagnostics.predictive_check(model, jax.random.key(0), X, choice, repeats, 50)
    >>> bool(found.p_value > 0.05)
    True
    """
    check_model(model, "predictive_check")
    if n_draws < 1:
        raise ValueError(f"n_draws must be at least 1, got {n_draws!r}.")
    if statistic is np.mean and np.asarray(raw(y)).dtype.kind not in "biuf":
        raise TypeError("y holds labels, which have no mean: pass a statistic of them.")
    more = {"session_starts": session_starts, "X_transition": X_transition, "offset": offset}
    more, simulated = {k: v for k, v in more.items() if v is not None}, []
    for key in jax.random.split(random_key, n_draws):
        drawn, _, _ = model.simulate(key, X, **more)
        simulated.append(np.asarray(statistic(np.asarray(raw(missing_as(drawn, y))))))
    return PredictiveCheck(np.asarray(statistic(np.asarray(raw(y)))), np.stack(simulated))
