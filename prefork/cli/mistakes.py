"""click's usage errors → ours: the same shape as every other error, with the nearest flag."""

from __future__ import annotations

import click

from prefork.config.nearest import find_nearest
from prefork.config.values import quote
from prefork.errors import PreforkError, UsageError

ELSEWHERE = {
    "daemon": "leave it out, and let systemd, a container or nohup keep it in the background",
    "http": "leave it out: HTTP/1.1 is parsed by llhttp",
    "lifespan": "leave it out: an app that speaks lifespan is heard, one that does not is served without",
    "log-config": "log lines are set by --log-format, --log-level and --log-file",
    "reload-delay": "leave it out: it reloads when files have been quiet for a moment",
    "reuse-port": "leave it out: all workers share one listener, see --balance",
    "worker-tmp-dir": "leave it out: workers beat in shared memory",
    "ws": "leave it out: ASGI apps have WebSockets",
    "wsgi": "leave it out: the interface is detected",
}
"""Flags of gunicorn's and uvicorn's that would mean nothing here."""


def translate_mistake(mistake: click.ClickException) -> PreforkError:
    """The error to raise instead."""
    match mistake:
        case click.NoSuchOption():
            name = mistake.option_name.lstrip("-")
            near = find_nearest(name, [flag.lstrip("-") for flag in _list_flags(mistake.ctx)])
            hint = ELSEWHERE.get(name) or (f"did you mean --{near}?" if near else "see prefork --help")
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
