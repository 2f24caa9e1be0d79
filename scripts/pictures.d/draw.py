"""The pictures of docs/pictures: the real program, in a real terminal, with real load."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from svg import draw

from tests.integration.load import Load
from tests.integration.running import clean_environment, parse_address, wait_until
from tests.integration.screens import Screen, is_there

ROOT = Path(__file__).parent.parent.parent
TARGET = ROOT / "docs" / "pictures"
APP = Path(__file__).parent / "shop.py"
CURVE_S = 45
"""How long the picture of `top` is loaded before it is taken."""


def main() -> int:
    if not is_there():
        print("error: tmux is not installed\n  on Debian: apt-get install tmux", file=sys.stderr)
        return 1
    chosen = sys.argv[1:] or list(PICTURES)
    if unknown := [name for name in chosen if name not in PICTURES]:
        print(f"error: no picture {unknown[0]}\n  there are: {', '.join(PICTURES)}", file=sys.stderr)
        return 2
    TARGET.mkdir(parents=True, exist_ok=True)
    with Scene() as scene:
        for name in chosen:
            width, height, play = PICTURES[name]
            with scene.open_screen(width, height) as screen:
                play(screen)
                captured = screen.capture(colours=True)
            path = TARGET / f"{name}.svg"
            path.write_text(draw(f"prefork {name}", captured, width))
            print(path.relative_to(ROOT))
    return 0


class Scene:
    """Two services under load, in a directory that goes away with them. `with Scene() as scene`."""

    def __enter__(self) -> Scene:
        self._closing = ExitStack()
        self._folder = Path(self._closing.enter_context(tempfile.TemporaryDirectory(prefix="prefork-")))
        shutil.copy(APP, self._folder)
        sockets = self._folder / "control"
        sockets.mkdir(mode=0o700)
        self._environ = clean_environment() | {"PREFORK_CONTROL": str(sockets)}
        for name, workers in (("shop", 4), ("blog", 2)):
            address = self._closing.enter_context(self._serve(name, workers))
            self._closing.enter_context(Load(address, lambda _: True, threads=2 * workers, pause_s=0.002))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @contextmanager
    def _serve(self, name: str, workers: int) -> Iterator[tuple[str, int] | str]:
        log = self._folder / f"{name}.log"
        command = [
            sys.executable, "-m", "prefork", "shop:app", "--name", name,
            "--bind", "127.0.0.1:0", "--workers", str(workers),
        ]  # fmt: skip
        with log.open("wb") as file:
            service = subprocess.Popen(command, cwd=self._folder, env=self._environ, stderr=file)
        try:
            wait_until(lambda: "serving " in log.read_text(), f"{name} serves")
            line = next(line for line in log.read_text().splitlines() if "address=" in line)
            yield parse_address(line.partition("address=")[2])
        finally:
            service.send_signal(signal.SIGINT)
            service.wait(20)

    def open_screen(self, width: int, height: int) -> Screen:
        """With `prefork` on its path, and nothing of ours to be seen."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        shown = {
            "PATH": path,
            "PS1": "$ ",
            "TERM": "tmux-256color",
            "COLORTERM": "truecolor",
            "PYTHONPATH": str(ROOT),
        }
        return Screen(
            width, height, self._folder, {**shown, "PREFORK_CONTROL": self._environ["PREFORK_CONTROL"]}
        )


def show(command: str) -> Callable[[Screen], None]:
    """Run it to its end: there is a second prompt."""

    def play(screen: Screen) -> None:
        screen.type(command, "Enter")
        screen.wait_for("$", count=2)

    return play


def play_top(screen: Screen) -> None:
    screen.type("prefork top shop", "Enter")
    screen.wait_for("req/s")
    time.sleep(CURVE_S)  # curves are made of time
    screen.type("r")
    screen.wait_for("y/n")
    screen.type("y")
    screen.wait_for("rolling")


PICTURES: dict[str, tuple[int, int, Callable[[Screen], None]]] = {
    "ls": (100, 12, show("prefork ls")),
    "describe": (100, 50, show("prefork describe shop")),
    "top": (120, 28, play_top),
    "reload": (100, 14, show("prefork reload shop --wait")),
}
"""Width, height, and what is done before the picture is taken."""


if __name__ == "__main__":
    sys.exit(main())
