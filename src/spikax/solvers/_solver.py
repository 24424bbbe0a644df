"""What a fit asks of a solver."""

from dataclasses import field
from numbers import Real
from typing import Any, Protocol, runtime_checkable

import jax

from spikax.core.hessians import Precomputed
from spikax.core.objective import Objective
from spikax.core.samples import Samples
from spikax.solvers._convergence import Outcome


def positive(default: Any, kind: type = Real, static: bool = False) -> Any:
    """Make a field of a solver that must be a positive number, of a kind."""
    return field(default=default, metadata={"positive": kind, "static": static})


@runtime_checkable
class Solver(Protocol):
    """What a fit asks of a solver.

    Solvers are frozen dataclasses that are pytrees: what a user tunes (`tol`, `maxiter`) is a
    leaf, and what changes the program is static. The neurons are separate problems, and
    each has its own steps and its own convergence.

    Examples
    --------
    A solver of your own needs these members. `register` checks them, makes a name
    for it, and tells JAX of it:

    >>> from dataclasses import dataclass
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import spikax as nmo
    >>> from spikax.core import null_model, null_parameters, value_and_grad
    >>> from spikax.solvers import Outcome, Status
    >>> @dataclass(frozen=True)
    ... class Descent:
    ...     needs_smooth = True
    ...     needs_double = False
    ...
    ...     stepsize: float = 0.1
    ...     maxiter: int = 2000
    ...
    ...     def run(self, objective, samples, theta, precomputed):
    ...         if theta is None:
    ...             theta = null_parameters(objective, null_model(objective, samples))
    ...
    ...         def step(_, theta):
    ...             return self.update(objective, samples, theta, None)[0]
    ...
    ...         theta = jax.lax.fori_loop(0, self.maxiter, step, theta)
    ...         value = value_and_grad(objective, samples, theta)[0]
    ...         steps = jnp.full(value.shape, self.maxiter)
    ...         status = jnp.full(value.shape, Status.CONVERGED)
    ...         return Outcome(theta, value, steps, status, self.maxiter)
    ...
    ...     def init(self, objective, samples, theta, precomputed):
    ...         return None
    ...
    ...     def update(self, objective, samples, theta, state):
    ...         gradient = value_and_grad(objective, samples, theta)[1]
    ...         return theta - self.stepsize * gradient, state
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

    def run(
        self,
        objective: Objective,
        samples: Samples,
        theta: jax.Array | None,
        precomputed: Precomputed,
    ) -> Outcome:
        """Minimise the objective of every neuron.

        Parameters
        ----------
        objective, samples
            Likelihood and penalty, and the data; `spikax.core` has their loss and gradient.
        theta
            Where to start, shaped as `Objective` says; None for a start of the solver's own.
        precomputed
            What is known of the features and the Hessians beforehand.

        Returns
        -------
        Outcome
            What was found, neuron by neuron.
        """
        ...

    def init(
        self, objective: Objective, samples: Samples, theta: jax.Array, precomputed: Precomputed
    ) -> Any:
        """Prepare the state that `update` carries from batch to batch.

        Parameters
        ----------
        objective, samples
            The first batch.
        theta
            Where to start, shaped as `Objective` says.
        precomputed
            As in `run`.

        Returns
        -------
        state
            A pytree of arrays, or None.
        """
        ...

    def update(
        self, objective: Objective, samples: Samples, theta: jax.Array, state: Any
    ) -> tuple[jax.Array, Any]:
        """Take one step on a batch.

        Parameters
        ----------
        objective, samples
            The batch.
        theta
            Parameters before the step, shaped as `Objective` says.
        state
            From `init`, or from the last update.

        Returns
        -------
        theta, state
            Parameters after the step, and what the next update is given.
        """
        ...
