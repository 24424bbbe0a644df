"""A model whose names are resolved: what it makes of data, and what a fit makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.dtypes import canonicalize_dtype
from sklearn.utils.validation import validate_data

from spikax import _coefficients, _inputs, _labels
from spikax._assemble import Problem, assemble
from spikax._coefficients import CoefficientShape
from spikax._inputs import Data
from spikax._layout import Layout, Outputs
from spikax._time_series import TimeSeries, check_times
from spikax._values import column_of, finite_rows
from spikax.core.penalties import Penalty
from spikax.core.standardise import Standardisation
from spikax.design import FeatureSource
from spikax.observation_models import Likelihood, Observations
from spikax.observation_models._observations import Links
from spikax.regularizer import Regularizer
from spikax.solvers import Solver, make_solver


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """What an estimator's arguments stand for.

    Parameters
    ----------
    name
        What the estimator is called, for messages.
    observation_model, link, regularizer
        What the names stand for.
    regularizer_strength, solver_name, solver_kwargs, feature_mask, fit_intercept, weight_type
        As the estimator was given them.
    single
        Whether it has no axis of neurons.
    n_classes
        Number of classes, None for observations with one linear predictor.
    classes
        Labels of the classes, where they are known.
    factor
        What a fit chose to scale the penalty by, (n_neurons,); None where it chose nothing.
    """

    name: str
    observation_model: Observations
    link: Links
    regularizer: Regularizer
    regularizer_strength: Any = None
    solver_name: Any = None
    solver_kwargs: Any = None
    feature_mask: Any = None
    fit_intercept: bool = True
    weight_type: str = "precision"
    single: bool = False
    n_classes: int | None = None
    classes: np.ndarray | None = None
    factor: Any = None

    @property
    def likelihood(self) -> Likelihood:
        """The likelihood of observations, at the dispersion where that is known."""
        return Likelihood.of(self.observation_model, self.link)

    def solver(self) -> Solver:
        """Make the solver."""
        return make_solver(self.solver_name, self.solver_kwargs, self.regularizer)

    def without_choice(self) -> ModelSpec:
        """Take nothing from an earlier fit."""
        return replace(self, factor=None)

    def outputs(self, n_neurons: int) -> Outputs:
        """Tell how the linear predictors of so many neurons lie in the user's arrays."""
        return Outputs(n_neurons, self.n_classes, self.single, self.observation_model.predictors)

    # --- From data to what is minimised.

    def check(self, X, y, sample_weight=None, offset=None, afresh: bool = False) -> Data:
        """Check samples; `afresh` takes no classes from an earlier fit if `y` has enough."""
        if y is None:
            raise ValueError(
                f"This {self.name} requires y to be passed, but the target y is None."
            )
        classes = self.classes
        if self.n_classes is not None:
            if classes is None or afresh:
                classes = find_classes(y, self.n_classes, classes)
            y = _labels.encode(y, classes)
        data = _inputs.samples(
            X,
            y,
            sample_weight,
            offset,
            self.observation_model,
            self.single,
            self.n_classes,
            self.weight_type,
            afresh,
        )
        return data if classes is None else data._replace(classes=classes)

    def penalty(self, data: Data) -> tuple[np.ndarray | None, Penalty]:
        """Check the mask of features, and build the penalty of the strength."""
        outputs = self.outputs(data.y.shape[1])
        mask = _coefficients.feature_mask(self.feature_mask, data.layout, outputs)
        shape = CoefficientShape(data.layout, outputs, mask)
        penalty = self.regularizer.penalty(self.regularizer_strength, shape)
        if self.factor is None:
            return mask, penalty
        factor = np.reshape(self.factor, (1, -1)).astype(float)
        if factor.shape[1] != outputs.n_neurons:
            raise ValueError(
                f"y has {outputs.n_neurons} neurons, the fit chose strengths for "
                f"{factor.shape[1]}: pass the neurons of the fit, or fit again."
            )
        return mask, penalty.scaled(factor)

    def assemble(
        self, data: Data, standardisation: Standardisation | None = None, normaliser: Any = None
    ) -> Problem:
        """Build objective and samples."""
        mask, penalty = self.penalty(data)
        return assemble(
            data,
            mask=mask,
            penalty=penalty,
            fit_intercept=self.fit_intercept,
            likelihood=self.likelihood,
            standardisation=standardisation,
            normaliser=normaliser,
        )

    # --- Parameters, there and back.

    def parameters(self, params: Any, argument: str, data: Data, xp: Any = np) -> tuple[Any, Any]:
        """Bring (coef, intercept) to (n_features, n_columns) and (n_columns,), checked."""
        outputs = self.outputs(data.y.shape[1])
        return _coefficients.parameters(params, argument, data.layout, outputs, xp)

    def theta(
        self, params: Any, argument: str, data: Data, standardisation: Standardisation
    ) -> np.ndarray:
        """Bring (coef, intercept) to the parameters of an objective."""
        theta = standardisation.from_user(*self.parameters(params, argument, data))
        return theta.reshape(-1, data.y.shape[1]).astype(canonicalize_dtype(float))

    def start(self, init_params: Any, data: Data, problem: Problem) -> Any:
        """Tell where a fit starts; None is the model without features."""
        if init_params is None:
            return None
        theta = self.theta(init_params, "init_params", data, problem.standardisation)
        return theta * problem.objective.mask

    def unpack(
        self, theta: Any, standardisation: Standardisation, data: Data
    ) -> tuple[Any, np.ndarray]:
        """Bring the parameters of an objective to the user's units and shapes."""
        outputs = self.outputs(data.y.shape[1])
        columns = np.asarray(theta, float).reshape(data.layout.n_features + 1, -1)
        coef, intercept = standardisation.to_user(columns)
        # As precise as the features, for nearly collinear ones need every digit, and as `theta`.
        dtype = np.result_type(data.X.dtype, theta.dtype, canonicalize_dtype(float))
        intercept = outputs.restored(intercept[None].astype(dtype), outputs.intercept)[0]
        return outputs.split(coef.astype(dtype), data.layout), intercept

    def n_used(self, theta: np.ndarray) -> np.ndarray:
        """Count the parameters that are not zero, less what classes have in common."""
        n_predictors = self.observation_model.n_predictors
        used = (theta != 0)[:-n_predictors].reshape(-1, n_predictors, theta.shape[1])
        n_used = used.sum(axis=(0, 1))
        if self.n_classes is None:
            return n_used + n_predictors * self.fit_intercept
        return n_used - used.all(axis=1).sum(axis=0) + (n_predictors - 1) * self.fit_intercept


