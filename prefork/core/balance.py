"""The strategies: which of the workers that can take a connection shall have it.

Small and pure: the candidates and the client's address come in, one of the candidates goes out. What a strategy
remembers is whose turn it was, no more. Whether a worker can take one at all is not asked here (`handoff.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


@dataclass(slots=True, eq=False)
class Candidate:
    """A worker that can take a connection. Not frozen: its numbers go up with each one that it is given."""

    slot: int
    serial: int
    """Two workers of one slot, during a reload, differ in it."""
    connections: int = 0
    """Open there, or on the way to it."""
    in_flight: int = 0
    """Requests that it has begun and not answered."""


class Strategy(Protocol):
    """`candidates` are never none, and in the order of their slots; `address` is the client's, empty on a unix
    socket.
    """

    def __call__(self, candidates: Sequence[Candidate], address: str, /) -> Candidate: ...


class RoundRobin:
    """One after the other, in the order of the slots."""

    def __init__(self) -> None:
        self._last = (-1, -1)

    def __call__(self, candidates: Sequence[Candidate], _address: str = "") -> Candidate:
        last = self._last
        for candidate in candidates:
            if (candidate.slot, candidate.serial) > last:
                break
        else:
            candidate = candidates[0]
        self._last = (candidate.slot, candidate.serial)
        return candidate


class LeastConnections:
    """Whoever has the fewest open. Of several it is one after the other, so that an idle fleet is used evenly."""

    def __init__(self) -> None:
        self._rotate = RoundRobin()

    def __call__(self, candidates: Sequence[Candidate], _address: str = "") -> Candidate:
        fewest = min([candidate.connections for candidate in candidates])
        return self._rotate([candidate for candidate in candidates if candidate.connections == fewest])


class IpHash:
    """An address always reaches the same slot, as long as a worker there can take it.

    Rendezvous hashing: each slot draws a number for the address, the highest wins. Slots and not pids draw, so a
    reload changes nothing; with a fifth slot, only those addresses move for which it draws the highest.
    """

    def __init__(self) -> None:
        self._rotate = RoundRobin()

    def __call__(self, candidates: Sequence[Candidate], address: str) -> Candidate:
        if not address:
            return self._rotate(candidates)
        key = hash_address(address)
        # Of two workers of a slot the younger: its elder is about to leave.
        return max(
            candidates, key=lambda candidate: (scramble(key ^ scramble(candidate.slot)), candidate.serial)
        )


def make_strategy(name: str) -> Strategy:
    """One of ours, by its name in `--balance`."""
    kinds: dict[str, type[RoundRobin | LeastConnections | IpHash]] = {
        "round-robin": RoundRobin,
        "least-connections": LeastConnections,
        "ip-hash": IpHash,
    }
    return kinds.get(name, RoundRobin)()


def hash_address(address: str) -> int:
    """64 bits, the same in every process and on every machine."""
    return scramble(int.from_bytes(name_network(address).encode(), "big") % 0xFFFFFFFFFFFFFFC5)


def name_network(address: str) -> str:
    """What of an address is one client: all of IPv4, of IPv6 the first 64 bits.

    A host changes the other half of its IPv6 address as it likes, once a day and more (RFC 8981); the first half is
    its network's (RFC 6177). An IPv4 address in IPv6 clothes (RFC 4291, 2.5.5.2) is IPv4.
    """
    if ":" not in address:
        return address
    if "." in address:
        return address.rpartition(":")[2]
    head, gap, tail = address.partition("%")[0].partition("::")
    groups = head.split(":") if head else []
    if gap:
        behind = tail.split(":") if tail else []
        groups += ["0"] * (8 - len(groups) - len(behind)) + behind
    return ":".join(group.lower().lstrip("0") or "0" for group in groups[:4])


def scramble(number: int) -> int:
    """64 bits, spread over 64 bits by the end of splitmix64: slots are small numbers, and addresses look alike."""
    number = (number + GOLDEN) & MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)
