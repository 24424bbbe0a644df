r"""Transitions between states, and the start of sessions: their parameters, priors and moves.

Row i of the logits is left for the next sample, where i is the state before; the last row is that
of the first sample of a session:

.. math:: \log A_{t, ij} = \mathrm{logsoftmax}_j (v_{ij} + z_t^\top w_{ij})

with covariates z. Rows have Dirichlet priors, at the mean of the covariates, and w a normal one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from spikax._pytrees import register
from spikax.hmm._chain import Chain
from spikax.hmm._messages import Dynamics, Posterior

if TYPE_CHECKING:
    from jaxtyping import Array, Float

# Transitions that are not forbidden have at least this probability: scaled messages stay exact.
FLOOR = 1e-25


class TransitionParameters(NamedTuple):
    """Logits, and how they change with covariates."""

    logits: Float[Array, "row state"]
    slopes: Float[Array, "row covariate state"]


@register
@dataclass(frozen=True)
class Transitions:
    """Priors of transitions, and what they may depend on.

    Parameters
    ----------
    concentration
        Parameters of the Dirichlet priors, (K + 1, K), at least one; the last row is that of
        starts.
    allowed
        One where a transition is possible, zero where it is forbidden, (K + 1, K).
    covariates
        Standardised covariates of the transition into each sample, (L, n_covariates, C), or None.
    precision
        Precisions of the normal prior of their slopes, (n_covariates,).
    """

    concentration: Float[Array, "row state"]
    allowed: Float[Array, "row state"]
    covariates: Float[Array, "step covariate chunk"] | None
    precision: Float[Array, " covariate"]

    def log_probabilities(self, params: TransitionParameters) -> Float[Array, "*step row state"]:
        """Logarithms of the probabilities of all rows, (K + 1, K) or (L, K + 1, K, C)."""
        logits = params.logits
        if self.covariates is not None:
            change = jnp.einsum("iqj,lqc->lijc", params.slopes, self.covariates)
            logits, axis = logits[None, ..., None] + change, -2
            allowed = self.allowed[None, ..., None]
        else:
            axis, allowed = -1, self.allowed
        logits = jnp.where(allowed > 0, logits, -jnp.inf)
        logs = jax.nn.log_softmax(logits, axis=axis)
        return jnp.where(allowed > 0, jnp.maximum(logs, jnp.log(FLOOR)), -jnp.inf)

    def dynamics(self, params: TransitionParameters) -> Dynamics:
        """Make what messages go by."""
        logs = self.log_probabilities(params)
        if self.covariates is None:
            return Dynamics(logs[-1], logs[:-1])
        return Dynamics(logs[:, -1], logs[:, :-1])

    def log_prior(self, params: TransitionParameters) -> Float[Array, ""]:
        """Logarithm of the priors' density, up to a constant."""
        logs = self._at_mean(params.logits)
        rows = jnp.sum((self.concentration - 1) * jnp.where(self.allowed > 0, logs, 0))
        return rows - 0.5 * jnp.sum(self.precision[None, :, None] * params.slopes**2)

    def _at_mean(self, logits: jax.Array) -> jax.Array:
        masked = jnp.where(self.allowed > 0, logits, -jnp.inf)
        return jnp.maximum(jax.nn.log_softmax(masked, axis=-1), jnp.log(FLOOR))

    def gradient(
        self, params: TransitionParameters, chain: Chain, found: Posterior
    ) -> TransitionParameters:
        """Differentiate the log posterior, by Fisher's identity: expected less predicted counts.

        Of `sum n_ij log A_ij` it is `n_ij - n_i A_ij`, with `n_i = sum_j n_ij`.
        """
        counts, probability = self._counts(chain, found), jnp.exp(self.log_probabilities(params))
        over = -1 if self.covariates is None else -2
        surprise = counts - counts.sum(axis=over, keepdims=True) * probability
        prior = self.concentration - 1
        pull = prior - prior.sum(axis=-1, keepdims=True) * jnp.exp(self._at_mean(params.logits))
        if self.covariates is None:
            return TransitionParameters((surprise + pull) * self.allowed, 0 * params.slopes)
        slopes = jnp.einsum("lijc,lqc->iqj", surprise, self.covariates)
        slopes = slopes - self.precision[None, :, None] * params.slopes
        logits = surprise.sum(axis=(0, -1)) + pull
        return TransitionParameters(logits * self.allowed, slopes * self.allowed[:, None])

    def target(self, found: Posterior) -> Float[Array, "row state"]:
        """Logits at the maximum of the expected log posterior: an EM step, of constant rows."""
        counts = jnp.concatenate([found.transitions, found.initial[None]])
        weight = jnp.maximum((counts + self.concentration - 1) * self.allowed, 0)
        total = weight.sum(axis=-1, keepdims=True)
        share = jnp.where(total > 0, weight / jnp.where(total > 0, total, 1), self.allowed)
        share = share / share.sum(axis=-1, keepdims=True)
        return jnp.log(jnp.maximum(share, FLOOR))

    def curvature(
        self, params: TransitionParameters, chain: Chain, found: Posterior
    ) -> Float[Array, "row parameter parameter"]:
        """Second derivatives of the expected log posterior, (K + 1, (q + 1) K, (q + 1) K).

        Of `sum n_i log A_ij` they are `-n_i (diag(A_i) - A_i A_i') z z'`, with `z = (1, z)`.
        """
        n_states = self.allowed.shape[1]
        counts, probability = self._counts(chain, found), jnp.exp(self.log_probabilities(params))
        eye = jnp.eye(n_states, dtype=probability.dtype)
        prior = (self.concentration - 1).sum(axis=-1)
        at_mean = jnp.exp(self._at_mean(params.logits)) * self.allowed
        of_prior = _multinomial(prior[:, None], at_mean, eye)
        if self.covariates is None:
            total = counts.sum(axis=-1)
            return _multinomial(total[:, None], probability, eye) + of_prior
        total = counts.sum(axis=-2)

        def add(found, at):
            n, p, z = at  # (K + 1, C), (K + 1, K, C), (q, C)
            z = jnp.concatenate([jnp.ones_like(z[:1]), z])
            diagonal = jnp.einsum("ic,ijc,qc,rc->iqjr", n, p, z, z)
            outer = jnp.einsum("ic,ijc,ikc,qc,rc->iqjrk", n, p, p, z, z)
            return found + jnp.einsum("iqjr,jk->iqjrk", diagonal, eye) - outer, None

        n_rows, q = len(self.allowed), self.covariates.shape[1] + 1
        shape = (n_rows, q, n_states, q, n_states)
        matrix, _ = jax.lax.scan(
            add, jnp.zeros(shape, total.dtype), (total, probability, self.covariates)
        )
        matrix = matrix.at[:, 0, :, 0].add(of_prior)
        ridge = jnp.concatenate([jnp.zeros(1, total.dtype), self.precision])
        size = q * n_states
        return matrix.reshape(n_rows, size, size) + jnp.diag(jnp.repeat(ridge, n_states))[None]

    def _counts(self, chain: Chain, found: Posterior) -> jax.Array:
        """Count transitions and starts, (K + 1, K), or those of each sample (L, K + 1, K, C)."""
        if self.covariates is None:
            return jnp.concatenate([found.transitions, found.initial[None]])
        assert found.pairs is not None
        first = jnp.where(chain.start[:, None], found.states, 0)
        every = jnp.concatenate([found.pairs, first[:, None]], axis=1)
        return every * chain.weight[:, None, None]


def _multinomial(n: jax.Array, p: jax.Array, eye: jax.Array) -> jax.Array:
    """Compute `n (diag(p) - p p')` of each row."""
    return (n * p)[..., None] * eye[None] - n[..., None] * p[..., None] * p[:, None]
