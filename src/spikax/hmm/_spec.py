"""A model with states whose names are resolved: what it makes of data, and what a fit found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax import _coefficients
from spikax._assemble import free_parameters
from spikax._inputs import Data, as_float_array
from spikax._layout import Layout
from spikax._model import ModelSpec
from spikax.core.penalties import Elementwise
from spikax.core.standardise import Standardisation
from spikax.hmm._chain import Chain, make_chain
from spikax.hmm._emission import Emission, EmissionParameters
from spikax.hmm._functions import check_proba
from spikax.hmm._search import Parameters, Problem
from spikax.hmm._sessions import Sessions
from spikax.hmm._starts import constant_of, pooled
from spikax.hmm._transitions import FLOOR, TransitionParameters, Transitions

# The least dispersion of a state, as a share of what all samples together have: a state of few
# samples must not make its likelihood infinite.
_LEAST_DISPERSION = 1e-4


class Covariates(NamedTuple):
    """Covariates of transitions, and their units."""

    values: np.ndarray  # (n_samples, n_covariates), standardised
    center: np.ndarray
    scale: np.ndarray


class Prepared(NamedTuple):
    """What is to be maximised, and the way back to the user's units."""

    problem: Problem
    standardisation: Standardisation
    covariates: Covariates | None
    data: Data
    center: Any  # the model without features, (n_parameters, n_neurons)
    unit: Any  # what linear predictors vary by, (n_neurons,)
    log_excess: Any  # of the dispersion that all samples together have, (n_neurons,)


