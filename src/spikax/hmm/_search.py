r"""From a start to a maximum of the log posterior, which never falls.

By Fisher's identity the gradient of the log evidence is that of the expected log-likelihood, so
one pass over the samples gives value, gradient, and the curvature that EM goes by. The first moves
are EM's, with one Newton step for each state. EM crosses plateaus slowly (Salakhutdinov, Roweis &
Ghahramani 2003); from then on its metric preconditions L-BFGS, which is judged by the log
posterior itself. Penalties with kinks stay with EM, by proximal Newton steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import cho_factor, cho_solve

from spikax._pytrees import register
from spikax.core.objective import ridge
from spikax.hmm._chain import Chain
from spikax.hmm._emission import Emission, EmissionCurvature, EmissionParameters
from spikax.hmm._messages import Posterior, filtered, log_evidence, smoothed
from spikax.hmm._semirings import LOGARITHMS, SCALED
from spikax.hmm._transitions import TransitionParameters, Transitions
from spikax.solvers import Status
from spikax.solvers._quadratic_model import minimise_model

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

_EM_MOVES = 10
_PAIRS = 6
_METRIC_MOVES = 8  # of L-BFGS with one metric
_SUFFICIENT = 1e-4  # Armijo's constant
_PATIENCE = 8  # refusals in a row before EM's direction is tried
_REFUSALS = 40  # before a search ends
_JITTER = 1e-10
# Values are known up to this share.
_ROUNDING = 1e-12
N_KEPT = 1000  # of the log posteriors on the way


class Parameters(NamedTuple):
    """All that is estimated."""

    emission: EmissionParameters
    transitions: TransitionParameters


@register
@dataclass(frozen=True)
class Problem:
    """A hidden Markov model and its samples: what is to be maximised.

    Parameters
    ----------
    emission, transitions
        What states make of observations, and how they follow one another.
    chain
        Where sessions begin.
    constant
        Log-likelihood that does not depend on the parameters.
    forbids
        Whether some transitions are impossible, so that messages are logarithms; static.
    """

    emission: Emission
    transitions: Transitions
    chain: Chain
    constant: Float[Array, ""]
    forbids: bool = field(metadata={"static": True})

    @property
    def ring(self):
        """What messages are made of."""
        return LOGARITHMS if self.forbids else SCALED


class Evaluation(NamedTuple):
    """What one pass over the samples tells of parameters."""

    log_posterior: Float[Array, ""]
    log_likelihood: Float[Array, ""]
    gradient: Parameters  # of the log posterior; with kinks without the penalty's part
    posterior: Posterior


class Found(NamedTuple):
    """Where a search ended."""

    params: Parameters
    log_posterior: Float[Array, ""]
    log_likelihood: Float[Array, ""]
    status: Int[Array, ""]
    n_evaluations: Int[Array, ""]
    trace: Float[Array, " move"]  # the log posterior after each move
    occupancy: Float[Array, " state"]  # expected number of samples in each state
    curvature: Float[Array, "state neuron predictor"]  # in intercepts, at most some moves ago


def log_likelihoods(problem: Problem, params: EmissionParameters) -> Float[Array, "step ..."]:
    """Log-likelihoods of the samples in each state, in chunks."""
    return problem.chain.chunked(problem.emission.log_likelihood(params))


def evaluate(problem: Problem, params: Parameters) -> Evaluation:
    """Compute the log posterior, its gradient, and what EM needs."""
    chain, emission, transitions = problem.chain, problem.emission, problem.transitions
    dynamics = transitions.dynamics(params.transitions)
    found, pull = jax.vjp(partial(log_likelihoods, problem), params.emission)
    forward = filtered(problem.ring, chain, found, dynamics)
    posterior = smoothed(chain, problem.ring, found, dynamics, forward)
    evidence = log_evidence(chain, forward) + problem.constant
    (of_emission,) = pull(posterior.states * chain.weight[:, None])
    prior = emission.log_prior(params.emission)
    if emission.objective.penalty.smooth:
        of_prior = jax.grad(emission.log_prior)(params.emission)
        of_emission = jax.tree.map(jnp.add, of_emission, of_prior)
    return Evaluation(
        log_posterior=evidence + prior + transitions.log_prior(params.transitions),
        log_likelihood=evidence,
        gradient=Parameters(
            emission.gradient(of_emission),
            transitions.gradient(params.transitions, chain, posterior),
        ),
        posterior=posterior,
    )


# --- EM's metric and its step.


class Metric(NamedTuple):
    """Curvature of the expected log posterior, by which gradients become directions."""

    curvature: EmissionCurvature
    transitions: Float[Array, "row parameter parameter"]


def metric(problem: Problem, params: Parameters, at: Evaluation) -> Metric:
    """Compute the curvature that EM goes by."""
    chain, emission = problem.chain, problem.emission
    states = chain.joined(at.posterior.states * chain.weight[:, None])
    curvature = emission.curvature(params.emission, states[:, : emission.samples.n_samples])
    size = jnp.abs(at.gradient.emission.log_excess)
    # A step of the dispersion changes its logarithm by two at most.
    of_dispersion = jnp.maximum(curvature.log_excess, jnp.maximum(size / 2, 1e-6))
    return Metric(
        curvature._replace(log_excess=of_dispersion),
        problem.transitions.curvature(params.transitions, chain, at.posterior),
    )


def apply(problem: Problem, of: Metric, gradient: Parameters) -> Parameters:
    """Solve for the direction of a gradient."""
    emission, steps = problem.emission, gradient.transitions
    theta = _solve_emission(emission, of.curvature.theta, gradient.emission.theta)
    excess = gradient.emission.log_excess / of.curvature.log_excess
    rows = jnp.concatenate([steps.logits[:, None], steps.slopes], axis=1)
    n_states = rows.shape[-1]
    flat = rows.reshape(len(rows), -1)
    if flat.shape[1] > of.transitions.shape[1]:  # constant rows have no slopes
        flat = flat[:, :n_states]
    solved = jax.vmap(_solve)(_with_gauge(of.transitions, n_states), flat[..., None])
    solved = solved.reshape(len(rows), -1, n_states)
    slopes = solved[:, 1:] if solved.shape[1] > 1 else jnp.zeros_like(steps.slopes)
    moved = TransitionParameters(solved[:, 0] * problem.transitions.allowed, slopes)
    return Parameters(EmissionParameters(theta, excess), moved)


def _with_gauge(matrix: jax.Array, n_states: int) -> jax.Array:
    """Hold what all states of a row have in common, and rows that nothing is known of."""
    n_inputs = matrix.shape[1] // n_states
    common = jnp.kron(jnp.eye(n_inputs), jnp.ones((n_states, n_states))).astype(matrix.dtype)
    small = 1e-2 * jnp.eye(matrix.shape[1], dtype=matrix.dtype)
    return matrix + (common + small)[None]


def _solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Solve with a matrix that may be singular, scaled to a unit diagonal."""
    diagonal = jnp.diagonal(matrix)
    scale = 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1))
    unit = matrix * jnp.outer(scale, scale) + _JITTER * jnp.eye(len(matrix), dtype=matrix.dtype)
    return scale[:, None] * cho_solve(cho_factor(unit), scale[:, None] * right)


