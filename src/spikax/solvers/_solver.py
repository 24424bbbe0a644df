"""What a fit asks of a solver."""

from typing import Any, Protocol, runtime_checkable

import jax

from spikax.problem import Problem
from spikax.solvers._outcome import Outcome


@runtime_checkable
class Solver(Protocol):
    """What a fit asks of a solver.

    Solvers are frozen dataclasses registered with JAX: what a user tunes (`tol`, `maxiter`) is a
    leaf, and what changes the program is static. The neurons of a problem are separate problems,
    and each has its own steps and its own convergence.
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
        """Minimise from `theta`, or from a start of the solver's own."""
        ...

    def init(self, problem: Problem, theta: jax.Array) -> Any:
        """Prepare the state that `update` carries from batch to batch."""
        ...

    def update(self, problem: Problem, theta: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        """Take one step on a batch."""
        ...
