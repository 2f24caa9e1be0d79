"""An answer tells what came of a request: its own reload and no other, to its end, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from prefork.control import requests as ask
from prefork.control.ring import Ring
from prefork.core import actions as do
from prefork.core import events as on
from prefork.core.policy import Policy
from prefork.errors import AppError, ConfigError, PreforkError
from prefork.master.answering import Answering
from prefork.master.children import Children
from prefork.master.loop import Master
from tests.core.world import World, make_world


class FakeMaster:
    """A master whose fleet lives only here, and whose configuration is as the test says."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.arbiter = world.arbiter
        self.is_drained = False
        self.refusal: PreforkError | None = None
        self.wrong: PreforkError | None = None
        self.failures: dict[int, AppError] = {}
        self.exit: do.Exit | None = None
        self.children = cast("Children", type("Nobody", (), {"workers": {}}))

    def read_configuration(self) -> Iterator[on.AnyEvent]:
        self.refusal = self.wrong
        if self.refusal is None:
            yield on.ReloadAsked(Policy(workers=2))

    def is_reloading(self) -> bool:
        return self.arbiter.is_reloading()

    def find_failure(self, gen: int) -> AppError | None:
        return self.failures.get(gen)


class Desk:
    """Requests in, answers out."""

    def __init__(self) -> None:
        self.world = make_world(workers=2)
        self.master = FakeMaster(self.world)
        self._answering = Answering(cast("Master", self.master), Ring())

    def ask(self, request: ask.AnyRequest) -> Answers:
        reply = self._answering.take(request, None)
        for event in reply.events:
            self.world.tell(event)
        return Answers(reply.answers)


class Answers:
    """Those to one request."""

    def __init__(self, answers: Iterator[object]) -> None:
        self._answers = answers

    def now(self) -> list[object]:
        """What there is to say now."""
        said: list[object] = []
        for answer in self._answers:
            if answer is None or isinstance(answer, float):
                break
            said.append(answer)
        return said


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_reload_is_told_step_by_step_to_its_end(desk: Desk) -> None:
    answers = desk.ask(ask.AskReload(wait=True))
    assert answers.now() == [ask.Progress(2, 0, 2, "importing")]
    assert answers.now() == [], "nothing is said twice"
    desk.world.zygote_ready(2)
    assert answers.now() == [ask.Progress(2, 0, 2, "canary")]
    desk.world.boot_all()
    assert answers.now() == [ask.Done("reloaded, 2 workers run generation 2", {"gen": 2})]


def test_a_queued_reload_waits_for_its_own_turn_and_end(desk: Desk) -> None:
    first, second = desk.ask(ask.AskReload(wait=True)), desk.ask(ask.AskReload(wait=True))
    assert second.now() == [ask.Progress(3, 0, 2, "queued")]
    desk.master.failures[2] = AppError("no database", traceback="Traceback …")
    desk.world.tell(on.ZygoteFailed(2, "no database"))
    assert first.now()[-1] == ask.Failed(
        "the reload failed: no database", ("generation 1 serves on, unchanged",), 3, "Traceback …"
    )
    desk.world.importing.discard(2)
    desk.world.boot_all()
    assert second.now()[-1] == ask.Done("reloaded, 2 workers run generation 3", {"gen": 3})


def test_a_later_request_that_is_refused_is_told_so_alone(desk: Desk) -> None:
    first = desk.ask(ask.AskReload(wait=True))
    assert first.now() == [ask.Progress(2, 0, 2, "importing")]
    desk.master.wrong = ConfigError("unknown key wokers", "did you mean workers?")
    second = desk.ask(ask.AskReload())
    assert second.now() == [ask.Failed("reload refused: unknown key wokers", ("did you mean workers?",), 78)]
    assert first.now() == [], "its own goes on"
    desk.world.boot_all()
    assert first.now()[-1] == ask.Done("reloaded, 2 workers run generation 2", {"gen": 2})


def test_a_reload_that_ends_otherwise_is_a_failure(desk: Desk) -> None:
    parked = desk.ask(ask.AskReload(wait=True))
    desk.world.tell(on.ParkAsked())
    assert "the reload failed: all workers drain" in str(parked.now()[-1])
    queued = desk.ask(ask.AskReload(wait=True))
    later = desk.ask(ask.AskReload(wait=True))
    desk.world.tell(on.StopAsked(quick=False, reason="TERM"))
    assert [each.now()[-1] for each in (queued, later)] == [
        ask.Failed("the reload was given up: the service is stopping")
    ] * 2


def test_a_worker_that_is_replaced_is_told_when_its_successor_serves(desk: Desk) -> None:
    desk.world.pass_time(5)
    answers = desk.ask(ask.AskRestart(1, wait=True))
    assert answers.now() == []
    desk.world.boot_all()
    assert answers.now() == [ask.Done("worker 1 is pid 10003 now", {"pid": 10003})]
    assert desk.ask(ask.AskRestart(7)).now() == [ask.Failed("no worker 7: there are 0 to 1", exit_code=2)]


def test_a_stop_is_told_until_the_end_and_a_second_one_does_not_make_it_quick(desk: Desk) -> None:
    first, second = desk.ask(ask.AskStop()), desk.ask(ask.AskStop())
    assert [type(answer) for answer in first.now() + second.now()] == [ask.Stopping, ask.Stopping]
    assert not any(
        worker.why.startswith("still there") for worker in desk.world.arbiter.fleet.workers.values()
    )
    desk.world.everyone_obeys()
    desk.world.zygote_exits(1, "exit 0")
    desk.master.exit = do.Exit(0, "stop")
    assert (first.now()[-1], second.now()[-1]) == (ask.Done("stopped"), ask.Done("stopped"))


@pytest.mark.parametrize("request_", [ask.AskScale(to=4), ask.AskReload(), ask.AskRestart(0), ask.AskDrain()])
def test_a_service_that_stops_refuses_changes_and_still_tells(desk: Desk, request_: ask.AnyRequest) -> None:
    desk.ask(ask.AskStop())
    assert desk.ask(request_).now() == [ask.Failed("the service is stopping")]
    assert desk.ask(ask.AskEvents()).now() == [ask.Done()]
    assert not desk.master.is_drained


def test_scaling_says_what_there_is_then_and_what_limited_it(desk: Desk) -> None:
    assert desk.ask(ask.AskScale(to=4)).now() == [ask.Done("4 workers, was 2", {"workers": 4, "was": 2})]
    assert desk.ask(ask.AskScale(by=-9)).now() == [
        ask.Done("1 worker, was 4 (as far as it goes)", {"workers": 1, "was": 4})
    ]


def test_one_worker_is_one(desk: Desk) -> None:
    desk.ask(ask.AskScale(to=1))
    answers = desk.ask(ask.AskReload(wait=True))
    desk.world.boot_all()
    assert answers.now()[-1] == ask.Done("reloaded, 1 worker runs generation 2", {"gen": 2})