def _solve_emission(emission: Emission, hessian: jax.Array, gradient: jax.Array) -> jax.Array:
    """Solve for each neuron, state by state, or all states at once where they share rows."""
    mask = jnp.swapaxes(emission.mask, 1, 2)  # (K, N, Q)
    hessian = _penalised(emission, hessian)
    right = jnp.swapaxes(gradient, 1, 2)
    if emission.tie is None:
        free = mask[..., None] * mask[..., None, :]
        eye = jnp.eye(hessian.shape[-1], dtype=hessian.dtype)
        matrix = hessian * free + eye[None, None] * (1 - mask)[..., None]
        step = jax.vmap(jax.vmap(_solve))(matrix, right[..., None])[..., 0] * mask
        return jnp.swapaxes(step, 1, 2)
    tie = emission.tie

    def of_neuron(hessian, right, mask):  # (K, Q, Q), (K, Q), (K, Q)
        every = jax.scipy.linalg.block_diag(*(hessian * mask[..., None] * mask[:, None]))
        kept = (tie * mask.reshape(-1, 1)).any(axis=0)
        matrix = tie.T @ every @ tie + jnp.diag(1.0 - kept)
        step = _solve(matrix, (tie.T @ (right * mask).reshape(-1))[:, None])
        return (tie @ step).reshape(mask.shape) * mask

    step = jax.vmap(of_neuron, (1, 1, 1), 1)(hessian, right, mask)
    return jnp.swapaxes(step, 1, 2)


