"""Inverse links: from the linear predictor to the mean, finite wherever a fit may wander."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype
from jax.scipy.special import log_ndtr, logit, ndtr, ndtri

from spikax._errors import unknown_name

__all__ = ["InverseLink", "resolve"]

Function = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class InverseLink:
    """An inverse link with the logarithms that likelihoods are written in.

    Poisson with `exp` gets its textbook form (`exp(eta) - y * eta`) this way, and no logarithm of
    a rounded rate is ever taken.

    Parameters
    ----------
    name
        What the link is called in `inverse_link_function=`.
    mean
        The inverse link, from the linear predictor to the mean.
    log_mean
        The logarithm of the mean.
    log_complement
        The logarithm of one minus the mean.
    predictor
        The link itself, from the mean to the linear predictor.
    aliases
        Other names, and the callables that mean this link, such as `jax.numpy.exp`.
    linear
        Whether the mean is a linear function of the predictor, which then has its unit (default
        False).

    Notes
    -----
    Links are equal, and share compiled programs, if they hold the same functions.

    Examples
    --------
    >>> from spikax.links import resolve
    >>> float(resolve("softplus").log_mean(-1000.0))
    -1000.0
    """

    name: str = field(compare=False)
    mean: Function
    log_mean: Function = field(repr=False)
    log_complement: Function = field(repr=False)
    predictor: Function = field(repr=False)
    aliases: tuple[object, ...] = field(default=(), compare=False, repr=False)
    linear: bool = field(default=False, repr=False)


def resolve(link: str | Function | InverseLink) -> InverseLink:
    """Find the inverse link that a name or a callable stands for.

    Parameters
    ----------
    link
        "exp", "softplus", "logistic" ("expit"), "norm_cdf" ("norm.cdf"), "identity",
        "one_over_x", "log_softmax" (of classifiers), an `InverseLink`, or any elementwise,
        monotone, differentiable JAX callable.

    Returns
    -------
    InverseLink
        The link; for a callable of the user's, with logarithms composed from it.

    Raises
    ------
    ValueError
        If the name is unknown, or the callable cannot be traced by JAX.
    TypeError
        If `link` is neither a name nor a callable.

    Examples
    --------
    >>> import jax
    >>> from spikax.links import resolve
    >>> resolve(jax.nn.softplus).name
    'softplus'
    """
    if isinstance(link, InverseLink):
        return link
    named = isinstance(link, str)
    for known in (*INVERSE_LINKS, LOG_SOFTMAX):
        names = (known.name, *known.aliases)
        if any(link is name or (named and link == name) for name in names):
            return known
    if isinstance(link, str):
        raise unknown_name("inverse_link_function", link, (k.name for k in INVERSE_LINKS))
    if not callable(link):
        raise TypeError(
            f"inverse_link_function must be a name or a JAX callable, got {link!r} "
            f"of type {type(link).__name__}."
        )
    return _from_callable(_Composed(_mean, link))


@dataclass(frozen=True, eq=False)
class _Composed:
    """A function made of a callable of the user's: equal to another if made of the same object."""

    make: Callable[[Function, jax.Array], jax.Array]
    function: Function

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.make(self.function, x)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Composed)
            and self.make is other.make
            and self.function is other.function
        )

    def __hash__(self) -> int:
        return hash((self.make, id(self.function)))


def _mean(function: Function, eta: jax.Array) -> jax.Array:
    return function(eta)


def _log_mean(function: Function, eta: jax.Array) -> jax.Array:
    return _log(function(eta))


def _log_complement(function: Function, eta: jax.Array) -> jax.Array:
    return _log(1 - function(eta))


