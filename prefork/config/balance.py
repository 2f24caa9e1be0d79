"""Who hands out connections, and by which strategy: `--balance`."""

from __future__ import annotations

from prefork.config.nearest import find_nearest
from prefork.config.values import RefusedValueError, parse_text

SHARED = "shared"
STRATEGIES = ("round-robin", "least-connections", "ip-hash")
ACCEPTED = ", ".join((SHARED, *STRATEGIES, "module:function"))


def parse_balance(value: object) -> str:
    """One of our words in any case, or the dotted name of a function, `shop.balance:choose`, as it stands."""
    text = parse_text(value, ACCEPTED).strip()
    word = text.lower().replace("_", "-")
    if word == SHARED or word in STRATEGIES:
        return word
    module, colon, function = text.partition(":")
    if colon and all(part.isidentifier() for part in (*module.split("."), *function.split("."))):
        return text
    near = find_nearest(word, (SHARED, *STRATEGIES))
    raise RefusedValueError(
        "neither a strategy nor the name of one", ACCEPTED, instead=f"did you mean {near}?" if near else ""
    )
