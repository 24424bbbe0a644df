"""What `infer` finds: standard errors, intervals, p-values, and what the data leave open."""

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats

from spikax._layout import Layout, Outputs
from spikax.observation_models import Likelihood


@dataclass(frozen=True, eq=False)
class Inference:
    """How sure a fit is of its parameters.

    The parameters of a neuron are its coefficients, in the order of the features, and then its
    intercept. Of a classifier each of them is one for every class, in the order of the classes.
    Only their differences matter: where neither a mask nor the penalty tells the classes apart,
    parameters are relative to the mean over the classes, and so are their standard errors;
    `relative_to` compares with one of the classes instead.

    Attributes
    ----------
    estimate
        Parameters, (n_neurons, n_parameters).
    covariance
        Covariance of the parameters, in the directions that the data identify,
        (n_neurons, n_parameters, n_parameters); zero for a parameter that was not fitted.
    unidentified
        Directions of the parameters that the data say nothing about,
        (n_neurons, n_parameters, n_unidentified), padded with zeros.
    n_identified
        Number of parameters less that of their directions without information, (n_neurons,).
    dof
        Degrees of freedom of the t distribution that intervals use, (n_neurons,): infinite (a
        normal distribution) where the scale is known.
    kind
        "model" or "sandwich".
    names
        Names of the parameters, (n_parameters,).
    neurons
        Labels of the neurons, (n_neurons,).
    classes
        Labels of a classifier's classes, (n_classes,); None for other models.
    groups
        The parameters, as slices, of each entry of a container of features, and of each feature of
        a classifier.
    layout, outputs
        How coefficients lie in the user's arrays.
    likelihood
        Observation model and inverse link.
    reference
        Mean of each feature over the samples of the fit, (n_features,).

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> trace = X @ [1.0, 0.0] + rng.normal(size=400)
    >>> model = nmo.glm.GLM("Gaussian").fit(X, trace)
    >>> result = nmo.inference.infer(model, X, trace)
    >>> lower, upper = result.interval(0.99)
    >>> print((lower > 0) | (upper < 0))
    [[ True False False]]
    >>> difference, error = result.combine([[1.0, -1.0, 0.0]])
    >>> print(difference.shape, result.frame().shape)
    (1, 1) (3, 6)
    """

    estimate: np.ndarray = field(repr=False)
    covariance: np.ndarray = field(repr=False)
    unidentified: np.ndarray = field(repr=False)
    n_identified: np.ndarray = field(repr=False)
    dof: np.ndarray = field(repr=False)
    kind: str
    names: tuple[str, ...] = field(repr=False)
    neurons: np.ndarray = field(repr=False)
    classes: np.ndarray | None = field(repr=False)
    # Parameters of each entry of a container X, and of each feature that has several.
    groups: dict[str, slice] = field(repr=False)
    layout: Layout = field(repr=False)
    likelihood: Likelihood = field(repr=False)
    reference: np.ndarray = field(repr=False)  # mean of each feature, (n_features,)
    outputs: Outputs = field(repr=False)

    @property
    def standard_error(self) -> np.ndarray:
        """Standard errors, (n_neurons, n_parameters): infinite where unidentified."""
        variance = np.diagonal(self.covariance, axis1=1, axis2=2)
        return np.where(np.any(self.unidentified != 0, axis=2), np.inf, np.sqrt(variance))

    @property
    def statistic(self) -> np.ndarray:
        """Estimates in units of their standard errors, (n_neurons, n_parameters)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.standard_error > 0, self.estimate / self.standard_error, np.nan)

    @property
    def p_value(self) -> np.ndarray:
        """Two-sided p-values of each parameter being zero, (n_neurons, n_parameters)."""
        return 2 * stats.t.sf(np.abs(self.statistic), self.dof[:, None])

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Confidence intervals of the parameters.

        Parameters
        ----------
        level
            Probability that an interval covers the true value, between 0 and 1.

        Returns
        -------
        lower, upper : array
            Ends of the intervals, each (n_neurons, n_parameters).

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        reach = quantile(level, self.dof)[:, None] * self.standard_error
        return self.estimate - reach, self.estimate + reach

    def shaped(self, values: np.ndarray) -> tuple[Any, np.ndarray]:
        """Shape values of the parameters like a model's `coef_` and `intercept_`.

        Parameters
        ----------
        values
            Something for each parameter, (n_neurons, n_parameters), such as `standard_error`.

        Returns
        -------
        coef : array or container
            What belongs to the coefficients, shaped as `coef_`.
        intercept : array
            What belongs to the intercepts, shaped as `intercept_`.
        """
        return as_parameters(values, self.layout, self.outputs)

    def relative_to(self, label: Any) -> "Inference":
        """Take the parameters of a classifier relative to those of one class.

        Parameters
        ----------
        label
            One of `classes`, the reference.

        Returns
        -------
        Inference
            That of the differences between each other class and the reference, the parameters of
            a multinomial logit (Agresti 2013, Categorical Data Analysis, section 8.1).

        Raises
        ------
        ValueError
            If there is no such class.

        Examples
        --------
        >>> import numpy as np
        >>> import spikax as nmo
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(500, 2))
        >>> choice = np.where(X[:, 0] + rng.logistic(size=500) > 0, "right", "left")
        >>> model = nmo.glm.ClassifierGLM(2, regularizer="UnRegularized").fit(X, choice)
        >>> result = nmo.inference.infer(model, X, choice).relative_to("left")
        >>> result.names
        ('x0 (right)', 'x1 (right)', 'intercept (right)')
        """
        classes = [] if self.classes is None else self.classes.tolist()
        if label not in classes:
            raise ValueError(f"label must be one of the classes, {classes}, got {label!r}.")
        n_classes, reference = len(classes), classes.index(label)
        others = np.delete(np.arange(n_classes), reference)
        each = np.eye(n_classes)[others] - np.eye(n_classes)[reference]
        n_features = len(self.names) // n_classes
        difference = np.kron(np.eye(n_features), each)
        return replace(
            self,
            estimate=self.estimate @ difference.T,
            covariance=difference @ self.covariance @ difference.T,
            unidentified=_without_rounding(difference, self.unidentified),
            names=tuple(
                np.reshape(self.names, (n_features, n_classes))[:, others].ravel().tolist()
            ),
            classes=np.asarray(self.classes)[others],
            groups={
                name: slice(*(at // n_classes * len(others) for at in (some.start, some.stop)))
                for name, some in self.groups.items()
            },
            outputs=self.outputs._replace(n_classes=len(others)),
        )

    def frame(self, level: float = 0.95):
        """Tell all of it in a table.

        Parameters
        ----------
        level
            Probability that an interval covers the true value, between 0 and 1.

        Returns
        -------
        pandas.DataFrame
            A row for each neuron and parameter, with the columns "estimate", "standard_error",
            "statistic" (z, or t where the scale is estimated), "p_value", "lower" and "upper".
        """
        import pandas as pd

        lower, upper = self.interval(level)
        columns = {
            "estimate": self.estimate,
            "standard_error": self.standard_error,
            "statistic": self.statistic,
            "p_value": self.p_value,
            "lower": lower,
            "upper": upper,
        }
        index = pd.MultiIndex.from_product(
            [self.neurons, self.names], names=["neuron", "parameter"]
        )
        return pd.DataFrame({name: a.ravel() for name, a in columns.items()}, index)

    def combine(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Estimate linear combinations of the parameters, and their standard errors.

        Parameters
        ----------
        rows
            The combinations, (n_combinations, n_parameters).

        Returns
        -------
        estimate, standard_error : array
            Each (n_combinations, n_neurons); infinite for a combination that is not identified.
            One can be although its parameters are not, such as a tuning curve.

        Raises
        ------
        ValueError
            If `rows` has another shape, or holds numbers that are not finite.
        """
        rows = checked_rows(rows, "rows", len(self.names))
        pairs = zip(self.covariance, self.unidentified, strict=True)
        variance, moved, reach = np.swapaxes(
            [
                (
                    np.sum(rows @ covariance * rows, axis=1),
                    np.sum((rows @ directions) ** 2, axis=1),
                    rows**2 @ np.sum(directions**2, axis=1),
                )
                for covariance, directions in pairs
            ],
            0,
            1,
        )
        # Directions may cancel up to the rounding of features in float32.
        error = np.where(moved > 1e-10 * reach, np.inf, np.sqrt(variance))
        return rows @ self.estimate.T, error.T


