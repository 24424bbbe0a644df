"""Measure one peer on one problem in this fresh process: `measure.py PEER FOLDER`.

The folder holds two draws of the problem; what is measured is written there.
"""

import ctypes
import gc
import json
import re
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from objective import objective
from peers import BUDGET_S, PEERS
from problems import Problem

COMPILATION = "/jax/core/compile/backend_compile_duration"
CLIMB_LIMIT_S = 10 * BUDGET_S


def main(name, folder):
    peer, draws = PEERS[name], [read(folder, i) for i in (0, 1)]
    measured = climb(peer, folder, draws) if peer.climbs else fits(peer, folder, draws)
    measured["library"] = library(name.replace(",", "").split()[0])
    (folder / "measured.json").write_text(json.dumps(measured))


def fits(peer, folder, draws):
    """Time a first fit, then fits of the other draw and the first in turn."""
    fit, import_s = timed(peer.load)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (first, first_s), first_peak = peak_growth(timed, fit, draws[0])
    save(folder, 0, first)

    warnings.simplefilter("ignore")
    with count_compilations() as compilations:
        (second, second_s), peak = peak_growth(timed, fit, draws[1])
    save(folder, 1, second)
    seconds = [second_s]
    while len(seconds) < 25 and sum(seconds) < (BUDGET_S if len(seconds) < 3 else 5):
        seconds.append(timed(fit, draws[len(seconds) % 2 - 1])[1])

    share = first.coef.shape[1] / draws[0].y.shape[1]
    return {
        "import_s": import_s,
        "first_s": first_s / share,
        "second_s": median(seconds) / share,
        "n_fits": 1 + len(seconds),
        "n_neurons_fitted": first.coef.shape[1],
        "n_passes": second.n_passes,
        "n_steps": second.n_steps,
        "first_peak_mb": first_peak,
        "peak_mb": peak,
        "compilations": compilations.count if "jax" in sys.modules else None,
        "products_s": products_seconds(draws[1], second),
        "warned": sorted({warning.category.__name__ for warning in caught}),
    }


def climb(peer, folder, draws):
    """From the default settings on, double the steps until the objective is within the target."""
    problem, target = draws[1], json.loads((folder / "target.json").read_text())
    start, n_steps, settings, rungs = perf_counter(), 1000, {}, []
    warnings.simplefilter("ignore")
    peer.load()(draws[0])
    while True:
        result, seconds = timed(peer.load(**settings), problem)
        reached = objective(problem.X, problem.y, *result[:2], problem.strength).sum()
        short = float(len(problem.X) * (reached - target["optimum"]))
        rungs.append({"steps": result.n_steps, "seconds": seconds, "nats": short})
        stalled = bool(settings) and result.n_steps < settings["maxiter"]
        out_of_time = perf_counter() - start + 2 * seconds > CLIMB_LIMIT_S
        if short <= target["nats"] or stalled or out_of_time:
            break
        # no tolerance: it would be met before the objective is
        settings = {"maxiter": n_steps, "tol": 1e-14, "rtol": 1e-14}
        n_steps *= 2
    save(folder, 1, result)
    return {
        "second_s": seconds,
        "n_steps": result.n_steps,
        "n_neurons_fitted": problem.y.shape[1],
        "reached": short <= target["nats"],
        "stalled": stalled,
        "rungs": rungs,
    }


def timed(function, *args):
    start = perf_counter()
    result = function(*args)
    return result, perf_counter() - start


def peak_growth(function, *args):
    """Return the result and by how many MB resident memory grew at most: Linux only."""
    if not Path("/proc/self/clear_refs").exists():
        return function(*args), None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # a fit that reuses freed memory would seem to need none
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    before = high_water_mb()
    result = function(*args)
    return result, high_water_mb() - before


def high_water_mb():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


class count_compilations:
    """Count XLA compilations inside a `with` block; none where JAX is not loaded."""

    def __enter__(self):
        self.count = 0
        if "jax" in sys.modules:
            sys.modules["jax"].monitoring.register_event_duration_secs_listener(self)
        self.counting = True
        return self

    def __exit__(self, *_):
        self.counting = False

    def __call__(self, event, duration, **_):
        self.count += self.counting and event == COMPILATION


def products_seconds(problem, fit):
    """Time the matrix products of one pass and of the Gram matrix, in the peer's own dtype."""
    if "jax" not in sys.modules:
        return None
    import jax

    X = jax.numpy.asarray(problem.X, fit.coef.dtype)
    one_pass = jax.jit(lambda X, W: X.T @ (X @ W))
    gram = jax.jit(lambda X: X.T @ X)
    return {"pass": repeated(one_pass, X, fit.coef), "gram": repeated(gram, X)}


def repeated(function, *args, times=7):
    function(*args).block_until_ready()
    return median(timed(lambda: function(*args).block_until_ready())[1] for _ in range(times))


def read(folder, draw):
    with (folder / "problem.json").open() as file:
        facts = json.load(file)
    arrays = {name: np.load(folder / f"{name}{draw}.npy") for name in "Xy"}
    return Problem(**facts, **arrays)


def save(folder, draw, fit):
    np.savez(folder / f"fit{draw}.npz", coef=fit.coef, intercept=fit.intercept)


def library(name):
    """Say which release was measured, and on which JAX if it uses it."""
    distribution = {"sklearn": "scikit-learn"}.get(name, name)
    release = f"{distribution} {version(distribution)}"
    return f"{release} (jax {version('jax')})" if "jax" in sys.modules else release


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
