"""The same numbers on a GPU as on the CPU; where there is a GPU, all other tests run on it."""

import jax
import numpy as np
import pytest

from compilations import counted
from spikax import datasets
from spikax.basis import BSplineEval, CyclicBSplineEval
from spikax.glm import PopulationGLM

pytestmark = pytest.mark.gpu
ACCELERATED = "gpu"


@pytest.fixture(scope="module")
def recording():
    """Tuning features of the recording, and the counts of its units."""
    recorded = datasets.load_head_direction()
    counts = recorded.spikes.count(0.05, recorded.head_direction.time_support)
    direction = counts.value_from(recorded.head_direction)
    place = counts.value_from(recorded.position)
    basis = CyclicBSplineEval(5, bounds=(0, 2 * np.pi)) + BSplineEval(4)
    features = basis.compute_features(direction, np.asarray(place)[:, 0])
    enough = np.asarray(counts).sum(axis=0) > 2000  # for an optimum without a penalty
    return np.asarray(features), np.asarray(counts, float)[:, enough]


def on(platform):
    return jax.default_device(jax.devices(platform)[0])


@pytest.mark.parametrize(
    ("solver", "regularizer"),
    [
        ("WhitenedLBFGS", "UnRegularized"),
        ("WhitenedLBFGS", "Ridge"),
        ("Newton", "Ridge"),
        ("LBFGS[jaxopt]", "Ridge"),
        ("ProximalGradient[jaxopt]", "Lasso"),
    ],
)
def test_a_gpu_finds_what_the_cpu_does(solver, regularizer, recording):
    X, y = recording
    rates = []
    for platform in ("cpu", ACCELERATED):
        model = PopulationGLM(
            regularizer=regularizer, regularizer_strength=1e-3, solver_name=solver
        )
        with on(platform):
            rates.append(model.fit(X, y).predict(X))
    # 1e-4 nats of each neuron's log-likelihood allow its rates about a hundredth of an error bar.
    np.testing.assert_allclose(rates[1], rates[0], rtol=5e-3, atol=1e-4)


def test_arrays_that_are_on_a_gpu_are_taken(recording):
    X, y = recording
    device = jax.devices(ACCELERATED)[0]
    placed = PopulationGLM().fit(jax.device_put(X, device), jax.device_put(y, device))
    np.testing.assert_array_equal(
        placed.coef_, PopulationGLM().fit(X.astype(np.float32), y.astype(np.float32)).coef_
    )


def test_a_refit_on_a_gpu_compiles_nothing(recording):
    X, y = recording
    with on(ACCELERATED):
        PopulationGLM().fit(X, y)
        with counted() as compilations:
            PopulationGLM().fit(X[:-1], y[:-1])
    assert not compilations
