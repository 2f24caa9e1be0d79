"""click's usage errors → ours: the same shape as every other error, with the nearest flag."""

from __future__ import annotations

import re

import click

from prefork.config.kinds import ACCESS_LOG
from prefork.config.nearest import find_nearest
from prefork.config.options import NAMES
from prefork.config.values import quote
from prefork.errors import PreforkError, UsageError

ELSEWHERE = {
    "daemon": "prefork start runs it in the background",
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
_EXTRA = re.compile(r"unexpected extra arguments? \((\S+).*\)")


def translate_mistake(mistake: click.ClickException) -> PreforkError:
    """The error to raise instead."""
    match mistake:
        case click.NoSuchOption():
            name = mistake.option_name.lstrip("-")
            near = find_nearest(name, [flag.lstrip("-") for flag in _list_flags(mistake.ctx)])
            hint = ELSEWHERE.get(name) or (f"did you mean --{near}?" if near else "see prefork --help")
            return UsageError(f"unknown option {_show(mistake.option_name)}", hint)
        case click.BadOptionUsage():
            name = mistake.option_name
            return UsageError(f"{name} needs a value", _show_usage(name))
        case click.UsageError() if (word := _EXTRA.search(mistake.format_message())) is not None:
            return UsageError(f"unexpected argument {quote(word[1])}", _explain_extra(word[1], mistake.ctx))
        case _:
            return UsageError(_lower(mistake.format_message()), "see prefork --help")


def _show_usage(flag: str) -> str:
    key = flag.lstrip("-").replace("_", "-")
    name = NAMES.get(key) or next((name for name in NAMES.values() if name.short == flag), None)
    if name is None:
        return f"write {flag} {'FILE' if key in {'c', 'config'} else 'NAME'}"
    if name.kind is ACCESS_LOG:
        return f"{flag} - writes to standard output, {flag} PATH to a file"
    return f"write {flag} {name.kind.metavar}"


def _explain_extra(word: str, context: click.Context | None) -> str:
    """A switch that was given a value, most often; else a second APP."""
    given = context.params if context is not None else {}
    keys = [key.replace("_", "-") for key, value in given.items() if isinstance(value, bool)]
    switches = [key for key in keys if key in NAMES]
    if word.lower() in {"true", "false", "yes", "no", "on", "off", "1", "0"} and switches:
        flag = switches[-1] if len(switches) == 1 else "SWITCH"
        return f"a switch has no value: --{flag} is true, --no-{flag} is false"
    return "prefork serves one APP; options begin with --, see prefork --help"


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
