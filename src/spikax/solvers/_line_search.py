"""Which trial point of a line search to accept, and where to look next, for many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float


def judge(
    value: Float[Array, " neuron"],
    new_value: Float[Array, " neuron"],
    before: Float[Array, " neuron"],
    after: Float[Array, " neuron"],
    step: Float[Array, " neuron"],
) -> tuple[Bool[Array, " neuron"], Float[Array, " neuron"]]:
    """Judge a trial point by its value and the slopes at both ends.

    Sufficient decrease is enough for a convex loss. Where rounding hides a decrease, the slopes
    decide (Hager & Zhang 2005, SIAM J. Optim. 16, eq. 4.1).

    Returns
    -------
    accepted
        Whether the point will do.
    next_step
        The step to try if it will not.
    """
    finite = jnp.isfinite(new_value) & jnp.isfinite(after)
    rounding = 10 * jnp.finfo(value.dtype).eps * jnp.abs(value)
    decreased = new_value <= value + 1e-4 * step * jnp.minimum(before, 0)
    flat = (new_value <= value + rounding) & (after <= -0.8 * before)
    secant = jnp.clip(before / (before - after), 0.1, 0.7)
    return finite & (decreased | flat), step * jnp.where(finite & (after > 0), secant, 0.25)


def choose(condition: Bool[Array, " neuron"], new: jax.Array, old: jax.Array) -> jax.Array:
    """Take `new` for the neurons, on the last axis, that meet the condition, else `old`."""
    return jnp.where(condition.reshape((1,) * (new.ndim - 1) + (-1,)), new, old)


def push(queue: Float[Array, "entry *row neuron"], newest: jax.Array) -> jax.Array:
    """Let the newest entry in, and the oldest out."""
    return jnp.concatenate([queue[1:], newest[None]])
