"""The packaged recordings: units with head direction, calcium traces, choices of a rat."""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import pynapple as nap

__all__ = [
    "HeadDirectionRecording",
    "RatChoices",
    "load_calcium",
    "load_head_direction",
    "load_rat_choice",
]


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
    stored = _read("head_direction")
    epochs = {
        tag: nap.IntervalSet(start, stop)
        for tag, start, stop in zip(
            stored["epoch_tag"], stored["epoch_start"], stored["epoch_stop"], strict=True
        )
    }
    trains = np.split(stored["spike_times"], np.cumsum(stored["spike_counts"])[:-1])
    spikes = nap.TsGroup(
        {unit: nap.Ts(_integrate(train, 1e6)) for unit, train in enumerate(trains)},
        time_support=nap.IntervalSet(stored["epoch_start"][0], stored["epoch_stop"][-1]),
        metadata={"location": stored["location"]},
    )
    time = _integrate(stored["time"], 1e6)
    return HeadDirectionRecording(
        spikes=spikes,
        head_direction=nap.Tsd(time, _integrate(stored["head_direction"], 1e6)),
        position=nap.TsdFrame(time, _integrate(stored["position"], 1e6), columns=["x", "z"]),
        sleep=epochs["sleep"],
        wake=epochs["wake"],
    )


def load_calcium() -> nap.TsdFrame:
    """Load calcium traces of 10 neurons, packaged with the library.

    It is read from the installed package: nothing is downloaded. The source's fluorescence is
    denoised: between events a trace decays exponentially, at a rate of its own, and all that rises
    is an event. There is no stimulus and no behaviour. Logarithms of the traces are rounded to
    1e-5, so values keep a relative precision of 5e-6, and all of them stay positive, the smallest
    (3e-11) too; times keep 1 microsecond.

    Returns
    -------
    pynapple.TsdFrame
        Fluorescence, shape (35790, 10), positive, in arbitrary units, at 30 Hz over 0 to 1193 s.

    References
    ----------
    Viejo G. et al., "Pynapple, a toolbox for data analysis in neuroscience", eLife 85786,
    doi:10.7554/eLife.85786.3. The data are under the MIT licence, (c) pynapple authors.

    Examples
    --------
    >>> import spikax as nmo
    >>> traces = nmo.datasets.load_calcium()
    >>> traces.shape, bool(traces.d.min() > 0)
    ((35790, 10), True)
    """
    stored = _read("calcium")
    traces = np.exp(_integrate(stored["log_traces"].T, 1e5))
    return nap.TsdFrame(_integrate(stored["time"], 1e6), traces)


@dataclass(frozen=True)
class RatChoices:
    """Choices of one rat that compares two sounds, trial by trial, as it learns.

    Attributes
    ----------
    choice : array
        What the rat chose, shape (20000,): 0 left, 1 right.
    answer : array
        What was right, shape (20000,): 1 where the first sound was the louder one, else 0.
    session : array
        Number of the session, shape (20000,), 0 to 79, in order of time.
    inputs : dict of arrays
        What may have moved the choice, each of shape (20000, 2), so that it can be the `X` of a
        fit. `"sounds"` holds the first and the second sound's loudness, normalised. The others
        hold what was one trial and two trials ago: `"previous_sound"` the mean of the two sounds,
        `"previous_answer"` and `"previous_choice"` -1 for left and 1 for right,
        `"previous_reward"` -1 and 1 for a wrong and a correct choice. All are 0 where the source
        knows of no such trial.

    Examples
    --------
    >>> import spikax as nmo
    >>> rat = nmo.datasets.load_rat_choice()
    >>> rat.choice.shape, int(rat.session.max()), sorted(rat.inputs)[0]
    ((20000,), 79, 'previous_answer')
    """

    choice: np.ndarray
    answer: np.ndarray
    session: np.ndarray
    inputs: dict[str, np.ndarray]


def load_rat_choice() -> RatChoices:
    """Load 20,000 two-alternative choices of one rat, packaged with the library.

    It is read from the installed package: nothing is downloaded, and nothing is rounded.

    Returns
    -------
    RatChoices
        `choice`, `answer`, `session` and `inputs`.

    References
    ----------
    Roy N. A. et al. (2021), "Extracting the dynamics of behavior in sensory decision-making
    experiments", Neuron, doi:10.1016/j.neuron.2020.12.004. The data are under the MIT licence,
    (c) 2019 Nicholas A. Roy.

    Examples
    --------
    >>> import spikax as nmo
    >>> rat = nmo.datasets.load_rat_choice()
    >>> correct = rat.choice == rat.answer
    >>> print(f"{correct[:2000].mean():.1%}, later {correct[-2000:].mean():.1%}")
    56.8%, later 69.5%
    >>> model = nmo.glm.GLM("Bernoulli").fit(rat.inputs, rat.choice)
    >>> model.coef_["sounds"].round(1)
    array([ 0.7, -1.1])
    """
    stored = _read("rat_choice")
    lengths = stored.pop("session_lengths")
    return RatChoices(
        choice=stored.pop("choice"),
        answer=stored.pop("answer"),
        session=np.repeat(np.arange(len(lengths)), lengths),
        inputs=stored,
    )


def _read(name: str) -> dict[str, np.ndarray]:
    with (files("spikax") / "data" / f"{name}.npz").open("rb") as file, np.load(file) as data:
        return dict(data)


def _integrate(steps: np.ndarray, per_unit: float) -> np.ndarray:
    """Undo the files' encoding: differences in time, in fractions of the unit."""
    return np.cumsum(steps, axis=0, dtype=np.int64) / per_unit
