"""Features of a signal's past or future: convolution with basis functions, epoch by epoch."""

import warnings
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from spikax._errors import unknown_name
from spikax._time_series import Epochs, TimeSeries, epochs, like, values

__all__ = ["create_convolutional_predictor"]

Causality = Literal["causal", "acausal", "anti-causal"]


def create_convolutional_predictor(
    basis_matrix: Any,
    time_series: Any,
    predictor_causality: Causality = "causal",
    shift: bool | None = None,
    axis: int = 0,
) -> Any:
    r"""Filter time series with each column of `basis_matrix`.

    Each epoch of a pynapple object is filtered by itself. A sample whose window reaches beyond
    its epoch gets NaN.

    Parameters
    ----------
    basis_matrix : array, shape (window_size, n_basis_funcs)
        The kernels. Row 0 meets the latest sample of the window.
    time_series : array, pynapple Tsd, TsdFrame or TsdTensor, or a pytree of them
        Signals with time along `axis` and any number of other axes, which are channels.
    predictor_causality : {"causal", "acausal", "anti-causal"}, default "causal"
        Whether the window lies before, around or after the sample.
    shift : bool, default True for "causal" and "anti-causal", False for "acausal"
        Leave the sample itself out of the window, so that a signal can be predicted from its own
        past or future.
    axis : int, default 0
        The time axis. It must be 0 for pynapple objects.

    Returns
    -------
    array, shape (..., time, ..., n_basis_funcs), or pynapple object, or a pytree of them
        The filtered signals: the shape of `time_series` with the basis as a new last axis.

    Raises
    ------
    ValueError
        If `basis_matrix` is not two-dimensional, `predictor_causality` is unknown, `shift` is
        asked for "acausal", or `axis` is not an axis of `time_series`.
    TypeError
        If `basis_matrix` or `time_series` does not hold real numbers.

    Warns
    -----
    UserWarning
        If an epoch is too short for the window: all its samples are NaN.

    Notes
    -----
    With kernels :math:`k_b`, window size :math:`w` and the default shift, the features are

    .. math:: f_b(t) = \sum_{i=0}^{w-1} k_b(i)\, x(t - 1 - i)

    when causal. Without shift, :math:`t - 1` becomes :math:`t`. In its place anti-causal windows
    have :math:`t + w` (:math:`t + w - 1` without shift), acausal ones
    :math:`t + \lfloor w / 2 \rfloor`.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.convolve import create_convolutional_predictor
    >>> spike = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    >>> kernel = np.array([[3.0], [2.0]])
    >>> print(create_convolutional_predictor(kernel, spike).ravel())
    [nan nan  0.  3.  2.  0.]
    """
    kernel = jnp.asarray(values(basis_matrix, "basis_matrix"))
    if kernel.ndim != 2 or 0 in kernel.shape:
        raise ValueError(
            f"basis_matrix has shape {kernel.shape}, but (window_size, n_basis_funcs) is needed. "
            "Give a single kernel a second axis with `kernel[:, np.newaxis]`."
        )
    before, after = _reach(len(kernel), predictor_causality, shift)
    return jax.tree.map(
        lambda series: _convolve_one(kernel, series, before, after, axis), time_series
    )


def _reach(window_size: int, causality: str, shift: bool | None) -> tuple[int, int]:
    """Return how many samples before and after its own a window extends."""
    if causality == "acausal":
        if shift:
            raise ValueError(
                "shift=True was given with predictor_causality='acausal', whose window lies "
                "around the sample. Leave shift out, or choose 'causal' or 'anti-causal'."
            )
        before = (window_size - 1) // 2
        return before, window_size - 1 - before
    step = 0 if shift is False else 1
    near, far = -step, window_size - 1 + step
    if causality == "causal":
        return far, near
    if causality == "anti-causal":
        return near, far
    raise unknown_name("predictor_causality", causality, get_args(Causality))


def _convolve_one(kernel: jax.Array, series: Any, before: int, after: int, axis: int) -> Any:
    """Filter one array or pynapple object."""
    x = jnp.asarray(values(series, "time_series"))
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"time_series has shape {x.shape}, but its time axis was said to be {axis}. "
            "Pass an array of at least one dimension, with time along `axis`."
        )
    if isinstance(series, TimeSeries) and axis != 0:
        raise ValueError(
            f"axis is {axis}, but time is axis 0 of a {type(series).__name__}. Leave axis out."
        )
    axis %= x.ndim
    x = jnp.moveaxis(x, axis, 0)
    spans = epochs(series, len(x))
    _warn_of_short_epochs(spans, 1 + max(before, 0) + max(after, 0))
    channels = x.reshape(len(x), -1)
    filtered = _filter(kernel, channels, _inside(spans, before, after), before, after)
    filtered = filtered.reshape(*x.shape, kernel.shape[1])
    return like(jnp.moveaxis(filtered, 0, axis), series)


@partial(jax.jit, static_argnames=("before", "after"))
def _filter(
    kernel: jax.Array, x: jax.Array, inside: jax.Array, before: int, after: int
) -> jax.Array:
    """Filter all channels of `x`, (time, channel), to (time, channel, basis) in one product."""
    dtype = jnp.result_type(kernel, x)
    # XLA correlates, so the kernel is turned around; negative padding drops samples.
    filtered = jax.lax.conv_general_dilated(
        x.T[:, :, None].astype(dtype),
        kernel[::-1, None, :].astype(dtype),
        window_strides=(1,),
        padding=[(before, after)],
        dimension_numbers=("NWC", "WIO", "NWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    filtered = jnp.where(inside[None, :, None], filtered, jnp.nan)
    return filtered.transpose(1, 0, 2)


def _inside(spans: Epochs, before: int, after: int) -> np.ndarray:
    """Tell which samples' windows stay within their epoch, shape (time,)."""
    lengths = spans.stop - spans.first
    sample = np.arange(lengths.sum())
    first = np.repeat(spans.first, lengths)
    stop = np.repeat(spans.stop, lengths)
    return (sample - before >= first) & (sample + after < stop)


def _warn_of_short_epochs(spans: Epochs, n_needed: int) -> None:
    n_short = int(np.sum(spans.stop - spans.first < n_needed))
    if n_short:
        warnings.warn(
            f"{n_short} of {len(spans.first)} epochs have fewer than the {n_needed} samples that "
            "the window needs: all their features are NaN. Use a shorter window, or leave these "
            "epochs out.",
            stacklevel=4,
        )
