"""Solvers that users wrote for NeMoS: classes made of a loss, a regularizer and a strength."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import jax
import jax.numpy as jnp

from spikax.core.objective import penalty_value, proximal_step
from spikax.solvers.external._each import Data, loss, proximal_residual

MEMBERS = ("init_state", "update", "run")
_GIVEN = ("unregularized_loss", "regularizer", "regularizer_strength", "has_aux", "init_params")


def accepted(kind: Any) -> tuple[str, ...]:
    """Name the arguments of a class's constructor that `solver_kwargs` may hold."""
    if hasattr(kind, "get_accepted_arguments"):
        names = tuple(kind.get_accepted_arguments())
    else:
        kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        every = signature(kind).parameters.values()
        names = tuple(p.name for p in every if p.kind in kinds)
    return tuple(name for name in names if name not in _GIVEN)


@dataclass(frozen=True)
class ByContract:
    """Steps of such a class, for one neuron.

    Parameters
    ----------
    kind
        The class: its `init_state(params, *args)` makes a state, and the first two things that
        `update(params, state, *args)` gives are parameters and a state. When to stop is not left
        to its `run`.
    options
        Further arguments of its constructor, as (name, value) pairs.
    """

    patience = 1
    needs_double = False

    kind: type
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def needs_smooth(self) -> bool:
        """Whether the penalty must have a gradient everywhere: no if it says it is proximal."""
        return not getattr(self.kind, "_proximal", False)

    def begin(self, data: Data, theta: jax.Array) -> Any:
        """Make its state."""
        return self._made(data, theta).init_state(theta, data)

    def step(self, data: Data, theta: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        """Take one of its steps."""
        theta, state, *_ = self._made(data, theta).update(theta, state, data)
        return theta, state

    def error(self, data: Data, theta: jax.Array, state: Any) -> jax.Array:
        """Norm of the gradient, or of the proximal step of unit length."""
        return proximal_residual(*data, theta[:, None])[0]

    def _made(self, data: Data, theta: jax.Array) -> Any:
        def unregularized_loss(theta, data):
            return loss(theta, data._replace(objective=data.objective.without_penalty()))

        given = (unregularized_loss, _PenaltyOfNeuron(data), None, False, theta)
        return self.kind(**dict(zip(_GIVEN, given, strict=True)), **dict(self.options))


@dataclass(frozen=True)
class _PenaltyOfNeuron:
    """What such a class asks of a regularizer; the strength is that of the fit."""

    data: Data

    def penalized_loss(self, loss: Callable, params: Any, strength: Any) -> Callable:
        def penalized(theta, data):
            return loss(theta, data) + penalty_value(data.objective, theta[:, None])[0]

        return penalized

    def get_proximal_operator(self, params: Any, strength: Any) -> Callable:
        def prox(theta, hyperparams=None, scaling=1.0):
            step = jnp.asarray(scaling, theta.dtype)[None]
            return proximal_step(self.data.objective, theta[:, None], step)[:, 0]

        return prox
