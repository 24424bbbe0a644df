"""Simulated populations whose neurons drive one another, and filters to couple them with."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import LinearOperator, eigs
from scipy.stats import gamma

from spikax import links, observation_models
from spikax._time_series import finite_values
from spikax.observation_models import Likelihood

__all__ = [
    "Stability",
    "difference_of_gammas",
    "regress_filter",
    "simulate_recurrent",
    "stability",
]

# Rates so many times above those without coupling, or above one, have run away.
_FAR = 1000


def difference_of_gammas(
    ws: int,
    upper_percentile: float = 0.99,
    inhib_a: float = 1.0,
    excit_a: float = 2.0,
    inhib_b: float = 1.0,
    excit_b: float = 2.0,
) -> np.ndarray:
    r"""Make a coupling filter that excites and inhibits, each with a gamma density of lag.

    Parameters
    ----------
    ws : int
        Window size: length of the filter, in samples.
    upper_percentile : float, default 0.99
        The filter ends where both gamma distributions have reached this probability; in [0, 1).
    inhib_a, excit_a : float, default 1.0 and 2.0
        Shapes of the inhibiting and the exciting density, positive.
    inhib_b, excit_b : float, default 1.0 and 2.0
        Their rates, positive.

    Returns
    -------
    array, shape (ws,)
        The filter, shortest lag first, of Euclidean norm one.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    The difference of :math:`b^a x^{a-1} e^{-b x} / \Gamma(a)` with the exciting and the
    inhibiting parameters, on an even grid from zero on.

    Examples
    --------
    >>> from spikax.simulation import difference_of_gammas
    >>> print(difference_of_gammas(5).round(2))
    [-0.99  0.14 -0.01 -0.02 -0.01]
    """
    given = {"inhib_a": inhib_a, "excit_a": excit_a, "inhib_b": inhib_b, "excit_b": excit_b}
    for name, value in given.items():
        if not value > 0:
            raise ValueError(f"{name} is {value!r}, but must be positive.")
    if not 0 <= upper_percentile < 1:
        raise ValueError(f"upper_percentile is {upper_percentile!r}, but must be in [0, 1).")
    if ws < 1:
        raise ValueError(f"ws is {ws!r}, but a filter has at least one sample.")
    inhibition, excitation = (inhib_a, 0, 1 / inhib_b), (excit_a, 0, 1 / excit_b)
    end = max(gamma.ppf(upper_percentile, *inhibition), gamma.ppf(upper_percentile, *excitation))
    lag = np.linspace(0, end, ws)
    difference = gamma.pdf(lag, *excitation) - gamma.pdf(lag, *inhibition)
    norm = np.linalg.norm(difference)
    if not 0 < norm < np.inf:
        raise ValueError(
            f"With {given} the difference of the densities is zero or infinite on its grid. "
            "Use shapes of at least 1, and other values for excitation than for inhibition."
        )
    return difference / norm


def regress_filter(coupling_filters: Any, eval_basis: Any) -> np.ndarray:
    """Approximate filters by a basis, in the sense of least squares.

    Parameters
    ----------
    coupling_filters : array, shape (window_size, n_receivers, n_senders)
        The filters, sample by sample.
    eval_basis : array, shape (window_size, n_basis_funcs)
        The basis, e.g. `kernel_` of a Conv basis.

    Returns
    -------
    array, shape (n_receivers, n_senders, n_basis_funcs)
        Coefficients; where the basis leaves a choice, those of least norm.

    Raises
    ------
    ValueError
        If the shapes do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import RaisedCosineLogConv
    >>> from spikax.simulation import difference_of_gammas, regress_filter
    >>> filters = np.tile(difference_of_gammas(50)[:, None, None], (1, 2, 2))
    >>> regress_filter(filters, RaisedCosineLogConv(6, window_size=50).kernel_).shape
    (2, 2, 6)
    """
    filters = np.asarray(finite_values(coupling_filters, "coupling_filters"), float)
    basis = np.asarray(finite_values(eval_basis, "eval_basis"), float)
    if filters.ndim != 3 or basis.ndim != 2 or len(filters) != len(basis):
        raise ValueError(
            f"coupling_filters has shape {filters.shape} and eval_basis {basis.shape}, but "
            "(window_size, n_receivers, n_senders) and (window_size, n_basis_funcs) are needed, "
            "with one window_size."
        )
    solved = np.linalg.lstsq(basis, filters.reshape(len(basis), -1))[0]
    return solved.T.reshape(*filters.shape[1:], -1)


def simulate_recurrent(
    coupling_coef: Any,
    feedforward_coef: Any,
    intercepts: Any,
    random_key: jax.Array,
    feedforward_input: Any,
    coupling_basis_matrix: Any,
    init_y: Any,
    inverse_link_function: Any = "softplus",
    observation_model: Any = "Poisson",
    scale: Any = 1.0,
) -> tuple[jax.Array, jax.Array]:
    r"""Simulate a population whose past activity drives it.

    Parameters
    ----------
    coupling_coef : array, shape (n_neurons, n_neurons, n_basis_funcs)
        Coefficients of the coupling filters: receiver, sender, function.
    feedforward_coef : array, shape (n_neurons, n_features)
        What each neuron makes of its input.
    intercepts : array, shape (n_neurons,)
        The linear predictor without input and coupling.
    random_key : jax.Array
        Random key, from `jax.random.key`.
    feedforward_input : array, shape (n_samples, n_neurons, n_features)
        Input of each neuron; `n_samples` is how long the simulation is.
    coupling_basis_matrix : array, shape (window_size, n_basis_funcs)
        The basis of the filters, shortest lag first, e.g. `kernel_` of a Conv basis.
    init_y : array, shape (window_size, n_neurons)
        Activity before the first sample, the latest last.
    inverse_link_function : str or callable, default "softplus"
        From the linear predictor to the mean; see `spikax.links.resolve`.
    observation_model : str or Observations, default "Poisson"
        From the mean to what is observed; see `spikax.observation_models.resolve`.
    scale : float or array, shape (n_neurons,), default 1.0
        Scale of the observations, for models that have one.

    Returns
    -------
    spikes : array, shape (n_samples, n_neurons)
        The simulated activity.
    rates : array, shape (n_samples, n_neurons)
        Its mean, given the past.

    Raises
    ------
    ValueError
        If shapes do not match, or a parameter is infinite or missing.
    TypeError
        If a parameter does not hold real numbers.

    Warns
    -----
    RuntimeWarning
        If the population runs away: a rate is not finite, or over a thousand times what the
        input alone would cause.

    Notes
    -----
    With filters :math:`h_{ij}(l) = \sum_b \alpha_{ijb}\, k_b(l)` and the inverse link :math:`f`,
    neuron :math:`i` has the mean

    .. math:: \mu_i(t) = f\Big(c_i + \beta_i \cdot x_i(t)
        + \sum_j \sum_{l=0}^{w-1} h_{ij}(l)\, y_j(t - 1 - l)\Big)

    (Pillow et al. 2008, Nature 454, 995). `convolve.create_convolutional_predictor` gives the
    features that a fit of such a population needs. Another simulation of the same shape compiles
    nothing.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> from spikax.basis import RaisedCosineLogConv
    >>> from spikax.simulation import simulate_recurrent
    >>> basis = RaisedCosineLogConv(3, window_size=20).kernel_
    >>> spikes, rates = simulate_recurrent(
    ...     coupling_coef=np.full((4, 4, 3), -0.02),
    ...     feedforward_coef=np.zeros((4, 1)),
    ...     intercepts=np.full(4, -2.0),
    ...     random_key=jax.random.key(0),
    ...     feedforward_input=np.zeros((1000, 4, 1)),
    ...     coupling_basis_matrix=basis,
    ...     init_y=np.zeros((20, 4)),
    ...     inverse_link_function="exp",
    ... )
    >>> spikes.shape, bool(rates.max() < np.exp(-2) + 1e-6)
    ((1000, 4), True)
    """
    arrays = {
        "coupling_coef": coupling_coef,
        "feedforward_coef": feedforward_coef,
        "intercepts": intercepts,
        "feedforward_input": feedforward_input,
        "coupling_basis_matrix": coupling_basis_matrix,
        "init_y": init_y,
    }
    arrays = _checked(arrays)
    model = observation_models.resolve(observation_model)
    if model.n_predictors > 1:
        raise ValueError(
            f"observation_model {model.name!r} has several linear predictors, and a recurrence is "
            "simulated of models with one."
        )
    spikes, rates, alone = _simulate(
        *map(jnp.asarray, arrays.values()),
        random_key,
        jnp.asarray(scale, float),
        Likelihood.of(model, links.resolve(inverse_link_function)),
    )
    warn_if_it_runs_away(rates, alone, np.arange(rates.shape[1]))
    return spikes, rates


@jax.jit
def _simulate(coupling, feedforward, intercepts, inputs, basis, init_y, key, scale, likelihood):
    drive = jnp.einsum("tnk,nk->tn", inputs, feedforward) + intercepts[None]
    starts = jnp.zeros(len(drive), bool)
    return recur(coupling, basis, drive, starts, init_y, key, scale, likelihood)


@jax.jit
def recur(
    coupling: jax.Array,
    basis: jax.Array,
    drive: jax.Array,
    starts: jax.Array,
    init_y: jax.Array,
    key: jax.Array,
    scale: jax.Array,
    likelihood: Likelihood,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return activity, means, and the largest mean of each neuron without coupling.

    The drive, (n_samples, n_neurons), is the linear predictor without coupling. At the samples
    that `starts` marks, (n_samples,), the past is `init_y` again.
    """
    n_neurons, _, n_basis = coupling.shape
    dtype = jnp.result_type(drive, coupling, basis)
    # From a sender to what it adds, function by function, to all receivers.
    outgoing = coupling.transpose(1, 2, 0).reshape(n_neurons, -1).astype(dtype)

    def send(coming, y):
        """Move one sample on, and add what `y` will do to the samples that are to come."""
        coming = jnp.concatenate([coming[1:], jnp.zeros_like(coming[:1])])
        return coming + basis @ (y @ outgoing).reshape(n_basis, n_neurons)

    def step(coming, now):
        drive, starts, key = now
        coming = jnp.where(starts, first, coming)
        rate = likelihood.mean(drive + coming[0])
        y = likelihood.family.sample_generator(key, rate, scale)
        return send(coming, y.astype(dtype)), (y, rate)

    nothing = jnp.zeros((len(basis), n_neurons), dtype)
    first, _ = jax.lax.scan(lambda c, y: (send(c, y), None), nothing, init_y.astype(dtype))
    keys = jax.random.split(key, len(drive))
    _, (spikes, rates) = jax.lax.scan(step, first, (drive.astype(dtype), starts, keys))
    return spikes, rates, jnp.max(jnp.abs(likelihood.mean(drive)), axis=0)


