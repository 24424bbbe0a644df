"""Estimators that choose the strength of their penalty, neuron by neuron, as they are fitted."""

import warnings
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from sklearn.model_selection import KFold
from tqdm import tqdm

from spikax._assemble import lay_out
from spikax._errors import unknown_name
from spikax.fit import fit_population
from spikax.glm import PopulationGLM
from spikax.model_selection._criteria import CRITERIA
from spikax.model_selection._path import Fits, fit_path, repeat
from spikax.model_selection._regularization_path import check_penalty, in_users_units
from spikax.model_selection._strengths import check_number, descending
from spikax.problem import Problem

_SELECTIONS = ("best", "one-standard-error")


class PopulationGLMCV(PopulationGLM):
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
        neighbouring samples are alike; or a splitter of scikit-learn's, or an iterable of pairs of
        indices. For "Ridge" also what needs no folds: "gcv" (generalized cross-validation), "loo"
        (approximate leave-one-out) or "evidence" (Laplace's approximation).
    selection
        "best" (default), or "one-standard-error": the strongest whose score is within one standard
        error of the best one, which needs folds.
    solver_name, solver_kwargs, feature_mask, fit_intercept
        As in `PopulationGLM`.
    verbose
        Whether to show progress (default False).

    Attributes
    ----------
    strengths_
        The strengths, descending, (n_strengths, n_neurons).
    scores_
        Mean score of the samples held out, (n_strengths, n_folds, n_neurons): the log-likelihood
        above that of the saturated model, at unit scale, in nats per sample. Without folds what
        the criterion foretells of it, or the evidence in nats, (n_strengths, n_neurons).
    strength_
        The strength chosen for each neuron, (n_neurons,).
    coef_path_, intercept_path_
        Coefficients and intercepts of fits to all samples, with an axis of strengths before those
        of `coef_` and `intercept_`.
    silent_
        Neurons that have nothing to learn from in a fold's training samples (silent, or always
        on), (n_folds, n_neurons). They are scored all the same, and a warning names them.
    coef_, intercept_, scale_, dof_resid_, solver_state_, n_iter_
        Of the fit to all samples at the chosen strengths, as in `PopulationGLM`.

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
        )
        self.strengths = strengths
        self.n_strengths = n_strengths
        self.cv = cv
        self.selection = selection
        self.verbose = verbose

    def _solve(self, data, parts, solver, init_params):
        check_penalty(parts.regularizer)
        criterion = _criterion(self.cv, self.selection, parts.regularizer)
        n_strengths = check_number(self.n_strengths)
        problem, units = self._problem(data, parts)
        folds = [] if criterion else _folds(self.cv, data)
        factors = descending(self.strengths, n_strengths, problem, self._single)
        theta = None
        if init_params is not None:
            theta = np.asarray(self._theta(init_params, "init_params", data, units))
            theta = np.tile(theta * problem.mask, len(folds) + 1)

        everything, scored = _with_folds(problem, data, folds)
        in_folds = np.tile(factors, len(folds) + 1).astype(problem.y.dtype)
        fits = self._walk(everything, solver, in_folds, scored, theta, criterion)
        n = problem.n_neurons
        scores = np.asarray(fits.score).reshape(len(factors), len(folds) + 1, n)
        scores = scores[:, 0] if criterion else scores[:, :-1]
        chosen = _choose(scores, self.selection)

        path = np.asarray(fits.theta)[..., -n:]
        self.coef_path_, self.intercept_path_ = in_users_units(path, units, data, self._outputs(n))
        best = np.take_along_axis(factors, chosen[None], axis=0)
        start = np.take_along_axis(path, chosen[None, None], axis=0)[0]
        self.silent_ = _without_contrast(problem, data, folds)
        self.strengths_, self.scores_, self.strength_ = factors, scores, best[0]
        _warn_about_folds(self.silent_, scores)
        if self._single:
            self.strengths_, self.scores_ = factors[:, 0], scores[..., 0]
            self.strength_, self.silent_ = best[0, 0], self.silent_[:, 0]
        final = replace(problem, penalty=problem.penalty.scaled(best.astype(problem.y.dtype)))
        found = jax.device_get(fit_population(final, solver, start))
        return final, units, replace(found, coarse=found.coarse | np.any(fits.coarse))

    def _walk(self, problem: Problem, solver, factors, scored, theta, criterion) -> Fits:
        """Go along the path, in pieces that show progress if that is wanted."""
        size = -(-len(factors) // 10) if self.verbose else len(factors)
        # The last piece repeats its last strength, so that all have one shape.
        padded = np.concatenate([factors, np.repeat(factors[-1:], -len(factors) % size, axis=0)])
        pieces = []
        for first in tqdm(
            range(0, len(padded), size), "strengths", disable=not self.verbose, leave=False
        ):
            piece = padded[first : first + size]
            pieces.append(
                jax.device_get(fit_path(problem, solver, piece, scored, theta, criterion))
            )
            theta = pieces[-1].theta[-1]
        return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(factors)], *pieces)


class GLMCV(PopulationGLMCV):
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


