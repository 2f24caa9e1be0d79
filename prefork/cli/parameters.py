"""The table of options → click's parameters, and the help that explains them group by group.

click only cuts the command line into names and texts. Reading the values is the configuration's job, so that a flag, a
variable and a file are read by the same code and refused in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from prefork.cli.cutting import CONFIG_FLAG
from prefork.config import kinds
from prefork.config.options import GROUPS, NAMES, OPTIONS, Name, Option, find_default


class ServiceCommand(click.Command):
    """A command about one service: takes APP and every option, and explains them in groups."""

    def __init__(self, name: str, *, extra: Sequence[click.Parameter] = (), **settings: Any) -> None:
        app = click.Argument(["app"], required=False, metavar="[APP]")
        super().__init__(name, params=[app, *extra, *make_parameters()], **settings)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        table = {f"--{key}" for key in NAMES} | {f"--{CONFIG_FLAG}"}
        own = [
            record
            for parameter in self.get_params(ctx)
            if parameter.opts[-1] not in table
            if (record := parameter.get_help_record(ctx)) is not None
        ]
        with formatter.section("Command"):
            formatter.write_dl(own)
        write_options(formatter)


def make_parameters() -> list[click.Parameter]:
    """A click option for every name in the table, and `-c`."""
    parameters: list[click.Parameter] = [_make_option(CONFIG_FLAG, "-c")]
    parameters += [_make_named(name) for name in NAMES.values() if not name.option.positional]
    return parameters


def pick_given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given, by key; click holds None or () for the others."""
    return {
        key: parameters[key.replace("-", "_")]
        for key in (CONFIG_FLAG, *NAMES)
        if parameters.get(key.replace("-", "_")) not in (None, ())
    }


def write_options(formatter: click.HelpFormatter) -> None:
    """Every option with what it means and what it is by default, one section a group."""
    for group in GROUPS:
        rows = [_describe(option) for option in OPTIONS if option.group == group]
        with formatter.section(group):
            formatter.write_dl(rows)
    with formatter.section("Configuration"):
        formatter.write_dl(
            [
                ("-c, --config FILE", "TOML file to read; ./prefork.toml unless given."),
                ("PREFORK_KEEP_ALIVE=5s", "Every option is also a variable …"),
                ("keep-alive = 5", "… and a key of the file, or of [tool.prefork] in pyproject.toml."),
            ]
        )


def _make_named(name: Name) -> click.Option:
    if not name.kind.metavar:
        flags = f"--{name.key}" if name.key.startswith("no-") else f"--{name.key}/--no-{name.key}"
        return click.Option([flags, name.key.replace("-", "_")], is_flag=True, default=None)
    return _make_option(name.key, name.short, repeatable=name.option.repeatable)


def _make_option(key: str, short: str, *, repeatable: bool = False) -> click.Option:
    flags = [f"--{key}", key.replace("-", "_")]
    return click.Option([short, *flags] if short else flags, type=click.UNPROCESSED, multiple=repeatable)


def _describe(option: Option) -> tuple[str, str]:
    if option.positional:
        return "APP", option.help
    default = find_default(option)
    if option.kind is kinds.SWITCH:
        flag = f"--no-{option.key}" if default else f"--{option.key}"
    else:
        flag = f"--{option.key} {option.kind.metavar}"
    notes = []
    if default not in (None, {}, ()) and option.kind is not kinds.SWITCH:
        notes.append(f"default {option.kind.show(default)}")
    if option.aliases:
        notes.append("also " + ", ".join(f"--{alias.key}" for alias in option.aliases))
    text = f"{option.help} [{'; '.join(notes)}]" if notes else option.help
    return (f"{option.short}, {flag}" if option.short else flag), text
