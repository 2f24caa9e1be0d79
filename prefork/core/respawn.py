"""When may a slot fork again?

Pure: no clock, no fork. A streak comes in, a delay goes out.
Exponential per slot, not global: one broken slot must not slow the healthy ones. Only while *no* worker of the
service has lived for `min-uptime` does the whole service count as one: then one slot probes at a time, because
forking the others would crash the same way and only burn the CPU.
"""

from __future__ import annotations

BASE_S = 0.1
CAP_S = 30.0
CAP_KILLED_S = 1.0
"""SIGKILL that we did not send is somebody's decision (operator, OOM killer) and proves nothing about the app:
come back soon, but never in a tight loop."""
JITTER = 0.2


def delay_s(streak: int, *, killed: bool, spread: float) -> float:
    """How long to wait after the `streak`-th young death in a row, in seconds.

    `killed`: it died of a SIGKILL that was not ours. `spread` in [0, 1) places the delay within ±20 %.
    """
    if streak <= 0:
        return 0.0
    cap = CAP_KILLED_S if killed else CAP_S
    # min() before the power: a streak of thousands must not build a huge number.
    doubled: float = BASE_S * 2 ** min(streak - 1, 16)
    return min(doubled, cap) * (1 - JITTER + 2 * JITTER * spread)
