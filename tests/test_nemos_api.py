"""What users of NeMoS wrote runs and means the same: its public behaviour, as facts (0.2.9).

Numbers were seen with NeMoS; it is not needed here.
"""

import inspect
import json
import pickle
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pynapple as nap
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import spikax as nmo
from spikax.regularizer import ElasticNet, GroupLasso, Lasso, Ridge, UnRegularized

FACTS = json.loads((Path(__file__).parent / "golden" / "nemos_signatures.json").read_text())
# Where ours differ on purpose: docs/how_to/from_nemos.md says so.
OTHER_NAMES = {
    "deviance": "its first argument, y, has another name in each of NeMoS's families",
    "set_params": "any names",
    "basis.AdditiveBasis.evaluate": "its inputs have no names there either: *xi",
    "basis.MultiplicativeBasis.evaluate": "its inputs have no names there either: *xi",
    "basis.CustomBasis.evaluate": "its inputs have no names there either: *xi",
    "basis.Category.evaluate": "points are sample_pts in all bases",
}
NOT_HERE = {
    "get_metadata_routing": "observation models and regularizers are given no metadata",
    "allow_solver": "a solver says itself whether it needs a gradient everywhere",
    "solvers.register": "what is tested of a solver is not an argument",
    "solvers.validate_solver_class": "what is tested of a solver is not an argument",
    "glm_hmm.GLMHMM.solver_spec": "states are fitted by a search of their own",
    "glm_hmm.GLMHMM.optimizer_init_state": "states are fitted by a search of their own",
    "glm_hmm.GLMHMM.optimizer_update": "states are fitted by a search of their own",
    "glm_hmm.GLMHMM.optimizer_run": "states are fitted by a search of their own",
}


def find(name):
    found = nmo
    for part in name.split("."):
        found = getattr(found, part)
    return found


def known(name):
    """Whether a class, or an instance of it, has an attribute."""
    owner, _, attribute = name.rpartition(".")
    kind = find(owner)
    if hasattr(kind, attribute) or attribute in inspect.signature(kind).parameters:
        return True
    return attribute.endswith("_")  # set by a fit


@pytest.mark.parametrize("name", [n for n, names in FACTS.items() if names is not None])
def test_callables_take_the_arguments_that_they_take_there(name):
    last = name.rpartition(".")[2]
    if last in NOT_HERE or name in NOT_HERE or last in OTHER_NAMES or name in OTHER_NAMES:
        return
    owner = ".".join(name.split(".")[:2])
    if name.startswith("basis.TransformerBasis.") and not hasattr(find(owner), last):
        assert hasattr(nmo.basis.BSplineEval(5).to_transformer(), last)
        return
    ours = list(inspect.signature(find(name)).parameters)
    theirs = [p for p in FACTS[name] if p not in ("args", "kwargs", "parameters")]
    assert [p for p in ours if p in theirs] == theirs


@pytest.mark.parametrize("kind", ["Basis", "TransformerBasis"])
def test_a_single_input_of_a_basis_may_have_its_name(kind):
    basis = nmo.basis.BSplineEval(5, bounds=(0, 1))
    if kind == "TransformerBasis":
        basis = basis.to_transformer()
    x = np.linspace(0, 1, 7)
    for method, name, value in [
        ("setup_basis", "xi", x),
        ("set_input_shape", "xi", 1),
        ("compute_features", "xi", x),
        ("evaluate", "sample_pts", x),
        ("evaluate_on_grid", "n_samples", 4),
    ]:
        call = getattr(basis, method)
        by_name, by_position = call(**{name: value}), call(value)
        if method.startswith("set"):
            assert by_name is by_position
        else:
            np.testing.assert_array_equal(np.c_[by_name], np.c_[by_position])
        with pytest.raises(TypeError, match=rf"given y by keyword .* may be {name}="):
            call(y=value)
        with pytest.raises(TypeError, match=rf"given {name} by keyword and 1 inputs by position"):
            call(value, **{name: value})


@pytest.mark.parametrize("name", [n for n, names in FACTS.items() if names is None])
def test_attributes_are_there(name):
    assert name.rpartition(".")[2] in NOT_HERE or name in NOT_HERE or known(name)


# --- States.


