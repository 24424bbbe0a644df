"""Designs of a basis: models take them as they take the features, which are never held."""

import pickle

import jax
import numpy as np
import pynapple as nap
import pytest
from sklearn.base import clone

from compilations import counted
from spikax import basis, inference
from spikax.design import FeatureSource, is_source, products, spread
from spikax.diagnostics import cross_validated_scores
from spikax.fit import fit_population
from spikax.glm import GLM, ClassifierGLM, PopulationGLM
from spikax.model_selection import PopulationGLMCV

N = 4500  # in two blocks


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    position = np.abs(np.cumsum(0.02 * rng.normal(size=N)) % 2 - 1)
    counts = rng.poisson(np.exp(2 * np.stack([position, 1 - position], 1) - 2)).astype(float)
    return position, 7.0 * rng.random(N), rng.normal(size=(N, 2)), counts


def with_gaps(x):
    x = np.array(x)
    x[[0, 70, 71, 3000]] = np.nan
    return x


def epochs(x):
    """Put samples on a time axis of three epochs, one of them shorter than most windows."""
    t = np.arange(len(x)) * 0.01
    ends = t[[1999, 2009, N - 1]]
    support = nap.IntervalSet(t[[0, 2000, 2010]], ends + 1e-4)
    return (nap.Tsd if np.ndim(x) == 1 else nap.TsdFrame)(t=t, d=x, time_support=support)


def conv(name, **kwargs):
    kwargs = {"n_basis_funcs": 5, "window_size": 30} | kwargs
    if name == "OrthExponentialConv":
        kwargs["decay_rates"] = [1.0, 2.0, 4.0, 8.0, 16.0]
    if name == "HistoryConv":
        del kwargs["n_basis_funcs"]
    return getattr(basis, name)(**kwargs)


CONVS = [name for name in basis.__all__ if name.endswith("Conv")]
SPLINES = basis.BSplineEval(6, label="place") + basis.RaisedCosineLogConv(4, 20, label="past")

# What bases there are, with the inputs that they take from (position, speed, signal, counts).
CASES = {
    **{name: (conv(name), lambda x, v, s, y: (s,)) for name in CONVS},
    **{
        name: (getattr(basis, name)(5, bounds=(0.2, 0.9)), lambda x, v, s, y: (x,))
        for name in ("BSplineEval", "CyclicBSplineEval", "MSplineEval", "RaisedCosineLinearEval")
    },
    "learned bounds": (basis.RaisedCosineLogEval(5), lambda x, v, s, y: (s,)),
    "filled out of bounds": (
        basis.MSplineEval(5, bounds=(1, 5), fill_value=0.5),
        lambda x, v, s, y: (with_gaps(v),),
    ),
    "OrthExponentialEval": (
        basis.OrthExponentialEval(3, [1, 2, 3]),
        lambda x, v, s, y: (with_gaps(v),),
    ),
    "FourierEval of two": (
        basis.FourierEval(3, ndim=2, bounds=((0.1, 1), (0, 7))),
        lambda x, v, s, y: (x, v),
    ),
    "IdentityEval": (
        basis.IdentityEval(bounds=(0, 5), fill_value=-1.0),
        lambda x, v, s, y: (with_gaps(v),),
    ),
    "Category": (
        basis.Category(["a", "b", "c"]),
        lambda x, v, s, y: (np.array([*"abcd"])[(4 * x).astype(int).clip(0, 3)],),
    ),
    "CustomBasis": (
        basis.CustomBasis([lambda x: x - np.nanmean(np.asarray(x)), np.square]),
        lambda x, v, s, y: (with_gaps(v),),
    ),
    "channels in two axes": (
        conv("BSplineConv"),
        lambda x, v, s, y: (np.stack([s, with_gaps(s), s**2], 1),),
    ),
    "acausal": (
        conv("BSplineConv", conv_kwargs={"predictor_causality": "acausal"}),
        lambda x, v, s, y: (s,),
    ),
    "anti-causal, with the sample itself": (
        conv("BSplineConv", conv_kwargs={"predictor_causality": "anti-causal", "shift": False}),
        lambda x, v, s, y: (with_gaps(s),),
    ),
    "a long window": (conv("BSplineConv", window_size=1500), lambda x, v, s, y: (s,)),
    "epochs": (SPLINES, lambda x, v, s, y: (epochs(x), epochs(with_gaps(y)))),
    "a jump in time": (
        conv("BSplineConv", conv_kwargs={"predictor_causality": "acausal"}),
        lambda x, v, s, y: (nap.TsdFrame(np.r_[:1000, 1010 : N + 10], s),),
    ),
    "a product": (
        basis.BSplineEval(5, label="a") * basis.CyclicBSplineEval(4, bounds=(0, 7), label="b"),
        lambda x, v, s, y: (x, with_gaps(v)),
    ),
    "a product of a sum, and a sum": (
        (basis.BSplineEval(4, label="a") + conv("RaisedCosineLinearConv", label="b"))
        * basis.IdentityEval(label="c")
        + conv("HistoryConv", window_size=3, label="d"),
        lambda x, v, s, y: (s, s, s**2, y),
    ),
    "a variable left out": (
        basis.Zero(label="none") + basis.BSplineEval(5),
        lambda x, v, s, y: (with_gaps(v), x),
    ),
}


