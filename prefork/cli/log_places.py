"""Where do these services log to? Asked of what runs, of what was started in the background, and of the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from prefork.cli.app_words import pick_apps
from prefork.cli.launched import list_records, read_record
from prefork.cli.reading import Start, read_configuration, read_tables, start_from_flags
from prefork.config.tables import list_apps
from prefork.control.client import find_services
from prefork.errors import PreforkError, UsageError
from prefork.system import processes


class Place(msgspec.Struct, frozen=True):
    """Where one service logs to; None: to no file."""

    name: str
    log: str | None
    access_log: str | None = None
    pid: int = 0
    """Of its master; 0: it does not run."""
    has_answered: bool = False
    """Did it say so itself?"""


def find_places(words: Sequence[str], flags: Mapping[str, object]) -> list[Place]:
    """Those that these names and globs mean; of no words, all that run, or else all of the configuration.
    Raises `PreforkError`.
    """
    start = start_from_flags(None, flags)
    running = _list_running(start.environ)
    names = list_apps(read_tables(start))
    known = sorted({*running, *names})
    if not words and running:
        return [_complete(start, place, names) for place in running.values()]
    if not known:
        if not words:
            return [_read_place(start, "")]
        known = [word for word in words if read_record(start.environ, word) is not None]
        if known != list(words):
            raise UsageError("no service is running here, and the configuration has no [app.NAME]")
    return [
        _complete(start, running[name], names) if name in running else _read_place(start, name)
        for name in pick_apps(words, known)
    ]


def _list_running(environ: Mapping[str, str]) -> dict[str, Place]:
    """What runs says itself where it logs to; of what does not answer, what was noted at its start."""
    noted = (Place(record.name, record.log, pid=record.pid) for record in list_records(environ))
    places = {place.name: place for place in noted}
    for service in find_services(environ):
        files = {each.kind: each.path for each in service.status.log_files if each.path != "-"}
        places[service.name] = Place(
            service.name, files.get("log"), files.get("access-log"), service.status.pid, has_answered=True
        )
    return places


def _complete(start: Start, place: Place, names: Sequence[str]) -> Place:
    """What was noted of it at its start is its log; the access log is the configuration's to say."""
    if place.has_answered or place.name not in names:
        return place
    with suppress(PreforkError):  # it may have become wrong meanwhile, and the service runs
        return msgspec.structs.replace(place, access_log=_read_place(start, place.name).access_log)
    return place


def _read_place(start: Start, name: str) -> Place:
    """Where it would log to in the background, or did when it was there last."""
    record = read_record(start.environ, name) if name else None
    try:
        config = read_configuration((start.narrow(name) if name else start).in_background()).config
    except PreforkError:
        if record is None:
            raise
        return Place(name, record.log)
    log = record.log if record is not None else config.log_file
    access = config.access_log if config.access_log != "-" else None
    return Place(name or config.name, log if log != "-" else None, access)


def explain_no_file(place: Place) -> tuple[str, str]:
    """What to say when there is no file: the fact, and where to look instead."""
    unit = processes.find_unit(place.pid) if place.pid else ""
    look = f"journalctl -u {unit} -f" if unit else "look where it was started, or give it --log-file"
    return f"{place.name} logs to standard error, not to a file", look
