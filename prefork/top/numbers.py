"""Numbers as people read them at a glance: five or six characters at most, so that columns stay narrow."""

from __future__ import annotations

UNKNOWN = "-"


def show_rate(per_s: float | None) -> str:
    """`0`, `0.4`, `12.3`, `987`, `12.3k`, `1.2M`."""
    if per_s is None:
        return UNKNOWN
    if per_s < 0.05:
        return "0"
    return f"{per_s:.1f}" if per_s < 99.95 else show_count(round(per_s))


def show_count(count: int | None) -> str:
    """`9876`, `12.3k`, `987k`, `1.2M`."""
    if count is None:
        return UNKNOWN
    if count < 10_000:
        return str(count)
    for factor, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        scaled = count / factor
        if scaled < 99.95:
            return f"{scaled:.1f}{unit}"
        if scaled < 999.5:
            return f"{scaled:.0f}{unit}"
    return f"{count / 1e12:.1f}T"


def show_time(seconds: float | None) -> str:
    """A latency: `82us`, `1.2ms`, `12ms`, `1.20s`, `120s`. Two digits are more than the histogram knows."""
    if seconds is None:
        return UNKNOWN
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        scaled = seconds * factor
        if scaled < 9.95:
            return f"{scaled:.1f}{unit}"
        if scaled < 999.5:
            return f"{scaled:.0f}{unit}"
    return f"{seconds:.2f}s" if seconds < 9.995 else f"{seconds:.0f}s"


def show_percent(percent: float | None) -> str:
    """`0%`, `87%`, `312%`."""
    return UNKNOWN if percent is None else f"{percent:.0f}%"


def show_size(size_bytes: int | None) -> str:
    """`812K`, `19.2M`, `123M`, `1.2G`: 1024 times as much from one unit to the next."""
    if size_bytes is None:
        return UNKNOWN
    scaled = float(size_bytes)
    for unit in ("B", "K", "M", "G"):
        if scaled < 99.95 and unit in "MG":
            return f"{scaled:.1f}{unit}"
        if scaled < 999.5:
            return f"{scaled:.0f}{unit}"
        scaled /= 1024
    return f"{scaled:.1f}T"


def show_age(seconds: float) -> str:
    """`12s`, `4m12s`, `3h04m`, `2d05h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"
