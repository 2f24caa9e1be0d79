"""`prefork scale [NAME] N|+N|-N|max`."""

from __future__ import annotations

import re

import click

from prefork.cli.asking import WITHOUT_NAME, ask_each, make_json_option, say
from prefork.cli.picking import pick_services
from prefork.config.values import quote
from prefork.control.client import Service, ask
from prefork.control.requests import SCALE_MAX, AskScale
from prefork.errors import UsageError


def make_scale_command() -> click.Command:
    """The command."""
    return click.Command(
        "scale",
        callback=scale,
        params=[
            click.Argument(["words"], nargs=-1, metavar="[NAME|GLOB|all]… N|+N|-N|max"),
            make_json_option(),
        ],
        context_settings={"ignore_unknown_options": True},  # -2 is a number
        help="""Change how many workers there are. Reloads keep the number, unless the configured one has changed.

\b
  prefork scale shop 4      four
  prefork scale shop +2     two more; -2 two less, each answers first what it has begun
  prefork scale shop max    one for each CPU that it may use
""",
        epilog=WITHOUT_NAME,
        short_help="Change how many workers there are.",
    )


def scale(*, words: tuple[str, ...], as_json: bool) -> int:
    """The last word says to how many, the others whom."""
    if not words:
        raise UsageError("to how many workers?", "prefork scale [NAME] 4, +2, -1 or max")
    request = read_count(words[-1])

    def act(service: Service) -> None:
        done = ask(service.path, request)
        say(service, done.message, done.facts, as_json=as_json)

    return ask_each(pick_services(words[:-1]), act)


def read_count(word: str) -> AskScale:
    """Raises `UsageError`."""
    if word == "max":
        return AskScale(to="max")
    if not re.fullmatch(r"[+-]?[0-9]{1,6}", word) or int(word) == 0:
        raise UsageError(f"not a number of workers: {quote(word)}", "prefork scale NAME 4, +2, -1 or max")
    if abs(int(word)) > SCALE_MAX:
        raise UsageError(f"{word} workers are more than {SCALE_MAX}")
    return AskScale(by=int(word)) if word[0] in "+-" else AskScale(to=int(word))
