"""What an option is: a row of the table in `options.py`."""

from __future__ import annotations

import msgspec

from prefork.config.kinds import Kind


class Alias(msgspec.Struct, frozen=True):
    """Another tool's name for an option of ours; `kind` when that tool's values read differently."""

    key: str
    kind: Kind | None = None
    short: str = ""


class Option(msgspec.Struct, frozen=True):
    """One thing that can be set."""

    key: str
    field: str
    """The field of Config it decides, alone or with other options of the same field."""
    kind: Kind
    group: str
    help: str
    short: str = ""
    aliases: tuple[Alias, ...] = ()
    repeatable: bool = False
    """The flag may be given several times; the values add up."""
    positional: bool = False
    """On the command line it is the argument, not a flag."""
