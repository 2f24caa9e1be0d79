"""A terminal with a shell on which somebody types: tmux, with a server of its own. `scripts/pictures` uses it too."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from tests.integration.running import WAIT_TIMEOUT_S, NotInTimeError, wait_until

PROMPT = "$"


def is_there() -> bool:
    """Is tmux installed?"""
    return shutil.which("tmux") is not None


class Screen:
    """`with Screen(80, 24, folder, environ) as screen`: bash waits for a command."""

    def __init__(self, width: int, height: int, folder: Path, environ: Mapping[str, str]) -> None:
        self._server = f"prefork-{uuid.uuid4().hex[:8]}"
        variables = {"PS1": f"{PROMPT} ", "TERM": "tmux-256color", "LANG": "C.UTF-8", **environ}
        shell = [
            "env",
            *(f"{key}={value}" for key, value in variables.items()),
            "bash",
            "--norc",
            "--noprofile",
        ]
        # tmux obeys no file of whoever runs this, and a terminal that a person looks at has no part in it.
        self._tmux("-f", "/dev/null", "new-session", "-d", *_size(width, height), "-c", str(folder), *shell)
        self._tmux("set-option", "-g", "status", "off")
        self.wait_for(PROMPT)

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tmux("kill-server")

    def type(self, *keys: str) -> None:
        """Tmux's names of keys (`Enter`, `C-c`), or text."""
        self._tmux("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", *_size(width, height))

    def capture(self, *, colours: bool = False) -> str:
        """What stands on it, a line for each of its lines; with colours, also to the end of each."""
        return self._tmux("capture-pane", "-p", *(["-e", "-N"] if colours else []))

    def wait_until(self, condition: Callable[[str], object], what: str) -> str:
        """What stands on it then."""

        def look() -> str:
            shown = self.capture()
            return shown if condition(shown) else ""

        try:
            return wait_until(look, what, poll_s=0.05)
        except NotInTimeError as error:
            raise NotInTimeError(f"{error}; the terminal shows\n{self.capture()}") from None

    def wait_for(self, text: str, *, count: int = 1) -> str:
        """Until it shows this, so many times."""
        return self.wait_until(lambda shown: shown.count(text) >= count, repr(text))

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-L", self._server, "-u", *words]
        environ = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        ended = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=WAIT_TIMEOUT_S, env=environ
        )
        return ended.stdout


def _size(width: int, height: int) -> list[str]:
    return ["-x", str(width), "-y", str(height)]
