"""GLMs whose coefficients depend on a hidden state that lasts."""

from spikax.glm_hmm._estimators import GLMHMM, ClassifierGLMHMM, PopulationGLMHMM

__all__ = ["GLMHMM", "ClassifierGLMHMM", "PopulationGLMHMM"]
