"""Whom a proxy speaks for: read from the end that it wrote itself, never believed further than that."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.serve.ends import Client, Ends
from prefork.serve.forwarded import (
    FOR,
    FORWARDED,
    HOST,
    MOST_HOPS,
    PORT,
    PROTO,
    Hop,
    find_ends,
    find_nonsense,
    parse_node,
)
from prefork.serve.trust import TrustedPeers

OWN = Ends(("127.0.0.1", 5000), ("127.0.0.1", 8000), "http")
trusts = TrustedPeers(["127.0.0.1", "10.0.0.0/8", "unix"]).trusts


def find(said: dict[bytes, bytes], host: bytes = b"inner:8000", own: Ends = OWN) -> Ends:
    return find_ends(own, said, host, trusts)


@pytest.mark.parametrize(
    ("raw", "hop"),
    [
        (b"192.0.2.1", Hop("192.0.2.1", 0)),
        (b" 192.0.2.1\t", Hop("192.0.2.1", 0)),
        (b"192.0.2.1:80", Hop("192.0.2.1", 80)),
        (b"2001:DB8::1", Hop("2001:db8::1", 0)),
        (b"[2001:db8::1]", Hop("2001:db8::1", 0)),
        (b"[2001:db8::1]:65535", Hop("2001:db8::1", 65535)),
        (b"unix:", Hop(None, 0)),
        (b"192.0.2.1:65536", None),
        (b"192.0.2.1:", None),
        (b"192.0.2", None),
        (b"192.0.2.256", None),
        (b"[192.0.2.1]", None),
        (b"fe80::1%eth0", None),
        (b"unknown", None),
        (b"_hidden", None),
        (b"", None),
        (b"\0", None),
        (b"::1\0", None),
        (b"\xff", None),
        (b"1" * 1000, None),
    ],
)
def test_a_node_is_an_address_or_nothing(raw: bytes, hop: Hop | None) -> None:
    assert parse_node(raw) == hop


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        (b"192.0.2.1", ("192.0.2.1", 0)),
        (b"6.6.6.6, 192.0.2.1", ("192.0.2.1", 0)),
        (b"6.6.6.6, 192.0.2.1, 10.0.0.1, 10.0.0.2", ("192.0.2.1", 0)),
        (b"10.0.0.9:7, 10.0.0.1", ("10.0.0.9", 7)),
        (b"192.0.2.1, unix:", ("192.0.2.1", 0)),
        (b",192.0.2.1,, ,", ("192.0.2.1", 0)),
        (b"[2001:db8::1]:443", ("2001:db8::1", 443)),
        # Whoever stands left of what is not known may be invented.
        (b"6.6.6.6, unknown", OWN.client),
        (b"6.6.6.6, unknown, 10.0.0.1", ("10.0.0.1", 0)),
        (b"6.6.6.6, garbage!", OWN.client),
        (b"", OWN.client),
        (b"unix:", None),
    ],
)
def test_the_client_is_the_rightmost_that_is_not_trusted(chain: bytes, client: Client) -> None:
    assert find({FOR: chain}) == Ends(client, OWN.server, "http")


def test_a_chain_is_looked_at_for_so_many_hops() -> None:
    chain = b"192.0.2.1," + b"10.0.0.1," * (MOST_HOPS + 100) + b"10.0.0.2"
    assert find({FOR: chain}).client == ("10.0.0.1", 0)


@pytest.mark.parametrize(
    ("said", "scheme"),
    [
        ({PROTO: b"https"}, "https"),
        ({PROTO: b" HTTPS "}, "https"),
        ({PROTO: b"wss"}, "https"),
        ({PROTO: b"ws"}, "http"),
        ({PROTO: b"gopher"}, "http"),
        ({PROTO: b""}, "http"),
        ({PROTO: b"https,http"}, "http"),  # the nearest proxy's word
        (
            {FOR: b"192.0.2.1, 10.0.0.1", PROTO: b"https, http"},
            "https",
        ),  # the word of the one who saw the client
        ({FOR: b"6.6.6.6, 192.0.2.1", PROTO: b"https, http"}, "http"),
        ({FOR: b"192.0.2.1, 10.0.0.1, 10.0.0.2", PROTO: b"https"}, "https"),
    ],
)
def test_the_scheme_is_one_of_two(said: dict[bytes, bytes], scheme: str) -> None:
    assert find(said).scheme == scheme


@pytest.mark.parametrize(
    ("said", "server", "host"),
    [
        ({HOST: b"shop.example"}, ("shop.example", 80), b"shop.example"),
        ({HOST: b"shop.example:8443", PROTO: b"https"}, ("shop.example", 8443), b"shop.example:8443"),
        ({HOST: b"shop.example", PROTO: b"https", PORT: b"443"}, ("shop.example", 443), b"shop.example"),
        ({HOST: b"shop.example", PORT: b"81"}, ("shop.example", 81), b"shop.example:81"),
        ({HOST: b"[::1]:81"}, ("::1", 81), b"[::1]:81"),
        ({HOST: b"a/b"}, OWN.server, b""),
        ({HOST: b"a b"}, OWN.server, b""),
        ({HOST: b"u@a"}, OWN.server, b""),
        ({HOST: b""}, OWN.server, b""),
        ({HOST: b"a" * 300}, OWN.server, b""),
        ({PORT: b"8443"}, ("inner", 8443), b"inner:8443"),
        ({PORT: b"80"}, ("inner", 80), b"inner"),
        ({PORT: b"0"}, OWN.server, b""),
        ({PORT: b"99999"}, OWN.server, b""),
        ({PORT: b"-1"}, OWN.server, b""),
    ],
)
def test_the_host_is_valid_or_stays(said: dict[bytes, bytes], server: tuple[str, int], host: bytes) -> None:
    assert find(said)[1::2] == (server, host)


@pytest.mark.parametrize(
    ("raw", "ends"),
    [
        (b"for=192.0.2.1", Ends(("192.0.2.1", 0), OWN.server, "http")),
        (b'For="[2001:db8::1]:4711"; Proto=HTTPS', Ends(("2001:db8::1", 4711), OWN.server, "https")),
        (
            b"for=192.0.2.1;proto=https;host=shop.example;by=203.0.113.43, for=10.0.0.1;proto=http",
            Ends(("192.0.2.1", 0), ("shop.example", 443), "https", b"shop.example"),
        ),
        (b"for=6.6.6.6;proto=https, for=192.0.2.1", Ends(("192.0.2.1", 0), OWN.server, "http")),
        (b"proto=https", Ends(OWN.client, OWN.server, "https")),
        (b"for=unknown;proto=https", Ends(OWN.client, OWN.server, "https")),
        (b"for=6.6.6.6, for=_hidden, for=10.0.0.1", Ends(("10.0.0.1", 0), OWN.server, "http")),
        (
            b'for="_a, for=192.0.2.1',
            Ends(("192.0.2.1", 0), OWN.server, "http"),
        ),  # an open quote swallows nobody
        (b'for=6.6.6.6, for="192.0.2.1', OWN),
        (b"nonsense", OWN),
        (b"", OWN),
        (b"for=192.0.2.1;;", Ends(("192.0.2.1", 0), OWN.server, "http")),
    ],
)
def test_the_standard_field_says_it_in_one(raw: bytes, ends: Ends) -> None:
    assert find({FORWARDED: raw, FOR: b"6.6.6.6"}) == ends


FIELDS = st.dictionaries(
    st.sampled_from([FOR, PROTO, HOST, PORT, FORWARDED]),
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from(
                b'for=|"|;|,| |192.0.2.1|10.0.0.1|unknown|unix:|[::1]:8|https|proto=|host=|a.b|\\|:80'.split(
                    b"|"
                )
            ),
            max_size=20,
        ).map(b"".join),
    ),
)


@given(FIELDS, st.binary(max_size=50))
def test_nothing_raises_and_everything_is_typed(said: dict[bytes, bytes], host: bytes) -> None:
    ends = find(said, host)
    assert ends.scheme in {"http", "https"}
    if ends.client is not None:
        assert type(ends.client[1]) is int
        assert re.fullmatch(r"[0-9a-f:.]+", ends.client[0])
    assert ends.server is not None
    assert re.fullmatch(rb"[A-Za-z0-9\-._~\[\]:]*", ends.host)


@given(FIELDS.map(lambda said: said.get(FOR, b"")), st.sampled_from([FOR, FORWARDED]))
def test_whatever_the_client_invents_the_proxys_own_entry_wins(invented: bytes, field: bytes) -> None:
    own = b"for=192.0.2.1" if field == FORWARDED else b"192.0.2.1"
    assert find({field: invented + b", " + own}).client == ("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({FOR: b"192.0.2.1"}, None),
        ({FOR: b"garbage, 192.0.2.1"}, None),  # a client's, to which the proxy has added
        ({FOR: b"unknown"}, None),
        ({FOR: b"_hidden"}, None),
        ({FOR: b""}, None),
        ({FOR: b"127.0.0.1:5000"}, None),
        ({FOR: b"garbage"}, FOR),
        ({FOR: b"192.0.2.1, 192.0.2.256"}, FOR),
        ({PROTO: b"HTTPS", HOST: b"shop.example:80", PORT: b"443"}, None),
        ({PROTO: b"gopher, https"}, None),
        ({PROTO: b"", HOST: b"", PORT: b""}, None),
        ({PROTO: b"gopher"}, PROTO),
        ({HOST: b"a b"}, HOST),
        ({HOST: b"a" * 300}, HOST),
        ({PORT: b"99999"}, PORT),
        ({FORWARDED: b"for=garbage, for=192.0.2.1;proto=https;host=shop"}, None),
        ({FORWARDED: b"for=unknown"}, None),
        ({FORWARDED: b"for=garbage"}, FORWARDED),
        ({FORWARDED: b"for=192.0.2.1;proto=gopher"}, FORWARDED),
        ({FORWARDED: b'for=192.0.2.1;host="a b"'}, FORWARDED),
        ({FORWARDED: b"nonsense"}, FORWARDED),
    ],
)
def test_nonsense_is_what_the_nearest_proxy_itself_has_written(
    said: dict[bytes, bytes], field: bytes | None
) -> None:
    assert find_nonsense(OWN, said, find(said)) == field
