"""Penalties: what strengths make of coefficients, and what a solver may use of that."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from spikax._pytrees import register


class Penalty(Protocol):
    """A penalty with its strengths: a pytree of arrays whose last axis, of two, is neurons.

    Coefficients come as arrays (n_features, n_neurons) in the user's units.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.regularizer import Elementwise, Penalty
    >>> ridge: Penalty = Elementwise(squared=np.full((1, 1), 0.5))
    >>> print(ridge.scaled(2.0).value(np.array([[1.0, 2.0], [0.0, 1.0]])))
    [0.5 2.5]
    """

    def value(self, coef: jax.Array) -> jax.Array:
        """Compute the cost of each neuron's coefficients.

        Parameters
        ----------
        coef
            Coefficients, (n_features, n_neurons).

        Returns
        -------
        jax.Array
            Costs, (n_neurons,).
        """
        ...

    def prox(self, coef: jax.Array, step: jax.Array) -> jax.Array:
        """Minimise `sum((w - coef)^2 / step) / 2 + value(w)` over `w`.

        Parameters
        ----------
        coef
            Coefficients, (n_features, n_neurons).
        step
            Shaped like `coef`, and the same for features that are tied.

        Returns
        -------
        jax.Array
            The minimiser, shaped like `coef`.
        """
        ...

    @property
    def smooth(self) -> bool:
        """Whether the penalty has a gradient everywhere."""
        ...

    @property
    def curvature(self) -> Any:
        """Second derivatives where they do not depend on the coefficients, else None."""
        ...

    def scaled(self, factor: Any) -> Self:
        """Multiply the strengths.

        Parameters
        ----------
        factor
            (1, 1) or (1, n_neurons).

        Returns
        -------
        Penalty
            The penalty with the new strengths.
        """
        ...

    def ties(self, n_features: int) -> np.ndarray | None:
        """Tell the features that must be scaled alike.

        Parameters
        ----------
        n_features
            Number of features.

        Returns
        -------
        array or None
            A label for each feature, (n_features,); None if none must.
        """
        ...


@register
@dataclass(frozen=True)
class Elementwise:
    """Penalty `sum(absolute |w| + squared w^2 / 2)`; None is no such part.

    Parameters
    ----------
    absolute, squared
        Strengths, (1 or n_features, 1 or n_neurons).

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.regularizer import Elementwise
    >>> lasso = Elementwise(absolute=np.full((1, 1), 0.5))
    >>> print(lasso.prox(np.array([[1.0], [-0.2]]), 1.0).ravel())
    [ 0.5 -0. ]
    """

    absolute: Any = None
    squared: Any = None

    def value(self, coef):
        """Cost of each neuron's coefficients."""
        cost = jnp.zeros_like(coef)
        if self.absolute is not None:
            cost += self.absolute * jnp.abs(coef)
        if self.squared is not None:
            cost += 0.5 * self.squared * coef**2
        return jnp.sum(cost, axis=0)

    def prox(self, coef, step):
        """Soft threshold, then shrink."""
        if self.absolute is not None:
            kept = jnp.maximum(jnp.abs(coef) - step * self.absolute, 0)
            coef = jnp.sign(coef) * kept
        return coef if self.squared is None else coef / (1 + step * self.squared)

    @property
    def smooth(self):
        """Whether there is no absolute part."""
        return self.absolute is None

    @property
    def curvature(self):
        """Second derivative: that of the squared part."""
        return self.squared

    def scaled(self, factor):
        """Multiply the strengths of both parts."""
        return jax.tree.map(lambda strength: factor * strength, self)

    def ties(self, n_features):
        """Tie no features."""
        return None


@register
@dataclass(frozen=True)
class Grouped:
    """Penalty `sum(cost_g |w_g|)` over groups of coefficients that do not overlap.

    Parameters
    ----------
    index
        The group of each coefficient, (n_features, 1 or n_neurons).
    cost
        What the norm of each group costs, (n_groups, 1 or n_neurons).
    """

    smooth = False

    index: Any
    cost: Any

    def value(self, coef):
        """Cost of each neuron's coefficients."""
        return jnp.sum(self.cost * self._norms(coef), axis=0)

    def prox(self, coef, step):
        """Shorten each group by `step * cost`, at most to zero."""
        neuron = jnp.arange(self.cost.shape[1])[None]
        norm = self._norms(coef)[self.index, jnp.arange(coef.shape[1])[None]]
        kept = 1 - step * self.cost[self.index, neuron] / jnp.where(norm > 0, norm, 1)
        return jnp.where(norm > 0, jnp.maximum(kept, 0), 0) * coef

    def _norms(self, coef):
        neuron = jnp.arange(coef.shape[1])[None]
        zeros = jnp.zeros((len(self.cost), coef.shape[1]), coef.dtype)
        squares = zeros.at[self.index, neuron].add(coef**2)
        # The square root has no slope at zero, and none is asked of a group that is out.
        return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)

    @property
    def curvature(self):
        """Second derivative: it depends on the coefficients."""
        return None

    def scaled(self, factor):
        """Multiply the costs."""
        return replace(self, cost=factor * self.cost)

    def ties(self, n_features):
        """Tie the features that share a group, in any neuron."""
        if n_features == 0:
            return None
        # A graph of features and of the groups of each neuron, which its edges join.
        groups = n_features + self.index + len(self.cost) * np.arange(self.index.shape[1])
        row = np.arange(len(groups))[:, None] // (len(groups) // n_features)
        features = np.broadcast_to(row, groups.shape)
        edges = (np.ones(groups.size), (features.ravel(), groups.ravel()))
        n_nodes = n_features + len(self.cost) * self.index.shape[1]
        return connected_components(coo_array(edges, (n_nodes, n_nodes)))[1][:n_features]


@register
@dataclass(frozen=True)
class FromFunctions:
    """A penalty of the user's, given by functions of one neuron's coefficients."""

    strength: Any
    of_neuron: Callable = field(metadata={"static": True})
    prox_of_neuron: Callable | None = field(metadata={"static": True})

    def value(self, coef):
        """Cost of each neuron's coefficients."""
        return jax.vmap(self.of_neuron, (1, 1))(coef, self._strengths(coef))

    def prox(self, coef, step):
        """Apply the user's proximal operator, neuron by neuron."""
        if self.prox_of_neuron is None:
            raise NotImplementedError("This penalty was given no proximal operator.")
        return jax.vmap(self.prox_of_neuron, 1, 1)(coef, self._strengths(coef), step)

    def _strengths(self, coef):
        rows = len(self.strength)
        strength = jnp.broadcast_to(self.strength, (rows, coef.shape[1]))
        return jnp.broadcast_to(strength, coef.shape)

    @property
    def smooth(self):
        """Whether the user gave no proximal operator."""
        return self.prox_of_neuron is None

    @property
    def curvature(self):
        """Second derivative: it may depend on the coefficients."""
        return None

    def scaled(self, factor):
        """Multiply the strengths."""
        return replace(self, strength=factor * self.strength)

    def ties(self, n_features):
        """Tie all features if there is a proximal operator: it may look at any of them."""
        return None if self.smooth else np.zeros(n_features, int)


NO_PENALTY = Elementwise()