def as_parameters(values: np.ndarray, layout: Layout, outputs: Outputs) -> tuple[Any, np.ndarray]:
    """Give values of parameters, (n_neurons, n_parameters), the shapes of `coef_` and so on."""
    coef, intercept = np.split(values, [-outputs.n_predictors], axis=1)
    rows = coef.reshape(len(values), layout.n_features, -1).swapaxes(0, 1)
    coef = layout.split(rows.reshape(layout.n_features, *outputs.trailing))
    return coef, intercept.reshape(outputs.intercept)


def _without_rounding(rows: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Move along directions, (n_neurons, n_parameters, n), where they do not cancel."""
    moved = rows @ directions
    return np.where(moved**2 > 1e-10 * (rows**2 @ directions**2), moved, 0)


def quantile(level: float, dof: np.ndarray) -> np.ndarray:
    """Half the width of an interval, in standard errors."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, such as 0.95, got {level!r}.")
    return stats.t.isf((1 - level) / 2, dof)


def checked_rows(rows: Any, argument: str, n_parameters: int) -> np.ndarray:
    """Check linear combinations of parameters, (n_combinations, n_parameters)."""
    array = np.atleast_2d(np.asarray(rows, float))
    if array.ndim != 2 or array.shape[1] != n_parameters:
        raise ValueError(
            f"{argument} must have shape (n_combinations, {n_parameters}), one column for each "
            f"coefficient and then for the intercept, got {np.shape(rows)}."
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{argument} must hold finite numbers.")
    return array


def warn_about_directions(inference: Inference) -> None:
    """Warn about parameters that the data do not identify."""
    if inference.unidentified.any():
        warnings.warn(
            "The data do not identify some parameters (collinear or constant features, or an "
            "optimum at infinity), and their standard errors are infinite: "
            f"{_unidentified(inference)}. Drop features, or use a Ridge penalty; combinations "
            "that are identified, such as tuning curves, can still be tested and have intervals.",
            RuntimeWarning,
            stacklevel=3,
        )


def warn_about_optimum(inference: Inference, gain: np.ndarray) -> None:
    """Warn about neurons that are not at their optimum, judged by the nats they could gain."""
    if np.any(gain > 0.5):
        affected = _listed([str(label) for label in inference.neurons[gain > 0.5]])
        warnings.warn(
            "The model is more than a standard error away from its optimum for these data, for "
            f"neurons {affected}: pass X, y, sample_weight and offset of the fit, or fit with a "
            "smaller 'tol'.",
            RuntimeWarning,
            stacklevel=3,
        )


def _unidentified(inference: Inference) -> str:
    """Tell which parameters of which neurons are not identified."""
    flat = np.any(inference.unidentified != 0, axis=2)
    patterns, which = np.unique(flat, axis=0, return_inverse=True)
    found = []
    for k in np.flatnonzero(patterns.any(axis=1)):
        neurons = [str(label) for label in inference.neurons[which.ravel() == k]]
        left = patterns[k].copy()
        names = []
        for group, columns in inference.groups.items():
            if left[columns].all():
                names.append(f"all of {group}")
                left[columns] = False
        names += [inference.names[i] for i in np.flatnonzero(left)]
        plural = "s" if len(neurons) > 1 else ""
        found.append(f"neuron{plural} {_listed(neurons)}: {_listed(names)}")
    return "; ".join(found[:5]) + (f"; and {len(found) - 5} more sets" if len(found) > 5 else "")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
