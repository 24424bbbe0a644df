"""Solvers by name: "Algorithm" or "Algorithm[backend]"."""

import pydoc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from inspect import getdoc
from numbers import Integral, Real
from typing import Any, Protocol

from spikax._errors import unknown_name
from spikax._pytrees import adopt
from spikax.solvers._newton import Newton
from spikax.solvers._proximal_quasi_newton import ProximalQuasiNewton
from spikax.solvers._solver import Solver
from spikax.solvers._svrg import SVRG, ProxSVRG
from spikax.solvers._whitened_lbfgs import WhitenedLBFGS
from spikax.solvers.external import _contract, _jaxopt, _optax, _optimistix
from spikax.solvers.external._each import EachNeuron


class Regularizer(Protocol):
    """What a solver must handle."""

    @property
    def smooth(self) -> bool:
        """Whether the penalty has a gradient everywhere."""
        ...


@dataclass(frozen=True, repr=False)
class SolverSpec:
    """An entry of the registry, which prints as its full name.

    Parameters
    ----------
    algo_name
        Name of the algorithm.
    backend
        The library it comes from.
    options
        Names of the arguments that `solver_kwargs` may hold.
    needs_smooth
        Whether the penalty must have a gradient everywhere.
    implementation
        Function from those arguments to the solver, or the solver's class.
    documented
        Function that finds whose documentation `get_solver_documentation` shows.
    positive
        Of the arguments that must be positive, the kind of number: `numbers.Real` or
        `numbers.Integral`.

    Examples
    --------
    >>> import spikax as nmo
    >>> spec = nmo.solvers.get_solver("SVRG")
    >>> spec, spec.algo_name, spec.backend, spec.needs_smooth
    (SVRG[spikax], 'SVRG', 'spikax', True)
    >>> spec.options
    ('tol', 'maxiter', 'stepsize', 'seed', 'batch_size')
    """

    algo_name: str
    backend: str
    options: tuple[str, ...]
    needs_smooth: bool
    implementation: Callable[..., Solver]
    documented: Callable[[], Any]
    positive: Mapping[str, type] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """The full name, "Algorithm[backend]"."""
        return f"{self.algo_name}[{self.backend}]"

    def __repr__(self) -> str:
        return self.full_name


def _of_class(algorithm: str, backend: str, kind: Any) -> SolverSpec:
    options = [f for f in fields(kind) if f.init]
    return SolverSpec(
        algorithm,
        backend,
        tuple(f.name for f in options),
        kind().needs_smooth,
        kind,
        lambda: kind,
        {f.name: f.metadata["positive"] for f in options if "positive" in f.metadata},
    )


def _of_library(algorithm: str, backend: str, adapter: Any) -> SolverSpec:
    options = adapter.OPTIONS[algorithm]
    steps = getattr(adapter, backend.capitalize())

    def library() -> Any:
        try:
            return import_module(backend)
        except ImportError as error:
            raise ImportError(
                f"{algorithm}[{backend}] needs the package {backend}, which is not installed: "
                f"pip install 'spikax[optimistix]'."
            ) from error

    def make(tol: float = 1e-6, maxiter: int = 2000, **options: Any) -> Solver:
        library()
        return EachNeuron(steps(algorithm, tuple(sorted(options.items()))), tol, maxiter)

    def documented() -> Any:
        found = library()
        return getattr(found, algorithm, None) or getattr(found, algorithm.lower())

    needs_smooth = steps(algorithm).needs_smooth
    names = ("tol", "maxiter", *options)
    positive = {"tol": Real, "maxiter": Integral}
    return SolverSpec(algorithm, backend, names, needs_smooth, make, documented, positive)


