"""A gunicorn.conf.py → what it sets, in our words.

It is Python, and whose code runs in the master can block, kill or bloat it: a short-lived interpreter runs it, with a
limit of time, and answers with plain values. A reload asks again, and the master does not wait for the answer.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

import msgspec

from prefork.config.gunicorn import HOOKS, SETTINGS, Left, Translated, translate
from prefork.config.values import is_clean
from prefork.errors import ConfigError
from prefork.system.inquiry import Answer, Inquiry

LIMIT_S = 5.0
MOST_SHOWN = 200


def read_gunicorn_file(path: str, label: str, directory: str, environ: Mapping[str, str]) -> Translated:
    """Run the file at `path` as gunicorn does, in `directory`, and wait for what it sets; `label` names it in errors.
    Raises `ConfigError`.
    """
    return read_answer(ask_gunicorn_file(path, label, directory, environ).wait(), label)


def ask_gunicorn_file(path: str, label: str, directory: str, environ: Mapping[str, str]) -> Inquiry:
    """Only start to. Raises `ConfigError`."""
    child = posixpath.join(posixpath.dirname(posixpath.abspath(__file__)), "gunicorn_child.py")
    try:
        return Inquiry(child, [path, directory, ",".join(SETTINGS), ",".join(HOOKS)], environ, LIMIT_S)
    except OSError as error:
        raise ConfigError(f"cannot start an interpreter for {label}: {error.strerror}") from None


def read_answer(answer: Answer, label: str) -> Translated:
    """What the file sets. Raises `ConfigError`."""
    found = _decode(answer, label)
    if "error" in found:
        place = f"{label}:{found['line']}" if found["line"] else label
        raise ConfigError(
            f"{place}: {_clean(found['error'])}", "a gunicorn.conf.py is run as gunicorn runs it"
        )
    read = translate(found["settings"], found["hooks"])
    odd = tuple(Left(name, "its value is neither text, number, list nor table") for name in found["odd"])
    return Translated(read.keys, read.left + odd, read.hooks)


def refuse_left(read: Translated, label: str) -> None:
    """Whoever serves by the file must have all that it asks for. Raises `ConfigError`."""
    left = [each for each in read.left if each.name.partition("(")[0] not in read.hooks]
    if not left:
        return
    first, *others = left
    hints = [first.instead]
    if others:
        hints.append(f"nor have {', '.join(each.name for each in others)}"[:MOST_SHOWN])
    hints.append(f"prefork init --from {label} writes a prefork.toml of it, with a line for each of these")
    raise ConfigError(f"{label}: {first.name} has no counterpart here", *hints)


def _decode(answer: Answer, label: str) -> dict[str, Any]:
    if answer.is_late:
        raise ConfigError(
            f"{label} was still running after {LIMIT_S:g} s", "settings are read at every start and reload"
        )
    try:
        found: dict[str, Any] = msgspec.json.decode(answer.text, type=dict[str, Any])
    except msgspec.DecodeError:
        how = f" ({answer.how})" if answer.how else ""
        raise ConfigError(f"{label} ended its interpreter{how}") from None
    return found


def _clean(text: str) -> str:
    shown = text[:MOST_SHOWN]
    return shown if is_clean(shown) else repr(shown)[1:-1]
