"""Bases: what their functions are, and how they are applied."""

import inspect
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pynapple as nap
import pytest
from scipy.interpolate import BSpline as ScipyBSpline
from sklearn.base import clone

from spikax import basis
from spikax.basis._exponentials import OrthExponential, OrthExponentialWindow
from spikax.basis._fourier import Fourier
from spikax.basis._history import Lags
from spikax.basis._identity import Identity
from spikax.basis._raised_cosines import RaisedCosineLinear, RaisedCosineLog
from spikax.basis._splines import BSpline, CyclicBSpline, MSpline

U = np.linspace(0, 1, 101)


def named(value):
    """Show a value without the addresses of its functions, which differ between processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


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


def densities(u, n, order):
    """M-splines from SciPy's B-splines, each divided by its integral."""
    inner = np.linspace(0, 1, n - order + 2)
    knots = np.r_[[0] * (order - 1), inner, [1] * (order - 1)]
    splines = [ScipyBSpline(knots, np.eye(n)[i], order - 1) for i in range(n)]
    return np.column_stack([spline(u) / spline.integrate(0, 1) for spline in splines])


def gram_schmidt(points, weights, rates, u):
    """Orthonormal exponentials, in extended precision, one subtraction at a time."""
    done = []
    for rate in rates:
        on_points, on_u = np.exp(-rate * points), np.exp(-rate * u)
        for _ in range(2):
            for other, other_on_u in done:
                share = np.sum(weights * on_points * other)
                on_points, on_u = on_points - share * other, on_u - share * other_on_u
        norm = np.sqrt(np.sum(weights * on_points**2))
        done.append((on_points / norm, on_u / norm))
    return np.column_stack([on_u for _, on_u in done]).astype(float)


def exponentials(u, rates):
    nodes, weights = (x.astype(np.longdouble) for x in np.polynomial.legendre.leggauss(80))
    return gram_schmidt((nodes + 1) / 2, weights / 2, rates, u.astype(np.longdouble))


def window_exponentials(u, rates, n):
    points = np.linspace(0, 1, n).astype(np.longdouble)
    return gram_schmidt(points, np.ones(n), rates, u.astype(np.longdouble))


def waves(u, frequencies):
    parts = [np.exp(2j * np.pi * k * u) for k in frequencies]
    sines = [part.imag for k, part in zip(frequencies, parts, strict=True) if k]
    return np.column_stack([*(part.real for part in parts), *sines])


# Each function with what it should be.
FUNCTIONS = [
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
    (MSpline(6), densities(U, 6, 4)),
    (MSpline(5, order=2), densities(U, 5, 2)),
    (OrthExponential(3, (1.0, 2.0, 3.0)), exponentials(U, (1, 2, 3))),
    (OrthExponential(4, (5.0, 50.0, 0.1, 9.0)), exponentials(U, (5, 50, 0.1, 9))),
    (OrthExponentialWindow(3, 20, (1, 4, 9)), window_exponentials(U, (1, 4, 9), 20)),
    (Fourier(4), waves(U, (1, 2, 3))),
    (Fourier(3, frequency_mask="all"), waves(U, (0, 1, 2))),
    (Fourier((2, 5)), waves(U, (2, 3, 4))),
    (Fourier(np.array([1, 40])), waves(U, (1, 40))),
    (Fourier(4, frequency_mask=[0, 1, 0, 1]), waves(U, (1, 3))),
    (Fourier(4, frequency_mask=lambda k: k > 1), waves(U, (2, 3))),
    (Identity(), U[:, None]),
    (Lags(101), np.eye(101)),
]
EVAL = [
    basis.BSplineEval(6),
    basis.CyclicBSplineEval(6),
    basis.RaisedCosineLinearEval(6),
    basis.RaisedCosineLogEval(6),
    basis.MSplineEval(6),
    basis.OrthExponentialEval(3, decay_rates=[1.0, 3.0, 5.0]),
    basis.FourierEval(4),
]
CONV = [
    basis.BSplineConv(5, window_size=12),
    basis.CyclicBSplineConv(5, window_size=12),
    basis.MSplineConv(5, window_size=12),
    basis.OrthExponentialConv(3, window_size=12, decay_rates=[1.0, 3.0, 5.0]),
    basis.HistoryConv(12),
    basis.RaisedCosineLinearConv(5, window_size=12),
    basis.RaisedCosineLogConv(5, window_size=12),
]
RAW = [
    basis.IdentityEval(),
    basis.CustomBasis([lambda x: x, lambda x: x**2]),
    basis.Zero(),
]
ALL = [*EVAL, *CONV, *RAW]


