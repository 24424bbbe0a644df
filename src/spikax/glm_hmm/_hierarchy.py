"""One GLM-HMM for each animal, with parameters around what the animals have in common."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from spikax._threads import one_blas_thread
from spikax.core.penalties import NO_PENALTY
from spikax.hmm._emission import Emission, NormalPrior
from spikax.hmm._information import spread
from spikax.hmm._search import Found, Parameters, Problem, search
from spikax.hmm._shell import Fit, StatesShell, check_model
from spikax.hmm._spec import Prepared, StatesSpec
from spikax.hmm._starts import constant_of
from spikax.hmm._transitions import FLOOR

_LEAST_DEVIATION = 1e-3  # of standardised parameters
_SETTLED = 2e-2  # change of the logarithm of a deviation


@dataclass(frozen=True)
class Hierarchy:
    """Models of several groups, such as animals, and what their parameters scatter about.

    Parameters
    ----------
    groups
        Labels of the groups, (n_groups,).
    models
        The model of each group; states have the same numbers in all.
    common
        The model with the mean parameters: what to expect of another group.
    coef_deviation, intercept_deviation
        Standard deviations of the groups' parameters about these, shaped as `coef_` and
        `intercept_`. That of an intercept is at the mean of the features.
    n_iterations
        How often means and deviations were estimated anew.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> model = nmo.glm_hmm.GLMHMM(2)
    >>> nmo.glm_hmm.Hierarchy(np.array(["a"]), [model], model, 0.1, 0.2, 3).groups
    array(['a'], dtype='<U1')
    """

    groups: np.ndarray
    models: list[StatesShell]
    common: StatesShell
    coef_deviation: Any
    intercept_deviation: np.ndarray
    n_iterations: int


def fit_hierarchy(
    model: StatesShell,
    X: Any,
    y: Any,
    groups: Any,
    session_starts: Any = None,
    sample_weight: Any = None,
    offset: Any = None,
    max_iterations: int = 50,
    verbose: bool = False,
) -> Hierarchy:
    r"""Fit a GLM-HMM to each group of sessions, its parameters drawn from a common normal prior.

    Parameters
    ----------
    model
        A GLM-HMM, or an `HMM`, of which X is None, that says number of states, observations and
        priors of transitions; its penalty is used for the common start alone. It is not changed.
    X, y, session_starts, sample_weight, offset
        Samples of all groups, as `fit` takes them.
    groups
        The group of each session, (n_sessions,), such as the name of the animal.
    max_iterations
        How often means and deviations are estimated anew at most (default 50).
    verbose
        Whether to show progress (default not).

    Returns
    -------
    Hierarchy
        The models of the groups, and the prior that they share.

    Raises
    ------
    ValueError
        If there are not as many groups as sessions, or fewer than two different ones.

    Warns
    -----
    RuntimeWarning
        If means and deviations have not settled.

    Notes
    -----
    Empirical Bayes: the parameters of group g are :math:`\theta_g \sim N(\mu, \mathrm{diag}(s^2))`
    of standardised features, and :math:`\mu, s` maximise what is left when these are summed out,
    by EM with a normal approximation of each group's posterior (Laplace), of covariance
    :math:`\Sigma_g`:

    .. math:: \mu = \frac{1}{G} \sum_g \hat\theta_g, \qquad
              s^2 = \frac{1}{G} \sum_g (\hat\theta_g - \mu)^2 + \mathrm{diag}(\Sigma_g)

    (Dempster, Rubin & Tsutakawa 1981, J. Am. Stat. Assoc. 76, 341). Groups with few samples are
    drawn to the mean, groups with many keep their own. Transitions and scales are a group's own.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X, state = rng.normal(size=(1200, 1)), np.arange(1200) // 50 % 2
    >>> choice = (rng.uniform(size=1200) < 1 / (1 + np.exp(-3 * X[:, 0] * (2 * state - 1)))) * 1
    >>> found = nmo.glm_hmm.fit_hierarchy(
    ...     nmo.glm_hmm.GLMHMM(2, n_restarts=3), X, choice, ["a", "b"], [0, 600]
    ... )
    >>> found.models[0].coef_.shape, found.coef_deviation.shape
    ((1, 2), (1, 2))
    """
    check_model(model, "fit_hierarchy")
    if not isinstance(max_iterations, int) or max_iterations < 1:
        raise ValueError(f"max_iterations must be a whole number from 1 on, got {max_iterations}.")
    X, y = model._with_features(X, y)
    spec = model.resolve()
    data = model._check(spec, X, y, sample_weight, offset, afresh=True)
    sessions = model._sessions(data, y, session_starts)
    labels, index = _groups(groups, sessions.n_sessions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        pooled = copy.deepcopy(model)
        start = pooled._searches(X, y, None, session_starts, None, sample_weight, offset, None)
    with jax.enable_x64(True), one_blas_thread():
        weights = np.equal.outer(np.arange(len(labels)), index).astype(float)
        problems = [_of_group(spec, start.prepared, sessions, weight) for weight in weights]
        limits = jnp.asarray(float(model.tol)), jnp.asarray(int(model.maxiter))
        found = _empirical_bayes(problems, start, limits, max_iterations, verbose)
    if not found.settled:
        warnings.warn(
            f"Means and deviations of the groups have not settled after {max_iterations} "
            "iterations: raise max_iterations, or fit more groups.",
            RuntimeWarning,
            stacklevel=2,
        )
    models = [
        _model(model, X, y, start, problem, each)
        for problem, each in zip(problems, found.groups, strict=True)
    ]
    of_common = found.groups[0]._replace(params=_common(found))
    common = _model(model, X, y, start, start.prepared.problem, of_common)
    for name in ("log_posterior_", "log_likelihood_"):
        setattr(common, name, float("nan"))
    emission = problems[0].emission
    deviation = found.deviation * np.sqrt(_share_of_class(emission))
    deviations = _deviations(spec, start.prepared, deviation)
    return Hierarchy(labels, models, common, *deviations, found.n_iterations)


class _Bayes(NamedTuple):
    """Groups and the prior that they share."""

    groups: list[Found]
    mean: np.ndarray  # of standardised parameters
    deviation: np.ndarray
    n_iterations: int
    settled: bool


def _empirical_bayes(
    problems: list[Problem], start: Fit, limits: tuple, max_iterations: int, verbose: bool
) -> _Bayes:
    """Alternate between the groups' posteriors and the prior."""
    emission = problems[0].emission
    mask = np.asarray(emission.mask)
    pooled = start.best.params
    mean, deviation = emission.project(np.asarray(pooled.emission.theta)), np.ones(mask.shape)
    emitted = pooled.emission._replace(theta=jnp.asarray(mean))
    params: list[Any] = [pooled._replace(emission=emitted)] * len(problems)
    found, change, n_iterations = [], np.inf, 0
    progress = tqdm(total=max_iterations, desc="prior", disable=not verbose, leave=False)
    while change >= _SETTLED and n_iterations < max_iterations:
        prior = NormalPrior(jnp.asarray(mean), jnp.asarray(deviation**-2 * mask))
        own = [_with_prior(problem, prior) for problem in problems]
        pairs = zip(own, params, strict=True)
        found = [jax.device_get(search(problem, at, *limits)) for problem, at in pairs]
        params = [each.params for each in found]
        theta = np.stack([np.asarray(each.emission.theta) for each in params])
        variance = np.stack([_variance(*pair) for pair in zip(own, params, strict=True)])
        mean = theta.mean(axis=0)
        squares = np.mean((theta - mean[None]) ** 2 + variance, axis=0)
        squares = _exchangeable(emission, squares)
        renewed = np.maximum(np.sqrt(squares), _LEAST_DEVIATION)
        change = np.abs(np.log(renewed / deviation))[mask > 0].max()
        deviation, n_iterations = renewed, n_iterations + 1
        progress.update()
    progress.close()
    return _Bayes(found, mean, deviation * mask, n_iterations, change < _SETTLED)


