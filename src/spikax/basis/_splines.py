"""B-splines with uniform knots, clamped at the ends of their interval or periodic."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from spikax.basis._atomic import AtomicBasis, ConvBasis
from spikax.basis._bounds import Bounds
from spikax.basis._feature_maps import Convolution, Evaluation
from spikax.basis._functions import BasisFunctions, check_count


@dataclass(frozen=True)
class BSpline(BasisFunctions):
    """Clamped B-splines: only the first function is non-zero at 0, only the last at 1."""

    n_basis_funcs: int
    order: int = 4

    def __post_init__(self):
        _check(self.n_basis_funcs, self.order, 1, "it is the degree of the pieces plus one")

    def __call__(self, u: jax.Array) -> jax.Array:
        return cox_de_boor(u, clamped_knots(self.n_basis_funcs, self.order), self.order)


@dataclass(frozen=True)
class MSpline(BasisFunctions):
    """Clamped B-splines scaled to densities, which integrate to one over their interval."""

    density: ClassVar[bool] = True

    n_basis_funcs: int
    order: int = 4

    def __post_init__(self):
        _check(self.n_basis_funcs, self.order, 1, "it is the degree of the pieces plus one")

    def __call__(self, u: jax.Array) -> jax.Array:
        # The integral of B_i over its support is (t_{i+k} - t_i) / k.
        knots = clamped_knots(self.n_basis_funcs, self.order)
        support = knots[self.order :] - knots[: -self.order]
        return cox_de_boor(u, knots, self.order) * (self.order / support)


@dataclass(frozen=True)
class CyclicBSpline(BasisFunctions):
    """B-splines on a circle: all are shifts of one another, and 1 is the same point as 0."""

    periodic: ClassVar[bool] = True

    n_basis_funcs: int
    order: int = 4

    def __post_init__(self):
        _check(self.n_basis_funcs, self.order, 2, "steps are not continuous around the circle")

    def __call__(self, u: jax.Array) -> jax.Array:
        n, n_over = self.n_basis_funcs, self.order - 1  # of which the last extend beyond 1
        knots = np.arange(-n_over, n + n_over + 1) / n
        line = cox_de_boor(u, knots, self.order)
        # Those are the first ones a period later: B_{i+n}(u) = B_i(u - 1).
        return line[:n].at[:n_over].add(line[n:])


def _check(n_basis_funcs: int, order: int, least_order: int, reason: str) -> None:
    """Refuse an order that is too low, or fewer functions than it needs."""
    check_count("order", order, least_order, reason)
    check_count("n_basis_funcs", n_basis_funcs, order, "`order` needs that many")


def clamped_knots(n_basis_funcs: int, order: int) -> np.ndarray:
    """Return even knots over the unit interval with its ends repeated, for that many functions."""
    return np.pad(np.linspace(0, 1, n_basis_funcs - order + 2), order - 1, "edge")


def cox_de_boor(u: jax.Array, knots: np.ndarray, order: int) -> jax.Array:
    """Evaluate all B-splines of an order on non-decreasing knots at one point, (n_functions,)."""
    # de Boor (A Practical Guide to Splines, 1978, chapter X): from the indicator of the interval
    # that holds u (the last one holds its right end too),
    #     B_{i,k} = w_{i,k} B_{i,k-1} + (1 - w_{i+1,k}) B_{i+1,k-1}
    # with the ramps w_{i,k} = (u - t_i) / (t_{i+k-1} - t_i).
    t = jnp.asarray(knots, dtype=jnp.result_type(u, float))
    last = len(knots) - order - 1
    interval = jnp.clip(jnp.sum(t <= u) - 1, order - 1, last)
    splines = (jnp.arange(len(knots) - 1) == interval).astype(t.dtype)
    for k in range(1, order):
        width = knots[k:] - knots[:-k]
        ramp = (u - t[:-k]) / np.where(width > 0, width, 1)
        splines = ramp[:-1] * splines[:-1] + (1 - ramp[1:]) * splines[1:]
    return splines


class BSplineEval(AtomicBasis):
    r"""B-splines of a variable, such as position along a track.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions; at least `order`.
    order : int, default 4
        Degree of the polynomial pieces plus one: 4 is cubic.
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
    On knots :math:`t`, evenly spaced over the interval and repeated at its ends, the functions
    of order :math:`k` are (de Boor, A Practical Guide to Splines, 1978)

    .. math::
        B_{i,k}(x) = \frac{x - t_i}{t_{i+k-1} - t_i} B_{i,k-1}(x)
        + \frac{t_{i+k} - x}{t_{i+k} - t_{i+1}} B_{i+1,k-1}(x),

    where :math:`B_{i,1}` is 1 from :math:`t_i` to :math:`t_{i+1}`, else 0. They add up to one.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import BSplineEval
    >>> position = np.linspace(0, 2.5, 100)  # m
    >>> X = BSplineEval(6, bounds=(0, 2.5)).compute_features(position)
    >>> X.shape
    (100, 6)
    >>> bool(np.allclose(X.sum(axis=1), 1))
    True
    """

    def __init__(
        self,
        n_basis_funcs: int,
        order: int = 4,
        bounds: Bounds | None = None,
        fill_value: float = np.nan,
        label: str | None = None,
    ):
        self.n_basis_funcs = n_basis_funcs
        self.order = order
        self.bounds = bounds
        self.fill_value = fill_value
        self.label = label

    def _feature_map(self) -> Evaluation:
        function = BSpline(self.n_basis_funcs, self.order)
        return Evaluation(function, self.bounds, self.fill_value, self._learned)


class BSplineConv(ConvBasis):
    r"""B-splines of lag, convolved with the past of a signal.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions; at least `order`.
    window_size : int
        Length of the filters, in samples.
    order : int, default 4
        Degree of the polynomial pieces plus one: 4 is cubic.
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
    On knots :math:`t`, evenly spaced over the window and repeated at its ends, the functions
    of order :math:`k` are (de Boor, A Practical Guide to Splines, 1978)

    .. math::
        B_{i,k}(x) = \frac{x - t_i}{t_{i+k-1} - t_i} B_{i,k-1}(x)
        + \frac{t_{i+k} - x}{t_{i+k} - t_{i+1}} B_{i+1,k-1}(x),

    where :math:`B_{i,1}` is 1 from :math:`t_i` to :math:`t_{i+1}`, else 0. They add up to one.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import BSplineConv
    >>> basis = BSplineConv(5, window_size=20)
    >>> basis.compute_features(np.ones(100)).shape
    (100, 5)
    >>> bool(np.allclose(basis.kernel_.sum(axis=1), 1))
    True
    """

    def __init__(
        self,
        n_basis_funcs: int,
        window_size: int,
        order: int = 4,
        label: str | None = None,
        conv_kwargs: Mapping[str, Any] | None = None,
    ):
        self.n_basis_funcs = n_basis_funcs
        self.window_size = window_size
        self.order = order
        self.label = label
        self.conv_kwargs = conv_kwargs

    def _feature_map(self) -> Convolution:
        function = BSpline(self.n_basis_funcs, self.order)
        return Convolution(function, self.window_size, self.conv_kwargs)


class MSplineEval(AtomicBasis):
    """Splines that are densities of a variable, for curves that rise or fall throughout.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions; at least `order`.
    order : int, default 4
        Degree of the polynomial pieces plus one: 4 is cubic.
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
    With B-splines :math:`B_i` of order :math:`k` on knots :math:`t`, function :math:`i` is
    :math:`k B_i / (t_{i+k} - t_i)`, in the unit of the input (Ramsay 1988, Statistical Science
    3(4), 425). Their sums with non-negative weights have monotone integrals.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import MSplineEval
    >>> contrast = np.linspace(0, 1, 1001)
    >>> X = np.asarray(MSplineEval(5, bounds=(0, 1)).compute_features(contrast))
    >>> print(np.trapezoid(X, contrast, axis=0).round(3))
    [1. 1. 1. 1. 1.]
    """

    def __init__(
        self,
        n_basis_funcs: int,
        order: int = 4,
        bounds: Bounds | None = None,
        fill_value: float = np.nan,
        label: str | None = None,
    ):
        self.n_basis_funcs = n_basis_funcs
        self.order = order
        self.bounds = bounds
        self.fill_value = fill_value
        self.label = label

    def _feature_map(self) -> Evaluation:
        function = MSpline(self.n_basis_funcs, self.order)
        return Evaluation(function, self.bounds, self.fill_value, self._learned)


class MSplineConv(ConvBasis):
    """Splines that are densities of lag over the window, convolved with the past of a signal.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions; at least `order`.
    window_size : int
        Length of the filters, in samples.
    order : int, default 4
        Degree of the polynomial pieces plus one: 4 is cubic.
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
    With B-splines :math:`B_i` of order :math:`k` on knots :math:`t`, function :math:`i` is
    :math:`k B_i / (t_{i+k} - t_i)`, per length of the window (Ramsay 1988, Statistical Science
    3(4), 425). Their sums with non-negative weights have monotone integrals.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import MSplineConv
    >>> MSplineConv(5, window_size=20).compute_features(np.ones((100, 2))).shape
    (100, 10)
    """

    def __init__(
        self,
        n_basis_funcs: int,
        window_size: int,
        order: int = 4,
        label: str | None = None,
        conv_kwargs: Mapping[str, Any] | None = None,
    ):
        self.n_basis_funcs = n_basis_funcs
        self.window_size = window_size
        self.order = order
        self.label = label
        self.conv_kwargs = conv_kwargs

    def _feature_map(self) -> Convolution:
        function = MSpline(self.n_basis_funcs, self.order)
        return Convolution(function, self.window_size, self.conv_kwargs)


class CyclicBSplineEval(AtomicBasis):
    r"""B-splines of a variable on a circle, such as head direction or the phase of a rhythm.

    `bounds` are one period: (0, 2 pi) for an angle in radians. Values that differ by periods are
    the same point: -1 is 2 pi - 1.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions; at least `order`.
    order : int, default 4
        Degree of the polynomial pieces plus one, at least 2: 4 is cubic.
    bounds : (float, float), default None
        One period, in the unit of the input. None: the range of the first input that
        features were computed of, or of the last one that `setup_basis` or the `fit` of a
        transformer saw; it is kept for all later ones, `bounds_`.
    fill_value : float, default NaN
        Without effect: on a circle no sample is beyond the bounds. Missing samples (NaN) stay
        missing.
    label : str, default None
        A name for the basis; None is the name of the class.

    Raises
    ------
    ValueError
        When used, if a parameter is out of its range.

    Notes
    -----
    The B-splines of order :math:`k` on evenly spaced knots :math:`t` are (de Boor, A Practical
    Guide to Splines, 1978)

    .. math::
        B_{i,k}(x) = \frac{x - t_i}{t_{i+k-1} - t_i} B_{i,k-1}(x)
        + \frac{t_{i+k} - x}{t_{i+k} - t_{i+1}} B_{i+1,k-1}(x),

    where :math:`B_{i,1}` is 1 from :math:`t_i` to :math:`t_{i+1}`, else 0. Those that extend
    beyond the end of the circle go on at its start. The functions add up to one.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import CyclicBSplineEval
    >>> basis = CyclicBSplineEval(8, bounds=(0, 2 * np.pi), label="head_direction")
    >>> X = basis.compute_features(np.array([0.0, 2.0, 2 * np.pi]))
    >>> bool(np.allclose(X[0], X[2]))
    True
    """

    def __init__(
        self,
        n_basis_funcs: int,
        order: int = 4,
        bounds: Bounds | None = None,
        fill_value: float = np.nan,
        label: str | None = None,
    ):
        self.n_basis_funcs = n_basis_funcs
        self.order = order
        self.bounds = bounds
        self.fill_value = fill_value
        self.label = label

    def _feature_map(self) -> Evaluation:
        function = CyclicBSpline(self.n_basis_funcs, self.order)
        return Evaluation(function, self.bounds, self.fill_value, self._learned)


class CyclicBSplineConv(ConvBasis):
    r"""B-splines of lag that are periodic over the window, convolved with the past of a signal.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions; at least `order`.
    window_size : int
        Length of the filters, in samples.
    order : int, default 4
        Degree of the polynomial pieces plus one, at least 2: 4 is cubic.
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
    The B-splines of order :math:`k` on evenly spaced knots :math:`t` are (de Boor, A Practical
    Guide to Splines, 1978)

    .. math::
        B_{i,k}(x) = \frac{x - t_i}{t_{i+k-1} - t_i} B_{i,k-1}(x)
        + \frac{t_{i+k} - x}{t_{i+k} - t_{i+1}} B_{i+1,k-1}(x),

    where :math:`B_{i,1}` is 1 from :math:`t_i` to :math:`t_{i+1}`, else 0. Those that extend
    beyond the end of the window go on at its start. The functions add up to one.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import CyclicBSplineConv
    >>> theta = np.sin(np.arange(100) / 2)
    >>> CyclicBSplineConv(6, window_size=13).compute_features(theta).shape
    (100, 6)
    """

    def __init__(
        self,
        n_basis_funcs: int,
        window_size: int,
        order: int = 4,
        label: str | None = None,
        conv_kwargs: Mapping[str, Any] | None = None,
    ):
        self.n_basis_funcs = n_basis_funcs
        self.window_size = window_size
        self.order = order
        self.label = label
        self.conv_kwargs = conv_kwargs

    def _feature_map(self) -> Convolution:
        function = CyclicBSpline(self.n_basis_funcs, self.order)
        return Convolution(function, self.window_size, self.conv_kwargs)