def find_classes(y: Any, n_classes: int, known: np.ndarray | None) -> np.ndarray:
    """Take the labels of `y` for the classes if they are as many, else those known."""
    classes = _labels.find_classes(y, n_classes)
    classes = known if classes is None else classes
    if classes is None or len(classes) != n_classes:
        raise _labels.wrong_number(y, n_classes)
    return classes


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A model and what a fit found.

    Parameters
    ----------
    estimator
        The estimator, whose feature names scikit-learn compares.
    spec
        What its arguments stand for.
    coef, intercept
        Its `coef_` and `intercept_`.
    scale
        Its `scale_`, (n_neurons,).
    dof_resid
        Its `dof_resid_`, (n_neurons,).
    status
        A `Status` of each neuron, (n_neurons,); None where it is not known.
    columns
        Labels of the neurons, and pynapple's metadata of them; None where they have numbers.
    """

    estimator: Any
    spec: ModelSpec
    coef: Any
    intercept: np.ndarray
    scale: np.ndarray
    dof_resid: np.ndarray
    status: np.ndarray | None
    columns: tuple[np.ndarray, dict[str, np.ndarray]] | None

    @property
    def neurons(self) -> np.ndarray:
        """What the neurons are called, (n_neurons,)."""
        return np.arange(self.scale.size) if self.columns is None else self.columns[0]

    @property
    def outputs(self) -> Outputs:
        """How the linear predictors lie in the user's arrays."""
        return self.spec.outputs(self.scale.size)

    def check_neurons(self, n_neurons: int, advice: str = "") -> None:
        """Refuse another number of neurons."""
        if n_neurons != self.scale.size:
            raise ValueError(
                f"y has {n_neurons} neurons, the model was fitted to {self.scale.size}{advice}."
            )

    def features(self, X: Any) -> tuple[np.ndarray | FeatureSource, Layout]:
        """Bring X to a matrix, checked against the coefficients."""
        matrix, layout = _inputs.features(X, self.spec.observation_model, self.spec.n_classes)
        _coefficients.check_features(layout, self.coef, self.spec.name)
        check_feature_names(self.estimator, X, reset=False)
        _inputs.known_rows(matrix, layout)
        return matrix, layout

    def linear_predictor(
        self, matrix: np.ndarray | FeatureSource, layout: Layout, offset: Any, coef: Any = None
    ) -> np.ndarray:
        """Compute the linear predictors, (n_samples, n_columns)."""
        check_times({"X": layout.series, "offset": offset})
        leaves = jax.tree_util.tree_leaves(self.coef if coef is None else coef)
        columns = self.outputs.join([np.asarray(leaf) for leaf in leaves], layout)
        eta = np.asarray(matrix @ columns) + self.outputs.columns(self.intercept)
        added = _inputs.offsets(offset, len(eta), self.outputs)
        if added is None:
            return eta
        finite_rows(added, partial(column_of, "offset", added.shape[1]))
        return eta + added

    def like_features(self, array: np.ndarray, layout: Layout) -> Any:
        """Give a prediction the time axis of X and the columns of y, where they have them."""
        array = array[:, 0] if self.spec.single else array
        if not isinstance(layout.series, TimeSeries):
            return array
        import pynapple as nap

        time = {"t": layout.series.t, "time_support": layout.series.time_support}
        if self.spec.single:
            return nap.Tsd(d=array, **time)
        columns, metadata = (None, None) if self.columns is None else self.columns
        return nap.TsdFrame(d=array, columns=columns, metadata=metadata, **time)

    def with_classes(self, array: np.ndarray, layout: Layout) -> Any:
        """Give a prediction of each class the time axis of X, where it has one."""
        array = array[:, 0] if self.spec.single else array
        if not isinstance(layout.series, TimeSeries):
            return array
        import pynapple as nap

        time = {"t": layout.series.t, "time_support": layout.series.time_support}
        if self.spec.single:
            return nap.TsdFrame(d=array, columns=self.spec.classes, **time)
        return nap.TsdTensor(d=array, **time)


