"""The operator's end of the socket: find the services that run, ask one, read its answers.

Blocking, for commands that a person waits for; every wait has a deadline. Used by all of `cli/` and by the admin
process. Nothing here signals anybody: whoever is asked acts on itself, so no pid is ever taken for another's.

    for service in find_services(os.environ):
        print(service.name, service.status.workers_ready)
    ask(service.path, AskScale(to=4)).message
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import TracebackType

import msgspec

from prefork.control.places import list_sockets
from prefork.control.requests import AnyAnswer, AnyRequest, AskStatus, Done, Failed, Told
from prefork.control.status import EXIT_NOT_RUNNING, ServiceStatus
from prefork.errors import PreforkError
from prefork.system import clock
from prefork.system.peers import Peer, read_peer

ANSWER_S = 5.0
"""A master says something within this: it never blocks, but its machine may be very busy."""
FIND_S = 2.0
STALE_S = 60.0
"""A socket that refused us and is so old has no service any more: a new one refuses for microseconds."""
READ_BYTES = 65536
ANSWER_BYTES = 16 * 1024 * 1024

_decoder = msgspec.json.Decoder(AnyAnswer)


class ControlError(PreforkError):
    """What was asked could not be done. `code` is what the command ends with, `traceback` the app's, if it has one."""

    def __init__(self, message: str, *hints: str, code: int = 1, traceback: str = "") -> None:
        super().__init__(message, *hints)
        self.exit_code = code  # type: ignore[misc] # the class says the usual one, the master says this one
        self.traceback = traceback


class NotRunningError(PreforkError):
    """Nobody answers."""

    exit_code = EXIT_NOT_RUNNING


class Service(msgspec.Struct, frozen=True):
    """One that runs: where its socket is, and what it said of itself a moment ago."""

    path: str
    status: ServiceStatus

    @property
    def name(self) -> str:
        """Its own."""
        return self.status.name


class Talk:
    """A connection to one master; use it as a context. Requests one after the other, each with its answers read."""

    def __init__(self, path: str, timeout_s: float = ANSWER_S) -> None:
        """Raises `NotRunningError`; `ControlError` if it is not to be trusted."""
        self.path = path
        self.silence_s: float | None = ANSWER_S
        """How long to wait for the next answer; None for ever."""
        self._data = bytearray()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(timeout_s)
        try:
            self._sock.connect(path)
        except OSError as error:
            self._sock.close()
            if isinstance(error, PermissionError):
                raise ControlError(f"no permission to use {path}", "be its user, or root", code=77) from None
            raise NotRunningError(f"nobody answers on {path}") from None
        self.peer: Peer | None = read_peer(self._sock)
        if self.peer is not None and self.peer.uid not in {0, os.geteuid()} and os.geteuid() != 0:
            self._sock.close()
            raise ControlError(f"{path} is served by uid {self.peer.uid}, not by you", code=77)

    def __enter__(self) -> Talk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()

    def fileno(self) -> int:
        """For whoever selects."""
        return self._sock.fileno()

    def ask(self, request: AnyRequest, *, silence_s: float | None = ANSWER_S) -> Iterator[AnyAnswer]:
        """The answers, the last one (`Done`) with them. `silence_s` is how long to wait for each, None for ever; it may
        be changed in between.

        Raises `ControlError` for an answer that says that it failed, `NotRunningError` if the master goes away.
        """
        self.silence_s = silence_s
        self._sock.settimeout(ANSWER_S)
        with suppress(OSError):  # it may have said why before it hung up
            self._sock.sendall(msgspec.json.encode(request) + b"\n")
        while True:
            answer = self._read(self.silence_s)
            if isinstance(answer, Failed):
                raise ControlError(
                    answer.message, *answer.hints, code=answer.exit_code or 1, traceback=answer.traceback
                )
            yield answer
            if isinstance(answer, Done):
                return

    def wait_until_closed(self, timeout_s: float) -> bool:
        """The master's end of the connection goes with its process, whatever becomes of that."""
        deadline = clock.monotonic() + timeout_s
        with suppress(OSError):
            while (left := deadline - clock.monotonic()) > 0:
                self._sock.settimeout(left)
                if not self._sock.recv(READ_BYTES):
                    return True
            return False
        return clock.monotonic() < deadline

    def _read(self, silence_s: float | None) -> AnyAnswer:
        deadline = None if silence_s is None else clock.monotonic() + silence_s
        scanned = 0
        while (end := self._data.find(b"\n", scanned)) < 0:
            scanned = len(self._data)
            try:
                self._sock.settimeout(None if deadline is None else max(0.001, deadline - clock.monotonic()))
                data = self._sock.recv(READ_BYTES)
            except TimeoutError:
                raise ControlError(
                    f"no answer within {silence_s:g} s",
                    "is its master stopped (SIGSTOP), or the machine out of CPU?",
                ) from None
            except OSError:
                data = b""
            if not data or len(self._data) > ANSWER_BYTES:
                raise NotRunningError("the master went away before it answered")
            self._data += data
        line = bytes(self._data[:end])
        del self._data[: end + 1]
        try:
            answer: AnyAnswer = _decoder.decode(line)
        except msgspec.DecodeError as error:
            raise ControlError(
                f"its answer is none that this version knows: {error}", "use the prefork that it runs"
            ) from None
        return answer


def ask(path: str, request: AnyRequest, *, silence_s: float | None = ANSWER_S) -> Done:
    """Ask for one thing and return the last answer. Raises as `Talk` does."""
    with Talk(path) as talk:
        for answer in talk.ask(request, silence_s=silence_s):
            if isinstance(answer, Done):
                return answer
    raise NotRunningError("the master went away before it answered")


def read_status(path: str, timeout_s: float = ANSWER_S) -> ServiceStatus:
    """The service now. Raises as `Talk` does."""
    with Talk(path, timeout_s) as talk:
        for answer in talk.ask(AskStatus(), silence_s=timeout_s):
            if isinstance(answer, Told):
                return answer.service
    raise NotRunningError("the master went away before it answered")


def find_services(environ: Mapping[str, str]) -> list[Service]:
    """Every service that runs and is ours to operate, by name. Sockets that nobody serves are passed over."""
    found = []
    for path in list_sockets(environ, os.geteuid()):
        try:
            found.append(Service(path, read_status(path, FIND_S)))
        except NotRunningError:
            _remove_stale(path)
        except PreforkError:  # another's, or too busy to answer
            continue
    return sorted(found, key=lambda service: (service.name, service.status.pid))


def _remove_stale(path: str) -> None:
    with suppress(OSError):
        found = os.lstat(path)
        is_old = clock.wall_s() - found.st_mtime > STALE_S
        if is_old and stat.S_ISSOCK(found.st_mode) and found.st_uid == os.geteuid():
            os.unlink(path)
