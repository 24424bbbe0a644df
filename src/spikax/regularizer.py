"""Regularizers: from a user's strength to a penalty, and what a solver may use of that."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from spikax._errors import unknown_name
from spikax._params import HasParams
from spikax._pytrees import register

__all__ = [
    "CustomRegularizer",
    "ElasticNet",
    "Elementwise",
    "GroupLasso",
    "Lasso",
    "Penalty",
    "Regularizer",
    "Ridge",
    "UnRegularized",
    "resolve",
]


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


class Grouping(NamedTuple):
    """Groups of each neuron's coefficients."""

    of: np.ndarray  # the group of each coefficient, (n_features, 1 or n_neurons)
    size: np.ndarray  # how many free coefficients each has, (n_groups, 1 or n_neurons)
    number: np.ndarray  # which group of the mask each is, (n_groups, 1 or n_neurons)
    n_numbers: int  # number of groups in the mask; that of coefficients in none


class Coefficients(Protocol):
    """What a regularizer may ask of the coefficients of a fit, to arrange its strengths."""

    def spread(self, value: Any, argument: str) -> np.ndarray:
        """Check an argument, and give it shape (1 or n_features, 1 or n_neurons).

        Several classes have a row each for every feature, here and below.
        """
        ...

    def groups(self, mask: Any) -> "Grouping":
        """Index the groups that a mask tells; those of the arrays of features if it is None."""
        ...

    def spread_groups(self, strength: Any, n_groups: int) -> np.ndarray:
        """Check the strength of groups in a mask: one for each of them, and zero for none."""
        ...


