"""How many parameters a fit determines: the rank of its features, or less where a penalty holds.

Everything here is in float64: features that follow from others must be told from those that
nearly do.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpstrf  # pyright: ignore[reportAttributeAccessIssue]

from spikax.core.hessians import block_moments, bordered, interleaved
from spikax.core.objective import (
    Objective,
    expected_curvature,
    linear_predictor,
    penalty_value,
)
from spikax.core.samples import Samples
from spikax.core.streamed import compiled

# Samples times pairs of parameters times neurons that a fit spends where nothing depends on it.
MOST = 1e8


def effective_degrees_of_freedom(
    objective: Objective, samples: Samples, theta: np.ndarray, most: float = MOST
) -> np.ndarray:
    r"""Count the parameters that each neuron's fit determines, (n_neurons,).

    That is the trace of the influence matrix :math:`(H + P)^{-1} H` over the coefficients that
    are not zero, with H the expected information and P the second derivatives of the penalty:
    the rank of the features where P is zero (Hastie & Tibshirani 1990, Generalized Additive
    Models, section 6.8; of penalties with kinks Zou, Hastie & Tibshirani 2007, Ann. Stat. 35, and
    Vaiter et al. 2012, "The degrees of freedom of the Group Lasso").

    A penalty with curvature needs a Hessian for each neuron, which takes longer than most fits.
    Where the scale is known, so that nothing depends on it, the result is NaN if the product of
    the numbers of samples, pairs of parameters and neurons is above `most`.
    """
    free = np.asarray(objective.mask) > 0
    kept = free.copy()
    if not objective.penalty.smooth:
        features = slice(0, -objective.n_predictors)
        kept[features] &= theta[features] != 0
    counted = np.asarray(samples.weights) > 0
    with jax.enable_x64(True):
        held = _held(objective, theta, kept)
        found = np.zeros(objective.n_neurons)
        for neurons, rows in _alike(counted, objective.n_neurons):
            some = neurons[~held[neurons]]
            if some.size and rows.any():
                found[some] = _ranks(objective, samples, rows, kept[:, some])
        if held.any():
            found[held] = _traces(objective, samples, theta, kept, np.flatnonzero(held), most)
    return found


def _held(objective: Objective, theta: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Tell which neurons' kept parameters a penalty holds back, (n_neurons,)."""
    if not jax.tree.leaves(objective.penalty):
        return np.zeros(objective.n_neurons, bool)
    # No penalty has curvature along all directions but this one.
    direction = kept * (1 + np.linspace(0, 1, len(theta))[:, None] ** 2)
    product = np.asarray(_penalty_hessian_product(objective, theta.astype(float), direction))
    return np.any(kept & (product != 0), axis=0)


@jax.jit
def _penalty_hessian_product(
    objective: Objective, theta: jax.Array, direction: jax.Array
) -> jax.Array:
    gradient = jax.grad(lambda theta: penalty_value(objective, theta).sum())
    return jax.jvp(gradient, (theta,), (direction,))[1]


@jax.jit
def _penalty_hessian(objective: Objective, theta: jax.Array, neuron: jax.Array) -> jax.Array:
    one = objective.neurons(neuron)
    cost = jax.hessian(lambda theta: penalty_value(one, theta[:, None])[0])
    return cost(theta[:, neuron[0]])


