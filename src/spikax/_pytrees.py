"""Dataclasses as pytrees."""

from dataclasses import fields, is_dataclass, make_dataclass
from numbers import Number
from typing import Any, TypeVar

import jax
import numpy as np

T = TypeVar("T", bound=type)

# Classes whose structures JAX tells from those of others.
_told_apart: set[type] = set()


def register(kind: T) -> T:
    """Make a dataclass a pytree: its fields are children, but for those that are static.

    A field that holds text is static, too. `jax.tree_util.register_dataclass` takes trees of two
    classes with the same static values for equal, so that a compiled program of one may serve the
    other (seen in JAX 0.10).
    """
    data = [field.name for field in fields(kind) if not field.metadata.get("static", False)]
    static = [field.name for field in fields(kind) if field.metadata.get("static", False)]
    every = tuple(data)
    keys = {name: jax.tree_util.GetAttrKey(name) for name in data}

    def flatten(value):
        children = [getattr(value, name) for name in data]
        kept = [(name, getattr(value, name)) for name in static]
        for child in children:
            if isinstance(child, str):
                break
        else:
            return children, (every, tuple(kept))
        text = [(name, c) for name, c in zip(data, children, strict=True) if isinstance(c, str)]
        names = tuple(n for n, c in zip(data, children, strict=True) if not isinstance(c, str))
        return [getattr(value, name) for name in names], (names, (*kept, *text))

    def flatten_with_keys(value):
        children, structure = flatten(value)
        pairs = zip(structure[0], children, strict=True)
        return [(keys[name], child) for name, child in pairs], structure

    def unflatten(structure, children):
        names, kept = structure
        value = object.__new__(kind)  # children may be anything, which no constructor takes
        value.__dict__.update(zip(names, children, strict=True))
        value.__dict__.update(kept)
        return value

    jax.tree_util.register_pytree_with_keys(kind, flatten_with_keys, unflatten, flatten)
    _told_apart.add(kind)
    return kind


def adopt(value: Any) -> None:
    """Make the class of what a user wrote known to JAX, or refuse what JAX would confuse."""
    kind = type(value)
    if kind in _told_apart:
        return
    if not jax.tree_util.all_leaves([value]):
        if _taken_for_another(value):
            raise TypeError(
                f"{kind.__name__} is registered with jax.tree_util.register_dataclass, and JAX "
                f"{jax.__version__} may run its programs for another class that is. Leave that "
                "decorator out: spikax registers the class."
            )
    elif is_dataclass(value):
        _check_fields(value)
        register(kind)
    else:
        jax.tree_util.register_static(kind)
    _told_apart.add(kind)


def _check_fields(value: Any) -> None:
    for field in fields(value):
        held = getattr(value, field.name)
        if not field.metadata.get("static", False) and not all(
            isinstance(leaf, Number | np.ndarray | np.generic | jax.Array)
            for leaf in jax.tree.leaves(held)
        ):
            raise TypeError(
                f"{type(value).__name__}.{field.name} must be a number or an array of numbers, "
                f"got {held!r}. Mark a field that changes the program with "
                'field(metadata={"static": True}).'
            )


def _taken_for_another(value: Any) -> bool:
    structure = jax.tree.structure(value)
    _, static = structure.node_data() or (None, None)
    if not isinstance(static, tuple):
        return False
    children = jax.tree.leaves(value, is_leaf=lambda part: part is not value)
    data = [f"child_{i}" for i in range(len(children))]
    meta = [f"static_{i}" for i in range(len(static))]
    twin = make_dataclass("Twin", [*data, *meta])
    jax.tree_util.register_dataclass(twin, data, meta)
    return jax.tree.structure(twin(*children, *static)) == structure