def _of_contract(algorithm: str, backend: str, kind: Any) -> SolverSpec:
    """Make the entry of a class that was written for NeMoS."""
    names = [name for name in _contract.accepted(kind) if name not in ("tol", "maxiter")]

    def make(tol: float = 1e-6, maxiter: int = 2000, **options: Any) -> Solver:
        made = _contract.ByContract(kind, tuple(sorted(options.items())))
        return EachNeuron(made, tol, maxiter)

    needs_smooth = _contract.ByContract(kind).needs_smooth
    positive = {"tol": Real, "maxiter": Integral}
    names = ("tol", "maxiter", *names)
    return SolverSpec(algorithm, backend, names, needs_smooth, make, lambda: kind, positive)


# The specs of each algorithm by their backends, the default one first. `register` and
# `set_default_backend` change it, and nothing else does.
_SPECS: dict[str, dict[str, SolverSpec]] = {}


def _add(spec: SolverSpec) -> None:
    _SPECS.setdefault(spec.algo_name, {})[spec.backend] = spec


for _kind in (WhitenedLBFGS, Newton, ProximalQuasiNewton):
    _add(_of_class(_kind.__name__, "spikax", _kind))
for _backend, _adapter in (("jaxopt", _jaxopt), ("optimistix", _optimistix), ("optax", _optax)):
    for _name in _adapter.OPTIONS:
        _add(_of_library(_name, _backend, _adapter))
for _kind in (SVRG, ProxSVRG):
    _add(_of_class(_kind.__name__, "spikax", _kind))


def register(
    algo_name: str,
    implementation: type,
    backend: str = "custom",
    replace: bool = False,
    default: bool = False,
    validate: bool = True,
) -> None:
    """Add a solver of your own to those that `solver_name` knows, for this session.

    Parameters
    ----------
    algo_name
        Name of the algorithm.
    implementation
        A frozen dataclass with the members of `spikax.solvers.Solver`, whose fields have defaults:
        they are what `solver_kwargs` may hold. A field that changes the program is marked with
        `field(metadata={"static": True})`; the others are numbers or arrays, of which other values
        compile nothing again. One whose values must be positive is marked with the kind of number,
        `field(metadata={"positive": numbers.Real})` or `numbers.Integral`. JAX is told of the
        class here: leave its decorators out.
    backend
        Name of the library or the person it comes from (default "custom").
    replace
        Whether it may take the place of one of the same algorithm and backend (default False).
    default
        Whether "Algorithm" alone shall mean this one (default False).
    validate
        Whether to check that it has what a fit asks for (default True).

    Raises
    ------
    ValueError
        If the name is taken and `replace` is False, or a name is empty or has brackets.
    TypeError
        If the implementation lacks something, or JAX would confuse it with others.

    Examples
    --------
    >>> import spikax as nmo
    >>> nmo.solvers.register("IRLS", nmo.solvers.Newton)
    >>> nmo.glm.GLM(solver_name="IRLS").fit([[0.0], [1.0], [2.0]], [1, 2, 2]).coef_.shape
    (1,)
    """
    for argument, name in (("algo_name", algo_name), ("backend", backend)):
        if not isinstance(name, str) or not name or set(name) & set("[]"):
            raise ValueError(f"{argument} must be a name without brackets, got {name!r}.")
    if backend in _SPECS.get(algo_name, {}) and not replace:
        raise ValueError(
            f"{algo_name}[{backend}] is registered already: pass replace=True to take its place, "
            "or choose another backend."
        )
    if validate:
        validate_solver_class(implementation)
    if hasattr(implementation, "init_state"):
        _add(_of_contract(algo_name, backend, implementation))
    else:
        adopt(implementation())
        _add(_of_class(algo_name, backend, implementation))
    if default:
        set_default_backend(algo_name, backend)


