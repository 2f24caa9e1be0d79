"""The tables of a configuration file: `[app.NAME]` for each of several apps, `[profile.NAME]` for each place they run.

Pure. Keys at the top are the defaults of all apps. Of one file counts, highest first: `[app.X.profile.P]`,
`[profile.P]`, `[app.X]`, the top. Only tables that are asked for are read, so that a mistake in one app does not keep
another from starting or reloading; `check_tables` reads all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from prefork.config.nearest import find_nearest
from prefork.config.sources import Given, Layer, read_table
from prefork.config.values import RefusedValueError, parse_name, quote
from prefork.errors import ConfigError

ALL = "all"
"""What stands for every app on the command line; no app can have this name."""


class Tables(msgspec.Struct, frozen=True):
    """One file, cut into its tables."""

    file: str
    """As errors name it."""
    prefix: str
    """The table that is ours, where the file has others: `tool.prefork`."""
    top: Mapping[str, Any]
    apps: Mapping[str, Mapping[str, Any]]
    """Without their profiles."""
    profiles: Mapping[tuple[str, str], Mapping[str, Any]]
    """By app and name; the app of a profile of all apps is empty."""
    hooks: tuple[str, ...] = ()
    """Names of functions for workers, of a file that is Python."""

    def label(self, *path: str) -> str:
        """A table as errors and origins name it: `prefork.toml [app.shop]`."""
        where = ".".join(part for part in (self.prefix, *path) if part)
        return f"{self.file} [{where}]" if where else self.file


def cut_tables(table: Mapping[str, Any], file: str, prefix: str = "") -> Tables:
    """Find the apps and the profiles of a file. Raises `ConfigError` for tables that are none."""
    top, whole = dict(table), Tables(file, prefix, {}, {}, {})
    apps: dict[str, Mapping[str, Any]] = {}
    profiles: dict[tuple[str, str], Mapping[str, Any]] = {}
    for name, keys in _take_tables(top, "app", whole):
        if name == ALL:
            raise ConfigError(f"{whole.label('app', name)}: {ALL} means every app", "give it another name")
        own = dict(keys)
        for profile, values in _take_tables(own, "profile", whole, "app", name):
            profiles[name, profile] = values
        apps[name] = own
    for profile, values in _take_tables(top, "profile", whole):
        profiles["", profile] = values
    return Tables(file, prefix, top, apps, profiles)


def list_apps(files: Sequence[Tables]) -> tuple[str, ...]:
    """The apps of all files, in the order in which they are written."""
    return tuple(dict.fromkeys(name for tables in files for name in tables.apps))


def list_profiles(files: Sequence[Tables]) -> tuple[str, ...]:
    """The profiles that some table has."""
    return tuple(dict.fromkeys(name for tables in files for _, name in tables.profiles))


def pick_layers(files: Sequence[Tables], app: str, profile: str | None) -> list[Layer]:
    """What these files set for one app, highest first; `app` is empty for a service without a table of its own.

    Raises `ConfigError`, also for a profile that no table has.
    """
    if profile is not None and profile not in list_profiles(files):
        raise _explain_profile(files, profile)
    layers: list[Layer] = []
    for tables in files:
        if app and "name" in tables.top:
            raise ConfigError(
                f"{tables.label()}: name = {quote(tables.top['name'])} would be the name of every app",
                f"an app is called as its table; another name goes into [app.{app}]",
            )
        layers += [read_table(table, label) for label, table in _pick_tables(tables, app, profile)]
        layers.append(read_table(tables.top, tables.label()))
    if app:
        label = next(tables.label("app", app) for tables in files if app in tables.apps)
        layers.append(Layer({"name": Given(app, label)}))
    return layers


def check_tables(files: Sequence[Tables]) -> None:
    """Read every table, also those that nobody asks for now. Raises `ConfigError` for the first mistake."""
    for tables in files:
        read_table(tables.top, tables.label())
        for name, table in tables.apps.items():
            read_table(table, tables.label("app", name))
        for (app, profile), table in tables.profiles.items():
            read_table(table, _label_profile(tables, app, profile))


def _pick_tables(tables: Tables, app: str, profile: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if profile is not None:
        for owner in dict.fromkeys((app, "")):
            if (table := tables.profiles.get((owner, profile))) is not None:
                yield _label_profile(tables, owner, profile), table
    if app in tables.apps:
        yield tables.label("app", app), tables.apps[app]


def _label_profile(tables: Tables, app: str, profile: str) -> str:
    return tables.label(*(("app", app) if app else ()), "profile", profile)


def _take_tables(
    table: dict[str, Any], word: str, whole: Tables, *above: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Take `[word.NAME]` out of a table: each name with its keys. A text under that word is an option, and stays."""
    if not isinstance(table.get(word), dict):
        return
    for name, keys in table.pop(word).items():
        label = whole.label(*above, word)
        if not isinstance(keys, dict):
            raise ConfigError(
                f"{label}: {name} stands in no table of a name",
                f"write [{'.'.join((*above, word))}.NAME] above it",
            )
        try:
            parse_name(name)
        except RefusedValueError as refused:
            raise ConfigError(f"{label}: {quote(name)} is {refused.message}", *refused.hints) from None
        yield name, keys


def _explain_profile(files: Sequence[Tables], profile: str) -> ConfigError:
    known = list_profiles(files)
    where = " and ".join(tables.label() for tables in files)
    if not known:
        why = f"{where} has no profiles" if files else "there is no configuration file here"
        return ConfigError(
            f"no profile {quote(profile)}: {why}", "a profile is a table of its file, [profile.NAME]"
        )
    near = find_nearest(profile, known)
    hint = f"did you mean {near}?        there are: " if near else "there are: "
    return ConfigError(f"no profile {quote(profile)} in {where}", hint + ", ".join(known))
