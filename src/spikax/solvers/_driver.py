"""The loop of all native solvers: trial points, acceptance, restarts and convergence.

In an iteration every neuron tries the point `theta + step * direction`. One pass over the data
gives the objective and its gradient at all of them. A neuron accepts its point and proposes the
next direction, or tries a shorter step in the next iteration, while the others go on; one that has
converged, or stalled, waits.

The neurons go through in buckets: X is read once for a bucket, and a bucket waits only for its own
slowest neuron. On the first visit all neurons are preconditioned with what they share, the Gram
matrix; the few that need more start again where they are, each with a Hessian of its own, of some
rows at first and then of all.

A solver says how it preconditions, which direction it proposes, and what it learns from a step.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from spikax.core.hessians import Precomputed
from spikax.core.null_model import Null, null_model, null_parameters
from spikax.core.objective import Objective, penalty_value, project, value_and_grad
from spikax.core.samples import Samples
from spikax.solvers._convergence import NEGLIGIBLE, Outcome, is_unbounded, status_of
from spikax.solvers._line_search import choose, judge, push
from spikax.solvers._method import Context, Method, Preconditioner, Restarting

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

# What a Hessian of its own costs a neuron at least, in iterations of its bucket, and what it takes
# to pay.
_HESSIAN_ITERATIONS = 1.5
_OVERHEAD = 5e7  # operations that take as long as what an iteration costs whatever the size
_SETTLING_ITERATIONS = 8
# More neurons at once share little more of the time that reading X takes, and wait for each other.
_BUCKET = 24
# Trial points refused in a row after which a neuron has stalled.
_MOST_REJECTED = 15


# --- An iteration.


class Iterate(NamedTuple):
    """Where each neuron stands."""

    theta: Float[Array, "parameter neuron"]  # the last point accepted
    value: Float[Array, " neuron"]  # of the objective there
    gradient: Float[Array, "parameter neuron"]  # of its smooth part, in the solver's coordinates
    direction: Float[Array, "parameter neuron"]  # in the solver's coordinates
    penalty_change: Float[Array, " neuron"]  # of a kinked penalty along it
    step: Float[Array, " neuron"]  # length of the next trial along it
    gains: Float[Array, "3 neuron"]  # nats expected at the last three points, newest last
    n_steps: Int[Array, " neuron"]  # points accepted
    n_rejected: Int[Array, " neuron"]  # points rejected since
    converged: Bool[Array, " neuron"]
    stalled: Bool[Array, " neuron"]
    memory: Any  # what the solver has learned


def _start(method: Method, context: Context, theta: jax.Array, n_steps: jax.Array) -> Iterate:
    """Stand before `theta` with an infinite value: the first trial point is `theta` itself."""
    zero = jnp.zeros_like(theta[0])
    return Iterate(
        theta=theta,
        value=zero + jnp.inf,
        gradient=jnp.zeros_like(theta),
        direction=jnp.zeros_like(theta),
        penalty_change=zero,
        step=zero + 1,
        gains=jnp.full((3, zero.size), jnp.inf, theta.dtype),
        n_steps=n_steps - 1,
        n_rejected=jnp.zeros(zero.shape, int),
        converged=zero > 0,
        stalled=zero > 0,
        memory=method.start(context, theta),
    )


def _iterate(method: Method, context: Context, point: Iterate) -> Iterate:
    """Try a point for every neuron, and propose where to go from those accepted."""
    known, try_point, go_on = context, _try_point, _go_on
    if not context.samples.at_hand and method.n_passes == 1:  # all but the pass in two programs
        known, try_point, go_on = context._replace(samples=None), *_PROGRAMS
    step, trial = try_point(known, point)
    value, gradient = _evaluate(method, context, trial)
    reached = go_on(method, known, point, step, trial, value, gradient)
    if not context.samples.at_hand:
        context.samples.keep(  # pyright: ignore[reportAttributeAccessIssue]
            context.objective, reached.theta
        )
    return reached


def _try_point(context: Context, point: Iterate) -> tuple[jax.Array, jax.Array]:
    """Step in the solver's coordinates, and trial point, of each neuron."""
    step = point.step[None] * point.direction
    return step, point.theta + context.preconditioner.coordinates.to_parameters(step)


