"""Solvers by name: "Algorithm" or "Algorithm[backend]"."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from spikax._errors import unknown_name
from spikax.regularizer import Regularizer
from spikax.solvers._jaxopt import OPTIONS, JaxoptSolver
from spikax.solvers._newton import Newton
from spikax.solvers._proximal_quasi_newton import ProximalQuasiNewton
from spikax.solvers._solver import Solver
from spikax.solvers._whitened_lbfgs import WhitenedLBFGS


@dataclass(frozen=True)
class SolverSpec:
    """An entry of the registry.

    Parameters
    ----------
    algorithm
        Its name.
    backend
        The library it comes from.
    options
        Names of the arguments that `solver_kwargs` may hold.
    needs_smooth
        Whether the penalty must have a gradient everywhere.
    make
        Function from those arguments to the solver.
    """

    algorithm: str
    backend: str
    options: tuple[str, ...]
    needs_smooth: bool
    make: Callable[..., Solver]

    @property
    def name(self) -> str:
        """The full name, "Algorithm[backend]"."""
        return f"{self.algorithm}[{self.backend}]"


def _native(kind: type[Any]) -> SolverSpec:
    options = tuple(f.name for f in fields(kind))
    return SolverSpec(kind.__name__, "spikax", options, kind().needs_smooth, kind)


def _jaxopt(algorithm: str) -> SolverSpec:
    def make(tol: float = 1e-6, maxiter: int = 2000, **options: Any) -> Solver:
        return JaxoptSolver(tol, maxiter, algorithm, tuple(sorted(options.items())))

    needs_smooth = JaxoptSolver(algorithm=algorithm).needs_smooth
    return SolverSpec(
        algorithm, "jaxopt", ("tol", "maxiter", *OPTIONS[algorithm]), needs_smooth, make
    )


_POSITIVE = {"tol": Real, "maxiter": Integral, "memory": Integral}

_SPECS = (
    _native(WhitenedLBFGS),
    _native(Newton),
    _native(ProximalQuasiNewton),
    *(_jaxopt(name) for name in OPTIONS),
)


def list_available_solvers() -> list[str]:
    """List the solvers by their full names.

    Returns
    -------
    list of str
        Names such as "LBFGS[jaxopt]".

    Examples
    --------
    >>> import spikax as nmo
    >>> "WhitenedLBFGS[spikax]" in nmo.solvers.list_available_solvers()
    True
    """
    return [spec.name for spec in _SPECS]


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
    return list(dict.fromkeys(spec.algorithm for spec in _SPECS))


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
    ['jaxopt']
    """
    backends = [spec.backend for spec in _SPECS if spec.algorithm == algo_name]
    if not backends:
        raise unknown_name("algorithm", algo_name, list_available_algorithms())
    return backends


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
    for spec in _SPECS:
        if name in (spec.algorithm, spec.name):
            return spec
    with_backend = "[" in name
    known = list_available_solvers() if with_backend else list_available_algorithms()
    raise unknown_name("solver_name", name, known)


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
    """
    if name is None:
        name = "WhitenedLBFGS" if regularizer.smooth else "ProximalQuasiNewton"
    spec = get_solver(name)
    if spec.needs_smooth and not regularizer.smooth:
        able = [s.algorithm for s in _SPECS if not s.needs_smooth]
        raise ValueError(
            f"solver_name={name!r} needs a penalty with a gradient everywhere, and "
            f"{type(regularizer).__name__} has none at zero. Use {' or '.join(able)}."
        )
    if not isinstance(kwargs, Mapping | None):
        raise TypeError(f"solver_kwargs must be a dict such as {{'tol': 1e-6}}, got {kwargs!r}.")
    for key, value in (kwargs or {}).items():
        if key not in spec.options:
            raise unknown_name(f"argument of {spec.name} in solver_kwargs", key, spec.options)
        kind = _POSITIVE.get(key)
        if kind is not None and not (isinstance(value, kind) and value > 0):
            what = "number" if kind is Real else "whole number"
            raise ValueError(f"solver_kwargs[{key!r}] must be a positive {what}, got {value!r}.")
    return spec.make(**(kwargs or {}))
