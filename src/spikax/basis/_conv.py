"""The Conv bases: functions of lag, run over the past of a signal."""

from spikax.basis._component import Component
from spikax.basis._exponentials import OrthExponentialWindow
from spikax.basis._raised_cosines import RaisedCosineLinear, RaisedCosineLog
from spikax.basis._raw import Lags
from spikax.basis._splines import BSpline, CyclicBSpline, MSpline
from spikax.basis._ways import Convolve


class BSplineConv(Component, function=BSpline, way=Convolve):
    """B-splines of lag, run over the past of a signal.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import BSplineConv
    >>> basis = BSplineConv(5, window_size=20)
    >>> basis.compute_features(np.ones(100)).shape
    (100, 5)
    >>> bool(np.allclose(basis.kernel_.sum(axis=1), 1))
    True
    """


class CyclicBSplineConv(Component, function=CyclicBSpline, way=Convolve):
    """B-splines of lag that are periodic over the window, run over the past of a signal.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import CyclicBSplineConv
    >>> theta = np.sin(np.arange(100) / 2)
    >>> CyclicBSplineConv(6, window_size=13).compute_features(theta).shape
    (100, 6)
    """


class MSplineConv(Component, function=MSpline, way=Convolve):
    """Splines that are densities of lag over the window, run over the past of a signal.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import MSplineConv
    >>> MSplineConv(5, window_size=20).compute_features(np.ones((100, 2))).shape
    (100, 10)
    """


class RaisedCosineLinearConv(Component, function=RaisedCosineLinear, way=Convolve):
    """Evenly spaced raised cosines of lag, run over the past of a signal.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import RaisedCosineLinearConv
    >>> stimulus = np.ones(100)
    >>> X = RaisedCosineLinearConv(4, window_size=20).compute_features(stimulus)
    >>> X.shape, int(np.isnan(X[:, 0]).sum())
    ((100, 4), 20)
    """


class RaisedCosineLogConv(Component, function=RaisedCosineLog, way=Convolve):
    """Raised cosines of lag, finest at short lags, run over the past of a signal.

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


class OrthExponentialConv(Component, function=OrthExponentialWindow, way=Convolve):
    """Orthonormal combinations of exponentials that decay with lag, run over a signal's past.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import OrthExponentialConv
    >>> kernel = OrthExponentialConv(2, window_size=30, decay_rates=[2.0, 5.0]).kernel_
    >>> print(np.asarray(kernel.T @ kernel).round(3) + 0.0)
    [[1. 0.]
     [0. 1.]]
    """


class HistoryConv(Component, function=Lags, way=Convolve):
    """The past samples of a signal themselves, one column for each lag.

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
