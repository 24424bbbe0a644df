"""How sure a fitted model is: standard errors, intervals, tests, and a summary of all of it."""

from spikax.inference._bands import (
    Band,
    CouplingFilters,
    TuningCurve,
    coupling_filters,
    mean_band,
    tuning_curve,
)
from spikax.inference._hypotheses import (
    HypothesisTest,
    adjust_p_values,
    likelihood_ratio_test,
    wald_test,
    without,
)
from spikax.inference._infer import infer
from spikax.inference._inference import Inference
from spikax.inference._states import (
    StatesBootstrap,
    StatesInference,
    bootstrap_states,
    infer_states,
)
from spikax.inference._summary import Summary, summary

__all__ = [
    "Band",
    "CouplingFilters",
    "HypothesisTest",
    "Inference",
    "StatesBootstrap",
    "StatesInference",
    "Summary",
    "TuningCurve",
    "adjust_p_values",
    "bootstrap_states",
    "coupling_filters",
    "infer",
    "infer_states",
    "likelihood_ratio_test",
    "mean_band",
    "summary",
    "tuning_curve",
    "wald_test",
    "without",
]
