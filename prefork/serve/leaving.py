"""Connections that are asked to leave, because other workers have far fewer: `Connection: close` on a response.

A client that has had answers before is asked, one that is new here never, nor one whose next request has already come.
It never closes anything by itself: whoever is idle stays until it speaks, and is answered when it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefork.serve.exchange import Exchange
    from prefork.serve.http import HttpConnection
    from prefork.serve.http_service import HttpService


class Leaving:
    """One service's. While it has anybody to ask, every response asks `may_stay` before it promises another."""

    __slots__ = ("_service", "asked", "left")

    def __init__(self, service: HttpService) -> None:
        self._service = service
        self.left = 0
        """So many may still be asked."""
        self.asked = 0
        """So many were."""

    def ask(self, count: int) -> None:
        """Ask the next `count` and no more, whatever was said before."""
        self.left = count
        self._service.settle_close()

    def may_stay(self, connection: HttpConnection, exchange: Exchange) -> bool:
        """Whether the connection of this response goes on after it. If not, the exchange has been told."""
        if not self.left or not connection.served or connection.has_queued():
            return True
        self.left -= 1
        self.asked += 1
        connection.leaves = True
        exchange.keep_alive = False  # this is asked more than once for some responses
        if not self.left:
            self._service.settle_close()
        return False
