"""The shell of models with states: it stores, checks, starts searches, and unpacks the best."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from spikax import _npz
from spikax._errors import unknown_name
from spikax._inputs import Data
from spikax._model import FittedModel, check_feature_names
from spikax._threads import one_blas_thread
from spikax._time_series import TimeSeries, is_series, like
from spikax.glm._shell import Shell, columns_of
from spikax.hmm import _functions
from spikax.hmm._fitted import FittedStates
from spikax.hmm._report import Restarts, SearchState, warn_about_states
from spikax.hmm._search import Found, Parameters, search
from spikax.hmm._sessions import Sessions, find_sessions
from spikax.hmm._spec import Prepared, StatesSpec
from spikax.hmm._starts import WIDTHS, scattered, start_at
from spikax.hmm._transitions import FLOOR
from spikax.solvers import get_solver

STATE_FORMATS = ("one-hot", "index")


@dataclass(frozen=True, eq=False)
class Fit:
    """Searches from all starts."""

    prepared: Prepared
    best: Found
    restarts: Restarts


class StatesShell(BaseEstimator):
    """What all models with states do; each is a class of its own beside the others."""

    _of_state: ClassVar[type[Shell]]  # the model of one state
    _single = False

    # --- What the arguments stand for.

    def _model_of_state(self) -> Shell:
        """Make the model of one state from the arguments."""
        return self._of_state(  # pyright: ignore[reportCallIssue]
            observation_model=self.observation_model,
            inverse_link_function=self.inverse_link_function,
            regularizer=self.regularizer,
            regularizer_strength=self.regularizer_strength,
            fit_intercept=self.fit_intercept,
        )

    def resolve(self) -> StatesSpec:
        """Find what the constructor's arguments stand for.

        Returns
        -------
        StatesSpec
            The model of a state, the priors of transitions, and what these make of data.

        Raises
        ------
        ValueError
            If a name is unknown, or a number or a shape is wrong.
        TypeError
            If an argument is of the wrong type.

        Examples
        --------
        >>> import spikax as nmo
        >>> nmo.glm_hmm.GLMHMM(3, stickiness=10).resolve().concentration.shape
        (4, 3)
        """
        k = _whole(self.n_states, "n_states")
        _whole(self.n_restarts, "n_restarts")
        _whole(self.maxiter, "maxiter")
        if self.solver_name is not None:
            get_solver(self.solver_name)
        tol = _number(self.tol, "tol")
        stickiness = _number(self.stickiness, "stickiness")
        n_lapse = 0 if not self.n_lapse_states else _whole(self.n_lapse_states, "n_lapse_states")
        if n_lapse >= k:
            raise ValueError(
                f"n_lapse_states is {n_lapse}, of {k} states: at least one needs features."
            )
        if tol == 0:
            raise ValueError("tol must be positive: it is the nats that may be left.")
        initial = _concentration(self.dirichlet_initial_proba, "dirichlet_initial_proba", (k,))
        rows = _concentration(
            self.dirichlet_transition_proba, "dirichlet_transition_proba", (k, k)
        )
        allowed = np.ones((k + 1, k))
        if self.transition_mask is not None:
            allowed[:k] = _transition_mask(self.transition_mask, k)
        spec = self._model_of_state().resolve()
        return StatesSpec(
            model=replace(spec, name=type(self).__name__),
            n_states=k,
            concentration=np.vstack([rows + stickiness * np.eye(k), initial]),
            allowed=allowed,
            slope_precision=_number(self.transition_strength, "transition_strength"),
            feature_mask=self.feature_mask,
            shared_features=self.shared_features,
            n_lapse_states=n_lapse,
        )

    def _check(self, spec: StatesSpec, X, y, sample_weight, offset, afresh=False) -> Data:
        if self._single and np.ndim(y) == 2 and np.shape(y)[1] > 1:
            raise ValueError(
                f"y has shape {np.shape(y)}, but {type(self).__name__} takes one neuron, "
                "(n_samples,): use PopulationGLMHMM for neurons that share the state."
            )
        return spec.model.check(X, y, sample_weight, offset, afresh)

    def _sessions(self, data: Data, y: Any, session_starts: Any) -> Sessions:
        series = data.layout.series if data.layout.series is not None else y
        observed = np.any(np.broadcast_to(data.weight, data.y.shape) > 0, axis=1)
        return find_sessions(session_starts, series, observed)

    # --- Fitting.

    def fit(
        self,
        X,
        y,
        init_params=None,
        session_starts=None,
        X_transition=None,
        sample_weight=None,
        offset=None,
        session_weight=None,
    ):
        """Fit the parameters of all states, and the transitions between them.

        Parameters
        ----------
        X
            Features, as `PopulationGLM.fit` takes them. A row with NaN is a sample that is
            missing: time passes, and nothing is learned from it.
        y
            Observations, as the class says. A NaN is missing for its neuron.
        init_params
            Where to start, (coef, intercept, scale, initial_prob, transition_prob), shaped as the
            attributes; then there is one start. None (default) makes `n_restarts` starts.
        session_starts
            Which samples are the first of a session: booleans (n_samples,), their indices, a
            pynapple IntervalSet, or the label of each sample's session, (n_samples,). None
            (default) takes the epochs of a pynapple object, and one session otherwise.
        X_transition
            Covariates of the transition into each sample, (n_samples, n_covariates), without NaN;
            those of a session's first sample are of its start. None (default) for constant
            transitions.
        sample_weight
            What multiplies the log-likelihood of each sample, (n_samples,), or of each neuron's,
            (n_samples, n_neurons); all one if None. Zero is a missing sample.
        offset
            Added to the linear predictors, (n_samples,) or (n_samples, n_neurons).
        session_weight
            How often each session counts, (n_sessions,); all once if None. Zero leaves it out.

        Returns
        -------
        self
            The fitted model.

        Raises
        ------
        ValueError
            If shapes, lengths, values, sessions or starts are wrong, or no sample is left.
        TypeError
            If a container has the wrong structure or type.

        Warns
        -----
        RuntimeWarning
            Once, of what needs a look: starts that did not converge, a best one that was reached
            once only, states that are hardly used, alike, or whose scale collapses.
        """
        fit = self._searches(
            X, y, init_params, session_starts, X_transition, sample_weight, offset, session_weight
        )
        self._learn(X, y, fit)
        warn_about_states(fit, self.transition_prob_)
        return self

    def _searches(
        self,
        X,
        y,
        init_params,
        session_starts,
        X_transition,
        sample_weight,
        offset,
        session_weight,
    ) -> Fit:
        """Search from all starts, one after another in one program."""
        spec = self.resolve()
        data = self._check(spec, X, y, sample_weight, offset, afresh=True)
        if spec.n_states > len(data.y):
            raise ValueError(
                f"n_states is {spec.n_states}, but there are {len(data.y)} samples: use fewer."
            )
        sessions = self._sessions(data, y, session_starts)
        weight = _session_weight(session_weight, sessions)
        with jax.enable_x64(True), one_blas_thread():
            covariates = spec.covariates(X_transition, len(data.y))
            prepared = spec.prepare(data, sessions, covariates, weight)
            if init_params is not None:
                starts, widths = [spec.to_problem(init_params, prepared)], [np.nan]
            else:
                starts, widths = self._starts(spec, prepared)
            limits = jnp.asarray(float(self.tol)), jnp.asarray(int(self.maxiter))
            found = [
                jax.device_get(search(prepared.problem, start, *limits))
                for start in tqdm(starts, "starts", disable=not self.verbose, leave=False)
            ]
        value = np.array([f.log_posterior for f in found])
        value[~np.isfinite(value)] = -np.inf
        best = found[int(np.argmax(value))]
        if init_params is None:
            best = _by_occupancy(best, spec)
        restarts = Restarts(
            log_posterior=value,
            status=np.array([int(f.status) for f in found]),
            n_evaluations=np.array([int(f.n_evaluations) for f in found]),
            width=np.array(widths),
        )
        return Fit(prepared, best, restarts)

    def _starts(self, spec: StatesSpec, prepared: Prepared) -> tuple[list[Parameters], list]:
        """Scatter starts about the model of one state, which is the search with equal states."""
        alike = start_at(prepared, prepared.center, spec.allowed)
        limits = jnp.asarray(float(self.tol)), jnp.asarray(int(self.maxiter))
        if spec.n_states == 1:
            return [alike], [0.0]
        center = np.asarray(search(prepared.problem, alike, *limits).params.emission.theta)
        rng = np.random.default_rng(_seed(self.seed))
        widths = [WIDTHS[i % len(WIDTHS)] for i in range(self.n_restarts)]
        starts = [scattered(prepared, center, spec.allowed, width, rng) for width in widths]
        return starts, widths

    def _learn(self, X: Any, y: Any, fit: Fit) -> None:
        """Set what a fit found."""
        spec, of, best = self.resolve(), fit.prepared, fit.best
        data = of.data
        self.n_features_in_ = data.layout.n_features
        check_feature_names(self, X, reset=True)
        self._columns = columns_of(y)
        if data.classes is not None:
            self.classes_ = np.asarray(data.classes)
        self.coef_, self.intercept_ = spec.unpack(best.params.emission.theta, of)
        emission = of.problem.emission
        scale = np.ones((spec.n_states, data.y.shape[1]))
        known = emission.objective.likelihood.dispersion
        if emission.disperses:
            scale = np.asarray(emission.floor) + np.exp(best.params.emission.log_excess)
        elif known is not None:
            scale = scale * np.asarray(known)[:, 0]
        self.scale_ = scale[:, 0] if self._single else scale.T
        rows, slopes = best.params.transitions
        rows = np.maximum(np.exp(rows), FLOOR) * spec.allowed
        rows = rows / rows.sum(axis=1, keepdims=True)
        self.initial_prob_, self.transition_prob_ = rows[-1], rows[:-1]
        self.initial_coef_ = self.transition_coef_ = self.covariate_mean_ = None
        if of.covariates is not None:
            slopes = slopes / of.covariates.scale[:, None]
            self.initial_coef_, self.transition_coef_ = slopes[-1], slopes[:-1]
            self.covariate_mean_ = of.covariates.center
        self.log_posterior_ = float(best.log_posterior)
        self.log_likelihood_ = float(best.log_likelihood)
        self.restarts_ = fit.restarts
        self.n_iter_ = int(best.n_evaluations)
        self.solver_state_ = SearchState.of(best)
        counted = np.asarray(of.problem.emission.samples.weights) > 0
        n_observations = int(np.sum(np.broadcast_to(counted, emission.samples.y.shape)))
        self.n_parameters_ = spec.n_parameters(of)
        self.dof_resid_ = float(n_observations - self.n_parameters_)

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

    def _samples(self, X, y, session_starts, X_transition, offset, sample_weight=None) -> tuple:
        """Check samples against the fit; give likelihoods, sessions, covariates, time series."""
        model = self.fitted()
        spec = replace(self.resolve(), model=model.first.spec)
        model.first.features(X)
        data = self._check(spec, X, y, sample_weight, offset)
        model.first.check_neurons(data.y.shape[1])
        sessions = self._sessions(data, y, session_starts)
        z = self._covariates(spec, X_transition, len(data.y))
        series = data.layout.series if is_series(data.layout.series) else y
        return model, model.log_likelihood(data, offset), sessions, z, series, data

    def _covariates(self, spec: StatesSpec, X_transition: Any, n_samples: int) -> Any:
        given = spec.covariates(X_transition, n_samples)
        fitted_with = vars(self).get("transition_coef_")
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
        path = _functions.viterbi(likelihood, *model.transition_proba(z), sessions.starts)
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
        return _functions.sample_paths(
            random_key, likelihood, *model.transition_proba(z), sessions.starts, n_samples
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
            sessions = find_sessions(session_starts, layout.series, np.ones(n_samples, bool))
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
        sessions = find_sessions(session_starts, layout.series, np.ones(n_samples, bool))
        z = self._covariates(self.resolve(), X_transition, n_samples)
        key_of_states, key = jax.random.split(random_key)
        # The posterior without observations is the prior.
        path = _functions.sample_paths(
            key_of_states,
            np.zeros((n_samples, len(model.states))),
            *model.transition_proba(z),
            sessions.starts,
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
            If it is no permutation of the states.
        """
        check_is_fitted(self, "coef_")
        order = np.asarray(permutation)
        k = len(self.initial_prob_)
        if order.shape != (k,) or sorted(order.tolist()) != list(range(k)):
            raise ValueError(f"permutation must hold 0 to {k - 1}, each once, got {permutation}.")
        axis = 1 if self._single else 2
        self.coef_ = jax.tree.map(lambda leaf: np.take(leaf, order, axis), self.coef_)
        self.intercept_ = np.take(self.intercept_, order, axis - 1)
        self.scale_ = np.asarray(self.scale_)[..., order]
        self.initial_prob_ = self.initial_prob_[order]
        self.transition_prob_ = self.transition_prob_[np.ix_(order, order)]
        if self.transition_coef_ is not None:
            self.initial_coef_ = self.initial_coef_[:, order]
            self.transition_coef_ = self.transition_coef_[order][:, :, order]
        return self

    def save_params(self, filename):
        """Save the model, its constructor's arguments and what it was fitted to, without pickle.

        Parameters
        ----------
        filename
            Path of the npz file (the ending is added where it is missing), or a binary file.

        Raises
        ------
        TypeError
            If an argument is of a type that files do not hold.

        Notes
        -----
        `solver_state_` is not saved. Load the file with `spikax.load_model`.
        """
        _npz.write(filename, self)