def validate_solver_class(solver_class: Any) -> None:
    """Refuse a class that a fit could not use as a solver, and say what it lacks.

    Parameters
    ----------
    solver_class
        As `implementation` of `register`.

    Raises
    ------
    TypeError
        If it is neither a frozen dataclass with the members of `spikax.solvers.Solver`, defaults
        for all its fields, and values that can be hashed, nor has what NeMoS asks of a class.

    Examples
    --------
    >>> import spikax as nmo
    >>> nmo.solvers.validate_solver_class(nmo.solvers.Newton)
    """
    name = getattr(solver_class, "__name__", repr(solver_class))
    if isinstance(solver_class, type) and hasattr(solver_class, "init_state"):
        missing = [m for m in _contract.MEMBERS if not callable(getattr(solver_class, m, None))]
        if missing:
            raise TypeError(f"{name} has init_state, but lacks {', '.join(missing)}.")
        return
    if not isinstance(solver_class, type) or not is_dataclass(solver_class):
        raise TypeError(
            f"implementation must be a frozen dataclass, got {solver_class!r}. Its fields are "
            "what solver_kwargs may hold."
        )
    members = [m for m in dir(Solver) if not m.startswith("_")]
    missing = [m for m in members if not hasattr(solver_class, m)]
    if missing:
        raise TypeError(
            f"{name} lacks {', '.join(missing)}: a solver has the members of "
            "spikax.solvers.Solver."
        )
    try:
        solver = solver_class()
        hash(solver)
    except TypeError as error:
        raise TypeError(
            f"{name}() must make a hashable solver with defaults for all it needs: {error}."
        ) from error


def set_default_backend(algo_name: str, backend: str) -> None:
    """Choose which backend an algorithm's name means when none is given, for this session.

    Parameters
    ----------
    algo_name
        Name of the algorithm.
    backend
        One of its backends.

    Raises
    ------
    ValueError
        If nobody registered the algorithm, or that backend of it.

    Examples
    --------
    >>> import spikax as nmo
    >>> nmo.solvers.set_default_backend("BFGS", "jaxopt")
    >>> nmo.solvers.get_solver("BFGS").full_name
    'BFGS[jaxopt]'
    """
    backends = list_algo_backends(algo_name)
    if backend not in backends:
        raise unknown_name(f"backend of {algo_name}", backend, backends)
    specs = _SPECS[algo_name]
    _SPECS[algo_name] = {backend: specs[backend], **specs}


def list_available_solvers() -> list[SolverSpec]:
    """List the solvers.

    Returns
    -------
    list of SolverSpec
        What the names stand for; they print as names such as LBFGS[jaxopt].

    Examples
    --------
    >>> import spikax as nmo
    >>> nmo.solvers.list_available_solvers()[:2]
    [WhitenedLBFGS[spikax], Newton[spikax]]
    """
    return [spec for specs in _SPECS.values() for spec in specs.values()]


def list_available_algorithms() -> list[str]:
    """List the algorithms.

    Returns
    -------
    list of str
        Names such as "LBFGS".

    Examples
    --------
    >>> import spikax as nmo
    >>> "LBFGS" in nmo.solvers.list_available_algorithms()
    True
    """
    return list(_SPECS)


def list_algo_backends(algo_name: str) -> list[str]:
    """List the backends that an algorithm has.

    Parameters
    ----------
    algo_name
        Name of the algorithm.

    Returns
    -------
    list of str
        Names of the backends, the default first.

    Raises
    ------
    ValueError
        If nobody registered the algorithm.

    Examples
    --------
    >>> import spikax as nmo
    >>> nmo.solvers.list_algo_backends("LBFGS")
    ['jaxopt', 'optimistix', 'optax']
    """
    if algo_name not in _SPECS:
        raise unknown_name("algorithm", algo_name, _SPECS)
    return list(_SPECS[algo_name])


def get_solver(name: str) -> SolverSpec:
    """Find a solver by its name.

    Parameters
    ----------
    name
        "Algorithm", for its default backend, or "Algorithm[backend]".

    Returns
    -------
    SolverSpec
        What makes the solver, and the arguments it knows.

    Raises
    ------
    ValueError
        If nobody registered it.
    TypeError
        If it is not a name.

    Examples
    --------
    >>> import spikax as nmo
    >>> nmo.solvers.get_solver("BFGS").options[:2]
    ('tol', 'maxiter')
    """
    if not isinstance(name, str):
        raise TypeError(
            f"solver_name must be a name, such as 'LBFGS', or None, got {name!r}. Pass a solver's "
            "arguments in solver_kwargs."
        )
    if name in _SPECS:
        return next(iter(_SPECS[name].values()))
    specs = {spec.full_name: spec for specs in _SPECS.values() for spec in specs.values()}
    if name in specs:
        return specs[name]
    raise unknown_name("solver_name", name, specs if "[" in name else _SPECS)


