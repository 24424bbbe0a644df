"""The constructor's arguments: what the names in them stand for."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from spikax import observation_models, regularizer
from spikax._model import ModelSpec
from spikax.links import LOG_SOFTMAX
from spikax.observation_models import Observations
from spikax.observation_models._observations import Links, links_of
from spikax.regularizer import Regularizer
from spikax.solvers import Solver, SolverSpec, get_solver
from spikax.solvers._registry import default_solver

# What names in these arguments stand for.
_RESOLVED: dict[str, Callable] = {
    "observation_model": observation_models.resolve,
    "regularizer": regularizer.resolve,
}


class Arguments(BaseEstimator):
    """What estimators are constructed with, stored as it is given."""

    _single = False

    def __init__(
        self,
        observation_model="Poisson",
        inverse_link_function=None,
        regularizer=None,
        regularizer_strength=None,
        solver_name=None,
        solver_kwargs=None,
        feature_mask=None,
        fit_intercept=True,
        weight_type="precision",
    ):
        self.observation_model = observation_model
        self.inverse_link_function = inverse_link_function
        self.regularizer = regularizer
        self.regularizer_strength = regularizer_strength
        self.solver_name = solver_name
        self.solver_kwargs = solver_kwargs
        self.feature_mask = feature_mask
        self.fit_intercept = fit_intercept
        self.weight_type = weight_type

    def __setattr__(self, name, value):
        if name == "feature_mask" and hasattr(self, "coef_"):
            raise AttributeError(
                "feature_mask cannot be set after the model is fit: its coefficients would no "
                "longer belong to it. Set it on a new model, sklearn.base.clone(model)."
            )
        super().__setattr__(name, value)

    def set_params(self, **params):
        """Set parameters, those of objects in them as `observation_model__scale`.

        Parameters
        ----------
        **params
            New values by name. An observation model or a regularizer that was named becomes the
            object that the name stands for where a parameter of it is set.

        Returns
        -------
        self
            The model itself.

        Raises
        ------
        ValueError
            If there is no such parameter.

        Examples
        --------
        >>> from spikax.glm import GLM
        >>> GLM("NegativeBinomial").set_params(observation_model__scale=0.5)
        GLM(observation_model=NegativeBinomialObservations(scale=0.5))
        """
        named = self._get_param_names()
        for name, resolve in _RESOLVED.items():
            value = params.get(name, vars(self).get(name))
            nested = any(key.startswith(f"{name}__") for key in params)
            if nested and name in named and isinstance(value, str | None):
                params[name] = resolve(value)
        return super().set_params(**params)

    def resolve(self) -> ModelSpec:
        """Find what the names in the constructor's arguments stand for.

        Returns
        -------
        ModelSpec
            Observation model, link, regularizer and solver, and what these make of data.

        Raises
        ------
        ValueError
            If a name is unknown.
        TypeError
            If an argument is of the wrong type.

        Examples
        --------
        >>> import spikax as nmo
        >>> spec = nmo.glm.GLM(regularizer="Lasso").resolve()
        >>> spec.observation_model, spec.link.name, spec.regularizer
        (PoissonObservations(), 'exp', Lasso())
        """
        check_fit_intercept(self.fit_intercept)
        model = observation_models.resolve(self.observation_model)
        if model.sum_to_zero:
            raise ValueError(
                f"observation_model {model!r} has a linear predictor for each class: use "
                "ClassifierGLM or ClassifierPopulationGLM."
            )
        link = links_of(model, self.inverse_link_function)
        if LOG_SOFTMAX in (link if isinstance(link, tuple) else (link,)):
            raise ValueError(
                "inverse_link_function 'log_softmax' is that of ClassifierGLM and "
                f"ClassifierPopulationGLM; use {model.default_link!r} here."
            )
        return self._spec(model, link, regularizer.resolve(self.regularizer))

    def _spec(self, model: Observations, link: Links, penalty: Regularizer) -> ModelSpec:
        return ModelSpec(
            name=type(self).__name__,
            observation_model=model,
            link=link,
            regularizer=penalty,
            regularizer_strength=self.regularizer_strength,
            solver_name=self.solver_name,
            solver_kwargs=self.solver_kwargs,
            feature_mask=self.feature_mask,
            fit_intercept=self.fit_intercept,
            weight_type=self.weight_type,
            single=self._single,
        )

    @property
    def solver(self) -> Solver:
        """The solver that `solver_name` and `solver_kwargs` stand for."""
        try:
            return self.resolve().solver()
        except (ValueError, TypeError, ImportError) as error:  # scikit-learn's `dir` asks for it
            raise AttributeError(f"There is no solver: {error}") from error

    @property
    def solver_spec(self) -> SolverSpec:
        """The entry of the registry that makes the solver."""
        try:
            return get_solver(self.solver_name or default_solver(self.resolve().regularizer))
        except (ValueError, TypeError) as error:
            raise AttributeError(f"There is no solver: {error}") from error

    @property
    def optimizer_init_state(self) -> Callable:
        """The solver's `init`."""
        return self.solver.init

    @property
    def optimizer_update(self) -> Callable:
        """The solver's `update`."""
        return self.solver.update

    @property
    def optimizer_run(self) -> Callable:
        """The solver's `run`."""
        return self.solver.run

    def _arguments(self) -> tuple:
        """Collect the objects that a resolved model is made of, to be compared."""
        own = vars(self)
        chosen = own.get("classes_"), own.get("strength_")
        return (*(own[name] for name in _names_of_arguments(type(self))), *chosen)


@cache
def _names_of_arguments(kind: Any) -> list[str]:
    return kind._get_param_names()


def check_fit_intercept(fit_intercept: Any) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(fit_intercept, bool | np.bool_):
        raise TypeError(f"fit_intercept must be True or False, got {fit_intercept!r}.")