@lru_cache(maxsize=64)
def _from_callable(mean: _Composed) -> InverseLink:
    function = mean.function
    name = getattr(function, "__name__", repr(function))
    probe = jax.ShapeDtypeStruct((3,), canonicalize_dtype(float))
    try:
        out = jax.eval_shape(lambda x: jax.jvp(function, (x,), (x,))[1], probe)
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"inverse_link_function {name!r} cannot be differentiated by JAX ({reason}). "
            "Write it with jax.numpy instead of NumPy or SciPy functions."
        ) from error
    if out.shape != probe.shape:
        raise ValueError(
            f"inverse_link_function {name!r} must work element by element: for an input of shape "
            f"{probe.shape} it returned shape {out.shape}."
        )
    points = jnp.linspace(-5, 5, 21)
    if not np.any(jax.jvp(function, (points,), (jnp.ones_like(points),))[1]):
        raise ValueError(
            f"inverse_link_function {name!r} has no gradient: its derivative is zero from -5 to "
            "5, so that no fit could tell coefficients apart. Leave out rounding and comparisons."
        )
    return InverseLink(
        name,
        mean,
        _Composed(_log_mean, function),
        _Composed(_log_complement, function),
        _Composed(_bisect, function),
        linear=_is_linear(function),
    )


def _is_linear(function: Function) -> bool:
    with jax.ensure_compile_time_eval():
        bends = np.diff(np.asarray(function(jnp.arange(-2.0, 3.0))), n=2)
    return bool(np.all(np.abs(bends) < 1e-5))


def _bisect(function: Function, mean: jax.Array) -> jax.Array:
    """Solve `function(eta) = mean` for a monotone function, within +-60."""
    low, high = jnp.full_like(mean, -60.0), jnp.full_like(mean, 60.0)
    increasing = function(high) > function(low)

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        go_up = (function(middle) < mean) == increasing
        return jnp.where(go_up, middle, low), jnp.where(go_up, high, middle)

    low, high = jax.lax.fori_loop(0, 50, halve, (low, high))
    return (low + high) / 2


def _tangent_above(function: Function, cut: float, x: jax.Array) -> jax.Array:
    """Continue a convex function by its tangent above `cut`: no overflow, and still convex."""
    at = jnp.asarray(cut, x.dtype)
    value, slope = jax.jvp(function, (at,), (jnp.ones_like(at),))
    return jnp.where(x > at, value + slope * (x - at), function(jnp.minimum(x, at)))


def _exp(eta: jax.Array) -> jax.Array:
    eta = jnp.asarray(eta)
    # Squares of means and sums over samples need room below the largest float; no count of spikes
    # nears exp(30).
    return _tangent_above(jnp.exp, 30.0 if eta.dtype == jnp.float32 else 300.0, eta)


def _log(mean: jax.Array) -> jax.Array:
    """Logarithm, continued by its tangent below 1e-10: finite, and its slope leads back."""
    return -_tangent_above(lambda x: -jnp.log(-x), -1e-10, -jnp.asarray(mean))


def _reciprocal(eta: jax.Array) -> jax.Array:
    """`1 / eta`, continued by its tangent below a predictor of 1e-6."""
    return _tangent_above(lambda x: -1 / x, -1e-6, -jnp.asarray(eta))


def _log_one_plus(share: jax.Array) -> jax.Array:
    # log(1 + u) = 2 artanh(s), s = u / (2 + u) <= 1/3 (Abramowitz & Stegun 1972, 4.1.27), here a
    # third of the time of XLA's.
    s = share / (2 + share)
    n_terms = 17 if s.dtype == jnp.float64 else 8
    series = jnp.zeros_like(s)
    for k in reversed(range(n_terms)):
        series = series * s**2 + 1 / (2 * k + 1)
    return 2 * s * series


@jax.custom_jvp
def _log_sigmoid(eta: jax.Array) -> jax.Array:
    # The logarithm is that of the complement too: a likelihood that has both takes one.
    return jnp.minimum(eta, 0) - _log_one_plus(jnp.exp(-jnp.abs(eta)))


@jax.custom_jvp
def _log_complement_of_sigmoid(eta: jax.Array) -> jax.Array:
    return -jnp.maximum(eta, 0) - _log_one_plus(jnp.exp(-jnp.abs(eta)))


