"""`prefork top` without a screen: one table, or JSON, one object a line for each interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import msgspec

from prefork.errors import PreforkError
from prefork.system import clock
from prefork.top.feed import Connect, Line, look_at
from prefork.top.history import History
from prefork.top.rates import ServiceRates
from prefork.top.seen import Seen


class Lost(msgspec.Struct, frozen=True):
    """A service that does not answer."""

    name: str
    trouble: str
    state: str = "gone"


class Page(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    time: float
    """Unix seconds."""
    services: list[ServiceRates | Lost]


class Looker:
    """Looks at services, one after the other, and remembers what it compares with. `find_new` names those that came."""

    def __init__(
        self,
        names: Sequence[str],
        connect: Connect,
        find_new: Callable[[], Sequence[str]],
        closing: ExitStack,
    ) -> None:
        self._names = list(names)
        self._connect = connect
        self._find_new = find_new
        self._closing = closing
        self._lines: dict[str, Line] = {}
        self._histories: dict[str, History] = {}

    def look(self) -> Page:
        """Now. At the first time there are no rates."""
        self._names += self._find_new()
        return Page(clock.wall_s(), [self._look_at(name) for name in self._names])

    def _look_at(self, name: str) -> ServiceRates | Lost:
        history = self._histories.setdefault(name, History())
        try:
            if name not in self._lines:
                self._lines[name] = self._closing.enter_context(self._connect(name))
            return history.add(look_at(self._lines[name]))
        except PreforkError as error:
            self._lines.pop(name, None)
            history.note_absence()
            return Lost(name, error.message)


def show_page(page: Page) -> list[Seen]:
    """For drawing."""
    return [
        Seen(service.name, None, service.trouble)
        if isinstance(service, Lost)
        else Seen(service.name, service)
        for service in page.services
    ]
