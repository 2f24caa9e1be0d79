"""For whom does a trusted proxy speak? `X-Forwarded-*` and `Forwarded` (RFC 7239) → client, scheme, host, server.

Pure. The chain of addresses is read from its end, which the nearest proxy wrote: the first one that is not a trusted
proxy is the client, for everything to the left of it may be invented. What is not an address (`unknown`, `_hidden`,
garbage) ends the chain there as well, with the last hop that is known. Nothing here ever raises; a chain is looked at
for MOST_HOPS at most.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from typing import NamedTuple

from prefork.serve.ends import Client, Ends, Server

MOST_HOPS = 64
_MOST_NODE_CHARS = 64
_MOST_HOST_BYTES = 255
_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_DEFAULT_PORTS = {"http": 80, "https": 443}
WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}

FOR, PROTO, HOST, PORT, FORWARDED = (
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"forwarded",
)

_HOST = re.compile(rb"([A-Za-z0-9\-._~]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?")
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = re.compile(rb"(%b)=(?:(%b)|\"((?:[^\"\\]|\\.)*)\")" % (_TOKEN, _TOKEN))

Trusts = Callable[[str | None], bool]
"""Whether this address is a proxy that is believed; None: the peer on a unix socket."""


class Hop(NamedTuple):
    """One entry of a chain."""

    address: str | None
    """None: came over a unix socket."""
    port: int


def find_ends(own: Ends, said: dict[bytes, bytes], host: bytes, trusts: Trusts) -> Ends:
    """What a request is about, which came over a connection with the ends `own` from a trusted proxy.

    `said` holds the fields that are believed, repeated ones joined by commas; `host` is the request's Host field.
    """
    if FORWARDED in said:
        return _read_forwarded(own, said[FORWARDED], trusts)
    client, depth = own.client, 0
    if FOR in said:
        client, depth = _walk(own.client, map(parse_node, _split_back(said[FOR])), trusts)
    scheme = _SCHEMES.get(_pick(said.get(PROTO, b""), depth).lower(), own.scheme)
    named = _pick(said.get(HOST, b""), depth)
    port = _parse_port(_pick(said.get(PORT, b""), depth))
    return _settle(own, client, scheme, named, port, host)


def find_nonsense(own: Ends, said: dict[bytes, bytes], ends: Ends) -> bytes | None:
    """Which field means nothing although the nearest proxy wrote it; `find_ends` made `ends` of the same.

    Only a list's last entry is that proxy's own: what is to the left of it may be anybody's, and is no fault of its.
    """
    if FORWARDED in said:
        element = _parse_element(_last_entry(said[FORWARDED]))
        believed = element is not None and (
            _is_node(element.get(b"for", b""))
            and _is_scheme(element.get(b"proto", b""))
            and _is_host(element.get(b"host", b""))
        )
        return None if believed else FORWARDED
    # A chain that has changed the client has begun with an address.
    if FOR in said and ends.client == own.client and not _is_node(_last_entry(said[FOR])):
        return FOR
    if PROTO in said and not _is_scheme(_last_entry(said[PROTO])):
        return PROTO
    if HOST in said and not _is_host(_last_entry(said[HOST])):
        return HOST
    if PORT in said and (port := _last_entry(said[PORT])) and not _parse_port(port):
        return PORT
    return None


def parse_node(raw: bytes) -> Hop | None:
    """`1.2.3.4`, `1.2.3.4:80`, `[::1]:80`, `::1`, and nginx's `unix:`; None for all else."""
    if len(raw) > _MOST_NODE_CHARS:
        return None
    text = raw.decode("latin-1").strip(" \t")
    if text == "unix:":
        return Hop(None, 0)
    address, port = text, 0
    if match := _NODE.fullmatch(text):
        bracketed, plain, digits = match.groups()
        address, port = bracketed or plain, int(digits or 0)
        if port > 65535 or (bracketed and ":" not in bracketed):
            return None
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return Hop(socket.inet_ntop(family, socket.inet_pton(family, address)), port)
    except (OSError, ValueError):  # ValueError: a NUL within
        return None


