"""The outlet: what the app says from any thread reaches the master in order, bounded, and never blocks it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from prefork import inside
from prefork.inside import AppSide
from prefork.ipc import messages as say
from prefork.ipc.codec import read_from_worker
from prefork.system.channel import Channel, open_pair
from prefork.worker import talking
from prefork.worker.talking import CALLS_MAX, MESSAGE_BYTES, MESSAGE_DEPTH, OUTBOX_BYTES, Talker, encode_post
from tests.serve.accepting import LOOPS, run_on, wait_until

Test = Callable[[Talker, "Master"], Coroutine[Any, Any, None]]
READY = say.Ready(12, "asgi", "shop:app")


class Master:
    """The other end of the channel; reads when it is asked to."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.heard: list[say.WorkerToMaster] = []
        self._reader = read_from_worker()

    def read(self) -> bool:
        """Is there nothing more right now?"""
        if data := self.channel.receive():
            self.heard += self._reader.feed(data)
            return False
        return True

    async def wait_for(self, count: int) -> list[say.WorkerToMaster]:
        await wait_until(lambda: self.read() and len(self.heard) >= count)
        return self.heard

    def posted(self) -> list[Any]:
        return [msgspec.json.decode(post.data) for post in self.heard if isinstance(post, say.Post)]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Test], None]:
    def run_one(test: Test) -> None:
        theirs, raw = open_pair()
        ours = Channel(raw)

        async def live() -> None:
            await test(Talker(asyncio.get_running_loop(), ours, {"slot": 0}), Master(theirs))

        try:
            run_on(request.param, live())
        finally:
            ours.close()
            theirs.close()

    return run_one


@pytest.fixture
def side(monkeypatch: pytest.MonkeyPatch) -> AppSide:
    side = AppSide()
    monkeypatch.setattr(talking, "app_side", side)
    monkeypatch.setattr(inside, "app_side", side)
    return side


def ask_in_a_fork(ask: Callable[[], list[bool]]) -> str:
    """What is answered there, as digits."""
    read_fd, write_fd = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(write_fd, b"".join(b"%d" % answer for answer in ask()))
        os._exit(0)
    os.waitpid(pid, 0)
    answer = os.read(read_fd, 100)
    os.close(read_fd)
    os.close(write_fd)
    return answer.decode()


def deliver(talker: Talker, message: object, sender: int = 3) -> None:
    talker.hear(say.Deliver(sender, msgspec.Raw(msgspec.json.encode(message))))


