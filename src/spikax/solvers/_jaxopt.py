"""jaxopt's solvers, one neuron at a time under `vmap`, with the data as arguments.

jaxopt is no longer maintained and warns when it is imported: it is imported only when one of its
solvers is asked for, and nothing else depends on it.
"""

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from spikax.problem import (
    Problem,
    null_model,
    penalized_loss,
    proximal_step,
    value_and_grad,
    without_features,
)
from spikax.regularizer import NO_PENALTY
from spikax.solvers._outcome import Outcome, Status, runs_away
from spikax.solvers._whitening import own_whitening

_COMMON = ("stepsize", "maxls", "decrease_factor")
_LINE_SEARCH = (
    *_COMMON,
    "linesearch",
    "linesearch_init",
    "condition",
    "increase_factor",
    "max_stepsize",
    "min_stepsize",
)
OPTIONS = {
    "GradientDescent": (*_COMMON, "acceleration"),
    "ProximalGradient": (*_COMMON, "acceleration"),
    "LBFGS": (*_LINE_SEARCH, "history_size", "use_gamma"),
    "BFGS": _LINE_SEARCH,
    "NonlinearCG": (*_LINE_SEARCH, "method"),
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class JaxoptSolver:
    """A solver of jaxopt's.

    Parameters
    ----------
    tol
        Norm of the gradient, or of the proximal step, at which a neuron stops (default 1e-6), in
        units of the standardised features; where precision ends earlier, it stops there.
    maxiter
        Largest number of steps of a neuron (default 2000).
    algorithm
        Name of the class in jaxopt.
    options
        Its other arguments, as (name, value) pairs.
    """

    tol: float = 1e-6
    maxiter: int = 2000
    algorithm: str = field(default="LBFGS", metadata={"static": True})
    options: tuple[tuple[str, Any], ...] = field(default=(), metadata={"static": True})

    @property
    def needs_smooth(self) -> bool:
        """Whether the penalty must have a gradient everywhere."""
        return self.algorithm != "ProximalGradient"

    @property
    def needs_double(self) -> bool:
        """Whether single precision is too coarse: yes for steps that the loss alone accepts.

        A loss in single precision cannot tell a gradient of 1e-4 from none: there the steps of
        the methods with momentum grow past what converges.
        """
        return "acceleration" in OPTIONS[self.algorithm]

    def run(self, problem: Problem, theta: jax.Array | None) -> Outcome:
        """Minimise from `theta`, or from the model without features."""
        null = null_model(problem)
        if theta is None:
            theta = without_features(problem, null)
        # A gradient is a mean over samples: below this it is rounding.
        steepest = null.curvature.reshape(problem.n_outputs, -1).max(axis=0)
        resolution = 20 * jnp.finfo(theta.dtype).eps * jnp.sqrt(steepest)
        tol = jnp.maximum(self.tol, resolution)

        def fit(neuron, theta, tol):
            one = problem.neurons(neuron[None])
            method = _method(self, one)

            def unfinished(carry):
                theta, state, moved = carry
                error = _error(self, one, theta, state)
                return (error > tol) & (state.iter_num < self.maxiter) & moved

            def step(carry):
                old, state, _ = carry
                theta, state = method.update(old, state, *_hyperparameters(self, one), one)
                return theta, state, jnp.any(theta != old)

            state = method.init_state(theta, *_hyperparameters(self, one), one)
            start = (theta, state, jnp.asarray(True))
            theta, state, _ = jax.lax.while_loop(unfinished, step, start)
            return theta, state.iter_num

        neurons = jnp.arange(problem.n_neurons)
        over = (0, 1, 0)
        theta, n_steps = jax.vmap(fit, over, (1, 0))(neurons, theta, tol)
        assert theta is not None
        value = penalized_loss(problem, theta)
        residual = _residual(self, problem, theta)
        away = null.at_bound
        if problem.penalty.smooth:
            whitening = own_whitening(problem, theta, max(4096, 16 * len(theta)), value < jnp.inf)
            slope = whitening.pull_back(value_and_grad(problem, theta)[1])
            away |= runs_away(problem, null, theta, value, -whitening.to_parameters(slope))
        status = jnp.select(
            [~jnp.isfinite(value), residual <= 2 * tol],
            [Status.NOT_FINITE, jnp.where(away, Status.UNBOUNDED, Status.CONVERGED)],
            jnp.where(n_steps >= self.maxiter, Status.OUT_OF_STEPS, Status.STALLED),
        )
        return Outcome(theta, value, n_steps, status, jnp.max(n_steps))

    def init(self, problem: Problem, theta: jax.Array) -> Any:
        """Prepare jaxopt's state of each neuron for batches like this one."""

        def one(neuron, theta):
            one = problem.neurons(neuron[None])
            return _method(self, one).init_state(theta, *_hyperparameters(self, one), one)

        return jax.vmap(one, in_axes=(0, 1))(jnp.arange(theta.shape[1]), theta)

    def update(self, problem: Problem, theta: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        """Take one step of each neuron on a batch."""

        def one(neuron, theta, state):
            one = problem.neurons(neuron[None])
            return tuple(
                _method(self, one).update(theta, state, *_hyperparameters(self, one), one)
            )

        over = (0, 1, 0)
        return jax.vmap(one, over, (1, 0))(jnp.arange(theta.shape[1]), theta, state)


def _method(solver: JaxoptSolver, problem: Problem):
    """Make jaxopt's solver for one neuron."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import jaxopt

    mask = problem.mask[:, 0]

    def objective(theta, data):
        if not solver.needs_smooth:
            data = replace(data, penalty=NO_PENALTY)
        return penalized_loss(data, (mask * theta)[:, None])[0]

    arguments = {"maxiter": solver.maxiter, "tol": solver.tol, "implicit_diff": False}
    if not solver.needs_smooth:

        def prox(theta, data, step):
            return proximal_step(data, theta[:, None], jnp.asarray(step)[None])[:, 0]

        arguments["prox"] = prox
    return getattr(jaxopt, solver.algorithm)(objective, **arguments, **dict(solver.options))


def _hyperparameters(solver: JaxoptSolver, problem: Problem) -> tuple[Problem, ...]:
    return () if solver.needs_smooth else (problem,)


def _error(solver: JaxoptSolver, problem: Problem, theta: jax.Array, state) -> jax.Array:
    """Norm of one neuron's gradient, or of its proximal step of unit length."""
    if "acceleration" in OPTIONS[solver.algorithm]:
        # jaxopt takes the distance between iterates, which vanishes where their momentum turns.
        return _residual(solver, problem, theta[:, None])[0]
    return state.error


def _residual(solver, problem: Problem, theta: jax.Array) -> jax.Array:
    """Norm of each neuron's gradient, or of its proximal step of unit length."""
    if solver.needs_smooth:
        return jnp.linalg.norm(value_and_grad(problem, theta)[1], axis=0)
    ahead = theta - value_and_grad(replace(problem, penalty=NO_PENALTY), theta)[1]
    step = jnp.ones(problem.n_neurons, theta.dtype)
    return jnp.linalg.norm(theta - proximal_step(problem, ahead, step), axis=0)
