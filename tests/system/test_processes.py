"""Processes: started with what they need and nothing else, told apart for good, and reaped."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from prefork.system.processes import (
    Ended,
    describe_status,
    is_gone,
    open_pidfd,
    read_cpu_ns,
    read_state,
    reap,
    send_signal,
    start_python,
    wait_for_end,
    was_killed,
)
from tests.integration.running import wait_until
from tests.system.children import TIMEOUT_S, list_fds, run_python

CORE = 0x80
needs_pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no pidfd_open here")


@contextmanager
def sleeping() -> Iterator[int]:
    """A process of ours that does nothing until its end."""
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("status", "words", "killed"),
    [
        (None, "unknown", False),
        (0, "exit 0", False),
        (1 << 8, "exit 1", False),
        (255 << 8, "exit 255", False),
        (9 << 8, "exit 9", False),
        (signal.SIGKILL, "SIGKILL", True),
        (signal.SIGTERM, "SIGTERM", False),
        (signal.SIGSEGV, "SIGSEGV", False),
        (signal.SIGSEGV | CORE, "SIGSEGV (core dumped)", False),
        (signal.SIGRTMIN + 6, f"signal {signal.SIGRTMIN + 6}", False),
    ],
)
def test_a_status_is_told_in_words(status: int | None, words: str, killed: bool) -> None:
    assert (describe_status(status), was_killed(status)) == (words, killed)


# Starting.


def test_a_started_interpreter_holds_one_descriptor_beside_the_standard_three() -> None:
    code = """
import os, socket, sys
from prefork.system.processes import start_python

kept = [open("/dev/null"), socket.create_server(("127.0.0.1", 0)), *socket.socketpair(), os.memfd_create("x")]
read_fd, write_fd = os.pipe()
look = '''
import os, sys
fds = sorted(map(int, os.listdir("/proc/self/fd")))
with os.fdopen(int(sys.argv[1]), "w") as told:
    told.write(f"{[fd for fd in fds if os.path.exists(f'/proc/self/fd/{fd}')]} "
               f"{os.getsid(0) == os.getpid()} {os.environ['SAID']}")
'''
os.environ["SAID"] = "now"
pid = start_python(sys.executable, look, [str(write_fd)], write_fd)
print(os.get_inheritable(write_fd))
os.close(write_fd)
print(write_fd)
print(open(read_fd).read())
print(os.waitpid(pid, 0) == (pid, 0))
"""
    inherited_later, write_fd, told, ended = run_python(code).splitlines()
    assert inherited_later == "False", "nobody after it inherits it"
    assert told == f"[0, 1, 2, {write_fd}] True now"
    assert ended == "True"


def test_what_was_left_open_for_us_is_closed_but_for_what_we_keep() -> None:
    code = """
import os, sys
from prefork.system.processes import close_descriptors_except

kept, *others = map(int, sys.argv[1:])
close_descriptors_except(frozenset({kept}))
print(sorted(fd for fd in range(1024) if os.path.exists(f"/proc/self/fd/{fd}")) == [0, 1, 2, kept])
"""
    fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]
    try:
        assert run_python(code, *fds, pass_fds=fds) == "True\n"
    finally:
        for fd in fds:
            os.close(fd)


def test_a_process_that_replaces_itself_keeps_its_pid_and_what_it_passes() -> None:
    code = """
import os, sys
from prefork.system.processes import replace_python

fd, other = os.memfd_create("kept"), os.memfd_create("left")
os.write(fd, b"still here")
print(os.getpid(), flush=True)
replace_python('''
import os, sys
fd, other = map(int, sys.argv[1:])
print(os.getpid())
print(os.pread(fd, 100, 0), os.path.exists(f"/proc/self/fd/{other}"))
''', [str(fd), str(other)], [fd])
"""
    before, after, kept = run_python(code).splitlines()
    assert before == after
    assert kept == "b'still here' False"


@pytest.mark.parametrize("closed", [[], [0], [2], [0, 1, 2], [1, 2]])
def test_closed_standard_streams_become_dev_null_and_open_ones_stay(closed: list[int]) -> None:
    code = """
import os, socket, sys
from prefork.system.processes import open_standard_streams

told, *closed = map(int, sys.argv[1:])
before = [os.fstat(fd)[:3] for fd in (0, 1, 2)]
for fd in closed:
    os.close(fd)
open_standard_streams()
null = os.stat(os.devnull)[:3]
same = all(os.fstat(fd)[:3] == (null if fd in closed else before[fd]) for fd in (0, 1, 2))
inheritable = all(map(os.get_inheritable, (0, 1, 2)))
for fd in closed:
    os.read(fd, 1), os.write(fd, b"x")
os.write(told, f"{same} {inheritable} {socket.socket().fileno() > 2}".encode())
"""
    read_fd, write_fd = os.pipe()
    run_python(code, write_fd, *closed, pass_fds=[write_fd])
    os.close(write_fd)
    with os.fdopen(read_fd) as told:
        assert told.read() == "True True True"


# Reaping.


def test_every_child_is_reaped_once_and_a_living_one_is_not_waited_for() -> None:
    code = """
import os, signal
from prefork.system.processes import reap

read_fd, write_fd = os.pipe()
pids = []
for code in (0, 3, None):
    if (pid := os.fork()) == 0:
        if code is None:
            os.close(write_fd)
            os.read(read_fd, 1)
            code = 7
        os._exit(code)
    pids.append(pid)
