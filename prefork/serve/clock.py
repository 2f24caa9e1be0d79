"""What time is it, for everyone on this loop, without asking the kernel per request?

`refresh()` is called by the service's tick; connections only read attributes. `now` is the loop's clock at the
last tick, so an age measured with it is short by at most one tick, and a deadline is never early. The `Date` and
`Server` lines are rendered when the second changes, as the ready-made tail of a response head.

It must never arm a timer of its own: who owns the tick decides how often it is.
"""

from __future__ import annotations

import asyncio
from time import gmtime, perf_counter_ns

CLOSE_LINE = b"Connection: close\r\n"
KEEP_ALIVE_LINE = b"Connection: keep-alive\r\n"

stopwatch_ns = perf_counter_ns
"""For the length of a request: neither loop's own clock tells what happens within one of its turns."""


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def render_date() -> str:
    """Now, as an IMF-fixdate (RFC 9110 §5.6.7). `email.utils` knows it too, and costs every start 5 ms."""
    now = gmtime()
    day, month = _DAYS[now.tm_wday], _MONTHS[now.tm_mon - 1]
    return f"{day}, {now.tm_mday:02} {month} {now.tm_year:04} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02} GMT"


class Clock:
    """The loop's time and the end of a response head, both as of the last tick."""

    __slots__ = (
        "_date",
        "_loop",
        "_show_date",
        "date_line",
        "now",
        "server_line",
        "tail",
        "tail_close",
        "tail_keep_alive",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, *, show_date: bool, show_server: bool) -> None:
        self._loop = loop
        self._show_date = show_date
        self._date = ""
        self.now = 0.0
        """Seconds on the loop's clock."""
        self.server_line = b"Server: prefork\r\n" if show_server else b""
        self.date_line = b""
        self.tail = b""
        """Date, Server and the empty line; HTTP/1.1 keeps the connection unless told otherwise (RFC 9112 §9.3)."""
        self.tail_close = b""
        self.tail_keep_alive = b""
        self.refresh()

    def refresh(self) -> None:
        """Read both clocks; render the lines again when the second has changed (RFC 9110 §6.6.1)."""
        self.now = self._loop.time()
        date = render_date()
        if date == self._date:
            return
        self._date = date
        if self._show_date:
            self.date_line = f"Date: {date}\r\n".encode("ascii")
        lines = self.date_line + self.server_line
        self.tail = lines + b"\r\n"
        self.tail_close = lines + CLOSE_LINE + b"\r\n"
        self.tail_keep_alive = lines + KEEP_ALIVE_LINE + b"\r\n"
