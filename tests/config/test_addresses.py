"""Addresses: every spelling has one normal form, and the normal form reads back as itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefork.config.addresses import (
    Address,
    parse_address,
    parse_addresses,
    parse_admin_addresses,
    parse_host,
)
from prefork.config.values import RefusedValueError

SPELLINGS = {
    "127.0.0.1:8000": Address("tcp4", host="127.0.0.1", port=8000),
    "127.0.0.1": Address("tcp4", host="127.0.0.1", port=8000),
    "127.0.0.1:0": Address("tcp4", host="127.0.0.1", port=0),
    ":80": Address("tcp4", host="0.0.0.0", port=80),
    "*:80": Address("tcp4", host="0.0.0.0", port=80),
    "8080": Address("tcp4", host="127.0.0.1", port=8080),
    "LocalHost:80": Address("tcp4", host="localhost", port=80),
    "my_host.example": Address("tcp4", host="my_host.example", port=8000),
    "tcp://localhost:80": Address("tcp4", host="localhost", port=80),
    "[::1]:80": Address("tcp6", host="::1", port=80),
    "[::]": Address("tcp6", host="::", port=8000),
    "[2001:DB8:0::1]:80": Address("tcp6", host="2001:db8::1", port=80),
    "[fe80::1%eth0]:80": Address("tcp6", host="fe80::1%eth0", port=80),
    "unix:/run/shop.sock": Address("unix", path="/run/shop.sock"),
    "unix:///run/shop.sock": Address("unix", path="/run/shop.sock"),
    "unix:shop.sock": Address("unix", path="shop.sock"),
    "fd://3": Address("fd", fd=3),
    "fd://0": Address("fd", fd=0),
    "fd://3=web": Address("fd", fd=3, label="web"),
}


@pytest.mark.parametrize(("written", "address"), SPELLINGS.items())
def test_every_spelling_has_one_normal_form_that_reads_back(written: str, address: Address) -> None:
    assert parse_address(written) == address
    assert parse_address(str(address)) == address


REFUSALS = {
    "": "not an address",
    "localhost:http": "the port is not a number",
    "localhost:": "the port is not a number",
    "localhost:-1": "the port is not a number",
    "localhost:65536": "the port is above 65535",
    "99999": "the port is above 65535",
    "localhost:" + "9" * 5000: "the port is not a number",
    "::1": "more than one colon",
    "::1:80": "more than one colon",
    "[::1": "more than one colon",
    "[::1]80": "more than one colon",
    "[::zz]:80": "not an IPv6 address",
    "[localhost]:80": "brackets are for IPv6",
    "256.0.0.1:80": "not an IPv4 address",
    "127.1:80": "not an IPv4 address",
    "127.0.0.01:80": "not an IPv4 address",
    "a b:80": "not a host name or an IP address",
    "/run/shop.sock": "not an address",
    "http://localhost": "not an address",
    "UNIX:80": "not a host name we can tell from a socket",
    "unix:": "no path of a socket",
    "unix:/run/": "no path of a socket",
    "unix:@shop": "abstract sockets have no mode to guard them",
    "unix:/" + "a" * 107: "a unix socket's path of 108 bytes",
    "fd://": "not a whole number",
    "fd://-1": "below 0",
    "fd://x": "not a whole number",
    "fd://=web": "not a whole number",
    "fd://3=a b": "not a name for a socket",
    "localhost\n:80": "not an address",
    "\udcff:80": "not an address",
}


@pytest.mark.parametrize(("written", "problem"), REFUSALS.items())
def test_an_impossible_address_is_refused_with_the_reason(written: str, problem: str) -> None:
    with pytest.raises(RefusedValueError) as refused:
        parse_address(written)
    assert refused.value.message == problem


@pytest.mark.parametrize(
    ("written", "addresses"),
    [
        (":80", [":80"]),
        (":80, [::]:80", [":80", "[::]:80"]),
        ([":80", "unix:/run/a.sock"], [":80", "unix:/run/a.sock"]),
        ((":80", ":81,:82"), [":80", ":81", ":82"]),
    ],
)
def test_a_list_is_a_list_or_a_text_with_commas(written: object, addresses: list[str]) -> None:
    assert parse_addresses(written) == tuple(map(parse_address, addresses))


@pytest.mark.parametrize("written", [[], "", ",", [80], {"a": 1}, None])
def test_a_list_without_addresses_is_refused(written: object) -> None:
    with pytest.raises(RefusedValueError):
        parse_addresses(written)


@pytest.mark.parametrize("written", [False, "off", "None"])
def test_there_need_not_be_an_admin_address(written: object) -> None:
    assert parse_admin_addresses(written) == ()


def test_admin_addresses_are_written_like_any_other() -> None:
    written = [":9000", "unix:admin.sock"]
    assert parse_admin_addresses(written) == parse_addresses(written)
    with pytest.raises(RefusedValueError):
        parse_admin_addresses(True)


@pytest.mark.parametrize(
    ("written", "host"),
    [("localhost", "localhost"), ("::1", "::1"), ("[::1]", "::1"), ("", "0.0.0.0"), ("*", "0.0.0.0")],
)
def test_a_host_alone_needs_no_brackets(written: str, host: str) -> None:
    assert parse_host(written) == host


def test_a_relative_socket_is_placed_under_the_directory_and_others_stay() -> None:
    assert str(parse_address("unix:run/a.sock").under("/srv/shop")) == "unix:/srv/shop/run/a.sock"
    assert parse_address("unix:/run/a.sock").under("/srv") == Address("unix", path="/run/a.sock")
    assert parse_address(":80").under("/srv") == Address("tcp4", host="0.0.0.0", port=80)
    with pytest.raises(RefusedValueError):
        parse_address("unix:a.sock").under("/" + "d" * 110)


@settings(deadline=None)  # the first IPv6 address imports ipaddress
@given(st.text() | st.from_regex(r"(unix:|fd://|tcp://|\[)?[a-z0-9.:%\]/@-]{0,20}", fullmatch=True))
def test_what_is_accepted_reads_back_as_itself(written: str) -> None:
    try:
        address = parse_address(written)
    except RefusedValueError:
        return
    assert parse_address(str(address)) == address
