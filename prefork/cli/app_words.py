"""Which apps of the configuration do these words mean? Names, globs, `all`; or one word that is an APP itself. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from prefork.config.nearest import find_nearest
from prefork.config.tables import ALL
from prefork.config.values import quote
from prefork.errors import UsageError

_GLOB = frozenset("*?[")


def pick_apps(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that are meant, in the order of the configuration; of no words, all.

    A single word that is none of them is returned as it is: it says where an app is. Empty: there are no names.
    """
    if not words or list(words) == [ALL]:
        return list(names)
    if len(words) == 1 and _is_app(words[0], names):
        return list(words)
    picked: set[str] = set()
    for word in words:
        found = list(names) if word == ALL else fnmatch.filter(names, word)
        if not found:
            raise _explain(word, names)
        picked.update(found)
    return [name for name in names if name in picked]


def _is_app(word: str, names: Sequence[str]) -> bool:
    if word in names or word.endswith(".toml"):
        return False
    is_target = ":" in word or "/" in word or word.endswith(".py")
    return is_target or not (names or _GLOB & set(word))


def _explain(word: str, names: Sequence[str]) -> UsageError:
    if word.endswith(".toml"):
        return UsageError(f"{word} is a configuration file", f"prefork start -c {word}")
    if not names:
        return UsageError(
            f"no app {quote(word)}: the configuration has no [app.NAME]", "prefork start APP starts one"
        )
    near = find_nearest(word, names)
    hint = f"did you mean {near}?        " if near else ""
    return UsageError(f"no app {quote(word)} in the configuration", f"{hint}there are: {', '.join(names)}")
