"""Poisson counts, drawn by inversion where means are small and by rejection where they are not."""

from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln, xlogy

from spikax.observation_models._dispersion import second_order

# Means from which on counts are drawn by rejection, whose proposals need it.
_MANY = 10.0


@jax.jit
def draw_counts(key: jax.Array, mean: jax.Array) -> jax.Array:
    """Draw Poisson counts: by inversion where means are small, which is many times faster.

    Counts end at the largest 32-bit integer; those of a mean that is no rate are -1.
    """
    many = mean >= _MANY
    bits = jax.random.bits(key, mean.shape, f"uint{8 * mean.dtype.itemsize}")
    few = _invert(bits, jnp.where(many, 0, mean))

    def reject(few):
        return jnp.where(many, _draw_many(key, jnp.where(many, mean, _MANY)), few)

    count = jax.lax.cond(jnp.any(many), reject, lambda few: few, few)
    return jnp.where(mean >= 0, count, -1)


def _draw_many(key: jax.Array, mean: jax.Array) -> jax.Array:
    """Draw Poisson counts of means from `_MANY` on, by rejection."""

    def attempt(state):
        key, count, drawn = state
        key, *keys = jax.random.split(key, 3)
        kind = f"uint{8 * mean.dtype.itemsize}"
        position, chance = (jax.random.bits(k, mean.shape, kind) for k in keys)
        proposed, log_acceptance = _propose(position, mean)
        accepted = jnp.log(_share(chance, mean.dtype)) <= log_acceptance
        return key, jnp.where(drawn, count, proposed), drawn | accepted

    def undrawn(state):
        return ~jnp.all(state[2])

    none = jnp.zeros(mean.shape, jnp.int32)
    return jax.lax.while_loop(undrawn, attempt, (key, none, none > 0))[1]


def _share(bits: jax.Array, dtype: Any) -> jax.Array:
    """Place bits evenly between 0 and 1, with all digits of what is near 0."""
    return (bits.astype(dtype) + 0.5) * 2.0 ** (-8 * bits.dtype.itemsize)


def _invert(bits: jax.Array, mean: jax.Array) -> jax.Array:
    """Find Poisson counts below `_MANY` from random bits, by inversion.

    Each tail is resolved from its own end, so that both are right to the last bit. Beyond the
    last term, the probability is less than that of one pattern of bits.
    """
    below, above = _share(bits, mean.dtype), _share(~bits, mean.dtype)
    n_terms = 40 if mean.dtype.itemsize == 4 else 64
    terms = [jnp.exp(-mean)]
    for k in range(1, n_terms):
        terms.append(terms[-1] * (mean / k))
    cumulated = list(accumulate(terms))
    count, tail = jnp.zeros(mean.shape, jnp.int32), jnp.zeros_like(mean)
    for k in reversed(range(n_terms - 1)):
        tail += terms[k + 1]
        more = jnp.where(cumulated[k] < 0.5, below > cumulated[k], above < tail)
        count += more.astype(jnp.int32)
    return count


def _propose(bits: jax.Array, mean: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Propose a Poisson count, with the logarithm of the probability to accept it.

    Hörmann (1993), The transformed rejection method for generating Poisson random variables,
    Insurance: Mathematics and Economics 12, algorithm PTRS, without its short cuts. What is far
    less than the mean, such as its distance to the count, is not found as a difference.
    """
    mean = jnp.minimum(mean, 2.0**31 - 2.0**24)
    width = 0.931 + 2.53 * jnp.sqrt(mean)
    shape = -0.059 + 0.02483 * width
    edge = _share(bits >> 1, mean.dtype)
    side = jnp.where(bits & 1, 1, -1) * (0.5 - edge)
    whole = jnp.floor(mean)
    part = mean - whole
    step = jnp.floor((2 * shape / edge + width) * side + part + 0.43)
    log_probability = _log_probability_near(mean, whole + step, (step - part) / mean)
    # The first factor covers the 0.6 % by which proposals are too rare in places.
    height = 1.006 * (1.1239 + 1.1328 / (width - 3.4)) / (shape / edge**2 + width)
    count = whole.astype(jnp.int32) + step.astype(jnp.int32)
    return count, jnp.where(whole + step < 0, -jnp.inf, log_probability - jnp.log(height))


def _log_probability_near(mean: jax.Array, count: jax.Array, distance: jax.Array) -> jax.Array:
    """Log-probability of a Poisson count at a distance from its mean, as a share of that.

    Loader (2000), Fast and accurate computation of binomial probabilities.
    """
    x, large = jnp.maximum(distance, -1), count >= 16
    far, near = jnp.where(large, count, 16), jnp.clip(count, 0, 16)
    stirling = 0.5 * jnp.log(2 * jnp.pi * far) + 1 / (12 * far) - 1 / (360 * far**3)
    exact = gammaln(near + 1) - xlogy(near, near) + near
    return -mean * x**2 * second_order(x) - jnp.where(large, stirling, exact)
