"""Raised cosines: smooth bumps, evenly spaced or denser at the start."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax.basis._atomic import AtomicBasis, ConvBasis
from spikax.basis._bounds import Bounds
from spikax.basis._feature_maps import Convolution, Evaluation
from spikax.basis._functions import BasisFunctions, check_count


@dataclass(frozen=True)
class RaisedCosineLinear(BasisFunctions):
    """Evenly spaced bumps, the first at 0 and the last at 1."""

    n_basis_funcs: int
    width: float = 2.0

    def __post_init__(self):
        _check(self.n_basis_funcs, self.width)

    def __call__(self, u: jax.Array) -> jax.Array:
        return bumps(u, self.n_basis_funcs, self.width, last_peak=1.0)


@dataclass(frozen=True)
class RaisedCosineLog(BasisFunctions):
    """Bumps that are narrow and dense near 0, wide and sparse near 1."""

    n_basis_funcs: int
    width: float = 2.0
    time_scaling: float | None = None
    enforce_decay_to_zero: bool = True

    def __post_init__(self):
        _check(self.n_basis_funcs, self.width)
        if self.time_scaling is not None and not self.time_scaling > 0:
            raise ValueError(
                f"time_scaling is {self.time_scaling!r}, but must be positive. "
                "Small values space the bumps evenly; 50 is the default."
            )

    def __call__(self, u: jax.Array) -> jax.Array:
        n, width = self.n_basis_funcs, self.width
        scaling = 50.0 if self.time_scaling is None else self.time_scaling
        stretched = jnp.log1p(scaling * u) / np.log1p(scaling)
        # The last bump ends `width` peak distances after its peak: p + w p / (n - 1) = 1.
        last_peak = (n - 1) / (n - 1 + width) if self.enforce_decay_to_zero else 1.0
        return bumps(stretched, n, width, last_peak)


def bumps(u: jax.Array, n: int, width: float, last_peak: float) -> jax.Array:
    """Evaluate `n` raised cosines with peaks from 0 to `last_peak` at a point, shape (n,)."""
    # In units of `width` peak distances: 1 at the peak, 0 from a distance of 1 on
    # (Pillow et al. 2005, J. Neurosci. 25(47), 11003).
    distance = (u - np.linspace(0, last_peak, n)) * (n - 1) / (last_peak * width)
    return (1 + jnp.cos(np.pi * jnp.clip(distance, -1, 1))) / 2


def _check(n_basis_funcs: int, width: float) -> None:
    """Refuse a number or a width of bumps that is out of range."""
    check_count("n_basis_funcs", n_basis_funcs, 2, "the spacing of the peaks sets their width")
    if not (width > 1 and float(2 * width).is_integer()):
        raise ValueError(
            f"width is {width!r}, but must be greater than 1 and a multiple of 0.5: "
            "only then do the bumps add up to a constant. The default is 2."
        )


class RaisedCosineLinearEval(AtomicBasis):
    r"""Evenly spaced raised cosines of a variable, such as running speed.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions, at least 2.
    width : float, default 2.0
        Half the support of a function in distances of peaks; more than 1 and a multiple of 0.5.
    bounds : (float, float), default None
        The interval that the functions cover, in the unit of the input. None: the range of the
        first input that features were computed of, or of the last one that `setup_basis` or the
        `fit` of a transformer saw; it is kept for all later ones, `bounds_`.
    fill_value : float, default NaN
        What samples beyond the bounds get. Missing samples (NaN) stay missing.
    label : str, default None
        A name for the basis; None is the name of the class.

    Raises
    ------
    ValueError
        When used, if a parameter is out of its range.

    Notes
    -----
    With :math:`n` functions and width :math:`w`, function :math:`i` is
    :math:`\frac{1}{2} + \frac{1}{2} \cos(\pi \min(1, |(n - 1) u - i| / w))` of :math:`u`, which
    is 0 at the lower bound and 1 at the upper one (Pillow et al. 2005, J. Neurosci. 25(47),
    11003). Away from the ends they add up to :math:`w`.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import RaisedCosineLinearEval
    >>> speed = np.array([0.0, 0.1, 0.4])  # m/s
    >>> X = RaisedCosineLinearEval(3, bounds=(0, 0.4)).compute_features(speed)
    >>> print(np.asarray(X).round(2))
    [[1.   0.5  0.  ]
     [0.85 0.85 0.15]
     [0.   0.5  1.  ]]
    """

    def __init__(
        self,
        n_basis_funcs: int,
        width: float = 2.0,
        bounds: Bounds | None = None,
        fill_value: float = np.nan,
        label: str | None = None,
    ):
        self.n_basis_funcs = n_basis_funcs
        self.width = width
        self.bounds = bounds
        self.fill_value = fill_value
        self.label = label

    def _feature_map(self) -> Evaluation:
        function = RaisedCosineLinear(self.n_basis_funcs, self.width)
        return Evaluation(function, self.bounds, self.fill_value, self._learned)


class RaisedCosineLinearConv(ConvBasis):
    r"""Evenly spaced raised cosines of lag, convolved with the past of a signal.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions, at least 2.
    window_size : int
        Length of the filters, in samples.
    width : float, default 2.0
        Half the support of a function in distances of peaks; more than 1 and a multiple of 0.5.
    label : str, default None
        A name for the basis; None is the name of the class.
    conv_kwargs : dict, default None
        Passed on to `spikax.convolve.create_convolutional_predictor`, e.g.
        `{"predictor_causality": "acausal"}`; None is causal, without the sample itself.

    Raises
    ------
    ValueError
        When used, if a parameter is out of its range.

    Notes
    -----
    With :math:`n` functions and width :math:`w`, function :math:`i` is
    :math:`\frac{1}{2} + \frac{1}{2} \cos(\pi \min(1, |(n - 1) u - i| / w))` of :math:`u`, which
    is 0 at the latest sample of the window and 1 at the earliest (Pillow et al. 2005, J.
    Neurosci. 25(47), 11003). Away from the ends they add up to :math:`w`.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import RaisedCosineLinearConv
    >>> stimulus = np.ones(100)
    >>> X = RaisedCosineLinearConv(4, window_size=20).compute_features(stimulus)
    >>> X.shape, int(np.isnan(X[:, 0]).sum())
    ((100, 4), 20)
    """

    def __init__(
        self,
        n_basis_funcs: int,
        window_size: int,
        width: float = 2.0,
        label: str | None = None,
        conv_kwargs: Mapping[str, Any] | None = None,
    ):
        self.n_basis_funcs = n_basis_funcs
        self.window_size = window_size
        self.width = width
        self.label = label
        self.conv_kwargs = conv_kwargs

    def _feature_map(self) -> Convolution:
        function = RaisedCosineLinear(self.n_basis_funcs, self.width)
        return Convolution(function, self.window_size, self.conv_kwargs)


class RaisedCosineLogEval(AtomicBasis):
    r"""Raised cosines of a variable, finest near its lower bound, such as time since an event.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions, at least 2.
    width : float, default 2.0
        Half the support of a function in distances of peaks; more than 1 and a multiple of 0.5.
    time_scaling : float, default None
        How much denser the functions are at the start; they are evenly spaced in the limit of
        0. None is 50.
    enforce_decay_to_zero : bool, default True
        Place the last peak so that the last function is zero at the end.
    bounds : (float, float), default None
        The interval that the functions cover, in the unit of the input. None: the range of the
        first input that features were computed of, or of the last one that `setup_basis` or the
        `fit` of a transformer saw; it is kept for all later ones, `bounds_`.
    fill_value : float, default NaN
        What samples beyond the bounds get. Missing samples (NaN) stay missing.
    label : str, default None
        A name for the basis; None is the name of the class.

    Raises
    ------
    ValueError
        When used, if a parameter is out of its range.

    Notes
    -----
    Evenly spaced raised cosines of :math:`\log(1 + s u) / \log(1 + s)` with the time scaling
    :math:`s`, where :math:`u` is 0 at the lower bound and 1 at the upper one (Pillow et al. 2008,
    Nature 454, 995).

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import RaisedCosineLogEval
    >>> since_reward = np.linspace(0, 3, 50)  # s
    >>> RaisedCosineLogEval(5, bounds=(0, 3)).compute_features(since_reward).shape
    (50, 5)
    """

    def __init__(
        self,
        n_basis_funcs: int,
        width: float = 2.0,
        time_scaling: float | None = None,
        enforce_decay_to_zero: bool = True,
        bounds: Bounds | None = None,
        fill_value: float = np.nan,
        label: str | None = None,
    ):
        self.n_basis_funcs = n_basis_funcs
        self.width = width
        self.time_scaling = time_scaling
        self.enforce_decay_to_zero = enforce_decay_to_zero
        self.bounds = bounds
        self.fill_value = fill_value
        self.label = label

    def _feature_map(self) -> Evaluation:
        function = RaisedCosineLog(
            self.n_basis_funcs, self.width, self.time_scaling, self.enforce_decay_to_zero
        )
        return Evaluation(function, self.bounds, self.fill_value, self._learned)


class RaisedCosineLogConv(ConvBasis):
    r"""Raised cosines of lag, finest at short lags, convolved with the past of a signal.

    Parameters
    ----------
    n_basis_funcs : int
        How many functions, at least 2.
    window_size : int
        Length of the filters, in samples.
    width : float, default 2.0
        Half the support of a function in distances of peaks; more than 1 and a multiple of 0.5.
    time_scaling : float, default None
        How much denser the functions are at the start; they are evenly spaced in the limit of
        0. None is 50.
    enforce_decay_to_zero : bool, default True
        Place the last peak so that the last function is zero at the end.
    label : str, default None
        A name for the basis; None is the name of the class.
    conv_kwargs : dict, default None
        Passed on to `spikax.convolve.create_convolutional_predictor`, e.g.
        `{"predictor_causality": "acausal"}`; None is causal, without the sample itself.

    Raises
    ------
    ValueError
        When used, if a parameter is out of its range.

    Notes
    -----
    Evenly spaced raised cosines of :math:`\log(1 + s u) / \log(1 + s)` with the time scaling
    :math:`s`, where :math:`u` is 0 at the latest sample of the window and 1 at the earliest
    (Pillow et al. 2008, Nature 454, 995).

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import RaisedCosineLogConv
    >>> counts = np.random.default_rng(0).poisson(0.1, (1000, 15))  # 15 neurons
    >>> basis = RaisedCosineLogConv(4, window_size=25, label="coupling")
    >>> X = basis.compute_features(counts)
    >>> X.shape
    (1000, 60)
    >>> basis.split_by_feature(X)["coupling"].shape
    (1000, 15, 4)
    """

    def __init__(
        self,
        n_basis_funcs: int,
        window_size: int,
        width: float = 2.0,
        time_scaling: float | None = None,
        enforce_decay_to_zero: bool = True,
        label: str | None = None,
        conv_kwargs: Mapping[str, Any] | None = None,
    ):
        self.n_basis_funcs = n_basis_funcs
        self.window_size = window_size
        self.width = width
        self.time_scaling = time_scaling
        self.enforce_decay_to_zero = enforce_decay_to_zero
        self.label = label
        self.conv_kwargs = conv_kwargs

    def _feature_map(self) -> Convolution:
        function = RaisedCosineLog(
            self.n_basis_funcs, self.width, self.time_scaling, self.enforce_decay_to_zero
        )
        return Convolution(function, self.window_size, self.conv_kwargs)
