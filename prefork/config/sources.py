"""Who may set an option: each source's names and values → one `Layer` of parsed values, each with its provenance.

Pure: mappings come in. A layer knows nothing of the others; `resolving.py` ranks them. Unknown names are errors, never
ignored: a setting that is silently without effect is found out in production.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from prefork.config.addresses import ANY_HOST, DEFAULT_HOST, LABEL, Address, parse_port
from prefork.config.nearest import find_nearest
from prefork.config.options import NAMES, Name
from prefork.config.peers import parse_peers
from prefork.config.values import RefusedValueError, parse_count, quote
from prefork.config.workers import parse_workers
from prefork.errors import ConfigError, PreforkError, UsageError

PREFIX = "PREFORK_"
SET_BY_PREFORK = frozenset({"PREFORK_WORKER_ID", "PREFORK_CONTROL"})
"""Variables that we set for workers: whoever is started by one of them inherits these."""
SET_FOR_READING = frozenset({"PREFORK_CONFIG", "PREFORK_PROFILE"})
"""Variables that say what to read, and are no options."""
FIRST_LISTEN_FD = 3  # sd_listen_fds(3)

# Kubernetes tells every container the address of each service: one called `prefork` sets PREFORK_PORT=tcp://10.0.0.1:80,
# PREFORK_SERVICE_HOST and more. https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_KUBERNETES = re.compile(
    r"PREFORK_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)"
)
_KUBERNETES_URL = re.compile(r"(tcp|udp|sctp)://")


class Given(msgspec.Struct, frozen=True):
    """One option's parsed value, and where it came from: `flag --workers`, `env PORT`, `prefork.toml`."""

    value: Any
    origin: str


class Layer(msgspec.Struct, frozen=True):
    """What one source sets, by option key."""

    given: Mapping[str, Given]
    default_host: str = DEFAULT_HOST
    """The host of a port that is set without one."""


def read_flags(flags: Mapping[str, object]) -> Layer:
    """The command line's: keys are flag names without the hyphens in front."""
    return _read(flags, _Source(UsageError, lambda key: f"--{key}", lambda key: f"flag --{key}"))


def read_arguments(flags: Mapping[str, object], variable: str) -> Layer:
    """Those of a command line that stands in a variable."""
    return _read(flags, _Source(ConfigError, lambda key: f"{variable}: --{key}", lambda _: f"env {variable}"))


def read_app(app: str) -> Layer:
    """The command line's argument."""
    return _read({"app": app}, _Source(UsageError, lambda _: "APP", lambda _: "argument APP"))


def read_keywords(keywords: Mapping[str, object]) -> Layer:
    """The keyword arguments of `prefork.run`."""
    keys = {key.replace("_", "-"): value for key, value in keywords.items()}
    return _read(keys, _Source(UsageError, lambda key: key.replace("-", "_"), lambda _: "prefork.run"))


def read_variables(environ: Mapping[str, str]) -> Layer:
    """The `PREFORK_*` variables. An empty one counts as not set: that is what `${WORKERS:-}` makes."""
    keys = {
        name.removeprefix(PREFIX).lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and value and not _is_foreign(name, value)
    }
    return _read(keys, _Source(ConfigError, _name_variable, lambda key: f"env {_name_variable(key)}"))


def read_table(table: Mapping[str, object], label: str) -> Layer:
    """A TOML table's; `label` names it, as `prefork.toml` or `pyproject.toml [tool.prefork]`."""
    keys: dict[str, object] = {}
    for written, value in table.items():
        key = written.replace("_", "-")
        if key in keys:
            raise ConfigError(f"{label}: {key} is set twice", "keep-alive and keep_alive are the same key")
        if isinstance(value, dict) and key != "env":
            raise ConfigError(
                f"{label}: no table [{written}] here",
                "the tables are [app.NAME], [profile.NAME] and [app.NAME.profile.NAME], each with keys and an env",
            )
        keys[key] = value
    return _read(keys, _Source(ConfigError, lambda key: key, lambda _: label, place=f"{label}: "))


