"""The one table of options: what can be set, under which names, and what it means.

A row's key is its flag (`--keep-alive`), its TOML key (`keep-alive`, also `keep_alive`), its variable
(`PREFORK_KEEP_ALIVE`) and its keyword in `prefork.run` (`keep_alive`). Defaults are not repeated here: they are
those of `model.Config`. Only what works is listed. The help text teaches: it says what happens, not what the name is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from prefork.config import model
from prefork.config.kinds import Kind
from prefork.config.option import Option
from prefork.config.options_app import APP_OPTIONS
from prefork.config.options_life import LIFE_OPTIONS
from prefork.config.options_operation import OPERATION_OPTIONS
from prefork.config.options_protocols import PROTOCOL_OPTIONS

GROUPS = (
    "App", "Listeners", "Workers", "Time", "Reload", "Development", "Recycling", "Crashes", "HTTP",
    "WebSocket", "Proxies", "TLS", "Process", "Logs", "Operation",
)  # fmt: skip


OPTIONS: tuple[Option, ...] = (*APP_OPTIONS, *LIFE_OPTIONS, *PROTOCOL_OPTIONS, *OPERATION_OPTIONS)


class Name(msgspec.Struct, frozen=True):
    """One accepted name: the option it sets, and how its value is read there."""

    key: str
    option: Option
    kind: Kind
    short: str = ""


def list_names() -> tuple[Name, ...]:
    """Every accepted name, an option's own before its aliases, in the table's order."""
    names = []
    for option in OPTIONS:
        names.append(Name(option.key, option, option.kind, option.short))
        names += [Name(alias.key, option, alias.kind or option.kind, alias.short) for alias in option.aliases]
    return tuple(names)


NAMES: Mapping[str, Name] = MappingProxyType({name.key: name for name in list_names()})
"""From a key as written, with hyphens, to what it sets."""


def decides_field(option: Option) -> bool:
    """Is this the option its field is named after, rather than one that adds to it (`--port`, `--env-file`)?"""
    return option.key == option.field.removesuffix("_s").removesuffix("_bytes").replace("_", "-")


def find_default(option: Option) -> object:
    """The default of the field that an option decides; None when it is required, or when others decide it."""
    if not decides_field(option):
        return None
    field = next(field for field in msgspec.structs.fields(model.Config) if field.name == option.field)
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return None if field.required else field.default