@dataclass(frozen=True, eq=False)
class Stability:
    """Whether the mean activity of a coupled population stays where it is.

    Attributes
    ----------
    rates
        Rates at which the mean activity stays, (n_neurons,), in units of the observations, such as
        spikes per bin; NaN if none were found.
    spectral_radius
        By what factor a small departure from these rates changes in a sample, in the long run:
        below one it dies out. Infinite where the mean activity runs away.
    stable
        Whether there are such rates and the spectral radius is below one.
    margin
        By what factor all rates must be raised for the mean activity not to come back to them;
        infinite if it comes back from rates a thousand times too high; one if it is not stable. An
        exponential inverse link and coupling that excites have a finite margin: by chance, a
        simulation that is long enough will cross it.
    runaway
        Which neurons run away, (n_neurons,): where the mean activity cannot stay, or else once it
        is past the margin.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.simulation import stability
    >>> found = stability(np.full((1, 1, 1), 0.5), np.log([0.5]), np.ones((1, 1)), "exp")
    >>> found.stable, round(found.spectral_radius, 3), round(found.margin, 1)
    (True, 0.357, 6.0)
    """

    rates: np.ndarray
    spectral_radius: float
    stable: bool
    margin: float
    runaway: np.ndarray


def stability(
    coupling_coef: Any,
    drive: Any,
    coupling_basis_matrix: Any,
    inverse_link_function: Any = "softplus",
) -> Stability:
    r"""Tell whether the mean activity of a coupled population is stable.

    Parameters
    ----------
    coupling_coef : array, shape (n_neurons, n_neurons, n_basis_funcs)
        Coefficients of the coupling filters: receiver, sender, function.
    drive : array, shape (n_neurons,) or (n_samples, n_neurons)
        The linear predictor without coupling. Of several samples, the constant drive that gives
        the mean of their uncoupled rates.
    coupling_basis_matrix : array, shape (window_size, n_basis_funcs)
        The basis of the filters, shortest lag first, e.g. `kernel_` of a Conv basis.
    inverse_link_function : str or callable, default "softplus"
        From the linear predictor to the mean; see `spikax.links.resolve`.

    Returns
    -------
    Stability
        The rates at which the mean activity stays, and what becomes of departures from them.

    Raises
    ------
    ValueError
        If shapes do not match, or a parameter is infinite or missing.
    TypeError
        If a parameter does not hold real numbers.

    Notes
    -----
    This is the linear stability of the mean field, in which neurons see one another's means:

    .. math:: \mu_i(t) = f\Big(c_i + \sum_j \sum_{l=0}^{w-1} h_{ij}(l)\, \mu_j(t - 1 - l)\Big)

    Its fixed point is followed from the uncoupled rates :math:`f(c_i)`, and the spectral radius is
    that of the recursion linearised there, with filters :math:`f'(\eta_i)\, h_{ij}`; with an
    exponential inverse link the gain :math:`f'(\eta_i)` is the rate. It is exact for means of
    models whose inverse link is the identity. Otherwise it leaves out what fluctuations do, and
    takes the effect of a spike to be small: strong refractoriness may oscillate in the mean field
    (a spectral radius above one without a neuron that runs away) and not in the population.
    Gerhard, Deger & Truccolo (2017), PLoS Comput Biol 13, e1005390, show that fitted models are
    often stable, divergent or fragile (stable up to a margin), and give a finer approximation.

    Examples
    --------
    Two neurons that excite each other strongly:

    >>> import numpy as np
    >>> from spikax.simulation import stability
    >>> coupling = np.array([[0.0, 3.0], [3.0, 0.0]])[:, :, None]
    >>> found = stability(coupling, np.log([0.2, 0.2]), np.ones((1, 1)), "exp")
    >>> found.stable, found.spectral_radius, found.runaway.tolist()
    (False, inf, [True, True])
    """
    drive = np.atleast_2d(np.asarray(finite_values(drive, "drive"), float))
    given = {"coupling_coef": coupling_coef, "drive": drive}
    arrays = _checked({**given, "coupling_basis_matrix": coupling_basis_matrix})
    coupling, drive, basis = (np.asarray(array, float) for array in arrays.values())
    link = links.resolve(inverse_link_function)
    with jax.enable_x64(True):
        return _mean_field(np.einsum("lb,ijb->lij", basis, coupling), drive, link)


