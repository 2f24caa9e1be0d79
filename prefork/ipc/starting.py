"""How a zygote and the watcher are started: the lines of Python that the master hands to exec. Text, shared by both
sides of the exec.

`-c` puts the current directory first on `sys.path`, where a file named like one of our dependencies would win: it is
taken off, and the app's directory is put on later, when the app is imported. An installed prefork comes first, so
that a reload picks up a new one; the directory that the master runs from is the fallback, for a checkout.

The collector is off while so much is imported: it would look through all of it again and again, and find nothing; the
zygote collects once, before it freezes the heap.
"""

from __future__ import annotations

_CODE = """\
import gc, sys
gc.disable()
sys.path[:] = [place for place in sys.path if place]
try:
    from prefork.{room}.main import main
except ModuleNotFoundError:
    sys.path.append(sys.argv[1])
    from prefork.{room}.main import main
sys.exit(main(sys.argv[1:]))
"""
ZYGOTE_CODE = _CODE.format(room="zygote")
WATCHER_CODE = _CODE.format(room="watcher")
"""argv: the directory that holds the master's own prefork, the channel's descriptor, and what `main` documents."""
