"""A server under measurement: started, awaited, watched through /proc, and taken away.

Only loopback addresses are loaded, every wait has a deadline, and only pids that descend from what was started here
are ever killed.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from errors import BenchError
from servers import Server, Task

APPS = Path(__file__).parent / "apps"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cores:
    """Which core serves and which one loads; the same one when there is no other."""

    server: int
    load: int


def choose_cores() -> Cores:
    cores = sorted(os.sched_getaffinity(0))
    return Cores(cores[0], cores[-1])


class Started:
    """A server process, its log and its tree."""

    def __init__(
        self, server: Server, task: Task, folder: Path, pin: int | None, env: dict[str, str]
    ) -> None:
        self.name = server.name
        self.port = task.port
        self.folder = folder
        self.log_path = folder / "server.log"
        for name, text in server.files(task).items():
            (folder / name).write_text(text)
        command = server.command(task)
        if pin is not None:
            command = ["taskset", "-c", str(pin), *command]
        self.started_at = time.perf_counter()
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(APPS), **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_first_answer(self) -> float:
        """Seconds from the start of the program to the end of the first 200."""
        deadline = self.started_at + START_TIMEOUT_S
        while (now := time.perf_counter()) < deadline:
            if self.process.poll() is not None:
                raise BenchError(f"exited {self.process.returncode} at start: {self.read_end_of_log()}")
            with suppress(OSError, http.client.HTTPException):
                ask(self.port)
                return time.perf_counter() - self.started_at
            time.sleep(0.001)
        raise BenchError(f"no answer within {now - self.started_at:.0f} s: {self.read_end_of_log()}")

    def wait_settled(self, workers: int, quiet_s: float = 1.0) -> None:
        """At least `workers` descendants, and none came or went for `quiet_s`."""
        deadline = time.perf_counter() + START_TIMEOUT_S
        seen, since = set[int](), time.perf_counter()
        while time.perf_counter() < deadline:
            if (now_seen := set(list_descendants(self.process.pid))) != seen:
                seen, since = now_seen, time.perf_counter()
            if len(seen) >= workers and time.perf_counter() - since > quiet_s:
                return
            time.sleep(0.02)
        raise BenchError(f"{len(seen)} processes after {START_TIMEOUT_S:.0f} s: {self.read_end_of_log()}")

    def read_cpu_s(self) -> float:
        """User and system time of the tree, including that of children already reaped."""
        return sum(map(read_cpu_with_reaped_s, [self.process.pid, *list_descendants(self.process.pid)]))

    def read_end_of_log(self) -> str:
        lines = self.log_path.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])[-500:]

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for whoever is left of the tree."""
        tree = []
        with suppress(psutil.NoSuchProcess):
            tree = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT_S)
        with suppress(psutil.NoSuchProcess):
            tree += psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(STOP_TIMEOUT_S)
        psutil.wait_procs(tree, STOP_TIMEOUT_S)


@contextmanager
def running(
    server: Server, task: Task, *, pin: int | None = None, env: dict[str, str] | None = None
) -> Iterator[Started]:
    """A started server, not yet awaited, in an empty folder of its own; gone at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="prefork-bench-"))
    try:
        started = Started(server, replace(task, port=find_free_port()), folder, pin, env or {})
        try:
            yield started
        finally:
            started.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ask(port: int, timeout_s: float = 5.0) -> bytes:
    """One request on a connection of its own; the body of a 200, or an exception."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        # Without `Connection: close`: fastpysgi 0.6 ends in a segmentation fault after it, over ASGI.
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise http.client.HTTPException(f"status {response.status}")
        return body
    finally:
        connection.close()


def find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def list_descendants(pid: int) -> list[int]:
    """All live descendants, read from /proc/PID/task/*/children: far faster than to walk the whole of /proc."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        with suppress(OSError):
            for children in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
                waiting += (pids := [int(word) for word in children.read_text().split()])
                found += pids
    return found


def is_spare(pid: int) -> bool:
    """Was it forked beforehand, and is nobody yet?"""
    with suppress(OSError):
        return b": spare " in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def read_cpu_with_reaped_s(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    # proc(5): after the name in brackets, utime stime cutime cstime are fields 12 to 15.
    return sum(map(int, stat.rpartition(")")[2].split()[11:15])) / CLOCK_TICKS


def read_memory_mb(pid: int, key: str = "VmRSS") -> float:
    with suppress(OSError):
        if match := re.search(rf"^{key}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE):
            return int(match[1]) / 1024
    return 0.0
