"""Who is trusted is decided by the peer's own address, however it is written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.config.peers import LOCAL, parse_peers
from prefork.serve.trust import MOST_REMEMBERED, TrustedPeers

ANSWERS: list[tuple[str, str | None, bool]] = [
    # a proxy on this machine, by default
    (",".join(LOCAL), "127.0.0.1", True),
    (",".join(LOCAL), "::1", True),
    (",".join(LOCAL), "::ffff:127.0.0.1", True),
    (",".join(LOCAL), None, True),
    (",".join(LOCAL), "127.0.0.2", False),
    (",".join(LOCAL), "10.0.0.1", False),
    # everybody, nobody
    ("*", "203.0.113.9", True),
    ("*", None, True),
    ("", "127.0.0.1", False),
    ("", None, False),
    # unix is not an address
    ("unix", None, True),
    ("unix", "unix", False),
    ("127.0.0.1", None, False),
    # networks
    ("10.0.0.0/8", "10.255.255.255", True),
    ("10.0.0.0/8", "11.0.0.0", False),
    ("10.0.0.0/8", "::ffff:10.1.2.3", True),
    ("10.0.0.0/8", "::ffff:a01:203", True),
    ("::ffff:10.0.0.0/104", "10.1.2.3", True),
    ("2001:db8::/32", "2001:db8:ffff::1", True),
    ("2001:db8::/32", "2001:db9::1", False),
    ("0.0.0.0/0", "203.0.113.9", True),
    ("0.0.0.0/0", "2001:db8::1", False),
    ("::/0", "203.0.113.9", False),
    # one address, written in several ways
    ("2001:db8::1", "2001:0DB8:0::1", True),
    ("fe80::1", "fe80::1%eth0", True),
    ("fe80::/10", "fe80::2%3", True),
    ("fe80::1", "fe80::2%eth0", False),
    # nonsense
    ("10.0.0.0/8", "", False),
    ("10.0.0.0/8", "10.0.0.1.evil", False),
    ("10.0.0.1", "10.0.0.1,192.0.2.1", False),
]


@pytest.mark.parametrize(("peers", "address", "is_trusted"), ANSWERS)
def test_who_is_trusted(peers: str, address: str | None, is_trusted: bool) -> None:
    trusted = TrustedPeers(parse_peers(peers))
    assert [trusted.trusts(address), trusted.trusts(address)] == [is_trusted] * 2


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128))
def test_a_network_trusts_exactly_its_own_addresses(
    inside: ipaddress.IPv4Address | ipaddress.IPv6Address,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
    bits: int,
) -> None:
    network = ipaddress.ip_network((inside, min(bits, inside.max_prefixlen)), strict=False)
    trusted = TrustedPeers(parse_peers(str(network)))
    # Mapped addresses are IPv4's, as peers and as networks; a wider network of IPv6 holds none of them.
    mapped = getattr(inside, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        network = ipaddress.ip_network((mapped, network.prefixlen - 96), strict=False)
    assert trusted.trusts(str(other)) == ((getattr(other, "ipv4_mapped", None) or other) in network)
    assert trusted.trusts(str(inside)) == ((mapped or inside) in network)


def test_a_network_full_of_addresses_does_not_fill_the_memory() -> None:
    trusted = TrustedPeers(["10.0.0.0/8"])
    for number in range(2 * MOST_REMEMBERED):
        assert trusted.trusts(str(ipaddress.ip_address("10.0.0.0") + number))
    assert len(trusted._answers) <= MOST_REMEMBERED
