"""A storm of signals to the master and of kill -9 among its workers, under load: then everything is as it should be.

It is random, and its seed is in the test's name. `STORM_S=60` in the environment makes it last a minute instead of six
seconds, `STORM_SEED=7` makes it another one.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from prefork.config.options import OPTIONS
from tests.integration.conftest import Start
from tests.integration.load import MixedLoad, Report
from tests.integration.running import Running, is_alive, read_title, wait_until

STORM_S = float(os.environ.get("STORM_S", "6"))
SEED = int(os.environ.get("STORM_SEED", "1"))
REST_TIMEOUT_S = 30.0
# Short enough that some canary lives so long between two kills.
PROOF = ("--settle", "0.2s") if any(option.key == "settle" for option in OPTIONS) else ()
WORKERS, FEWEST, MOST = 4, 2, 6
HAVE_NO_ANSWER = (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)

pytestmark = pytest.mark.timeout(120 + 2 * STORM_S)


@pytest.mark.parametrize(
    "app", ["echoes:app", pytest.param("echoes:wsgi", marks=pytest.mark.thorough)], ids=["asgi", "wsgi"]
)
@pytest.mark.parametrize("seed", [SEED])
def test_after_a_storm_of_signals_and_kills_everything_is_as_asked(
    start: Start, tmp_path: Path, app: str, seed: int
) -> None:
    running = start(app, "--workers", str(WORKERS), *PROOF, "--log-file", "service.log", wait=False)
    running.log_path = tmp_path / "service.log"
    wait_until(running.log_path.exists, "the log file")
    running.wait_serving()
    descriptors = list_descriptors(running.pid)

    with MixedLoad(running.address) as load:
        storm = Storm(running, load, random.Random(seed))
        storm.rage()
        # Signals are delivered by number (signal(7)): whoever has answered this one has heard every HUP before it.
        storm.scale(signal.SIGTTOU if storm.target > FEWEST else signal.SIGTTIN)
        wait_at_rest(running)
        assert_complete(running, storm.target)
        # A reload heals slots: after the last one a kill must still be made good.
        running.wait_for_record("worker exited", pid=storm.kill())
        assert_complete(running, storm.target)

        while storm.target != WORKERS:
            storm.scale(signal.SIGTTIN if storm.target < WORKERS else signal.SIGTTOU)
        wait_at_rest(running)
        assert_complete(running, WORKERS)
        answered = load.answered
        wait_until(lambda: load.answered > answered + 20, "answers of every kind")

    assert_only_the_killed_lost(running, load.report, kills=storm.kills, connections=6)
    wait_until(lambda: list_descriptors(running.pid) == descriptors, "as many descriptors as before")
    wait_until(lambda: not running.find_zombies(), "nobody to reap")
    assert len(running.zygotes) == 1
    assert running.stop() == 0
    running.wait_gone()


class Storm:
    """What is thrown at a running service. It knows how many workers that must leave."""

    def __init__(self, running: Running, load: MixedLoad, rng: random.Random) -> None:
        self.target = WORKERS
        self.kills = 0
        self._running = running
        self._load = load
        self._rng = rng

    def rage(self) -> None:
        deadline = time.monotonic() + STORM_S
        while time.monotonic() < deadline:
            self._rng.choice([self._signal, self._signal, self._signal, self._scale, self.kill])()
            if self._rng.random() < 0.5:
                self._pause()

    def scale(self, number: signal.Signals) -> None:
        """Pending signals of one kind merge (signal(7)), so each of these is waited for."""
        told = len(self._running.find_records("scale"))
        self.target += 1 if number == signal.SIGTTIN else -1
        self._running.signal(number)
        self._running.wait_for_record("scale", count=told + 1)
        assert self._running.find_records("scale")[-1].fields["workers"] == str(self.target)

    def kill(self) -> int:
        """Whoever it hits, booting, ready or draining; returns its pid."""
        while True:
            workers = wait_until(lambda: self._running.workers, "somebody to kill", REST_TIMEOUT_S)
            victim = self._rng.choice(workers)
            with suppress(psutil.NoSuchProcess):
                victim.kill()
                self.kills += 1
                return victim.pid

    def _signal(self) -> None:
        for _ in range(self._rng.choice([1, 1, 3])):
            self._running.signal(self._rng.choice(HAVE_NO_ANSWER))

    def _scale(self) -> None:
        ways = [
            number
            for number, is_open in (
                (signal.SIGTTIN, self.target < MOST),
                (signal.SIGTTOU, self.target > FEWEST),
            )
            if is_open
        ]
        self.scale(self._rng.choice(ways))

    def _pause(self) -> None:
        wanted = self._load.answered + self._rng.randint(1, 20)
        wait_until(lambda: self._load.answered >= wanted, "answers of every kind", REST_TIMEOUT_S)


def wait_at_rest(running: Running) -> None:
    """Nothing rolls and nothing is missing: the title changes after all else was decided."""
    wait_until(lambda: read_title(running.master).endswith("(serving)"), "a master at rest", REST_TIMEOUT_S)


def assert_complete(running: Running, target: int) -> None:
    """Each slot has one worker, it is ready, and all are of the same generation, with their one zygote."""
    workers = running.wait_workers(target, REST_TIMEOUT_S)
    titles = sorted(read_title(worker) for worker in workers)
    assert [re.findall(r"slot=(\d+)", title) for title in titles] == [[str(slot)] for slot in range(target)]
    (zygote,) = wait_until(lambda: z if len(z := running.zygotes) == 1 else [], "one zygote", REST_TIMEOUT_S)
    (gen,) = re.findall(r"gen=\d+", read_title(zygote))
    assert all(f" {gen} " in title for title in titles), titles
    assert all(is_alive(worker) for worker in workers)


def assert_only_the_killed_lost(running: Running, report: Report, *, kills: int, connections: int) -> None:
    """A killed worker takes with it what was on its connections, at most one request of each, and the log says on how
    many; one more may have been accepted and not counted.
    """
    assert kills > 0
    assert (report.refused, report.wrong, report.late) == (0, 0, 0), report
    assert report.reset + report.cut <= kills * connections, report
    exits = running.find_records("worker exited")
    told = sum(int(record.fields.get("connections", "0")) for record in exits)
    assert report.reset + report.cut <= told + kills, report
    assert sum(int(record.fields.get("lost", "0")) for record in exits) <= told


def list_descriptors(pid: int) -> list[str]:
    """What each one is, without the numbers that differ from one socket or process to the next."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists was here too
            found.append(re.sub(r"\[?\d+\]?", "", str(link.readlink())))
    return sorted(found)
