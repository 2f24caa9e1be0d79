"""Where to listen: `HOST:PORT`, `[V6]:PORT`, `unix:/path`, `fd://N` ⇄ one `Address`.

Never looks a name up: a host name stays text, and it is bound as IPv4 like gunicorn's. Shorter spellings have
gunicorn's meaning where it has one, and Django's where it has none:

    :8000            0.0.0.0:8000     gunicorn, all of IPv4
    *:8000           0.0.0.0:8000     nginx
    8000             127.0.0.1:8000   Django's runserver; gunicorn takes it for a host name
    example.org      example.org:8000
    [::1]            [::1]:8000
    unix:run/x.sock  under the service's directory
    fd://3=web       descriptor 3, which the log calls web
"""

from __future__ import annotations

import posixpath
import re
from typing import Literal

import msgspec

from prefork.config.values import RefusedValueError, is_clean, parse_count, split_list

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
ANY_HOST = "0.0.0.0"  # noqa: S104  # what `:PORT` asks for
ACCEPTED = "HOST:PORT, :PORT, [::1]:PORT, unix:/path, fd://N"
MAX_UNIX_PATH_BYTES = 107  # unix(7): sun_path holds 108, and one is the NUL at the end

LABEL = r"[!-~]{0,255}"
"""FileDescriptorName= of systemd.socket(5), without spaces."""

AddressKind = Literal["tcp4", "tcp6", "unix", "fd"]


class Address(msgspec.Struct, frozen=True):
    """One listener's address; which fields count depends on `kind`. `str()` of it is its normal form."""

    kind: AddressKind
    host: str = ""
    """tcp4: a dotted quad or a host name; tcp6: without brackets."""
    port: int = 0
    """0 asks for a free one."""
    path: str = ""
    """unix."""
    fd: int = -1
    label: str = ""
    """fd: what systemd calls the socket (LISTEN_FDNAMES)."""

    def __str__(self) -> str:
        match self.kind:
            case "tcp4":
                return f"{self.host}:{self.port}"
            case "tcp6":
                return f"[{self.host}]:{self.port}"
            case "unix":
                return f"unix:{self.path}"
            case "fd":
                return f"fd://{self.fd}" + (f"={self.label}" if self.label else "")

    def under(self, directory: str) -> Address:
        """The same, with the path of a unix socket made absolute."""
        if self.kind != "unix" or self.path.startswith("/"):
            return self
        return Address("unix", path=check_unix_path(posixpath.join(directory, self.path)))


def parse_address(text: object) -> Address:
    """Read one address in any of the spellings above. Raises `ConfigError`."""
    if not isinstance(text, str) or not text.strip() or not is_clean(text):
        raise RefusedValueError("not an address", ACCEPTED)
    text = text.strip()
    if text.startswith("unix:"):
        return parse_unix_path(re.sub(r"^unix:(//(?=/))?", "", text))
    if text.startswith("fd://"):
        return parse_descriptor(text.removeprefix("fd://"))
    if "/" in (netloc := text.removeprefix("tcp://")):
        instead = "" if "://" in netloc else f"did you mean unix:{netloc}?"
        raise RefusedValueError("not an address", ACCEPTED, instead=instead)
    return _parse_tcp(netloc)


def parse_addresses(value: object) -> tuple[Address, ...]:
    """Read a list of addresses; commas divide, so a unix path with a comma in it needs `--uds`."""
    addresses = tuple(parse_address(item) for item in split_list(value, ACCEPTED))
    if not addresses:
        raise RefusedValueError("no address", ACCEPTED)
    return addresses


def parse_admin_addresses(value: object) -> tuple[Address, ...]:
    """The same for listeners that there need not be: `off`, `none` and False are none."""
    if value is False or (isinstance(value, str) and value.strip().lower() in {"off", "none"}):
        return ()
    return parse_addresses(value)