# --- Checks of arguments.


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number from 1 on, got {value!r}.")
    return int(value)


def _number(value: Any, name: str) -> float:
    if not isinstance(value, int | float | np.number) or not np.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be a finite number from zero on, got {value!r}.")
    return float(value)


def _concentration(value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Check parameters of Dirichlet priors, which are those of their mode: at least one."""
    array = np.ones(shape) if value is None else np.asarray(value, float)
    if array.ndim == 0:
        array = np.full(shape, float(array))
    if array.shape != shape:
        raise ValueError(f"{name} must be a number or have shape {shape}, got {array.shape}.")
    wrong = ~(np.isfinite(array) & (array >= 1))
    if wrong.any():
        raise ValueError(
            f"{name} must be at least one, got {array[wrong][0]:g}: with less the posterior is "
            "infinite where a probability is zero. Forbid transitions by transition_mask."
        )
    return array


def _transition_mask(mask: Any, k: int) -> np.ndarray:
    array = np.asarray(mask, float)
    if array.shape != (k, k) or not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"transition_mask must hold 0 and 1 in shape {(k, k)}, got shape {array.shape}."
        )
    if not array.any(axis=1).all():
        row = int(np.argmin(array.any(axis=1)))
        raise ValueError(f"transition_mask allows no transition from state {row}.")
    return array


def _session_weight(weight: Any, sessions: Sessions) -> np.ndarray | None:
    if weight is None:
        return None
    array = np.asarray(weight, float)
    if array.shape != (sessions.n_sessions,):
        raise ValueError(
            f"session_weight must have one entry for each of the {sessions.n_sessions} sessions, "
            f"got shape {array.shape}."
        )
    if not (np.isfinite(array) & (array >= 0)).all() or not array.any():
        raise ValueError("session_weight must be finite, not negative, and not zero everywhere.")
    return array


def _seed(seed: Any) -> Any:
    """Turn a number or a key of JAX's into a seed of NumPy's."""
    if seed is None:
        return 0
    if isinstance(seed, int | np.integer):
        return int(seed)
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
        seed = jax.random.key_data(seed)
    return np.asarray(seed).astype(np.uint32).ravel().tolist()


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


# --- What comes out.


def _formatted(path: np.ndarray, n_states: int, state_format: str) -> np.ndarray:
    return path if state_format == "index" else np.eye(n_states)[path]


def _with_times(array: np.ndarray, sessions: Sessions, series: Any) -> Any:
    """Put NaN where nothing was observed, and times where samples have them."""
    if not sessions.inside.all():
        array = array.astype(float)
        array[~sessions.inside] = np.nan
    return like(array, series) if isinstance(series, TimeSeries) else array


def _by_occupancy(found: Found, spec: StatesSpec) -> Found:
    """Give states numbers by how much they are used, lapse states last."""
    n_free = spec.n_states - spec.n_lapse_states
    if spec.feature_mask is not None or (spec.allowed[:-1] == 0).any():
        return found  # numbers have a meaning
    if not (spec.concentration[:-1] == _symmetric(spec.concentration[:-1])).all():
        return found
    use = np.argsort(-found.occupancy[:n_free], kind="stable")
    order = np.append(use, np.arange(n_free, spec.n_states))
    emission, (logits, slopes) = found.params
    rows = np.append(order, spec.n_states)
    return found._replace(
        params=Parameters(
            type(emission)(*(part[order] for part in emission)),
            type(found.params.transitions)(logits[rows][:, order], slopes[rows][:, :, order]),
        ),
        occupancy=found.occupancy[order],
    )


def _symmetric(concentration: np.ndarray) -> np.ndarray:
    """Give priors that do not tell the states apart: one value for staying, one for leaving."""
    k = len(concentration)
    stays = concentration[0, 0]
    leaves = concentration[0, 1] if k > 1 else stays
    return np.full((k, k), leaves) + (stays - leaves) * np.eye(k)
