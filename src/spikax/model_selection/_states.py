"""Choosing the number of states, and more, by sessions that are held out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid
from tqdm import tqdm

from spikax.hmm._shell import StatesShell, check_model


@dataclass(frozen=True)
class StatesSelection:
    """Models with states compared, each array with an entry for each of them, (n_models,).

    Parameters
    ----------
    params
        What tells the models from one another, a list of dicts.
    log_likelihood
        Mean log-likelihood of the samples held out, in nats per sample.
    standard_error
        Of that mean, from the sessions' means.
    per_session
        Log-likelihood of each session when it was held out, in nats, (n_models, n_sessions).
    n_samples
        Number of samples of each session that count, (n_sessions,).
    n_parameters
        Number of parameters.
    aic, bic
        Akaike's and the Bayesian information criterion of fits to all sessions; less is better.
    models
        These fits.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> y = np.random.default_rng(0).poisson(np.tile(np.repeat([1.0, 6.0], 20), 20))
    >>> found = nmo.model_selection.select_states(
    ...     nmo.hmm.HMM(2, n_restarts=3), None, y, {"n_states": [1, 2]}, 4, np.arange(0, 800, 100)
    ... )
    >>> found.best
    {'n_states': 2}
    """

    params: list[dict[str, Any]]
    log_likelihood: np.ndarray
    standard_error: np.ndarray
    per_session: np.ndarray
    n_samples: np.ndarray
    n_parameters: np.ndarray
    aic: np.ndarray
    bic: np.ndarray
    models: list[StatesShell]

    @property
    def best(self) -> dict[str, Any]:
        """The parameters of the model that predicts sessions held out best."""
        return self.params[int(np.argmax(self.log_likelihood))]

    @property
    def best_model(self) -> StatesShell:
        """The fit of that model to all sessions."""
        return self.models[int(np.argmax(self.log_likelihood))]

    @property
    def simplest(self) -> dict[str, Any]:
        """The parameters of the smallest model that is worse by no more than a standard error.

        The error is that of the difference from the best, session by session (Hastie, Tibshirani &
        Friedman 2009, The Elements of Statistical Learning, section 7.10).
        """
        top = int(np.argmax(self.log_likelihood))
        loss = (self.per_session[top][None] - self.per_session) / self.n_samples.mean()
        error = loss.std(axis=1, ddof=1) / np.sqrt(loss.shape[1])
        near = loss.mean(axis=1) <= error
        near[top] = True
        return self.params[int(np.argmin(np.where(near, self.n_parameters, np.inf)))]

    def frame(self) -> Any:
        """Give a table of the models.

        Returns
        -------
        pandas.DataFrame
            A row for each model.
        """
        import pandas as pd

        columns = ("log_likelihood", "standard_error", "n_parameters", "aic", "bic")
        return pd.DataFrame(self.params).assign(**{name: getattr(self, name) for name in columns})


def select_states(
    model: StatesShell,
    X: Any,
    y: Any,
    param_grid: Mapping[str, Sequence] | None = None,
    cv: Any = 5,
    session_starts: Any = None,
    X_transition: Any = None,
    sample_weight: Any = None,
    offset: Any = None,
    verbose: bool = False,
) -> StatesSelection:
    r"""Compare numbers of states, and whatever else, by whole sessions held out.

    Parameters
    ----------
    model
        A GLM-HMM, or an `HMM`, of which X is None. It is not changed.
    X, y, session_starts, X_transition, sample_weight, offset
        As its `fit` takes them. Weights are those of fits: what is held out is not weighted.
    param_grid
        For names of constructor's arguments the values to try, all with all, as of scikit-learn's
        `ParameterGrid`, or a list of such dicts; None (default) is ``{"n_states": range(1, 6)}``.
        One state is the GLM; ``[{"n_states": [1, 2, 3]}, {"n_states": [2], "n_lapse_states":
        [1]}]`` compares with a lapse model too.
    cv
        Number of folds (default 5): sessions are dealt out to folds in turn. Or the fold of each
        session, (n_sessions,).
    verbose
        Whether to show progress (default not).

    Returns
    -------
    StatesSelection
        Log-likelihoods of the sessions held out, criteria, and the fits to all sessions.

    Raises
    ------
    ValueError
        If there are fewer sessions than folds, or a fold has no sample to fit to.

    Notes
    -----
    Sessions held out have a weight of zero, so that the folds of a model share one compiled
    program. The score of a session is the logarithm of its evidence under parameters that never
    saw it, :math:`\log p(y_s | \hat\theta_{-s})`.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X, state = rng.normal(size=(1000, 1)), np.arange(1000) // 50 % 2
    >>> choice = (rng.uniform(size=1000) < 1 / (1 + np.exp(-4 * X[:, 0] * (2 * state - 1)))) * 1
    >>> found = nmo.model_selection.select_states(
    ...     nmo.glm_hmm.GLMHMM(2, n_restarts=3),
    ...     X,
    ...     choice,
    ...     {"n_states": [1, 2]},
    ...     session_starts=np.arange(0, 1000, 200),
    ... )
    >>> found.best
    {'n_states': 2}
    """
    check_model(model, "select_states")
    X, y = model._with_features(X, y)
    grid = list(ParameterGrid({"n_states": range(1, 6)} if param_grid is None else param_grid))
    more = {"X_transition": X_transition, "sample_weight": sample_weight, "offset": offset}
    copies: list[Any] = [clone(model) for _ in grid]
    specs = [copy.set_params(**of).resolve() for copy, of in zip(copies, grid, strict=True)]
    model._check(specs[0], X, y, sample_weight, offset)
    data = model._check(specs[0], X, y, None, offset)
    sessions = model._sessions(data, y, session_starts)
    fold = _folds(cv, sessions.n_sessions)
    counted = np.any(np.broadcast_to(data.weight, data.y.shape) > 0, axis=1)
    number = sessions.number[counted]
    n_samples = np.bincount(number, minlength=sessions.n_sessions).astype(float)
    starts = np.flatnonzero(np.diff(sessions.number, prepend=-1))
    models, per_session = [], np.zeros((len(grid), sessions.n_sessions))
    progress = tqdm(total=len(grid) * (fold.max() + 2), desc="fits", disable=not verbose)
    for index, params in enumerate(grid):
        for held_out in range(fold.max() + 1):
            weight = (fold != held_out).astype(float)
            if not n_samples[fold != held_out].any():
                raise ValueError(f"Fold {held_out} leaves no sample to fit to: use other folds.")
            fitted = _fit(model, params, X, y, starts, weight, more)
            each = _scores(fitted, X, y, starts, X_transition, offset)
            totals = np.bincount(number, each, minlength=sessions.n_sessions)
            per_session[index, fold == held_out] = totals[fold == held_out]
            progress.update()
        models.append(_fit(model, params, X, y, starts, None, more))
        progress.update()
    progress.close()
    return _compared(grid, models, per_session, n_samples)


def _compared(grid, models, per_session, n_samples) -> StatesSelection:
    total = n_samples.sum()
    mean = per_session.sum(axis=1) / total
    # Sessions differ in length: the error of a ratio of sums.
    rest = per_session - mean[:, None] * n_samples[None]
    n_sessions = len(n_samples)
    error = np.sqrt(n_sessions / (n_sessions - 1) * np.sum(rest**2, axis=1)) / total
    log_likelihood = np.array([model.log_likelihood_ for model in models])
    n_parameters = np.array([model.n_parameters_ for model in models])
    return StatesSelection(
        params=grid,
        log_likelihood=mean,
        standard_error=error,
        per_session=per_session,
        n_samples=n_samples,
        n_parameters=n_parameters,
        aic=2 * n_parameters - 2 * log_likelihood,
        bic=np.log(total) * n_parameters - 2 * log_likelihood,
        models=models,
    )


def _folds(cv: Any, n_sessions: int) -> np.ndarray:
    """Give each session its fold."""
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        if not 2 <= cv <= n_sessions:
            raise ValueError(
                f"cv must be at least 2 folds and at most the {n_sessions} sessions, got {cv}. "
                "Whole sessions are held out: say where they begin by session_starts."
            )
        return np.arange(n_sessions) % cv
    fold = np.asarray(cv)
    if fold.shape != (n_sessions,):
        raise ValueError(
            f"cv must be a number of folds or the fold of each of the {n_sessions} sessions, got "
            f"shape {fold.shape}."
        )
    _, index = np.unique(fold, return_inverse=True)
    if index.max() == 0:
        raise ValueError("cv puts all sessions in one fold: at least two are needed.")
    return index


def _fit(model, params, X, y, starts, session_weight, more) -> StatesShell:
    fitted: Any = clone(model)
    fitted.set_params(**params)
    if "classes_" not in vars(fitted) and hasattr(fitted, "set_classes"):
        fitted.set_classes(y)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The fit needs a look", RuntimeWarning)
        return StatesShell.fit(
            fitted, X, y, session_starts=starts, session_weight=session_weight, **more
        )


def _scores(model, X, y, starts, X_transition, offset) -> np.ndarray:
    return StatesShell.score(  # pyright: ignore[reportReturnType]
        model, X, y, starts, X_transition, offset, aggregate_sample_scores=np.asarray
    )
