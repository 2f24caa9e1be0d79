"""`prefork [run] APP …` → the app and its flags, without click.

The master lives on in the process that read the command line, and click would stay in its memory for good (over 2 MB)
and costs every start its import. So words that are plain are cut here; whatever is not (a mistake, --help, another
command) is left to click, which knows how to say what is wrong. A test holds the two to the same results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from prefork.config.options import NAMES, Name

CONFIG_FLAG = "config"
PROFILE_FLAG = "profile"
READING_FLAGS = (CONFIG_FLAG, PROFILE_FLAG)
"""What says what to read, and is no option."""


class Flag(NamedTuple):
    """What one flag sets."""

    key: str
    takes_value: bool
    is_repeatable: bool = False
    means: bool = True
    """Of a switch."""


def cut_service_words(words: Sequence[str]) -> tuple[str | None, dict[str, Any]] | None:
    """The app, if one is named, and the flags that were given, by key, in the table's order. None: let click read it.

    Without `run` before it, the app is told from a command, of whatever name, by the colon, slash or dot that is in it.
    """
    flags = _list_flags()
    given: dict[str, Any] = {}
    app: str | None = None
    is_run = list(words[:1]) == ["run"]
    waiting = list(reversed(words[1:] if is_run else words))
    while waiting:
        word = waiting.pop()
        if not word.startswith("-"):
            if app is not None or not (is_run or any(sign in word for sign in ":/.")):
                return None
            app = word
            continue
        name, value = _split(word)
        flag = flags.get(name)
        if flag is None or flag.takes_value != (value is not None or _has_value(flag, waiting)):
            return None
        if not flag.takes_value:
            given[flag.key] = flag.means
            continue
        value = waiting.pop() if value is None else value
        given[flag.key] = (*given.get(flag.key, ()), value) if flag.is_repeatable else value
    return app, {key: given[key] for key in (*READING_FLAGS, *NAMES) if key in given}


def _split(word: str) -> tuple[str, str | None]:
    """Flag and value of `--workers=4`, `--worker_class`, `-w4`, `-w`."""
    if not word.startswith("--"):
        return word[:2], word[2:] or None
    name, sign, value = word.partition("=")
    return "--" + name[2:].replace("_", "-"), value if sign else None


def _has_value(flag: Flag, waiting: Sequence[str]) -> bool:
    # A value that looks like a flag is more often a forgotten value: click decides. Alone, - is standard output.
    return flag.takes_value and bool(waiting) and (waiting[-1] == "-" or not waiting[-1].startswith("-"))


def _list_flags() -> Mapping[str, Flag]:
    config = Flag(CONFIG_FLAG, takes_value=True)
    flags = {
        f"--{CONFIG_FLAG}": config,
        "-c": config,
        f"--{PROFILE_FLAG}": Flag(PROFILE_FLAG, takes_value=True),
    }
    for name in NAMES.values():
        if not name.option.positional:
            flags |= _list_spellings(name)
    return MappingProxyType(flags)


def _list_spellings(name: Name) -> dict[str, Flag]:
    if name.kind.metavar:
        flag = Flag(name.key, takes_value=True, is_repeatable=name.option.repeatable)
        return {f"--{name.key}": flag} | ({name.short: flag} if name.short else {})
    switch = {f"--{name.key}": Flag(name.key, takes_value=False)}
    if not name.key.startswith("no-"):
        switch[f"--no-{name.key}"] = Flag(name.key, takes_value=False, means=False)
    return switch
