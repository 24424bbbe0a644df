"""Regularizers: what a penalty costs, and what a solver may use of it."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from spikax._errors import unknown_name


@runtime_checkable
class Regularizer(Protocol):
    """What a solver may ask of a regularizer.

    Coefficients and strengths come as arrays of shape (n_features, n_neurons), the strengths
    broadcastable to it. The strength belongs to the model, not to the regularizer.
    """

    smooth: ClassVar[bool]  # whether the penalty has a gradient everywhere

    def penalty(self, coef: jax.Array, strength: jax.Array) -> jax.Array:
        """Cost of each neuron's coefficients, shape (n_neurons,)."""
        ...

    def prox(self, coef: jax.Array, strength: jax.Array, step: jax.Array | float) -> jax.Array:
        """Minimiser over `w` of `|w - coef|^2 / 2 + step * penalty(w)`, shaped like `coef`."""
        ...

    def rescale(self, strength, scale):
        """Strength for coefficients multiplied by `scale`, so that the penalty stays the same."""
        ...

    def curvature(self, strength: jax.Array) -> jax.Array | None:
        """Second derivative of the penalty, shaped like `strength`; None if zero everywhere."""
        ...


@dataclass(frozen=True)
class UnRegularized:
    """No penalty: maximum likelihood.

    Examples
    --------
    >>> from spikax.glm import GLM
    >>> from spikax.regularizer import UnRegularized
    >>> GLM(regularizer=UnRegularized())
    GLM(regularizer=UnRegularized())
    """

    smooth: ClassVar[bool] = True

    def penalty(self, coef, strength):
        """Cost of each neuron's coefficients: zero."""
        return jnp.zeros(coef.shape[1], coef.dtype)

    def prox(self, coef, strength, step):
        """Return the coefficients as they are."""
        return coef

    def rescale(self, strength, scale):
        """Return a strength of zero."""
        return 0 * strength * scale

    def curvature(self, strength):
        """Second derivative: none."""
        return None


@dataclass(frozen=True)
class Ridge:
    r"""Squared penalty :math:`\frac{1}{2} \sum_i s_i w_i^2` (Hoerl & Kennard 1970).

    Examples
    --------
    >>> from spikax.glm import GLM
    >>> GLM(regularizer="Ridge", regularizer_strength=0.1)
    GLM(regularizer='Ridge', regularizer_strength=0.1)
    """

    smooth: ClassVar[bool] = True

    def penalty(self, coef, strength):
        """Cost of each neuron's coefficients."""
        return 0.5 * jnp.sum(strength * coef**2, axis=0)

    def prox(self, coef, strength, step):
        """Shrink the coefficients towards zero by a factor."""
        return coef / (1 + step * strength)

    def rescale(self, strength, scale):
        """Strength for coefficients multiplied by `scale`."""
        return strength / scale**2

    def curvature(self, strength):
        """Second derivative: the strength."""
        return strength


@dataclass(frozen=True)
class Lasso:
    r"""Absolute penalty :math:`\sum_i s_i |w_i|`, which makes coefficients zero (Tibshirani 1996).

    Examples
    --------
    >>> from spikax.glm import GLM
    >>> GLM(regularizer="Lasso", regularizer_strength=0.01)
    GLM(regularizer='Lasso', regularizer_strength=0.01)
    """

    smooth: ClassVar[bool] = False

    def penalty(self, coef, strength):
        """Cost of each neuron's coefficients."""
        return jnp.sum(strength * jnp.abs(coef), axis=0)

    def prox(self, coef, strength, step):
        """Soft threshold: move the coefficients towards zero by `step * strength`."""
        return jnp.sign(coef) * jnp.maximum(jnp.abs(coef) - step * strength, 0)

    def rescale(self, strength, scale):
        """Strength for coefficients multiplied by `scale`."""
        return strength / scale

    def curvature(self, strength):
        """Second derivative: none."""
        return None


REGULARIZERS = {kind.__name__: kind for kind in (UnRegularized, Ridge, Lasso)}


def resolve(regularizer: str | Regularizer | None) -> Regularizer:
    """Find the regularizer that a name stands for; None is no penalty.

    Parameters
    ----------
    regularizer
        A name, an object that follows the `Regularizer` protocol, or None.

    Returns
    -------
    Regularizer
        The object.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If it is neither a name nor a regularizer.

    Examples
    --------
    >>> from spikax.regularizer import resolve
    >>> resolve("Ridge")
    Ridge()
    """
    if regularizer is None:
        return UnRegularized()
    if isinstance(regularizer, str):
        if regularizer not in REGULARIZERS:
            raise unknown_name("regularizer", regularizer, REGULARIZERS)
        return REGULARIZERS[regularizer]()
    if isinstance(regularizer, type) or not isinstance(regularizer, Regularizer):
        raise TypeError(
            f"regularizer must be a name ({', '.join(REGULARIZERS)}) or an object with the "
            f"methods of spikax.regularizer.Regularizer, got {regularizer!r}."
            + (" Call it, to pass what it makes." if callable(regularizer) else "")
        )
    return regularizer
