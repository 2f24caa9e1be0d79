"""What was started in the background, one small file each: how to start it again, and which process it became.

The pid alone would not do: it may be somebody else's by now. With the moment of its birth it is one process's.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping

import msgspec

from prefork.cli.state import find_state_directory
from prefork.errors import PreforkError
from prefork.system import keeping, processes

_FOLDER = "started"


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One background master."""

    name: str
    directory: str
    arguments: tuple[str, ...]
    """Of `prefork run`; empty if there were secrets among them."""
    log: str
    chdir: str = ""
    """Where it works."""
    boot_timeout_s: float = 60.0
    secrets: tuple[str, ...] = ()
    """Flags that were given and are not in `arguments`."""
    pid: int = 0
    born: str = ""

    def is_running(self) -> bool:
        """Is this very process there?"""
        return self.pid > 0 and bool(self.born) and processes.read_birth(self.pid) == self.born


def write_record(environ: Mapping[str, str], record: Record, pid: int) -> None:
    """Remember it. Raises `PreforkError`."""
    record = msgspec.structs.replace(record, pid=pid, born=processes.read_birth(pid))
    directory = posixpath.join(find_state_directory(environ), _FOLDER)
    keeping.make_directory(directory, 0o700, "state directory")
    keeping.write_kept(
        posixpath.join(directory, f"{record.name}.json"), msgspec.json.encode(record), "state file"
    )


def list_records(environ: Mapping[str, str]) -> list[Record]:
    """All that run, by name; the files of those that are gone are removed."""
    directory = posixpath.join(find_state_directory(environ), _FOLDER)
    try:
        files = sorted(entry.name for entry in os.scandir(directory) if entry.name.endswith(".json"))
    except OSError:
        return []
    found = []
    for file in files:
        record = read_record(environ, file.removesuffix(".json"))
        if record is not None and record.is_running():
            found.append(record)
        else:
            keeping.remove_kept(posixpath.join(directory, file))
    return found


def read_record(environ: Mapping[str, str], name: str) -> Record | None:
    """The last one of this name; None if there is none that can be read: it is only a note."""
    path = posixpath.join(find_state_directory(environ), _FOLDER, f"{name}.json")
    try:
        data = keeping.read_kept(path, "state file")
        return None if data is None else msgspec.json.decode(data, type=Record)
    except (PreforkError, msgspec.DecodeError):
        return None
