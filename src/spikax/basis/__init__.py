"""Basis functions: features of behaviour, stimuli and spike history for a design matrix."""

from spikax.basis._basis import AdditiveBasis, Basis, MultiplicativeBasis
from spikax.basis._conv import (
    BSplineConv,
    CyclicBSplineConv,
    HistoryConv,
    MSplineConv,
    OrthExponentialConv,
    RaisedCosineLinearConv,
    RaisedCosineLogConv,
)
from spikax.basis._custom import CustomBasis
from spikax.basis._design import BasisDesign
from spikax.basis._eval import (
    BSplineEval,
    Category,
    CyclicBSplineEval,
    FourierEval,
    IdentityEval,
    MSplineEval,
    OrthExponentialEval,
    RaisedCosineLinearEval,
    RaisedCosineLogEval,
    Zero,
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