def check_fitted_shapes(model: FittedModel, outputs: Outputs) -> None:
    """Refuse coefficients, intercepts and scales, set by hand, that do not fit each other."""
    shapes = {f"coef_{name}": np.shape(leaf) for name, leaf in _named_leaves(model.coef)}
    fits = model.intercept.shape == outputs.intercept and model.scale.size == outputs.n_neurons
    fits &= all(s[1:] == outputs.trailing and len(s) > 0 for s in shapes.values())
    if not fits:
        shapes |= {"intercept_": model.intercept.shape, "scale_": model.scale.shape}
        trailing = ", ".join(map(str, ("n_features", *outputs.trailing)))
        found = ", ".join(f"{name} of shape {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"{found} do not fit each other: a {model.spec.name} with intercept_ of shape "
            f"{outputs.intercept} has coef_ of shape ({trailing}) and scale_ of shape "
            f"({outputs.n_neurons},)."
        )


def _named_leaves(coef: Any) -> list[tuple[str, Any]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(coef)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def check_feature_names(estimator: Any, X: Any, reset: bool) -> None:
    """Keep, or compare, the names of a data frame's columns, as scikit-learn does."""
    if isinstance(X, np.ndarray | jax.Array) and not hasattr(estimator, "feature_names_in_"):
        return  # there are none, which takes scikit-learn longer to find
    validate_data(
        estimator,
        X,  # pyright: ignore[reportArgumentType]
        "no_validation",
        reset=reset,
        skip_check_array=True,
        ensure_2d=False,
    )
