"""The status says what is there: told of a fleet that lives only in the test, with a real scoreboard and listener."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec
import pytest

from prefork.config.model import Config
from prefork.control.status import ServiceStatus, judge_health, show_state
from prefork.core import events as on
from prefork.core.policy import Policy
from prefork.ipc.messages import Imported
from prefork.master.ledger import Ledger
from prefork.master.provisions import Provider, Provision
from prefork.master.reporting import Standing, report_service
from prefork.system import clock
from prefork.system.scoreboard import ACCEPTED, CONNECTIONS, LATENCY, REQUESTS, TICK, make_scoreboard
from tests.core.world import World


class Desk:
    """A fleet, its books, and what is open for it."""

    def __init__(self, provider: Provider, **policy: float) -> None:
        self.world = World(Policy(workers=2, **policy))  # type: ignore[arg-type] # the keywords are Policy's
        self.world.now = clock.monotonic()
        self.board = make_scoreboard()
        self.ledger = Ledger(self.board)
        self.config = Config(
            app="shop:app", name="shop", workers=2, workers_why="as asked", bind=("127.0.0.1:0",)
        )
        self.provision = Provision(self.config, provider.bind(self.config), None, None)
        self.is_drained = False

    def report(self) -> ServiceStatus:
        for worker in self.world.arbiter.fleet.workers.values():
            if worker.row not in self.ledger.read():
                self.ledger.open_row(worker.row)
        standing = Standing(1.7e9, clock.monotonic() - 60, self.is_drained)
        app = Imported("shop:app", "asgi", True, "", 5)
        return report_service(self.world.arbiter, self.provision, self.ledger, app, standing)


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.close_listeners()


@pytest.fixture
def desk(provider: Provider) -> Iterator[Desk]:
    desk = Desk(provider)
    yield desk
    os.close(desk.board.fd)


def test_the_status_of_a_service_that_serves(desk: Desk) -> None:
    desk.world.start()
    desk.report()
    row = desk.board.row(1)
    row[REQUESTS], row[ACCEPTED], row[CONNECTIONS] = 7, 3, 2
    row[TICK] = clock.monotonic_ns() - 10**9
    row[LATENCY + 10] = 7
    status = desk.report()
    address = status.addresses[0]
    assert address.startswith("127.0.0.1:")
    assert (status.state, status.is_ready, status.workers_wanted, status.workers_ready) == (
        "serving",
        True,
        2,
        2,
    )
    assert (status.name, status.app, status.interface, status.pid) == (
        "shop",
        "shop:app",
        "asgi",
        os.getpid(),
    )
    assert status.started_at == 1.7e9
    assert 60 <= status.uptime_s < 61
    assert [(listener.address, listener.backlog) for listener in status.listeners] == [(address, 0)]
    assert [(slot.index, slot.state, slot.restarts) for slot in status.slots] == [
        (0, "filled", 0),
        (1, "filled", 0),
    ]
    worker = status.workers[1]
    assert (worker.serial, worker.slot, worker.gen, worker.pid, worker.state) == (2, 1, 1, 10_002, "ready")
    assert (worker.requests, worker.accepted, worker.connections, worker.p50_s > 0) == (7, 3, 2, True)
    assert worker.tick_age_s is not None
    assert 1 <= worker.tick_age_s < 2
    assert status.workers[0].tick_age_s is None
    assert (status.totals.requests, status.connections, status.rollout) == (7, 2, None)
    assert (judge_health(status), show_state(status)) == (0, "serving")


def test_a_status_survives_the_wire(desk: Desk) -> None:
    desk.world.start()
    desk.world.tell(on.ReloadAsked(Policy(workers=2)))
    status = desk.report()
    assert status.rollout is not None
    assert (status.rollout.gen, status.rollout.moved, status.rollout.of, status.rollout.stage) == (
        2,
        0,
        2,
        "importing",
    )
    assert msgspec.json.decode(msgspec.json.encode(status), type=ServiceStatus) == status


def test_a_crashed_worker_leaves_a_vacant_slot_with_its_reason_and_a_degraded_service(desk: Desk) -> None:
    desk.world.start()
    desk.world.worker_exits(2, "SIGSEGV")
    status = desk.report()
    assert (status.slots[1].state, status.slots[1].last_reason) == ("backoff", "SIGSEGV")
    assert status.slots[1].retry_in_s is not None
    assert (status.restarts, status.workers_ready, judge_health(status)) == ({"crash": 1}, 1, 1)
    assert status.is_ready, "one worker still serves"
    desk.world.pass_time(1)
    assert desk.report().slots[1].restarts == 1


def test_whoever_drains_says_why(desk: Desk) -> None:
    desk.world.start()
    desk.world.tell(on.ScaleAsked(-1))
    assert [(w.state, w.why) for w in desk.report().workers] == [("ready", ""), ("draining", "scale-down")]
    assert desk.report().workers_why == "scaled; configured are 2"


@pytest.mark.parametrize("what", ["drained", "parked", "stopping"])
def test_what_an_operator_took_away_gets_no_traffic(desk: Desk, what: str) -> None:
    desk.world.start()
    assert desk.report().is_ready
    match what:
        case "drained":
            desk.is_drained = True
        case "parked":
            desk.world.tell(on.ParkAsked())
        case _:
            desk.world.tell(on.StopAsked(quick=False, reason="TERM"))
    status = desk.report()
    assert (status.is_ready, show_state(status)) == (False, what)


def test_a_service_that_has_closed_its_listeners_still_tells(desk: Desk, provider: Provider) -> None:
    desk.world.start()
    desk.world.tell(on.StopAsked(quick=False, reason="TERM"))
    provider.close_listeners()
    status = desk.report()
    assert (status.state, status.addresses, status.listeners) == ("stopping", (), ())


@pytest.mark.parametrize(
    ("min_ready", "needed"), [("1", 1), ("2", 2), ("3", 2), ("50%", 1), ("51%", 2), ("100%", 2), ("1%", 1)]
)
def test_ready_are_as_many_workers_as_min_ready_says_but_never_more_than_are_wanted(
    desk: Desk, min_ready: str, needed: int
) -> None:
    desk.provision = msgspec.structs.replace(
        desk.provision, config=msgspec.structs.replace(desk.config, min_ready=min_ready)
    )
    assert (desk.report().min_ready, desk.report().is_ready) == (needed, False)
    desk.world.start()
    assert desk.report().is_ready is True
    desk.world.worker_exits(2, "SIGSEGV")
    assert desk.report().is_ready is (needed == 1)
