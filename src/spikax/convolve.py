"""Features of a signal's past or future: convolution with basis functions, epoch by epoch."""

import math
import warnings
from functools import partial
from numbers import Integral
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from scipy.fft import next_fast_len

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
    batch_size_samples: int | None = None,
    batch_size_channels: int | None = None,
    batch_size_basis: int | None = None,
) -> Any:
    r"""Filter time series with each column of `basis_matrix`.

    Each epoch of a pynapple object is filtered by itself, and a jump in time ends an epoch. A
    sample whose window reaches beyond its epoch gets NaN.

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
    batch_size_samples, batch_size_channels, batch_size_basis : int, default None
        At most so many samples, channels and kernels go into one product, which bounds the
        memory that is needed beyond the result. None leaves the choice to the function; a few
        megabytes are then enough.

    Returns
    -------
    array, shape (..., time, ..., n_basis_funcs), or pynapple object, or a pytree of them
        The filtered signals: the shape of `time_series` with the basis as a new last axis. NaN
        where the window holds a NaN.

    Raises
    ------
    ValueError
        If `basis_matrix` is not two-dimensional, `predictor_causality` is unknown, `shift` is
        asked for "acausal", `axis` is not an axis of `time_series`, or a batch size is not a
        positive whole number.
    TypeError
        If `basis_matrix` or `time_series` does not hold real numbers.

    Warns
    -----
    UserWarning
        If epochs are too short for the window: all their samples are NaN.

    Notes
    -----
    With kernels :math:`k_b`, window size :math:`w` and the default shift, the features are

    .. math:: f_b(t) = \sum_{i=0}^{w-1} k_b(i)\, x(t - 1 - i)

    when causal. Without shift, :math:`t - 1` becomes :math:`t`. In its place anti-causal windows
    have :math:`t + w` (:math:`t + w - 1` without shift), acausal ones
    :math:`t + \lfloor w / 2 \rfloor`.

    Windows count samples. In a pynapple object a sample follows another if the step in time
    between them differs by at most 40 % from the usual one, the median of all steps inside epochs.
    So jitter is let pass, while samples that were lost, or cut out by a mask or the folds of a
    cross-validation, leave an edge as the end of an epoch does. To count the samples of an
    irregular series whatever their times, such as trials, pass its values, `.d`.

    Samples are taken block by block, those of a short window by a matrix product, those of a long
    one by fast Fourier transforms (overlap-save).

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
    before, after = window_extent(len(kernel), predictor_causality, shift)
    batch = _Batch(batch_size_samples, batch_size_channels, batch_size_basis)
    for name, size in zip(_Batch._fields, batch, strict=True):
        if size is not None and not (isinstance(size, Integral) and size > 0):
            raise ValueError(
                f"batch_size_{name} is {size!r}, but must be a positive whole number or None."
            )
    return jax.tree.map(
        lambda series: _convolve_one(kernel, series, before, after, axis, batch),
        time_series,
        is_leaf=lambda series: series is None,
    )


class _Batch(NamedTuple):
    """At most how many go into one product; None is as many as are good."""

    samples: int | None
    channels: int | None
    basis: int | None


def window_extent(window_size: int, causality: str, shift: bool | None) -> tuple[int, int]:
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


def _convolve_one(
    kernel: jax.Array, series: Any, before: int, after: int, axis: int, batch: _Batch
) -> Any:
    """Filter one array or pynapple object."""
    x = values(series, "time_series")
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
    xp: Any = jnp if isinstance(x, jax.Array) else np
    x = xp.moveaxis(x, axis, 0)
    if x.size == 0:
        return like(jnp.moveaxis(jnp.zeros((*x.shape, kernel.shape[1])), 0, axis), series)
    channels = x.reshape(len(x), -1)
    plan = _plan(channels.shape, kernel.shape, batch)
    known = known_windows(series, channels, before, after)
    filtered = _filter(kernel, jnp.asarray(channels), jnp.asarray(known), before, plan)
    filtered = filtered.reshape(*x.shape, kernel.shape[1])
    return like(jnp.moveaxis(filtered, 0, axis), series)


def known_windows(series: Any, channels: Any, before: int, after: int) -> Any:
    """Tell which windows stay within an epoch and miss nothing, (time, channel) or (time, 1).

    `channels` are the values of `series`, (time, channel).
    """
    xp: Any = jnp if isinstance(channels, jax.Array) else np
    spans = epochs(series, len(channels))
    _check_epochs(spans, 1 + max(before, 0) + max(after, 0))
    known = _inside(spans, before, after)[:, None]
    missing = xp.isnan(channels)
    if isinstance(channels, Tracer) or missing.any():
        known = known & _all_known(xp, missing, before, after)
    return known


def _inside(spans: Epochs, before: int, after: int) -> np.ndarray:
    """Tell which samples' windows stay within their epoch, shape (time,)."""
    lengths = spans.stop - spans.first
    sample = np.arange(lengths.sum())
    first = np.repeat(spans.first, lengths)
    stop = np.repeat(spans.stop, lengths)
    return (sample - before >= first) & (sample + after < stop)


