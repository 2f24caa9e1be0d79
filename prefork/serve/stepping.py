"""How an app's coroutine takes its steps: the first one at once, the rest as a task.

Most requests are answered in the coroutine's first step, and a task costs a trip through the loop before it even
takes that one. Python 3.12 can make a task eager. On 3.11 a *spare* task stands in: a real `asyncio.Task` that
waits for work. The coroutine's first step runs as that task (entered as the loop's current one, inside its context);
if the step was the last, the spare is as good as new; if the coroutine suspends, it is handed to the spare, which
waits for what it waited for and goes on with it. So `current_task()`, cancellation, timeouts, task groups and
context variables are the same in the first step as in all others.

It must never let one request see another: a spare whose first step left anything behind (a context variable, a
cancellation, a reference, a callback) is thrown away. Python 3.10 takes plain tasks.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from sys import getrefcount
from typing import Any
from weakref import getweakrefcount

Call = Coroutine[Any, Any, None]

SUSPENSIONS_BEFORE_PLAIN = 8
"""So many first steps in a row that were not the last, and an app gets plain tasks …"""
PLAIN_BEFORE_PROBE = 256
"""… for so many calls, before a spare is tried again."""


class Stepper:
    """Starts coroutines on one loop and keeps those alive that have not finished: the common part, and 3.10."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_end: Callable[[], None]) -> None:
        self._loop = loop
        self._on_end = on_end
        self.tasks: set[asyncio.Task[None]] = set()
        """Those not finished; the loop itself would only keep weak references."""

    def start(self, call: Call) -> None:
        """Take the first step of `call`, which never raises, now or soon; see to the rest."""
        self.keep(self._loop.create_task(call))

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a task until it is done."""
        self.tasks.add(task)
        task.add_done_callback(self._forget)

    def close(self) -> None:
        """Nothing will be started any more."""

    def _forget(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._on_end()


class EagerStepper(Stepper):
    """Python 3.12 and newer."""

    def start(self, call: Call) -> None:
        task = _Task(call, loop=self._loop, eager_start=True)  # type: ignore[call-arg,unused-ignore]  # 3.12
        if not task.done():
            self.keep(task)


class SpareStepper(Stepper):
    """Python 3.11."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_end: Callable[[], None]) -> None:
        super().__init__(loop, on_end)
        self._spare: Spare | None = None
        self._suspensions = 0
        self._plain_left = 0

    def start(self, call: Call) -> None:
        spare = self._spare
        if spare is None or self._plain_left or not spare.is_ready:
            self._start_plain(call)
            return
        task = spare.task
        loop = self._loop
        references, weak_references = getrefcount(task), getweakrefcount(task)
        try:
            _enter_task(loop, task)
        except RuntimeError:  # we are being called from inside another task
            self._start_plain(call)
            return
        try:
            waits_for = spare.context.run(call.send, None)
        except StopIteration:
            has_ended = True
        else:
            has_ended = False
        finally:
            _leave_task(loop, task)
        if not has_ended:
            self._suspensions += 1
            if self._suspensions > SUSPENSIONS_BEFORE_PLAIN:
                self._plain_left = PLAIN_BEFORE_PROBE
                self._suspensions = 0
            self._spare = Spare(loop)
            spare.take_over(call, waits_for)
            self.keep(task)
            return
        self._suspensions = 0
        if (
            getrefcount(task) != references
            or getweakrefcount(task) != weak_references
            or not spare.is_untouched()
        ):
            self._spare = Spare(loop)
            spare.dismiss()

    def _start_plain(self, call: Call) -> None:
        if self._plain_left:
            self._plain_left -= 1
        elif self._spare is None:
            self._spare = Spare(self._loop)
        self.keep(self._loop.create_task(call))

    def close(self) -> None:
        if self._spare is not None:
            self._spare.dismiss()
            self._spare = None


class Spare:
    """A task that waits for a coroutine whose first step was taken in its name."""

    __slots__ = ("_call", "_clean_context", "_parking", "_waits_for", "context", "is_ready", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.context: Context = copy_context()
        self._clean_context = self.context.copy()
        self._call: Call | None = None
        self._waits_for: Any = None
        self._parking: asyncio.Future[None] = loop.create_future()
        self.is_ready = False
        """Its own first step is done, so that a cancellation would find it suspended."""
        self.task: asyncio.Task[None] = asyncio.Task(self._drive(), loop=loop, context=self.context)

    def is_untouched(self) -> bool:
        """Whether a coroutine that ran as this task left no cancellation, callback or context variable behind."""
        task = self.task
        try:
            return (
                not self._parking.done()  # it was cancelled
                and not task.cancelling()
                and getattr(task, "_callbacks", None) is None  # there is no public way to ask
                and self.context == self._clean_context
            )
        except Exception:  # noqa: BLE001 - comparing the values of variables runs their own code
            return False

    def take_over(self, call: Call, waits_for: Any) -> None:
        """Go on with a coroutine that has yielded `waits_for`, in the loop's next round."""
        self._call = call
        self._waits_for = waits_for
        self.dismiss()

    def dismiss(self) -> None:
        """End the wait."""
        if not self._parking.done():
            self._parking.set_result(None)

    async def _drive(self) -> None:
        self.is_ready = True
        cancelled: BaseException | None = None
        try:
            await self._parking
        except asyncio.CancelledError as exc:
            cancelled = exc
        call, self._call = self._call, None
        if call is None:
            return
        waits_for, self._waits_for = self._waits_for, None
        await _Rest(call, waits_for, cancelled)


class _Rest:
    """All steps of a coroutine but the first."""

    __slots__ = ("_call", "_cancelled", "_waits_for")

    def __init__(self, call: Call, waits_for: Any, cancelled: BaseException | None) -> None:
        self._call = call
        self._waits_for = waits_for
        self._cancelled = cancelled

    def __await__(self) -> Generator[Any, Any, None]:
        call = self._call
        waits_for = self._waits_for
        if asyncio.isfuture(waits_for):
            # As the first step left it, unless another task has waited for the same future since.
            waits_for._asyncio_future_blocking = True  # noqa: SLF001 - the protocol between future and task
        raising = self._cancelled
        self._cancelled = None
        if raising is not None and asyncio.isfuture(waits_for) and waits_for.cancel():
            raising = (
                None  # as a task that is cancelled cancels what it waits for, and raises only if it cannot
            )
        try:
            while True:
                if raising is None:
                    try:
                        value = yield waits_for
                    except GeneratorExit:
                        call.close()
                        raise
                    except BaseException as exc:  # noqa: BLE001 - a cancellation is the coroutine's to see
                        raising = exc
                if raising is None:
                    waits_for = call.send(value)
                else:
                    thrown, raising = raising, None
                    waits_for = call.throw(thrown)
        except StopIteration:
            return


REST_CODE = _Rest.__await__.__code__
"""Runs where a coroutine is suspended that this task has taken over: its `call` is that coroutine."""


def make_stepper(loop: asyncio.AbstractEventLoop, on_end: Callable[[], None]) -> Stepper:
    """The fastest stepper that this Python has."""
    version = sys.version_info[:2]  # by name, else the type checker calls what other versions run unreachable
    if version >= (3, 12):
        return EagerStepper(loop, on_end)
    if version >= (3, 11) and sys.implementation.name == "cpython":
        return SpareStepper(loop, on_end)
    return Stepper(loop, on_end)


_Task = asyncio.Task
_enter_task = asyncio.tasks._enter_task  # noqa: SLF001 - C functions of every CPython that has them
_leave_task = asyncio.tasks._leave_task  # noqa: SLF001
