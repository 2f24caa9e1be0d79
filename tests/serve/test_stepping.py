"""The first step of an app's coroutine is a step like any other: whichever stepper takes it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvloop

from prefork.serve.stepping import EagerStepper, SpareStepper, Stepper

Body = Callable[[], Awaitable[None]]

STEPPERS: list[type[Stepper]] = [Stepper]
if sys.version_info >= (3, 11):
    STEPPERS.append(SpareStepper)
if sys.version_info >= (3, 12):
    STEPPERS.append(EagerStepper)

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Runner:
    """Starts bodies as a connection does, from a callback of the loop; the spare, if any, is ready."""

    def __init__(self, loop: asyncio.AbstractEventLoop, make: type[Stepper]) -> None:
        self.loop = loop
        self.ended = 0
        self.stepper = make(loop, self._count)
        self.finish([self._nothing, self._nothing])

    def _count(self) -> None:
        self.ended += 1

    async def _nothing(self) -> None:
        pass

    def finish(self, bodies: list[Body]) -> list[BaseException | None]:
        """Start one body after the other in one callback each; return what they raised."""
        results: list[BaseException | None] = [None] * len(bodies)
        done = [asyncio.Event() for _ in bodies]

        async def run(number: int, body: Body) -> None:
            try:
                await body()
            except BaseException as exc:  # noqa: BLE001 - the test compares what it was
                results[number] = exc
            done[number].set()

        def begin(number: int, body: Body) -> None:
            self.stepper.start(run(number, body))

        async def wait() -> None:
            for number, body in enumerate(bodies):
                self.loop.call_soon(begin, number, body)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            for event in done:
                await asyncio.wait_for(event.wait(), 5)
            for _ in range(3):
                await asyncio.sleep(0)

        self.loop.run_until_complete(wait())
        return results

    def finish_one(self, body: Body) -> None:
        (raised,) = self.finish([body])
        if raised is not None:
            raise raised


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = request.param()
    yield loop
    loop.close()


@pytest.fixture(params=STEPPERS, ids=lambda make: make.__name__)
def runner(request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop) -> Iterator[Runner]:
    runner = Runner(loop, request.param)
    yield runner
    runner.stepper.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert asyncio.all_tasks(loop) == set()
    assert runner.stepper.tasks == set()


def test_the_task_is_the_same_before_and_after_a_suspension(runner: Runner) -> None:
    async def body() -> None:
        before = asyncio.current_task()
        assert before is not None
        await asyncio.sleep(0)
        assert asyncio.current_task() is before
        await asyncio.sleep(0.001)
        assert asyncio.current_task() is before

    for _ in range(5):
        runner.finish_one(body)


def test_results_and_exceptions_come_through_every_suspension(runner: Runner) -> None:
    async def body() -> None:
        future = runner.loop.create_future()
        runner.loop.call_soon(future.set_result, 7)
        assert await future == 7
        failing = runner.loop.create_future()
        runner.loop.call_soon(failing.set_exception, KeyError("k"))
        with pytest.raises(KeyError):
            await failing
        done = runner.loop.create_future()
        done.set_result(8)
        assert await done == 8

    for _ in range(3):
        runner.finish_one(body)


def test_the_first_future_may_fail_or_be_cancelled_before_the_task_waits(runner: Runner) -> None:
    async def fails() -> None:
        future = runner.loop.create_future()
        future.set_exception(KeyError("k"))
        with pytest.raises(KeyError):
            await asyncio.shield(future)

    async def is_cancelled() -> None:
        future = runner.loop.create_future()
        runner.loop.call_soon(future.cancel)
        with pytest.raises(asyncio.CancelledError):
            await future

    assert runner.finish([fails, is_cancelled, fails]) == [None] * 3


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout came with 3.11")
@pytest.mark.parametrize("delay_s", [-1, 0, 0.001])
def test_a_timeout_in_the_first_step_fires(runner: Runner, delay_s: float) -> None:
    async def body() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(delay_s):
                await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    for _ in range(3):
        runner.finish_one(body)


def test_wait_for_in_the_first_step_fires(runner: Runner) -> None:
    async def body() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)

    for _ in range(3):
        runner.finish_one(body)


def test_a_task_that_cancels_itself_in_its_first_step_is_cancelled_where_it_waits(runner: Runner) -> None:
    seen: list[str] = []

    async def body() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        seen.append("goes on")
        inner = runner.loop.create_future()
        try:
            await inner
        finally:
            seen.append(f"inner cancelled: {inner.cancelled()}")

    for _ in range(3):
        seen.clear()
        (raised,) = runner.finish([body])
        assert isinstance(raised, asyncio.CancelledError)
        assert seen == ["goes on", "inner cancelled: True"]


def test_a_cancellation_that_nobody_met_does_not_reach_the_next_call(runner: Runner) -> None:
    async def cancels_and_ends() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def waits() -> None:
        await asyncio.sleep(0.001)

    assert runner.finish([cancels_and_ends, waits, cancels_and_ends, waits, waits]) == [None] * 5


def test_a_cancellation_from_outside_is_met_where_the_task_waits(runner: Runner) -> None:
    async def body() -> None:
        task = asyncio.current_task()
        assert task is not None
        runner.loop.call_soon(task.cancel)
        child = runner.loop.create_task(asyncio.sleep(10))
        with pytest.raises(asyncio.CancelledError):
            await child
        assert child.cancelled()
        runner.loop.call_later(0.001, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(10)

    for _ in range(3):
        runner.finish_one(body)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup came with 3.11")
def test_a_task_group_in_the_first_step_waits_and_fails_as_ever(runner: Runner) -> None:
    async def child(value: int) -> int:
        await asyncio.sleep(0)
        return value // (value - 2)

    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            first, second = group.create_task(child(3)), group.create_task(child(4))
        assert (first.result(), second.result()) == (3, 2)
        with pytest.raises(BaseException) as caught:  # noqa: PT012 - the block is what is tested
            async with asyncio.TaskGroup() as group:
                group.create_task(child(2))
                await asyncio.sleep(10)
        assert type(caught.value).__name__ == "ExceptionGroup"

    for _ in range(3):
        runner.finish_one(body)


def test_context_variables_last_a_whole_call_and_no_longer(runner: Runner) -> None:
    async def body() -> None:
        assert variable.get() == "unset"
        variable.set("set")

    async def suspending_body() -> None:
        await body()
        await asyncio.sleep(0)
        assert variable.get() == "set"
        await asyncio.create_task(child())

    async def child() -> None:
        assert variable.get() == "set"

    one, two = body, suspending_body
    assert runner.finish([one, one, two, two, one, two, one]) == [None] * 7


def test_many_that_suspend_in_the_same_round_all_end(runner: Runner) -> None:
    ended: list[int] = []
    all_ended = asyncio.Event()

    async def start_all() -> None:
        def start() -> None:
            for number in range(50):
                runner.stepper.start(call(number))

        runner.loop.call_soon(start)
        await asyncio.wait_for(all_ended.wait(), 5)

    async def call(number: int) -> None:
        await asyncio.sleep(0.001 if number % 2 else 0)
        ended.append(number)
        if len(ended) == 50:
            all_ended.set()

    runner.loop.run_until_complete(start_all())
    runner.loop.run_until_complete(asyncio.sleep(0.01))
    assert sorted(ended) == list(range(50))


def test_apps_that_always_suspend_still_work(runner: Runner) -> None:
    async def body() -> None:
        await asyncio.sleep(0)

    assert runner.finish([body] * 60) == [None] * 60


def test_what_was_tied_to_the_task_ends_with_the_call(runner: Runner) -> None:
    called: list[str] = []
    kept: list[Any] = []
    weak: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    async def ties() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda done: called.append("done"))

    async def keeps() -> None:
        kept.append(asyncio.current_task())

    async def notes() -> None:
        task = asyncio.current_task()
        assert task not in weak
        weak[task] = "mine"

    assert runner.finish([ties, keeps, keeps, notes, notes, notes]) == [None] * 6
    assert called == ["done"]
    assert kept[0] is not kept[1]
    assert all(task.done() for task in kept)
    kept.clear()
    gc.collect()
    assert len(weak) == 0


def test_a_spare_that_was_left_clean_is_used_again(runner: Runner) -> None:
    if not isinstance(runner.stepper, SpareStepper):
        pytest.skip("this stepper has no spare")
    tasks: set[int] = set()

    async def body() -> None:
        tasks.add(id(asyncio.current_task()))

    assert runner.finish([body] * 20) == [None] * 20
    assert len(tasks) == 1


def test_a_call_from_inside_another_task_works(runner: Runner) -> None:
    ended: list[bool] = []

    async def body() -> None:
        await asyncio.sleep(0)
        ended.append(True)

    async def outer() -> None:
        runner.stepper.start(body())
        assert asyncio.current_task() is not None
        await asyncio.sleep(0.01)

    runner.loop.run_until_complete(outer())
    assert ended == [True]