def first_repr(value):
    return repr(value) if callable(value) else ""


def of(family):
    """Make one compiled function of many points out of a family."""
    return jax.jit(jax.vmap(family))


@pytest.fixture
def any_basis(request):
    """Copy a basis of the lists, since it remembers what it has seen."""
    return clone(request.param)


eval_basis = any_basis
of_all = pytest.mark.parametrize("any_basis", ALL, ids=named, indirect=True)
of_eval = pytest.mark.parametrize("eval_basis", EVAL, ids=named, indirect=True)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(("family", "expected"), FUNCTIONS, ids=first_repr)
def test_a_function_is_what_the_textbook_says(family, expected, x64):
    np.testing.assert_allclose(of(family)(U), expected, atol=1e-9)


@pytest.mark.parametrize("family", [family for family, _ in FUNCTIONS], ids=named)
def test_functions_are_as_precise_in_float32(family, rng):
    u = rng.random(200).astype(np.float32)
    with jax.enable_x64(True):
        exact = of(family)(u.astype(float))
        slope = np.abs(of(jax.jacfwd(family))(u.astype(float))).max()
    tolerance = 2e-6 * np.abs(exact).max() + 6e-8 * slope  # the argument is rounded, too
    np.testing.assert_allclose(of(family)(u), exact, atol=tolerance)


