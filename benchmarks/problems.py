"""Named benchmark problems as values: data, family, penalty, and a second draw of each."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline
from scipy.signal import fftconvolve


@dataclass(frozen=True)
class Problem:
    """A population to fit: `X` (time, feature), `y` (time, neuron)."""

    name: str
    X: np.ndarray
    y: np.ndarray
    family: str = "Poisson"
    regularizer: str = "UnRegularized"
    strength: float = 0.0
    seed: int = 0

    @property
    def shape(self):
        """Samples, features and neurons."""
        return *self.X.shape, self.y.shape[1]


def guide(seed=0, scale=1.0):
    """Draw the small problem of the introductory guide."""
    truth, rng = generators("guide", seed)
    X = 0.5 * rng.normal(size=(500, 5))
    y = rng.poisson(np.exp(X @ truth.uniform(size=(5, 2))))
    return Problem("guide", X, y.astype(float), seed=seed)


def gaussian_features(name, n_samples, n_features, n_neurons, strength=0.0, seed=0, scale=1.0):
    """Draw independent Gaussian features, rates around 0.1 to 0.5 counts a sample."""
    truth, rng = generators(name, seed)
    n_samples = int(n_samples * scale)
    W = 0.5 * truth.normal(size=(n_features, n_neurons)) / np.sqrt(n_features)
    b = np.log(truth.uniform(0.1, 0.5, size=n_neurons))
    X = rng.normal(size=(n_samples, n_features))
    y = rng.poisson(np.exp(X @ W + b)).astype(float)
    regularizer = "Ridge" if strength else "UnRegularized"
    return Problem(name, X, y, "Poisson", regularizer, strength, seed)


def coupled(name, n_neurons, n_samples, n_basis, seed=0, scale=1.0, window=50):
    """Simulate neurons that drive each other, in 10 ms bins, tuned to position and direction.

    Features are the log-spaced raised-cosine history of every neuron, B-splines of position and
    cyclic B-splines of direction, `n_basis` functions of each. Both sets of splines sum to one,
    as in real designs: with the intercept the design lacks two ranks.
    """
    recording = record(name, n_neurons, n_samples, n_basis, seed, scale, window)
    y = recording.counts
    history = raised_cosine_log(n_basis[0], window)
    past = fftconvolve(y[:, :, None], history[:, None, :], axes=0)[: len(y) - 1]
    past = np.concatenate([np.zeros((1, *past.shape[1:])), past]).reshape(len(y), -1)
    X = np.hstack([past, behaviour(recording.position, recording.direction, n_basis)])
    return Problem(name, X, y, seed=seed)


class Recording(NamedTuple):
    """What a simulated population did: what the features of `coupled` are made of."""

    position: np.ndarray  # in the unit interval, (time,)
    direction: np.ndarray  # radians, not wrapped, (time,)
    counts: np.ndarray  # (time, neuron)


def record(name, n_neurons, n_samples, n_basis, seed=0, scale=1.0, window=50):
    """Simulate the population of `coupled`."""
    truth, rng = generators(name, seed)
    n_samples = int(n_samples * scale)
    history = raised_cosine_log(n_basis[0], window)
    position = reflected_walk(rng, n_samples, 0.01)
    direction = np.cumsum(0.1 * rng.normal(size=n_samples))
    tuned_to = behaviour(position, direction, n_basis)

    tuning = 0.7 * truth.normal(size=(tuned_to.shape[1], n_neurons))
    baseline = truth.uniform(np.log(0.025), np.log(3.0), size=n_neurons)
    coupling = coupling_weights(truth, n_neurons, history.shape[1])
    drive = tuned_to @ (tuning - tuning.mean(axis=0)) + baseline
    counts = simulate(rng, drive, np.einsum("lk,jki->jli", history, coupling))
    return Recording(position, direction, counts)


def behaviour(position, direction, n_basis):
    """Return the splines of position and direction side by side."""
    _, n_place, n_direction = n_basis
    return np.hstack([bspline(position, n_place), cyclic_bspline(direction, n_direction)])


def head_direction(seed=0, scale=1.0, window=50):
    """Take every other half minute of the recording: coupling, head direction and position.

    All of them at every scale: in fewer, most units are silent somewhere and without an optimum.
    For the same reason the few moments at the walls count as the place beside them.
    """
    import jax

    import spikax as nmo

    recording = nmo.datasets.load_head_direction()
    counts = recording.spikes.count(0.01, recording.head_direction.time_support)
    angle = counts.value_from(recording.head_direction)
    place = np.asarray(counts.value_from(recording.position))
    place = np.clip(place, *np.percentile(place, [1, 99], axis=0))
    basis = (
        nmo.basis.RaisedCosineLogConv(8, window_size=window, label="spikes")
        + nmo.basis.CyclicBSplineEval(12, bounds=(0, 2 * np.pi), label="direction")
        + nmo.basis.BSplineEval(6, label="x")
        + nmo.basis.BSplineEval(6, label="z")
    )
    # In single precision the splines sum to one but for rounding, which a fit could then explain.
    with jax.enable_x64(True):
        features = basis.compute_features(counts, angle, *place.T)
    X, y = np.asarray(features, float)[window:], np.asarray(counts, float)[window:]
    odd = np.arange(len(X)) // 3000 % 2
    rows = np.flatnonzero(odd == seed % 2)[: min(np.sum(odd == 0), np.sum(odd == 1))]
    return Problem("head_direction", X[rows], y[rows], seed=seed)


def generators(name, seed):
    """Return a generator of the truth, shared by all draws of a problem, and one of the data."""
    root = [ord(letter) for letter in name]
    return np.random.default_rng(root), np.random.default_rng([*root, seed + 1])


def coupling_weights(rng, n_neurons, n_basis):
    """Draw refractory self-history and sparse, weak, balanced coupling: (from, basis, to)."""
    shape = (n_neurons, n_basis, n_neurons)
    decay = np.exp(-np.arange(n_basis) / 3)[None, :, None]
    weights = 0.15 * rng.normal(size=shape) * decay
    weights *= rng.random((n_neurons, 1, n_neurons)) < 0.15
    own = np.arange(n_neurons)
    weights[own, :, own] = np.linspace(-2.0, 0.0, n_basis) + 0.1 * rng.normal(size=n_basis)
    return weights


def simulate(rng, drive, filters):
    """Draw counts of neurons whose every spike adds its filter (lag, to) to all log-rates."""
    n_samples, window = len(drive), filters.shape[1]
    log_rate = np.concatenate([drive, np.zeros((window, drive.shape[1]))])
    counts = np.zeros(drive.shape)
    for t in range(n_samples):
        counts[t] = rng.poisson(np.exp(log_rate[t]))
        for j in np.flatnonzero(counts[t]):
            log_rate[t + 1 : t + 1 + window] += counts[t, j] * filters[j]
    return counts


def raised_cosine_log(n_basis, window):
    """Return bumps (lag, basis) that widen with the lag."""
    warped = np.log1p(50 * np.linspace(0, 1, window)) / np.log1p(50)
    spacing = 1 / (n_basis - 1)
    distance = (warped[:, None] - spacing * np.arange(n_basis)) / (2 * spacing)
    return 0.5 * (1 + np.cos(2 * np.pi * distance.clip(-0.5, 0.5)))


def bspline(x, n_basis):
    """Return clamped cubic B-splines of values in the unit interval."""
    knots = np.concatenate([np.zeros(3), np.linspace(0, 1, n_basis - 2), np.ones(3)])
    return BSpline.design_matrix(x, knots, 3).toarray()


def cyclic_bspline(angle, n_basis):
    """Return cubic B-splines around the circle."""
    bump = BSpline.basis_element(np.arange(5), extrapolate=False)
    place = angle / (2 * np.pi) * n_basis
    return np.nan_to_num(bump((place[:, None] - np.arange(n_basis)) % n_basis))


def reflected_walk(rng, n_samples, step):
    """Walk at random between the walls of the unit interval."""
    free = rng.uniform() + np.cumsum(step * rng.normal(size=n_samples))
    return 1 - np.abs(free % 2 - 1)


PROBLEMS = {
    "guide": guide,
    "well_conditioned": partial(gaussian_features, "well_conditioned", 20_000, 50, 20),
    "ridge": partial(gaussian_features, "ridge", 12_000, 50, 8, 0.1),
    "coupled_small": partial(coupled, "coupled_small", 20, 20_000, (6, 8, 10)),
    "coupled": partial(coupled, "coupled", 40, 60_000, (8, 10, 12)),
    "head_direction": head_direction,
}