def _all_known(xp: Any, missing: Any, before: int, after: int) -> Any:
    """Tell which samples' windows miss nothing, (time, channel); edges are not looked at."""
    n_missing = xp.cumsum(xp.pad(missing, ((1, 0), (0, 0))), axis=0)
    sample = np.arange(len(missing))
    first, stop = (np.clip(sample + i, 0, len(missing)) for i in (-before, after + 1))
    return n_missing[first] == n_missing[stop]


def _check_epochs(spans: Epochs, n_needed: int) -> None:
    """Warn where epochs are too short to hold a window."""
    lengths = spans.stop - spans.first
    n_short = int(np.sum((lengths > 0) & (lengths < n_needed)))
    jumps = (
        f" An epoch ends at a jump in time, of which there are {spans.n_jumps}: to count samples "
        "whatever their times, pass the values of the series, `.d`."
        if spans.n_jumps
        else ""
    )
    if n_short == len(lengths) == 1:
        which, whose = f"The only epoch, of {lengths[0]} samples, has", "All"
    elif n_short:
        which, whose = f"{n_short} of {len(lengths)} epochs have", "All their"
    else:
        return
    warnings.warn(
        f"{which} fewer than the {n_needed} samples that the window needs. {whose} features are "
        f"NaN: use a shorter window, or leave short epochs out.{jumps}",
        stacklevel=5,
    )


class _Plan(NamedTuple):
    """How samples are batched: a block of them has `groups` pieces of `piece` samples."""

    n_fourier: int  # length of the transform of a piece; 0 for a matrix product
    piece: int
    groups: int
    channels: int
    basis: int


