"""Fit the coupled population with its features as one array, and evaluated block by block.

    uv run --group bench python benchmarks/design.py

Each way runs in a fresh process on the same two draws, from the recording to the fitted model. The
machine should be otherwise idle.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from measure import peak_growth, timed
from objective import objective
from problems import PROBLEMS, Recording, record

N_BASIS, WINDOW = PROBLEMS["coupled"].args[3], 50
WAYS = ("one array", "block by block")
N_FITS = 5  # of which the median is the second fit's time


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the samples")
    scale = 0.2 if parser.parse_args().quick else 1.0
    with tempfile.TemporaryDirectory() as folder:
        for seed in (0, 1):
            recording = record(*PROBLEMS["coupled"].args, seed=seed, scale=scale)
            np.savez(Path(folder) / f"recording{seed}.npz", **recording._asdict())
        found = {}
        for way in WAYS:
            subprocess.run([sys.executable, __file__, way, folder], check=True)
            found[way] = json.loads((Path(folder) / "measured.json").read_text())
            found[way]["nats"] = judge(Path(folder))
    print(table(found))


def child(way, folder):
    """Measure one way in this process."""
    from spikax.glm import PopulationGLM

    def fit(recording):
        basis = make_basis()
        make = basis.compute_features if way == WAYS[0] else basis.design
        return PopulationGLM().fit(make(*inputs(recording)), recording.counts)

    draws = [read(folder, seed) for seed in (0, 1)]
    (_, first_s), first_peak = peak_growth(timed, fit, draws[0])
    (model, seconds), peak = peak_growth(timed, fit, draws[1])
    times = [seconds] + [timed(fit, draws[i % 2])[1] for i in range(N_FITS - 1)]
    np.savez(folder / "fit.npz", coef=model.coef_, intercept=model.intercept_)
    measured = {
        "first_s": first_s,
        "second_s": median(times),
        "first_peak_mb": first_peak,
        "peak_mb": peak,
        "n_passes": int(model.solver_state_.n_passes),
    }
    (folder / "measured.json").write_text(json.dumps(measured))


def make_basis():
    """Return the basis of the features of `coupled`."""
    from spikax.basis import BSplineEval, CyclicBSplineEval, RaisedCosineLogConv

    n_history, n_place, n_direction = N_BASIS
    return (
        RaisedCosineLogConv(n_history, window_size=WINDOW, label="coupling")
        + BSplineEval(n_place, bounds=(0, 1), label="place")
        + CyclicBSplineEval(n_direction, bounds=(0, 2 * np.pi), label="direction")
    )


def inputs(recording):
    return recording.counts, recording.position, recording.direction % (2 * np.pi)


def read(folder, seed):
    with np.load(folder / f"recording{seed}.npz") as file:
        return Recording(**file)


def judge(folder):
    """Return each neuron's loss in nats, on features in double precision."""
    import jax

    recording = read(folder, 1)
    with jax.enable_x64(True):
        X = np.asarray(make_basis().compute_features(*inputs(recording)))[WINDOW:]
    with np.load(folder / "fit.npz") as fit:
        losses = objective(X, recording.counts[WINDOW:], fit["coef"], fit["intercept"])
    return len(X) * losses


def table(found):
    one, other = (found[way] for way in WAYS)
    best = np.minimum(one["nats"], other["nats"])
    lines = [
        "| features | first fit s | second fit s | peak MB, first | peak MB, second | passes "
        "| nats short, worst neuron |",
        "|---|---|---|---|---|---|---|",
    ]
    for way in WAYS:
        row = found[way]
        lines.append(
            f"| {way} | {row['first_s']:.2f} | {row['second_s']:.2f} | {row['first_peak_mb']:.0f} "
            f"| {row['peak_mb']:.0f} | {row['n_passes']} | {np.max(row['nats'] - best):.3f} |"
        )
    names = ("first_s", "second_s", "first_peak_mb", "peak_mb", "n_passes")
    ratios = " | ".join(f"{other[name] / one[name]:.2f}" for name in names)
    return "\n".join([*lines, f"| ratio | {ratios} | |"])


if __name__ == "__main__":
    if len(sys.argv) > 2:
        child(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
