"""Convolution: equal to NumPy's, and blind to what lies beyond the window or the epoch."""

import jax
import jax.numpy as jnp
import numpy as np
import pynapple as nap
import pytest

from spikax.convolve import create_convolutional_predictor

# Samples before and after its own that a window of w samples covers.
REACH = {
    ("causal", None): lambda w: (w, -1),
    ("causal", True): lambda w: (w, -1),
    ("causal", False): lambda w: (w - 1, 0),
    ("anti-causal", None): lambda w: (-1, w),
    ("anti-causal", False): lambda w: (0, w - 1),
    ("acausal", None): lambda w: ((w - 1) // 2, w // 2),
}
reaches = pytest.mark.parametrize(("causality", "shift"), REACH)
windows = pytest.mark.parametrize("window", [1, 4, 5])


@reaches
@windows
def test_it_is_numpys_convolution_with_missing_edges(causality, shift, window, rng):
    kernel, x = rng.normal(size=(window, 3)), rng.normal(size=(30, 2))
    before, after = REACH[causality, shift](window)
    expected = np.full((30, 2, 3), np.nan)
    for t in range(max(before, 0), 30 - max(after, 0)):
        for channel, b in np.ndindex(2, 3):
            seen = x[t - before : t + after + 1, channel]
            expected[t, channel, b] = np.convolve(seen, kernel[:, b], "valid")[0]
    with jax.enable_x64(True):
        got = create_convolutional_predictor(kernel, x, causality, shift)
    np.testing.assert_allclose(got, expected, atol=1e-12)


@reaches
@windows
def test_a_sample_depends_on_its_window_only(causality, shift, window, rng):
    kernel, x = rng.normal(size=(window, 1)), jnp.asarray(rng.normal(size=20), float)

    def at_ten(x):
        return create_convolutional_predictor(kernel, x, causality, shift)[10, 0]

    before, after = REACH[causality, shift](window)
    touched = np.flatnonzero(jax.grad(at_ten)(x))
    np.testing.assert_array_equal(touched, np.arange(10 - before, 10 + after + 1))


@reaches
def test_epochs_are_filtered_one_by_one(causality, shift, rng):
    kernel = rng.normal(size=(5, 2))
    t = np.r_[0:20, 30:34, 50:65]
    epochs = nap.IntervalSet([0, 30, 50], [19, 33, 64])
    series = nap.TsdFrame(t, rng.normal(size=(len(t), 3)), time_support=epochs)
    with pytest.warns(UserWarning, match="1 of 3 epochs have fewer than the [56] samples"):
        together = create_convolutional_predictor(kernel, series, causality, shift)
    assert isinstance(together, nap.TsdTensor)
    for epoch in (epochs[0], epochs[2]):
        one = series.restrict(epoch).d
        alone = create_convolutional_predictor(kernel, one, causality, shift)
        np.testing.assert_allclose(together.restrict(epoch).d, alone, atol=1e-6)
    assert np.isnan(together.restrict(epochs[1]).d).all()


def test_a_missing_sample_is_missing_in_its_windows_only(rng):
    x = rng.normal(size=(40, 2))
    x[20, 0] = np.nan
    missing = np.isnan(create_convolutional_predictor(np.ones((6, 2)), x))
    np.testing.assert_array_equal(np.flatnonzero(missing[:, 0, 0]), [*range(6), *range(21, 27)])
    np.testing.assert_array_equal(np.flatnonzero(missing[:, 1, 0]), range(6))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_time_may_be_any_axis(axis, rng):
    kernel, x = rng.normal(size=(4, 3)), rng.normal(size=(10, 2, 5))
    got = create_convolutional_predictor(kernel, np.moveaxis(x, 0, axis), axis=axis)
    expected = create_convolutional_predictor(kernel, x)
    np.testing.assert_allclose(got, jnp.moveaxis(expected, 0, axis % 3))


def test_pytrees_keep_their_structure(rng):
    tree = {"a": rng.normal(size=20), "b": [nap.Tsd(np.arange(9), np.ones(9)), np.ones((9, 4))]}
    out = create_convolutional_predictor(np.ones((3, 2)), tree)
    assert out["a"].shape == (20, 2)
    assert isinstance(out["b"][0], nap.TsdFrame)
    assert out["b"][1].shape == (9, 4, 2)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16])
def test_counts_of_any_dtype(dtype, rng):
    x = rng.integers(0, 2, 30)
    kernel = rng.normal(size=(4, 2))
    got = create_convolutional_predictor(kernel, x.astype(dtype))
    np.testing.assert_allclose(got, create_convolutional_predictor(kernel, x), atol=1e-6)


ONES, SERIES = np.ones(9), nap.TsdFrame(np.arange(9), np.ones((9, 2)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones(3), ONES), ValueError, r"basis_matrix has shape \(3,\)"),
        ((np.ones((0, 2)), ONES), ValueError, r"basis_matrix has shape \(0, 2\)"),
        ((np.ones((3, 2)), 1.0), ValueError, r"time_series has shape \(\)"),
        ((np.ones((3, 2)), ONES, "causal", None, 1), ValueError, "time axis was said to be 1"),
        ((np.ones((3, 2)), SERIES, "causal", None, 1), ValueError, "axis 0 of a TsdFrame"),
        ((np.ones((3, 2)), ONES, "casual"), ValueError, "Did you mean 'causal'"),
        ((np.ones((3, 2)), ONES, "acausal", True), ValueError, "shift=True"),
        ((np.ones((3, 2)), np.array(["a"])), TypeError, "time_series has dtype"),
        ((np.ones((3, 2)), ONES + 1j), TypeError, "real numbers"),
    ],
)
def test_bad_input_gets_an_answer(arguments, error, message):
    with pytest.raises(error, match=message):
        create_convolutional_predictor(*arguments)
