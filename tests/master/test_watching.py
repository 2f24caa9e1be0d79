"""The watcher's keeper: a watcher that fails costs a warning now and then, and a change costs one reload."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from prefork.config.model import Config
from prefork.core import events as on
from prefork.ipc import messages as say
from prefork.ipc.codec import encode
from prefork.master import watching
from prefork.master.keeping import STEADY_S
from prefork.master.watching import Watching
from prefork.system import clock
from prefork.system.channel import open_pair
from prefork.system.spawning import Spawned
from tests.system.children import list_fds

CONFIG = Config(app="shop:app", reload=True, reload_dir=("/srv/shop",), read_from=("/etc/shop.toml",))
ASKED = on.ScaleAsked(1)


class World:
    """A clock, and watchers that are processes without a mind of their own: the test speaks for them."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.started: list[subprocess.Popen[bytes]] = []
        self.ends: list[socket.socket] = []
        self.refuses = False
        self.selector = selectors.DefaultSelector()
        self.watching = Watching(self.selector, self.ask_reload)

    @property
    def theirs(self) -> socket.socket:
        """The newest watcher's end of its channel."""
        return self.ends[-1]

    def spawn(self) -> Spawned:
        if self.refuses:
            raise BlockingIOError(11, "no process left")
        channel, theirs = open_pair()
        self.ends.append(theirs)
        self.started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return Spawned(self.started[-1].pid, channel)

    def ask_reload(self) -> Iterator[on.AnyEvent]:
        yield ASKED

    def tend(self, config: Config = CONFIG, *, is_wanted: bool = True) -> None:
        self.watching.tend(config, is_wanted=is_wanted)

    def say(self, data: bytes) -> list[on.AnyEvent]:
        self.theirs.sendall(data)
        return self.hear()

    def hear(self) -> list[on.AnyEvent]:
        return [event for key, _ in self.selector.select(0) for event in key.data()]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World()
    monkeypatch.setattr(watching, "spawn_watcher", world.spawn)
    monkeypatch.setattr(clock, "monotonic", lambda: world.now_s)
    yield world
    world.watching.end()
    world.selector.close()
    for end in world.ends:
        end.close()
    for process in world.started:
        process.kill()
        process.wait()


def changed(*paths: str, count: int = 0) -> bytes:
    return encode(say.Changed(paths, count or len(paths)))


def test_there_is_a_watcher_only_when_it_is_wanted(world: World) -> None:
    world.tend(Config(app="shop:app"))
    world.tend(is_wanted=False)
    assert (world.started, world.watching.deadline) == ([], None)
    world.tend()
    world.tend()
    assert len(world.started) == 1


def test_changes_heard_together_ask_for_one_reload_and_are_told_as_seen_from_the_directory(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "prefork.master")
    world.tend()
    heard = world.say(
        changed("/srv/shop/main.py", "/srv/shop/views/a.py", count=50) + changed("/etc/shop.toml")
    )
    assert heard == [ASKED]
    assert [vars(record)["files"] for record in caplog.records] == [
        "main.py, views/a.py and 48 more",
        "/etc/shop.toml",
    ]


def test_watchers_that_cannot_be_started_are_tried_less_and_less_often(world: World) -> None:
    world.refuses = True
    waits = []
    for _ in range(12):
        world.tend()
        world.tend()
        assert world.watching.deadline is not None
        waits.append(round(world.watching.deadline - world.now_s, 3))
        world.now_s = world.watching.deadline
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-1] == 30


def test_one_that_dies_is_replaced_and_a_long_life_is_forgiven_its_end(world: World) -> None:
    waits = []
    for lived_s in (0.0, 0.0, STEADY_S, 0.0):
        world.tend()
        world.now_s += lived_s
        world.theirs.close()
        assert world.hear() == []
        world.tend()
        assert world.watching.deadline is not None
        waits.append(round(world.watching.deadline - world.now_s, 3))
        world.now_s = world.watching.deadline
    assert waits == [0.1, 0.2, 0.1, 0.2]
    assert len(world.started) == 4


def test_one_that_talks_nonsense_is_killed(world: World) -> None:
    world.tend()
    assert world.say(b'{"type": "reload everything"}\n' + changed("/srv/shop/main.py")) == []
    assert world.started[0].wait(10) == -9
    assert world.hear() == []


def test_other_directories_want_another_watcher_and_anything_else_keeps_it(world: World) -> None:
    world.tend()
    world.tend(
        Config(
            app="shop:app", workers=7, reload=True, reload_dir=("/srv/shop",), read_from=("/etc/shop.toml",)
        )
    )
    assert len(world.started) == 1
    world.tend(Config(app="shop:app", reload=True, reload_dir=("/srv/other",)))
    assert world.started[0].wait(10) == -9
    assert len(world.started) == 2


def test_nothing_is_left_at_the_end(world: World) -> None:
    before = list_fds()
    for config in (CONFIG, Config(app="shop:app", reload=True), CONFIG):
        world.tend(config)
        world.theirs.close()
    world.watching.end()
    assert list_fds() <= before
    assert [process.wait(10) for process in world.started[:2]] == [-9, -9]
    with pytest.raises(ChildProcessError):  # the last one is reaped
        os.waitpid(world.started[2].pid, 0)