@pytest.fixture(params=CASES)
def case(request, data):
    """Yield a basis and its inputs."""
    made, inputs = CASES[request.param]
    return clone(made), inputs(*data)


@pytest.mark.filterwarnings("ignore:1 of 3 epochs have fewer than the")
def test_a_design_evaluates_the_features_of_its_basis(case):
    made, inputs = case
    X = np.asarray(made.compute_features(*inputs))
    design = made.design(*inputs)
    assert design.shape == X.shape
    assert len(design) == len(X)
    np.testing.assert_array_equal(design.compute(), X)
    missing = np.isnan(X).any(axis=1)
    expected = np.where(missing[:, None], np.nan, X)
    scale = np.nanmax(np.abs(X))
    np.testing.assert_allclose(design @ np.eye(X.shape[1]), expected, 1e-5, 2e-6 * scale)

    # Some samples by themselves are those of the blocks.
    some = np.array([N - 1, 2500, 0, 71, 2600])
    rows = design.evaluated().rows(some)
    np.testing.assert_allclose(rows, np.where(missing[:, None], 0, X)[some], 1e-5, 2e-6 * scale)


def test_models_know_a_source_by_its_protocol(data):
    design = clone(SPLINES).design(data[0], data[3])
    assert isinstance(design, FeatureSource)
    assert is_source(design)
    X = np.asarray(design.compute())
    for other in (X, jax.numpy.asarray(X), nap.TsdFrame(np.arange(N), X), {"a": X}, [X], SPLINES):
        assert not is_source(other)


class Wrapped:
    """A source of features that is no design of a basis, with what the protocol names alone."""

    def __init__(self, source):
        self._source = source

    def __len__(self):
        return len(self._source)

    def __matmul__(self, coef):
        return self._source @ coef

    def __getattr__(self, name):
        if name.startswith("__") or name not in vars(FeatureSource):
            raise AttributeError(name)
        return getattr(self._source, name)


def test_models_take_any_source_of_features(data):
    y = data[3]
    design = basis.RaisedCosineLogConv(4, window_size=20).design(with_gaps(y))
    one, other = (PopulationGLM().fit(source, y) for source in (design, Wrapped(design)))
    np.testing.assert_array_equal(one.coef_, other.coef_)
    np.testing.assert_array_equal(one.predict(design), other.predict(Wrapped(design)))
    assert one.score(design, y) == other.score(Wrapped(design), y)
    params = (np.zeros_like(one.coef_), np.zeros(y.shape[1]))
    losses = [one.compute_loss(params, X, y) for X in (design, Wrapped(design))]
    assert losses[0] == losses[1]
    means = [inference.infer(one, X, y).reference for X in (design, Wrapped(design))]
    np.testing.assert_array_equal(*means)


