"""Simulated populations whose neurons drive one another, and filters to couple them with."""

import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import gamma

from spikax import links, observation_models
from spikax._time_series import finite_values

__all__ = ["difference_of_gammas", "regress_filter", "simulate_recurrent"]


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
    observation_model : str or ObservationModel, default "Poisson"
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
    arrays = {name: finite_values(array, name) for name, array in arrays.items()}
    _check_shapes(arrays)
    for name, array in arrays.items():
        if np.isnan(np.asarray(array)).any():
            raise ValueError(f"{name} has NaN, from which nothing can be simulated. Fill it in.")
    spikes, rates, alone = _simulate(
        *map(jnp.asarray, arrays.values()),
        random_key,
        jnp.asarray(scale, float),
        links.resolve(inverse_link_function),
        observation_models.resolve(observation_model),
    )
    _warn_if_it_runs_away(np.asarray(jnp.max(jnp.abs(rates), axis=0)), np.asarray(alone))
    return spikes, rates


@partial(jax.jit, static_argnames=("link", "model"))
def _simulate(
    coupling: jax.Array,
    feedforward: jax.Array,
    intercepts: jax.Array,
    inputs: jax.Array,
    basis: jax.Array,
    init_y: jax.Array,
    key: jax.Array,
    scale: jax.Array,
    link: links.InverseLink,
    model: observation_models.ObservationModel,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return activity, means, and the largest mean of each neuron without coupling."""
    n_neurons, _, n_basis = coupling.shape
    drive = jnp.einsum("tnk,nk->tn", inputs, feedforward) + intercepts[None]
    dtype = jnp.result_type(drive, coupling, basis)
    # From a sender to what it adds, function by function, to all receivers.
    outgoing = coupling.transpose(1, 2, 0).reshape(n_neurons, -1).astype(dtype)

    def send(coming, y):
        """Move one sample on, and add what `y` will do to the samples that are to come."""
        coming = jnp.concatenate([coming[1:], jnp.zeros_like(coming[:1])])
        return coming + basis @ (y @ outgoing).reshape(n_basis, n_neurons)

    def step(coming, now):
        drive, key = now
        rate = link.mean(drive + coming[0])
        y = model.sample_generator(key, rate, scale)
        return send(coming, y.astype(dtype)), (y, rate)

    coming = jnp.zeros((len(basis), n_neurons), dtype)
    coming, _ = jax.lax.scan(lambda c, y: (send(c, y), None), coming, init_y.astype(dtype))
    keys = jax.random.split(key, len(drive))
    _, (spikes, rates) = jax.lax.scan(step, coming, (drive.astype(dtype), keys))
    return spikes, rates, jnp.max(jnp.abs(link.mean(drive)), axis=0)


def _check_shapes(arrays: dict[str, Any]) -> None:
    """Refuse arrays whose shapes do not go together."""
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    sizes: dict[str, int] = {}
    for name, axes in {
        "coupling_coef": ("n_neurons", "n_neurons", "n_basis_funcs"),
        "feedforward_coef": ("n_neurons", "n_features"),
        "intercepts": ("n_neurons",),
        "feedforward_input": ("n_samples", "n_neurons", "n_features"),
        "coupling_basis_matrix": ("window_size", "n_basis_funcs"),
        "init_y": ("window_size", "n_neurons"),
    }.items():
        shape = shapes[name]
        fits = len(shape) == len(axes) and all(
            n == sizes.setdefault(axis, n) for axis, n in zip(axes, shape, strict=True)
        )
        if not fits or 0 in shape:
            known = ", ".join(f"{axis} = {n}" for axis, n in sizes.items())
            raise ValueError(
                f"{name} has shape {shape}, but ({', '.join(axes)}) is needed, none empty, "
                f"with the sizes that arguments before it have: {known}."
            )


def _warn_if_it_runs_away(highest: np.ndarray, alone: np.ndarray) -> None:
    runs_away = ~(highest <= 1000 * (alone + 1))
    if runs_away.any():
        warnings.warn(
            f"The population runs away: {int(runs_away.sum())} of {len(highest)} neurons, the "
            f"first of them neuron {int(np.argmax(runs_away))}, fire over a thousand times more "
            "than their input alone would make them. Weaken the coupling, or use an inverse link "
            "that saturates.",
            RuntimeWarning,
            stacklevel=3,
        )
