"""The plainest frames, which are read and written without the `websockets` package: whole and short.

Pure. Of any other frame only the length is found here, so that the package is given one frame at a time and we always
know whether it is in the middle of one. It judges them: no rule of the protocol is enforced here.
"""

from __future__ import annotations

try:
    from websockets.speedups import apply_mask as apply_mask  # noqa: PLC0414 - for whoever imports it from here
except ImportError:  # a platform without the compiled part
    from websockets.utils import apply_mask as apply_mask  # noqa: PLC0414

TEXT, BINARY, PONG = 0x81, 0x82, 0x8A
"""The first byte of a whole frame: its opcode, and that nothing follows (RFC 6455 §5.2)."""
DEFLATED = 0x40
"""The bit in it that says that the message is compressed (RFC 7692 §6)."""
MASKED = 0x80
"""The bit that every frame of a client has in its second byte, above the length."""
SHORTEST_HEAD = 6
LONGEST_SHORT = 125
"""The longest payload that a short frame's second byte can tell."""
PING = b"\x89\x00"


def render_head(first: int, size: int) -> bytes:
    """What stands before a payload of `size` bytes that a server sends."""
    if size <= LONGEST_SHORT:
        return bytes((first, size))
    if size <= 0xFFFF:
        return b"%c\x7e%b" % (first, size.to_bytes(2, "big"))
    return b"%c\x7f%b" % (first, size.to_bytes(8, "big"))


def measure_frame(data: bytes, at: int) -> int:
    """How long the frame that begins there is, with its head; 0 if that is not to be seen yet."""
    known = len(data) - at
    if known < 2:
        return 0
    second = data[at + 1]
    length = second & 0x7F
    head = 2
    if length == 126:
        head = 4
    elif length == 127:
        head = 10
    if known < head:
        return 0
    if head > 2:
        length = int.from_bytes(data[at + 2 : at + head], "big")
    return head + (4 if second & MASKED else 0) + length
