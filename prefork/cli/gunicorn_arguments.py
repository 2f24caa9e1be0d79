"""`GUNICORN_CMD_ARGS`, which containers set: gunicorn's command line in a variable → a layer above the files.

It counts if every flag in it means something here, and else is refused by name: half a command line is none.
"""

from __future__ import annotations

import shlex
from typing import Any

from prefork.cli.cutting import CONFIG_FLAG, PROFILE_FLAG, cut_service_words
from prefork.config.nearest import find_nearest
from prefork.config.options import NAMES
from prefork.config.sources import Layer, read_arguments
from prefork.config.values import quote
from prefork.errors import ConfigError

VARIABLE = "GUNICORN_CMD_ARGS"


def cut_arguments(text: str) -> tuple[str | None, Layer]:
    """The configuration file that it names, and what it sets. Raises `ConfigError`."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{VARIABLE} {quote(text)}: {str(error).lower()}") from None
    # gunicorn's --preload has no value, ours has one of three.
    words = ["--preload=always" if word == "--preload" else word for word in words]
    cut = cut_service_words(["run", *words])
    if cut is None:
        raise _explain(words, text)
    app, flags = cut
    given: dict[str, Any] = ({} if app is None else {"app": app}) | flags
    path = given.pop(CONFIG_FLAG, None)
    given.pop(PROFILE_FLAG, None)
    return path, read_arguments(given, VARIABLE)


def _explain(words: list[str], text: str) -> ConfigError:
    from prefork.cli.mistakes import find_elsewhere  # noqa: PLC0415  # click, for whoever ends here

    for word in words:
        name = word.partition("=")[0].lstrip("-").replace("_", "-")
        if not word.startswith("-") or name in {*NAMES, CONFIG_FLAG, "c"}:
            continue
        if hint := find_elsewhere(name):
            return ConfigError(f"{VARIABLE}: {word.partition('=')[0]} has no counterpart here", hint)
        if word.startswith("--"):
            near = find_nearest(name, NAMES)
            hints = [f"did you mean --{near}?"] if near else []
            return ConfigError(f"{VARIABLE}: unknown option {word.partition('=')[0]}", *hints)
    return ConfigError(
        f"{VARIABLE} {quote(text)}: a value is missing, or there is one too many",
        "it is read as flags of prefork's; unset it if it is meant for another program",
    )
