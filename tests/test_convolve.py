"""Convolution: equal to NumPy's, and blind to what lies beyond the window or the epoch."""

from itertools import islice, product

import jax
import jax.numpy as jnp
import numpy as np
import pynapple as nap
import pytest
from scipy.signal import fftconvolve
from sklearn.model_selection import KFold

from compilations import counted
from spikax import convolve
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


KEPT = {
    "mask": lambda n: np.arange(n) % 17 < 14,
    "middle fold": lambda n: next(islice(KFold(3).split(range(n)), 1, None))[0],
    "indices": lambda n: np.r_[0:20, 21:41, 60:n],
    "every third, with a hole": lambda n: np.r_[0:30:3, 36:n:3],
}


@reaches
@pytest.mark.parametrize("kept", KEPT.values(), ids=list(KEPT))
def test_a_jump_in_time_is_an_edge(causality, shift, kept, rng):
    kernel, x = rng.normal(size=(3, 2)), rng.normal(size=100)
    t = 5 + 0.01 * np.arange(100)
    part = nap.Tsd(t, x)[kept(100)]
    before, after = REACH[causality, shift](3)
    step = round(100 * np.median(np.diff(part.t)))
    present = dict(zip(np.round(100 * (part.t - 5)).astype(int), part.d, strict=True))
    expected = np.full((len(part), 2), np.nan)
    for row, sample in enumerate(present):
        window = [present.get(sample + step * i, np.nan) for i in range(-before, after + 1)]
        expected[row] = np.array(window)[::-1] @ kernel
    got = create_convolutional_predictor(kernel, part, causality, shift)
    np.testing.assert_allclose(got.d, expected, atol=1e-6)
    assert got.time_support.values.tolist() == part.time_support.values.tolist()


def test_jitter_is_no_jump_and_irregular_times_are_refused(rng):
    x = rng.normal(size=60)
    kernel = np.ones((4, 1))
    expected = create_convolutional_predictor(kernel, x)
    jittered = nap.Tsd(np.arange(60) + rng.uniform(-0.19, 0.19, 60), x)
    got = create_convolutional_predictor(kernel, jittered)
    np.testing.assert_array_equal(got.d, expected)
    trials = nap.Tsd(np.cumsum(rng.exponential(size=60)), x)
    with pytest.warns(UserWarning, match=r"fewer than .* jump in time, .* pass .* `\.d`"):
        assert np.isnan(create_convolutional_predictor(np.ones((20, 1)), trials).d).all()
    one_by_one = nap.Tsd([0.0, 10.0], [1.0, 2.0], time_support=nap.IntervalSet([0, 9], [1, 11]))
    with pytest.warns(UserWarning, match=r"2 of 2 epochs have fewer .* leave short epochs out.$"):
        assert np.isnan(create_convolutional_predictor(kernel, one_by_one).d).all()


def test_a_missing_sample_is_missing_in_its_windows_only(rng):
    x = rng.normal(size=(40, 2))
    x[20, 0] = np.nan
    missing = np.isnan(create_convolutional_predictor(np.ones((6, 2)), x))
    np.testing.assert_array_equal(np.flatnonzero(missing[:, 0, 0]), [*range(6), *range(21, 27)])
    np.testing.assert_array_equal(np.flatnonzero(missing[:, 1, 0]), range(6))


