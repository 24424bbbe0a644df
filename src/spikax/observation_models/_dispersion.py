"""A dispersion that is a parameter of the likelihood: its terms, and its likeliest value."""

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlog1py

# Asymptotic series of the log-gamma function (DLMF 5.11.1), and from where it is exact.
_STIRLING = np.array([1 / 12, -1 / 360, 1 / 1260, -1 / 1680])
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


# The derivatives are written out: those that JAX would derive are five times as long, and stand in
# the program of a fit many times. That in `y`, which are data, is taken to be zero.


@jax.custom_jvp
def log_rising(y: jax.Array, scale: Any) -> jax.Array:
    r"""Logarithm of :math:`\prod_{k<y} (1 + \alpha k)`, with `scale` the dispersion alpha.

    It is :math:`\log\Gamma(y + r) - \log\Gamma(r) - y \log r` with r = 1 / alpha, by Stirling's
    series at r + 10: it stays exact, and has derivatives, down to a scale of zero.
    """
    y, scale = jnp.broadcast_arrays(y, jnp.asarray(scale, y.dtype))
    a, b = 1 + _SHIFT * scale, 1 + (_SHIFT + y) * scale
    x = scale * y / a
    total = y * jnp.log1p(_SHIFT * scale) + y * x * second_order(x) - 0.5 * jnp.log1p(x)
    k, (y_k, scale_k) = _first_factors(y, scale)
    total = total - jnp.sum(jnp.log1p(scale_k * y_k / (1 + k * scale_k)), axis=0)
    total = total + _stirling(scale / b)[0] - _stirling(scale / a)[0]
    return jnp.where(y == 0, 0.0, total)  # without the rounding of terms that cancel


@log_rising.defjvp
def _(primals, tangents):
    value = log_rising(*primals)
    return value, (_slope_of_rising(*primals) * tangents[1]).astype(value.dtype)


@jax.custom_jvp
def _slope_of_rising(y: jax.Array, scale: Any) -> jax.Array:
    r"""Differentiate `log_rising` in the scale: :math:`\sum_{k<y} k / (1 + \alpha k)`."""
    y, scale = jnp.broadcast_arrays(y, jnp.asarray(scale, y.dtype))
    a, b = 1 + _SHIFT * scale, 1 + (_SHIFT + y) * scale
    share = y / a
    total = _SHIFT * share + share**2 * _log_remainder(scale * share)[0] - 0.5 * share / b
    k, (y_k, scale_k) = _first_factors(y, scale)
    before, after = 1 + k * scale_k, 1 + (k + y_k) * scale_k
    total = total - jnp.sum(y_k / before / after, axis=0)
    return total + _stirling(scale / b)[1] / b**2 - _stirling(scale / a)[1] / a**2


@_slope_of_rising.defjvp
def _(primals, tangents):
    slope = _slope_of_rising(*primals)
    return slope, (_curvature_of_rising(*primals) * tangents[1]).astype(slope.dtype)


def _curvature_of_rising(y: jax.Array, scale: Any) -> jax.Array:
    r"""Differentiate it again: :math:`-\sum_{k<y} (k / (1 + \alpha k))^2`."""
    y, scale = jnp.broadcast_arrays(y, jnp.asarray(scale, y.dtype))
    a, b = 1 + _SHIFT * scale, 1 + (_SHIFT + y) * scale
    share, twice = y / a, 2 * _SHIFT / a
    remainder, its_slope = _log_remainder(scale * share)
    total = -_SHIFT * twice * share / 2 - twice * share**2 * remainder
    total = total + share**2 * (share / a) * its_slope
    total = total + 0.5 * (share / b) * (_SHIFT / a + (_SHIFT + y) / b)
    k, (y_k, scale_k) = _first_factors(y, scale)
    before, after = 1 + k * scale_k, 1 + (k + y_k) * scale_k
    bent = y_k / before / after * (k / before + (k + y_k) / after)
    total = total + jnp.sum(bent, axis=0)
    low, high = _stirling(scale / a), _stirling(scale / b)
    total = total + (high[2] / b - 2 * (_SHIFT + y) * high[1]) / b**3
    return total - (low[2] / a - 2 * _SHIFT * low[1]) / a**3


