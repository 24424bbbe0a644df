"""B-splines with uniform knots, clamped at the ends of their interval or periodic."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from spikax.basis._functions import Function, check_count


@dataclass(frozen=True)
class BSpline(Function):
    r"""Clamped B-splines: only the first function is non-zero at 0, only the last at 1.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions; at least `order`.
    order : int, default 4
        Degree of the polynomial pieces plus one: 4 is cubic.

    Notes
    -----
    The recursion of Cox and de Boor (de Boor, A Practical Guide to Splines, 1978) on evenly
    spaced knots, those at the ends repeated. The functions add up to one.
    """

    n_basis_funcs: int
    order: int = 4

    def __post_init__(self):
        _check(self.n_basis_funcs, self.order, 1, "it is the degree of the pieces plus one")

    def __call__(self, u: jax.Array) -> jax.Array:
        return cox_de_boor(u, clamped_knots(self.n_basis_funcs, self.order), self.order)


@dataclass(frozen=True)
class MSpline(Function):
    r"""Clamped B-splines scaled to densities, which integrate to one over their interval.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions; at least `order`.
    order : int, default 4
        Degree of the polynomial pieces plus one: 4 is cubic.

    Notes
    -----
    With B-splines :math:`B_i` of order :math:`k` on knots :math:`t`, function :math:`i` is
    :math:`k B_i / (t_{i+k} - t_i)`, in the unit of the input (Ramsay 1988, Statistical Science
    3(4), 425). Their sums with non-negative weights have monotone integrals.
    """

    density: ClassVar[bool] = True

    n_basis_funcs: int
    order: int = 4

    def __post_init__(self):
        _check(self.n_basis_funcs, self.order, 1, "it is the degree of the pieces plus one")

    def __call__(self, u: jax.Array) -> jax.Array:
        knots = clamped_knots(self.n_basis_funcs, self.order)
        support = knots[self.order :] - knots[: -self.order]
        return cox_de_boor(u, knots, self.order) * (self.order / support)


@dataclass(frozen=True)
class CyclicBSpline(Function):
    r"""B-splines on a circle: all are shifts of one another, and 1 is the same point as 0.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions; at least `order`.
    order : int, default 4
        Degree of the polynomial pieces plus one, at least 2: 4 is cubic.

    Notes
    -----
    B-splines on evenly spaced knots (de Boor, A Practical Guide to Splines, 1978), those that
    reach over the end wrapped around to the start. The functions add up to one.
    """

    periodic: ClassVar[bool] = True

    n_basis_funcs: int
    order: int = 4

    def __post_init__(self):
        _check(self.n_basis_funcs, self.order, 2, "steps are not continuous around the circle")

    def __call__(self, u: jax.Array) -> jax.Array:
        n, n_over = self.n_basis_funcs, self.order - 1
        knots = np.arange(-n_over, n + n_over + 1) / n
        line = cox_de_boor(u, knots, self.order)
        return line[:n].at[:n_over].add(line[n:])


def _check(n_basis_funcs: int, order: int, least_order: int, reason: str) -> None:
    check_count("order", order, least_order, reason)
    check_count("n_basis_funcs", n_basis_funcs, order, "`order` needs that many")


def clamped_knots(n_basis_funcs: int, order: int) -> np.ndarray:
    """Return even knots over the unit interval with its ends repeated, for that many functions."""
    return np.pad(np.linspace(0, 1, n_basis_funcs - order + 2), order - 1, "edge")


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
