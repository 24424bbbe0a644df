"""Settings and fixtures that all tests share."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np
import pytest

from compilations import counted

# A (T,) that meets a (T, 1) would silently become a (T, T).
jax.config.update("jax_numpy_rank_promotion", "raise")

# Nearly all of the suite's time goes into compiling, and most of that into making programs fast
# that run once. The tests of the wheel (.ci/wheel) run what users run, with all optimisations.
jax.config.update("jax_disable_most_optimizations", True)
_FLAGS = ["--xla_cpu_parallel_codegen_split_count=1", os.environ.get("XLA_FLAGS", "")]
if jax.__version_info__ < (0, 11):  # later ones end at a flag that they do not know
    _FLAGS.insert(0, "--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join(_FLAGS)


def pytest_configure(config):
    """Share what is compiled between the files and the workers of a run, and with no other run."""
    if hasattr(config, "workerinput"):
        config.programs = config.workerinput["programs"]
    else:
        folder = TemporaryDirectory(prefix="programs-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        config.programs = folder.name
    if jax.config.jax_compilation_cache_dir is None:  # otherwise a user keeps them
        jax.config.update("jax_compilation_cache_dir", config.programs)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tell a worker where the programs of the run are."""
    node.workerinput["programs"] = node.config.programs


@pytest.fixture(scope="module", autouse=True)
def forget_programs_of_a_file():
    """Let go of a file's programs: those of the whole suite are more than Linux maps (65,530)."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def forget_programs_of_large_files():
    """Let go of programs where those of one file come near that."""
    with counted() as compiled:
        yield
    maps = Path("/proc/self/maps")
    if compiled and maps.exists() and maps.read_bytes().count(b"\n") > 40_000:
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
