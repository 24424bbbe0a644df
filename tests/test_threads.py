"""Laws of the threads that a fit takes from others."""

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

import spikax as nmo
from spikax._threads import one_blas_thread


def blas_threads():
    found = ThreadpoolController().select(user_api="blas").info()
    return [library["num_threads"] for library in found]


def test_blas_has_one_thread_inside_and_its_own_again_outside():
    before = blas_threads()
    with one_blas_thread():
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


@pytest.mark.parametrize("strength", [0.1, -1.0], ids=["fits", "raises"])
def test_a_fit_leaves_the_threads_as_they_were(rng, strength):
    before = blas_threads()
    X, y = rng.normal(size=(200, 3)), rng.poisson(1.0, size=(200, 2))
    model = nmo.glm.PopulationGLM(regularizer="Ridge", regularizer_strength=strength)
    try:
        model.fit(X, np.asarray(y))
    except ValueError:
        assert strength < 0
    assert blas_threads() == before
