"""A world for the Arbiter without processes: it performs actions by remembering them, and time is a number."""

from __future__ import annotations

from collections.abc import Iterable

from prefork.core import actions as do
from prefork.core import events as on
from prefork.core.arbiter import Arbiter
from prefork.core.policy import Policy
from prefork.core.records import NEVER
from prefork.core.states import WorkerState

QUIET = (do.Report, do.AdoptConfiguration)
"""Actions that say nothing of processes: left out of what `tell` returns."""
RETIRES = {"max-requests", "asked by an operator"}


class World:
    """Zygotes and workers that live only here. Every action is checked as the kernel would check it."""

    def __init__(self, policy: Policy, rows: int = 64) -> None:
        self.now = 1000.0
        self.arbiter = Arbiter(policy, spread=lambda: 0.5, rows=rows)
        self.importing: set[int] = set()
        self.zygotes: set[int] = set()
        self.confirmed: set[int] = set()
        self.booting: dict[int, do.ForkWorker] = {}
        self.alive: dict[int, do.ForkWorker] = {}
        self.ready: set[int] = set()
        self.polling: set[int] = set()
        """Who accepts."""
        self.asked: set[int] = set()
        """Who asked to be replaced."""
        self.told_to_go: set[int] = set()
        self.dumped: set[int] = set()
        self.killed: set[int] = set()
        self.ticks: dict[int, float] = {}
        self.stuck: set[int] = set()
        self.reports: list[do.Report] = []
        self.forks = 0
        self.is_stopping = False
        self.exit_code: int | None = None
        self.is_listening = True
        self.adopted = 1
        """The generation whose configuration is the service's."""

    # events

    def tell(self, event: on.AnyEvent) -> list[do.Action]:
        """Hand the event over and perform what comes back; returns it without the log lines."""
        if isinstance(event, on.StopAsked):
            self.is_stopping = True
        actions = self.arbiter.handle(event, self.now)
        for action in actions:
            self.perform(action)
        assert self.adopted == self.arbiter.fleet.base_gen, (
            "the configuration in force is another generation's"
        )
        self.arbiter.next_deadline()
        return [action for action in actions if not isinstance(action, QUIET)]

    def start(self) -> None:
        """Boot the first generation until it serves."""
        self.tell(on.Start())
        self.boot_all()

    def boot_all(self) -> None:
        """Everything that boots succeeds, canaries settle, whoever drains says so: until nothing of it is left."""
        while self.exit_code is None:
            for gen in list(self.importing):
                self.zygote_ready(gen)
            for serial in list(self.booting):
                self.worker_ready(serial)
            for serial in sorted(self.polling & self.told_to_go):
                self.leaves_rotation(serial)
            if self.importing or self.booting:
                continue
            rollout = self.arbiter.fleet.rollout
            if rollout is None or rollout.deadline == NEVER:
                return
            self.pass_time(max(0.0, rollout.deadline - self.now))

    def zygote_ready(self, gen: int) -> list[do.Action]:
        self.importing.discard(gen)
        return self.tell(on.ZygoteReady(gen))

    def worker_ready(self, serial: int) -> list[do.Action]:
        forked = self.fork_confirmed(serial)
        del self.booting[serial]
        self.ready.add(serial)
        self.polling.add(serial)
        self.ticks[serial] = self.now
        return [*forked, *self.tell(on.WorkerReady(serial, boot_ms=5))]

    def leaves_rotation(self, serial: int) -> list[do.Action]:
        self.polling.discard(serial)
        return self.tell(on.WorkerDraining(serial, "as told"))

    def retires(self, serial: int, reason: str = "max-requests") -> list[do.Action]:
        self.asked.add(serial)
        return self.tell(on.WorkerRetires(serial, reason))

    def fork_confirmed(self, serial: int) -> list[do.Action]:
        self.confirmed.add(serial)
        return self.tell(on.WorkerForked(serial, 10_000 + serial))

    def worker_exits(self, serial: int, how: str = "exit 1", *, killed: bool = False) -> list[do.Action]:
        self.alive.pop(serial)
        self.booting.pop(serial, None)
        self.ready.discard(serial)
        self.polling.discard(serial)
        self.stuck.discard(serial)
        return self.tell(on.WorkerExited(serial, how, clean=how == "exit 0", killed=killed))

    def zygote_exits(self, gen: int, how: str = "SIGKILL") -> list[do.Action]:
        self.zygotes.discard(gen)
        self.importing.discard(gen)
        for serial in [s for s, fork in self.booting.items() if fork.gen == gen and s not in self.confirmed]:
            del self.booting[serial], self.alive[serial]  # it was never forked
        return self.tell(on.ZygoteExited(gen, how))

    def pass_time(self, seconds: float) -> list[do.Action]:
        """Let time pass, waking the Arbiter at each of its deadlines; loops that are not stuck keep beating."""
        end = self.now + seconds
        done: list[do.Action] = []
        for _ in range(10_000):
            deadline = self.arbiter.next_deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            done += self.wake()
        else:
            raise AssertionError("the Arbiter spins: its deadline does not move")
        self.now = end
        return done

    def wake(self) -> list[do.Action]:
        for serial in self.ready - self.stuck:
            self.ticks[serial] = self.now
        return self.tell(on.Woke(dict(self.ticks)))

    def everyone_obeys(self) -> None:
        """Whoever was told to go goes; dismissed zygotes go once their workers are gone."""
        for serial in sorted(self.told_to_go | self.killed):
            if serial in self.alive:
                self.worker_exits(serial, "exit 0" if serial in self.told_to_go else "SIGKILL", killed=True)

    # actions

    def perform(self, action: do.Action) -> None:  # noqa: PLR0915  # one case per action
        assert self.exit_code is None, f"{action} after Exit"
        match action:
            case do.StartZygote(gen):
                assert not self.is_stopping, "a zygote was started after a stop request"
                assert gen not in self.zygotes, "two zygotes of one generation"
                self.zygotes.add(gen)
                self.importing.add(gen)
            case do.DismissZygote(gen) | do.KillZygote(gen):
                assert gen in self.zygotes, "an action names a zygote that is gone"
            case do.ForkWorker(serial, _slot, gen, row):
                assert not self.is_stopping, "a fork after a stop request"
                assert gen in self.zygotes - self.importing, "a fork asked of no zygote"
                assert row not in {fork.row for fork in self.alive.values()}, "two workers write one row"
                self.forks += 1
                self.booting[serial] = self.alive[serial] = action
            case do.DrainWorker(serial, reason):
                self.must_be_alive(serial)
                if reason == "reload" or (serial in self.asked - self.told_to_go and reason in RETIRES):
                    slot = self.alive[serial].slot
                    heirs = [s for s in self.ready if s != serial and self.alive[s].slot == slot]
                    assert heirs, "an old worker drains before its successor is READY"
                self.told_to_go.add(serial)
            case do.QuitWorker(serial):
                self.must_be_alive(serial)
                self.told_to_go.add(serial)
            case do.DumpStacks(serial):
                self.must_be_alive(serial)
                self.dumped.add(serial)
            case do.TellStall(serial):
                self.must_be_alive(serial)
                assert serial in self.dumped, "a stall is told without a stack dump"
                self.dumped.discard(serial)  # a kill needs another
            case do.KillWorker(serial):
                self.must_be_alive(serial)
                assert serial in self.dumped, "a kill without a stack dump"
                said = [r for r in self.reports if r.event == "worker condemned" and r.fields["why"]]
                assert said, "a kill without a line that says why"
                self.killed.add(serial)
            case do.ForgetWorker(serial):
                assert serial not in self.alive, "a living worker is forgotten"
            case do.AdoptConfiguration(gen):
                assert not self.is_stopping, "a service that ends adopts nothing"
                self.adopted = gen
            case do.CloseListeners():
                assert self.is_stopping or "stopping" in self.events(), "the listener is closed while serving"
                assert self.is_listening
                self.is_listening = False
            case do.Report():
                if action.event == "stopping":
                    self.is_stopping = True
                self.reports.append(action)
            case do.Exit(code, why):
                assert why
                assert not self.alive, "the master leaves orphans"
                assert not self.zygotes
                self.exit_code = code
            case _:
                raise AssertionError(f"unknown action {action!r}")

    def must_be_alive(self, serial: int) -> None:
        assert serial in self.alive, "an action names a worker that is gone"

    # questions

    def events(self) -> list[str]:
        return [report.event for report in self.reports]

    def serving(self) -> list[tuple[int, int]]:
        """(slot, generation) of every worker in rotation."""
        return sorted(
            (self.alive[s].slot, self.alive[s].gen) for s in self.ready - self.told_to_go - self.killed
        )

    def states(self) -> list[str]:
        workers: Iterable[WorkerState] = (w.state for w in self.arbiter.fleet.workers.values())
        return sorted(state.value for state in workers)


def make_world(*, workers: int = 3, **policy: float) -> World:
    """A world whose service serves."""
    world = World(Policy(workers=workers, **policy))  # type: ignore[arg-type] # the keywords are Policy's
    world.start()
    return world
