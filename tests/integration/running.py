"""The program, running: start it as a user would, wait for what it says, look at its processes, take it away again.

Every wait is for a condition and has a deadline. Readiness is what the log says, never a guess from the clock.
Nothing is killed by name: only pids that descend from the process we started, share its session, or stand in its log.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import psutil

import prefork
from tests.integration.http_client import Address, Response, get

APPS = Path(__file__).parent / "apps"
START_TIMEOUT_S = 25.0
WAIT_TIMEOUT_S = 15.0
POLL_S = 0.005

# Makes its standard input the controlling terminal of its session, as a shell's window does, and becomes the program.
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""

LINE = re.compile(r"^\[(?P<time>[^\]]+)\] \[(?P<pid>\d+)\] \[(?P<level>[A-Z]+)\] (?P<text>.*)$")
FIELD = re.compile(r"(?:^|\s)([a-z_]+)=(\"(?:[^\"\\]|\\.)*\"|\S*)")

# What the caller's shell or CI may have set, and a fresh machine has not.
FOREIGN = re.compile(
    r"PREFORK_|LISTEN_|GUNICORN_CMD_ARGS$|WEB_CONCURRENCY$|PORT$|FORWARDED_ALLOW_IPS$|NO_COLOR$|FORCE_COLOR$|PYTHON"
)

# Warnings of a machine that gave a process no turn for so long; any machine may do that to any test.
OF_THE_MACHINE = frozenset({"worker is slow", "request is slow", "slow request", "overslept"})

T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """One line of the log: `[time] [pid] [LEVEL] event key=value …`."""

    pid: int
    level: str
    event: str
    fields: dict[str, str]
    line: str


class NotInTimeError(AssertionError):
    """A condition did not come true before its deadline."""


def wait_until(
    condition: Callable[[], T], what: str, timeout_s: float = WAIT_TIMEOUT_S, poll_s: float = POLL_S
) -> T:
    """Return the condition's value once it is true; NotInTimeError says what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise NotInTimeError(f"not within {timeout_s:g} s: {what}")
        time.sleep(poll_s)
    return value


