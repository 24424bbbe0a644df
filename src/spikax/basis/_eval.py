"""The Eval bases: functions of the value that a variable has."""

from spikax.basis._component import Component
from spikax.basis._exponentials import OrthExponential
from spikax.basis._fourier import Fourier
from spikax.basis._raised_cosines import RaisedCosineLinear, RaisedCosineLog
from spikax.basis._raw import Identity, Nothing, OneHot
from spikax.basis._splines import BSpline, CyclicBSpline, MSpline
from spikax.basis._ways import Evaluate, Keep, LookUp


class BSplineEval(Component, function=BSpline, way=Evaluate):
    """B-splines of a variable, such as position along a track.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import BSplineEval
    >>> position = np.linspace(0, 2.5, 100)  # m
    >>> X = BSplineEval(6, bounds=(0, 2.5)).compute_features(position)
    >>> X.shape
    (100, 6)
    >>> bool(np.allclose(X.sum(axis=1), 1))
    True
    """


class CyclicBSplineEval(Component, function=CyclicBSpline, way=Evaluate):
    """B-splines of a variable on a circle, such as head direction or the phase of a rhythm.

    `bounds` are one turn of the circle: (0, 2 pi) for an angle in radians. Other turns are the
    same points: -1 is 2 pi - 1.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import CyclicBSplineEval
    >>> basis = CyclicBSplineEval(8, bounds=(0, 2 * np.pi), label="head_direction")
    >>> X = basis.compute_features(np.array([0.0, 2.0, 2 * np.pi]))
    >>> bool(np.allclose(X[0], X[2]))
    True
    """


class MSplineEval(Component, function=MSpline, way=Evaluate):
    """Splines that are densities of a variable, for curves that rise or fall throughout.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import MSplineEval
    >>> contrast = np.linspace(0, 1, 1001)
    >>> X = np.asarray(MSplineEval(5, bounds=(0, 1)).compute_features(contrast))
    >>> print(np.trapezoid(X, contrast, axis=0).round(3))
    [1. 1. 1. 1. 1.]
    """


class RaisedCosineLinearEval(Component, function=RaisedCosineLinear, way=Evaluate):
    """Evenly spaced raised cosines of a variable, such as running speed.

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


class RaisedCosineLogEval(Component, function=RaisedCosineLog, way=Evaluate):
    """Raised cosines of a variable, finest near its lower bound, such as time since an event.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import RaisedCosineLogEval
    >>> since_reward = np.linspace(0, 3, 50)  # s
    >>> RaisedCosineLogEval(5, bounds=(0, 3)).compute_features(since_reward).shape
    (50, 5)
    """


class OrthExponentialEval(Component, function=OrthExponential, way=Evaluate):
    """Orthonormal combinations of exponentials that decay with a variable.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import OrthExponentialEval
    >>> basis = OrthExponentialEval(3, decay_rates=[1.0, 2.0, 4.0], bounds=(0, 10))
    >>> since_stimulus = np.linspace(0, 10, 1001)  # s
    >>> X = np.asarray(basis.compute_features(since_stimulus))
    >>> print((X.T @ X / 1001).round(1) + 0.0)
    [[1. 0. 0.]
     [0. 1. 0.]
     [0. 0. 1.]]
    """


class IdentityEval(Component, function=Identity, way=Keep):
    """A variable as it is: the linear model's feature.

    Examples
    --------
    >>> from spikax.basis import IdentityEval
    >>> print(IdentityEval(bounds=(0, 2)).compute_features([0.5, 1.5, 2.5]).ravel())
    [0.5 1.5 nan]
    """


class FourierEval(
    Component,
    function=Fourier,
    way=Evaluate,
    parameters=("frequencies", "ndim", "bounds", "frequency_mask", "label"),
):
    """Cosines and sines of one variable, or waves over several, such as position in a box.

    `bounds` are the period, beyond which everything repeats: (0, 2 pi) for an angle in radians.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import FourierEval
    >>> phase = np.linspace(0, 2 * np.pi, 5)
    >>> X = FourierEval(2, bounds=(0, 2 * np.pi)).compute_features(phase)
    >>> print(np.asarray(X).round(2) + 0.0)
    [[ 1.  0.]
     [ 0.  1.]
     [-1.  0.]
     [ 0. -1.]
     [ 1.  0.]]
    >>> x, y = np.random.default_rng(0).random((2, 100))
    >>> FourierEval(3, ndim=2, bounds=(0, 1)).compute_features(x, y).shape
    (100, 16)
    """


class Category(Component, function=OneHot, way=LookUp):
    """One column for each category of a variable, one where it is that, zero elsewhere.

    Examples
    --------
    >>> from spikax.basis import Category
    >>> print(Category(["left", "right"]).compute_features(["right", "left", "none"]))
    [[0. 1.]
     [1. 0.]
     [0. 0.]]
    """

    takes_names = True


class Zero(Component, function=Nothing, way=Keep, parameters=("label",)):
    """No columns: what to put in a basis's place to leave a variable out of a model.

    Examples
    --------
    >>> import numpy as np
    >>> from spikax.basis import BSplineEval, Zero
    >>> basis = BSplineEval(5, label="place") + BSplineEval(4, label="speed")
    >>> without_speed = basis.set_params(speed=Zero(label="speed"))
    >>> without_speed.compute_features(np.linspace(0, 1, 10), np.ones(10)).shape
    (10, 5)
    """
