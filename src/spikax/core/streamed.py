"""Samples whose features are read block by block, with sums made from Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial, wraps
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from spikax.core import host
from spikax.core.samples import Samples
from spikax.core.standardise import to_blocks

_NOT_AT_HAND = (
    "X is read block by block, which this solver or function cannot do: fit with the default "
    "solver, 'WhitenedLBFGS', 'ProximalQuasiNewton' or 'Newton', or load X, np.array(X)."
)


@dataclass(frozen=True, eq=False)
class Observed:
    """Observations in the type that they came in, laid out when their block is asked for."""

    array: np.ndarray  # (n_samples, n_neurons)
    counted: np.ndarray | None  # which of them count, (n_samples, 1 or n_neurons); None is all
    grid: tuple[int, int]  # number and length of the blocks
    dtype: np.dtype  # of a block
    neurons: np.ndarray  # which columns, (n_chosen,)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the blocks together."""
        return self.grid[0], self.neurons.size, self.grid[1]

    def __len__(self) -> int:
        return self.grid[0]

    @cached_property
    def digest(self) -> tuple[np.ndarray, np.ndarray]:
        """What tells them from others: their sums, and some of them."""
        return self.array.sum(axis=0), self.array[:: max(1, len(self.array) // 4096)]

    def __getitem__(self, index: int) -> np.ndarray:
        n_samples, block = len(self.array), self.grid[1]
        start, stop = index * block, min((index + 1) * block, n_samples)
        every = self.neurons.size == self.array.shape[1]
        columns = slice(None) if every else self.neurons

        def rows(piece: slice) -> np.ndarray:
            own = slice(start + piece.start, start + piece.stop)
            some = self.array[own][:, columns]
            if self.counted is None:
                return some
            counted = self.counted[own]
            return np.where(counted if counted.shape[1] == 1 else counted[:, columns], some, 0)

        shape = (stop - start, self.neurons.size)
        return to_blocks(rows, shape, (1, block), self.dtype)[0]


@dataclass(frozen=True)
class Streamed(Samples):
    """Samples whose features a program cannot hold; the rest lies in memory.

    `X` is a `StoredDesign`. It is read once for each sum, however many neurons there are.

    Examples
    --------
    >>> import numpy as np
    >>> import spikax as nmo
    >>> X, y = nmo.stores.stored(np.ones((50, 2))), np.ones((50, 1))
    >>> samples = nmo.glm.PopulationGLM().assemble(X, y).samples
    >>> type(samples).__name__, samples.sum(lambda X, y, weights, offset: y.sum()).item()
    ('Streamed', 50.0)
    """

    control: ClassVar[Any] = host
    at_hand: ClassVar[bool] = False

    def sum(self, of_block: Callable, combine: Callable = jnp.add, more: tuple = ()) -> Any:
        """Sum a function of a block over all blocks, one of them after another."""
        function = _as_tree(of_block)
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((function, more))):
            raise TypeError(_NOT_AT_HAND)
        total = None
        for index, (X, y) in enumerate(self._blocks()):
            beside = (self.weights, self.offset, *more)
            rest = y, *jax.tree.map(lambda a, i=index: a[i], beside)
            if total is None:
                total = _first(function, X, rest)
            else:
                total = _add(combine, total, function, X, rest)
            # The block's memory is free again, and the next one has been read meanwhile.
            jax.block_until_ready(total)
        return total

    def map(self, of_block: Callable) -> jax.Array:
        """Compute a function of a block for all samples."""
        found = []
        for index, (X, y) in enumerate(self._blocks()):
            rest = y, *jax.tree.map(lambda a, i=index: a[i], (self.weights, self.offset))
            found.append(_first(_as_tree(of_block), X, rest))
        return jnp.concatenate(found, axis=1)

    def _blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Features and observations of each block; the next ones are laid out meanwhile."""
        X: Any = self.X
        return X.source.read_blocks(lambda index: (X.laid_out(index), self.y[index]))

    def n_factors(self, n_parameters: int) -> int:
        """How many factors of matrices of so many parameters take a quarter of the limit."""
        limit = self.X.source.memory_limit  # pyright: ignore[reportAttributeAccessIssue]
        return limit // (4 * self.y.dtype.itemsize * n_parameters**2)

    # --- Where a fit that was interrupted goes on.

    @property
    def _checkpoint(self) -> Path | None:
        """Where points are kept, of fits of all neurons."""
        path = self.X.source.checkpoint  # pyright: ignore[reportAttributeAccessIssue]
        return path if self.y.shape[1] == self.y.array.shape[1] else None  # pyright: ignore

    def keep(self, objective: Any, theta: jax.Array) -> None:
        """Keep a point that was reached, in place of the last one."""
        path = self._checkpoint
        if path is None:
            return
        partly = path.with_name(f"{path.name}.partly")
        with open(partly, "wb") as file:
            np.savez(file, theta=np.asarray(theta), problem=self._digest(objective))
        os.replace(partly, path)

    def resume(self, objective: Any) -> jax.Array | None:
        """Give the point that was kept, if there is one, and if it is of this problem."""
        path = self._checkpoint
        if path is None or not path.exists():
            return None
        with np.load(path) as kept:
            theta, problem = kept["theta"], str(kept["problem"])
        if theta.shape != objective.mask.shape or problem != self._digest(objective):
            raise ValueError(
                f"checkpoint {path} is of another problem (parameters {theta.shape}, here "
                f"{objective.mask.shape}; other data, weights, penalty or observation model): "
                "remove it, or use another path."
            )
        return jnp.asarray(theta)

    def finish(self) -> None:
        """Remove what was kept of a fit that has ended."""
        path = self._checkpoint
        if path is not None:
            path.unlink(missing_ok=True)

    def _digest(self, objective: Any) -> str:
        """Tell problems apart, by what their features, observations and penalty are."""
        likelihood = replace(objective.likelihood, dispersion=None)
        objective = replace(objective, likelihood=likelihood, constant=None)
        leaves, structure = jax.tree.flatten(objective)
        X, y = self.X, self.y
        parts = [*leaves, X.center, X.factor, self.total_weight, *y.digest]  # pyright: ignore
        found = sha256(repr((self.y.shape, structure)).encode())
        for part in parts:
            found.update(np.ascontiguousarray(part).tobytes())
        return found.hexdigest()

    def _observed(self, index: Any) -> Any:
        if isinstance(index, Tracer):
            raise TypeError(_NOT_AT_HAND)
        return replace(self.y, neurons=self.y.neurons[np.asarray(index)])  # pyright: ignore

    def take(self, rows: Any) -> Samples:
        """Refuse: each choice of samples would cost a pass over the data."""
        raise TypeError(_NOT_AT_HAND)


def _as_tree(function: Callable) -> Callable:
    """Let JAX take a function for an argument of a program."""
    bound = isinstance(function, jax.tree_util.Partial)
    return function if bound else jax.tree_util.Partial(function)


def _on_device(leaf: Any) -> Any:
    return jnp.asarray(leaf) if isinstance(leaf, np.ndarray | np.generic) else leaf


@jax.jit
def _first(of_block: Callable, X: jax.Array, rest: tuple) -> Any:
    return of_block(X, *rest)


@partial(jax.jit, static_argnums=0)
def _add(combine: Callable, total: Any, of_block: Callable, X: jax.Array, rest: tuple) -> Any:
    return jax.tree.map(combine, total, of_block(X, *rest))


def _refuse(samples: Streamed) -> Any:
    raise TypeError(_NOT_AT_HAND)


# JAX asks for the parts of what a program is given.
jax.tree_util.register_pytree_node(Streamed, _refuse, lambda *_: None)  # pyright: ignore


def compiled(function: Callable) -> Callable:
    """Compile a function of samples, but where these are streamed: then it runs from Python."""
    program = jax.jit(function)

    @wraps(function)
    def run(*args: Any) -> Any:
        if not any(isinstance(a, Streamed) for a in args):
            return program(*args)
        some = (a if isinstance(a, Streamed) else jax.tree.map(_on_device, a) for a in args)
        return function(*some)

    run.lower = program.lower  # pyright: ignore[reportAttributeAccessIssue]
    return run