@dataclass(frozen=True, eq=False)
class StatesSpec:
    """What the arguments of a model with states stand for.

    Parameters
    ----------
    model
        The model of one state.
    n_states
        Number of states.
    concentration
        Parameters of the Dirichlet priors of transitions and, in the last row, of starts,
        (n_states + 1, n_states).
    allowed
        Whether a transition, or a start, is possible, shaped likewise.
    slope_precision
        Strength of the prior of covariates' slopes.
    feature_mask, shared_features, n_lapse_states
        As the estimator was given them.
    """

    model: ModelSpec
    n_states: int
    concentration: np.ndarray
    allowed: np.ndarray
    slope_precision: float
    feature_mask: Any
    shared_features: Any
    n_lapse_states: int

    @property
    def state_axis(self) -> int:
        """Where the states are among the axes of a coefficient."""
        return 1 if self.model.single else 2

    @property
    def tells_apart(self) -> bool:
        """Whether masks or priors give the numbers of states, lapse states aside, a meaning."""
        n_axes = 1 + len(self.model.outputs(1).trailing)
        of_states = any(
            self._has_states(leaf, n_axes) for leaf in jax.tree.leaves(self.feature_mask)
        )
        arrays = self.allowed, self.concentration
        return of_states or not all(_is_symmetric(array) for array in arrays)

    def keeps(self, order: np.ndarray) -> bool:
        """Tell whether states may be given the numbers of others."""
        n_free = self.n_states - self.n_lapse_states
        if (order == np.arange(self.n_states)).all():
            return True
        return not self.tells_apart and set(order[:n_free]) == set(range(n_free))

    # --- From data to what is maximised.

    def prepare(
        self,
        data: Data,
        sessions: Sessions,
        covariates: Covariates | None,
        session_weight: np.ndarray | None,
    ) -> Prepared:
        """Build what is to be maximised; in double precision."""
        mask, tie = self._masks(data), self._tie(data)
        # A mask of ones keeps the features in the user's coordinates, where some are special.
        special = tie is not None or not mask.all()
        whole = _ones(data.layout, self.model.outputs(data.y.shape[1])) if special else None
        spec = replace(self.model, feature_mask=whole)
        problem = spec.assemble(data)
        objective, samples, standardisation = problem[0], problem[1], problem[3]
        weights = samples.weights * data.mean_weight[: samples.weights.shape[1], None]
        samples = replace(samples, weights=weights)
        if tie is not None:
            objective = replace(objective, penalty=self._split(objective.penalty, tie, data))
        likelihood = objective.likelihood
        disperses = likelihood.by_moments or likelihood.estimated
        center, dispersion, unit = pooled(objective, samples)
        floor = _LEAST_DISPERSION * np.maximum(dispersion, 1e-12) * disperses
        emission = Emission(
            objective=objective,
            samples=samples,
            mask=jnp.asarray(mask),
            tie=None if tie is None else jnp.asarray(tie),
            floor=jnp.asarray(floor),
            prior=None,
            disperses=disperses,
        )
        chain = self.chain(sessions, session_weight, samples.n_samples)
        transitions = self._transitions(chain, covariates)
        forbids = bool((self.allowed == 0).any())
        constant = constant_of(emission, chain.joined(chain.weight)[: samples.n_samples])
        return Prepared(
            Problem(emission, transitions, chain, constant, forbids),
            standardisation,
            covariates,
            data,
            center,
            unit,
            np.log(np.maximum(dispersion - floor, 1e-12)),
        )

    def _transitions(self, chain: Chain, covariates: Covariates | None) -> Transitions:
        """Lay the covariates out along the chain, with the priors of what depends on them."""
        laid, precision = None, np.zeros(0)
        if covariates is not None:
            precision = self.slope_precision / covariates.scale**2
            laid = chain.chunked(jnp.asarray(covariates.values.T))
        return Transitions(
            concentration=jnp.asarray(self.concentration),
            allowed=jnp.asarray(self.allowed),
            covariates=laid,
            precision=jnp.asarray(precision),
        )

    def chain(self, sessions: Sessions, session_weight: Any, n_padded: int):
        """Lay sessions out; what pads the samples is a session that does not count."""
        n_samples = len(sessions.starts)
        starts, weight = np.zeros(n_padded, bool), np.zeros(n_padded)
        starts[:n_samples] = sessions.starts
        starts[n_samples : n_samples + 1] = True
        each = 1.0 if session_weight is None else session_weight[sessions.number]
        weight[:n_samples] = each * sessions.inside
        return make_chain(starts, weight)

    def _masks(self, data: Data) -> np.ndarray:
        """Tell which parameters of each state are free, (K, n_parameters, n_neurons)."""
        outputs = self.model.outputs(data.y.shape[1])
        columns = outputs.n_predictors * outputs.n_neurons
        found = []
        for state in range(self.n_states):
            of_state = None
            if self.feature_mask is not None:
                of_state = jax.tree.map(
                    lambda leaf, k=state: self._of_state(leaf, k, data), self.feature_mask
                )
            mask = _coefficients.feature_mask(of_state, data.layout, outputs)
            if state >= self.n_states - self.n_lapse_states:
                mask = np.zeros((data.layout.n_features, columns))
            free = free_parameters(mask, data.layout.n_features, columns, self.model.fit_intercept)
            found.append(free.reshape(-1, outputs.n_neurons))
        return np.stack(found)

    def _of_state(self, leaf: Any, state: int, data: Data) -> Any:
        """Take a state's part of a mask, where it has one for each."""
        n_axes = 1 + len(self.model.outputs(data.y.shape[1]).trailing)
        if self._has_states(leaf, n_axes):
            return np.take(np.asarray(leaf), state, axis=self.state_axis)
        return leaf

    def _has_states(self, leaf: Any, n_axes: int) -> bool:
        shape = np.shape(leaf)
        return len(shape) == n_axes + 1 and shape[self.state_axis] == self.n_states

    def shared(self, layout: Layout) -> np.ndarray:
        """Tell which features have the same coefficients in all states, (n_features,)."""
        given = self.shared_features
        if given is None:
            return np.zeros(layout.n_features, bool)
        if isinstance(given, str) or (
            isinstance(given, list | tuple) and all(isinstance(name, str) for name in given)
        ):
            names = [given] if isinstance(given, str) else list(given)
            unknown = [name for name in names if name not in layout.labels]
            if unknown:
                raise ValueError(
                    f"shared_features names {unknown[0]!r}, but the features are "
                    f"{', '.join(map(repr, layout.labels))}."
                )
            return np.repeat(np.isin(layout.labels, names), layout.widths)
        parts = [given] if layout.names == ("X",) else jax.tree.leaves(given)
        leaves = [np.asarray(leaf) for leaf in parts]
        full = [(width,) for width in layout.widths]
        if [leaf.shape for leaf in leaves] != full or not all(
            np.isin(leaf, (0, 1)).all() for leaf in leaves
        ):
            raise ValueError(
                "shared_features must have the structure of X and hold True or False for each "
                f"feature, of shapes {', '.join(map(str, full))}; got "
                f"{', '.join(str(leaf.shape) for leaf in leaves)}."
            )
        return np.concatenate(leaves).astype(bool)

    def _tie(self, data: Data) -> np.ndarray | None:
        """Tell which parameters of all states are one, (K n_parameters, n_free)."""
        shared = self.shared(data.layout)
        if not shared.any() or self.n_states == 1:
            return None
        if self.n_lapse_states:
            raise ValueError(
                "Lapse states have no features, but shared_features are those of all states: use "
                "one of the two, or a feature_mask for each state."
            )
        n_predictors = self.model.outputs(data.y.shape[1]).n_predictors
        rows = np.repeat(np.append(shared, False), n_predictors)
        n_rows = len(rows)
        index = np.arange(self.n_states * n_rows).reshape(self.n_states, n_rows)
        index[:, rows] = index[0, rows]
        _, free = np.unique(index, return_inverse=True)
        return np.eye(free.max() + 1)[free.reshape(-1)]

    def _split(self, penalty: Any, tie: np.ndarray, data: Data) -> Any:
        """Let the states share the penalty of what they share."""
        if not isinstance(penalty, Elementwise):
            raise ValueError(
                f"shared_features cannot be penalised by {self.model.regularizer!r}: use Ridge, "
                "Lasso, ElasticNet or no penalty."
            )
        n_predictors = self.model.outputs(data.y.shape[1]).n_predictors
        n_rows = len(tie) // self.n_states
        often = tie[:n_rows] @ tie.sum(axis=0)
        return penalty.scaled(1 / often[:-n_predictors, None])

    def covariates(self, X_transition: Any, n_samples: int) -> Covariates | None:
        """Check the covariates of transitions, and standardise them."""
        if X_transition is None:
            return None
        values = as_float_array(X_transition, "X_transition")
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or len(values) != n_samples:
            raise ValueError(
                f"X_transition must have shape ({n_samples}, n_covariates), a row for each sample,"
                f" got {values.shape}."
            )
        wrong = ~np.isfinite(values)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(
                f"X_transition is {values[row, column]} in row {row}, column {column}: a "
                "transition needs all its covariates, also where a sample is missing. Fill them."
            )
        center, scale = values.mean(axis=0), values.std(axis=0)
        scale = np.where(scale > 0, scale, 1)
        return Covariates((values - center) / scale, center, scale)

    # --- Parameters, there and back.

    def to_problem(self, params: tuple, of: Prepared) -> Parameters:
        """Bring (coef, intercept, scale, initial_prob, transition_prob) to parameters, checked."""
        if not isinstance(params, list | tuple) or len(params) != 5:
            raise ValueError(
                "init_params must be (coef, intercept, scale, initial_prob, transition_prob), got "
                f"{len(params) if isinstance(params, list | tuple) else repr(params)} items."
            )
        coef, intercept, scale, initial, transition = params
        data, k = of.data, self.n_states
        n_neurons = data.y.shape[1]
        initial = check_proba(initial, "initial_prob of init_params", (k,))
        transition = check_proba(transition, "transition_prob of init_params", (k, k))
        theta = []
        for state in range(k):
            leaves = jax.tree.map(lambda leaf, s=state: self._take(leaf, s, "coef"), coef)
            one = self._take(intercept, state, "intercept", self.state_axis - 1)
            if self.model.single and self.model.outputs(1).n_predictors == 1:
                one = np.reshape(one, (1,))
            theta.append(self.model.theta((leaves, one), "init_params", data, of.standardisation))
        shape = (n_neurons, k)
        scale = np.asarray(scale, float)
        if scale.shape not in ((k,), shape) or not (scale > 0).all():
            raise ValueError(
                f"scale of init_params must be positive and have shape "
                f"{(k,) if self.model.single else shape}, got {scale.shape}."
            )
        excess = np.broadcast_to(scale, shape).T - np.asarray(of.problem.emission.floor)
        rows = np.log(np.maximum(np.vstack([transition, initial]), FLOOR))
        n_covariates = len(of.problem.transitions.precision)
        return Parameters(
            EmissionParameters(
                of.problem.emission.restrict(jnp.asarray(np.stack(theta))),
                jnp.log(jnp.maximum(excess, 1e-12)),
            ),
            TransitionParameters(jnp.asarray(rows), jnp.zeros((k + 1, n_covariates, k))),
        )

    def _take(self, leaf: Any, state: int, name: str, axis: int | None = None) -> np.ndarray:
        array, axis = np.asarray(leaf), self.state_axis if axis is None else axis
        if array.ndim <= axis or array.shape[axis] != self.n_states:
            raise ValueError(
                f"{name} of init_params must have the {self.n_states} states on axis {axis}, got "
                f"shape {array.shape}."
            )
        return np.take(array, state, axis=axis)

    def n_parameters(self, of: Prepared) -> int:
        """Count what is free: of the states, their dispersions, transitions and starts."""
        emission, transitions = of.problem.emission, of.problem.transitions
        mask = np.asarray(emission.mask)
        free = mask.sum()
        if emission.tie is not None:
            free = (np.asarray(emission.tie).T @ mask.reshape(len(emission.tie), -1) > 0).sum()
        if self.model.n_classes is not None:  # of classes only differences count
            free = free * (self.model.n_classes - 1) / self.model.n_classes
        if emission.disperses:
            free += self.n_states * mask.shape[2]
        per_row = self.allowed.sum(axis=1) - 1
        return int(free + per_row.sum() * (1 + len(transitions.precision)))

    def to_user(self, params: Parameters, of: Prepared) -> tuple:
        """Bring parameters to (coef, intercept, scale, initial_prob, transition_prob)."""
        emission = of.problem.emission
        scale = np.ones((self.n_states, of.data.y.shape[1]))
        known = emission.objective.likelihood.dispersion
        if emission.disperses:
            scale = np.asarray(emission.floor) + np.exp(params.emission.log_excess)
        elif known is not None:
            scale = scale * np.asarray(known)[:, 0]
        rows = np.maximum(np.exp(params.transitions.logits), FLOOR) * self.allowed
        rows = rows / rows.sum(axis=1, keepdims=True)
        scale = scale[:, 0] if self.model.single else scale.T
        theta = emission.project(np.asarray(params.emission.theta))
        return *self.unpack(theta, of), scale, rows[-1], rows[:-1]

    def unpack(self, theta: np.ndarray, of: Prepared) -> tuple[Any, np.ndarray]:
        """Bring the parameters of all states to the user's units and shapes."""
        parts = [self.model.unpack(each, of.standardisation, of.data) for each in theta]
        axis = self.state_axis
        coef = jax.tree.map(lambda *leaves: np.stack(leaves, axis), *(c for c, _ in parts))
        intercept = np.stack([i for _, i in parts], axis - 1)
        if self.model.single and self.model.outputs(1).n_predictors == 1:
            intercept = intercept[:, 0]
        return coef, intercept


def _is_symmetric(rows: np.ndarray) -> bool:
    """Whether there is one value for staying, one for leaving, and one for starting."""
    of_transitions, of_starts = rows[:-1], rows[-1]
    leaves = ~np.eye(len(of_starts), dtype=bool)
    parts = np.diagonal(of_transitions), of_transitions[leaves], of_starts
    return all(np.ptp(part) == 0 for part in parts if part.size)


def _ones(layout: Layout, outputs: Any) -> Any:
    """Mask that leaves all features in."""
    parts = [np.ones((width, *outputs.trailing)) for width in layout.widths]
    return parts[0] if layout.names == ("X",) else jax.tree.unflatten(layout.treedef, parts)
