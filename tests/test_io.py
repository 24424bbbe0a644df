"""Saving and loading: what comes back is what went in, and what cannot be trusted is refused."""

import io
import json
import pickle
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pynapple as nap
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, ShuffleSplit, TimeSeriesSplit

import spikax as nmo
from spikax import links
from spikax.glm import GLM, ClassifierGLM, ClassifierPopulationGLM, PopulationGLM
from spikax.glm._shell import Shell
from spikax.io import estimators
from spikax.model_selection import GLMCV
from spikax.observation_models import (
    GammaObservations,
    GaussianObservations,
    NegativeBinomialObservations,
    PoissonObservations,
)
from spikax.regularizer import GroupLasso, Ridge

GOLDEN = Path(__file__).parent / "golden"
T, N = 40, 2
X = np.random.default_rng(0).normal(size=(T, 3))
Y = np.random.default_rng(1).poisson(1.0, size=(T, N))


@dataclass(frozen=True)
class Rough(GaussianObservations):
    """A family of the user's, with a parameter."""

    grain: float = 1.0


def my_link(eta):
    return jnp.exp(0.5 * eta)


def saved(model, folder, **mapping):
    """Save and load."""
    model.save_params(folder / "model.npz")
    return nmo.load_model(folder / "model.npz", mapping or None)


def assert_equal(value, other):
    """Compare two values, their types and the arrays in them included."""
    if isinstance(value, jax.Array):
        value = np.asarray(value)
    assert type(value) is type(other)
    if isinstance(value, dict):
        assert list(value) == list(other)
        value, other = list(value.values()), list(other.values())
    if isinstance(value, list | tuple):
        assert len(value) == len(other)
        for a, b in zip(value, other, strict=True):
            assert_equal(a, b)
    elif isinstance(value, np.ndarray | np.generic):
        assert value.dtype == other.dtype
        np.testing.assert_array_equal(value, other)
    else:
        assert value == other or value != value


def assert_same_model(model, other, *features):
    """Compare arguments, fitted attributes and predictions of two models."""
    assert type(model) is type(other)
    assert_equal(model.get_params(deep=False), other.get_params(deep=False))
    fitted = {k: v for k, v in vars(model).items() if k.endswith("_") and k != "solver_state_"}
    assert_equal(fitted, {k: v for k, v in vars(other).items() if k.endswith("_")})
    for X in features:
        np.testing.assert_array_equal(model.predict(X), other.predict(X))


# --- What comes back.


def containers(leaves):
    """Hold the leaves in dicts, lists and tuples."""
    names = st.text(max_size=4) | st.integers(0, 5)
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3)
            | st.lists(inner, min_size=1, max_size=3).map(tuple)
            | st.dictionaries(names, inner, min_size=1, max_size=3)
        ),
        max_leaves=5,
    )


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
arrays = st.sampled_from(
    [
        np.arange(3.0),
        np.ones((2, 3), np.float32),
        np.array([[True, False]]),
        np.array(["a", "é"]),
        np.array(["a", ""], dtype=object),
        np.array([[1, "a"], [0.5, True]], dtype=object),
        np.float32(0.1),
        np.int64(3),
        np.zeros((0, 2)),
        jnp.arange(3.0),
    ]
)
functions = st.sampled_from(
    [jnp.exp, jax.nn.softplus, jax.scipy.stats.norm.cdf, links.resolve("exp"), Ridge(), Ridge]
)


@given(value=containers(scalars | arrays | functions))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_argument_comes_back_as_it_was(tmp_path_factory, value):
    model = GLM(regularizer_strength=value, solver_kwargs={"x": value})
    loaded = saved(model, tmp_path_factory.mktemp("models"))
    assert_equal(model.get_params(deep=False), loaded.get_params(deep=False))


def filled(tree):
    """Divide the features among the leaves, so that every container has the same columns."""
    leaves, structure = jax.tree.flatten(tree)
    return structure.unflatten(np.array_split(X, len(leaves), axis=1))


features = containers(st.just(0)).filter(lambda tree: not isinstance(tree, int))


