"""How a zygote and the master's helpers (watcher, chooser, admin process) are started: the lines of Python that it
hands to exec. Text, shared by both sides of the exec.

`-c` puts the current directory first on `sys.path`, where a file named like one of our dependencies would win: it is
taken off, and the app's directory is put on later, when the app is imported. An installed prefork comes first, so
that a reload picks up a new one; the directory that the master runs from is the fallback, for a checkout.

The collector is off while so much is imported: it would look through all of it again and again, and find nothing; the
zygote collects once, before it freezes the heap.
"""

from __future__ import annotations

PROTOCOL = 1
"""Raised whenever a message, or the layout of the scoreboard, changes so that an older master, or an older zygote,
would misunderstand it. A reload may start the zygote of a newer or an older prefork than the master's: different
numbers refuse each other.

What both must understand whatever the number: the first three words of argv, and `ImportFailed`.
"""

SAFE_PATH = "prefork"
"""What PYTHONSAFEPATH holds for the interpreter and not for the app: with the current directory on its path, Python
3.13.0 fails in odd places once that directory is deleted, as old releases are. Older Pythons do not know the variable.
"""

_CODE = """\
import gc, os, sys
gc.disable()
if os.environ.get("PYTHONSAFEPATH") == "{mark}":
    del os.environ["PYTHONSAFEPATH"]
sys.path[:] = [place for place in sys.path if place]
try:
    from prefork.{room}.main import main
except ModuleNotFoundError:
    sys.path.append(sys.argv[1])
    from prefork.{room}.main import main
sys.exit(main(sys.argv[1:]))
"""
ZYGOTE_CODE = _CODE.format(room="zygote", mark=SAFE_PATH)
WATCHER_CODE = _CODE.format(room="watcher", mark=SAFE_PATH)
CHOOSER_CODE = _CODE.format(room="chooser", mark=SAFE_PATH)
ADMIN_CODE = _CODE.format(room="admin", mark=SAFE_PATH)
"""argv: the directory that holds the master's own prefork, the channel's descriptor, the master's PROTOCOL, and what
`main` documents.
"""
