"""Where a search starts, by name or by functions of the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from sklearn.cluster import KMeans

from spikax._errors import unknown_name
from spikax.hmm._spec import Prepared, StatesSpec
from spikax.hmm._starts import STAYS, WIDTHS

# What each part of a start may be called; the first is the default.
NAMES = {
    "initial_proba_init": ("uniform", "random", "dirichlet", "kmeans"),
    "transition_proba_init": ("sticky", "uniform", "random", "dirichlet", "kmeans"),
    "glm_params_init": ("random", "kmeans"),
    "scale_init": ("constant", "kmeans"),
}
OF_STATES = ("initial_proba_init", "transition_proba_init")


def check(given: Mapping[str, Any] | None, of_states: bool, argument: str) -> dict[str, Any]:
    """Check names and functions, and what they are given besides."""
    slots = [name for name in NAMES if (name in OF_STATES) == of_states]
    known = [*slots, *(f"{name}_kwargs" for name in slots)]
    given = {} if given is None else dict(given)
    for name, value in given.items():
        if name not in known:
            raise unknown_name(f"entry of {argument}", name, known)
        if name in slots and isinstance(value, str) and value not in NAMES[name]:
            raise unknown_name(name, value, NAMES[name])
        if name in slots and not (value is None or isinstance(value, str) or callable(value)):
            raise TypeError(f"{name} must be a name or a function, got {value!r}.")
        if name not in slots and not isinstance(value, Mapping | None):
            raise TypeError(f"{name} must be a dict of arguments, got {value!r}.")
    return given


def start_of_functions(
    spec: StatesSpec, prepared: Prepared, X: Any, y: Any, starts: np.ndarray, given: dict, key: Any
) -> tuple:
    """Make (coef, intercept, scale, initial_prob, transition_prob) by names and functions."""
    keys = dict(zip(NAMES, jax.random.split(key, len(NAMES)), strict=True))
    model = spec.model
    of_glm = {
        "inverse_link_function": getattr(model.link, "mean", model.link),
        "observation_model": model.observation_model,
    }
    labels = _Clusters(spec.n_states, prepared)

    def make(slot: str, by_name: Callable[[str, np.random.Generator], Any]) -> Any:
        chosen = given.get(slot) or NAMES[slot][0]
        if isinstance(chosen, str):
            seed = np.asarray(jax.random.key_data(keys[slot])).astype(np.uint32)
            return by_name(chosen, np.random.default_rng(seed.tolist()))
        more = {} if slot in OF_STATES else of_glm
        kwargs = given.get(f"{slot}_kwargs") or {}
        common = {"session_starts": starts, "random_key": keys[slot]}
        return chosen(spec.n_states, X, y, **more, **common, **kwargs)

    coef, intercept = make(
        "glm_params_init", lambda name, rng: _glm(spec, prepared, labels, name, rng)
    )
    k, n_neurons = spec.n_states, prepared.data.y.shape[1]
    dispersion = np.asarray(prepared.problem.emission.floor) + np.exp(prepared.log_excess)
    pooled = np.broadcast_to(dispersion[:, None], (n_neurons, k))
    pooled = pooled[0] if model.single else pooled
    scale = make("scale_init", lambda name, rng: pooled)
    initial = make("initial_proba_init", lambda name, rng: _rows(name, (k,), labels.initial, rng))
    transition = make(
        "transition_proba_init", lambda name, rng: _rows(name, (k, k), labels.transitions, rng)
    )
    return coef, intercept, scale, initial, transition


class _Clusters:
    """Samples clustered by what was observed, when asked for."""

    def __init__(self, n_states: int, prepared: Prepared):
        self.n_states, self.data = n_states, prepared.data

    @property
    def labels(self) -> np.ndarray:
        """The cluster of each sample, (n_samples,)."""
        y = np.where(np.isnan(self.data.y), np.nanmean(self.data.y, axis=0), self.data.y)
        X = self.data.X if isinstance(self.data.X, np.ndarray) else np.zeros((len(y), 0))
        both = np.hstack([np.nan_to_num(X), y])
        spread = both.std(axis=0)
        both = (both - both.mean(axis=0)) / np.where(spread > 0, spread, 1)
        return KMeans(self.n_states, random_state=0).fit_predict(both)

    def initial(self) -> np.ndarray:
        """Count the clusters."""
        return np.bincount(self.labels, minlength=self.n_states) + 1.0

    def transitions(self) -> np.ndarray:
        """Count how clusters follow one another."""
        counts = np.ones((self.n_states, self.n_states))
        np.add.at(counts, (self.labels[:-1], self.labels[1:]), 1)
        return counts


def _rows(name: str, shape: tuple, clusters: Callable, rng: np.random.Generator) -> np.ndarray:
    k = shape[-1]
    if name == "sticky":
        weights = np.full(shape, (1 - STAYS) / max(k - 1, 1)) + 0.0
        np.fill_diagonal(weights, STAYS)
    elif name == "uniform":
        weights = np.ones(shape)
    elif name == "kmeans":
        weights = clusters()
    elif name == "dirichlet":
        weights = rng.dirichlet(np.ones(k), size=shape[:-1] or None)
    else:
        weights = rng.uniform(size=shape)
    return weights / weights.sum(axis=-1, keepdims=True)


def _glm(
    spec: StatesSpec, prepared: Prepared, clusters: _Clusters, name: str, rng: np.random.Generator
) -> tuple[Any, np.ndarray]:
    """Scatter coefficients about none, at the null model; or start each state at its cluster."""
    emission = prepared.problem.emission
    theta = np.broadcast_to(np.asarray(prepared.center), emission.mask.shape).copy()
    if name == "random":
        spread = WIDTHS[0] * np.asarray(prepared.unit) / np.sqrt(theta.shape[1])
        theta += spread * rng.normal(size=theta.shape)
    else:
        labels, y = clusters.labels, prepared.data.y
        likelihood = emission.objective.likelihood
        mean = np.nanmean(y, axis=0)
        for state in range(spec.n_states):
            own = np.nanmean(y[labels == state], axis=0)
            # Between the cluster's mean and that of all, which no bound can be.
            between = jax.numpy.asarray(0.9 * own + 0.1 * mean)
            if likelihood.n_predictors == 1:
                link: Any = likelihood.link
                theta[state, -1] = np.asarray(link.predictor(between))
    return spec.unpack(theta * np.asarray(emission.mask), prepared)