@given(
    tree=features.filter(lambda X: all(isinstance(k, str) for k in _keys(X))).map(filled),
    family=st.sampled_from(["Poisson", PoissonObservations(), GaussianObservations()]),
    link=st.sampled_from([None, "softplus", jax.nn.softplus]),
    single=st.booleans(),
)
@settings(
    max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@pytest.mark.filterwarnings("ignore:.*neurons need a look:RuntimeWarning")
def test_a_loaded_model_predicts_what_the_saved_one_did(
    tmp_path_factory, tree, family, link, single
):
    kind, y = (GLM, Y[:, 0]) if single else (PopulationGLM, Y)
    model = kind(family, link, "Ridge", 0.5, solver_kwargs={"maxiter": 20}).fit(tree, y)
    loaded = saved(model, tmp_path_factory.mktemp("models"))
    assert_same_model(model, loaded, tree)
    assert loaded.score(tree, y) == model.score(tree, y)
    again = saved(loaded, tmp_path_factory.mktemp("models"))
    assert_same_model(loaded, again, tree)


CONTAINERS = {"array": X, "nested": [X[:, :1], {"head": (X[:, 1:],)}]}
# Models with states are kept in tests/test_glm_hmm.py.
GLMS = {name: kind for name, kind in estimators().items() if issubclass(kind, Shell)}
every_estimator = pytest.mark.parametrize("kind", GLMS.values(), ids=GLMS)


def made(kind, **arguments):
    """Make a small model, and what it can be fitted to."""
    known = kind().get_params(deep=False)
    small = {"cv": 2, "n_strengths": 3, "regularizer": "Ridge", "solver_kwargs": {"maxiter": 20}}
    model = kind(**{name: value for name, value in small.items() if name in known}, **arguments)
    y = np.array(["left", "right"])[(Y > 0).astype(int)] if is_classifier(model) else Y
    return model, y[:, 0] if kind._single else y


def test_all_estimators_are_found():
    found = {kind.__name__ for kind in estimators().values()}
    assert {"GLM", "PopulationGLM", "ClassifierGLM", "GLMCV", "PopulationGLMCV"} <= found
    for kind in estimators().values():
        assert set(kind.__subclasses__()) <= {*estimators().values(), Mine}


@every_estimator
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.filterwarnings("ignore:.*need:RuntimeWarning")
def test_every_estimator_comes_back_as_it_was(tmp_path, kind, container):
    tree = CONTAINERS[container]
    model, y = made(kind)
    assert_same_model(model, saved(model, tmp_path))
    loaded = saved(model.fit(tree, y), tmp_path)
    assert_same_model(model, loaded, tree)
    np.testing.assert_array_equal(loaded.score(tree, y), model.score(tree, y))
    key = jax.random.key(0)
    for drawn, again in zip(model.simulate(key, tree), loaded.simulate(key, tree), strict=True):
        np.testing.assert_array_equal(drawn, again)
    assert_same_model(clone(model), clone(loaded))


@every_estimator
@pytest.mark.filterwarnings("ignore:.*need:RuntimeWarning")
def test_every_estimator_comes_back_after_batches(tmp_path, kind):
    model, y = made(kind)
    assert_same_model(model.partial_fit(X, y), saved(model, tmp_path), X)
    model, y = made(kind)
    if is_classifier(model):
        model.set_classes(y)
    params = model.initialize_params(X, y)
    model.update(params, model.initialize_optimizer_and_state(params, X, y), X, y)
    assert_same_model(model, saved(model, tmp_path), X)


@every_estimator
@pytest.mark.filterwarnings("ignore:.*need:RuntimeWarning")
def test_every_estimator_comes_back_with_the_columns_of_a_time_series(tmp_path, kind):
    time, depth = np.arange(T) * 0.1, np.array([np.int64(3), "deep"], dtype=object)
    design = nap.TsdFrame(t=time, d=X)
    model, y = made(kind)
    if y.dtype.kind == "U":
        y = (y == "left").astype(int)
    areas = {"metadata": {"area": ["adn", None], "depth": depth}}
    series = nap.Tsd(time, y) if y.ndim == 1 else nap.TsdFrame(time, y, columns=["u", 7], **areas)
    loaded = saved(model.fit(design, series), tmp_path)
    out, expected = loaded.predict(design), model.predict(design)
    np.testing.assert_array_equal(out.d, expected.d)
    np.testing.assert_array_equal(out.t, expected.t)
    assert y.ndim == 1 or list(out.columns) == list(expected.columns) == ["u", 7]


@pytest.mark.parametrize(
    "cv",
    [
        KFold(2, shuffle=True, random_state=3),
        TimeSeriesSplit(2, gap=1),
        ShuffleSplit(2, test_size=0.25, random_state=0),
        [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))],
    ],
    ids=lambda cv: type(cv).__name__,
)
def test_what_makes_the_folds_comes_back(tmp_path, cv):
    model = GLMCV(cv=cv, n_strengths=2).fit(X, Y[:, 0])
    loaded = saved(model, tmp_path)
    assert repr(loaded.cv) == repr(cv)
    np.testing.assert_array_equal(clone(loaded).fit(X, Y[:, 0]).scores_, model.scores_)
    chance = KFold(2, shuffle=True, random_state=np.random.RandomState(0))
    with pytest.raises(TypeError, match=r"cv\.random_state cannot be saved"):
        GLMCV(cv=chance).save_params(tmp_path / "chance.npz")