@pytest.mark.filterwarnings("ignore:1 of 3 epochs have fewer than the")
def test_the_columns_are_measured_as_numpy_does(case):
    made, inputs = case
    X = np.asarray(made.compute_features(*inputs), float)
    rows = np.arange(N) % 3 > 0
    kept = X[rows & ~np.isnan(X).any(axis=1)]
    n, mean, squares, low, high = (np.asarray(a, float) for a in made.design(*inputs).spread(rows))
    size = np.abs(kept).max()
    assert n.sum() == len(kept)
    np.testing.assert_allclose(n @ mean / n.sum(), kept.mean(axis=0), 1e-5, 1e-6 * size)
    np.testing.assert_allclose(low.min(axis=0), kept.min(axis=0), 1e-5, 2e-6 * size)
    np.testing.assert_allclose(high.max(axis=0), kept.max(axis=0), 1e-5, 2e-6 * size)
    between = n @ (mean - kept.mean(axis=0)) ** 2
    deviation = np.sqrt((squares.sum(axis=0) + between) / n.sum())
    np.testing.assert_allclose(deviation, kept.std(axis=0), 1e-3, 1e-5 * size)


def both_ways(model, made, inputs, y, **kwargs):
    """Fit to the design and to the features."""
    design = made.design(*inputs)
    lazy = clone(model).fit(design, y, **kwargs)
    held = clone(model).fit(made.compute_features(*inputs), y, **kwargs)
    return lazy, held, design


def assert_same_predictions(lazy, held, design):
    expected = np.asarray(held.predict(design.compute()))
    np.testing.assert_allclose(lazy.predict(design), expected, 2e-3, 1e-4)


