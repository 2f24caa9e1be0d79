"""The strategies: which of the workers that can take a connection shall have it.

Small and pure: the candidates and the client's address come in, one of the candidates goes out. Whose turn it was is a
number of the candidate's, so a strategy remembers nothing. Whether a worker can take a connection at all is not asked
here (`handoff.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


class Candidate(msgspec.Struct, eq=False):
    """A worker that can take a connection. Not frozen: its numbers go up with each one that it is given."""

    slot: int
    serial: int
    """Two workers of one slot, during a reload, differ in it."""
    connections: int = 0
    """Open there, or on the way to it."""
    in_flight: int = 0
    """Requests that it has begun and not answered; a connection on the way to it may be one."""
    turn: int = 0
    """When it was chosen last: of two, whose number is lower has waited longer. 0: never yet."""


Strategy = Callable[[Sequence[Candidate], str], Candidate]
"""The candidates, never none, in the order of their slots; and the client's address, empty on a unix socket."""


def round_robin(candidates: Sequence[Candidate], _address: str) -> Candidate:
    """Whoever has waited longest: one after the other, and a worker that could not take its turn comes next."""
    return min(candidates, key=_turn)


def least_connections(candidates: Sequence[Candidate], _address: str) -> Candidate:
    """Whoever has the fewest open; of several who has waited longest, so that an idle fleet is used evenly."""
    return min(candidates, key=_load)


def ip_hash(candidates: Sequence[Candidate], address: str) -> Candidate:
    """An address always reaches the same slot, as long as a worker there can take it.

    Rendezvous hashing: each slot draws a number for the address, the highest wins. Slots and not pids draw, so a
    reload changes nothing; with a fifth slot, only those addresses move for which it draws the highest.
    """
    if not address:
        return round_robin(candidates, address)
    key = hash_address(address)
    # Of two workers of a slot the younger: its elder is about to leave.
    return max(candidates, key=lambda candidate: (scramble(key ^ scramble(candidate.slot)), candidate.serial))


def find_strategy(name: str) -> Strategy:
    """One of ours, by its name in `--balance`."""
    return {"round-robin": round_robin, "least-connections": least_connections, "ip-hash": ip_hash}.get(
        name, round_robin
    )


def is_sticky(name: str) -> bool:
    """Does it matter to a client which worker it gets? Perhaps, if a strategy of the user's says so."""
    return name not in {"round-robin", "least-connections"}


def _turn(candidate: Candidate) -> int:
    return candidate.turn


def _load(candidate: Candidate) -> tuple[int, int]:
    return candidate.connections, candidate.turn


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