@every_estimator
def test_what_scikit_learn_is_to_route_comes_back(tmp_path, kind):
    model, _ = made(kind)
    with config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight=True, offset="log_exposure")
        model.set_score_request(offset=False)
        loaded = repr(saved(model, tmp_path).get_metadata_routing())
        assert loaded == repr(model.get_metadata_routing())
    assert "log_exposure" in loaded


def _keys(tree):
    if isinstance(tree, dict):
        return [*tree, *(k for v in tree.values() for k in _keys(v))]
    return [k for v in tree for k in _keys(v)] if isinstance(tree, list | tuple) else []


def test_strengths_and_masks_of_every_form_come_back(tmp_path):
    tree = {"a": X[:, :1], "b": (X[:, 1:],)}
    model = PopulationGLM(
        regularizer=Ridge(),
        regularizer_strength={"a": 0.1, "b": (np.full((2, N), 0.2),)},
        feature_mask={"a": np.array([1, 0]), "b": (jnp.ones((2, N)),)},
        solver_name="Newton",
        solver_kwargs={"tol": 1e-5},
        fit_intercept=False,
    ).fit(tree, Y)
    assert_same_model(model, saved(model, tmp_path), tree)


@pytest.mark.parametrize("labels", [["left", "right", "none"], [3, 1, 7]])
def test_classifiers_come_back_with_their_labels(tmp_path, labels):
    choice = np.array(labels)[Y % 3]
    model = ClassifierPopulationGLM(3).fit(X, choice)
    loaded = saved(model, tmp_path)
    assert_same_model(model, loaded, X)
    np.testing.assert_array_equal(model.predict_proba(X), loaded.predict_proba(X))
    one = ClassifierGLM(3).fit({"a": X}, choice[:, 0].astype(object))
    assert_same_model(one, saved(one, tmp_path), {"a": X})
    unfitted = ClassifierGLM(3).set_classes(labels)
    np.testing.assert_array_equal(saved(unfitted, tmp_path).classes_, unfitted.classes_)


@pytest.mark.parametrize(
    "arguments",
    [
        {"regularizer": GroupLasso([[1, 1, 0], [0, 0, 1]]), "regularizer_strength": [0.1, 0.2]},
        {"regularizer": "ElasticNet", "regularizer_strength": (0.1, 0.5)},
        {"observation_model": NegativeBinomialObservations(0.5)},
        {"observation_model": NegativeBinomialObservations("estimate")},
    ],
    ids=["groups", "elastic", "scale", "estimate"],
)
@pytest.mark.filterwarnings("ignore:.*need a look:RuntimeWarning")
def test_parts_with_parameters_come_back(tmp_path, arguments):
    model = PopulationGLM(**arguments).fit(X, Y)
    loaded = saved(model, tmp_path)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.score(X, Y) == model.score(X, Y)
    assert repr(loaded) == repr(model)


def test_a_model_that_was_not_fitted_stays_so(tmp_path):
    loaded = saved(PopulationGLM("Gamma", regularizer="Lasso"), tmp_path)
    assert repr(loaded) == "PopulationGLM(observation_model='Gamma', regularizer='Lasso')"
    with pytest.raises(NotFittedError, match="not fitted"):
        loaded.predict(X)
    loaded.set_params(observation_model="Poisson").fit(X, Y)


