"""How sure a fit of hidden states is: standard errors, intervals, and the bootstrap."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from sklearn.base import clone
from tqdm import tqdm

from spikax.hmm import match_states
from spikax.hmm._inferring import missing_as
from spikax.hmm._information import spread
from spikax.hmm._search import Parameters
from spikax.hmm._shell import StatesShell, check_model, session_weights
from spikax.hmm._spec import Prepared, StatesSpec

NAMES = ("coef", "intercept", "scale", "initial_prob", "transition_prob")
SLOPES = ("initial_coef", "transition_coef")


@dataclass(frozen=True)
class StatesInference:
    """Standard errors of a model with states, shaped as its attributes.

    Parameters
    ----------
    estimate
        The parameters, by the names "coef", "intercept", "scale", "initial_prob",
        "transition_prob", and of covariates "initial_coef" and "transition_coef".
    standard_error
        Their standard errors, by the same names; NaN for a probability at its bound, zero, and
        zero for what was not estimated.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> y = rng.poisson(np.repeat([1.0, 5.0, 1.0, 5.0], 100))[:, None]
    >>> model = nmo.hmm.HMM(2, n_restarts=2).fit(y)
    >>> found = nmo.inference.infer_states(model, None, y)
    >>> found.standard_error["intercept"].shape
    (1, 2)
    """

    estimate: dict[str, Any]
    standard_error: dict[str, Any]

    def interval(self, level: float = 0.95) -> dict[str, tuple[Any, Any]]:
        """Compute confidence intervals.

        Parameters
        ----------
        level
            Their coverage (default 0.95).

        Returns
        -------
        dict
            For each name a pair of arrays, the lower and the upper ends. Those of probabilities
            are normal on the logit scale, those of scales on the logarithmic one.

        Raises
        ------
        ValueError
            If the level is not between zero and one.

        Examples
        --------
        >>> import numpy as np
        >>> import spikax as nmo
        >>> y = np.random.default_rng(0).poisson(np.repeat([1.0, 5.0, 1.0, 5.0], 100))
        >>> model = nmo.hmm.HMM(2, n_restarts=2).fit(y)
        >>> low, high = nmo.inference.infer_states(model, None, y).interval()["transition_prob"]
        >>> bool((low < model.transition_prob_).all() and (high <= 1).all())
        True
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level!r}.")
        z = stats.norm.ppf(0.5 + level / 2)

        def ends(name: str, value: Any, error: Any) -> tuple[Any, Any]:
            if name == "scale":
                factor = np.exp(z * error / value)
                return value / factor, value * factor
            if not name.endswith("_prob"):
                return value - z * error, value + z * error
            with np.errstate(divide="ignore", invalid="ignore"):
                logit, width = np.log(value / (1 - value)), z * error / (value * (1 - value))
                return tuple(1 / (1 + np.exp(-(logit + s * width))) for s in (-1, 1))

        found = {}
        for name, value in self.estimate.items():
            error = self.standard_error[name]
            leaves, structure = jax.tree.flatten(value)
            pairs = [ends(name, a, b) for a, b in zip(leaves, jax.tree.leaves(error), strict=True)]
            found[name] = tuple(
                jax.tree.unflatten(structure, list(end)) for end in zip(*pairs, strict=True)
            )
        return found


