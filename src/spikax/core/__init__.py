"""The numerical core: samples, objective, and what is computed of them.

What a solver of your own, or a model on top, is built from.
"""

from spikax.core.hessians import Groups, Precomputed
from spikax.core.null_model import Null, null_model, null_parameters
from spikax.core.objective import (
    Objective,
    linear_predictor,
    mean_loss,
    penalized_loss,
    penalty_value,
    proximal_step,
    value_and_grad,
)
from spikax.core.samples import Samples

__all__ = [
    "Groups",
    "Null",
    "Objective",
    "Precomputed",
    "Samples",
    "linear_predictor",
    "mean_loss",
    "null_model",
    "null_parameters",
    "penalized_loss",
    "penalty_value",
    "proximal_step",
    "value_and_grad",
]
