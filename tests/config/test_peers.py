"""Peers are read into one normal form, and what is neither address nor network is refused."""

from __future__ import annotations

import pytest

from prefork.config.peers import parse_peers
from prefork.config.values import RefusedValueError

ACCEPTED: list[tuple[object, tuple[str, ...]]] = [
    ("127.0.0.1, ::1, unix", ("127.0.0.1", "::1", "unix")),
    ("*", ("*",)),
    ("", ()),
    ([], ()),
    (["10.0.0.0/8", "UNIX,10.0.0.1"], ("10.0.0.0/8", "unix", "10.0.0.1")),
    ("10.0.0.1,10.0.0.1/32", ("10.0.0.1",)),
    ("2001:0DB8:0::1", ("2001:db8::1",)),
    ("2001:db8::/32", ("2001:db8::/32",)),
    ("::ffff:10.0.0.1", ("10.0.0.1",)),
    ("::ffff:10.0.0.0/104", ("10.0.0.0/8",)),
    ("::/0", ("::/0",)),
    ("10.0.0.0/255.0.0.0", ("10.0.0.0/8",)),
]


@pytest.mark.parametrize(("value", "peers"), ACCEPTED)
def test_peers_have_one_normal_form(value: object, peers: tuple[str, ...]) -> None:
    assert parse_peers(value) == peers
    assert parse_peers(peers) == peers


REFUSED: list[tuple[object, str]] = [
    ("proxy.example.org", '"proxy.example.org" is neither an address nor a network'),
    ("10.0.0.1/8", '"10.0.0.1/8" has bits set that its prefix leaves out'),
    ("10.0.0.0/33", '"10.0.0.0/33" is neither an address nor a network'),
    ("fe80::1%eth0", '"fe80::1%eth0" names an interface'),
    ("10.1", '"10.1" is neither an address nor a network'),
    ("1", '"1" is neither an address nor a network'),
    ("a\nb", "holds control bytes or is not UTF-8"),
    (7, "neither a text nor a list of texts"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED)
def test_what_is_no_peer_is_refused_by_name(value: object, message: str) -> None:
    with pytest.raises(RefusedValueError) as refused:
        parse_peers(value)
    assert refused.value.message == message


def test_a_network_with_bits_to_spare_is_told_what_was_probably_meant() -> None:
    with pytest.raises(RefusedValueError) as refused:
        parse_peers("10.0.0.1/8")
    assert refused.value.hints[0] == "did you mean 10.0.0.0/8?"