_log_sigmoid.defjvps(lambda tangent, _, eta: jax.nn.sigmoid(-eta) * tangent)
_log_complement_of_sigmoid.defjvps(lambda tangent, _, eta: -jax.nn.sigmoid(eta) * tangent)


def _softplus(eta: jax.Array) -> jax.Array:
    return jax.nn.softplus(eta)


def _log_softplus(eta: jax.Array) -> jax.Array:
    eta = jnp.asarray(eta)
    # softplus(eta) = exp(eta) (1 - exp(eta) / 2 + ...): below -10 the sum ends in float32 noise.
    low = jnp.minimum(eta, -10.0)
    return jnp.where(
        eta < -10.0, low - jnp.exp(low) / 2, jnp.log(jax.nn.softplus(jnp.maximum(eta, -10.0)))
    )


def _inverse_softplus(mean: jax.Array) -> jax.Array:
    return mean + jnp.log(-jnp.expm1(-mean))


def _reachable(predictor: Function, high: float = jnp.inf) -> Function:
    """Take a mean outside (0, high), which some families have, for one a little inside."""

    def inside(mean: jax.Array) -> jax.Array:
        mean = jnp.where(mean > 0, mean, 0.02)
        return predictor(jnp.where(mean < high, mean, high - 0.02))

    return inside


def _log_softmax(eta: jax.Array) -> jax.Array:
    # Class by class: XLA's reductions over a short first axis take longer than all else in a pass.
    shifted = eta - jax.lax.stop_gradient(reduce(jnp.maximum, eta))[None]
    return shifted - jnp.log(reduce(jnp.add, jnp.exp(shifted)))[None]


def _identity(eta: jax.Array) -> jax.Array:
    return jnp.asarray(eta)


INVERSE_LINKS = (
    InverseLink(
        "exp",
        _exp,
        _identity,
        lambda eta: _log(1 - _exp(eta)),
        _reachable(jnp.log),
        aliases=(jnp.exp,),
    ),
    InverseLink(
        "softplus",
        _softplus,
        _log_softplus,
        lambda eta: _log(1 - _softplus(eta)),
        _reachable(_inverse_softplus),
        aliases=(jax.nn.softplus,),
    ),
    InverseLink(
        "logistic",
        jax.nn.sigmoid,
        _log_sigmoid,
        _log_complement_of_sigmoid,
        _reachable(logit, high=1.0),
        aliases=("expit", jax.nn.sigmoid, jax.scipy.special.expit, jax.lax.logistic),
    ),
    InverseLink(
        "norm_cdf",
        ndtr,
        log_ndtr,
        lambda eta: log_ndtr(-eta),
        _reachable(ndtri, high=1.0),
        aliases=("norm.cdf", ndtr, jax.scipy.stats.norm.cdf),
    ),
    InverseLink("identity", _identity, _log, lambda eta: _log(1 - eta), _identity, linear=True),
    InverseLink(
        "one_over_x",
        _reciprocal,
        lambda eta: -_log(eta),
        lambda eta: _log(1 - _reciprocal(eta)),
        _reachable(_reciprocal),
    ),
)

# Means as they are. Their logarithms are right wherever they are finite, unlike those of the
# identity, which a fit must find its way back with.
MEANS = InverseLink(
    "mean",
    jnp.asarray,
    lambda mean: jnp.log(jnp.where(mean == 0, 1, mean)),
    lambda mean: jnp.log1p(-jnp.where(mean == 1, 0, mean)),
    jnp.asarray,
)
# Parameters as they are, with logarithms that are infinite at their bounds.
PARAMETERS = InverseLink(
    "parameter", jnp.asarray, jnp.log, lambda share: jnp.log1p(-share), jnp.asarray
)

LOG_SOFTMAX = InverseLink(
    "log_softmax",
    lambda eta: jnp.exp(_log_softmax(eta)),
    _log_softmax,
    lambda eta: _log(1 - jnp.exp(_log_softmax(eta))),
    lambda mean: jnp.log(mean) - jnp.log(mean).mean(axis=0, keepdims=True),
    aliases=(jax.nn.log_softmax,),
)
