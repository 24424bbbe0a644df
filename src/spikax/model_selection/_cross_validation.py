"""Estimators that choose the strength of their penalty, neuron by neuron, as they are fitted."""

import warnings
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from sklearn import get_config
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    process_routing,
)

from spikax._missing import IgnoredSamples
from spikax._model import ModelSpec
from spikax.glm._classifiers import ClassifierShell
from spikax.glm._report import warn_about_neurons
from spikax.glm._shell import Shell, with_enough_digits
from spikax.model_selection._choice import Search, choose, judged_by, warn_about_choice
from spikax.model_selection._folds import without_contrast


class Choosing(Shell):
    """What all estimators that choose strengths do, classifiers too."""

    strengths: Any
    n_strengths: Any
    cv: Any
    selection: Any
    verbose: Any

    # They are the splitter's to ask for, not the fit's.
    __metadata_request__fit: ClassVar = {"groups": UNUSED}

    def fit(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, X, y, init_params=None, sample_weight=None, offset=None, groups=None
    ):
        """Choose a strength for every neuron, and fit at the strengths chosen.

        Parameters
        ----------
        X, y
            Features and observations, as in `PopulationGLM.fit`; labels for classifiers.
        init_params
            Where the fit at the first strength starts, (coef, intercept) shaped as `coef_` and
            `intercept_`; the model without features if None.
        sample_weight, offset
            As in `PopulationGLM.fit`; each fold has those of its samples.
        groups
            Groups of the samples, (n_samples,), for a splitter that takes them, such as
            `GroupKFold`; with scikit-learn's metadata routing, for one that asks for them.

        Returns
        -------
        self
            The fitted model.

        Raises
        ------
        ValueError
            If shapes, lengths, names, values or strengths are wrong, a fold or all of them lack
            samples that count, or there are groups and nothing that takes them.
        TypeError
            If a container has the wrong structure or type, or `cv` is none of what it may be.

        Warns
        -----
        RuntimeWarning
            Naming the neurons that have nothing to learn from in a fold, or no finite score, and
            those that `PopulationGLM.fit` warns about.
        """
        spec = self.resolve().without_choice()
        solver = spec.solver()
        data = spec.check(X, y, sample_weight, offset, afresh=True)
        search = Search(self.strengths, self.n_strengths, self.cv, self.selection, self.verbose)
        judge = judged_by(search, spec, data, y, self._for_splitter(groups))
        solve = partial(choose, search, spec, data, solver, init_params, judge)
        found = with_enough_digits(solver, solve)

        warning = self._learn(X, y, data, spec, found)
        strengths, scores, strength, self.coef_path_, self.intercept_path_ = found.choice
        silent = without_contrast(spec.observation_model, data, judge.folds)
        warn_about_choice(silent, scores, spec.n_classes)
        warn_about_neurons(*warning)
        if self._single:
            strengths, scores, strength = strengths[:, 0], scores[..., 0], strength[0]
            silent = silent[:, 0]
        self.strengths_, self.scores_, self.strength_, self.silent_ = (
            strengths,
            scores,
            strength,
            silent,
        )
        return self

    def get_metadata_routing(self):
        """Tell scikit-learn where metadata go: groups to the splitter that `cv` may be.

        Returns
        -------
        MetadataRouter
            The routes.
        """
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        to_split = MethodMapping().add(caller="fit", callee="split")
        return router.add(splitter=self.cv, method_mapping=to_split)

    def _for_splitter(self, groups: Any) -> dict[str, Any]:
        """Route groups to the splitter that `cv` may be."""
        arguments = {} if groups is None else {"groups": groups}
        if arguments and get_config()["enable_metadata_routing"] and not isinstance(self.cv, str):
            arguments = process_routing(self, "fit", **arguments).splitter.split
        return arguments

    def resolve(self) -> ModelSpec:
        """Find what the names in the constructor's arguments stand for, and what a fit chose.

        Returns
        -------
        ModelSpec
            As `PopulationGLM.resolve` gives it.

        Raises
        ------
        ValueError
            If a name is unknown.
        TypeError
            If an argument is of the wrong type.
        """
        return replace(super().resolve(), factor=vars(self).get("strength_"))

    def _going_on(self, X, y, sample_weight, offset) -> ModelSpec:
        spec = super()._going_on(X, y, sample_weight, offset)
        if spec.factor is not None:
            return spec
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IgnoredSamples)  # the batch is checked again
            self.fit(X, y, sample_weight=sample_weight, offset=offset)
        return self.resolve()


class CVShell(Choosing):
    """A regression that chooses strengths."""

    def __init__(
        self,
        observation_model="Poisson",
        inverse_link_function=None,
        regularizer="Ridge",
        regularizer_strength=None,
        strengths=None,
        n_strengths=20,
        cv=5,
        selection="best",
        solver_name=None,
        solver_kwargs=None,
        feature_mask=None,
        fit_intercept=True,
        verbose=False,
        weight_type="precision",
    ):
        super().__init__(
            observation_model,
            inverse_link_function,
            regularizer,
            regularizer_strength,
            solver_name,
            solver_kwargs,
            feature_mask,
            fit_intercept,
            weight_type,
        )
        self.strengths = strengths
        self.n_strengths = n_strengths
        self.cv = cv
        self.selection = selection
        self.verbose = verbose


