"""What a selector found, as long as it still holds."""

from __future__ import annotations

import selectors
from collections.abc import Iterator


def wait_ready(
    selector: selectors.BaseSelector, timeout_s: float | None
) -> Iterator[tuple[selectors.SelectorKey, int]]:
    """Keys and masks as of `select`, each looked at once more when its turn comes: whoever was served before it may
    have ended the interest in it, changed it, or closed it and opened something else under its number.
    """
    watched = selector.get_map()
    for found, events in selector.select(timeout_s):
        key = watched.get(found.fd)
        if key is not None and key.fileobj is found.fileobj and (still := events & key.events):
            yield key, still
