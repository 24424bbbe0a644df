"""B-splines with uniform knots, clamped at the ends of their interval or periodic."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from spikax.basis._basis import Basis
from spikax.basis._families import check_count
from spikax.basis._ways import Bounds, Evaluate


@dataclass(frozen=True)
class BSpline:
    """Clamped B-splines: only the first function is non-zero at 0, only the last at 1."""

    n_basis_funcs: int
    order: int = 4

    def __post_init__(self):
        check_count("order", self.order, 1, "it is the degree of the pieces plus one")
        check_count("n_basis_funcs", self.n_basis_funcs, self.order, "`order` needs that many")

    def __call__(self, u: jax.Array) -> jax.Array:
        n_clamped = self.order - 1
        knots = np.pad(np.linspace(0, 1, self.n_basis_funcs - n_clamped + 1), n_clamped, "edge")
        return cox_de_boor(u, knots, self.order)


@dataclass(frozen=True)
class CyclicBSpline:
    """B-splines on a circle: all are shifts of one another, and 1 is the same point as 0."""

    n_basis_funcs: int
    order: int = 4

    def __post_init__(self):
        check_count("order", self.order, 2, "steps are not continuous around the circle")
        check_count("n_basis_funcs", self.n_basis_funcs, self.order, "`order` needs that many")

    def __call__(self, u: jax.Array) -> jax.Array:
        n, n_over = self.n_basis_funcs, self.order - 1
        knots = np.arange(-n_over, n + n_over + 1) / n
        line = cox_de_boor(u, knots, self.order)
        return line[:n].at[:n_over].add(line[n:])


def cox_de_boor(u: jax.Array, knots: np.ndarray, order: int) -> jax.Array:
    """Evaluate all B-splines of an order at one point.

    Parameters
    ----------
    u : array, shape ()
        A point between `knots[order - 1]` and `knots[-order]`; both ends belong.
    knots : array, shape (n_knots,)
        Non-decreasing; may repeat.
    order : int
        Degree plus one.

    Returns
    -------
    array, shape (n_knots - order,)

    Notes
    -----
    The recursion of de Boor (A Practical Guide to Splines, 1978, chapter X), with
    ramps that rise from 0 to 1 over the support of a function of the order below.
    """
    t = jnp.asarray(knots, dtype=jnp.result_type(u, float))
    last = len(knots) - order - 1
    interval = jnp.clip(jnp.sum(t <= u) - 1, order - 1, last)
    splines = (jnp.arange(len(knots) - 1) == interval).astype(t.dtype)
    for k in range(1, order):
        width = knots[k:] - knots[:-k]
        ramp = (u - t[:-k]) / np.where(width > 0, width, 1)
        splines = ramp[:-1] * splines[:-1] + (1 - ramp[1:]) * splines[1:]
    return splines


class BSplineEval(Basis):
    """B-splines of a variable, such as position along a track.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions; at least `order`.
    order : int, default 4
        Degree of the polynomial pieces plus one: 4 is cubic.
    bounds : (float, float), default None
        The interval that is covered, in the unit of the input. None: the range seen by
        `setup_basis`, or else that of the input.
    fill_value : float, default NaN
        What samples beyond the bounds get.
    label : str, default None
        A name for the basis; None is the name of the class.

    Raises
    ------
    ValueError
        When used, if a parameter is out of its range.

    Notes
    -----
    The recursion of Cox and de Boor (de Boor, A Practical Guide to Splines, 1978) on evenly
    spaced knots, those at the ends repeated. The functions add up to one.

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

    def _family(self) -> BSpline:
        return BSpline(self.n_basis_funcs, self.order)

    def _way(self) -> Evaluate:
        return Evaluate(self.bounds, self.fill_value)


class CyclicBSplineEval(Basis):
    """B-splines of a variable on a circle, such as head direction or the phase of a rhythm.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions; at least `order`.
    order : int, default 4
        Degree of the polynomial pieces plus one, at least 2: 4 is cubic.
    bounds : (float, float), default None
        One turn of the circle, in the unit of the input: (0, 2 pi) for an angle in radians. None:
        the range seen by `setup_basis`, or else that of the input.
    fill_value : float, default NaN
        What samples beyond the bounds get.
    label : str, default None
        A name for the basis; None is the name of the class.

    Raises
    ------
    ValueError
        When used, if a parameter is out of its range.

    Notes
    -----
    B-splines on evenly spaced knots (de Boor, A Practical Guide to Splines, 1978), those that
    reach over the end wrapped around to the start. The functions add up to one.

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

    def _family(self) -> CyclicBSpline:
        return CyclicBSpline(self.n_basis_funcs, self.order)

    def _way(self) -> Evaluate:
        return Evaluate(self.bounds, self.fill_value)
