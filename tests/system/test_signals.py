"""Signals become bytes, and stacks are written down whatever the interpreter is doing."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefork.system.signals import DUMP_STACKS
from tests.system.children import TIMEOUT_S, run_python


def test_a_burst_of_signals_is_collected_in_order() -> None:
    code = """
import os, signal
from prefork.system.signals import SignalInbox

inbox = SignalInbox([signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP])
assert inbox.take() == []
sent = [signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR2]
for number in sent:
    os.kill(os.getpid(), number)
print(inbox.take() == sent, inbox.take())
"""
    assert run_python(code) == "True []\n"


def test_a_signal_wakes_whoever_waits_for_the_inbox() -> None:
    code = """
import os, select, signal
from prefork.system.signals import SignalInbox

inbox = SignalInbox([signal.SIGCHLD])
if os.fork() == 0:
    os._exit(0)
print(len(select.select([inbox], [], [], 20)[0]), inbox.take() == [signal.SIGCHLD])
"""
    assert run_python(code) == "1 True\n"


def test_a_hundred_thousand_unread_signals_neither_block_nor_complain() -> None:
    code = """
import os, signal, sys
from prefork.system.signals import SignalInbox

inbox = SignalInbox([signal.SIGUSR1, signal.SIGUSR2])
for _ in range(100_000):
    signal.raise_signal(signal.SIGUSR1)
heard = set()
while numbers := inbox.take():
    heard.update(numbers)
signal.raise_signal(signal.SIGUSR2)
print(heard == {signal.SIGUSR1}, inbox.take() == [signal.SIGUSR2])
"""
    assert run_python(code) == "True True\n"


def test_ignored_signals_are_not_ignored_by_what_is_executed_later() -> None:
    code = """
import os, signal, sys
from prefork.system.signals import ignore, restore

ignore(signal.SIGTERM, signal.SIGINT)
os.kill(os.getpid(), signal.SIGTERM), os.kill(os.getpid(), signal.SIGINT)
restore(signal.SIGINT)
print(signal.getsignal(signal.SIGINT) == signal.SIG_DFL, flush=True)
os.execv(sys.executable, [sys.executable, "-c",
    "import signal; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"])
"""
    assert run_python(code) == "True\nTrue\n"


def test_a_closed_inbox_leaves_signals_without_effect() -> None:
    code = """
import os, signal
from prefork.system.signals import SignalInbox

inbox = SignalInbox([signal.SIGTERM])
inbox.close()
os.kill(os.getpid(), signal.SIGTERM)
print(signal.set_wakeup_fd(-1))
"""
    assert run_python(code) == "-1\n"


GUILTY = """
import os, re, sys, threading, time
from prefork.system.signals import dump_stacks_into, exit_after

def sleep():
    time.sleep(60)

def count():
    sum(range(10**11))

def search():
    re.match(r"(a|aa)+$", "a" * 60 + "b")

def loop():
    while True:
        pass

def lock():
    held = threading.Lock()
    held.acquire()
    held.acquire()

os.set_blocking(int(sys.argv[2]), False)
dump_stacks_into(int(sys.argv[2]))
print(os.get_inheritable(int(sys.argv[2])), flush=True)
if sys.argv[3:]:
    exit_after(float(sys.argv[3]))
globals()[sys.argv[1]]()
"""
GUILTY_LINES = {"sleep": 6, "count": 9, "search": 12, "loop": 16, "lock": 21}


@pytest.mark.parametrize("name", GUILTY_LINES)
def test_the_guilty_line_is_dumped_while_the_interpreter_is_busy(name: str) -> None:
    read_fd, write_fd = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", GUILTY, name, str(write_fd)], stdout=subprocess.PIPE, pass_fds=[write_fd]
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"False\n", "what the app executes does not get the pipe"
            dumped = b""
            deadline = time.monotonic() + TIMEOUT_S
            # It may not have come to its line yet: ask again until it has.
            while f'File "<string>", line {GUILTY_LINES[name]} in {name}'.encode() not in dumped:
                assert time.monotonic() < deadline, dumped
                process.send_signal(DUMP_STACKS)
                if select.select([read_fd], [], [], 0.05)[0]:
                    dumped += os.read(read_fd, 65536)
            assert process.poll() is None, "it goes on"
        finally:
            process.kill()
            os.close(read_fd)
            os.close(write_fd)


LEAVING = """
import os, sys
from prefork.system.signals import DUMP_STACKS, dump_stacks_into
dump_stacks_into(int(sys.argv[1]))
import faulthandler
faulthandler.unregister(DUMP_STACKS)  # as the interpreter does on its way out
os.kill(os.getpid(), DUMP_STACKS)
print("alive")
"""


def test_who_is_asked_for_its_stacks_on_its_way_out_leaves_as_it_meant_to() -> None:
    with Path(os.devnull).open("wb") as sink:
        done = subprocess.run(
            [sys.executable, "-c", LEAVING, str(sink.fileno())],
            stdout=subprocess.PIPE,
            pass_fds=[sink.fileno()],
            timeout=TIMEOUT_S,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, b"alive\n")


def test_the_signal_that_dumps_is_one_that_apps_do_not_use() -> None:
    assert signal.SIGRTMIN < DUMP_STACKS <= signal.SIGRTMAX


@pytest.mark.parametrize("name", ["count", "search", "sleep"])
def test_the_watchdog_ends_a_process_that_never_comes_back(name: str) -> None:
    read_fd, write_fd = os.pipe()
    ended = subprocess.run(
        [sys.executable, "-c", GUILTY, name, str(write_fd), "0.1"],
        capture_output=True,
        timeout=TIMEOUT_S,
        pass_fds=[write_fd],
        check=False,
    )
    os.close(read_fd)
    os.close(write_fd)
    assert ended.returncode == 1
