"""Start background masters, all at once, and wait until each says that it serves or why not.

A background master is `prefork run` with the same arguments, in a session of its own, its output in a log file: what it
does and the code it ends with are the same, and whoever reads `ps` finds nothing between it and init.
"""

from __future__ import annotations

import os
import posixpath
import selectors
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from prefork.cli.readiness import Failed, Outcome
from prefork.cli.state import find_log_directory
from prefork.errors import EXIT_FAILED, PreforkError
from prefork.system import clock, detaching, interpreter, keeping, logs, processes

PATIENCE_S = 10.0
"""Who waits is told so often that nothing has happened yet."""
MARGIN_S = 30.0
"""Beyond the boot timeout, at which the master itself gives up: something is wrong with the master then."""
END_S = 10.0
"""How long a master that has said why it failed may take to end."""

_CODE = """\
import sys
sys.path[:] = [place for place in sys.path if place]
try:
    from prefork.cli.background import main
except ModuleNotFoundError:
    sys.path.append(sys.argv[1])
    from prefork.cli.background import main
del sys.argv[1]
sys.exit(main())
"""
"""As in `ipc/starting.py`: nothing of the directory's is imported in place of ours."""


class Launch(msgspec.Struct, frozen=True):
    """What a background master is started with."""

    name: str
    directory: str
    arguments: tuple[str, ...]
    """Of `prefork run`."""
    log: str
    chdir: str
    """Where it will work."""
    boot_timeout_s: float = 60.0
    keep_fds: tuple[int, ...] = ()


class Attempt:
    """A master that has been started and has not said yet what became of it."""

    def __init__(self, launch: Launch, fd: int) -> None:
        self.launch = launch
        self.fd = fd
        self.started_at = clock.monotonic()
        self.pid = 0
        self.outcome: Outcome | None = None
        self._pidfd: int | None = None
        self._heard = b""

    def hear(self) -> None:
        """Read what there is. Afterwards `outcome` is set if that was all."""
        data = os.read(self.fd, 65536)
        self._heard += data
        *lines, rest = self._heard.split(b"\n")
        if self.pid == 0 and lines:
            pid, _, reason = lines[0].partition(b" ")
            if reason:
                self.outcome = Failed(f"cannot start it: {reason.decode(errors='replace')}", EXIT_FAILED)
                return
            self.pid = int(pid)
            self._pidfd = processes.open_pidfd(self.pid)
        if lines[1:]:
            self.outcome = msgspec.json.decode(lines[1], type=Outcome)
        elif not data:
            self.outcome = self._explain_silence(rest)

    def finish(self) -> None:
        """Hang up; a master that has failed is gone when this returns, unless it takes more than END_S."""
        os.close(self.fd)
        if isinstance(self.outcome, Failed):
            self._wait_for_end()
        if self._pidfd is not None:
            os.close(self._pidfd)

    def _wait_for_end(self) -> int | None:
        """wait(2)'s status, if it has ended and we have adopted it."""
        if not self.pid:
            return None
        processes.wait_until_gone(self.pid, self._pidfd, END_S)
        ended = processes.reap(self.pid)
        return None if ended is None else ended.status

    def _explain_silence(self, rest: bytes) -> Failed:
        status = self._wait_for_end()
        code = os.waitstatus_to_exitcode(status) if status is not None else EXIT_FAILED
        how = f" with {processes.describe_status(status)}" if status is not None else ""
        return Failed(
            f"it ended before it served{how}",
            code if code > 0 else EXIT_FAILED,
            (rest.decode(errors="replace"),) if rest else (),
        )


def launch_all(launches: Sequence[Launch], environ: Mapping[str, str]) -> list[Attempt]:
    """Start them all; the outcome of one that could not be started is set. Nothing is waited for."""
    # Masters that fail come back to us to be reaped, with their exit codes. Those that serve are init's when we end.
    processes.become_subreaper()
    return [_launch(launch, environ) for launch in launches]


def wait_for_outcomes(
    attempts: Iterable[Attempt],
    *,
    tell_outcome: Callable[[Attempt], None],
    tell_patience: Callable[[Attempt], None],
) -> None:
    """Tell what becomes of each, in the order in which it does."""
    with selectors.DefaultSelector() as selector:
        waiting: dict[Attempt, float] = {}
        for attempt in attempts:
            if attempt.outcome is None:
                selector.register(attempt.fd, selectors.EVENT_READ, attempt)
                waiting[attempt] = attempt.started_at + PATIENCE_S
            else:
                tell_outcome(attempt)
        while waiting:
            for key, _ in selector.select(max(0.0, min(waiting.values()) - clock.monotonic())):
                key.data.hear()
            now = clock.monotonic()
            for attempt in [each for each in waiting if each.outcome is None and waiting[each] <= now]:
                limit_s = attempt.launch.boot_timeout_s + MARGIN_S
                if now - attempt.started_at > limit_s:
                    attempt.outcome = Failed(
                        f"it does not serve after {limit_s:.0f} s, and has not ended",
                        EXIT_FAILED,
                        (f"it is pid {attempt.pid}; {attempt.launch.log} has more",),
                    )
                else:
                    tell_patience(attempt)
                    waiting[attempt] = now + PATIENCE_S
            for attempt in [each for each in waiting if each.outcome is not None]:
                del waiting[attempt]
                selector.unregister(attempt.fd)
                attempt.finish()
                tell_outcome(attempt)


def _launch(launch: Launch, environ: Mapping[str, str]) -> Attempt:
    ours, theirs = os.pipe()
    attempt = Attempt(launch, ours)
    log_fd = -1
    try:
        log_fd = _open_log(launch.log, environ)
        python = interpreter.find_python(environ)
        home = posixpath.dirname(posixpath.dirname(posixpath.dirname(posixpath.abspath(__file__))))
        detaching.start_detached(
            [python, "-c", _CODE, home, str(theirs), *launch.arguments],
            directory=launch.directory,
            environ={**environ, "PWD": launch.directory},
            output_fd=log_fd,
            tell_fd=theirs,
            keep_fds=launch.keep_fds,
        )
    except PreforkError as error:
        attempt.outcome = Failed(error.message, error.exit_code, error.hints)
    except OSError as error:
        attempt.outcome = Failed(f"cannot start it: {(error.strerror or str(error)).lower()}", EXIT_FAILED)
    finally:
        os.close(theirs)
        if log_fd >= 0:
            os.close(log_fd)
    if attempt.outcome is not None:
        attempt.finish()
    return attempt


def _open_log(path: str, environ: Mapping[str, str]) -> int:
    directory = posixpath.dirname(path)
    if directory == find_log_directory(environ):
        keeping.make_directory(directory, 0o750, "log file")
    return logs.open_log(path)