def _go_on(
    method: Method,
    context: Context,
    point: Iterate,
    step: jax.Array,
    trial: jax.Array,
    value: jax.Array,
    gradient: jax.Array,
) -> Iterate:
    """Judge the trial points, learn from them, and propose directions."""
    gradient = context.preconditioner.coordinates.pull_back(gradient)
    before, after = (
        jnp.sum(g * point.direction, axis=0) + point.penalty_change
        for g in (point.gradient, gradient)
    )
    good, shorter = judge(point.value, value, before, after, point.step)
    waits = point.converged | point.stalled | (point.n_steps >= method.maxiter)
    accepted, rejected = good & ~waits, ~good & ~waits
    memory = method.learn(
        context, point.memory, step, gradient - point.gradient, accepted, rejected
    )
    theta = choose(accepted, trial, point.theta)
    gradient = choose(accepted, gradient, point.gradient)
    wanted = accepted | rejected if method.retries else accepted
    proposal, memory = method.propose(context, memory, theta, gradient, wanted)
    gains = choose(accepted, push(point.gains, proposal.gain), point.gains)
    return Iterate(
        theta=theta,
        value=choose(accepted, value, point.value),
        gradient=gradient,
        direction=choose(wanted, proposal.direction, point.direction),
        penalty_change=jnp.where(wanted, proposal.penalty_change, point.penalty_change),
        step=jnp.where(wanted, 1.0, jnp.where(rejected, shorter, point.step)),
        gains=gains,
        n_steps=point.n_steps + accepted,
        n_rejected=jnp.where(accepted, 0, point.n_rejected + 1),
        converged=point.converged | (accepted & _converged(gains, method.tol)),
        stalled=point.stalled | (rejected & (point.n_rejected >= _MOST_REJECTED)),
        memory=memory,
    )


_PROGRAMS = jax.jit(_try_point), jax.jit(_go_on)


