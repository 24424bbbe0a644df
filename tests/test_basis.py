"""Bases: what their functions are, how they are applied, and how they add up."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pynapple as nap
import pytest
from scipy.interpolate import BSpline as ScipyBSpline
from sklearn.base import clone

from spikax import basis
from spikax.basis._raised_cosines import RaisedCosineLinear, RaisedCosineLog
from spikax.basis._splines import BSpline, CyclicBSpline

U = np.linspace(0, 1, 101)


def scipy_splines(u, knots, order):
    return ScipyBSpline.design_matrix(u, knots, order - 1).toarray()


def clamped_splines(u, n, order):
    inner = np.linspace(0, 1, n - order + 2)
    return scipy_splines(u, np.r_[[0] * (order - 1), inner, [1] * (order - 1)], order)


def wrapped_splines(u, n, order):
    knots = np.arange(1 - order, n + order) / n
    line = scipy_splines(u, knots, order)
    line[:, : order - 1] += line[:, n:]
    return line[:, :n]


def cosines(u, n, width, last_peak=1.0):
    gap = last_peak / (n - 1)
    columns = []
    for peak in np.arange(n) * gap:
        angle = np.pi * (u - peak) / (gap * width)
        columns.append(np.where(np.abs(angle) < np.pi, 0.5 * (1 + np.cos(angle)), 0))
    return np.column_stack(columns)


def log_cosines(u, n, width, scaling=50.0):
    stretched = np.log(1 + scaling * u) / np.log(1 + scaling)
    return cosines(stretched, n, width, 1 - width / (n + width - 1))


# Each family with what it should be.
FAMILIES = [
    (BSpline(7), clamped_splines(U, 7, 4)),
    (BSpline(5, order=1), clamped_splines(U, 5, 1)),
    (BSpline(4, order=4), clamped_splines(U, 4, 4)),
    (CyclicBSpline(8), wrapped_splines(U, 8, 4)),
    (CyclicBSpline(4, order=4), wrapped_splines(U, 4, 4)),
    (CyclicBSpline(5, order=3), wrapped_splines(U, 5, 3)),
    (RaisedCosineLinear(6), cosines(U, 6, 2.0)),
    (RaisedCosineLinear(9, width=1.5), cosines(U, 9, 1.5)),
    (RaisedCosineLog(6), log_cosines(U, 6, 2.0)),
    (RaisedCosineLog(4, 2.5, 10.0), log_cosines(U, 4, 2.5, 10.0)),
]
EVAL = [
    basis.BSplineEval(6),
    basis.CyclicBSplineEval(6),
    basis.RaisedCosineLinearEval(6),
    basis.RaisedCosineLogEval(6),
]
CONV = [
    basis.RaisedCosineLinearConv(5, window_size=12),
    basis.RaisedCosineLogConv(5, window_size=12),
]
ALL = [*EVAL, *CONV]


def first_repr(value):
    return repr(value) if callable(value) else ""


def of(family):
    """Make one compiled function of many points out of a family."""
    return jax.jit(jax.vmap(family))


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(("family", "expected"), FAMILIES, ids=first_repr)
def test_a_family_is_what_the_textbook_says(family, expected, x64):
    np.testing.assert_allclose(of(family)(U), expected, atol=1e-12)


@pytest.mark.parametrize("family", [BSpline(7), BSpline(5, 1), CyclicBSpline(6)], ids=repr)
def test_splines_add_up_to_one(family, x64):
    np.testing.assert_allclose(of(family)(U).sum(axis=1), 1)


@pytest.mark.parametrize("width", [1.5, 2.0, 3.0])
def test_raised_cosines_add_up_to_their_width_away_from_the_ends(width, x64):
    n = 15
    margin = width / (n - 1)
    interior = margin + (1 - 2 * margin) * U
    values = of(RaisedCosineLinear(n, width))(interior)
    np.testing.assert_allclose(values.sum(axis=1), width)


def test_the_last_log_cosine_decays_to_zero_if_asked_to(x64):
    at_end = of(RaisedCosineLog(5))(np.ones(1))
    free = of(RaisedCosineLog(5, enforce_decay_to_zero=False))(np.ones(1))
    np.testing.assert_allclose(at_end, 0, atol=1e-12)
    np.testing.assert_allclose(free[0, -1], 1)


def test_cyclic_splines_do_not_know_where_the_circle_starts(x64):
    family, u = of(CyclicBSpline(6)), U[:-1]
    turned = family((u + 1 / 6) % 1)
    np.testing.assert_allclose(turned, np.roll(family(u), 1, axis=1), atol=1e-12)


DIFFERENTIABLE = [BSpline(7), CyclicBSpline(5, 3), RaisedCosineLinear(6), RaisedCosineLog(6)]


@pytest.mark.parametrize("family", DIFFERENTIABLE, ids=repr)
def test_functions_are_differentiable(family, x64):
    u, step = np.array([0.031, 0.27, 0.513, 0.97]), 1e-6
    numeric = (of(family)(u + step) - of(family)(u - step)) / (2 * step)
    np.testing.assert_allclose(of(jax.jacfwd(family))(u), numeric, atol=1e-6)
    np.testing.assert_allclose(of(jax.jacrev(family))(u), numeric, atol=1e-6)


def test_features_are_differentiable_out_of_bounds_too():
    def total(x):
        X = basis.BSplineEval(5, bounds=(0, 1), fill_value=0.0).compute_features(x)
        return jnp.sum(X[:, 1])

    slope = jax.jit(jax.grad(total))(jnp.array([-1.0, 0.3, 2.0]))
    assert np.isfinite(slope).all()
    np.testing.assert_array_equal(slope[np.array([0, 2])], 0)
    assert slope[1] != 0


@pytest.mark.parametrize("bounds", [(-2.0, 3.0), None], ids=str)
@pytest.mark.parametrize("eval_basis", EVAL, ids=repr)
def test_eval_maps_its_bounds_to_the_unit_interval(eval_basis, bounds):
    eval_basis = clone(eval_basis).set_params(bounds=bounds)
    x = -2 + 5 * U
    expected = of(eval_basis._family())(U)
    np.testing.assert_allclose(eval_basis.compute_features(x), expected, atol=1e-5)


@pytest.mark.parametrize("eval_basis", EVAL, ids=repr)
def test_eval_fills_what_is_out_of_bounds_or_missing(eval_basis):
    eval_basis = clone(eval_basis).set_params(bounds=(0, 10), fill_value=-1.0)
    X = np.asarray(eval_basis.compute_features([0.0, -0.1, 5, 10, 10.1, np.nan]))
    np.testing.assert_array_equal(np.all(X == -1, axis=1), [False, True, False, False, True, True])


def test_a_small_range_around_a_large_value_loses_nothing():
    here = basis.BSplineEval(8).compute_features(U)
    there = basis.BSplineEval(8).compute_features(1e7 + U)
    np.testing.assert_allclose(there, here, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, bool])
def test_computation_is_in_float32_whatever_comes_in(dtype):
    x = np.array([0, 1, 1, 0], dtype=dtype)
    for any_basis in ALL:
        assert any_basis.compute_features(np.tile(x, 5)).dtype == np.float32


def test_bounds_learned_once_hold_for_other_data():
    learned = basis.BSplineEval(5).setup_basis(np.array([0.0, 10.0]))
    given = basis.BSplineEval(5, bounds=(0, 10))
    x = np.array([2.0, 4.0])
    np.testing.assert_array_equal(learned.compute_features(x), given.compute_features(x))
    assert clone(learned).bounds_ is None


@pytest.mark.parametrize("any_basis", ALL, ids=repr)
def test_channels_are_handled_one_by_one(any_basis, rng):
    x = rng.random((40, 3))
    x[0], x[1] = 0, 1
    X = np.asarray(any_basis.compute_features(x))
    alone = [np.asarray(any_basis.compute_features(column)) for column in x.T]
    np.testing.assert_allclose(X, np.hstack(alone), atol=1e-6)


@pytest.mark.parametrize("any_basis", ALL, ids=repr)
def test_containers_agree_and_pynapple_comes_back(any_basis, rng):
    x = rng.random(60)
    epochs = nap.IntervalSet([0, 3], [2.95, 10])
    series = nap.Tsd(np.arange(60) * 0.1, x, time_support=epochs)
    X = any_basis.compute_features(series)
    assert isinstance(X, nap.TsdFrame)
    np.testing.assert_array_equal(X.t, series.t)
    np.testing.assert_array_equal(X.time_support.values, series.time_support.values)
    plain = np.asarray(any_basis.compute_features(x))
    known = ~np.isnan(X.d)
    np.testing.assert_allclose(X.d[known], plain[known], atol=1e-6)
    for other in (list(x), jnp.asarray(x)):
        np.testing.assert_allclose(any_basis.compute_features(other), plain, atol=1e-5)


@pytest.mark.parametrize("conv_basis", CONV, ids=repr)
def test_conv_forgets_between_epochs(conv_basis):
    n_missing = conv_basis.window_size
    x = nap.TsdFrame(
        np.r_[:50, 100:130],
        np.ones((80, 2)),
        time_support=nap.IntervalSet([0, 100], [49, 129]),
    )
    missing = np.isnan(conv_basis.compute_features(x).d).all(axis=1)
    np.testing.assert_array_equal(
        np.flatnonzero(missing), [*range(n_missing), *range(50, 50 + n_missing)]
    )


@pytest.mark.parametrize("conv_basis", CONV, ids=repr)
def test_the_answer_to_one_spike_is_the_kernel(conv_basis):
    spike = np.zeros(40)
    spike[15] = 1
    X = np.asarray(conv_basis.compute_features(spike))
    np.testing.assert_allclose(X[16:28], conv_basis.kernel_, atol=1e-6)
    np.testing.assert_array_equal(X[12:16], 0)
    np.testing.assert_allclose(X[28:], 0, atol=1e-6)
    window = np.linspace(0, 1, 12)
    np.testing.assert_allclose(conv_basis.kernel_, conv_basis.evaluate(window), atol=1e-6)


def test_values_that_nemos_gives():
    log = basis.RaisedCosineLogConv(4, window_size=8)
    np.testing.assert_allclose(
        np.asarray(log.kernel_)[[0, 1, 3, 7]],
        [[1, 0.5, 0, 0], [0, 0.0669, 0.7499, 0.9331], [0, 0, 0.0012, 0.5351], [0, 0, 0, 0]],
        atol=1e-4,
    )
    cyclic = basis.CyclicBSplineEval(5, order=3).evaluate(np.array([0, 0.2, 1]))
    np.testing.assert_allclose(
        cyclic, [[0.5, 0.5, 0, 0, 0], [0, 0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0, 0]], atol=1e-6
    )


@pytest.mark.parametrize("any_basis", ALL, ids=repr)
def test_sklearn_can_copy_change_and_store_a_basis(any_basis):
    copy = clone(any_basis)
    assert repr(copy) == repr(any_basis) == repr(pickle.loads(pickle.dumps(any_basis)))
    copy.set_params(n_basis_funcs=7, label="other")
    assert copy.compute_features(U).shape == (101, 7)
    assert copy.label == "other"
    assert any_basis.label == type(any_basis).__name__


@pytest.mark.parametrize("any_basis", ALL, ids=repr)
def test_the_grid_spans_the_bounds(any_basis):
    low, high = 0.0, 1.0
    if "bounds" in any_basis.get_params():
        low, high = 2.0, 4.0
        any_basis = clone(any_basis).set_params(bounds=(low, high))
    grid, evaluated = any_basis.evaluate_on_grid(11)
    np.testing.assert_allclose(grid, np.linspace(low, high, 11))
    np.testing.assert_allclose(evaluated, any_basis.evaluate(grid))


class TestAddition:
    """Bases side by side."""

    both = basis.BSplineEval(5, label="place") + basis.RaisedCosineLogConv(3, window_size=8)

    def test_features_stand_side_by_side(self, rng):
        place, spikes = rng.random(30), rng.poisson(1, (30, 2))
        X = self.both.compute_features(place, spikes)
        left = self.both["place"].compute_features(place)
        right = self.both["RaisedCosineLogConv"].compute_features(spikes)
        np.testing.assert_array_equal(X, np.hstack([left, right]))
        assert self.both.n_basis_funcs == 8
        assert self.both.n_output_features == X.shape[1] == 11

    def test_features_and_coefficients_can_be_split_again(self, rng):
        place, spikes = rng.random(30), rng.poisson(1, (30, 2))
        X = self.both.compute_features(place, spikes)
        blocks = self.both.split_by_feature(X)
        shapes = {label: block.shape for label, block in blocks.items()}
        assert shapes == {"place": (30, 5), "RaisedCosineLogConv": (30, 2, 3)}
        joined = np.hstack([block.reshape(30, -1) for block in blocks.values()])
        np.testing.assert_array_equal(joined, X)
        coef = self.both.split_by_feature(np.asarray(X).T, axis=0)
        assert coef["RaisedCosineLogConv"].shape == (2, 3, 30)

    def test_pynapple_survives_adding_and_splitting(self, rng):
        x = nap.Tsd(np.arange(30.0), rng.random(30))
        X = self.both.compute_features(x, rng.random((30, 2)))
        assert isinstance(X, nap.TsdFrame)
        split = self.both.split_by_feature(X)
        assert isinstance(split["place"], nap.TsdFrame)
        assert isinstance(split["RaisedCosineLogConv"], nap.TsdTensor)

    def test_the_grid_has_an_axis_for_each_input(self):
        place, lag, evaluated = self.both.evaluate_on_grid(6, 7)
        assert place.shape == lag.shape == (6, 7)
        assert evaluated.shape == (6, 7, 8)

    def test_default_labels_are_numbered_and_labels_of_users_unique(self):
        three = basis.BSplineEval(4) + basis.BSplineEval(5) + basis.BSplineEval(6)
        assert three["BSplineEval_1"].n_basis_funcs == 5
        assert three["BSplineEval_2"].n_basis_funcs == 6
        with pytest.raises(ValueError, match="label 'x' is given to two"):
            _ = basis.BSplineEval(4, label="x") + basis.BSplineEval(5, label="x")
        with pytest.raises(KeyError, match="No component is labelled 'speed'"):
            _ = three["speed"]
        with pytest.raises(TypeError):
            _ = three + 1

    def test_adding_leaves_the_bases_that_are_added_alone(self):
        one = basis.BSplineEval(5)
        twice = one + one
        twice.setup_basis([0.0, 1.0], [0.0, 10.0])
        assert twice["BSplineEval"].bounds_ == (0, 1)
        assert twice["BSplineEval_1"].bounds_ == (0, 10)
        assert one.bounds_ is None

    def test_inputs_that_do_not_fit_are_refused(self):
        ones = np.ones(30)
        with pytest.raises(ValueError, match=r"1 inputs were given to 2 components.*place"):
            self.both.compute_features(ones)
        with pytest.raises(ValueError, match="the same number of samples"):
            self.both.compute_features(ones, np.ones(29))
        with pytest.raises(ValueError, match="different time axes"):
            self.both.compute_features(
                nap.Tsd(np.arange(30), ones), nap.Tsd(1 + np.arange(30), ones)
            )


@pytest.mark.parametrize(
    ("bad", "x", "error", "message"),
    [
        (basis.BSplineEval(3), U, ValueError, "n_basis_funcs is 3, but .* >= 4"),
        (basis.BSplineEval(5, order=0), U, ValueError, "order is 0"),
        (basis.BSplineEval(5.5), U, ValueError, "n_basis_funcs is 5.5"),
        (basis.CyclicBSplineEval(5, order=1), U, ValueError, "order is 1"),
        (basis.RaisedCosineLinearEval(1), U, ValueError, "n_basis_funcs is 1"),
        (basis.RaisedCosineLogEval(3, width=1.3), U, ValueError, "width is 1.3"),
        (basis.RaisedCosineLogEval(3, time_scaling=-1), U, ValueError, "time_scaling is -1"),
        (basis.RaisedCosineLogConv(3, window_size=0), U, ValueError, "window_size is 0"),
        (basis.BSplineEval(5, bounds=(1, 0)), U, ValueError, r"bounds is \(1, 0\)"),
        (basis.BSplineEval(5, bounds=3), U, ValueError, "bounds is 3, but must be two"),
        (basis.BSplineEval("5"), U, ValueError, "n_basis_funcs is '5'"),
        (basis.BSplineEval(5), np.ones(9), ValueError, r"the range of x is \(1.0, 1.0\)"),
        (basis.BSplineEval(5), np.full(9, np.nan), ValueError, "no samples that are not NaN"),
        (basis.BSplineEval(5), np.r_[U, np.inf], ValueError, r"the range of x is \(0.0, inf\)"),
        (basis.BSplineEval(5), [], ValueError, "at least one"),
        (basis.BSplineEval(5), 0.5, ValueError, "at least one"),
        (basis.BSplineEval(5), ["a", "b"], TypeError, "real numbers"),
        (basis.BSplineEval(5), U + 1j, TypeError, "real numbers"),
    ],
    ids=str,
)
def test_bad_input_gets_an_answer(bad, x, error, message):
    with pytest.raises(error, match=message):
        bad.compute_features(x)


def test_splitting_needs_a_basis_that_has_seen_data_and_fitting_features():
    fresh = basis.BSplineEval(5)
    with pytest.raises(ValueError, match="does not know the shape of its inputs"):
        fresh.split_by_feature(np.ones((4, 5)))
    fresh.compute_features(U)
    with pytest.raises(ValueError, match="5 features are needed along axis 1"):
        fresh.split_by_feature(np.ones((4, 6)))
    with pytest.raises(AttributeError, match="does not convolve"):
        _ = fresh.kernel_
