"""Which services a command is about: names, globs, `all`; without one, the only one there is, or this directory's."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from fnmatch import fnmatchcase

from prefork.control.client import NotRunningError, Service, find_services
from prefork.errors import PreforkError, UsageError

ALL = "all"


def pick_services(words: Sequence[str]) -> list[Service]:
    """Those that the words name, each once. Raises `NotRunningError` for a word that names none, `UsageError` if there
    is no word and it is not clear which one is meant.
    """
    running = find_services(os.environ)
    if not words:
        return [_pick_obvious(running)]
    picked: dict[str, Service] = {}
    for word in words:
        matching = [service for service in running if word == ALL or fnmatchcase(service.name, word)]
        if not matching:
            missing = "nothing is running" if word == ALL else f"{word} is not running"
            raise NotRunningError(missing, *_list_names(running))
        picked |= {service.path: service for service in matching}
    return list(picked.values())


def pick_service(word: str | None) -> Service:
    """Exactly one. Raises as `pick_services`, and `UsageError` for several."""
    picked = pick_services([] if word is None else [word])
    if len(picked) > 1:
        pids = ", ".join(f"{service.name} (pid {service.status.pid})" for service in picked)
        raise UsageError(f"{word} means {len(picked)} services: {pids}", "name one")
    return picked[0]


def _pick_obvious(running: list[Service]) -> Service:
    if len(running) == 1:
        return running[0]
    if not running:
        raise NotRunningError("nothing is running", "prefork APP serves one")
    own_name = _read_own_name()
    named = [service for service in running if service.name == own_name]
    named = named or [service for service in running if _is_here(service.status.chdir)]
    if len(named) == 1:
        return named[0]
    raise UsageError(f"{len(running)} services are running, which one?", *_list_names(running))


def _is_here(directory: str) -> bool:
    try:
        return posixpath.samefile(directory, ".")
    except OSError:
        return False


def _read_own_name() -> str:
    """What ./prefork.toml calls the service; empty if it does not."""
    from prefork.cli.reading import OWN_FILE, read_configuration, start_from_flags  # noqa: PLC0415  # few need it

    if not posixpath.exists(OWN_FILE):
        return ""
    try:
        return read_configuration(start_from_flags(None, {}), lambda _: "").config.name
    except PreforkError:
        return ""


def _list_names(running: list[Service]) -> list[str]:
    names = ", ".join(dict.fromkeys(service.name for service in running))
    return [f"there is: {names}"] if names else []
