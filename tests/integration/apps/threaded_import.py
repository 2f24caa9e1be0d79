"""Leaves a thread behind when it is imported: not fork-safe."""

import threading

from hello_asgi import app

threading.Thread(target=threading.Event().wait, name="left-behind", daemon=True).start()

__all__ = ["app"]
