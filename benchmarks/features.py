"""Measure convolution and recurrent simulation against SciPy and NeMoS, in one session.

    uv run --group bench python benchmarks/features.py
    uv run --group bench python benchmarks/features.py --quick

The machine should be otherwise idle. Prints a table. A fresh process measures each library; SciPy
is measured in that of spikax, call by call in turn with it.
"""

import argparse
import json
import os
import shlex
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

N_SAMPLES, N_CHANNELS, WINDOW, N_BASIS = 100_000, 30, 100, 8
N_NEURONS, N_STEPS = 100, 100_000
N_TIMES = 7


def main():
    from run import NEMOS, cpu_model, start  # what it imports, NeMoS's Python may lack

    parser = argparse.ArgumentParser(description="Benchmark convolution and simulation.")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the samples")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds a process may take")
    parser.add_argument(
        "--nemos-python",
        default=os.environ.get("SPIKAX_BENCH_NEMOS_PYTHON", NEMOS),
        help="command that starts a Python with nemos (default: %(default)s)",
    )
    args = parser.parse_args()
    if os.getloadavg()[0] > 0.5:
        print(f"The load average is {os.getloadavg()[0]:.1f}: timings will not be clean.")
    share = 20 if args.quick else 1
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, python in {
            "spikax": [sys.executable],
            "nemos": shlex.split(args.nemos_python),
        }.items():
            file = Path(folder) / f"{name}.json"
            command = [*python, __file__, name, str(share), file]
            if failure := start(command, dict(os.environ), args.timeout):
                print(f"{name} failed: {failure}")
            else:
                rows |= json.loads(file.read_text())
    print(f"{cpu_model()}, {len(os.sched_getaffinity(0))} cores, float32\n")
    print(table(rows, share))


def measure(name, share, file):
    """Time what one library offers; runs in that library's own Python."""
    offered = {"spikax": spikax_and_scipy, "nemos": nemos}[name]
    rows = offered(convolution_problem(share), simulation_problem(share))
    file.write_text(json.dumps(rows))


def spikax_and_scipy(convolution, simulation):
    from scipy.signal import fftconvolve

    from spikax.convolve import create_convolutional_predictor
    from spikax.simulation import simulate_recurrent

    kernel, x = convolution
    filters = {
        "spikax": lambda: create_convolutional_predictor(kernel, x).block_until_ready(),
        "scipy fftconvolve": lambda: fftconvolve(x[:, :, None], kernel[:, None, :], axes=0),
    }
    return {
        f"convolution: {name}": seconds for name, seconds in in_turn(filters, N_TIMES).items()
    } | {"simulation: spikax": simulations(simulate_recurrent, simulation)}


def nemos(convolution, simulation):
    from nemos.convolve import create_convolutional_predictor
    from nemos.simulation import simulate_recurrent

    kernel, x = convolution
    filters = {"nemos": lambda: np.asarray(create_convolutional_predictor(kernel, x))}
    return {
        "convolution: nemos": in_turn(filters, 3)["nemos"],
        "simulation: nemos": simulations(simulate_recurrent, simulation),
    }


def in_turn(functions, n_times):
    """Return the seconds of each function's first call, and the median of later ones."""
    seconds = {name: [] for name in functions}
    for _ in range(1 + n_times):
        for name, function in functions.items():
            seconds[name].append(timed(function))
    return {name: (first, median(later)) for name, (first, *later) in seconds.items()}


def simulations(simulate, problem):
    """Return the seconds of two calls: the second has another key."""
    import jax

    def run(seed):
        return jax.block_until_ready(simulate(random_key=jax.random.key(seed), **problem))

    return timed(run, 0), timed(run, 1)


def timed(function, *args):
    start = perf_counter()
    function(*args)
    return perf_counter() - start


def convolution_problem(share):
    rng = np.random.default_rng(0)
    x = rng.poisson(0.1, (N_SAMPLES // share, N_CHANNELS)).astype(np.float32)
    return rng.normal(size=(WINDOW, N_BASIS)).astype(np.float32), x


def simulation_problem(share):
    """Draw a stable population: coupling that inhibits on the whole."""
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    return {
        "coupling_coef": rng.normal(-0.001, 0.002, (N_NEURONS, N_NEURONS, N_BASIS)),
        "feedforward_coef": np.ones((N_NEURONS, 1)),
        "intercepts": np.full(N_NEURONS, -3.0),
        "feedforward_input": rng.normal(size=(N_STEPS // share, N_NEURONS, 1)),
        "coupling_basis_matrix": rng.random((WINDOW, N_BASIS)),
        "init_y": np.zeros((WINDOW, N_NEURONS)),
        "inverse_link_function": jnp.exp,
    }


def table(rows, share):
    """Lay out seconds, and how many times spikax's they are."""
    lines = [
        f"Convolution of {N_SAMPLES // share:,} x {N_CHANNELS} with {N_BASIS} filters of {WINDOW} "
        f"samples; simulation of {N_NEURONS} neurons for {N_STEPS // share:,} samples, "
        f"{N_BASIS} functions over {WINDOW} samples.\n",
        "| | first call, s | later calls, s | later / spikax |",
        "| --- | --- | --- | --- |",
    ]
    for name, seconds in rows.items():
        ours = rows.get(f"{name.split(':')[0]}: spikax")
        ratio = f"{seconds[1] / ours[1]:.2g}" if ours else ""
        lines.append(f"| {name} | {seconds[0]:.3g} | {seconds[1]:.3g} | {ratio} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in ("spikax", "nemos"):
        measure(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
