"""`prefork start`: what is said of a master that does not serve."""

from __future__ import annotations

import pytest

from prefork.cli.launching import Attempt, Launch
from prefork.cli.readiness import Failed
from prefork.cli.start import explain_failure

LAUNCH = Launch(name="shop", directory="/srv", arguments=(), log="/var/log/shop.log", chdir="/srv")
HAS_MORE = "/var/log/shop.log has more"


@pytest.mark.parametrize(
    ("pid", "hints", "told"),
    [
        (7, (), (HAS_MORE,)),
        (7, ("add --factory",), ("add --factory", HAS_MORE)),
        (7, (HAS_MORE,), (HAS_MORE,)),
        (0, ("it is a directory",), ("it is a directory",)),
    ],
    ids=["no hint", "a hint", "the master says it itself", "nothing was started"],
)
def test_where_there_is_more_is_told_once(pid: int, hints: tuple[str, ...], told: tuple[str, ...]) -> None:
    attempt = Attempt(LAUNCH, -1)
    attempt.pid = pid
    assert explain_failure(attempt, Failed("no", 1, hints)).hints == told
