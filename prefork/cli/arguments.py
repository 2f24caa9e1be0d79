"""The flags that were given → the words of a command line that gives them again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefork.config.kinds import PAIRS, SECRET
from prefork.config.options import NAMES

_SECRET_KINDS = (PAIRS, SECRET)


def write_arguments(app: str, flags: Mapping[str, Any]) -> tuple[str, ...]:
    """`main:app`, `--workers=2`, `--no-reload`, … One word each, so that no value can become a flag."""
    words = [app] if app else []
    for key, value in flags.items():
        if isinstance(value, bool):
            words.append(f"--{key}" if value else f"--no-{key}")
            continue
        values = value if isinstance(value, list | tuple) else (value,)
        words += [f"--{key}={each}" for each in values]
    return tuple(words)


def find_secrets(flags: Mapping[str, Any]) -> tuple[str, ...]:
    """The flags whose values are nobody's business: they are never written to a disk."""
    return tuple(key for key in flags if key in NAMES and NAMES[key].kind in _SECRET_KINDS)