def test_orthonormal_exponentials_stay_so_where_the_rates_are_close(x64):
    """Ten rates whose exponentials have a condition number of 1e13."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    X = np.asarray(of(OrthExponential(10, tuple(range(1, 11))))((nodes + 1) / 2))
    np.testing.assert_allclose(X.T @ (weights[:, None] / 2 * X), np.eye(10), atol=1e-10)
    kernel = basis.OrthExponentialConv(10, 50, decay_rates=range(1, 11)).kernel_
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(10), atol=1e-10)


def test_fourier_waves_of_two_variables(x64, rng):
    x, y = rng.random((2, 50))
    X = basis.FourierEval([(0, 2), np.array([-1, 1])], ndim=2, bounds=(0, 1)).compute_features(
        x, y
    )
    turns = [(0, -1), (0, 1), (1, -1), (1, 1)]
    phase = np.column_stack([2 * np.pi * (k * x + m * y) for k, m in turns])
    np.testing.assert_allclose(X, np.hstack([np.cos(phase), np.sin(phase)]), atol=1e-9)
    box = basis.FourierEval(2, ndim=2, bounds=((0, 2), (-1, 1)))
    here = basis.FourierEval(2, ndim=2, bounds=(0, 1)).compute_features(x, y)
    np.testing.assert_allclose(box.compute_features(2 * x, 2 * y - 1), here, atol=1e-9)


def test_msplines_integrate_to_one_in_the_unit_of_the_input(x64):
    x = np.linspace(-3, 7, 4001)
    X = np.asarray(basis.MSplineEval(6, bounds=(-3, 7)).compute_features(x))
    np.testing.assert_allclose(np.trapezoid(X, x, axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("family", [BSpline(7), BSpline(5, 1), CyclicBSpline(6)], ids=named)
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


DIFFERENTIABLE = [
    BSpline(7),
    CyclicBSpline(5, 3),
    MSpline(6),
    RaisedCosineLinear(6),
    RaisedCosineLog(6),
    OrthExponential(3, (1.0, 2.0, 8.0)),
    Fourier(4),
    Identity(),
]


@pytest.mark.parametrize("family", DIFFERENTIABLE, ids=named)
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
@of_eval
def test_eval_maps_its_bounds_to_the_unit_interval(eval_basis, bounds):
    eval_basis.set_params(bounds=bounds)
    x = -2 + 5 * U
    function = eval_basis._feature_map().function
    expected = of(function)(U) / (5 if function.density else 1)
    np.testing.assert_allclose(eval_basis.compute_features(x), expected, atol=1e-5)


BOUNDED = [b for b in EVAL if not b._feature_map().function.periodic] + RAW[:2]
CIRCULAR = [b for b in EVAL if b._feature_map().function.periodic]


@pytest.mark.parametrize("eval_basis", BOUNDED, ids=named, indirect=True)
def test_out_of_bounds_is_filled_and_missing_stays_missing(eval_basis):
    eval_basis.set_params(bounds=(0, 10), fill_value=-7.0)
    X = np.asarray(eval_basis.compute_features([0.0, -0.1, 5, 10, 10.1, np.nan]))
    beyond = np.all(X == -7, axis=1)
    np.testing.assert_array_equal(beyond[:5], [False, True, False, False, True])
    assert np.isnan(X[5]).all()


@pytest.mark.parametrize("params", [{"bounds": (0.5, 2.5)}, {}], ids=["given", "learned"])
@pytest.mark.parametrize("eval_basis", CIRCULAR, ids=named, indirect=True)
def test_circular_bases_wrap(eval_basis, params, rng):
    eval_basis.set_params(**params).compute_features([0.5, 2.5])
    x = rng.uniform(-99, 99, 200)
    home = eval_basis.compute_features(0.5 + (x - 0.5) % 2)
    np.testing.assert_allclose(eval_basis.compute_features(x), home, atol=1e-6)
    np.testing.assert_allclose(eval_basis.evaluate(x), home, atol=1e-6)
    design = eval_basis.design(x)
    assert design.known is None
    np.testing.assert_allclose(design @ np.eye(home.shape[1]), home, atol=1e-6)
    np.testing.assert_allclose(jax.jit(eval_basis.compute_features)(x), home, atol=1e-3)
    assert np.isnan(eval_basis.compute_features([np.nan, 1.0])[0]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_waves_are_sines_and_cosines_of_any_angle(dtype, rng):
    angle = np.r_[-1, rng.uniform(-np.pi, np.pi, 50), rng.uniform(-500, 500, 50)].astype(dtype)
    X = np.asarray(basis.FourierEval(2, bounds=(0, 2 * np.pi)).compute_features(angle))
    exact = angle.astype(float)
    np.testing.assert_allclose(X, np.stack([np.cos(exact), np.sin(exact)], 1), atol=1e-6)
    np.testing.assert_allclose(X[0], [0.540302, -0.841471], atol=1e-6)
    box = basis.FourierEval(2, ndim=2, bounds=(0, 1))
    x, y = rng.random((2, 30))
    inside = box.compute_features(x, y)
    np.testing.assert_allclose(box.compute_features(x - 3, y + 2), inside, atol=1e-5)


def test_a_small_range_around_a_large_value_loses_nothing():
    here = basis.BSplineEval(8).compute_features(U)
    there = basis.BSplineEval(8).compute_features(1e7 + U)
    np.testing.assert_allclose(there, here, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, bool])
def test_computation_is_in_float32_whatever_comes_in(dtype):
    x = np.array([0, 1, 1, 0], dtype=dtype)
    for any_basis in ALL:
        assert clone(any_basis).compute_features(np.tile(x, 5)).dtype == np.float32


LEARN = {
    "setup_basis": lambda learner, x: learner.setup_basis(x),
    "compute_features": lambda learner, x: learner.compute_features(x),
    "design": lambda learner, x: learner.design(x),
}


@pytest.mark.parametrize("learn", LEARN.values(), ids=list(LEARN))
@of_eval
def test_bounds_learned_once_hold_for_other_data(eval_basis, learn):
    given = clone(eval_basis).set_params(bounds=(0, 10))
    learn(eval_basis, np.array([0.0, 5.0, 10.0]))
    assert eval_basis.bounds_ == (0, 10)
    assert given.setup_basis([2.0, 4.0]).bounds_ is None
    for x in ([5.0, 0.0], [2.0, 4.0], [7.0]):
        expected = given.compute_features(x)
        np.testing.assert_array_equal(eval_basis.compute_features(x), expected)
        np.testing.assert_array_equal(eval_basis.design(x).compute(), expected)
        np.testing.assert_array_equal(eval_basis.evaluate(np.array(x)), expected)
    beyond = np.isnan(eval_basis.compute_features([-1.0, 11.0])).any()
    assert beyond == (not eval_basis._feature_map().function.periodic)
    assert pickle.loads(pickle.dumps(eval_basis)).bounds_ == (0, 10)
    assert clone(eval_basis).bounds_ is None
    assert repr(eval_basis) == repr(clone(eval_basis))
    assert eval_basis.setup_basis([0.0, 3.0]).bounds_ == (0, 3)
    np.testing.assert_array_equal(
        eval_basis.set_params(bounds=(0, 10)).compute_features([5.0]),
        given.compute_features([5.0]),
    )


EVAL_ON_RANGES = {
    "BSplineEval": lambda: basis.BSplineEval(5),
    "MSplineEval": lambda: basis.MSplineEval(5),
    "CyclicBSplineEval": lambda: basis.CyclicBSplineEval(5),
    "RaisedCosineLinearEval": lambda: basis.RaisedCosineLinearEval(4),
    "RaisedCosineLogEval": lambda: basis.RaisedCosineLogEval(4),
    "OrthExponentialEval": lambda: basis.OrthExponentialEval(2, [1.0, 2.0]),
    "FourierEval": lambda: basis.FourierEval(3),
}


@pytest.mark.parametrize("make", EVAL_ON_RANGES.values(), ids=list(EVAL_ON_RANGES))
@pytest.mark.parametrize("shape", [(40, 3), (40, 2, 2)], ids=str)
def test_channels_have_ranges_of_their_own(make, shape, rng):
    x = rng.normal(size=shape) * (1 + np.arange(shape[-1])) + 5 * np.arange(shape[-1])
    later = np.clip(rng.normal(size=shape), x.min(axis=0), x.max(axis=0))
    whole = make()
    first, second = whole.compute_features(x), whole.compute_features(later)
    alone, flat = [make() for _ in range(x[0].size)], (x.reshape(40, -1), later.reshape(40, -1))
    for found, data in zip((first, second), flat, strict=True):
        expected = [one.compute_features(data[:, i]) for i, one in enumerate(alone)]
        np.testing.assert_allclose(found, np.concatenate(expected, axis=1), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(whole.design(later).compute(), second, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(whole.bounds_, [x.min(axis=0), x.max(axis=0)])
    # Other channels are another variable; a grid, or points of one, show the functions.
    assert whole.compute_features(x[..., 0]).shape[0] == 40
    grid, evaluated = make().setup_basis(x).evaluate_on_grid(11)
    np.testing.assert_allclose(grid, np.linspace(0, 1, 11))
    given = make().set_params(bounds=(0, 1)).evaluate(grid)
    np.testing.assert_allclose(evaluated, given, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("column_first", [False, True])
def test_a_column_is_the_variable_itself(column_first):
    train, other = np.linspace(0, 10, 9), np.linspace(2, 3, 5)
    first, second = (train[:, None], other) if column_first else (train, other[:, None])
    learned = basis.BSplineEval(5).setup_basis(first)
    expected = basis.BSplineEval(5, bounds=(0, 10)).compute_features(other)
    np.testing.assert_allclose(learned.compute_features(second), expected, atol=1e-6)
    assert learned.bounds_ == (0, 10)


@pytest.mark.parametrize("make", EVAL_ON_RANGES.values(), ids=list(EVAL_ON_RANGES))
def test_a_constant_and_no_samples_have_finite_features(make):
    lowest = make().set_params(bounds=(0, 1)).compute_features(np.zeros(3))
    for x in (np.full(3, 7.0), np.full(1, -2.0)):
        found = make().compute_features(x)
        np.testing.assert_allclose(found, lowest[: len(x)], rtol=1e-6)
    none = make()
    assert none.compute_features(np.ones((0, 2))).shape == (0, 2 * none.n_basis_funcs)
    assert none.compute_features([]).shape == (0, none.n_basis_funcs)
    assert none.bounds_ is None
    mixed = make().compute_features(np.column_stack([np.full(3, 7.0), [0.0, 1.0, 2.0]]))
    np.testing.assert_allclose(mixed[:, : none.n_basis_funcs], lowest, rtol=1e-6)


def test_nothing_is_learned_by_looking_at_functions():
    looked_at = basis.BSplineEval(5)
    looked_at.evaluate(U)
    looked_at.evaluate_on_grid(9)
    assert looked_at.bounds_ is None
    waves = basis.FourierEval(3)
    waves.compute_features([0.0, 1.0])
    assert waves.set_params(ndim=2).compute_features([0.0, 2.0], [0.0, 4.0]).shape == (2, 16)
    assert waves.bounds_ == ((0, 2), (0, 4))


@of_all
def test_channels_are_handled_one_by_one(any_basis, rng):
    x = rng.random((40, 3))
    x[0], x[1] = 0, 1
    X = np.asarray(any_basis.compute_features(x))
    alone = [np.asarray(any_basis.compute_features(column)) for column in x.T]
    np.testing.assert_allclose(X, np.hstack(alone), atol=1e-6)


@of_all
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


@pytest.mark.parametrize("conv_basis", CONV, ids=named)
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


@pytest.mark.parametrize("conv_basis", CONV, ids=named)
def test_conv_forgets_where_time_jumps(conv_basis, rng):
    x = nap.Tsd(np.arange(80.0), rng.normal(size=80))
    part = x[np.r_[:30, 45:80]]
    X = conv_basis.compute_features(part)
    missing = np.isnan(X.d).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(missing), [*range(12), *range(30, 42)])
    whole = conv_basis.compute_features(x).d[np.r_[:30, 45:80]]
    np.testing.assert_allclose(X.d[~missing], whole[~missing], atol=1e-5)
    np.testing.assert_array_equal(conv_basis.design(part).known, ~missing)


@pytest.mark.parametrize("conv_basis", CONV, ids=named)
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


@of_all
def test_sklearn_can_copy_change_and_store_a_basis(any_basis):
    copy = clone(any_basis)
    assert repr(copy) == repr(any_basis)
    if not isinstance(any_basis, basis.CustomBasis):  # lambdas cannot be pickled
        assert repr(copy) == repr(pickle.loads(pickle.dumps(any_basis)))
    names = list(inspect.signature(type(any_basis)).parameters)
    assert sorted(copy.get_params()) == sorted(names)
    copy.set_params(label="other")
    assert copy.label == "other"
    assert any_basis.label == type(any_basis).__name__
    if "n_basis_funcs" in names and "decay_rates" not in names:
        copy.set_params(n_basis_funcs=7)
        assert copy.compute_features(U).shape == (101, 7)


@pytest.mark.parametrize(
    "kind", [getattr(basis, name) for name in basis.__all__], ids=lambda kind: kind.__name__
)
def test_public_classes_document_themselves(kind):
    doc = inspect.getdoc(kind)
    if kind is not basis.Basis:
        described, example = doc.split("Examples\n--------\n")
        assert kind.__name__ in example or " + " in example or " * " in example
        parameters = re.search(r"Parameters\n-+\n(.*?)\n\n", described, re.DOTALL)[1]
        names = re.findall(r"^(\w.*) : ", parameters, re.MULTILINE)
        assert ", ".join(names) == ", ".join(inspect.signature(kind).parameters)
    assert kind.__module__.startswith("spikax.basis.")


@of_all
def test_the_grid_spans_the_bounds(any_basis):
    low, high = 0.0, 1.0
    if "bounds" in any_basis.get_params():
        low, high = 2.0, 4.0
        any_basis.set_params(bounds=(low, high))
    grid, evaluated = any_basis.evaluate_on_grid(11)
    np.testing.assert_allclose(grid, np.linspace(low, high, 11))
    np.testing.assert_allclose(evaluated, any_basis.evaluate(grid))


class TestCategory:
    """One column for each category."""

    @pytest.mark.parametrize(
        ("categories", "x"),
        [(["b", "a", "c"], ["a", "b", "z", "c"]), ([3, 1, 2], [1, 3, 9, 2])],
        ids=str,
    )
    def test_columns_are_indicators(self, categories, x):
        X = np.asarray(basis.Category(categories).compute_features(x))
        in_order = sorted(categories)
        np.testing.assert_array_equal(X, [[value == c for c in in_order] for value in x])
        grid, evaluated = basis.Category(categories).evaluate_on_grid(3)
        np.testing.assert_array_equal(grid, in_order)
        np.testing.assert_array_equal(evaluated, np.eye(3))

    def test_a_number_counts_from_zero_and_missing_is_missing(self):
        X = np.asarray(basis.Category(2).compute_features([0, np.nan, 1, 2]))
        np.testing.assert_array_equal(X, [[1, 0], [np.nan, np.nan], [0, 1], [0, 0]])
        strings = np.array(["a", None, "b"], dtype=object)
        X = np.asarray(basis.Category(["a", "b"], out_of_category=False).compute_features(strings))
        np.testing.assert_array_equal(X, [[1, 0], [np.nan, np.nan], [0, 1]])

    @pytest.mark.parametrize("kind", ["string", "str", "object", "category"])
    def test_missing_text_of_pandas_is_missing(self, kind):
        side = pd.Series(["A", None], dtype=kind)
        category = basis.Category(["A", "B"])
        for found in (
            category.compute_features(side),
            category.to_transformer().fit_transform(pd.DataFrame({"side": side})),
        ):
            np.testing.assert_array_equal(found, [[1, 0], [np.nan, np.nan]])

    def test_missing_numbers_of_pandas_are_missing(self):
        for kind in ("Int64", "Float32", "category"):
            X = basis.Category(2).compute_features(pd.Series([0, None, 1], dtype=kind))
            np.testing.assert_array_equal(X, [[1, 0], [np.nan, np.nan], [0, 1]])
        all_missing = pd.Series([None, None], dtype="string")
        assert np.isnan(basis.Category(["A"]).compute_features(all_missing)).all()

    @pytest.mark.parametrize(
        "side",
        [
            *(pd.Series(["A", None, "B"], dtype=kind) for kind in ("string", "str", "category")),
            pd.array(["A", None, "B"], dtype="string"),
            pd.Categorical(["A", None, "B"]),
            np.array(["A", None, "B"], np.dtypes.StringDType(na_object=None)),
            *(["A", missing, "B"] for missing in (None, np.nan, pd.NA, pd.NaT)),
        ],
        ids=lambda side: f"{type(side).__name__} {getattr(side, 'dtype', side)}",
    )
    def test_text_may_be_missing_in_any_way(self, side):
        category = basis.Category(["A", "B"], out_of_category=False)
        expected = [[1, 0], [np.nan, np.nan], [0, 1]]
        np.testing.assert_array_equal(category.compute_features(side), expected)
        np.testing.assert_array_equal(category.design(side).known, [True, False, True])
        frame = pd.DataFrame({"side": side})
        if frame["side"].dtype.kind == "O":
            out = category.to_transformer().fit_transform(frame)
            np.testing.assert_array_equal(out, expected)

    @pytest.mark.parametrize("kind", ["Int64", "Float64", "category", "boolean", object])
    def test_numbers_may_be_missing_in_any_way(self, kind):
        numbers = pd.Series([1, None, 0], dtype=kind)
        X = basis.Category([False, True] if kind == "boolean" else 2).compute_features(numbers)
        np.testing.assert_array_equal(X, [[0, 1], [np.nan, np.nan], [1, 0]])


class TestCustom:
    """Functions of the user's own."""

    def test_what_functions_return_stands_side_by_side(self, rng):
        x, y = rng.random((2, 30))
        custom = basis.CustomBasis(
            [lambda x, y, p: x * y**p, lambda x, y, p, q=3: x + p * q * y], basis_kwargs={"p": 2}
        )
        X = custom.compute_features(x, y)
        np.testing.assert_allclose(X, np.column_stack([x * y**2, x + 6 * y]), atol=1e-6)
        assert custom.evaluate_on_grid(3, 4)[-1].shape == (3, 4, 2)

    def test_functions_may_return_several_values(self, rng):
        x = rng.random((30, 2))
        custom = basis.CustomBasis([lambda x: np.stack([x, x**2, x**3], axis=-1)], label="powers")
        X = custom.compute_features(x)
        assert custom.split_by_feature(X)["powers"].shape == (30, 3, 2, 1)
        powers = x[:, None] ** np.arange(1, 4)[:, None]
        np.testing.assert_allclose(X, powers.reshape(30, 6), atol=1e-6)

    def test_functions_may_take_images(self, rng):
        images = rng.random((30, 4, 5))
        custom = basis.CustomBasis([lambda x: x.mean(axis=(1, 2))], ndim_input=3)
        X = custom.compute_features(images)
        np.testing.assert_allclose(np.ravel(X), images.mean(axis=(1, 2)), atol=1e-6)

    def test_functions_see_pynapple_where_the_basis_does_not_take_it_apart(self):
        seen = []
        series = nap.Tsd(np.arange(9.0), np.arange(9.0))
        for support in (True, False):
            custom = basis.CustomBasis(
                [lambda x: seen.append(type(x)) or x], pynapple_support=support
            )
            assert isinstance(custom.compute_features(series), nap.TsdFrame)
        assert seen == [np.ndarray, nap.Tsd]

    def test_bounds_hold_for_each_channel_of_functions_with_several_values(self):
        x = np.array([[0.2, 5.0], [0.4, 0.6]])
        custom = basis.CustomBasis(
            [lambda x: np.stack([x, -x, 2 * x], axis=1)], bounds=(0, 1), fill_value=9
        )
        found = np.reshape(custom.compute_features(x), (2, 3, 2))  # sample, value, channel
        np.testing.assert_allclose(found[0, :, 0], [0.2, -0.2, 0.4], rtol=1e-6)
        np.testing.assert_array_equal(found[0, :, 1], 9)
        np.testing.assert_allclose(found[1, 1], [-0.4, -0.6], rtol=1e-6)

    @pytest.mark.parametrize(
        ("custom", "error", "message"),
        [
            (basis.CustomBasis([3]), TypeError, r"funcs is \[3\]"),
            (basis.CustomBasis([]), TypeError, "at least one"),
            (basis.CustomBasis([lambda x: x[1:]]), ValueError, "returned shape"),
            (basis.CustomBasis([lambda x: x], output_shape=2), ValueError, "returned shape"),
            (basis.CustomBasis([lambda x: 1j * x]), TypeError, "is_complex=True"),
            (basis.CustomBasis([lambda x: x, lambda x, y: x]), ValueError, "same number"),
            (basis.CustomBasis([lambda x: x], ndim_input=2), ValueError, "ndim_input is 2"),
            (basis.CustomBasis([np.sin], basis_kwargs=[1]), ValueError, "must be a dictionary"),
        ],
        ids=named,
    )
    def test_bad_functions_get_an_answer(self, custom, error, message):
        with pytest.raises(error, match=message):
            custom.compute_features(U)

    def test_complex_functions_may_be_asked_for(self):
        custom = basis.CustomBasis([lambda x: jnp.exp(1j * x)], is_complex=True)
        np.testing.assert_allclose(custom.compute_features(U)[:, 0], np.exp(1j * U), atol=1e-6)


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
        (basis.BSplineEval(5), np.full(9, np.nan), ValueError, "no samples that are not NaN"),
        (
            basis.BSplineEval(5),
            np.r_[U, np.inf],
            ValueError,
            r"'BSplineEval' is infinite at \(101,",
        ),
        (basis.HistoryConv(5), np.r_[U, -np.inf], ValueError, "infinite at"),
        (basis.HistoryConv(5, conv_kwargs={"axis": 1}), U, ValueError, "transpose the input"),
        (basis.HistoryConv(0), U, ValueError, "window_size is 0"),
        (basis.MSplineEval(3), U, ValueError, "n_basis_funcs is 3, but .* >= 4"),
        (basis.BSplineConv(3, window_size=9), U, ValueError, "n_basis_funcs is 3, but .* >= 4"),
        (basis.OrthExponentialEval(2, [1, 1]), U, ValueError, "must all be different"),
        (basis.OrthExponentialEval(2, [1, 2, 3]), U, ValueError, "must be 2 positive"),
        (basis.OrthExponentialConv(3, 2, [1, 2, 3]), U, ValueError, "window_size is 2"),
        (basis.FourierEval(0), U, ValueError, "frequencies has 0"),
        (basis.FourierEval(1.5), U, ValueError, "frequencies has 1.5"),
        (basis.FourierEval([1, 2]), U, ValueError, "one entry for each of the 1"),
        (basis.FourierEval(3, frequency_mask=[1, 0]), U, ValueError, r"of shape \(3,\)"),
        (basis.FourierEval(1), U, ValueError, "keeps no frequency"),
        (basis.Category([1, 1]), U, ValueError, "names one of them twice"),
        (basis.Category("left"), U, ValueError, "must be a list"),
        (basis.Category(["a"]), U, TypeError, "Name the categories as the samples do"),
        (basis.Category(["1.0"]), U.astype(object), TypeError, "Name the categories as the"),
        (basis.Category(2), np.array(["a", None], object), TypeError, "Name the categories"),
        (basis.Category(2), np.array([0, 1], "m8[s]"), TypeError, "Name the categories"),
        (basis.Category(2, out_of_category=False), [0, 7], ValueError, r"\['7'\] are in none"),
        (basis.Category(2, out_of_category=1), [0, 1], TypeError, "out_of_category must be True"),
        (basis.BSplineEval(5), 0.5, ValueError, "a scalar"),
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
    assert fresh.n_output_features is None
    with pytest.raises(ValueError, match="does not know the shape of its inputs"):
        fresh.split_by_feature(np.ones((4, 5)))
    fresh.compute_features(U)
    with pytest.raises(ValueError, match="5 features are needed along axis 1"):
        fresh.split_by_feature(np.ones((4, 6)))
    with pytest.raises(AttributeError, match="does not convolve"):
        _ = fresh.kernel_


def test_bounds_must_be_known_before_tracing():
    with pytest.raises(ValueError, match="unknown while JAX traces"):
        jax.jit(basis.BSplineEval(5).compute_features)(U)
    learned = basis.BSplineEval(5).setup_basis(U)
    np.testing.assert_allclose(
        jax.jit(learned.compute_features)(U), learned.compute_features(U), atol=1e-6
    )


def test_parameters_are_those_that_nemos_takes_in_its_order():
    assert list(inspect.signature(basis.RaisedCosineLogConv).parameters) == [
        *("n_basis_funcs", "window_size", "width", "time_scaling", "enforce_decay_to_zero"),
        *("label", "conv_kwargs"),
    ]
    assert list(inspect.signature(basis.FourierEval).parameters) == [
        *("frequencies", "ndim", "bounds", "frequency_mask", "label")
    ]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'window_size'"):
        basis.BSplineConv(5)
