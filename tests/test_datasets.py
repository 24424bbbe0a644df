"""The packaged recordings hold what is known of them."""

import numpy as np
import pytest

from spikax.datasets import load_calcium, load_head_direction, load_rat_choice


@pytest.fixture(scope="module")
def recording():
    return load_head_direction()


def test_the_units(recording):
    spikes = recording.spikes
    location = np.asarray(spikes.location)
    assert list(spikes.keys()) == list(range(15))
    assert sum(len(spikes[unit]) for unit in spikes) == 98_794
    assert (location == "adn").sum() == 7
    assert (location == "ca1").sum() == 8
    assert all(spikes[unit].t.dtype == np.float64 for unit in spikes)


def test_the_epochs(recording):
    np.testing.assert_array_equal(recording.sleep.values, [[0.0, 600.0]])
    np.testing.assert_array_equal(recording.wake.values, [[600.0, 1200.0]])
    np.testing.assert_array_equal(recording.spikes.time_support.values, [[0.0, 1200.0]])


def test_the_tracking(recording):
    direction, position = recording.head_direction, recording.position
    assert direction.shape == (63_527,)
    assert direction.d.dtype == np.float64
    assert 0 <= direction.d.min() < direction.d.max() < 2 * np.pi
    assert position.shape == (63_527, 2)
    assert list(position.columns) == ["x", "z"]
    np.testing.assert_array_equal(position.t, direction.t)
    np.testing.assert_allclose(direction.t[[0, -1]], [670.6407, 1199.99485], atol=1e-6)
    np.testing.assert_allclose(np.diff(direction.t).mean(), 1 / 120, rtol=1e-3)


def test_thalamic_units_are_tuned_to_head_direction(recording):
    spikes, direction = recording.spikes, recording.head_direction
    length = {}
    for unit in spikes:
        at_spikes = spikes[unit].value_from(direction, direction.time_support).d
        length[unit] = np.abs(np.mean(np.exp(1j * at_spikes)))
    tuned = [length[unit] for unit in spikes if spikes.location[unit] == "adn"]
    np.testing.assert_allclose([min(tuned), max(tuned)], [0.74, 0.95], atol=0.005)


@pytest.fixture(scope="module")
def traces():
    return load_calcium()


def test_the_traces(traces):
    assert traces.shape == (35_790, 10)
    assert traces.d.dtype == np.float64
    np.testing.assert_allclose(traces.t[[0, -1]], [0, 1192.966667], rtol=0, atol=1e-9)
    np.testing.assert_allclose(traces.t.sum(), 21_348_138.5, rtol=1e-10)
    np.testing.assert_allclose(np.diff(traces.t), 1 / 30, rtol=0, atol=1e-6)


def test_traces_keep_their_precision_and_are_positive(traces):
    """Smallest values, largest values and sums are those of the source."""
    smallest = [
        *(1.22360863e-10, 1.21269726e-03, 3.51369399e-03, 2.40436937e-05, 9.98213061e-04),
        *(3.60546742e-03, 2.82297698e-11, 1.40561680e-07, 8.23764514e-11, 1.88451758e-04),
    ]
    largest = [
        *(2.97891803, 4.62631829, 3.53654307, 3.25555274, 3.63916085),
        *(2.96334225, 3.8049561, 3.92245637, 3.80981158, 3.71550264),
    ]
    sums = [
        *(9067.9526261, 7505.28884691, 7420.59367291, 7702.32997796, 9203.09153015),
        *(5799.2327166, 6075.47959175, 5361.93146321, 6026.55800278, 5720.16133463),
    ]
    np.testing.assert_allclose(traces.d.min(axis=0), smallest, rtol=5.1e-6)
    np.testing.assert_allclose(traces.d.max(axis=0), largest, rtol=5.1e-6)
    np.testing.assert_allclose(traces.d.sum(axis=0), sums, rtol=1e-6)


@pytest.fixture(scope="module")
def rat():
    return load_rat_choice()


def test_the_choices(rat):
    assert rat.choice.shape == rat.answer.shape == rat.session.shape == (20_000,)
    # The source counts 1 and 2.
    assert rat.choice.sum() == 30_635 - 20_000
    assert rat.answer.sum() == 29_301 - 20_000
    correct = rat.choice == rat.answer
    assert correct.sum() == 12_890
    np.testing.assert_allclose([correct[:2000].mean(), correct[-2000:].mean()], [0.5675, 0.695])
    lengths = np.bincount(rat.session)
    assert len(lengths) == 80
    assert list(lengths[:3]) == [199, 228, 377]
    assert np.all(np.diff(rat.session) >= 0)


def test_the_inputs_of_choices(rat):
    assert {name: values.shape for name, values in rat.inputs.items()} == dict.fromkeys(
        ("sounds", "previous_sound", "previous_answer", "previous_reward", "previous_choice"),
        (20_000, 2),
    )
    first, second = rat.inputs["sounds"].T
    np.testing.assert_array_equal(rat.answer == 1, first > second)
    history = {name[9:]: values for name, values in rat.inputs.items() if name != "sounds"}
    np.testing.assert_array_equal(history["answer"] * history["choice"], history["reward"])
    known = history["choice"][1:, 0] != 0
    np.testing.assert_array_equal(
        history["choice"][1:, 0][known], 2 * rat.choice[:-1][known].astype(int) - 1
    )
    np.testing.assert_allclose(
        history["sound"][1:, 0][known], rat.inputs["sounds"][:-1].mean(axis=1)[known]
    )
    assert (history["choice"] == 0).sum(axis=0).tolist() == [2091, 3894]
    np.testing.assert_allclose(history["sound"].sum(), -2615.82058619)