ended = {}
while len(ended) < 2:
    if (one := reap()) is not None:
        ended[one.pid] = one.status
print([ended.get(pid) for pid in pids], reap(), reap(pids[2]))
os.close(write_fd)
while (one := reap(pids[2])) is None:
    pass
print(one == (pids[2], 7 << 8), reap(), reap(pids[0]))
"""
    assert run_python(code) == "[0, 768, None] None None\nTrue None None\n"


def test_a_subreaper_reaps_what_its_children_left_behind() -> None:
    code = """
import os
from prefork.system.processes import become_subreaper, reap

assert become_subreaper()
read_fd, write_fd = os.pipe()
if (child := os.fork()) == 0:
    if (orphan := os.fork()) == 0:
        os.close(write_fd)
        os.read(read_fd, 1)
        os._exit(5)
    os.write(write_fd, orphan.to_bytes(4, "big"))
    os._exit(0)
orphan = int.from_bytes(os.read(read_fd, 4), "big")
os.waitpid(child, 0)
os.close(write_fd)
while (ended := reap()) is None:
    pass
print(ended == (orphan, 5 << 8))
"""
    assert run_python(code) == "True\n"


def test_a_child_that_asked_for_it_ends_with_its_parent() -> None:
    code = """
import os, sys
from prefork.system.processes import die_with_parent

ready, told = os.pipe()
if os.fork() == 0:
    die_with_parent(die=True)
    os.write(told, b"x")
    os.read(int(sys.argv[2]), 1)
    os._exit(0)
os.read(ready, 1)
os.kill(os.getpid(), 9)
"""
    # The child holds the writing end for as long as it lives.
    alive, held = os.pipe()
    never, kept = os.pipe()
    parent = subprocess.run(
        [sys.executable, "-c", code, str(held), str(never)],
        pass_fds=[held, never],
        timeout=TIMEOUT_S,
        check=False,
    )
    os.close(held)
    assert parent.returncode == -signal.SIGKILL
    assert select.select([alive], [], [], TIMEOUT_S)[0], "it lives on"
    for fd in (alive, never, kept):
        os.close(fd)


def test_new_privileges_are_forbidden_for_good() -> None:
    code = """
from prefork.system.processes import forbid_new_privileges
print(forbid_new_privileges(), "NoNewPrivs:\\t1\\n" in open("/proc/self/status").read())
"""
    assert run_python(code) == "True True\n"


# Signalling.


@needs_pidfd
def test_a_pidfd_never_means_another_process() -> None:
    before = list_fds()
    with sleeping() as ours, sleeping() as other:
        pidfd = open_pidfd(ours)
        assert pidfd is not None
        assert not os.get_inheritable(pidfd)
        assert not is_gone(ours, pidfd)
        assert send_signal(ours, pidfd, signal.SIGKILL)
        assert select.select([pidfd], [], [], TIMEOUT_S)[0]
        wait_for_end(ours)
        # As if the kernel had given our process's pid to the other.
        assert is_gone(other, pidfd)
        assert not send_signal(other, pidfd, signal.SIGKILL)
        assert not is_gone(other, None)
        with suppress(ChildProcessError):
            assert os.waitpid(other, os.WNOHANG) == (0, 0)
        os.close(pidfd)
    assert list_fds() <= before


def test_a_process_that_is_gone_is_told_and_is_no_error() -> None:
    with sleeping() as pid:
        assert not is_gone(pid, None)
        assert send_signal(pid, None, signal.SIGKILL)
        wait_for_end(pid)
        assert is_gone(pid, None)
        assert not send_signal(pid, None, signal.SIGKILL)
        assert open_pidfd(pid) is None
        wait_for_end(pid)
        assert reap(pid) is None


def test_one_that_may_not_be_signalled_lives() -> None:
    code = """
import os
from prefork.system.processes import is_gone, send_signal
if os.geteuid() == 0:
    os.setuid(65534)
print(is_gone(1, None), send_signal(1, None, 0))
"""
    assert run_python(code) == "False False\n"


def test_a_started_interpreter_is_our_child_until_it_is_reaped() -> None:
    read_fd, write_fd = os.pipe()
    pid = start_python(sys.executable, "import sys; sys.exit(4)", [], write_fd)
    os.close(read_fd)
    os.close(write_fd)
    assert wait_until(lambda: reap(pid), "its end") == Ended(pid, 4 << 8)


def test_the_state_of_a_process_is_told_by_its_letter_whatever_its_name() -> None:
    code = "from pathlib import Path; Path('/proc/self/comm').write_text(') S (Z) '); input()"
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE) as process:
        comm = Path(f"/proc/{process.pid}/comm")
        wait_until(lambda: comm.read_text() == ") S (Z) \n", "its name")
        wait_until(lambda: read_state(process.pid) == "S", "its sleep")
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: read_state(process.pid) == "T", "its stop")
        process.kill()
        wait_until(lambda: read_state(process.pid) == "Z", "its death")
    assert read_state(process.pid) == ""
    assert read_state(os.getpid()) == "R"


def test_how_long_a_process_has_run_grows_while_it_does_and_is_unknown_of_nobody() -> None:
    began_ns = read_cpu_ns(os.getpid())
    assert began_ns is not None
    wait_until(lambda: (read_cpu_ns(os.getpid()) or 0) > began_ns, "some CPU time")
    assert read_cpu_ns(2**22 + 1) is None
