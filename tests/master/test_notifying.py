"""What happens between the notices and the manager's socket."""

from __future__ import annotations

from typing import cast

import pytest

from prefork.config.model import Config
from prefork.core.figures import Summary, summarise
from prefork.core.policy import Policy
from prefork.master.loop import Master
from prefork.master.notifying import RETRY_S, Notifying
from prefork.system import clock
from prefork.system.notify import Manager
from tests.core.world import World


class FakeManager:
    """Takes what it is told, while it listens."""

    name = "/run/manager"

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.error: OSError | None = None

    def tell(self, text: str) -> None:
        if self.error is not None:
            raise self.error
        self.heard.append(text.partition("\n")[0])


class FakeMaster:
    """A master as far as notices go."""

    def __init__(self) -> None:
        self.world = World(Policy(workers=1))
        self.arbiter = self.world.arbiter
        self.config = Config(app="shop:app")

    def is_reloading(self) -> bool:
        return self.arbiter.is_reloading()

    def summarise(self) -> Summary:
        return summarise(())


def test_a_manager_that_does_not_listen_is_tried_again_later_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manager, master = FakeManager(), FakeMaster()
    notifying = Notifying(cast(Manager, manager), 0.0, cast(Master, master))
    master.world.start()
    manager.error = ConnectionRefusedError(111, "Connection refused")
    for _ in range(3):
        now = clock.monotonic()
        notifying.tend()
        assert now + RETRY_S <= notifying.deadline <= clock.monotonic() + RETRY_S, "or the master would spin"
    assert [record.message for record in caplog.records] == ["the service manager does not listen"]
    manager.error = None
    notifying.tend()
    assert manager.heard[0] == "READY=1"
    assert notifying.deadline > clock.monotonic()
