"""Generalized linear models of one neuron and of populations, as scikit-learn estimators."""

from spikax.glm._classifiers import ClassifierGLM, ClassifierPopulationGLM
from spikax.glm._estimators import GLM, PopulationGLM

__all__ = ["GLM", "ClassifierGLM", "ClassifierPopulationGLM", "PopulationGLM"]
