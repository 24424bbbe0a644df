"""What a fit of states found, and what it makes of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from spikax._inputs import Data
from spikax._layout import Layout
from spikax._model import FittedModel
from spikax.glm._prediction import mean_of, parameters_of, sample_scores
from spikax.hmm import _functions
from spikax.hmm._sessions import Sessions


@dataclass(frozen=True, eq=False)
class FittedStates:
    """Parameters of the states, and of how they follow one another.

    Parameters
    ----------
    states
        The model of each state.
    initial, transition
        Probabilities, (n_states,) and (n_states, n_states), those at the covariates' mean.
    initial_coef, transition_coef
        Slopes of their logits, (n_covariates, n_states) and (n_states, n_covariates, n_states),
        None without covariates.
    covariate_mean
        Mean of the covariates, (n_covariates,), None without covariates.
    """

    states: list[FittedModel]
    initial: np.ndarray
    transition: np.ndarray
    initial_coef: np.ndarray | None
    transition_coef: np.ndarray | None
    covariate_mean: np.ndarray | None

    @property
    def first(self) -> FittedModel:
        """The model of the first state, for what all have in common."""
        return self.states[0]

    def linear_predictors(self, matrix: Any, layout: Layout, offset: Any) -> list[np.ndarray]:
        """Compute those of each state, (n_samples, n_columns)."""
        return [state.linear_predictor(matrix, layout, offset) for state in self.states]

    def means(self, matrix: Any, layout: Layout, offset: Any) -> np.ndarray:
        """Mean of observations in each state, (n_states, n_samples, n_neurons)."""
        likelihood = self.first.spec.likelihood
        etas = self.linear_predictors(matrix, layout, offset)
        return np.stack([mean_of(likelihood, eta) for eta in etas])

    def parameters(self, matrix: Any, layout: Layout, offset: Any) -> np.ndarray:
        """Give what predictors stand for in each state, (n_states, n_samples, n_neurons, K)."""
        likelihood = self.first.spec.likelihood
        etas = self.linear_predictors(matrix, layout, offset)
        if likelihood.n_predictors == 1:
            return np.stack([mean_of(likelihood, eta) for eta in etas])[..., None]
        return np.stack([parameters_of(likelihood, eta) for eta in etas])

    def log_likelihood(self, data: Data) -> np.ndarray:
        """Log-likelihood of each sample in each state, (n_samples, n_states), of all neurons.

        Weights multiply those of single neurons; what is missing counts nothing.
        """
        likelihood, found = self.first.spec.likelihood, []
        weight = np.broadcast_to(data.weight, data.y.shape)
        X = data.X
        if isinstance(X, np.ndarray) and data.valid is not None:
            X = np.where(np.isnan(X), 0, X)
        for state in self.states:
            eta = state.linear_predictor(X, data.layout, None)
            if data.offset is not None:
                eta = eta + np.nan_to_num(data.offset)
            plain = data._replace(weights=None)
            (scores,) = sample_scores(likelihood, eta, plain, "log-likelihood", state.scale)
            found.append(np.sum(np.where(weight > 0, weight * scores, 0), axis=1))
        return np.stack(found, axis=1)

    def transition_proba(self, covariates: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of starts and transitions, those of each sample with covariates."""
        if self.transition_coef is None or covariates is None:
            return self.initial, self.transition
        assert self.initial_coef is not None and self.covariate_mean is not None
        z = covariates - self.covariate_mean
        return (
            _shifted(self.initial, z @ self.initial_coef),
            _shifted(self.transition, np.einsum("tq,iqj->tij", z, self.transition_coef)),
        )

    def smooth(self, likelihood: np.ndarray, sessions: Sessions, z: Any) -> _functions.Smoothed:
        """Probabilities given all samples of a session."""
        arguments = (likelihood, *self.transition_proba(z), sessions.starts)
        return _functions.forward_backward(*arguments)

    def filter(self, likelihood: np.ndarray, sessions: Sessions, z: Any) -> _functions.Filtered:
        """Probabilities given the samples so far, and before each."""
        return _functions.filter(likelihood, *self.transition_proba(z), sessions.starts)


def _shifted(probability: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Add to logits; what is impossible stays so."""
    with np.errstate(divide="ignore"):
        logits = np.log(probability) + change
    return softmax(logits, axis=-1)
