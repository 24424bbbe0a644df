"""The packaged recording holds what is known of it."""

import numpy as np
import pytest

from spikax.datasets import load_head_direction


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
