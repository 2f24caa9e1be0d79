"""Bad frames cost the connection that sent them, with the code of RFC 6455 §7.4, and are nobody else's news."""

from __future__ import annotations

import asyncio
import logging
import random
import socket as sockets
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from prefork.serve.websocket_frames import measure_frame
from tests.serve.serving import serving, wait_until
from tests.serve.websocket_apps import Echo, Message, Receive, Send, accept, websocket
from tests.serve.websocket_client import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Frame,
    Socket,
    close_data,
    open_socket,
    render,
)

LOOPS = ("uvloop", "asyncio")
pytestmark = pytest.mark.parametrize("loop", LOOPS)

DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate"
ALONE = DEFLATE + b"; client_no_context_takeover; server_no_context_takeover"
RSV1 = 4


def deflate(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-12)
    return (squeezer.compress(data) + squeezer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=-12).decompress(data + b"\0\0\xff\xff")


PROTOCOL_ERRORS = {
    "unmasked": render(TEXT, b"x", masked=False),
    "unmasked and long": render(BINARY, b"x" * 300, masked=False),
    "rsv1 without an extension": render(TEXT, b"x", rsv=4),
    "rsv2": render(TEXT, b"x", rsv=2),
    "rsv3": render(PING, b"x", rsv=1),
    "opcode 3": render(3, b"x"),
    "opcode 7": render(7, b"x"),
    "opcode 11": render(11, b"x"),
    "opcode 15": render(15, b"x"),
    "a fragmented ping": render(PING, b"x", fin=False),
    "a ping of 126 bytes": render(PING, b"x" * 126),
    "a close of 126 bytes": render(CLOSE, close_data(1000, b"x" * 124)),
    "a continuation of nothing": render(CONT, b"x"),
    "a continuation after a whole message": render(TEXT, b"x") + render(CONT, b"x"),
    "a message within a message": render(TEXT, b"x", fin=False) + render(TEXT, b"x"),
    "a close of one byte": render(CLOSE, b"x"),
    "close code 0": render(CLOSE, close_data(0)),
    "close code 999": render(CLOSE, close_data(999)),
    "close code 1004": render(CLOSE, close_data(1004)),
    "close code 1005": render(CLOSE, close_data(1005)),
    "close code 1006": render(CLOSE, close_data(1006)),
    "close code 1015": render(CLOSE, close_data(1015)),
    "close code 1016": render(CLOSE, close_data(1016)),
    "close code 2999": render(CLOSE, close_data(2999)),
    "close code 5000": render(CLOSE, close_data(5000)),
}
NOT_UTF8 = {
    "a byte": b"\xff",
    "a surrogate": b"\xed\xa0\x80",
    "too long a form": b"\xc0\xaf",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "half a character": "ü".encode()[:1],
    "half a character in a long message": b"x" * 300 + "ü".encode()[:1],
}


def assert_failed(socket: Socket, app: Echo, code: int) -> None:
    """The client got its Close, then the end; the app was told the same."""
    while (frame := socket.read()).opcode != CLOSE:
        pass
    assert int.from_bytes(frame.data[:2], "big") == code
    assert socket.is_ended()
    wait_until(lambda: bool(app.ends))
    assert [end[0] for end in app.ends] == [code]


