"""The program under test: started as a user would, looked at from outside, stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

APPS = Path(__file__).parent / "apps"
ROOT = Path(__file__).parent.parent.parent
DEADLINE_S = 20.0
WORKERS = 2


class Server:
    """`python -m prefork` with two workers, its log in `folder`."""

    def __init__(self, interface: str, loop: str, folder: Path) -> None:
        self.name = f"{interface}-{loop}"
        self.log_path = folder / f"{self.name}.log"
        app = "told_asgi:app" if interface == "asgi" else "told_wsgi:app"
        threads = ["--threads", "4"] if interface == "wsgi-threads" else []
        options = [
            "--loop",
            loop,
            "--keep-alive",
            "1s",
            "--header-timeout",
            "1s",
            "--log-level",
            "info",
            *threads,
        ]
        command = [sys.executable, "-m", "prefork", app, "--workers", str(WORKERS), "--bind", "127.0.0.1:0"]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *options],
                cwd=APPS,
                env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_for(r"\bserving\b")
        self.port = int(self._wait_for(r"address=\S+:(\d+)")[1])
        self.workers = self.find_workers()

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def _wait_for(self, pattern: str) -> re.Match[str]:
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end and self._process.poll() is None:
            if match := re.search(pattern, self.log):
                return match
            time.sleep(0.02)
        self._process.kill()
        raise SystemExit(f"{self.name} does not serve:\n{self.log}")

    def find_workers(self) -> dict[int, psutil.Process]:
        children = psutil.Process(self._process.pid).children(recursive=True)
        return {child.pid: child for child in children if "prefork: worker " in " ".join(child.cmdline())}

    def measure_memory(self) -> int:
        """Of the fattest worker, in bytes."""
        return max(worker.memory_info().rss for worker in self.workers.values())

    def find_damage(self) -> list[str]:
        """What went wrong inside: dead workers, tracebacks, errors in the log."""
        damage = []
        if self._process.poll() is not None:
            damage.append(f"the master ended with {self._process.returncode}")
        elif self.find_workers().keys() != self.workers.keys():
            damage.append(f"workers were {sorted(self.workers)}, are {sorted(self.find_workers())}")
        bad = re.search(r"^.*(Traceback|\[(ERROR|CRITICAL|WARNING)\]).*(\n.*){0,30}", self.log, re.MULTILINE)
        return [*damage, f"in the log: {bad[0]}"] if bad else damage

    def stop(self) -> list[str]:
        """End it; what it leaves wrong."""
        if self._process.poll() is not None:
            return []
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            for process in [*self.find_workers().values(), psutil.Process(self._process.pid)]:
                process.kill()
            return [f"it did not stop within {DEADLINE_S:g} s"]
        return [] if code == 0 else [f"it ended with {code}"]