def _split_back(raw: bytes) -> list[bytes]:
    """The entries of a list, last one first, not more than we look at; empty ones left out (RFC 9110 §5.6.1)."""
    parts = raw.rsplit(b",", MOST_HOPS)
    if len(parts) > MOST_HOPS:
        del parts[0]
    return [part for part in reversed(parts) if part.strip(b" \t")]


def _walk(peer: Client, hops: Iterable[Hop | None], trusts: Trusts) -> tuple[Client, int]:
    """The client, and how many hops before the nearest proxy's own entry it is."""
    client, depth, found = peer, 0, False
    for hop in hops:
        if hop is None:
            break
        if found:
            depth += 1
        found = True
        client = None if hop.address is None else (hop.address, hop.port)
        if not trusts(hop.address):
            break
    return client, depth


def _pick(raw: bytes, depth: int) -> bytes:
    """The entry that belongs to the client's hop: lists grow together, but many proxies write only one value."""
    if b"," not in raw:
        return raw.strip(b" \t")
    entries = _split_back(raw)
    return entries[min(depth, len(entries) - 1)].strip(b" \t") if entries else b""


def _last_entry(raw: bytes) -> bytes:
    return raw.rpartition(b",")[2].strip(b" \t")


def _is_node(raw: bytes) -> bool:
    """An address, or one of the words for none that RFC 7239 §6 has."""
    return not raw or raw == b"unknown" or raw.startswith(b"_") or parse_node(raw) is not None


def _is_scheme(raw: bytes) -> bool:
    return not raw or raw.lower() in _SCHEMES


def _is_host(raw: bytes) -> bool:
    return len(raw) <= _MOST_HOST_BYTES and (not raw or _HOST.fullmatch(raw) is not None)


def _parse_port(raw: bytes) -> int:
    if not (raw.isdigit() and len(raw) <= 5 and 0 < int(raw) <= 65535):
        return 0
    return int(raw)


def _settle(own: Ends, client: Client, scheme: str, named: bytes, port: int, host: bytes) -> Ends:
    match = _HOST.fullmatch(named) if len(named) <= _MOST_HOST_BYTES else None
    new_host = match is not None
    if match is None and port:
        match = _HOST.fullmatch(host)
    if match is None:
        return Ends(client, own.server and (own.server[0], port) if port else own.server, scheme)
    name, digits = match.groups()
    port = _parse_port(digits or b"") or port if new_host else port
    default = _DEFAULT_PORTS[scheme]
    server: Server = (name.strip(b"[]").decode("ascii"), port or default)
    shown = name if port in (0, default) and not (new_host and digits) else b"%b:%d" % (name, port)
    return Ends(client, server, scheme, shown)


def _read_forwarded(own: Ends, raw: bytes, trusts: Trusts) -> Ends:
    client, chosen, found = own.client, dict[bytes, bytes](), False
    for part in _split_back(raw):
        said = _parse_element(part)
        if said is None:
            break
        hop = parse_node(said.get(b"for", b""))
        if hop is None:
            if not found:
                chosen = said  # who it speaks for is hidden, how it was asked is not
            break
        found = True
        client, chosen = None if hop.address is None else (hop.address, hop.port), said
        if not trusts(hop.address):
            break
    scheme = _SCHEMES.get(chosen.get(b"proto", b"").lower(), own.scheme)
    return _settle(own, client, scheme, chosen.get(b"host", b""), 0, b"")


def _parse_element(raw: bytes) -> dict[bytes, bytes] | None:
    """One `forwarded-element`; None if it is malformed. Commas and semicolons within quotes are not for us: no address
    has one, and whoever opens a quote must not swallow what the next proxy appends.
    """
    said: dict[bytes, bytes] = {}
    for piece in raw.split(b";"):
        pair = piece.strip(b" \t")
        match = _PAIR.fullmatch(pair)
        if match is not None:
            name, token, quoted = match.groups()
            said.setdefault(name.lower(), token or re.sub(rb"\\(.)", rb"\1", quoted))
        elif pair:
            return None
    return said