def _common(found: _Bayes) -> Parameters:
    """Give the parameters that the groups have in common: transitions and scales are means."""
    first = found.groups[0].params
    logits = [np.asarray(each.params.transitions.logits) for each in found.groups]
    rows = np.maximum(np.mean(np.exp(logits), axis=0), FLOOR)
    excess = [np.exp(np.asarray(each.params.emission.log_excess)) for each in found.groups]
    return Parameters(
        first.emission._replace(theta=found.mean, log_excess=np.log(np.mean(excess, axis=0))),
        first.transitions._replace(logits=np.log(rows)),
    )


def _groups(groups: Any, n_sessions: int) -> tuple[np.ndarray, np.ndarray]:
    array = np.asarray(groups)
    if array.shape != (n_sessions,):
        raise ValueError(
            f"groups must have the group of each of the {n_sessions} sessions, got shape "
            f"{array.shape}."
        )
    labels, index = np.unique(array, return_inverse=True)
    if len(labels) < 2:
        raise ValueError(f"groups has one group, {labels[0].item()!r}: at least two are needed.")
    return labels, index


def _of_group(spec: StatesSpec, of: Prepared, sessions: Any, weight: np.ndarray) -> Problem:
    """Restrict a problem to the sessions of a group, which alone have a weight; no penalty."""
    emission = of.problem.emission
    chain = spec.chain(sessions, weight, emission.samples.n_samples)
    objective = replace(emission.objective, penalty=NO_PENALTY)
    if objective.sum_to_zero is not None:  # of all classes that are free, whatever the penalty was
        objective = replace(objective, sum_to_zero=jnp.ones_like(objective.sum_to_zero))
    constant = constant_of(emission, chain.joined(chain.weight)[: emission.samples.n_samples])
    emission = replace(emission, objective=objective)
    return replace(of.problem, chain=chain, emission=emission, constant=constant)


