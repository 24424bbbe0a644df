"""Messages that more than one part of the library owes its users."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown_name(argument: str, name: object, known: Iterable[str]) -> ValueError:
    """Build the error for a name nobody registered, with the nearest that somebody did."""
    known = sorted(known)
    lowered = {k.lower(): k for k in known}
    near = get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.5)
    hint = f" Did you mean {lowered[near[0]]!r}?" if near else ""
    return ValueError(f"Unknown {argument}: {name!r}.{hint} Known: {', '.join(known)}.")