def test_names_of_features_and_the_time_axis_come_back(tmp_path):
    frame = pd.DataFrame(X, columns=["x", "y", "z"])
    loaded = saved(GLM().fit(frame, Y[:, 0]), tmp_path)
    assert list(loaded.feature_names_in_) == ["x", "y", "z"]
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame.rename(columns={"x": "a"}))

    time = np.arange(T) * 0.1
    areas = {"area": ["adn", "ca1"], "depth": [1.5, 2.0]}
    spikes = nap.TsdFrame(t=time, d=Y, columns=["u", "v"], metadata=areas)
    design = nap.TsdFrame(t=time, d=X)
    model = PopulationGLM().fit(design, spikes)
    out, expected = saved(model, tmp_path).predict(design), model.predict(design)
    np.testing.assert_array_equal(out.d, expected.d)
    assert list(out.columns) == ["u", "v"]
    np.testing.assert_array_equal(out.metadata["area"], areas["area"])
    np.testing.assert_array_equal(out.metadata["depth"], areas["depth"])


def test_precision_is_kept(tmp_path):
    with jax.enable_x64(True):
        model = GLM().fit(X, Y[:, 0])
    assert saved(model, tmp_path).coef_.dtype == np.float64
    np.testing.assert_array_equal(saved(model, tmp_path).coef_, model.coef_)


def test_a_file_may_be_named_without_its_ending_or_be_open(tmp_path):
    GLM(regularizer="Ridge").save_params(str(tmp_path / "model"))
    assert nmo.load_model(str(tmp_path / "model.npz")).regularizer == "Ridge"
    with (tmp_path / "open.npz").open("wb") as file:
        GLM(regularizer="Lasso").save_params(file)
    assert nmo.load_model(tmp_path / "open.npz").regularizer == "Lasso"


# --- What is held by name.


@pytest.mark.parametrize("link", [my_link, lambda eta: jnp.exp(0.5 * eta)])
def test_a_function_of_the_users_is_asked_for_and_taken(tmp_path, link):
    model = GLM(inverse_link_function=link).fit(X, Y[:, 0])
    model.save_params(tmp_path / "model.npz")
    name = f"inverse_link_function of .* is {__name__}.*, which is not .*mapping_dict=.'inverse_l"
    with pytest.raises(ValueError, match=name):
        nmo.load_model(tmp_path / "model.npz")
    loaded = nmo.load_model(tmp_path / "model.npz", {"inverse_link_function": my_link})
    np.testing.assert_allclose(loaded.predict(X), model.predict(X), rtol=1e-6)


def test_a_class_of_the_users_is_made_anew_from_its_fields(tmp_path):
    model = PopulationGLM(Rough(2.5)).fit(X, Y)
    model.save_params(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"observation_model .* is .*Rough.*mapping_dict=.*Rough"):
        nmo.load_model(tmp_path / "model.npz")
    loaded = nmo.load_model(tmp_path / "model.npz", {"observation_model": Rough})
    assert loaded.observation_model == Rough(2.5)
    assert_same_model(model, loaded, X)
    other = nmo.load_model(tmp_path / "model.npz", {"observation_model": GaussianObservations()})
    assert other.observation_model == GaussianObservations()
    with pytest.raises(ValueError, match=r"cannot be made as a GaussianObservations .*grain"):
        nmo.load_model(tmp_path / "model.npz", {"observation_model": GaussianObservations})
    with pytest.raises(ValueError, match=r"cannot be made as a int .* not a dataclass"):
        nmo.load_model(tmp_path / "model.npz", {"observation_model": int})


def test_a_link_of_the_users_asks_for_each_of_its_functions(tmp_path):
    own = replace(links.resolve("exp"), name="own", mean=my_link)
    model = GLM(inverse_link_function=own)
    model.save_params(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"inverse_link_function\.mean .*my_link"):
        nmo.load_model(tmp_path / "model.npz")


class Mine(GLM):
    """A model of the user's."""


def test_a_model_of_the_users_is_asked_for_and_taken(tmp_path):
    Mine(regularizer="Ridge").save_params(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"Mine, and not one of spikax\.glm\.GLM.*'model': Mine"):
        nmo.load_model(tmp_path / "model.npz")
    assert type(nmo.load_model(tmp_path / "model.npz", {"model": Mine})) is Mine


def test_what_to_use_instead_must_belong_to_something(tmp_path):
    path = tmp_path / "model.npz"
    GLM(inverse_link_function=my_link).save_params(path)
    wrong = {"inverse_link_function": my_link, "inverse_link": my_link}
    with pytest.raises(ValueError, match="Did you mean 'inverse_link_function'"):
        nmo.load_model(path, wrong)
    with pytest.raises(TypeError, match="mapping_dict must be a dict"):
        nmo.load_model(path, [my_link])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"mapping_dict\['model'\] must be a class of models"):
        nmo.load_model(path, {"model": dict})