def _with_prior(problem: Problem, prior: NormalPrior) -> Problem:
    return replace(problem, emission=replace(problem.emission, prior=prior))


def _exchangeable(emission: Emission, squares: np.ndarray) -> np.ndarray:
    """Give the classes, whose parameters sum to zero, the same deviation.

    Such parameters scatter in one direction less than there are classes.
    """
    rows = emission.sums_to_zero
    if rows is None:
        return squares
    by_class = squares.reshape(*rows.shape[:2], -1, rows.shape[2])
    alike = by_class.sum(axis=2, keepdims=True) / (by_class.shape[2] - 1)
    return np.where(rows[:, :, None], alike, by_class).reshape(squares.shape)


def _share_of_class(emission: Emission) -> np.ndarray:
    """Give what part of a deviation's square is left where parameters sum to zero."""
    rows, n_classes = emission.sums_to_zero, emission.objective.n_predictors
    if rows is None:
        return np.ones(1)
    shares = np.where(rows, (n_classes - 1) / n_classes, 1)
    return np.repeat(shares, n_classes, axis=1)


def _variance(problem: Problem, params: Parameters) -> np.ndarray:
    """Posterior variances of the parameters of a group."""
    moves, _ = spread(problem, params)
    return np.sum([np.asarray(move.emission.theta) ** 2 for move in moves], axis=0)


def _model(model: StatesShell, X: Any, y: Any, start: Fit, problem: Problem, found: Found) -> Any:
    fitted = copy.deepcopy(model)
    fitted._learn(X, y, Fit(start.prepared._replace(problem=problem), found, start.restarts))
    return fitted


def _deviations(spec: StatesSpec, of: Prepared, deviation: np.ndarray) -> tuple[Any, np.ndarray]:
    """Bring deviations to the user's units; intercepts stay where features are at their mean."""
    scaling = replace(of.standardisation, center=np.zeros_like(of.standardisation.center))
    return spec.unpack(deviation, of._replace(standardisation=scaling))
