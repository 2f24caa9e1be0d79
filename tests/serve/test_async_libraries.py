"""anyio, sniffio and asyncio's own tools work in an app's first step as in every other."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import sniffio

from tests.serve.serving import GET, serving

pytestmark = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])

Step = Callable[[], Awaitable[str]]
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

CASES: dict[str, Step] = {}


def case(step: Step) -> Step:
    CASES[step.__name__] = step
    return step


@case
async def detection() -> str:
    return sniffio.current_async_library()


@case
async def task_group() -> str:
    found: list[int] = []

    async def work(number: int) -> None:
        await anyio.sleep(0.001)
        found.append(number)

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(work, number)
    return str(sorted(found))


@case
async def task_group_without_a_wait() -> str:
    async with anyio.create_task_group():
        pass
    return "done"


@case
async def cancelled_task_group() -> str:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 60)
        group.cancel_scope.cancel()
    return f"cancelled {group.cancel_scope.cancelled_caught}"


@case
async def failing_task_group() -> str:
    async def fail() -> None:
        raise ZeroDivisionError

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            await anyio.sleep(60)
    except BaseException as error:  # noqa: BLE001 - a group on 3.11 and newer, what it holds on 3.10
        return str([type(inner).__name__ for inner in getattr(error, "exceptions", [error])])
    return "nothing raised"


@case
async def move_on_after() -> str:
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep(60)
    return str(scope.cancelled_caught)


@case
async def fail_after() -> str:
    try:
        with anyio.fail_after(0.01):
            await anyio.Event().wait()
    except TimeoutError:
        return "timeout"
    return "nothing raised"


@case
async def to_thread() -> str:
    variable.set("mine")
    return await anyio.to_thread.run_sync(variable.get)


@case
async def from_thread() -> str:
    async def answer() -> str:
        await anyio.lowlevel.checkpoint()
        return "from the loop"

    return await anyio.to_thread.run_sync(anyio.from_thread.run, answer)


@case
async def shielded() -> str:
    with anyio.CancelScope() as outer:
        outer.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.001)
        try:
            await anyio.lowlevel.checkpoint()
        except asyncio.CancelledError:
            variable.set("cancelled after the shield")
            raise
    return variable.get()


@case
async def current_task() -> str:
    before = asyncio.current_task()
    await asyncio.sleep(0)
    return str(before is not None and before is asyncio.current_task())


@case
async def wait_for() -> str:
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)
    except asyncio.TimeoutError:
        return "timeout"
    return "nothing raised"


@case
async def gathering() -> str:
    async def say(word: str) -> str:
        await asyncio.sleep(0)
        return word

    return " ".join(await asyncio.gather(say("one"), say("two")))


@case
async def variables_of_a_task() -> str:
    variable.set("outer")

    async def inner() -> str:
        seen = variable.get()
        variable.set("inner")
        return seen

    return f"{await asyncio.create_task(inner())} {variable.get()}"


if sys.version_info >= (3, 11):

    @case
    async def timeout() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "timeout"
        return "nothing raised"

    @case
    async def asyncio_task_group() -> str:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, number)) for number in range(3)]
        return str([task.result() for task in tasks])


EXPECTED = {
    "detection": "asyncio",
    "task_group": "[0, 1, 2]",
    "task_group_without_a_wait": "done",
    "cancelled_task_group": "cancelled True",
    "failing_task_group": "['ZeroDivisionError']",
    "move_on_after": "True",
    "fail_after": "timeout",
    "to_thread": "mine",
    "from_thread": "from the loop",
    "shielded": "cancelled after the shield",
    "current_task": "True",
    "wait_for": "timeout",
    "gathering": "one two",
    "variables_of_a_task": "outer outer",
    "timeout": "timeout",
    "asyncio_task_group": "[0, 1, 2]",
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["query_string"] == b"later":
        await asyncio.sleep(0)
    left = variable.get()
    words = await CASES[scope["path"][1:]]()
    if left != "unset":
        words = f"left behind: {left}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": words.encode()})


@pytest.mark.parametrize("name", CASES)
def test_it_works_in_the_first_step_as_in_every_other(loop: str, name: str) -> None:
    with serving(app, loop=loop) as served:
        client = served.connect()
        for query in (b"", b"?later", b"", b"", b"?later", b""):
            response = client.ask(GET.replace(b"/ ", b"/" + name.encode() + query + b" "))
            assert (response.status, response.body.decode()) == (200, EXPECTED[name])


def test_all_of_them_one_after_another_leave_nothing_behind(loop: str) -> None:
    with serving(app, loop=loop) as served:
        client = served.connect()
        names = [name for name in CASES for _ in range(3)]
        client.send(b"".join(GET.replace(b"/ ", b"/" + name.encode() + b" ") for name in names))
        assert [client.read_response().body.decode() for _ in names] == [EXPECTED[name] for name in names]
