"""The bytes of a TOML file → the table that is ours.

Errors name the file, the line and the column. A pyproject.toml that does not speak of prefork is not even parsed:
it is not ours to complain about, and tomllib costs milliseconds at every start.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from prefork.errors import ConfigError

PYPROJECT = "pyproject.toml"


def read_document(data: bytes, label: str) -> Mapping[str, Any]:
    """The top table of a prefork.toml; `label` names the file in errors."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{label}, line {line}: not UTF-8", "TOML files are UTF-8") from None
    return _parse_toml(text, label)


def read_pyproject(data: bytes, label: str) -> Mapping[str, Any] | None:
    """`[tool.prefork]` of a pyproject.toml, or None if there is none."""
    if b"prefork" not in data:
        return None
    tools = read_document(data, label).get("tool")
    table = tools.get("prefork") if isinstance(tools, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{label}: tool.prefork is not a table", "write [tool.prefork]")
    return table


def _parse_toml(text: str, label: str) -> Mapping[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415  # only those who have a file pay for it
    else:
        import tomli as tomllib  # noqa: PLC0415

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{label}: nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, and int() of thousands of digits
        raise _explain(str(error), text, label) from None


def _explain(message: str, text: str, label: str) -> ConfigError:
    """`Invalid value (at line 3, column 7)` → `prefork.toml, line 3, column 7: invalid value`, and that line."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if match is None:
        return ConfigError(f"{label}: {message}")
    lines = text.splitlines() or [""]
    line, column = (int(match[2]), int(match[3])) if match[2] else (len(lines), len(lines[-1]) + 1)
    problem = match[1][:1].lower() + match[1][1:]
    shown = lines[line - 1].strip() if line <= len(lines) else ""
    hints = [shown[:90]] if shown.isprintable() and shown else []
    if shown.startswith("[app.") and "overwrite" in problem:
        hints.append("app = … at the top is one app; of several, each has its own in [app.NAME]")
    return ConfigError(f"{label}, line {line}, column {column}: {problem}", *hints)
