"""What children say, in the order in which it can be understood."""

from __future__ import annotations

import selectors
from collections.abc import Iterator

import pytest

from prefork.config.model import Config
from prefork.core import events as on
from prefork.ipc import messages as say
from prefork.ipc.codec import encode
from prefork.master.children import Children, WorkerHandle, ZygoteHandle
from prefork.master.hearing import Ear
from prefork.master.posting import Posting
from prefork.system.channel import Channel, open_pair
from prefork.system.scoreboard import make_scoreboard


class Nursery:
    """One zygote, and one worker whose fork is asked for and not confirmed yet."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        children = Children(self._selector)
        ear = Ear(
            Config(app="shop:app"),
            children,
            make_scoreboard(),
            Posting(children, lambda _: True),
            lambda: True,
        )
        channel, theirs = open_pair()
        zygote = ZygoteHandle(1, 0, channel)
        children.add_zygote(zygote, lambda: ear.read_zygote(zygote))
        self.zygote = Channel(theirs)
        channel, theirs = open_pair()
        worker = WorkerHandle(serial=7, slot=0, gen=1, row=0, channel=channel)
        children.add_worker(worker, lambda: ear.read_worker(worker))
        self.worker = Channel(theirs)
        self._ends = [self.zygote, self.worker, zygote.channel, channel]

    def hear(self) -> list[on.AnyEvent]:
        """What one turn of the loop brings."""
        return [event for key, _mask in self._selector.select(0) for event in key.data()]

    def close(self) -> None:
        for end in self._ends:
            end.close()
        self._selector.close()


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


def test_a_worker_that_is_faster_than_its_zygote_is_heard_after_it(nursery: Nursery) -> None:
    nursery.worker.send(encode(say.Ready(9, "asgi", "shop:app")))
    assert nursery.hear() == []
    nursery.zygote.send(encode(say.Forked(7, 4711, has_pidfd=False)))
    assert nursery.hear() == [on.WorkerForked(7, 4711)]
    assert nursery.hear() == [on.WorkerReady(7, 9)]


def test_the_last_words_of_a_worker_that_nobody_heard_yet_are_heard(nursery: Nursery) -> None:
    nursery.worker.send(encode(say.BootFailed("no module named shop")))
    nursery.worker.close()
    nursery.zygote.send(encode(say.Forked(7, 4711, has_pidfd=False)) + encode(say.Reaped(7, 4711, 0)))
    assert [type(event) for event in nursery.hear()] == [on.WorkerForked, on.WorkerFailed, on.WorkerExited]
