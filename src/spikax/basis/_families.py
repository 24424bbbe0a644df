"""What all families of basis functions look like, and the checks they share."""

from numbers import Integral
from typing import Protocol

import jax


class Family(Protocol):
    """A hashable value that maps a point of the unit interval to all basis functions there."""

    @property
    def n_basis_funcs(self) -> int:
        """How many functions there are."""
        ...

    def __call__(self, u: jax.Array) -> jax.Array:
        """Evaluate at the scalar `u` in [0, 1]; shape (n_basis_funcs,)."""
        ...


def check_count(name: str, value: object, least: int, reason: str) -> None:
    """Refuse a count that is not a whole number of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        raise ValueError(f"{name} is {value!r}, but must be a whole number >= {least}: {reason}.")
