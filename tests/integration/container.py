"""A container without an engine: namespaces, a read-only root made of this machine's, and what a Dockerfile says.

Its first process dies with its parent, and the kernel kills all others with it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import prefork
from tests.integration.namespaces import RAISE_LOOPBACK, reaching, write_environment
from tests.integration.running import NotInTimeError, wait_until

CONF = Path(__file__).parents[2] / "conf"
TOOLS = ("unshare", "nsenter", "setpriv", "chroot")
BOOT_TIMEOUT_S = 20.0
EVENT_TIMEOUT_S = 25.0

# A root with the machine's programs and nothing else of it; Python, its packages and prefork are shown in places of
# their own, as they may be in root's home. Nothing in it can be written to: /tmp, /run and /dev/shm are not even there.
BECOME_CONTAINER = r"""
set -e
folder=$1 base=$2 packages=$3 code=$4 user=$5 workdir=$6 raise_loopback=$7
shift 7
root=$folder/root
mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$root"
cp -R "$folder/files/." "$root"
for place in /bin /sbin /lib /lib64 /usr /etc; do
  if [ -L $place ]; then cp -P $place "$root"; elif [ -d $place ]; then
    mkdir "$root$place"; mount --rbind $place "$root$place"; fi
done
for place in base packages code proc dev; do mkdir "$root/$place"; done
mount --rbind "$base" "$root/base"
mount --bind "$packages" "$root/packages"
mount --bind "$code" "$root/code"
mount -t proc none "$root/proc"
for device in null zero random urandom; do
  touch "$root/dev/$device"; mount --bind /dev/$device "$root/dev/$device"
done
"$base/bin/python3" -c "$raise_loopback"
for place in etc usr base packages code; do mount -o remount,bind,ro "$root/$place"; done
mount -o remount,ro "$root"
touch "$folder/made"
exec chroot "$root" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups \
  --bounding-set=-all --inh-caps=-all --no-new-privs sh -c 'cd "$0" && exec "$@"' "$workdir" "$@"
"""


class NoContainersError(Exception):
    """Why there are none here."""


@dataclass(frozen=True)
class Recipe:
    """What a Dockerfile's last stage says about running it."""

    workdir: str
    env: Mapping[str, str]
    user: str
    ports: tuple[int, ...]
    health: list[str]
    entry: list[str]
    """ENTRYPOINT, then CMD."""


def read_recipe(path: Path = CONF / "docker/Dockerfile") -> Recipe:
    lines = re.sub(r"\\\n\s*", " ", path.read_text()).splitlines()
    words = [line.partition(" ")[::2] for line in lines if re.match("[A-Z]+ ", line)]
    last = max(number for number, (verb, _) in enumerate(words) if verb == "FROM")
    said = {verb: rest.strip() for verb, rest in words[last:]}
    return Recipe(
        workdir=said["WORKDIR"],
        env=dict(word.split("=", 1) for word in shlex.split(said["ENV"])),
        user=said["USER"],
        ports=tuple(int(port) for port in said["EXPOSE"].split()),
        health=json.loads(said["HEALTHCHECK"].partition("CMD ")[2]),
        entry=[*json.loads(said["ENTRYPOINT"]), *json.loads(said.get("CMD", "[]"))],
    )


class Container:
    """It runs a recipe's entry point as PID 1, with `files` in its working directory. Raises `NoContainersError`."""

    def __init__(
        self, recipe: Recipe, files: Mapping[str, str], *arguments: str, user: str | None = None
    ) -> None:
        if os.geteuid() != 0:
            raise NoContainersError("needs root")
        if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
            raise NoContainersError(f"needs {', '.join(missing)}")
        self._folder = Path(tempfile.mkdtemp(prefix="prefork-container-"))
        (self._folder / "root").mkdir()
        app = self._folder / "files" / recipe.workdir.strip("/")
        app.mkdir(parents=True)
        for name, text in files.items():
            (app / name).write_text(text)
        write_environment(self._folder / "files/venv", "/venv", base="/base", packages="/packages")
        self._env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            # Only because of where this Python and this prefork are.
            "PYTHONPATH": "/code",
            "LD_LIBRARY_PATH": "/base/lib",
        }
        for name, value in recipe.env.items():
            self._env[name] = value.replace("$PATH", self._env["PATH"])
        output, log = self._folder / "output", self._folder / "log"
        with output.open("wb") as output_file, log.open("wb") as log_file:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL"),
                    *("unshare", "--fork", "--kill-child", "--pid", "--mount", "--uts", "--ipc", "--net"),
                    *("sh", "-c", BECOME_CONTAINER, "sh", str(self._folder), sys.base_prefix),
                    *(sysconfig.get_path("purelib"), str(Path(prefork.__file__).parent.parent)),
                    *(user or recipe.user, recipe.workdir, RAISE_LOOPBACK, *recipe.entry, *arguments),
                ],
                cwd="/",
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output_file,
                stderr=log_file,
                start_new_session=True,
            )
        self._init = psutil.Process(self._process.pid)
        self._output, self._log = output, log
        try:
            wait_until(self._is_made, "its root", BOOT_TIMEOUT_S)
        except (NotInTimeError, NoContainersError) as error:
            words = self.log[-500:]
            self.close()
            raise NoContainersError(f"namespaces cannot be had: {error}: {words!r}") from None

    def close(self) -> None:
        """End all of it."""
        with suppress(psutil.NoSuchProcess):
            self._init.kill()  # and the kernel everybody else
        self._process.kill()
        self._process.wait(10)
        shutil.rmtree(self._folder)

    @property
    def init(self) -> psutil.Process:
        """Its PID 1."""
        return self._init

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def records(self) -> list[dict[str, Any]]:
        """Of a log in JSON."""
        return [
            json.loads(line) for line in self.log.splitlines() if line.startswith("{") and line.endswith("}")
        ]

    def wait_for(self, event: str) -> dict[str, Any]:
        """The first record of an event."""

        def look() -> list[dict[str, Any]]:
            return [record for record in self.records if record["event"] == event]

        try:
            return wait_until(look, event, EVENT_TIMEOUT_S)[0]
        except NotInTimeError as error:
            raise NotInTimeError(f"{error}\n{self.log}") from None

    def reaching(self) -> AbstractContextManager[None]:
        """Open sockets in its network."""
        return reaching(self._init.pid)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """As `docker exec` does, though as root."""
        return subprocess.run(
            [
                "nsenter",
                f"--target={self._init.pid}",
                "-p",
                "-n",
                "-i",
                "-r",
                "-w",
                "-m",
                "env",
                "-i",
                *self._list_env(),
                *command,
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def wait_exit(self, timeout_s: float) -> int:
        return self._process.wait(timeout_s)

    def _list_env(self) -> list[str]:
        return [f"{name}={value}" for name, value in self._env.items()]

    def _is_made(self) -> bool:
        """What follows is the entry point's. Raises `NoContainersError` if it never came to that."""
        for child in psutil.Process(self._process.pid).children():
            self._init = child
        if (self._folder / "made").exists():
            return True
        if self._process.poll() is not None:
            raise NoContainersError(f"exit {self._process.returncode}")
        return False
