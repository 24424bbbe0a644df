"""What holds the numbers does not matter, at any door: the same result, or one clear error."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pynapple as nap
import pytest
import scipy.sparse
from sklearn.utils import Bunch

import spikax as nmo
from spikax import basis, diagnostics, inference, model_selection
from spikax.convolve import create_convolutional_predictor
from spikax.glm import GLM, ClassifierGLM, ClassifierPopulationGLM, PopulationGLM
from spikax.identifiability_constraints import apply_identifiability_constraints
from spikax.model_selection import PopulationGLMCV

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*needs? a look:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*from its optimum:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:X has feature names:UserWarning"),
    pytest.mark.filterwarnings("ignore:X is float32:UserWarning"),
]

T = 24
RNG = np.random.default_rng(3)
# Small whole numbers, which every type holds exactly.
X = RNG.integers(0, 3, size=(T, 2)).astype(float)
Y = RNG.integers(0, 3, size=(T, 2)).astype(float)
CHOICE = (Y > 0).astype(float)
RATE = 0.5 + 0.5 * X
TIMES = 0.1 * np.arange(T)
LOST = 5  # the row that is missing


def frame(v):
    """Hold numbers as pandas does."""
    return pd.Series(v) if v.ndim == 1 else pd.DataFrame(v, columns=["a", "b"])


def series(v):
    """Hold numbers as pynapple does."""
    return {1: nap.Tsd, 2: nap.TsdFrame, 3: nap.TsdTensor}[np.ndim(v)](t=TIMES, d=v)


def masked(v):
    """Mask a row, beneath which there is something else."""
    mask = np.zeros(v.shape, bool)
    mask[LOST] = True
    return np.ma.masked_array(np.where(mask, 2, v), mask)


def nullable(kind):
    """Hold numbers, but for a row, as a nullable type of pandas."""

    def hold(v):
        held = frame(v).astype(kind)
        held.iloc[LOST] = pd.NA
        return held

    return hold


def objects(v):
    """Hold numbers, but for a row, as objects."""
    held = v.astype(object)
    held[LOST] = None
    return held


def missing(v):
    """Hold numbers, but for a row, as NaN."""
    held = v.copy()
    held[LOST] = np.nan
    return held


def read_only(v):
    """Hold numbers that cannot be changed."""
    held = v.copy()
    held.flags.writeable = False
    return held


SAME = {
    "float32": lambda v: v.astype(np.float32),
    "float16": lambda v: v.astype(np.float16),
    "longdouble": lambda v: v.astype(np.longdouble),
    "int8": lambda v: v.astype(np.int8),
    "uint64": lambda v: v.astype(np.uint64),
    "big-endian": lambda v: v.astype(">f8"),
    "big-endian whole": lambda v: v.astype(">i4"),
    "objects": lambda v: v.astype(object),
    "nothing masked": np.ma.masked_array,
    "fortran": np.asfortranarray,
    "backwards": lambda v: v[::-1].copy()[::-1],
    "read-only": read_only,
    "list": lambda v: v.tolist(),
    "jax": jnp.asarray,
    "bfloat16": lambda v: jnp.asarray(v, jnp.bfloat16),
    "bfloat16 of NumPy": lambda v: np.asarray(jnp.asarray(v, jnp.bfloat16)),
    "pandas": frame,
    "Int64": lambda v: frame(v).astype("Int64"),
    "Float32": lambda v: frame(v).astype("Float32"),
    "category": lambda v: frame(v).astype("category"),
    "at dates": lambda v: frame(v).set_axis(pd.date_range("2026", periods=T)),
    "pynapple": series,
    "pynapple's whole": lambda v: series(v.astype(int)),
}
MISSING = {
    "masked": masked,
    "masked whole": lambda v: masked(v.astype(int)),
    "objects": objects,
    "Int64": nullable("Int64"),
    "Float64": nullable("Float64"),
    "pynapple's masked": lambda v: series(masked(v)),
}
EVENTS = nap.Ts(TIMES)
NO_SAMPLES = {
    "Ts": (lambda v: EVENTS, r"\.count\(bin_size\)"),
    "TsGroup": (lambda v: nap.TsGroup({0: EVENTS, 1: EVENTS}), r"\.count\(bin_size\)"),
    "IntervalSet": (lambda v: nap.IntervalSet(TIMES, TIMES + 0.05), r"\.restrict\(epochs\)"),
    "structured": (
        lambda v: np.array([(0.0,)] * T, dtype=[("rate", float)]),
        "structured array with the fields 'rate'",
    ),
    "random keys": (lambda v: jax.random.split(jax.random.key(0), T), "random keys"),
    "sparse": (scipy.sparse.coo_array, r"\.toarray\(\)"),
}
NO_NUMBERS = {
    "complex": lambda v: v + 0j,
    "dates": lambda v: np.full(v.shape, np.datetime64("2026-01-01")),
    "durations": lambda v: np.full(v.shape, np.timedelta64(1, "s")),
    "text": lambda v: np.full(v.shape, "fast"),
    "pandas's text": lambda v: frame(np.full(v.shape, "fast", dtype=object)).astype("string"),
    "dates among numbers": lambda v: np.full(v.shape, pd.Timestamp("2026"), dtype=object),
}

RIDGE = {"regularizer": "Ridge", "regularizer_strength": 0.1}
MODELS = {
    "GLM": (lambda: GLM(**RIDGE), Y[:, 0]),
    "PopulationGLM": (lambda: PopulationGLM(**RIDGE), Y),
    "PopulationGLMCV": (lambda: PopulationGLMCV(n_strengths=2, cv=2), Y),
    "ClassifierGLM": (ClassifierGLM, CHOICE[:, 0]),
    "ClassifierPopulationGLM": (ClassifierPopulationGLM, CHOICE),
}
OF_CLASSES = tuple(name for name in MODELS if name.startswith("Classifier"))
KEY = jax.random.key(0)


@cache
def fitted(name):
    """Fit a model once."""
    make, y = MODELS[name]
    return make().fit(X, y)


def learned(model):
    """Tell what a model has learned."""
    return [*jax.tree.leaves(model.coef_), model.intercept_]


def of_models() -> dict[str, Callable]:
    """List the doors of every estimator."""
    doors: dict[str, Callable] = {}
    for name, (make, y) in MODELS.items():
        offset = np.zeros((*y.shape, 2) if name in OF_CLASSES else y.shape)

        def fit(X, y, make=make, **kwargs):
            return learned(make().fit(X, y, **kwargs))

        def scored(X, y, name=name, **kwargs):
            return [fitted(name).score(X, y, **kwargs)]

        def predicted(X, name=name, **kwargs):
            return [fitted(name).predict(X, **kwargs)]

        doors |= {
            f"X of {name}.fit": lambda hold, fit=fit, y=y: fit(hold(X), y),
            f"y of {name}.fit": lambda hold, fit=fit, y=y: fit(X, hold(y)),
        }
        if name not in ("PopulationGLM", "ClassifierGLM"):
            continue  # what else they take, they take as these do
        doors |= {
            f"an entry of X of {name}.fit": lambda hold, fit=fit, y=y: fit({"a": hold(X)}, y),
            f"sample_weight of {name}.fit": lambda hold, fit=fit, y=y: fit(
                X, y, sample_weight=hold(X[:, 0])
            ),
            f"offset of {name}.fit": lambda hold, fit=fit, y=y, o=offset: fit(
                X, y, offset=hold(o)
            ),
            f"X of {name}.predict": lambda hold, p=predicted: p(hold(X)),
            f"offset of {name}.predict": lambda hold, p=predicted, o=offset: p(X, offset=hold(o)),
            f"X of {name}.score": lambda hold, s=scored, y=y: s(hold(X), y),
            f"y of {name}.score": lambda hold, s=scored, y=y: s(X, hold(y)),
            f"X of {name}.partial_fit": lambda hold, make=make, y=y: learned(
                make().partial_fit(hold(X), y)
            ),
            f"y of {name}.partial_fit": lambda hold, make=make, y=y: learned(
                make().partial_fit(X, hold(y))
            ),
        }
    return doors


def infer(X=X, y=Y, **kwargs):
    """Tell how sure a model is."""
    return [inference.infer(fitted("PopulationGLM"), X, y, **kwargs).standard_error]


def start(hold):
    """Hold numbers as a start of a fit has them, and fit."""
    model = PopulationGLM(**RIDGE)
    return learned(model.fit(np.eye(T), Y, init_params=(hold(X), np.zeros(2))))


EVAL = basis.BSplineEval(4, bounds=(0, 2))
DOORS = of_models() | {
    "X of infer": lambda hold: infer(X=hold(X)),
    "y of infer": lambda hold: infer(y=hold(Y)),
    "sample_weight of infer": lambda hold: infer(sample_weight=hold(np.ones(T))),
    "offset of infer": lambda hold: infer(offset=hold(np.zeros(T))),
    "groups of infer": lambda hold: infer(kind="sandwich", groups=hold(X[:, 0])),
    "init_params of PopulationGLM.fit": start,
    "X of simulate": lambda hold: GLM("Gaussian").fit(X, Y[:, 0]).simulate(KEY, hold(X)),
    "X of regularization_path": lambda hold: [
        model_selection.regularization_path(PopulationGLM(**RIDGE), hold(X), Y, n_strengths=2).coef
    ],
    "y of cross_validated_scores": lambda hold: [
        diagnostics.cross_validated_scores(PopulationGLM(), X, hold(Y), cv=2).log_likelihood
    ],
    "offset of cross_validated_scores": lambda hold: [
        diagnostics.cross_validated_scores(
            PopulationGLM(), X, Y, cv=2, offset=hold(np.zeros(T))
        ).log_likelihood
    ],
    "X of a basis": lambda hold: [EVAL.compute_features(hold(X))],
    "X of a basis that convolves": lambda hold: [
        basis.RaisedCosineLogConv(2, window_size=3).compute_features(hold(X))
    ],
    "X of a basis of categories": lambda hold: [basis.Category(3).compute_features(hold(X))],
    "X of a basis's own functions": lambda hold: [
        basis.CustomBasis([lambda x: x**2]).compute_features(hold(X))
    ],
    "X of a design": lambda hold: [EVAL.design(hold(X)) @ np.ones((8, 1))],
    "X of evaluate": lambda hold: [EVAL.evaluate(hold(X))],
    "X of a transformer": lambda hold: [EVAL.to_transformer().fit(X).transform(hold(X))],
    "time_series of a convolution": lambda hold: [
        create_convolutional_predictor(np.ones((2, 1)), hold(X))
    ],
    "X of constraints": lambda hold: [apply_identifiability_constraints(hold(X))[0]],
    "y of residuals": lambda hold: [diagnostics.residuals(hold(Y), RATE)],
    "predicted_rate of residuals": lambda hold: [diagnostics.residuals(Y, hold(X + 1))],
    "y of bits_per_spike": lambda hold: [diagnostics.bits_per_spike(hold(Y), RATE)],
    "y of calibration": lambda hold: [diagnostics.calibration(hold(Y), RATE, n_bins=2).observed],
    "y of time_rescaling": lambda hold: [diagnostics.time_rescaling(hold(Y), RATE, KEY).p_value],
    "y of an observation model": lambda hold: [
        nmo.observation_models.PoissonObservations().log_likelihood(hold(Y), RATE)
    ],
}
OF_LABELS = ("groups of infer", "X of a basis of categories")
# A list in a container is one itself.
NO_LISTS = ("time_series of a convolution", *(d for d in DOORS if d.startswith("an entry of X")))
# A frame has no axis of classes.
NO_FRAMES = tuple(f"offset of {name}.{way}" for name in OF_CLASSES for way in ("fit", "predict"))
FRAMES = ("pandas", "Int64", "Float32", "Float64", "category", "at dates")


def takes_labels(door):
    """Tell whether a door takes text, too."""
    return door in OF_LABELS or (door.startswith("y of Classifier"))


def outcome(call, hold):
    """Call, and give the numbers that come out, or the type of the error."""
    try:
        return [np.asarray(getattr(a, "d", a), float) for a in call(hold)]
    except (TypeError, ValueError) as error:
        return type(error)


@pytest.mark.parametrize("door", DOORS)
def test_what_holds_the_numbers_does_not_matter(door):
    with jax.enable_x64(True):
        for plain, holders in ((np.asarray, SAME), (missing, MISSING)):
            expected = outcome(DOORS[door], plain)
            # A third of them at each door, another third at the next.
            for name, hold in list(holders.items())[list(DOORS).index(door) % 3 :: 3]:
                if (name == "list" and door in NO_LISTS) or (name in FRAMES and door in NO_FRAMES):
                    continue
                found = outcome(DOORS[door], hold)
                if isinstance(expected, type):
                    assert found is expected, name
                    continue
                assert not isinstance(found, type), (name, found)
                for a, b in zip(found, expected, strict=True):
                    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("door", DOORS)
def test_what_holds_no_numbers_is_refused(door):
    words = "numbers|numeric|float|[Cc]omplex|dates|classes"
    refused = {name: (hold, words) for name, hold in NO_NUMBERS.items()}
    for name, (hold, words) in (NO_SAMPLES | ({} if takes_labels(door) else refused)).items():
        if door in NO_FRAMES and name in ("sparse", "pandas's text"):
            continue
        with pytest.raises((TypeError, ValueError), match=words) as caught:
            DOORS[door](hold)
        assert len(str(caught.value)) < 600, name  # scikit-learn shows a whole array


def test_models_refuse_what_jax_traces():
    for call in (GLM().fit, fitted("GLM").score):
        with pytest.raises(TypeError, match=r"X is traced by JAX.*outside of jit"):
            jax.jit(lambda X, call=call: call(X, Y[:, 0]))(X)


@pytest.mark.parametrize(
    "kind",
    [OrderedDict, lambda entries: Bunch(**entries), lambda entries: defaultdict(list, entries)],
)
def test_any_dict_is_a_dict(kind):
    """Of the same keys, whose order does not matter."""
    X = {"a": RNG.normal(size=(T, 1)), "b": RNG.normal(size=(T, 2))}
    other = kind({"b": X["b"], "a": X["a"]})
    strength = kind({"b": 0.2, "a": 0.1})
    model = PopulationGLM(regularizer="Ridge", regularizer_strength={"a": 0.1, "b": 0.2})
    model.fit(X, Y)
    np.testing.assert_array_equal(model.predict(other), model.predict(X))
    np.testing.assert_array_equal(model.score(other, Y), model.score(X, Y))
    errors, expected = (inference.infer(model, x, Y).standard_error for x in (other, X))
    np.testing.assert_array_equal(errors, expected)
    again = PopulationGLM(regularizer="Ridge", regularizer_strength=strength).fit(other, Y)
    for key, coef in model.coef_.items():
        np.testing.assert_array_equal(again.coef_[key], coef)
