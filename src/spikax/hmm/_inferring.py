"""What fitted states say of samples: probabilities, paths, predictions, draws and scores."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from spikax._errors import unknown_name
from spikax._inputs import Data, known_rows
from spikax._model import FittedModel
from spikax._time_series import TimeSeries, check_times, is_series, like, raw
from spikax.hmm import _functions
from spikax.hmm._fitted import FittedStates
from spikax.hmm._sessions import Sessions, find_sessions
from spikax.hmm._spec import StatesSpec

STATE_FORMATS = ("one-hot", "index")


class Inferring(BaseEstimator):
    """What fitted models with states do with samples."""

    _single: ClassVar[bool] = False

    # What a fit sets.
    coef_: Any
    intercept_: Any
    scale_: Any
    initial_prob_: Any
    transition_prob_: Any
    initial_coef_: Any
    transition_coef_: Any

    def resolve(self) -> StatesSpec:
        """Find what the constructor's arguments stand for."""
        raise NotImplementedError

    def _with_features(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Give features to observations whose model has none."""
        return X, y

    def _check(self, spec: StatesSpec, X, y, sample_weight, offset, afresh=False) -> Data:
        shape = () if y is None else np.shape(raw(y, "y"))
        if self._single and len(shape) == 2 and shape[1] > 1:
            raise ValueError(
                f"y has shape {shape}, but {type(self).__name__} takes one neuron, "
                "(n_samples,): use PopulationGLMHMM for neurons that share the state."
            )
        return spec.model.check(X, y, sample_weight, offset, afresh)

    def _sessions(self, data: Data, y: Any, session_starts: Any) -> Sessions:
        series = data.layout.series if data.layout.series is not None else y
        observed = np.any(np.broadcast_to(data.weight, data.y.shape) > 0, axis=1)
        return find_sessions(session_starts, series, observed)

    # --- What a fitted model says.

    def fitted(self) -> FittedStates:
        """Bring together what the model is and what its fit found, or what was set by hand.

        Returns
        -------
        FittedStates
            The model of each state, and the transitions.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If what was set by hand does not fit together.
        """
        check_is_fitted(self, ["coef_", "intercept_", "initial_prob_", "transition_prob_"])
        spec, own = self.resolve(), vars(self)
        k, axis = spec.n_states, spec.state_axis
        model = spec.model
        if model.n_classes is not None:
            model = replace(model, classes=own.get("classes_"))
        initial = _functions.check_proba(self.initial_prob_, "initial_prob_", (k,))
        transition = _functions.check_proba(self.transition_prob_, "transition_prob_", (k, k))
        states = []
        intercept = np.asarray(self.intercept_)
        scale, known = own.get("scale_"), model.likelihood.dispersion
        known = 1.0 if known is None else known
        for state in range(k):
            coef = jax.tree.map(partial(_state_of, state, axis, k, "coef_"), self.coef_)
            one = _state_of(state, axis - 1, k, "intercept_", intercept)
            if self._single and model.outputs(1).n_predictors == 1:
                one = np.reshape(one, (1,))
            n_neurons = 1 if self._single else len(one)
            of_state = known if scale is None else np.asarray(scale, float)[..., state]
            states.append(
                FittedModel(
                    estimator=self,
                    spec=model,
                    coef=coef,
                    intercept=one,
                    scale=np.broadcast_to(np.asarray(of_state, float), n_neurons),
                    dof_resid=np.full(n_neurons, np.nan),
                    status=None,
                    columns=own.get("_columns"),
                )
            )
        return FittedStates(
            states,
            initial,
            transition,
            own.get("initial_coef_"),
            own.get("transition_coef_"),
            own.get("covariate_mean_"),
        )

    def _samples(self, X, y, session_starts, X_transition, offset) -> tuple:
        """Check samples against the fit; give likelihoods, sessions, covariates, time series."""
        model = self.fitted()
        spec = replace(self.resolve(), model=model.first.spec)
        model.first.features(X)
        data = self._check(spec, X, y, None, offset)
        model.first.check_neurons(data.y.shape[1])
        check_times({"X": data.layout.series, "y": y, "X_transition": X_transition})
        sessions = self._sessions(data, y, session_starts)
        z = self._covariates(spec, X_transition, len(data.y))
        series = data.layout.series if is_series(data.layout.series) else y
        return model, model.log_likelihood(data), sessions, z, series, data

    def _covariates(self, spec: StatesSpec, X_transition: Any, n_samples: int) -> Any:
        given = spec.covariates(X_transition, n_samples)
        fitted_with: Any = vars(self).get("transition_coef_")
        if (given is None) != (fitted_with is None):
            with_or_without = "without" if fitted_with is None else "with"
            raise ValueError(
                f"{type(self).__name__} was fitted {with_or_without} X_transition: pass it as "
                "there."
            )
        if given is None:
            return None
        if given.values.shape[1] != fitted_with.shape[1]:
            raise ValueError(
                f"X_transition has {given.values.shape[1]} covariates, but {type(self).__name__} "
                f"was fitted to {fitted_with.shape[1]}."
            )
        return given.values * given.scale + given.center

    def smooth_proba(self, X, y, session_starts=None, X_transition=None, offset=None):
        """Compute the probability of each state given all samples of its session.

        Parameters
        ----------
        X, y, session_starts, X_transition, offset
            As in `fit`.

        Returns
        -------
        array or pynapple TsdFrame
            Probabilities, (n_samples, n_states); NaN before the first and after the last sample of
            a session that was observed. A sample that is missing between others has them.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If samples are not as in `fit`.
        """
        model, likelihood, sessions, z, series, _ = self._samples(
            X, y, session_starts, X_transition, offset
        )
        found = model.smooth(likelihood, sessions, z)
        return _with_times(found.probability, sessions, series)

    def filter_proba(self, X, y, session_starts=None, X_transition=None, offset=None):
        """Compute the probability of each state given the samples up to each one.

        Parameters
        ----------
        X, y, session_starts, X_transition, offset
            As in `fit`.

        Returns
        -------
        array or pynapple TsdFrame
            Probabilities, (n_samples, n_states); NaN as from `smooth_proba`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If samples are not as in `fit`.
        """
        model, likelihood, sessions, z, series, _ = self._samples(
            X, y, session_starts, X_transition, offset
        )
        found = model.filter(likelihood, sessions, z)
        return _with_times(found.probability, sessions, series)

    def decode_state(
        self,
        X,
        y,
        session_starts=None,
        state_format="one-hot",
        X_transition=None,
        offset=None,
    ):
        """Find the likeliest path of states.

        Parameters
        ----------
        X, y, session_starts, X_transition, offset
            As in `fit`.
        state_format
            "one-hot" (default) or "index".

        Returns
        -------
        array or pynapple object
            Ones where the path is in a state and zeros elsewhere, (n_samples, n_states), or the
            states, (n_samples,); NaN as from `smooth_proba`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If samples are not as in `fit`, or the format is unknown.
        """
        _check_format(state_format)
        model, likelihood, sessions, z, series, _ = self._samples(
            X, y, session_starts, X_transition, offset
        )
        initial, transition = model.transition_proba(z)
        path = _functions.viterbi(likelihood, initial, transition, sessions.starts)
        return _with_times(_formatted(path, len(model.states), state_format), sessions, series)

    def sample_states(
        self, random_key, X, y, n_samples=1, session_starts=None, X_transition=None, offset=None
    ):
        """Draw paths of states from their posterior.

        Parameters
        ----------
        random_key
            Random key, from `jax.random.key`.
        X, y, session_starts, X_transition, offset
            As in `fit`.
        n_samples
            Number of paths (default 1).

        Returns
        -------
        array of int
            The states, (n_paths, n_samples).

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If samples are not as in `fit`.
        """
        model, likelihood, sessions, z, _, _ = self._samples(
            X, y, session_starts, X_transition, offset
        )
        initial, transition = model.transition_proba(z)
        return _functions.sample_paths(
            random_key, likelihood, initial, transition, sessions.starts, n_samples
        )

    def score(
        self,
        X,
        y,
        session_starts=None,
        X_transition=None,
        offset=None,
        aggregate_sample_scores=np.sum,
    ):
        r"""Compute the log-likelihood of samples, each given those of its session before it.

        Parameters
        ----------
        X, y, session_starts, X_transition, offset
            As in `fit`.
        aggregate_sample_scores
            Function of the samples' log-likelihoods, (n_samples,). The default is their sum, the
            logarithm of the evidence; `numpy.mean` gives nats per sample. Samples that are missing
            are left out.

        Returns
        -------
        float or array
            What the function makes of :math:`\log p(y_t | y_1, \dots, y_{t-1})`, in nats.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If samples are not as in `fit`.
        """
        model, likelihood, sessions, z, _, data = self._samples(
            X, y, session_starts, X_transition, offset
        )
        each = model.filter(likelihood, sessions, z).log_likelihood
        known = np.any(np.broadcast_to(data.weight, data.y.shape) > 0, axis=1)
        found = aggregate_sample_scores(each[known])
        return float(found) if np.ndim(found) == 0 else found

    def predict(self, X, y=None, session_starts=None, X_transition=None, offset=None):
        r"""Predict the mean of each sample from those of its session before it.

        Predictions are one step ahead, :math:`E[y_t | y_1, \dots, y_{t-1}, x_t]`: filtered, and
        never smoothed, so that no observation helps to predict itself.

        Parameters
        ----------
        X, session_starts, X_transition, offset
            As in `fit`.
        y
            Observations, as in `fit`; None (default) for predictions from the transitions alone.

        Returns
        -------
        array or pynapple object
            Means, shaped like `y`; NaN where `X` is.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If samples are not as in `fit`.
        """
        model, layout, ahead, matrix = self._ahead(X, y, session_starts, X_transition, offset)
        mean = np.einsum("tk,ktn->tn", ahead, model.means(matrix, layout, offset))
        return model.first.like_features(mean, layout)

    def _ahead(self, X, y, session_starts, X_transition, offset) -> tuple:
        """Probabilities of the states at each sample given those before it."""
        model = self.fitted()
        matrix, layout = model.first.features(X)
        if y is not None:
            _, likelihood, sessions, z, _, _ = self._samples(
                X, y, session_starts, X_transition, offset
            )
        else:
            n_samples = len(matrix)
            sessions = find_sessions(session_starts, layout.series, _known(matrix, layout))
            spec = self.resolve()
            z = self._covariates(spec, X_transition, n_samples)
            likelihood = np.zeros((n_samples, spec.n_states))
        return model, layout, model.filter(likelihood, sessions, z).predicted, matrix

    def simulate(
        self,
        random_key,
        feedforward_input,
        state_format="index",
        session_starts=None,
        X_transition=None,
        offset=None,
    ):
        """Draw states and observations from the fitted model.

        Parameters
        ----------
        random_key
            Random key, from `jax.random.key`.
        feedforward_input
            Features as in `fit`.
        state_format
            "index" (default) or "one-hot".
        session_starts, X_transition, offset
            As in `fit`.

        Returns
        -------
        sample : array or pynapple object
            Observations, shaped like `rate`.
        rate : array or pynapple object
            Their means in the states drawn.
        states : array
            The states, (n_samples,), or one-hot, (n_samples, n_states).

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the features are not those of `fit`, or the format is unknown.
        """
        _check_format(state_format)
        model = self.fitted()
        matrix, layout = model.first.features(feedforward_input)
        n_samples = len(matrix)
        sessions = find_sessions(session_starts, layout.series, _known(matrix, layout))
        z = self._covariates(self.resolve(), X_transition, n_samples)
        key_of_states, key = jax.random.split(random_key)
        # The posterior without observations is the prior.
        nothing = np.zeros((n_samples, len(model.states)))
        initial, transition = model.transition_proba(z)
        path = _functions.sample_paths(
            key_of_states, nothing, initial, transition, sessions.starts
        )[0]
        sample, rate = self._drawn(key, model, matrix, layout, offset, path)
        return sample, rate, _formatted(path, len(model.states), state_format)

    def _drawn(self, key, model: FittedStates, matrix, layout, offset, path) -> tuple:
        likelihood = model.first.spec.likelihood
        at = path, np.arange(len(path))
        parameters = model.parameters(matrix, layout, offset)[at]
        rate = model.means(matrix, layout, offset)[at]
        scale = np.stack([state.scale for state in model.states])[path]
        missing = np.isnan(rate)
        known = np.where(np.isnan(parameters), 0, parameters)
        known = known[..., 0] if likelihood.n_predictors == 1 else np.moveaxis(known, -1, 0)
        drawn = likelihood.by_row().family.sample(key, jnp.asarray(known), jnp.asarray(scale))
        sample = np.where(missing, np.nan, drawn) if missing.any() else np.asarray(drawn)
        return model.first.like_features(sample, layout), model.first.like_features(rate, layout)

    # --- States as such.

    def expected_dwell_times(self):
        """Compute how many samples a state lasts on average, (n_states,): 1 / (1 - A_kk).

        Returns
        -------
        array
            Numbers of samples; infinity for a state that is never left.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self, "transition_prob_")
        with np.errstate(divide="ignore"):
            return 1 / (1 - np.diagonal(self.transition_prob_))

    def occupancy(self, X, y, session_starts=None, X_transition=None, offset=None):
        """Compute the share of the samples in each state, by the posterior.

        Parameters
        ----------
        X, y, session_starts, X_transition, offset
            As in `fit`.

        Returns
        -------
        array
            Shares, (n_states,), which sum to one.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If samples are not as in `fit`.
        """
        model, likelihood, sessions, z, _, _ = self._samples(
            X, y, session_starts, X_transition, offset
        )
        found = model.smooth(likelihood, sessions, z).probability
        return found[sessions.inside].mean(axis=0)

    def reorder(self, permutation):
        """Give the states other numbers, in place.

        Parameters
        ----------
        permutation
            For each new number the old one, (n_states,), as `match_states` gives it.

        Returns
        -------
        self
            The model.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If it is no permutation of the states, or moves some whose numbers the constructor's
            masks, priors or lapse states give a meaning.
        """
        check_is_fitted(self, "coef_")
        order = np.asarray(permutation)
        k = len(self.initial_prob_)
        if order.shape != (k,) or sorted(order.tolist()) != list(range(k)):
            raise ValueError(f"permutation must hold 0 to {k - 1}, each once, got {permutation}.")
        if not self.resolve().keeps(order):
            raise ValueError(
                f"permutation {order.tolist()} moves states that transition_mask, feature_mask, "
                "a prior or n_lapse_states of the model tell apart: the model would no longer be "
                "what these say. Set them for the new numbers, and fit again."
            )
        axis, own = 1 if self._single else 2, vars(self)
        self.coef_ = jax.tree.map(lambda leaf: np.take(leaf, order, axis), self.coef_)
        self.intercept_ = np.take(self.intercept_, order, axis - 1)
        if own.get("scale_") is not None:
            self.scale_ = np.asarray(self.scale_)[..., order]
        self.initial_prob_ = np.asarray(self.initial_prob_)[order]
        self.transition_prob_ = np.asarray(self.transition_prob_)[np.ix_(order, order)]
        if own.get("transition_coef_") is not None:
            self.initial_coef_ = self.initial_coef_[:, order]
            self.transition_coef_ = self.transition_coef_[order][:, :, order]
        return self


