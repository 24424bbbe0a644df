"""Cut the packaged head-direction recording from its source, and check what it keeps.

The source is a plain npz of pynapple's test recording `A2929-200711.nwb`: spike times, tracking
timestamps, head direction and position, each unit's region, and the epochs.

    python scripts/make_head_direction.py SOURCE.npz src/spikax/data/head_direction.npz
"""

import argparse
from pathlib import Path

import numpy as np


def millionths(values):
    """Round to whole microseconds, micrometres or microradians, and take differences in time."""
    whole = np.rint(values * 1e6).astype(np.int64)
    steps = np.diff(whole, axis=0, prepend=0)
    return steps.astype(np.int32)


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("source", type=Path)
parser.add_argument("target", type=Path)
args = parser.parse_args()

source = np.load(args.source)
starts = [0, *source["spike_times_index"][:-1]]
trains = np.split(source["spike_times"], starts[1:])
assert all(np.all(np.diff(train) >= 0) for train in trains)

cut = {
    "spike_times": np.concatenate([millionths(train) for train in trains]),
    "spike_counts": np.array([len(train) for train in trains], dtype=np.int32),
    "location": source["unit_location"],
    "time": millionths(source["t"]),
    "head_direction": millionths(source["ry"]),
    "position": millionths(np.column_stack([source["x"], source["z"]])),
    "epoch_start": source["epoch_start"],
    "epoch_stop": source["epoch_stop"],
    "epoch_tag": source["epoch_tag"],
}
np.savez_compressed(args.target, allow_pickle=False, **cut)

kept = np.load(args.target)
for name, original in {"time": "t", "head_direction": "ry"}.items():
    error = np.abs(np.cumsum(kept[name]) / 1e6 - source[original]).max()
    print(f"{name}: largest error {error:.1e}")
print(f"{args.target}: {args.target.stat().st_size / 1e6:.2f} MB")