@pytest.mark.parametrize("family", ["Bernoulli", "Poisson", "Gaussian", "Gamma"])
def test_states_are_those_that_nemos_infers(family):
    """At the same parameters; `golden/nemos_states.npz` is what NeMoS 0.2.9 gave for them.

    Its score takes `scale_` for a logarithm, and was given one.
    """
    with np.load(Path(__file__).parent / "golden" / "nemos_states.npz") as stored:
        X, y, smooth, filtered, score, path = (
            stored[f"{family}_{name}"] for name in ("X", "y", "smooth", "filt", "score", "dec")
        )
    model = nmo.glm_hmm.GLMHMM(
        3, family, inverse_link_function=jnp.exp if family == "Gamma" else None
    )
    model.coef_ = np.array([[1.0, -0.5, 0.2], [0.3, 0.8, -1]])
    model.intercept_ = np.array([0.1, -0.2, 0.3])
    model.scale_ = np.array([1, 0.7, 1.3] if family in ("Gaussian", "Gamma") else [1.0, 1, 1])
    model.initial_prob_ = np.array([0.5, 0.3, 0.2])
    model.transition_prob_ = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.02, 0.08, 0.9]])
    starts = np.isin(np.arange(60), [0, 20, 45])
    np.testing.assert_allclose(model.smooth_proba(X, y, session_starts=starts), smooth, atol=1e-9)
    np.testing.assert_allclose(
        model.filter_proba(X, y, session_starts=starts), filtered, atol=1e-9
    )
    assert model.score(X, y, session_starts=starts) == pytest.approx(float(score), abs=1e-9)
    found = model.decode_state(X, y, session_starts=starts, state_format="index")
    np.testing.assert_array_equal(found, path)


# --- Parameters set by hand.

