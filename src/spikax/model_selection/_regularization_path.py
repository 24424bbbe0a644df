"""The coefficients of a model at many strengths of its penalty."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from spikax._inputs import Data
from spikax._model import ModelSpec
from spikax._threads import one_blas_thread
from spikax.core.penalties import Penalty
from spikax.core.standardise import Standardisation
from spikax.fit import in_enough_digits
from spikax.model_selection._path import fit_path
from spikax.model_selection._strengths import check_number, descending
from spikax.solvers import Status


@dataclass(frozen=True)
class RegularizationPath:
    """A model fitted at many strengths; the axis of neurons is missing for a `GLM`.

    Parameters
    ----------
    strengths
        What the model's own strength is multiplied with, descending, (n_strengths, n_neurons).
    coef
        Coefficients, (n_strengths, n_features, n_neurons), or a container of such arrays.
    intercept
        Intercepts, (n_strengths, n_neurons).
    score
        Mean log-likelihood above that of the saturated model, at unit scale, in nats per sample,
        (n_strengths, n_neurons): minus half the mean deviance. Where a negative binomial's
        dispersion is estimated, the saturated model is Poisson's.
    converged
        Whether the fit met its criterion, (n_strengths, n_neurons).

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X = np.random.default_rng(0).normal(size=(300, 3))
    >>> model = nmo.glm.GLM("Gaussian", regularizer="Lasso")
    >>> path = nmo.model_selection.regularization_path(model, X, X[:, 0], n_strengths=5)
    >>> bool(np.all(np.diff(path.strengths) < 0)), bool(np.all(np.diff(path.score) > 0))
    (True, True)
    """

    strengths: np.ndarray
    coef: Any
    intercept: np.ndarray
    score: np.ndarray
    converged: np.ndarray


def regularization_path(
    model, X, y, strengths=None, n_strengths=50, sample_weight=None, offset=None
) -> RegularizationPath:
    """Fit a model at many strengths, each from where the one before ended, in one program.

    Parameters
    ----------
    model
        A GLM or PopulationGLM with the penalty wanted; it stays as it is. Its
        `regularizer_strength` (None is one) is what the strengths multiply.
    X, y, sample_weight, offset
        As in the model's `fit`.
    strengths
        Strengths, (n_strengths,) or (n_strengths, n_neurons), in any order. None (default) spreads
        them evenly on a logarithmic scale: for penalties that make coefficients zero, downwards
        from the one that makes all of them zero, neuron by neuron.
    n_strengths
        How many, where `strengths` is None (default 50).

    Returns
    -------
    RegularizationPath
        Strengths, coefficients, intercepts and scores.

    Raises
    ------
    ValueError
        If the model has no penalty, or strengths or data are wrong.

    References
    ----------
    Friedman, Hastie & Tibshirani (2010), J. Stat. Softw. 33(1), section 2.5.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 6))
    >>> y = rng.poisson(np.exp(0.4 * X[:, :2] - 1))
    >>> model = nmo.glm.PopulationGLM(regularizer="Lasso")
    >>> path = nmo.model_selection.regularization_path(model, X, y, n_strengths=10)
    >>> path.coef.shape
    (10, 6, 2)
    >>> bool(np.all(path.coef[0] == 0)), bool(np.any(path.coef[-1] != 0))
    (True, True)
    """
    spec = model.resolve().without_choice()
    solver = spec.solver()
    data = spec.check(X, y, sample_weight, offset)

    def run():
        problem = spec.assemble(data)
        check_penalty(problem.objective.penalty)
        factors = descending(strengths, check_number(n_strengths), problem, spec.single)
        fits = fit_path(*problem[:3], solver, factors.astype(problem.samples.y.dtype))
        return problem, factors, jax.device_get(fits)

    with one_blas_thread():
        problem, factors, fits = in_enough_digits(solver, run, lambda found: found[2].coarse)
    thetas = np.asarray(fits.theta, float)
    coef, intercept = in_users_units(thetas, problem.standardisation, data, spec)
    status = np.asarray(fits.status)
    table = factors, np.asarray(fits.score), np.isin(status, (Status.CONVERGED, Status.UNBOUNDED))
    if spec.single:
        table = tuple(array[:, 0] for array in table)
    return RegularizationPath(table[0], coef, intercept, table[1], table[2])


def check_penalty(penalty: Penalty) -> None:
    """Refuse a model without a penalty: one that has no strengths."""
    if not jax.tree.leaves(penalty):
        raise ValueError(
            "A path of strengths needs a penalty, and regularizer is UnRegularized. Set "
            "regularizer='Ridge', 'Lasso', 'ElasticNet' or 'GroupLasso'."
        )


def in_users_units(
    thetas: np.ndarray, standardisation: Standardisation, data: Data, spec: ModelSpec
) -> tuple[Any, np.ndarray]:
    """Stack the coefficients and intercepts of many fits in the user's units and containers."""
    fits = [spec.unpack(theta, standardisation, data) for theta in thetas]
    coef = jax.tree.map(lambda *leaves: np.stack(leaves), *[coef for coef, _ in fits])
    return coef, np.stack([intercept for _, intercept in fits])
