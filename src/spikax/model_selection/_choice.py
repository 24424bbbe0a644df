"""The choice of a strength for each neuron, and the fit at what was chosen."""

import warnings
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from spikax._errors import unknown_name
from spikax._inputs import Data
from spikax._model import ModelSpec
from spikax.core.penalties import Penalty
from spikax.fit import fit_population
from spikax.glm._shell import Solved
from spikax.model_selection._criteria import CRITERIA, foretell
from spikax.model_selection._folds import Fold, read_folds, with_folds
from spikax.model_selection._path import Fits, fit_path
from spikax.model_selection._regularization_path import check_penalty, in_users_units
from spikax.model_selection._strengths import check_number, descending
from spikax.solvers import Solver

SELECTIONS = ("best", "one-standard-error")


class Choice(NamedTuple):
    """What strengths were judged by, and which were chosen."""

    strengths: np.ndarray  # descending, (n_strengths, n_neurons)
    scores: np.ndarray  # (n_strengths, n_folds, n_neurons), or (n_strengths, n_neurons)
    strength: np.ndarray  # chosen, (n_neurons,)
    coef: Any  # of fits to all samples, in the user's containers, (n_strengths, ...)
    intercept: np.ndarray


class Judge(NamedTuple):
    """What tells which strength is best: folds, or the name of a criterion."""

    criterion: str | None
    folds: list[Fold]


@dataclass(frozen=True)
class Search:
    """How strengths are sought, as `PopulationGLMCV` tells it."""

    strengths: Any
    n_strengths: Any
    cv: Any
    selection: Any
    verbose: bool


def judged_by(search: Search, spec: ModelSpec, data: Data, y: Any, arguments: dict) -> Judge:
    """Check how strengths are sought, and read the folds; a splitter is given the arguments."""
    _, penalty = spec.penalty(data)
    check_penalty(penalty)
    check_number(search.n_strengths)
    if search.selection not in SELECTIONS:
        raise unknown_name("selection", search.selection, SELECTIONS)
    if isinstance(search.cv, str):
        if arguments:
            raise ValueError(f"groups are for folds, and cv={search.cv!r} has none.")
        _check_criterion(search.cv, search.selection, penalty, spec.regularizer)
        return Judge(search.cv, [])
    return Judge(None, read_folds(search.cv, data, y, spec.single, arguments))


def choose(
    search: Search, spec: ModelSpec, data: Data, solver: Solver, init_params: Any, judge: Judge
) -> Solved:
    """Choose a strength for each neuron, and fit all samples at these."""
    criterion, folds = judge
    problem = spec.assemble(data)
    objective, dtype = problem.objective, problem.samples.y.dtype
    factors = descending(search.strengths, search.n_strengths, problem, spec.single)
    theta = spec.start(init_params, data, problem)
    if theta is not None:
        theta = np.tile(np.asarray(theta), len(folds) + 1)

    everything, scored = with_folds(problem, data, folds)
    in_folds = np.tile(factors, len(folds) + 1).astype(dtype)
    fits = _follow(everything, solver, in_folds, scored, theta, search.verbose)
    n = objective.n_neurons
    if criterion is None:
        scores = np.asarray(fits.score).reshape(len(factors), len(folds) + 1, n)[:, :-1]
    else:
        frequency = data.weight_type == "frequency"
        found = fits.theta, in_folds, fits.scale
        scores = foretell(criterion, objective, problem.samples, *found, frequency)
    chosen = _best(scores, search.selection)

    path = np.asarray(fits.theta)[..., -n:]
    coef, intercept = in_users_units(path, problem.standardisation, data, spec)
    best = np.take_along_axis(factors, chosen[None], axis=0)
    start = np.take_along_axis(path, chosen[None, None], axis=0)[0]
    penalty = objective.penalty.scaled(best.astype(dtype))
    problem = problem._replace(objective=replace(objective, penalty=penalty))
    result = jax.device_get(fit_population(*problem[:3], solver, start))
    result = replace(result, coarse=result.coarse | np.any(fits.coarse))
    return Solved(problem, result, Choice(factors, scores, best[0], coef, intercept))


def _follow(everything: tuple, solver, factors, scored, theta, verbose: bool) -> Fits:
    """Go along the path, in pieces that show progress if that is wanted."""
    size = -(-len(factors) // 10) if verbose else len(factors)
    # The last piece repeats its last strength, so that all have one shape.
    padded = np.concatenate([factors, np.repeat(factors[-1:], -len(factors) % size, axis=0)])
    pieces = []
    for first in tqdm(range(0, len(padded), size), "strengths", disable=not verbose, leave=False):
        piece = padded[first : first + size]
        pieces.append(jax.device_get(fit_path(*everything, solver, piece, scored, theta)))
        theta = pieces[-1].theta[-1]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(factors)], *pieces)


def _check_criterion(cv: str, selection: str, penalty: Penalty, regularizer: Any) -> None:
    if cv not in CRITERIA:
        raise unknown_name("cv", cv, CRITERIA)
    if not penalty.smooth or penalty.curvature is None:
        raise ValueError(
            f"cv={cv!r} needs the penalty 'Ridge', got {type(regularizer).__name__}. Use folds, "
            "such as cv=5."
        )
    if selection != "best":
        raise ValueError(
            f"selection={selection!r} needs folds, and cv={cv!r} has none. Use cv=5, or "
            "selection='best'."
        )


def _best(scores: np.ndarray, selection: str) -> np.ndarray:
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


def warn_about_choice(silent: np.ndarray, scores: np.ndarray, n_classes: int | None) -> None:
    """Warn once about folds that teach some neurons nothing, and scores that are not finite."""
    found = []
    if silent.any():
        neurons = np.flatnonzero(silent.any(axis=0))
        lack = "are silent, or always on," if n_classes is None else "lack a class"
        found.append(
            f"neurons {', '.join(map(str, neurons))} {lack} in the training "
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
            stacklevel=3,
        )
