"""What `ps` shows: `prefork: worker shop slot=1 gen=3 ready`."""

from __future__ import annotations

import sys
from collections.abc import Callable


def _find_setter() -> Callable[[str], None] | None:
    if sys.platform == "darwin":  # it crashes there after fork
        return None
    try:
        from setproctitle import setproctitle  # noqa: PLC0415 plain names do without it
    except ImportError:
        return None
    return setproctitle


_setter = _find_setter()


def set_title(title: str) -> None:
    """Show `title` as this process's name, where that is possible."""
    if _setter is not None:
        _setter(title)