@reaches
@pytest.mark.parametrize(("window", "n_samples"), [(2, 90), (40, 5000), (700, 6001), (900, 1000)])
def test_short_and_long_windows_are_convolved_alike(causality, shift, window, n_samples, rng):
    kernel, x = rng.normal(size=(window, 2)), rng.normal(size=(n_samples, 3))
    x[n_samples // 2, 1] = np.nan
    before, after = REACH[causality, shift](window)
    expected = np.full((n_samples, 3, 2), np.nan)
    whole = fftconvolve(np.nan_to_num(x)[:, :, None], kernel[:, None, :], axes=0)
    known = slice(max(before, 0), n_samples - max(after, 0))
    expected[known] = whole[known.start + after : known.stop + after]
    sample = np.arange(n_samples) - n_samples // 2
    expected[(sample - before <= 0) & (sample + after >= 0), 1] = np.nan
    for x64, atol in ((True, 1e-10), (False, 1e-3)):
        with jax.enable_x64(x64):
            got = create_convolutional_predictor(kernel, x, causality, shift)
        np.testing.assert_allclose(got, expected, atol=atol)
    traced = jax.jit(lambda x: create_convolutional_predictor(kernel, x, causality, shift))(x)
    np.testing.assert_allclose(traced, expected, atol=1e-3)


def test_the_method_is_the_cheaper_one():
    everything = convolve._Batch(None, None, None)
    assert convolve._plan((10_000, 3), (50, 4), everything).n_fourier == 0
    assert convolve._plan((10_000, 3), (2000, 4), everything).n_fourier > 0


@pytest.mark.parametrize("window", [7, 600])
@pytest.mark.parametrize("sizes", [*product([None, 100, 3000], [None, 2], [None, 3])], ids=str)
def test_batches_change_nothing(window, sizes, rng):
    kernel, x = rng.normal(size=(window, 5)), rng.normal(size=(2000, 3))
    names = ("batch_size_samples", "batch_size_channels", "batch_size_basis")
    with jax.enable_x64(True):
        whole = create_convolutional_predictor(kernel, x)
        parts = create_convolutional_predictor(kernel, x, **dict(zip(names, sizes, strict=True)))
    np.testing.assert_allclose(parts, whole, atol=1e-10)


@pytest.mark.parametrize("window", [50, 2000])
def test_memory_beyond_the_result_is_bounded(window):
    """What the compiled program sets aside does not grow with time, channels or kernels."""
    signals, kernels = (200_000, 20), (window, 4)
    plan = convolve._plan(signals, kernels, convolve._Batch(4000, 2, 2))
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in (kernels, signals)]
    known = jax.ShapeDtypeStruct((signals[0], 1), bool)
    program = convolve._filter.lower(*shapes, known, window, plan).compile()
    result = 4 * 200_000 * 20 * 4
    # the blocks, before their rest is cut off, and the padded signal
    assert program.memory_analysis().temp_size_in_bytes < 1.5 * result + 2**22


def test_gradients_are_those_of_a_sum(rng):
    kernel, x = rng.normal(size=(600, 2)), rng.normal(size=3000)

    def total(kernel, x):
        return jnp.nansum(create_convolutional_predictor(kernel, x) ** 2)

    with jax.enable_x64(True):
        of_kernel, of_x = jax.grad(total, argnums=(0, 1))(jnp.asarray(kernel), jnp.asarray(x))
        step, toward = 1e-6, rng.normal(size=3000)
        numeric = (total(kernel, x + step * toward) - total(kernel, x - step * toward)) / 2 / step
        np.testing.assert_allclose(of_x @ toward, numeric, rtol=1e-6)
        toward = rng.normal(size=(600, 2))
        numeric = (total(kernel + step * toward, x) - total(kernel - step * toward, x)) / 2 / step
        np.testing.assert_allclose(np.sum(of_kernel * toward), numeric, rtol=1e-6)


def test_a_second_signal_of_the_same_shape_compiles_nothing(rng):
    kernel, x, other = rng.normal(size=(9, 2)), *rng.normal(size=(2, 77, 3))
    create_convolutional_predictor(kernel, x)
    with counted() as compilations:
        create_convolutional_predictor(2 * kernel, other)
    assert not compilations


@pytest.mark.parametrize("of", ["array", "list", "series", "epochs"])
def test_a_window_that_no_epoch_holds_gives_nan_and_warns(of):
    x = np.ones(5)
    epochs = nap.Tsd(np.r_[0:5, 9:14], np.ones(10), time_support=nap.IntervalSet([0, 9], [4, 13]))
    data = {"array": x, "list": [x, x[:3]], "series": nap.Tsd(np.arange(5), x), "epochs": epochs}
    with pytest.warns(UserWarning, match="fewer than the 6 samples that the window needs"):
        found = create_convolutional_predictor(np.ones((5, 2)), data[of])
    shapes = [np.shape(each) for each in jax.tree.leaves(found)]
    assert shapes == {"list": [(5, 2), (3, 2)], "epochs": [(10, 2)]}.get(of, [(5, 2)])
    assert all(np.isnan(np.asarray(each)).all() for each in jax.tree.leaves(found))


def test_no_samples_have_no_features():
    assert create_convolutional_predictor(np.ones((5, 2)), np.ones((0, 3))).shape == (0, 3, 2)


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


@pytest.mark.parametrize("name", ["samples", "channels", "basis"])
@pytest.mark.parametrize("size", [0, -3, 2.5])
def test_batch_sizes_are_positive_whole_numbers(name, size):
    with pytest.raises(ValueError, match=f"batch_size_{name} is {size}"):
        create_convolutional_predictor(np.ones((3, 2)), ONES, **{f"batch_size_{name}": size})


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
