"""What is around the pieces of a chunked body: sizes, extensions, trailers. Bounded, and paid for by such bodies only.

llhttp reads leading zeros and extensions without end, and holds a trailer until it ends. So the bytes that are not
body are counted while a chunked body is read; a long body may have many, a short one few.
"""

from __future__ import annotations

from collections.abc import Callable

from prefork.serve.exchange import Exchange
from prefork.serve.refusal import Refusal
from prefork.serve.settings import ServeSettings

FAIR_BYTES_PER_BYTE = 16
"""So much coding is fair for each byte of the body: one-byte chunks have 5, and may have an extension."""
MOST_UNFAIR_BYTES = 65536
"""How much more there may be, or four times `limit_request_field_size_bytes`: also what bounds the trailers."""


class ChunkWatch:
    """Stands between the connection and the parser while one body is read."""

    __slots__ = (
        "_body_bytes",
        "_exchange",
        "_feed",
        "_fields",
        "_most_bytes",
        "_most_trailers",
        "_trailers",
        "_unfair_bytes",
    )

    def __init__(
        self,
        feed: Callable[[bytes], None],
        exchange: Exchange,
        trailers: list[tuple[bytes, bytes]],
        settings: ServeSettings,
    ) -> None:
        self._feed = feed
        self._exchange = exchange
        self._fields = exchange.headers
        self._trailers = trailers
        size = settings.limit_request_field_size_bytes
        self._most_bytes = max(MOST_UNFAIR_BYTES, 4 * size) if size else 0
        self._most_trailers = settings.limit_request_fields
        self._body_bytes = 0
        self._unfair_bytes = 0

    def feed(self, data: bytes) -> None:
        """Parse `data`. Raises what the parser raises, or `Refusal`."""
        self._feed(data)
        exchange = self._exchange
        if exchange.body_complete or exchange.headers is not self._fields:
            return  # the exchange may serve the next request already, which has a list of its own
        fair_bytes = (1 + FAIR_BYTES_PER_BYTE) * (exchange.body_read_bytes - self._body_bytes)
        self._body_bytes = exchange.body_read_bytes
        self._unfair_bytes = max(0, self._unfair_bytes + len(data) - fair_bytes)
        if self._most_bytes and self._unfair_bytes > self._most_bytes:
            raise Refusal(400, "too much around the chunks of the body")
        if self._most_trailers and len(self._trailers) > self._most_trailers:
            raise Refusal(431, "more trailers than limit-request-fields")
