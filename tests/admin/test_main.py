"""The whole admin process, and its end, with a master that the test speaks for."""

from __future__ import annotations

import asyncio
import gc
import http.client
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import closing as closing_client
from pathlib import Path

import msgspec
import pytest

from prefork.admin.main import Heard, serve
from prefork.control.status import ServiceStatus
from prefork.ipc import messages as say
from prefork.ipc.codec import encode, read_from_admin, read_from_master_as_admin
from prefork.system import processes
from prefork.system.channel import Channel, open_pair
from prefork.system.spawning import spawn_admin
from tests.admin.statuses import STATUS

WAIT_S = 5.0
ORDER = say.ServeAdmin(
    name="shop",
    metrics_dir="",
    is_metrics_dir_ours=False,
    agents=0,
    chdir="/",
    log_format="auto",
    log_time="utc",
    user=None,
    group=None,
)
BROKEN = msgspec.structs.replace(STATUS, totals=msgspec.structs.replace(STATUS.totals, latency=(1,)))
"""No metrics can be made of it, and that is an ERROR in the log."""


class Master:
    """The other end of the channel."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._reader = read_from_admin()

    def wait_for_question(self) -> None:
        while True:
            assert select.select([self.channel], [], [], WAIT_S)[0], "it does not ask"
            if say.AskStanding() in self._reader.feed(self._receive()):
                return

    def answer_until(self, client: http.client.HTTPConnection, status: ServiceStatus) -> int:
        """Answer its questions, if it has any, until the client is answered; with what status."""
        while client.sock not in (ready := select.select([self.channel, client.sock], [], [], WAIT_S)[0]):
            assert ready, "it does not answer"
            if say.AskStanding() in self._reader.feed(self._receive()):
                self.answer(status)
        return client.getresponse().status

    def answer(self, status: ServiceStatus) -> None:
        self.channel.send(encode(say.Standing(msgspec.Raw(msgspec.json.encode(status)))))

    def _receive(self) -> bytes:
        data = self.channel.receive()
        assert data is not None, "it has ended"
        return data


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def ask(listener: socket.socket, path: str) -> http.client.HTTPConnection:
    client = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=WAIT_S)
    client.request("GET", path)
    return client


def test_its_lines_go_to_the_log_that_it_is_given_and_to_the_next_one(
    listener: socket.socket, tmp_path: Path
) -> None:
    spawned = spawn_admin()
    master = Master(spawned.channel)
    with ExitStack() as closing:
        closing.callback(spawned.channel.close)
        closing.callback(processes.reap, spawned.pid)
        closing.callback(os.waitid, os.P_PID, spawned.pid, os.WEXITED | os.WNOWAIT)
        closing.callback(os.kill, spawned.pid, signal.SIGKILL)
        for name in ("first", "second"):
            with (tmp_path / name).open("ab") as log:
                master.channel.send(encode(say.ReopenLog()), log.fileno())
            if name == "first":
                master.channel.send(encode(say.GiveAdminListener()), listener.fileno())
                master.channel.send(encode(ORDER))
            # Whom it hears first, the master or the client, is its own affair.
            while "the app raised" not in (tmp_path / name).read_text():
                with closing_client(ask(listener, "/metrics")) as client:
                    assert master.answer_until(client, BROKEN) == 500


def test_the_end_of_its_master_is_silent_also_for_who_waits_for_an_answer(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = open_pair()
    heard = Heard(ORDER, [listener], read_from_master_as_admin())
    serving = threading.Thread(target=lambda: asyncio.run(serve(heard, Channel(theirs))))
    serving.start()
    master = Master(ours)
    with closing_client(ask(listener, "/readyz")) as client:
        master.wait_for_question()
        ours.close()
        serving.join(WAIT_S)
        gc.unfreeze()
        theirs.close()
        assert not serving.is_alive()
        with pytest.raises(ConnectionError):
            client.getresponse()
    assert [record.getMessage() for record in caplog.records] == []
