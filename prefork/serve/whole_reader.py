"""One connection's requests that come whole and plain: taken in without a parser.

The connection asks here first, wherever a request may begin and no other one waits; what is not taken here goes to
the parser, byte by byte as it came. So nothing is ever refused here, and no byte is seen by both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from prefork.serve.exchange import Exchange
from prefork.serve.settings import ServeSettings
from prefork.serve.targets import Target
from prefork.serve.vocabulary import Vocabulary
from prefork.serve.whole_request import END, Block, read_block, read_request_line

PIECE_BYTES = 8192
"""The connection feeds the parser at most so much of a head at once; a whole request is no longer."""
NO_LIMIT = 1 << 62
STRANGE_BEFORE_PARSER = 4
"""So many requests in a row that say something new each, and the next short one is the parser's, and what follows …"""
SHORT_BYTES = 256
"""… because a few new fields cost less there, and many known ones less here …"""
LEFT_TO_PARSER = 64
"""… for so many reads; then the connection asks here again."""

Feed = Callable[[bytes], None]
Asked = tuple[str, Target]
"""A method and what it is for."""


def discard(data: bytes) -> None:
    """Stands in for the parser once nothing more may be parsed."""


class Receiver(Protocol):
    """What a reader needs of its connection."""

    def admit(self) -> Exchange:
        """An exchange for a request whose head is complete; the reader fills it in."""

    def enqueue(self) -> Exchange:
        """The same, and it waits for its turn."""

    def feed_through(self, feed: Feed) -> None:
        """Give `feed` what comes next; it raises what the parser raises, or `Refusal`."""


class WholeReader:
    """What the last such request said of its client: the next one mostly says the same, in the same bytes."""

    __slots__ = (
        "_attend",
        "_block",
        "_block_raw",
        "_connection",
        "_empty_after",
        "_known",
        "_known_raw",
        "_most_fields",
        "_most_whole_bytes",
        "_requests",
        "_settings",
        "_strange",
        "_vocabulary",
        "_whole_bytes",
        "exchange",
        "left_to_parser",
    )

    def __init__(self, connection: Receiver, vocabulary: Vocabulary, settings: ServeSettings) -> None:
        self._connection = connection
        self._vocabulary = vocabulary
        self._requests = vocabulary.requests
        self._settings = settings
        self._most_fields = settings.limit_request_fields or NO_LIMIT
        # No line of what is shorter than each limit is too long.
        limits = settings.limit_request_line_bytes, settings.limit_request_field_size_bytes
        self._most_whole_bytes = min(PIECE_BYTES, *(limit or PIECE_BYTES for limit in limits))
        self.exchange: Exchange | None = None
        """The request whose body is being read, or was read last."""
        self.left_to_parser = 0
        """Of so many reads the connection need not ask here: it counts them down."""
        self._attend: Callable[[Exchange], None] | None = None
        """Looks at each request when its head is complete."""
        self._empty_after: object = None
        """Since which request empty lines are counted."""
        self._known_raw: bytes | None = None
        """The last request without a body, from its first byte to its last …"""
        self._known: tuple[Asked, Block]
        """… and what it asks and says: it often comes again."""
        self._block: Block | None = None
        self._strange = 0
        """How many requests in a row had another block than the one before."""
        self._block_raw = b""
        """The bytes of the block, with the empty line …"""
        self._whole_bytes = -1
        """… and how many they are with the request's body."""

    def take_whole(self, data: bytes) -> Exchange | None:
        """The request that these bytes are, from the first to the last, if it is a plain one; else None."""
        if len(data) > self._most_whole_bytes:
            return None
        asked: Asked | None
        block: Block | None
        if data == self._known_raw:
            asked, block = self._known
            rest = b""
            self._strange = 0
        else:
            line, _, rest = data.partition(b"\r\n")
            if len(rest) == self._whole_bytes and rest.startswith(self._block_raw):
                block = self._block
                self._strange = 0
            else:
                self._strange += 1
                if self._strange > STRANGE_BEFORE_PARSER and len(rest) < SHORT_BYTES:
                    self.left_to_parser = LEFT_TO_PARSER
                block = self._learn_block(rest)
            if block is None:
                return None
            asked = self._requests.get(line) or read_request_line(line, self._vocabulary)
            if asked is None:
                return None
            if not block.length_bytes:
                self._known_raw, self._known = data, (asked, block)
        self.exchange = exchange = self._connection.admit()
        exchange.method, exchange.target = asked
        exchange.headers = block.fields.copy()
        exchange.block = block
        exchange.version = "1.1"
        exchange.keep_alive = True
        if block.is_last:  # what comes behind such a request is never read (RFC 9112 §9.6)
            exchange.keep_alive = False
            self._connection.feed_through(discard)
        exchange.expects_continue = False
        exchange.body_complete = True
        exchange.body_length_bytes = size = block.length_bytes
        if exchange.ends is not block.ends:
            exchange.tell_ends(block.ends)
        if self._attend is not None:
            self._attend(exchange)
        if size:
            exchange.body_read_bytes = size
            exchange.take_body(rest[-size:])
            exchange.end_body()
        self._empty_after = None
        return exchange

    def _learn_block(self, rest: bytes) -> Block | None:
        """What the rest of a request says, if it is all of a plain one: it is remembered then."""
        raw, body = rest[: -len(END)], b""
        if not rest.endswith(END):  # which costs far less than to look for it
            raw, end, body = rest.partition(END)
            if not end:
                return None
        limit = self._settings.limit_request_body_bytes
        block = read_block(raw, self._vocabulary)
        if (
            block is None
            or block.length_bytes != len(body)
            or 0 < limit < len(body)
            or len(block.fields) > self._most_fields
        ):
            return None
        self._settle_block(block)
        self._block = block
        self._block_raw = raw + END
        self._whole_bytes = len(rest)
        return block

    def _settle_block(self, block: Block) -> None:
        """Find out what its noted fields mean."""