@runtime_checkable
class Regularizer(Protocol):
    """What a model asks of a regularizer; the strength belongs to the model.

    For a penalty of your own write no class: `CustomRegularizer` takes a function.

    Examples
    --------
    >>> import spikax as nmo
    >>> isinstance(nmo.regularizer.Lasso(), nmo.regularizer.Regularizer)
    True
    >>> nmo.regularizer.Lasso().smooth, nmo.regularizer.Ridge().smooth
    (False, True)
    """

    @property
    def smooth(self) -> bool:
        """Whether the penalty has a gradient everywhere."""
        ...

    def penalty(self, strength: Any, coefficients: Coefficients) -> Penalty:
        """Build the penalty of a strength, refusing what cannot be one.

        Parameters
        ----------
        strength
            `regularizer_strength` as the user gave it.
        coefficients
            What knows the shape of the coefficients, and spreads strengths over them.

        Returns
        -------
        Penalty
            A pytree of arrays with the cost of coefficients, its proximal step and its curvature.
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
        assert self.prox_of_neuron is not None
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


@dataclass(frozen=True)
class UnRegularized(HasParams):
    """No penalty: maximum likelihood.

    Examples
    --------
    >>> from spikax.glm import GLM
    >>> from spikax.regularizer import UnRegularized
    >>> GLM(regularizer=UnRegularized())
    GLM(regularizer=UnRegularized())
    """

    smooth = True

    def penalty(self, strength, coefficients):
        """Check the strength, and use none of it."""
        coefficients.spread(strength, "regularizer_strength")
        return NO_PENALTY


@dataclass(frozen=True)
class Ridge(HasParams):
    r"""Squared penalty :math:`\frac{1}{2} \sum_i s_i w_i^2` (Hoerl & Kennard 1970).

    Examples
    --------
    >>> from spikax.glm import GLM
    >>> GLM(regularizer="Ridge", regularizer_strength=0.1)
    GLM(regularizer='Ridge', regularizer_strength=0.1)
    """

    smooth = True

    def penalty(self, strength, coefficients):
        """Build the penalty of a strength."""
        return Elementwise(squared=coefficients.spread(strength, "regularizer_strength"))


@dataclass(frozen=True)
class Lasso(HasParams):
    r"""Absolute penalty :math:`\sum_i s_i |w_i|`, which makes coefficients zero (Tibshirani 1996).

    Examples
    --------
    >>> from spikax.glm import GLM
    >>> GLM(regularizer="Lasso", regularizer_strength=0.01)
    GLM(regularizer='Lasso', regularizer_strength=0.01)
    """

    smooth = False

    def penalty(self, strength, coefficients):
        """Build the penalty of a strength."""
        return Elementwise(absolute=coefficients.spread(strength, "regularizer_strength"))


@dataclass(frozen=True)
class ElasticNet(HasParams):
    r"""Absolute and squared penalty :math:`\sum_i s_i (r |w_i| + \frac{1 - r}{2} w_i^2)`.

    Of features that go together it keeps all, where `Lasso` picks one (Zou & Hastie 2005, J. R.
    Stat. Soc. B 67, 301). Its strength is a pair `(strength, ratio)` with the ratio r in (0, 1],
    each as the strength of other penalties may be; a single number has the ratio 0.5.

    Examples
    --------
    >>> from spikax.glm import GLM
    >>> GLM(regularizer="ElasticNet", regularizer_strength=(0.01, 0.9))
    GLM(regularizer='ElasticNet', regularizer_strength=(0.01, 0.9))
    """

    smooth = False

    def penalty(self, strength, coefficients):
        """Build the penalty of a pair of strength and ratio."""
        pair = strength if isinstance(strength, tuple | list) else (strength, 0.5)
        if len(pair) != 2:
            raise ValueError(
                "regularizer_strength of ElasticNet must be a pair (strength, ratio), got "
                f"{len(pair)} items: {strength!r:.80}."
            )
        total = coefficients.spread(pair[0], "regularizer_strength[0]")
        ratio = coefficients.spread(pair[1], "regularizer_strength[1]")
        wrong = (ratio <= 0) | (ratio > 1)
        if wrong.any():
            raise ValueError(
                "regularizer_strength[1], the ratio of ElasticNet, must be in (0, 1], got "
                f"{ratio[wrong][0]:g}. For a ratio of 0 use Ridge."
            )
        return Elementwise(absolute=total * ratio, squared=total * (1 - ratio))


@dataclass(frozen=True)
class GroupLasso(HasParams):
    r"""Penalty :math:`\sum_g s_g \sqrt{|g|} \, \|w_g\|`, which makes groups zero as a whole.

    The size :math:`|g|` counts the coefficients that the feature mask leaves free (Yuan & Lin
    2006, J. R. Stat. Soc. B 68, 49).

    Parameters
    ----------
    mask
        Zeros and ones that tell the groups: (n_groups, n_features) for groups that all neurons
        have, or ``(n_groups, *coef.shape)``, where no group may reach over several neurons; a
        container of these for a container of features. Groups do not overlap, and coefficients in
        none are not penalised. None (default) makes one group of each array of features, neuron
        by neuron.

    Notes
    -----
    Without a mask the strength is a scalar, one per neuron, a container of either like `X`, or
    one per group, those of all neurons for the first array of features, then for the next; with a
    mask it is a scalar or one per group, (n_groups,).

    Examples
    --------
    >>> from spikax.glm import GLM
    >>> from spikax.regularizer import GroupLasso
    >>> groups = GroupLasso(mask=[[1, 1, 0], [0, 0, 1]])
    >>> GLM(regularizer=groups, regularizer_strength=[0.1, 0.2])
    GLM(regularizer=GroupLasso(mask=[[1, 1, 0], [0, 0, 1]]),
        regularizer_strength=[0.1, 0.2])
    """

    mask: Any = None

    smooth = False

    def penalty(self, strength, coefficients):
        """Build the penalty of a strength."""
        groups = coefficients.groups(self.mask)
        if self.mask is None:
            strength = coefficients.by_array(strength)
            spread = coefficients.spread(strength, "regularizer_strength")
            spread = np.broadcast_to(spread, (len(groups.of), spread.shape[1]))
            index = groups.of[:, 0]
            each = spread[np.unique(index, return_index=True)[1]]
            if np.any(each[index] != spread):
                raise ValueError(
                    "regularizer_strength of GroupLasso must be the same for all coefficients of "
                    "a group: pass one for each array of features."
                )
        else:
            each = coefficients.spread_groups(strength, groups.n_numbers)[groups.number]
        return Grouped(groups.of, each * np.sqrt(groups.size))


@dataclass(frozen=True)
class CustomRegularizer(HasParams):
    r"""A penalty given by functions of one neuron's coefficients.

    Parameters
    ----------
    value
        Function of the coefficients (n_features,) and their strengths (n_features,) to the cost, a
        scalar, written with `jax.numpy`.
    prox
        Function of coefficients `v`, strengths and steps, each (n_features,), to the minimiser
        over `w` of `sum((w - v)**2 / step) / 2 + value(w, strength)`; the steps are all the same.
        Needed where the penalty has kinks; None says that it has a gradient everywhere.

    Notes
    -----
    Give functions defined once, at the top of a module: each new function compiles a program.

    Examples
    --------
    A penalty on differences of neighbouring coefficients makes filters smooth:

    >>> import jax.numpy as jnp
    >>> from spikax.glm import GLM
    >>> from spikax.regularizer import CustomRegularizer
    >>> def roughness(coef, strength):
    ...     return strength[0] * jnp.sum(jnp.diff(coef) ** 2) / 2
    >>> model = GLM(regularizer=CustomRegularizer(roughness), regularizer_strength=0.1)
    """

    value: Callable
    prox: Callable | None = None

    @property
    def smooth(self) -> bool:
        """Whether the penalty has a gradient everywhere."""
        return self.prox is None

    def penalty(self, strength, coefficients):
        """Build the penalty of a strength."""
        spread = coefficients.spread(strength, "regularizer_strength")
        return FromFunctions(spread, self.value, self.prox)


REGULARIZERS = {
    kind.__name__: kind for kind in (UnRegularized, Ridge, Lasso, ElasticNet, GroupLasso)
}


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
            f"members of spikax.regularizer.Regularizer, got {regularizer!r}."
            + (" Call it, to pass what it makes." if callable(regularizer) else "")
        )
    return regularizer
