"""Lines of a log ⇄ entries: what belongs together, who said it, how bad it is, how it is shown. Pure.

An entry is a line of the log with the lines that follow it (a traceback, stacks). A line that is none of ours, of a
program that the app has started, counts to the one before it; between JSON records it stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from prefork.system.log_lines import escape

_TEXT = re.compile(rb"(?:\[([^\]]+)\] )?\[(\d+)\] \[([A-Z]+)\] (.*)", re.DOTALL)
_SLOT = re.compile(rb"(?:^|\s)slot=(\d+)(?=\s|$)")
_PID = re.compile(rb"\spid=(\d+)(?=\s|$)")
_PRINTED = {b"OUT": "stdout", b"ERR": "stderr"}
_BAD = frozenset({"warning", "error", "critical"})
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")


class Entry(msgspec.Struct, frozen=True):
    """One, as it stands in the file, without its last line end. Fields are None where it does not say."""

    text: bytes
    when: str | None = None
    pids: tuple[int, ...] = ()
    """Who wrote it, and whom it is about."""
    slot: int | None = None
    level: str | None = None
    stream: str | None = None
    """What the app printed: `stdout` or `stderr`."""
    record: dict[str, Any] | None = None
    """If it is JSON."""

    def is_about(self, worker: int) -> bool:
        """Is it of this worker, by its slot or its pid?"""
        return self.slot == worker or worker in self.pids

    def may_go_on(self) -> bool:
        """Do lines without a beginning of their own belong to it? Not to records, nor to lines of others."""
        return self.record is None and bool(self.pids)

    def is_bad(self) -> bool:
        """A warning or worse, or printed to standard error."""
        return self.stream == "stderr" or self.level in _BAD


def find_moment(entry: Entry) -> float:
    """When it was written, in seconds since the epoch; 0.0 if it does not say."""
    text = entry.when or ""
    try:
        if "T" in text:
            return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z").timestamp()
    except ValueError:
        return 0.0


Wanted = Callable[[Entry], bool]


def parse_line(line: bytes) -> Entry | None:
    """The entry that this line begins; None if it begins none."""
    if line[:1] == b"{":
        return _parse_record(line)
    match = _TEXT.match(line)
    if match is None:
        return None
    when, pid, label, text = match.groups()
    stream = _PRINTED.get(label)
    slot = _SLOT.match(text) if stream else _SLOT.search(text)
    about = None if stream else _PID.search(text)
    return Entry(
        line,
        when=None if when is None else when.decode(errors="replace"),
        pids=(int(pid), *([int(about[1])] if about else [])),
        slot=int(slot[1]) if slot else None,
        level=None if stream else label.decode().lower(),
        stream=stream,
    )


def _parse_record(line: bytes) -> Entry | None:
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    pid, slot = record.get("pid"), record.get("slot")
    return Entry(
        line,
        when=record["time"] if isinstance(record.get("time"), str) else None,
        pids=(pid,) if isinstance(pid, int) else (),
        slot=slot if isinstance(slot, int) else None,
        level=record["level"] if isinstance(record.get("level"), str) else None,
        stream=record["stream"] if record.get("stream") in {"stdout", "stderr"} else None,
        record=record,
    )


def group_forward(lines: Iterable[bytes], last: Entry | None = None) -> Iterator[Entry]:
    """The entries of these lines, in their order. `last`: the one before, of which there may be more."""
    current: Entry | None = None
    more: list[bytes] = []
    for line in lines:
        entry = parse_line(line)
        if entry is None and current is not None and current.may_go_on():
            more.append(line)
            continue
        if current is not None:
            yield _join(current, more)
        elif entry is None and last is not None and last.may_go_on():
            entry = msgspec.structs.replace(last, text=line)
        current, more = entry or Entry(line), []
    if current is not None:
        yield _join(current, more)


def group_backward(lines: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of lines that come in reverse, in reverse."""
    more: list[bytes] = []
    for line in lines:
        entry = parse_line(line)
        if entry is None:
            more.append(line)
        elif entry.record is None:
            yield _join(entry, more[::-1])
            more = []
        else:
            yield from map(Entry, more)
            yield entry
            more = []
    yield from map(Entry, more)


def _join(entry: Entry, more: list[bytes]) -> Entry:
    return msgspec.structs.replace(entry, text=b"\n".join([entry.text, *more])) if more else entry


def show(entry: Entry, name: str, *, is_terminal: bool) -> str:
    """For people: every line behind the service's name, if that is given. A terminal is shown colours, and obeys
    nothing else that stands in a log.
    """
    lines = entry.text.decode("utf-8", "replace").split("\n")
    if is_terminal:
        lines = [
            "".join(p if _COLOUR.fullmatch(p) else escape(p) for p in _COLOUR.split(line)) for line in lines
        ]
    return "".join(f"{name} | {line}\n" if name else f"{line}\n" for line in lines)


def show_json(entry: Entry, name: str) -> str:
    """For programs: one object on one line, whatever the log's format."""
    record: dict[str, Any] = {"name": name}
    if entry.record is not None:
        record |= entry.record
    else:
        first, *more = entry.text.decode("utf-8", "replace").split("\n")
        match = _TEXT.match(first.encode())
        said: dict[str, Any] = {"time": entry.when, "level": entry.level, "stream": entry.stream}
        said |= {"slot": entry.slot, "pid": entry.pids[0] if entry.pids else None}
        record |= {key: value for key, value in said.items() if value is not None}
        record["event"] = match[4].decode() if match else first
        if entry.stream:
            record["event"] = record["event"].partition(" ")[2]
        if more:
            record["detail"] = "\n".join(more)
    return msgspec.json.encode(record).decode() + "\n"
