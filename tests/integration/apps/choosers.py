"""Strategies of a user's, good and bad ones."""

import sys
import time

asked = []


def highest_slot(candidates, address):
    assert address in ("", "127.0.0.1"), address
    return max(candidates, key=lambda candidate: candidate.slot)


def raises_later(candidates, address):
    """The trial goes well."""
    asked.append(address)
    if len(asked) > 1:
        sys.exit("no idea")
    return candidates[0]


def hangs_later(candidates, address):
    asked.append(address)
    if len(asked) > 1:
        time.sleep(3600)
    return candidates[0]


def nobody(candidates, address):
    return None


not_callable = 7


def by_last_digit(candidates, address):
    return candidates[int(address[-1]) % len(candidates)]