class PopulationGLMCV(CVShell):
    r"""A population of GLMs, each neuron with the strength of the penalty that predicts it best.

    All strengths, folds and neurons are fitted in one program: the folds are further neurons that
    share the design matrix, and each strength starts from where the stronger one ended.

    Parameters
    ----------
    observation_model, inverse_link_function
        As in `PopulationGLM`.
    regularizer
        "Ridge" (default), "Lasso", "ElasticNet", "GroupLasso", or a regularizer.
    regularizer_strength
        What the strengths multiply (default 1), as in `PopulationGLM`: a profile over the
        coefficients, or `(1.0, ratio)` for "ElasticNet".
    strengths
        Strengths to choose from, (n_strengths,) or (n_strengths, n_neurons); None (default)
        spreads `n_strengths` of them over the range that matters, neuron by neuron.
    n_strengths
        How many, where `strengths` is None (default 20).
    cv
        How the strengths are judged. A number of folds (default 5): stretches of time, since
        neighbouring samples are alike; or a splitter of scikit-learn's or of this module, or an
        iterable of pairs of indices, which count a sample as often as they name it. For "Ridge"
        also what needs no folds: "gcv" (generalized cross-validation), "loo" (approximate
        leave-one-out) or "evidence" (Laplace's approximation, with the scale of the observation
        model at its likeliest).
    selection
        "best" (default), or "one-standard-error": the strongest whose score is within one standard
        error of the best one, which needs folds.
    solver_name, solver_kwargs, feature_mask, fit_intercept
        As in `PopulationGLM`.
    verbose
        Whether to show progress (default False).
    weight_type
        What sample weights are, "precision" (default) or "frequency". Criteria count observations
        by it; "loo" leaves out one occurrence of a sample that has a frequency.

    Attributes
    ----------
    strengths_
        The strengths, descending, (n_strengths, n_neurons).
    scores_
        Mean score of the samples held out, (n_strengths, n_folds, n_neurons): the log-likelihood
        above that of the saturated model, at unit scale, in nats per sample. Where a negative
        binomial estimates its dispersion, the log-likelihood is that of the dispersion found in
        the training samples, and the saturated model is Poisson's. Without folds what the
        criterion foretells of it, or the logarithm of the evidence above the same saturated
        model's log-likelihood, in nats, (n_strengths, n_neurons).
    strength_
        The strength chosen for each neuron, (n_neurons,).
    coef_path_, intercept_path_
        Coefficients and intercepts of fits to all samples, with an axis of strengths before those
        of `coef_` and `intercept_`.
    silent_
        Neurons that have nothing to learn from in a fold's training samples (silent, or always
        on), (n_folds, n_neurons). They are scored all the same, and a warning names them.
    coef_, intercept_, scale_, edf_, dof_resid_, solver_state_, n_iter_
        Of the fit to all samples at the chosen strengths, as in `PopulationGLM`.

    Notes
    -----
    `partial_fit`, `update` and inference take the strengths that `fit` chose. Where there was no
    `fit`, the first batch chooses them.

    References
    ----------
    Hastie, Tibshirani & Friedman (2009), The Elements of Statistical Learning, section 7.10.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 6))
    >>> y = rng.poisson(np.exp(0.4 * X[:, :2] - 1))
    >>> model = nmo.model_selection.PopulationGLMCV(regularizer="Lasso").fit(X, y)
    >>> model.strength_.shape, model.scores_.shape
    ((2,), (20, 5, 2))
    """

    _single = False


class GLMCV(CVShell):
    r"""A GLM of one neuron with the strength of the penalty that predicts it best.

    Parameters, methods and attributes are those of `PopulationGLMCV` without the axis of neurons.

    Parameters
    ----------
    observation_model, inverse_link_function
        As in `GLM`.
    regularizer
        "Ridge" (default), "Lasso", "ElasticNet", "GroupLasso", or a regularizer.
    regularizer_strength
        What the strengths multiply (default 1), as in `GLM`.
    strengths, n_strengths
        Strengths to choose from, (n_strengths,), or how many to spread over the range that matters
        (default 20).
    cv, selection
        How the strengths are judged and chosen, as in `PopulationGLMCV`.
    solver_name, solver_kwargs, feature_mask, fit_intercept
        As in `GLM`.
    verbose
        Whether to show progress (default False).
    weight_type
        What sample weights are, "precision" (default) or "frequency".

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 6))
    >>> y = rng.poisson(np.exp(0.4 * X[:, 0] - 1))
    >>> model = nmo.model_selection.GLMCV(cv="gcv").fit(X, y)
    >>> model.coef_.shape, model.scores_.shape
    ((6,), (20,))
    """

    _single = True


