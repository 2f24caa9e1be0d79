"""Which worker am I? What `prefork.worker` holds inside a worker process.

Floor 0: imports nothing of ours.
"""

from __future__ import annotations

import msgspec


class Worker(msgspec.Struct, frozen=True):
    """Place of this process in the service."""

    slot: int
    """0 … count - 1; stable, its successor inherits it."""
    generation: int
    """Grows by one with every reload."""
    pid: int
    count: int
    """How many workers the service had when this one was forked."""