def parse_host(value: object) -> str:
    """A host without a port, as `--host` has it: a name, IPv4, IPv6 with or without brackets."""
    if not isinstance(value, str) or not is_clean(value):
        raise RefusedValueError("not a host", "a host name or an IP address")
    return make_tcp_address(value.strip().removeprefix("[").removesuffix("]"), DEFAULT_PORT).host


def parse_port(value: object) -> int:
    """A TCP port; 0 asks for a free one."""
    return parse_count(value, at_most=65535)


def parse_unix_path(value: object) -> Address:
    """The path of a unix socket as an address."""
    if not isinstance(value, str) or not is_clean(value):
        raise RefusedValueError("not a path", "the path of a unix socket")
    path = value.strip()
    if path.startswith("@"):
        raise RefusedValueError("abstract sockets have no mode to guard them", "the path of a unix socket")
    if not path or path.endswith("/"):
        raise RefusedValueError("no path of a socket", "unix:/path, unix:relative/path")
    return Address("unix", path=check_unix_path(path))


def parse_descriptor(value: object) -> Address:
    """The number of an inherited listening socket as an address, with a name for it if you like: `3`, `3=web`."""
    number, label = value, ""
    if isinstance(value, str):
        number, _, label = value.partition("=")
    if not re.fullmatch(LABEL, label):
        raise RefusedValueError("not a name for a socket", "fd://3=web")
    return Address("fd", fd=parse_count(number), label=label)


def make_tcp_address(host: str, port: int) -> Address:
    """Host and port as an address; an empty host and `*` are all of IPv4."""
    if ":" in host:
        return Address("tcp6", host=_check_ipv6(host), port=port)
    if host.lower() == "unix":  # its normal form would read back as a socket's path
        raise RefusedValueError("not a host name we can tell from a socket", "unix:/path, or an IP address")
    if host in {"", "*"}:
        return Address("tcp4", host=ANY_HOST, port=port)
    if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?", host):
        raise RefusedValueError("not a host name or an IP address", ACCEPTED)
    if re.fullmatch(r"[0-9.]+", host):
        _check_ipv4(host)
    return Address("tcp4", host=host.lower(), port=port)


def check_unix_path(path: str) -> str:
    """The path, if the kernel can take it."""
    if (size_bytes := len(path.encode())) > MAX_UNIX_PATH_BYTES:
        raise RefusedValueError(
            f"a unix socket's path of {size_bytes} bytes", f"{MAX_UNIX_PATH_BYTES} bytes at most: see unix(7)"
        )
    return path


def _parse_tcp(netloc: str) -> Address:
    if match := re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", netloc):
        host, port_text = match[1], match[2]
        if ":" not in host:
            raise RefusedValueError("brackets are for IPv6", ACCEPTED)
    elif netloc.count(":") > 1:
        raise RefusedValueError("more than one colon", ACCEPTED, instead="IPv6 needs brackets: [::1]:80")
    elif re.fullmatch(r"[0-9]+", netloc):
        host, port_text = DEFAULT_HOST, netloc
    else:
        host, separator, rest = netloc.partition(":")
        port_text = rest if separator else None
    if port_text is None:
        return make_tcp_address(host, DEFAULT_PORT)
    if not re.fullmatch(r"[0-9]{1,18}", port_text):
        raise RefusedValueError("the port is not a number", ACCEPTED)
    if int(port_text) > 65535:
        raise RefusedValueError("the port is above 65535", ACCEPTED)
    return make_tcp_address(host, int(port_text))


def _check_ipv4(host: str) -> None:
    parts = host.split(".")
    # A leading zero means octal to inet_aton(3) and decimal to others: refuse what two readers read differently.
    if len(parts) != 4 or not all(re.fullmatch(r"0|[1-9][0-9]{0,2}", p) and int(p) <= 255 for p in parts):
        raise RefusedValueError("not an IPv4 address", ACCEPTED)


def _check_ipv6(host: str) -> str:
    from ipaddress import IPv6Address  # noqa: PLC0415  # 5 ms that only those with IPv6 pay

    try:
        return str(IPv6Address(host))
    except ValueError:
        raise RefusedValueError("not an IPv6 address", ACCEPTED) from None
