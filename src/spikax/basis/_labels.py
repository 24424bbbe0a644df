"""Labels: what the parts of a composed basis are called, each by a name of its own."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

_RESERVED = ("basis1", "basis2", "label")  # parameters of a composed basis


class Labelled(Protocol):
    """A node of a tree whose nodes have labels."""

    label: Any  # settable: a string, or None for the default

    @property
    def user_label(self) -> str | None:
        """The label that the user gave, if any."""
        ...

    @property
    def children(self) -> tuple[Any, ...]:
        """The nodes below."""
        ...

    def _default_label(self, children: list[str]) -> str:
        """Make a label of those of the children."""
        ...


Node = TypeVar("Node", bound=Labelled)


def by_label(root: Node) -> dict[str, Node]:
    """Return all parts of a basis by label: parts before what they make up, `root` last.

    Users' labels are taken as they are; default ones are numbered where they repeat.
    """
    parts = list(_postorder(root))
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


def label_by_id(root: Labelled) -> dict[int, str]:
    """Return the label of each part of a basis, by the part's `id`."""
    return {id(part): label for label, part in by_label(root).items()}


def add_suffix(root: Node, k: int) -> Node:
    """Append `_k` to all labels that the user gave; 0 leaves them."""
    for part in _postorder(root) if k else ():
        if part.user_label is not None:
            part.label = f"{part.user_label}_{k}"
    return root


def _postorder(root: Node) -> Iterator[Node]:
    """Visit the nodes of a tree, children before parents."""
    for child in root.children:
        yield from _postorder(child)
    yield root


def _check(label: object, taken: set[str]) -> None:
    """Refuse a label that is no string, reserved, or given already."""
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
