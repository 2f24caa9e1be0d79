"""The master is asked once, however many want to know, and never waited for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from prefork.admin import asking
from prefork.admin.asking import Asking
from prefork.control.status import ServiceStatus
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_admin, read_from_master_as_admin
from prefork.system.channel import Channel, open_pair
from tests.admin.statuses import STATUS


class Master:
    """The other end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.setblocking(False)
        self.reader = read_from_admin()
        self.questions = 0

    async def wait_for_question(self) -> None:
        while True:
            data = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
            asked = sum(isinstance(message, say.AskStanding) for message in self.reader.feed(data))
            self.questions += asked
            if asked:
                return

    def answer(self, status: ServiceStatus = STATUS) -> None:
        self.sock.sendall(encode(say.Standing(msgspec.Raw(msgspec.json.encode(status)))))


def play(scene: Callable[[Asking, Master], Awaitable[None]]) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        admin = Asking(loop, Channel(ours), read_from_master_as_admin())
        with ours, theirs:
            await asyncio.wait_for(scene(admin, Master(theirs)), 10)
            loop.remove_reader(ours.fileno())

    asyncio.run(run())


def test_a_flood_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FRESH_S", 60.0)  # the machine may be slow

    async def scene(admin: Asking, master: Master) -> None:
        flood = [asyncio.ensure_future(admin.ask()) for _ in range(1000)]
        await master.wait_for_question()
        master.answer()
        assert [await each for each in flood] == [STATUS] * 1000
        assert [await admin.ask() for _ in range(1000)] == [STATUS] * 1000, "a moment later"
        assert master.questions == 1

    play(scene)


def test_an_old_answer_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FRESH_S", 0.0)
    newer = msgspec.structs.replace(STATUS, gen=4)

    async def scene(admin: Asking, master: Master) -> None:
        for status in (STATUS, newer):
            question = asyncio.ensure_future(admin.ask())
            await master.wait_for_question()
            master.answer(status)
            assert await question == status

    play(scene)


def test_a_master_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_S", 0.05)

    async def scene(admin: Asking, master: Master) -> None:
        assert list(await asyncio.gather(admin.ask(), admin.ask())) == [None, None]
        question = asyncio.ensure_future(admin.ask())
        await master.wait_for_question()
        master.answer()
        assert await question == STATUS

    play(scene)


@pytest.mark.parametrize(
    "last_words", [b"", b"nonsense\n", b'{"type":"standing","status":{"name":"shop"}}\n']
)
def test_it_ends_with_its_master_and_when_they_cannot_talk(last_words: bytes) -> None:
    async def scene(admin: Asking, master: Master) -> None:
        if last_words:
            master.sock.sendall(last_words)
        else:
            master.sock.shutdown(socket.SHUT_RDWR)
        await admin.wait_end()

    play(scene)


def test_a_status_of_five_hundred_workers_gets_through() -> None:
    big = msgspec.structs.replace(STATUS, workers=STATUS.workers * 256)

    async def scene(admin: Asking, master: Master) -> None:
        channel, theirs = open_pair()
        with theirs:
            hearing = Asking(asyncio.get_running_loop(), Channel(theirs), read_from_master_as_admin())
            question = asyncio.ensure_future(hearing.ask())
            channel.send(encode(say.Standing(msgspec.Raw(msgspec.json.encode(big)))))
            while not question.done():
                channel.flush()
                await asyncio.sleep(0)
            assert await question == big
            channel.close()
            await hearing.wait_end()

    play(scene)
