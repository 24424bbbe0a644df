"""Intervals of predicted means, tuning curves and coupling filters, by the delta method."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from spikax import _coefficients, _inputs
from spikax._errors import unknown_name
from spikax.basis import Basis
from spikax.glm._prediction import mean_of
from spikax.inference._inference import Inference, quantile

SCALES = ("rate", "link")


@dataclass(frozen=True, eq=False)
class Band:
    """A mean with its confidence interval.

    Attributes
    ----------
    mean, lower, upper
        The mean and the ends of its interval, (n_points, n_neurons). On the rate scale in units of
        `y`, such as spikes per bin; on the link scale of the linear predictor.
    standard_error
        Standard error of `mean`, (n_points, n_neurons), by the delta method.
    level
        Probability that an interval covers the true value.
    scale
        "rate" or "link".

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X = np.linspace(-1, 1, 400)[:, None]
    >>> spikes = np.random.default_rng(0).poisson(np.exp(X))
    >>> model = nmo.glm.PopulationGLM().fit(X, spikes)
    >>> result = nmo.inference.infer(model, X, spikes)
    >>> band = nmo.inference.mean_band(result, X, scale="link")
    >>> bool(np.allclose(band.upper - band.mean, 1.96 * band.standard_error, rtol=1e-4))
    True
    """

    mean: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    standard_error: np.ndarray
    level: float
    scale: str


@dataclass(frozen=True, eq=False)
class TuningCurve(Band):
    """A tuning curve with its confidence band.

    Attributes
    ----------
    mean, lower, upper, standard_error, level, scale
        As those of `Band`, at the points of the grid.
    grid
        Where the curve is known, (n_points,), in units of the basis's input.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> basis = nmo.basis.RaisedCosineLinearEval(5, bounds=(0, 1))
    >>> position = np.random.default_rng(1).uniform(size=500)
    >>> X = np.asarray(basis.compute_features(position))
    >>> spikes = np.random.default_rng(2).poisson(np.exp(position))
    >>> model = nmo.glm.GLM(regularizer="Ridge", regularizer_strength=1e-3).fit(X, spikes)
    >>> curve = nmo.inference.tuning_curve(nmo.inference.infer(model, X, spikes), basis)
    >>> print(curve.grid[[0, -1]], bool(curve.mean[-1, 0] > curve.mean[0, 0]))
    [0. 1.] True
    """

    grid: np.ndarray


@dataclass(frozen=True, eq=False)
class CouplingFilters(Band):
    """Coupling filters with their confidence bands, on the link scale.

    Attributes
    ----------
    mean, lower, upper, standard_error
        As those of `Band`, (n_from, n_to, n_lags): what an event of size one adds to the
        linear predictor of each neuron.
    level, scale
        As those of `Band`; the scale is "link".
    lags
        Samples from the event to its effect, (n_lags,).

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> spikes = np.random.default_rng(0).poisson(0.2, size=(1000, 2))
    >>> basis = nmo.basis.RaisedCosineLogConv(4, window_size=10)
    >>> X = np.asarray(basis.compute_features(spikes))
    >>> model = nmo.glm.PopulationGLM().fit(X, spikes)
    >>> found = nmo.inference.coupling_filters(nmo.inference.infer(model, X, spikes), basis)
    >>> found.mean.shape, found.lags[[0, -1]]
    ((2, 2, 10), array([ 1, 10]))
    """

    lags: np.ndarray


def mean_band(inference: Inference, X, level: float = 0.95, scale: str = "rate") -> Band:
    r"""Predict means with confidence intervals.

    They say where the mean is, not where single observations are. The interval of the linear
    predictor is :math:`x^\top \hat\theta \pm q \sqrt{x^\top C x}`; on the rate scale it is
    carried through the inverse link, so it stays among the means that are possible.

    Parameters
    ----------
    inference
        From `infer`.
    X
        Features as in `fit`, of n_points samples without NaN.
    level
        Probability that an interval covers the true value (default 0.95).
    scale
        "rate" (default) or "link".

    Returns
    -------
    Band
        Means and intervals, each (n_points, n_neurons).

    Raises
    ------
    ValueError
        If `X` is not like the features of the fit, or `level` or `scale` is none.

    References
    ----------
    Wasserman (2004), All of Statistics, section 9.9.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 1))
    >>> spikes = rng.poisson(np.exp(0.5 * X))
    >>> model = nmo.glm.PopulationGLM().fit(X, spikes)
    >>> result = nmo.inference.infer(model, X, spikes)
    >>> band = nmo.inference.mean_band(result, np.array([[0.0], [1.0]]))
    >>> bool(np.all((band.lower < band.mean) & (band.mean < band.upper)))
    True
    """
    _check_one_mean(inference)
    matrix, layout = _inputs.design_matrix(X)
    _coefficients.check_features(
        layout, inference.layout.split(inference.estimate.T[:-1]), "the model"
    )
    rows = np.column_stack([matrix, np.ones(len(matrix))])
    return Band(**_band(inference, rows, level, scale))


def tuning_curve(
    inference: Inference,
    basis: Basis,
    features: Any = None,
    *,
    n_points: int = 100,
    level: float = 0.95,
    scale: str = "rate",
) -> TuningCurve:
    """Find the tuning curves that a basis of one input makes, with confidence bands.

    All other features are held at their mean over the data of the fit. A band is pointwise: it
    covers the curve with the given probability at each point, not everywhere at once.

    Parameters
    ----------
    inference
        From `infer`.
    basis
        The Eval basis, with one input, that made the features.
    features
        Label of the features in the container `X` (default: the label of the basis, if `X` has
        it), or the first of their columns; None for an array `X` of this basis alone.
    n_points
        Number of points of the curve, evenly over the bounds of the basis (default 100).
    level
        Probability that an interval covers the true value (default 0.95).
    scale
        "rate" (default), in units of `y`, or "link".

    Returns
    -------
    TuningCurve
        Means and intervals, each (n_points, n_neurons), and the grid, (n_points,).

    Raises
    ------
    ValueError
        If the features are unknown or not as many as the basis has functions.

    References
    ----------
    Wood (2017), Generalized Additive Models, section 6.10.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> rng = np.random.default_rng(0)
    >>> basis = nmo.basis.BSplineEval(5, bounds=(0, 1), label="position")
    >>> position = rng.uniform(size=500)
    >>> X = {"position": basis.compute_features(position)}
    >>> spikes = rng.poisson(np.exp(np.sin(6 * position)))[:, None]
    >>> kwargs = {"regularizer": "Ridge", "regularizer_strength": 1e-3}
    >>> model = nmo.glm.PopulationGLM(**kwargs).fit(X, spikes)
    >>> result = nmo.inference.infer(model, X, spikes)
    >>> curve = nmo.inference.tuning_curve(result, basis)
    >>> curve.grid.shape, curve.mean.shape
    ((100,), (100, 1))
    """
    _check_one_mean(inference)
    grid, functions = basis.evaluate_on_grid(n_points)
    functions = np.asarray(functions, float)
    columns = _columns(inference, basis, features, basis.n_basis_funcs)
    if columns.stop - columns.start != functions.shape[1]:
        raise ValueError(
            f"basis has {functions.shape[1]} functions, but the features {features!r} have "
            f"{columns.stop - columns.start} columns: pass the basis that made them."
        )
    rows = np.tile(np.append(inference.reference, 1.0), (n_points, 1))
    rows[:, columns] = functions
    return TuningCurve(**_band(inference, rows, level, scale), grid=np.asarray(grid))


def coupling_filters(
    inference: Inference, basis: Any, features: Any = None, *, level: float = 0.95
) -> CouplingFilters:
    r"""Find the filters that a Conv basis makes of its coefficients, with confidence bands.

    The filter from a channel of the input to a neuron is :math:`h(l) = \sum_b k_b(l)\, w_b` with
    the functions of the basis and the neuron's coefficients. A band is pointwise: it covers the
    filter with the given probability at each lag, not everywhere at once.

    Parameters
    ----------
    inference
        From `infer`.
    basis
        The Conv basis that made the features; the filters of all channels of its input, such as
        the units of a population, have the same functions.
    features
        Label of the features in the container `X` (default: the label of the basis, if `X` has
        it), or the first of their columns; None for an array `X` of this basis alone.
    level
        Probability that an interval covers the true value (default 0.95).

    Returns
    -------
    CouplingFilters
        Filters and intervals on the link scale, each (n_from, n_to, n_lags), and the lags in
        samples, (n_lags,). `spikax.plotting.coupling_filters` draws them.

    Raises
    ------
    ValueError
        If the features are unknown, or their number is no multiple of the basis's functions.
    AttributeError
        If the basis does not convolve.

    References
    ----------
    Pillow et al. (2008), Nature 454, 995.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> spikes = np.random.default_rng(0).poisson(0.2, size=(1000, 3))
    >>> basis = nmo.basis.RaisedCosineLogConv(4, window_size=10, label="coupling")
    >>> X = {"coupling": basis.compute_features(spikes)}
    >>> model = nmo.glm.PopulationGLM().fit(X, spikes)
    >>> found = nmo.inference.coupling_filters(nmo.inference.infer(model, X, spikes), basis)
    >>> ax = nmo.plotting.coupling_filters(
    ...     found.mean[0], found.lags, lower=found.lower[0], upper=found.upper[0], unit="bins"
    ... )
    >>> len(ax.lines)  # from unit 0 to each of the three, and the line of no effect
    4
    """
    _check_one_mean(inference)
    kernel, lags = np.asarray(basis.kernel_, float), basis.lags_
    width = basis.n_output_features or basis.n_basis_funcs
    columns = _columns(inference, basis, features, width)
    n_from, left = divmod(columns.stop - columns.start, kernel.shape[1])
    if left:
        raise ValueError(
            f"basis has {kernel.shape[1]} functions, but the features {features!r} have "
            f"{columns.stop - columns.start} columns, which is no multiple of it: pass the basis "
            "that made them."
        )
    rows = np.zeros((n_from, len(lags), len(inference.reference) + 1))
    rows[:, :, columns] = np.kron(np.eye(n_from), kernel).reshape(n_from, len(lags), -1)
    found = _band(inference, rows.reshape(-1, rows.shape[2]), level, "link")
    filters: dict[str, Any] = {
        name: value.reshape(n_from, len(lags), -1).swapaxes(1, 2)
        if isinstance(value, np.ndarray)
        else value
        for name, value in found.items()
    }
    return CouplingFilters(**filters, lags=lags)


def _check_one_mean(inference: Inference) -> None:
    if inference.outputs.n_predictors > 1:
        what = "a classifier has a probability for each class"
        if inference.classes is None:
            what = f"this one has the predictors {' and '.join(inference.outputs.predictors)}"
        raise ValueError(
            f"Bands are of models with one mean for a neuron, and {what}: "
            "inference.combine(rows) has standard errors of linear predictors."
        )


def _columns(inference: Inference, basis: Basis, features: Any, width: int) -> slice:
    n_features = len(inference.reference)
    if isinstance(features, int | np.integer):
        if not 0 <= features <= n_features - width:
            raise ValueError(
                f"features is {features}, but the {width} columns of the basis must begin "
                f"between 0 and {n_features - width}."
            )
        return slice(int(features), int(features) + width)
    if not inference.groups and features is None:
        return slice(0, n_features)
    label = basis.label if features is None else features
    if label not in inference.groups:
        raise unknown_name("features", label, inference.groups)
    return inference.groups[label]


def _band(inference: Inference, rows: np.ndarray, level: float, scale: str) -> dict[str, Any]:
    if scale not in SCALES:
        raise unknown_name("scale", scale, SCALES)
    eta, error = inference.combine(rows)
    reach = quantile(level, inference.dof)[None] * error
    band = {"mean": eta, "lower": eta - reach, "upper": eta + reach, "standard_error": error}
    if scale == "rate":
        with jax.enable_x64(True):
            mean, *ends = (
                mean_of(inference.likelihood, band[k]) for k in ("mean", "lower", "upper")
            )
            slope = jax.jvp(inference.likelihood.mean, (eta,), (np.ones_like(eta),))[1]
        band = {"mean": mean, "lower": np.minimum(*ends), "upper": np.maximum(*ends)}
        steepness = np.where(np.isinf(error), 1, np.abs(slope))
        band["standard_error"] = steepness * error
    return {**band, "level": level, "scale": scale}
