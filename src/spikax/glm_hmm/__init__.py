"""GLMs whose coefficients depend on a hidden state that lasts."""

from spikax.glm_hmm._estimators import GLMHMM, ClassifierGLMHMM, PopulationGLMHMM
from spikax.glm_hmm._hierarchy import Hierarchy, fit_hierarchy

__all__ = ["GLMHMM", "ClassifierGLMHMM", "Hierarchy", "PopulationGLMHMM", "fit_hierarchy"]