MODELS = {
    "default": (PopulationGLM(), {}),
    "ridge": (PopulationGLM(regularizer="Ridge", regularizer_strength=0.01), {}),
    "strengths of neurons": (
        PopulationGLM(regularizer="Ridge", regularizer_strength=[0.001, 0.1]),
        {},
    ),
    "lasso": (PopulationGLM(regularizer="Lasso", regularizer_strength=0.01), {}),
    "newton": (PopulationGLM(solver_name="Newton"), {}),
    "svrg": (
        PopulationGLM("Poisson", None, "Ridge", 0.01, "SVRG"),
        {},
    ),
    "jaxopt": (
        PopulationGLM("Poisson", None, "Ridge", 0.01, "LBFGS[jaxopt]"),
        {},
    ),
    "gradient descent in double precision": (
        PopulationGLM("Poisson", None, "Ridge", 0.1, "GradientDescent[jaxopt]"),
        {},
    ),
    "mask": (
        PopulationGLM(feature_mask=np.arange(28).reshape(14, 2) % 3 > 0),
        {},
    ),
    "weights and offset": (
        PopulationGLM(),
        {"sample_weight": np.arange(N) % 3, "offset": np.linspace(-1, 1, N)},
    ),
    "no intercept": (PopulationGLM(fit_intercept=False), {}),
    "gaussian": (PopulationGLM("Gaussian"), {}),
    "cross-validated": (PopulationGLMCV(strengths=[0.1, 0.001], cv=3), {}),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_to_a_design_is_that_to_its_features(name, data):
    model, kwargs = MODELS[name]
    x, _, _, y = data
    lazy, held, design = both_ways(model, clone(SPLINES), (with_gaps(x), y), y, **kwargs)
    assert lazy.coef_.shape == held.coef_.shape == (14, 2)
    assert_same_predictions(lazy, held, design)
    X = design.compute()
    for score_type in ("log-likelihood", "pseudo-r2-Cohen"):
        expected = held.score(X, y, score_type)
        assert lazy.score(design, y, score_type) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_in_double_precision_the_coefficients_agree(data):
    x, _, s, y = data
    made = basis.BSplineEval(6, label="x") + conv("RaisedCosineLogConv")
    model = PopulationGLM(regularizer="Ridge", solver_kwargs={"tol": 1e-12})
    with jax.enable_x64(True):
        lazy, held, design = both_ways(model, made, (x, s), y)
        np.testing.assert_allclose(lazy.coef_, held.coef_, 1e-6, 1e-9)
        np.testing.assert_allclose(lazy.intercept_, held.intercept_, 1e-6, 1e-9)
        np.testing.assert_allclose(lazy.predict(design), held.predict(design.compute()), 1e-7)


def test_all_that_a_model_can_do_takes_a_design(data, key):
    x, _, _, y = data
    made = clone(SPLINES)
    lazy, held, design = both_ways(GLM(), made, (with_gaps(x), y), y[:, 0])
    X, parameters = design.compute(), (held.coef_, held.intercept_)
    lazy.coef_, lazy.intercept_ = parameters
    sample, rate = lazy.simulate(key, design)
    np.testing.assert_allclose(rate, held.predict(X), 1e-4, 1e-5)
    np.testing.assert_array_equal(np.isnan(sample), np.isnan(rate))
    loss, slope = jax.value_and_grad(lazy.compute_loss)(parameters, design, y[:, 0])
    expected, expected_slope = jax.value_and_grad(held.compute_loss)(parameters, X, y[:, 0])
    assert loss == pytest.approx(float(expected), rel=1e-6)
    np.testing.assert_allclose(slope[0], expected_slope[0], 1e-4, 1e-6)

    state = lazy.initialize_optimizer_and_state(parameters, design, y[:, 0])
    (coef, _), _ = lazy.update(parameters, state, design, y[:, 0])
    assert np.isfinite(coef).all()
    one, other = GLM().partial_fit(design, y[:, 0]), GLM().partial_fit(X, y[:, 0])
    np.testing.assert_allclose(one.predict(design), other.predict(design), 1e-5, 1e-5)
    assert made.split_by_feature(lazy.coef_, axis=0)["past"].shape == (2, 4)
    copy = pickle.loads(pickle.dumps(lazy))
    np.testing.assert_array_equal(copy.predict(design), lazy.predict(design))


def test_classifiers_take_a_design(data):
    x, _, _, y = data
    labels = np.where(x < 0.3, "left", "right")
    lazy, held, design = both_ways(
        ClassifierGLM(regularizer_strength=0.01), clone(SPLINES), (x, y), labels
    )
    probability = lazy.predict_proba(design, "proba")
    np.testing.assert_allclose(
        probability, held.predict_proba(design.compute(), "proba"), 2e-3, 1e-5
    )


def test_inference_takes_a_design(data):
    x, _, _, y = data
    made = basis.BSplineEval(6, bounds=(0, 1), label="x") + conv("RaisedCosineLogConv", label="y")
    model = PopulationGLM(regularizer="Ridge", regularizer_strength=0.01)
    lazy, held, design = both_ways(model, made, (x, y), y)
    one, other = inference.infer(lazy, design, y), inference.infer(held, design.compute(), y)
    np.testing.assert_allclose(one.standard_error, other.standard_error, 1e-3)
    np.testing.assert_allclose(one.reference, other.reference, 1e-4, 1e-5)


def test_large_and_constant_columns_lose_nothing(data):
    x, _, _, y = data
    made = basis.IdentityEval(label="large") + basis.IdentityEval(label="constant")
    lazy, held, _ = both_ways(GLM(), made, (1e4 + x, np.full(N, 3.3)), y[:, 0])
    assert lazy.coef_[1] == held.coef_[1] == 0
    exact = GLM().fit(np.float32(1e4 + x)[:, None].astype(float) - 1e4, y[:, 0])
    np.testing.assert_allclose(lazy.coef_[0], exact.coef_[0], 1e-3)


def test_time_axes_go_in_and_come_out(data):
    x, _, _, y = data
    made = basis.BSplineEval(6, label="place") + basis.RaisedCosineLogConv(4, 8, label="past")
    design = made.design(epochs(x), epochs(y))
    model = PopulationGLM().fit(design, epochs(y))
    rate = model.predict(design)
    assert isinstance(rate, nap.TsdFrame)
    np.testing.assert_array_equal(rate.t, epochs(y).t)
    # The first samples of each epoch have no past.
    edges = [*range(8), *range(2000, 2008), *range(2010, 2018)]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(rate.d[:, 0])), edges)
    later = nap.TsdFrame(t=epochs(y).t + 1, d=y)
    with pytest.raises(ValueError, match="X and y have different time axes"):
        model.fit(design, later)


def test_bounds_are_learned_once(data):
    x, *_ = data
    made = basis.BSplineEval(5)
    design = made.design(x)
    again = design.basis.design(x / 2)
    assert design.basis.bounds_ == again.basis.bounds_ == (x.min(), x.max())
    assert made.bounds_ == design.basis.bounds_
    np.testing.assert_array_equal(again.compute(), design.basis.compute_features(x / 2))
    known = made.setup_basis(x).design(x / 2)
    np.testing.assert_allclose(known @ np.eye(5), again @ np.eye(5))


