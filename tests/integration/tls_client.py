"""A client that speaks HTTPS and takes no end for granted, and a load of such clients."""

from __future__ import annotations

import json
import socket
import ssl
import threading

from tests.certificates import make_client_context

TIMEOUT_S = 10.0
GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: %b\r\n\r\n"


class Client:
    """One connection; every read has a deadline, and an end without close_notify is an error."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext | None = None,
        *,
        session: ssl.SSLSession | None = None,
    ) -> None:
        raw = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.sock = (context or make_client_context()).wrap_socket(
            raw, server_hostname="localhost", session=session, suppress_ragged_eofs=False
        )
        self.file = self.sock.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.sock.close()

    def ask(self, path: str = "/", *, last: bool = False) -> bytes:
        self.sock.sendall(GET % (path.encode(), b"close" if last else b"keep-alive"))
        return self.read_response()

    def read_response(self) -> bytes:
        status = self.file.readline()
        assert status.startswith(b"HTTP/1.1 200 "), status
        length, self.says_close = 0, False
        chunked = False
        while (line := self.file.readline()) not in {b"\r\n", b""}:
            name, _, value = line.lower().partition(b":")
            if name == b"content-length":
                length = int(value)
            chunked |= name == b"transfer-encoding"
            self.says_close |= name == b"connection" and b"close" in value
        if not chunked:
            return self.file.read(length)
        body = b""
        while size := int(self.file.readline(), 16):
            body += self.file.read(size)
            self.file.readline()
        self.file.readline()
        return body


class Load:
    """Threads that ask until the block ends, half of them with a connection each time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self.answered = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=[n % 2 == 0], daemon=True) for n in range(4)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def _ask(self, keeps_alive: bool) -> None:
        context = make_client_context()
        while not self._stop.is_set():
            try:
                with Client(self._port, context) as client:
                    while not self._stop.is_set():
                        assert json.loads(client.ask(last=not keeps_alive))["scheme"] == "https"
                        self.answered += 1
                        if client.says_close:
                            assert client.file.read() == b""
                            break
            except (OSError, ValueError, AssertionError) as error:
                self.failures.append(repr(error))
