"""What did the user mean? The known name that looks most like an unknown one."""

from __future__ import annotations

from collections.abc import Iterable

_TELLING = 4
"""So many letters of a name's beginning say which is meant."""


def find_nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` most like `name`, or None when nothing is near enough to be worth saying."""
    from difflib import get_close_matches  # noqa: PLC0415  # only a mistake pays for it

    names = list(known)
    # Two letters exchanged in a word of four: 0.75. Below that, words have little in common but their letters.
    if found := get_close_matches(name, names, n=1, cutoff=0.75):
        return found[0]
    begun = [other for other in names if other.startswith(name)] if len(name) >= _TELLING else []
    return begun[0] if len(begun) == 1 else None
