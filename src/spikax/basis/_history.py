"""The history of a signal, sample by sample."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax.basis._atomic import ConvBasis
from spikax.basis._feature_maps import Convolution
from spikax.basis._functions import BasisFunctions, check_count


@dataclass(frozen=True)
class Lags(BasisFunctions):
    """Unit impulses: one function for each sample of a window, one there and zero elsewhere."""

    window_size: int

    def __post_init__(self):
        check_count("window_size", self.window_size, 1, "it is the length of the filters")

    @property
    def n_basis_funcs(self) -> int:
        """As many as the window has samples."""
        return self.window_size

    def __call__(self, u: jax.Array) -> jax.Array:
        nearest = jnp.round(u * (self.window_size - 1))
        return (nearest == np.arange(self.window_size)).astype(jnp.result_type(u, float))


class HistoryConv(ConvBasis):
    """The past samples of a signal themselves, one column for each lag.

    Parameters
    ----------
    window_size : int
        Length of the window, in samples: the number of functions.
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
    Column :math:`i` at sample :math:`t` of a causal window is :math:`x(t - 1 - i)`.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import HistoryConv
    >>> print(HistoryConv(2).compute_features(np.array([5.0, 6.0, 7.0, 8.0])))
    [[nan nan]
     [nan nan]
     [ 6.  5.]
     [ 7.  6.]]
    """

    def __init__(
        self,
        window_size: int,
        label: str | None = None,
        conv_kwargs: Mapping[str, Any] | None = None,
    ):
        self.window_size = window_size
        self.label = label
        self.conv_kwargs = conv_kwargs

    @property
    def n_basis_funcs(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many functions there are."""
        return self._feature_map().function.n_basis_funcs

    def _feature_map(self) -> Convolution:
        return Convolution(Lags(self.window_size), self.window_size, self.conv_kwargs)
