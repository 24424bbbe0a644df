"""jaxopt's solvers.

jaxopt is no longer maintained and warns when it is imported: it is imported only when one of its
solvers is asked for, and nothing else depends on it.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from spikax.core.objective import proximal_step
from spikax.solvers.external._each import Data, loss, proximal_residual

_COMMON = ("stepsize", "maxls", "decrease_factor")
_LINE_SEARCH = (
    *_COMMON,
    "linesearch",
    "linesearch_init",
    "condition",
    "increase_factor",
    "max_stepsize",
    "min_stepsize",
)
OPTIONS = {
    "GradientDescent": (*_COMMON, "acceleration"),
    "ProximalGradient": (*_COMMON, "acceleration"),
    "LBFGS": (*_LINE_SEARCH, "history_size", "use_gamma"),
    "BFGS": _LINE_SEARCH,
    "NonlinearCG": (*_LINE_SEARCH, "method"),
}


@dataclass(frozen=True)
class Jaxopt:
    """Steps of a solver of jaxopt's.

    Parameters
    ----------
    name
        Name of the class in jaxopt.
    options
        Its arguments, as (name, value) pairs.
    """

    patience = 1

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def needs_smooth(self) -> bool:
        """Whether the penalty must have a gradient everywhere."""
        return self.name != "ProximalGradient"

    @property
    def needs_double(self) -> bool:
        """Whether single precision is too coarse: yes for steps that the loss alone accepts.

        A loss in single precision cannot tell a gradient of 1e-4 from none: there the steps of
        the methods with momentum grow past what converges.
        """
        return "acceleration" in OPTIONS[self.name]

    def begin(self, data: Data, theta: jax.Array) -> Any:
        """Make jaxopt's state."""
        return _method(self, data).init_state(theta, *_arguments(self, data))

    def step(self, data: Data, theta: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        """Take one of jaxopt's steps."""
        return tuple(_method(self, data).update(theta, state, *_arguments(self, data)))

    def error(self, data: Data, theta: jax.Array, state: Any) -> jax.Array:
        """Norm of the gradient, or of the proximal step of unit length."""
        if self.needs_double:
            # jaxopt takes the distance of iterates, which vanishes where their momentum turns.
            return proximal_residual(*data, theta[:, None])[0]
        return state.error


def _method(algorithm: Jaxopt, data: Data):
    """Make jaxopt's solver for one neuron."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import jaxopt

    def smooth_part(theta, data):
        if not algorithm.needs_smooth:
            data = data._replace(objective=data.objective.without_penalty())
        return loss(theta, data)

    # When to stop is not left to it.
    arguments: dict[str, Any] = {"maxiter": 1, "tol": 0.0, "implicit_diff": False}
    if not algorithm.needs_smooth:

        def prox(theta, data, step):
            step = jnp.asarray(step)[None]
            return proximal_step(data.objective, theta[:, None], step)[:, 0]

        arguments["prox"] = prox
    if algorithm.needs_double:
        # Fifteen halvings from a step of one, its own number, do not reach steps that are stable
        # where the curvature is more than 3e4.
        arguments["maxls"] = 60
    return getattr(jaxopt, algorithm.name)(smooth_part, **(arguments | dict(algorithm.options)))


def _arguments(algorithm: Jaxopt, data: Data) -> tuple[Data, ...]:
    return (data,) if algorithm.needs_smooth else (data, data)
