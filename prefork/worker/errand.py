"""What a forked child is to do."""

from __future__ import annotations

from typing import NamedTuple

from prefork.ipc.messages import Boot, Fork
from prefork.serve.app import LoadedApp


class Errand(NamedTuple):
    """Everything a worker starts with."""

    boot: Boot
    app: LoadedApp | None
    """None: import it yourself."""
    fork: Fork
    channel_fd: int
