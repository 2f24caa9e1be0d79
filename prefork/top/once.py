"""`prefork top` without a screen: one table, or JSON, one object a line for each interval."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Looks at services, one after the other, and remembers what it compares with."""

    def __init__(self, names: Sequence[str], connect: Connect, closing: ExitStack) -> None:
        self._names = names
        self._connect = connect
        self._closing = closing
        self._lines: dict[str, Line] = {}
        self._histories = {name: History() for name in names}

    def look(self) -> Page:
        """Now. At the first time there are no rates."""
        return Page(clock.wall_s(), [self._look_at(name) for name in self._names])

    def _look_at(self, name: str) -> ServiceRates | Lost:
        try:
            if name not in self._lines:
                self._lines[name] = self._closing.enter_context(self._connect(name))
            return self._histories[name].add(look_at(self._lines[name]))
        except PreforkError as error:
            self._lines.pop(name, None)
            self._histories[name].note_absence()
            return Lost(name, error.message)


def show_page(page: Page) -> list[Seen]:
    """For drawing."""
    return [
        Seen(service.name, None, service.trouble)
        if isinstance(service, Lost)
        else Seen(service.name, service)
        for service in page.services
    ]
