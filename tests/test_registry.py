"""The registry: solvers are found by name, added, and chosen between."""

import numbers
import sys
from dataclasses import dataclass, field

import jax
import numpy as np
import pytest

from compilations import counted
from confusable import jax_confuses_dataclasses
from spikax import inference, solvers
from spikax.core import value_and_grad
from spikax.glm import GLM, PopulationGLM
from spikax.model_selection import PopulationGLMCV, regularization_path
from spikax.solvers import Newton, Outcome, Status, _registry

SOLVERS = [spec.full_name for spec in solvers.list_available_solvers()]


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Leave the registry as it was."""
    copy = {algorithm: dict(specs) for algorithm, specs in _registry._SPECS.items()}
    monkeypatch.setattr(_registry, "_SPECS", copy)


@dataclass(frozen=True)
class Descent:
    """Gradient descent of a user's: so many steps of one length."""

    needs_smooth = True
    needs_double = False

    stepsize: float = 0.5
    maxiter: int = field(default=200, metadata={"static": True})

    def run(self, objective, samples, theta, precomputed):
        theta = jax.numpy.zeros_like(objective.mask) if theta is None else theta

        def step(_, theta):
            return theta - self.stepsize * value_and_grad(objective, samples, theta)[1]

        theta = jax.lax.fori_loop(0, self.maxiter, step, theta)
        value = value_and_grad(objective, samples, theta)[0]
        n_steps = jax.numpy.full(value.shape, self.maxiter)
        status = jax.numpy.full(value.shape, Status.CONVERGED)
        return Outcome(theta, value, n_steps, status, jax.numpy.asarray(self.maxiter + 1))

    def init(self, objective, samples, theta, precomputed):
        return None

    def update(self, objective, samples, theta, state):
        return theta - self.stepsize * value_and_grad(objective, samples, theta)[1], state


@pytest.fixture
def data(rng):
    X = rng.normal(size=(100, 3))
    return X, rng.poisson(np.exp(0.3 * X[:, :2]))


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_is_found_by_its_full_and_its_short_name(name):
    spec = solvers.get_solver(name)
    assert spec.full_name == name
    backends = solvers.list_algo_backends(spec.algo_name)
    assert spec.backend in backends
    assert solvers.get_solver(spec.algo_name).backend == backends[0]
    assert spec.algo_name in solvers.list_available_algorithms()


def test_an_unknown_algorithm_has_no_backends():
    with pytest.raises(ValueError, match=r"algorithm: 'LBFG'\. Did you mean 'LBFGS'"):
        solvers.list_algo_backends("LBFG")


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_has_documentation_that_names_its_arguments(name):
    text = solvers.get_solver_documentation(name)
    heading, body = text.split("\n\n", 1)
    assert heading.startswith(f"{name} takes in solver_kwargs: ")
    for option in solvers.get_solver(name).options:
        assert option in heading
    assert len(body) > 50
    assert len(solvers.get_solver_documentation(name, show_help=True)) > len(text)


def test_the_default_backend_is_what_the_short_name_means(data):
    X, y = data
    assert solvers.get_solver("LBFGS").full_name == "LBFGS[jaxopt]"
    solvers.set_default_backend("LBFGS", "optax")
    assert solvers.get_solver("LBFGS").full_name == "LBFGS[optax]"
    assert solvers.list_algo_backends("LBFGS") == ["optax", "jaxopt", "optimistix"]
    # history_size is an argument of jaxopt's.
    with pytest.raises(ValueError, match=r"LBFGS\[optax\] in solver_kwargs: 'history_size'"):
        GLM(solver_name="LBFGS", solver_kwargs={"history_size": 5}).fit(X, y[:, 0])
    with pytest.raises(ValueError, match=r"backend of LBFGS: 'optx'\. Did you mean 'optax'"):
        solvers.set_default_backend("LBFGS", "optx")
    with pytest.raises(ValueError, match="Unknown algorithm: 'Newtn'"):
        solvers.set_default_backend("Newtn", "spikax")


def test_a_solver_of_the_users_fits_batches_and_refuses_what_it_cannot(data):
    X, y = data
    solvers.register("Descent", Descent, default=True)
    assert "Descent[custom]" in map(str, solvers.list_available_solvers())
    model = PopulationGLM(solver_name="Descent").fit(X, y)
    best = PopulationGLM(solver_kwargs={"tol": 1e-8}).fit(X, y)
    np.testing.assert_allclose(model.coef_, best.coef_, atol=1e-4)
    with counted() as compiled:
        PopulationGLM(solver_name="Descent", solver_kwargs={"stepsize": 0.3}).fit(X, y)
    assert not compiled
    params = model.initialize_params(X, y)
    state = model.initialize_optimizer_and_state(params, X, y)
    for _ in range(200):
        params, state = model.update(params, state, X, y)
    np.testing.assert_allclose(params[0], best.coef_, atol=1e-4)
    with pytest.raises(ValueError, match=r"'stepsiz'\. Did you mean 'stepsize'"):
        PopulationGLM(solver_name="Descent", solver_kwargs={"stepsiz": 0.3}).fit(X, y)
    with pytest.raises(ValueError, match="needs a penalty with a gradient everywhere"):
        PopulationGLM(solver_name="Descent", regularizer="Lasso").fit(X, y)


def test_a_name_is_taken_once_unless_asked_for():
    solvers.register("Newton", Descent)
    assert solvers.get_solver("Newton").backend == "spikax"
    with pytest.raises(ValueError, match=r"Newton\[custom\] is registered already.*replace=True"):
        solvers.register("Newton", Newton)
    solvers.register("Newton", Newton, replace=True, default=True)
    assert solvers.get_solver("Newton").implementation is Newton
    assert solvers.get_solver("Newton").backend == "custom"


