"""GLM-HMMs of one neuron or behaviour, and of populations."""

from __future__ import annotations

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin

from spikax import _labels, observation_models
from spikax._errors import unknown_name
from spikax._model import find_classes
from spikax.glm import GLM, ClassifierGLM, PopulationGLM
from spikax.glm._prediction import log_probabilities
from spikax.hmm._stepping import Stepping

_RETURN_TYPES = ("log-proba", "proba")


class _GLMStates(RegressorMixin, Stepping):  # pyright: ignore[reportIncompatibleMethodOverride]
    """What GLM-HMMs are constructed with, stored as it is given."""

    def __init__(
        self,
        n_states,
        observation_model="Bernoulli",
        inverse_link_function=None,
        regularizer="Ridge",
        regularizer_strength=1.0,
        dirichlet_initial_proba=None,
        dirichlet_transition_proba=None,
        solver_name=None,
        solver_kwargs=None,
        maxiter=1000,
        tol=1e-3,
        seed=None,
        hmm_initialization_funcs=None,
        model_initialization_funcs=None,
        n_restarts=20,
        stickiness=0.0,
        transition_mask=None,
        transition_strength=1.0,
        feature_mask=None,
        shared_features=None,
        n_lapse_states=0,
        fit_intercept=True,
        verbose=False,
    ):
        self.n_states = n_states
        self.observation_model = observation_model
        self.inverse_link_function = inverse_link_function
        self.regularizer = regularizer
        self.regularizer_strength = regularizer_strength
        self.dirichlet_initial_proba = dirichlet_initial_proba
        self.dirichlet_transition_proba = dirichlet_transition_proba
        self.solver_name = solver_name
        self.solver_kwargs = solver_kwargs
        self.maxiter = maxiter
        self.tol = tol
        self.seed = seed
        self.hmm_initialization_funcs = hmm_initialization_funcs
        self.model_initialization_funcs = model_initialization_funcs
        self.n_restarts = n_restarts
        self.stickiness = stickiness
        self.transition_mask = transition_mask
        self.transition_strength = transition_strength
        self.feature_mask = feature_mask
        self.shared_features = shared_features
        self.n_lapse_states = n_lapse_states
        self.fit_intercept = fit_intercept
        self.verbose = verbose

    # A log-likelihood, not the mixin's.
    score = Stepping.score  # pyright: ignore[reportAssignmentType]

    def __sklearn_tags__(self):
        """Tell scikit-learn what this estimator takes."""
        return self._tagged(super().__sklearn_tags__())