class ClassifierCVShell(Choosing, ClassifierShell):
    """A classifier that chooses strengths."""

    def __init__(
        self,
        n_classes=2,
        inverse_link_function=None,
        regularizer="Ridge",
        regularizer_strength=None,
        strengths=None,
        n_strengths=20,
        cv=5,
        selection="best",
        solver_name=None,
        solver_kwargs=None,
        feature_mask=None,
        fit_intercept=True,
        verbose=False,
        weight_type="precision",
    ):
        super().__init__(
            n_classes,
            inverse_link_function,
            regularizer,
            regularizer_strength,
            solver_name,
            solver_kwargs,
            feature_mask,
            fit_intercept,
            weight_type,
        )
        self.strengths = strengths
        self.n_strengths = n_strengths
        self.cv = cv
        self.selection = selection
        self.verbose = verbose


class ClassifierPopulationGLMCV(ClassifierCVShell):
    r"""Classifiers, each with the strength of the penalty that predicts it best.

    What `PopulationGLMCV` is to `PopulationGLM`.

    Parameters
    ----------
    n_classes
        Number of classes (default 2). The labels of `y` are the classes, in their order.
    inverse_link_function
        "log_softmax" (default, also for None).
    regularizer
        "Ridge" (default, also for None), "Lasso", or a regularizer.
    regularizer_strength
        What the strengths multiply (default 1), as in `ClassifierPopulationGLM`.
    strengths, n_strengths
        Strengths to choose from, (n_strengths,) or (n_strengths, n_neurons), or how many to spread
        over the range that matters (default 20).
    cv, selection
        How the strengths are judged and chosen, as in `PopulationGLMCV`: the score is the mean
        log-probability of the labels held out. A number of folds (default 5) makes stretches of
        time, in which a rare class may be missing; `StratifiedKFold` mixes times.
    solver_name, solver_kwargs, feature_mask, fit_intercept
        As in `ClassifierPopulationGLM`.
    verbose
        Whether to show progress (default False).
    weight_type
        What sample weights are, "precision" (default) or "frequency". Criteria count observations
        by it; "loo" leaves out one occurrence of a sample that has a frequency.

    Attributes
    ----------
    strengths_
        The strengths, descending, (n_strengths, n_neurons).
    scores_
        Mean log-probability of the labels held out, (n_strengths, n_folds, n_neurons). Without
        folds what the criterion foretells of it, or the logarithm of the evidence, in nats,
        (n_strengths, n_neurons).
    strength_
        The strength chosen for each neuron, (n_neurons,).
    coef_path_, intercept_path_
        Coefficients and intercepts of fits to all samples, with an axis of strengths before those
        of `coef_` and `intercept_`.
    silent_
        Neurons that lack a class in a fold's training samples, (n_folds, n_neurons). They are
        scored all the same, and a warning names them.
    classes_, coef_, intercept_, scale_, edf_, dof_resid_, solver_state_, n_iter_
        Of the fit to all samples at the chosen strengths, as in `ClassifierPopulationGLM`.

    Notes
    -----
    `partial_fit`, `update` and inference take the strengths that `fit` chose. Where there was no
    `fit`, the first batch chooses them.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 6))
    >>> choice = np.where(X[:, :2] + rng.logistic(size=(500, 2)) > 0, "right", "left")
    >>> model = nmo.model_selection.ClassifierPopulationGLMCV().fit(X, choice)
    >>> model.strength_.shape, model.scores_.shape, model.coef_.shape
    ((2,), (20, 5, 2), (6, 2, 2))
    """

    _single = False


class ClassifierGLMCV(ClassifierCVShell):
    r"""A classifier of one neuron with the strength of the penalty that predicts it best.

    Parameters, methods and attributes are those of `ClassifierPopulationGLMCV` without the axis of
    neurons.

    Parameters
    ----------
    n_classes
        Number of classes (default 2). The labels of `y` are the classes, in their order.
    inverse_link_function
        "log_softmax" (default, also for None).
    regularizer
        "Ridge" (default, also for None), "Lasso", or a regularizer.
    regularizer_strength
        What the strengths multiply (default 1), as in `ClassifierGLM`.
    strengths, n_strengths
        Strengths to choose from, (n_strengths,), or how many to spread over the range that matters
        (default 20).
    cv, selection
        How the strengths are judged and chosen, as in `ClassifierPopulationGLMCV`.
    solver_name, solver_kwargs, feature_mask, fit_intercept
        As in `ClassifierGLM`.
    verbose
        Whether to show progress (default False).
    weight_type
        What sample weights are, "precision" (default) or "frequency".

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 6))
    >>> choice = (X[:, :3] + rng.gumbel(size=(500, 3))).argmax(axis=1)
    >>> model = nmo.model_selection.ClassifierGLMCV(n_classes=3, cv="loo").fit(X, choice)
    >>> model.coef_.shape, model.scores_.shape
    ((6, 3), (20,))
    """

    _single = True
