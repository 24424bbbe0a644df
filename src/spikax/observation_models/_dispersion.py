"""A dispersion that is a parameter of the likelihood: its terms, and its likeliest value."""

from collections.abc import Callable
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlog1py

# Asymptotic series of the log-gamma function (DLMF 5.11.1), and from where it is exact.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680)
_SHIFT = 10
_LEAST, _LARGEST = 1e-12, 1e6


def check_scale(scale: Any, words: tuple[str, ...]) -> None:
    """Refuse what is no number of at least zero, no array of these, and none of the words."""
    if isinstance(scale, str) and scale in words:
        return
    if isinstance(scale, jax.Array | np.ndarray):
        return
    either = " or ".join(f'"{word}"' for word in words)
    if not isinstance(scale, Real) or isinstance(scale, bool):
        raise TypeError(f"scale must be a number or {either}, got {scale!r}.")
    if not 0 <= float(scale) < np.inf:
        raise ValueError(
            f"scale must be finite and at least zero, got {scale!r}; "
            'pass "estimate" to find it from the data.'
        )


def log_rising(y: jax.Array, scale: Any) -> jax.Array:
    r"""Logarithm of :math:`\prod_{k<y} (1 + \alpha k)`, with `scale` the dispersion alpha.

    It is :math:`\log\Gamma(y + r) - \log\Gamma(r) - y \log r` with r = 1 / alpha, by Stirling's
    series at r + 10: it stays exact, and has derivatives, down to a scale of zero.
    """
    y, scale = jnp.broadcast_arrays(y, jnp.asarray(scale, y.dtype))
    shifted = 1 + _SHIFT * scale
    x = scale * y / shifted
    total = y * jnp.log1p(_SHIFT * scale) + y * x * second_order(x) - 0.5 * jnp.log1p(x)
    k = jnp.arange(_SHIFT, dtype=y.dtype).reshape(-1, *(1,) * y.ndim)
    total = total - jnp.sum(jnp.log1p((scale * y)[None] / (1 + k * scale[None])), axis=0)
    low, high = scale / shifted, scale / (shifted + scale * y)
    total = total + _stirling(high) - _stirling(low)
    return jnp.where(y == 0, 0.0, total)  # without the rounding of terms that cancel


def _stirling(inverse: jax.Array) -> jax.Array:
    """Asymptotic series of the log-gamma function, less its leading terms, at `1 / inverse`."""
    square = inverse**2
    series = jnp.full_like(inverse, _STIRLING[-1])
    for coefficient in reversed(_STIRLING[:-1]):
        series = coefficient + square * series
    return inverse * series


def second_order(x: jax.Array) -> jax.Array:
    """`((1 + x) log(1 + x) - x) / x^2`, by a series where that cancels.

    With `z = x / (2 + x)` it is `log(1 + x) = 2 z (1 + z^2 / 3 + z^4 / 5 + ...)`.
    """
    small = jnp.abs(x) < 0.1
    far = jnp.where(small, 1.0, x)
    near = jnp.where(small, x, 0.0)
    square = (near / (2 + near)) ** 2
    series = jnp.full_like(x, 1 / 15)
    for n in (13, 11, 9, 7, 5, 3):
        series = 1 / n + square * series
    close = (1 + 2 * (1 + near) * near * series / (2 + near) ** 2) / (2 + near)
    return jnp.where(small, close, (xlog1py(1 + far, far) - far) / far**2)


def log1p_share(z: jax.Array) -> jax.Array:
    """`log(1 + z) / z`, which is one at zero."""
    small = z < 1e-4
    far = jnp.where(small, 1.0, z)
    near = jnp.where(small, z, 0.0)
    return jnp.where(small, 1 - near / 2 + near**2 / 3, jnp.log1p(far) / far)


def likeliest_scale(log_likelihood: Callable, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Find the scales that maximise log-likelihoods, by Newton's method on their logarithms.

    Parameters
    ----------
    log_likelihood
        From scales to the log-likelihood of each in nats, elementwise.
    start
        Scales to start from, any shape.

    Returns
    -------
    scale
        The scales; zero where the log-likelihood falls from there on.
    gain
        What was still to be gained at `start`, to second order; infinity if zero came or went.
    """
    rises = _derivatives(log_likelihood, jnp.zeros_like(start))[0] > 0
    u = jnp.log(jnp.clip(jnp.where(start > 0, start, 1e-2), _LEAST, _LARGEST))
    slope, step = _slope_and_step(log_likelihood, u)
    low, high = jnp.full_like(u, jnp.log(_LEAST)), jnp.full_like(u, jnp.log(_LARGEST))
    u = maximise_in_logarithm(log_likelihood, u, low, high, rises)
    scale = jnp.where(rises, jnp.exp(u), 0.0)
    gain = jnp.where(rises, jnp.abs(slope * step) / 2, 0.0)
    return scale, jnp.where(rises == (start > 0), gain, jnp.inf)


def maximise_in_logarithm(
    log_likelihood: Callable, u: jax.Array, low: Any, high: Any, active: Any
) -> jax.Array:
    """Maximise functions of scales by Newton's method on their logarithms, between bounds.

    Parameters
    ----------
    log_likelihood
        From scales to a value of each, elementwise.
    u, low, high
        Logarithms of scales to start from, and their bounds, of one shape.
    active
        Which of them to change.

    Returns
    -------
    u
        Logarithms of the best scales.
    """

    def unfinished(carry):
        n_steps, *_, active = carry
        return (n_steps < 60) & jnp.any(active)

    def newton(carry):
        n_steps, u, low, high, active = carry
        slope, step = _slope_and_step(log_likelihood, u)
        low, high = jnp.where(slope > 0, u, low), jnp.where(slope > 0, high, u)
        inside = (u + step >= low) & (u + step <= high)
        new = jnp.where(active, jnp.where(inside, u + step, (low + high) / 2), u)
        return n_steps + 1, new, low, high, active & (jnp.abs(new - u) > 1e-6)

    return jax.lax.while_loop(unfinished, newton, (jnp.asarray(0), u, low, high, active))[1]


def _slope_and_step(log_likelihood: Callable, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    first, second = _derivatives(log_likelihood, jnp.exp(u))
    slope = jnp.exp(u) * first
    curvature = slope + jnp.exp(2 * u) * second
    step = jnp.where(curvature < 0, slope / jnp.maximum(-curvature, 1e-30), 2 * jnp.sign(slope))
    return slope, jnp.clip(step, -3, 3)


def _derivatives(log_likelihood: Callable, scale: jax.Array) -> tuple[jax.Array, jax.Array]:
    def slope(scale):
        return jax.jvp(log_likelihood, (scale,), (jnp.ones_like(scale),))[1]

    return jax.jvp(slope, (scale,), (jnp.ones_like(scale),))