class GLMHMM(_GLMStates):
    r"""A GLM of one neuron, or of one behaviour, whose coefficients depend on a hidden state.

    In state k the mean at time t is :math:`f(x_t^\top w_k + b_k)`, with f the inverse link, and
    :math:`p(z_t = j | z_{t-1} = i) = A_{ij}`. The posterior of all parameters is maximised from
    many starts.

    Parameters
    ----------
    n_states
        Number of states.
    observation_model
        "Bernoulli" (default), "Poisson", "Gaussian", "Gamma", "NegativeBinomial", or an
        observation model of `spikax.observation_models`, or of your own.
    inverse_link_function
        Name of an inverse link, or an elementwise JAX callable; None takes that of the
        observation model.
    regularizer
        "Ridge" (default), "UnRegularized", "Lasso", "ElasticNet", "GroupLasso", or a regularizer.
    regularizer_strength
        Strength of the penalty (default 1), as `GLM` takes it, but in nats: it is added once to
        the sum of all samples' losses, and not to their mean, so that a Ridge is a normal prior of
        this precision. That of `GLM` is so many times the number of samples.
    dirichlet_initial_proba, dirichlet_transition_proba
        Parameters of the Dirichlet priors of the initial distribution, (n_states,), and of the
        rows of the transition matrix, (n_states, n_states), or a number; at least one, which None
        (default) is: no prior.
    solver_name, solver_kwargs
        Taken for code written for NeMoS: every fit goes the same way.
    maxiter
        How often a search may go through the data (default 1000).
    tol
        The nats of log posterior that may be left (default 1e-3).
    seed
        Seed of the starts, a number or a key; None (default) is 0.
    hmm_initialization_funcs, model_initialization_funcs
        Where a search starts, in place of `n_restarts` starts, as `setup` takes it; None
        (default).
    n_restarts
        Number of starts (default 20), at several widths about the model of one state.
    stickiness
        What is added to the diagonal of the transitions' Dirichlet parameters (default 0).
    transition_mask
        One where a transition is possible, zero where it is forbidden, (n_states, n_states).
    transition_strength
        Precision of the normal prior of covariates' slopes (default 1).
    feature_mask
        One where a feature is used, zero where not, as `GLM` takes it, for all states; or with
        an axis of states, where `coef_` has it.
    shared_features
        Which features have the same coefficients in all states: True or False for each, in a
        container structured like `X`, or the names of the arrays of a dict. None (default): none.
    n_lapse_states
        How many states, the last ones, have an intercept alone (default 0).
    fit_intercept
        Whether linear predictors have intercepts (default True).
    verbose
        Whether to show progress over the starts (default not).

    Attributes
    ----------
    coef_
        Coefficients, (n_features, n_states), or a container of such arrays structured like `X`.
    intercept_
        Intercepts, (n_states,).
    scale_
        Scales of the observation model, (n_states,), estimated by maximum likelihood where it has
        one.
    initial_prob_
        Probabilities of the states at a session's first sample, (n_states,).
    transition_prob_
        Probabilities of going from the state of the row to that of the column,
        (n_states, n_states); with covariates those at their mean.
    initial_coef_, transition_coef_
        Slopes of their logits, (n_covariates, n_states) and (n_states, n_covariates, n_states),
        and `covariate_mean_`; None without covariates.
    log_posterior_, log_likelihood_
        Those found, in nats.
    restarts_
        Where all starts ended, a `spikax.hmm.Restarts`.
    solver_state_
        How the best search went, a `spikax.hmm.SearchState`.
    n_parameters_, dof_resid_
        Number of free parameters, and of observations less these.
    n_iter_
        How often the best search went through the data.

    References
    ----------
    Bengio & Frasconi (1995), "An input output HMM architecture", NIPS 7; Ashwood et al. (2022),
    "Mice alternate between discrete strategies during perceptual decision-making", Nat. Neurosci.
    25, 201.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X, state = rng.normal(size=(2000, 1)), np.arange(2000) // 200 % 2
    >>> p = 1 / (1 + np.exp(-3 * X[:, 0] * np.where(state, 1, -1)))
    >>> choice = (rng.uniform(size=2000) < p).astype(int)
    >>> model = nmo.glm_hmm.GLMHMM(2, n_restarts=4).fit(X, choice)
    >>> print(np.sort(model.coef_).round(), model.transition_prob_.round(2)[0, 0])
    [[-3.  3.]] 0.99
    >>> path = model.decode_state(X, choice, state_format="index")
    >>> bool(max(np.mean(path == state), np.mean(path != state)) > 0.95)
    True
    """

    _of_state = GLM
    _single = True


