"""Choosing how strong a penalty should be, for each neuron: paths and cross-validation."""

from spikax.model_selection._cross_validation import (
    GLMCV,
    ClassifierGLMCV,
    ClassifierPopulationGLMCV,
    PopulationGLMCV,
)
from spikax.model_selection._regularization_path import RegularizationPath, regularization_path
from spikax.model_selection._splitters import BlockKFold, EpochKFold

__all__ = [
    "GLMCV",
    "BlockKFold",
    "ClassifierGLMCV",
    "ClassifierPopulationGLMCV",
    "EpochKFold",
    "PopulationGLMCV",
    "RegularizationPath",
    "regularization_path",
]
