"""Raised cosines: smooth bumps, evenly spaced or denser towards the start."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from spikax.basis._functions import Function, check_count


@dataclass(frozen=True)
class RaisedCosineLinear(Function):
    r"""Evenly spaced bumps, the first at 0 and the last at 1.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions, at least 2.
    width : float, default 2.0
        Half the support of a function in distances of peaks; more than 1 and a multiple of 0.5.

    Notes
    -----
    With :math:`n` functions and width :math:`w`, function :math:`i` is
    :math:`\frac{1}{2} + \frac{1}{2} \cos(\pi \min(1, |(n - 1) u - i| / w))` at :math:`u` in
    [0, 1] (Pillow et al. 2005, J. Neurosci. 25(47), 11003). Away from the ends they add up to
    :math:`w`.
    """

    n_basis_funcs: int
    width: float = 2.0

    def __post_init__(self):
        _check(self.n_basis_funcs, self.width)

    def __call__(self, u: jax.Array) -> jax.Array:
        return bumps(u, self.n_basis_funcs, self.width, last_peak=1.0)


@dataclass(frozen=True)
class RaisedCosineLog(Function):
    r"""Bumps that are narrow and dense near 0, wide and sparse near 1.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions, at least 2.
    width : float, default 2.0
        Half the support of a function in distances of peaks; more than 1 and a multiple of 0.5.
    time_scaling : float, default None
        How much denser the functions are at the start: towards 0 they are evenly spaced. None
        is 50.
    enforce_decay_to_zero : bool, default True
        Place the last peak so that the last function is zero at the end.

    Notes
    -----
    Evenly spaced raised cosines of :math:`\log(1 + s u) / \log(1 + s)`, with :math:`u` in [0, 1]
    and the time scaling :math:`s` (Pillow et al. 2008, Nature 454, 995).
    """

    n_basis_funcs: int
    width: float = 2.0
    time_scaling: float | None = None
    enforce_decay_to_zero: bool = True

    def __post_init__(self):
        _check(self.n_basis_funcs, self.width)
        if self.time_scaling is not None and not self.time_scaling > 0:
            raise ValueError(
                f"time_scaling is {self.time_scaling!r}, but must be positive. "
                "Small values space the bumps evenly; 50 is the default."
            )

    def __call__(self, u: jax.Array) -> jax.Array:
        n, width = self.n_basis_funcs, self.width
        scaling = 50.0 if self.time_scaling is None else self.time_scaling
        stretched = jnp.log1p(scaling * u) / np.log1p(scaling)
        last_peak = (n - 1) / (n - 1 + width) if self.enforce_decay_to_zero else 1.0
        return bumps(stretched, n, width, last_peak)


def bumps(u: jax.Array, n: int, width: float, last_peak: float) -> jax.Array:
    """Evaluate `n` raised cosines with peaks from 0 to `last_peak` at the point `u`, shape (n,).

    A bump is 1 at its peak and 0 from `width` peak distances on (Pillow et al. 2005, J.
    Neurosci. 25(47), 11003).
    """
    distance = (u - np.linspace(0, last_peak, n)) * (n - 1) / (last_peak * width)
    return (1 + jnp.cos(np.pi * jnp.clip(distance, -1, 1))) / 2


def _check(n_basis_funcs: int, width: float) -> None:
    check_count("n_basis_funcs", n_basis_funcs, 2, "the spacing of the peaks sets their width")
    if not (width > 1 and float(2 * width).is_integer()):
        raise ValueError(
            f"width is {width!r}, but must be greater than 1 and a multiple of 0.5: "
            "only then do the bumps add up to a constant. The default is 2."
        )
