"""What the app prints becomes lines of the log: each says who printed it, and none is torn by another's.

Stands in for `sys.stdout` and `sys.stderr`, from before the app's import and in every worker. A line is written when it
ends, all lines of one `write` together. What is written below Python (subprocesses, C code, a crash of the interpreter)
does not come by here: it goes to the descriptors 1 and 2, as ever.

Printing waits for a reader that is slow, as any program does, but for a second at most; after that lines are dropped
and counted until there is room again. So an app that prints into a pipe that nobody reads loses lines, and never hangs.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import msgspec

from prefork.system import clock
from prefork.system.line_writer import LineWriter
from prefork.system.log_lines import Stamps, render_json_time

if TYPE_CHECKING:
    from typing_extensions import Buffer

Stream = Literal["stdout", "stderr"]

PATIENCE_S = 1.0
"""How long a print may wait for a reader."""
LAST_S = 0.5
"""For what is still unwritten at the end of the process."""
FILE_LINE_BYTES = 1 << 20
"""Longer lines are split, those to a pipe where it would tear them."""
LEVELS = {"stdout": "info", "stderr": "error"}
"""As log collectors have it; what a line really is only the app knows."""
LABELS = {"stdout": "OUT", "stderr": "ERR"}

_encoder = msgspec.json.Encoder()


class AppOutput:
    """All that one process's app prints. Any thread may print; forks of the process go on by themselves."""

    def __init__(self, fd: int, *, as_json: bool, log_time: str = "local") -> None:
        self._writer = LineWriter(fd)
        self._fd = fd
        self._as_json = as_json
        self._stamps = Stamps(log_time)
        self._heads_of = 0, 0
        """The second and the pid."""
        self._heads: dict[str, tuple[bytes, bytes]] = {}
        self._slot: int | None = None
        self._gen = 0
        self._patience_s = PATIENCE_S
        self._lock = threading.RLock()  # a signal handler of the app's may print in the middle of a print
        self._catchers = (_Catcher(self, "stdout", 1), _Catcher(self, "stderr", 2))
        os.register_at_fork(after_in_child=self._forget)

    def take_over(self) -> None:
        """From now on it is `sys.stdout` and `sys.stderr`."""
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(catcher, "utf-8", "backslashreplace", newline="\n", line_buffering=True)
            for catcher in self._catchers
        )

    def sign(self, slot: int, gen: int) -> None:
        """Who prints from now on."""
        self._slot, self._gen = slot, gen
        self._heads.clear()

    def list_fds(self) -> list[int]:
        """The descriptors that are ours, and nothing that the app's import left."""
        return [self._fd, *self._writer.list_fds()]

    def look_again(self) -> None:
        """The descriptor leads elsewhere now."""
        with self._lock:
            self._writer.look_again()

    def settle(self) -> None:
        """Write what waits, and the beginnings of lines: a fork or the end comes next."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(getattr(stream, "buffer", None), _Catcher):
                stream.flush()
        with self._lock:
            for catcher in self._catchers:
                if rest := catcher.take_rest():
                    self.put(catcher.stream, [rest])
            self._writer.wait_written(LAST_S)

    def put(self, stream: Stream, lines: list[bytes]) -> None:
        """Write these, without their line ends, as lines of the log."""
        with self._lock:
            most = self._writer.most_line_bytes or FILE_LINE_BYTES
            rendered = [*self._render(stream, lines, most), b""]
            dropped = self._writer.dropped
            written = self._writer.write(b"\n".join(rendered))
            if not written and self._patience_s:
                written = self._writer.wait_written(self._patience_s)
            self._patience_s = PATIENCE_S if written else 0.0
            # A full disk takes nothing and says so at once: word of it has to find room, too.
            if written and dropped and self._writer.dropped == dropped:
                self._writer.dropped = 0
                self._writer.write(self._tell_dropped(dropped) + b"\n")
                if self._writer.dropped:
                    self._writer.dropped = dropped

    def _render(self, stream: Stream, lines: list[bytes], most: int) -> Iterator[bytes]:
        head = self._render_head(stream, LEVELS[stream], LABELS[stream])
        for line in lines:
            if self._as_json and line[:1] == b"{" and len(line) < most and _is_object(line):
                yield line  # the app writes records itself
            elif self._as_json:
                yield from _split_json(head, line.decode("utf-8", "backslashreplace"), most)
            else:
                yield from _split_text(head, line, most)

    def _render_head(self, stream: str, level: str, label: str) -> bytes:
        now, pid = clock.wall_s(), os.getpid()
        if not self._as_json:
            slot = "-" if self._slot is None else self._slot
            return f"{self._stamps.render(now)}[{pid}] [{label}] slot={slot} ".encode()
        # All but the milliseconds is the same for a second: to render it for each line would be most of its cost.
        seconds, millis = divmod(int(now * 1000), 1000)
        if (seconds, pid) != self._heads_of:
            self._heads_of = seconds, pid
            self._heads.clear()
        if stream not in self._heads:
            self._heads[stream] = self._render_json_head(seconds, stream, level, pid)
        before, after = self._heads[stream]
        return b"%b%03d%b" % (before, millis, after)

    def _render_json_head(self, seconds: int, stream: str, level: str, pid: int) -> tuple[bytes, bytes]:
        """What comes before and after the milliseconds."""
        said: dict[str, object] = {"level": level, "logger": "app"}
        if stream:
            said["stream"] = stream
        if self._slot is not None:
            said |= {"slot": self._slot, "gen": self._gen}
        before = render_json_time(seconds).removesuffix("000Z")
        return b'{"time":"%b' % before.encode(), b'Z",' + msgspec.json.encode({**said, "pid": pid})[1:-1]

    def _tell_dropped(self, lines: int) -> bytes:
        event = "lines of the app's were dropped: no room for them"
        head = self._render_head("", "warning", "WARNING")
        return head + (b',"event":"%b","lines":%d}' if self._as_json else b"%b lines=%d") % (
            event.encode(),
            lines,
        )

    def _forget(self) -> None:
        """In a child: what was begun in the parent is the parent's."""
        self._lock = threading.RLock()
        self._writer.forget()
        for catcher in self._catchers:
            catcher.take_rest()