def test_what_threads_send_arrives_whole_and_in_their_order(run: Callable[[Test], None]) -> None:
    async def test(talker: Talker, master: Master) -> None:
        def speak(name: str) -> None:
            for number in range(500):
                while not talker.send([name, number], None):
                    pass  # the outbox is full: the loop is sending

        threads = [threading.Thread(target=speak, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        await master.wait_for(1500)
        for thread in threads:
            thread.join()
        for name in "abc":
            assert [number for who, number in master.posted() if who == name] == list(range(500))

    run(test)


def test_what_a_master_does_not_read_is_bounded_and_goes_on_when_it_reads(
    run: Callable[[Test], None],
) -> None:
    async def test(talker: Talker, master: Master) -> None:
        taken = 0

        async def is_full() -> bool:
            for _ in range(10):  # whatever the loop can still send, it has sent by then
                if talker.send("x" * 1000, 2):
                    return False
                await asyncio.sleep(0.001)
            return True

        while not await is_full():
            taken += 1
            assert taken < 2000
        assert OUTBOX_BYTES < taken * 1050 < OUTBOX_BYTES + 700_000, "the outbox, and what the kernel takes"
        heard = await master.wait_for(taken)
        assert heard == [say.Post(2, msgspec.Raw(b'"' + b"x" * 1000 + b'"'))] * taken
        assert talker.send("more", None)
        await master.wait_for(taken + 1)

    run(test)


def test_ready_is_waited_for_and_may_be_said_by_any_thread(run: Callable[[Test], None]) -> None:
    async def test(talker: Talker, _: Master) -> None:
        waiting = asyncio.ensure_future(talker.wait_ready())
        await asyncio.sleep(0)
        assert not waiting.done()
        threading.Thread(target=talker.tell_ready).start()
        await waiting
        assert talker.tell_ready()

    run(test)


def test_a_wish_to_retire_is_said_once_and_not_before_ready(run: Callable[[Test], None]) -> None:
    async def test(talker: Talker, master: Master) -> None:
        assert talker.retire("cache is poisoned\ud800" + "!" * 100)
        assert talker.retire("another")
        await asyncio.sleep(0.01)
        talker.announce(READY)
        assert talker.retire("a third")
        talker.send("last", None)
        heard = await master.wait_for(3)
        reason = "cache is poisoned\\ud800" + "!" * 62
        assert heard[:2] == [READY, say.Retire(reason)]
        assert isinstance(heard[2], say.Post)

    run(test)


def test_a_child_that_the_app_forked_is_outside(run: Callable[[Test], None]) -> None:
    async def test(talker: Talker, master: Master) -> None:
        assert (
            ask_in_a_fork(lambda: [talker.send(1, None), talker.retire("no"), talker.tell_ready()]) == "000"
        )
        assert master.read()

    run(test)


def test_when_the_loop_is_closed_nothing_is_taken() -> None:
    loop = asyncio.new_event_loop()
    ours, theirs = open_pair()
    talker = Talker(loop, ours, {})
    loop.close()
    assert [talker.send(1, None), talker.retire("late"), talker.tell_ready()] == [False] * 3
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("message", "to", "error"),
    [
        (object(), None, TypeError),
        ({"deep": [object()]}, None, TypeError),
        ("x" * MESSAGE_BYTES, None, ValueError),
        ("\ud800", None, ValueError),
        (1, "0", TypeError),
        (1, True, TypeError),
        (1, -1, ValueError),
        (1, 10**9, ValueError),
    ],
)
def test_what_cannot_be_sent_is_refused_where_it_is_said(
    message: object, to: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        encode_post(message, to)


def test_a_message_too_deep_for_its_readers_is_refused() -> None:
    def nest(depth: int, inner: object) -> object:
        for _ in range(depth):
            inner = [inner]
        return inner

    for message in (nest(MESSAGE_DEPTH + 1, 0), nest(5000, 0)):
        with pytest.raises(ValueError, match="nested"):
            encode_post(message, None)
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested"):
        encode_post(endless, None)
    for message in (nest(MESSAGE_DEPTH - 1, "[" * 1000), ['[{"\\'] * 1000, [[]] * 1000):
        [post] = read_from_worker().feed(encode_post(message, None))
        assert isinstance(post, say.Post)
        assert msgspec.json.decode(post.data) == message


def test_every_handler_gets_its_own_copy_and_the_sender(run: Callable[[Test], None], side: AppSide) -> None:
    heard: list[object] = []

    async def test(talker: Talker, _: Master) -> None:
        @inside.on_message
        def plain(message: Any, sender: int) -> None:
            heard.append(("plain", list(message), sender))
            message.append("changed")

        @inside.on_message
        async def later(message: object, sender: int) -> None:
            await asyncio.sleep(0)
            heard.append(("later", message, sender))

        deliver(talker, ["a", 1])
        await wait_until(lambda: len(heard) == 2)

    run(test)
    assert side.listeners
    assert heard == [("plain", ["a", 1], 3), ("later", ["a", 1], 3)]


def test_what_handlers_raise_is_logged_now_and_then(
    run: Callable[[Test], None], side: AppSide, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(talker: Talker, _: Master) -> None:
        done: list[object] = []

        def leaves(message: object, sender: int) -> None:
            raise SystemExit(message)

        async def breaks(message: object, sender: int) -> None:
            done.append(message)
            raise ValueError(message)

        side.listeners += [leaves, breaks]
        for number in range(20):
            deliver(talker, number)
        await wait_until(lambda: len(done) == 20)
        talker.hear(say.Deliver(1, msgspec.Raw(b'"\xff"')))  # what only a lying worker posts

    run(test)
    assert [(record.getMessage(), record.levelno) for record in caplog.records] == [
        ("on_message raised", logging.ERROR)
    ]


def test_handlers_that_do_not_end_are_bounded(
    run: Callable[[Test], None], side: AppSide, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(talker: Talker, _: Master) -> None:
        begun: list[object] = []

        async def hangs(message: object, sender: int) -> None:
            begun.append(message)
            await asyncio.sleep(600)

        side.listeners.append(hangs)
        for number in range(CALLS_MAX + 50):
            deliver(talker, number)
        await asyncio.sleep(0.01)
        assert len(begun) == CALLS_MAX

    run(test)
    assert len(caplog.records) == 1
    assert "not delivered" in caplog.text
