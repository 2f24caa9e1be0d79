"""When to look: at the kernel's word through watchfiles if that is installed, else every now and then.

An alarm says only that looking may be worth while; it may be wrong, and the kernel's word does not reach every file
system (NFS, a folder shared with a virtual machine). So the first kind looks by itself too, rarely.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from typing import Any, Literal, Protocol

from prefork.errors import PreforkError
from prefork.system import clock
from prefork.watcher.scanning import Identity, Scanner

POLL_S = 0.5
POLL_MAX_S = 5.0
POLL_SHARE = 0.015
"""Polling takes at most this share of a core, unless that meant to look less often than every POLL_MAX_S."""
PATROL_S = 10.0
PATROL_SHARE = 0.001
STEP_MS = 50
"""watchfiles sleeps so long at a time; an event is told after one or two of these."""
TURN_MS = 500

Pause = Callable[[float], None]
"""Wait so many seconds, or less if the master has gone."""


class AlarmBrokenError(PreforkError):
    """The kernel's word cannot be had."""


class Alarm(Protocol):
    """Waits for a time to look."""

    by: Literal["watchfiles", "polling"]

    def wait(self) -> bool:
        """Is it time to look? Waits for a moment before it says so. Raises `AlarmBrokenError`."""

    def note_look(self, cost_s: float) -> None:
        """There was a look, which took so much CPU."""


class Polling:
    """Looks twice a second; where that is dear less often, but twice a second at the files that changed last."""

    by: Literal["watchfiles", "polling"] = "polling"

    def __init__(self, scanner: Scanner, pause: Pause) -> None:
        self._scanner = scanner
        self._pause = pause
        self._pauses_left = 0

    def wait(self) -> bool:
        self._pause(POLL_S)
        self._pauses_left -= 1
        return self._pauses_left <= 0 or self._scanner.peek()

    def note_look(self, cost_s: float) -> None:
        self._pauses_left = round(min(cost_s / POLL_SHARE, POLL_MAX_S) / POLL_S)


class KernelEvents:
    """Through watchfiles: inotify(7), kqueue(2) or FSEvents. Only the scanner's own directories are watched, not
    recursively: a virtualenv or node_modules would cost thousands of watches.
    """

    by: Literal["watchfiles", "polling"] = "watchfiles"

    def __init__(self, scanner: Scanner, pause: Pause) -> None:
        self._scanner = scanner
        self._pause = pause
        self._events: Generator[set[tuple[Any, str]], None, None] | None = None
        self._watched: dict[str, Identity] = {}
        self._patrol_at = 0.0

    def wait(self) -> bool:
        directories = self._scanner.list_directories()
        if not directories:
            self._pause(POLL_S)
            return True
        is_new = self._events is None or directories != self._watched
        if is_new:
            self._watch(directories)
        try:
            events = next(self._events) if self._events is not None else set()
        except FileNotFoundError:  # one of them has gone since the last look
            self._events = None
            self._pause(POLL_S)
            return True
        except Exception as error:  # watchfiles has errors of its own, and the kernel has limits
            raise AlarmBrokenError(f"watchfiles cannot watch: {error}") from error
        # What changed between the last look and the first moment of watching was not told.
        if is_new or clock.monotonic() >= self._patrol_at:
            return True
        return any(self._scanner.concerns(path) for _, path in events)

    def note_look(self, cost_s: float) -> None:
        self._patrol_at = clock.monotonic() + max(PATROL_S, cost_s / PATROL_SHARE)

    def _watch(self, directories: dict[str, Identity]) -> None:
        from watchfiles import watch  # noqa: PLC0415  # optional

        if self._events is not None:
            self._events.close()
        self._watched = directories
        self._events = watch(
            *sorted(directories),
            watch_filter=None,
            debounce=STEP_MS,
            step=STEP_MS,
            rust_timeout=TURN_MS,
            yield_on_timeout=True,
            force_polling=False,
            recursive=False,
            ignore_permission_denied=True,
        )


def choose_alarm(scanner: Scanner, pause: Pause) -> tuple[Alarm, str]:
    """The better one that there is, and why it is not the best."""
    forced = os.environ.get("WATCHFILES_FORCE_POLLING", "")
    if forced and forced.lower() not in {"false", "disable", "disabled"}:
        return Polling(scanner, pause), "WATCHFILES_FORCE_POLLING is set"
    try:
        import watchfiles  # noqa: F401, PLC0415  # optional
    except ImportError:
        return Polling(scanner, pause), "watchfiles is not installed"
    return KernelEvents(scanner, pause), ""
