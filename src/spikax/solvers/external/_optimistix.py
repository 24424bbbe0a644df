"""optimistix's minimisers, imported only when one of them is asked for."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from spikax.solvers.external._each import Data, loss

OPTIONS = {
    "BFGS": ("use_inverse",),
    "LBFGS": ("use_inverse", "history_length"),
    "NonlinearCG": ("method",),
}


@dataclass(frozen=True)
class Optimistix:
    """Steps of a minimiser of optimistix's (Rader, Lyons & Kidger 2024, arXiv:2402.09983).

    Parameters
    ----------
    name
        Name of the class in optimistix.
    options
        Its arguments, as (name, value) pairs.
    """

    needs_smooth = True
    # Its line search compares losses, which single precision cannot tell apart near an optimum.
    needs_double = True
    # A refused point is a step, and the next one is shorter.
    patience = 30

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    def begin(self, data: Data, theta: jax.Array) -> Any:
        """Make the arrays of the minimiser's state."""
        return self._begin(data, theta)[0]

    def step(self, data: Data, theta: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        """Try a point."""
        import equinox

        state = equinox.combine(state, self._begin(data, theta)[1])
        arguments = (_objective, theta, data, {}, state, frozenset())
        theta, state, _ = self._method().step(*arguments)
        return theta, equinox.filter(state, equinox.is_array)

    def error(self, data: Data, theta: jax.Array, state: Any) -> jax.Array:
        """Norm of the gradient at the last point accepted."""
        return jnp.where(state.first_step, jnp.inf, jnp.linalg.norm(state.f_info.grad))

    def _begin(self, data: Data, theta: jax.Array) -> tuple[Any, Any]:
        """Make the minimiser's state: its arrays, and the functions that it keeps with them."""
        import equinox

        value = jax.ShapeDtypeStruct((), theta.dtype)
        state = self._method().init(_objective, theta, data, {}, value, None, frozenset())
        return equinox.partition(state, equinox.is_array)

    def _method(self) -> Any:
        import optimistix

        # When to stop is not left to it.
        return getattr(optimistix, self.name)(rtol=0.0, atol=0.0, **dict(self.options))


def _objective(theta: jax.Array, data: Data) -> tuple[jax.Array, None]:
    return loss(theta, data), None