class _Catcher(io.BufferedIOBase):
    """The bytes of one stream; only whole lines go on."""

    def __init__(self, output: AppOutput, stream: Stream, number: int) -> None:
        self.stream = stream
        self.name = f"<{stream}>"
        self._output = output
        self._number = number
        self._rest = b""

    def write(self, data: Buffer, /) -> int:
        text = bytes(data)
        *lines, rest = (self._rest + text).split(b"\n")
        # What a terminal would overwrite is not kept: of a progress bar, the last state is.
        self._rest = rest[rest.rfind(b"\r", 0, -1) + 1 :] if b"\r" in rest else rest
        if len(self._rest) > FILE_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        if lines:
            self._output.put(self.stream, [_keep_last(line) if b"\r" in line else line for line in lines])
        return len(text)

    def take_rest(self) -> bytes:
        """The beginning of a line, if there is one."""
        rest, self._rest = self._rest, b""
        return rest

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return False


def _keep_last(line: bytes) -> bytes:
    line = line.rstrip(b"\r")
    return line[line.rfind(b"\r") + 1 :]


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _split_json(head: bytes, text: str, most: int) -> Iterator[bytes]:
    """One record, or several of which all but the last say that there is more."""
    record = b'%b,"event":%b}' % (head, _encoder.encode(text))
    if len(record) < most or len(text) <= 1:
        yield record
        return
    room = most - len(head) - len(b',"more":true,"event":""}') - 1
    at = 0
    while at < len(text):
        size = max(1, room)
        while len(event := _encoder.encode(text[at : at + size])) - 2 > room and size > 1:
            size = max(1, size * room // len(event) - 1)
        at += size
        yield b'%b%b,"event":%b}' % (head, b',"more":true' if at < len(text) else b"", event)


def _split_text(head: bytes, line: bytes, most: int) -> Iterator[bytes]:
    room = max(1, most - len(head) - 1 - len("…".encode()))
    while len(line) > room:
        at = room
        while at > 1 and line[at] & 0xC0 == 0x80:  # never within a character
            at -= 1
        yield b"%b%b%b" % (head, line[:at], "…".encode())
        line = line[at:]
    yield head + line
