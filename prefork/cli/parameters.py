"""The table of options → click's parameters, and the help that explains them group by group.

click only cuts the command line into names and texts. Reading the values is the configuration's job, so that a flag, a
variable and a file are read by the same code and refused in the same words.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import click

from prefork.cli.cutting import CONFIG_FLAG, PROFILE_FLAG, READING_FLAGS
from prefork.config import kinds
from prefork.config.option import Option
from prefork.config.options import GROUPS, NAMES, OPTIONS, Name, find_default

_MOST_COLUMNS = 30


class ServiceCommand(click.Command):
    """A command about one service: takes APP and every option, and explains them in groups."""

    def __init__(
        self,
        name: str,
        *,
        argument: click.Argument | None = None,
        extra: Sequence[click.Parameter] = (),
        **settings: Any,
    ) -> None:
        app = argument or click.Argument(["app"], required=False, metavar="[APP]")
        super().__init__(name, params=[app, *extra, *make_parameters()], **settings)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        table = {f"--{key}" for key in (*NAMES, *READING_FLAGS)}
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
    parameters: list[click.Parameter] = [_make_option(CONFIG_FLAG, "-c"), _make_option(PROFILE_FLAG, "")]
    parameters += [_make_named(name) for name in NAMES.values() if not name.option.positional]
    return parameters


def pick_given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given, by key; click holds None or () for the others."""
    return {
        key: parameters[key.replace("-", "_")]
        for key in (*READING_FLAGS, *NAMES)
        if parameters.get(key.replace("-", "_")) not in (None, ())
    }


def write_options(formatter: click.HelpFormatter) -> None:
    """Every option with what it means and what it is by default, one section a group."""
    for group in GROUPS:
        rows = [_describe(option) for option in OPTIONS if option.group == group]
        with formatter.section(group):
            _write_rows(formatter, rows)
    with formatter.section("Configuration"):
        _write_rows(
            formatter,
            [
                ("-c, --config FILE", "TOML file to read; ./prefork.toml unless given."),
                ("--profile NAME", "Let the keys of the file's [profile.NAME] win over its others."),
                ("TIME, SIZE", "30s 5m 1h 250ms, or seconds; 512K 16M 1G, or bytes."),
                ("PREFORK_KEEP_ALIVE=5s", "Every option is also a variable …"),
                ("keep-alive = 5", "… and a key of the file, or of [tool.prefork] in pyproject.toml."),
            ],
        )


def _write_rows(formatter: click.HelpFormatter, rows: Sequence[tuple[str, str]]) -> None:
    """As `write_dl`, which would divide names at their hyphens: `--proxy-` at the end of a line is none."""
    first = min(max(len(name) for name, _ in rows), _MOST_COLUMNS) + 2
    indent, width = formatter.current_indent, formatter.width - 2
    for name, text in rows:
        room = max(width - first - indent, 20)
        lines = textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False) or [""]
        begun = " " * indent + name
        if len(name) > first - 2:
            formatter.write(f"{begun}\n")
            begun = ""
        for line in lines:
            formatter.write(f"{begun:<{indent + first}}{line}".rstrip() + "\n")
            begun = ""


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
        flag = f"--[no-]{option.key}" if default else f"--{option.key}"
    else:
        flag = f"--{option.key} {option.kind.metavar}"
    notes = []
    is_empty = default is None or default is False or default in ("", {}, ())
    if not is_empty and option.key != "name":  # that is made from the app
        notes.append(f"default {'on' if default is True else option.kind.show(default)}")
    if option.aliases:
        notes.append("also " + ", ".join(f"--{alias.key}" for alias in option.aliases))
    text = f"{option.help} [{'; '.join(notes)}]" if notes else option.help
    return (f"{option.short}, {flag}" if option.short else flag), text
