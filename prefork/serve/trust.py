"""Whom do we believe when it speaks for another? The peers of `forwarded-allow-ips`.

Pure. Asked for each connection, so that an answer given once is kept; networks are numbers, compared under a mask.
The address is the peer's own, as the kernel tells it, never one that was read from a header.
"""

from __future__ import annotations

from collections.abc import Iterable

from prefork.config.peers import EVERYBODY, UNIX

MOST_REMEMBERED = 1024
"""Answers kept; then all are forgotten: whoever owns a network of addresses must not fill our memory."""

_MAPPED = "::ffff:"


class TrustedPeers:
    """The peers that a proxy of ours may be. `names` are in the normal form of `config.peers`.

    >>> TrustedPeers(["10.0.0.0/8", "unix"]).trusts("10.1.2.3")
    True
    """

    __slots__ = ("_answers", "_names", "_networks", "_trusts_all", "_trusts_unix")

    def __init__(self, names: Iterable[str]) -> None:
        kept = tuple(names)
        self._trusts_all = EVERYBODY in kept
        self._trusts_unix = self._trusts_all or UNIX in kept
        self._names = frozenset(kept)
        self._networks: tuple[tuple[int, int, int], ...] | None = None
        """Version, mask, first address; made when first needed."""
        self._answers: dict[str, bool] = {}

    def trusts(self, address: str | None) -> bool:
        """Whether this peer is one of them; None is the peer on a unix socket. What is no address is not trusted."""
        if address is None:
            return self._trusts_unix
        if self._trusts_all:
            return True
        answer = self._answers.get(address)
        if answer is None:
            if len(self._answers) >= MOST_REMEMBERED:
                self._answers.clear()
            answer = self._answers[address] = self._look_up(address)
        return answer

    def _look_up(self, address: str) -> bool:
        # An IPv6 socket shows an IPv4 peer as a mapped address; a link-local one carries its interface: see ipv6(7).
        name = address.partition("%")[0].lower()
        if name.startswith(_MAPPED) and "." in name:
            name = name.removeprefix(_MAPPED)
        if name in self._names and name != UNIX:
            return True
        if self._networks is None:
            self._networks = _parse_networks(self._names)
        if not self._networks:
            return False
        from ipaddress import IPv6Address, ip_address  # noqa: PLC0415  # 5 ms that only those with networks pay

        try:
            peer = ip_address(name)
        except ValueError:
            return False
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped:
            peer = peer.ipv4_mapped
        version, number = peer.version, int(peer)
        return any(
            version == their_version and number & mask == first
            for their_version, mask, first in self._networks
        )


def _parse_networks(names: Iterable[str]) -> tuple[tuple[int, int, int], ...]:
    # Single addresses too: a peer's may be written in another way than ours.
    texts = [name for name in names if name not in (UNIX, EVERYBODY, "127.0.0.1", "::1")]
    if not texts:
        return ()
    from ipaddress import ip_network  # noqa: PLC0415

    networks = map(ip_network, texts)
    return tuple((each.version, int(each.netmask), int(each.network_address)) for each in networks)
