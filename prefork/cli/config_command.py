"""`prefork config [APP]`: every setting, what it is, and who set it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import msgspec

from prefork.cli.parameters import ServiceCommand, pick_given
from prefork.cli.reading import find_obvious_app, read_configuration, split_start, start_from_flags
from prefork.config.kinds import SECRET
from prefork.config.options import OPTIONS, decides_field
from prefork.config.resolving import Resolved
from prefork.errors import UsageError

_MOST_COLUMNS = 32


def make_config_command() -> click.Command:
    """The command."""
    switches = [
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, with the fields' full names."),
        click.Option(["--schema", "as_schema"], is_flag=True, help="Print the JSON schema of prefork.toml."),
    ]
    return ServiceCommand(
        "config",
        extra=switches,
        callback=print_config,
        help="Show every setting with its value and where it came from. Takes the options of run.",
        short_help="Show every setting and who set it.",
    )


def print_config(*, app: str | None, as_json: bool, as_schema: bool, **parameters: object) -> int:
    """Print the table, the JSON or the schema."""
    if as_schema:
        from prefork.config.schema import make_schema  # noqa: PLC0415  # builds a type for every option

        _print_json(make_schema())
        return 0
    start = start_from_flags(app, pick_given(parameters))
    asked = {each.table: read_configuration(each, _find_app_if_any) for each in split_start(start)}
    if as_json:
        described = {table: describe(resolved) for table, resolved in asked.items()}
        _print_json(described if len(asked) > 1 else next(iter(described.values())))
        return 0
    for table, resolved in asked.items():
        if len(asked) > 1:
            print(f"[app.{table}]")
        for row in lay_out(list_rows(resolved)):
            print(row)
    return 0


def describe(resolved: Resolved) -> dict[str, Any]:
    """Field → value and origin. The app's environment shows its names only: values may be secrets. Other secrets show
    that they are set.
    """
    values = msgspec.to_builtins(resolved.config)
    values["env"] = list(values["env"])
    for option in OPTIONS:
        if option.kind is SECRET and values[option.field] is not None:
            values[option.field] = SECRET.show(values[option.field])
    described = {
        field: {"value": values[field], "origin": origin} for field, origin in resolved.origin.items()
    }
    files = resolved.env_files
    described["env_file"] = {"value": list(files), "origin": _join_origins(files)}
    if resolved.config.workers_why:
        described["workers"]["why"] = resolved.config.workers_why
    return dict(sorted(described.items()))


def list_rows(resolved: Resolved) -> list[tuple[str, str, str]]:
    """Option, value as a user would write it, origin; in the order of --help."""
    rows = []
    for option in OPTIONS:
        if decides_field(option):
            value = getattr(resolved.config, option.field)
            origin = resolved.origin[option.field]
            if option.field == "workers" and resolved.config.workers_why:
                origin = f"{origin} ({resolved.config.workers_why})"
            rows.append((option.key, option.kind.show(value), origin))
        elif option.key == "env-file":
            files = resolved.env_files
            rows.append((option.key, option.kind.show(tuple(files)), _join_origins(files)))
    return rows


def lay_out(rows: list[tuple[str, str, str]]) -> list[str]:
    """Rows as lines with aligned columns; who set a long value stands on a line of its own."""
    first = max(len(row[0]) for row in rows)
    second = min(max(len(row[1]) for row in rows), _MOST_COLUMNS)
    lines = []
    for key, value, origin in rows:
        if len(value) > second:
            lines += [f"{key:<{first}}  {value}", f"{'':<{first}}  {'':<{second}}  {origin}"]
        else:
            lines.append(f"{key:<{first}}  {value:<{second}}  {origin}")
    return lines


def _join_origins(files: Mapping[str, str]) -> str:
    return ", ".join(dict.fromkeys(files.values())) or "default"


def _find_app_if_any(directory: str) -> str:
    try:
        return find_obvious_app(directory)
    except UsageError:  # without an app there is still a configuration to show
        return ""


def _print_json(data: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())