@pytest.mark.parametrize("name", PROTOCOL_ERRORS)
def test_a_breach_of_the_protocol_is_1002(loop: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    app = Echo()
    with caplog.at_level(logging.INFO), serving(app, loop=loop) as served:
        other = open_socket(served)
        socket = open_socket(served)
        socket.client.send(PROTOCOL_ERRORS[name] + render(TEXT, b"never read"))
        assert_failed(socket, app, 1002)
        other.echo("fine")
    assert "never read" not in app.received
    assert caplog.records == []


@pytest.mark.parametrize("name", NOT_UTF8)
@pytest.mark.parametrize("way", ["whole", "fragments", "deflated"])
def test_text_that_is_not_utf8_is_1007(loop: str, name: str, way: str) -> None:
    app = Echo()
    data = NOT_UTF8[name]
    with serving(app, loop=loop) as served:
        socket = open_socket(served, ALONE)
        if way == "whole":
            socket.send(TEXT, data)
        elif way == "deflated":
            socket.send(TEXT, deflate(data), rsv=RSV1)
        else:
            socket.client.send(render(TEXT, data[:1], fin=False) + render(CONT, data[1:]))
        assert_failed(socket, app, 1007)


def test_a_close_reason_that_is_not_utf8_is_1007(loop: str) -> None:
    app = Echo()
    with serving(app, loop=loop) as served:
        socket = open_socket(served)
        socket.send(CLOSE, close_data(1000, b"\xff"))
        assert_failed(socket, app, 1007)


BIG = b"x" * 1001
TOO_BIG = {
    "short": (100, render(BINARY, BIG[:101])),
    "whole": (1000, render(BINARY, BIG)),
    "only announced": (1000, render(BINARY, bytes(1 << 21))[:14]),
    "of a size beyond everything": (1000, b"\x82\xff" + b"\x7f" + b"\xff" * 7 + b"mask"),
    "two fragments": (1000, render(BINARY, BIG[:600], fin=False) + render(CONT, BIG[:401])),
    "many fragments": (1000, render(BINARY, b"", fin=False) + render(CONT, BIG[:10], fin=False) * 101),
    "inflated": (1000, render(BINARY, deflate(BIG), rsv=RSV1)),
    "a bomb": (1000, render(BINARY, deflate(bytes(50_000_000)), rsv=RSV1)),
    "inflated fragments": (
        1000,
        render(BINARY, deflate(BIG)[:3], fin=False, rsv=RSV1) + render(CONT, deflate(BIG)[3:]),
    ),
}


@pytest.mark.parametrize("name", TOO_BIG)
def test_a_message_that_is_too_big_is_1009(loop: str, name: str) -> None:
    app = Echo()
    limit, frames = TOO_BIG[name]
    with serving(app, loop=loop, ws_max_size_bytes=limit) as served:
        socket = open_socket(served, ALONE)
        socket.client.send(frames)
        assert_failed(socket, app, 1009)
    assert app.received == []


def test_a_message_of_just_the_limit_is_taken_in_any_form(loop: str) -> None:
    app = Echo()
    data = b"x" * 1000
    with serving(app, loop=loop, ws_max_size_bytes=1000) as served:
        socket = open_socket(served, ALONE)
        forms = (
            render(BINARY, data),
            render(BINARY, data[:990], fin=False) + render(PING, b"p" * 125) + render(CONT, data[990:]),
            render(BINARY, deflate(data), rsv=RSV1),
        )
        for form in forms:
            socket.client.send(form)
            frame = socket.read()
            if frame.opcode == PONG:
                frame = socket.read()
            assert (frame.opcode, inflate(frame.data)) == (BINARY, data)
        socket.close()
    assert app.received == [data] * 3


def test_without_a_limit_a_message_may_be_of_any_size(loop: str) -> None:
    app = Echo()
    with serving(app, loop=loop, ws_max_size_bytes=0) as served:
        socket = open_socket(served)
        socket.client.send(render(BINARY, bytes(20_000_000)))
        assert len(socket.read().data) == 20_000_000


def test_a_message_in_countless_small_fragments_costs_no_more_than_its_bytes(loop: str) -> None:
    app = Echo()
    with serving(app, loop=loop) as served:
        socket = open_socket(served)
        socket.send(BINARY, b"", fin=False)
        for _ in range(20):
            socket.client.send(render(CONT, b"x", fin=False) * 500 + render(CONT, b"", fin=False) * 500)
        socket.send(CONT, b"")
        assert socket.read() == Frame(BINARY, b"x" * 10_000)
        socket.close()


def test_deflate_is_spoken_if_the_client_offers_it_and_we_may(loop: str) -> None:
    text = b"a message long enough to be worth it " * 20
    with serving(Echo(), loop=loop) as served:
        plain = open_socket(served)
        assert plain.response.get("sec-websocket-extensions") is None
        socket = open_socket(served, DEFLATE + b"; client_max_window_bits")
        answer = socket.response.get("sec-websocket-extensions") or ""
        assert answer.split("; ") == [
            "permessage-deflate",
            "server_max_window_bits=12",
            "client_max_window_bits=12",
        ]
        squeezer, stretcher = zlib.compressobj(wbits=-12), zlib.decompressobj(wbits=-12)
        sizes = []
        for _ in range(3):  # the second and third of the same are shorter: both sides remember
            data = (squeezer.compress(text) + squeezer.flush(zlib.Z_SYNC_FLUSH))[:-4]
            socket.send(TEXT, data, rsv=RSV1)
            frame = socket.read()
            assert frame.rsv1
            assert stretcher.decompress(frame.data + b"\0\0\xff\xff") == text
            sizes.append(len(frame.data))
        assert sizes[1] < sizes[0]
        socket.send(TEXT, b"short, and not compressed")
        assert socket.read() == Frame(TEXT, b"short, and not compressed")
    with serving(Echo(), loop=loop, ws_per_message_deflate=False) as served:
        socket = open_socket(served, DEFLATE)
        assert socket.response.get("sec-websocket-extensions") is None
        socket.send(TEXT, deflate(b"x"), rsv=RSV1)
        assert socket.read_close()[0] == 1002


@pytest.mark.parametrize(
    "data", [b"\xff" * 10, deflate(BIG)[:-3] + b"\xff\xff\xff"], ids=["garbage", "a bad end"]
)
def test_what_does_not_inflate_is_1002(loop: str, data: bytes) -> None:
    app = Echo()
    with serving(app, loop=loop) as served:
        socket = open_socket(served, ALONE)
        socket.send(BINARY, data, rsv=RSV1)
        assert_failed(socket, app, 1002)


def test_a_flood_of_bad_frames_is_at_most_one_line_of_debug_a_second(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    with caplog.at_level(logging.DEBUG), serving(Echo(), loop=loop) as served:
        for _ in range(50):
            assert open_socket(served, behind=render(CONT, b"x")).read_close()[0] == 1002
    ours = [record for record in caplog.records if record.name != "asyncio"]
    assert {record.levelname for record in ours} == {"DEBUG"}
    assert len(ours) <= 2 + (time.monotonic() - started)


def test_what_a_client_still_sends_does_not_overtake_its_close(loop: str) -> None:
    with serving(Echo(), loop=loop) as served:
        socket = open_socket(served)
        socket.send(CONT, b"x")
        socket.client.send_while_taken(b"y" * 65536, 3_000_000)
        assert socket.read_close()[0] == 1002


# Both directions are bounded.


def wait_still(read: Callable[[], int]) -> None:
    """Wait until a number has not changed for a while: nothing else tells that an app waits."""
    before = -1
    while before != (now := read()):
        before = now
        threading.Event().wait(0.3)


def test_a_client_whose_app_does_not_receive_is_stopped(loop: str) -> None:
    may_receive = asyncio.Event()
    received: list[int] = []

    async def late(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        await may_receive.wait()
        while (message := await receive())["type"] == "websocket.receive":
            received.append(int(message["bytes"][:8]))

    frames = [render(BINARY, b"%08d" % number + b"x" * (number % 3000)) for number in range(20_000)]
    whole = b"".join(frames)
    with serving(websocket(late), loop=loop) as served:
        client = open_socket(served).client
        taken = client.send_while_taken(whole, len(whole))
        assert taken < 12_000_000  # the kernel's buffers and ours; it sent 30 MB
        served.call(may_receive.set)
        client.send(whole[taken:])
        wait_until(lambda: len(received) == len(frames))
        assert received == list(range(len(frames)))  # none lost, none twice, in order


def test_tiny_messages_are_bounded_by_their_number_too(loop: str) -> None:
    async def deaf(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        exchanges.append(receive.__self__)  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    exchanges: list[Any] = []
    with serving(websocket(deaf), loop=loop) as served:
        client = open_socket(served).client
        client.send_while_taken(render(TEXT, b"") * 10_000, 20_000_000)
        assert 100 < len(exchanges[0]._unreceived) < 1000
        client.close()
        served.call(lambda: [task.cancel() for task in served.service.stepper.tasks])  # type: ignore[union-attr]


def test_an_app_whose_client_does_not_read_waits(loop: str) -> None:
    sent: list[int] = []

    async def pour(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        for number in range(1000):
            await send({"type": "websocket.send", "bytes": bytes(100_000)})
            sent.append(number)

    with serving(websocket(pour), loop=loop) as served:
        client = served.connect(receive_buffer_bytes=65536)
        socket = Socket(client)
        wait_still(lambda: len(sent))
        assert len(sent) < 100
        for _ in range(1000):
            assert len(socket.read().data) == 100_000
        assert socket.read_close() == (1000, "")


def test_a_client_that_takes_nothing_is_given_up_and_the_app_told(loop: str) -> None:
    errors: list[BaseException] = []

    async def pour(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        try:
            while True:
                await send({"type": "websocket.send", "bytes": bytes(100_000)})
        except OSError as error:
            errors.append(error)
            raise

    with serving(websocket(pour), loop=loop) as served:
        served.service.stall_s = 0.5
        Socket(served.connect(receive_buffer_bytes=65536))
        wait_until(lambda: bool(errors))
        wait_until(lambda: served.service.counters.connections == 0)


def test_of_the_pongs_that_a_client_does_not_read_the_last_is_kept(loop: str) -> None:
    async def pour(scope: Message, receive: Receive, send: Send) -> None:
        await accept(send)
        await send({"type": "websocket.send", "bytes": bytes(8_000_000)})
        await receive()

    with serving(websocket(pour), loop=loop) as served:
        client = served.connect(receive_buffer_bytes=65536)
        socket = Socket(client)
        for _ in range(10):
            client.send(b"".join(render(PING, b"%d" % number) for number in range(10_000)))
        client.send(render(PING, b"last"))
        assert len(socket.read().data) == 8_000_000
        pongs = [socket.read()]
        while pongs[-1] != Frame(PONG, b"last"):
            pongs.append(socket.read())
        assert len(pongs) < 50_000


# Fuzz: whatever comes, only its own connection suffers.

KINDS = 12


def make_junk(rng: random.Random) -> bytes:
    """Frames right and wrong, cut and glued at random."""
    parts = []
    for _ in range(rng.randrange(1, 8)):
        data = rng.randbytes(rng.choice((0, 1, 3, 125, 126, 300, 70_000)) if rng.random() < 0.9 else 0)
        if rng.random() < 0.5:
            data = data.hex().encode()
        opcode = rng.choice((TEXT, BINARY, CONT, PING, PONG, CLOSE, rng.randrange(16)))
        rsv = rng.choice((0, 0, 0, 4, rng.randrange(8)))
        if rsv == RSV1 and rng.random() < 0.5:
            data = deflate(data)
        frame = bytearray(render(opcode, data, fin=rng.random() < 0.7, rsv=rsv, masked=rng.random() < 0.95))
        if rng.random() < 0.2:
            frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.1:
            del frame[rng.randrange(len(frame)) :]
        parts.append(bytes(frame))
    return b"".join(parts)


@pytest.mark.parametrize("seed", range(4))
def test_no_bytes_hurt_anybody_but_their_sender(
    loop: str, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(seed)
    app = Echo()
    with caplog.at_level(logging.INFO), serving(app, loop=loop, ws_max_size_bytes=100_000) as served:
        other = open_socket(served)
        for round_ in range(60):
            junk = make_junk(rng)
            client = open_socket(
                served, ALONE, behind=b"" if rng.random() < 0.5 else junk[: rng.randrange(99)]
            ).client
            try:
                for at in range(0, len(junk), step := rng.choice((1 << 20, 1000, 97))):
                    client.send(junk[at : at + step])
                client.sock.shutdown(sockets.SHUT_WR)
            except OSError:
                pass  # it had heard enough
            client.read_to_end()
            client.close()
            other.echo(f"round {round_}")
        assert served.service.counters.connections <= 2
        other.close()
        wait_until(lambda: served.service.counters.connections == 0)
    assert len(app.ends) == len(app.scopes) == 61
    assert {code for code, _ in app.ends} <= {
        1000,
        1002,
        1005,
        1006,
        1007,
        1009,
        *range(3000, 5000),
        *range(1001, 1015),
    }
    assert caplog.records == []


@pytest.mark.parametrize("seed", range(20))
def test_good_frames_come_through_whole_however_they_are_cut(loop: str, seed: int) -> None:
    rng = random.Random(seed)
    messages = [rng.randbytes(rng.choice((0, 5, 125, 126, 1000, 65535, 65536))) for _ in range(40)]
    wire = bytearray()
    for message in messages:
        cut = sorted(rng.randrange(len(message) + 1) for _ in range(rng.choice((0, 0, 1, 3))))
        parts = [message[a:b] for a, b in zip([0, *cut], [*cut, len(message)], strict=True)]
        for number, part in enumerate(parts):
            if rng.random() < 0.2:
                wire += render(PING, b"p")
            frame = render(BINARY if number == 0 else CONT, part, fin=number == len(parts) - 1)
            assert measure_frame(frame, 0) == len(frame)
            wire += frame
    app = Echo()
    with serving(app, loop=loop) as served:
        socket = open_socket(served)
        at = 0
        echoed: list[bytes] = []
        while at < len(wire) or len(echoed) < len(messages):
            step = rng.choice((1, 2, 6, 100, 5000, 100_000))
            socket.client.send(bytes(wire[at : at + step]))
            at += step
            while len(app.received) > len(echoed) or (at >= len(wire) and len(echoed) < len(messages)):
                if (answer := socket.read()).opcode == BINARY:
                    echoed.append(answer.data)
        assert echoed == messages
