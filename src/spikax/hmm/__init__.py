"""Hidden Markov models: inference from any log-likelihoods, and models of states alone."""

from spikax.hmm._functions import (
    Filtered,
    Smoothed,
    filter,
    forward_backward,
    sample_paths,
    viterbi,
)

__all__ = ["Filtered", "Smoothed", "filter", "forward_backward", "sample_paths", "viterbi"]
