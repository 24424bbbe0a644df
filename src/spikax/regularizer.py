"""Regularizers: what turns a user's strength into a penalty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from spikax._coefficients import CoefficientShape
from spikax._errors import unknown_name
from spikax._layout import Layout, Outputs
from spikax._params import HasParams
from spikax.core.penalties import NO_PENALTY, Elementwise, FromFunctions, Grouped, Penalty
from spikax.solvers._registry import allowed_solvers, default_solver, make_solver

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

    def penalty(self, strength: Any, coefficients: CoefficientShape) -> Penalty:
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


class _Named(HasParams):
    """What regularizers have for those who use them without a model."""

    smooth: Any  # bool: a class attribute, or a property

    def penalty(self, strength: Any, coefficients: CoefficientShape) -> Penalty:
        """Build the penalty of a strength."""
        raise NotImplementedError

    @property
    def allowed_solvers(self) -> tuple[str, ...]:
        """Names of the algorithms that can handle the penalty."""
        return allowed_solvers(self)

    @property
    def default_solver(self) -> str:
        """Name of the algorithm that a model takes if it is told none."""
        return default_solver(self)

    def check_solver(self, solver_name: str) -> None:
        """Refuse a solver that cannot handle the penalty.

        Parameters
        ----------
        solver_name
            "Algorithm" or "Algorithm[backend]".

        Raises
        ------
        ValueError
            If it cannot, with the names of those that can; or if nobody registered it.

        Examples
        --------
        >>> from spikax.regularizer import Lasso
        >>> Lasso().check_solver("ProximalGradient")
        """
        make_solver(solver_name, None, self)

    def penalized_loss(self, loss: Callable, params: Any, strength: Any) -> Callable:
        """Add the penalty to a loss.

        Parameters
        ----------
        loss
            Function of parameters, and whatever else, to a scalar.
        params
            An array of coefficients, or a container of arrays; all of them are penalised.
        strength
            As `regularizer_strength` of a model whose features are in such a container.

        Returns
        -------
        callable
            Function of the same arguments to the sum of loss and penalty.

        Raises
        ------
        ValueError, TypeError
            If the strength does not belong to such parameters.

        Examples
        --------
        >>> import jax.numpy as jnp
        >>> from spikax.regularizer import Ridge
        >>> coef = jnp.array([1.0, 2.0])
        >>> total = Ridge().penalized_loss(lambda coef: jnp.sum(coef), coef, strength=0.2)
        >>> print(total(coef))
        3.5
        """
        rows = _Rows.of(params)
        penalty = self.penalty(strength, rows.coefficients)

        def penalized(params, *args, **kwargs):
            return loss(params, *args, **kwargs) + penalty.value(rows.join(params)).sum()

        return penalized

    def get_proximal_operator(self, params: Any, strength: Any) -> Callable:
        """Make the proximal operator of the penalty.

        Parameters
        ----------
        params, strength
            As for `penalized_loss`.

        Returns
        -------
        callable
            Function `prox(params, hyperparams=None, scaling=1.0)` to the minimiser over `w` of
            ``sum((w - params)**2) / (2 * scaling)`` plus the penalty of `w`, as jaxopt calls it;
            `hyperparams` is not looked at.

        Raises
        ------
        ValueError, TypeError
            If the strength does not belong to such parameters.

        Examples
        --------
        >>> import jax.numpy as jnp
        >>> from spikax.regularizer import Lasso
        >>> coef = jnp.array([1.0, -2.0])
        >>> print(Lasso().get_proximal_operator(coef, strength=0.5)(coef, scaling=2.0))
        [ 0. -1.]
        """
        rows = _Rows.of(params)
        penalty = self.penalty(strength, rows.coefficients)

        def prox(params, hyperparams=None, scaling=1.0):
            coef = rows.join(params)
            return rows.split(penalty.prox(coef, jnp.full_like(coef, scaling)))

        return prox


class _Rows(NamedTuple):
    """How arrays of parameters lie in rows, (n_rows, n_neurons), as penalties take them."""

    coefficients: CoefficientShape
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, params: Any) -> _Rows:
        leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
        shapes = tuple(np.shape(leaf) for _, leaf in leaves)
        trailing = max(shapes, key=len, default=(0,))[1:]
        widths = [1 if shape == trailing and trailing else shape[0] for shape in shapes if shape]
        if len(widths) < len(shapes) or any(
            shape not in (trailing, (width, *trailing))
            for shape, width in zip(shapes, widths, strict=True)
        ):
            raise ValueError(
                f"params has arrays of shapes {', '.join(map(str, shapes))}, which do not have "
                "the same neurons: pass (n_features, ...) with the same axes after the first."
            )
        names = tuple(f"X{jax.tree_util.keystr(path)}" for path, _ in leaves)
        layout = Layout(treedef, names, names, tuple(widths), (None,) * len(widths))
        n_neurons, n_classes = (*trailing, 1)[0], trailing[1] if len(trailing) > 1 else None
        outputs = Outputs(n_neurons, n_classes, single=not trailing)
        return cls(CoefficientShape(layout, outputs, None), shapes)

    def join(self, params: Any) -> jax.Array:
        outputs = self.coefficients.outputs
        leaves = (jnp.asarray(leaf) for leaf in jax.tree.leaves(params))
        columns = [outputs.columns(a.reshape(-1, *outputs.trailing)) for a in leaves]
        return jnp.concatenate(columns).reshape(-1, outputs.n_neurons)

    def split(self, rows: jax.Array) -> Any:
        layout, outputs = self.coefficients.layout, self.coefficients.outputs
        columns = rows.reshape(-1, outputs.n_neurons * outputs.n_predictors)
        parts = jax.tree.leaves(layout.split(outputs.restored(columns, outputs.trailing)))
        shaped = [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return jax.tree.unflatten(layout.treedef, shaped)


@dataclass(frozen=True)
class UnRegularized(_Named):
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
class Ridge(_Named):
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
class Lasso(_Named):
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
class ElasticNet(_Named):
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
class GroupLasso(_Named):
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

    def initialize_mask(self, x: Any) -> Any:
        """Make the mask that None stands for: a group for each array and neuron.

        Parameters
        ----------
        x
            Coefficients, (n_features, ...), or a container of such arrays.

        Returns
        -------
        array or container
            Zeros and ones, ``(n_groups, *coef.shape)`` for each array.

        Examples
        --------
        >>> import numpy as np
        >>> from spikax.regularizer import GroupLasso
        >>> mask = GroupLasso().initialize_mask({"place": np.zeros(3), "speed": np.zeros(2)})
        >>> mask["speed"].tolist()
        [[0.0, 0.0], [1.0, 1.0]]
        """
        leaves, treedef = jax.tree.flatten(x)
        n_groups = sum(prod(np.shape(leaf)[1:]) for leaf in leaves)
        masks, first = [], 0
        for shape in map(np.shape, leaves):
            number = first + np.arange(prod(shape[1:])).reshape(shape[1:])
            first += number.size
            group = np.arange(n_groups).reshape(-1, *(1,) * len(shape))
            masks.append(np.broadcast_to(number, shape)[None] == group)
        return jax.tree.unflatten(treedef, [mask.astype(float) for mask in masks])

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
class CustomRegularizer(_Named):
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
