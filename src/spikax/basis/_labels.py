"""Labels: what the parts of a composed basis are called, each by a name of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikax.basis._basis import Basis

_RESERVED = ("basis1", "basis2", "label")  # parameters of a composed basis


def by_label(root: Basis) -> dict[str, Basis]:
    """Return all parts of a basis by label: parts before what they make up, `root` last.

    Users' labels are taken as they are; default ones are numbered where they repeat.
    """
    parts = list(_walk(root))
    if len({id(part) for part in parts}) < len(parts):
        raise ValueError(
            "One object is in two places of a composed basis, and would learn from either input. "
            "Use a copy in one of them, or compose with `+` and `*`, which copy."
        )
    taken: set[str] = set()
    for part in parts:
        if part.user_label is not None:
            _check(part.user_label, taken)
            taken.add(part.user_label)
    names: dict[int, str] = {}
    for part in parts:
        name = part.user_label
        if name is None:
            name = default = part._default_label([names[id(child)] for child in part.children])
            repeats = 0
            while name in taken:
                repeats += 1
                name = f"{default}_{repeats}"
            taken.add(name)
        names[id(part)] = name
    return {names[id(part)]: part for part in parts}


def number(root: Basis, k: int) -> Basis:
    """Add a number to all labels that the user gave; 0 leaves them."""
    for part in _walk(root) if k else ():
        if part.user_label is not None:
            part.label = f"{part.user_label}_{k}"
    return root


def _walk(part: Basis):
    for child in part.children:
        yield from _walk(child)
    yield part


def _check(label: object, taken: set[str]) -> None:
    if not isinstance(label, str):
        raise TypeError(f"label is {label!r}, but must be a string, or None for a default.")
    if "__" in label or label in _RESERVED:
        raise ValueError(
            f"label is {label!r}, but set_params could not tell it from its own names: "
            f"'__' and {', '.join(_RESERVED)} cannot be used. Choose another."
        )
    if label in taken:
        raise ValueError(
            f"The label {label!r} is given to two parts of one basis. "
            "Give each its own with label=..."
        )
