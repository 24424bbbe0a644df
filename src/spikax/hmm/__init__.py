"""Hidden Markov models: inference from any log-likelihoods, and models of states alone."""

from spikax.hmm._functions import (
    Filtered,
    Smoothed,
    filter,
    forward_backward,
    sample_paths,
    viterbi,
)
from spikax.hmm._hmm import HMM
from spikax.hmm._match import match_states
from spikax.hmm._report import Restarts, SearchState

__all__ = [
    "HMM",
    "Filtered",
    "Restarts",
    "SearchState",
    "Smoothed",
    "filter",
    "forward_backward",
    "match_states",
    "sample_paths",
    "viterbi",
]