def read_platform(environ: Mapping[str, str], pid: int) -> Layer:
    """What platforms set: `LISTEN_FDS` (systemd) before `PORT`, `WEB_CONCURRENCY`, `FORWARDED_ALLOW_IPS`.

    Empty counts as not set.
    """
    given: dict[str, Given] = {}
    if addresses := _read_listen_fds(environ, pid):
        given["bind"] = Given(addresses, "env LISTEN_FDS")
    elif port := environ.get("PORT"):
        given["port"] = Given(_parse("PORT", parse_port, port, ConfigError), "env PORT")
    if workers := environ.get("WEB_CONCURRENCY"):
        parsed = _parse("WEB_CONCURRENCY", parse_workers, workers, ConfigError)
        given["workers"] = Given(parsed, "env WEB_CONCURRENCY")
    if peers := environ.get("FORWARDED_ALLOW_IPS"):
        parsed = _parse("FORWARDED_ALLOW_IPS", parse_peers, peers, ConfigError)
        given["forwarded-allow-ips"] = Given(parsed, "env FORWARDED_ALLOW_IPS")
    # A platform that says PORT routes to the container's address, so loopback would never hear of it.
    return Layer(given, default_host=ANY_HOST)


class _Source(msgspec.Struct, frozen=True):
    """How a source speaks of its keys."""

    error: type[PreforkError]
    spell: Callable[[str], str]
    """A key as its user writes it: `--workers`, `PREFORK_WORKERS`."""
    tell_origin: Callable[[str], str]
    place: str = ""
    """What stands in front of every message: the file's name."""


def _read(keys: Mapping[str, object], source: _Source) -> Layer:
    given: dict[str, Given] = {}
    for key, value in keys.items():
        name = NAMES.get(key)
        if name is None:
            raise _explain_unknown(key, source)
        where = source.place + source.spell(key) + (" =" if source.place else "")
        parsed = _parse(where, name.kind.parse, value, source.error)
        earlier = given.setdefault(name.option.key, Given(parsed, source.tell_origin(key)))
        if earlier.value != parsed:
            raise _explain_conflict(name, keys, source)
    return Layer(given)


def _parse(where: str, parse: Callable[[object], object], value: object, error: type[PreforkError]) -> object:
    try:
        return parse(value)
    except RefusedValueError as refused:
        raise error(f"{where} {quote(_unwrap(value))}: {refused.message}", *refused.hints) from None


def _unwrap(value: object) -> object:
    """A flag given once, although it may be repeated, is shown as it was typed."""
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


def _explain_unknown(key: str, source: _Source) -> PreforkError:
    near = find_nearest(key, NAMES)
    hint = f"did you mean {source.spell(near)}?" if near else "prefork config lists them all"
    return source.error(f"{source.place}unknown option {source.spell(key)}", hint)


def _explain_conflict(name: Name, keys: Mapping[str, object], source: _Source) -> PreforkError:
    names = [source.spell(key) for key in keys if key in NAMES and NAMES[key].option is name.option]
    return source.error(f"{source.place}{' and '.join(names)} are one option, with two values")


def _name_variable(key: str) -> str:
    return PREFIX + key.upper().replace("-", "_")


def _is_foreign(name: str, value: str) -> bool:
    if name in SET_BY_PREFORK or name in SET_FOR_READING:
        return True
    return bool(_KUBERNETES.fullmatch(name)) or (
        name.endswith("_PORT") and bool(_KUBERNETES_URL.match(value))
    )


def _read_listen_fds(environ: Mapping[str, str], pid: int) -> tuple[Address, ...]:
    # sd_listen_fds(3): the variables are for the process that LISTEN_PID names; others only inherited them.
    if environ.get("LISTEN_PID") != str(pid) or not (text := environ.get("LISTEN_FDS")):
        return ()
    count = _parse("LISTEN_FDS", lambda value: parse_count(value, at_most=1024), text, ConfigError)
    assert isinstance(count, int)  # noqa: S101  # parse_count returns nothing else
    names = [
        name if re.fullmatch(LABEL, name) else "" for name in environ.get("LISTEN_FDNAMES", "").split(":")
    ]
    return tuple(
        Address("fd", fd=FIRST_LISTEN_FD + index, label=names[index] if len(names) == count else "")
        for index in range(count)
    )
