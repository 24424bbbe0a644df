"""Fits of states step by step, and where they start, as NeMoS's users write it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax._threads import one_blas_thread
from spikax.hmm import _initialization
from spikax.hmm._report import SearchState
from spikax.hmm._search import Found, search
from spikax.hmm._shell import StatesShell, seed_of
from spikax.hmm._spec import Prepared, StatesSpec


class UserParameters(NamedTuple):
    """Parameters of a GLM-HMM, shaped as its attributes."""

    coef: Any
    intercept: np.ndarray
    scale: np.ndarray
    initial_prob: np.ndarray
    transition_prob: np.ndarray


class Stepping(StatesShell):
    """What GLM-HMMs do besides whole fits."""

    def setup(
        self,
        initial_proba_init=None,
        initial_proba_init_kwargs=None,
        transition_proba_init=None,
        transition_proba_init_kwargs=None,
        glm_params_init=None,
        glm_params_init_kwargs=None,
        scale_init=None,
        scale_init_kwargs=None,
    ):
        """Choose where the one start of a fit is, in place of `n_restarts` starts.

        What is None stays as it is.

        Parameters
        ----------
        initial_proba_init
            "uniform", "random", "dirichlet", "kmeans", or a function of `(n_states, X, y,
            session_starts, random_key)`, by name, to probabilities, (n_states,).
        transition_proba_init
            "sticky", "uniform", "random", "dirichlet", "kmeans", or such a function to
            (n_states, n_states).
        glm_params_init
            "random", "kmeans", or a function of `(n_states, X, y, inverse_link_function,
            observation_model, session_starts, random_key)` to (coef, intercept).
        scale_init
            "constant", "kmeans", or such a function to the scales.
        initial_proba_init_kwargs, transition_proba_init_kwargs
            What these functions are given besides, dicts.
        glm_params_init_kwargs, scale_init_kwargs
            What these functions are given besides, dicts.

        Returns
        -------
        self
            The model.

        Raises
        ------
        ValueError
            If a name is unknown.
        TypeError
            If something is neither a name nor a function.

        Examples
        --------
        >>> from spikax.glm_hmm import GLMHMM
        >>> GLMHMM(2).setup(glm_params_init="kmeans").model_initialization_funcs
        {'glm_params_init': 'kmeans'}
        """
        of_states = {
            "initial_proba_init": initial_proba_init,
            "initial_proba_init_kwargs": initial_proba_init_kwargs,
            "transition_proba_init": transition_proba_init,
            "transition_proba_init_kwargs": transition_proba_init_kwargs,
        }
        of_model = {
            "glm_params_init": glm_params_init,
            "glm_params_init_kwargs": glm_params_init_kwargs,
            "scale_init": scale_init,
            "scale_init_kwargs": scale_init_kwargs,
        }
        for name, new in (
            ("hmm_initialization_funcs", of_states),
            ("model_initialization_funcs", of_model),
        ):
            chosen = {key: value for key, value in new.items() if value is not None}
            if chosen:
                chosen = dict(getattr(self, name) or {}) | chosen
                _initialization.check(chosen, name.startswith("hmm"), name)
                setattr(self, name, chosen)
        return self

    def initialize_params(self, X, y, session_starts=None):
        """Make the start of a fit by the functions of `setup`, or their defaults.

        Parameters
        ----------
        X, y, session_starts
            As in `fit`.

        Returns
        -------
        coef, intercept, scale, initial_prob, transition_prob
            Shaped as the attributes.

        Raises
        ------
        ValueError
            If samples are wrong.
        """
        with jax.enable_x64(True):
            spec, prepared, starts = self._prepared(X, y, session_starts)
            return UserParameters(*self._start_of_functions(spec, prepared, X, y, starts))

    def initialize_optimizer_and_state(self, init_params, X, y, session_starts=None):
        """Make the state that `update` takes.

        Parameters
        ----------
        init_params
            From `initialize_params`.
        X, y, session_starts
            As in `fit`.

        Returns
        -------
        SearchState
            That of the start.

        Raises
        ------
        ValueError
            If parameters or samples are wrong.
        """
        return SearchState.of(self._steps(init_params, X, y, session_starts, 1)[0])

    def update(self, params, opt_state, X, y, *args, session_starts=None, n_samples=None):
        """Take one step of expectation-maximisation.

        Parameters
        ----------
        params
            Parameters, as `initialize_params` gives them.
        opt_state
            The state before; a step does not depend on it.
        X, y, session_starts
            As in `fit`.
        *args, n_samples
            Taken for code written for NeMoS.

        Returns
        -------
        params : tuple
            Parameters of a log posterior that is no lower.
        state : SearchState
            With the log posteriors before and after.

        Raises
        ------
        ValueError
            If parameters or samples are wrong.
        """
        found, spec, prepared = self._steps(params, X, y, session_starts, 2)
        return self._user_parameters(found, spec, prepared), SearchState.of(found)

    def compute_loss(self, params, X, y, session_starts=None):
        """Compute minus the log-likelihood of samples, in nats.

        Parameters
        ----------
        params
            Parameters, as `initialize_params` gives them.
        X, y, session_starts
            As in `fit`.

        Returns
        -------
        float
            Summed over all samples.

        Raises
        ------
        ValueError
            If parameters or samples are wrong.
        """
        return -float(self._steps(params, X, y, session_starts, 1)[0].log_likelihood)

    def _prepared(self, X, y, session_starts) -> tuple[StatesSpec, Prepared, np.ndarray]:
        spec = self.resolve()
        data = self._check(spec, X, y, None, None, afresh=True)
        sessions = self._sessions(data, y, session_starts)
        return spec, spec.prepare(data, sessions, None, None), sessions.starts

    def _steps(self, params, X, y, session_starts, n) -> tuple[Found, StatesSpec, Prepared]:
        """Go so many times through the data."""
        with jax.enable_x64(True), one_blas_thread():
            spec, prepared, _ = self._prepared(X, y, session_starts)
            start = spec.to_problem(tuple(params), prepared)
            limits = jnp.asarray(0.0), jnp.asarray(n)
            return jax.device_get(search(prepared.problem, start, *limits)), spec, prepared

    def _user_parameters(self, found: Found, spec: StatesSpec, of: Prepared) -> UserParameters:
        return UserParameters(*spec.to_user(found.params, of))

    def _start_of_functions(self, spec, prepared, X, y, starts) -> tuple:
        given = _initialization.check(
            self.hmm_initialization_funcs, True, "hmm_initialization_funcs"
        ) | _initialization.check(
            self.model_initialization_funcs, False, "model_initialization_funcs"
        )
        seed = seed_of(self.seed)
        key = jax.random.key(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        return _initialization.start_of_functions(spec, prepared, X, y, starts, given, key)
