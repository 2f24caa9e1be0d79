"""A terminal that somebody types on: tmux, with a server of its own that ends with us."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

DEADLINE_S = 20.0
POLL_S = 0.05
PROMPT = "$ "


class Terminal:
    """`with Terminal(80, 24, …) as terminal`."""

    def __init__(self, width: int, height: int, folder: Path, environ: Mapping[str, str]) -> None:
        self._socket = f"prefork-pictures-{uuid.uuid4().hex[:8]}"
        shell = [
            "env",
            *(f"{key}={value}" for key, value in environ.items()),
            "bash",
            "--norc",
            "--noprofile",
        ]
        size = ["-x", str(width), "-y", str(height)]
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, "-c", str(folder), *shell)
        self._tmux("set-option", "-g", "status", "off")
        self.wait_for(PROMPT.strip())

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tmux("kill-server")

    def type(self, *keys: str) -> None:
        """Tmux's names of keys (`Enter`, `C-c`), or text."""
        self._tmux("send-keys", *keys)

    def capture(self, *, colours: bool = False) -> str:
        """What stands on it."""
        return self._tmux("capture-pane", "-p", *(["-e"] if colours else []))

    def wait_for(self, text: str, *, count: int = 1) -> str:
        """Until it shows this so many times."""
        deadline = time.monotonic() + DEADLINE_S
        while (shown := self.capture()).count(text) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"not within {DEADLINE_S:g} s: {text!r} in\n{shown}")
            time.sleep(POLL_S)
        return shown

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-L", self._socket, "-u", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
