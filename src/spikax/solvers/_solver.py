"""What a fit asks of a solver."""

from dataclasses import field
from numbers import Real
from typing import Any, Protocol, runtime_checkable

import jax

from spikax.problem import Problem
from spikax.solvers._outcome import Outcome


def positive(default: Any, kind: type = Real, static: bool = False) -> Any:
    """Make a field of a solver that must be a positive number, of a kind."""
    return field(default=default, metadata={"positive": kind, "static": static})


@runtime_checkable
class Solver(Protocol):
    """What a fit asks of a solver.

    Solvers are frozen dataclasses that are pytrees: what a user tunes (`tol`, `maxiter`) is a
    leaf, and what changes the program is static. The neurons of a problem are separate problems,
    and each has its own steps and its own convergence.

    Examples
    --------
    A solver of your own needs these members. `register` checks them, makes a name
    for it, and tells JAX of it:

    >>> from dataclasses import dataclass
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import spikax as nmo
    >>> from spikax.problem import null_model, value_and_grad, without_features
    >>> from spikax.solvers import Outcome, Status
    >>> @dataclass(frozen=True)
    ... class Descent:
    ...     needs_smooth = True
    ...     needs_double = False
    ...
    ...     stepsize: float = 0.1
    ...     maxiter: int = 2000
    ...
    ...     def run(self, problem, theta):
    ...         if theta is None:
    ...             theta = without_features(problem, null_model(problem))
    ...
    ...         def step(_, theta):
    ...             return self.update(problem, theta, None)[0]
    ...
    ...         theta = jax.lax.fori_loop(0, self.maxiter, step, theta)
    ...         value = value_and_grad(problem, theta)[0]
    ...         steps = jnp.full(value.shape, self.maxiter)
    ...         status = jnp.full(value.shape, Status.CONVERGED)
    ...         return Outcome(theta, value, steps, status, self.maxiter)
    ...
    ...     def init(self, problem, theta):
    ...         return None
    ...
    ...     def update(self, problem, theta, state):
    ...         return theta - self.stepsize * value_and_grad(problem, theta)[1], state
    >>> isinstance(Descent(), nmo.solvers.Solver)
    True
    >>> nmo.solvers.register("Descent", Descent)
    >>> X = [[0.0], [1.0], [2.0], [3.0]]
    >>> model = nmo.glm.GLM("Gaussian", solver_name="Descent").fit(X, [1.0, 3.0, 5.0, 7.0])
    >>> print(model.coef_.round(3))
    [2.]
    """

    @property
    def needs_smooth(self) -> bool:
        """Whether the penalty must have a gradient everywhere."""
        ...

    @property
    def needs_double(self) -> bool:
        """Whether single precision is too coarse for its way of choosing steps."""
        ...

    def run(self, problem: Problem, theta: jax.Array | None) -> Outcome:
        """Minimise the penalised loss of every neuron.

        Parameters
        ----------
        problem
            Data, penalty and family; `spikax.problem` has its loss and gradient.
        theta
            Where to start, shaped as `Problem` says; None for a start of the solver's own.

        Returns
        -------
        Outcome
            What was found, neuron by neuron.
        """
        ...

    def init(self, problem: Problem, theta: jax.Array) -> Any:
        """Prepare the state that `update` carries from batch to batch.

        Parameters
        ----------
        problem
            The first batch.
        theta
            Where to start, shaped as `Problem` says.

        Returns
        -------
        state
            A pytree of arrays, or None.
        """
        ...

    def update(self, problem: Problem, theta: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        """Take one step on a batch.

        Parameters
        ----------
        problem
            The batch.
        theta
            Parameters before the step, shaped as `Problem` says.
        state
            From `init`, or from the last update.

        Returns
        -------
        theta, state
            Parameters after the step, and what the next update is given.
        """
        ...
