"""The kinds of values an option can have: how each is read, shown, and typed in a TOML file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import msgspec

from prefork.config import addresses, tls, values, workers
from prefork.config.access_format import parse_access_format
from prefork.config.balance import SHARED, STRATEGIES, parse_balance
from prefork.config.classes import parse_interface, parse_worker_class
from prefork.config.environment import parse_pairs
from prefork.config.peers import parse_headers, parse_peers, parse_proxy_headers
from prefork.config.values import Parser


class Kind(msgspec.Struct, frozen=True):
    """One kind of value."""

    parse: Parser
    metavar: str
    """Empty: a flag without a value."""
    toml_type: Any
    """What a TOML file may hold there, as a type msgspec makes a schema of."""
    show: Callable[[Any], str] = str
    """The parsed value as a user would write it."""


def show_duration(seconds: float) -> str:
    """`30s`, `1.5s`, `250ms`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    return f"{seconds:.12g}s"


def show_size(size: int) -> str:
    """`16M`, `512`: in the largest unit that divides it."""
    for unit, factor in (("G", 1024**3), ("M", 1024**2), ("K", 1024)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def show_mode(mode: int | None) -> str:
    """`0660`; an umask that is not set is inherited."""
    return "inherited" if mode is None else f"{mode:04o}"


def show_boolean(value: bool) -> str:  # noqa: FBT001  # the value is the argument
    """`true`, `false`."""
    return "true" if value else "false"


def show_optional(value: str | None) -> str:
    """The text, or `none`."""
    return value or "none"


def show_list(items: tuple[object, ...]) -> str:
    """Items with commas between."""
    return ", ".join(map(str, items)) or "none"


def show_pairs(pairs: dict[str, str]) -> str:
    """Names only: values may be secrets."""
    return ", ".join(pairs) or "none"


def count_kind(at_least: int = 0, at_most: int = values.MAX_COUNT) -> Kind:
    """A whole number within bounds."""
    return Kind(partial(values.parse_count, at_least=at_least, at_most=at_most), "N", int | str)


def choice_kind(literal: Any) -> Kind:
    """One of a Literal's words."""
    choices = get_args(literal)
    return Kind(partial(values.parse_choice, choices=choices), "|".join(choices), literal)


def interface_kind(literal: Any) -> Kind:
    """As `choice_kind`, with uvicorn's names besides."""
    kind = choice_kind(literal)
    parse = partial(parse_interface, choices=get_args(literal))
    return Kind(parse, kind.metavar, kind.toml_type)


def list_kind(metavar: str) -> Kind:
    """Texts, one or several."""
    return Kind(
        lambda value: tuple(values.parse_text(item) for item in values.split_list(value)),
        metavar,
        str | list[str],
        show_list,
    )


TEXT = Kind(values.parse_text, "TEXT", str, show_optional)
PATH = Kind(values.parse_text, "PATH", str, show_optional)
PATHS = list_kind("FILE")
DIRECTORIES = list_kind("DIR")
PATTERNS = list_kind("GLOB")
LOG_FILE = Kind(values.parse_log_file, "PATH", str, lambda path: path or "- (standard error)")
TIME_SWITCH = Kind(lambda value: "local" if values.parse_boolean(value) else "none", "", bool)
CAPTURE_OUTPUT = Kind(
    values.parse_boolean, "", bool, lambda value: "with json" if value is None else show_boolean(value)
)
ACCESS_LOG = Kind(values.parse_access_log, "PATH|-", str | bool, lambda path: path or "off")
NO_ACCESS_LOG = Kind(lambda value: None if values.parse_boolean(value) else "-", "", bool)
ACCESS_FORMAT = Kind(parse_access_format, "FORMAT", str)
NAME = Kind(values.parse_name, "NAME", str)
OWNER = Kind(values.parse_owner, "NAME", str | int, show_optional)
ROOT_PATH = Kind(values.parse_root_path, "PATH", str, show_optional)
SWITCH = Kind(values.parse_boolean, "", bool, show_boolean)
COUNT = count_kind()
DURATION = Kind(values.parse_duration, "TIME", int | float | str, show_duration)
POSITIVE_DURATION = Kind(values.parse_positive_duration, "TIME", int | float | str, show_duration)
MILLISECONDS = Kind(values.parse_milliseconds, "MS", int | float | str, show_duration)
POSITIVE_MILLISECONDS = Kind(values.parse_positive_milliseconds, "MS", int | float | str, show_duration)
SHARE = Kind(values.parse_share, "N|N%", int | str)
POSITIVE_SHARE = Kind(values.parse_positive_share, "N|N%", int | str)
SIZE = Kind(values.parse_size, "SIZE", int | str, show_size)
RATE = Kind(values.parse_rate, "SIZE", int | str, show_size)
MODE = Kind(values.parse_mode, "OCTAL", int | str, show_mode)
UMASK = Kind(values.parse_umask, "OCTAL", int | str, show_mode)
WORKERS = Kind(workers.parse_workers, "N|max|max-1|50%", int | str, workers.show_workers)
INSTANCES = Kind(workers.parse_instances, "N|max", int | str, workers.show_workers)
BIND = Kind(addresses.parse_addresses, "ADDRESS", str | list[str], show_list)
ADMIN = Kind(addresses.parse_admin_addresses, "ADDRESS", str | list[str] | bool, show_list)
HOST = Kind(addresses.parse_host, "HOST", str)
PORT = Kind(addresses.parse_port, "PORT", int | str)
UNIX_PATH = Kind(addresses.parse_unix_path, "PATH", str)
DESCRIPTOR = Kind(addresses.parse_descriptor, "N", int | str)
PEERS = Kind(parse_peers, "PEER", str | list[str], show_list)
SECRET = Kind(tls.parse_secret, "TEXT", str, lambda secret: "hidden" if secret else "none")
CERT_REQS = Kind(tls.parse_cert_reqs, "none|optional|required", int | str)
TLS_VERSION = Kind(tls.parse_tls_version, "1.2|1.3", float | str)
FORWARDED_HEADERS = Kind(parse_headers, "FIELD", str | list[str], show_list)
PROXY_HEADERS = Kind(parse_proxy_headers, "", bool, show_list)
PAIRS = Kind(parse_pairs, "KEY=VALUE", dict[str, str | int | float] | list[str], show_pairs)
BALANCE = Kind(parse_balance, "|".join((SHARED, *STRATEGIES, "MODULE:FUNCTION")), str)
WORKER_CLASS = Kind(parse_worker_class, "CLASS", str)
