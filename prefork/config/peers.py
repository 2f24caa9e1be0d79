"""Which peers are trusted to speak for others: addresses, networks, `unix`, `*` → each in its normal form.

`10.0.0.0/8`, `2001:db8::1`; an IPv4 address written as IPv6 (`::ffff:10.0.0.1`) is the IPv4 address. Names of hosts
are refused: an answer of the name server's must not decide who is trusted.
"""

from __future__ import annotations

from prefork.config.nearest import find_nearest
from prefork.config.values import RefusedValueError, parse_boolean, parse_text, quote, split_list

EVERYBODY = "*"
UNIX = "unix"
"""Whoever may connect to our unix sockets: the socket's mode says who that is."""
LOCAL = ("127.0.0.1", "::1", UNIX)
"""A proxy on this machine."""
HEADERS = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded")
BELIEVED = HEADERS[:2]
"""What proxies usually overwrite or append to. A field that a proxy leaves alone is the client's, to say anything."""
ACCEPTED = "addresses, networks such as 10.0.0.0/8, unix, *"

_MAPPED_BITS = 96
"""The first bits of `::ffff:0:0/96`, which holds IPv4 within IPv6: RFC 4291 §2.5.5.2."""


def parse_peers(value: object) -> tuple[str, ...]:
    """A list, or a text with commas between; an empty one trusts nobody."""
    return tuple(dict.fromkeys(_parse_peer(item) for item in split_list(value, ACCEPTED)))


def parse_headers(value: object) -> tuple[str, ...]:
    """The fields to believe: a list, or a text with commas between; an empty one believes none."""
    return tuple(dict.fromkeys(_parse_header(item) for item in split_list(value, ", ".join(HEADERS))))


def parse_proxy_headers(value: object) -> tuple[str, ...]:
    """Uvicorn's switch: on is the usual fields, off is none."""
    return BELIEVED if parse_boolean(value) else ()


def _parse_header(item: str) -> str:
    name = item.lower().replace("_", "-")
    if name in HEADERS:
        return name
    near = find_nearest(name, HEADERS)
    raise RefusedValueError(
        f"{quote(item)} is no field of ours",
        ", ".join(HEADERS),
        instead=f"did you mean {near}?" if near else "",
    )


def _parse_peer(item: str) -> str:
    word = parse_text(item).lower()
    if word in (*LOCAL, EVERYBODY):
        return word
    if "%" in word:
        raise RefusedValueError(f"{quote(item)} names an interface", "the address without %")
    import ipaddress  # noqa: PLC0415  # 5 ms that only those with networks pay

    try:
        network = ipaddress.ip_network(word)
    except ValueError:
        raise _explain(word, quote(item)) from None
    first = network.network_address
    if isinstance(first, ipaddress.IPv6Address) and first.ipv4_mapped and network.prefixlen >= _MAPPED_BITS:
        network = ipaddress.ip_network((first.ipv4_mapped, network.prefixlen - _MAPPED_BITS))
    return str(network if network.num_addresses > 1 else network.network_address)


def _explain(word: str, shown: str) -> RefusedValueError:
    import ipaddress  # noqa: PLC0415

    try:
        meant = ipaddress.ip_network(word, strict=False)
    except ValueError:
        return RefusedValueError(f"{shown} is neither an address nor a network", ACCEPTED)
    return RefusedValueError(
        f"{shown} has bits set that its prefix leaves out", ACCEPTED, instead=f"did you mean {meant}?"
    )