def _first_factors(y: jax.Array, scale: jax.Array) -> tuple[jax.Array, tuple]:
    """Give the numbers before the shift an axis in front of the others."""
    k = jnp.arange(_SHIFT, dtype=y.dtype).reshape(-1, *(1,) * y.ndim)
    return k, (y[None], scale[None])


def _stirling(inverse: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Asymptotic series of the log-gamma function less its leading terms, at `1 / inverse`.

    With its derivatives in `inverse`.
    """
    powers, square = np.arange(1, 2 * len(_STIRLING), 2), inverse**2
    value, slope, bent = (
        _polynomial(_STIRLING * factor, square) for factor in (1, powers, powers * (powers - 1))
    )
    return inverse * value, slope, bent / jnp.where(inverse > 0, inverse, 1)


def _polynomial(coefficients: np.ndarray, x: jax.Array) -> jax.Array:
    total = jnp.zeros_like(x)
    for coefficient in coefficients[::-1]:
        total = float(coefficient) + x * total
    return total


def _log_remainder(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`(x - log(1 + x)) / x^2` and its derivative, by a series where they cancel.

    With `z = x / (2 + x)` it is `log(1 + x) = 2 z + 2 z^3 (1 / 3 + z^2 / 5 + ...)`.
    """
    small = jnp.abs(x) < 0.1
    far, near = jnp.where(small, 1.0, x), jnp.where(small, x, 0.0)
    series = _cubic(near)
    close = 1 / (2 + near) - 2 * near * series / (2 + near) ** 3
    close_slope = 4 * series / (2 + near) ** 3 - 1 / ((1 + near) * (2 + near))
    value = (far - jnp.log1p(far)) / far**2
    slope = (1 / (1 + far) - 2 * value) / far
    return jnp.where(small, close, value), jnp.where(small, close_slope, slope)


def _cubic(x: jax.Array) -> jax.Array:
    """`1 / 3 + z^2 / 5 + z^4 / 7 + ...` with `z = x / (2 + x)`, for small x."""
    return _polynomial(1 / np.arange(3, 17, 2), (x / (2 + x)) ** 2)


def second_order(x: jax.Array) -> jax.Array:
    """`((1 + x) log(1 + x) - x) / x^2`, by a series where that cancels.

    With `z = x / (2 + x)` it is `log(1 + x) = 2 z (1 + z^2 / 3 + z^4 / 5 + ...)`.
    """
    small = jnp.abs(x) < 0.1
    far = jnp.where(small, 1.0, x)
    near = jnp.where(small, x, 0.0)
    close = (1 + 2 * (1 + near) * near * _cubic(near) / (2 + near) ** 2) / (2 + near)
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
    u = jnp.log(jnp.clip(jnp.where(start > 0, start, 1e-2), _LEAST, _LARGEST))
    points = jnp.stack([jnp.zeros_like(u), jnp.exp(u)])
    first, second = jax.lax.map(partial(_derivatives, log_likelihood), points)
    rises = first[0] > 0
    slope, step = _slope_and_step(first[1], second[1], u)
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
        slope, step = _slope_and_step(*_derivatives(log_likelihood, jnp.exp(u)), u)
        low, high = jnp.where(slope > 0, u, low), jnp.where(slope > 0, high, u)
        inside = (u + step >= low) & (u + step <= high)
        new = jnp.where(active, jnp.where(inside, u + step, (low + high) / 2), u)
        return n_steps + 1, new, low, high, active & (jnp.abs(new - u) > 1e-6)

    return jax.lax.while_loop(unfinished, newton, (jnp.asarray(0), u, low, high, active))[1]


def _slope_and_step(
    first: jax.Array, second: jax.Array, u: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Slope in the logarithm u, and Newton's step, of derivatives in the scale."""
    slope = jnp.exp(u) * first
    curvature = slope + jnp.exp(2 * u) * second
    step = jnp.where(curvature < 0, slope / jnp.maximum(-curvature, 1e-30), 2 * jnp.sign(slope))
    return slope, jnp.clip(step, -3, 3)


def _derivatives(log_likelihood: Callable, scale: jax.Array) -> tuple[jax.Array, jax.Array]:
    def slope(scale):
        return jax.jvp(log_likelihood, (scale,), (jnp.ones_like(scale),))[1]

    return jax.jvp(slope, (scale,), (jnp.ones_like(scale),))
