"""How many workers? `4`, `max`, `max-1`, `50%` → a number, and the reason for it.

Pure: the number of CPUs comes in, for what counts them looks at the machine (`system/cpus.py`). The result is
never below 1: a machine that shrinks must not stop the service.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from prefork.config.values import RefusedValueError, parse_count

MAX_WORKERS = 4096
"""The scoreboard has a record per slot; beyond this it is a typing error."""
ACCEPTED = "a number from 1, max (one per CPU), max-1, 50%"

CountCpus = Callable[[], tuple[int, str]]
"""Counts the CPUs that can be used; also says how, as `2 CPUs (affinity 2, no cgroup quota)`."""


class Workers(msgspec.Struct, frozen=True):
    """What was asked for: `percent` of the CPUs less `less`, or a fixed `number`."""

    number: int = 0
    percent: int = 0
    less: int = 0


def parse_workers(value: object) -> Workers:
    """Read `4`, `max`, `max-1`, `50%`."""
    text = value.strip().lower() if isinstance(value, str) else ""
    if match := re.fullmatch(r"max(?:\s*-\s*([0-9]{1,9}))?", text):
        return Workers(percent=100, less=int(match[1] or 0))
    if match := re.fullmatch(r"([0-9]{1,4})\s*%", text):
        if int(match[1]) == 0:
            raise RefusedValueError("no worker at all", ACCEPTED)
        return Workers(percent=int(match[1]))
    if text and not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise RefusedValueError("not a number of workers", ACCEPTED)
    try:
        return Workers(number=parse_count(value, at_least=1, at_most=MAX_WORKERS))
    except RefusedValueError as refused:
        raise RefusedValueError(refused.message, ACCEPTED) from None


def parse_instances(value: object) -> Workers:
    """As `parse_workers`, with PM2's two more: 0 is `max`, -1 is `max-1`."""
    if isinstance(value, str) and re.fullmatch(r"0|-[0-9]{1,9}", value.strip()):
        return Workers(percent=100, less=-int(value))
    if isinstance(value, int) and not isinstance(value, bool) and -MAX_WORKERS <= value <= 0:
        return Workers(percent=100, less=-value)
    return parse_workers(value)


def count_workers(asked: Workers, count_cpus: CountCpus) -> tuple[int, str]:
    """The number of workers, and how it was found: empty when it was simply given."""
    if asked.number:
        return asked.number, ""
    cpus, why = count_cpus()
    number = max(1, min(cpus * asked.percent // 100 - asked.less, MAX_WORKERS))
    return number, f"{show_workers(asked)}: {why}"


def show_workers(asked: Workers | int) -> str:
    """As the user writes it."""
    if isinstance(asked, int):
        return str(asked)
    if asked.number:
        return str(asked.number)
    base = "max" if asked.percent == 100 else f"{asked.percent}%"
    return f"{base}-{asked.less}" if asked.less else base