def _criterion(cv: Any, selection: str, regularizer: Any) -> str | None:
    """Check what the strengths are judged by; None is folds."""
    if selection not in _SELECTIONS:
        raise unknown_name("selection", selection, _SELECTIONS)
    if not isinstance(cv, str):
        return None
    if cv not in CRITERIA:
        raise unknown_name("cv", cv, CRITERIA)
    if type(regularizer).__name__ != "Ridge":
        raise ValueError(
            f"cv={cv!r} needs the penalty 'Ridge', got {type(regularizer).__name__}. Use folds, "
            "such as cv=5."
        )
    if selection != "best":
        raise ValueError(
            f"selection={selection!r} needs folds, and cv={cv!r} has none. Use cv=5, or "
            "selection='best'."
        )
    return cv


def _folds(cv: Any, data) -> list[tuple[np.ndarray, ...]]:
    """Masks of the training and of the held-out samples of each fold, both (n_samples,)."""
    n_samples = len(data.X)
    splitter: Any = cv
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        if not 2 <= cv <= n_samples:
            raise ValueError(
                f"cv must be at least 2 folds and at most the {n_samples} samples, got {cv}."
            )
        splitter = KFold(int(cv))
    if hasattr(splitter, "split"):
        splitter = splitter.split(np.zeros((n_samples, 1)), data.y)
    try:
        pairs = [(np.asarray(train), np.asarray(test)) for train, test in splitter]
    except TypeError as error:
        raise TypeError(
            "cv must be a number of folds, a splitter of scikit-learn's, pairs of indices, or one "
            f"of {', '.join(map(repr, CRITERIA))}; got {cv!r}."
        ) from error
    if not pairs:
        raise ValueError("cv has no folds.")
    masks = []
    for pair in pairs:
        masks.append(tuple(np.zeros(n_samples, bool) for _ in pair))
        for mask, index in zip(masks[-1], pair, strict=True):
            mask[index] = True
        if not all((mask[:, None] & (data.weight > 0)).any() for mask in masks[-1]):
            raise ValueError(
                f"Fold {len(masks) - 1} of cv has no sample that counts to train on or to score: "
                "all have NaN or weigh zero. Use fewer folds."
            )
    return masks


def _with_folds(problem: Problem, data, folds) -> tuple[Problem, np.ndarray | None]:
    """Repeat the population for each fold and, last, for all samples; weigh what is scored."""
    if not folds:
        return problem, None
    n, grid = problem.n_neurons, (problem.y.shape[0], problem.y.shape[2])
    weight = np.broadcast_to(data.weight, data.y.shape)
    nothing = np.zeros(len(weight), bool)

    def weights(masks):
        every = np.stack(masks, axis=1)

        def rows(piece):
            masked = every[piece, :, None] * weight[piece, None]
            return masked.reshape(len(masked), -1)

        return lay_out(rows, (len(weight), every.shape[1] * n), grid, problem.y.dtype)

    train = weights([train for train, _ in folds] + [~nothing])
    return repeat(problem, len(folds) + 1, train), weights([test for _, test in folds] + [nothing])


def _choose(scores: np.ndarray, selection: str) -> np.ndarray:
    """Index of the strength chosen for each neuron, (n_neurons,)."""
    scores = np.where(np.isfinite(scores), scores, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a mean of nothing
        mean = np.nanmean(scores, axis=1) if scores.ndim == 3 else scores
        highest = np.where(np.isnan(mean), -np.inf, mean)
        best = np.argmax(highest, axis=0)
        if selection == "best":
            return best
        n_folds = np.sum(~np.isnan(scores), axis=1)
        error = np.nanstd(scores, axis=1, ddof=1) / np.sqrt(np.maximum(n_folds, 1))
    at_best = best[None]
    least = np.take_along_axis(highest, at_best, 0) - np.take_along_axis(error, at_best, 0)
    return np.argmax(highest >= np.where(np.isfinite(least), least, np.inf), axis=0)


def _without_contrast(problem: Problem, data, folds) -> np.ndarray:
    """Tell neurons whose training observations are all at a bound, (n_folds, n_neurons)."""
    low, high = problem.family.mean_bounds
    counts = data.weight > 0
    at_low, at_high = data.y <= low, data.y >= high
    silent = np.zeros((len(folds), problem.n_neurons), bool)
    for fold, (train, _) in enumerate(folds):
        ignored = ~(counts & train[:, None])
        silent[fold] = (at_low | ignored).all(axis=0) | (at_high | ignored).all(axis=0)
    return silent


def _warn_about_folds(silent: np.ndarray, scores: np.ndarray) -> None:
    found = []
    if silent.any():
        neurons = np.flatnonzero(silent.any(axis=0))
        found.append(
            f"neurons {', '.join(map(str, neurons))} are silent, or always on, in the training "
            f"samples of some folds ({np.sum(silent)} in all), which were scored all the same: "
            "use fewer folds, or folds that mix times"
        )
    failed = ~np.isfinite(scores.reshape(-1, scores.shape[-1])).any(axis=0)
    if failed.any():
        found.append(
            f"neurons {', '.join(map(str, np.flatnonzero(failed)))} have no finite score at any "
            "strength and got the strongest: look for huge values in X and y"
        )
    if found:
        warnings.warn(
            f"The choice of strengths needs a look: {'; '.join(found)}.",
            RuntimeWarning,
            stacklevel=5,
        )
