"""How the service is, from the master: asked at most ten times a second, however many want to know.

Whoever asks while a question is under way gets its answer, and so does everybody within a tenth of a second after it.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import msgspec

from prefork.control.status import ServiceStatus
from prefork.errors import ProtocolError
from prefork.ipc import messages as say
from prefork.ipc.codec import Reader, encode
from prefork.system.channel import Channel
from prefork.system.logs import lead_elsewhere

FRESH_S = 0.1
"""An answer is as good as a new one for so long."""
ANSWER_S = 1.0
"""A master that has not answered by then does not live: it answers in a millisecond, whatever its workers do."""
SIGN_OF_LIFE_S = 2.0

_decode = msgspec.json.Decoder(ServiceStatus).decode


class Asking:
    """Our end of the channel to the master. Owned by the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        channel: Channel,
        reader: Reader[say.MasterToAdmin],
        log_fd: int | None = None,
    ) -> None:
        self._loop = loop
        self._channel = channel
        self._reader = reader
        self._log_fd = log_fd
        """Where our log lines go; None: standard error."""
        self._status: ServiceStatus | None = None
        self._asked_at = self._answered_at = -FRESH_S
        self._waiting: list[asyncio.Future[None]] = []
        self._end = loop.create_future()
        loop.add_reader(channel.fileno(), self._hear)
        self._say_we_live()

    async def ask(self) -> ServiceStatus | None:
        """How it is now, or was a moment ago; None if the master does not answer."""
        now = self._loop.time()
        if self._status is not None and now - self._answered_at < FRESH_S:
            return self._status
        if not self._waiting or now - self._asked_at >= ANSWER_S:
            self._asked_at = now
            self.tell(say.AskStanding())
        waiter = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            await asyncio.wait_for(waiter, ANSWER_S)
        except asyncio.TimeoutError:
            return None
        finally:
            with suppress(ValueError):
                self._waiting.remove(waiter)
        return self._status

    def note(self, event: str, why: str) -> None:
        """A line for the master's log; said again it is not logged again."""
        self.tell(say.AdminNote(event, why[:500]))

    def tell(self, message: say.AdminToMaster) -> None:
        """Say it now, or when the master reads again."""
        self._channel.send(encode(message))

    async def wait_end(self) -> None:
        """Return when the master has gone."""
        await self._end

    def _say_we_live(self) -> None:
        if not self._channel.has_unsent():  # a master that does not read has heard enough
            self.tell(say.AdminLives())
        else:
            self._channel.flush()
        self._loop.call_later(SIGN_OF_LIFE_S, self._say_we_live)

    def _hear(self) -> None:
        data = self._channel.receive()
        if data is None:
            self._stop()
            return
        try:
            for message in self._reader.feed(data):
                if isinstance(message, say.Standing):
                    self._status = _decode(message.status)
                    self._answered_at = self._loop.time()
                elif isinstance(message, say.ReopenLog):
                    self._write_to(self._channel.take_promised_fd())
        except (
            ProtocolError,
            msgspec.DecodeError,
        ):  # another prefork's: a fresh process may speak as it does
            self._stop()
            return
        if self._waiting and self._answered_at >= self._asked_at:
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(None)

    def _write_to(self, fd: int) -> None:
        if self._log_fd is not None:
            lead_elsewhere(self._log_fd, fd)
        os.close(fd)

    def _stop(self) -> None:
        self._loop.remove_reader(self._channel.fileno())
        if not self._end.done():
            self._end.set_result(None)
