"""What has changed below some directories since the last look?

The truth for both ways of watching: events only say when to look. A look costs one stat(2) for each directory and each
file that counts; directories are listed again only when their own time stamp has moved.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from prefork.system import clock
from prefork.watcher.picking import VIRTUALENV, Picker

RACY_NS = 2_000_000_000
"""A directory changed twice within the grain of its time stamp (2 s on FAT) looks unchanged after a listing in between:
only a listing that is older than this is believed."""

HOT = 64
"""So many files, the last that were changed, are looked at between two looks at everything: a person goes on where
they were.
"""

Stamp = tuple[int, int]
"""st_mtime_ns and st_size. Not st_ino: file systems shared with a virtual machine make new ones up."""
Identity = tuple[int, int]


class _Directory(NamedTuple):
    mtime_ns: int
    """0: list it again."""
    identity: Identity
    files: tuple[str, ...]
    folders: tuple[str, ...]
    links: tuple[str, ...]
    """Symbolic links to directories."""


class Scanner:
    """Remembers what it saw. `dirs` are watched with all below them, `files` wherever they are."""

    def __init__(self, dirs: Iterable[str], files: Iterable[str], picker: Picker) -> None:
        self._roots = tuple(dict.fromkeys(dirs))
        self._files = tuple(files)
        self._picker = picker
        self._directories: dict[str, _Directory] = {}
        self._stamps: dict[str, Stamp] = {}
        self._hot: tuple[str, ...] = ()
        self._is_new = True

    def count_files(self) -> int:
        """How many files count now."""
        return len(self._stamps)

    def list_directories(self) -> dict[str, Identity]:
        """Where something can appear that counts. One that went and came back is another: its identity says so."""
        places = {path: directory.identity for path, directory in self._directories.items()}
        for place in {os.path.dirname(file) for file in self._files} - places.keys():
            with suppress(OSError):
                status = os.stat(place)
                places[place] = (status.st_dev, status.st_ino)
        return places

    def concerns(self, path: str) -> bool:
        """Could what happened to this path be a change? Cheap; a look tells."""
        if path in self._stamps or path in self._directories or path in self._files:
            return True
        return self._picker.takes(path) or (self._picker.enters(path) and os.path.isdir(path))

    def scan(self, since_ns: int = 0) -> list[str]:
        """The files that came, changed or went since the last look. The first look finds those that were touched
        after `since_ns` (wall clock).
        """
        is_first, self._is_new = self._is_new, False
        found: dict[str, os.stat_result] = {}
        self._directories = self._walk(found)
        for file in self._files:
            _add(file, found)
        before = self._stamps
        self._stamps = {path: (seen.st_mtime_ns, seen.st_size) for path, seen in found.items()}
        if is_first:
            self._hot = self._find_hot()
            # Not st_mtime: a file that was moved here brings its old one along.
            return [path for path, seen in found.items() if seen.st_ctime_ns > since_ns]
        changed = [path for path, stamp in self._stamps.items() if before.get(path) != stamp]
        changed += [path for path in before if path not in self._stamps]
        if changed:
            self._hot = self._find_hot()
        return changed

    def peek(self) -> bool:
        """Has one of the files changed that were changed last? Cheap however many there are."""
        found: dict[str, os.stat_result] = {}
        for path in self._hot:
            _add(path, found)
        return any(_stamp(found.get(path)) != self._stamps.get(path) for path in self._hot)

    def _find_hot(self) -> tuple[str, ...]:
        newest = sorted(self._stamps, key=self._stamps.__getitem__, reverse=True)[:HOT]
        return (*newest, *self._files)

    def _walk(self, found: dict[str, os.stat_result]) -> dict[str, _Directory]:
        directories: dict[str, _Directory] = {}
        seen: set[Identity] = set()
        waiting, links = list(self._roots), list[str]()
        # Links last: what is below a link and elsewhere too is always found elsewhere, under one name.
        while waiting or links:
            path = waiting.pop() if waiting else links.pop()
            try:
                status = os.stat(path)
            except OSError:
                continue
            identity = (status.st_dev, status.st_ino)
            if identity in seen or not stat.S_ISDIR(status.st_mode):
                continue
            seen.add(identity)
            known = self._directories.get(path)
            if known is None or (known.mtime_ns, known.identity) != (status.st_mtime_ns, identity):
                known = self._list(path, status.st_mtime_ns, identity)
            directories[path] = known
            waiting += known.folders
            links += known.links
            for file in known.files:
                _add(file, found)
        return directories

    def _list(self, path: str, mtime_ns: int, identity: Identity) -> _Directory:
        files: list[str] = []
        folders: list[str] = []
        links: list[str] = []
        is_believed = clock.wall_ns() - mtime_ns > RACY_NS
        try:
            with os.scandir(path) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.name == VIRTUALENV and path not in self._roots:
                        return _Directory(mtime_ns if is_believed else 0, identity, (), (), ())
                    if not _is_directory(entry):
                        if self._picker.takes(entry.path):
                            files.append(entry.path)
                    elif self._picker.enters(entry.path):
                        (links if entry.is_symlink() else folders).append(entry.path)
        except OSError:  # unreadable, or gone since
            is_believed = False
        return _Directory(
            mtime_ns if is_believed else 0, identity, tuple(files), tuple(folders), tuple(links)
        )


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where we may not go
        return False


def _stamp(status: os.stat_result | None) -> Stamp | None:
    return None if status is None else (status.st_mtime_ns, status.st_size)


def _add(path: str, found: dict[str, os.stat_result]) -> None:
    try:
        status = os.stat(path)
    except OSError:  # a dangling link, or gone since
        return
    if stat.S_ISREG(status.st_mode):
        found[path] = status