def get_solver_documentation(solver: str, show_help: bool = False) -> str:
    """Look up what a solver does and which arguments it takes.

    Parameters
    ----------
    solver
        "Algorithm" or "Algorithm[backend]".
    show_help
        Whether to give all that `help` shows of it, and not its docstring only (default False).

    Returns
    -------
    str
        The arguments that `solver_kwargs` may hold, and the documentation of the solver, or of the
        library's class that it runs.

    Raises
    ------
    ValueError
        If nobody registered it.
    ImportError
        If its library is not installed.

    Examples
    --------
    >>> import spikax as nmo
    >>> print(nmo.solvers.get_solver_documentation("Newton"))
    Newton[spikax] takes in solver_kwargs: tol, maxiter.
    <BLANKLINE>
    Newton's method with exact Hessians and halved steps.
    ...
    """
    spec = get_solver(solver)
    documented = spec.documented()
    plain: Any = pydoc.plaintext  # pyright: ignore[reportAttributeAccessIssue]
    text = pydoc.render_doc(documented, renderer=plain) if show_help else None
    heading = f"{spec.full_name} takes in solver_kwargs: {', '.join(spec.options)}."
    return f"{heading}\n\n{text or getdoc(documented) or ''}"


def default_solver(regularizer: Regularizer) -> str:
    """Name the algorithm that a model takes if it is told none."""
    return "WhitenedLBFGS" if regularizer.smooth else "ProximalQuasiNewton"


def allowed_solvers(regularizer: Regularizer) -> tuple[str, ...]:
    """Name the algorithms that can handle a regularizer."""
    return tuple(
        algorithm
        for algorithm, specs in _SPECS.items()
        if regularizer.smooth or any(not spec.needs_smooth for spec in specs.values())
    )


def make_solver(
    name: str | None, kwargs: Mapping[str, Any] | None, regularizer: Regularizer
) -> Solver:
    """Make the solver that `solver_name` and `solver_kwargs` ask for.

    Parameters
    ----------
    name
        Name of a solver, or None for the best one that can handle the regularizer.
    kwargs
        Its arguments, or None.
    regularizer
        The penalty it must handle.

    Returns
    -------
    Solver
        The solver.

    Raises
    ------
    ValueError
        If the solver or an argument is unknown, or the solver cannot handle the regularizer.

    Examples
    --------
    >>> import spikax as nmo
    >>> nmo.solvers.make_solver("Newton", {"tol": 1e-6}, nmo.regularizer.Ridge())
    Newton(tol=1e-06, maxiter=100)
    """
    spec = get_solver(default_solver(regularizer) if name is None else name)
    if spec.needs_smooth and not regularizer.smooth:
        able = allowed_solvers(regularizer)
        raise ValueError(
            f"solver_name={name!r} needs a penalty with a gradient everywhere, and "
            f"{type(regularizer).__name__} has none at zero. Use {' or '.join(able)}."
        )
    if not isinstance(kwargs, Mapping | None):
        raise TypeError(f"solver_kwargs must be a dict such as {{'tol': 1e-6}}, got {kwargs!r}.")
    for key, value in (kwargs or {}).items():
        if key not in spec.options:
            raise unknown_name(f"argument of {spec.full_name} in solver_kwargs", key, spec.options)
        kind = spec.positive.get(key)
        if kind is not None and not (isinstance(value, kind) and value > 0):
            what = "number" if kind is Real else "whole number"
            raise ValueError(f"solver_kwargs[{key!r}] must be a positive {what}, got {value!r}.")
    return spec.implementation(**(kwargs or {}))
