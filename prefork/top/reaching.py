"""Which services are meant, and how each is reached, also after its master was replaced by another.

Whoever asks for all, or for a pattern, means those too that start while he watches.
"""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

from prefork.config.nearest import find_nearest
from prefork.control.client import FIND_S, NotRunningError, Service, Talk, find_services, read_status
from prefork.control.places import list_sockets
from prefork.errors import PreforkError

ALL = "all"


class Reach:
    """The services that words of the command line name; of no words, all that run."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str]) -> None:
        """Raises `NotRunningError` if one of them is not there."""
        self._words = words
        self._environ = environ
        running = find_services(environ)
        self._paths = {service.path for service in running}
        """Of the sockets that were looked at."""
        labelled = label_services(running)
        self._services = {name: labelled[name] for name in pick_names(words, list(labelled))}

    @property
    def names(self) -> list[str]:
        """What each is called here: its own name, unless several have the same."""
        return list(self._services)

    def find_new(self) -> list[str]:
        """Names of those that have come since, and are meant; no other thread may ask at the same time.

        Only sockets that were not there are asked: whoever runs pays nothing for being looked for.
        """
        if not is_open(self._words):
            return []
        found = []
        for path in list_sockets(self._environ, os.geteuid()):
            if path in self._paths:
                continue
            try:
                service = Service(path, read_status(path, FIND_S))
            except PreforkError:  # nobody's, another's, or it is about to start
                continue
            self._paths.add(path)
            if not pick_meant(self._words, [service.name]):
                continue
            name = service.name
            if name in self._services:
                if not self._still_answers(name):
                    continue  # its successor: `connect` finds it
                name = f"{name}-{service.status.pid}"
            self._services[name] = service
            found.append(name)
        return found

    def _still_answers(self, name: str) -> bool:
        try:
            with Talk(self._services[name].path, FIND_S):
                return True
        except PreforkError:
            return False

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
    for word in words:
        if not pick_meant([word], names):
            near = find_nearest(word, names)
            hint = f"did you mean {near}?        " if near else ""
            raise NotRunningError(f"{word} does not run", f"{hint}there are: {', '.join(names)}")
    return pick_meant(words, names)


def pick_meant(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """Those that any of the words means; no word means all."""
    return [
        name
        for name in names
        if not words or any(word == ALL or fnmatch.fnmatch(name, word) for word in words)
    ]


def is_open(words: Sequence[str]) -> bool:
    """May these words mean services that are not there yet?"""
    return not words or any(word == ALL or not set(word).isdisjoint("*?[") for word in words)
