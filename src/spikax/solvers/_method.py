"""What a native solver is to the driver: how it preconditions, proposes and learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax

from spikax.core.hessians import Precomputed
from spikax.core.null_model import Null
from spikax.core.objective import Objective
from spikax.core.samples import Samples

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int


class Coordinates(Protocol):
    """A linear change of variables for each neuron, `theta = F z`."""

    def to_parameters(self, whitened: jax.Array) -> jax.Array:
        """Map a step from these coordinates to parameters, `F z`."""
        ...

    def pull_back(self, gradient: jax.Array) -> jax.Array:
        """Map a gradient from parameters to these coordinates, `F' g`."""
        ...


class Unchanged(NamedTuple):
    """The parameters themselves."""

    def to_parameters(self, whitened: jax.Array) -> jax.Array:
        """Leave a step as it is."""
        return whitened

    def pull_back(self, gradient: jax.Array) -> jax.Array:
        """Leave a gradient as it is."""
        return gradient


class Preconditioner(NamedTuple):
    """What a solver takes from the curvature of the losses before its first iteration.

    Attributes
    ----------
    coordinates
        A change of variables `theta = F z`, with `to_parameters` for `F z` and `pull_back` for
        `F' g`; none by default.
    hessians
        Hessians of the losses, (n_neurons, n_parameters, n_parameters), or None (default).
    n_flat
        Directions too flat for the precision to tell, (n_neurons,), zero by default.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from spikax.solvers import Preconditioner
    >>> Preconditioner().coordinates.pull_back(jnp.ones(2)).tolist()
    [1.0, 1.0]
    """

    coordinates: Coordinates = Unchanged()
    hessians: Float[Array, "neuron parameter parameter"] | None = None
    n_flat: Int[Array, " neuron"] | int = 0


class Context(NamedTuple):
    """What stays the same over the iterations of some neurons.

    Attributes
    ----------
    objective, samples
        What is minimised, and the data.
    null
        The model without features.
    preconditioner
        From the solver's `precondition`.

    Examples
    --------
    >>> from spikax.solvers import Context
    >>> Context._fields
    ('objective', 'samples', 'null', 'preconditioner')
    """

    objective: Objective
    samples: Samples
    null: Null
    preconditioner: Preconditioner


class Proposal(NamedTuple):
    """Where each neuron goes next.

    Attributes
    ----------
    direction
        Search directions in the solver's coordinates, (n_parameters, n_neurons).
    gain
        Log-likelihood still expected, in nats, (n_neurons,).
    penalty_change
        Change of a kinked penalty along all of the direction, (n_neurons,); zero by default.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from spikax.solvers import Proposal
    >>> Proposal(jnp.zeros((3, 2)), jnp.ones(2)).penalty_change
    0.0
    """

    direction: Float[Array, "parameter neuron"]
    gain: Float[Array, " neuron"]
    penalty_change: Float[Array, " neuron"] | float = 0.0


@runtime_checkable
class Method(Protocol):
    """What the driver of the native solvers asks of one; the loop is the driver's.

    An implementation is a frozen dataclass that is a pytree, with `tol`, in nats, and `maxiter`.
    The driver tries points, judges, counts, and tells when a neuron has converged or stalled.

    Examples
    --------
    >>> import spikax as nmo
    >>> isinstance(nmo.solvers.Newton(), nmo.solvers.Method)
    True
    """

    needs_smooth: ClassVar[bool]  # whether the penalty must have a gradient everywhere
    keeps_hessians: ClassVar[bool]  # whether it goes on from earlier Hessians, and gives its own
    retries: ClassVar[bool]  # whether a refused point leads to a new direction, no shorter step
    n_passes: ClassVar[int]  # over the data in an iteration
    tol: Any
    maxiter: Any

    def prepare(
        self, objective: Objective, samples: Samples, null: Null, precomputed: Precomputed
    ) -> Any:
        """Compute what all neurons share.

        Parameters
        ----------
        objective, samples, null, precomputed
            What is minimised, the data, the model without features, and what is known beforehand.

        Returns
        -------
        pytree of arrays
            What `precondition` is given.
        """
        ...

    def precondition(
        self, shared: Any, objective: Objective, index: Int[Array, " chosen"]
    ) -> Preconditioner:
        """Precondition some neurons with what is shared.

        Parameters
        ----------
        shared
            From `prepare`.
        objective
            That of these neurons.
        index
            Which they are, (n_chosen,).

        Returns
        -------
        Preconditioner
            For these neurons.
        """
        ...

    def start(self, context: Context, theta: Float[Array, "parameter neuron"]) -> Any:
        """Make the memory that iterations carry.

        Parameters
        ----------
        context
            What stays the same.
        theta
            Where the neurons start.

        Returns
        -------
        pytree of arrays
            The memory.
        """
        ...

    def learn(
        self,
        context: Context,
        memory: Any,
        step: Float[Array, "parameter neuron"],
        gradient_change: Float[Array, "parameter neuron"],
        accepted: Bool[Array, " neuron"],
        rejected: Bool[Array, " neuron"],
    ) -> Any:
        """Learn from the points that were tried.

        Parameters
        ----------
        context
            What stays the same.
        memory
            From `start`, or the last iteration.
        step, gradient_change
            The way to the point tried, and how the gradient of the smooth part differs there, in
            the solver's coordinates, (n_parameters, n_neurons).
        accepted, rejected
            Which neurons' points were, (n_neurons,); the others wait.

        Returns
        -------
        pytree of arrays
            The memory.
        """
        ...

    def propose(
        self,
        context: Context,
        memory: Any,
        theta: Float[Array, "parameter neuron"],
        gradient: Float[Array, "parameter neuron"],
        wanted: Bool[Array, " neuron"],
    ) -> tuple[Proposal, Any]:
        """Propose where to go from where the neurons are.

        Parameters
        ----------
        context
            What stays the same.
        memory
            From `learn`.
        theta
            The points accepted, (n_parameters, n_neurons).
        gradient
            Of the smooth part there, in the solver's coordinates.
        wanted
            Which neurons need a proposal, (n_neurons,).

        Returns
        -------
        proposal : Proposal
            Directions, and what they may gain.
        memory : pytree of arrays
            The memory.
        """
        ...


@runtime_checkable
class Restarting(Protocol):
    """A solver whose slow neurons start again, each with a Hessian of its own.

    Examples
    --------
    >>> import spikax as nmo
    >>> from spikax.solvers import Restarting
    >>> isinstance(nmo.solvers.WhitenedLBFGS(), Restarting)
    True
    """

    def precondition_again(
        self,
        objective: Objective,
        samples: Samples,
        theta: Float[Array, "parameter neuron"],
        n_rows: int,
        wanted: Bool[Array, " neuron"],
    ) -> Preconditioner:
        """Precondition neurons with Hessians of their own.

        Parameters
        ----------
        objective, samples
            What is minimised, and the data.
        theta
            Where the neurons are.
        n_rows
            From how many samples the Hessians are estimated.
        wanted
            Which neurons need it, (n_neurons,).

        Returns
        -------
        Preconditioner
            For these neurons.
        """
        ...
