"""Decaying exponentials, made orthonormal one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from spikax.basis._functions import Function, check_count


@dataclass(frozen=True)
class OrthExponential(Function):
    r"""Exponentials that decay over the interval, orthonormal on it.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions.
    decay_rates : array, shape (n_basis_funcs,)
        How fast each decays, per length of the interval; positive and all different.

    Notes
    -----
    Gram-Schmidt on :math:`e^{-\lambda_i u}` in the order of the rates, so that
    :math:`\int_0^1 f_i f_j\, du` is 1 for :math:`i = j`, else 0, whatever the samples are. The
    first function decays; the others cross zero.
    """

    n_basis_funcs: int
    decay_rates: Sequence[float]

    def __post_init__(self):
        object.__setattr__(self, "decay_rates", _checked(self.n_basis_funcs, self.decay_rates))

    def __call__(self, u: jax.Array) -> jax.Array:
        return _combine_legendre(u, _orthonormal(tuple(self.decay_rates)))


@dataclass(frozen=True)
class OrthExponentialWindow(Function):
    r"""Exponentials that decay over a window, orthonormal on its samples.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions; at most `window_size`.
    window_size : int
        Length of the filters, in samples.
    decay_rates : array, shape (n_basis_funcs,)
        How fast each decays, per length of the window; positive and all different.

    Notes
    -----
    Gram-Schmidt on :math:`e^{-\lambda_i u}` in the order of the rates, over the samples of the
    window, which :math:`u` in [0, 1] runs along: the filters are orthonormal vectors.
    """

    n_basis_funcs: int
    window_size: int
    decay_rates: Sequence[float]

    def __post_init__(self):
        object.__setattr__(self, "decay_rates", _checked(self.n_basis_funcs, self.decay_rates))
        check_count(
            "window_size", self.window_size, self.n_basis_funcs, "filters need to be independent"
        )

    def __call__(self, u: jax.Array) -> jax.Array:
        return _combine_legendre(u, _orthonormal(tuple(self.decay_rates), int(self.window_size)))


def _checked(n_basis_funcs: int, decay_rates: Sequence[float]) -> tuple[float, ...]:
    """Return the rates as floats, or refuse them."""
    check_count("n_basis_funcs", n_basis_funcs, 1, "a basis has functions")
    try:
        rates = tuple(map(float, decay_rates))
    except (TypeError, ValueError):
        rates = ()
    if len(rates) != n_basis_funcs or not all(0 < rate < np.inf for rate in rates):
        raise ValueError(
            f"decay_rates is {decay_rates!r}, but must be {n_basis_funcs} positive numbers, one "
            "for each of n_basis_funcs."
        )
    if len(set(rates)) < len(rates):
        raise ValueError(
            f"decay_rates is {decay_rates!r}, but its rates must all be different: "
            "equal ones give the same function twice."
        )
    return rates


@lru_cache(maxsize=64)
def _orthonormal(rates: tuple[float, ...], n_points: int | None = None) -> np.ndarray:
    """Return the Legendre coefficients of the orthonormal functions, (degree, n_basis_funcs).

    Combining the exponentials themselves would subtract large, nearly equal numbers; in Legendre
    polynomials the coefficients are as small as the functions. These are orthonormal on the
    interval, or on `n_points` even points of it.
    """
    degree = 24 + int(8 * np.sqrt(max(rates)))  # enough for 1e-14 in the fastest exponential
    nodes, weights = np.polynomial.legendre.leggauss(degree)
    root = np.sqrt(weights / 2)[:, None]
    u = (nodes + 1) / 2
    on_nodes = _gram_schmidt(root * np.exp(-u[:, None] * np.array(rates)))
    polynomials = np.polynomial.legendre.legvander(nodes, degree - 1)
    polynomials *= np.sqrt(2 * np.arange(degree) + 1)
    coefs = (root * polynomials).T @ on_nodes
    if n_points is not None:
        polynomials = np.polynomial.legendre.legvander(np.linspace(-1, 1, n_points), degree - 1)
        on_points = polynomials * np.sqrt(2 * np.arange(degree) + 1) @ coefs
        upper = np.linalg.qr(on_points)[1]
        coefs = coefs @ np.linalg.inv(upper * np.sign(np.diag(upper))[:, None])
    return coefs * np.sqrt(2 * np.arange(degree) + 1)[:, None]


def _gram_schmidt(columns: np.ndarray) -> np.ndarray:
    """Make columns orthonormal in their order, each along what is new in it."""
    q, r = np.linalg.qr(columns)
    return q * np.sign(np.diag(r))


def _combine_legendre(u: jax.Array, coefs: np.ndarray) -> jax.Array:
    """Evaluate sums of Legendre polynomials of [0, 1] at one point, by their recurrence."""
    dtype = jnp.result_type(u, float)
    x = (2 * u - 1).astype(dtype)

    def step(carry, row):
        before, now, total = carry
        k, coef = row
        after = ((2 * k + 1) * x * now - k * before) / (k + 1)
        return (now, after, total + coef * now), None

    rows = (jnp.arange(len(coefs), dtype=dtype), jnp.asarray(coefs, dtype))
    start = (jnp.zeros_like(x), jnp.ones_like(x), jnp.zeros(coefs.shape[1], dtype))
    return jax.lax.scan(step, start, rows)[0][2]