class PopulationGLMHMM(_GLMStates):
    r"""A GLM of each neuron of a population, whose coefficients depend on a state that all share.

    In state k the mean of neuron j at time t is :math:`f(x_t^\top w_{jk} + b_{jk})`, with f the
    inverse link, and :math:`p(z_t = l | z_{t-1} = i) = A_{il}`. Given the state, the neurons are
    independent. The posterior of all parameters is maximised from many starts.

    Parameters
    ----------
    n_states
        Number of states.
    observation_model
        "Bernoulli" (default), "Poisson", "Gaussian", "Gamma", "NegativeBinomial", or an
        observation model of `spikax.observation_models`, or of your own.
    inverse_link_function
        Name of an inverse link, or an elementwise JAX callable; None takes that of the
        observation model.
    regularizer
        "Ridge" (default), "UnRegularized", "Lasso", "ElasticNet", "GroupLasso", or a regularizer.
    regularizer_strength
        Strength of the penalty (default 1), as `PopulationGLM` takes it, but in nats: it is added
        once to the sum of all samples' losses, and not to their mean, so that a Ridge is a normal
        prior of this precision. That of `PopulationGLM` is so many times the number of samples.
    dirichlet_initial_proba, dirichlet_transition_proba
        Parameters of the Dirichlet priors of the initial distribution, (n_states,), and of the
        rows of the transition matrix, (n_states, n_states), or a number; at least one, which None
        (default) is: no prior.
    solver_name, solver_kwargs
        Taken for code written for NeMoS: every fit goes the same way.
    maxiter
        How often a search may go through the data (default 1000).
    tol
        The nats of log posterior that may be left (default 1e-3).
    seed
        Seed of the starts, a number or a key; None (default) is 0.
    hmm_initialization_funcs, model_initialization_funcs
        Where a search starts, in place of `n_restarts` starts, as `setup` takes it; None
        (default).
    n_restarts
        Number of starts (default 20), at several widths about the model of one state.
    stickiness
        What is added to the diagonal of the transitions' Dirichlet parameters (default 0).
    transition_mask
        One where a transition is possible, zero where it is forbidden, (n_states, n_states).
    transition_strength
        Precision of the normal prior of covariates' slopes (default 1).
    feature_mask
        One where a feature is used, zero where not, as `PopulationGLM` takes it, for all states;
        or with an axis of states, where `coef_` has it.
    shared_features
        Which features have the same coefficients in all states: True or False for each, in a
        container structured like `X`, or the names of the arrays of a dict. None (default): none.
    n_lapse_states
        How many states, the last ones, have an intercept alone (default 0).
    fit_intercept
        Whether linear predictors have intercepts (default True).
    verbose
        Whether to show progress over the starts (default not).

    Attributes
    ----------
    coef_
        Coefficients, (n_features, n_neurons, n_states), or a container of such arrays structured
        like `X`.
    intercept_
        Intercepts, (n_neurons, n_states).
    scale_
        Scales of the observation model, (n_neurons, n_states), estimated by maximum likelihood
        where it has one.
    initial_prob_
        Probabilities of the states at a session's first sample, (n_states,).
    transition_prob_
        Probabilities of going from the state of the row to that of the column,
        (n_states, n_states); with covariates those at their mean.
    initial_coef_, transition_coef_
        Slopes of their logits, (n_covariates, n_states) and (n_states, n_covariates, n_states),
        and `covariate_mean_`; None without covariates.
    log_posterior_, log_likelihood_
        Those found, in nats.
    restarts_
        Where all starts ended, a `spikax.hmm.Restarts`.
    solver_state_
        How the best search went, a `spikax.hmm.SearchState`.
    n_parameters_, dof_resid_
        Number of free parameters, and of observations less these.
    n_iter_
        How often the best search went through the data.

    References
    ----------
    Bengio & Frasconi (1995), "An input output HMM architecture", NIPS 7; Escola et al. (2011),
    "Hidden Markov models for the stimulus-response relationships of multistate neural systems",
    Neural Comput. 23, 1071.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X, state = rng.normal(size=(1000, 1)), np.arange(1000) // 200 % 2
    >>> gain = np.where(state[:, None], [0.5, -0.5, 0.8], [-0.5, 0.5, 0.0])
    >>> spikes = rng.poisson(np.exp(1 + gain * X))
    >>> model = nmo.glm_hmm.PopulationGLMHMM(2, "Poisson", n_restarts=4).fit(X, spikes)
    >>> model.coef_.shape, model.intercept_.shape
    ((1, 3, 2), (3, 2))
    """

    _of_state = PopulationGLM
    _single = False


