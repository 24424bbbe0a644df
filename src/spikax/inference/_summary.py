"""A summary of a fit, as text and as tables."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from spikax.core.degrees_of_freedom import effective_degrees_of_freedom
from spikax.glm._prediction import share_explained
from spikax.inference._fitted import Fitted, GoodnessOfFit, fitted, likelihood, null_deviance
from spikax.inference._infer import check_kind, infer_fitted
from spikax.inference._inference import Inference, warn_about_directions, warn_about_optimum
from spikax.solvers import Status

_WIDTH = 86
_SHOWN = 400  # rows of the table of parameters that a text shows


@dataclass(frozen=True, eq=False)
class Summary:
    """A summary of a fit; printing it shows the tables.

    Attributes
    ----------
    neurons : pandas.DataFrame
        A row for each neuron, with "n_samples" (the sum of the weights where these are
        frequencies), "edf" (effective degrees of freedom), "dof_resid", "scale", "log_likelihood"
        (nats; a Gaussian's is at its maximum in the scale, too, RSS / n), "deviance",
        "null_deviance" (of an intercept and the offset), "deviance_explained" (NaN where the null
        deviance is zero) and "status".
    parameters : pandas.DataFrame
        A row for each neuron and parameter, as from `Inference.frame`.
    inference : Inference
        Where the parameters come from.
    title : str
        What was fitted.
    notes : list of str
        What its numbers mean.
    level : float
        Probability that an interval covers the true value.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> spikes = np.random.default_rng(1).poisson(np.exp(X))
    >>> model = nmo.glm.PopulationGLM().fit(X, spikes)
    >>> summary = nmo.inference.summary(model, X, spikes)
    >>> summary.neurons.status.tolist()
    ['converged', 'converged']
    >>> summary.parameters.loc[(0, "x0"), "p_value"] < 0.001
    np.True_
    """

    neurons: Any
    parameters: Any
    inference: Inference
    title: str
    notes: list[str]
    level: float

    def __str__(self) -> str:
        lines = [self.title.center(_WIDTH).rstrip()]
        for label, neuron in self.neurons.iterrows():
            lines += ["=" * _WIDTH, _headline(label, neuron), "-" * _WIDTH]
            lines += self._table(label)
            if len(lines) > _SHOWN:
                lines.append("(shortened: all is in .neurons and .parameters)")
                break
        return "\n".join([*lines, "=" * _WIDTH, *self.notes])

    __repr__ = __str__

    def _table(self, label: Any) -> list[str]:
        symbol = "t" if np.isfinite(self.inference.dof).any() else "z"
        tail = (1 - self.level) / 2
        ends = f"[{tail:.3f}", f"{1 - tail:.3f}]"
        head = ("coef", "std err", symbol, f"P>|{symbol}|", *ends)
        rows = self.parameters.loc[label]
        width = _WIDTH - 6 * 10
        lines = [" " * width + "".join(f"{name:>10}" for name in head), "-" * _WIDTH]
        for name, row in rows.iterrows():
            numbers = "".join(f"{_short(number):>10}" for number in row)
            lines.append(f"{str(name)[: width - 1]:<{width}}{numbers}")
        return lines


_NOTES = {
    "model": "Standard errors are right if the family's variance is (kind='model').",
    "sandwich": "Standard errors allow for another variance than the family's (kind='sandwich').",
    "penalty": "The penalty shrinks the coefficients. Intervals of kind='model' are those of a "
    "posterior,\nof kind='sandwich' those of what the penalised fit estimates.",
    "unidentified": "The data do not identify parameters whose standard error is infinite.",
}


def summary(
    model, X, y, *, kind="model", groups=None, level=0.95, sample_weight=None, offset=None
) -> Summary:
    """Summarise a fit: how well each neuron is predicted, and how sure its parameters are.

    Parameters
    ----------
    model
        A fitted model, as in `infer`.
    X, y, sample_weight, offset
        As they were fitted.
    kind, groups
        Kind of standard errors, "model" (default) or "sandwich", and the groups of the samples
        that the latter allows for, as in `infer`.
    level
        Probability that an interval covers the true value (default 0.95).

    Returns
    -------
    Summary
        Print it, or take its tables `neurons` and `parameters`.

    Raises
    ------
    NotFittedError
        Before `fit`.
    ValueError
        As `infer` does.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2))
    >>> spikes = rng.poisson(np.exp(0.5 * X[:, 0] - 1))
    >>> model = nmo.glm.GLM().fit(X, spikes)
    >>> print(nmo.inference.summary(model, X, spikes))
                  GLM: Poisson observations, inverse link exp, UnRegularized
    ======================================================================================
    neuron 0: 500 samples, 497 residual degrees of freedom, converged
    log-likelihood -402.749, deviance 447.459, deviance explained 0.0612, scale 1
    --------------------------------------------------------------------------------------
                                    coef   std err         z     P>|z|    [0.025    0.975]
    --------------------------------------------------------------------------------------
    x0                             0.390     0.073     5.345  9.0...     0.247     0.533
    x1                             0.007     0.073     0.1...     0.9...    -0.135     0.150
    intercept                     -0.925     0.073   -12.740  3.5...    -1.067    -0.782
    ======================================================================================
    Standard errors are right if the family's variance is (kind='model').
    """
    check_kind(kind, groups)
    with jax.enable_x64(True):
        fit = fitted(model, X, y, sample_weight, offset)
        inference, gain = infer_fitted(fit, kind, groups)
        told = likelihood(fit, fit.scale)
        family = fit.objective.likelihood.family
        at_mean_weight = told.deviance / fit.data.mean_weight
        scale = family.likeliest_scale(at_mean_weight, np.asarray(fit.samples.total_weight))
        if scale is not None:
            told = likelihood(fit, scale)
        null = null_deviance(fit)
        edf = effective_degrees_of_freedom(fit.objective, fit.samples, fit.theta, np.inf)
    warn_about_directions(inference)
    warn_about_optimum(inference, gain)
    title = (
        f"{fit.model.spec.name}: {family.name} observations, inverse link "
        f"{fit.objective.likelihood.link_name}, {fit.regularizer}"
    )
    notes = {
        kind: True,
        "penalty": fit.penalised,
        "unidentified": inference.unidentified.any(),
    }
    return Summary(
        _neurons(fit, told, null, edf),
        inference.frame(level),
        inference,
        title,
        [_NOTES[note] for note, holds in notes.items() if holds],
        level,
    )


def _neurons(fit: Fitted, told: GoodnessOfFit, null: np.ndarray, edf: np.ndarray):
    import pandas as pd

    status = [] if fit.model.status is None else fit.model.status
    columns = {
        "n_samples": fit.data.n_observations,
        "edf": edf,
        "dof_resid": fit.data.n_observations - edf,
        "scale": fit.model.scale,
        "log_likelihood": told.log_likelihood,
        "deviance": told.deviance,
        "null_deviance": null,
        "deviance_explained": share_explained(told.deviance, null),
        "status": [Status(s).name.lower() for s in status] or "unknown",
    }
    return pd.DataFrame(columns, pd.Index(fit.neurons, name="neuron"))


def _headline(label: Any, neuron: Any) -> str:
    return (
        f"neuron {label}: {neuron.n_samples:.7g} samples, {neuron.dof_resid:.7g} residual degrees "
        f"of freedom, {neuron.status}\n"
        f"log-likelihood {neuron.log_likelihood:.6g}, deviance {neuron.deviance:.6g}, deviance "
        f"explained {neuron.deviance_explained:.4f}, scale {neuron['scale']:.4g}"
    )


def _short(number: float) -> str:
    if number == 0 or not np.isfinite(number) or 1e-3 <= abs(number) < 1e5:
        return f"{number:.3f}"
    return f"{number:.2e}"
