"""Classifiers: GLMs of observations that are one of several labels."""

from dataclasses import replace

import numpy as np
from sklearn.base import ClassifierMixin

from spikax import _labels, links, observation_models, regularizer
from spikax._errors import unknown_name
from spikax._layout import Layout
from spikax._model import FittedModel, ModelSpec, find_classes
from spikax.glm._arguments import check_fit_intercept
from spikax.glm._prediction import log_probabilities
from spikax.glm._shell import Shell

_RETURN_TYPES = ("log-proba", "proba")


class ClassifierShell(ClassifierMixin, Shell):  # pyright: ignore[reportIncompatibleMethodOverride]
    """What all classifiers do."""

    classes_: np.ndarray

    def __init__(
        self,
        n_classes=2,
        inverse_link_function=None,
        regularizer=None,
        regularizer_strength=None,
        solver_name=None,
        solver_kwargs=None,
        feature_mask=None,
        fit_intercept=True,
        weight_type="precision",
    ):
        self.n_classes = n_classes
        self.inverse_link_function = inverse_link_function
        self.regularizer = regularizer
        self.regularizer_strength = regularizer_strength
        self.solver_name = solver_name
        self.solver_kwargs = solver_kwargs
        self.feature_mask = feature_mask
        self.fit_intercept = fit_intercept
        self.weight_type = weight_type

    @property
    def observation_model(self):
        """The observation model: categorical."""
        return observation_models.CategoricalObservations(self.n_classes)

    def __sklearn_tags__(self):
        """Tell scikit-learn what this estimator takes."""
        tags = super().__sklearn_tags__()
        tags.regressor_tags = None
        tags.classifier_tags.poor_score = True
        tags.classifier_tags.multi_class = self.n_classes != 2
        tags.target_tags.positive_only = False
        return tags

    # A log-likelihood, not the mixin's accuracy.
    score = Shell.score  # pyright: ignore[reportAssignmentType]

    def partial_fit(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, X, y, classes=None, sample_weight=None, offset=None
    ):
        """Fit to the next batch of samples, together with all batches before it.

        Parameters
        ----------
        X, y
            A batch of features and labels, as in `fit`.
        classes
            Labels of all classes, for a first batch that may lack some; as `set_classes` takes
            them.
        sample_weight, offset
            As in `fit`, for this batch.

        Returns
        -------
        self
            The model fitted to all batches so far, as `PopulationGLM.partial_fit` tells.

        Raises
        ------
        ValueError
            If shapes, labels or values are wrong, or features, neurons or classes are not those of
            the first batch.
        TypeError
            If a container has the wrong structure or type.

        Examples
        --------
        >>> import numpy as np
        >>> import spikax as nmo
        >>> X = np.random.default_rng(0).normal(size=(500, 2))
        >>> choice = np.where(X[:, 0] > 0, "right", "left")
        >>> model = nmo.glm.ClassifierGLM(regularizer_strength=0.01)
        >>> for some in np.split(np.arange(500), 5):
        ...     model = model.partial_fit(X[some], choice[some], classes=["left", "right"])
        >>> print(model.predict([[1.0, 0.0], [-1.0, 0.0]]))
        ['right' 'left']
        """
        if classes is not None:
            found = find_classes(classes, self._number(), None)
            if "_memory" in vars(self) and not np.array_equal(found, self.classes_):
                raise ValueError(
                    f"classes are {found}, but those of the first batch were {self.classes_}."
                )
            self.classes_ = found
        return super().partial_fit(X, y, sample_weight, offset)

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

        Examples
        --------
        >>> import spikax as nmo
        >>> print(nmo.glm.ClassifierGLM(3).set_classes(["b", "c", "a", "b"]).classes_)
        ['a' 'b' 'c']
        """
        self.classes_ = find_classes(y, self._number(), None)
        return self

    def predict(self, X, offset=None):
        """Predict the most probable class of every neuron.

        Parameters
        ----------
        X
            Features as in `fit`.
        offset
            Added to the linear predictors, (n_samples, n_neurons, n_classes); without the axis of
            neurons for `ClassifierGLM`.

        Returns
        -------
        array or pynapple object
            Labels, (n_samples, n_neurons), (n_samples,) for `ClassifierGLM`; NaN where `X` is.
            With the time axis of `X` if that is a pynapple object and the labels are numbers.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the features are not those of `fit`.
        """
        model, layout, log_probability = self._log_probability(X, offset)
        best = np.where(np.isnan(log_probability[..., 0]), np.nan, log_probability.argmax(axis=-1))
        return _labelled(model, best, layout)

    def predict_proba(self, X, return_type="log-proba", offset=None):
        """Predict the probability of every class.

        Parameters
        ----------
        X
            Features as in `fit`.
        return_type
            "log-proba" (default) for the logarithms of the probabilities, or "proba".
        offset
            Added to the linear predictors, as in `predict`.

        Returns
        -------
        array or pynapple object
            Probabilities or their logarithms, (n_samples, n_neurons, n_classes), without the axis
            of neurons for `ClassifierGLM`; NaN where `X` is.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the return type is unknown, or the features are not those of `fit`.
        """
        if return_type not in _RETURN_TYPES:
            raise unknown_name("return_type", return_type, _RETURN_TYPES)
        model, layout, log_probability = self._log_probability(X, offset)
        out = log_probability if return_type == "log-proba" else np.exp(log_probability)
        return model.with_classes(out, layout)

    def simulate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, random_key, feedforward_input, offset=None
    ):
        """Draw labels from the fitted model.

        Parameters
        ----------
        random_key
            Random key, from `jax.random.key`.
        feedforward_input
            Features as in `fit`.
        offset
            Added to the linear predictors, as in `predict`.

        Returns
        -------
        sample : array or pynapple object
            Labels, shaped as from `predict`.
        log_proba : array or pynapple object
            The log-probabilities of the classes, as from `predict_proba`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the features are not those of `fit`.
        """
        model, layout, log_probability = self._log_probability(feedforward_input, offset)
        known = np.nan_to_num(log_probability)
        drawn = model.spec.observation_model.sample_generator(random_key, known)
        missing = np.isnan(log_probability[..., 0])
        sample = _labelled(model, np.where(missing, np.nan, drawn), layout)
        return sample, model.with_classes(log_probability, layout)

    def resolve(self) -> ModelSpec:
        """Find what the names in the constructor's arguments stand for.

        Returns
        -------
        ModelSpec
            As `PopulationGLM.resolve` gives it, with the number of classes, and their labels where
            they are known.

        Raises
        ------
        ValueError
            If a name is unknown.
        TypeError
            If an argument is of the wrong type.
        """
        check_fit_intercept(self.fit_intercept)
        link = self.inverse_link_function
        link = links.LOG_SOFTMAX if link is None else links.resolve(link)
        if link != links.LOG_SOFTMAX:
            raise ValueError(
                f"inverse_link_function must be 'log_softmax' for a classifier, got {link.name!r}."
            )
        penalty = regularizer.resolve("Ridge" if self.regularizer is None else self.regularizer)
        spec = self._spec(self.observation_model, link, penalty)
        known = vars(self).get("classes_")
        return replace(spec, n_classes=self.n_classes, classes=known)

    def _number(self) -> int:
        return self.observation_model.n_predictors

    def _log_probability(self, X, offset) -> tuple[FittedModel, Layout, np.ndarray]:
        model = self.fitted()
        matrix, layout = model.features(X)
        eta = model.linear_predictor(matrix, layout, offset)
        return model, layout, log_probabilities(model.spec.likelihood, eta)


def _labelled(model: FittedModel, indices: np.ndarray, layout: Layout):
    """Give labels for indices of classes, with the time axis of X where they are numbers."""
    classes = model.spec.classes
    assert classes is not None
    labels = _labels.decode(indices, classes)
    if labels.dtype.kind not in "fiub":
        return labels[:, 0] if model.spec.single else labels
    return model.like_features(labels, layout)


class ClassifierPopulationGLM(ClassifierShell):
    r"""A classifier for each neuron of a population, sharing one design matrix.

    The probability that neuron j is in class k at time t is the softmax over k of
    :math:`x_t^\top w_{jk} + b_{jk}`. There is a column of coefficients for each class, of which
    only the differences matter: where neither a mask nor the penalty tells the classes apart,
    those of a feature sum to zero.

    Parameters
    ----------
    n_classes
        Number of classes (default 2). The labels of `y` are the classes, in their order.
    inverse_link_function
        "log_softmax" (default, also for None).
    regularizer
        "UnRegularized", "Ridge", "Lasso", or a regularizer; None is Ridge.
    regularizer_strength
        Strength of the penalty: a scalar (None is 1.0), one per neuron (n_neurons,), one per
        coefficient (n_features, n_neurons, n_classes), or a container of these structured like
        `X`. The loss is a mean over time, and the penalty is added to it for each neuron.
    solver_name
        Name of a solver, see `spikax.solvers.list_available_solvers`; None takes the native one.
    solver_kwargs
        Arguments of the solver, such as `tol` and `maxiter`.
    feature_mask
        One where a class of a neuron uses a feature, zero where not,
        (n_features, n_neurons, n_classes). For a container of features: a container like it of
        such arrays, or of arrays (n_neurons,).
    fit_intercept
        Whether the linear predictors have intercepts (default True).
    weight_type
        What sample weights are, "precision" (default) or "frequency": whether residual degrees of
        freedom count samples or the sum of the weights.

    Attributes
    ----------
    classes_
        The labels of the classes, sorted, (n_classes,).
    coef_
        Coefficients, (n_features, n_neurons, n_classes), or a container of such arrays structured
        like `X`.
    intercept_
        Intercepts, (n_neurons, n_classes).
    scale_
        One for each neuron, (n_neurons,).
    edf_
        Effective degrees of freedom, (n_neurons,), as of `PopulationGLM`: without a penalty a
        feature of K classes takes K - 1.
    dof_resid_
        Residual degrees of freedom, (n_neurons,): the number of observations less `edf_`.
    solver_state_
        Statistics of the fit in `solver_state_.stats`, each (n_neurons,).
    n_iter_
        Steps of the neuron that took most.

    References
    ----------
    Agresti (2013), Categorical Data Analysis, section 8.1.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 3))
    >>> choice = np.where(X[:, :2] + rng.logistic(size=(500, 2)) > 0, "right", "left")
    >>> model = nmo.glm.ClassifierPopulationGLM(regularizer_strength=0.01).fit(X, choice)
    >>> model.coef_.shape, model.intercept_.shape
    ((3, 2, 2), (2, 2))
    >>> print(model.classes_)
    ['left' 'right']
    """

    _single = False


class ClassifierGLM(ClassifierShell):
    r"""A classifier of one neuron, or of one behaviour.

    It is the population of one: parameters, methods and attributes are those of
    `ClassifierPopulationGLM` without the axis of neurons.

    Parameters
    ----------
    n_classes
        Number of classes (default 2). The labels of `y` are the classes, in their order.
    inverse_link_function
        "log_softmax" (default, also for None).
    regularizer
        "UnRegularized", "Ridge", "Lasso", or a regularizer; None is Ridge.
    regularizer_strength
        Strength of the penalty: a scalar (None is 1.0), one per coefficient
        (n_features, n_classes), or a container of these structured like `X`.
    solver_name
        Name of a solver, see `spikax.solvers.list_available_solvers`; None takes the native one.
    solver_kwargs
        Arguments of the solver, such as `tol` and `maxiter`.
    feature_mask
        One where a class uses a feature, zero where not, (n_features, n_classes), or a container
        of such arrays structured like `X`.
    fit_intercept
        Whether the linear predictors have intercepts (default True).
    weight_type
        What sample weights are, "precision" (default) or "frequency": whether residual degrees of
        freedom count samples or the sum of the weights.

    Attributes
    ----------
    classes_
        The labels of the classes, sorted, (n_classes,).
    coef_
        Coefficients, (n_features, n_classes), or a container of such arrays structured like `X`.
    intercept_
        Intercepts, (n_classes,).
    scale_, edf_, dof_resid_
        One, and the residual degrees of freedom; scalars.
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
    >>> choice = X.argmax(axis=1)
    >>> model = nmo.glm.ClassifierGLM(n_classes=3, regularizer_strength=0.01).fit(X, choice)
    >>> model.coef_.shape, model.intercept_.shape
    ((3, 3), (3,))
    >>> bool(np.mean(model.predict(X) == choice) > 0.9)
    True
    """

    _single = True