# --- What cannot be saved.


@pytest.mark.parametrize(
    "value",
    [
        OrderedDict(a=1),
        np.array([1, None], dtype=object),
        partial(my_link),
        object(),
        {"a": [{1, 2}]},
        np.zeros(2, [("a", float)]),
    ],
    ids=["ordered", "objects", "partial", "object", "set", "record"],
)
def test_what_files_do_not_hold_is_refused_before_one_is_written(tmp_path, value):
    with pytest.raises(TypeError, match=r"regularizer_strength.* cannot be saved: it is"):
        GLM(regularizer_strength=value).save_params(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_a_file_is_a_path():
    with pytest.raises(TypeError, match="filename must be a path"):
        GLM().save_params(3)
    with pytest.raises(TypeError, match="given by its path"):
        nmo.load_model(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(FileNotFoundError):
        nmo.load_model("no such file.npz")


# --- What is not read.


def content(model=None):
    """Give the bytes of a file, and its header and arrays."""
    file = io.BytesIO()
    (model or PopulationGLM().fit({"a": X}, Y)).save_params(file)
    arrays = dict(np.load(io.BytesIO(file.getvalue())))
    return file.getvalue(), json.loads(str(arrays.pop("spikax_model"))), arrays


def refuse(path, match, mapping=None):
    """Expect loading and looking to fail with one clear error that names the file."""
    with pytest.raises(ValueError, match=match) as error:
        nmo.load_model(path, mapping)
    assert path.name in str(error.value)


def rewritten(path, header, arrays):
    np.savez(path, spikax_model=np.array(json.dumps(header)), **arrays)
    return path


@pytest.fixture(scope="module")
def whole():
    return content()


@given(where=st.floats(0, 1, exclude_max=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_truncated_file_is_refused(tmp_path, whole, where):
    path = tmp_path / "short.npz"
    path.write_bytes(whole[0][: int(where * len(whole[0]))])
    refuse(path, "cannot be read as a model that save_params wrote")


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_damaged_file_is_refused_or_still_right(tmp_path, whole, where, bit):
    damaged = bytearray(whole[0])
    damaged[int(where * len(damaged))] ^= 1 << bit
    path = tmp_path / "damaged.npz"
    path.write_bytes(bytes(damaged))
    try:
        loaded = nmo.load_model(path)
    except ValueError as error:
        assert path.name in str(error)
    else:
        np.testing.assert_array_equal(loaded.coef_["a"], whole[2]["array_0"])


def test_files_of_others_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", coef_=np.zeros(3))
    refuse(tmp_path / "other.npz", "not written by save_params. It has the arrays coef_")
    np.save(tmp_path / "one.npy", np.zeros(3))
    refuse(tmp_path / "one.npy", "cannot be read")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(GLM()))
    refuse(tmp_path / "pickle.npz", "cannot be read")
    np.savez(tmp_path / "objects.npz", spikax_model=np.array([object()]))
    refuse(tmp_path / "objects.npz", "cannot be read .*allow_pickle")
    np.savez(tmp_path / "text.npz", spikax_model=np.array("{not json"))
    refuse(tmp_path / "text.npz", "cannot be read")


def test_a_newer_format_is_refused_with_the_way_out(tmp_path, whole):
    newer = {**whole[1], "format": 99, "spikax": "7.0"}
    path = rewritten(tmp_path / "newer.npz", newer, whole[2])
    refuse(path, r"written by spikax 7\.0 in format 99.*upgrade spikax")


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"observation_model": {"array": "array_9"}}},
        {"params": {"observation_model": {"pickle": "gASVBQ=="}}},
        {"params": {"observation_model": {"dict": [[{"list": []}, 1]]}}},
        {"params": {"observation_model": [1]}},
        {"params": {"observation_model": {"objects": ["a"], "shape": [2]}}},
        {"params": {"observation_model": {"list": [], "tuple": []}}},
        {"params": {"bandwidth": 1.0}},
        {"fitted": {"predict": 1.0}},
        {"fitted": []},
        {"format": "1"},
        {"routing": {"fit": {"X": True}}},
        {"routing": {"x": {}}},
        {"routing": ["fit"]},
    ],
    ids=str,
)
def test_a_header_that_save_params_does_not_write_is_refused(tmp_path, whole, change):
    refuse(rewritten(tmp_path / "odd.npz", {**whole[1], **change}, whole[2]), "cannot be read")


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "jax.numpy.save",
        "jax.os.system",
        "jax.numpy.linalg",
        "jax.experimental.io_callback",
        "spikax.links.jax",
        "spikax._npz.write",
        "sklearn.model_selection.train_test_split",
        "sklearn.model_selection.GridSearchCV",
        "exp",
        "",
    ],
)
@pytest.mark.parametrize("node", [{"function": ...}, {"object": ..., "fields": {}}])
def test_a_file_cannot_choose_what_is_imported_or_called(tmp_path, whole, name, node):
    node = {k: name if v is ... else v for k, v in node.items()}
    header = {**whole[1], "params": {"inverse_link_function": node}}
    refuse(rewritten(tmp_path / "evil.npz", header, whole[2]), "not a public name")


