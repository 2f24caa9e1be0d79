"""The admin process's keeper: it is told how things are when it asks, and one that falls silent is replaced."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from prefork.config.addresses import parse_address
from prefork.config.model import Config
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_master_as_admin
from prefork.master import informing
from prefork.master.informing import SILENCE_S, Informing
from prefork.master.keeping import FIRST_WORD_S
from prefork.master.provisions import LogFile, Provision
from prefork.system import clock
from prefork.system.channel import Channel, open_pair
from prefork.system.listeners import Listener, bind_listener
from prefork.system.spawning import Spawned

REPORT = b'{"name":"' + b"x" * 1_000_000 + b'"}'


def make_provision(listener: Listener | None, **settings: object) -> Provision:
    admin = () if listener is None else (listener,)
    config = msgspec.structs.replace(Config(app="shop:app", chdir="/srv/shop"), **settings)
    return Provision(config, {}, None, None, admin=admin, metrics_dir="/dev/shm/made")


class World:
    """A clock, and admin processes without a mind of their own: the test speaks for them."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.started: list[subprocess.Popen[bytes]] = []
        self.ends: list[Channel] = []
        self.selector = selectors.DefaultSelector()
        self.reports = 0
        self.informing = Informing(self.selector, self.report, sys.executable)
        self.listener = bind_listener(parse_address("127.0.0.1:0"), backlog=1, socket_mode=0o600)
        self.provision = make_provision(self.listener)

    def report(self) -> bytes:
        self.reports += 1
        return REPORT

    def spawn(self, python: str) -> Spawned:
        assert python == sys.executable
        channel, theirs = open_pair()
        self.ends.append(Channel(theirs))
        self.started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return Spawned(self.started[-1].pid, channel)

    def turn(self) -> None:
        """One turn of the master's loop."""
        for key, mask in self.selector.select(0):
            if mask & selectors.EVENT_READ:
                assert list(key.data()) == []
        self.informing.tend(self.provision)

    def hear(self) -> list[say.MasterToAdmin]:
        reader, heard = read_from_master_as_admin(), list[say.MasterToAdmin]()
        while data := self.ends[-1].receive():
            heard += reader.feed(data)
        return heard


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World()
    monkeypatch.setattr(informing, "spawn_admin", world.spawn)
    monkeypatch.setattr(clock, "monotonic", lambda: world.now_s)
    yield world
    world.informing.end()
    world.selector.close()
    world.listener.close()
    for end in world.ends:
        end.close()
    for process in world.started:
        process.kill()
        process.wait()


def test_it_is_given_its_listeners_and_the_place_of_the_metrics(world: World) -> None:
    world.turn()
    [given, words] = world.hear()
    assert given == say.GiveAdminListener()
    fd = world.ends[-1].take_fd()
    assert fd is not None
    with socket.socket(fileno=fd) as listener:
        assert listener.getsockname() == world.listener.sock.getsockname()
    assert words == say.ServeAdmin(
        name="prefork",
        metrics_dir="/dev/shm/made",
        is_metrics_dir_ours=True,
        agents=0,
        chdir="/srv/shop",
        log_format="auto",
        log_time="local",
        user=None,
        group=None,
    )


def test_it_logs_where_the_master_does_also_after_that_was_reopened(world: World, tmp_path: Path) -> None:
    def read_inode() -> int:
        fd = world.ends[-1].take_fd()
        assert fd is not None
        with os.fdopen(fd) as file:
            return os.fstat(file.fileno()).st_ino

    with (tmp_path / "log").open("ab") as first, (tmp_path / "log.new").open("ab") as second:
        log = LogFile("log", "/var/log/shop.log", first.fileno())
        world.provision = msgspec.structs.replace(world.provision, log=log)
        world.turn()
        assert world.hear()[0] == say.ReopenLog()
        assert read_inode() == os.fstat(first.fileno()).st_ino
        assert world.ends[-1].take_fd() is not None  # the listener

        world.informing.pass_on_log(LogFile("access-log", "/var/log/shop.log", 0), second.fileno())
        world.informing.pass_on_log(LogFile("log", "/var/log/shop.log", 0), second.fileno())
        assert world.hear() == [say.ReopenLog()]
        assert read_inode() == os.fstat(second.fileno()).st_ino


def test_questions_that_come_together_get_one_answer_which_arrives_however_large(world: World) -> None:
    world.turn()
    world.hear()
    for _ in range(3):
        world.ends[-1].send(encode(say.AskStanding()))
    reader, heard = read_from_master_as_admin(), list[say.MasterToAdmin]()
    for _ in range(1000):
        world.turn()
        heard += reader.feed(world.ends[-1].receive() or b"")
        if heard:
            break
    assert heard == [say.Standing(msgspec.Raw(REPORT))]
    assert world.reports == 1
    world.turn()
    assert {key.events for key in world.selector.get_map().values()} == {selectors.EVENT_READ}, (
        "nothing waits"
    )


def test_one_that_falls_silent_is_replaced_and_one_that_speaks_is_not(world: World) -> None:
    world.turn()
    assert world.informing.deadline == world.now_s + FIRST_WORD_S, "an interpreter may take long to start"
    for _ in range(5):
        world.now_s += SILENCE_S - 1
        world.ends[-1].send(encode(say.AdminLives()))
        world.turn()
    assert len(world.started) == 1
    world.now_s += SILENCE_S
    world.turn()
    assert world.started[0].wait(10) == -9
    assert world.informing.deadline is not None
    world.now_s = world.informing.deadline
    world.turn()
    assert len(world.started) == 2


def test_what_it_notes_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.turn()
    for why in ("no prometheus_client", "no prometheus_client", "other"):
        world.ends[-1].send(encode(say.AdminNote("the app's metrics are left out", why)))
    world.turn()
    assert [vars(record)["why"] for record in caplog.records] == ["no prometheus_client", "other"]


def test_a_configuration_that_changes_nothing_for_it_keeps_it(world: World) -> None:
    world.turn()
    world.provision = make_provision(world.listener, workers=7)
    world.turn()
    assert len(world.started) == 1
    world.provision = make_provision(world.listener, user="root")
    world.turn()
    assert len(world.started) == 2
    world.provision = make_provision(None)
    world.turn()
    assert (world.informing.deadline, world.started[1].wait(10)) == (None, -9)


@pytest.mark.parametrize("name", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_a_directory_that_the_user_named_is_taken_as_it_is(world: World, name: str) -> None:
    config = msgspec.structs.replace(world.provision.config, env={name: "metrics"})
    order = informing.make_order(Provision(config, {}, None, None, admin=(world.listener,)))
    assert order is not None
    assert (order.words.metrics_dir, order.words.is_metrics_dir_ours) == ("metrics", False)