def missing_as(drawn: Any, y: Any) -> Any:
    """Leave out of a draw what is missing in y, None for nothing."""
    if y is None or np.asarray(raw(y)).dtype.kind not in "fc":
        return drawn
    missing = np.isnan(np.asarray(raw(y)))
    values = np.asarray(raw(drawn))
    if values.shape != missing.shape:
        raise ValueError(f"y has shape {missing.shape}, but the model draws {values.shape}.")
    if not missing.any():
        return drawn
    if values.dtype.kind not in "biuf":
        raise TypeError("y has NaN, but the model draws labels, which cannot be missing.")
    return like(np.where(missing, np.nan, values), drawn)


def _known(matrix: Any, layout: Any) -> np.ndarray:
    """Tell which samples have their features, (n_samples,)."""
    known = known_rows(matrix, layout)
    return np.ones(len(matrix), bool) if known is None else known[:, 0]


def _check_format(state_format: Any) -> None:
    if state_format not in STATE_FORMATS:
        raise unknown_name("state_format", state_format, STATE_FORMATS)


def _state_of(state: int, axis: int, n_states: int, name: str, leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    if array.ndim <= axis or array.shape[axis] != n_states:
        raise ValueError(
            f"{name} has shape {array.shape}, but needs the {n_states} states on axis {axis}."
        )
    return np.take(array, state, axis=axis)


def _formatted(path: np.ndarray, n_states: int, state_format: str) -> np.ndarray:
    return path if state_format == "index" else np.eye(n_states)[path]


def _with_times(array: np.ndarray, sessions: Sessions, series: Any) -> Any:
    """Put NaN where nothing was observed, and times where samples have them."""
    if not sessions.inside.all():
        array = array.astype(float)
        array[~sessions.inside] = np.nan
    return like(array, series) if isinstance(series, TimeSeries) else array