def test_a_file_of_an_unknown_model_is_refused(tmp_path, whole):
    header = {**whole[1], "model": "spikax.glm.HyperGLM"}
    refuse(rewritten(tmp_path / "model.npz", header, whole[2]), "HyperGLM.*upgrade spikax")


# --- What was written before.


def golden_model():
    """Make the model that the golden file was written of, by spikax 0.1.0."""
    tree = {"speed": X[:, :1], "head": [X[:, 1:]]}
    model = PopulationGLM(
        GammaObservations(),
        jax.nn.softplus,
        Ridge(),
        {"speed": 0.1, "head": [np.array([[0.1, 0.2], [0.3, 0.4]])]},
        "Newton",
        {"tol": 1e-6},
        {"speed": np.array([1, 0]), "head": [np.ones((2, N))]},
    )
    return model.fit(tree, Y + 0.5), tree


def test_the_golden_file_still_loads_and_predicts_the_same():
    expected = np.load(GOLDEN / "population_expected.npz")
    loaded = nmo.load_model(GOLDEN / "population.npz")
    tree = {"speed": expected["speed"], "head": [expected["head"]]}
    np.testing.assert_allclose(loaded.predict(tree), expected["rate"], rtol=1e-6)
    assert loaded.solver_kwargs == {"tol": 1e-6}
    assert loaded.observation_model == GammaObservations()
    assert loaded.inverse_link_function is jax.nn.softplus
    np.testing.assert_array_equal(loaded.feature_mask["speed"], [1, 0])
    assert loaded.scale_.shape == loaded.dof_resid_.shape == (2,)


# --- Looking into a file.


def test_a_file_can_be_looked_into_without_what_it_names(tmp_path, capsys):
    model = PopulationGLM(Rough(2.5), my_link, regularizer_strength=[0.1, 0.2])
    model.fit(np.hstack([X] * 10), Y)
    model.save_params(tmp_path / "model.npz")
    nmo.inspect_npz(tmp_path / "model.npz")
    printed = capsys.readouterr().out
    assert "Rough(grain=2.5)" in printed
    assert "my_link" in printed
    assert "regularizer_strength: [0.1, 0.2]" in printed
    shows_shapes = np.lib.NumpyVersion(np.__version__) >= "2.2.0"
    assert ("shape=(30, 2)" if shows_shapes else "...") in printed
    assert "solver_state_" not in printed


def old_nodes(family):
    """Write an observation model as spikax 0.1.0 wrote it."""
    node = {"object": f"spikax.observation_models.{family[0]}", "fields": family[1]}
    return {"object": "spikax.observation_models.ObservationModel", "fields": {"family": node}}


@pytest.mark.parametrize(
    ("family", "now"),
    [
        (("Poisson", {}), PoissonObservations()),
        (("Gamma", {}), GammaObservations()),
        (
            ("NegativeBinomial", {"scale": 0.5, "estimate": False}),
            NegativeBinomialObservations(0.5),
        ),
        (
            ("NegativeBinomial", {"scale": 1.0, "estimate": True}),
            NegativeBinomialObservations("estimate"),
        ),
    ],
    ids=lambda x: str(x)[:40],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_observation_models_of_older_files_are_read(family, now, wrapped, tmp_path):
    GLM().save_params(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as content:
        header = json.loads(str(content["spikax_model"]))
    node = old_nodes(family)
    header["params"]["observation_model"] = node if wrapped else node["fields"]["family"]
    np.savez(tmp_path / "old.npz", spikax_model=np.array(json.dumps(header)))
    assert nmo.load_model(tmp_path / "old.npz").observation_model == now
