"""Settings and fixtures that all tests share."""

from pathlib import Path

import jax
import numpy as np
import pytest

# A (T,) that meets a (T, 1) would silently become a (T, T).
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module", autouse=True)
def forget_programs_of_a_file():
    """Let go of a file's programs: those of the whole suite are more than Linux maps (65,530)."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def forget_programs_of_large_files():
    """Let go of programs where those of one file come near that."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 40_000:
        jax.clear_caches()


@pytest.fixture
def rng():
    """Return the same NumPy generator in every test."""
    return np.random.default_rng(0)


@pytest.fixture
def key():
    """Return the same JAX key in every test."""
    return jax.random.key(0)


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where JAX finds none."""
    needs_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if needs_gpu and all(device.platform != "gpu" for device in jax.devices()):
        for item in needs_gpu:
            item.add_marker(pytest.mark.skip(reason="JAX finds no GPU here"))
