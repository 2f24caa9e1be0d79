"""A file of gunicorn's or PM2's → the text of a prefork.toml, with a line for each setting that has no counterpart."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from prefork.cli.cutting import cut_service_words
from prefork.cli.gunicorn_file import read_gunicorn_file
from prefork.cli.reading import read_text
from prefork.config.ecosystem import read_ecosystem
from prefork.config.gunicorn import Left, Translated
from prefork.config.options import NAMES
from prefork.config.resolving import join_path, make_name
from prefork.config.values import RefusedValueError, quote
from prefork.errors import UsageError

_HEAD = """\
# prefork.toml, made of {label}. Every option, with its default: prefork config, prefork --help.
"""


def make_toml_from(label: str, app: str, directory: str) -> str:
    """The text; `app` is what was typed, or empty. Raises `PreforkError`."""
    path = join_path(directory, label)
    if label.endswith(".py"):
        read = read_gunicorn_file(path, label, directory, os.environ)
        return _HEAD.format(label=label) + _write_app(read, app)
    if not label.endswith((".json", ".js", ".cjs")):
        raise UsageError(
            f"--from {quote(label)}: neither gunicorn's nor PM2's",
            "a gunicorn.conf.py, or an ecosystem.config.json or .js",
        )
    apps = read_ecosystem(read_text(path, label), label, cut_service_words)
    names = {make_name(each.name) for each in apps}
    if len(names) < len(apps) or "" in names:
        raise UsageError(f"{label}: its apps need a name each", "an app is called as its table, [app.NAME]")
    parts = [_HEAD.format(label=label)]
    for each in apps:
        table = f"app.{_quote_key(make_name(each.name))}" if len(apps) > 1 else ""
        read = each.read
        if table:
            keys = {key: value for key, value in read.keys.items() if key != "name"}
            read = Translated(keys, read.left)
        parts.append((f"\n[{table}]" if table else "") + _write_app(read, app))
        for profile, env in each.profiles.items():
            where = ".".join(filter(None, (table, "profile", _quote_key(profile))))
            parts.append(f"\n[{where}]\nenv = {_write(env)}\n")
    return "".join(parts)


def _write_app(read: Translated, app: str) -> str:
    keys = (
        {"app": app, **{key: value for key, value in read.keys.items() if key != "app"}} if app else read.keys
    )
    lines, left = [""], list(read.left)
    if "app" not in keys:
        lines.append('# app = "main:app"    # it is on the command line, or prefork looks for it')
    seen = set()
    for key, value in keys.items():
        name = NAMES[key]
        written = value
        try:
            parsed = name.kind.parse(value)
        except RefusedValueError as refused:
            left.append(Left(f"{key} = {quote(value)}", "; ".join((refused.message, *refused.hints))))
            continue
        if name.kind is not name.option.kind:
            written = name.option.kind.show(parsed)
        elif name.kind.toml_type == int | str and isinstance(value, str) and value.isdecimal():
            written = int(value)
        if name.option.key in seen:
            left.append(Left(f"{key} = {quote(value)}", f"{name.option.key} is set above"))
            continue
        seen.add(name.option.key)
        lines.append(f"{name.option.key} = {_write(written)}")
    if left:
        lines += ["", "# --- What has no counterpart here, and what to do instead"]
        lines += [_show(f"# {each.name}: {each.instead}") for each in left]
    return "\n".join(lines) + "\n"


def _show(comment: str) -> str:
    # A key of JSON may hold a line's end, and what follows would be no comment.
    return "".join(c if c.isprintable() else " " for c in comment)


def _write(value: object) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_quote_key(str(key))} = {_write(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_write, value))}]"
    # A JSON string is a TOML basic string, and so are numbers and booleans: https://toml.io/en/v1.0.0
    return msgspec.json.encode(value).decode()


def _quote_key(key: str) -> str:
    is_bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if is_bare else _write(key)