def _penalised(emission: Emission, hessian: jax.Array) -> jax.Array:
    eye = jnp.eye(hessian.shape[-1], dtype=hessian.dtype)
    if emission.prior is not None:
        precision = emission.prior.precision / emission.n_sharing[..., None]
        return hessian + jnp.swapaxes(precision, 1, 2)[..., None] * eye[None, None]
    return hessian + (ridge(emission.objective).T[:, :, None] * eye[None])[None]


def em_direction(
    problem: Problem, params: Parameters, at: Evaluation, of: Metric, newton: Parameters
) -> Parameters:
    """Step of EM: to the maximum for constant transitions, one Newton step for the rest."""
    emission, transitions = problem.emission, problem.transitions
    steps = newton
    if transitions.covariates is None:
        logits = transitions.target(at.posterior)
        logits = (logits - params.transitions.logits) * transitions.allowed
        steps = steps._replace(transitions=steps.transitions._replace(logits=logits))
    if emission.objective.penalty.smooth:
        return steps
    theta = _proximal_steps(emission, params.emission.theta, at.gradient.emission.theta, of)
    return steps._replace(emission=steps.emission._replace(theta=theta))


def _proximal_steps(emission, theta, gradient, of: Metric) -> jax.Array:
    """Minimise each state's quadratic model plus its penalty."""
    if emission.tie is not None:
        return _proximal_steps_of_all(emission, theta, gradient, of)
    n_neurons = theta.shape[2]
    wanted = jnp.ones(n_neurons, bool)
    negligible = jnp.full(n_neurons, 1e-9, theta.dtype)

    def of_state(item):
        theta, gradient, hessian, mask = item
        objective = replace(emission.objective, mask=mask)
        free = mask.T[..., None] * mask.T[:, None]
        eye = jnp.eye(hessian.shape[-1], dtype=hessian.dtype)
        level = jnp.trace(hessian, axis1=1, axis2=2)[:, None, None] + 1e-8
        hessian = hessian * free + eye[None] * ((1 - mask.T)[..., None] + _JITTER * level)
        target, _ = minimise_model(objective, hessian, -gradient, theta, wanted, negligible)
        return target - theta

    return jax.lax.map(of_state, (theta, gradient, of.curvature.theta, emission.mask))


def _proximal_steps_of_all(emission, theta, gradient, of: Metric) -> jax.Array:
    """Minimise the model of all states, which share parameters, as that of one."""
    tie, objective, n_states = emission.tie, emission.objective, len(theta)
    n_last, n_neurons = objective.n_predictors, theta.shape[2]

    def joined(rows: jax.Array) -> jax.Array:
        """Sum what belongs to the same parameter; the intercepts but the last are features."""
        return tie.T @ rows.reshape(len(tie), -1)

    def of_features(rows: Any, last: float) -> jax.Array:
        """Repeat values of the features, (1 or n_features, ...), for all states."""
        shape = (theta.shape[1] - n_last, rows.shape[1])
        of_last = jnp.full((n_last, rows.shape[1]), last)
        each = jnp.concatenate([jnp.broadcast_to(rows, shape), of_last])
        return joined(jnp.tile(each, (n_states, 1)))[:-n_last]

    def of_neuron(hessian, mask):  # (K, Q, Q), (K, Q)
        every = jax.scipy.linalg.block_diag(*(hessian * mask[..., None] * mask[:, None]))
        return tie.T @ every @ tie

    often = tie.sum(axis=0)[:, None]
    penalty = objective.penalty
    strengths = (penalty.absolute, penalty.squared)
    strengths = [None if part is None else of_features(part, 0.0) for part in strengths]
    scale = of_features(objective.scale, 1.0) / often[:-n_last]
    mask = (joined(emission.mask) > 0).astype(theta.dtype)
    own = replace(objective, penalty=type(penalty)(*strengths), scale=scale, mask=mask)
    hessian = jax.vmap(of_neuron, (1, 2))(of.curvature.theta, emission.mask)
    level = jnp.trace(hessian, axis1=1, axis2=2)[:, None, None] + 1e-8
    eye = jnp.eye(len(mask), dtype=theta.dtype)[None]
    hessian = hessian + eye * ((1 - mask.T)[..., None] + _JITTER * level)
    start = joined(theta) / often
    wanted = jnp.ones(n_neurons, bool)
    negligible = jnp.full(n_neurons, 1e-9, theta.dtype)
    target, _ = minimise_model(own, hessian, -joined(gradient), start, wanted, negligible)
    return (tie @ (target - start)).reshape(theta.shape)


# --- The search.


