"""What a WSGI app is told about its request (PEP 3333).

Every text is native: each character one byte (latin-1). A field name with an underscore never gets in, because
`X_User` and `X-User` would become the same key, and `Proxy` never does, because CGI libraries take `HTTP_PROXY`
for the machine's own proxy.
"""

from __future__ import annotations

import sys
from typing import Any

from prefork.serve.ends import Ends
from prefork.serve.http import HttpConnection
from prefork.serve.settings import ServeSettings

Environ = dict[str, Any]

_MOST_CACHED_KEYS = 1024
_LEFT_OUT = frozenset((b"proxy", b"transfer-encoding"))
"""The latter because the body is decoded: it has a length now (RFC 9112 §7.1.3)."""


class FileWrapper:
    """`wsgi.file_wrapper`: iterates over a file in blocks and closes it."""

    def __init__(self, filelike: Any, blksize: int = 8192) -> None:
        self.filelike = filelike
        self.blksize = blksize

    def close(self) -> None:
        """Close the file, if it can be closed."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.filelike.read(self.blksize)
        if not block:
            raise StopIteration
        return block


class FieldKeys:
    """From a lower-case field name to its key in the environ. Bounded."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[bytes, str] = {
            b"content-type": "CONTENT_TYPE",
            b"content-length": "CONTENT_LENGTH",
        }

    def add_fields(self, environ: Environ, headers: list[tuple[bytes, bytes]]) -> None:
        """Put the request's fields in; repeated ones are joined (RFC 9110 §5.2)."""
        keys = self._keys
        size = len(environ)
        try:
            for name, value in headers:
                environ[keys[name]] = value.decode("latin-1")
        except KeyError:
            pass
        else:
            if len(environ) == size + len(headers):
                return
        self._add_with_care(environ, headers)  # a name is new, or stays out, or came twice

    def _add_with_care(self, environ: Environ, headers: list[tuple[bytes, bytes]]) -> None:
        seen: set[str] = set()
        for name, value in headers:
            if name in _LEFT_OUT or b"_" in name:
                continue
            key = self._keys.get(name) or self._learn(name)
            text = value.decode("latin-1")
            if key in seen:
                text = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
            seen.add(key)
            environ[key] = text

    def _learn(self, name: bytes) -> str:
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        if len(self._keys) < _MOST_CACHED_KEYS:
            self._keys[name] = key
        return key


def make_base_environ(
    connection: HttpConnection, ends: Ends | HttpConnection, settings: ServeSettings
) -> Environ:
    """The part of the environ that is the same for every request between the same ends."""
    host, port = ends.server or ("", None)
    if port is None:  # a unix socket has neither; a URL needs both
        host, port = "localhost", 443 if ends.scheme == "https" else 80
    environ: Environ = {
        "SERVER_SOFTWARE": "prefork",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SCRIPT_NAME": settings.root_path.encode("utf-8").decode("latin-1"),
        "REMOTE_ADDR": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": ends.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": settings.threads > 1,
        "wsgi.multiprocess": True,  # a reload has two workers even where there is one
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
        # Of each request; here already, because a dict that is copied whole need not grow.
        "REQUEST_METHOD": "",
        "PATH_INFO": "",
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "",
        "wsgi.early_hints": None,
        "wsgi.input": None,
    }
    if ends.client is not None:
        environ["REMOTE_ADDR"] = ends.client[0]
        environ["REMOTE_PORT"] = str(ends.client[1])
    if connection.scheme == "https":
        from prefork.serve.tls_facts import describe_for_wsgi  # noqa: PLC0415  # only with TLS

        environ |= describe_for_wsgi(connection.transport)
    return environ
