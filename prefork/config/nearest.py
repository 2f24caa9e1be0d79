"""What did the user mean? The known name that looks most like an unknown one."""

from __future__ import annotations

from collections.abc import Iterable


def find_nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` most like `name`, or None when nothing is near enough to be worth saying."""
    from difflib import get_close_matches  # noqa: PLC0415  # only a mistake pays for it

    found = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None
