"""Run programs that were written for NeMoS, unchanged, under NeMoS and under spikax.

Prints a table for docs/how_to/from_nemos.md: how far their numbers are apart, and how long each
took.
"""

import argparse
import os
import pickle
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from run import NEMOS

HERE = Path(__file__).parent
PROGRAMS = ("guide", "pipeline", "head_direction", "classifier", "saved", "custom")
# What runs in the interpreter of each library: imports are not timed, compiling is.
CHILD = """
import importlib, pickle, sys, time, warnings
warnings.simplefilter("ignore")
library, program, target = sys.argv[1:]
for module in (library, f"{library}.glm", f"{library}.basis", "sklearn.model_selection"):
    importlib.import_module(module)
source = open(program).read().replace("import nemos as nmo", f"import {library} as nmo")
start = time.perf_counter()
names = {"__name__": "__main__"}
exec(compile(source, program, "exec"), names)
seconds = time.perf_counter() - start
import numpy as np
results = {name: np.asarray(value) for name, value in names["results"].items()}
pickle.dump((results, seconds), open(target, "wb"))
"""


def main():
    """Compare all programs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", nargs="+", default=PROGRAMS)
    nemos = os.environ.get("SPIKAX_BENCH_NEMOS_PYTHON", NEMOS)
    parser.add_argument("--nemos-python", default=nemos)
    args = parser.parse_args()
    interpreters = {"nemos": shlex.split(args.nemos_python), "spikax": [sys.executable]}
    print("| program | what it does | largest difference | NeMoS (s) | spikax (s) |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RECORDING"] = str(recording(Path(folder)))
        for program in args.programs:
            path = HERE / "programs" / f"{program}.py"
            there, here = (run(interpreters[lib], lib, path, folder) for lib in interpreters)
            about = path.read_text().split('"""')[1].rstrip(".")
            apart = difference(there[0], here[0])
            print(f"| {program} | {about} | {apart} | {there[1]:.1f} | {here[1]:.1f} |")


def run(interpreter, library, path, folder):
    """Run a program with a library, to its results and the seconds it took."""
    target = Path(folder) / "results.pickle"
    command = [*interpreter, "-c", CHILD, library, str(path), str(target)]
    subprocess.run(command, check=True)
    return pickle.loads(target.read_bytes())


def difference(there, here):
    """Tell the largest difference of two programs' numbers, relative to their size, and whose."""
    assert there.keys() == here.keys()
    apart = {}
    for name, expected in there.items():
        found = here[name]
        assert found.shape == expected.shape, (name, found.shape, expected.shape)
        size = max(np.max(np.abs(expected)), 1e-12)
        apart[name] = float(np.max(np.abs(found.astype(float) - expected)) / size)
    worst = max(apart, key=apart.__getitem__)
    return f"{apart[worst]:.0e} ({worst})"


def recording(folder):
    """Write the packaged recording where both can read it."""
    from spikax.datasets import load_head_direction

    data = load_head_direction()
    times = [data.spikes[unit].t for unit in data.spikes]
    path = folder / "recording.npz"
    np.savez(
        path,
        spike_times=np.concatenate(times),
        spike_counts=[len(t) for t in times],
        time=data.head_direction.t,
        head_direction=data.head_direction.d,
    )
    return path


if __name__ == "__main__":
    main()