def infer_states(
    model: StatesShell,
    X: Any,
    y: Any,
    session_starts: Any = None,
    X_transition: Any = None,
    sample_weight: Any = None,
    offset: Any = None,
    session_weight: Any = None,
    relative_to: Any = None,
) -> StatesInference:
    r"""Compute the standard errors of a model with states.

    Parameters
    ----------
    model
        A fitted GLM-HMM, or an `HMM`, of which X is None.
    X, y, session_starts, X_transition, sample_weight, offset, session_weight
        What it was fitted to, as `fit` takes it.
    relative_to
        Label of the class to which the parameters of the others are relative, as of a multinomial
        logit; None (default) has them sum to zero over the classes, as the model has.

    Returns
    -------
    StatesInference
        Standard errors, and intervals.

    Raises
    ------
    NotFittedError
        Before `fit`.
    ValueError
        If samples are not as in `fit`, or there is no class `relative_to`.
    TypeError
        If the model has a penalty with kinks: use `bootstrap_states`.

    Warns
    -----
    RuntimeWarning
        If the log posterior has directions in which it does not fall, so that the parameters are
        at no maximum: fit with more starts, or a smaller `tol`.

    Notes
    -----
    The covariance is the inverse of the observed information of the log posterior, the derivative
    of Fisher's score :math:`\sum_{tk} \gamma_{tk} \partial \log p(y_t | z_t = k)`, priors included
    (Louis 1982, J. R. Stat. Soc. B 44, 226; Tierney & Kadane 1986, J. Am. Stat. Assoc. 81, 82).
    Those of probabilities follow from their logits by the delta method.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X, state = rng.normal(size=(2000, 1)), np.arange(2000) // 200 % 2
    >>> p = 1 / (1 + np.exp(-3 * X[:, 0] * np.where(state, 1, -1)))
    >>> choice = (rng.uniform(size=2000) < p).astype(int)
    >>> model = nmo.glm_hmm.GLMHMM(2, n_restarts=4).fit(X, choice)
    >>> found = nmo.inference.infer_states(model, X, choice)
    >>> bool(np.all(found.standard_error["coef"] < 0.3))
    True
    """
    check_model(model, "infer_states")
    X, y = model._with_features(X, y)
    spec = model.resolve()
    model.fitted().first.features(X)
    reference = _reference(model, relative_to)
    data = model._check(spec, X, y, sample_weight, offset)
    sessions = model._sessions(data, y, session_starts)
    model._covariates(spec, X_transition, len(data.y))
    weight = session_weights(session_weight, sessions)
    with jax.enable_x64(True):
        of = spec.prepare(data, sessions, spec.covariates(X_transition, len(data.y)), weight)
        if not of.problem.emission.objective.penalty.smooth:
            raise TypeError(
                f"infer_states takes smooth penalties, not {spec.model.regularizer!r}: where "
                "coefficients are held at zero there is no curvature. Use bootstrap_states."
            )
        params = _parameters(model, spec, of)
        moves, proper = spread(of.problem, params)
        params = jax.device_get(params)
    if not proper:
        warnings.warn(
            "The log posterior does not fall in every direction from the parameters: they are at "
            "no maximum, or the data do not tell them. Fit with more starts, a smaller tol or a "
            "stronger penalty; standard errors leave these directions out.",
            RuntimeWarning,
            stacklevel=2,
        )

    shown = partial(_shown, spec, of, reference)
    estimate, errors = shown(params), _standard_errors(shown, params, moves)
    for name in ("initial_prob", "transition_prob"):
        at_bound = (estimate[name] < 1e-6) | (estimate[name] > 1 - 1e-6)
        errors[name] = np.where(at_bound, np.nan, errors[name])
    return StatesInference(estimate, errors)


def _parameters(model: StatesShell, spec: StatesSpec, of: Prepared) -> Parameters:
    """Bring what a model's attributes are to parameters, if its masks allow it."""
    user = tuple(getattr(model, f"{name}_") for name in NAMES)
    params = spec.to_problem(user, of)
    kept = spec.to_user(jax.device_get(params), of)
    for name, given, own in zip(NAMES, user, kept, strict=True):
        for one, other in zip(jax.tree.leaves(given), jax.tree.leaves(own), strict=True):
            if not np.allclose(
                one, other, rtol=1e-4, atol=1e-6 * (1 + np.abs(one).max(initial=0))
            ):
                raise ValueError(
                    f"{name}_ of the model is not what its feature_mask, shared_features, "
                    "n_lapse_states or transition_mask allow: standard errors would be those of "
                    "other parameters."
                )
    if of.covariates is None:
        return params
    slopes = np.concatenate([model.transition_coef_, model.initial_coef_[None]])
    slopes = jnp.asarray(slopes * of.covariates.scale[:, None])
    return params._replace(transitions=params.transitions._replace(slopes=slopes))


def _shown(
    spec: StatesSpec, of: Prepared, reference: int | None, params: Parameters
) -> dict[str, Any]:
    """Give what users see of parameters."""
    found: dict[str, Any] = dict(zip(NAMES, spec.to_user(params, of), strict=True))
    if of.covariates is not None:
        slopes = params.transitions.slopes / of.covariates.scale[:, None]
        found |= dict(zip(SLOPES, (slopes[-1], slopes[:-1]), strict=True))
    if reference is not None:
        found |= {name: _relative(found[name], reference) for name in ("coef", "intercept")}
    return found


def _reference(model: StatesShell, label: Any) -> int | None:
    """Find the class that parameters are relative to."""
    if label is None:
        return None
    classes = np.asarray(vars(model).get("classes_", [])).tolist()
    if label not in classes:
        raise ValueError(f"relative_to must be one of the classes, {classes}, got {label!r}.")
    return classes.index(label)


def _relative(value: Any, reference: int) -> Any:
    """Subtract the parameters of a class, which are last, from those of the others."""
    return jax.tree.map(
        lambda leaf: np.delete(leaf - leaf[..., [reference]], reference, axis=-1), value
    )