@pytest.mark.parametrize(
    ("name", "backend"), [("", "custom"), ("A[b]", "custom"), ("A", "b]"), ("A", ""), (3, "b")]
)
def test_a_name_that_could_not_be_told_from_others_is_refused(name, backend):
    with pytest.raises(ValueError, match="must be a name without brackets"):
        solvers.register(name, Descent, backend)


@dataclass(frozen=True)
class NoRun:
    needs_smooth = True
    needs_double = False
    init = update = Descent.init


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Confusable(Descent):
    pass


@dataclass(frozen=True)
class NotNumbers(Descent):
    way: str = "down"


@dataclass(frozen=True)
class NoDefault(Descent):
    memory: int = field(kw_only=True)


@dataclass(frozen=True)
class NotHashable(Descent):
    names: list = field(default_factory=list, metadata={"static": True})


@pytest.mark.parametrize(
    ("implementation", "message"),
    [
        (Descent(), "must be a frozen dataclass, got Descent"),
        (dict, "must be a frozen dataclass, got"),
        (NoRun, r"NoRun lacks run: a solver has the members of spikax\.solvers\.Solver"),
        pytest.param(
            Confusable,
            "Confusable is registered with .*Leave that decorator out",
            marks=jax_confuses_dataclasses,
        ),
        (NotNumbers, "NotNumbers.way must be a number or an array of numbers, got 'down'.*static"),
        (NoDefault, r"NoDefault\(\) must make a .*'memory'"),
        (NotHashable, r"NotHashable\(\) must make a hashable solver.*unhashable"),
    ],
)
def test_what_a_fit_could_not_use_is_refused(implementation, message):
    with pytest.raises(TypeError, match=message):
        solvers.register("Mine", implementation)
    assert "Mine" not in solvers.list_available_algorithms()


@pytest.mark.parametrize("backend", ["optimistix", "optax"])
def test_a_library_that_is_missing_is_named_with_what_to_install(backend, data, monkeypatch):
    X, y = data
    monkeypatch.setitem(sys.modules, backend, None)
    with counted() as compiled, pytest.raises(ImportError, match=r"pip install 'spikax\[optimis"):
        PopulationGLM(solver_name=f"LBFGS[{backend}]").fit(X, y)
    assert not compiled
    with pytest.raises(ImportError, match=f"needs the package {backend}"):
        solvers.get_solver_documentation(f"LBFGS[{backend}]")


@pytest.mark.parametrize("solver", ["BFGS[optimistix]", "LBFGS[optax]"])
def test_no_number_that_a_user_tunes_compiles_an_adapter_again(solver, data):
    X, y = data
    PopulationGLM(solver_name=solver).fit(X, y)
    with counted() as compiled:
        PopulationGLM(solver_name=solver, solver_kwargs={"tol": 1e-4, "maxiter": 99}).fit(2 * X, y)
    assert not compiled


@dataclass(frozen=True)
class Rememberer(Descent):
    """A solver of a user's whose fields are called as those of others, and mean something else."""

    memory: float = 0.5
    batch_size: float = -1.0
    tol: float = 0.0
    rate: float = field(default=0.1, metadata={"positive": numbers.Real})


def test_a_field_is_checked_as_its_own_solver_says(data):
    X, y = data
    solvers.register("Rememberer", Rememberer)
    kwargs = {"memory": 0.25, "batch_size": -3.5, "tol": 0.0}
    PopulationGLM(solver_name="Rememberer", solver_kwargs=kwargs).fit(X, y)
    with pytest.raises(ValueError, match=r"solver_kwargs\['rate'\] must be a positive number"):
        PopulationGLM(solver_name="Rememberer", solver_kwargs={"rate": 0}).fit(X, y)
    with pytest.raises(ValueError, match=r"\['memory'\] must be a positive whole number"):
        PopulationGLM(solver_kwargs={"memory": 0.5}).fit(X, y)
    with pytest.raises(ValueError, match=r"\['batch_size'\] must be a positive whole number"):
        PopulationGLM(solver_name="SVRG", solver_kwargs={"batch_size": -1}).fit(X, y)


@dataclass(frozen=True)
class Doubting(Descent):
    """A solver of a user's that says it needs double precision, and checks what it is given."""

    needs_double = True

    def run(self, objective, samples, theta, precomputed):
        assert samples.y.dtype == objective.mask.dtype == np.float64
        return super().run(objective, samples, theta, precomputed)

    def init(self, objective, samples, theta, precomputed):
        assert samples.y.dtype == objective.mask.dtype == theta.dtype == np.float64

    def update(self, objective, samples, theta, state):
        assert samples.y.dtype == objective.mask.dtype == theta.dtype == np.float64
        return super().update(objective, samples, theta, state)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_solver_that_needs_double_precision_has_it_however_it_is_run(data):
    X, y = data
    solvers.register("Doubting", Doubting)
    model = PopulationGLM(solver_name="Doubting").fit(X, y)
    params = model.initialize_params(X, y)
    state = model.initialize_optimizer_and_state(params, X, y)
    model.update(*model.update(params, state, X, y), X, y)
    model.partial_fit(X, y)
    ridge = {"regularizer": "Ridge", "solver_name": "Doubting"}
    regularization_path(PopulationGLM(**ridge), X, y, n_strengths=2)
    PopulationGLMCV(**ridge, n_strengths=2, cv=2).fit(X, y)
    fitted = PopulationGLM(solver_name="Doubting").fit(X, y)
    inference.without(fitted, X, y, 0)
