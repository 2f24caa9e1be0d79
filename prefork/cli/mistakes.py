"""click's usage errors → ours: the same shape as every other error, with the nearest flag."""

from __future__ import annotations

import re

import click

from prefork.config.gunicorn import list_flags
from prefork.config.kinds import ACCESS_LOG
from prefork.config.nearest import find_nearest
from prefork.config.options import NAMES
from prefork.config.values import quote
from prefork.errors import PreforkError, UsageError

_LOGGING = "log lines are set by --log-format, --log-level and --log-file"
_NODE = "leave it out: it means something to Node.js alone"
ELSEWHERE = {
    # uvicorn's
    "h11-max-incomplete-event-size": "set --limit-request-line and --limit-request-field-size",
    "header": "set it in the app, or in the proxy in front",
    "http": "leave it out: HTTP/1.1 is parsed by llhttp",
    "http2": "leave it out: HTTP/2 ends at the proxy in front",
    "lifespan": "leave it out: an app that speaks lifespan is heard, one that does not is served without",
    "no-use-colors": "set NO_COLOR=1",
    "reload-delay": "leave it out: it reloads when files have been quiet for a moment",
    "reset-contextvars": "leave it out: a request never sees the variables of another",
    "timeout-worker-healthcheck": "set --timeout: whoever's loop is stuck for so long is replaced",
    "use-colors": "leave it out: a terminal gets colours; FORCE_COLOR=1 elsewhere",
    "ws": "leave it out: ASGI apps have WebSockets",
    "ws-max-queue": "leave it out: a client waits when its app does not read",
    # PM2's
    "attach": "prefork logs NAME -f",
    "cron-restart": "a timer of systemd's or a line of crontab: prefork reload NAME; --max-age replaces by age",
    "cwd": "set --chdir",
    "error": "set --log-file",
    "exp-backoff-restart-delay": "leave it out: a worker that dies young waits longer each time",
    "ignore-watch": "set --reload-exclude",
    "interpreter": "leave it out: the Python that runs prefork runs the app",
    "interpreter-args": "set PYTHON… variables before prefork starts",
    "log": "set --log-file",
    "log-date-format": "set --log-time local, utc or none",
    "merge-logs": "leave it out: one log for all workers",
    "namespace": "leave it out: prefork start takes names with *",
    "no-autorestart": "leave it out: --max-restarts says when a worker is left alone",
    "no-daemon": "prefork run serves in the foreground",
    "node-args": _NODE,
    "only": "prefork start NAME",
    "output": "leave it out: standard output goes with the log, see --capture-output",
    "restart-delay": "leave it out: a worker that dies young waits longer each time",
    "shutdown-with-message": "leave it out: workers are told by their master",
    "source-map-support": _NODE,
    "stop-exit-codes": "leave it out: a worker that ends is replaced, whatever its code",
    "uid": "set --user",
    "gid": "set --group",
    "update-env": "prefork restart NAME",
    "watch-delay": "leave it out: it reloads when files have been quiet for a moment",
    # a habit of several
    "log-config": _LOGGING,
    "wsgi": "leave it out: the interface is detected",
}
"""Flags of uvicorn's and PM2's that would mean nothing here; gunicorn's are in `config/gunicorn.py`."""
_EXTRA = re.compile(r"unexpected extra arguments? \((\S+).*\)")


def translate_mistake(mistake: click.ClickException) -> PreforkError:
    """The error to raise instead."""
    match mistake:
        case click.NoSuchOption():
            name = mistake.option_name.lstrip("-")
            near = find_nearest(name, [flag.lstrip("-") for flag in _list_flags(mistake.ctx)])
            hint = find_elsewhere(name) or (f"did you mean --{near}?" if near else _name_help(mistake.ctx))
            return UsageError(f"unknown option {_show(mistake.option_name)}", hint)
        case click.BadOptionUsage():
            name = mistake.option_name
            return UsageError(f"{name} needs a value", _show_usage(name))
        case click.UsageError() if (word := _EXTRA.search(mistake.format_message())) is not None:
            return UsageError(f"unexpected argument {quote(word[1])}", _explain_extra(word[1], mistake.ctx))
        case click.MissingParameter():
            what = mistake.param.make_metavar(mistake.ctx) if mistake.param and mistake.ctx else "an argument"
            return UsageError(f"what is missing: {what}", _name_help(mistake.ctx))
        case click.BadParameter():
            return UsageError(_tell_bad_value(mistake), _name_help(mistake.ctx))
        case _:
            context = mistake.ctx if isinstance(mistake, click.UsageError) else None
            return UsageError(_lower(mistake.format_message()), _name_help(context))


def find_elsewhere(name: str) -> str | None:
    """What to do in place of another program's flag, its name without hyphens; None if we know nothing of it."""
    return ELSEWHERE.get(name) or list_flags().get(name)


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
    if context is not None and is_about_apps(context):
        return "prefork serves one APP; options begin with --, see prefork --help"
    return _name_help(context)


def is_about_apps(context: click.Context) -> bool:
    """Does the command take the options of run?"""
    return any(parameter.name == "app" for parameter in context.command.params)


def _name_help(context: click.Context | None) -> str:
    name = context.command.name if context is not None and context.parent is not None else None
    return f"see prefork {name} --help" if name and name != "run" else "see prefork --help"


def _tell_bad_value(mistake: click.BadParameter) -> str:
    """Click says `'x' is not a valid integer range`."""
    parameter = mistake.param
    if parameter is None:
        return _lower(mistake.format_message())
    name = parameter.opts[-1] if isinstance(parameter, click.Option) else parameter.human_readable_name
    if isinstance(parameter.type, click.IntRange):
        return f"{name}: a number from {parameter.type.min} on is needed"
    return f"{name}: {mistake.message}"


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