class ClassifierGLMHMM(ClassifierMixin, Stepping):  # pyright: ignore
    r"""A classifier of one behaviour, with labels as observations, that depends on a hidden state.

    In state k the probability of class c at time t is the softmax over c of
    :math:`x_t^\top w_{kc} + b_{kc}`, and :math:`p(z_t = j | z_{t-1} = i) = A_{ij}`. The posterior
    of all parameters is maximised from many starts.

    Parameters
    ----------
    n_states
        Number of states.
    n_classes
        Number of classes (default 2). The labels of `y` are the classes, in their order.
    inverse_link_function
        Name of an inverse link, or an elementwise JAX callable; None takes that of the
        observation model.
    regularizer
        "Ridge" (default), "UnRegularized", "Lasso", "ElasticNet", "GroupLasso", or a regularizer.
    regularizer_strength
        Strength of the penalty (default 1), as `ClassifierGLM` takes it, but in nats: it is added
        once to the sum of all samples' losses, and not to their mean, so that a Ridge is a normal
        prior of this precision. That of `ClassifierGLM` is so many times the number of samples.
    dirichlet_initial_proba, dirichlet_transition_proba
        Parameters of the Dirichlet priors of the initial distribution, (n_states,), and of the
        rows of the transition matrix, (n_states, n_states), or a number; at least one, which None
        (default) is: no prior.
    solver_name, solver_kwargs
        Taken for code written for NeMoS: every fit goes the same way.
    maxiter
        How often a search may go through the data (default 1000).
    tol
        The nats of log posterior that may be left (default 1e-3).
    seed
        Seed of the starts, a number or a key; None (default) is 0.
    hmm_initialization_funcs, model_initialization_funcs
        Where a search starts, in place of `n_restarts` starts, as `setup` takes it; None
        (default).
    n_restarts
        Number of starts (default 20), at several widths about the model of one state.
    stickiness
        What is added to the diagonal of the transitions' Dirichlet parameters (default 0).
    transition_mask
        One where a transition is possible, zero where it is forbidden, (n_states, n_states).
    transition_strength
        Precision of the normal prior of covariates' slopes (default 1).
    feature_mask
        One where a feature is used, zero where not, as `ClassifierGLM` takes it, for all states;
        or with an axis of states, where `coef_` has it.
    shared_features
        Which features have the same coefficients in all states: True or False for each, in a
        container structured like `X`, or the names of the arrays of a dict. None (default): none.
    n_lapse_states
        How many states, the last ones, have an intercept alone (default 0).
    fit_intercept
        Whether linear predictors have intercepts (default True).
    verbose
        Whether to show progress over the starts (default not).

    Attributes
    ----------
    classes_
        The labels of the classes, sorted, (n_classes,).
    coef_
        Coefficients, (n_features, n_states, n_classes), or a container of such arrays structured
        like `X`.
    intercept_
        Intercepts, (n_states, n_classes).
    scale_
        Scales of the observation model, (n_states,), ones.
    initial_prob_
        Probabilities of the states at a session's first sample, (n_states,).
    transition_prob_
        Probabilities of going from the state of the row to that of the column,
        (n_states, n_states); with covariates those at their mean.
    initial_coef_, transition_coef_
        Slopes of their logits, (n_covariates, n_states) and (n_states, n_covariates, n_states),
        and `covariate_mean_`; None without covariates.
    log_posterior_, log_likelihood_
        Those found, in nats.
    restarts_
        Where all starts ended, a `spikax.hmm.Restarts`.
    solver_state_
        How the best search went, a `spikax.hmm.SearchState`.
    n_parameters_, dof_resid_
        Number of free parameters, and of observations less these.
    n_iter_
        How often the best search went through the data.

    References
    ----------
    Bengio & Frasconi (1995), "An input output HMM architecture", NIPS 7; Ashwood et al. (2022),
    "Mice alternate between discrete strategies during perceptual decision-making", Nat. Neurosci.
    25, 201.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X, state = rng.normal(size=(2000, 3)), np.arange(2000) // 200 % 2
    >>> noise = rng.gumbel(size=(2000, 3))
    >>> choice = np.argmax(np.where(state[:, None], 3 * X, -3 * X) + noise, axis=1)
    >>> model = nmo.glm_hmm.ClassifierGLMHMM(2, n_classes=3, n_restarts=4).fit(X, choice)
    >>> model.coef_.shape, model.predict_proba(X, choice).shape
    ((3, 2, 3), (2000, 3))
    """

    _of_state = ClassifierGLM
    _single = True

    def __init__(
        self,
        n_states,
        n_classes=2,
        inverse_link_function=None,
        regularizer="Ridge",
        regularizer_strength=1.0,
        dirichlet_initial_proba=None,
        dirichlet_transition_proba=None,
        solver_name=None,
        solver_kwargs=None,
        maxiter=1000,
        tol=1e-3,
        seed=None,
        hmm_initialization_funcs=None,
        model_initialization_funcs=None,
        n_restarts=20,
        stickiness=0.0,
        transition_mask=None,
        transition_strength=1.0,
        feature_mask=None,
        shared_features=None,
        n_lapse_states=0,
        fit_intercept=True,
        verbose=False,
    ):
        self.n_states = n_states
        self.n_classes = n_classes
        self.inverse_link_function = inverse_link_function
        self.regularizer = regularizer
        self.regularizer_strength = regularizer_strength
        self.dirichlet_initial_proba = dirichlet_initial_proba
        self.dirichlet_transition_proba = dirichlet_transition_proba
        self.solver_name = solver_name
        self.solver_kwargs = solver_kwargs
        self.maxiter = maxiter
        self.tol = tol
        self.seed = seed
        self.hmm_initialization_funcs = hmm_initialization_funcs
        self.model_initialization_funcs = model_initialization_funcs
        self.n_restarts = n_restarts
        self.stickiness = stickiness
        self.transition_mask = transition_mask
        self.transition_strength = transition_strength
        self.feature_mask = feature_mask
        self.shared_features = shared_features
        self.n_lapse_states = n_lapse_states
        self.fit_intercept = fit_intercept
        self.verbose = verbose

    @property
    def observation_model(self):
        """The observation model: categorical."""
        return observation_models.CategoricalObservations(self.n_classes)

    # A log-likelihood, not the mixin's accuracy.
    score = Stepping.score  # pyright: ignore[reportAssignmentType]

    def _model_of_state(self):
        model = ClassifierGLM(
            n_classes=self.n_classes,
            inverse_link_function=self.inverse_link_function,
            regularizer=self.regularizer,
            regularizer_strength=self.regularizer_strength,
            fit_intercept=self.fit_intercept,
        )
        known = vars(self).get("classes_")
        return model if known is None else model.set_classes(known)

    def set_classes(self, y):
        """Set the classes, where what will be fitted may lack some of them.

        Parameters
        ----------
        y
            Labels, in which each class occurs; of any shape.

        Returns
        -------
        self
            The model, with `classes_`.

        Raises
        ------
        ValueError
            If `y` has not `n_classes` different labels.
        """
        self.classes_ = find_classes(y, self.observation_model.n_predictors, None)
        return self

    def predict_proba(
        self,
        X,
        y=None,
        session_starts=None,
        X_transition=None,
        offset=None,
        return_type="log-proba",
    ):
        r"""Predict the probability of each class from the samples of the session before it.

        Parameters
        ----------
        X, session_starts, X_transition, offset
            As in `fit`.
        y
            Labels, as in `fit`; None (default) for predictions from the transitions alone.
        return_type
            "log-proba" (default) for the logarithms of the probabilities, or "proba".

        Returns
        -------
        array or pynapple object
            Probabilities or their logarithms, (n_samples, n_classes); NaN where `X` is.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If samples are not as in `fit`, or the return type is unknown.
        """
        if return_type not in _RETURN_TYPES:
            raise unknown_name("return_type", return_type, _RETURN_TYPES)
        model, layout, ahead, matrix = self._ahead(X, y, session_starts, X_transition, offset)
        likelihood = model.first.spec.likelihood
        etas = model.linear_predictors(matrix, layout, offset)
        logs = np.stack([log_probabilities(likelihood, eta) for eta in etas])
        found = np.einsum("tk,ktnc->tnc", ahead, np.exp(logs))
        if return_type == "log-proba":
            with np.errstate(divide="ignore"):
                found = np.log(found)
        return model.first.with_classes(found, layout)

    def predict(self, X, y=None, session_starts=None, X_transition=None, offset=None):
        """Predict the most probable class from the samples of the session before it.

        Parameters
        ----------
        X, session_starts, X_transition, offset
            As in `fit`.
        y
            Labels, as in `fit`; None (default) for predictions from the transitions alone.

        Returns
        -------
        array
            Labels, (n_samples,); NaN where `X` is.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If samples are not as in `fit`.
        """
        proba = np.asarray(self.predict_proba(X, y, session_starts, X_transition, offset))
        best = np.where(np.isnan(proba[:, 0]), np.nan, proba.argmax(axis=1))
        return _labels.decode(best, self.classes_)

    def _drawn(self, key, model, matrix, layout, offset, path):
        likelihood = model.first.spec.likelihood
        etas = model.linear_predictors(matrix, layout, offset)
        logs = np.stack([log_probabilities(likelihood, eta)[:, 0] for eta in etas])
        logs = logs[path, np.arange(len(path))]
        drawn = model.first.spec.observation_model.sample_generator(key, np.nan_to_num(logs))
        missing = np.isnan(logs[:, 0])
        return _labels.decode(np.where(missing, np.nan, drawn), self.classes_), logs

    def __sklearn_tags__(self):
        """Tell scikit-learn what this estimator takes."""
        return self._tagged(super().__sklearn_tags__())