def _alike(counted: np.ndarray, n_neurons: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Group neurons that count the same samples; give their indices, and which these are."""
    counted = np.moveaxis(counted, 1, 0).reshape(counted.shape[1], -1)
    if len(counted) == 1:
        yield np.arange(n_neurons), counted[0]
        return
    patterns: dict[bytes, list[int]] = {}
    for neuron, rows in enumerate(counted):
        patterns.setdefault(np.packbits(rows).tobytes(), []).append(neuron)
    for neurons in patterns.values():
        yield np.array(neurons), counted[neurons[0]]


# --- Without a penalty.


def _ranks(
    objective: Objective, samples: Samples, rows: np.ndarray, kept: np.ndarray
) -> np.ndarray:
    """Rank of the kept parameters in these samples, each (n_parameters, n)."""
    null = _null_space(samples, rows)
    K, q = objective.n_predictors, samples.n_features + 1
    if K > 1:
        null = np.kron(null, np.eye(K))
    if objective.likelihood.family.sum_to_zero:
        # Predictors that change alike for all classes change nothing.
        null = np.hstack([null, np.kron(np.eye(q), np.ones((K, 1)))])
    patterns, which = np.unique(kept, axis=1, return_inverse=True)
    nullity = [_rank(null) - _rank(null[~pattern]) for pattern in patterns.T]
    return kept.sum(axis=0) - np.array(nullity)[which.reshape(-1)]


def _rank(matrix: np.ndarray) -> int:
    return int(np.linalg.matrix_rank(matrix, tol=1e-6)) if matrix.size else 0


def _null_space(samples: Samples, rows: np.ndarray) -> np.ndarray:
    """Find combinations of features and intercept that are zero in these samples, (p + 1, n).

    Those that are zero in some of the samples are sought first, and then in all of them.
    """
    q = samples.n_features + 1
    index = np.flatnonzero(rows)
    some = index[np.linspace(0, len(index) - 1, max(1000, 2 * q)).astype(int)]
    sample = np.ones((len(some), q))
    sample[:, :-1] = np.asarray(samples.X.rows(jnp.asarray(some)))
    # Features in units of their deviation, as far as these samples tell.
    unit = np.sqrt(np.mean(sample**2, axis=0))
    unit[unit == 0] = 1
    sample /= unit
    # What the features were rounded to, and what eliminating q of them rounds.
    noise = max(1e-11 if samples.y.dtype == jnp.float32 else 0, 10 * q * np.finfo(float).eps)
    factor, order, rank, _ = dpstrf(sample.T @ sample / len(some), tol=noise)
    if rank == q:
        return np.zeros((q, 0))
    clear, close = order[:rank] - 1, order[rank:] - 1
    null = np.zeros((q, q - rank))
    null[close, np.arange(q - rank)] = 1
    null[clear] = -solve_triangular(factor[:rank, :rank], factor[:rank, rank:])
    missed = sample[:, clear].T @ (sample @ null) / len(some)
    half = solve_triangular(factor[:rank, :rank], missed, trans=1)
    null[clear] -= solve_triangular(factor[:rank, :rank], half)
    null /= np.linalg.norm(null, axis=0)

    width = -(-null.shape[1] // 8) * 8  # so that few programs serve
    padded = np.pad(null / unit[:, None], ((0, 0), (0, width - null.shape[1])))
    left = np.asarray(_products(samples, rows.reshape(samples.y.shape[::2]), padded))
    left = left[: null.shape[1], : null.shape[1]] / len(index)
    share, axes = np.linalg.eigh(left)
    return null @ axes[:, share < noise]


@compiled
def _products(samples: Samples, rows: jax.Array, combinations: jax.Array) -> jax.Array:
    """Second moments of combinations of the features and the intercept in some samples."""
    return samples.sum(Partial(_block_products, combinations), more=(rows,))


def _block_products(combinations, X, y, weights, offset, rows) -> jax.Array:
    one = combinations[:-1].T @ X.astype(combinations.dtype) + combinations[-1][:, None]
    one = one * rows[None]
    return one @ one.T


# --- With one.


def _traces(
    objective: Objective,
    samples: Samples,
    theta: np.ndarray,
    kept: np.ndarray,
    neurons: np.ndarray,
    most: float,
) -> np.ndarray:
    """Trace of the influence matrix of some neurons."""
    size = float(samples.n_samples) * len(theta) ** 2 * neurons.size
    if size > most and not objective.likelihood.by_moments:
        return np.full(neurons.size, np.nan)
    theta = theta.astype(float)
    same = objective.n_predictors == 1 and bool(_same_curvature(objective, samples, theta))
    information: np.ndarray | None = None
    found = []
    for j in neurons:
        neuron = np.asarray([j])
        if information is None or not same:
            information = np.asarray(_information(objective, samples, theta, neuron))
        inner = np.ix_(kept[:, j], kept[:, j])
        H, P = information[inner], np.asarray(_penalty_hessian(objective, theta, neuron))[inner]
        if not np.isfinite(H + P).all():  # of a fit that met infinity
            found.append(np.nan)
            continue
        unit = np.sqrt(np.maximum(np.diag(H + P), np.finfo(float).tiny))
        H, P = H / np.outer(unit, unit), P / np.outer(unit, unit)
        share, axes = np.linalg.eigh(H + P)
        known = share > 1e-12 * share.max(initial=0)
        held_by_data = np.sum(axes * (H @ axes), axis=0)
        found.append(np.sum(held_by_data[known] / share[known]))
    return np.array(found)


@compiled
def _same_curvature(objective: Objective, samples: Samples, theta: jax.Array) -> jax.Array:
    """Tell whether all neurons' samples have the same curvature."""
    return samples.sum(Partial(_block_is_alike, objective, theta), jnp.logical_and)


def _block_is_alike(objective, theta, X, y, weights, offset) -> jax.Array:
    v = _curvature(objective, theta, X, y, weights, offset)
    return jnp.all(v == v[:1])


@compiled
def _information(
    objective: Objective, samples: Samples, theta: jax.Array, neuron: jax.Array
) -> jax.Array:
    """Compute the expected information of a neuron's mean loss, (n_parameters, n_parameters)."""
    one, at = objective.neurons(neuron), theta[:, neuron]
    total = samples.neurons(neuron).sum(Partial(_block_information, one, at))
    return interleaved(bordered(*total)) / one.normaliser[:, None]


def _block_information(objective, theta, X, y, weights, offset) -> tuple:
    v = _curvature(objective, theta, X, y, weights, offset)
    v = v if v.ndim == 2 else v.reshape(-1, *v.shape[-2:])
    return block_moments(X.astype(v.dtype), v)


def _curvature(objective: Objective, theta: jax.Array, X, y, weights, offset) -> jax.Array:
    eta = linear_predictor(theta, X.astype(theta.dtype), offset)
    v = expected_curvature(objective, eta, y)
    return jnp.broadcast_to(weights, v.shape) * v
