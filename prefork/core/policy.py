"""The part of the configuration that decisions depend on. Seconds throughout."""

from __future__ import annotations

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers, and how patient to be with them."""

    workers: int = 1
    timeout_s: float = 30.0
    boot_timeout_s: float = 60.0
    graceful_timeout_s: float = 30.0
    min_uptime_s: float = 1.0
    max_restarts: int = 16
    wait_ready: bool = False
    """Ready means that the app said so."""
    settle_s: float = 1.0
    """How long the canary of a rollout must have been ready before the other slots follow."""
    surge: int = 1
    """How many successors may boot at the same time during a rollout, after the canary."""
    surge_percent: int = 0
    """The same as a share of the workers; the larger of the two counts."""
    slow_s: float = 1.0
    """A serving loop that has been stuck for so long is told of. 0: never."""
    shutdown_delay_s: float = 0.0
    """Between the request for a graceful stop and the drain."""


BEAT_EVERY_S = 0.5
"""How often a serving loop beats."""
QUICK_STOP_S = 1.5
"""A quick stop waits so long for workers to go by themselves."""
DUMP_GRACE_S = 0.4
"""Between asking the kernel to dump a worker's stacks and killing it."""
KILL_AGAIN_S = 5.0
"""SIGKILL is repeated so often while a worker does not end (uninterruptible sleep)."""
LEAVE_GRACE_S = 2.0
"""A zygote told to leave has so long."""
DEAF_GRACE_S = 2.0
"""A worker whose channel closed has so long to be reaped."""
REAP_GRACE_S = 0.5
"""A worker that was killed is reaped within this, or its zygote does not run."""
FORK_GRACE_S = 5.0
"""A zygote that was asked for a fork confirms it within this, or it does not run."""
LEAVE_ROTATION_S = 1.0
"""A worker told to drain says that it left rotation within this, or a reload is called done without its word."""
OVERSLEPT_S = 1.0
"""Waking so much later than asked means that we did not run (suspend, SIGSTOP): blame nobody."""
