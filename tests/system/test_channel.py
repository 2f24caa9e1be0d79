"""A channel between two ends in one process: what is read is what was sent, and no peer can hold us up."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefork.errors import ProtocolError
from prefork.system.channel import BACKLOG_BYTES, MAX_FDS, Channel, open_pair
from tests.system.children import list_fds


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    before = list_fds()
    ours, theirs = open_pair()
    peer = Channel(theirs)
    yield ours, peer
    ours.close()
    peer.close()
    assert list_fds() <= before, "every descriptor was given back"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    os.close(read_fd)
    os.close(write_fd)


def inode_of(fd: int) -> int:
    return os.fstat(fd).st_ino


def test_what_is_sent_is_received_and_nothing_is_no_end(ends: tuple[Channel, Channel]) -> None:
    ours, peer = ends
    assert peer.receive() == b""
    ours.send(b"one\n")
    ours.send(b"two\n")
    assert peer.receive() == b"one\ntwo\n"
    assert peer.receive() == b""
    peer.send(b"three\n")
    assert ours.receive() == b"three\n"


def test_a_descriptor_arrives_as_one_of_our_own_that_closes_on_exec(
    ends: tuple[Channel, Channel], pipe: tuple[int, int]
) -> None:
    ours, peer = ends
    ours.send(b"take this\n", pipe[1])
    assert os.get_inheritable(pipe[1]) is False, "the sender keeps its own as it was"
    assert peer.receive() == b"take this\n"
    received = peer.take_promised_fd()
    assert received not in pipe
    assert inode_of(received) == inode_of(pipe[1])
    assert not os.get_inheritable(received)
    os.close(received)
    assert peer.take_fd() is None


def test_a_promised_descriptor_that_is_missing_is_a_protocol_error(ends: tuple[Channel, Channel]) -> None:
    ours, peer = ends
    ours.send(b"take this\n")
    assert peer.receive() == b"take this\n"
    with pytest.raises(ProtocolError, match="without its descriptor"):
        peer.take_promised_fd()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, 50, 4096, 65535, 65536, 65537, 300_000]), st.booleans()),
        max_size=24,
    )
)
def test_descriptors_arrive_with_their_messages_however_these_are_cut(
    messages: list[tuple[int, bool]],
) -> None:
    before = list_fds()
    ours, theirs = open_pair()
    peer = Channel(theirs)
    expected: list[tuple[bytes, int | None]] = []
    heard: list[tuple[bytes, int | None]] = []
    for size, has_fd in messages:  # all are sent before the first is read: what finds no room waits
        fd = os.memfd_create("sent") if has_fd else None
        line = (b"F" if has_fd else b"-") * (size - 1) + b"\n"
        ours.send(line, fd)
        expected.append((line, None if fd is None else inode_of(fd)))
        if fd is not None:
            os.close(fd)  # what waits has a descriptor of its own
    buffer = b""
    while len(heard) < len(expected):
        ours.flush()
        data = peer.receive()
        assert data, "there is always more until the last message is read"
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            inode = None
            if line.startswith(b"F"):
                received = peer.take_promised_fd()
                inode = inode_of(received)
                os.close(received)
            heard.append((line + b"\n", inode))
    # A line of one byte is only its end, and cannot say that it carries something.
    assert [line for line, _ in heard] == [line for line, _ in expected]
    if all(size > 1 for size, _ in messages):
        assert heard == expected
    assert not ours.has_unsent()
    ours.close()
    peer.close()
    assert list_fds() <= before


def test_a_peer_that_does_not_read_never_blocks_us_and_costs_a_bounded_amount(
    ends: tuple[Channel, Channel], pipe: tuple[int, int]
) -> None:
    ours, _peer = ends
    before = list_fds()
    line = b"x" * 65535 + b"\n"
    sent = 0
    while sent <= 2 * BACKLOG_BYTES:
        ours.send(line, pipe[1])
        sent += len(line)
        assert sum(len(waiting) for waiting, _ in ours._queue) <= BACKLOG_BYTES
    assert not ours.has_unsent(), "what it did not read is given up"
    assert list_fds() <= before, "with the descriptors that waited"
    assert ours.receive() is None, "it counts as gone"


def test_a_peer_that_was_given_up_reads_the_end(ends: tuple[Channel, Channel]) -> None:
    ours, peer = ends
    for _ in range(2 * BACKLOG_BYTES // 65536):
        ours.send(b"x" * 65536)
    assert ours.fileno() >= 0, "a selector that watches it hears the end, and can let go of it"
    received = 0
    while (data := peer.receive()) is not None:
        assert data, "no end after what was sent"
        received += len(data)
    assert 0 < received < BACKLOG_BYTES


def test_what_waits_is_sent_once_the_peer_reads(ends: tuple[Channel, Channel]) -> None:
    ours, peer = ends
    ours.send(b"x" * 1_000_000)
    assert ours.has_unsent()
    received = 0
    while received < 1_000_000:
        data = peer.receive()
        assert data
        received += len(data)
        ours.flush()
    assert (received, ours.has_unsent()) == (1_000_000, False)


def test_the_end_of_the_peer_is_read_after_its_last_words(ends: tuple[Channel, Channel]) -> None:
    ours, peer = ends
    ours.send(b"bye\n")
    ours.close()
    assert ours.is_closed
    assert peer.receive() == b"bye\n"
    assert peer.receive() is None
    assert peer.receive() is None


def test_sending_to_a_peer_that_is_gone_does_nothing(
    ends: tuple[Channel, Channel], pipe: tuple[int, int]
) -> None:
    ours, peer = ends
    peer.close()
    ours.send(b"hello?\n", pipe[0])
    assert not ours.has_unsent()
    assert ours.receive() is None
    ours.close()
    ours.send(b"hello?\n", pipe[0])
    assert ours.receive() is None


def test_descriptors_nobody_asked_for_end_the_dialogue(pipe: tuple[int, int]) -> None:
    before = list_fds()
    ours, theirs = open_pair()
    socket.send_fds(theirs, [b"x"], [pipe[0]] * MAX_FDS)
    assert ours.receive() == b"x"
    socket.send_fds(theirs, [b"x"], [pipe[0]])
    assert ours.receive() is None
    ours.close()
    theirs.close()
    assert list_fds() <= before


def test_a_hundred_descriptors_at_once_are_cut_by_the_kernel(pipe: tuple[int, int]) -> None:
    before = list_fds()
    ours, theirs = open_pair()
    socket.send_fds(theirs, [b"x"], [pipe[0]] * 100)
    ours.receive()
    assert len(list_fds() - before) <= 2 + MAX_FDS + 1
    ours.close()
    theirs.close()
    assert list_fds() <= before


def test_both_ends_close_on_exec() -> None:
    ours, theirs = open_pair()
    assert [os.get_inheritable(end.fileno()) for end in (ours, theirs)] == [False, False]
    ours.close()
    theirs.close()


def test_closing_twice_is_fine_and_closes_what_nobody_took(
    ends: tuple[Channel, Channel], pipe: tuple[int, int]
) -> None:
    ours, peer = ends
    ours.send(b"take this\n", pipe[0])
    assert peer.receive() == b"take this\n"
    peer.close()
    peer.close()
    assert peer.take_fd() is None


def test_what_waits_is_known_to_the_byte_and_can_be_read_in_pieces(ends: tuple[Channel, Channel]) -> None:
    ours, peer = ends
    ours.send(b"x" * 100)
    assert ours.unsent_bytes == 0
    assert [peer.receive(64), peer.receive(64)] == [b"x" * 64, b"x" * 36]
    ours.send(b"y" * 1_000_000)
    ours.send(b"z" * 1_000)
    received = 0
    while received < 1_001_000:
        data = peer.receive()
        assert data
        received += len(data)
        ours.flush()
        assert 0 <= ours.unsent_bytes <= 1_001_000 - received
    assert (ours.unsent_bytes, ours.has_unsent()) == (0, False)
    ours.send(b"x" * 1_000_000)
    ours.close()
    assert ours.unsent_bytes == 0
