"""Choosing how strong a penalty should be, for each neuron: paths and cross-validation."""

from spikax.model_selection._cross_validation import GLMCV, PopulationGLMCV
from spikax.model_selection._regularization_path import RegularizationPath, regularization_path

__all__ = ["GLMCV", "PopulationGLMCV", "RegularizationPath", "regularization_path"]
