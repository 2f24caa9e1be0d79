"""`prefork startup [NAME|APP]`: print a systemd unit that starts this service, or what was saved, at boot.

It is printed and never written: what runs as root at boot is for an administrator to read first. conf/systemd has units
with more locks.
"""

from __future__ import annotations

import grp
import math
import os
import posixpath
import pwd
import shlex
from collections.abc import Sequence

import click

from prefork.cli.arguments import find_secrets, write_arguments
from prefork.cli.cutting import PROFILE_FLAG
from prefork.cli.parameters import ServiceCommand, pick_given
from prefork.cli.reading import Start, read_configuration, read_tables, start_from_flags
from prefork.config.model import Config
from prefork.config.tables import list_apps
from prefork.control.places import VARIABLE
from prefork.errors import UsageError
from prefork.system import interpreter

HELP = """Print a systemd unit, with the commands that install it. Takes the options of run.

\b
  prefork startup shop            a service of its own for an app of prefork.toml
  prefork startup main:app -w 4   the same for any app
  prefork startup --resurrect     one unit that starts what prefork save remembered
"""
DRAIN_MARGIN_S = 15


def make_startup_command() -> click.Command:
    """The command."""
    resurrect = click.Option(
        ["--resurrect"], is_flag=True, help="A unit that starts what prefork save remembered."
    )
    return ServiceCommand(
        "startup",
        extra=[resurrect],
        callback=startup,
        help=HELP,
        short_help="Print a systemd unit that starts it at boot.",
    )


def startup(*, app: str | None, resurrect: bool, **parameters: object) -> int:
    """Print it."""
    if resurrect:
        print(make_resurrecting_unit(), end="")
        return 0
    given = pick_given(parameters)
    if secrets := find_secrets(given):
        flags = ", ".join(f"--{key}" for key in secrets)
        raise UsageError(f"everybody may read a unit, so {flags} must not be in it", "use --env-file")
    start = start_from_flags(app, given)
    names = list_apps(read_tables(start))
    if app and names and app not in names and app.isidentifier() and not posixpath.exists(f"{app}.py"):
        raise UsageError(f"no app {app}", f"there are: {', '.join(names)}")
    if start.config_file is not None:
        given["config"] = start.config_file
    if start.profile is not None:
        given[PROFILE_FLAG] = start.profile
    print(make_unit(start, read_configuration(start).config, write_arguments(app or "", given)), end="")
    return 0


def make_unit(start: Start, config: Config, arguments: Sequence[str]) -> str:
    """A unit that runs one service in the foreground."""
    stop_s = math.ceil(config.graceful_timeout_s + config.shutdown_delay_s) + DRAIN_MARGIN_S
    lines = [
        *_tell_commands(config.name, shlex.join(["startup", *arguments])),
        f"# Afterwards:       sudo systemctl reload {config.name}; systemctl status {config.name}",
        "",
        "[Unit]",
        f"Description=prefork serves {_escape(config.name)}",
        "After=network-online.target",
        "Wants=network-online.target",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        *_tell_identity(config),
        *_keep_places(VARIABLE),
        f"WorkingDirectory={_escape(start.directory)}",
        f"ExecStart={' '.join(map(quote_word, [*_find_program(), 'run', *arguments]))}",
        "# It waits for the end, and fails if the new code does.",
        f"ExecReload={' '.join(map(quote_word, [*_find_program(), 'reload', config.name, '--wait']))}",
        "# The master alone is told to stop; it drains the workers.",
        "KillMode=mixed",
        f"TimeoutStartSec={math.ceil(config.boot_timeout_s) + DRAIN_MARGIN_S}",
        f"TimeoutStopSec={stop_s}",
        "Restart=always",
        "RestartSec=1",
        "# Usage, permission, configuration: trying again mends none of them.",
        "RestartPreventExitStatus=2 77 78",
        "LimitNOFILE=65536",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def make_resurrecting_unit() -> str:
    """A unit that starts background masters, which stay in its cgroup."""
    user = _find_user()
    program = [*_find_program()]
    lines = [
        *_tell_commands(f"prefork-{user}", "startup --resurrect"),
        "",
        "[Unit]",
        f"Description=prefork resurrects what {user} has saved",
        "After=network-online.target",
        "Wants=network-online.target",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        f"User={user}",
        *_keep_places("XDG_STATE_HOME", VARIABLE),
        "# The minus: one that cannot start must not take the others along.",
        f"ExecStart=-{' '.join(map(quote_word, [*program, 'resurrect']))}",
        f"ExecStop=-{' '.join(map(quote_word, [*program, 'stop', 'all']))}",
        "TimeoutStartSec=infinity",
        "LimitNOFILE=65536",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _keep_places(*names: str) -> list[str]:
    """Where this shell looks for what the unit will make."""
    places = {name: os.environ.get(name, "") for name in names}
    return [
        f"Environment={quote_word(f'{name}={path}')}" for name, path in places.items() if path.startswith("/")
    ]


def quote_word(word: str) -> str:
    """A word of a command line as systemd reads it: see systemd.service(5), systemd.syntax(7)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    escaped = _escape(escaped)
    return f'"{escaped}"' if not word or any(c in word for c in " \t'\";") else escaped


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _tell_commands(name: str, words: str) -> list[str]:
    unit = f"{name}.service"
    return [
        f"# To install it:    prefork {words} | sudo tee /etc/systemd/system/{unit}",
        f"#                   sudo systemctl daemon-reload && sudo systemctl enable --now {name}",
    ]


def _tell_identity(config: Config) -> list[str]:
    if config.user is not None:
        return ["# It starts as root and becomes that user by itself, before it imports the app."]
    group = grp.getgrgid(os.getegid()).gr_name
    return [f"User={_find_user()}", f"Group={group}"]


def _find_user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _find_program() -> list[str]:
    python = interpreter.find_python(os.environ)
    script = posixpath.join(posixpath.dirname(python), "prefork")
    return [script] if os.access(script, os.X_OK) else [python, "-m", "prefork"]
