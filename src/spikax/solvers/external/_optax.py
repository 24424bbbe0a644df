"""optax's L-BFGS, imported only when it is asked for."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from spikax.solvers.external._each import Data, loss

OPTIONS = {"LBFGS": ("memory_size", "scale_init_precond")}


@dataclass(frozen=True)
class Optax:
    """Steps of optax's limited-memory BFGS method, with its zoom line search.

    Parameters
    ----------
    name
        Name of the algorithm, in lower case that of the function in optax.
    options
        Its arguments, as (name, value) pairs.
    """

    needs_smooth = True
    needs_double = False
    patience = 1

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    def begin(self, data: Data, theta: jax.Array) -> Any:
        """Make optax's state, and evaluate the loss and its gradient."""
        return self._method().init(theta), *jax.value_and_grad(loss)(theta, data)

    def step(self, data: Data, theta: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        """Take a step."""
        from optax.tree_utils import tree_get

        state, value, gradient = state
        move, state = self._method().update(
            gradient,
            state,
            theta,
            value=value,
            grad=gradient,
            value_fn=partial(loss, data=data),
        )
        # The line search has evaluated them.
        return theta + move, (state, tree_get(state, "value"), tree_get(state, "grad"))

    def error(self, data: Data, theta: jax.Array, state: Any) -> jax.Array:
        """Norm of the gradient."""
        return jnp.linalg.norm(state[2])

    def _method(self) -> Any:
        import optax

        return getattr(optax, self.name.lower())(**dict(self.options))
