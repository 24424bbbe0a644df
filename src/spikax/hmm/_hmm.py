"""A hidden Markov model without inputs."""

from __future__ import annotations

import numpy as np

from spikax._time_series import is_series, like, raw
from spikax.glm import PopulationGLM
from spikax.hmm._shell import StatesShell


class HMM(StatesShell):
    r"""A hidden Markov model: in each state every neuron has a mean of its own.

    With states :math:`z_t`, :math:`p(z_t = j | z_{t-1} = i) = A_{ij}` and observations that are
    independent given the state. It is `PopulationGLMHMM` without features.

    Parameters
    ----------
    n_states
        Number of states.
    observation_model
        "Poisson" (default), "Bernoulli", "Gaussian", "Gamma", "NegativeBinomial", or an
        observation model of `spikax.observation_models`, or of your own.
    inverse_link_function
        Name of an inverse link, or an elementwise JAX callable; None takes that of the
        observation model.
    dirichlet_initial_proba, dirichlet_transition_proba
        Parameters of the Dirichlet priors of the initial distribution, (n_states,), and of the
        rows of the transition matrix, (n_states, n_states), or a number; at least one, which None
        (default) is.
    stickiness
        What is added to the diagonal of the latter (default 0).
    transition_mask
        One where a transition is possible, zero where it is forbidden, (n_states, n_states).
    transition_strength
        Precision of the normal prior of covariates' slopes (default 1).
    n_restarts
        Number of starts (default 20).
    maxiter
        How often a search may go through the data (default 1000).
    tol
        The nats of log posterior that may be left (default 1e-3).
    seed
        Seed of the starts, a number or a key; None (default) is 0.
    verbose
        Whether to show progress over the starts (default not).

    Attributes
    ----------
    intercept_
        Linear predictors of the means, (n_neurons, n_states).
    scale_
        Scales of the observation model, (n_neurons, n_states).
    initial_prob_, transition_prob_
        Probabilities of starts, (n_states,), and of transitions, from the state of the row.
    log_posterior_, log_likelihood_
        Those found, in nats.
    restarts_
        Where all starts ended.

    References
    ----------
    Rabiner (1989), "A tutorial on hidden Markov models", Proc. IEEE 77, 257.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> up = np.repeat([0, 1, 0, 1, 0], 100)
    >>> spikes = rng.poisson(np.where(up, 4.0, 1.0)[:, None], size=(500, 3))
    >>> model = nmo.hmm.HMM(2, n_restarts=3, seed=1).fit(spikes)
    >>> print(np.exp(model.intercept_).mean(axis=0).round(0))
    [1. 4.]
    """

    _of_state = PopulationGLM

    def __init__(
        self,
        n_states,
        observation_model="Poisson",
        inverse_link_function=None,
        dirichlet_initial_proba=None,
        dirichlet_transition_proba=None,
        stickiness=0.0,
        transition_mask=None,
        transition_strength=1.0,
        n_restarts=20,
        maxiter=1000,
        tol=1e-3,
        seed=None,
        verbose=False,
    ):
        self.n_states = n_states
        self.observation_model = observation_model
        self.inverse_link_function = inverse_link_function
        self.dirichlet_initial_proba = dirichlet_initial_proba
        self.dirichlet_transition_proba = dirichlet_transition_proba
        self.stickiness = stickiness
        self.transition_mask = transition_mask
        self.transition_strength = transition_strength
        self.n_restarts = n_restarts
        self.maxiter = maxiter
        self.tol = tol
        self.seed = seed
        self.verbose = verbose

    # What models with features are given besides.
    regularizer = solver_name = feature_mask = shared_features = None
    hmm_initialization_funcs = model_initialization_funcs = None
    regularizer_strength, fit_intercept, n_lapse_states = None, True, 0

    def _with_features(self, X, y):
        return _without_features(y)

    def fit(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        y,
        session_starts=None,
        X_transition=None,
        sample_weight=None,
        session_weight=None,
    ):
        """Fit the means of all states, and the transitions between them.

        Parameters
        ----------
        y
            Observations, (n_samples, n_neurons) or (n_samples,). A NaN is missing for its neuron.
        session_starts, X_transition, sample_weight, session_weight
            As `PopulationGLMHMM.fit` takes them.

        Returns
        -------
        self
            The fitted model.

        Raises
        ------
        ValueError
            If shapes, lengths, values or sessions are wrong, or no sample is left.

        Warns
        -----
        RuntimeWarning
            Once, of what needs a look, as of `PopulationGLMHMM.fit`.
        """
        return super().fit(
            *_without_features(y),
            session_starts=session_starts,
            X_transition=X_transition,
            sample_weight=sample_weight,
            session_weight=session_weight,
        )

    def smooth_proba(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, y, session_starts=None, X_transition=None
    ):
        """Compute the probability of each state given all samples of its session.

        Parameters
        ----------
        y, session_starts, X_transition
            As in `fit`.

        Returns
        -------
        array or pynapple TsdFrame
            Probabilities, (n_samples, n_states).

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        return super().smooth_proba(*_without_features(y), session_starts, X_transition)

    def filter_proba(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, y, session_starts=None, X_transition=None
    ):
        """Compute the probability of each state given the samples up to each one.

        Parameters
        ----------
        y, session_starts, X_transition
            As in `fit`.

        Returns
        -------
        array or pynapple TsdFrame
            Probabilities, (n_samples, n_states).

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        return super().filter_proba(*_without_features(y), session_starts, X_transition)

    def decode_state(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, y, session_starts=None, state_format="one-hot", X_transition=None
    ):
        """Find the likeliest path of states.

        Parameters
        ----------
        y, session_starts, X_transition
            As in `fit`.
        state_format
            "one-hot" (default) or "index".

        Returns
        -------
        array or pynapple object
            The states, (n_samples, n_states) or (n_samples,).

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        return super().decode_state(
            *_without_features(y), session_starts, state_format, X_transition
        )

    def sample_states(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, random_key, y, n_samples=1, session_starts=None, X_transition=None
    ):
        """Draw paths of states from their posterior.

        Parameters
        ----------
        random_key
            Random key, from `jax.random.key`.
        y, session_starts, X_transition
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
        """
        both = _without_features(y)
        return super().sample_states(random_key, *both, n_samples, session_starts, X_transition)

    def score(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, y, session_starts=None, X_transition=None, aggregate_sample_scores=np.sum
    ):
        """Compute the log-likelihood of samples, each given those of its session before it.

        Parameters
        ----------
        y, session_starts, X_transition
            As in `fit`.
        aggregate_sample_scores
            Function of the samples' log-likelihoods, (n_samples,); their sum by default.

        Returns
        -------
        float or array
            What the function makes of them, in nats.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        return super().score(
            *_without_features(y),
            session_starts,
            X_transition,
            aggregate_sample_scores=aggregate_sample_scores,
        )

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, y, session_starts=None, X_transition=None
    ):
        """Predict the mean of each sample from those of its session before it.

        Parameters
        ----------
        y, session_starts, X_transition
            As in `fit`.

        Returns
        -------
        array or pynapple object
            Means, (n_samples, n_neurons), one step ahead.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        found = super().predict(*_without_features(y), session_starts, X_transition)
        return like(found, y)

    def occupancy(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, y, session_starts=None, X_transition=None
    ):
        """Compute the share of the samples in each state, by the posterior.

        Parameters
        ----------
        y, session_starts, X_transition
            As in `fit`.

        Returns
        -------
        array
            Shares, (n_states,).

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        return super().occupancy(*_without_features(y), session_starts, X_transition)

    def simulate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        random_key,
        n_samples,
        state_format="index",
        session_starts=None,
        X_transition=None,
    ):
        """Draw states and observations from the fitted model.

        Parameters
        ----------
        random_key
            Random key, from `jax.random.key`.
        n_samples
            Number of samples.
        state_format
            "index" (default) or "one-hot".
        session_starts, X_transition
            As in `fit`.

        Returns
        -------
        sample, rate : array
            Observations and their means, (n_samples, n_neurons).
        states : array
            The states, (n_samples,), or one-hot, (n_samples, n_states).

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        X = {"none": np.zeros((n_samples, 0))}
        return super().simulate(random_key, X, state_format, session_starts, X_transition)


def _without_features(y):
    """Give observations features without columns, and an axis of neurons."""
    if is_series(y) and np.ndim(y) == 1:
        y = like(np.asarray(raw(y, "y"))[:, None], y)
    array = y if is_series(y) else raw(y, "y")
    array = array.reshape(-1, 1) if np.ndim(array) == 1 else array
    return {"none": np.zeros((len(array), 0))}, array
