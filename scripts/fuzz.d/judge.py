"""Is what came back a row of whole responses, and no more of them than was asked for? Knows nothing of the server."""

from __future__ import annotations

import re
from dataclasses import dataclass

import h11

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9]) [ -~]*\r\n")


@dataclass(frozen=True)
class Answer:
    """One final response."""

    status: int
    query: bytes
    closes: bool


class BadAnswerError(Exception):
    """What came is no row of responses."""


def judge(sent: bytes, received: bytes, *, was_cut: bool) -> list[Answer]:
    """The answers to what was sent. `was_cut`: the client may have missed the end. Raises `BadAnswerError`."""
    answers: list[Answer] = []
    rest = received
    while rest:
        if answers and answers[-1].closes:
            raise BadAnswerError("bytes after an answer that says close")
        end = rest.find(b"\r\n\r\n")
        if end < 0:
            if was_cut:
                break
            raise BadAnswerError("a head without an end")
        if not STATUS_LINE.match(rest):
            raise BadAnswerError("no status line")
        answer, rest = _read_answer(rest, was_cut=was_cut, may_be_head=b"HEAD" in sent)
        if answer is not None:
            answers.append(answer)
    _check_count(sent, answers)
    return answers


def _read_answer(data: bytes, *, was_cut: bool, may_be_head: bool) -> tuple[Answer | None, bytes]:
    # h11 has to know the request's method. The app says it in its answer. A refusal is as to a GET, or as to a HEAD
    # if it is the end of what came: whether there was one is for the server to know.
    head = data[: data.index(b"\r\n\r\n")]
    said = re.search(rb"\r\nx-method: (\S+)", head, re.IGNORECASE)
    method = said[1] if said else b"HEAD" if may_be_head and len(data) == len(head) + 4 else b"GET"
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    answer = None
    try:
        while True:
            event = client.next_event()
            if isinstance(event, h11.InformationalResponse):
                if answer is None and event.status_code == 100:
                    return None, data[len(head) + 4 :]
                raise BadAnswerError(f"status {event.status_code}")
            if isinstance(event, h11.Response):
                fields = dict(event.headers)
                closes = b"close" in fields.get(b"connection", b"")
                answer = Answer(event.status_code, fields.get(b"x-query", b""), closes)
                if b"date" not in fields or b"server" not in fields:
                    raise BadAnswerError("no Date or no Server")
                if said is None and not closes:
                    raise BadAnswerError("a refusal that does not close")
            elif isinstance(event, h11.EndOfMessage):
                return answer, client.trailing_data[0]
            elif event is h11.NEED_DATA:
                # Neither length nor coding, to HTTP/1.0: the end of the connection is the end of the body.
                if was_cut:
                    return answer, b""
                client.receive_data(b"")
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                raise BadAnswerError("no end of the answer")
    except h11.RemoteProtocolError as error:
        raise BadAnswerError(f"{error}") from None


def _check_count(sent: bytes, answers: list[Answer]) -> None:
    if len(answers) > sent.count(b"HTTP/") + 1:  # the last may be a refusal
        raise BadAnswerError(f"{len(answers)} answers to {sent.count(b'HTTP/')} requests at most")
    for query in {answer.query for answer in answers if answer.query not in {b"", b"-"}}:
        times = sum(answer.query == query for answer in answers)
        if times > sent.count(query):
            raise BadAnswerError(f"{times} answers to {query!r}, which was sent {sent.count(query)} times")
