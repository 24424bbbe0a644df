"""The packaged recording, as pynapple objects."""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import pynapple as nap

__all__ = ["HeadDirectionRecording", "load_head_direction"]


@dataclass(frozen=True)
class HeadDirectionRecording:
    """Units of thalamus and hippocampus, with the animal's head direction and position.

    Attributes
    ----------
    spikes : pynapple.TsGroup
        Spike times of the 15 units (s), over 0 to 1200 s. The metadata `location` is `"adn"`
        (anterodorsal thalamus, 7 units) or `"ca1"` (hippocampus, 8 units).
    head_direction : pynapple.Tsd
        Yaw of the head, shape (63527,), in [0, 2 pi) rad.
    position : pynapple.TsdFrame
        Horizontal position, shape (63527, 2), columns `x` and `z`, in m (the source leaves the
        unit empty; it is taken to be metres).
    sleep, wake : pynapple.IntervalSet
        The two epochs, 0 to 600 s and 600 to 1200 s. Tracking covers 670.64 to 1199.99 s of wake.

    Examples
    --------
    >>> import spikax as nmo
    >>> recording = nmo.datasets.load_head_direction()
    >>> recording.head_direction.restrict(recording.wake).shape
    (63527,)
    """

    spikes: nap.TsGroup
    head_direction: nap.Tsd
    position: nap.TsdFrame
    sleep: nap.IntervalSet
    wake: nap.IntervalSet


def load_head_direction() -> HeadDirectionRecording:
    """Load a recording of 15 units with head direction, packaged with the library.

    It is read from the installed package: nothing is downloaded. Times keep the source's 1
    microsecond (spikes were sampled at 20 kHz, tracking at 120 Hz), positions its 1
    micrometre; head direction is rounded to 1 microradian, a thousandth of what it changes
    between two frames.

    Returns
    -------
    HeadDirectionRecording
        `spikes`, `head_direction`, `position`, and the epochs `sleep` and `wake`.

    References
    ----------
    Viejo G. et al., "Pynapple, a toolbox for data analysis in neuroscience", eLife 85786,
    doi:10.7554/eLife.85786.3. The data are under the MIT licence, (c) pynapple authors.

    Examples
    --------
    >>> import spikax as nmo
    >>> recording = nmo.datasets.load_head_direction()
    >>> len(recording.spikes), len(recording.spikes[recording.spikes.location == "adn"])
    (15, 7)
    >>> counts = recording.spikes.count(0.01, recording.head_direction.time_support)
    >>> counts.shape
    (52935, 15)
    """
    with (files("spikax") / "data" / "head_direction.npz").open("rb") as file:
        data = np.load(file)
        stored = {name: data[name] for name in data.files}

    epochs = {
        tag: nap.IntervalSet(start, stop)
        for tag, start, stop in zip(
            stored["epoch_tag"], stored["epoch_start"], stored["epoch_stop"], strict=True
        )
    }
    trains = np.split(stored["spike_times"], np.cumsum(stored["spike_counts"])[:-1])
    spikes = nap.TsGroup(
        {unit: nap.Ts(_integrate(train)) for unit, train in enumerate(trains)},
        time_support=nap.IntervalSet(stored["epoch_start"][0], stored["epoch_stop"][-1]),
        metadata={"location": stored["location"]},
    )
    time = _integrate(stored["time"])
    return HeadDirectionRecording(
        spikes=spikes,
        head_direction=nap.Tsd(time, _integrate(stored["head_direction"])),
        position=nap.TsdFrame(time, _integrate(stored["position"]), columns=["x", "z"]),
        sleep=epochs["sleep"],
        wake=epochs["wake"],
    )


def _integrate(steps: np.ndarray) -> np.ndarray:
    """Undo the file's encoding: differences in time, in millionths of the unit."""
    return np.cumsum(steps, axis=0, dtype=np.int64) / 1e6