class _Pairs(NamedTuple):
    """Steps and changes of the gradient, the latest last; a product of zero is no pair."""

    steps: Float[Array, "pair parameter"]
    changes: Float[Array, "pair parameter"]
    products: Float[Array, " pair"]

    def add(self, step: jax.Array, change: jax.Array, wanted: jax.Array) -> _Pairs:
        """Keep a pair in place of the oldest, if its curvature is positive."""
        product = step @ change
        good = product > 1e-10 * jnp.linalg.norm(step) * jnp.linalg.norm(change)
        newer = _Pairs(
            *(
                jnp.concatenate([old[1:], jnp.asarray(new)[None]])
                for old, new in zip(self, (step, change, product), strict=True)
            )
        )
        return _choose(wanted & good, newer, self)

    def direction(self, gradient: jax.Array, inverse: Any) -> jax.Array:
        """Apply the two loops of L-BFGS (Nocedal & Wright 2006, algorithm 7.4)."""
        rho = jnp.where(self.products > 0, 1 / jnp.where(self.products > 0, self.products, 1), 0)

        def down(q, pair):
            step, change, rho = pair
            share = rho * (step @ q)
            return q - share * change, share

        q, shares = jax.lax.scan(down, gradient, (self.steps, self.changes, rho), reverse=True)

        def up(r, pair):
            step, change, rho, share = pair
            return r + (share - rho * (change @ r)) * step, None

        pairs = (self.steps, self.changes, rho, shares)
        return jax.lax.scan(up, inverse(q), pairs)[0]


class _Standing(NamedTuple):
    """Where a search stands."""

    params: Parameters
    value: Float[Array, ""]
    log_likelihood: Float[Array, ""]
    gradient: Float[Array, " parameter"]
    direction: Float[Array, " parameter"]
    em: Float[Array, " parameter"]  # EM's direction here
    metric: Metric
    length: Float[Array, ""]  # of the next step
    pairs: _Pairs
    gain: Float[Array, ""]  # nats that the next moves are expected to bring
    last: Float[Array, ""]  # what the last move brought
    n_moves: Int[Array, ""]
    n_evaluations: Int[Array, ""]
    n_refusals: Int[Array, ""]
    status: Int[Array, ""]
    trace: Float[Array, " move"]
    occupancy: Float[Array, " state"]


_RUNNING = -1


def _choose(which: jax.Array, some: Any, others: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(which, a, b), some, others)


@jax.jit
def search(problem: Problem, start: Parameters, tol: jax.Array, maxiter: jax.Array) -> Found:
    """Maximise the log posterior from a start.

    It has converged when the moves to come are expected to bring less than `tol` nats.
    """
    flat, unravel = ravel_pytree(start)
    smooth = problem.emission.objective.penalty.smooth
    n_last = problem.emission.objective.n_predictors

    def move(at: _Standing) -> _Standing:
        step = at.length * at.direction
        trial = jax.tree.map(jnp.add, at.params, unravel(step))
        trial = _with_normalised_rows(problem, trial)
        found = evaluate(problem, trial)
        gradient, _ = ravel_pytree(found.gradient)
        first = at.n_evaluations == 0
        wanted = at.value - _ROUNDING * jnp.abs(at.value)
        if smooth:
            wanted = wanted + _SUFFICIENT * (at.gradient @ step)
        finite = jnp.isfinite(found.log_posterior) & jnp.all(jnp.isfinite(gradient))
        at = jax.lax.cond(
            finite & (first | (found.log_posterior >= wanted)),
            lambda: _accept(problem, at, trial, found, step, tol),
            lambda: _refuse(at),
        )
        at = at._replace(n_evaluations=at.n_evaluations + 1)
        over = (at.status == _RUNNING) & (at.n_evaluations >= maxiter)
        return at._replace(status=jnp.where(over, Status.OUT_OF_STEPS, at.status))

    def running(at: _Standing) -> Bool[Array, ""]:
        return at.status == _RUNNING

    at = jax.lax.while_loop(running, move, _at_start(problem, start, flat))
    return Found(
        at.params,
        at.value,
        at.log_likelihood,
        at.status,
        at.n_evaluations,
        at.trace,
        at.occupancy,
        jnp.diagonal(at.metric.curvature.theta, axis1=2, axis2=3)[..., -n_last:],
    )


