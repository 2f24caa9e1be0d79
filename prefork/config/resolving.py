"""Layers, highest first → one `Config`, with where each value came from.

Pure. Precedence: flag > `PREFORK_*` > `GUNICORN_CMD_ARGS` > `-c FILE` or ./prefork.toml > pyproject.toml
`[tool.prefork]` > platform > default. Most options are taken from the highest layer that sets them. The exceptions are
the ones below: addresses (a port without a host looks further down for one), the environment (layers add up), and what
is derived.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from prefork.config.addresses import DEFAULT_PORT, Address, make_tcp_address
from prefork.config.environment import parse_env_file
from prefork.config.model import Config
from prefork.config.options import OPTIONS, decides_field
from prefork.config.sources import Given, Layer
from prefork.config.values import RefusedValueError
from prefork.config.workers import CountCpus, count_workers
from prefork.errors import ConfigError

FindApp = Callable[[str], str]
"""Given the service's directory, the app to serve when nobody named one; raises, or returns "" for none."""

_BIND_KEYS = ("bind", "host", "port", "uds", "fd")
_UNTOLD_MODULES = frozenset({"app", "application", "main", "server", "wsgi", "asgi", "__init__", "__main__"})
"""Module names that say nothing of the service: its directory's name is better."""


class Resolved(msgspec.Struct, frozen=True):
    """A configuration, and why it is as it is."""

    config: Config
    origin: Mapping[str, str]
    """For each field of Config but what is derived: `flag --workers`, `prefork.toml`, `env PORT`, `default`, …"""
    notes: tuple[str, ...] = ()
    """What the user should hear of at the start, a line each."""
    env_files: Mapping[str, str] = msgspec.field(default_factory=dict)
    """The files that the app's environment was read from: each path with who named it."""
    table: str = ""
    """The `[app.NAME]` that it is of; empty: of the top of the file, or of none."""


def find_chdir(layers: Sequence[Layer], directory: str) -> str:
    """The service's directory: `chdir` of the highest layer that has one, seen from `directory`."""
    given = _pick(layers, "chdir")
    return directory if given is None else join_path(directory, given.value)


def list_env_files(layers: Sequence[Layer], directory: str) -> tuple[str, ...]:
    """The paths of all `--env-file`, to be read before `resolve`."""
    chdir = find_chdir(layers, directory)
    paths = [join_path(chdir, p) for layer in layers if "env-file" in layer.given for p in _env_files(layer)]
    return tuple(dict.fromkeys(paths))


def resolve(
    layers: Sequence[Layer],
    *,
    directory: str,
    env_files: Mapping[str, str],
    count_cpus: CountCpus,
    find_app: FindApp,
) -> Resolved:
    """Decide every field of Config.

    `directory` is where the program was started (absolute); `env_files` holds the text of each path of
    `list_env_files`. Raises `ConfigError`, or what `find_app` raises.
    """
    chdir = find_chdir(layers, directory)
    given, notes = _pick_all(layers, chdir, env_files), []
    if "app" not in given:
        app = find_app(chdir)
        given["app"] = Given(app, f"found in {chdir}" if app else "default")
        notes += [f"no APP given, found {app} in {chdir}"] if app else []
    if "name" not in given and (app := given["app"].value):
        given["name"] = Given(derive_name(app, chdir), "made from the app and its directory")
    if "reload" in given and given["reload"].value:
        given = _find_development_defaults(given["app"].value, given, chdir) | given
    if "bind" in given:
        notes += _tell_unused_sockets(layers, given["bind"].origin)
    fields = {field: each.value for field, each in given.items()}
    if "workers" in fields:
        fields["workers"], fields["workers_why"] = count_workers(fields["workers"], count_cpus)
    for field in {"admin", "agent_check"} & fields.keys():
        fields[field] = _name_under(fields[field], chdir)
    fields["reload_dir"] = tuple(join_path(chdir, path) for path in fields.get("reload_dir", ()))
    for field in ("pid", "log_file", "access_log", "certfile", "keyfile", "ca_certs"):
        if fields.get(field, "-") not in {None, "-"}:
            fields[field] = join_path(chdir, fields[field])
    config = Config(**{**fields, "chdir": chdir})
    origin = {
        field: given[field].origin if field in given else "default" for field in config.__struct_fields__
    }
    for derived in ("workers_why", "config_file", "worker_hooks", "read_from"):
        del origin[derived]
    return Resolved(config, origin, tuple(notes), _tell_env_files(layers, chdir))


def derive_name(app: str, directory: str) -> str:
    """The service's name from its target: `shop.main:app` → shop, `main:app` in /srv/shop → shop, else prefork."""
    target = app.partition(":")[0]
    if target.endswith(".py") or "/" in target:
        directory, target = posixpath.split(join_path(directory, target.removesuffix(".py")))
    module = target.partition(".")[0]
    telling = "" if module in _UNTOLD_MODULES else module
    for text in (telling, posixpath.basename(directory), module):
        if name := make_name(text):
            return name
    return "prefork"


