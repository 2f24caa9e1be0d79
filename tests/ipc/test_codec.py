"""Messages ⇄ bytes: what is said arrives whole, however it is cut, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prefork.errors import ProtocolError
from prefork.ipc import messages as say
from prefork.ipc.codec import LIMIT_BYTES, decode_resume, encode, read_from_worker
from tests.ipc.dialogues import BOOT, DIALOGUES, Dialogue, types_of

FROM_WORKER = DIALOGUES[-1]
CASES = [(dialogue, message) for dialogue in DIALOGUES for message in dialogue.messages]

in_every_dialogue = pytest.mark.parametrize("dialogue", DIALOGUES, ids=lambda dialogue: dialogue.name)


@in_every_dialogue
def test_every_message_of_a_dialogue_arrives_whole_and_in_order(dialogue: Dialogue) -> None:
    assert {type(message) for message in dialogue.messages} == types_of(dialogue.union), "none is forgotten"
    stream = b"".join(map(encode, dialogue.messages))
    assert stream.count(b"\n") == len(dialogue.messages), "a newline inside is escaped"
    assert dialogue.listen().feed(stream) == dialogue.messages


@in_every_dialogue
def test_one_byte_at_a_time_says_the_same(dialogue: Dialogue) -> None:
    reader, heard = dialogue.listen(), []
    for byte in b"".join(map(encode, dialogue.messages)):
        heard += reader.feed(bytes([byte]))
    assert heard == dialogue.messages


@settings(deadline=None)
@given(data=st.data())
def test_a_stream_cut_anywhere_says_the_same(data: st.DataObject) -> None:
    dialogue = data.draw(st.sampled_from(DIALOGUES))
    stream = b"".join(map(encode, dialogue.messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    reader, heard = dialogue.listen(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        heard += reader.feed(stream[start:end])
    assert heard == dialogue.messages


@settings(deadline=None)
@given(st.text(), st.lists(st.text()))
def test_any_text_arrives_as_it_was(text: str, texts: list[str]) -> None:
    messages = [say.Draining(text), say.BootFailed(text, tuple(texts), text)]
    assert read_from_worker().feed(b"".join(map(encode, messages))) == messages


@pytest.mark.parametrize("log_fd", [None, 9])
def test_what_a_zygote_tells_itself_across_an_exec_comes_back_whole(log_fd: int | None) -> None:
    resume = say.Resume(BOOT, {1: 5, 12: 6}, 7, log_fd, log_fd and 10, 8, "thread exporter")
    assert decode_resume(encode(resume)) == resume


@in_every_dialogue
def test_nobody_can_say_the_words_of_another_dialogue(dialogue: Dialogue) -> None:
    others = [message for _, message in CASES if type(message) not in types_of(dialogue.union)]
    assert len(others) > 5
    for message in others:
        with pytest.raises(ProtocolError, match="not a message"):
            dialogue.listen().feed(encode(message))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"nonsense",
        b"null",
        b"7",
        b'"quit"',
        b"[]",
        b'["drained", 3]',
        b"{}",
        b'{"lost": 3}',
        b'{"type": null, "lost": 3}',
        b'{"type": "explode"}',
        b'{"type": "Drained", "lost": 3}',
        b'{"type": "drained"}',
        b'{"type": "drained", "lost": "3"}',
        b'{"type": "drained", "lost": 3.0}',
        b'{"type": "drained", "lost": true}',
        b'{"type": "drained", "lost": null}',
        b'{"type": "drained", "lost": 1e400}',
        b'{"type": "drained", "lost": NaN}',
        b'{"type": "drained", "lost": ' + b"9" * 5000 + b"}",
        b'{"type": "drained", "lost": 3, "path": "/etc/passwd"}',
        b'{"type": "drained", "lost": 3} {"type": "drained", "lost": 3}',
        b'{"type": "stacks", "carries_fd": false}',
        b'{"type": "ready", "boot_ms": 1, "interface": "telnet", "where": "a:b"}',
        b'{"type": "boot-failed", "message": "m", "hints": "none", "traceback": ""}',
        b'{"type": "draining", "reason": "\\ud800"}',
        b'{"type": "draining", "reason": "\xff"}',
        b'{"type": "\xff", "reason": ""}',
        b'{"\xff": ""}',
        b'{"type": "draining", "reason": "\x00"}',
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
        b"[" * 200_000,
        b'{"a":' * 40_000,
        b'{"type": "drained", "lost": ' + b"[" * 200_000,
        b'{"type": "boot-failed", "message": "", "hints": ' + b"[" * 200_000,
    ],
    ids=lambda line: repr(line[:48]),
)
def test_what_is_no_message_is_a_protocol_error(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a message: "):
        read_from_worker().feed(line + b"\n")


@settings(deadline=None)
@given(st.binary())
@example(b"\xff")
def test_no_bytes_raise_anything_but_a_protocol_error(data: bytes) -> None:
    assert hear_or_refuse(data) == []


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(FROM_WORKER.messages), st.data())
def test_a_damaged_message_is_another_one_or_a_protocol_error(
    message: say.Message, data: st.DataObject
) -> None:
    line = bytearray(encode(message)[:-1])
    for _ in range(data.draw(st.integers(1, 3))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    assert {type(heard) for heard in hear_or_refuse(bytes(line))} <= types_of(say.WorkerToMaster)


def hear_or_refuse(data: bytes) -> list[say.WorkerToMaster]:
    try:
        return read_from_worker().feed(data + b"\n")
    except ProtocolError:
        return []


def make_line_of(size_bytes: int) -> bytes:
    """A message whose line has so many bytes, its newline not counted."""
    empty = len(encode(say.Draining(""))) - 1
    return encode(say.Draining("x" * (size_bytes - empty)))


def test_a_line_may_be_as_long_as_the_limit_and_not_one_byte_longer() -> None:
    line = make_line_of(LIMIT_BYTES)
    assert len(line) == LIMIT_BYTES + 1
    assert len(read_from_worker().feed(line)) == 1
    with pytest.raises(ProtocolError, match="longer than 262144 bytes"):
        read_from_worker().feed(make_line_of(LIMIT_BYTES + 1))


def test_a_line_without_an_end_is_refused_when_it_passes_the_limit() -> None:
    reader = read_from_worker()
    piece = b"x" * 65536
    for _ in range(LIMIT_BYTES // len(piece)):
        assert reader.feed(piece) == []
    with pytest.raises(ProtocolError, match="longer than 262144 bytes"):
        reader.feed(b"x")
