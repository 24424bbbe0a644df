"""Run the benchmarks: every peer on every problem, each pair in a fresh process.

    uv run --group bench python benchmarks/run.py

The machine should be otherwise idle. See benchmarks/README.md for how to read the results.
"""

import argparse
import hashlib
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import report
from joblib import Parallel, delayed
from objective import objective, optimum
from peers import PEERS
from problems import PROBLEMS
from tqdm import tqdm

HERE = Path(__file__).parent
NEMOS = "uv run --quiet --no-project --python 3.13 --with nemos==0.2.9 python"
TARGET_NATS = 0.05  # per neuron: what a climbing peer has to reach


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that `start` ends its child
    args.output.mkdir(parents=True, exist_ok=True)
    if os.getloadavg()[0] > 0.5:
        print(f"The load average is {os.getloadavg()[0]:.1f}: timings will not be clean.")
    results = earlier(args.output / "results.json", args.scale)
    pairs = tqdm(total=len(args.problems) * len(args.peers), unit="fit", dynamic_ncols=True)
    for name in args.problems:
        pairs.set_description(f"{name}: reference optimum")
        draws = [PROBLEMS[name](seed=seed, scale=args.scale) for seed in (0, 1)]
        digests = [digest(draw) for draw in draws]
        best = [reference(*pair) for pair in zip(draws, digests, strict=True)]
        if results["problems"].get(name, {}).get("digests") != digests:
            results["rows"] = [row for row in results["rows"] if row["problem"] != name]
        results["problems"][name] = {
            "digests": digests,
            "shape": draws[0].shape,
            "data_mb": (draws[0].X.nbytes + draws[0].y.nbytes) / 2**20,
            "optimum": [values.tolist() for values in best],
        }
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), draws, best)
            for peer in args.peers:
                pairs.set_description(f"{name}: {peer}")
                row = run(peer, Path(folder), draws, args)
                row |= {"problem": name, "peer": peer}
                results["rows"] = [old for old in results["rows"] if not same(old, row)] + [row]
                (args.output / "results.json").write_text(json.dumps(results, indent=1))
                pairs.update()
        report.write(results, args.output)
    pairs.close()
    print((args.output / "results.md").read_text())


def arguments():
    parser = argparse.ArgumentParser(description="Benchmark spikax and its peers.")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--quick", action="store_true", help="fewer samples and less patience")
    parser.add_argument("--output", type=Path, help="folder of the results")
    parser.add_argument(
        "--budget",
        type=float,
        default=60,
        help="seconds after which a fit by neurons stops, a tenth of what a climb may take",
    )
    parser.add_argument("--timeout", type=float, default=1200, help="seconds a process may take")
    parser.add_argument(
        "--nemos-python",
        default=os.environ.get("SPIKAX_BENCH_NEMOS_PYTHON", NEMOS),
        help="command that starts a Python with nemos (default: %(default)s)",
    )
    args = parser.parse_args()
    args.scale = 0.2 if args.quick else 1.0
    args.output = args.output or HERE / ("results-quick" if args.quick else "results")
    return args


def run(peer, folder, draws, args):
    """Measure one peer in a child process and judge what it found."""
    for stale in ["measured.json", "fit0.npz", "fit1.npz"]:
        (folder / stale).unlink(missing_ok=True)
    interpreters = {"project": [sys.executable], "nemos": shlex.split(args.nemos_python)}
    command = [*interpreters[PEERS[peer].interpreter], HERE / "measure.py", peer, folder]
    environment = os.environ | PEERS[peer].environment
    environment["SPIKAX_BENCH_BUDGET_S"] = str(3 if args.quick else args.budget)
    failure = start(command, environment, args.timeout)
    if failure:
        return {"failure": failure}
    row = json.loads((folder / "measured.json").read_text())
    row["objective"] = [judge(draw, folder / f"fit{i}.npz") for i, draw in enumerate(draws)]
    return row


def start(command, environment, timeout):
    """Return nothing, or how the process says that it failed."""
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # every first fit compiles
    child = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return f"not done after {timeout:.0f} s"
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)  # with the interpreter that uv has started
            child.wait()
    if child.returncode:
        return last_words(errors) or f"exit status {child.returncode}"
    return None


def last_words(errors):
    """Return the last line that is not indented, and those below it."""
    lines = [line for line in errors.splitlines() if line.strip()]
    start = max((i for i, line in enumerate(lines) if not line[0].isspace()), default=0)
    return " ".join(line.strip() for line in lines[start:])[:300]


def judge(problem, file):
    """Return the objective of each fitted neuron, or nothing where there was no fit."""
    if not file.exists():
        return None
    with np.load(file) as fit:
        n_fitted = fit["coef"].shape[1]
        y = problem.y[:, :n_fitted]
        return objective(problem.X, y, fit["coef"], fit["intercept"], problem.strength).tolist()


def digest(problem):
    sha = hashlib.sha256(f"{problem.strength}".encode())
    for array in (problem.X, problem.y):
        sha.update(np.ascontiguousarray(array))
    return sha.hexdigest()[:16]


def reference(problem, digest):
    """Return each neuron's optimum, from the cache where the data are the same."""
    cached = HERE / ".cache" / f"{problem.name}-{digest}.npy"
    if not cached.exists():
        cached.parent.mkdir(exist_ok=True)
        neurons = (delayed(optimum)(problem.X, y, problem.strength) for y in problem.y.T)
        found = Parallel(n_jobs=-1, return_as="generator")(neurons)
        shown = tqdm(found, total=problem.y.shape[1], desc="optimum", unit="neuron", leave=False)
        np.save(cached, list(shown))
    return np.load(cached)


def write(folder, draws, best):
    problem = draws[0]
    for i, draw in enumerate(draws):
        np.save(folder / f"X{i}.npy", draw.X)
        np.save(folder / f"y{i}.npy", draw.y)
    named = ["name", "family", "regularizer", "strength"]
    facts = {name: getattr(problem, name) for name in named}
    (folder / "problem.json").write_text(json.dumps(facts))
    target = {"optimum": best[1].sum(), "nats": TARGET_NATS * len(best[1])}
    (folder / "target.json").write_text(json.dumps(target))


def earlier(file, scale):
    """Return the results so far, if this machine took them, to add to."""
    fresh = {"machine": machine(), "scale": scale, "problems": {}, "rows": []}
    if not file.exists():
        return fresh
    kept = json.loads(file.read_text())
    comparable = kept["scale"] == scale and kept["machine"]["cpu"] == fresh["machine"]["cpu"]
    return kept if comparable else fresh


def same(one, other):
    return (one["problem"], one["peer"]) == (other["problem"], other["peer"])


def machine():
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "date": date.today().isoformat(),
        "load": round(os.getloadavg()[0], 2),
    }


def cpu_model():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