def _at_start(problem: Problem, start: Parameters, flat: jax.Array) -> _Standing:
    shapes = jax.eval_shape(lambda: metric(problem, start, evaluate(problem, start)))
    zero, none, nothing = jnp.zeros((), flat.dtype), jnp.zeros((), int), jnp.zeros_like(flat)
    no_steps = jnp.zeros((_PAIRS, flat.size), flat.dtype)
    return _Standing(
        params=start,
        value=zero - jnp.inf,
        log_likelihood=zero,
        gradient=nothing,
        direction=nothing,
        em=nothing,
        metric=jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
        length=zero,
        pairs=_Pairs(no_steps, no_steps, jnp.zeros(_PAIRS, flat.dtype)),
        gain=zero + jnp.inf,
        last=zero + jnp.inf,
        n_moves=none,
        n_evaluations=none,
        n_refusals=none,
        status=none + _RUNNING,
        trace=jnp.full(N_KEPT, jnp.nan, flat.dtype),
        occupancy=jnp.zeros(len(start.emission.theta), flat.dtype),
    )


def _accept(
    problem: Problem,
    at: _Standing,
    trial: Parameters,
    found: Evaluation,
    step: jax.Array,
    tol: jax.Array,
) -> _Standing:
    """Go to a trial point, and find where to look from there."""
    gradient, unravel = ravel_pytree(found.gradient)
    renewed = (at.n_moves <= _EM_MOVES) | (at.n_moves % _METRIC_MOVES == 0)
    curvature = jax.lax.cond(renewed, lambda: metric(problem, trial, found), lambda: at.metric)

    def inverse(flat: jax.Array) -> jax.Array:
        return ravel_pytree(apply(problem, curvature, unravel(flat)))[0]

    newton = apply(problem, curvature, found.gradient)
    em, _ = ravel_pytree(em_direction(problem, trial, found, curvature, newton))
    pairs, direction, gain = at.pairs, em, _extrapolated(found.log_posterior - at.value, at.last)
    if problem.emission.objective.penalty.smooth:
        pairs = pairs.add(step, at.gradient - gradient, at.n_evaluations > 0)
        quasi = pairs.direction(gradient, inverse)
        gain = 0.5 * (gradient @ quasi)
        direction = jnp.where((at.n_moves >= _EM_MOVES) & (gain > 0), quasi, em)
    settled = (at.n_moves >= _EM_MOVES) & (gain < tol)
    weighted = found.posterior.states * problem.chain.weight[:, None]
    return at._replace(
        params=trial,
        value=found.log_posterior,
        log_likelihood=found.log_likelihood,
        gradient=gradient,
        direction=direction,
        em=em,
        metric=curvature,
        length=jnp.ones_like(at.length),
        pairs=pairs,
        gain=gain,
        last=found.log_posterior - at.value,
        n_moves=at.n_moves + 1,
        n_refusals=jnp.zeros_like(at.n_refusals),
        status=jnp.where(settled, Status.CONVERGED, at.status),
        trace=at.trace.at[jnp.minimum(at.n_moves, N_KEPT - 1)].set(found.log_posterior),
        occupancy=weighted.sum(axis=(0, 2)),
    )


def _extrapolated(gain: jax.Array, last: jax.Array) -> jax.Array:
    """Extrapolate what a sequence that converges linearly still gains (Aitken 1926)."""
    ratio = jnp.clip(gain / jnp.where(last > 0, last, 1), 0, 0.999)
    return jnp.where(jnp.isfinite(last), gain * ratio / (1 - ratio), jnp.inf)


def _refuse(at: _Standing) -> _Standing:
    """Look closer, and after some refusals along EM's direction."""
    n_refusals = at.n_refusals + 1
    turns = n_refusals == _PATIENCE
    given_up = jnp.where(at.n_moves == 0, Status.NOT_FINITE, Status.STALLED)
    none = jax.tree.map(jnp.zeros_like, at.pairs)
    return at._replace(
        direction=jnp.where(turns, at.em, at.direction),
        length=jnp.where(turns, 1.0, 0.3 * at.length),
        pairs=_choose(turns, none, at.pairs),
        n_refusals=n_refusals,
        status=jnp.where((at.n_moves == 0) | (n_refusals > _REFUSALS), given_up, at.status),
    )


def _with_normalised_rows(problem: Problem, params: Parameters) -> Parameters:
    """Fix what all states of a row have in common: logits become logarithms of probabilities."""
    logits = params.transitions.logits
    allowed = problem.transitions.allowed > 0
    kept = jnp.where(allowed, logits, -jnp.inf)
    total = jax.scipy.special.logsumexp(kept, axis=1, keepdims=True)
    logits = jnp.where(allowed, logits - total, 0)
    return params._replace(transitions=params.transitions._replace(logits=logits))
