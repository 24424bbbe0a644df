"""What a family of basis functions looks like, and the check that all of them share."""

from numbers import Integral
from typing import Any, ClassVar, Protocol

import jax


class BasisFunctions(Protocol):
    """A hashable value that maps a point of the unit interval, or cube, to all basis functions."""

    n_inputs: ClassVar[int] = 1  # coordinates of a point
    density: ClassVar[bool] = False  # per unit of the input: shrinks as bounds grow
    periodic: ClassVar[bool] = False  # on a circle: 1 is the same point as 0

    n_basis_funcs: Any  # int: a field, or computed

    def __call__(self, *args: Any, **kwargs: Any) -> jax.Array:
        """Evaluate at the point with the given scalar coordinates; shape (n_basis_funcs,)."""
        ...


def check_count(name: str, value: object, least: int, reason: str) -> None:
    """Refuse a count that is not a whole number of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        raise ValueError(f"{name} is {value!r}, but must be a whole number >= {least}: {reason}.")
