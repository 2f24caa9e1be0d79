"""click's usage errors → ours: the same shape as every other error, with the nearest flag."""

from __future__ import annotations

import click

from prefork.config.nearest import find_nearest
from prefork.config.values import quote
from prefork.errors import PreforkError, UsageError


def translate_mistake(mistake: click.ClickException) -> PreforkError:
    """The error to raise instead."""
    match mistake:
        case click.NoSuchOption():
            near = find_nearest(mistake.option_name, _list_flags(mistake.ctx))
            hint = f"did you mean {near}?" if near else "see prefork --help"
            return UsageError(f"unknown option {_show(mistake.option_name)}", hint)
        case _:
            return UsageError(_lower(mistake.format_message()), "see prefork --help")


def _list_flags(context: click.Context | None) -> list[str]:
    if context is None:
        return []
    return [
        flag
        for parameter in context.command.get_params(context)
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag.startswith("--")
    ]


def _show(flag: str) -> str:
    return quote(flag)[1:-1]


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:].rstrip(".")
