"""How sure a fit of states is: the observed information of the log posterior."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.linalg import null_space

from spikax.hmm._emission import Emission
from spikax.hmm._search import Parameters, Problem, evaluate

# Probabilities below are at their bound: nothing tells how far.
_AT_BOUND = 1e-6
_STEP = 1e-4  # of standardised parameters


@jax.jit
def products(problem: Problem, params: Parameters, directions: jax.Array) -> jax.Array:
    """Multiply directions, (n, n_parameters), with minus the second derivatives.

    The gradient is that of Fisher's identity, so that its derivative is the observed information
    of the evidence (Louis 1982, J. R. Stat. Soc. B 44, 226), and not that of EM. It is exact, and
    its central differences are right to eight digits.
    """
    flat, unravel = ravel_pytree(params)

    def gradient(end):
        return ravel_pytree(evaluate(problem, unravel(end)).gradient)[0]

    def product(direction):
        ends = flat[None] + _STEP * jnp.stack([-direction, direction])
        low, high = jax.lax.map(gradient, ends)
        return (low - high) / (2 * _STEP)

    return jax.lax.map(product, directions)


def free_directions(problem: Problem, params: Parameters) -> np.ndarray:
    """Span the directions in which parameters may move, (n_parameters, n_free)."""
    emission, allowed = problem.emission, np.asarray(problem.transitions.allowed)
    mask = np.asarray(emission.mask)
    if emission.tie is None:
        of_theta = np.eye(mask.size)[:, mask.ravel() > 0]
    else:
        tie = np.asarray(emission.tie)
        every = np.kron(tie, np.eye(mask.shape[2]))
        kept = (every * mask.reshape(-1, 1)).any(axis=0)
        of_theta = every[:, kept]
    of_theta = _of_differences(emission, of_theta)
    n_excess = params.emission.log_excess.size
    of_excess = np.eye(n_excess)[:, : n_excess if emission.disperses else 0]
    probability = np.exp(np.asarray(params.transitions.logits))
    inside = (allowed > 0) & (probability > _AT_BOUND)
    of_logits = _within_rows(inside)
    n_covariates = params.transitions.slopes.shape[1]
    with_slopes = np.repeat(inside[:, None], n_covariates, axis=1).reshape(-1, allowed.shape[1])
    return _block_diagonal(of_theta, of_excess, of_logits, _within_rows(with_slopes))


def _of_differences(emission: Emission, directions: np.ndarray) -> np.ndarray:
    """Keep, of the parameters of classes, what changes their differences."""
    rows = emission.sums_to_zero
    if rows is None:
        return directions
    state, row, neuron = np.nonzero(rows)
    sums = np.zeros((len(state), *emission.mask.shape))
    by_class = sums.reshape(len(state), *rows.shape[:2], -1, rows.shape[2])
    by_class[np.arange(len(state)), state, row, :, neuron] = 1
    return directions @ null_space(sums.reshape(len(state), -1) @ directions)


def _within_rows(inside: np.ndarray) -> np.ndarray:
    """Span what sums to zero within the rows of an array, over the entries that are inside."""
    columns = []
    for row, kept in enumerate(inside):
        entries = np.flatnonzero(kept)
        for last in range(1, entries.size):
            # Helmert's contrasts: each entry against the mean of those before.
            column = np.zeros(inside.shape)
            column[row, entries[:last]] = -1 / last
            column[row, entries[last]] = 1
            columns.append(column.ravel() / np.linalg.norm(column))
    return np.array(columns).reshape(len(columns), inside.size).T


def _block_diagonal(*blocks: np.ndarray) -> np.ndarray:
    out = np.zeros(tuple(np.sum([block.shape for block in blocks], axis=0)))
    row = column = 0
    for block in blocks:
        out[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    return out


def spread(problem: Problem, params: Parameters) -> tuple[list[Any], bool]:
    """Give moves of the parameters whose outer products add up to their covariance.

    Also whether the information is positive definite, as it is at a maximum.
    """
    basis = free_directions(problem, params)
    flat, unravel = ravel_pytree(params)
    moved = np.asarray(products(problem, params, jnp.asarray(basis.T, flat.dtype)))
    information = moved @ basis
    information = (information + information.T) / 2
    size = np.sqrt(np.abs(np.diag(information)))
    size = np.where(size > 0, size, 1)
    values, vectors = np.linalg.eigh(information / np.outer(size, size))
    proper = values > 1e-10
    root = vectors[:, proper] / np.sqrt(values[proper]) / size[:, None]
    moves = [unravel(jnp.asarray(move)) for move in (basis @ root).T]
    return jax.device_get(moves), bool(proper.all())
