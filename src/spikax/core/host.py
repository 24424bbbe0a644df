"""Control flow in Python, with the signatures of `jax.lax`.

Samples that a compiled program cannot hold are summed from Python, and so are loops around them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def while_loop(unfinished: Callable, step: Callable, carry: Any) -> Any:
    """Step while unfinished."""
    while unfinished(carry):
        carry = step(carry)
    return carry


def cond(condition: Any, if_true: Callable, if_false: Callable, *operands: Any) -> Any:
    """Do one thing or the other."""
    return (if_true if condition else if_false)(*operands)


def switch(index: Any, branches: Sequence[Callable], *operands: Any) -> Any:
    """Do one of several things."""
    return branches[int(index)](*operands)


def map(function: Callable, items: Any) -> Any:
    """Apply a function to the items on the first axis of arrays, and stack what it gives."""
    length = len(jax.tree.leaves(items)[0])
    found = [function(jax.tree.map(lambda a, i=i: a[i], items)) for i in range(length)]
    return jax.tree.map(lambda *parts: jnp.stack(parts), *found)
