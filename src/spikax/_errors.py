"""Messages that more than one part of the library owes its users."""

import warnings
from collections.abc import Iterable
from difflib import get_close_matches

import numpy as np


def unknown_name(argument: str, name: object, known: Iterable[str]) -> ValueError:
    """Build the error for a name nobody registered, with the nearest that somebody did."""
    known = sorted(known)
    lowered = {k.lower(): k for k in known}
    near = get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.5)
    hint = f" Did you mean {lowered[near[0]]!r}?" if near else ""
    return ValueError(f"Unknown {argument}: {name!r}.{hint} Known: {', '.join(known)}.")


def listed(names: np.ndarray) -> str:
    """List neurons by their names, not more than 20 of them."""
    shown = ", ".join(str(name) for name in names[:20])
    more = f" and {names.size - 20} more" if names.size > 20 else ""
    return f"neurons {shown}{more}"


def warn_about_scores(names: np.ndarray, reasons: Iterable[tuple[np.ndarray, str]]) -> None:
    """Warn once about all neurons whose score is not finite, of (n_neurons,) each reason."""
    found = [f"{listed(names[has])} {reason}" for has, reason in reasons if np.any(has)]
    if found:
        warnings.warn(f"Scores are not finite: {'; '.join(found)}.", RuntimeWarning, stacklevel=4)


NOTHING_TO_EXPLAIN = (
    "are predicted without error by the model without features (silent, always on, or constant), "
    "which leaves nothing to explain: their score is NaN"
)
IMPOSSIBLE = (
    "have observations to which the predicted mean gives no probability, as spikes at a rate of "
    "zero: their score is minus infinity"
)
