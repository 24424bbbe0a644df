"""A hidden Markov model without inputs."""

from __future__ import annotations

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
