"""Cut the packaged recordings from their sources, and check what they keep.

The sources are plain npz of published recordings, in one folder: `head_direction/A2929.npz` and
`calcium/A6512.npz`, from pynapple's test recordings `A2929-200711.nwb` and `A6512-210915.nwb`, and
`rat_choice/W053.npz`, from psytrack's wheel.

    python scripts/make_datasets.py SOURCES src/spikax/data
"""

import argparse
from pathlib import Path

import numpy as np


def head_direction(source):
    starts = [0, *source["spike_times_index"][:-1]]
    trains = np.split(source["spike_times"], starts[1:])
    assert all(np.all(np.diff(train) >= 0) for train in trains)
    return {
        "spike_times": np.concatenate([differences(train, 1e-6) for train in trains]),
        "spike_counts": np.array([len(train) for train in trains], dtype=np.int32),
        "location": source["unit_location"],
        "time": differences(source["t"], 1e-6),
        "head_direction": differences(source["ry"], 1e-6),
        "position": differences(np.column_stack([source["x"], source["z"]]), 1e-6),
        "epoch_start": source["epoch_start"],
        "epoch_stop": source["epoch_stop"],
        "epoch_tag": source["epoch_tag"],
    }


def calcium(source):
    # Logarithms keep what is small positive, and make the decay after an event a constant.
    logarithms = differences(np.log(source["traces"]), 1e-5)
    return {"time": differences(source["t"], 1e-6), "log_traces": logarithms.T}


def rat_choice(source):
    assert np.array_equal(source["correct"], source["y"] == source["answer"])
    histories = {"answer": "in_h", "reward": "in_r", "choice": "in_c"}
    assert all(np.array_equal(source[name], np.sign(source[name])) for name in histories.values())
    return {
        "choice": source["y"] - 1,
        "answer": source["answer"] - 1,
        "session_lengths": source["dayLength"].astype(np.int32),
        "sounds": np.column_stack([source["in_s1"][:, 0], source["in_s2"][:, 0]]),
        "previous_sound": source["in_s_avg"],
        **{f"previous_{name}": source[key].astype(np.int8) for name, key in histories.items()},
    }


def differences(values, unit):
    """Round to whole units, and take differences in time."""
    steps = np.diff(np.rint(values / unit).astype(np.int64), axis=0, prepend=0)
    assert np.all(np.abs(steps) < 2**31)
    return steps.astype(np.int32)


SOURCES = {
    "head_direction/A2929.npz": head_direction,
    "calcium/A6512.npz": calcium,
    "rat_choice/W053.npz": rat_choice,
}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("sources", type=Path)
parser.add_argument("target", type=Path, help="folder")
args = parser.parse_args()

for path, cut in SOURCES.items():
    kept = cut(np.load(args.sources / path))
    target = args.target / f"{cut.__name__}.npz"
    np.savez_compressed(target, allow_pickle=False, **kept)
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")
