"""Choosing how strong a penalty should be, for each neuron, and how many states there are."""

from spikax.model_selection._cross_validation import (
    GLMCV,
    ClassifierGLMCV,
    ClassifierPopulationGLMCV,
    PopulationGLMCV,
)
from spikax.model_selection._regularization_path import RegularizationPath, regularization_path
from spikax.model_selection._splitters import BlockKFold, EpochKFold
from spikax.model_selection._states import StatesSelection, select_states

__all__ = [
    "GLMCV",
    "BlockKFold",
    "ClassifierGLMCV",
    "ClassifierPopulationGLMCV",
    "EpochKFold",
    "PopulationGLMCV",
    "RegularizationPath",
    "StatesSelection",
    "regularization_path",
    "select_states",
]