def _plan(signals: tuple[int, ...], kernels: tuple[int, ...], batch: _Batch) -> _Plan:
    """Choose the cheaper method, and batches whose temporaries stay in the cache."""
    (n_samples, n_channels), (window, n_basis) = signals, kernels
    most = min(n_samples, batch.samples or n_samples)
    channels = max(1, min(n_channels, batch.channels or n_channels))
    basis = min(n_basis, batch.basis or n_basis)
    piece = min(32, most)
    pieces = -(-most // (7 * window))
    long_piece = -(-most // pieces)
    n_fourier = int(next_fast_len(long_piece + window - 1, real=True))  # pyright: ignore
    if _product_is_cheaper(piece, window, n_fourier):
        groups = max(1, min(32 // channels, most // piece))
        return _Plan(0, piece, groups, channels, basis)
    channels = max(1, min(channels, 2**22 // (n_fourier * basis)))
    return _Plan(n_fourier, long_piece, 1, channels, basis)


def _product_is_cheaper(piece: int, window: int, n_fourier: int) -> bool:
    """Tell whether a matrix product costs less than a Fourier transform."""
    # Per sample and filter: a product of this many terms, against a transform. What they cost
    # was measured on a CPU, and so was that a product wants 32 rows.
    return piece + window < 30 * np.log2(n_fourier)


@partial(jax.jit, static_argnames=("before", "plan"))
def _filter(
    kernel: jax.Array, x: jax.Array, known: jax.Array, before: int, plan: _Plan
) -> jax.Array:
    """Filter all channels of `x`, (time, channel), to (time, channel, basis), block by block.

    `known`, (time, channel) or (time, 1), tells where there is a value.
    """
    (n_samples, n_channels), (window, n_basis) = x.shape, kernel.shape
    dtype = jnp.result_type(kernel, x)
    n_block = plan.piece * plan.groups
    n_blocks = -(-n_samples // n_block)
    n_rows = n_blocks * n_block
    # Window t is rows t to t + window - 1 of the padded signal; negative padding drops samples.
    over = n_rows + window - 1 - before - n_samples
    x = jax.lax.pad(x.astype(dtype), jnp.zeros((), dtype), [(before, over, 0), (0, 0, 0)])
    x = _batches(x, 1, plan.channels)
    kernel = jnp.moveaxis(_batches(kernel.astype(dtype), 1, plan.basis), 1, 0)
    operators = jax.vmap(lambda k: _spectrum(k, plan) if plan.n_fourier else _toeplitz(k, plan))(
        kernel
    )
    product = _by_fourier if plan.n_fourier else _by_matrix

    def block(rows):
        first, known = rows
        segment = jax.lax.dynamic_slice_in_dim(x, first, n_block + window - 1)
        segment = jnp.where(jnp.isnan(segment), 0, segment).transpose(1, 2, 0)
        parts = jax.lax.map(
            lambda own: jax.lax.map(lambda operator: product(own, operator, plan), operators),
            segment,
        )  # (channels / batch, basis / batch, batch of channels, samples, batch of basis)
        whole = parts.transpose(3, 0, 2, 1, 4).reshape(n_block, -1, parts.shape[1] * plan.basis)
        return jnp.where(known[..., None], whole[:, :n_channels, :n_basis], jnp.nan)

    firsts = n_block * jnp.arange(n_blocks)
    known = jnp.pad(known, ((0, n_rows - n_samples), (0, 0))).reshape(n_blocks, n_block, -1)
    return jax.lax.map(block, (firsts, known)).reshape(n_rows, n_channels, n_basis)[:n_samples]


def _batches(array: jax.Array, axis: int, size: int) -> jax.Array:
    """Split an axis into batches of `size`, the last one padded with zeros: two axes."""
    n = array.shape[axis]
    padding = [(0, -n % size) if i == axis else (0, 0) for i in range(array.ndim)]
    shape = (*array.shape[:axis], -(-n // size), size, *array.shape[axis + 1 :])
    return jnp.pad(array, padding).reshape(shape)


def _toeplitz(kernel: jax.Array, plan: _Plan) -> jax.Array:
    """Return the matrix from the samples that a piece sees to its outputs, sample by sample."""
    window = len(kernel)
    row = np.arange(plan.piece + window - 1)[:, None]
    lag = window - 1 + np.arange(plan.piece) - row
    matrix = jnp.where(
        ((lag >= 0) & (lag < window))[..., None], kernel[np.clip(lag, 0, window - 1)], 0
    )
    return matrix.reshape(len(row), -1)


def _by_matrix(segment: jax.Array, operator: jax.Array, plan: _Plan) -> jax.Array:
    """Filter (channel, sample of a window) to (channel, sample, basis)."""
    seen = np.arange(len(operator)) + plan.piece * np.arange(plan.groups)[:, None]
    out = jnp.matmul(segment[:, seen], operator, precision=jax.lax.Precision.HIGHEST)
    return out.reshape(len(segment), plan.groups * plan.piece, -1)


def _spectrum(kernel: jax.Array, plan: _Plan) -> jax.Array:
    """Return the Fourier transforms of the kernels, (basis, frequency)."""
    return jnp.fft.rfft(kernel.T, plan.n_fourier)


def _by_fourier(segment: jax.Array, operator: jax.Array, plan: _Plan) -> jax.Array:
    """Filter (channel, sample of a window) to (channel, sample, basis): overlap-save."""
    # The product of transforms is a circular convolution, which is the linear one from the
    # (window - 1)-th sample on.
    spectrum = jnp.fft.rfft(segment, plan.n_fourier)
    out = jnp.fft.irfft(spectrum[:, None] * operator[None], plan.n_fourier)
    n_seen = segment.shape[1]
    return out[..., n_seen - plan.piece : n_seen].transpose(0, 2, 1)


def filter_windows(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Filter (channel, samples + window - 1), without NaN, to (channel, basis, samples)."""
    # As `_filter` does, for a single block, but with the samples last. Row 0 of the kernel meets
    # the latest sample of a window.
    (window, n_basis), (n_channels, n_seen) = kernel.shape, x.shape
    n_samples = n_seen - window + 1
    dtype = jnp.result_type(kernel, x)
    kernel, x = kernel.astype(dtype), x.astype(dtype)
    piece, n_fourier = math.gcd(32, n_samples), int(next_fast_len(n_seen, real=True))  # pyright: ignore
    if n_samples > 1 and not _product_is_cheaper(piece, window, n_fourier):
        plan = _Plan(n_fourier, n_samples, 1, n_channels, n_basis)
        return _by_fourier(x, _spectrum(kernel, plan), plan).transpose(0, 2, 1)
    plan = _Plan(0, piece, n_samples // piece, n_channels, n_basis)
    # A column for each sample of each filter, so that samples need not be brought together.
    operator = _toeplitz(kernel, plan).reshape(-1, piece, n_basis).transpose(0, 2, 1)
    seen = np.arange(piece + window - 1) + piece * np.arange(plan.groups)[:, None]
    pieces = x[:, seen].reshape(n_channels * plan.groups, -1)
    operator = operator.reshape(pieces.shape[1], -1)
    out = jnp.matmul(pieces, operator, precision=jax.lax.Precision.HIGHEST)
    out = out.reshape(n_channels, plan.groups, n_basis, piece)
    return out.transpose(0, 2, 1, 3).reshape(n_channels, n_basis, n_samples)
