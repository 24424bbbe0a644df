"""Tests of hypotheses about every neuron: Wald's, of likelihood ratios, and of many at once."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from scipy import stats
from sklearn.base import clone

from spikax._errors import unknown_name
from spikax._layout import Outputs
from spikax.inference._fitted import Fitted, fitted, likelihood
from spikax.inference._infer import infer_fitted
from spikax.inference._inference import (
    Inference,
    as_parameters,
    checked_rows,
    warn_about_optimum,
)
from spikax.observation_models import Likelihood

ADJUSTMENTS = ("holm", "fdr_bh", "fdr_by", "bonferroni")


@dataclass(frozen=True, eq=False)
class HypothesisTest:
    """A test of one hypothesis for each neuron.

    Attributes
    ----------
    statistic
        Approximately chi-squared under the hypothesis, (n_neurons,).
    df
        Its degrees of freedom: how many directions of the hypothesis the data identify,
        (n_neurons,).
    dof
        Residual degrees of freedom where the scale is estimated, and `statistic / df` follows an
        F distribution; else infinite, (n_neurons,).
    neurons
        Labels of the neurons, (n_neurons,).

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.inference import HypothesisTest
    >>> test = HypothesisTest(np.array([3.84, 0.1]), np.ones(2), np.full(2, np.inf), np.arange(2))
    >>> test.p_value.round(2)
    array([0.05, 0.75])
    >>> test.frame("bonferroni").p_adjusted.round(2).tolist()
    [0.1, 1.0]
    """

    statistic: np.ndarray
    df: np.ndarray
    dof: np.ndarray
    neurons: np.ndarray

    @property
    def p_value(self) -> np.ndarray:
        """P-values, (n_neurons,); NaN where the data identify nothing of the hypothesis."""
        df = np.where(self.df > 0, self.df, np.nan)
        # The chi-squared is the limit of F, which SciPy does not take.
        dof = np.where(np.isfinite(self.dof), self.dof, 1)
        return np.where(
            np.isfinite(self.dof),
            stats.f.sf(self.statistic / df, df, dof),
            stats.chi2.sf(self.statistic, df),
        )

    def frame(self, method: str = "holm"):
        """Tell all of it in a table.

        Parameters
        ----------
        method
            How p-values are adjusted for the number of neurons, as in `adjust_p_values`.

        Returns
        -------
        pandas.DataFrame
            A row for each neuron, with "statistic", "df", "p_value" and "p_adjusted".
        """
        import pandas as pd

        columns = {
            "statistic": self.statistic,
            "df": self.df,
            "p_value": self.p_value,
            "p_adjusted": adjust_p_values(self.p_value, method),
        }
        return pd.DataFrame(columns, pd.Index(self.neurons, name="neuron"))


def adjust_p_values(p_values: Any, method: str = "holm") -> np.ndarray:
    """Adjust p-values for their number.

    Parameters
    ----------
    p_values
        P-values of any shape, all of one family of tests; NaN is no test, and stays.
    method
        "holm" (default) or "bonferroni" bound the probability of any false positive; "fdr_bh" the
        expected share of false ones among positives, for tests that are independent or positively
        dependent; "fdr_by" that share for any dependence.

    Returns
    -------
    array
        Adjusted p-values, shaped like `p_values`.

    Raises
    ------
    ValueError
        If the method is unknown, or a p-value is not between 0 and 1.

    References
    ----------
    Holm (1979), Scandinavian Journal of Statistics 6. Benjamini & Hochberg (1995), JRSS B 57.
    Benjamini & Yekutieli (2001), Annals of Statistics 29.

    Examples
    --------
    >>> from spikax.inference import adjust_p_values
    >>> adjust_p_values([0.01, 0.04, 0.03], "holm")
    array([0.03, 0.06, 0.06])
    """
    if method not in ADJUSTMENTS:
        raise unknown_name("method", method, ADJUSTMENTS)
    p = np.asarray(p_values, float)
    known = p[~np.isnan(p)]
    if np.any((known < 0) | (known > 1)):
        wrong = known[(known < 0) | (known > 1)]
        raise ValueError(f"p_values must lie between 0 and 1, got {wrong[0]:g}.")
    adjusted = p.copy()
    if known.size and method.startswith("fdr"):
        known = stats.false_discovery_control(known, method=method[4:])
    elif method == "bonferroni":
        known = np.minimum(1, known.size * known)
    else:
        order = np.argsort(known)
        steps = np.arange(known.size, 0, -1) * known[order]
        known[order] = np.minimum(1, np.maximum.accumulate(steps))
    adjusted[~np.isnan(p)] = known
    return adjusted


def wald_test(
    inference: Inference, features: Any = None, *, hypothesis: Any = None, value: Any = 0.0
) -> HypothesisTest:
    r"""Test linear hypotheses about the parameters of every neuron.

    The statistic is :math:`(R\hat\theta - r)^\top (R C R^\top)^{-1} (R\hat\theta - r)`. Of
    features that the data do not identify one by one, such as splines that sum to one beside an
    intercept, it tests what they do identify.

    Parameters
    ----------
    inference
        From `infer`. For a ridge-penalised fit the test is approximate: the penalty makes small
        effects smaller.
    features
        Which coefficients are zero: a label of the container `X` ("head_direction"), a name of a
        parameter ("head_direction[3]", or the column of a frame), a column, a slice of columns,
        or a list of these. Default: all coefficients but the intercept. Of a classifier, a
        feature stands for its coefficients of all classes, which are equal if it says nothing.
    hypothesis
        Instead of `features`, the matrix R, (n_combinations, n_parameters), with a column for
        each of `inference.names`.
    value
        The right-hand side r, a scalar or (n_combinations,), default zero.

    Returns
    -------
    HypothesisTest
        Statistics and p-values, each (n_neurons,).

    Raises
    ------
    ValueError
        If a name is unknown, a shape is wrong, or both `features` and `hypothesis` are given.

    References
    ----------
    Wald (1943), Transactions of the AMS 54. McCullagh & Nelder (1989), appendix A.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = {"speed": rng.normal(size=(500, 1)), "light": rng.normal(size=(500, 2))}
    >>> spikes = rng.poisson(np.exp(0.5 * X["speed"] + [[0, 1]]))
    >>> model = nmo.glm.PopulationGLM().fit(X, spikes)
    >>> result = nmo.inference.infer(model, X, spikes)
    >>> nmo.inference.wald_test(result, "speed").p_value < 0.01
    array([ True,  True])
    """
    n_parameters = len(inference.names)
    if hypothesis is None:
        some = chosen(features, inference.names, inference.groups, inference.outputs)
        rows = np.eye(n_parameters)[some]
    elif features is None:
        rows = checked_rows(hypothesis, "hypothesis", n_parameters)
    else:
        raise ValueError("Pass either features or hypothesis, not both.")
    value = np.asarray(value, float)
    if value.shape not in ((), (len(rows),)):
        raise ValueError(
            f"value must be a scalar or have shape ({len(rows)},), one for each row of the "
            f"hypothesis, got {value.shape}."
        )
    found = [
        _wald(rows @ estimate - value, rows, covariance, directions)
        for estimate, covariance, directions in zip(
            inference.estimate, inference.covariance, inference.unidentified, strict=True
        )
    ]
    statistic, df = np.array(found).T
    return HypothesisTest(statistic, df.astype(int), inference.dof, inference.neurons)


def _wald(
    distance: np.ndarray, rows: np.ndarray, covariance: np.ndarray, directions: np.ndarray
) -> tuple[float, int]:
    """Statistic of one neuron, and its degrees of freedom."""
    # Combinations of the rows that no unidentified direction moves.
    moved = rows @ directions
    _, size, axes = np.linalg.svd(moved.T)
    n_moved = np.count_nonzero(size > 1e-8 * max(size.max(initial=0), 1e-300))
    kept = axes[n_moved:]
    variance = kept @ (rows @ covariance @ rows.T) @ kept.T
    distance = kept @ distance
    unit = np.sqrt(np.diag(variance))
    fixed = unit <= 0
    unit = np.where(fixed, 1, unit)
    share, axes = np.linalg.eigh(variance / unit[:, None] / unit)
    known = share > 1e-10 * share.max(initial=0)
    score = (axes.T @ (distance / unit))[known] / np.sqrt(share[known])
    return float(score @ score), int(known.sum())


def chosen(
    features: Any, names: tuple[str, ...], groups: dict[str, slice], outputs: Outputs
) -> np.ndarray:
    """Find the coefficients that were named, of which each feature has so many."""
    n_coefs = len(names) - outputs.n_predictors
    columns = np.arange(n_coefs).reshape(-1, outputs.n_classes or 1)
    if features is None:
        return columns.ravel()
    if isinstance(features, str):
        if features in groups:
            return np.arange(len(names))[groups[features]]
        if features in names:
            return np.array([names.index(features)])
        raise unknown_name("features", features, [*groups, *names])
    if isinstance(features, slice):
        return columns[features].ravel()
    if isinstance(features, int | np.integer):
        if not -len(columns) <= features < len(columns):
            raise ValueError(f"features names column {features} of {len(columns)}.")
        return columns[int(features)]
    if not isinstance(features, list | tuple | range | np.ndarray) or len(features) == 0:
        raise TypeError(
            "features must be a label, a name, a column, a slice, or a list of these, got "
            f"{features!r}."
        )
    return np.unique(np.concatenate([chosen(each, names, groups, outputs) for each in features]))


def without(model: Any, X, y, features: Any, *, sample_weight=None, offset=None):
    """Fit a model again without some of its features.

    Parameters
    ----------
    model
        A fitted model.
    X, y, sample_weight, offset
        As in its `fit`.
    features
        What to leave out, as in `wald_test`.

    Returns
    -------
    estimator
        A new model like it, whose `feature_mask` leaves the features out, fitted.

    Raises
    ------
    ValueError
        If a name is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> model = nmo.glm.GLM("Gaussian").fit(X, X[:, 0])
    >>> nmo.inference.without(model, X, X[:, 0], features=1).coef_[1] == 0
    np.True_
    """
    with jax.enable_x64(True):
        fit = fitted(model, X, y, sample_weight, offset)
    n_coefs = len(fit.names) - fit.outputs.n_predictors
    names = (*fit.names[:n_coefs], *[""] * fit.outputs.n_predictors)
    groups = {name: some for name, some in fit.groups.items() if some.stop <= n_coefs}
    kept = fit.free[:, fit.own].astype(float)
    kept[:, chosen(features, names, groups, fit.outputs)] = 0
    restricted: Any = clone(model)
    mask, _ = as_parameters(kept, fit.data.layout, fit.outputs)
    restricted.set_params(feature_mask=mask)
    if fit.data.classes is not None:
        restricted.set_classes(fit.data.classes)
    return restricted.fit(X, y, sample_weight=sample_weight, offset=offset)


def likelihood_ratio_test(
    model, restricted, X, y, *, X_restricted=None, sample_weight=None, offset=None
) -> HypothesisTest:
    r"""Test a restricted model against the one it is nested in, for every neuron.

    The statistic is :math:`2 (\ell - \ell_0)`, with the log-likelihoods of both at the scale of
    the larger. It is the better test where estimates are large or spikes few, and Wald's
    approximation is poor (Hauck & Donner 1977).

    Parameters
    ----------
    model
        The larger model, fitted without a penalty.
    restricted
        The smaller one, fitted without a penalty to the same observations, as from `without`.
    X, y, sample_weight, offset
        As they were fitted.
    X_restricted
        Features of `restricted`, if they are not `X`.

    Returns
    -------
    HypothesisTest
        Statistics and p-values, each (n_neurons,).

    Raises
    ------
    ValueError
        If the models differ in family or link, are penalised, or are not nested.

    References
    ----------
    Wilks (1938), Annals of Mathematical Statistics 9. Hauck & Donner (1977), JASA 72.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = {"speed": rng.normal(size=(500, 1)), "light": rng.normal(size=(500, 2))}
    >>> spikes = rng.poisson(np.exp(0.5 * X["speed"] + [[0, 1]]))
    >>> model = nmo.glm.PopulationGLM().fit(X, spikes)
    >>> smaller = nmo.inference.without(model, X, spikes, "speed")
    >>> test = nmo.inference.likelihood_ratio_test(model, smaller, X, spikes)
    >>> test.df, test.p_value < 0.01
    (array([1, 1]), array([ True,  True]))
    """
    with jax.enable_x64(True):
        full = fitted(model, X, y, sample_weight, offset)
        small = fitted(
            restricted, X if X_restricted is None else X_restricted, y, sample_weight, offset
        )
        _check_nested(full, small)
        before, gain = infer_fitted(full, "model")
        after, gain_small = infer_fitted(small, "model")
        # A scale that is estimated apart is that of the larger model, in both.
        best, best_small = (likelihood(fit, full.scale).log_likelihood for fit in (full, small))
    statistic = 2 * (best - best_small)
    df = before.n_identified - after.n_identified
    if np.any(df < 0) or np.any(statistic < -1):
        raise ValueError(
            "restricted is not nested in model: for some neurons it has more parameters or fits "
            "better. Pass the larger model first."
        )
    warn_about_optimum(before, np.maximum(gain, gain_small))
    return HypothesisTest(np.maximum(statistic, 0), df, before.dof, before.neurons)


def _check_nested(full: Fitted, small: Fitted) -> None:
    for argument, fit in (("model", full), ("restricted", small)):
        if fit.penalised:
            raise ValueError(
                f"{argument} was fitted with a penalty, and ratios of penalised likelihoods do "
                "not follow a chi-squared distribution: fit both without one, or compare "
                "held-out scores."
            )
    a, b = (_fixed(f.model.spec.likelihood) for f in (full, small))
    if a != b:
        of_full, of_small = full.objective.likelihood, small.objective.likelihood
        raise ValueError(
            f"The models differ in their family or link, {of_full.family.name} with "
            f"{of_full.link_name} and {of_small.family.name} with {of_small.link_name}, or in a "
            "scale: only nested models can be compared by their likelihoods."
        )
    if not np.array_equal(full.samples.total_weight, small.samples.total_weight):
        raise ValueError(
            "The models count different samples, for there is NaN in one of X and X_restricted "
            "only. Drop these rows from both and fit again."
        )


def _fixed(likelihood: Likelihood) -> tuple:
    """Tell what a likelihood is, with its dispersion unless that is estimated, to be compared."""
    leaves, structure = jax.tree.flatten(likelihood.at(None))
    if not likelihood.estimated:
        leaves.append(likelihood.dispersion)
    return structure, [np.asarray(leaf).tolist() for leaf in leaves]
