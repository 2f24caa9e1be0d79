"""A directory where the documentation's commands do what it says: an app, `prefork` on the path, ports that are free.

Nothing outside of it is touched: ports, paths and the log's place in the commands are replaced. `--user` is left out,
because the user would have to be able to read our Python; `tests/integration/test_privileges.py` has it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

from prefork.cli.commands import NOT_SERVING
from tests.certificates import write_files
from tests.docs.blocks import ROOT
from tests.integration.running import clean_environment, wait_until

WAIT_S = 30.0
APP = '''"""What the documentation's commands serve."""


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        print("the shop is open")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def create_app():
    return app
'''
PORT = re.compile(r"(?<=:)\d{2,5}\b(?!\.)")
SERVING = re.compile(r"\bserving workers=")


class Sandbox:
    """Use it as a context: what was started in it ends with it."""

    def __init__(self, parent: Path) -> None:
        self.folder = folder = parent / "shop"
        folder.mkdir()
        self._ports: dict[str, str] = {}
        for app in ("main.py", "shop/main.py", "api/main.py"):
            (folder / app).parent.mkdir(exist_ok=True)
            (folder / app).write_text(APP)
        (folder / "shop.env").write_text("GREETING=hello\n")
        (folder / "conf").symlink_to(ROOT / "conf")
        for made in ("bin", "control", "log"):
            (folder / made).mkdir()
        shim = folder / "bin/prefork"
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m prefork "$@"\n')
        shim.chmod(0o755)
        self.environ = clean_environment() | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PREFORK_CONTROL": str(folder / "control"),
            "XDG_STATE_HOME": str(folder / "state"),
            "HOME": str(folder),
            "PORT": self._find_port("8000"),
            "COLUMNS": "200",
        }

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        masters = []
        for record in self.folder.glob("state/prefork/started/*.json"):
            with suppress(psutil.NoSuchProcess):
                master = psutil.Process(json.loads(record.read_text())["pid"])
                if master.environ().get("PREFORK_CONTROL") == self.environ["PREFORK_CONTROL"]:
                    masters += [master, *master.children(recursive=True)]
        for process in masters:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(masters, WAIT_S)

    def localize(self, text: str) -> str:
        """The same for this directory and this machine."""
        text = text.replace(".venv/bin/prefork", "prefork").replace(" --user www-data", "")
        text = text.replace("/tmp/", f"{self.folder}/").replace("/var/log/shop/", f"{self.folder}/log/")
        if "/etc/ssl" in text:
            files = write_files(self.folder)
            text = text.replace("/etc/ssl/chain.pem", str(files.chain))
            text = text.replace("/etc/ssl/private/key.pem", str(files.key))
        return PORT.sub(lambda found: self._find_port(found[0]), text)

    def run(self, command: str) -> tuple[int, str]:
        """Its exit code, and what stands on the terminal then."""
        ended = subprocess.run(
            ["bash", "-c", self.localize(command)],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        return ended.returncode, ended.stdout

    def serve(self, command: str) -> None:
        """Run a service in the foreground until it serves, and stop it: it ends well."""
        path = self.folder / "log/foreground"
        with path.open("wb") as log:
            service = subprocess.Popen(
                ["bash", "-c", f"exec {self.localize(command)}"],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(
                lambda: SERVING.search(path.read_text()) or service.poll() is not None, command, WAIT_S
            )
            assert service.poll() is None, path.read_text()
            service.send_signal(signal.SIGTERM)
            assert service.wait(WAIT_S) == 0, path.read_text()
        finally:
            service.kill()
            service.wait(WAIT_S)

    def _find_port(self, written: str) -> str:
        """Free a moment ago, and the same for the same port."""
        if written not in self._ports:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self._ports[written] = str(free.getsockname()[1])
        return self._ports[written]


def is_service(command: str) -> bool:
    """Does it serve until it is stopped?"""
    words = command.replace(".venv/bin/", "").split()
    return words[0] == "prefork" and words[1] not in NOT_SERVING
