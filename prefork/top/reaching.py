"""Which services are meant, and how each is reached, also after its master was replaced by another."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

from prefork.config.nearest import find_nearest
from prefork.control.client import NotRunningError, Service, Talk, find_services

ALL = "all"


class Reach:
    """The services that words of the command line name; of no words, all that run."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str]) -> None:
        """Raises `NotRunningError` if one of them is not there."""
        self._environ = environ
        labelled = label_services(find_services(environ))
        self._services = {name: labelled[name] for name in pick_names(words, list(labelled))}

    @property
    def names(self) -> list[str]:
        """What each is called here: its own name, unless several have the same."""
        return list(self._services)

    def connect(self, name: str) -> Talk:
        """To whoever serves under this name now. Raises PreforkError."""
        known = self._services[name]
        with suppress(NotRunningError):
            return Talk(known.path)
        # A successor may have found another place for its socket.
        for service in find_services(self._environ):
            if service.name == known.name:
                return Talk(service.path)
        raise NotRunningError(f"{name} does not run")


def label_services(services: Sequence[Service]) -> dict[str, Service]:
    """By name; where several have the same, by name and pid."""
    count = Counter(service.name for service in services)
    return {
        service.name if count[service.name] == 1 else f"{service.name}-{service.status.pid}": service
        for service in services
    }


def pick_names(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """Those that the words mean: names, globs, `all`. Raises `NotRunningError`."""
    if not names:
        raise NotRunningError(
            f"{' and '.join(words)} does not run"
            if words and ALL not in words
            else "no service of yours is running",
            "prefork APP starts one",
        )
    picked: set[str] = set()
    for word in words or [ALL]:
        found = list(names) if word == ALL else fnmatch.filter(names, word)
        if not found:
            near = find_nearest(word, names)
            hint = f"did you mean {near}?        " if near else ""
            raise NotRunningError(f"{word} does not run", f"{hint}there are: {', '.join(names)}")
        picked.update(found)
    return [name for name in names if name in picked]