def _standard_errors(
    shown: Callable[[Parameters], dict[str, Any]], params: Parameters, moves: list[Any]
) -> dict[str, Any]:
    """Add up the squares of what moves change in what users see: the delta method."""
    squares = jax.tree.map(np.zeros_like, shown(params))
    step = 1e-4
    for move in moves:
        ends = [
            shown(jax.tree.map(lambda p, m, s=s: p + s * step * m, params, move)) for s in (-1, 1)
        ]
        squares = jax.tree.map(
            lambda total, a, b: total + ((b - a) / (2 * step)) ** 2, squares, *ends
        )
    return jax.tree.map(np.sqrt, squares)


@dataclass(frozen=True)
class StatesBootstrap:
    """Parameters fitted to data that a model drew, each array with the draws in front.

    Parameters
    ----------
    estimate
        The parameters that the data were drawn with, by name, as of `StatesInference`.
    draws
        Those fitted, by the same names, (n_draws, ...), their states matched to the model's.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> draws = {"coef": np.array([[[1.0, 2.0]], [[3.0, 2.0]]])}
    >>> found = nmo.inference.StatesBootstrap({"coef": np.array([[1.5, 2.0]])}, draws)
    >>> print(found.bias["coef"], found.standard_error["coef"].round(2))
    [[0.5 0. ]] [[1.41 0.  ]]
    """

    estimate: dict[str, Any]
    draws: dict[str, Any]

    @property
    def standard_error(self) -> dict[str, Any]:
        """Standard deviations over the draws, by name."""
        return {n: jax.tree.map(lambda a: a.std(axis=0, ddof=1), v) for n, v in self.draws.items()}

    @property
    def bias(self) -> dict[str, Any]:
        """Means over the draws less the parameters that they were drawn with, by name."""
        return {
            name: jax.tree.map(lambda a, b: a.mean(axis=0) - b, draws, self.estimate[name])
            for name, draws in self.draws.items()
        }


def bootstrap_states(
    model: StatesShell,
    random_key: jax.Array,
    X: Any,
    n_draws: int = 100,
    session_starts: Any = None,
    X_transition: Any = None,
    offset: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    session_weight: Any = None,
    verbose: bool = False,
) -> StatesBootstrap:
    """Fit data that a model draws, to see how far its parameters can be trusted.

    Parameters
    ----------
    model
        A fitted GLM-HMM, or an `HMM`, of which X is the number of samples.
    random_key
        Random key, from `jax.random.key`.
    X, session_starts, X_transition, offset, sample_weight, session_weight
        What it was fitted to.
    y
        The observations, of which those that are missing are missing in the draws too; none are
        if it is None (default).
    n_draws
        Number of data sets (default 100). Each fit starts at the parameters of the model.
    verbose
        Whether to show progress (default not).

    Returns
    -------
    StatesBootstrap
        The parameters of all fits, whose states are matched to those of the model.

    Raises
    ------
    NotFittedError
        Before `fit`.
    ValueError
        If the features are not those of `fit`, or there are less than two draws.

    References
    ----------
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, section 6.5.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X, state = rng.normal(size=(500, 1)), np.arange(500) // 50 % 2
    >>> choice = (rng.uniform(size=500) < 1 / (1 + np.exp(-3 * X[:, 0] * (2 * state - 1)))) * 1
    >>> model = nmo.glm_hmm.GLMHMM(2, n_restarts=3).fit(X, choice)
    >>> found = nmo.inference.bootstrap_states(model, jax.random.key(0), X, n_draws=5)
    >>> found.draws["coef"].shape
    (5, 1, 2)
    """
    if n_draws < 2:
        raise ValueError(f"n_draws must be at least 2, got {n_draws!r}.")
    check_model(model, "bootstrap_states")
    model.fitted()
    more = {"session_starts": session_starts, "X_transition": X_transition, "offset": offset}
    more = {k: v for k, v in more.items() if v is not None}
    weights = {"sample_weight": sample_weight, "session_weight": session_weight}
    start = tuple(getattr(model, f"{name}_") for name in NAMES)
    names = NAMES if X_transition is None else (*NAMES, *SLOPES)
    again: Any = clone(model)
    fits = []
    if "classes_" in vars(model):
        again.set_classes(model.classes_)
    for key in tqdm(jax.random.split(random_key, n_draws), "draws", disable=not verbose):
        drawn, _, _ = model.simulate(key, X, **more)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            features, observed = again._with_features(X, missing_as(drawn, y))
            StatesShell.fit(again, features, observed, start, **more, **weights)
        order = match_states(again, model)
        if again.resolve().keeps(order):
            again.reorder(order)
        fits.append({name: getattr(again, f"{name}_") for name in names})
    draws = jax.tree.map(lambda *leaves: np.stack(leaves), *fits)
    return StatesBootstrap({name: getattr(model, f"{name}_") for name in names}, draws)
