"""Models of one neuron, and of populations."""

from spikax.glm._shell import Shell


class PopulationGLM(Shell):
    r"""A generalized linear model for each neuron of a population, sharing one design matrix.

    The mean of neuron j at time t is :math:`f(x_t^\top w_j + b_j)`, with f the inverse link. The
    neurons are fitted at once, each to its own optimum: the result equals fits one by one.

    Parameters
    ----------
    observation_model
        "Poisson" (default), "Bernoulli", "Gaussian", "Gamma", "NegativeBinomial", or an
        observation model of `spikax.observation_models`, or of your own.
    inverse_link_function
        Name of an inverse link, or an elementwise JAX callable; None takes that of the
        observation model.
    regularizer
        "UnRegularized", "Ridge", "Lasso", "ElasticNet", "GroupLasso", or a regularizer; None is no
        penalty.
    regularizer_strength
        Strength of the penalty: a scalar (None is 1.0), one per neuron (n_neurons,), one per
        coefficient (n_features, n_neurons), or a container of these structured like `X`. The loss
        is a mean over time, and the penalty is added to it for each neuron.
    solver_name
        Name of a solver, see `spikax.solvers.list_available_solvers`; None takes the native one.
    solver_kwargs
        Arguments of the solver, such as `tol` and `maxiter`.
    feature_mask
        One where a neuron uses a feature, zero where not, (n_features, n_neurons). For a container
        of features: a container like it of such arrays, or of arrays (n_neurons,).
    fit_intercept
        Whether the linear predictor has an intercept (default True).
    weight_type
        What a `sample_weight` w says: "precision" (default), that the variance of the sample is
        :math:`\phi V(\mu) / w`, as weights of R's `glm` do; or "frequency", that it occurred w
        times. Coefficients are the same, but residual degrees of freedom count samples or the sum
        of the weights. Precisions are relative: c times all of them is c times `scale_`.

    Attributes
    ----------
    coef_
        Coefficients, (n_features, n_neurons), or a container of such arrays structured like `X`.
    intercept_
        Intercepts, (n_neurons,).
    scale_
        Scale of the observation model, (n_neurons,): Pearson's statistic over `dof_resid_`, where
        the family has one.
    edf_
        Effective degrees of freedom, (n_neurons,): the rank of the features that a neuron uses,
        intercept included, or with a penalty the trace of the influence matrix
        :math:`(H + P)^{-1} H`, with H the information and P the second derivatives of the penalty.
        NaN where nothing depends on it, the scale being known, and the trace would take longer
        than the fit, the problem being large: `inference.summary` computes it.
    dof_resid_
        Residual degrees of freedom, (n_neurons,): the number of observations less `edf_`.
    solver_state_
        Statistics of the fit in `solver_state_.stats`, each (n_neurons,).
    n_iter_
        Steps of the neuron that took most.

    References
    ----------
    McCullagh & Nelder (1989), Generalized Linear Models, chapter 2.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 3))
    >>> spikes = rng.poisson(np.exp(0.3 * X[:, :2] - 1))
    >>> model = nmo.glm.PopulationGLM().fit(X, spikes)
    >>> model.coef_.shape, model.intercept_.shape
    ((3, 2), (2,))
    """

    _single = False


class GLM(Shell):
    r"""A generalized linear model of one neuron.

    It is the population of one: parameters, methods and attributes are those of `PopulationGLM`
    without the axis of neurons.

    Parameters
    ----------
    observation_model
        "Poisson" (default), "Bernoulli", "Gaussian", "Gamma", "NegativeBinomial", or an
        observation model of `spikax.observation_models`, or of your own.
    inverse_link_function
        Name of an inverse link, or an elementwise JAX callable; None takes that of the
        observation model.
    regularizer
        "UnRegularized", "Ridge", "Lasso", "ElasticNet", "GroupLasso", or a regularizer; None is no
        penalty.
    regularizer_strength
        Strength of the penalty: a scalar (None is 1.0), one per coefficient (n_features,), or a
        container of these structured like `X`.
    solver_name
        Name of a solver, see `spikax.solvers.list_available_solvers`; None takes the native one.
    solver_kwargs
        Arguments of the solver, such as `tol` and `maxiter`.
    feature_mask
        One where the neuron uses a feature, zero where not, (n_features,), or a container of such
        arrays structured like `X`.
    fit_intercept
        Whether the linear predictor has an intercept (default True).
    weight_type
        What a `sample_weight` w says: "precision" (default), that the variance of the sample is
        :math:`\phi V(\mu) / w`, as weights of R's `glm` do; or "frequency", that it occurred w
        times. Coefficients are the same, but residual degrees of freedom count samples or the sum
        of the weights. Precisions are relative: c times all of them is c times `scale_`.

    Attributes
    ----------
    coef_
        Coefficients, (n_features,), or a container of such arrays structured like `X`.
    intercept_
        Intercept, (1,).
    scale_, edf_, dof_resid_
        Scale of the observation model, effective and residual degrees of freedom; scalars.
    solver_state_
        Statistics of the fit in `solver_state_.stats`, scalars.
    n_iter_
        Steps taken.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 3))
    >>> spikes = rng.poisson(np.exp(0.3 * X[:, 0] - 1))
    >>> model = nmo.glm.GLM().fit(X, spikes)
    >>> model.coef_.shape, model.intercept_.shape
    ((3,), (1,))
    """

    _single = True
