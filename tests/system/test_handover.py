"""The socketpair between master and worker: who has a connection is never in doubt."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator

import pytest

from prefork.system.handover import FDS_MAX, Acknowledged, Inlet, Outlet, open_handover
from tests.system.children import list_fds


@pytest.fixture
def ends() -> Iterator[tuple[Outlet, Inlet]]:
    before = list_fds()
    outlet = open_handover()
    inlet = Inlet(os.dup(outlet.theirs.fileno()))
    yield outlet, inlet
    outlet.close()
    inlet.close()
    assert list_fds() <= before, "every descriptor was given back"


def make_connection() -> tuple[socket.socket, int]:
    """Somebody who listens for what comes, and a descriptor to hand over."""
    near, far = socket.socketpair()
    return near, far.detach()


def test_many_descriptors_arrive_with_one_message_in_order(ends: tuple[Outlet, Inlet]) -> None:
    outlet, inlet = ends
    pairs = [make_connection() for _ in range(FDS_MAX)]
    assert outlet.send(7, [fd for _, fd in pairs])
    handed = inlet.receive()
    assert handed is not None
    assert (handed.sequence, handed.sent, len(handed.fds)) == (7, FDS_MAX, FDS_MAX)
    for number, ((near, far), fd) in enumerate(zip(pairs, handed.fds, strict=True)):
        assert not os.get_inheritable(fd)
        os.write(fd, b"%d" % number)
        assert near.recv(10) == b"%d" % number
        near.close()
        os.close(far)
        os.close(fd)
    assert inlet.receive() is None
    assert not inlet.is_over


def test_what_was_taken_back_is_never_received_and_what_was_received_is_never_taken_back(
    ends: tuple[Outlet, Inlet],
) -> None:
    outlet, inlet = ends
    near, fd = make_connection()
    for sequence in (1, 2, 3):
        outlet.send(sequence, [fd])
    os.close(fd)
    handed = inlet.receive()
    assert handed is not None
    assert outlet.take_back() == [2, 3]
    assert inlet.receive() is None
    assert outlet.take_back() == []
    os.close(handed.fds[0])
    # No copy of it is left in the kernel: the other end sees the end.
    near.settimeout(5)
    assert near.recv(1) == b""
    near.close()


def test_each_message_is_acknowledged_and_without_one_there_is_nothing_to_hear(
    ends: tuple[Outlet, Inlet],
) -> None:
    outlet, inlet = ends
    assert outlet.receive() is None
    assert inlet.acknowledge(1, 64)
    assert inlet.acknowledge(2, 0)
    assert [outlet.receive(), outlet.receive(), outlet.receive()] == [
        Acknowledged(1, 64),
        Acknowledged(2, 0),
        None,
    ]


def test_noise_is_no_acknowledgement(ends: tuple[Outlet, Inlet]) -> None:
    outlet, _ = ends
    outlet.theirs.send(b"hello")
    with pytest.raises(ValueError, match="not an acknowledgement"):
        outlet.receive()


def test_a_full_queue_says_no_and_loses_nothing(ends: tuple[Outlet, Inlet]) -> None:
    outlet, inlet = ends
    sent = 0
    while outlet.send(sent + 1, ()):
        sent += 1
    received = 0
    while (handed := inlet.receive()) is not None:
        received += 1
        assert handed.sequence == received
    assert received == sent
    assert outlet.send(sent + 1, ())


def test_without_room_the_worker_has_as_many_as_fit_and_knows_how_many_were_sent(
    ends: tuple[Outlet, Inlet],
) -> None:
    outlet, inlet = ends
    near, fd = make_connection()
    outlet.send(1, [fd, fd, fd])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = next(number for number in range(3, soft) if not is_open(number))
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))  # room for one
    try:
        handed = inlet.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert handed is not None
    assert (handed.sent, len(handed.fds)) == (3, 1)
    os.close(handed.fds[0])
    os.close(fd)
    near.close()


def test_a_master_that_is_gone_leaves_what_it_sent_and_then_the_end() -> None:
    before = list_fds()
    outlet = open_handover()
    inlet = Inlet(os.dup(outlet.theirs.fileno()))
    near, fd = make_connection()
    outlet.send(1, [fd])
    outlet.close()
    os.close(fd)
    handed = inlet.receive()
    assert handed is not None
    assert inlet.acknowledge(1, 1), "nobody else has it"
    os.close(handed.fds[0])
    assert inlet.receive() is None
    assert inlet.is_over
    inlet.close()
    near.close()
    assert list_fds() <= before


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
