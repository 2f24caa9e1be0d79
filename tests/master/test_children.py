"""What the master reads from a worker: bounded, checked, and never waited for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from prefork.errors import ProtocolError
from prefork.ipc import messages as say
from prefork.ipc.codec import encode
from prefork.master.children import MESSAGES_MAX, STACKS_BYTES, WorkerHandle, ZygoteHandle
from prefork.system.channel import open_pair
from tests.system.children import list_fds

DRAINED = encode(say.Drained(0))


@pytest.fixture
def worker() -> Iterator[WorkerHandle]:
    before = list_fds()
    channel, theirs = open_pair()
    worker = WorkerHandle(serial=7, slot=1, gen=3, row=9, channel=channel)
    yield worker
    worker.close()
    worker.close()
    theirs.close()
    assert list_fds() <= before, "every descriptor was given back"


@pytest.fixture
def dumps(worker: WorkerHandle) -> Iterator[int]:
    """The end of the pipe into which the worker's stacks are dumped."""
    worker.stacks_fd, write_fd = os.pipe()
    yield write_fd
    os.close(write_fd)


def test_messages_are_heard_in_order_and_over_any_cut(worker: WorkerHandle) -> None:
    ready = say.Ready(12, "asgi", "shop:app")
    stream = encode(ready) + DRAINED
    assert worker.hear(stream[:10]) == []
    assert worker.hear(stream[10:-1]) == [ready]
    assert worker.hear(stream[-1:]) == [say.Drained(0)]


def test_a_flood_of_honest_messages_is_a_protocol_error(worker: WorkerHandle) -> None:
    assert len(worker.hear(DRAINED * MESSAGES_MAX)) == MESSAGES_MAX
    with pytest.raises(ProtocolError) as flooded:
        worker.hear(DRAINED)
    assert str(flooded.value) == "it sent more than 1000 messages"


def test_a_flood_in_one_breath_is_a_protocol_error(worker: WorkerHandle) -> None:
    with pytest.raises(ProtocolError, match="more than 1000 messages"):
        worker.hear(DRAINED * (MESSAGES_MAX + 1))


def test_a_worker_cannot_say_that_another_was_reaped(worker: WorkerHandle) -> None:
    with pytest.raises(ProtocolError, match="not a message"):
        worker.hear(encode(say.Reaped(1, 1, 0)))


def test_a_zygote_may_say_as_much_as_it_forks() -> None:
    channel, theirs = open_pair()
    zygote = ZygoteHandle(gen=1, pid=411, channel=channel)
    reaped = say.Reaped(1, 412, 0)
    assert zygote.reader.feed(encode(reaped) * (2 * MESSAGES_MAX)) == [reaped] * (2 * MESSAGES_MAX)
    channel.close()
    theirs.close()


def test_stacks_are_read_once_they_are_dumped(worker: WorkerHandle, dumps: int) -> None:
    since = worker.ask_stacks()
    os.write(dumps, "Thread 1\n  File x, line 3 in handle – \xff".encode("latin-1", "replace"))
    assert worker.read_stacks(since) == "Thread 1\n  File x, line 3 in handle ? \ufffd"
    assert worker.read_stacks(worker.ask_stacks()) == "", "and without waiting for more"


def test_the_log_and_an_operator_take_no_stacks_from_each_other(worker: WorkerHandle, dumps: int) -> None:
    """Else a worker would be killed without a word of where it was, because somebody had just looked."""
    logs = worker.ask_stacks()
    os.write(dumps, b"one\n")
    operators = worker.ask_stacks()
    assert worker.read_stacks(operators) == ""
    os.write(dumps, b"two\n")
    assert worker.read_stacks(operators) == "two\n"
    assert worker.read_stacks(logs) == "one\ntwo\n"
    os.write(dumps, b"x" * STACKS_BYTES)
    assert worker.read_stacks(logs) == worker.read_stacks(operators) == "x" * STACKS_BYTES, "the newest"


def test_no_stacks_are_no_reason_to_wait(worker: WorkerHandle) -> None:
    assert worker.read_stacks(0) == "", "it has not offered its pipe yet"
    worker.stacks_fd, write_fd = os.pipe()
    assert worker.read_stacks(0) == "", "it is stopped, and dumps nothing"
    os.close(write_fd)
    assert worker.read_stacks(0) == "", "it is gone"


def test_stacks_are_as_long_as_a_pipe_at_most(worker: WorkerHandle) -> None:
    worker.stacks_fd = os.memfd_create("endless")  # whatever a hostile worker sent as its pipe
    os.truncate(worker.stacks_fd, 100 * STACKS_BYTES)
    assert len(worker.read_stacks(0)) == STACKS_BYTES


def test_what_cannot_be_read_is_no_stacks(worker: WorkerHandle) -> None:
    worker.stacks_fd = os.open("/", os.O_RDONLY)
    assert worker.read_stacks(0) == ""


def test_closing_gives_back_the_pidfd_and_the_pipe(worker: WorkerHandle, dumps: int) -> None:
    worker.pidfd = os.open(os.devnull, os.O_RDONLY)
    worker.close()
    assert [worker.pidfd, worker.stacks_fd, worker.channel.is_closed] == [None, None, True]
    assert worker.read_stacks(0) == ""
