"""A PROXY header is read whole or not at all, and what is none is refused at its first wrong byte."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.serve.proxy_protocol import (
    LONGEST_LINE_BYTES,
    SIGNATURE,
    Header,
    MalformedHeaderError,
    read_header,
)


def v2(command: int, family: int, body: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(body) if length is None else length) + body


V4 = bytes((192, 0, 2, 1, 198, 51, 100, 2)) + struct.pack(">HH", 56324, 443)
V6 = (
    ipaddress.ip_address("2001:db8::1").packed
    + ipaddress.ip_address("2001:db8::2").packed
    + struct.pack(">HH", 4000, 443)
)
TLV = b"\x02\x00\x04host"

HEADERS: list[tuple[bytes, bool, tuple[str, int] | None]] = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", True, ("192.0.2.1", 56324)),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", True, ("255.255.255.255", 65535)),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", True, ("0.0.0.0", 0)),
    (b"PROXY TCP6 2001:db8::1 ::1 4000 443\r\n", True, ("2001:db8::1", 4000)),
    (
        b"PROXY TCP6 2001:0DB8:0000:0000:0000:0000:0000:0001 ::1 4000 443\r\n",
        True,
        ("2001:db8::1", 4000),
    ),
    (b"PROXY UNKNOWN\r\n", False, None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", False, None),
    (v2(0x21, 0x11, V4), True, ("192.0.2.1", 56324)),
    (v2(0x21, 0x11, V4 + TLV), True, ("192.0.2.1", 56324)),
    (v2(0x21, 0x21, V6), True, ("2001:db8::1", 4000)),
    (v2(0x21, 0x21, V6 + TLV * 90), True, ("2001:db8::1", 4000)),
    (v2(0x21, 0x31, bytes(216)), True, None),
    (v2(0x21, 0x00, b""), False, None),
    (v2(0x21, 0x00, b"anything"), False, None),
    (v2(0x21, 0x12, V4), False, None),  # a datagram's
    (v2(0x20, 0x00, b""), False, None),
    (v2(0x20, 0x11, V4), False, None),  # LOCAL: the addresses are to be ignored
    (v2(0x20, 0x11, b"short"), False, None),
    (v2(0x21, 0x11, V4 + bytes(65535 - 12)), True, ("192.0.2.1", 56324)),
]


@pytest.mark.parametrize(("data", "is_spoken_for", "client"), HEADERS)
def test_a_header_is_read_and_what_follows_is_left(
    data: bytes,
    is_spoken_for: bool,
    client: tuple[str, int] | None,
) -> None:
    expected = Header(len(data), is_spoken_for, client)
    assert read_header(data) == expected
    assert read_header(data + b"GET / HTTP/1.1\r\n") == expected
    assert read_header(data + data) == expected


@pytest.mark.parametrize("data", [data for data, _, _ in HEADERS if len(data) < 1000])
def test_a_header_cut_anywhere_is_waited_for(data: bytes) -> None:
    assert {read_header(data[:end]) for end in range(len(data))} == {None}


MALFORMED: list[bytes] = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01",
    b"proxy TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
    b"PROXY\r\n",
    b"PROXYTCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP5 192.0.2.1 198.51.100.2 56324 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n",
    b"PROXY  TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.2 56324 443\r\n",
    b"PROXY TCP4 192.0.2.1 example.org 56324 443\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.2 56324 443\r\n",
    b"PROXY TCP4 ::1 ::1 56324 443\r\n",
    b"PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 56324 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 1 \xb2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 1  443\n\r\n",
    b"PROXY UNKNOWN" + b" " * LONGEST_LINE_BYTES,
    b"PROXY UNKNOWN " + b"x" * (LONGEST_LINE_BYTES - 15) + b"\r\n",
    SIGNATURE + b"\x11",  # version 1 in binary
    SIGNATURE + b"\x31",
    SIGNATURE + b"\x22",
    v2(0x21, 0x11, V4[:-1]),
    v2(0x21, 0x21, V4),
    v2(0x21, 0x31, bytes(215)),
    v2(0x21, 0x41, V4),
    v2(0x21, 0x13, V4),
    SIGNATURE[:-1] + b"X",
]


@pytest.mark.parametrize("data", MALFORMED)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedHeaderError):
        read_header(data)


def test_the_longest_line_is_accepted_and_one_byte_more_is_not() -> None:
    longest = b"PROXY UNKNOWN " + b"x" * (LONGEST_LINE_BYTES - 16) + b"\r\n"
    assert len(longest) == LONGEST_LINE_BYTES
    assert read_header(longest) == Header(LONGEST_LINE_BYTES, is_spoken_for=False)
    assert read_header(longest[:-1]) is None
    with pytest.raises(MalformedHeaderError):
        read_header(longest[:-2] + b"xx")


def test_nobody_waits_for_the_rest_of_what_is_wrong_already() -> None:
    for data in (b"G", b"PROXX", SIGNATURE[:5] + b"!"):
        with pytest.raises(MalformedHeaderError):
            read_header(data)


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"!"])
)
def test_any_bytes_are_a_header_or_wait_or_are_refused(noise: bytes, begin: bytes) -> None:
    data = begin + noise
    try:
        header = read_header(data)
    except MalformedHeaderError:
        return
    assert header is None or 0 < header.size_bytes <= len(data)


@given(
    st.ip_addresses(),
    st.integers(0, 65535),
    st.binary(max_size=300),
    st.binary(max_size=20),
)
def test_what_a_proxy_writes_is_what_is_read(
    host: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, extra: bytes, rest: bytes
) -> None:
    family = 0x11 if host.version == 4 else 0x21
    binary = v2(0x21, family, host.packed * 2 + struct.pack(">HH", port, 1) + extra)
    line = f"PROXY TCP{host.version} {host} {host} {port} 1\r\n".encode()
    for data in (binary, line):
        header = read_header(data + rest)
        assert header is not None
        assert header.client is not None
        assert (header.size_bytes, header.client[1]) == (len(data), port)
        assert ipaddress.ip_address(header.client[0]) == host
