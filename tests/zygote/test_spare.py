"""A real zygote and its spare, asked by a test in the master's place."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from prefork.config.model import Config, PreloadChoice
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_worker, read_from_zygote
from prefork.system.channel import Channel, open_pair
from prefork.system.scoreboard import make_scoreboard
from prefork.system.spawning import spawn_zygote
from prefork.zygote.spare import PAUSE_S
from tests.integration.running import (
    APPS,
    assert_never_within,
    is_alive,
    is_asleep,
    is_zombie,
    read_title,
    wait_until,
)

M = TypeVar("M", bound=say.Message)


class StandIn:
    """Of the master: one zygote that it asks for forks, and every message of that zygote."""

    def __init__(self, preload: PreloadChoice) -> None:
        self._spawned = spawn_zygote().take()
        self.zygote = psutil.Process(self._spawned.pid)
        self.heard: list[say.Message] = []
        self._reader = read_from_zygote()
        self._channels: dict[int, Channel] = {}
        self._asked = 0
        board = make_scoreboard()
        self._send(say.Give("scoreboard"), board.fd)
        os.close(board.fd)
        config = Config(
            app="hello_asgi:app", name="shop", chdir=str(APPS), app_dir=str(APPS), preload=preload, workers=2
        )
        self._send(say.Boot(1, config))
        self.wait_heard(say.Imported)

    def ask(self) -> int:
        """For a fork; returns its serial."""
        self._asked += 1
        channel, theirs = open_pair()
        with theirs:
            self._send(say.Fork(self._asked, slot=0, row=0, count=1), theirs.fileno())
        self._channels[self._asked] = channel
        return self._asked

    def wait_forked(self, serial: int) -> psutil.Process:
        """The process of a fork that was asked for."""

        def look() -> list[int]:
            self._listen()
            return [m.pid for m in self.heard if isinstance(m, say.Forked) and m.serial == serial]

        return psutil.Process(wait_until(look, f"the fork {serial}")[0])

    def wait_ready(self, serial: int) -> say.Ready:
        """What the worker of a fork says at the end of its boot."""
        channel, reader, found = self._channels[serial], read_from_worker(), list[say.Ready]()

        def look() -> list[say.Ready]:
            found.extend(m for m in reader.feed(channel.receive() or b"") if isinstance(m, say.Ready))
            return found

        return wait_until(look, f"the worker {serial}")[0]

    def fork(self) -> psutil.Process:
        """Ask for one and wait until it is ready."""
        serial = self.ask()
        self.wait_ready(serial)
        return self.wait_forked(serial)

    def find_spares(self) -> list[psutil.Process]:
        return [p for p in self.zygote.children() if read_title(p) == "prefork: spare shop gen=1"]

    def wait_spare(self) -> psutil.Process:
        return wait_until(lambda: [p for p in self.find_spares() if is_asleep(p)], "a spare")[0]

    def wait_heard(self, kind: type[M]) -> M:
        def look() -> list[M]:
            self._listen()
            return [m for m in self.heard if isinstance(m, kind)]

        return wait_until(look, kind.__name__)[0]

    def renew_log(self, fd: int) -> None:
        self._send(say.ReopenLog(), fd)

    def leave(self) -> None:
        self._send(say.Leave())

    def close(self) -> None:
        children = self.zygote.children() if is_alive(self.zygote) else []
        for channel in self._channels.values():
            channel.close()
        self._spawned.discard()
        for child in children:
            with suppress(psutil.NoSuchProcess):  # its channel's end was its own
                child.kill()

    def _listen(self) -> None:
        self.heard += self._reader.feed(self._spawned.channel.receive() or b"")

    def _send(self, message: say.Message, fd: int | None = None) -> None:
        self._spawned.channel.send(encode(message), fd)


@pytest.fixture(params=["auto"])
def master(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    master = StandIn(request.param)
    yield master
    master.close()


def is_gone(process: psutil.Process) -> bool:
    """Ended and reaped."""
    return not is_alive(process) and not is_zombie(process)


def test_a_spare_is_made_after_the_last_fork_and_becomes_the_next_worker(master: StandIn) -> None:
    first = master.fork()
    spare = master.wait_spare()

    assert master.fork() == spare

    assert read_title(spare) == "prefork: worker shop slot=0 gen=1 ready"
    assert first != spare
    assert master.wait_spare() not in (first, spare)


def test_nobody_asked_for_a_fork_yet_so_there_is_no_spare(master: StandIn) -> None:
    assert_never_within(master.zygote.children, "a child", 2 * PAUSE_S)


@pytest.mark.parametrize("master", ["never"], indirect=True)
def test_there_is_no_spare_of_an_app_that_each_worker_imports(master: StandIn) -> None:
    worker = master.fork()
    assert_never_within(lambda: master.zygote.children() != [worker], "a spare", 2 * PAUSE_S)


def test_of_many_forks_at_once_one_is_the_spare_and_nobody_waits_for_another(master: StandIn) -> None:
    master.fork()
    spare = master.wait_spare()

    serials = [master.ask() for _ in range(4)]

    for serial in serials:
        master.wait_ready(serial)
    forked = [master.wait_forked(serial) for serial in serials]
    assert forked[0] == spare
    assert len({process.pid for process in forked}) == 4


def test_the_boot_of_a_spare_begins_when_it_is_asked_for(master: StandIn) -> None:
    master.fork()
    spare = master.wait_spare()

    asked_at = time.monotonic()
    serial = master.ask()
    boot_ms = master.wait_ready(serial).boot_ms

    assert boot_ms <= round((time.monotonic() - asked_at) * 1000)
    assert master.wait_forked(serial) == spare


def test_a_stopped_spare_swallows_no_fork(master: StandIn) -> None:
    master.fork()
    spare = master.wait_spare()
    spare.suspend()
    wait_until(lambda: spare.status() == psutil.STATUS_STOPPED, "the stop")

    assert master.fork() != spare

    wait_until(lambda: is_gone(spare), "the end of the stopped one")
    assert master.wait_spare() != spare


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_spare_that_was_ended_is_missed_by_nobody(master: StandIn, number: signal.Signals) -> None:
    worker = master.fork()
    spare = master.wait_spare()

    spare.send_signal(number)

    wait_until(lambda: is_gone(spare), "its end")
    assert_never_within(lambda: master.zygote.children() != [worker], "another spare", 2 * PAUSE_S)
    assert master.fork() != spare
    assert [m for m in master.heard if isinstance(m, say.Reaped)] == []
    assert master.wait_spare() != spare


@pytest.mark.parametrize("stopped", [False, True], ids=["waiting", "stopped"])
def test_a_zygote_that_leaves_keeps_no_spare(master: StandIn, stopped: bool) -> None:
    worker = master.fork()
    spare = master.wait_spare()
    if stopped:
        spare.suspend()

    master.leave()

    wait_until(lambda: is_gone(spare), "the spare's end")
    assert_never_within(lambda: master.zygote.children() != [worker], "another spare", 2 * PAUSE_S)
    worker.kill()
    wait_until(lambda: not is_alive(master.zygote), "the zygote's end")
    assert master.wait_heard(say.Reaped).pid == worker.pid


@pytest.mark.parametrize("stopped", [False, True], ids=["waiting", "stopped"])
def test_a_spare_does_not_outlive_a_zygote_that_was_killed(master: StandIn, stopped: bool) -> None:
    worker = master.fork()
    spare = master.wait_spare()
    if stopped:
        spare.suspend()

    master.zygote.kill()

    wait_until(lambda: not is_alive(spare), "the spare's end")
    assert is_alive(worker)
    worker.kill()


def test_a_worker_that_was_a_spare_outlives_its_zygote(master: StandIn) -> None:
    master.fork()
    spare = master.wait_spare()
    others = [child for child in master.zygote.children() if child != spare]
    assert master.fork() == spare

    master.zygote.kill()

    wait_until(lambda: not is_alive(master.zygote), "the zygote's end")
    assert_never_within(lambda: not is_alive(spare), "its end", PAUSE_S)
    for process in [spare, *others]:
        process.kill()


def test_a_worker_that_was_a_spare_holds_the_same_descriptors_as_any_other(master: StandIn) -> None:
    fresh = master.fork()
    master.wait_spare()
    assert list_descriptors(master.fork()) == list_descriptors(fresh)


def test_a_new_log_file_brings_a_spare_that_writes_to_it(master: StandIn, tmp_path: Path) -> None:
    master.fork()
    spare = master.wait_spare()

    with (tmp_path / "new.log").open("wb") as log:
        master.renew_log(log.fileno())

    wait_until(lambda: is_gone(spare), "the old spare's end")
    assert master.wait_spare() != spare


def list_descriptors(process: psutil.Process) -> list[str]:
    """What they are, without the numbers that tell one socket from another."""
    folder = Path(f"/proc/{process.pid}/fd")
    return sorted(str(fd.readlink()).split(":")[0] for fd in folder.iterdir())