def assert_never_within(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Watch that a condition does not come true; for promises that something does *not* happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            raise AssertionError(f"within {seconds:g} s: {what}")
        time.sleep(POLL_S * 4)


class Running:
    """One start of `python -m prefork`, in a folder that holds a copy of the apps, its log and its output."""

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        *,
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        python_options: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
        terminal: bool = False,
    ) -> None:
        """`prefix` is put before the command (`unshare …`); `folder` becomes the current directory.

        `terminal` runs it in a terminal of its own: what it shows there is the log, `type` types.
        """
        self.folder = folder
        copy_apps(folder)
        name = uuid.uuid4().hex[:6]
        self.log_path = folder / f"prefork-{name}.log"
        self.output_path = folder / f"prefork-{name}.out"
        command = [*prefix, sys.executable, *python_options, "-m", "prefork", *arguments]
        self._started_at = time.time()
        self._known: dict[int, psutil.Process] = {}
        self._reading = LogReading()
        self._is_cleaned_up = False
        # Not in pytest's folder, whose path is longer than a socket's may be; and not where a developer's own are.
        self.control = tempfile.mkdtemp(prefix="pf-test-")
        self._terminal: Terminal | None = None
        with ExitStack() as files:
            log: int | BinaryIO = files.enter_context(self.log_path.open("wb"))
            output: int | BinaryIO = files.enter_context(self.output_path.open("wb"))
            stdin = subprocess.DEVNULL
            if terminal:
                self._terminal = Terminal(self.log_path)
                stdin = log = output = self._terminal.inside
                command = [sys.executable, "-c", TAKE_TERMINAL, *command]
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=clean_environment() | {"PREFORK_CONTROL": self.control} | (env or {}),
                stdin=stdin,
                stdout=output,
                stderr=log,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        if self._terminal is not None:
            os.close(self._terminal.inside)
        self.pid = self.process.pid

    def type(self, keys: str) -> None:
        """Type on the program's terminal; the character 3 is Ctrl-C."""
        assert self._terminal is not None
        os.write(self._terminal.outside, keys.encode())

    # The log.

    @property
    def log(self) -> str:
        return strip_terminal(self.log_path.read_text(errors="replace"))

    @property
    def output(self) -> str:
        return self.output_path.read_text(errors="replace")

    @property
    def records(self) -> list[Record]:
        return self._reading.read_records(self.log_path)

    def find_records(self, event: str, **fields: object) -> list[Record]:
        """The records of an event whose fields are all as given (compared as text)."""
        wanted = {key: str(value) for key, value in fields.items()}
        return [r for r in self.records if r.event == event and wanted.items() <= r.fields.items()]

    @property
    def complaints(self) -> list[Record]:
        """Warnings and worse, but for those of the machine."""
        return [
            record
            for record in self.records
            if record.level in {"WARNING", "ERROR", "CRITICAL"} and record.event not in OF_THE_MACHINE
        ]

    def wait_for_record(
        self, event: str, *, count: int = 1, timeout_s: float = WAIT_TIMEOUT_S, **fields: object
    ) -> Record:
        """The `count`th record of an event; fails at once if the program has ended without it."""

        def look() -> list[Record]:
            ended = self.process.poll() is not None
            found = self.find_records(event, **fields)
            if len(found) >= count:
                return found
            if ended:
                raise NotInTimeError(f"ended with {self.process.returncode} before {event!r}\n{self.log}")
            return []

        try:
            return wait_until(look, f"{count} x {event!r} {fields} in the log", timeout_s)[count - 1]
        except NotInTimeError as error:
            raise NotInTimeError(f"{error}\n{self.log}") from None

    def wait_serving(self, timeout_s: float = START_TIMEOUT_S) -> Running:
        """Every worker is ready."""
        self.wait_for_record("serving", timeout_s=timeout_s)
        return self

    # Where it listens.

    @property
    def addresses(self) -> list[Address]:
        return [parse_address(record.fields["address"]) for record in self.find_records("listening")]

    @property
    def address(self) -> Address:
        return self.addresses[0]

    @property
    def port(self) -> int:
        address = self.address
        assert isinstance(address, tuple)
        return address[1]

    def get(self, path: str = "/", timeout_s: float = 10.0) -> Response:
        return get(self.address, path, timeout_s)

    # The processes.

    @property
    def master(self) -> psutil.Process:
        return psutil.Process(self.pid)

    def find_processes(self) -> list[psutil.Process]:
        """All live descendants; remembered, so that they are found again when the master is gone."""
        for pid in list_descendants(self.pid):
            if pid not in self._known or not self._known[pid].is_running():
                with suppress(psutil.NoSuchProcess):
                    self._known[pid] = psutil.Process(pid)
        return [process for process in self._known.values() if is_alive(process)]

    def find_role(self, role: str, *states: str) -> list[psutil.Process]:
        """The live processes titled `prefork: ROLE …`, in one of `states` if any is given."""
        return [
            process
            for process in self.find_processes()
            if (title := read_title(process)).startswith(f"prefork: {role} ")
            and (not states or title.rsplit(" ", 1)[-1] in states)
        ]

    @property
    def workers(self) -> list[psutil.Process]:
        return self.find_role("worker")

    @property
    def ready_workers(self) -> list[psutil.Process]:
        return self.find_role("worker", "ready")

    @property
    def zygotes(self) -> list[psutil.Process]:
        """What a zygote forks bears its title for a moment."""
        titled = {process.pid: process for process in self.find_role("zygote")}
        return [process for process in titled.values() if read_parent(process) not in titled]

    @property
    def spares(self) -> list[psutil.Process]:
        return self.find_role("spare")

    def wait_spare(self) -> psutil.Process:
        """There is exactly one, and it waits for an errand."""

        def look() -> list[psutil.Process]:
            spares = self.spares
            return spares if len(spares) == 1 and is_asleep(spares[0]) else []

        return wait_until(look, "one waiting spare")[0]

    def wait_workers(self, count: int, timeout_s: float = WAIT_TIMEOUT_S) -> list[psutil.Process]:
        """Exactly `count` workers live and all of them are ready."""

        def look() -> list[psutil.Process]:
            ready = self.ready_workers
            return ready if len(ready) == count == len(self.workers) else []

        try:
            return wait_until(look, f"{count} ready workers", timeout_s)
        except NotInTimeError as error:
            titles = [read_title(process) for process in self.find_processes()]
            raise NotInTimeError(f"{error}; there are {titles}\n{self.log}") from None

    def wait_until_draining(self, count: int, timeout_s: float = WAIT_TIMEOUT_S) -> None:
        """So many workers were told to go and have heard it."""
        wait_until(
            lambda: len(self.find_role("worker", "draining")) == count, f"{count} draining workers", timeout_s
        )

    def find_zombies(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [child for child in map(psutil.Process, list_descendants(self.pid)) if is_zombie(child)]
        return []

    # Its end.

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_exit(self, timeout_s: float = WAIT_TIMEOUT_S) -> int:
        """The exit code; negative when a signal killed it."""
        self.find_processes()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise NotInTimeError(f"not within {timeout_s:g} s: the exit\n{self.log}") from None

    def stop(self, timeout_s: float = WAIT_TIMEOUT_S) -> int:
        self.signal(signal.SIGTERM)
        return self.wait_exit(timeout_s)

    def wait_gone(self, timeout_s: float = WAIT_TIMEOUT_S) -> None:
        """No process that was ever seen below the master lives on."""
        wait_until(lambda: not self.find_processes(), "the end of every process", timeout_s)

    def clean_up(self) -> list[str]:
        """Kill whatever is left; return the titles of those who should not have been there.

        Only a program that ended by itself can leave leftovers; one that was still running is simply stopped.
        Called again it does nothing.
        """
        if self._is_cleaned_up:
            return []
        self._is_cleaned_up = True
        had_ended = self.process.poll() is not None
        leftovers = {process.pid: process for process in [*self.find_processes(), *self._find_strays()]}
        titles = [f"{pid} {read_title(process)}" for pid, process in leftovers.items()] if had_ended else []
        with suppress(ProcessLookupError):
            self.process.kill()
        for process in leftovers.values():
            with suppress(psutil.NoSuchProcess):
                process.kill()  # psutil compares the start time first: a pid that was used again is safe
        self.process.wait(WAIT_TIMEOUT_S)
        psutil.wait_procs(list(leftovers.values()), WAIT_TIMEOUT_S)
        if self._terminal is not None:
            self._terminal.close()
        shutil.rmtree(self.control, ignore_errors=True)
        return titles

    def prefork(self, *arguments: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command about this service, as its operator would."""
        return subprocess.run(
            [sys.executable, "-m", "prefork", *arguments],
            cwd=self.folder,
            env=clean_environment() | {"PREFORK_CONTROL": self.control},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def _find_strays(self) -> list[psutil.Process]:
        """Processes of ours that are nobody's children any more: same session, or named in the log."""
        named = {int(pid) for pid in re.findall(r"\bpid=(\d+)", self.log)} | {r.pid for r in self.records}
        strays = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                is_ours = os.getsid(process.pid) == self.pid or (
                    process.pid in named
                    and process.create_time() >= self._started_at - 1
                    and read_title(process).startswith("prefork: ")
                )
                if is_ours and process.pid != self.pid and is_alive(process):
                    strays.append(process)
        return strays


class LogReading:
    """A log's records. Each line is read once, however often somebody waits for the next."""

    def __init__(self) -> None:
        self._file = (0, 0)
        self._position = 0
        self._records: list[Record] = []

    def read_records(self, path: Path) -> list[Record]:
        """All of them until now."""
        with path.open("rb") as log:
            stat = os.fstat(log.fileno())
            if (
                stat.st_dev,
                stat.st_ino,
            ) != self._file or stat.st_size < self._position:  # another, or emptied
                self._file, self._position, self._records = (stat.st_dev, stat.st_ino), 0, []
            log.seek(self._position)
            whole, newline, _rest = log.read().rpartition(b"\n")
        self._position += len(whole) + len(newline)
        lines = strip_terminal(whole.decode(errors="replace")).splitlines()
        self._records += [record for line in lines if (record := parse_line(line))]
        return [*self._records]


class Terminal:
    """A pseudo terminal; what is shown on it goes to a file."""

    def __init__(self, shown: Path) -> None:
        self.outside, self.inside = os.openpty()
        self._shown = shown
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The thread ends by itself when the last process that holds the inside is gone."""
        self._thread.join(WAIT_TIMEOUT_S)
        os.close(self.outside)

    def _copy(self) -> None:
        with self._shown.open("ab", buffering=0) as shown:
            while True:
                try:
                    data = os.read(self.outside, 65536)
                except OSError:  # EIO: nobody holds the inside any more; see pty(7)
                    return
                shown.write(data)


def copy_apps(folder: Path) -> None:
    """Put a copy of each app in the folder; one that a test has changed stays as it is."""
    for app in APPS.glob("*.py"):
        if not (folder / app.name).exists():
            shutil.copy(app, folder)


def clean_environment() -> dict[str, str]:
    """The caller's, without what changes a server's mind; finds the same `prefork` as this process does."""
    inherited = {key: value for key, value in os.environ.items() if not FOREIGN.match(key)}
    assert prefork.__file__
    return inherited | {"PYTHONPATH": str(Path(prefork.__file__).parent.parent)}


def parse_line(line: str) -> Record | None:
    if not (match := LINE.match(line)):
        return None
    text = match["text"]
    first = FIELD.search(text)
    fields = {key: value.strip('"') for key, value in FIELD.findall(text)}
    return Record(
        int(match["pid"]), match["level"], text[: first.start()].strip() if first else text, fields, line
    )


def strip_terminal(text: str) -> str:
    """Without colours and carriage returns."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]|\r", "", text)


def list_descendants(pid: int) -> list[int]:
    """Its children, theirs and so on. Asks the kernel for just these: psutil looks at every process of the machine."""
    children = read_children(pid)
    while (
        again := read_children(pid)
    ) != children:  # one that ends meanwhile may hide its neighbour: see proc(5)
        children = again
    return children + [below for child in children for below in list_descendants(child)]


def read_children(pid: int) -> list[int]:
    threads, found = list[str](), list[int]()
    with suppress(OSError):  # it may end at any moment
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 numbers, not paths
    for thread in threads:
        with suppress(OSError):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def parse_address(text: str) -> Address:
    """`127.0.0.1:80`, `[::1]:80` or `unix:/path`; a wildcard becomes the loopback address of its family."""
    if text.startswith("unix:"):
        return text.removeprefix("unix:")
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    return ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port))


def is_listening(path: Path) -> bool:
    """Is a connection to that unix socket taken? Its file is there before it is."""
    with socket.socket(socket.AF_UNIX) as knocking, suppress(OSError):
        knocking.connect(str(path))
        return True
    return False


def read_title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).rstrip()
    return ""


def read_parent(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.ppid())
    return 0


def is_asleep(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status() == psutil.STATUS_SLEEPING)
    return False


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    return False


def is_zombie(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return False
