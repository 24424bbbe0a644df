"""The shell of models with states: it stores, checks, starts searches, and unpacks the best."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from spikax import _npz
from spikax._model import check_feature_names
from spikax._threads import one_blas_thread
from spikax._time_series import check_times
from spikax.glm._shell import Shell, columns_of
from spikax.hmm._inferring import Inferring
from spikax.hmm._report import Restarts, SearchState, warn_about_states
from spikax.hmm._search import Found, Parameters, search
from spikax.hmm._sessions import Sessions
from spikax.hmm._spec import Prepared, StatesSpec
from spikax.hmm._starts import WIDTHS, one_state, scattered, start_at
from spikax.solvers import get_solver

# Enough for Newton's method, and too few for EM to magnify the rounding of equal states.
_MOVES_ALIKE = 8


@dataclass(frozen=True, eq=False)
class Fit:
    """Searches from all starts."""

    prepared: Prepared
    best: Found
    restarts: Restarts


class StatesShell(Inferring):
    """What all models with states do; each is a class of its own beside the others."""

    _of_state: ClassVar[type[Shell]]  # the model of one state

    # What the constructors keep.
    n_states: Any
    observation_model: Any
    inverse_link_function: Any
    regularizer: Any
    regularizer_strength: Any
    dirichlet_initial_proba: Any
    dirichlet_transition_proba: Any
    stickiness: Any
    transition_mask: Any
    transition_strength: Any
    feature_mask: Any
    shared_features: Any
    n_lapse_states: Any
    fit_intercept: Any
    solver_name: Any
    hmm_initialization_funcs: Any
    model_initialization_funcs: Any
    n_restarts: Any
    maxiter: Any
    tol: Any
    seed: Any
    verbose: Any

    def __sklearn_tags__(self):
        """Tell scikit-learn what this estimator takes."""
        return self._tagged(super().__sklearn_tags__())

    def _tagged(self, tags):
        """Set what scikit-learn is told; mixins come after this class, and call it again."""
        of_state = self._model_of_state().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags = of_state.target_tags
        if tags.regressor_tags is not None:
            # The score is a log-likelihood, not an R2 that could be called poor.
            tags.regressor_tags.poor_score = True
        if tags.classifier_tags is not None:
            tags.classifier_tags = of_state.classifier_tags
        return tags

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
        seed_of(self.seed)
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
        check_times({"X": data.layout.series, "y": y, "X_transition": X_transition})
        sessions = self._sessions(data, y, session_starts)
        weight = session_weights(session_weight, sessions)
        with jax.enable_x64(True), one_blas_thread():
            covariates = spec.covariates(X_transition, len(data.y))
            prepared = spec.prepare(data, sessions, covariates, weight)
            if init_params is None and self._has_functions():
                init_params = self._start_of_functions(spec, prepared, X, y, sessions.starts)
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

    def _has_functions(self) -> bool:
        """Tell whether the start was chosen by `setup`."""
        return bool(self.hmm_initialization_funcs or self.model_initialization_funcs)

    def _start_of_functions(self, spec, prepared, X, y, starts) -> tuple:
        raise NotImplementedError

    def _starts(self, spec: StatesSpec, prepared: Prepared) -> tuple[list[Parameters], list]:
        """Scatter starts about the model of one state, to which a few moves of equal ones lead."""
        alike = start_at(prepared, prepared.center, spec.allowed)
        if spec.n_states == 1:
            return [alike], [0.0]
        limits = jnp.asarray(float(self.tol)), jnp.asarray(_MOVES_ALIKE)
        center = one_state(prepared, search(prepared.problem, alike, *limits))
        rng = np.random.default_rng(seed_of(self.seed))
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
        found = spec.to_user(best.params, of)
        self.coef_, self.intercept_, self.scale_, self.initial_prob_, self.transition_prob_ = found
        emission, slopes = of.problem.emission, best.params.transitions.slopes
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
        samples, chain = emission.samples, of.problem.chain
        counts = np.asarray(chain.joined(chain.weight))[: samples.n_samples] > 0
        counted = (np.asarray(samples.weights) > 0) & counts.reshape(len(samples.y), 1, -1)
        n_observations = int(np.sum(np.broadcast_to(counted, samples.y.shape)))
        self.n_parameters_ = spec.n_parameters(of)
        self.dof_resid_ = float(n_observations - self.n_parameters_)

    # --- Files.

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


def _numbers(value: Any, name: str) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold numbers, got {value!r:.80}.")
    return array.astype(float)


def _concentration(value: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Check parameters of Dirichlet priors, which are those of their mode: at least one."""
    array = np.ones(shape) if value is None else _numbers(value, name)
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
    array = _numbers(mask, "transition_mask")
    if array.shape != (k, k) or not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"transition_mask must hold 0 and 1 in shape {(k, k)}, got shape {array.shape}."
        )
    if not array.any(axis=1).all():
        row = int(np.argmin(array.any(axis=1)))
        raise ValueError(f"transition_mask allows no transition from state {row}.")
    return array


def session_weights(weight: Any, sessions: Sessions) -> np.ndarray | None:
    if weight is None:
        return None
    array = _numbers(weight, "session_weight")
    if array.shape != (sessions.n_sessions,):
        raise ValueError(
            f"session_weight must have one entry for each of the {sessions.n_sessions} sessions, "
            f"got shape {array.shape}."
        )
    if not (np.isfinite(array) & (array >= 0)).all() or not array.any():
        raise ValueError("session_weight must be finite, not negative, and not zero everywhere.")
    return array


def seed_of(seed: Any) -> Any:
    """Turn a number or a key of JAX's into a seed of NumPy's."""
    if seed is None:
        return 0
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
        seed = jax.random.key_data(seed)
    array = np.asarray(seed)
    if array.dtype.kind not in "iu" or (array < 0).any():
        raise ValueError(
            "seed must be a whole number from zero on, a key of jax.random, or None, got "
            f"{seed!r}."
        )
    return int(array) if array.ndim == 0 else array.ravel().tolist()


def check_model(model: Any, taker: str) -> None:
    """Refuse what is no model with states."""
    if not isinstance(model, StatesShell):
        raise TypeError(
            f"{taker} takes models with states, such as GLMHMM, and not {model!r:.80}."
        )


# --- What comes out.


def _by_occupancy(found: Found, spec: StatesSpec) -> Found:
    """Give states numbers by how much they are used, lapse states last."""
    n_free = spec.n_states - spec.n_lapse_states
    if spec.tells_apart:
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