def _mean_field(filters: np.ndarray, drive: np.ndarray, link: links.InverseLink) -> Stability:
    """Find the fixed point and what becomes of departures, filters (lag, receiver, sender)."""

    def mean(eta):
        return tuple(np.asarray(a) for a in _mean_and_gain(link, eta))

    constant = np.asarray(_steady(link, drive))
    total = filters.sum(axis=0)
    alone = mean(constant)[0]
    limit = _FAR * (np.abs(alone) + 1)
    rates = _settle(mean, constant, total, alone, limit)
    nowhere = np.full_like(rates, np.nan)
    if np.isnan(rates).any():
        return Stability(nowhere, np.nan, False, 1.0, np.zeros(len(rates), bool))
    if (np.abs(rates) > limit).any():
        return Stability(nowhere, np.inf, False, 1.0, np.abs(rates) > limit / 10)
    gain = mean(constant + total @ rates)[1]
    radius = _spectral_radius(gain[:, None] * filters)
    if radius >= 1:
        return Stability(rates, radius, False, 1.0, np.zeros(len(rates), bool))
    margin, runaway = _margin(mean, constant, total, rates, limit)
    return Stability(rates, radius, True, margin, runaway)


@partial(jax.jit, static_argnums=0)
def _mean_and_gain(link, eta):
    return jax.jvp(link.mean, (eta,), (jnp.ones_like(eta),))


