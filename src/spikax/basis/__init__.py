"""Basis functions: features of behaviour, stimuli and spike history for a design matrix."""

from spikax.basis._basis import AdditiveBasis, Basis, MultiplicativeBasis
from spikax.basis._category import Category
from spikax.basis._custom import CustomBasis
from spikax.basis._design import BasisDesign
from spikax.basis._exponentials import OrthExponentialConv, OrthExponentialEval
from spikax.basis._fourier import FourierEval
from spikax.basis._history import HistoryConv
from spikax.basis._identity import IdentityEval, Zero
from spikax.basis._raised_cosines import (
    RaisedCosineLinearConv,
    RaisedCosineLinearEval,
    RaisedCosineLogConv,
    RaisedCosineLogEval,
)
from spikax.basis._splines import (
    BSplineConv,
    BSplineEval,
    CyclicBSplineConv,
    CyclicBSplineEval,
    MSplineConv,
    MSplineEval,
)
from spikax.basis._transformer import TransformerBasis

__all__ = [
    "AdditiveBasis",
    "BSplineConv",
    "BSplineEval",
    "Basis",
    "BasisDesign",
    "Category",
    "CustomBasis",
    "CyclicBSplineConv",
    "CyclicBSplineEval",
    "FourierEval",
    "HistoryConv",
    "IdentityEval",
    "MSplineConv",
    "MSplineEval",
    "MultiplicativeBasis",
    "OrthExponentialConv",
    "OrthExponentialEval",
    "RaisedCosineLinearConv",
    "RaisedCosineLinearEval",
    "RaisedCosineLogConv",
    "RaisedCosineLogEval",
    "TransformerBasis",
    "Zero",
]
