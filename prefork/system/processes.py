"""Processes: exec, fork, reap, kill, and the kernel's switches for them. Linux first, with fallbacks."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple, NoReturn

from prefork.ipc.starting import SAFE_PATH

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_SET_CHILD_SUBREAPER = 36
FROM_MANAGER = frozenset(
    {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}
)
"""What a service manager says to the master alone: sd_listen_fds(3), sd_notify(3). Whoever is started by us inherits
none of it, lest a subprocess of the app's speak for the service.
"""


class Ended(NamedTuple):
    """A reaped process. `status` is wait(2)'s."""

    pid: int
    status: int


def _prctl(option: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        import ctypes  # noqa: PLC0415 prctl(2) has no other door in the standard library

        return ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0  # type: ignore[no-any-return] # ctypes is untyped
    except (ImportError, OSError, AttributeError):
        return False


def become_subreaper() -> bool:
    """Adopt orphaned descendants, so that workers whose zygote is gone are reaped here; see prctl(2)."""
    return _prctl(PR_SET_CHILD_SUBREAPER, 1)


def forbid_new_privileges() -> bool:
    """No setuid program will raise us from now on; see prctl(2), PR_SET_NO_NEW_PRIVS."""
    return _prctl(PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent(*, die: bool) -> None:
    """Whether SIGKILL comes when the parent ends; not inherited by children, see prctl(2), PR_SET_PDEATHSIG."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL if die else 0)


def is_in_terminal_foreground() -> bool:
    """Does a terminal send us its signals (Ctrl-C, a change of its window)? See tty_ioctl(4), TIOCGPGRP."""
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # no controlling terminal
        return False
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(fd)


def start_python(
    python: str, code: str, argv: list[str], pass_fd: int, environ: Mapping[str, str] = os.environ
) -> int:
    """A fresh interpreter, `python`, in a session of its own (the terminal's Ctrl-C is not for it), with one descriptor
    beside 0, 1 and 2, and our environment unless another is given. Returns its pid. Raises OSError.
    """
    command = [python, "-c", code, *argv]
    os.set_inheritable(pass_fd, True)
    try:
        return os.posix_spawn(python, command, _make_environment(environ), setsid=True)
    except NotImplementedError:
        return _fork_exec(command, environ)
    finally:
        # One thread: nobody can exec between the two calls.
        os.set_inheritable(pass_fd, False)


def _make_environment(environ: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in environ.items() if name not in FROM_MANAGER}
    # Last: setproctitle finds the memory for the title by the first variable, which must not go.
    return inherited | {"PYTHONSAFEPATH": inherited.get("PYTHONSAFEPATH", SAFE_PATH)}


def replace_python(code: str, argv: list[str], pass_fds: list[int]) -> None:
    """Become a fresh interpreter, in place: the same pid, parent and session. Returns only by an exception."""
    for fd in pass_fds:
        os.set_inheritable(fd, True)
    os.execve(sys.executable, [sys.executable, "-c", code, *argv], _make_environment(os.environ))


def close_descriptors_except(kept: frozenset[int]) -> None:
    """Close everything but 0, 1, 2 and `kept`: what the shell or the service manager left open is not for the app."""
    try:
        fds = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        fds = list(range(3, 1024))
    for fd in fds:
        if fd > 2 and fd not in kept:
            with suppress(OSError):
                os.close(fd)


def _fork_exec(command: list[str], environ: Mapping[str, str]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.execve(command[0], command, _make_environment(environ))
        finally:
            os._exit(127)
    return pid


def fork() -> int:
    """Copy this process: 0 in the child, its pid in the parent. Raises OSError."""
    return os.fork()


def exit_now(code: int) -> NoReturn:
    """Leave without running anybody's cleanup: what a forked child must do, whose parent owns that cleanup."""
    os._exit(code)


def open_pidfd(pid: int) -> int | None:
    """A descriptor that means this process and never a later one with its pid; None where the kernel has none."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def send_signal(pid: int, pidfd: int | None, number: int) -> bool:
    """Signal a process, through its pidfd if there is one. False if it is gone."""
    try:
        if pidfd is not None:
            signal.pidfd_send_signal(pidfd, number)
        else:
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def is_gone(pid: int, pidfd: int | None) -> bool:
    """Has this process, which need not be our child, ended?"""
    if pidfd is not None:
        return bool(select.select([pidfd], [], [], 0)[0])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def read_state(pid: int) -> str:
    """The kernel's letter for what a process does: R runs, S sleeps until an event, T was stopped, Z is dead; empty if
    the kernel does not say. See proc(5), /proc/pid/stat.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # The name before it is in parentheses, and may hold some itself.
            return file.read(512).rpartition(b") ")[2][:1].decode()
    except OSError:
        return ""


def read_cpu_ns(pid: int) -> int | None:
    """How long a process has run so far; None if the kernel does not say. See /proc/pid/schedstat."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb", buffering=0) as file:
            return int(file.read(64).split()[0])
    except (OSError, ValueError, IndexError):
        return None


def read_birth(pid: int) -> str:
    """When a process began, in the kernel's ticks since boot: with its pid it means one process. Empty if it is gone.

    proc(5), /proc/pid/stat, field 22; elsewhere psutil asks.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read(1024).rpartition(b") ")[2].split()
    except OSError:
        return "" if sys.platform.startswith("linux") else _ask_birth(pid)
    return "" if fields[0] == b"Z" else fields[19].decode()


def _ask_birth(pid: int) -> str:
    import psutil  # noqa: PLC0415  # 2 MB that only an error, or a client elsewhere than on Linux, needs

    with suppress(psutil.Error):
        return str(psutil.Process(pid).create_time())
    return ""


def wait_until_gone(pid: int, pidfd: int | None, timeout_s: float) -> bool:
    """Wait for the end of a process, which need not be our child; False if it is still there."""
    if pidfd is not None:
        return bool(select.select([pidfd], [], [], timeout_s)[0])
    deadline = time.monotonic() + timeout_s  # no pidfd: macOS, or a Linux before 5.3
    while not is_gone(pid, None):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def reap(pid: int = -1) -> Ended | None:
    """One ended child (or adopted orphan), if there is one. Never blocks."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return Ended(ended, status) if ended else None


def wait_for_end(pid: int) -> str:
    """Reap a child that was just killed: the one wait that blocks, for as long as the kernel needs. Returns how it
    ended, see `describe_status`.
    """
    with suppress(ChildProcessError):
        return describe_status(os.waitpid(pid, 0)[1])
    return describe_status(None)


def describe_status(status: int | None) -> str:
    """wait(2)'s status in words: `exit 1`, `SIGSEGV`, `SIGSEGV (core dumped)`."""
    if status is None:
        return "unknown"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with suppress(ValueError):
            return signal.Signals(number).name + (" (core dumped)" if os.WCOREDUMP(status) else "")
        return f"signal {number}"
    return f"exit {os.waitstatus_to_exitcode(status)}"


def was_killed(status: int | None) -> bool:
    """Did it die of SIGKILL?"""
    return status is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def open_standard_streams() -> None:
    """Point 0, 1 and 2 at /dev/null where they are closed: else the next socket would become "standard error"."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != fd:  # pragma: no cover open(2) gives the lowest free one
                os.dup2(opened, fd)
                os.close(opened)
            os.set_inheritable(fd, True)


def give_back_memory() -> None:
    """Return what start-up or a reload left free on the C heap to the kernel, about 1 MB; see malloc_trim(3)."""
    if sys.platform.startswith("linux"):
        with suppress(ImportError, OSError, AttributeError):  # musl has no malloc_trim
            import ctypes  # noqa: PLC0415 loaded already, for prctl

            ctypes.CDLL(None).malloc_trim(0)


def get_pid() -> int:
    """Ours."""
    return os.getpid()


def find_unit(pid: int) -> str:
    """The systemd service that this process belongs to; empty if it is none's. See cgroups(7)."""
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            paths = [line.rstrip("\n").rpartition(":")[2] for line in file]
    except OSError:
        return ""
    units = [name for path in paths for name in path.split("/") if name.endswith(".service")]
    return units[-1] if units and not units[-1].startswith("user@") else ""