def make_name(text: str) -> str:
    """What of a text can be a service's name; empty if nothing can."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip(".-")[:64]


def _find_development_defaults(app: str, given: Mapping[str, Given], chdir: str) -> dict[str, Given]:
    """What `--reload` sets unless the user does: who has just saved a file waits for it."""
    app_dir = join_path(chdir, given["app_dir"].value if "app_dir" in given else ".")
    place = app.partition(":")[0]
    if place.endswith(".py") or "/" in place:
        file = join_path(chdir, place)
        if posixpath.commonpath([file, app_dir]) != app_dir:
            app_dir = posixpath.dirname(file)
    return {"reload_dir": Given((app_dir,), "where the app is"), "settle_s": Given(0.0, "reload")}


def join_path(directory: str, path: str) -> str:
    """`path` as seen from `directory`, absolute. Symbolic links are not followed: a deploy may turn them round."""
    joined = posixpath.join(directory, path)
    # normpath() would take `link/..` for the link's own directory, which it is not.
    return joined if ".." in joined.split("/") else posixpath.normpath(joined)


def _pick_all(layers: Sequence[Layer], chdir: str, env_files: Mapping[str, str]) -> dict[str, Given]:
    """What was given for each field of Config, by field."""
    picked = {option.field: _pick(layers, option.key) for option in OPTIONS if decides_field(option)}
    picked["bind"] = _resolve_bind(layers, chdir)
    picked["env"] = _resolve_env(layers, chdir, env_files)
    return {field: given for field, given in picked.items() if given is not None}


def _pick(layers: Sequence[Layer], key: str) -> Given | None:
    return next((layer.given[key] for layer in layers if key in layer.given), None)


def _resolve_bind(layers: Sequence[Layer], chdir: str) -> Given | None:
    """The listeners of the highest layer that says anything of them; it alone counts, but for a host without a port
    and a port without a host, which look for the other half further down.
    """
    for index, layer in enumerate(layers):
        given = [layer.given[key] for key in _BIND_KEYS if key in layer.given]
        if not given:
            continue
        addresses: list[Address] = list(layer.given["bind"].value) if "bind" in layer.given else []
        if "host" in layer.given or "port" in layer.given:
            host, port = _pick(layers[index:], "host"), _pick(layers[index:], "port")
            given += [half for half in (host, port) if half is not None]
            addresses.append(
                make_tcp_address(
                    host.value if host else layer.default_host, port.value if port else DEFAULT_PORT
                )
            )
        addresses += [layer.given[key].value for key in ("uds", "fd") if key in layer.given]
        origins = dict.fromkeys(each.origin for each in given)
        return Given(_name_under(addresses, chdir), ", ".join(origins))
    return None


def _name_under(addresses: Iterable[Address], chdir: str) -> tuple[str, ...]:
    """Their normal forms, each once, as seen from the service's directory. Raises `ConfigError`."""
    try:
        return _drop_repeated(tuple(str(address.under(chdir)) for address in addresses))
    except RefusedValueError as refused:
        raise ConfigError(refused.message, *refused.hints) from None


def _drop_repeated(bind: tuple[str, ...]) -> tuple[str, ...]:
    """An address named twice is bound once; port 0 asks for another port each time."""
    kept: list[str] = []
    for address in bind:
        if address not in kept or address.endswith(":0"):
            kept.append(address)
    return tuple(kept)


def _tell_unused_sockets(layers: Sequence[Layer], used: str) -> list[str]:
    unused = [layer.given["bind"] for layer in layers if "bind" in layer.given]
    if any(given.origin == "env LISTEN_FDS" for given in unused) and "LISTEN_FDS" not in used:
        return [f"sockets passed in LISTEN_FDS are not used: bind is set by {used}"]
    return []


def _resolve_env(layers: Sequence[Layer], chdir: str, env_files: Mapping[str, str]) -> Given | None:
    """All layers add up, the highest wins name by name; within one layer `--env` wins over `--env-file`."""
    pairs: dict[str, str] = {}
    origins: dict[str, None] = {}
    for layer in reversed(layers):
        if "env-file" in layer.given:
            origins[layer.given["env-file"].origin] = None
            for path in _env_files(layer):
                where = join_path(chdir, path)
                pairs |= parse_env_file(env_files[where], where)
        if "env" in layer.given:
            origins[layer.given["env"].origin] = None
            pairs |= layer.given["env"].value
    return Given(pairs, ", ".join(reversed(origins))) if origins else None


def _tell_env_files(layers: Sequence[Layer], chdir: str) -> dict[str, str]:
    named = [layer for layer in reversed(layers) if "env-file" in layer.given]
    return {
        join_path(chdir, path): layer.given["env-file"].origin
        for layer in named
        for path in _env_files(layer)
    }


def _env_files(layer: Layer) -> tuple[str, ...]:
    paths: tuple[str, ...] = layer.given["env-file"].value
    return paths
