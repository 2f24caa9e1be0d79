"""Which part of the configuration the Arbiter decides by."""

from __future__ import annotations

from prefork.config.model import Config
from prefork.core.policy import Policy


def policy_of(config: Config) -> Policy:
    """The Arbiter's view of a configuration."""
    return Policy(
        workers=config.workers,
        timeout_s=config.timeout_s,
        boot_timeout_s=config.boot_timeout_s,
        graceful_timeout_s=config.graceful_timeout_s,
        min_uptime_s=config.min_uptime_s,
        max_restarts=config.max_restarts,
        wait_ready=config.wait_ready,
        settle_s=config.settle_s,
        surge=0 if config.surge.endswith("%") else int(config.surge),
        surge_percent=int(config.surge[:-1]) if config.surge.endswith("%") else 0,
        slow_s=config.slow_s,
        shutdown_delay_s=config.shutdown_delay_s,
    )
