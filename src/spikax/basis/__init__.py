"""Basis functions: features of behaviour, stimuli and spike history for a design matrix."""

from spikax.basis._basis import AdditiveBasis, Basis
from spikax.basis._raised_cosines import (
    RaisedCosineLinearConv,
    RaisedCosineLinearEval,
    RaisedCosineLogConv,
    RaisedCosineLogEval,
)
from spikax.basis._splines import BSplineEval, CyclicBSplineEval

__all__ = [
    "AdditiveBasis",
    "BSplineEval",
    "Basis",
    "CyclicBSplineEval",
    "RaisedCosineLinearConv",
    "RaisedCosineLinearEval",
    "RaisedCosineLogConv",
    "RaisedCosineLogEval",
]
