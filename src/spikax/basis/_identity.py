"""A variable as it is, and no feature at all."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from spikax.basis._atomic import AtomicBasis
from spikax.basis._bounds import Bounds
from spikax.basis._feature_maps import UnscaledEvaluation
from spikax.basis._functions import BasisFunctions


@dataclass(frozen=True)
class Identity(BasisFunctions):
    """The value itself."""

    @property
    def n_basis_funcs(self) -> int:
        """One."""
        return 1

    def __call__(self, x: jax.Array) -> jax.Array:
        return x[None]


@dataclass(frozen=True)
class Empty(BasisFunctions):
    """No function at all."""

    @property
    def n_basis_funcs(self) -> int:
        """None."""
        return 0

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.zeros(0, x.dtype)


class IdentityEval(AtomicBasis):
    """A variable as it is: the linear model's feature.

    Parameters
    ----------
    bounds : (float, float), default None
        The interval whose samples are taken, in the unit of the input; None takes all.
    fill_value : float, default NaN
        What samples beyond the bounds get. Missing samples (NaN) stay missing.
    label : str, default None
        A name for the basis; None is the name of the class.

    Raises
    ------
    ValueError
        When used, if a parameter is out of its range.

    Examples
    --------
    >>> from spikax.basis import IdentityEval
    >>> print(IdentityEval(bounds=(0, 2)).compute_features([0.5, 1.5, 2.5]).ravel())
    [0.5 1.5 nan]
    """

    def __init__(
        self,
        bounds: Bounds | None = None,
        fill_value: float = np.nan,
        label: str | None = None,
    ):
        self.bounds = bounds
        self.fill_value = fill_value
        self.label = label

    @property
    def n_basis_funcs(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many functions there are."""
        return 1

    def _feature_map(self) -> UnscaledEvaluation:
        return UnscaledEvaluation(Identity(), self.bounds, self.fill_value)


class Zero(AtomicBasis):
    """No columns: what to put in a basis's place to leave a variable out of a model.

    Parameters
    ----------
    label : str, default None
        A name for the basis; None is the name of the class.

    Raises
    ------
    ValueError
        When used, if a parameter is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import BSplineEval, Zero
    >>> basis = BSplineEval(5, label="place") + BSplineEval(4, label="speed")
    >>> without_speed = basis.set_params(speed=Zero(label="speed"))
    >>> without_speed.compute_features(np.linspace(0, 1, 10), np.ones(10)).shape
    (10, 5)
    """

    def __init__(self, label: str | None = None):
        self.label = label

    @property
    def n_basis_funcs(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many functions there are."""
        return 0

    def _feature_map(self) -> UnscaledEvaluation:
        return UnscaledEvaluation(Empty())