@partial(jax.jit, static_argnums=0)
def _steady(link, drive):
    """Find the constant drive whose rates are the mean rates of all samples, (n_neurons,)."""
    ends = jnp.min(drive, axis=0), jnp.max(drive, axis=0)
    wanted = jnp.mean(link.mean(drive), axis=0)
    increasing = link.mean(ends[1]) >= link.mean(ends[0])

    def halve(_, ends):
        middle = (ends[0] + ends[1]) / 2
        up = (link.mean(middle) < wanted) == increasing
        return jnp.where(up, middle, ends[0]), jnp.where(up, ends[1], middle)

    low, high = jax.lax.fori_loop(0, 60, halve, ends)
    return (low + high) / 2


def _settle(
    mean: Callable, drive: np.ndarray, total: np.ndarray, rates: np.ndarray, limit: np.ndarray
) -> np.ndarray:
    """Follow `d rates / dt = mean(drive + total rates) - rates` to its end, or beyond the limit.

    Linearly implicit Euler steps, which become Newton's where the flow comes to rest. NaN if it
    comes to no end.
    """
    step = 1.0
    for _ in range(300):
        eta = drive + total @ rates
        value, gain = mean(eta)
        flow = value - rates
        if (np.abs(flow) <= 1e-10 * np.abs(rates) + 1e-300).all():
            return rates
        loop = gain[:, None] * total
        growth = np.linalg.eigvals(loop).real.max() - 1
        # A longer step would take the flow along what grows for one that goes back.
        step = min(2 * step, 0.5 / growth if growth > 0 else 1e8)
        move = np.linalg.solve((1 + 1 / step) * np.eye(len(rates)) - loop, flow)
        while (np.abs(total @ move) > 0.5 + 0.1 * np.abs(eta)).any():
            step /= 4
            move = np.linalg.solve((1 + 1 / step) * np.eye(len(rates)) - loop, flow)
        rates = rates + move
        # Where rates are to rise a thousandfold beyond the limit, they will pass it.
        reached = np.where(np.abs(value) > _FAR * limit, value, rates)
        if (np.abs(reached) > limit).any():
            return reached
    return np.full_like(rates, np.nan)


