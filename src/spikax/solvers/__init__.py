"""Solvers: how the loss of a population is minimised."""

from spikax.solvers._convergence import Outcome, Status
from spikax.solvers._method import Context, Method, Preconditioner, Proposal, Restarting
from spikax.solvers._newton import Newton
from spikax.solvers._proximal_quasi_newton import ProximalQuasiNewton
from spikax.solvers._registry import (
    SolverSpec,
    get_solver,
    get_solver_documentation,
    list_algo_backends,
    list_available_algorithms,
    list_available_solvers,
    make_solver,
    register,
    set_default_backend,
    validate_solver_class,
)
from spikax.solvers._solver import Solver
from spikax.solvers._svrg import SVRG, ProxSVRG
from spikax.solvers._whitened_lbfgs import WhitenedLBFGS

__all__ = [
    "SVRG",
    "Context",
    "Method",
    "Newton",
    "Outcome",
    "Preconditioner",
    "Proposal",
    "ProxSVRG",
    "ProximalQuasiNewton",
    "Restarting",
    "Solver",
    "SolverSpec",
    "Status",
    "WhitenedLBFGS",
    "get_solver",
    "get_solver_documentation",
    "list_algo_backends",
    "list_available_algorithms",
    "list_available_solvers",
    "make_solver",
    "register",
    "set_default_backend",
    "validate_solver_class",
]