def _evaluate(method: Method, context: Context, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Value of the objective, and the gradient of its smooth part."""
    objective, samples = context.objective, context.samples
    if method.needs_smooth:
        return value_and_grad(objective, samples, theta)
    loss, gradient = value_and_grad(objective.without_penalty(), samples, theta)
    return loss + penalty_value(objective, theta), gradient


def _loop(method: Method, context: Context, point: Iterate, unfinished) -> tuple[Iterate, Any]:
    """Iterate while `unfinished(point, n_iterations)`, and count."""
    return context.samples.control.while_loop(
        lambda carry: unfinished(*carry),
        lambda carry: (_iterate(method, context, carry[0]), carry[1] + 1),
        (point, jnp.asarray(0)),
    )


def _shrinkage(gains: jax.Array) -> jax.Array:
    return jnp.clip(jnp.sqrt(gains[2] / gains[0]), 0.0, 0.99)


def _converged(gains: jax.Array, tol: Any) -> jax.Array:
    """Whether the gains to come, if they go on shrinking as they did, sum to less than `tol`."""
    return gains[2] < tol * (1 - _shrinkage(gains))


def _iterations_left(gains: jax.Array, tol: Any) -> jax.Array:
    """In how many iterations the gains will be below `tol`, if they shrink as they did."""
    return jnp.clip(jnp.log(tol / gains[2]) / jnp.log(_shrinkage(gains)), 0, 100)


# --- A run: buckets of neurons, and restarts.


class _Found(NamedTuple):
    """What the visits to the buckets have found so far, the neurons on the last axis."""

    theta: jax.Array
    value: jax.Array
    direction: jax.Array  # the step not taken, in parameters
    gain: jax.Array  # nats it is expected to gain
    hessians: jax.Array | None  # that the solver has learned
    n_steps: jax.Array
    n_visits: jax.Array  # buckets the neuron has been in
    n_flat: jax.Array  # flat directions of the first preconditioner
    ill_conditioned: jax.Array  # a later one had more
    converged: jax.Array
    unfinished: jax.Array


def run(
    method: Method,
    objective: Objective,
    samples: Samples,
    theta: jax.Array | None,
    precomputed: Precomputed,
) -> Outcome:
    """Minimise from `theta`, or from the model without features."""
    null = precomputed.null_model(objective, samples)
    theta = null_parameters(objective, null) if theta is None else theta
    shared = method.prepare(objective, samples, null, precomputed)
    n_neurons, n_parameters = objective.n_neurons, len(theta)
    # As many neurons go together as their factors take no more room than X.
    at_once = _BUCKET if samples.at_hand else n_neurons  # one read serves all neurons
    most = max(4, min(at_once, samples.n_factors(n_parameters)))
    size = math.ceil(n_neurons / math.ceil(n_neurons / most))
    rows = _rows_of_hessians(samples, n_parameters)

    def visit(carry):
        found, n_iterations = carry
        least = jnp.min(found.n_visits, where=found.unfinished, initial=method.maxiter)
        next_ones = found.unfinished & (found.n_visits == least)
        if size == n_neurons:
            index = chosen = jnp.arange(n_neurons)
            wanted, part = next_ones, found
            of_bucket = objective, samples, null
        else:
            (chosen,) = jnp.nonzero(next_ones, size=size, fill_value=n_neurons)
            wanted, index = chosen < n_neurons, jnp.minimum(chosen, n_neurons - 1)
            part, some_null = jax.tree.map(lambda a: a[..., index], (found, null))
            of_bucket = objective.neurons(index), samples.neurons(index), some_null
        again = _restarts(method, *of_bucket[:2], part.theta, wanted, rows)
        stages = (lambda: method.precondition(shared, of_bucket[0], index), *again)
        stage = jnp.minimum(least, len(stages) - 1)
        context = Context(*of_bucket, samples.control.switch(stage, stages))
        prices = [_hessian_iterations(of_bucket[1], n, n_parameters) for n in rows]
        price = jnp.asarray(prices)[jnp.minimum(least, len(rows) - 1)]
        part, more = _visit(method, context, part, wanted, price)
        if size < n_neurons:
            part = jax.tree.map(
                lambda old, new: old.at[..., chosen].set(new, mode="drop"), found, part
            )
        return part, n_iterations + more + 1

    found, n_iterations = samples.control.while_loop(
        lambda carry: jnp.any(carry[0].unfinished),
        visit,
        (_nothing(theta, precomputed.hessians if method.keeps_hessians else None), jnp.asarray(0)),
    )
    n_passes = 1 - (-n_iterations * method.n_passes * size // n_neurons)
    status = _status(method, objective, samples, null, found)
    return Outcome(found.theta, found.value, found.n_steps, status, n_passes, found.hessians)


def _nothing(theta: jax.Array, hessians: jax.Array | None) -> _Found:
    zero, none = jnp.zeros_like(theta[0]), jnp.zeros(theta.shape[1], int)
    return _Found(
        theta,
        value=zero + jnp.inf,
        direction=jnp.zeros_like(theta),
        gain=zero + jnp.inf,
        hessians=hessians,
        n_steps=none,
        n_visits=none,
        n_flat=none,
        ill_conditioned=none > 0,
        converged=none > 0,
        unfinished=none == 0,
    )


def _rows_of_hessians(samples: Samples, n_parameters: int) -> tuple[int, ...]:
    """From how many rows the Hessians of visits after the first are: of some, then of all."""
    some, every = max(4096, 16 * n_parameters), samples.n_samples
    return (some, every) if samples.at_hand and some < every else (every,)


def _restarts(method: Method, objective, samples, theta, wanted, rows: tuple[int, ...]) -> tuple:
    """Preconditioners of the visits after the first."""
    if not isinstance(method, Restarting):
        return ()
    again = method.precondition_again
    return tuple(lambda n=n: again(objective, samples, theta, n, wanted) for n in rows)


def _hessian_iterations(samples: Samples, n_rows: int, n_parameters: int) -> float:
    """Price a neuron's own Hessian, 2 n q^2 operations, and its inverse factor, 4/3 q^3.

    In iterations of its bucket, of 4 T q operations a neuron and some overhead.
    """
    n, q = min(n_rows, samples.n_samples), n_parameters
    iteration = 4 * samples.n_samples * q * samples.n_neurons + _OVERHEAD
    return max(_HESSIAN_ITERATIONS, (2 * n * q**2 + 4 / 3 * q**3) / iteration)


def _visit(
    method: Method, context: Context, found: _Found, wanted: jax.Array, price: Any
) -> tuple[_Found, jax.Array]:
    """Go on with the wanted neurons with one preconditioner, while that is worth its time."""
    restarts = isinstance(method, Restarting)

    def worthwhile(point, n_iterations):
        left = ~(point.converged | point.stalled) & (point.n_steps < method.maxiter)
        if not restarts:
            return jnp.any(left)
        expected = jnp.mean(_iterations_left(point.gains, method.tol), where=left)
        next_costs = _SETTLING_ITERATIONS + price * jnp.sum(left)
        settling = n_iterations < _SETTLING_ITERATIONS
        return jnp.any(left) & (settling | (expected < next_costs))

    start = _start(method, context, found.theta, found.n_steps)._replace(converged=~wanted)
    point, n_iterations = _loop(method, context, start, worthwhile)
    # A neuron that a visit gains less than the tolerance would hold up all others for as little.
    null, n_flat = context.null, context.preconditioner.n_flat
    least = jnp.maximum(_resolution(null, point.value), method.tol)
    improved = null.precision * (found.value - point.value) > least
    goes_on = ~point.converged & improved & (point.n_steps < method.maxiter)
    updated = _Found(
        point.theta,
        point.value,
        context.preconditioner.coordinates.to_parameters(point.direction),
        point.gains[-1],
        None if found.hessians is None else jnp.moveaxis(point.memory.hessians, 0, 2),
        point.n_steps,
        found.n_visits + 1,
        jnp.where(found.n_visits == 0, n_flat, found.n_flat),
        (found.n_visits > 0) & (n_flat > found.n_flat),
        point.converged,
        goes_on if restarts else jnp.zeros_like(goes_on),
    )
    return jax.tree.map(lambda new, old: choose(wanted, new, old), updated, found), n_iterations


def _resolution(null: Null, value: jax.Array) -> jax.Array:
    """Log-likelihood, in nats, that rounding of the objective hides."""
    return 4 * jnp.finfo(value.dtype).eps * null.precision * jnp.abs(value)


def _status(method: Method, objective, samples, null: Null, found: _Found) -> jax.Array:
    unbounded = is_unbounded(objective, samples, null, found.theta, found.direction, found.gain)
    resolution = jnp.minimum(_resolution(null, found.value), NEGLIGIBLE)
    out_of_steps = found.n_steps >= method.maxiter
    converged = found.converged | (~out_of_steps & (found.gain <= resolution))
    # Along what is too flat to tell, single precision sees neither curvature nor gain.
    if found.value.dtype == jnp.float32:
        told = ~found.ill_conditioned
        converged, unbounded = converged & told, unbounded & told
    return status_of(found.value, converged, null.at_bound | unbounded, out_of_steps)


# --- One step on a batch.


def step_on_batch(
    method: Any, objective: Objective, samples: Samples, theta: jax.Array, state: Preconditioner
) -> tuple[jax.Array, Preconditioner]:
    """Take one step on a batch, preconditioned as `state` says."""
    once = replace(method, maxiter=1)
    context = Context(objective, samples, null_model(objective, samples), state)

    def unfinished(point, n_iterations):
        return jnp.any((point.n_steps < 1) & ~point.converged & ~point.stalled)

    n_steps = jnp.zeros(theta.shape[1], int)
    point, _ = _loop(once, context, _start(once, context, theta, n_steps), unfinished)
    return project(objective, point.theta), state
