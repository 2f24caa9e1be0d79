"""Why workers are replaced: a small fixed vocabulary, to be counted by.

What a worker says or how it ended in words is for people; a counter must not get a new label from an app's text.
"""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "max-requests", "max-memory", "max-age", "app", "asked", "hung", "boot", "crash", "killed", "exit", "left",
    "misbehaved", "machine",
]  # fmt: skip
"""- max-requests, max-memory, max-age: its limit was reached
- app: the app asked for it (`prefork.retire`)
- asked: an operator did
- hung: its loop was stuck for longer than `timeout`
- boot: it never became ready
- crash: a signal ended it (SIGSEGV, SIGABRT, …)
- killed: a SIGKILL that was not ours, often the kernel's for want of memory
- exit: it ended by itself
- left: it drained without being asked (SIGTERM sent to it alone)
- misbehaved: its channel was closed, or held what is no message
- machine: the kernel refused the fork, or the zygote died in it
"""

ASKED = "asked by an operator"
_LIMITS: tuple[Reason, ...] = ("max-requests", "max-memory", "max-age")


def classify_retirement(words: str) -> Reason:
    """Of a worker that was replaced because it, or an operator, asked for that."""
    if words == ASKED:
        return "asked"
    first = words.partition(" ")[0]
    return next((limit for limit in _LIMITS if first == limit), "app")


def classify_end(how: str, *, was_booting: bool, killed: bool) -> Reason:
    """Of a worker that ended unasked; `how` is `exit 1`, `SIGSEGV`, `SIGABRT (core dumped)`, `signal 40`."""
    if killed:
        return "killed"
    if was_booting:
        return "boot"
    return "crash" if how.startswith(("SIG", "signal ")) else "exit"
