"""Decaying exponentials, made orthonormal one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax.basis._atomic import AtomicBasis, ConvBasis
from spikax.basis._bounds import Bounds
from spikax.basis._feature_maps import Convolution, Evaluation
from spikax.basis._functions import BasisFunctions, check_count


@dataclass(frozen=True)
class OrthExponential(BasisFunctions):
    """Exponentials that decay over the unit interval, orthonormal on it."""

    n_basis_funcs: int
    decay_rates: Sequence[float]

    def __post_init__(self):
        object.__setattr__(self, "decay_rates", _checked(self.n_basis_funcs, self.decay_rates))

    def __call__(self, u: jax.Array) -> jax.Array:
        return _legendre_sum(u, _orthonormal(tuple(self.decay_rates)))


@dataclass(frozen=True)
class OrthExponentialWindow(BasisFunctions):
    """Exponentials that decay over a window, orthonormal on its samples."""

    n_basis_funcs: int
    window_size: int
    decay_rates: Sequence[float]

    def __post_init__(self):
        object.__setattr__(self, "decay_rates", _checked(self.n_basis_funcs, self.decay_rates))
        check_count(
            "window_size", self.window_size, self.n_basis_funcs, "filters need to be independent"
        )

    def __call__(self, u: jax.Array) -> jax.Array:
        return _legendre_sum(u, _orthonormal(tuple(self.decay_rates), int(self.window_size)))


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
    """Return the functions' Legendre coefficients, (degree, n_basis_funcs).

    They are orthonormal on the interval, or on `n_points` even points of it.
    """
    # By Gauss-Legendre quadrature on [0, 1] the integral of f g is sum_m w_m f(u_m) g(u_m), so QR
    # of the rows sqrt(w_m) f(u_m) is Gram-Schmidt on the functions. To combine the exponentials
    # themselves would subtract large, nearly equal numbers; coefficients of Legendre polynomials
    # are as small as the functions.
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
        # On the points F = Q R, so the columns of F R^-1 are orthonormal.
        upper = np.linalg.qr(on_points)[1]
        coefs = coefs @ np.linalg.inv(upper * np.sign(np.diag(upper))[:, None])
    return coefs * np.sqrt(2 * np.arange(degree) + 1)[:, None]


def _gram_schmidt(columns: np.ndarray) -> np.ndarray:
    """Make columns orthonormal in their order, with a positive diagonal of R."""
    q, r = np.linalg.qr(columns)
    return q * np.sign(np.diag(r))


def _legendre_sum(u: jax.Array, coefs: np.ndarray) -> jax.Array:
    """Evaluate sums of Legendre polynomials of [0, 1] at one point."""
    # By Bonnet's recursion (k + 1) P_{k+1} = (2k + 1) x P_k - k P_{k-1}.
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


class OrthExponentialEval(AtomicBasis):
    r"""Orthonormal combinations of exponentials that decay with a variable.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions.
    decay_rates : array, shape (n_basis_funcs,)
        How fast each decays, per length of the interval; positive and all different.
    bounds : (float, float), default None
        The interval that the functions cover, in the unit of the input. None: the range of the
        first input that features were computed of, or of the last one that `setup_basis` or the
        `fit` of a transformer saw; it is kept for all later ones, `bounds_`.
    fill_value : float, default NaN
        What samples beyond the bounds get. Missing samples (NaN) stay missing.
    label : str, default None
        A name for the basis; None is the name of the class.

    Raises
    ------
    ValueError
        When used, if a parameter is out of its range.

    Notes
    -----
    Gram-Schmidt on :math:`e^{-\lambda_i u}` in the order of the rates, where :math:`u` is 0 at the
    lower bound and 1 at the upper one, so that :math:`\int_0^1 f_i f_j\, du` is 1 for
    :math:`i = j`, else 0, whatever the samples are. The first function decays; the others cross
    zero.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import OrthExponentialEval
    >>> basis = OrthExponentialEval(3, decay_rates=[1.0, 2.0, 4.0], bounds=(0, 10))
    >>> since_stimulus = np.linspace(0, 10, 1001)  # s
    >>> X = np.asarray(basis.compute_features(since_stimulus))
    >>> print((X.T @ X / 1001).round(1) + 0.0)
    [[1. 0. 0.]
     [0. 1. 0.]
     [0. 0. 1.]]
    """

    def __init__(
        self,
        n_basis_funcs: int,
        decay_rates: Sequence[float],
        bounds: Bounds | None = None,
        fill_value: float = np.nan,
        label: str | None = None,
    ):
        self.n_basis_funcs = n_basis_funcs
        self.decay_rates = decay_rates
        self.bounds = bounds
        self.fill_value = fill_value
        self.label = label

    def _feature_map(self) -> Evaluation:
        function = OrthExponential(self.n_basis_funcs, self.decay_rates)
        return Evaluation(function, self.bounds, self.fill_value, self._learned)


class OrthExponentialConv(ConvBasis):
    r"""Orthonormal combinations of decaying exponentials of lag, convolved with a signal's past.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions; at most `window_size`.
    window_size : int
        Length of the filters, in samples.
    decay_rates : array, shape (n_basis_funcs,)
        How fast each decays, per length of the window; positive and all different.
    label : str, default None
        A name for the basis; None is the name of the class.
    conv_kwargs : dict, default None
        Passed on to `spikax.convolve.create_convolutional_predictor`, e.g.
        `{"predictor_causality": "acausal"}`; None is causal, without the sample itself.

    Raises
    ------
    ValueError
        When used, if a parameter is out of its range.

    Notes
    -----
    Gram-Schmidt on :math:`e^{-\lambda_i u}` in the order of the rates, over the samples of the
    window, which :math:`u` in [0, 1] runs along: the filters are orthonormal vectors.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import OrthExponentialConv
    >>> kernel = OrthExponentialConv(2, window_size=30, decay_rates=[2.0, 5.0]).kernel_
    >>> print(np.asarray(kernel.T @ kernel).round(3) + 0.0)
    [[1. 0.]
     [0. 1.]]
    """

    def __init__(
        self,
        n_basis_funcs: int,
        window_size: int,
        decay_rates: Sequence[float],
        label: str | None = None,
        conv_kwargs: Mapping[str, Any] | None = None,
    ):
        self.n_basis_funcs = n_basis_funcs
        self.window_size = window_size
        self.decay_rates = decay_rates
        self.label = label
        self.conv_kwargs = conv_kwargs

    def _feature_map(self) -> Convolution:
        function = OrthExponentialWindow(self.n_basis_funcs, self.window_size, self.decay_rates)
        return Convolution(function, self.window_size, self.conv_kwargs)