def _margin(
    mean: Callable, drive: np.ndarray, total: np.ndarray, rates: np.ndarray, limit: np.ndarray
) -> tuple[float, np.ndarray]:
    """Find the factor from which on rates do not come back, and the neurons that then run away."""

    def end(log_factor):
        return _settle(mean, drive, total, np.exp(log_factor) * rates, limit)

    low, high = 0.0, float(np.log(np.min(limit / np.maximum(np.abs(rates), 1e-300))))
    last = end(high)
    if np.allclose(last, rates, rtol=1e-4, atol=0):
        return np.inf, np.zeros(len(rates), bool)
    while high - low > 0.01:
        middle = (low + high) / 2
        ends = end(middle)
        if np.allclose(ends, rates, rtol=1e-4, atol=0):
            low = middle
        else:
            high, last = middle, ends
    return float(np.exp((low + high) / 2)), (np.abs(last) > limit).any() & (
        np.abs(last) > limit / 10
    )


def _spectral_radius(filters: np.ndarray) -> float:
    """Largest modulus of the eigenvalues of `x(t) = sum_l filters[l] x(t - 1 - l)`."""
    window, n, _ = filters.shape
    past = filters.swapaxes(0, 1).reshape(n, -1)

    def advance(x):
        return np.concatenate([past @ x, x[:-n]])

    if window * n <= 1000:
        return float(np.abs(np.linalg.eigvals(advance(np.eye(window * n)))).max())
    operator: Any = LinearOperator((window * n, window * n), advance)  # pyright: ignore
    options: dict[str, Any] = {"tol": 1e-6, "ncv": 80, "return_eigenvectors": False}
    # Several, since the first to converge need not be the largest of those that are close.
    largest = eigs(operator, 6, v0=np.ones(window * n), **options)
    return float(np.abs(largest).max())


def _checked(arrays: dict[str, Any]) -> dict[str, Any]:
    """Refuse arrays that are not finite, or do not go together."""
    arrays = {name: finite_values(array, name) for name, array in arrays.items()}
    _check_shapes(arrays)
    for name, array in arrays.items():
        if np.isnan(np.asarray(array)).any():
            raise ValueError(f"{name} has NaN, from which nothing can be simulated. Fill it in.")
    return arrays


def _check_shapes(arrays: dict[str, Any]) -> None:
    """Refuse arrays whose shapes do not go together."""
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        axes, shape = _AXES[name], np.shape(array)
        fits = len(shape) == len(axes) and all(
            n == sizes.setdefault(axis, n) for axis, n in zip(axes, shape, strict=True)
        )
        if not fits or 0 in shape:
            known = ", ".join(f"{axis} = {n}" for axis, n in sizes.items())
            raise ValueError(
                f"{name} has shape {shape}, but ({', '.join(axes)}) is needed, none empty, "
                f"with the sizes that arguments before it have: {known}."
            )


_AXES = {
    "coupling_coef": ("n_neurons", "n_neurons", "n_basis_funcs"),
    "feedforward_coef": ("n_neurons", "n_features"),
    "intercepts": ("n_neurons",),
    "feedforward_input": ("n_samples", "n_neurons", "n_features"),
    "drive": ("n_samples", "n_neurons"),
    "coupling_basis_matrix": ("window_size", "n_basis_funcs"),
    "init_y": ("window_size", "n_neurons"),
}


def warn_if_it_runs_away(rates: jax.Array, alone: jax.Array, names: np.ndarray) -> None:
    """Warn once of the neurons that fire far more than their input alone would make them."""
    highest = np.asarray(jnp.max(jnp.abs(rates), axis=0))
    runs_away = ~(highest <= _FAR * (np.asarray(alone) + 1))
    if runs_away.any():
        named = names[runs_away]
        more = f" and {named.size - 20} more" if named.size > 20 else ""
        warnings.warn(
            f"The population runs away: {named.size} of {highest.size} neurons, "
            f"{', '.join(map(str, named[:20]))}{more}, fire over a thousand times more than their "
            "input alone would make them. Weaken the coupling, or use an inverse link that "
            "saturates; `stability` tells more.",
            RuntimeWarning,
            stacklevel=3,
        )