def test_nothing_that_was_passed_changes(data):
    x, _, _, y = data
    x, counts = with_gaps(x), y.astype(np.int64)
    before = x.copy(), counts.copy()
    design = clone(SPLINES).design(x, counts)
    PopulationGLM().fit(design, counts)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(counts, before[1])


def test_a_refit_to_other_data_compiles_nothing(data):
    x, _, _, y = data

    def fit(x, y):
        design = clone(SPLINES).design(x, y)
        model = PopulationGLM(regularizer="Ridge", regularizer_strength=0.1).fit(design, y)
        return model.predict(design), model.score(design, y)

    fit(x, y)
    with counted() as compilations:
        fit(2 * x[::-1].copy(), y[::-1].copy())
    assert compilations == []


@pytest.fixture(scope="module")
def longer():
    """Yield designs of a number of samples and of twice as many, with observations."""
    y = np.random.default_rng(0).poisson(0.5, (40_000, 12)).astype(float)
    made = basis.RaisedCosineLogConv(12, window_size=20)
    return [(made.design(y[:n]), y[:n, :2]) for n in (20_000, 40_000)]


def check_room(longer, lower):
    """Check that what one design has more samples takes less than half their features' room."""
    memory = [lower(*item).compile().memory_analysis() for item in longer]
    less, more = (m.argument_size_in_bytes + m.temp_size_in_bytes for m in memory)
    (shorter, _), (design, _) = longer
    assert more - less < (len(design) - len(shorter)) * design.shape[1] * 4 / 2


@pytest.mark.parametrize(
    ("solver", "regularizer"),
    [(None, "Ridge"), ("Newton", "Ridge"), (None, "Lasso"), ("LBFGS[jaxopt]", "Ridge")],
)
def test_no_fit_needs_room_for_the_features(solver, regularizer, longer):
    model = PopulationGLM(regularizer=regularizer, solver_name=solver)
    solver = model.resolve().solver()

    def lower(design, y):
        return fit_population.lower(*model.assemble(design, y)[:3], solver)

    check_room(longer, lower)


def test_no_walk_and_no_gradient_needs_room_for_the_features(longer):
    coef = np.ones((longer[0][0].shape[1], 2), np.float32)

    def gradient(design, y):
        evaluated = design.evaluated()
        return jax.jit(jax.grad(lambda w: (products(evaluated, w, 0.0) ** 2).sum())).lower(coef)

    check_room(longer, lambda design, y: spread.lower(design.evaluated()))
    check_room(longer, lambda design, y: products.lower(design.evaluated(), coef, 0.0))
    check_room(longer, gradient)


def test_bad_inputs_are_refused(data):
    x, v, s, y = data
    made = clone(SPLINES)
    with pytest.raises(TypeError, match="1 inputs were given, but 2 are needed"):
        made.design(x)
    with pytest.raises(ValueError, match="need the same number of samples"):
        made.design(x, y[1:])
    with pytest.raises(ValueError, match="different time axes"):
        made.design(nap.Tsd(np.arange(N) + 1.0, x), nap.TsdFrame(np.arange(N), y))
    with pytest.raises(ValueError, match="is infinite at"):
        made.design(np.where(x > 0.5, np.inf, x), y)
    with pytest.raises(ValueError, match="has 'causality', which is not one of predictor_caus"):
        conv("BSplineConv", conv_kwargs={"causality": "acausal"}).design(s)

    design = made.design(x, y)
    with pytest.raises(ValueError, match="X has 4500, y has 4499"):
        PopulationGLM().fit(design, y[1:])
    with pytest.raises(TypeError, match="models take only as the whole of X"):
        PopulationGLM().fit({"a": design}, y)
    model = PopulationGLM().fit(design, y)
    with pytest.raises(ValueError, match="expecting 14 features"):
        model.predict(basis.BSplineEval(5).design(v))
    with pytest.raises(TypeError, match="design of a basis"):
        cross_validated_scores(model, design, y)