X = np.random.default_rng(0).normal(size=(50, 3))
Y = np.random.default_rng(1).poisson(1, size=(50, 2))
BY_HAND = {
    "GLM": ((3,), (1,), {}),
    "PopulationGLM": ((3, 2), (2,), {}),
    "ClassifierGLM": ((3, 3), (3,), {"n_classes": 3}),
    "ClassifierPopulationGLM": ((3, 2, 3), (2, 3), {"n_classes": 3}),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_parameters_set_by_hand_are_those_of_the_model(kind, key, rng):
    coef, intercept, arguments = BY_HAND[kind]
    model, fitted = (getattr(nmo.glm, kind)(**arguments) for _ in range(2))
    y = (Y[:, 0] if "Population" not in kind else Y) % 3
    if "Classifier" in kind:
        y[:3] = np.arange(3) if y.ndim == 1 else np.arange(3)[:, None]
        model.set_classes(y)
    fitted.fit(X, y)
    model.coef_ = fitted.coef_ = 0.1 * rng.normal(size=coef)
    model.intercept_ = fitted.intercept_ = 0.1 * rng.normal(size=intercept)
    np.testing.assert_array_equal(model.predict(X), fitted.predict(X))
    assert model.score(X, y) == fitted.score(X, y)
    for one, other in zip(model.simulate(key, X), fitted.simulate(key, X), strict=True):
        np.testing.assert_array_equal(one, other)
    if "Classifier" in kind:
        np.testing.assert_array_equal(model.predict_proba(X), fitted.predict_proba(X))
    with tempfile.TemporaryDirectory() as folder:
        model.save_params(f"{folder}/model.npz")
        loaded = nmo.load_model(f"{folder}/model.npz")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_a_scale_that_is_not_set_is_that_of_the_observation_model():
    dispersed = nmo.observation_models.NegativeBinomialObservations(scale=0.3)
    for model, scale in ((nmo.glm.GLM(dispersed), 0.3), (nmo.glm.GLM("Gaussian"), 1.0)):
        model.coef_, model.intercept_ = np.zeros(3), np.zeros(1)
        assert model.fitted().scale == scale


@pytest.mark.parametrize(
    ("kind", "coef", "intercept", "shapes"),
    [
        ("PopulationGLM", (3, 2), (3,), r"\(3, 2\), intercept_ of shape \(3,\)"),
        ("PopulationGLM", (3,), (2,), r"\(3,\), intercept_ of shape \(2,\)"),
        ("GLM", (3, 1), (1,), r"\(3, 1\), intercept_ of shape \(1,\)"),
        ("GLM", (3,), (), r"\(3,\), intercept_ of shape \(\)"),
        ("ClassifierGLM", (3, 2), (3,), r"\(3, 2\), intercept_ of shape \(3,\)"),
    ],
)
def test_parameters_that_do_not_fit_each_other_are_refused(kind, coef, intercept, shapes):
    model = getattr(nmo.glm, kind)()
    model.coef_, model.intercept_ = np.zeros(coef), np.zeros(intercept)
    with pytest.raises(ValueError, match=rf"coef_ of shape {shapes}.* do not fit each other"):
        model.predict(X)


def test_parameters_of_other_features_are_refused():
    model = nmo.glm.GLM()
    model.coef_, model.intercept_ = np.zeros(4), np.zeros(1)
    with pytest.raises(ValueError, match="X has 3 features, but GLM is expecting 4"):
        model.predict(X)
    model = nmo.glm.GLM()
    model.coef_ = np.zeros(3)
    with pytest.raises(nmo.exceptions.NotFittedError):
        model.predict(X)


# --- Bases.


def test_features_are_those_of_nemos():
    two = np.column_stack([np.linspace(0, 1, 7), np.linspace(0, 10, 7)])
    row = [0.2963, 0.4444, 0.2222, 0.0370]
    np.testing.assert_allclose(
        nmo.basis.BSplineEval(4).compute_features(two)[2], 2 * row, atol=1e-4
    )
    angles = nmo.basis.FourierEval(3, bounds=(0, 1)).compute_features([-0.3, 0.2, 1.2, 2.5])
    expected = [
        [-0.3090, -0.8090, -0.9511, 0.5878],
        [0.3090, -0.8090, 0.9511, 0.5878],
        [0.3090, -0.8090, 0.9511, 0.5878],
        [-1.0, 1.0, 0.0, 0.0],
    ]
    np.testing.assert_allclose(angles, expected, atol=1e-4)
    constant = nmo.basis.MSplineEval(5).compute_features(np.ones(2))
    np.testing.assert_allclose(constant, [[8.0, 0, 0, 0, 0]] * 2, rtol=1e-6)


def test_frequencies_are_listed_for_each_input():
    fourier = nmo.basis.FourierEval([3, 2], ndim=2)
    for found, expected in zip(fourier.frequencies, ([0, 1, 2], [0, 1]), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(fourier.masked_frequencies, [[0, 1, 1, 2, 2], [1, 0, 1, 0, 1]])
    np.testing.assert_array_equal(nmo.basis.FourierEval((1, 4)).masked_frequencies, [[1, 2, 3]])
    fourier.frequencies = 4
    assert clone(fourier).get_params()["frequencies"] == 4
    assert fourier.n_basis_funcs == 30


def test_functions_of_a_custom_basis_come_after_what_they_return_and_channels():
    custom = nmo.basis.CustomBasis([lambda x: x, lambda x: -x], ndim_input=2)
    found = custom.compute_features(np.arange(12.0).reshape(2, 2, 3))
    np.testing.assert_array_equal(found[0], np.ravel([[x, -x] for x in np.arange(6.0)]))


@pytest.mark.parametrize("operation", ["+", "*"])
def test_what_is_nested_is_written_in_no_time(operation):
    # Written twice at every level, twenty levels would take minutes.
    part = nmo.basis.MSplineEval(5, label="a")
    whole = 40 * part if operation == "+" else part**40
    assert repr(whole).count("MSplineEval(") == 40
    assert whole.get_params()


EVALUATED = {
    "BSplineEval": nmo.basis.BSplineEval(5),
    "CyclicBSplineEval": nmo.basis.CyclicBSplineEval(5),
    "MSplineEval": nmo.basis.MSplineEval(5),
    "RaisedCosineLinearEval": nmo.basis.RaisedCosineLinearEval(5),
    "RaisedCosineLogEval": nmo.basis.RaisedCosineLogEval(5),
    "OrthExponentialEval": nmo.basis.OrthExponentialEval(2, [1.0, 2.0]),
    "FourierEval": nmo.basis.FourierEval(3),
    "IdentityEval": nmo.basis.IdentityEval(),
    "MSplineConv": nmo.basis.MSplineConv(5, 10),
    "HistoryConv": nmo.basis.HistoryConv(5),
    "Category": nmo.basis.Category([0, 2, 1]),
    "sum": nmo.basis.BSplineEval(5) + nmo.basis.MSplineEval(4),
}


@pytest.mark.parametrize("name", EVALUATED)
def test_jax_may_trace_what_evaluates_a_basis(name):
    one = EVALUATED[name]
    x = jnp.array([0.0, 1.0, 2.0, 1.0, jnp.nan])
    xs = (x,) * len(one.input_shape)
    np.testing.assert_allclose(jax.jit(one.evaluate)(*xs), one.evaluate(*xs), atol=1e-6)


def test_tracing_learns_nothing_and_knows_no_text():
    with pytest.raises(ValueError, match="unknown while JAX traces it"):
        jax.jit(nmo.basis.BSplineEval(5).compute_features)(jnp.arange(5.0))
    with pytest.raises(TypeError, match="JAX traces numbers only"):
        jax.jit(nmo.basis.Category(["a", "b"]).evaluate)(jnp.arange(2))
    strict = nmo.basis.Category(2, out_of_category=False)
    assert np.isnan(jax.jit(strict.evaluate)(jnp.array([0, 5]))[1]).all()


def test_terms_are_counted_and_numbered():
    a, b = nmo.basis.BSplineEval(5, label="a"), nmo.basis.MSplineEval(6, label="b")
    assert [len(x) for x in (a, a + b, a * b)] == [1, 2, 1]
    assert [term.label for term in a + b] == ["a", "b"]
    assert ((a + b)[0].label, (a + b)[-1].label, (a * b)[0].label) == ("a", "b", "(a * b)")
    with pytest.raises(IndexError):
        (a + b)[2]
    wave = nmo.basis.CustomBasis([lambda x: jnp.exp(1j * x)], is_complex=True)
    assert [x.is_complex for x in (a, a + b, wave, a + wave, a * wave)] == [False] * 2 + [True] * 3


# --- Transformers.


def test_a_transformer_has_what_its_basis_has(rng):
    transformer = nmo.basis.BSplineEval(5, label="x").to_transformer()
    assert (transformer.bounds, transformer.order, transformer.label) == (None, 4, "x")
    transformer.n_basis_funcs, transformer.label = 7, "new"
    assert (transformer.basis.n_basis_funcs, transformer.basis.label) == (7, "new")
    with pytest.raises(ValueError, match="'foo' cannot be set"):
        transformer.foo = 1
    assert transformer.set_input_shape(2) is transformer
    assert transformer.n_output_features == 14
    assert transformer.compute_features(rng.random((9, 2))).shape == (9, 14)
    assert transformer.evaluate_on_grid(4)[1].shape == (4, 7)
    kernel = nmo.basis.MSplineConv(5, 10).to_transformer().kernel_
    assert kernel.shape == (10, 5)
    assert "split_by_feature" in dir(transformer)


def test_what_a_fit_learned_is_what_the_transformer_shows(rng):
    transformer = nmo.basis.BSplineEval(5).to_transformer()
    assert transformer.bounds_ is None
    x = rng.random((20, 1))
    transformer.fit(x)
    assert transformer.bounds_ == (x.min(), x.max())
    features = transformer.compute_features(x[:, 0])
    np.testing.assert_array_equal(transformer.transform(x), features)
    for copy in (pickle.loads(pickle.dumps(transformer)), clone(transformer)):
        assert repr(copy) == repr(transformer)


@pytest.mark.parametrize("other", ["transformer", "basis"])
def test_transformers_are_composed_like_their_bases(other, rng):
    a, b = nmo.basis.BSplineEval(5, label="a"), nmo.basis.MSplineEval(4, label="b")
    one, two = a.to_transformer(), (b.to_transformer() if other == "transformer" else b)
    X = rng.random((30, 2))
    for found, expected in ((one + two, a + b), (one * two, a * b)):
        assert isinstance(found, nmo.basis.TransformerBasis)
        np.testing.assert_allclose(found.fit_transform(X), expected.compute_features(*X.T))
    assert ((one**2).n_basis_funcs, (2 * one).n_basis_funcs) == (25, 10)
    whole = one + two
    assert [part.label for part in whole] == ["a", "b"]
    assert isinstance(whole["a"], nmo.basis.TransformerBasis)
    whole["a"].n_basis_funcs = 9
    assert whole.n_basis_funcs == 13


# --- Observation models and regularizers as objects.

COUNTS = np.random.default_rng(2).poisson(2, size=200)
FEATURES = np.random.default_rng(3).normal(size=(200, 3))


@pytest.mark.parametrize(
    ("model", "grid"),
    [
        (nmo.glm.GLM("NegativeBinomial"), {"observation_model__scale": [0.05, 2.0]}),
        (
            nmo.glm.GLM(nmo.observation_models.NegativeBinomialObservations()),
            {"observation_model__scale": [0.05, 2.0]},
        ),
        (
            nmo.glm.GLM(regularizer="GroupLasso", regularizer_strength=0.05),
            {"regularizer__mask": [np.array([[1, 1, 0], [0, 0, 1]]), np.eye(3)]},
        ),
    ],
    ids=["named", "object", "mask"],
)
def test_a_grid_search_varies_parameters_of_objects(model, grid):
    before = repr(model)
    search = GridSearchCV(model, grid, cv=3).fit(FEATURES, COUNTS)
    (name,) = grid
    for value, score in zip(grid[name], search.cv_results_["split0_test_score"], strict=True):
        one = clone(model).set_params(**{name: value})
        assert one.get_params()[name] is not None
        fold = slice(len(COUNTS) // 3 + 1, None)
        one.fit(FEATURES[fold], COUNTS[fold])
        rest = slice(0, len(COUNTS) // 3 + 1)
        assert score == pytest.approx(one.score(FEATURES[rest], COUNTS[rest]), rel=1e-6)
    assert repr(model) == before


@pytest.mark.parametrize("name", nmo.observation_models.__all__)
def test_observation_models_are_classes_whose_text_makes_them(name):
    kind = getattr(nmo.observation_models, name)
    if not (inspect.isclass(kind) and name.endswith("Observations")):
        return
    assert issubclass(kind, nmo.observation_models.Observations)
    if name == "BetaBinomialObservations":
        made = kind(n_trials=4)
    elif name == "Observations":
        return
    else:
        made = kind()
    assert eval(repr(made), vars(nmo.observation_models)) == made
    assert type(made)(**made.get_params()) == made == clone(made)
    assert made.scale is not None


def test_parameters_that_do_not_exist_are_refused_as_scikit_learn_does():
    model = nmo.glm.GLM()
    for wrong in ("observation_model__foo", "regularizer__foo", "foo"):
        with pytest.raises(ValueError, match="Invalid parameter 'foo' for estimator"):
            model.set_params(**{wrong: 1})
    dispersed = nmo.observation_models.NegativeBinomialObservations(scale=2.0)
    with pytest.raises(ValueError, match="at least zero"):
        dispersed.set_params(scale=-1)
    assert dispersed.scale == 2.0
    assert dispersed.set_params(scale=0.5) is dispersed
    assert dispersed.scale == 0.5


COEF = jnp.array([1.0, 2.0, 3.0])
PENALISED = {  # of (coef, [5]) at these strengths: what NeMoS adds to a loss of one
    "Ridge": (Ridge(), 0.5, 9.75),
    "Lasso": (Lasso(), 0.5, 5.5),
    "ElasticNet": (ElasticNet(), (0.5, 0.5), 7.625),
    "UnRegularized": (UnRegularized(), None, 0.0),
}


@pytest.mark.parametrize("name", PENALISED)
def test_penalties_stand_by_themselves(name):
    regularizer, strength, penalty = PENALISED[name]
    params = (COEF, jnp.array([5.0]))
    total = regularizer.penalized_loss(lambda params, y: 1.0 + y, params, strength)
    assert float(total(params, 2.0)) == pytest.approx(3.0 + penalty)
    # The proximal operator minimises what it says it does.
    prox = regularizer.get_proximal_operator(params, strength)
    cost = regularizer.penalized_loss(
        lambda at: sum(jnp.sum((a - b) ** 2) for a, b in zip(at, params, strict=True)) / 2 / 0.3,
        params,
        strength,
    )
    best = prox(params, None, 0.3)
    for change in (0.01, -0.01):
        assert float(cost(jax.tree.map(lambda a, c=change: a + c, best))) > float(cost(best))


@pytest.mark.parametrize("kinks", [False, True])
def test_regularizers_name_the_solvers_that_can_handle_them(kinks):
    regularizer = Lasso() if kinks else Ridge()
    assert regularizer.default_solver in regularizer.allowed_solvers
    for algorithm in nmo.solvers.list_available_algorithms():
        if algorithm in regularizer.allowed_solvers:
            nmo.solvers.make_solver(algorithm, None, regularizer)
            regularizer.check_solver(algorithm)
        else:
            with pytest.raises(ValueError, match="needs a penalty with a gradient everywhere"):
                regularizer.check_solver(algorithm)


def test_groups_without_a_mask_are_those_of_arrays_and_neurons():
    params = {"a": np.zeros((3, 2)), "b": np.zeros((1, 2))}
    mask = GroupLasso().initialize_mask(params)
    assert {name: part.shape for name, part in mask.items()} == {"a": (4, 3, 2), "b": (4, 1, 2)}
    np.testing.assert_array_equal(
        sum(part.sum(axis=(1, 2)) for part in mask.values()), [3, 3, 1, 1]
    )
    X = {"a": FEATURES[:, :2], "b": FEATURES[:, 2:]}
    y = np.random.default_rng(4).poisson(np.exp(0.4 * FEATURES[:, :1] + 0.4 * FEATURES[:, 2:])) * [
        [1, 1]
    ]
    # One strength for each group: that of the second array and the first neuron is large.
    model = nmo.glm.PopulationGLM(regularizer="GroupLasso", regularizer_strength=[0, 0, 9.0, 0])
    model.fit(X, y)
    assert model.coef_["b"][0, 0] == 0
    assert np.all(model.coef_["a"] != 0)
    assert model.coef_["b"][0, 1] != 0
    single = nmo.glm.GLM(regularizer="GroupLasso", regularizer_strength=[0.0, 9.0]).fit(X, y[:, 0])
    assert single.coef_["b"] == 0
    assert np.all(single.coef_["a"] != 0)


class Scaled(Ridge):
    """A regularizer with a constructor of its own."""

    def __init__(self, factor):
        object.__setattr__(self, "factor", factor)

    def penalty(self, strength, coefficients):
        return super().penalty(self.factor * strength, coefficients)


def test_a_regularizer_of_the_users_is_fitted_saved_and_searched():
    model = nmo.glm.GLM(regularizer=Scaled(3.0), regularizer_strength=0.1).fit(FEATURES, COUNTS)
    same = nmo.glm.GLM(regularizer="Ridge", regularizer_strength=0.3).fit(FEATURES, COUNTS)
    np.testing.assert_allclose(model.coef_, same.coef_, rtol=1e-5)
    with tempfile.TemporaryDirectory() as folder:
        model.save_params(f"{folder}/model.npz")
        loaded = nmo.load_model(f"{folder}/model.npz", mapping_dict={"regularizer": Scaled})
    assert loaded.regularizer.factor == 3.0
    np.testing.assert_array_equal(loaded.coef_, model.coef_)
    assert model.get_params()["regularizer__factor"] == 3.0


def test_whole_numbers_may_be_rates(key):
    rates = np.array([[1, 2, 3]])
    for name in ("Poisson", "Gamma", "Gaussian", "NegativeBinomial"):
        model = getattr(nmo.observation_models, f"{name}Observations")()
        drawn = model.sample_generator(key, rates)
        np.testing.assert_array_equal(drawn, model.sample_generator(key, rates.astype(float)))
    certain = nmo.observation_models.BernoulliObservations().sample_generator(key, [1, 0, 1])
    np.testing.assert_array_equal(certain, [1, 0, 1])


@pytest.mark.parametrize("method", ["log_likelihood", "likelihood", "deviance", "pseudo_r2"])
def test_classes_may_be_labels_or_indicators_and_need_not_be_counted(method, rng):
    labels = rng.integers(3, size=(20, 2))
    log_probability = jax.nn.log_softmax(rng.normal(size=(20, 2, 3)))
    one, *others = (
        getattr(nmo.observation_models.CategoricalObservations(*counted), method)(
            y, log_probability
        )
        for counted in ((3,), ())
        for y in (labels, np.eye(3, dtype=int)[labels])
    )
    for other in others:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["Poisson", "Gamma", "Bernoulli", "Gaussian", "NegativeBinomial"])
def test_log_likelihoods_of_neurons_are_added(name, rng):
    model = getattr(nmo.observation_models, f"{name}Observations")()
    y = np.asarray(model.sample_generator(jax.random.key(0), np.full((30, 3), 0.4)))
    rate = rng.uniform(0.2, 0.8, size=(30, 3))
    of_each = [float(model.log_likelihood(y[:, n], rate[:, n])) for n in range(3)]
    np.testing.assert_allclose(model.log_likelihood(y, rate), np.sum(of_each), rtol=1e-5)
    np.testing.assert_allclose(model.likelihood(y, rate), np.exp(np.sum(of_each)), rtol=1e-5)


# --- Features in any container, solvers, and what is around.


@jax.tree_util.register_dataclass
@dataclass
class Inputs:
    place: object
    speed: object


@pytest.mark.parametrize("kind", ["PopulationGLM", "GLM", "ClassifierGLM"])
def test_any_registered_pytree_holds_features(kind):
    y = {"PopulationGLM": Y, "GLM": Y[:, 0], "ClassifierGLM": Y[:, 0] > 0}[kind]
    make = getattr(nmo.glm, kind)
    held = Inputs(X[:, :2], X[:, 2:])
    model = make(regularizer="Ridge", regularizer_strength=Inputs(0.1, 0.2)).fit(held, y)
    as_dict = {"place": X[:, :2], "speed": X[:, 2:]}
    strength = {"place": 0.1, "speed": 0.2}
    same = make(regularizer="Ridge", regularizer_strength=strength).fit(as_dict, y)
    assert isinstance(model.coef_, Inputs)
    np.testing.assert_array_equal(model.coef_.place, same.coef_["place"])
    np.testing.assert_array_equal(model.predict(held), same.predict(as_dict))
    with pytest.raises(TypeError, match="must be structured as it was"):
        model.predict(as_dict)
    with pytest.raises(TypeError, match=r"must be structured as it was .* got a Inputs"):
        same.predict(held)


def test_specs_of_solvers_print_as_their_names():
    specs = nmo.solvers.list_available_solvers()
    assert "LBFGS[jaxopt]" in str(specs)
    assert all(nmo.solvers.get_solver(str(spec)) is spec for spec in specs)
    spec = nmo.solvers.get_solver("Newton")
    assert (spec.algo_name, spec.backend, spec.full_name) == ("Newton", "spikax", "Newton[spikax]")
    assert spec.implementation is nmo.solvers.Newton


class Descent:
    """Gradient descent, written for NeMoS."""

    def __init__(
        self,
        unregularized_loss,
        regularizer,
        regularizer_strength,
        has_aux,
        init_params=None,
        stepsize=0.3,
    ):
        self.loss = regularizer.penalized_loss(
            unregularized_loss, init_params, regularizer_strength
        )
        self.stepsize = stepsize

    def init_state(self, params, *args):
        """Count the steps."""
        return jnp.asarray(0)

    def update(self, params, state, *args):
        """Go down the gradient."""
        slope = jax.grad(self.loss)(params, *args)
        return params - self.stepsize * slope, state + 1, None

    def run(self, params, *args):
        """Take a hundred steps."""
        state = self.init_state(params, *args)
        for _ in range(100):
            params, state, _ = self.update(params, state, *args)
        return params, state, None


class ProximalDescent(Descent):
    """Proximal gradient descent."""

    _proximal = True

    def __init__(
        self, unregularized_loss, regularizer, regularizer_strength, has_aux, init_params
    ):
        self.loss, self.stepsize = unregularized_loss, 0.3
        self.prox = regularizer.get_proximal_operator(init_params, regularizer_strength)

    def update(self, params, state, *args):
        """Go down the gradient, and apply the proximal operator."""
        params, state, _ = super().update(params, state, *args)
        return self.prox(params, None, self.stepsize), state, None


@pytest.mark.parametrize("penalty", ["UnRegularized", "Ridge", "Lasso"])
@pytest.mark.parametrize("kind", ["PopulationGLM", "ClassifierGLM"])
def test_a_solver_written_for_nemos_finds_the_optimum(penalty, kind):
    name = "TheirProximalDescent" if penalty == "Lasso" else "TheirDescent"
    implementation = ProximalDescent if penalty == "Lasso" else Descent
    nmo.solvers.register(name, implementation, replace=True)
    y = Y if kind == "PopulationGLM" else Y[:, 0] > 0
    arguments = {"regularizer": penalty, "regularizer_strength": 0.05}
    model = getattr(nmo.glm, kind)(solver_name=name, solver_kwargs={"tol": 1e-6}, **arguments)
    with jax.enable_x64(True):
        model.fit(X, y)
        best = getattr(nmo.glm, kind)(**arguments, solver_kwargs={"tol": 1e-9}).fit(X, y)
    np.testing.assert_allclose(model.coef_, best.coef_, atol=1e-4)
    if penalty != "Lasso":
        spec = nmo.solvers.get_solver(name)
        assert spec.options == ("tol", "maxiter", "stepsize")
        with pytest.raises(ValueError, match="Unknown argument of TheirDescent"):
            getattr(nmo.glm, kind)(solver_name=name, solver_kwargs={"momentum": 1}).fit(X, y)
        with pytest.raises(ValueError, match="needs a penalty with a gradient"):
            getattr(nmo.glm, kind)(solver_name=name, regularizer="Lasso").fit(X, y)


class Lacks:
    """No solver."""


def test_a_class_that_is_no_solver_is_told_what_it_lacks():
    with pytest.raises(TypeError, match="must be a frozen dataclass"):
        nmo.solvers.validate_solver_class(Lacks)
    with pytest.raises(TypeError, match=r"lacks .*run"):
        nmo.solvers.validate_solver_class(dataclass(frozen=True)(Lacks))
    stateful = type("Stateful", (), {"init_state": lambda self, params: None})
    with pytest.raises(TypeError, match="Stateful has init_state, but lacks update, run"):
        nmo.solvers.register("Stateful", stateful)
    nmo.solvers.validate_solver_class(Descent)


@pytest.mark.parametrize(
    "kind", ["GLM", "PopulationGLM", "ClassifierGLM", "ClassifierPopulationGLM"]
)
def test_models_show_their_solver_and_keep_it(kind):
    model = getattr(nmo.glm, kind)(solver_name="Newton", solver_kwargs={"maxiter": 7})
    assert model.solver == nmo.solvers.Newton(maxiter=7)
    assert model.solver_spec is nmo.solvers.get_solver("Newton")
    for name, method in (("init_state", "init"), ("update", "update"), ("run", "run")):
        found = getattr(model, f"optimizer_{name}")
        assert found.__self__ == model.solver
        assert found.__func__ is getattr(nmo.solvers.Newton, method)
    for name in ("solver", "solver_spec", "optimizer_run"):
        with pytest.raises(AttributeError):
            setattr(model, name, None)
    for wrong in ({"solver_name": "Nobody"}, {"solver_kwargs": {"foo": 1}}):
        model = getattr(nmo.glm, kind)(**wrong)
        assert "fit" in dir(model)  # which asks for all properties
        with pytest.raises(AttributeError, match="There is no solver: Unknown"):
            assert model.solver
    lasso = getattr(nmo.glm, kind)(regularizer="Lasso")
    assert lasso.solver_spec.algo_name == "ProximalQuasiNewton"


def test_a_number_of_samples_is_whole():
    model = nmo.glm.GLM()
    params = model.initialize_params(FEATURES, COUNTS)
    state = model.initialize_optimizer_and_state(params, FEATURES, COUNTS)
    with pytest.raises(TypeError, match=r"n_samples must be a whole number or None, got 1\.5"):
        model.update(params, state, FEATURES, COUNTS, n_samples=1.5)
    model.update(params, state, FEATURES, COUNTS, n_samples=1000)
    assert model.dof_resid_ == 996


def test_a_link_without_a_gradient_is_refused_by_fit():
    with pytest.raises(ValueError, match="has no gradient"):
        nmo.glm.GLM(inverse_link_function=lambda x: jnp.ones_like(x)).fit(FEATURES, COUNTS)


def test_a_window_longer_than_trials_gives_nan_and_a_warning():
    short = nap.Tsd(
        np.arange(20.0), np.arange(20.0), time_support=nap.IntervalSet([0, 9], [3, 19])
    )
    for x in (np.arange(10.0), short):
        with pytest.warns(UserWarning, match="fewer than the 21 samples"):
            features = nmo.basis.MSplineConv(4, window_size=20).compute_features(x)
        assert np.isnan(np.asarray(features)).all()
