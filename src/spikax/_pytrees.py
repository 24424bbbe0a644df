"""Dataclasses as pytrees."""

from dataclasses import fields
from typing import TypeVar

import jax

T = TypeVar("T", bound=type)


def register(kind: T) -> T:
    """Make a dataclass a pytree: its fields are children, but for those that are static.

    `jax.tree_util.register_dataclass` takes trees of two classes with the same static values for
    equal, so that a compiled program of one may serve the other (seen in JAX 0.10).
    """
    data = [field.name for field in fields(kind) if not field.metadata.get("static", False)]
    static = [field.name for field in fields(kind) if field.metadata.get("static", False)]
    keys = [jax.tree_util.GetAttrKey(name) for name in data]

    def flatten(value):
        return [getattr(value, name) for name in data], tuple(getattr(value, s) for s in static)

    def flatten_with_keys(value):
        children, kept = flatten(value)
        return list(zip(keys, children, strict=True)), kept

    def unflatten(kept, children):
        return kind(
            **dict(zip(data, children, strict=True)), **dict(zip(static, kept, strict=True))
        )

    jax.tree_util.register_pytree_with_keys(kind, flatten_with_keys, unflatten, flatten)
    return kind
