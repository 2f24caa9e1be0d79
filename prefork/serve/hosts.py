"""Is this a host? What may stand in a Host field, and as the authority of a target."""

from __future__ import annotations

import re
import socket

_HOST = re.compile(  # RFC 3986 §3.2.2: a name or IPv4, IPv6, an IP of the future; and a port
    rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*"
    rb"|\[([0-9A-Fa-f:.]+)\]"
    rb"|\[[vV][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+\])(?::[0-9]*)?"
)


def is_host(text: bytes) -> bool:
    """Whether it is `uri-host [":" port]` (RFC 9110 §7.2): never with a user, possibly empty (RFC 9112 §3.2)."""
    match = _HOST.fullmatch(text)
    if match is None:
        return False
    address = match[1]
    if address is not None:
        try:
            socket.inet_pton(socket.AF_INET6, address.decode("ascii"))
        except OSError:
            return False
    return True
